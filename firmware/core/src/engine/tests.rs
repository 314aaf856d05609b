//! The life of a grant, driven through the engine with a firewall that answers as told.

use std::boxed::Box;
use std::vec::Vec as List;

use super::*;
use crate::audit::FirewallTask;
use crate::knock::{FlagCondition, InterfaceIndex, InterfaceSet, ServicePort, Step};
use crate::limits::{FIREWALL_TRIES_MAX, GRANTS_MAX, GRANTS_RESERVED};
use crate::port::LinkType;
use crate::rule::{Door, Name, RuleSetBuilder, Sequence, Terms};
use crate::time::Duration;

const SSH: DoorId = DoorId(0);
const WEB: DoorId = DoorId(1);
const OPEN_FOR: Duration = Duration::from_secs(30);

/// Doors `ssh` (tcp/22, 30 s, knock 7, close 8), `web` (tcp/443 and tcp/22, 60 s, knock 9).
fn rules(with_web: bool) -> RuleSet {
    let mut builder = RuleSetBuilder::new();
    let mut add = |name: &str, ports: &[ServicePort], secs: u64, knocks: &[(u16, Purpose)]| {
        let door = Door {
            name: Name::try_from(name).unwrap(),
            ports: Vec::from_slice(ports).unwrap(),
            open_for: Duration::from_secs(secs),
            target: None,
            interfaces: InterfaceSet::ALL,
            terms: Terms::PLAIN,
        };
        let door = builder.door(door).unwrap();
        for &(port, purpose) in knocks {
            let steps = Vec::from_slice(&[Step::tcp(port)]).unwrap();
            let (within, reorder) = (Duration::from_secs(10), Duration::ZERO);
            let flags = FlagCondition::OPENING_SYN;
            builder.sequence(Sequence { door, purpose, steps, within, reorder, flags }).unwrap();
        }
    };
    add("ssh", &[ServicePort::tcp(22)], 30, &[(7, Purpose::Open), (8, Purpose::Close)]);
    if with_web {
        add("web", &[ServicePort::tcp(443), ServicePort::tcp(22)], 60, &[(9, Purpose::Open)]);
    }
    builder.build().unwrap()
}

struct World {
    engine: Box<Engine<1>>,
    now: Instant,
    /// What the firewall was told, as `open 443:60 22:60` or `close 22`.
    told: List<std::string::String>,
    answer: Result<(), FirewallError>,
}

impl World {
    fn new() -> Self {
        let engine = Box::new(Engine::new(rules(true), HashKey::new([1; 16])));
        Self { engine, now: Instant::from_millis(1000), told: List::new(), answer: Ok(()) }
    }

    fn source(number: u16) -> [u8; 4] {
        let [high, low] = number.to_be_bytes();
        [192, 0, high, low]
    }

    fn knock(&mut self, source: u16, port: u16) {
        let mut packet = std::vec![0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0];
        packet.extend(Self::source(source));
        packet.extend([203, 0, 113, 1, 0xc0, 0]);
        packet.extend(port.to_be_bytes());
        packet.extend([0, 0, 0, 0, 0, 0, 0, 0, 0x50, 2, 0, 0, 0, 0, 0, 0]);
        let frame = Frame { interface: InterfaceIndex(0), link: LinkType::RawIp, bytes: &packet };
        let effects = self.engine.handle(Input::Frame(frame), self.now);
        self.carry_out(effects);
    }

    fn carry_out(&mut self, effects: Effects) {
        for command in effects {
            let words: List<_> = match &command {
                FirewallCommand::Open { ports, .. } => {
                    let words = ports.iter().map(|(port, secs)| std::format!("{}:{secs}", port.port));
                    [std::string::String::from("open")].into_iter().chain(words).collect()
                }
                FirewallCommand::Close { ports, .. } => {
                    let words = ports.iter().map(|port| std::format!("{}", port.port));
                    [std::string::String::from("close")].into_iter().chain(words).collect()
                }
            };
            self.told.push(words.join(" "));
            let done = Input::FirewallDone { grant: command.grant(), result: self.answer };
            assert!(self.engine.handle(done, self.now).is_empty());
        }
    }

