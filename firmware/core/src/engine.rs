//! Packets and ticks in, firewall commands out.
//!
//! One call handles one input and returns what the shell shall do. The answers come back as
//! inputs. [`Engine::poll_at`] says when the next [`Input::Tick`] is due; without one the shell
//! may sleep until a packet comes.

use core::net::IpAddr;

use heapless::Vec;

use crate::audit::{AuditRing, DenyClass, DenyReason, Event, Proof, Record, RevokeReason};
use crate::detect::Detectors;
use crate::grant::{Change, Grant, GrantId, GrantTable, Lease};
use crate::hash::HashKey;
use crate::heard::Heard;
use crate::knock::Knock;
use crate::knock::Step;
use crate::limiter::{Limiter, Verdict};
use crate::limits::{EFFECTS_MAX, TABLE_UNITS};
use crate::matcher::{Matcher, MatcherCounters, Progress};
use crate::network::Network;
use crate::port::{CeilingWrite, FirewallCommand, FirewallError, Frame, JournalFailed};
use crate::rule::{DoorId, Name, Purpose, RuleSet, SequenceId};
use crate::spa::key::KeyTag;
use crate::spa::policy::WallTime;
use crate::time::{Duration, Instant};
use crate::wire::{self, Ignored};

mod keys;
mod rows;
mod spa;

pub use keys::{Format, KeySecret, Keys};
pub use spa::SpaCounters;

/// Something happened.
#[derive(Debug)]
pub enum Input<'a> {
    /// A frame was captured.
    Frame(Frame<'a>),
    /// Time has passed.
    Tick,
    /// The firewall carried out a command, or did not.
    FirewallDone {
        /// Which grant the command was about.
        grant: GrantId,
        /// How it went.
        result: Result<(), FirewallError>,
    },
    /// The journal took a ceiling, or did not.
    CeilingWritten {
        /// What it was told to write.
        write: CeilingWrite,
        /// How it went.
        result: Result<(), JournalFailed>,
    },
    /// Something the shell saw that belongs into the audit trail.
    Notice(Event),
    /// An operator takes a door back, from one source or from all.
    Revoke {
        /// Which door.
        door: DoorId,
        /// From whom; `None` is everybody.
        source: Option<IpAddr>,
    },
}

/// What the shell shall do now, in this order.
#[must_use = "effects that are not carried out open no door and close none"]
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Effects {
    commands: Vec<FirewallCommand, EFFECTS_MAX>,
    ceiling: Option<CeilingWrite>,
}

impl Effects {
    /// The commands.
    pub fn as_slice(&self) -> &[FirewallCommand] {
        &self.commands
    }

    /// A ceiling to write after the commands, before anything else of this key is accepted.
    pub const fn ceiling(&self) -> Option<CeilingWrite> {
        self.ceiling
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.commands.is_empty() && self.ceiling.is_none()
    }
}

impl IntoIterator for Effects {
    type Item = FirewallCommand;
    type IntoIter = Commands;

    fn into_iter(mut self) -> Self::IntoIter {
        self.commands.reverse();
        Commands { last_first: self.commands }
    }
}

/// The commands of [`Effects`], one by one. Not heapless's own iterator, whose drop can panic as far
/// as the compiler knows.
#[derive(Debug)]
pub struct Commands {
    last_first: Vec<FirewallCommand, EFFECTS_MAX>,
}

impl Iterator for Commands {
    type Item = FirewallCommand;

    fn next(&mut self) -> Option<FirewallCommand> {
        self.last_first.pop()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.last_first.len(), Some(self.last_first.len()))
    }
}

/// What the last frame did, for an installer who wants to see where a knock gets stuck.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// The knock.
    pub knock: Knock,
    /// Whether it touched a guard port.
    pub guard_touched: bool,
    /// What it did for each sequence it stands in.
    pub progress: Vec<(SequenceId, Progress), { crate::limits::STEP_SHARED_MAX }>,
}

