//! From a sealed datagram to a grant, with a journal and a firewall that answer as told.

use std::boxed::Box;
use std::string::{String, ToString};
use std::vec::Vec as List;

use super::*;
use crate::knock::{InterfaceIndex, InterfaceSet, ServicePort};
use crate::limits::{DENY_RECORDS_PER_WINDOW_MAX, WAITING_PACKETS_MAX};
use crate::port::LinkType;
use crate::rule::{Door, Reach, RuleSetBuilder, Terms};
use crate::spa::key::{DeviceId, SpaKey};
use crate::spa::native::{PACKET_BYTES, Request, Sealer};
use crate::spa::policy::{ClaimRule, DoorSet, Policy};
use crate::time::Duration;

const DEVICE: DeviceId = DeviceId([9; 16]);
const PORT: u16 = 62_201;
const MARIA: [u8; 32] = [1; 32];
const OTTO: [u8; 32] = [2; 32];

fn rules() -> RuleSet {
    let mut builder = RuleSetBuilder::new();
    for (name, port, target) in [("ssh", 22, None), ("web", 443, Some([203, 0, 113, 2].into()))] {
        let (ports, open_for) = ([ServicePort::tcp(port)], Duration::from_secs(30));
        let ports = Vec::from_slice(&ports).unwrap();
        let interfaces = InterfaceSet::ALL;
        builder
            .door(Door {
                name: name.try_into().unwrap(),
                ports,
                open_for,
                target,
                interfaces,
                terms: Terms::PLAIN,
            })
            .unwrap();
    }
    // Opens for the whole network of who asks.
    builder
        .door(Door {
            name: "wide".try_into().unwrap(),
            ports: Vec::from_slice(&[ServicePort::tcp(8443)]).unwrap(),
            open_for: Duration::from_secs(30),
            target: None,
            interfaces: InterfaceSet::ALL,
            terms: Terms { reach: Reach { v4: 24, v6: 64 }, ..Terms::PLAIN },
        })
        .unwrap();
    builder.build().unwrap()
}

fn keys(secrets: &[([u8; 32], &str, Policy)]) -> Keys {
    let mut keys = Keys::new(PORT, DEVICE);
    for (secret, name, policy) in secrets {
        let key = SpaKey::new(*secret);
        keys.add((*name).try_into().unwrap(), KeySecret::Native(&key), policy.clone(), |_| 0).unwrap();
    }
    keys
}

fn policy() -> Policy {
    Policy { doors: DoorSet::ALL, claims: ClaimRule::Allowed, ..Policy::default() }
}

struct World {
    engine: Box<Engine<1>>,
    now: Instant,
    told: List<String>,
    written: List<CeilingWrite>,
    journal: Result<(), JournalFailed>,
    /// Ceilings are not answered at once.
    slow: bool,
    asked: List<CeilingWrite>,
}

impl World {
    fn new() -> Self {
        let mut engine = Box::new(Engine::new(rules(), HashKey::new([1; 16])));
        engine.replace_keys(keys(&[(MARIA, "maria", policy()), (OTTO, "otto", policy())]));
        let now = Instant::from_millis(1000);
        let (told, written, asked) = (List::new(), List::new(), List::new());
        Self { engine, now, told, written, journal: Ok(()), slow: false, asked }
    }

    fn datagram(&mut self, source: [u8; 4], octets: &[u8]) {
        let length = u16::try_from(octets.len()).unwrap();
        let mut packet = std::vec![0x45, 0];
        packet.extend((28 + length).to_be_bytes());
        packet.extend([0, 0, 0, 0, 64, 17, 0, 0]);
        packet.extend(source);
        packet.extend([203, 0, 113, 1, 0xc0, 0]);
        packet.extend(PORT.to_be_bytes());
        packet.extend((8 + length).to_be_bytes());
        packet.extend([0, 0]);
        packet.extend(octets);
        let frame = Frame { interface: InterfaceIndex(0), link: LinkType::RawIp, bytes: &packet };
        let effects = self.engine.handle(Input::Frame(frame), self.now);
        self.carry_out(effects);
    }

