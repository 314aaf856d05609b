//! One seeded world: the production engine and turn between simulated adapters, and the oracles.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;

use postern_core::Engine;
use postern_core::hash::HashKey;
use postern_core::knock::{InterfaceIndex, Knock};
use postern_core::limits::{FIREWALL_ANSWER, FIREWALL_TRIES_MAX, GRANTS_MAX};
use postern_core::port::FirewallError;
use postern_core::time::{Duration, Instant};
use posternd::turn::turn;

use crate::actor::{self, Arrival, GOOD, Link, Order};
use crate::frame::{FrameBytes, GATEWAY_V4, GATEWAY_V6};
use crate::random::Random;
use crate::reference::Reference;
use crate::site::SitePlan;
use crate::twin::{Mood, SimCapture, SimFirewall, SimSink};

/// The unit of the kernel's timers, and of the slack they have.
const KERNEL_UNIT: Duration = Duration::from_secs(1);

/// How long after a command the firewall may still be busy with it: all tries and their answers.
const FIREWALL_SLACK: Duration =
    Duration::from_millis(FIREWALL_ANSWER.millis() * FIREWALL_TRIES_MAX as u64 + 1000);

/// Something that happens to the world besides packets.
#[derive(Clone, Debug)]
enum Turn {
    Mood(Mood),
    SinkBusy(bool),
    Steal,
    Reload(Box<SitePlan>),
}

/// What to plant, to see whether the oracles notice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Planted {
    /// The kernel forgets its timers and closing does nothing.
    pub never_closes: bool,
    /// The engine never hears of guard touches.
    pub loses_guard_touches: bool,
    /// The engine hears of every frame twice as late as it should: after ten seconds.
    pub is_deaf: bool,
}

/// What a world found out.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Packets that arrived.
    pub frames: u64,
    /// Turns of the daemon.
    pub turns: u64,
    /// Doors opened.
    pub opened: u64,
    /// Whether a flood made the first-knock set inexact.
    pub inexact: bool,
    /// What broke, with the time.
    pub violation: Option<String>,
    /// The last things that happened before it broke.
    pub last_events: Vec<String>,
}

/// The world.
pub struct World {
    random: Random,
    site: SitePlan,
    engine: Box<Engine<4>>,
    capture: SimCapture,
    firewall: SimFirewall,
    sink: SimSink,
    reference: Reference,
    arrivals: BTreeMap<(u64, u64), Arrival>,
    turns: BTreeMap<(u64, u64), Turn>,
    order: u64,
    now: Instant,
    faults_end: Instant,
    planted: Planted,
    /// Completions the engine and the model must agree on.
    report: Report,
    last: VecDeque<String>,
    finale: Vec<(IpAddr, usize, u64)>,
}

impl World {
    /// The world of `seed`.
    pub fn new(seed: u64, planted: Planted) -> Self {
        let mut random = Random::new(seed);
        let doors = random.range(1, 6) as usize;
        let site = SitePlan::random(&mut random, doors);
        let rules = site.rules();
        let mut key = [0; 16];
        key.fill_with(|| random.bits() as u8);
        let mut firewall = SimFirewall::new(random.bits());
        (firewall.never_expires, firewall.ignores_close) = (planted.never_closes, planted.never_closes);
        let mut world = Self {
            engine: Box::new(Engine::new(rules.clone(), HashKey::new(key))),
            capture: SimCapture::default(),
            firewall,
            sink: SimSink::default(),
            reference: Reference::new(rules),
            arrivals: BTreeMap::new(),
            turns: BTreeMap::new(),
            order: 0,
            now: Instant::from_millis(random.below(1 << 33)),
            faults_end: Instant::BOOT,
            planted,
            report: Report::default(),
            last: VecDeque::new(),
            finale: Vec::new(),
            site,
            random,
        };
        world.populate();
        world
    }

    /// Runs it to its end, or to the first violation.
    pub fn run(mut self) -> Report {
        while self.report.violation.is_none() {
            let Some(next) = self.next_moment() else { break };
            self.now = self.now.max(next);
            self.happen();
            self.step();
            self.judge();
        }
        if self.report.violation.is_none() {
            self.judge_end();
        }
        self.report.opened = self.firewall.opened;
        self.report.last_events = self.last.into();
        self.report
    }

    fn populate(&mut self) {
        let start = self.now.millis() + 1;
        let horizon = self.random.range(20_000, 60_000);
        self.faults_end = Instant::from_millis(start + horizon);
        for _ in 0..self.random.range(3, 25) {
            let at = start + self.random.below(horizon);
            let arrivals = self.someone(at);
            self.add(arrivals);
        }
        for _ in 0..self.random.below(8) {
            let at = start + self.random.below(horizon);
            let turn = self.some_turn();
            self.add_turn(at, turn);
        }
        self.add_turn(start + horizon, Turn::Mood(Mood::Well));
        self.add_turn(start + horizon, Turn::SinkBusy(false));
        self.add_finale(start + horizon + FIREWALL_SLACK.millis() + 130_000);
    }