    /// Lets time pass, waking only when the engine asked for it.
    fn pass(&mut self, millis: u64) {
        let end = self.now + Duration::from_millis(millis);
        while let Some(due) = self.engine.poll_at().filter(|&due| due <= end) {
            self.now = self.now.max(due);
            let effects = self.engine.handle(Input::Tick, self.now);
            self.carry_out(effects);
        }
        self.now = end;
    }

    fn revoke(&mut self, door: DoorId) {
        let effects = self.engine.handle(Input::Revoke { door, source: None }, self.now);
        self.carry_out(effects);
        self.pass(0);
    }

    fn told(&mut self) -> List<std::string::String> {
        core::mem::take(&mut self.told)
    }

    fn audit(&mut self) -> List<&'static str> {
        let mut ids = List::new();
        while let Some(record) = self.engine.next_record(self.now) {
            let id = record.id;
            ids.push(record.event.id());
            self.engine.record_written(id);
        }
        ids
    }
}

#[test]
fn a_grant_is_opened_audited_and_closed_in_its_time() {
    let mut world = World::new();
    world.knock(1, 7);
    assert_eq!(world.told(), ["open 22:30"]);
    assert_eq!(world.audit(), ["GRANT"]);
    assert_eq!(world.engine.poll_at(), Some(Instant::from_millis(31_000)));
    world.pass(29_999);
    assert_eq!(world.engine.grants().count(), 1);
    world.pass(1);
    assert_eq!(world.told(), ["close 22"]);
    assert_eq!(world.audit(), ["EXPIRE"]);
    assert_eq!(world.engine.grants().count(), 0);
    assert_eq!(world.engine.poll_at(), None, "an idle engine wants no tick");
}

#[test]
fn asking_again_extends() {
    let mut world = World::new();
    world.knock(1, 7);
    world.pass(10_000);
    world.knock(1, 7);
    world.pass(29_999);
    assert_eq!(world.told(), ["open 22:30", "open 22:30"]);
    assert_eq!(world.audit(), ["GRANT", "GRANT"]);
    world.pass(1);
    assert_eq!(world.told(), ["close 22"]);
}

#[test]
fn doors_that_share_a_port_do_not_cut_each_other() {
    let mut world = World::new();
    world.knock(1, 9);
    world.pass(1000);
    world.knock(1, 7);
    assert_eq!(world.told(), ["open 22:60 443:60", "open 22:59"], "never shortened");
    world.pass(30_000);
    assert_eq!(world.told(), ["close"], "the other door still holds the port");
    world.pass(29_000);
    assert_eq!(world.told(), ["close 22 443"]);
}

#[test]
fn closing_sequence_closes_only_for_its_source() {
    let mut world = World::new();
    world.knock(1, 7);
    world.knock(2, 7);
    world.audit();
    world.told();
    world.knock(1, 8);
    assert_eq!(world.told(), ["close 22"]);
    assert_eq!(world.audit(), ["REVOKE"]);
    assert_eq!(world.engine.grants().count(), 1);
}

#[test]
fn not_open_until_the_firewall_said_so() {
    let mut world = World::new();
    world.answer = Err(FirewallError::Busy);
    world.knock(1, 7);
    assert_eq!(world.audit(), [] as [&str; 0]);
    assert!(!world.engine.grants().next().unwrap().is_open());
    world.pass(50);
    world.answer = Ok(());
    world.pass(100);
    assert_eq!(world.told().len(), 3);
    assert_eq!(world.audit(), ["GRANT"]);
    // The end counts from the knock, not from the answer.
    assert_eq!(world.engine.poll_at(), Some(Instant::from_millis(31_000)));
}

