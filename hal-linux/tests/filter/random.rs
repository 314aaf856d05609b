//! Seeded random rule sets and frames, near the edges where filters go wrong.

use heapless::Vec as Bounded;
use postern_core::knock::{FlagCondition, InterfaceSet, Protocol, ServicePort, Step, TcpFlags};
use postern_core::limits::STEPS_MAX;
use postern_core::port::LinkType;
use postern_core::rule::{Door, GuardRange, Name, Purpose, RuleSet, RuleSetBuilder, Sequence, Terms};
use postern_core::time::Duration;

/// SplitMix64.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(bound).unwrap()).unwrap()
    }

    pub(crate) fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    pub(crate) fn u16(&mut self) -> u16 {
        (self.next() & 0xffff) as u16
    }

    pub(crate) fn u8(&mut self) -> u8 {
        (self.next() & 0xff) as u8
    }

    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

/// Rules with about `sequences` sequences of up to four knocks and as many guards.
pub(crate) fn rules(random: &mut Random, sequences: usize, guards: usize) -> RuleSet {
    let mut builder = RuleSetBuilder::new();
    let door = builder
        .door(Door {
            name: Name::try_from("door").unwrap(),
            ports: Bounded::from_slice(&[ServicePort::tcp(22)]).unwrap(),
            open_for: Duration::from_secs(30),
            target: None,
            interfaces: InterfaceSet::ALL,
            terms: Terms::PLAIN,
        })
        .unwrap();
    let conditions = [
        FlagCondition::OPENING_SYN,
        FlagCondition { mask: TcpFlags::FIN, value: TcpFlags::FIN },
        FlagCondition { mask: TcpFlags::from_bits(0x3f), value: TcpFlags::NONE },
    ];
    let mut known = Vec::new();
    for _ in 0..sequences {
        let steps: Bounded<Step, STEPS_MAX> = (0..=random.below(4)).map(|_| step(random)).collect();
        known.extend_from_slice(&steps);
        let flags = if random.one_in(4) { random.pick(&conditions) } else { conditions[0] };
        let purpose = Purpose::Open;
        let (within, reorder) = (Duration::from_secs(10), Duration::ZERO);
        let _ = builder.sequence(Sequence { door, purpose, steps, within, reorder, flags });
    }
    for _ in 0..guards {
        let Step { protocol, value } = step(random);
        let guard = GuardRange { protocol, first: value, last: value.saturating_add(random.u16() >> 9) };
        let free =
            |step: &Step| step.protocol != protocol || step.value < guard.first || step.value > guard.last;
        if known.iter().all(free) {
            let _ = builder.guard(guard);
        }
    }
    builder.build().unwrap()
}

/// A knock; low values come often so that they meet, and the ends of the range, too.
fn step(random: &mut Random) -> Step {
    let protocol = random.pick(&[Protocol::Tcp, Protocol::Tcp, Protocol::Udp, Protocol::Icmp]);
    let value = match random.below(8) {
        0 => 65_535,
        1 => 1,
        2 => random.u16() % 2000 + 1,
        _ => random.u16().max(1),
    };
    Step { protocol, value: if protocol == Protocol::Icmp { value % 1500 } else { value } }
}

/// A value on or just beside something the rules watch.
fn near(random: &mut Random, rules: &RuleSet, protocol: Protocol) -> u16 {
    let knocks = rules.places().iter().map(|place| place.knock).filter(|step| step.protocol == protocol);
    let guards = rules.guards().iter().filter(|guard| guard.protocol == protocol);
    let mut edges: Vec<u16> = knocks.map(|step| step.value).collect();
    edges.extend(guards.flat_map(|guard| [guard.first, guard.last]));
    if edges.is_empty() || random.one_in(5) {
        return random.u16();
    }
    random.pick(&edges).wrapping_add(random.pick(&[0, 0, 0, 1, 65_535]))
}