/// How often what happened since start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Frames handled.
    pub frames: u64,
    /// Frames that were no knock, in the order of [`Ignored::ALL`].
    pub ignored: [u64; Ignored::ALL.len()],
    /// Knocks on a port or length of a sequence.
    pub knocks: u64,
    /// Knocks on a guard.
    pub guard_touches: u64,
    /// Knocks on neither.
    pub strays: u64,
    /// Sequences completed.
    pub completions: u64,
    /// Completions refused because of a guard touch.
    pub tainted: u64,
    /// Doors opened or extended, as confirmed by the firewall.
    pub opened: u64,
    /// What the matcher counted.
    pub matcher: MatcherCounters,
    /// What became of the packets of keys.
    pub spa: SpaCounters,
}

/// The engine. About half a megabyte, none of it on the heap; `UNITS` scales the matcher's tables.
#[derive(Debug)]
pub struct Engine<const UNITS: usize = TABLE_UNITS> {
    rules: RuleSet,
    matcher: Matcher<UNITS>,
    grants: GrantTable,
    audit: AuditRing,
    denials: Limiter,
    detectors: Detectors,
    counters: Counters,
    trace: Option<Trace>,
    spa: spa::Spa,
}

impl<const UNITS: usize> Engine<UNITS> {
    /// An engine for these rules, without keys. `key` must be random and new at every start.
    pub fn new(rules: RuleSet, key: HashKey) -> Self {
        let window = rules.within_longest();
        Self {
            rules,
            matcher: Matcher::new(key, window),
            grants: GrantTable::new(),
            audit: AuditRing::new(),
            denials: Limiter::new(),
            detectors: Detectors::new(),
            counters: Counters::default(),
            trace: None,
            spa: spa::Spa::new(),
        }
    }

    /// Takes one input. The clock must not go back between calls; if it does, time stands still.
    pub fn handle(&mut self, input: Input<'_>, now: Instant) -> Effects {
        match input {
            Input::Frame(frame) => self.frame(&frame, now),
            Input::Tick => {}
            Input::FirewallDone { grant, result } => {
                if let Some((grant, change)) = self.grants.answered(grant, result, now) {
                    self.record(&grant, change, now);
                }
                // What follows from an answer follows with the next tick: no chain of commands
                // without an end.
                return Effects::default();
            }
            Input::CeilingWritten { write, result } => self.ceiling_written(write, result, now),
            Input::Notice(event) => self.audit.push(event, now),
            Input::Revoke { door, source } => {
                let meant = |grant: &Grant| {
                    grant.door == Some(door) && source.is_none_or(|source| grant.network.contains(source))
                };
                self.grants.revoke(RevokeReason::Operator, now, meant);
            }
        }
        self.due_effects(now)
    }

    /// Puts another rule set in force, with the keys made for it. Grants of doors that are gone, or lost
    /// a port, are taken back with the next [`Input::Tick`]; the others go on. Progress is forgotten;
    /// what is known about keys that stay is not.
    pub fn replace_rules(&mut self, rules: RuleSet, keys: Keys, now: Instant) {
        self.rules = rules;
        self.spa.replace_keys(keys);
        self.await_rows();
        self.matcher.rules_replaced(self.rules.within_longest(), now);
        self.grants.rules_replaced(&self.rules, now);
        self.audit.push(Event::ConfigApplied { doors: self.door_count() }, now);
    }

    /// Puts the keys of the rules in force in force. Those that stay keep what is known about them.
    pub fn replace_keys(&mut self, keys: Keys) {
        self.spa.replace_keys(keys);
        self.await_rows();
    }

    /// The kernel lets `network` reach all ports of `door` for `secs_left` more seconds, and a process
    /// before this one told it to. Makes that a grant of its own, audited as adopted, and says so;
    /// `false` when the rules in force do not account for it, so that it must be closed.
    pub fn adopt(&mut self, door: DoorId, network: Network, secs_left: u32, now: Instant) -> bool {
        let left = Duration::from_secs(u64::from(secs_left));
        let Some(adopted) =
            self.rules.door(door).and_then(|rules| self.grants.adopt(door, rules, network, left, now))
        else {
            return false;
        };
        self.record(&adopted, Change::Opened { extended: false }, now);
        true
    }

    /// The keys in force.
    pub fn keys(&self) -> &Keys {
        &self.spa.keys
    }

    /// The start of a new epoch of a key is on the medium: its client may count from there.
    pub fn key_rebased(&mut self, tag: KeyTag, epoch_start: u64) {
        self.spa.keys.native.rebased(tag, epoch_start);
    }