#[test]
fn a_firewall_that_fails_for_good_is_audited_and_taken_back() {
    let mut world = World::new();
    world.answer = Err(FirewallError::NoAnswer);
    world.knock(1, 7);
    world.pass(5000);
    let tries = usize::from(FIREWALL_TRIES_MAX);
    let told = world.told();
    assert_eq!(told.iter().filter(|word| word.starts_with("open")).count(), tries);
    assert_eq!(told.iter().filter(|word| word.starts_with("close")).count(), tries, "it may have been done");
    assert_eq!(world.audit(), ["FW-FAIL", "FW-FAIL"]);
    assert_eq!(world.engine.grants().count(), 0);
    world.answer = Err(FirewallError::Denied);
    world.knock(1, 7);
    world.pass(0);
    assert_eq!(world.told(), ["open 22:30", "close 22"], "no use in trying again");
}

#[test]
fn a_failed_extension_leaves_the_first_end() {
    let mut world = World::new();
    world.knock(1, 7);
    world.pass(10_000);
    world.answer = Err(FirewallError::Full);
    world.knock(1, 7);
    world.pass(1000);
    world.audit();
    assert_eq!(world.engine.poll_at(), Some(Instant::from_millis(31_000)));
}

#[test]
fn an_answer_that_never_comes_counts_as_failed() {
    let mut world = World::new();
    let door = rules(true);
    let mut grants = Box::new(GrantTable::new());
    let source = IpAddr::from([192, 0, 2, 1]);
    grants
        .want(SSH, door.door(SSH).unwrap(), source, Lease::of(OPEN_FOR), Proof::Sequence, world.now)
        .unwrap();
    assert!(grants.next_command(world.now).is_some());
    assert!(grants.next_command(world.now).is_none());
    world.pass(crate::limits::FIREWALL_ANSWER.millis());
    assert!(grants.expire(world.now).is_some());
    assert!(grants.next_due().unwrap() > world.now, "a pause before the next try");
}

fn one_shot(name: &str) -> Door {
    Door {
        name: name.try_into().unwrap(),
        ports: Vec::from_slice(&[ServicePort::tcp(22)]).unwrap(),
        open_for: OPEN_FOR,
        target: None,
        interfaces: InterfaceSet::ALL,
        terms: Terms { one_shot: true, ..Terms::PLAIN },
    }
}

/// What nobody knows to be done may have been done, and used up: once more would be one too many.
#[test]
fn a_grant_for_one_connection_is_not_tried_twice_in_the_dark() {
    let (mut grants, now) = (Box::new(GrantTable::new()), Instant::from_millis(0));
    let source = IpAddr::from([192, 0, 2, 1]);
    let door = one_shot("once");
    grants.want(SSH, &door, source, Lease::of(OPEN_FOR), Proof::Sequence, now).unwrap();
    let command = grants.next_command(now).unwrap();
    assert!(matches!(command, FirewallCommand::Open { once: true, .. }), "the door wants it");
    let (_, change) = grants.answered(command.grant(), Err(FirewallError::NoAnswer), now).unwrap();
    assert!(matches!(change, Change::Failed { task: FirewallTask::Open, .. }));
    let command = grants.next_command(now).unwrap();
    assert!(matches!(command, FirewallCommand::Close { once: true, .. }));
    // Busy is an answer.
    grants.answered(command.grant(), Ok(()), now);
    grants.want(SSH, &door, source, Lease::of(OPEN_FOR), Proof::Sequence, now).unwrap();
    let command = grants.next_command(now).unwrap();
    assert!(grants.answered(command.grant(), Err(FirewallError::Busy), now).is_none());
    assert!(matches!(grants.next_command(now + Duration::from_secs(1)), Some(FirewallCommand::Open { .. })));
}