/// A frame as a socket of this link type sees it, and its EtherType as the kernel knows it.
pub(crate) fn frame(random: &mut Random, rules: &RuleSet, link: LinkType) -> (Vec<u8>, u16) {
    let v6 = random.one_in(2);
    let packet = if v6 { ipv6(random, rules) } else { ipv4(random, rules) };
    let mut ether_type = if v6 { 0x86dd } else { 0x0800 };
    let mut data = packet;
    match link {
        LinkType::Ethernet | LinkType::CookedV1 | LinkType::CookedV2 => {
            if random.one_in(6) {
                let mut session = vec![0x11, 0, 0, 1, 0, 0];
                session.extend(ppp_protocol(random, v6));
                data.splice(0..0, session);
                ether_type = 0x8864;
            }
            for _ in 0..random.pick(&[0, 0, 0, 1, 2, 3]) {
                let [high, low] = u16::to_be_bytes(ether_type);
                data.splice(0..0, [random.u8(), random.u8(), high, low]);
                ether_type = random.pick(&[0x8100, 0x88a8, 0x9100]);
            }
            if link == LinkType::Ethernet {
                let mut header = [0x02; 14];
                header[12..].copy_from_slice(&ether_type.to_be_bytes());
                data.splice(0..0, header);
            }
        }
        LinkType::Ppp => {
            data.splice(0..0, ppp_protocol(random, v6));
            if random.one_in(2) {
                data.splice(0..0, [0xff, 0x03]);
            }
        }
        LinkType::Loopback => {
            data.splice(0..0, [0, 0, 0, 2]);
        }
        LinkType::RawIp => {}
    }
    if random.one_in(10) {
        let at = random.below(data.len());
        data[at] ^= 1 << random.below(8);
    }
    if random.one_in(10) {
        data.truncate(random.below(data.len() + 1));
    }
    (data, ether_type)
}

fn ppp_protocol(random: &mut Random, v6: bool) -> Vec<u8> {
    let number = if v6 { 0x57 } else { 0x21 };
    if random.one_in(2) { vec![0, number] } else { vec![number] }
}

fn ipv4(random: &mut Random, rules: &RuleSet) -> Vec<u8> {
    let options = random.pick(&[0, 0, 0, 1, 5, 10]);
    let protocol = random.pick(&[6, 6, 17, 1, 58, 132]);
    let (payload, octets) = transport(random, rules, protocol, 1);
    let header = 20 + 4 * options;
    let mut packet = vec![0; header];
    packet[0] = 0x45 + u8::try_from(options).unwrap();
    packet[2..4].copy_from_slice(&u16::try_from((header + octets) & 0xffff).unwrap().to_be_bytes());
    let fragment: u16 = random.pick(&[0, 0, 0, 0x4000, 0x2000, 0x0001, 0x8000, 0x6010]);
    packet[6..8].copy_from_slice(&fragment.to_be_bytes());
    packet[9] = protocol;
    packet[12..16].copy_from_slice(&[192, 0, 2, 1]);
    packet[16..20].copy_from_slice(&[203, 0, 113, 9]);
    packet.extend(payload);
    packet
}

fn ipv6(random: &mut Random, rules: &RuleSet) -> Vec<u8> {
    let protocol = random.pick(&[6, 6, 17, 58, 1, 50]);
    let (payload, octets) = transport(random, rules, protocol, 58);
    let mut extensions = Vec::new();
    let mut next = protocol;
    for _ in 0..random.pick(&[0, 0, 0, 0, 1, 2, 6, 7]) {
        let units = random.pick(&[0, 0, 0, 1, 2, 20]);
        let mut header = vec![0; 8 * (usize::from(units) + 1)];
        (header[0], header[1]) = (next, units);
        extensions.splice(0..0, header);
        next = random.pick(&[0, 43, 60, 60, 44]);
    }
    let mut packet = vec![0; 40];
    packet[0] = 0x60;
    let length = u16::try_from((extensions.len() + octets) & 0xffff).unwrap();
    packet[4..6].copy_from_slice(&length.to_be_bytes());
    packet[6] = next;
    packet[8..24].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    packet[24..40].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
    packet.extend(extensions);
    packet.extend(payload);
    packet
}

/// A transport header and the octets the IP header shall claim for it and what follows.
fn transport(random: &mut Random, rules: &RuleSet, protocol: u8, icmp: u8) -> (Vec<u8>, usize) {
    match protocol {
        6 => {
            let mut header = vec![0; 20];
            header[2..4].copy_from_slice(&near(random, rules, Protocol::Tcp).to_be_bytes());
            header[12] = 0x50;
            header[13] = random.pick(&[0x02, 0x02, 0xc2, 0x10, 0x12, 0x01, 0x04, 0x00, 0x3f]);
            (header, 20)
        }
        17 => {
            let mut header = vec![0; 8];
            header[2..4].copy_from_slice(&near(random, rules, Protocol::Udp).to_be_bytes());
            header[5] = 8;
            (header, 8)
        }
        _ => {
            let mut header = vec![0; 8];
            header[0] = match random.below(4) {
                0 => random.u8(),
                _ if icmp == 1 => 8,
                _ => 128,
            };
            header[1] = u8::from(random.one_in(8));
            // Only the header is there: the length is the claimed one.
            let octets = usize::from(near(random, rules, Protocol::Icmp));
            (header, if random.one_in(8) { octets } else { octets + 8 })
        }
    }
}
