//! Packets of the stock fwknop client before the MAC: datagrams by somebody without the key, among those
//! of somebody with it.
//!
//! Each sentence is one octet for the verb and a few for its objects; see `Story::tell`.

use std::collections::HashSet;
use std::net::IpAddr;

use postern_core::limits::FWKNOP_PORTS_MAX;
use postern_core::rule::Door;
use postern_core::spa::fwknop::sealer::{self, Packet};
use postern_core::spa::fwknop::{
    Admitted, FwknopKey, MacDigest, PACKET_BYTES_MIN, Refused, Verdict, Verifier, Waiting,
};
use postern_core::spa::native::Arrival;
use postern_core::spa::policy::{DoorSet, Policy, WallTime};
use postern_core::time::{Duration, Instant};

use crate::spa::{DEVICE, doors};

/// Sentences of the longest story.
const SENTENCES_MAX: usize = 100;

/// When the story begins.
const BEGIN: u64 = 1_795_000_000;

/// Tells the story.
///
/// # Panics
/// When the verifier breaks a promise.
pub fn run(bytes: &[u8]) {
    let mut words = bytes.iter().copied();
    let Some(first) = words.next() else { return };
    let mut story = Story::new(MacDigest::ALL[usize::from(first) % 3]);
    for _ in 0..SENTENCES_MAX {
        if story.tell(&mut words).is_none() {
            break;
        }
    }
}

pub(crate) fn key(digest: MacDigest) -> FwknopKey {
    FwknopKey::new(&[0x5a; 32], &[0xa5; 64], digest).expect("lengths of the client's own keys")
}

/// A verifier of `key` beside two others.
pub(crate) fn verifier(key: &FwknopKey, policy: Policy, ceiling: u64) -> Verifier {
    let mut verifier = Verifier::new(DEVICE);
    for (number, digest) in [(1, MacDigest::Sha256), (2, MacDigest::Sha512)] {
        let other = FwknopKey::new(&[number; 16], &[number; 16], digest).expect("short keys");
        verifier.add(&other, Policy::default(), 0).expect("room for three");
    }
    verifier.add(key, policy, ceiling).expect("room for three");
    verifier
}

/// What a stock client would send, with a name of its own.
pub(crate) fn text(number: u64, sent_at: u64) -> String {
    format!("{number:016}:YWxpY2U:{sent_at}:3.0.0:1:MC4wLjAuMCx0Y3AvMjI")
}

struct Story {
    key: FwknopKey,
    verifier: Verifier,
    doors: [Door; 1],
    clock: u64,
    clock_trusted: bool,
    now: Instant,
    sent: Vec<Packet>,
    /// What the medium holds.
    ceiling: u64,
    waiting: Vec<(Packet, Waiting)>,
    /// Packets that counted.
    admitted: HashSet<Vec<u8>>,
}

impl Story {
    fn new(digest: MacDigest) -> Self {
        let key = key(digest);
        Self {
            verifier: verifier(&key, policy(), 0),
            key,
            doors: doors(),
            clock: BEGIN,
            clock_trusted: false,
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
            1 => self.changed(words.next()?, words.next()?, words.next()?, words.next()?),
            2 => self.honest(u64::from(words.next()?)),
            3 => self.honest(u64::from(words.next()?) << (words.next()? % 40)),
            4 => self.repeated(words.next()?),
            5 => self.write(words.next()?),
            6 => self.restart(),
            _ => self.pass(words.next()?),
        }
        Some(())
    }

    /// Octets of the alphabet mostly, as many as a packet has.
    fn noise(&mut self, words: &mut impl Iterator<Item = u8>) {
        let length = PACKET_BYTES_MIN - 1 + usize::from(words.next().unwrap_or(0));
        let datagram: Vec<u8> = words.take(length).collect();
        let genuine = self.sent.iter().any(|packet| packet == datagram.as_slice());
        let refused = self.deliver(&datagram);
        assert!(genuine || refused.is_err_and(|refused| refused.key.is_none()), "noise counted");
    }