/// Two doors with one port have one thing in the kernel, which may be used up already.
#[test]
fn the_end_of_a_grant_for_one_connection_gives_nothing_back() {
    let (mut grants, now) = (Box::new(GrantTable::new()), Instant::from_millis(0));
    let source = IpAddr::from([192, 0, 2, 1]);
    let lease = |secs| Lease::of(Duration::from_secs(secs));
    grants.want(DoorId(0), &one_shot("short"), source, lease(30), Proof::Sequence, now).unwrap();
    grants.want(DoorId(1), &one_shot("long"), source, lease(60), Proof::Sequence, now).unwrap();
    for _ in 0..2 {
        let id = grants.next_command(now).unwrap().grant();
        grants.answered(id, Ok(()), now);
    }
    grants.revoke(RevokeReason::Operator, now, |grant| grant.door == Some(DoorId(1)));
    let Some(FirewallCommand::Close { grant, ports, .. }) = grants.next_command(now) else { panic!() };
    assert_eq!(*ports, [ServicePort::tcp(22)], "though the other door is open, too");
    grants.answered(grant, Ok(()), now);
    assert!(grants.next_command(now).is_none(), "the other door is not opened anew");
}

#[test]
fn a_reload_closes_what_is_gone_and_keeps_the_rest() {
    let mut world = World::new();
    world.knock(1, 7);
    world.knock(2, 9);
    world.told();
    world.audit();
    world.engine.replace_rules(rules(false), Keys::none(), world.now);
    world.pass(0);
    assert_eq!(world.told(), ["close 22 443"]);
    assert_eq!(world.audit(), ["CFG-APPLY", "REVOKE"]);
    assert_eq!(world.engine.grants().count(), 1);
    // The kept grant still belongs to its door: knocking again extends it.
    world.knock(1, 7);
    assert_eq!(world.engine.grants().count(), 1);
    assert_eq!(world.audit(), ["GRANT"]);
}

#[test]
fn a_revocation_while_the_firewall_is_asked_loses_no_record() {
    let mut world = World::new();
    let (source, now) = (IpAddr::from([192, 0, 2, 1]), world.now);
    let table = &mut world.engine.grants;
    table
        .want(SSH, rules(true).door(SSH).unwrap(), source, Lease::of(OPEN_FOR), Proof::Sequence, now)
        .unwrap();
    let id = table.next_command(now).unwrap().grant();
    table.revoke(RevokeReason::Operator, now, |_| true);
    let done = Input::FirewallDone { grant: id, result: Ok(()) };
    assert!(world.engine.handle(done, now).is_empty());
    world.pass(0);
    assert_eq!(world.told(), ["close 22"]);
    assert_eq!(world.audit(), ["GRANT", "REVOKE"]);
}

#[test]
fn a_revoked_door_leaves_no_longer_kernel_timer_on_a_shared_port() {
    let mut world = World::new();
    world.knock(1, 9);
    world.knock(1, 7);
    assert_eq!(world.told(), ["open 22:60 443:60", "open 22:60"]);
    world.pass(5000);
    world.audit();
    world.revoke(WEB);
    assert_eq!(world.told(), ["close 443", "open 22:25"]);
    assert_eq!(world.audit(), ["REVOKE"], "nobody was let in anew");
    world.pass(25_000);
    assert_eq!(world.told(), ["close 22"]);
    assert_eq!(world.audit(), ["EXPIRE"]);
    assert_eq!(world.engine.grants().count(), 0);
}

#[test]
fn an_extension_that_was_done_without_an_answer_leaves_no_longer_kernel_timer() {
    let mut world = World::new();
    world.knock(1, 9);
    world.pass(35_000);
    world.knock(1, 7);
    world.pass(5000);
    world.answer = Err(FirewallError::NoAnswer);
    world.knock(1, 9);
    world.pass(1000);
    world.answer = Ok(());
    world.told();
    // Its first end; the kernel may have the port until 100 s, ssh has it until 65 s.
    world.pass(19_000);
    assert_eq!(world.told(), ["close 443", "open 22:5"]);
}

