//! The machine around the engine: gate, capture, audit.

use std::os::fd::{AsFd, BorrowedFd};

use heapless::Vec;
use postern_config::Site;
use postern_console::rpc::reply::InterfaceStatus;
use postern_core::audit::Event;
use postern_core::engine::{Engine, Input, Keys};
use postern_core::hash::HashKey;
use postern_core::limits::INTERFACES_MAX;
use postern_core::port::{Capture, Firewall as _, Frame, Journal, NoJournal};
use postern_core::rule::{DoorId, RuleSet};
use postern_core::spa::policy;
use postern_core::time::{Duration, Instant};
use postern_hal_linux::capture::{CaptureEvent, LinuxCapture, RingBytes};
use postern_hal_linux::clock::WallTime;
use postern_hal_linux::default_route::DEFAULT_ROUTE;
use postern_hal_linux::firewall::{RulesetWatch, Verification};
use postern_hal_linux::link_watch::LinkWatch;
use postern_hal_linux::random::random;
use postern_hal_linux::wait::CAPTURES_MAX;
use posternd::adoption::adopt;
use posternd::control::Desk;
use posternd::health::GateReading;
use posternd::machine::Machine;
use posternd::turn::{TurnReport, turn_watched};

use crate::gate::Gate;
use crate::sink::{InterfaceNames, RecordingSink, Sink};

/// How often the wall clock is read: whether a key is valid does not turn on seconds.
const WALL_EVERY: Duration = Duration::from_secs(10);

/// How old the last look at the gate may be when there is something else to do, which there is every
/// five seconds: it is read back every ten. That starts one or two programs for some milliseconds.
const GATE_CHECK_EVERY: Duration = Duration::from_secs(9);

/// Shortest pause between two looks when the kernel tells of one change after the other.
const GATE_CHECK_GAP: Duration = Duration::from_millis(500);

/// How soon the gate is read again when it was not as it should be.
const GATE_CHECK_AGAIN: Duration = Duration::from_secs(1);

/// Why the gate is not known to be right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum GateDoubt {
    Unread(Instant),
    Differs,
}

/// Everything the daemon does with the machine.
pub(crate) struct Shell {
    engine: Box<Engine>,
    gate: Gate,
    capture: Ears,
    /// Tells at once what the capture would find out a second later.
    links: Option<LinkWatch>,
    sink: Sink,
    names: InterfaceNames,
    dropped: u64,
    wall_at: Option<Instant>,
    /// Tells at once what the look at the gate would find out later.
    rules_watch: Option<RulesetWatch>,
    gate_checked_at: Instant,
    gate_check_at: Instant,
    /// A look is wanted at its time, even if there is nothing else to do.
    gate_wanted: bool,
    /// Since when the gate could not be read, or that it differs and cannot be put right.
    gate_doubt: Option<GateDoubt>,
    pub(crate) allow_reboot: bool,
}

/// The capture; none in a factory profile that names no interface.
pub(crate) struct Ears(Option<LinuxCapture>);

impl Capture for Ears {
    fn next_frame(&mut self) -> Option<Frame<'_>> {
        self.0.as_mut()?.next_frame()
    }
}

impl Shell {
    /// Puts the gate up, then opens the capture: at no moment is a protected port open to
    /// everybody.
    ///
    /// Grants of the process before are adopted when `adopts` says so, and else withdrawn.
    pub(crate) fn start(
        site: &Site,
        rules: RuleSet,
        mut sink: Sink,
        adopts: bool,
        now: Instant,
    ) -> Result<Self, String> {
        let mut gate = Gate::new(site)?;
        if adopts {
            gate.adopt_grants();
        }
        gate.install(&rules)?;
        // Only now: nothing is open in between.
        Gate::remove_the_others(site);
        let capture = open_capture(site, &rules, now)?;
        let names = interface_names(site);
        sink.set_interfaces(names.clone());
        // New at every start: nobody can aim at a bucket of the tables.
        let key = random::<16>().map_err(|error| format!("no random numbers: {error}"))?;
        let engine = Box::new(Engine::new(rules, HashKey::new(key)));
        let mut shell = Self {
            engine,
            gate,
            capture: Ears(capture),
            links: watch_links(site),
            sink,
            names,
            dropped: 0,
            wall_at: None,
            rules_watch: watch_rules(),
            gate_checked_at: now,
            gate_check_at: now + GATE_CHECK_EVERY,
            gate_wanted: false,
            gate_doubt: None,
            allow_reboot: false,
        };
        let doors = shell.engine.door_count();
        shell.notice(Event::Boot { doors }, now);
        if adopts {
            shell.adopt(now)?;
        }
        Ok(shell)
    }

