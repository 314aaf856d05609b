//! Rotating sequences in the production matcher: clients get in, scans and eavesdroppers do not.

use super::cursor::Cursor;
use super::*;
use crate::hash::HashKey;
use crate::knock::{FlagCondition, InterfaceIndex, InterfaceSet, Knock, ServicePort, TcpFlags};
use crate::matcher::{Matcher, Progress};
use crate::rule::{Door, DoorId, Purpose, RuleSet, RuleSetBuilder, Sequence, Terms};
use crate::spa::key::{DeviceId, KeyUse, SpaKey};
use crate::time::{Duration, Instant};
use core::net::IpAddr;
use std::boxed::Box;

const WITHIN: Duration = Duration::from_secs(10);
const AHEAD: u8 = 4;
const KNOCKS: u8 = 3;
/// Narrow, so that a scan meets every sequence in time.
const FIRST: u16 = 30_000;
const LAST: u16 = 30_099;

struct World {
    key: SubKey,
    shape: Shape,
    cursor: Cursor,
    guarded: bool,
    rules: RuleSet,
    matcher: Box<Matcher<1>>,
    now: Instant,
}

impl World {
    fn new(seed: u8, guarded: bool) -> Self {
        let key = SpaKey::new([seed; 32]).derive(KeyUse::Rotation, DeviceId([1; 16]));
        let protocols = Protocols { tcp: true, udp: false, icmp: false };
        let mut world = Self {
            key,
            shape: Shape::new(KNOCKS, protocols, FIRST, LAST).unwrap(),
            cursor: Cursor::rotating(0, AHEAD),
            guarded,
            rules: RuleSet::empty(),
            matcher: Box::new(Matcher::new(HashKey::new([seed; 16]), WITHIN)),
            now: Instant::from_millis(1000),
        };
        world.await_next();
        world
    }

    fn knocks(&self, counter: u64) -> Knocks {
        knocks(&self.key, &"ssh".try_into().unwrap(), counter, &self.shape, |_| false).unwrap()
    }

    fn await_next(&mut self) {
        let (first, behind_last) = self.cursor.awaited();
        let awaited: std::vec::Vec<Knocks> =
            (first..behind_last).map(|counter| self.knocks(counter)).collect();
        let mut builder = RuleSetBuilder::new();
        let door = Door {
            name: "ssh".try_into().unwrap(),
            ports: Vec::from_slice(&[ServicePort::tcp(22)]).unwrap(),
            open_for: Duration::from_secs(30),
            target: None,
            interfaces: InterfaceSet::ALL,
            terms: Terms::PLAIN,
        };
        builder.door(door).unwrap();
        if !self.guarded {
            for knocks in &awaited {
                let steps = Vec::from_slice(knocks).unwrap();
                let (door, purpose, reorder) = (DoorId(0), Purpose::Open, Duration::ZERO);
                let flags = FlagCondition::OPENING_SYN;
                builder.sequence(Sequence { door, purpose, steps, within: WITHIN, reorder, flags }).unwrap();
            }
            self.rules = builder.build().unwrap();
        } else {
            builder.rotating(DoorId(0), self.shape, AHEAD, WITHIN).unwrap();
            self.rules = builder.build().unwrap();
            let row = self.rules.row(DoorId(0), false).unwrap();
            for (position, knocks) in (0..).zip(&awaited) {
                assert!(self.rules.await_knocks(row, position, Some(knocks)));
            }
        }
        self.matcher.rules_replaced(WITHIN, self.now);
    }

    /// One knock; the counter of the sequence it opened the door with.
    fn knock(&mut self, source: u8, step: Step) -> Option<u64> {
        self.now = self.now + Duration::from_millis(5);
        let source = IpAddr::from([192, 0, 2, source]);
        let knock =
            Knock { source, target: source, step, flags: TcpFlags::SYN, interface: InterfaceIndex(0) };
        let outcome = self.matcher.step(&self.rules, &knock, self.now);
        let completed = outcome.progress.iter().find(|(_, progress)| *progress == Progress::Completed)?;
        let counter = self.cursor.awaited().0 + u64::from(completed.0.0);
        let next = self.cursor.check(counter).expect("only what is awaited is in the rules");
        self.cursor.persisted(next);
        self.cursor.consume(counter).expect("it was checked");
        self.await_next();
        Some(counter)
    }

    fn sequence(&mut self, source: u8, counter: u64) -> Option<u64> {
        let knocks = self.knocks(counter);
        knocks.into_iter().filter_map(|step| self.knock(source, step)).last()
    }
}

#[test]
fn a_client_gets_in_every_time_and_nobody_repeats_it() {
    let mut world = World::new(1, true);
    for counter in 0..500 {
        assert_eq!(world.sequence(1, counter), Some(counter));
        // An eavesdropper repeats the last sequences, at once and after its taint is over.
        for pause in [Duration::ZERO, Duration::from_secs(20)] {
            world.now = world.now + pause;
            for sniffed in counter.saturating_sub(5)..=counter {
                assert_eq!(world.sequence(2, sniffed), None, "{sniffed} a second time");
            }
        }
    }
}

#[test]
fn lost_sequences_are_caught_up() {
    let mut world = World::new(2, true);
    for counter in (0..400).step_by(usize::from(AHEAD)) {
        assert_eq!(world.sequence(1, counter + u64::from(AHEAD) - 1), Some(counter + u64::from(AHEAD) - 1));
        assert_eq!(world.sequence(3, counter), None, "those before are void");
    }
}

/// Openings by scans of the whole range, up, down and stirred.
fn openings(guarded: bool) -> usize {
    let mut openings = 0;
    for seed in 0..60 {
        let mut world = World::new(seed, guarded);
        let up: std::vec::Vec<u16> = (FIRST..=LAST).collect();
        let down: std::vec::Vec<u16> = up.iter().rev().copied().collect();
        // 37 and 100 have no common divisor.
        let stirred: std::vec::Vec<u16> = (0..100).map(|n| FIRST + n * 37 % 100).collect();
        for (source, ports) in (1_u8..).zip([&up, &down, &stirred]) {
            for &port in ports {
                openings += usize::from(world.knock(source, Step::tcp(port)).is_some());
            }
            world.now = world.now + WITHIN;
        }
    }
    openings
}

#[test]
fn scans_open_nothing() {
    assert_eq!(openings(true), 0);
    assert!(openings(false) > 50, "without guards they would: the test is not empty");
}
