//! SPA before the crypto: datagrams by somebody without the key, among those of somebody with it.
//!
//! Each sentence is one octet for the verb and a few for its objects; see `Story::tell`.

use std::collections::HashSet;
use std::net::IpAddr;

use postern_core::knock::{InterfaceSet, ServicePort};
use postern_core::rule::{Door, DoorId, Terms};
use postern_core::spa::key::{DeviceId, SpaKey};
use postern_core::spa::native::{
    Admitted, Arrival, PACKET_BYTES, Refused, Request, Sealer, Verdict, Verifier, Waiting,
};
use postern_core::spa::policy::{DoorSet, Policy};
use postern_core::spa::replay::counter;
use postern_core::time::{Duration, Instant};

/// Sentences of the longest story.
const SENTENCES_MAX: usize = 200;

pub(crate) const DEVICE: DeviceId = DeviceId(*b"a fuzzed device.");

/// Tells the story.
///
/// # Panics
/// When the verifier breaks a promise.
pub fn run(bytes: &[u8]) {
    let mut story = Story::new();
    let mut words = bytes.iter().copied();
    for _ in 0..SENTENCES_MAX {
        if story.tell(&mut words).is_none() {
            break;
        }
    }
}

pub(crate) fn key() -> SpaKey {
    SpaKey::new([0x5a; 32])
}

pub(crate) fn doors() -> [Door; 1] {
    [Door {
        name: "ssh".try_into().expect("a short name"),
        ports: heapless::Vec::from_slice(&[ServicePort::tcp(22)]).expect("one port"),
        open_for: Duration::from_secs(30),
        target: None,
        interfaces: InterfaceSet::ALL,
        terms: Terms::PLAIN,
    }]
}

pub(crate) fn verifier(policy: Policy, ceiling: u64) -> Verifier {
    let mut verifier = Verifier::new(DEVICE);
    verifier.add(&SpaKey::new([1; 32]), Policy::default(), 0).expect("room for two");
    verifier.add(&key(), policy, ceiling).expect("room for two");
    verifier
}

struct Story {
    verifier: Verifier,
    sealer: Sealer,
    last: u64,
    now: Instant,
    /// Packets of the client.
    sent: Vec<[u8; PACKET_BYTES]>,
    /// What the medium holds.
    ceiling: u64,
    waiting: Vec<Waiting>,
    admitted: HashSet<u64>,
}

impl Story {
    fn new() -> Self {
        Self {
            verifier: verifier(policy(), 0),
            sealer: Sealer::new(&key(), DEVICE),
            last: 0,
            now: Instant::BOOT,
            sent: Vec::new(),
            ceiling: 0,
            waiting: Vec::new(),
            admitted: HashSet::new(),
        }
    }

    /// One sentence; `None` at the end of the bytes.
    fn tell(&mut self, words: &mut impl Iterator<Item = u8>) -> Option<()> {
        match words.next()? % 8 {
            0 => self.noise(words),
            1 => self.changed(words.next()?, words.next()?, words.next()?),
            2 => self.honest(u64::from(words.next()?)),
            3 => self.honest(u64::from(words.next()?) << (words.next()? % 48)),
            4 => self.repeated(words.next()?),
            5 => self.write(words.next()?),
            6 => self.restart(),
            _ => self.now = self.now + Duration::from_secs(60 * u64::from(words.next()?)),
        }
        Some(())
    }

    fn noise(&mut self, words: &mut impl Iterator<Item = u8>) {
        let length = usize::from(words.next().unwrap_or(0));
        let datagram: Vec<u8> = words.take(length).collect();
        let genuine = self.sent.iter().any(|packet| packet == datagram.as_slice());
        assert!(genuine || self.deliver(&datagram).is_err(), "noise was taken for a packet");
    }

    fn changed(&mut self, which: u8, at: u8, change: u8) {
        let Some(packet) = self.sent.get(usize::from(which) % self.sent.len().max(1)) else { return };
        let mut packet = *packet;
        packet[usize::from(at) % PACKET_BYTES] ^= change;
        if change != 0 {
            let refused = self.deliver(&packet).expect_err("a changed packet");
            assert_eq!(refused.key, None, "it was taken for a genuine one");
        }
    }

    fn honest(&mut self, step: u64) {
        let Some(counter) = counter::next(self.last, Some(self.last.saturating_add(step))) else { return };
        self.last = counter;
        let request = Request::open("ssh".try_into().expect("a short name"), counter);
        let packet = self.sealer.seal(&request, &[0; 24]).expect("a request");
        self.sent.push(packet);
        let _ = self.deliver(&packet);
    }

    fn repeated(&mut self, which: u8) {
        if let Some(&packet) = self.sent.get(usize::from(which) % self.sent.len().max(1)) {
            let _ = self.deliver(&packet);
        }
    }

    /// The medium took a ceiling, or power went behind that.
    fn write(&mut self, which: u8) {
        if self.waiting.is_empty() {
            return;
        }
        let waiting = self.waiting.remove(usize::from(which >> 1) % self.waiting.len());
        self.ceiling = self.ceiling.max(waiting.ceiling);
        if which & 1 == 1 {
            self.restart();
            return;
        }
        self.verifier.persisted(waiting.tag, waiting.ceiling);
        let resumed = self.verifier.resume(&waiting, self.now, None, &doors());
        self.note(resumed);
    }

    fn restart(&mut self) {
        self.verifier = verifier(policy(), self.ceiling);
        self.waiting.clear();
    }

    fn deliver(&mut self, datagram: &[u8]) -> Result<(), Refused> {
        let arrival = Arrival { seen_from: IpAddr::from([198, 51, 100, 7]), at: self.now, wall: None };
        match self.verifier.verify(datagram, arrival, &doors())? {
            Verdict::Admitted(admitted) => self.note(Ok(admitted)),
            Verdict::Waiting(waiting) => self.waiting.push(waiting),
        }
        Ok(())
    }

    fn note(&mut self, verdict: Result<Admitted, Refused>) {
        let Ok(admitted) = verdict else { return };
        assert!(self.admitted.insert(admitted.counter), "{} counted twice", admitted.counter);
        assert!(admitted.counter <= self.ceiling, "{} above the ceiling", admitted.counter);
        assert_eq!(admitted.door, DoorId(0));
    }
}

fn policy() -> Policy {
    Policy { doors: DoorSet::ALL, ..Policy::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_story_can_admit_repeat_and_restart() {
        let mut story = Story::new();
        let words = [2, 9, 5, 0, 4, 0, 1, 0, 40, 1, 6, 4, 0, 3, 1, 20, 5, 1, 3, 1, 21, 5, 0];
        let mut words = words.iter().copied();
        while story.tell(&mut words).is_some() {}
        assert_eq!(story.admitted.len(), 2);
        assert_eq!(story.sent.len(), 3);
    }
}
