//! A knock made up to see that knocks are understood, beside the real state.

use core::net::IpAddr;

use postern_core::hash::HashKey;
use postern_core::knock::{FlagCondition, InterfaceIndex, InterfaceSet, ServicePort, Step};
use postern_core::matcher::{Matcher, Progress};
use postern_core::port::{Frame, LinkType};
use postern_core::rule::{Door, DoorId, Purpose, RuleError, RuleSet, RuleSetBuilder, Sequence, Terms};
use postern_core::time::{Duration, Instant};
use postern_core::wire;

/// The ports of the made-up sequence.
const PORTS: [u16; 2] = [7, 9];
const WITHIN: Duration = Duration::from_secs(1);

/// Addresses for documentation (RFC 5737): nobody's.
const KNOWING: [u8; 4] = [192, 0, 2, 1];
const GUESSING: [u8; 4] = [192, 0, 2, 2];

/// Octets of a frame without data: Ethernet, IPv4, TCP.
const FRAME_BYTES: usize = 14 + 20 + 20;

/// The parser, and a small matcher of its own with a rule of its own.
#[derive(Debug)]
pub struct Rehearsal {
    rules: Box<RuleSet>,
    matcher: Box<Matcher<1>>,
}

impl Rehearsal {
    /// Makes the rule.
    ///
    /// # Errors
    /// [`RuleError`], never for this rule.
    pub fn new() -> Result<Self, RuleError> {
        let mut builder = RuleSetBuilder::new();
        builder.door(Door {
            name: "rehearsal".try_into().unwrap_or_default(),
            ports: [ServicePort::tcp(1)].into_iter().collect(),
            open_for: Duration::from_secs(1),
            target: None,
            interfaces: InterfaceSet::ALL,
            terms: Terms::PLAIN,
        })?;
        builder.sequence(Sequence {
            door: DoorId(0),
            purpose: Purpose::Open,
            steps: PORTS.into_iter().map(Step::tcp).collect(),
            within: WITHIN,
            reorder: Duration::ZERO,
            flags: FlagCondition::OPENING_SYN,
        })?;
        // Its key need not be secret: nobody else's packets come here.
        let matcher = Box::new(Matcher::new(HashKey::new([0; 16]), WITHIN));
        Ok(Self { rules: Box::new(builder.build()?), matcher })
    }

    /// Whether who knows the sequence completes it and who knows only its end does not.
    pub fn passes(&mut self, now: Instant) -> bool {
        let [first, last] = PORTS;
        let guessed = self.knock(GUESSING, last, now);
        let begun = self.knock(KNOWING, first, now);
        let done = self.knock(KNOWING, last, now);
        (guessed, begun, done)
            == (Some(Progress::OutOfTurn), Some(Progress::Advanced(1)), Some(Progress::Completed))
    }

    fn knock(&mut self, source: [u8; 4], port: u16, now: Instant) -> Option<Progress> {
        let bytes = frame(source, port)?;
        let frame = Frame { interface: InterfaceIndex(0), link: LinkType::Ethernet, bytes: &bytes };
        let knock = wire::parse(&frame).ok()?;
        if knock.source != IpAddr::from(source) {
            return None;
        }
        let outcome = self.matcher.step(&self.rules, &knock, now);
        outcome.progress.first().map(|&(_, progress)| progress)
    }
}

/// The opening segment of a connection, without check sums, which the kernel has judged before.
fn frame(source: [u8; 4], port: u16) -> Option<[u8; FRAME_BYTES]> {
    const ETHERNET: [u8; 14] = [0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 2, 0x08, 0x00];
    // RFC 791: 40 octets, not fragmented, time to live 64, TCP.
    const IP_TO_SOURCE: [u8; 12] = [0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6, 0, 0];
    const TARGET: [u8; 4] = [192, 0, 2, 3];
    // RFC 9293: from the sequence number on; five words of header, SYN.
    const TCP_FROM_NUMBER: [u8; 16] = [0, 0, 0, 1, 0, 0, 0, 0, 0x50, 0x02, 0xff, 0xff, 0, 0, 0, 0];
    let ports = [40_000u16.to_be_bytes(), port.to_be_bytes()];
    let octets = [&ETHERNET[..], &IP_TO_SOURCE, &source, &TARGET, ports.as_flattened(), &TCP_FROM_NUMBER];
    octets.concat().try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passes_every_time() {
        let mut rehearsal = Rehearsal::new().unwrap();
        for second in 0..1000 {
            assert!(rehearsal.passes(Instant::from_millis(5_000 + second * 500)), "{second}");
        }
    }

    #[test]
    fn a_matcher_that_does_not_work_is_noticed() {
        let at = |millis| Instant::from_millis(millis);
        // One that takes a guess for a knock: the guesser's first knock is there already.
        let mut credulous = Rehearsal::new().unwrap();
        credulous.knock(GUESSING, PORTS[0], at(100));
        assert!(!credulous.passes(at(200)));
        // One that knows no sequence.
        let mut ignorant = Rehearsal::new().unwrap();
        *ignorant.rules = RuleSet::empty();
        assert!(!ignorant.passes(at(100)));
        // One whose time stands still: nothing completes twice.
        let mut frozen = Rehearsal::new().unwrap();
        assert!(frozen.passes(at(100)));
        assert!(!frozen.passes(at(100)));
    }
}
