//! Millions of hostile sessions against sequences that count once each, none of which may open anything.
//!
//! Somebody sees every knock of every honest client, keeps it, and repeats it whenever and from wherever
//! it likes: at once, years later, after power cuts at every write of the journal, whole, in part, mixed
//! with guesses and with other sequences. Others scan the range or hold keys that are worth nothing here.
//!
//! One thing is left out, because it does open: who sees all knocks but the last and guesses that, has one
//! guess among thousands. `SPA.md` says so.

use std::collections::BTreeMap;
use std::net::IpAddr;

use postern_core::engine::{Engine, Input, KeySecret, Keys};
use postern_core::hash::HashKey;
use postern_core::knock::{FlagCondition, InterfaceIndex, InterfaceSet, ServicePort, Step, TcpFlags};
use postern_core::port::{CeilingWrite, FirewallCommand, Frame, LinkType};
use postern_core::rule::{Door, DoorId, Name, Purpose, RuleSet, RuleSetBuilder, Sequence, Terms};
use postern_core::spa::key::{DeviceId, KeyTag, KeyUse, SpaKey, SubKey};
use postern_core::spa::policy::Policy;
use postern_core::spa::rotating::{Protocols, Shape, knocks};
use postern_core::time::{Duration, Instant};

use crate::frame::FrameBytes;
use crate::random::Random;

const DEVICE: DeviceId = DeviceId([5; 16]);
const WITHIN: Duration = Duration::from_secs(5);
const AHEAD: u8 = 4;
/// Sessions between two honest visits.
const VISIT_EVERY: u64 = 2_000;
const LINES: u16 = 200;

/// What a campaign found out.
#[derive(Clone, Copy, Debug, Default)]
pub struct Campaign {
    /// Hostile sessions played.
    pub sessions: u64,
    /// Packets sent.
    pub frames: u64,
    /// Doors opened by them: must be none.
    pub opened: u64,
    /// Whole sequences among them that were used before.
    pub replayed: u64,
    /// Honest visits, and how many of them opened their door: all but those a power cut met.
    pub visits: u64,
    /// See [`Campaign::visits`].
    pub honest_opened: u64,
    /// Power cuts.
    pub cuts: u64,
}

/// A door with rotating sequences.
struct Rotating {
    door: Name,
    key: SubKey,
    shape: Shape,
    next: u64,
}

/// Plays `sessions` hostile sessions, with honest visits in between.
pub fn campaign(seed: u64, sessions: u64) -> Campaign {
    let random = Random::new(seed);
    let rotating = [
        ("plc", Protocols { tcp: true, udp: false, icmp: false }, 4, 20_000, 20_999),
        ("ssh", Protocols { tcp: true, udp: true, icmp: true }, 3, 30_000, 30_499),
    ];
    let rotating = rotating.map(|(door, protocols, count, first, last)| Rotating {
        door: door.try_into().expect("a short name"),
        key: SpaKey::new([7; 32]).derive(KeyUse::Rotation, DEVICE),
        shape: Shape::new(count, protocols, first, last).expect("a good shape"),
        next: 0,
    });
    let mut attack = Attack {
        engine: Box::new(Engine::new(RuleSet::empty(), HashKey::new([0; 16]))),
        random,
        rotating,
        next_line: 0,
        medium: BTreeMap::new(),
        seen: Vec::new(),
        millis: 1000,
        cut: None,
        campaign: Campaign::default(),
    };
    attack.reboot();
    for session in 0..sessions {
        attack.session(session);
        if session % VISIT_EVERY == VISIT_EVERY - 1 {
            attack.visit(session);
        }
    }
    attack.campaign
}

struct Attack {
    engine: Box<Engine<8>>,
    random: Random,
    rotating: [Rotating; 2],
    next_line: u16,
    medium: BTreeMap<KeyTag, u64>,
    /// Every sequence an honest client ever sent.
    seen: Vec<Vec<Step>>,
    millis: u64,
    /// Power goes before the next write, or behind it.
    cut: Option<bool>,
    campaign: Campaign,
}