    fn carry_out(&mut self, effects: Effects) {
        let ceiling = effects.ceiling();
        for command in effects {
            let text = match &command {
                FirewallCommand::Open { source, ports, once, .. } => {
                    let once = if *once { " once" } else { "" };
                    std::format!("open {source} {} {}{once}", ports[0].0.port, ports[0].1)
                }
                FirewallCommand::Close { source, ports, once, .. } => {
                    let once = if *once { " once" } else { "" };
                    std::format!("close {source} {}{once}", ports[0].port)
                }
            };
            self.told.push(text);
            let done = Input::FirewallDone { grant: command.grant(), result: Ok(()) };
            assert!(self.engine.handle(done, self.now).is_empty());
        }
        let Some(write) = ceiling else { return };
        if self.slow {
            return self.asked.push(write);
        }
        self.answer(write);
    }

    fn answer(&mut self, write: CeilingWrite) {
        if self.journal.is_ok() {
            self.written.push(write);
        }
        let input = Input::CeilingWritten { write, result: self.journal };
        let effects = self.engine.handle(input, self.now);
        self.carry_out(effects);
    }

    fn pass(&mut self, millis: u64) {
        let end = self.now + Duration::from_millis(millis);
        while let Some(due) = self.engine.poll_at().filter(|&due| due <= end) {
            self.now = self.now.max(due);
            let effects = self.engine.handle(Input::Tick, self.now);
            self.carry_out(effects);
        }
        self.now = end;
    }

    fn told(&mut self) -> List<String> {
        self.pass(0);
        core::mem::take(&mut self.told)
    }

    /// Ids of the audit records, with the name of the key and the reason.
    fn audit(&mut self) -> List<String> {
        let mut records = List::new();
        while let Some(record) = self.engine.next_record(self.now) {
            let (id, text) = (
                record.id,
                match &record.event {
                    Event::SpaRefused { key, reason, .. } => {
                        std::format!("{} {key} {reason}", record.event.id())
                    }
                    Event::Grant { key, .. } => std::format!("GRANT {key}"),
                    Event::Revoke { reason, .. } => std::format!("REVOKE {}", reason.reason()),
                    other => other.id().to_string(),
                },
            );
            self.engine.record_written(id);
            records.push(text);
        }
        records
    }
}

fn sealed(secret: [u8; 32], request: &Request) -> [u8; PACKET_BYTES] {
    Sealer::new(&SpaKey::new(secret), DEVICE).seal(request, &[5; 24]).unwrap()
}

fn open(door: &str, counter: u64) -> Request {
    Request::open(door.try_into().unwrap(), counter)
}

const HOME: [u8; 4] = [192, 0, 2, 1];
const CAFE: [u8; 4] = [198, 51, 100, 7];

#[test]
fn a_sealed_packet_opens_once_its_ceiling_is_on_the_medium() {
    let mut world = World::new();
    world.slow = true;
    world.datagram(HOME, &sealed(MARIA, &open("ssh", 1000)));
    assert!(world.told().is_empty(), "nothing before the medium has it");
    assert!(world.audit().is_empty());
    let [write] = world.asked[..] else { panic!("one ceiling") };
    assert!(write.ceiling > 1000 && write.tag == SpaKey::new(MARIA).tag(DEVICE));
    world.answer(write);
    assert_eq!(world.told(), ["open 192.0.2.1 22 30"]);
    assert_eq!(world.audit(), ["GRANT maria"]);
    // The next one is below the ceiling.
    world.asked.clear();
    world.datagram(HOME, &sealed(MARIA, &open("ssh", 1001)));
    assert!(world.asked.is_empty());
    assert_eq!(world.audit(), ["GRANT maria"]);
}

