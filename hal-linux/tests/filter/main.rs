//! The kernel filter against a naive model, against the parser, and in the real kernel.
#![allow(unsafe_code)]

mod kernel;
mod machine;
mod model;
mod random;

use machine::Packet;
use postern_core::InterfaceIndex;
use postern_core::knock::{FlagCondition, InterfaceSet, Protocol, ServicePort, Step, TcpFlags};
use postern_core::limits::{CAPTURE_RANGES_MAX, FLAG_CONDITIONS_MAX, GUARD_RANGES_MAX, STEPS_MAX};
use postern_core::port::{Frame, LinkType};
use postern_core::rule::{Door, GuardRange, Name, Purpose, RuleSet, RuleSetBuilder, Sequence, Terms};
use postern_core::time::Duration;
use postern_core::wire;
use postern_hal_linux::capture::filter::{FilterError, INSTRUCTIONS_MAX, Interest, Program};
use random::Random;

const HOST: u8 = 0;
const OUTGOING: u8 = 4;

/// The frame as the parser gets it: libpcap puts a made-up header before cooked ones.
fn in_user_space(link: LinkType, data: &[u8], protocol: u16) -> Vec<u8> {
    let [high, low] = protocol.to_be_bytes();
    let mut frame = match link {
        LinkType::CookedV1 => vec![0; 16],
        LinkType::CookedV2 => vec![0; 20],
        _ => Vec::new(),
    };
    match link {
        LinkType::CookedV1 => frame[14..].copy_from_slice(&[high, low]),
        LinkType::CookedV2 => frame[..2].copy_from_slice(&[high, low]),
        _ => {}
    }
    frame.extend_from_slice(data);
    frame
}

/// Whether the parser finds a knock in it that the rules care for.
fn parser_wants(rules: &RuleSet, link: LinkType, data: &[u8], protocol: u16) -> bool {
    let bytes = in_user_space(link, data, protocol);
    let Ok(knock) = wire::parse(&Frame { interface: InterfaceIndex(0), link, bytes: &bytes }) else {
        return false;
    };
    let counts = knock.step.protocol != Protocol::Tcp || rules.counts_as_knock(knock.flags);
    counts && !rules.places_of(knock.step).is_empty() || rules.is_guarded(&knock)
}

#[test]
fn passes_exactly_what_the_model_wants() {
    let mut random = Random(1);
    let (mut passed, mut parsed) = (0, 0);
    for round in 0..60 {
        let rules = random::rules(&mut random, round, round * 2);
        let datagram_ports = [62_201, random.u16()];
        let datagram_ports = if round % 2 == 0 { &datagram_ports[..] } else { &[] };
        let interest = Interest::new(&rules, datagram_ports).unwrap();
        for link in LinkType::ALL {
            let program = interest.program(link).unwrap();
            for _ in 0..2_000 {
                let (data, protocol) = random::frame(&mut random, &rules, link);
                let packet_type = if random.one_in(20) { OUTGOING } else { HOST };
                let packet = Packet { data: &data, protocol, packet_type };
                let (octets, _) = machine::run(program.instructions(), &packet);
                let wanted = model::wants(&rules, datagram_ports, link, &packet);
                assert_eq!(octets > 0, wanted, "round {round} {link:?} {packet:02x?}");
                passed += usize::from(wanted);
                if packet_type == HOST && parser_wants(&rules, link, &data, protocol) {
                    assert!(wanted, "the parser would have matched this: {link:?} {packet:02x?}");
                    parsed += 1;
                }
            }
        }
    }
    assert!(passed > 50_000 && parsed > 50_000, "random frames are too far off: {passed} {parsed}");
}

#[test]
fn the_kernel_agrees() {
    let mut random = Random(2);
    let mut passed = 0;
    for round in [1, 3, 10, 40, 100] {
        let rules = random::rules(&mut random, round, round * 2);
        let interest = Interest::new(&rules, &[62_201]).unwrap();
        for link in [LinkType::Ethernet, LinkType::RawIp, LinkType::Ppp, LinkType::Loopback] {
            let program = interest.program(link).unwrap();
            let pair = kernel::FilteredPair::new(program.instructions());
            for _ in 0..4_000 {
                let (data, protocol) = random::frame(&mut random, &rules, link);
                let packet = Packet { data: &data, protocol, packet_type: HOST };
                let (octets, _) = machine::run(program.instructions(), &packet);
                assert_eq!(pair.passes(&data), octets > 0, "{link:?} {packet:02x?}");
                passed += usize::from(octets > 0);
            }
        }
    }
    assert!(passed > 10_000, "{passed}");
}

#[test]
fn no_rules_pass_nothing() {
    let interest = Interest::new(&RuleSet::empty(), &[]).unwrap();
    for link in LinkType::ALL {
        assert_eq!(interest.program(link).unwrap().instructions().len(), 1);
    }
}

fn door(builder: &mut RuleSetBuilder) -> postern_core::DoorId {
    let name = Name::try_from("door").unwrap();
    let ports = heapless::Vec::from_slice(&[ServicePort::tcp(22)]).unwrap();
    let (open_for, interfaces) = (Duration::from_secs(30), InterfaceSet::ALL);
    builder.door(Door { name, ports, open_for, target: None, interfaces, terms: Terms::PLAIN }).unwrap()
}

