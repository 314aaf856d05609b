//! Sequences that change with every use: knocks derived from a key and a counter.
//!
//! For networks where only TCP SYNs or pings pass. The idea is that of HOTP (RFC 4226): client and
//! gateway count, the gateway awaits the next few counters, and one that was used, and all before it,
//! never count again.
//!
//! Whoever scans the ports the knocks are drawn from meets a few of them by chance, and meets them in
//! order when they happen to rise. So all the others are guards ([`crate::rule::RuleSet::is_guarded`]):
//! touching one taints, and only who knows which ports to leave out completes a sequence.

pub mod cursor;
#[cfg(test)]
mod vectors;
#[cfg(test)]
mod world;

use heapless::Vec;

use super::key::SubKey;
use crate::knock::{Protocol, Step};
use crate::limits::{NAME_BYTES_MAX, ROTATING_CANDIDATES_MAX, ROTATING_KNOCKS_MAX, ROTATING_KNOCKS_MIN};
use crate::rule::{GuardRange, Name};

/// Payload octets of the smallest echo request that is a knock: above the 56 of a stock `ping`.
pub const ICMP_FIRST: u16 = 64;

/// Payload octets of the largest: fits the smallest IPv6 link with its headers.
pub const ICMP_LAST: u16 = 1087;

/// Protocols knocks are drawn from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Protocols {
    /// TCP ports.
    pub tcp: bool,
    /// UDP ports.
    pub udp: bool,
    /// Sizes of echo requests.
    pub icmp: bool,
}

/// What the knocks of a door look like. Client and gateway must agree on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    knocks: u8,
    protocols: Protocols,
    first: u16,
    last: u16,
}

/// The knocks of a sequence, at most [`ROTATING_KNOCKS_MAX`].
pub type Knocks = Vec<Step, { ROTATING_KNOCKS_MAX as usize }>;

/// Why there are no such sequences.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ShapeError {
    /// Fewer than [`ROTATING_KNOCKS_MIN`] or more than [`ROTATING_KNOCKS_MAX`] knocks.
    Knocks,
    /// The ports begin at 0 or end before they begin.
    Ports,
    /// No protocol.
    Protocols,
    /// Nearly every knock is excluded: too few are left to draw from.
    TooFewKnocks,
}

impl Shape {
    /// `knocks` knocks on `protocols`, TCP and UDP within the ports `first` to `last`. All the ports
    /// that are not drawn become guards: leave out those that strangers have reason to visit.
    ///
    /// # Errors
    /// What is wrong with it.
    pub const fn new(knocks: u8, protocols: Protocols, first: u16, last: u16) -> Result<Self, ShapeError> {
        if knocks < ROTATING_KNOCKS_MIN || knocks > ROTATING_KNOCKS_MAX {
            return Err(ShapeError::Knocks);
        }
        if first == 0 || last < first {
            return Err(ShapeError::Ports);
        }
        if !(protocols.tcp || protocols.udp || protocols.icmp) {
            return Err(ShapeError::Protocols);
        }
        Ok(Self { knocks, protocols, first, last })
    }

    /// How many knocks.
    pub const fn knocks(&self) -> u8 {
        self.knocks
    }

    /// What they are drawn from.
    pub const fn protocols(&self) -> Protocols {
        self.protocols
    }

    /// Whether `step` may be drawn.
    pub fn draws_from(&self, step: Step) -> bool {
        let holds = |(protocol, first, last, used): &(Protocol, u16, u16, bool)| {
            *used && *protocol == step.protocol && (*first..=*last).contains(&step.value)
        };
        self.ranges().iter().any(holds)
    }

    /// Everything that may be drawn.
    pub fn watched(&self) -> impl Iterator<Item = GuardRange> + use<> {
        let used = self.ranges().into_iter().filter(|(.., used)| *used);
        used.map(|(protocol, first, last, _)| GuardRange { protocol, first, last })
    }

    /// The values of each protocol, in the order they are drawn from.
    fn ranges(&self) -> [(Protocol, u16, u16, bool); 3] {
        [
            (Protocol::Tcp, self.first, self.last, self.protocols.tcp),
            (Protocol::Udp, self.first, self.last, self.protocols.udp),
            (Protocol::Icmp, ICMP_FIRST, ICMP_LAST, self.protocols.icmp),
        ]
    }

    /// The knock a draw of 32 random bits means: each of all knocks as likely as the next, to one part
    /// in 30,000.
    fn knock(&self, draw: u32) -> Option<Step> {
        let ranges = self.ranges();
        let used = || ranges.iter().filter(|(.., used)| *used);
        let sizes = used().map(|(_, first, last, _)| u64::from(last.saturating_sub(*first)) + 1);
        let mut position = (u64::from(draw) * sizes.sum::<u64>()) >> 32;
        for &(protocol, first, last, _) in used() {
            let size = u64::from(last.saturating_sub(first)) + 1;
            if position < size {
                let value = first.checked_add(u16::try_from(position).ok()?)?;
                return Some(Step { protocol, value });
            }
            position -= size;
        }
        None
    }
}