#[test]
fn a_packet_counts_once() {
    let mut world = World::new();
    let packet = sealed(MARIA, &open("ssh", 1000));
    world.datagram(HOME, &packet);
    assert_eq!(world.told(), ["open 192.0.2.1 22 30"]);
    world.datagram(HOME, &packet);
    world.datagram(CAFE, &packet);
    assert!(world.told().is_empty());
    let audit = world.audit();
    assert_eq!(audit, ["GRANT maria", "DENY-REPLAY maria counter-used", "DENY-REPLAY maria counter-used"]);
    assert_eq!(world.engine.counters().spa.replayed, 2);
}

#[test]
fn copies_that_wait_together_count_once() {
    let mut world = World::new();
    world.slow = true;
    let packet = sealed(MARIA, &open("ssh", 1000));
    for source in [HOME, CAFE, HOME] {
        world.datagram(source, &packet);
    }
    assert_eq!(world.asked.len(), 1, "one write for all of them");
    let write = world.asked[0];
    world.answer(write);
    assert_eq!(world.told().len(), 1);
    assert_eq!(world.engine.counters().spa.replayed, 2);
}

#[test]
fn a_medium_that_fails_opens_nothing_and_the_client_comes_again() {
    let mut world = World::new();
    world.journal = Err(JournalFailed);
    world.datagram(HOME, &sealed(MARIA, &open("ssh", 1000)));
    assert!(world.told().is_empty());
    assert_eq!(world.audit(), ["DENY-POLICY maria journal-failed"]);
    world.journal = Ok(());
    world.datagram(HOME, &sealed(MARIA, &open("ssh", 1001)));
    assert_eq!(world.told(), ["open 192.0.2.1 22 30"]);
}

#[test]
fn a_lease_is_as_long_as_asked_and_closed_when_asked() {
    let mut world = World::new();
    let mut request = open("ssh", 1000);
    request.lease_secs = 10;
    world.datagram(HOME, &sealed(MARIA, &request));
    assert_eq!(world.told(), ["open 192.0.2.1 22 10"]);
    let close = Request { purpose: Purpose::Close, lease_secs: 0, ..open("ssh", 1001) };
    world.datagram(HOME, &sealed(MARIA, &close));
    assert_eq!(world.told(), ["close 192.0.2.1 22"]);
    assert_eq!(world.audit(), ["GRANT maria", "REVOKE spa-request"]);
}

#[test]
fn claimed_sources_are_let_in_and_nobody_else() {
    let mut world = World::new();
    let claims = [IpAddr::from(CAFE), IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 7])];
    let request = Request { claimed: Vec::from_slice(&claims).unwrap(), ..open("ssh", 1000) };
    world.datagram(HOME, &sealed(MARIA, &request));
    assert_eq!(world.told(), ["open 198.51.100.7 22 30", "open 2001:db8::7 22 30"]);
}

#[test]
fn who_moves_to_another_network_gets_in_and_the_old_grant_goes() {
    let mut world = World::new();
    world.datagram(HOME, &sealed(MARIA, &open("ssh", 1000)));
    world.datagram(HOME, &sealed(OTTO, &open("ssh", 1000)));
    world.told();
    world.audit();
    world.datagram(CAFE, &sealed(OTTO, &open("ssh", 1001)));
    // Otto's grant was Maria's too, for the same address: the last proof counts.
    assert_eq!(world.told(), ["close 192.0.2.1 22", "open 198.51.100.7 22 30"]);
    assert_eq!(world.audit(), ["REVOKE superseded", "GRANT otto"]);
    // Two are allowed.
    let two = Policy { grants_per_door: 2, ..policy() };
    world.engine.replace_keys(keys(&[(OTTO, "otto", two)]));
    world.datagram(HOME, &sealed(OTTO, &open("ssh", 1002)));
    assert_eq!(world.told(), ["open 192.0.2.1 22 30"]);
    assert_eq!(world.audit(), ["GRANT otto"]);
}

