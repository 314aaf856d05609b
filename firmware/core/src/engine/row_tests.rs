//! From the last knock of a sequence that counts once to a grant, with power cuts at every write.

use std::boxed::Box;
use std::collections::{BTreeMap, BTreeSet};
use std::string::{String, ToString};
use std::vec::Vec as List;

use super::*;
use crate::knock::{FlagCondition, InterfaceIndex, InterfaceSet, ServicePort, TcpFlags};
use crate::limits::CEILING_WRITES_AT_ONCE;
use crate::port::LinkType;
use crate::rule::{Door, RuleSetBuilder, Sequence, Terms};
use crate::spa::key::{DeviceId, KeyUse, SpaKey};
use crate::spa::policy::Policy;
use crate::spa::rotating::cursor::{list_tag, rotating_tag};
use crate::spa::rotating::{Knocks, Protocols, Shape, knocks};
use crate::time::Duration;

const DEVICE: DeviceId = DeviceId([9; 16]);
const SECRET: [u8; 32] = [1; 32];
const AHEAD: u8 = 3;
const WITHIN: Duration = Duration::from_secs(5);
const ROTATING: DoorId = DoorId(0);
const LISTED: DoorId = DoorId(1);
const MARIA: [u8; 4] = [198, 51, 100, 7];
const EVE: [u8; 4] = [203, 0, 113, 9];

fn name(text: &str) -> Name {
    text.try_into().unwrap()
}

fn shape() -> Shape {
    Shape::new(4, Protocols { tcp: true, udp: false, icmp: false }, 20_000, 20_999).unwrap()
}

fn line(number: u16) -> [Step; 3] {
    [Step::tcp(1000 + number), Step::tcp(500), Step::tcp(2000 + number)]
}

fn rules(lines: &[u16]) -> RuleSet {
    let mut builder = RuleSetBuilder::new();
    for (door, port) in [("plc", 20_005), ("web", 443)] {
        let ports = Vec::from_slice(&[ServicePort::tcp(port)]).unwrap();
        let (open_for, interfaces) = (Duration::from_secs(30), InterfaceSet::ALL);
        let (name, terms) = (name(door), Terms::PLAIN);
        builder.door(Door { name, ports, open_for, target: None, interfaces, terms }).unwrap();
    }
    for &number in lines {
        let (purpose, reorder, flags) = (Purpose::Open, Duration::ZERO, FlagCondition::OPENING_SYN);
        let steps = Vec::from_slice(&line(number)).unwrap();
        builder.one_time(Sequence { door: LISTED, purpose, steps, within: WITHIN, reorder, flags }).unwrap();
    }
    builder.rotating(ROTATING, shape(), AHEAD, WITHIN).unwrap();
    builder.build().unwrap()
}

struct World {
    engine: Box<Engine<1>>,
    now: Instant,
    medium: BTreeMap<KeyTag, u64>,
    journal: Result<(), JournalFailed>,
    /// What becomes of the next write: power goes before it, behind it, or not at all.
    cut: Option<bool>,
    opened: List<String>,
    lines: List<u16>,
    policy: Policy,
    writes: u32,
    /// Writes that are answered later.
    slow: Option<List<CeilingWrite>>,
}

impl World {
    fn new() -> Self {
        let lines: List<u16> = (0..20).collect();
        let mut world = Self {
            engine: Box::new(Engine::new(rules(&lines), HashKey::new([1; 16]))),
            now: Instant::from_millis(1000),
            medium: BTreeMap::new(),
            journal: Ok(()),
            cut: None,
            opened: List::new(),
            lines,
            policy: Policy::default(),
            writes: 0,
            slow: None,
        };
        world.configure();
        world
    }