/// The knocks of `door` for `counter`, all different, none `excluded`. `key` is the sub-key for
/// rotation. Client and gateway must exclude the same.
///
/// Draws are the big-endian words of HMAC-SHA-256(key, door ‖ counter ‖ block) for block 0, 1, ...;
/// the door is filled up to 32 octets with zeros, counter and block are 64 and 32 bits, big-endian.
/// A draw that is excluded or was drawn already is left out.
///
/// # Errors
/// [`ShapeError::TooFewKnocks`].
pub fn knocks(
    key: &SubKey,
    door: &Name,
    counter: u64,
    shape: &Shape,
    excluded: impl Fn(Step) -> bool,
) -> Result<Knocks, ShapeError> {
    let name = padded(door);
    let mut knocks = Knocks::new();
    for block in 0..ROTATING_CANDIDATES_MAX / 8 {
        let octets = key.hmac(&[&name, &counter.to_be_bytes(), &block.to_be_bytes()]);
        for draw in octets.chunks_exact(4) {
            let draw = <[u8; 4]>::try_from(draw).map_or(0, u32::from_be_bytes);
            let Some(knock) = shape.knock(draw) else { continue };
            if excluded(knock) || knocks.contains(&knock) {
                continue;
            }
            let _ = knocks.push(knock);
            if knocks.len() >= usize::from(shape.knocks) {
                return Ok(knocks);
            }
        }
    }
    Err(ShapeError::TooFewKnocks)
}

/// A door's name, filled up with zeros.
fn padded(door: &Name) -> [u8; NAME_BYTES_MAX] {
    let mut name = [0; NAME_BYTES_MAX];
    for (to, from) in name.iter_mut().zip(door.bytes()) {
        *to = from;
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spa::key::{DeviceId, KeyUse, SpaKey};
    use std::collections::{BTreeMap, BTreeSet};

    const ALL: Protocols = Protocols { tcp: true, udp: true, icmp: true };
    const TCP: Protocols = Protocols { tcp: true, udp: false, icmp: false };

    fn key(number: u8) -> SubKey {
        SpaKey::new([number; 32]).derive(KeyUse::Rotation, DeviceId([1; 16]))
    }

    fn door(name: &str) -> Name {
        name.try_into().unwrap()
    }

    fn derived(counter: u64, shape: &Shape) -> Knocks {
        knocks(&key(1), &door("ssh"), counter, shape, |_| false).unwrap()
    }

    #[test]
    fn knocks_are_different_in_range_and_not_excluded() {
        let shape = Shape::new(6, ALL, 20_000, 20_009).unwrap();
        let protected = |step: Step| step == Step::tcp(20_003) || step.protocol == Protocol::Udp;
        for counter in 0..2000 {
            let knocks = knocks(&key(1), &door("ssh"), counter, &shape, protected).unwrap();
            assert_eq!(knocks.len(), 6);
            assert_eq!(knocks.iter().collect::<BTreeSet<_>>().len(), 6, "{knocks:?}");
            for &knock in &knocks {
                assert!(!protected(knock));
                let range = if knock.protocol == Protocol::Icmp { 64..=1087 } else { 20_000..=20_009 };
                assert!(range.contains(&knock.value), "{knock}");
            }
        }
    }

    #[test]
    fn key_device_door_and_counter_matter() {
        let shape = Shape::new(4, ALL, 1024, 65_535).unwrap();
        let none = |_| false;
        let other_device = SpaKey::new([1; 32]).derive(KeyUse::Rotation, DeviceId([2; 16]));
        let one = derived(7, &shape);
        assert_eq!(one, derived(7, &shape));
        assert_ne!(one, derived(8, &shape));
        assert_ne!(one, knocks(&key(2), &door("ssh"), 7, &shape, none).unwrap());
        assert_ne!(one, knocks(&other_device, &door("ssh"), 7, &shape, none).unwrap());
        assert_ne!(one, knocks(&key(1), &door("ssh2"), 7, &shape, none).unwrap());
    }

    /// Chi-squared with 99 degrees of freedom: above 161 in one of 10,000 fair runs, and this one is
    /// always the same.
    #[test]
    fn every_knock_is_as_likely() {
        let shape = Shape::new(4, TCP, 30_000, 30_099).unwrap();
        let mut counts = BTreeMap::<Step, f64>::new();
        for counter in 0..25_000 {
            for knock in derived(counter, &shape) {
                *counts.entry(knock).or_default() += 1.0;
            }
        }
        let expected = 1000.0;
        let chi: f64 = counts.values().map(|count| (count - expected) * (count - expected) / expected).sum();
        assert_eq!(counts.len(), 100);
        assert!(chi < 161.0, "{chi}");
    }

    #[test]
    fn impossible_shapes_are_refused() {
        assert_eq!(Shape::new(2, TCP, 1, 2), Err(ShapeError::Knocks));
        assert_eq!(Shape::new(99, TCP, 1, 2), Err(ShapeError::Knocks));
        assert_eq!(Shape::new(3, TCP, 0, 2), Err(ShapeError::Ports));
        assert_eq!(Shape::new(3, TCP, 3, 2), Err(ShapeError::Ports));
        let none = Protocols { tcp: false, udp: false, icmp: false };
        assert_eq!(Shape::new(3, none, 1, 2), Err(ShapeError::Protocols));
        let narrow = Shape::new(3, TCP, 5, 6).unwrap();
        let refused = knocks(&key(1), &door("ssh"), 1, &narrow, |_| false);
        assert_eq!(refused, Err(ShapeError::TooFewKnocks));
        let widest = Shape::new(ROTATING_KNOCKS_MAX, ALL, 1, 65_535).unwrap();
        assert_eq!(widest.knock(0), Some(Step::tcp(1)));
        assert_eq!(widest.knock(u32::MAX), Some(Step::icmp(ICMP_LAST)));
    }
}
