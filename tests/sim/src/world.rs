//! One seeded world: the production engine and turn between simulated adapters, and the oracles.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr};

use postern_core::Engine;
use postern_core::audit::{Event, RevokeReason};
use postern_core::engine::{Input, Keys};
use postern_core::hash::HashKey;
use postern_core::knock::{InterfaceIndex, Knock, Protocol, ServicePort, TcpFlags};
use postern_core::limits::{FIREWALL_ANSWER, FIREWALL_TRIES_MAX, GRANTS_MAX};
use postern_core::network::Network;
use postern_core::port::{Firewall, NoJournal};
use postern_core::rule::{DoorId, Purpose};
use postern_core::time::{Duration, Instant};
use posternd::dispatch::dispatch;
use posternd::turn::turn;

use crate::actor::{self, Arrival, GOOD, Link, Order};
use crate::frame::{FrameBytes, GATEWAY_V4, GATEWAY_V6};
use crate::happening::Happening;
use crate::ledger::Ledger;
use crate::neighbours::{inside_and_outside, neighbourhood};
use crate::random::Random;
use crate::reference::Reference;
use crate::site::SitePlan;
use crate::twin::{Mood, SimCapture, SimFirewall, SimSink};
use crate::vigil::Vigil;

/// The unit of the kernel's timers, and of the slack they have.
const KERNEL_UNIT: Duration = Duration::from_secs(1);

/// How long after a command the firewall may still be busy with it: all tries and their answers.
const FIREWALL_SLACK: Duration =
    Duration::from_millis(FIREWALL_ANSWER.millis() * FIREWALL_TRIES_MAX as u64 + 1000);

/// Lives nowhere near anybody.
const NOBODY: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 88, 99, 1));

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
    /// How often the watchdog was petted.
    pub pets: u64,
    /// How often it was not, because something was wrong.
    pub refused_pets: u64,
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
    ledger: Ledger,
    arrivals: BTreeMap<(u64, u64), Arrival>,
    happenings: BTreeMap<(u64, u64), Happening>,
    order: u64,
    now: Instant,
    faults_end: Instant,
    planted: Planted,
    /// Completions the engine and the model must agree on.
    report: Report,
    last: VecDeque<String>,
    finale: Vec<(IpAddr, usize, u64)>,
    vigil: Vigil,
}

impl World {
    /// The world of `seed`.
    pub fn new(seed: u64, planted: Planted) -> Self {
        let mut random = Random::new(seed);
        let doors = random.range(1, 6) as usize;
        let site = SitePlan::varied(&mut random, doors);
        let rules = site.rules();
        let mut key = [0; 16];
        key.fill_with(|| random.bits() as u8);
        let mut firewall = SimFirewall::new(random.bits());
        firewall.install(&rules).expect("a twin installs");
        (firewall.never_expires, firewall.ignores_close) = (planted.never_closes, planted.never_closes);
        let now = Instant::from_millis(random.below(1 << 33));
        let mut world = Self {
            engine: Box::new(Engine::new(rules.clone(), HashKey::new(key))),
            capture: SimCapture::default(),
            firewall,
            sink: SimSink::default(),
            reference: Reference::new(rules),
            ledger: Ledger::default(),
            arrivals: BTreeMap::new(),
            happenings: BTreeMap::new(),
            order: 0,
            now,
            faults_end: Instant::BOOT,
            planted,
            report: Report::default(),
            last: VecDeque::new(),
            finale: Vec::new(),
            vigil: Vigil::new(now),
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
            self.firewall.now = self.now;
            self.firewall.expire();
            // What is due is done before anything else happens in the same millisecond.
            self.ledger.pass(self.now);
            self.take_turns();
            self.happen();
            self.arrive();
            self.take_turns();
            self.judge();
            if let Err(violation) = self.vigil.look(self.now) {
                self.fail(violation);
            }
        }
        if self.report.violation.is_none() {
            self.judge_end();
        }
        self.report.opened = self.firewall.opened;
        (self.report.pets, self.report.refused_pets) = self.vigil.counts();
        self.report.last_events = self.last.into();
        self.report
    }