    /// Takes over what the kernel still holds open and the rules account for; closes everything else.
    fn adopt(&mut self, now: Instant) -> Result<(), String> {
        let held = self.gate.held()?;
        let adoption = adopt(&mut self.engine, &held, now);
        for command in &adoption.withdrawals {
            self.gate.execute(command).map_err(|error| {
                format!("a grant of the process before that nobody accounts for stays: {}", error.reason())
            })?;
        }
        if !held.is_empty() {
            let (adopted, withdrawn) = (adoption.adopted, adoption.withdrawals.len());
            log::info!(
                "grants of the process before: {adopted} go on, those of {withdrawn} sources were withdrawn"
            );
        }
        Ok(())
    }

    /// Looks after the capture; says when it must be looked after again, if nothing happens before.
    pub(crate) fn look_after_capture(&mut self, now: Instant) -> Option<Instant> {
        let changed = self.links.as_mut().map(LinkWatch::take_change);
        let capture = self.capture.0.as_mut()?;
        if changed == Some(true) {
            capture.links_changed();
        }
        let next =
            if changed.is_some() { capture.maintain_when_told(now) } else { Some(capture.maintain(now)) };
        while let Some(event) = self.capture.0.as_mut().and_then(LinuxCapture::take_event) {
            if let CaptureEvent::Dropped { frames, .. } = event {
                self.dropped = self.dropped.saturating_add(frames);
            }
            self.notice(audit_event(event), now);
        }
        next
    }

    /// Reads the gate back when it is time, when somebody changed the packet filter, or when a command
    /// missed it, and puts it right; says when it must do so again, if nothing happens before.
    pub(crate) fn look_after_gate(&mut self, now: Instant) -> Option<Instant> {
        if self.rules_watch.as_mut().is_some_and(RulesetWatch::take_change) {
            self.gate_wanted = true;
            self.gate_check_at = self.gate_check_at.min(self.gate_checked_at + GATE_CHECK_GAP);
        }
        if self.gate.take_missed() || self.gate_check_at <= now {
            self.check_gate(now);
        }
        self.gate_wanted.then_some(self.gate_check_at)
    }

    fn check_gate(&mut self, now: Instant) {
        self.gate_doubt = match self.gate.verify(self.engine.rules()) {
            Ok(found) if found.is_intact() => None,
            Ok(found) => self.put_gate_right(&found, now),
            Err(error) => {
                log::warn!("the gate cannot be read back: {error}");
                self.gate_doubt.or(Some(GateDoubt::Unread(now)))
            }
        };
        let pause = if self.gate_doubt.is_none() { GATE_CHECK_EVERY } else { GATE_CHECK_AGAIN };
        self.gate_wanted = self.gate_doubt.is_some();
        self.gate_checked_at = now;
        self.gate_check_at = now + pause;
    }

    /// Somebody changed the gate. Grants whose set is gone are gone with it: clients knock again.
    fn put_gate_right(&mut self, found: &Verification, now: Instant) -> Option<GateDoubt> {
        log::error!("the gate was changed: {found}; putting it right");
        let installed = self.gate.install(self.engine.rules());
        if let Err(error) = &installed {
            log::error!("the gate could not be put right: {error}");
        }
        let again = installed.and_then(|()| self.gate.verify(self.engine.rules()));
        let repaired = again.is_ok_and(|again| again.is_intact());
        // A gate that cannot be put right is told about when that is found, not every second.
        if repaired || self.gate_doubt != Some(GateDoubt::Differs) {
            let differences = u16::try_from(found.drifts().len()).unwrap_or(u16::MAX);
            self.notice(Event::FirewallDrift { differences, repaired }, now);
        }
        (!repaired).then_some(GateDoubt::Differs)
    }