#[test]
fn claimed_sources_are_of_the_networks_the_door_opens_for() {
    let mut world = World::new();
    let v6 = |host| IpAddr::from([0x2001, 0xdb8, 1, 2, 0, 0, 0, host]);
    let claiming = |claims: &[IpAddr], counter| Request {
        claimed: Vec::from_slice(claims).unwrap(),
        ..open("wide", counter)
    };
    world.datagram(HOME, &sealed(MARIA, &claiming(&[CAFE.into(), v6(7)], 1000)));
    assert_eq!(world.told(), ["open 198.51.100.0/24 8443 30", "open 2001:db8:1:2::/64 8443 30"]);
    // Two of one network are one grant.
    world.datagram(HOME, &sealed(MARIA, &claiming(&[v6(8), v6(9)], 1001)));
    assert_eq!(world.told(), ["open 2001:db8:1:2::/64 8443 30"]);
    assert_eq!(world.engine.grants().count(), 2);
    // Who moves within it has the same grant; who leaves it takes the grant along.
    world.datagram([198, 51, 100, 200], &sealed(MARIA, &open("wide", 1002)));
    assert_eq!(world.told(), ["open 198.51.100.0/24 8443 30"]);
    world.datagram(HOME, &sealed(MARIA, &open("wide", 1003)));
    assert_eq!(world.told(), ["close 198.51.100.0/24 8443", "open 192.0.2.0/24 8443 30"]);
    // Anybody with a key closes the door for the network, by claim as well.
    let close = Request { purpose: Purpose::Close, ..claiming(&[v6(77)], 1000) };
    world.datagram(CAFE, &sealed(OTTO, &close));
    assert_eq!(world.told(), ["close 2001:db8:1:2::/64 8443"]);
}

#[test]
fn one_connection_is_nothing_for_a_network() {
    let mut world = World::new();
    let once = Request { one_shot: true, ..open("wide", 1000) };
    world.datagram(HOME, &sealed(MARIA, &once));
    assert!(world.told().is_empty());
    assert_eq!(world.audit(), ["DENY-POLICY maria one-shot-needs-one-address"]);
}

#[test]
fn a_packet_may_ask_for_one_connection() {
    let mut world = World::new();
    let once = |counter| Request { one_shot: true, ..open("ssh", counter) };
    world.datagram(HOME, &sealed(MARIA, &once(1000)));
    assert_eq!(world.told(), ["open 192.0.2.1 22 30 once"]);
    // Asking again gives back what may have been used up.
    world.datagram(HOME, &sealed(MARIA, &once(1001)));
    assert_eq!(world.told(), ["open 192.0.2.1 22 30 once"]);
    // A grant for any number of connections is another one, and each ends by itself.
    world.datagram(HOME, &sealed(OTTO, &open("ssh", 1000)));
    assert_eq!(world.told(), ["open 192.0.2.1 22 30"]);
    assert_eq!(world.engine.grants().count(), 2);
    world.pass(31_000);
    assert_eq!(world.told(), ["close 192.0.2.1 22 once", "close 192.0.2.1 22"]);
}

#[test]
fn what_a_key_must_not_is_refused_with_its_reason() {
    let mut world = World::new();
    let only_web = Policy { doors: DoorSet::NONE.with(DoorId(1)), ..policy() };
    world.engine.replace_keys(keys(&[(MARIA, "maria", only_web), (OTTO, "otto", policy())]));
    world.datagram(HOME, &sealed(MARIA, &open("ssh", 1000)));
    world.datagram(HOME, &sealed(OTTO, &open("web", 1000)));
    world.datagram(HOME, &sealed([3; 32], &open("ssh", 1000)));
    let other_device = Sealer::new(&SpaKey::new(OTTO), DeviceId([8; 16]));
    world.datagram(HOME, &other_device.seal(&open("ssh", 1002), &[5; 24]).unwrap());
    assert!(world.told().is_empty());
    let audit = world.audit();
    assert_eq!(audit[0], "DENY-POLICY maria door-not-allowed");
    assert_eq!(audit[1], "DENY-POLICY otto not-here", "the door awaits them at another address");
    assert_eq!(audit[2..], ["DENY-MAC  not-genuine", "DENY-MAC  not-genuine"]);
}