    fn populate(&mut self) {
        let start = self.now.millis() + 1;
        let horizon = self.random.range(20_000, 60_000);
        self.faults_end = Instant::from_millis(start + horizon);
        for _ in 0..self.random.range(3, 25) {
            let at = start + self.random.below(horizon);
            let mut arrivals = self.someone(at);
            let spoilt = *self.random.pick(&[0, 0, 0, 150]);
            actor::dress(&mut self.random, &self.site, &mut arrivals, spoilt);
            self.add(arrivals);
        }
        let mut times: Vec<u64> =
            (0..self.random.below(8)).map(|_| start + self.random.below(horizon)).collect();
        times.sort_unstable();
        for at in times {
            let someone = self.some_source();
            let happening = Happening::any(&mut self.random, &mut self.site, someone);
            self.add_happening(at, happening);
        }
        self.add_happening(start + horizon, Happening::Mood(Mood::Well));
        self.add_happening(start + horizon, Happening::SinkBusy(false));
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
                let (flags, interface) = (TcpFlags::SYN, InterfaceIndex(0));
                Arrival { at_millis: at + knock * 20, source, step, flags, interface }
            });
            let mut arrivals: Vec<Arrival> = arrivals.collect();
            actor::dress(&mut self.random, &self.site, &mut arrivals, 0);
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
            10 => {
                // Now and then more at once than one turn takes.
                let duration = *random.pick(&[1, 3000, 3000]);
                let count = *random.pick(&[150, 150, 150, 600, 600, 4000]);
                actor::flood(random, door, at, duration, count)
            }
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
            // Some live in another house of the same street.
            let house = *self.random.pick(&[0, 0, 1]);
            IpAddr::from([0x2001, 0xdb8, 0, house, 0, 0, 0, 0x100 + u16::from(host)])
        } else {
            IpAddr::from([198, 51, *self.random.pick(&[100, 100, 101]), host])
        }
    }

    fn add(&mut self, arrivals: Vec<Arrival>) {
        for arrival in arrivals {
            self.order += 1;
            self.arrivals.insert((arrival.at_millis, self.order), arrival);
        }
    }

    fn add_happening(&mut self, at: u64, happening: Happening) {
        self.order += 1;
        self.happenings.insert((at, self.order), happening);
    }

    /// The next arrival, happening, or moment the engine asked for. Nothing wakes it otherwise.
    fn next_moment(&self) -> Option<Instant> {
        let arrival = self.arrivals.keys().next().map(|key| Instant::from_millis(key.0));
        let happening = self.happenings.keys().next().map(|key| Instant::from_millis(key.0));
        let next = [arrival, happening, self.engine.poll_at()].into_iter().flatten().min()?;
        // The look at the daemon's health alone keeps no world alive.
        Some(next.min(self.vigil.poll_at()))
    }

    fn happen(&mut self) {
        let now = self.now;
        while let Some(entry) = self.happenings.first_entry().filter(|entry| entry.key().0 <= now.millis()) {
            let happening = entry.remove();
            self.tell(format!("{happening:?}"));
            match happening {
                Happening::Mood(mood) => self.firewall.mood = mood,
                Happening::SinkBusy(busy) => self.sink.busy = busy,
                Happening::Steal => {
                    if let Some((source, port)) = self.firewall.steal(&mut self.random) {
                        self.ledger.stolen(source, port);
                    }
                }
                Happening::Notices(count) => {
                    for frames in 0..u64::from(count) {
                        self.ledger.noticed();
                        self.handle(Input::Notice(Event::CaptureDropped { frames }));
                    }
                }
                Happening::Revoke(place, source) => {
                    let doors = self.engine.rules().doors();
                    let place = place % doors.len();
                    self.ledger.revoked(doors[place].name.as_str(), source, RevokeReason::Operator, now);
                    self.handle(Input::Revoke { door: DoorId(place as u16), source });
                }
                Happening::WallSet(secs) => {
                    let wall = secs.map(postern_core::spa::policy::WallTime::from_secs);
                    self.engine.set_wall(wall, now);
                }
                Happening::Ail(ills) => self.vigil.ills = ills,
                Happening::Reload(site) => {
                    let rules = site.rules();
                    self.reference.replace_rules(rules.clone());
                    self.ledger.rules_replaced(&rules, now);
                    self.firewall.install(&rules).expect("a twin installs");
                    self.engine.replace_rules(rules, Keys::none(), now);
                }
            }
        }
    }

    fn handle(&mut self, input: Input<'_>) {
        let effects = self.engine.handle(input, self.now);
        dispatch(&mut self.engine, &mut self.firewall, &mut NoJournal, effects, self.now);
    }

    fn arrive(&mut self) {
        let late = if self.planted.is_deaf { 10_000 } else { 0 };
        while let Some(entry) = self.arrivals.first_entry().filter(|entry| entry.key().0 <= self.now.millis())
        {
            let arrival = entry.remove();
            self.tell(format!("{} {}", arrival.source, arrival.step));
            let target =
                if arrival.source.is_ipv4() { IpAddr::from(GATEWAY_V4) } else { IpAddr::from(GATEWAY_V6) };
            let Arrival { source, step, flags, at_millis, interface } = arrival;
            let flags = if step.protocol == Protocol::Tcp { flags } else { TcpFlags::NONE };
            let knock = Knock { source, target, step, flags, interface };
            self.report.frames += 1;
            let is_guard = self.engine.rules().is_guarded(&knock);
            let completed = self.reference.knock(&knock, self.now);
            for &(door, purpose) in &completed {
                let Some(door) = self.engine.rules().door(door) else { continue };
                match purpose {
                    Purpose::Open => self.ledger.proved(door, source, self.now),
                    Purpose::Close => {
                        let (name, reason) = (door.name.as_str(), RevokeReason::CloseSequence);
                        self.ledger.revoked(name, Some(source), reason, self.now);
                    }
                }
            }
            if late > 0 && self.random.per_mille(300) {
                let delayed = Arrival { at_millis: at_millis + late, ..arrival };
                self.add(vec![delayed]);
            } else if !(self.planted.loses_guard_touches && is_guard) {
                self.capture.arrive(FrameBytes::new(source, step, flags), interface);
            }
            // The ledger is told of one proof at a time, so that it knows which command is whose.
            if !completed.is_empty() {
                self.take_turns();
            }
        }
    }

    /// Turns of the daemon, until it would sleep.
    fn take_turns(&mut self) {
        loop {
            self.report.turns += 1;
            let (engine, capture) = (&mut self.engine, &mut self.capture);
            let report =
                turn(engine, capture, (&mut self.firewall, &mut NoJournal), &mut self.sink, self.now);
            if !report.more {
                break;
            }
        }
        if self.capture.waiting() > 0 {
            self.fail(format!("{} frames wait, and the turn said that was all", self.capture.waiting()));
        }
        for event in core::mem::take(&mut self.sink.written) {
            self.ledger.written(&event);
        }
        let log = core::mem::take(&mut self.firewall.log);
        for done in &log {
            self.tell(format!("{:?} -> {:?}", done.command, done.result));
        }
        let counters = self.engine.counters().matcher;
        // Under a flood the filter may know a first knock only to a slice of time: the one price
        // that is documented. Such a world is judged by everything but exact agreement.
        self.report.inexact |= counters.first_inexact > 0 || counters.taint_inexact > 0;
        if !self.report.inexact {
            if let Err(broken) = self.ledger.commanded(&log, self.now) {
                self.fail(broken);
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
        self.judge_ledger();
        self.judge_finale();
    }

    /// Engine and kernel hold exactly what they must, and no record is written without a cause.
    fn judge_ledger(&mut self) {
        if self.report.inexact || self.report.violation.is_some() {
            return;
        }
        let held = self.ledger.judge(self.engine.grants(), &self.firewall);
        if let Err(broken) = held.and_then(|()| self.ledger.unwritten().map(drop)) {
            self.fail(broken);
        }
    }

    /// Nothing opens without a proof, nothing stays longer than its time.
    fn judge_proofs(&mut self) {
        let counters = self.engine.counters();
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
            self.judge_neighbours(source, port);
        }
    }

    /// Who lives in the network that somebody has a grant of may pass, and nobody who lives next to it,
    /// unless others proved it.
    fn judge_neighbours(&mut self, network: Network, port: ServicePort) {
        let [inside, outside] = inside_and_outside(network);
        if !self.firewall.passes(inside, port) {
            self.fail(format!("{port} is open for {network}, and shut for {inside}"));
        }
        let may_pass = self.reference.may_pass_until(outside, port);
        if self.firewall.passes(outside, port) && may_pass.is_none_or(|until| self.now > until + KERNEL_UNIT)
        {
            self.fail(format!("{port} is open for {outside}, where nobody proved anything"));
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
    }

    /// After the faults stopped, an honest knock works at once.
    fn judge_finale(&mut self) {
        let now = self.now.millis();
        let due: Vec<_> = self.finale.iter().filter(|(_, _, last)| *last == now).copied().collect();
        for (source, index, _) in due {
            let door = &self.engine.rules().doors()[index];
            let (port, network) = (door.ports[0], neighbourhood(source, door.terms.reach));
            let [neighbour, _] = inside_and_outside(network);
            for who in [source, neighbour] {
                if !self.firewall.passes(who, port) {
                    self.fail(format!(
                        "door {index} did not open for {who}, after the honest client {source} knocked"
                    ));
                }
            }
            if self.firewall.passes(NOBODY, port) {
                self.fail(format!("door {index} is open for {NOBODY}, who never came"));
            }
        }
    }

    fn judge_end(&mut self) {
        // Everything that had to be written was, or its loss was confessed.
        match self.ledger.unwritten() {
            Ok(missing) if missing > self.sink.lost && !self.report.inexact => {
                self.fail(format!("{missing} records are missing and {} confessed", self.sink.lost));
            }
            Err(broken) if !self.report.inexact => self.fail(broken),
            _ => {}
        }
        if self.engine.grants().count() > 0 || self.firewall.members().count() > 0 {
            self.fail("something is open at the end of the world".into());
        }
    }
}