#[test]
fn a_shorter_time_that_the_firewall_refuses_is_asked_for_again() {
    let mut world = World::new();
    world.knock(1, 9);
    world.knock(1, 7);
    world.told();
    world.audit();
    world.answer = Err(FirewallError::Busy);
    world.revoke(WEB);
    world.pass(100);
    world.answer = Ok(());
    world.pass(400);
    let told = world.told();
    assert_eq!(told.iter().filter(|word| *word == "open 22:30").count(), 3, "{told:?}");
    assert_eq!(world.audit(), ["REVOKE"]);
    // Asking again is an extension as ever.
    world.knock(1, 7);
    assert_eq!(world.told(), ["open 22:30"]);
    assert_eq!(world.audit(), ["GRANT"]);
}

#[test]
fn a_revocation_that_the_firewall_refuses_says_so() {
    let mut world = World::new();
    world.knock(1, 7);
    world.audit();
    world.pass(10_000);
    world.answer = Err(FirewallError::Missing);
    world.knock(1, 8);
    world.pass(5000);
    let record = world.engine.next_record(world.now).map(|record| record.event.clone());
    let Some(Event::FirewallFailed { grant, task, error, revoked, held_for, .. }) = record else {
        panic!("{record:?}");
    };
    assert_eq!((grant.raw(), task, error), (1, FirewallTask::Close, FirewallError::Missing));
    assert_eq!(revoked, Some(RevokeReason::CloseSequence));
    assert_eq!(held_for.secs_ceil(), 20, "until then at most the kernel holds it open");
    assert_eq!(world.audit(), ["FW-FAIL"]);
}

#[test]
fn a_storm_of_denials_is_counted() {
    let mut world = World::new();
    for source in 0..u16::try_from(GRANTS_MAX - GRANTS_RESERVED).unwrap() {
        world.knock(source, 7);
    }
    world.audit();
    for source in 5000..5100 {
        world.knock(source, 7);
    }
    let few = usize::try_from(crate::limits::DENY_RECORDS_PER_WINDOW_MAX).unwrap();
    assert_eq!(world.audit(), std::vec!["DENY-POLICY"; few]);
    world.pass(crate::limits::DENY_WINDOW.millis());
    let record = world.engine.next_record(world.now).map(|record| record.event.clone());
    assert_eq!(
        record,
        Some(Event::DenySuppressed {
            class: DenyClass::Policy,
            records: 100 - crate::limits::DENY_RECORDS_PER_WINDOW_MAX,
        })
    );
}

#[test]
fn one_door_cannot_take_every_place() {
    let mut world = World::new();
    for source in 0..u16::try_from(GRANTS_MAX).unwrap() {
        world.knock(source, 7);
    }
    world.audit();
    world.knock(9999, 9);
    assert_eq!(world.audit(), ["GRANT"], "another door has places of its own");
}

#[test]
fn full_is_a_verdict_and_everything_ends() {
    let mut world = World::new();
    for source in 0..u16::try_from(GRANTS_MAX - GRANTS_RESERVED).unwrap() {
        world.knock(source, 7);
    }
    assert_eq!(world.engine.grants().count(), GRANTS_MAX - GRANTS_RESERVED);
    let audit = world.audit();
    assert!(audit.contains(&"LOG-DROP"), "the ring was not drained: the loss is confessed");
    world.knock(9999, 7);
    assert_eq!(world.audit(), ["DENY-POLICY"]);
    world.told();
    world.pass(30_000);
    assert_eq!(world.told().len(), GRANTS_MAX - GRANTS_RESERVED);
    assert_eq!(world.engine.grants().count(), 0);
}

