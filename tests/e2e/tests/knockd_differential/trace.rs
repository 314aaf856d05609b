//! Seeded traces: right, wrong, repeated, interleaved, aimed elsewhere.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use postern_e2e::frame::Payload;

use super::model::Door;

/// SplitMix64 (Steele, Lea and Flood, 2014).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound.max(1) as u64).expect("a bound is a usize")
    }

    /// True once in `times`.
    pub(crate) fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    pub(crate) fn of<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }
}

/// A packet before it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Planned {
    pub(crate) source: IpAddr,
    pub(crate) target: IpAddr,
    pub(crate) payload: Payload,
}

/// What a trace may be made of.
pub(crate) struct Ground<'a> {
    pub(crate) doors: &'a [Door],
    /// IPv4 and IPv6 address of the gateway.
    pub(crate) local: [IpAddr; 2],
    /// Addresses that are not the gateway's.
    pub(crate) foreign: [IpAddr; 2],
}

/// Two addresses no other trace has.
pub(crate) fn sources(number: usize, v6: bool) -> [IpAddr; 2] {
    let [.., high, low] = number.to_be_bytes();
    if v6 {
        let address = |last| Ipv6Addr::new(0x2001, 0xdb8, 0x64, u16::from(high), u16::from(low), 0, 0, last);
        [address(1).into(), address(2).into()]
    } else {
        [Ipv4Addr::new(100, 64, high, low).into(), Ipv4Addr::new(100, 65, high, low).into()]
    }
}

/// The trace with this number.
pub(crate) fn plan(ground: &Ground<'_>, number: usize, random: &mut Random) -> Vec<Planned> {
    let v6 = random.once_in(5);
    let sources = sources(number, v6);
    let mut trace = walk(ground, sources[0], v6, random);
    if random.once_in(3) {
        // Somebody else at the same time, or the same user at another door.
        let source = sources[random.below(2)];
        let other = walk(ground, source, v6, random);
        trace = interleave(trace, other, random);
    }
    for _ in 0..random.below(3) {
        disturb(ground, &mut trace, random);
    }
    trace
}

fn walk(ground: &Ground<'_>, source: IpAddr, v6: bool, random: &mut Random) -> Vec<Planned> {
    let family = usize::from(v6);
    let doors: Vec<&Door> =
        ground.doors.iter().filter(|door| door.target.is_none_or(|target| target.is_ipv6() == v6)).collect();
    let door = *random.of(&doors);
    let mut target = door.target.unwrap_or(ground.local[family]);
    if random.once_in(12) {
        target = *random.of(&[ground.foreign[family], ground.local[family]]);
    }
    let knocks =
        door.steps.iter().map(|&step| Planned { source, target, payload: flagged(step, door.flags) });
    let mut walk: Vec<Planned> = knocks.collect();
    if random.once_in(8) {
        walk.extend(walk.clone());
    }
    walk
}

/// A TCP knock with the flags its door wants; a SYN where it wants none.
fn flagged(step: Payload, flags: Option<(u8, u8)>) -> Payload {
    match step {
        Payload::Tcp { port, .. } => Payload::Tcp { port, flags: flags.map_or(0x02, |(_, value)| value) },
        other => other,
    }
}

/// Both in their own order, mixed.
fn interleave(one: Vec<Planned>, other: Vec<Planned>, random: &mut Random) -> Vec<Planned> {
    let (mut one, mut other) = (one.into_iter().peekable(), other.into_iter().peekable());
    let mut mixed = Vec::new();
    while one.peek().is_some() || other.peek().is_some() {
        let first = if random.once_in(2) { one.next() } else { other.next() };
        mixed.extend(first);
    }
    mixed
}

fn disturb(ground: &Ground<'_>, trace: &mut Vec<Planned>, random: &mut Random) {
    if trace.is_empty() {
        return;
    }
    let at = random.below(trace.len());
    let mut packet = trace[at];
    match random.below(10) {
        0 | 1 => trace.insert(random.below(trace.len() + 1), packet),
        2 => drop(trace.remove(at)),
        3 => {
            let other = random.below(trace.len());
            trace.swap(at, other);
        }
        4 => {
            let door = random.of(ground.doors);
            packet.payload = flagged(*random.of(&door.steps), door.flags);
            trace.insert(at, packet);
        }
        5 => {
            // Next door to a knock: a guard port of Postern, nothing to knockd.
            packet.payload = beside(packet.payload, random);
            trace.insert(random.below(trace.len() + 1), packet);
        }
        6 | 7 => {
            if let Payload::Tcp { port, .. } = packet.payload {
                let flags = *random.of(&[0x02, 0x10, 0x12, 0x01, 0x04, 0x18, 0x00, 0x42]);
                trace[at].payload = Payload::Tcp { port, flags };
            }
        }
        8 => {
            trace[at].payload = match packet.payload {
                Payload::Tcp { port, .. } => Payload::Udp { port },
                Payload::Udp { port } => Payload::syn(port),
                echo @ Payload::Echo { .. } => echo,
            };
        }
        _ => trace[at].target = ground.foreign[usize::from(packet.target.is_ipv6())],
    }
}

fn beside(payload: Payload, random: &mut Random) -> Payload {
    let near = |port: u16, random: &mut Random| port + *random.of(&[1, 2, 9]);
    match payload {
        Payload::Tcp { port, .. } => Payload::syn(near(port, random)),
        Payload::Udp { port } => Payload::Udp { port: near(port, random) },
        echo @ Payload::Echo { .. } => echo,
    }
}