    /// What is known of the gate.
    pub(crate) fn gate_reading(&self, now: Instant) -> GateReading {
        match self.gate_doubt {
            None => GateReading::Intact,
            Some(GateDoubt::Unread(since)) => GateReading::Unread(now.since(since)),
            Some(GateDoubt::Differs) => GateReading::Differs,
        }
    }

    /// Whether an interface that is there and up is not captured.
    pub(crate) fn is_deaf(&self) -> bool {
        self.capture.0.as_ref().is_some_and(LinuxCapture::is_deaf)
    }

    /// One turn of the engine.
    pub(crate) fn turn(&mut self, desk: &mut Desk, journal: &mut impl Journal, now: Instant) -> TurnReport {
        let Desk { lines, sightings, .. } = desk;
        let mut sink = RecordingSink { sink: &mut self.sink, lines };
        let watched = sightings.is_watched(now).then_some(sightings);
        turn_watched(&mut self.engine, &mut self.capture, (&mut self.gate, journal), &mut sink, watched, now)
    }

    /// Tells the engine what the wall clock says, if it can be trusted, now and then.
    pub(crate) fn read_wall_clock(&mut self, now: Instant) {
        if self.wall_at.is_none_or(|at| at <= now) {
            self.wall_at = Some(now + WALL_EVERY);
            let trusted = WallTime::now().filter(|wall| wall.synchronised);
            let wall = trusted.map(|wall| policy::WallTime::from_secs(wall.unix_millis / 1000));
            self.engine.set_wall(wall, now);
        }
    }

    /// When the engine wants its next tick.
    pub(crate) fn poll_at(&self) -> Option<Instant> {
        self.engine.poll_at()
    }

    /// What the capture waits on.
    pub(crate) fn capture_fds(&self) -> Vec<BorrowedFd<'_>, CAPTURES_MAX> {
        let captures = self.capture.0.as_ref().map(LinuxCapture::fds).unwrap_or_default();
        let links = self.links.as_ref().map(LinkWatch::as_fd);
        let rules = self.rules_watch.as_ref().map(RulesetWatch::as_fd);
        captures.into_iter().chain(links).chain(rules).collect()
    }

    /// Another capture, or the same with another filter. What there was before is returned, to be
    /// put back when something else fails.
    fn change_capture(&mut self, site: &Site, rules: &RuleSet, now: Instant) -> Result<Before, String> {
        if interface_names(site) == self.names {
            if let Some(capture) = &mut self.capture.0 {
                capture.replace_filter(rules, &spa_ports(site)).map_err(|error| error.to_string())?;
            }
            return Ok(Before::Filter);
        }
        let next = open_capture(site, rules, now)?;
        Ok(Before::Capture(core::mem::replace(&mut self.capture.0, next).map(Box::new)))
    }

    fn change_capture_back(&mut self, before: Before) {
        match before {
            Before::Capture(capture) => self.capture.0 = capture.map(|capture| *capture),
            Before::Filter => {
                let Some(capture) = &mut self.capture.0 else { return };
                let ports: Vec<u16, 1> = self.engine.keys().port().into_iter().collect();
                if let Err(error) = capture.replace_filter(self.engine.rules(), &ports) {
                    log::error!("the kernel filter before is not back: {error}");
                }
            }
        }
    }

    /// The gate of the new rules: exchanged where it stands, or put up beside the old one, which is
    /// taken away only then.
    fn change_gate(&mut self, site: &Site, rules: &RuleSet, now: Instant) -> Result<(), String> {
        if self.gate.suits(site) {
            return self.gate.exchange(site, rules);
        }
        let mut next = Gate::new(site)?;
        next.install(rules)?;
        let mut last = core::mem::replace(&mut self.gate, next);
        // The kernel holds the grants in force in the old gate's sets: clients knock again.
        for door in 0..self.engine.door_count() {
            self.handle(Input::Revoke { door: DoorId(door), source: None }, now);
        }
        if let Err(error) = last.remove() {
            log::warn!("the gate of the other back end still stands beside the new one: {error}");
        }
        Ok(())
    }
}