#[test]
fn a_port_added_by_a_reload_opens_with_the_next_knock() {
    let mut world = World::new();
    world.knock(1, 7);
    world.told();
    let mut builder = RuleSetBuilder::new();
    let door = Door {
        name: Name::try_from("ssh").unwrap(),
        ports: Vec::from_slice(&[ServicePort::tcp(22), ServicePort::tcp(80)]).unwrap(),
        open_for: Duration::from_secs(30),
        target: None,
        interfaces: InterfaceSet::ALL,
        terms: Terms::PLAIN,
    };
    let door = builder.door(door).unwrap();
    let (within, reorder) = (Duration::from_secs(10), Duration::ZERO);
    let (steps, flags) = (Vec::from_slice(&[Step::tcp(7)]).unwrap(), FlagCondition::OPENING_SYN);
    builder.sequence(Sequence { door, purpose: Purpose::Open, steps, within, reorder, flags }).unwrap();
    world.engine.replace_rules(builder.build().unwrap(), Keys::none(), world.now);
    world.pass(1000);
    world.knock(1, 7);
    assert_eq!(world.told(), ["open 22:30 80:30"]);
    world.pass(30_000);
    assert_eq!(world.told(), ["close 22 80"]);
}

#[test]
fn nothing_opens_after_its_time() {
    let mut world = World::new();
    world.answer = Err(FirewallError::Busy);
    world.knock(1, 7);
    world.told();
    // Suspended before the next try.
    world.now = world.now + Duration::from_secs(3600);
    world.answer = Ok(());
    world.pass(0);
    let told = world.told();
    assert!(!told.iter().any(|word| word.starts_with("open")), "{told:?}");
}

#[test]
fn what_arrives_of_a_sequence_is_told_from_what_never_does() {
    let mut builder = RuleSetBuilder::new();
    let door = Door {
        name: Name::try_from("ssh").unwrap(),
        ports: Vec::from_slice(&[ServicePort::tcp(22)]).unwrap(),
        open_for: OPEN_FOR,
        target: None,
        interfaces: InterfaceSet::ALL,
        terms: Terms::PLAIN,
    };
    // The client's packets go to another address than this one awaits them at.
    let elsewhere = Door {
        name: Name::try_from("elsewhere").unwrap(),
        target: Some([203, 0, 113, 99].into()),
        ..door.clone()
    };
    let door = builder.door(door).unwrap();
    let elsewhere = builder.door(elsewhere).unwrap();
    let steps = Vec::from_slice(&[7, 8, 9].map(Step::tcp)).unwrap();
    let (within, reorder) = (Duration::from_secs(10), Duration::ZERO);
    let flags = FlagCondition::OPENING_SYN;
    let purpose = Purpose::Open;
    let sequence = Sequence { door, purpose, steps, within, reorder, flags };
    let not_meant = Sequence { door: elsewhere, ..sequence.clone() };
    let id = builder.sequence(sequence).unwrap();
    let not_meant = builder.sequence(not_meant).unwrap();
    let mut world = World::new();
    world.engine.replace_rules(builder.build().unwrap(), Keys::none(), world.now);

    assert_eq!(world.engine.heard(id), Some(Heard { heard: 0, furthest: 0 }));
    // The second knock is swallowed on the way.
    for port in [7, 9] {
        world.knock(1, port);
    }
    assert_eq!(world.engine.heard(id), Some(Heard { heard: 0b101, furthest: 1 }));
    // Somebody else's comes, and is of no use to the first.
    world.knock(2, 8);
    assert_eq!(world.engine.heard(id), Some(Heard { heard: 0b111, furthest: 1 }));
    for port in [7, 8, 9] {
        world.knock(3, port);
    }
    assert_eq!(world.engine.heard(id), Some(Heard { heard: 0b111, furthest: 3 }));
    assert_eq!(world.engine.heard(not_meant), Some(Heard { heard: 0, furthest: 0 }));
    assert_eq!(world.engine.heard(SequenceId(2)), None);
    let rules = world.engine.rules().clone();
    world.engine.replace_rules(rules, Keys::none(), world.now);
    assert_eq!(world.engine.heard(id), Some(Heard { heard: 0, furthest: 0 }));
}
