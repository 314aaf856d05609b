//! Doors that open for the whole network of who knocked.

use std::boxed::Box;
use std::format;
use std::string::{String, ToString};
use std::vec::Vec as List;

use super::*;
use crate::knock::{FlagCondition, InterfaceSet, ServicePort};
use crate::limits::{GRANTS_MAX, GRANTS_RESERVED};
use crate::rule::{Door, Reach, RuleSetBuilder, Sequence, Terms};

const HOME: DoorId = DoorId(0);
const WIDE: Reach = Reach { v4: 24, v6: 64 };

const MARIA: &str = "203.0.113.7";
const NEIGHBOUR: &str = "203.0.113.200";
const STRANGER: &str = "203.0.114.7";

/// Doors `home` (tcp/22, 30 s), `office` (tcp/22 and tcp/443, 60 s), as wide as `reach` says, and `alone`
/// (tcp/22, 90 s).
fn rules(reach: Reach) -> RuleSet {
    let mut builder = RuleSetBuilder::new();
    let doors = [("home", &[22][..], 30, reach), ("office", &[22, 443], 60, reach)];
    let alone = ("alone", &[22][..], 90, Reach::SOURCE_ALONE);
    for (name, ports, secs, reach) in doors.into_iter().chain([alone]) {
        let door = Door {
            name: name.try_into().unwrap(),
            ports: ports.iter().map(|&port| ServicePort::tcp(port)).collect(),
            open_for: Duration::from_secs(secs),
            target: None,
            interfaces: InterfaceSet::ALL,
            terms: Terms { reach, ..Terms::PLAIN },
        };
        let door = builder.door(door).unwrap();
        for purpose in [Purpose::Open, Purpose::Close] {
            let steps = Vec::from_slice(&[step(door, purpose)]).unwrap();
            let (within, reorder) = (Duration::from_secs(10), Duration::ZERO);
            let flags = FlagCondition::OPENING_SYN;
            builder.sequence(Sequence { door, purpose, steps, within, reorder, flags }).unwrap();
        }
    }
    builder.build().unwrap()
}

/// The only knock of a door's sequence.
fn step(door: DoorId, purpose: Purpose) -> Step {
    Step::udp(1000 + 10 * door.0 + u16::from(purpose == Purpose::Close))
}

struct World {
    engine: Box<Engine<1>>,
    now: Instant,
    told: List<String>,
}

impl World {
    fn new(reach: Reach) -> Self {
        let engine = Box::new(Engine::new(rules(reach), HashKey::new([1; 16])));
        Self { engine, now: Instant::from_millis(1000), told: List::new() }
    }