    fn changed(&mut self, which: u8, high: u8, low: u8, octet: u8) {
        let Some(packet) = self.sent.get(usize::from(which) % self.sent.len().max(1)) else { return };
        let mut packet = packet.clone();
        let length = packet.len();
        let place = &mut packet[usize::from(u16::from_be_bytes([high, low])) % length];
        if *place != octet {
            *place = octet;
            let refused = self.deliver(&packet).expect_err("a changed packet");
            assert_eq!(refused.key, None, "it was taken for a genuine one");
        }
    }

    fn honest(&mut self, ahead: u64) {
        let text = text(self.sent.len() as u64, self.clock + ahead);
        let salt = (self.sent.len() as u64).to_be_bytes();
        let packet = sealer::seal(&self.key, text.as_bytes(), &salt).expect("it is short");
        self.sent.push(packet.clone());
        let _ = self.deliver(&packet);
    }

    fn repeated(&mut self, which: u8) {
        if let Some(packet) = self.sent.get(usize::from(which) % self.sent.len().max(1)).cloned() {
            let _ = self.deliver(&packet);
        }
    }

    /// The medium took a ceiling, or power went behind that.
    fn write(&mut self, which: u8) {
        if self.waiting.is_empty() {
            return;
        }
        let (packet, waiting) = self.waiting.remove(usize::from(which >> 1) % self.waiting.len());
        self.ceiling = self.ceiling.max(waiting.ceiling);
        if which & 1 == 1 {
            self.restart();
            return;
        }
        self.verifier.persisted(waiting.tag, waiting.ceiling);
        let doors = &self.doors;
        let resumed = self.verifier.resume(&waiting, self.now, wall(self.clock_trusted, self.clock), doors);
        self.note(&packet, resumed);
    }

    fn restart(&mut self) {
        self.verifier = verifier(&self.key, policy(), self.ceiling);
        self.waiting.clear();
    }

    fn pass(&mut self, minutes: u8) {
        let secs = 60 * u64::from(minutes >> 1);
        self.now = self.now + Duration::from_secs(secs);
        self.clock += secs;
        self.clock_trusted = minutes & 1 == 1;
    }

    fn deliver(&mut self, datagram: &[u8]) -> Result<(), Refused> {
        let wall = wall(self.clock_trusted, self.clock);
        let arrival = Arrival { seen_from: IpAddr::from([198, 51, 100, 7]), at: self.now, wall };
        let doors = &self.doors;
        let packet = Packet::from_slice(datagram).unwrap_or_default();
        match self.verifier.verify(datagram, arrival, doors)? {
            Verdict::Admitted(admitted) => self.note(&packet, Ok(admitted)),
            Verdict::Waiting(waiting) => self.waiting.push((packet, waiting)),
        }
        Ok(())
    }

    fn note(&mut self, packet: &Packet, verdict: Result<Admitted, Refused>) {
        let Ok(admitted) = verdict else { return };
        assert!(self.admitted.insert(packet.to_vec()), "a packet counted twice");
        assert!(admitted.sent_at <= self.ceiling, "{} above the ceiling", admitted.sent_at);
        assert!((1..=FWKNOP_PORTS_MAX).contains(&admitted.openings.len()));
    }
}

fn wall(trusted: bool, clock: u64) -> Option<WallTime> {
    trusted.then(|| WallTime::from_secs(clock))
}

fn policy() -> Policy {
    Policy { doors: DoorSet::ALL, ..Policy::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_story_can_admit_repeat_and_restart() {
        let mut story = Story::new(MacDigest::Sha384);
        let words = [2, 9, 5, 0, 4, 0, 1, 0, 0, 40, 66, 6, 4, 0, 3, 1, 6, 5, 1, 3, 1, 7, 5, 0, 7, 9];
        let mut words = words.iter().copied();
        while story.tell(&mut words).is_some() {}
        assert_eq!(story.admitted.len(), 2);
        assert_eq!(story.sent.len(), 3);
        assert!(story.clock_trusted);
    }
}