    /// What a trusted wall clock says, if there is one. Call it from time to time; in between, the
    /// engine counts on.
    pub fn set_wall(&mut self, wall: Option<WallTime>, now: Instant) {
        self.spa.set_wall(wall, now);
    }

    /// When [`Engine::handle`] must be called with [`Input::Tick`]; at once if that is past.
    pub fn poll_at(&self) -> Option<Instant> {
        let write = self.spa.has_writes().then_some(Instant::BOOT);
        let dues = [self.grants.next_due(), self.denials.due(), self.detectors.due(), self.spa.due(), write];
        dues.into_iter().flatten().min()
    }

    /// The rules in force.
    pub fn rules(&self) -> &RuleSet {
        &self.rules
    }

    /// Every grant, also those in the making and those ending.
    pub fn grants(&self) -> impl Iterator<Item = &Grant> {
        self.grants.iter()
    }

    /// How often what happened.
    pub fn counters(&self) -> Counters {
        Counters { matcher: self.matcher.counters(), spa: self.spa.counters, ..self.counters }
    }

    /// How far anybody came in a sequence since the rules were put in force; nothing of a sequence that
    /// stands in a row, whose knocks change.
    pub fn heard(&self, sequence: SequenceId) -> Option<Heard> {
        let is_fixed = self.rules.sequence(sequence).is_some() && self.rules.row_of(sequence).is_none();
        is_fixed.then(|| self.matcher.heard(sequence))
    }

    /// The oldest audit record; it stays until [`Engine::record_written`].
    pub fn next_record(&mut self, now: Instant) -> Option<&Record> {
        self.audit.next(now)
    }

    /// The shell wrote the record with this id.
    pub fn record_written(&mut self, id: u64) {
        self.audit.written(id);
    }

    /// Whether audit records wait to be written.
    pub fn has_records(&self) -> bool {
        !self.audit.is_empty()
    }

    /// What the last frame did, once; `None` when it was no knock or stands in no sequence.
    pub fn take_trace(&mut self) -> Option<Trace> {
        self.trace.take()
    }

    /// Doors of the rules in force.
    pub fn door_count(&self) -> u16 {
        u16::try_from(self.rules.doors().len()).unwrap_or(u16::MAX)
    }

    fn frame(&mut self, frame: &Frame<'_>, now: Instant) {
        self.counters.frames += 1;
        self.trace = None;
        let flood = self.detectors.frame(now);
        self.tell(flood, now);
        match wire::parse_with_datagram(frame) {
            Ok((knock, datagram)) if self.spa.keys.port().map(Step::udp) == Some(knock.step) => {
                self.datagram(&knock, datagram, now);
            }
            Ok((knock, _)) => self.knock(&knock, now),
            Err(reason) => {
                if let Some(count) = self.counters.ignored.get_mut(reason as usize) {
                    *count += 1;
                }
            }
        }
    }

    fn knock(&mut self, knock: &Knock, now: Instant) {
        let outcome = self.matcher.step(&self.rules, knock, now);
        let completed = outcome.progress.iter().any(|(_, progress)| *progress == Progress::Completed);
        let suspect = match (completed, outcome.guard_touched) {
            (true, _) => None,
            (false, true) => self.detectors.guard_touched(knock.source, now),
            (false, false) => self.detectors.knocked(knock.source, now),
        };
        self.tell(suspect, now);
        if outcome.guard_touched {
            self.counters.guard_touches += 1;
        } else if outcome.progress.is_empty() {
            self.counters.strays += 1;
            return;
        } else {
            self.counters.knocks += 1;
        }
        for &(sequence, progress) in &outcome.progress {
            match progress {
                Progress::Completed => self.completed(sequence, knock, now),
                Progress::Tainted => {
                    self.counters.tainted += 1;
                    self.deny(sequence, knock.source, DenyReason::Tainted, now);
                }
                _ => {}
            }
        }
        self.trace =
            Some(Trace { knock: *knock, guard_touched: outcome.guard_touched, progress: outcome.progress });
    }

    /// What the detectors found goes into the audit trail and nowhere else.
    fn tell(&mut self, found: Option<Event>, now: Instant) {
        if let Some(event) = found {
            self.audit.push(event, now);
        }
    }