    fn keys(&self) -> Keys {
        let (mut keys, key) = (Keys::new(62_201, DEVICE), SpaKey::new(SECRET));
        let held = |tag| self.medium.get(&tag).copied().unwrap_or(0);
        keys.add(name("maria"), KeySecret::Native(&key), self.policy.clone(), held).unwrap();
        let lines: List<[Step; 3]> = self.lines.iter().map(|&number| line(number)).collect();
        keys.add_list((LISTED, &name("web")), lines.iter().map(<[Step; 3]>::as_slice), held).unwrap();
        keys.add_rotating((ROTATING, &name("plc")), &key, AHEAD, held).unwrap();
        keys
    }

    /// Another configuration, or the same again.
    fn configure(&mut self) {
        self.engine.replace_rules(rules(&self.lines), self.keys(), self.now);
    }

    fn reboot(&mut self) {
        *self.engine = Engine::new(rules(&self.lines), HashKey::new([2; 16]));
        self.engine.replace_keys(self.keys());
        self.now = Instant::from_millis(1000);
        self.cut = None;
    }

    fn knock(&mut self, source: [u8; 4], step: Step) {
        self.now = self.now + Duration::from_millis(10);
        let mut packet = std::vec![0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0];
        packet.extend(source);
        packet.extend([203, 0, 113, 1, 0xc0, 0]);
        packet.extend(step.value.to_be_bytes());
        packet.extend([0, 0, 0, 0, 0, 0, 0, 0, 0x50, TcpFlags::SYN.bits(), 0, 0, 0, 0, 0, 0]);
        let frame = Frame { interface: InterfaceIndex(0), link: LinkType::RawIp, bytes: &packet };
        let effects = self.engine.handle(Input::Frame(frame), self.now);
        self.carry_out(effects);
    }

    fn carry_out(&mut self, effects: Effects) {
        let ceiling = effects.ceiling();
        for command in effects {
            if let FirewallCommand::Open { source, ports, .. } = &command {
                self.opened.push(std::format!("{source} {}", ports[0].0.port));
            }
            let done = Input::FirewallDone { grant: command.grant(), result: Ok(()) };
            assert!(self.engine.handle(done, self.now).is_empty());
        }
        let Some(write) = ceiling else { return };
        match &mut self.slow {
            Some(later) => later.push(write),
            None => self.answer(write),
        }
    }

    fn answer(&mut self, write: CeilingWrite) {
        self.writes += 1;
        if self.journal.is_ok() && self.cut != Some(false) {
            let held = self.medium.entry(write.tag).or_default();
            assert!(*held <= write.ceiling, "the journal would go back");
            *held = write.ceiling;
        }
        if self.cut.is_some() {
            return self.reboot();
        }
        let input = Input::CeilingWritten { write, result: self.journal };
        let effects = self.engine.handle(input, self.now);
        self.carry_out(effects);
    }

    fn all(&mut self, source: [u8; 4], steps: &[Step]) {
        steps.iter().for_each(|&step| self.knock(source, step));
    }

    /// Longer than any taint.
    fn pause(&mut self) {
        self.now = self.now + Duration::from_secs(40);
        while self.engine.poll_at().is_some_and(|due| due <= self.now) {
            let effects = self.engine.handle(Input::Tick, self.now);
            self.carry_out(effects);
        }
    }

    fn opened(&mut self) -> List<String> {
        core::mem::take(&mut self.opened)
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
                    Event::Grant { key, proof, .. } => {
                        std::format!("GRANT {key} {}", matches!(proof, Proof::Rotating(_) | Proof::OneTime))
                    }
                    event => event.id().to_string(),
                },
            );
            records.push(text);
            self.engine.record_written(id);
        }
        records
    }
}

fn rotating(counter: u64) -> Knocks {
    let key = SpaKey::new(SECRET).derive(KeyUse::Rotation, DEVICE);
    knocks(&key, &name("plc"), counter, &shape(), |step| step == Step::tcp(20_005)).unwrap()
}