    /// After the faults: one clean client for each door must get in.
    fn add_finale(&mut self, start: u64) {
        for index in 0..self.site.doors.len() {
            let source = IpAddr::from([10, 99, 0, index as u8 + 1]);
            let steps = self.site.doors[index].steps.clone();
            // Fast enough for the shortest sequence time.
            let at = start + index as u64 * 3000;
            let arrivals = (0..).zip(&steps).map(|(knock, &step)| {
                let flags = postern_core::TcpFlags::SYN;
                Arrival { at_millis: at + knock * 20, source, step, flags }
            });
            let arrivals: Vec<Arrival> = arrivals.collect();
            let last = arrivals.last().map_or(at, |arrival| arrival.at_millis);
            self.add(arrivals);
            self.finale.push((source, index, last));
        }
    }

    fn someone(&mut self, at: u64) -> Vec<Arrival> {
        let source = self.some_source();
        let index = self.random.below(self.site.doors.len() as u64) as usize;
        let (site, random) = (self.site.clone(), &mut self.random);
        let door = &site.doors[index];
        let link = Link {
            loss: *random.pick(&[0, 50, 200]),
            duplication: *random.pick(&[0, 100, 500]),
            jitter_millis: *random.pick(&[0, 30, 140, 400]),
        };
        match random.below(12) {
            0..=4 => actor::client(random, source, &door.steps, at, link),
            5 => {
                // Two people behind one address, one of them closing.
                let mut both = actor::client(random, source, &door.steps, at, GOOD);
                let other = &random.pick(&site.doors).clone();
                let (second, third) = (at + random.below(300), at + random.below(4000));
                both.extend(actor::client(random, source, &other.steps, second, link));
                both.extend(actor::client(random, source, &door.close_steps, third, GOOD));
                both
            }
            6 | 7 => {
                let order = *random.pick(&[Order::Rising, Order::Falling, Order::Random, Order::Doubled]);
                let duration = *random.pick(&[50, 3000, 30_000]);
                actor::scanner(random, &site, source, order, at, duration)
            }
            8 => actor::insider(random, door, source, at),
            9 => {
                let taints = random.per_mille(500);
                let mut story = actor::client(random, source, &door.steps, at, GOOD);
                story.extend(actor::forger(random, door, source, at.saturating_sub(1000), taints));
                story
            }
            10 => actor::flood(random, door, at, 150),
            _ => {
                let mut again = actor::client(random, source, &door.steps, at, link);
                again.extend(actor::client(random, source, &door.steps, at + 700, GOOD));
                again
            }
        }
    }