/// What a change of the capture replaced.
enum Before {
    Filter,
    Capture(Option<Box<LinuxCapture>>),
}

impl Machine for Shell {
    fn apply(&mut self, site: &Site, rules: RuleSet, keys: Keys, now: Instant) -> Result<(), String> {
        let before = self.change_capture(site, &rules, now)?;
        // The gate last: nothing that could fail follows, so no port is opened by a change that is
        // refused.
        if let Err(error) = self.change_gate(site, &rules, now) {
            self.change_capture_back(before);
            return Err(error);
        }
        if interface_names(site) != self.names {
            self.names = interface_names(site);
            // Routes matter, or do so no more. One that cannot be had is replaced by looking.
            self.links = watch_links(site);
        }
        self.sink.set_interfaces(self.names.clone());
        self.engine.replace_rules(rules, keys, now);
        Ok(())
    }

    fn engine(&mut self) -> &mut Engine {
        &mut self.engine
    }

    fn handle(&mut self, input: Input<'_>, now: Instant) {
        let effects = self.engine.handle(input, now);
        // Only packets ask for a ceiling; they come in turns.
        posternd::dispatch::dispatch(&mut self.engine, &mut self.gate, &mut NoJournal, effects, now);
    }

    fn interfaces(&self) -> (Vec<InterfaceStatus, INTERFACES_MAX>, u64) {
        let live = |name: &str| self.capture.0.as_ref().is_some_and(|capture| capture.is_live(name));
        let statuses = self.names.iter().map(|name| InterfaceStatus { name: name.clone(), live: live(name) });
        (statuses.collect(), self.dropped)
    }

    fn random(&mut self) -> Option<[u8; 16]> {
        random().inspect_err(|error| log::error!("no random numbers: {error}")).ok()
    }

    fn may_reboot(&self) -> bool {
        self.allow_reboot
    }
}

/// Without it, changes are found out within ten seconds.
fn watch_rules() -> Option<RulesetWatch> {
    let failed = |errno| log::warn!("the kernel does not tell when the packet filter changes: {errno}");
    RulesetWatch::open().map_err(failed).ok()
}

/// Without it, changes are found out within a second.
fn watch_links(site: &Site) -> Option<LinkWatch> {
    let routes = site.interfaces.iter().any(|name| name.as_str() == DEFAULT_ROUTE);
    let failed = |errno| log::warn!("the kernel does not tell when links change: {errno}");
    LinkWatch::open(routes).map_err(failed).ok()
}

fn open_capture(site: &Site, rules: &RuleSet, now: Instant) -> Result<Option<LinuxCapture>, String> {
    if site.interfaces.is_empty() {
        return Ok(None);
    }
    let names = site.interfaces.iter().map(|name| name.as_str());
    let capture = LinuxCapture::open(names, rules, &spa_ports(site), RingBytes::default(), now);
    capture.map(Some).map_err(|error| error.to_string())
}

/// The port of the keys; none without a key.
fn spa_ports(site: &Site) -> Vec<u16, 1> {
    let port = (site.spa_port != 0 && !site.keys.is_empty()).then_some(site.spa_port);
    port.into_iter().collect()
}

fn interface_names(site: &Site) -> InterfaceNames {
    site.interfaces.iter().cloned().collect()
}

fn audit_event(event: CaptureEvent) -> Event {
    match event {
        CaptureEvent::Lost(interface) => Event::CaptureLost { interface },
        CaptureEvent::Back(interface) => Event::CaptureBack { interface },
        CaptureEvent::Dropped { frames, .. } => Event::CaptureDropped { frames },
    }
}