#[test]
fn each_sequence_opens_once_and_the_journal_knows_before() {
    let mut world = World::new();
    let tag = rotating_tag(&SpaKey::new(SECRET).derive(KeyUse::Rotation, DEVICE), &name("plc"));
    for counter in 0..30 {
        world.all(MARIA, &rotating(counter));
        assert_eq!(world.opened(), ["198.51.100.7 20005"], "{counter}");
        assert_eq!(world.medium.get(&tag), Some(&(counter + 1)));
        // Whoever saw it repeats it, at once and later, and after another configuration.
        for _ in 0..2 {
            for sniffed in 0..=counter {
                world.all(EVE, &rotating(sniffed));
                world.pause();
            }
            world.configure();
        }
        assert!(world.opened().is_empty(), "{counter}");
    }
    assert!(world.audit().iter().any(|record| record == "GRANT maria true"));
}

#[test]
fn one_that_was_lost_is_skipped_and_void() {
    let mut world = World::new();
    world.all(MARIA, &rotating(2));
    assert_eq!(world.opened().len(), 1);
    for counter in [0, 1, 2] {
        world.pause();
        world.all(MARIA, &rotating(counter));
        assert!(world.opened().is_empty(), "{counter}");
    }
    world.pause();
    world.all(MARIA, &rotating(6));
    assert!(world.opened().is_empty(), "too far");
    world.pause();
    world.all(MARIA, &rotating(5));
    assert_eq!(world.opened().len(), 1);
}

/// The first knocks of a sequence that is not awaited any more are worth nothing for the one that took
/// its place.
#[test]
fn progress_does_not_pass_over_to_what_comes_next() {
    let mut world = World::new();
    let (now, next) = (rotating(0), rotating(3));
    world.all(EVE, &now[..2]);
    world.all(MARIA, &now);
    assert_eq!(world.opened().len(), 1);
    // Counter 3 stands where counter 0 stood.
    world.all(EVE, &next[2..]);
    world.all(EVE, &now[2..]);
    assert!(world.opened().is_empty());
}

#[test]
fn who_shows_it_first_has_it() {
    let mut world = World::new();
    world.slow = Some(List::new());
    world.all(MARIA, &rotating(0));
    world.all(EVE, &rotating(0));
    for write in world.slow.take().unwrap() {
        world.answer(write);
    }
    assert_eq!(world.opened(), ["198.51.100.7 20005"]);
    assert!(world.audit().contains(&"DENY-REPLAY maria sequence-used".to_string()));
}

#[test]
fn a_medium_that_fails_opens_nothing() {
    let mut world = World::new();
    world.journal = Err(JournalFailed);
    world.all(MARIA, &rotating(0));
    assert!(world.opened().is_empty());
    assert!(world.audit().contains(&"DENY-POLICY maria journal-failed".to_string()));
    world.journal = Ok(());
    world.pause();
    world.all(MARIA, &rotating(0));
    assert_eq!(world.opened().len(), 1, "it was not used");
}

#[test]
fn the_policy_of_the_key_holds() {
    let mut world = World::new();
    world.policy.disabled = true;
    world.configure();
    world.all(MARIA, &rotating(0));
    assert!(world.opened().is_empty());
    assert!(world.audit().contains(&"DENY-POLICY maria key-disabled".to_string()));
    world.policy.disabled = false;
    world.policy.longest = Some(Duration::from_secs(5));
    world.configure();
    world.pause();
    world.all(MARIA, &rotating(0));
    assert!(world.opened().is_empty(), "it was used up all the same");
    world.pause();
    world.all(MARIA, &rotating(1));
    let open_for = world.engine.grants().map(|grant| grant.until.since(world.now)).max().unwrap();
    assert!(open_for <= Duration::from_secs(5));
    assert_eq!(world.engine.keys().status().filter(|status| status.last_used.is_some()).count(), 1);
}