impl Attack {
    fn reboot(&mut self) {
        let mut key = [0; 16];
        key.fill_with(|| self.random.bits() as u8);
        let (rules, lines) = (self.rules(), (0..LINES).map(line).collect::<Vec<_>>());
        let held = |tag| self.medium.get(&tag).copied().unwrap_or(0);
        let (mut keys, secret) = (Keys::new(62_201, DEVICE), SpaKey::new([7; 32]));
        let name = "maria".try_into().expect("a short name");
        keys.add(name, KeySecret::Native(&secret), Policy::default(), held).expect("one key");
        for (id, door) in (0..).map(DoorId).zip(&self.rotating) {
            keys.add_rotating((id, &door.door), &secret, AHEAD, held).expect("two rows");
        }
        let listed = "web".try_into().expect("a short name");
        keys.add_list((DoorId(2), &listed), lines.iter().map(<[Step; 3]>::as_slice), held)
            .expect("three rows");
        *self.engine = Engine::new(rules, HashKey::new(key));
        self.engine.replace_keys(keys);
        self.cut = None;
    }

    fn rules(&self) -> RuleSet {
        let mut builder = RuleSetBuilder::new();
        for (name, port) in [("plc", 22), ("ssh", 23), ("web", 24)] {
            let ports = heapless::Vec::from_slice(&[ServicePort::tcp(port)]).expect("one port");
            let (name, interfaces) = (name.try_into().expect("a short name"), InterfaceSet::ALL);
            let (open_for, target, terms) = (Duration::from_secs(30), None, Terms::PLAIN);
            builder.door(Door { name, ports, open_for, target, interfaces, terms }).expect("a good door");
        }
        for number in 0..LINES {
            let steps = heapless::Vec::from_slice(&line(number)).expect("three knocks");
            let (door, purpose, reorder) = (DoorId(2), Purpose::Open, Duration::ZERO);
            let flags = FlagCondition::OPENING_SYN;
            let line = Sequence { door, purpose, steps, within: WITHIN, reorder, flags };
            builder.one_time(line).expect("a good line");
        }
        for (id, door) in (0..).map(DoorId).zip(&self.rotating) {
            builder.rotating(id, door.shape, AHEAD, WITHIN).expect("a good row");
        }
        builder.build().expect("good rules")
    }

    fn session(&mut self, session: u64) {
        self.campaign.sessions += 1;
        let source = IpAddr::from((0x2900_0000 | (session as u32 & 0x00ff_ffff)).to_be_bytes());
        let story = self.story();
        for step in story {
            self.campaign.opened += self.send(source, step);
        }
        self.millis += self.random.below(2);
    }

    fn story(&mut self) -> Vec<Step> {
        let door = self.random.below(2) as usize;
        match self.random.below(16) {
            // What was seen, as it was.
            0..=6 => {
                self.campaign.replayed += u64::from(!self.seen.is_empty());
                self.repeated()
            }
            // In part, with a knock changed, left out, or in another order.
            7..=9 => {
                let mut steps = self.repeated();
                if steps.is_empty() {
                    return steps;
                }
                let place = self.random.below(steps.len() as u64) as usize;
                match self.random.below(3) {
                    0 => drop(steps.remove(place)),
                    1 => steps[place] = self.drawn(door),
                    _ => self.random.shuffle(&mut steps),
                }
                steps
            }
            // Two at once.
            10 => {
                let (one, other) = (self.repeated(), self.repeated());
                let mut rest = other.into_iter();
                one.into_iter().flat_map(|step| [Some(step), rest.next()]).flatten().collect()
            }
            // Guesses.
            11 | 12 => (0..self.random.range(3, 12)).map(|_| self.drawn(door)).collect(),
            // A part of a scan.
            13 => {
                let (first, length) =
                    (19_950 + self.random.below(1100) as u16, self.random.below(120) as u16);
                let mut steps: Vec<Step> = (first..first + length).map(Step::tcp).collect();
                match self.random.below(3) {
                    0 => steps.reverse(),
                    1 => self.random.shuffle(&mut steps),
                    _ => {}
                }
                steps
            }
            // The holder of the same key for another gateway, or of another key.
            14 => {
                let other = self.random.below(2) as u8;
                let key = SpaKey::new([7 + other; 32]).derive(KeyUse::Rotation, DeviceId([6 - other; 16]));
                let Rotating { door, shape, next, .. } = &self.rotating[door];
                knocks(&key, door, *next, shape, |_| false).expect("knocks").to_vec()
            }
            // Somebody with the key, too far ahead; and lines before their turn.
            _ => {
                let ahead = u64::from(AHEAD) + self.random.below(4);
                if self.random.below(2) == 0 {
                    let number = self.next_line + 1 + self.random.below(4) as u16;
                    return line(number).to_vec();
                }
                let next = self.rotating[door].next + ahead;
                self.derived(door, next)
            }
        }
    }