    fn some_source(&mut self) -> IpAddr {
        let host = self.random.range(1, 12) as u8;
        if self.random.per_mille(300) {
            IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x100 + u16::from(host)])
        } else {
            IpAddr::from([198, 51, 100, host])
        }
    }

    fn some_turn(&mut self) -> Turn {
        match self.random.below(7) {
            0 => Turn::Mood(Mood::Refuses(FirewallError::Busy)),
            1 => Turn::Mood(Mood::LosesAnswers),
            2 => Turn::Mood(Mood::Erratic),
            3 => Turn::SinkBusy(self.random.per_mille(500)),
            4 => Turn::Steal,
            5 => {
                let mut site = self.site.clone();
                let index = self.random.below(site.doors.len() as u64) as usize;
                site.doors[index].open_for_secs = 2;
                site.doors[index].port.port += 100;
                self.site = site.clone();
                Turn::Reload(Box::new(site))
            }
            _ => Turn::Mood(Mood::Well),
        }
    }

    fn add(&mut self, arrivals: Vec<Arrival>) {
        for arrival in arrivals {
            self.order += 1;
            self.arrivals.insert((arrival.at_millis, self.order), arrival);
        }
    }

    fn add_turn(&mut self, at: u64, turn: Turn) {
        self.order += 1;
        self.turns.insert((at, self.order), turn);
    }

    /// The next arrival, happening, or moment the engine asked for. Nothing wakes it otherwise.
    fn next_moment(&self) -> Option<Instant> {
        let arrival = self.arrivals.keys().next().map(|key| Instant::from_millis(key.0));
        let turn = self.turns.keys().next().map(|key| Instant::from_millis(key.0));
        [arrival, turn, self.engine.poll_at()].into_iter().flatten().min()
    }

    fn happen(&mut self) {
        self.firewall.now = self.now;
        self.firewall.expire();
        while let Some(entry) = self.turns.first_entry().filter(|entry| entry.key().0 <= self.now.millis()) {
            let turn = entry.remove();
            self.tell(format!("{turn:?}"));
            match turn {
                Turn::Mood(mood) => self.firewall.mood = mood,
                Turn::SinkBusy(busy) => self.sink.busy = busy,
                Turn::Steal => self.firewall.steal(&mut self.random),
                Turn::Reload(site) => {
                    let rules = site.rules();
                    self.reference.replace_rules(rules.clone());
                    self.engine.replace_rules(rules, self.now);
                }
            }
        }
    }

    fn step(&mut self) {
        let late = if self.planted.is_deaf { 10_000 } else { 0 };
        while let Some(entry) = self.arrivals.first_entry().filter(|entry| entry.key().0 <= self.now.millis())
        {
            let arrival = entry.remove();
            self.tell(format!("{} {}", arrival.source, arrival.step));
            let target =
                if arrival.source.is_ipv4() { IpAddr::from(GATEWAY_V4) } else { IpAddr::from(GATEWAY_V6) };
            let Arrival { source, step, flags, at_millis } = arrival;
            let knock = Knock { source, target, step, flags, interface: InterfaceIndex(0) };
            self.report.frames += 1;
            let is_guard = self.engine.rules().is_guarded(&knock);
            self.reference.knock(&knock, self.now);
            if late > 0 && self.random.per_mille(300) {
                let delayed = Arrival { at_millis: at_millis + late, ..arrival };
                self.add(vec![delayed]);
            } else if !(self.planted.loses_guard_touches && is_guard) {
                self.capture.arrive(FrameBytes::new(source, step, flags));
            }
        }
        loop {
            self.report.turns += 1;
            let (engine, capture) = (&mut self.engine, &mut self.capture);
            let report = turn(engine, capture, &mut self.firewall, &mut self.sink, self.now);
            if !report.more {
                break;
            }
        }
    }

    fn tell(&mut self, what: String) {
        if self.last.len() == 60 {
            self.last.pop_front();
        }
        self.last.push_back(format!("{:>12} {what}", self.now.millis()));
    }

    fn fail(&mut self, what: String) {
        if self.report.violation.is_none() {
            self.report.violation = Some(format!("at {} ms: {what}", self.now.millis()));
        }
    }

    /// The oracles, after every step.
    fn judge(&mut self) {
        self.judge_always();
        self.judge_proofs();
        self.judge_finale();
    }

    /// Nothing opens without a proof, nothing stays longer than its time.
    fn judge_proofs(&mut self) {
        let counters = self.engine.counters();
        // Under a flood the filter may know a first knock only to a slice of time: the one price
        // that is documented. Such a world is judged by everything but exact agreement.
        self.report.inexact |= counters.matcher.first_inexact > 0 || counters.matcher.taint_inexact > 0;
        let (found, expected) = (counters.completions, self.reference.counts.completions);
        if self.report.inexact {
            return;
        }
        if found != expected || counters.tainted != self.reference.counts.tainted {
            self.fail(format!(
                "the engine saw {found} completions and {} tainted ones, the model {:?}",
                counters.tainted, self.reference.counts
            ));
        }
        let members: Vec<_> = self.firewall.members().collect();
        for (source, port, until) in members {
            match self.reference.allowed_until(source, port) {
                None => self.fail(format!("{port} is open for {source}, who never proved anything")),
                Some(allowed) if until > allowed + KERNEL_UNIT => {
                    let over = until.since(allowed).millis();
                    self.fail(format!("{port} is open for {source} {over} ms too long"));
                }
                Some(allowed) if self.now > allowed + KERNEL_UNIT => {
                    self.fail(format!("{port} is still open for {source}"));
                }
                Some(_) => {}
            }
        }
    }

    /// What holds whatever happens.
    fn judge_always(&mut self) {
        if self.engine.grants().count() > GRANTS_MAX {
            self.fail("more grants than there is room for".into());
        }
        if self.engine.poll_at().is_some_and(|due| due < self.now) {
            self.fail("the engine wants to be woken in the past".into());
        }
        let written = self.sink.grants + self.sink.lost;
        if self.sink.gaps > 0 || self.sink.grants > self.firewall.opened {
            self.fail(format!(
                "{} gaps in the audit trail, {} of {} openings",
                self.sink.gaps, written, self.firewall.opened
            ));
        }
        self.judge_finale();
    }

    /// After the faults stopped, an honest knock works at once.
    fn judge_finale(&mut self) {
        let now = self.now.millis();
        let due: Vec<_> = self.finale.iter().filter(|(_, _, last)| *last == now).copied().collect();
        for (source, index, _) in due {
            let port = self.engine.rules().doors()[index].ports[0];
            let open = self.firewall.members().any(|(who, what, _)| who == source && what == port);
            if !open {
                self.fail(format!(
                    "door {index} did not open for the honest client {source} after the faults"
                ));
            }
        }
    }

    fn judge_end(&mut self) {
        if self.sink.grants + self.sink.lost < self.firewall.opened {
            self.fail(format!(
                "{} openings, {} records and {} lost",
                self.firewall.opened, self.sink.grants, self.sink.lost
            ));
        }
        if self.engine.grants().count() > 0 || self.firewall.members().count() > 0 {
            self.fail("something is open at the end of the world".into());
        }
    }
}