/// Who holds a key must not wear out the medium.
#[test]
fn writes_have_a_bound() {
    let mut world = World::new();
    for counter in 0..u64::from(CEILING_WRITES_AT_ONCE) + 40 {
        world.all(MARIA, &rotating(counter));
        // Another client each time: repeated knocks of one may be guards by now.
        world.engine.replace_rules(rules(&world.lines), world.keys(), world.now);
    }
    assert!(world.writes <= u32::from(CEILING_WRITES_AT_ONCE) + 1, "{}", world.writes);
    assert!(world.audit().contains(&"DENY-POLICY maria too-many-writes".to_string()));
}

#[test]
fn lines_of_a_list_count_one_after_the_other() {
    let mut world = World::new();
    world.all(MARIA, &line(1));
    assert!(world.opened().is_empty(), "not its turn");
    for number in 0..20 {
        world.pause();
        world.all(MARIA, &line(number));
        assert_eq!(world.opened(), ["198.51.100.7 443"], "{number}");
        world.all(EVE, &line(number));
        assert!(world.opened().is_empty());
        if number == 9 {
            // Some of the lines that were used are taken away, others are added.
            world.lines = (5..20).collect();
            world.configure();
        }
        if number == 12 {
            world.reboot();
        }
    }
    world.pause();
    (0..20).for_each(|number| world.all(MARIA, &line(number)));
    assert!(world.opened().is_empty(), "no line is left");
    assert!(world.medium.contains_key(&list_tag(&name("web"))));
}

/// Power goes before and behind every write; whatever was sent is sent again: nothing opens twice, and the
/// holder always gets in.
#[test]
fn twenty_thousand_cuts() {
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let mut draw = |below: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random >> 11) % below
    };
    let mut world = World::new();
    world.lines = (0..100).collect();
    world.reboot();
    let (mut counter, mut used, mut cuts, mut opened) = (0, BTreeSet::new(), 0, 0);
    let mut next_line = 0;
    while cuts < 20_000 {
        world.cut = [Some(true), Some(false), None][usize::try_from(draw(3)).unwrap()];
        cuts += u32::from(world.cut.is_some());
        let listed = draw(8) == 0 && next_line < 100;
        let steps = if listed { line(next_line).to_vec() } else { rotating(counter).to_vec() };
        world.all(MARIA, &steps);
        let got_in = !world.opened().is_empty();
        if got_in {
            opened += 1;
            assert!(used.insert(steps.clone()), "a second time");
        }
        // A client that is not let in goes on; a list has the line, or the next one.
        world.cut = None;
        world.pause();
        world.opened();
        world.all(EVE, &steps);
        let eve = !world.opened().is_empty();
        assert!(!(eve && got_in), "a second time");
        if eve {
            // It had not counted: who saw it may use it, once.
            assert!(used.insert(steps), "a second time");
        }
        if listed {
            next_line += 1;
        } else {
            counter += 1;
        }
        world.pause();
        world.opened();
        if cuts % 1000 == 0 && draw(2) == 0 {
            world.reboot();
        }
    }
    assert!(opened > 5_000 && next_line == 100, "{opened} {next_line}");
    // Everything ever used, once more.
    for steps in used {
        world.all(EVE, &steps);
        world.pause();
        assert!(world.opened().is_empty());
    }
    world.all(MARIA, &rotating(counter));
    assert_eq!(world.opened().len(), 1);
}

/// What is awaited in a row changes: how far somebody came means nothing there.
#[test]
fn of_sequences_that_change_nothing_is_told() {
    let world = World::new();
    let ids = (0..).map(SequenceId).take(world.engine.rules().sequences().len());
    let (rows, fixed): (List<_>, List<_>) = ids.partition(|id| world.engine.rules().row_of(*id).is_some());
    assert!(!rows.is_empty());
    assert!(rows.iter().all(|id| world.engine.heard(*id).is_none()));
    assert!(fixed.iter().all(|id| world.engine.heard(*id).is_some()));
}