    /// A sequence that was seen, the last ones above all.
    fn repeated(&mut self) -> Vec<Step> {
        let count = self.seen.len() as u64;
        if count == 0 {
            return Vec::new();
        }
        let back = if self.random.below(2) == 0 {
            self.random.below(6.min(count))
        } else {
            self.random.below(count)
        };
        self.seen[(count - 1 - back) as usize].clone()
    }

    /// Something a rotating sequence may consist of.
    fn drawn(&mut self, door: usize) -> Step {
        match (door, self.random.below(3)) {
            (0, _) => Step::tcp(20_000 + self.random.below(1000) as u16),
            (_, 0) => Step::tcp(30_000 + self.random.below(500) as u16),
            (_, 1) => Step::udp(30_000 + self.random.below(500) as u16),
            (_, _) => Step::icmp(64 + self.random.below(1024) as u16),
        }
    }

    fn derived(&self, door: usize, counter: u64) -> Vec<Step> {
        let Rotating { door, key, shape, .. } = &self.rotating[door];
        knocks(key, door, counter, shape, |_| false).expect("knocks").to_vec()
    }

    /// Somebody honest comes; power may go at the write. Everything that was sent was seen.
    fn visit(&mut self, session: u64) {
        self.campaign.visits += 1;
        let source = IpAddr::from((0x0a00_0000 | (session as u32 & 0x00ff_ffff)).to_be_bytes());
        let choice = self.random.below(5);
        let listed = choice == 4 && self.next_line < LINES - 10;
        let door = choice as usize % 2;
        let steps = if listed {
            line(self.next_line).to_vec()
        } else {
            // Some get lost on the way, as many as the gateway can do without.
            let next = self.rotating[door].next + self.random.below(u64::from(AHEAD));
            self.rotating[door].next = next + 1;
            self.derived(door, next)
        };
        self.cut = [Some(true), Some(false), None, None, None][self.random.below(5) as usize];
        // Before the write: it did not count, and whoever saw it could use it. The client comes again.
        let counted = self.cut != Some(false);
        let cut = self.cut.is_some();
        let opened: u64 = steps.iter().map(|&step| self.send(source, step)).sum();
        self.cut = None;
        self.campaign.honest_opened += u64::from(opened > 0 || cut);
        if counted {
            self.next_line += u16::from(listed);
            self.seen.push(steps);
        } else {
            let again = IpAddr::from((0x0b00_0000 | (session as u32 & 0x00ff_ffff)).to_be_bytes());
            let opened: u64 = steps.iter().map(|&step| self.send(again, step)).sum();
            self.next_line += u16::from(listed);
            self.campaign.honest_opened -= u64::from(opened == 0);
            self.seen.push(steps);
        }
        if self.random.below(50) == 0 {
            self.reboot();
        }
        self.millis += 40_000;
        self.tick();
    }

    fn tick(&mut self) {
        while self.engine.poll_at().is_some_and(|due| due.millis() <= self.millis) {
            self.handle(Input::Tick);
            self.millis += 1;
        }
        while let Some(id) = self.engine.next_record(self.now()).map(|record| record.id) {
            self.engine.record_written(id);
        }
    }

    fn now(&self) -> Instant {
        Instant::from_millis(self.millis)
    }

    /// Doors that opened.
    fn send(&mut self, source: IpAddr, step: Step) -> u64 {
        let bytes = FrameBytes::new(source, step, TcpFlags::SYN);
        let frame = Frame { interface: InterfaceIndex(0), link: LinkType::RawIp, bytes: bytes.as_slice() };
        self.campaign.frames += 1;
        self.handle(Input::Frame(frame))
    }

    fn handle(&mut self, input: Input<'_>) -> u64 {
        let now = self.now();
        let effects = self.engine.handle(input, now);
        let (mut opened, ceiling) = (0, effects.ceiling());
        for command in effects {
            opened += u64::from(matches!(command, FirewallCommand::Open { .. }));
            let done = Input::FirewallDone { grant: command.grant(), result: Ok(()) };
            let _ = self.engine.handle(done, now);
        }
        opened + ceiling.map_or(0, |write| self.write(write))
    }

    fn write(&mut self, write: CeilingWrite) -> u64 {
        if self.cut != Some(false) {
            self.medium.insert(write.tag, write.ceiling);
        }
        if self.cut.is_some() {
            self.campaign.cuts += 1;
            self.reboot();
            return 0;
        }
        self.handle(Input::CeilingWritten { write, result: Ok(()) })
    }
}

/// A line of the list: apart from the ranges that are drawn from.
fn line(number: u16) -> [Step; 3] {
    [Step::tcp(2000 + 7 * number), Step::udp(5000 + 3 * number), Step::tcp(4000 + number)]
}