/// The worst there can be: `ranges` ranges that do not merge, few of a single port, and for many
/// ranges every flag condition.
fn largest(ranges: usize) -> RuleSet {
    let mut builder = RuleSetBuilder::new();
    let door = door(&mut builder);
    let knocks = if ranges < 500 { 0 } else { FLAG_CONDITIONS_MAX * STEPS_MAX };
    let guards = (ranges - knocks).min(GUARD_RANGES_MAX);
    let protocols = [Protocol::Tcp, Protocol::Udp, Protocol::Icmp];
    let value = |index: usize| u16::try_from(1 + index * 60).unwrap();
    for index in 0..guards {
        let (protocol, first) = (protocols[index % 3], value(index));
        builder.guard(GuardRange { protocol, first, last: first + 7 }).unwrap();
    }
    let knocks: Vec<Step> =
        (guards..ranges).map(|index| Step { protocol: protocols[index % 3], value: value(index) }).collect();
    for (index, steps) in knocks.chunks(STEPS_MAX).enumerate() {
        let bits = u8::try_from(index % FLAG_CONDITIONS_MAX).unwrap();
        let flags = FlagCondition { mask: TcpFlags::from_bits(0x3f), value: TcpFlags::from_bits(bits) };
        let flags = if bits == 0 { FlagCondition::OPENING_SYN } else { flags };
        let steps = heapless::Vec::from_slice(steps).unwrap();
        let (within, reorder) = (Duration::from_secs(10), Duration::ZERO);
        builder.sequence(Sequence { door, purpose: Purpose::Open, steps, within, reorder, flags }).unwrap();
    }
    builder.build().unwrap()
}

#[test]
fn the_largest_rule_set_fits_and_one_more_is_refused() {
    let rules = largest(CAPTURE_RANGES_MAX);
    assert_eq!(rules.flag_conditions().len(), FLAG_CONDITIONS_MAX);
    let interest = Interest::new(&rules, &[]).unwrap();
    assert_eq!(interest.ranges(), CAPTURE_RANGES_MAX);
    let mut random = Random(3);
    for link in LinkType::ALL {
        let program = interest.program(link).unwrap();
        println!("{link:?}: {} instructions", program.instructions().len());
        assert!(program.instructions().len() < INSTRUCTIONS_MAX * 3 / 4);
        kernel::FilteredPair::new(program.instructions());
        for _ in 0..2_000 {
            let (data, protocol) = random::frame(&mut random, &rules, link);
            let packet = Packet { data: &data, protocol, packet_type: HOST };
            let (octets, _) = machine::run(program.instructions(), &packet);
            assert_eq!(octets > 0, model::wants(&rules, &[], link, &packet), "{link:?} {packet:02x?}");
        }
    }
    let ranges = CAPTURE_RANGES_MAX + 1;
    assert_eq!(Interest::new(&largest(ranges), &[]), Err(FilterError::TooManyRanges { ranges }));
}

#[test]
fn neighbours_merge_into_one_range() {
    let mut builder = RuleSetBuilder::new();
    let door = door(&mut builder);
    let steps = heapless::Vec::from_slice(&[Step::tcp(700), Step::tcp(701), Step::udp(65_535)]).unwrap();
    let flags = FlagCondition::OPENING_SYN;
    let (within, reorder) = (Duration::from_secs(10), Duration::ZERO);
    builder.sequence(Sequence { door, purpose: Purpose::Open, steps, within, reorder, flags }).unwrap();
    for (first, last) in [(600, 699), (702, 800)] {
        builder.guard(GuardRange { protocol: Protocol::Tcp, first, last }).unwrap();
    }
    let rules = builder.build().unwrap();
    assert_eq!(Interest::new(&rules, &[65_534]).unwrap().ranges(), 2);
}

/// What one packet costs: instructions of the program, and time in the kernel. Printed, and
/// bounded only where it does not depend on the machine.
#[test]
fn cost_grows_with_the_logarithm() {
    println!(
        "ranges  instructions  executed: knock  stray  ack   kernel ns: knock  stray  ack  (filter alone)"
    );
    let mut worst = Vec::new();
    for ranges in [1, 10, 100, CAPTURE_RANGES_MAX] {
        let rules = largest(ranges);
        let program = Interest::new(&rules, &[]).unwrap().program(LinkType::Ethernet).unwrap();
        let mut counts = [0; 3];
        let frames: [(usize, u8); 3] = [(1, 0x02), (30, 0x02), (30, 0x10)];
        for (count, (port, flags)) in counts.iter_mut().zip(frames) {
            for index in 0..ranges.div_ceil(3) {
                let port = u16::try_from(index * 180 + port).unwrap();
                let data = kernel::tcp_frame(port, flags);
                let packet = Packet { data: &data, protocol: 0x0800, packet_type: HOST };
                *count = machine::run(program.instructions(), &packet).1.max(*count);
            }
        }
        let pair = kernel::FilteredPair::new(program.instructions());
        let accepting = kernel::FilteredPair::new(Program::accept_all().instructions());
        let rejecting = kernel::FilteredPair::new(Program::reject_all().instructions());
        let bare = [&accepting, &rejecting, &rejecting];
        let mut spent = frames.iter().zip(bare).map(|(&(port, flags), bare)| {
            let frame = kernel::tcp_frame(u16::try_from(port).unwrap(), flags);
            pair.nanoseconds(&frame) - bare.nanoseconds(&frame)
        });
        let (knock, stray, ack) = (spent.next().unwrap(), spent.next().unwrap(), spent.next().unwrap());
        let length = program.instructions().len();
        println!(
            "{ranges:>6}  {length:>12}  {:>15}  {:>5}  {:>3}  {knock:>17.0}  {stray:>5.0}  {ack:>3.0}",
            counts[0], counts[1], counts[2]
        );
        worst.push(*counts.iter().max().unwrap());
    }
    assert!(worst[3] <= worst[0] + 8 * FLAG_CONDITIONS_MAX + 16, "{worst:?}");
}