    fn knock(&mut self, source: &str, door: DoorId, purpose: Purpose) {
        let source: IpAddr = source.parse().unwrap();
        let port = step(door, purpose).value.to_be_bytes();
        let datagram = [0xc0, 0, port[0], port[1], 0, 8, 0, 0];
        let mut packet = List::new();
        match source {
            IpAddr::V4(v4) => {
                packet.extend([0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0]);
                packet.extend(v4.octets());
                packet.extend([198, 51, 100, 1]);
            }
            IpAddr::V6(v6) => {
                packet.extend([0x60, 0, 0, 0, 0, 8, 17, 64]);
                packet.extend(v6.octets());
                packet.extend([0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
            }
        }
        packet.extend(datagram);
        let link = crate::port::LinkType::RawIp;
        let frame = Frame { interface: crate::InterfaceIndex(0), link, bytes: &packet };
        self.handle(Input::Frame(frame));
        self.pass(0);
    }

    fn open(&mut self, source: &str, door: DoorId) {
        self.knock(source, door, Purpose::Open);
    }

    fn handle(&mut self, input: Input<'_>) {
        for command in self.engine.handle(input, self.now) {
            let said = match &command {
                FirewallCommand::Open { source, ports, .. } => {
                    let ports = ports.iter().map(|(port, secs)| format!(" {}:{secs}", port.port));
                    format!("open {source}{}", ports.collect::<String>())
                }
                FirewallCommand::Close { source, ports, .. } => {
                    let ports = ports.iter().map(|port| format!(" {}", port.port));
                    format!("close {source}{}", ports.collect::<String>())
                }
            };
            self.told.push(said);
            let done = Input::FirewallDone { grant: command.grant(), result: Ok(()) };
            assert!(self.engine.handle(done, self.now).is_empty());
        }
    }

    fn pass(&mut self, secs: u64) {
        let end = self.now + Duration::from_secs(secs);
        while let Some(due) = self.engine.poll_at().filter(|&due| due <= end) {
            self.now = self.now.max(due);
            self.handle(Input::Tick);
        }
        self.now = end;
    }

    fn told(&mut self) -> List<String> {
        core::mem::take(&mut self.told)
    }

    /// Event, who asked, and the bits it is for.
    fn audit(&mut self) -> List<String> {
        let mut said = List::new();
        while let Some(record) = self.engine.next_record(self.now) {
            let id = record.id;
            said.push(match &record.event {
                Event::Grant { source, prefix, extended, .. } => {
                    format!("grant {source}/{prefix} {extended}")
                }
                Event::Expire { source, prefix, .. } => format!("expire {source}/{prefix}"),
                Event::Revoke { source, prefix, reason, .. } => {
                    format!("revoke {source}/{prefix} {}", reason.reason())
                }
                event => event.id().to_string(),
            });
            self.engine.record_written(id);
        }
        said
    }
}

#[test]
fn two_of_one_network_share_a_grant_and_the_longest_wins() {
    let mut world = World::new(WIDE);
    world.open(MARIA, HOME);
    world.pass(10);
    world.open(NEIGHBOUR, HOME);
    assert_eq!(world.told(), ["open 203.0.113.0/24 22:30", "open 203.0.113.0/24 22:30"]);
    assert_eq!(world.audit(), ["grant 203.0.113.7/24 false", "grant 203.0.113.200/24 true"]);
    assert_eq!(world.engine.grants().count(), 1);
    world.open(STRANGER, HOME);
    assert_eq!(world.told(), ["open 203.0.114.0/24 22:30"]);
    world.pass(29);
    assert_eq!(world.told(), [] as [&str; 0]);
    world.pass(1);
    assert_eq!(world.told(), ["close 203.0.113.0/24 22", "close 203.0.114.0/24 22"]);
    assert_eq!(world.audit()[1..], ["expire 203.0.113.200/24", "expire 203.0.114.7/24"]);
    assert_eq!(world.engine.poll_at(), None);
}

#[test]
fn ipv6_is_of_a_width_of_its_own() {
    let mut world = World::new(WIDE);
    world.open("2001:db8:1:2:aaaa::7", HOME);
    world.open("2001:db8:1:2:bbbb::9", HOME);
    world.open("2001:db8:1:3:aaaa::7", HOME);
    let told = world.told();
    let expected =
        ["open 2001:db8:1:2::/64 22:30", "open 2001:db8:1:2::/64 22:30", "open 2001:db8:1:3::/64 22:30"];
    assert_eq!(told, expected);
    let mut world = World::new(Reach { v6: 128, ..WIDE });
    world.open("2001:db8:1:2:aaaa::7", HOME);
    assert_eq!(world.told(), ["open 2001:db8:1:2:aaaa::7 22:30"]);
}

#[test]
fn who_is_of_the_link_alone_is_let_in_alone() {
    let mut world = World::new(WIDE);
    world.open("fe80::7", HOME);
    world.open("169.254.3.4", HOME);
    assert_eq!(world.told(), ["open fe80::7 22:30", "open 169.254.3.4 22:30"]);
    assert_eq!(WIDE.network("::ffff:203.0.113.7".parse().unwrap()).to_string(), "::ffff:203.0.113.7");
}

#[test]
fn doors_of_one_network_share_a_port_and_one_of_an_address_does_not() {
    let (office, alone) = (DoorId(1), DoorId(2));
    let mut world = World::new(WIDE);
    world.open(MARIA, HOME);
    world.open(NEIGHBOUR, office);
    world.open(MARIA, alone);
    let opened = ["open 203.0.113.0/24 22:30", "open 203.0.113.0/24 22:60 443:60", "open 203.0.113.7 22:90"];
    assert_eq!(world.told(), opened);
    world.pass(30);
    assert_eq!(world.told(), ["close 203.0.113.0/24"], "the other door holds the port");
    world.pass(30);
    assert_eq!(world.told(), ["close 203.0.113.0/24 22 443"], "that of an address is another thing");
    world.pass(30);
    assert_eq!(world.told(), ["close 203.0.113.7 22"]);
}

#[test]
fn anybody_of_the_network_closes_it_and_nobody_else() {
    for closer in [MARIA, NEIGHBOUR] {
        let mut world = World::new(WIDE);
        world.open(MARIA, HOME);
        world.audit();
        world.knock(STRANGER, HOME, Purpose::Close);
        assert_eq!(world.engine.grants().count(), 1);
        world.knock(closer, HOME, Purpose::Close);
        assert_eq!(world.told().last().unwrap(), "close 203.0.113.0/24 22");
        assert_eq!(world.audit(), ["revoke 203.0.113.7/24 close-sequence"]);
        assert_eq!(world.engine.grants().count(), 0);
    }
}

#[test]
fn an_operator_takes_back_what_covers_an_address() {
    let mut world = World::new(WIDE);
    world.open(MARIA, HOME);
    for (source, left) in [(STRANGER, 1), (NEIGHBOUR, 0)] {
        let source = Some(source.parse().unwrap());
        world.handle(Input::Revoke { door: HOME, source });
        world.pass(0);
        assert_eq!(world.engine.grants().count(), left);
    }
}

#[test]
fn another_width_ends_what_was_granted() {
    for (next, v4, v6) in [
        (Reach { v4: 28, ..WIDE }, 0, 1),
        (Reach { v6: 56, ..WIDE }, 1, 0),
        (Reach { v4: 16, v6: 48 }, 0, 0),
        (Reach::SOURCE_ALONE, 0, 0),
        (WIDE, 1, 1),
    ] {
        let mut world = World::new(WIDE);
        world.open(MARIA, HOME);
        world.open("2001:db8:1:2:aaaa::7", HOME);
        world.audit();
        world.told();
        world.engine.replace_rules(rules(next), Keys::none(), world.now);
        world.pass(0);
        let left =
            |is_v4: bool| world.engine.grants().filter(|grant| grant.source.is_ipv4() == is_v4).count();
        assert_eq!((left(true), left(false)), (v4, v6), "{next:?}");
        let closed = world.told().iter().filter(|said| said.starts_with("close ")).count();
        assert_eq!(closed, 2 - v4 - v6, "{next:?}");
    }
    // And what was for one address is not made wider.
    let mut world = World::new(Reach::SOURCE_ALONE);
    world.open(MARIA, HOME);
    world.engine.replace_rules(rules(WIDE), Keys::none(), world.now);
    world.pass(0);
    assert_eq!(world.told(), ["open 203.0.113.7 22:30", "close 203.0.113.7 22"]);
}

#[test]
fn neighbours_take_one_place_of_the_table() {
    let mut world = World::new(WIDE);
    for host in 1..=200 {
        world.open(&format!("203.0.113.{host}"), HOME);
    }
    assert_eq!(world.engine.grants().count(), 1);
    let mut said = List::new();
    for network in 0..u16::try_from(GRANTS_MAX).unwrap() {
        let [high, low] = network.to_be_bytes();
        world.open(&format!("10.{high}.{low}.1"), HOME);
        said.extend(world.audit());
    }
    assert_eq!(world.engine.grants().count(), GRANTS_MAX - GRANTS_RESERVED);
    assert!(said.contains(&"DENY-POLICY".to_string()), "a network takes a place like an address");
    // Who is of a network that has a place needs none.
    world.told();
    world.open("203.0.113.201", HOME);
    assert_eq!(world.told(), ["open 203.0.113.0/24 22:30"]);
}

#[test]
fn what_a_kernel_holds_is_adopted_as_wide_as_the_door_opens() {
    let held = |address: &str, prefix| Network { address: address.parse().unwrap(), prefix };
    let mut world = World::new(WIDE);
    for (network, is_adopted) in [
        (held("203.0.113.0", 25), false),
        (held("203.0.0.0", 16), false),
        (held("203.0.113.7", 32), false),
        (held("203.0.113.0", 24), true),
        (held("203.0.113.0", 24), false),
        (held("2001:db8::", 64), true),
    ] {
        assert_eq!(world.engine.adopt(HOME, network, 20, world.now), is_adopted, "{network}");
    }
    assert_eq!(world.audit(), ["grant 203.0.113.0/24 false", "grant 2001:db8::/64 false"]);
    world.open(NEIGHBOUR, HOME);
    assert_eq!(world.told(), ["open 203.0.113.0/24 22:30"]);
    assert_eq!(world.audit(), ["grant 203.0.113.200/24 true"]);
}