    fn completed(&mut self, id: SequenceId, knock: &Knock, now: Instant) {
        let source = knock.source;
        self.counters.completions += 1;
        self.detectors.completed(source);
        if let Some(row) = self.rules.row_of(id) {
            return self.row_completed(id, row, knock, now);
        }
        let Some(sequence) = self.rules.sequence(id) else { return };
        let Some(door) = self.rules.door(sequence.door) else { return };
        match sequence.purpose {
            Purpose::Open => {
                if !door.terms.can_admit(source) {
                    self.deny(id, source, DenyReason::OtherFamily, now);
                    return;
                }
                let lease = Lease::of(door.open_for);
                let wanted = self.grants.want(sequence.door, door, source, lease, Proof::Sequence, now);
                if wanted.is_err() {
                    self.deny(id, source, DenyReason::GrantsFull, now);
                }
            }
            Purpose::Close => {
                let meant =
                    |grant: &Grant| grant.door == Some(sequence.door) && grant.network.contains(source);
                self.grants.revoke(RevokeReason::CloseSequence, now, meant);
            }
        }
    }

    fn deny(&mut self, id: SequenceId, source: IpAddr, reason: DenyReason, now: Instant) {
        let suspect = self.detectors.refused(source, now);
        self.tell(suspect, now);
        self.summarise_denials(now);
        if self.denials.take(now) == Verdict::Counted {
            return;
        }
        let door = self.rules.sequence(id).and_then(|sequence| self.rules.door(sequence.door));
        if let Some(door) = door {
            self.audit.push(Event::Deny { door: door.name.clone(), source, reason }, now);
        }
    }

    fn summarise_denials(&mut self, now: Instant) {
        if let Some(records) = self.denials.summary(now) {
            self.audit.push(Event::DenySuppressed { class: DenyClass::Policy, records }, now);
        }
    }

    fn due_effects(&mut self, now: Instant) -> Effects {
        let mut effects = Effects { ceiling: self.spa.next_write(), ..Effects::default() };
        self.summarise_denials(now);
        self.summarise_spa_denials(now);
        // Bounded: each one ends a source's state, a window or the flood.
        while let Some(event) = self.detectors.next(now) {
            self.audit.push(event, now);
        }
        if self.grants.next_due().is_none_or(|due| due > now) {
            return effects;
        }
        // Bounded: each round ends one grant's phase; what is left is due at once, and the shell
        // is told so by `poll_at`.
        for _ in 0..EFFECTS_MAX {
            let Some((grant, change)) = self.grants.expire(now) else { break };
            if let Some(change) = change {
                self.record(&grant, change, now);
            }
        }
        while !effects.commands.is_full() {
            let Some(command) = self.grants.next_command(now) else { break };
            let _ = effects.commands.push(command);
        }
        effects
    }

    /// Empty when there is none, or not any more.
    fn key_name(&self, proof: Proof) -> Name {
        proof.key().and_then(|tag| self.spa.keys.name(tag)).cloned().unwrap_or_default()
    }

    fn record(&mut self, grant: &Grant, change: Change, now: Instant) {
        let (id, door, source) = (grant.id, grant.door_name.clone(), grant.source);
        let prefix = grant.network.prefix;
        let event = match change {
            Change::Opened { extended } => {
                self.counters.opened += 1;
                let (ports, open_for, proof) = (grant.ports.clone(), grant.until.since(now), grant.proof);
                let key = self.key_name(proof);
                let one_shot = grant.terms.one_shot;
                let grant = id;
                Event::Grant { grant, door, source, prefix, ports, open_for, proof, key, extended, one_shot }
            }
            Change::Expired => Event::Expire { grant: id, door, source, prefix },
            Change::Revoked(reason) => Event::Revoke { grant: id, door, source, prefix, reason },
            Change::Failed { task, error } => {
                let (revoked, held_for) = (grant.revoked(), grant.until.since(now));
                Event::FirewallFailed { grant: id, door, source, prefix, task, revoked, held_for, error }
            }
        };
        self.audit.push(event, now);
    }
}

#[cfg(test)]
mod reach_tests;
#[cfg(test)]
mod row_tests;
#[cfg(test)]
mod spa_tests;
#[cfg(test)]
mod tests;