#[test]
fn keys_that_change_while_a_packet_waits() {
    let mut world = World::new();
    world.slow = true;
    world.datagram(HOME, &sealed(MARIA, &open("ssh", 1000)));
    world.datagram(CAFE, &sealed(OTTO, &open("ssh", 1000)));
    world.pass(0);
    world.engine.replace_rules(rules(), keys(&[(OTTO, "otto", policy())]), world.now);
    for write in core::mem::take(&mut world.asked) {
        world.answer(write);
    }
    assert_eq!(world.told(), ["open 198.51.100.7 22 30"]);
    let audit = world.audit();
    assert!(audit.contains(&"DENY-POLICY  key-removed".to_string()), "{audit:?}");
    // What is known of a key that stays is kept: its packet does not count again.
    world.datagram(HOME, &sealed(OTTO, &open("ssh", 1000)));
    assert!(world.told().is_empty());
}

#[test]
fn no_more_wait_than_there_is_room_for() {
    let mut world = World::new();
    world.slow = true;
    for counter in 0..2 * WAITING_PACKETS_MAX as u64 {
        world.datagram(HOME, &sealed(MARIA, &open("ssh", 1000 + counter)));
    }
    let refused = world.audit().iter().filter(|line| *line == "DENY-POLICY maria busy").count();
    assert_eq!(refused, WAITING_PACKETS_MAX);
    // Whoever waits for an answer that never comes gives its place up.
    world.pass(crate::limits::JOURNAL_ANSWER.millis() + 1);
    world.datagram(HOME, &sealed(MARIA, &open("ssh", 2000)));
    assert!(!world.audit().iter().any(|line| line.contains("busy")));
}

#[test]
fn a_flood_of_junk_is_counted_and_fills_no_log() {
    let mut world = World::new();
    for octet in 0..=255_u8 {
        for length in [0, 1, PACKET_BYTES - 1, PACKET_BYTES, PACKET_BYTES + 1] {
            world.datagram(HOME, &std::vec![octet; length]);
        }
    }
    assert_eq!(world.engine.counters().spa.not_genuine, 5 * 256);
    let audit = world.audit();
    let denials = audit.iter().filter(|line| line.starts_with("DENY-MAC")).count();
    assert_eq!(denials, usize::try_from(DENY_RECORDS_PER_WINDOW_MAX).unwrap());
    assert_eq!(audit.iter().filter(|line| line.starts_with("BRUTE")).count(), 1, "{audit:?}");
    assert_eq!(audit.len(), denials + 1);
    assert_eq!(world.engine.counters().strays, 0, "the matcher never sees them");
    world.pass(20_000);
    let summary = world.audit();
    assert_eq!(summary.iter().filter(|line| *line == "DENY-MAC").count(), 1, "and one summary: {summary:?}");
    assert!(summary.iter().all(|line| line == "DENY-MAC" || line.starts_with("BRUTE")), "{summary:?}");
    assert!(world.told().is_empty());
    world.datagram(HOME, &sealed(MARIA, &open("ssh", 1000)));
    assert_eq!(world.told(), ["open 192.0.2.1 22 30"]);
}

#[test]
fn a_cut_datagram_is_of_the_wrong_size() {
    let mut world = World::new();
    let packet = sealed(MARIA, &open("ssh", 1000));
    world.datagram(HOME, &packet[..PACKET_BYTES - 1]);
    assert_eq!(world.audit(), ["DENY-MAC  size"]);
}
