//! Who is at which step.
//!
//! # The rule
//!
//! A sequence completes for a source at the moment its last knock arrives, if knocks of that
//! source match its steps in order, the first of them at most `within` ago, and the source touched
//! no guard port for as long. What else the source sends does not matter: **progress is only ever
//! added**. Duplicates and retransmissions are harmless, several clients behind one address do not
//! disturb each other, and nobody can undo a client's progress by forging knocks in its name.
//!
//! # How
//!
//! For every source, sequence and prefix length the *latest possible start* is kept. A knock on
//! step `k` at time `t` carries the start of the prefix before it over: `start[k] = start[k-1]` if
//! that is at most `within` old, `start[1] = t`. A later start is never worse than an earlier one,
//! so one time per prefix is exact for any number of overlapping attempts: there is no list of
//! attempts to overflow. A completion must have a newer start than the one before it, so a
//! repeated last knock opens nothing twice.
//!
//! With a reordering window a knock also counts until `reorder` after its arrival: the arrival
//! times of the steps are kept, and when a predecessor arrives, younger successors follow at once.
//!
//! # Memory
//!
//! First knocks cost an attacker nothing, so they live in a [`RecentSet`], which forgets nobody
//! and whose price under flood is that a stranger may skip the first step. Taints live in another,
//! where the price is that a client may be held for a scanner. Only who has shown the second
//! knock gets an entry in the bounded table of attempts, which is shared fairly among the sequences;
//! among attempts at one sequence further progress never gives way to less. All keys are hashes with boot randomness. One unit takes about 33 KiB.

use core::net::IpAddr;

use heapless::Vec;

use crate::hash::HashKey;
use crate::heard::{Heard, HeardTable};
use crate::knock::{Knock, Protocol};
use crate::limits::{STEP_SHARED_MAX, TABLE_BYTES_MAX, TABLE_UNITS, WITHIN_MAX};
use crate::recent::RecentSet;
use crate::rule::{Place, RuleSet, Sequence, SequenceId};
use crate::time::{Duration, Instant};

mod attempt;

use attempt::{AttemptTable, Claim, Stamp};

/// Buckets of eight in the exact part of the first-knock set, per unit: 4 KiB.
const FIRST_BUCKETS: usize = 32;
/// Words of each slice of its filter, per unit: 8 KiB in four slices.
const FIRST_WORDS: usize = 256;
/// Buckets of eight in the exact part of the taint set, per unit: 2 KiB.
const TAINT_BUCKETS: usize = 16;
/// Words of each slice of its filter, per unit: 7.75 KiB in four slices. As many as for first
/// knocks: a taint that is wrong keeps an honest client out, a first knock that is wrong merely
/// spares a stranger one of several.
const TAINT_WORDS: usize = 248;

/// Label of taint hashes; those of sequences are below 2^48.
const TAINT_LABEL: u64 = u64::MAX;

/// Entries whose times are kept in 31 bits of milliseconds are looked through at least this often
/// while there is traffic, far below the 24 days after which a time would look new again.
const SWEEP_EVERY: Duration = Duration::from_secs(3600);
const _: () = assert!(WITHIN_MAX.millis() < SWEEP_EVERY.millis());

const _: () = assert!(size_of::<Matcher<TABLE_UNITS>>() <= TABLE_BYTES_MAX);

/// What a knock did for one sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The source has now shown this many knocks of the sequence.
    Advanced(u8),
    /// All knocks were shown in time: the proof is complete.
    Completed,
    /// All knocks were shown, but the source touched a guard port.
    Tainted,
    /// All knocks were shown before already with the same first knock: a repetition.
    Repeated,
    /// The knock before it is missing or too old.
    OutOfTurn,
    /// No room: every entry it could take belongs to somebody further on, or to another sequence's
    /// share.
    TableFull,
    /// The sequence does not count this packet: TCP flags, target address or interface differ.
    NotMeant,
}

/// What a knock did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Whether it touched a guard port.
    pub guard_touched: bool,
    /// What it did for each sequence it stands in.
    pub progress: Vec<(SequenceId, Progress), STEP_SHARED_MAX>,
}

/// How often something rare happened since start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MatcherCounters {
    /// First knocks whose exact time was given up for a place in the filter.
    pub first_overflows: u64,
    /// Taints whose exact time was given up for a place in the filter.
    pub taint_overflows: u64,
    /// Second knocks whose first knock only the filter knew.
    pub first_inexact: u64,
    /// Completions refused by a taint only the filter knew.
    pub taint_inexact: u64,
    /// Attempts in progress that gave way to another.
    pub attempts_evicted: u64,
    /// Knocks that found no room.
    pub attempts_refused: u64,
}

/// The tables.
#[derive(Clone, Debug)]
pub struct Matcher<const UNITS: usize> {
    key: HashKey,
    first: RecentSet<FIRST_BUCKETS, FIRST_WORDS, UNITS>,
    taint: RecentSet<TAINT_BUCKETS, TAINT_WORDS, UNITS>,
    attempts: AttemptTable<UNITS>,
    heard: HeardTable,
    counters: MatcherCounters,
    swept_at: Instant,
    stepped_at: Instant,
    window: Duration,
}

impl<const UNITS: usize> Matcher<UNITS> {
    /// Empty tables for sequences of at most `window`.
    pub const fn new(key: HashKey, window: Duration) -> Self {
        Self {
            key,
            first: RecentSet::new(window),
            taint: RecentSet::new(window),
            attempts: AttemptTable::new(),
            heard: HeardTable::new(),
            counters: MatcherCounters {
                first_overflows: 0,
                taint_overflows: 0,
                first_inexact: 0,
                taint_inexact: 0,
                attempts_evicted: 0,
                attempts_refused: 0,
            },
            swept_at: Instant::BOOT,
            stepped_at: Instant::BOOT,
            window,
        }
    }

    /// Other rules are in force: progress is forgotten, because sequence ids have another
    /// meaning; taints stay.
    pub fn rules_replaced(&mut self, window: Duration, now: Instant) {
        self.window = window;
        self.first.set_window(window, now);
        self.first.clear(now);
        self.taint.set_window(window, now);
        self.heard.forget();
        self.attempts.clear();
    }

    /// How often something rare happened.
    pub fn counters(&self) -> MatcherCounters {
        self.counters
    }

    /// How far anybody came in a sequence since the rules were put in force.
    pub(crate) fn heard(&self, sequence: SequenceId) -> Heard {
        self.heard.of(sequence)
    }

    /// Takes one knock.
    pub fn step(&mut self, rules: &RuleSet, knock: &Knock, now: Instant) -> Outcome {
        self.sweep_when_due(now);
        let mut outcome = Outcome::default();
        if rules.is_guarded(knock) {
            outcome.guard_touched = true;
            let key = self.key.source(knock.source, TAINT_LABEL);
            self.counters.taint_overflows += u64::from(self.taint.record(key, now));
            return outcome;
        }
        for &place in rules.places_of(knock.step) {
            let Some(sequence) = rules.sequence(place.sequence) else { continue };
            let progress = if is_meant(rules, sequence, knock) {
                let key = self.key.source(knock.source, rules.label(place.sequence));
                self.advance(sequence, place, (knock.source, key), now)
            } else {
                Progress::NotMeant
            };
            self.heard.note(place, progress, sequence.steps.len());
            // The vector holds one entry for each of the places, of which there are no more.
            let _ = outcome.progress.push((place.sequence, progress));
        }
        outcome
    }

    /// `key` is the hash of the source and the sequence.
    fn advance(
        &mut self,
        sequence: &Sequence,
        place: Place,
        (source, key): (IpAddr, u64),
        now: Instant,
    ) -> Progress {
        let mut walk = Walk { sequence, id: place.sequence, key, now, done: place.step, start: None };
        if place.step == 0 {
            self.counters.first_overflows += u64::from(self.first.record(key, now));
            walk.start = Some(Stamp::new(now));
        } else {
            walk.start = self.start_before(&walk);
            if sequence.reorder > Duration::ZERO {
                self.note_arrival(&walk);
            }
        }
        let Some(start) = walk.start else { return Progress::OutOfTurn };
        walk.done += 1;
        // With a reordering window knocks that came early follow at once.
        let mut progress = self.keep(&walk, start, source);
        while matches!(progress, Progress::Advanced(_)) && self.came_early(&walk) {
            walk.done += 1;
            progress = self.keep(&walk, start, source);
        }
        progress
    }

    /// The latest start of the prefix before the knock, if it is young enough.
    fn start_before(&mut self, walk: &Walk<'_>) -> Option<Stamp> {
        let start = if walk.done == 1 {
            let sighting = self.first.last_seen(walk.key, walk.now)?;
            self.counters.first_inexact += u64::from(!sighting.exact);
            Stamp::new(sighting.at)
        } else {
            self.attempts.find(walk.key)?.start(walk.done)?
        };
        (start.age(walk.now) <= walk.sequence.within).then_some(start)
    }

    /// Keeps that `walk.done` knocks were shown since `start`, or completes.
    fn keep(&mut self, walk: &Walk<'_>, start: Stamp, source: IpAddr) -> Progress {
        if usize::from(walk.done) >= walk.sequence.steps.len() {
            return self.complete(walk, start, source);
        }
        if walk.done == 1 {
            return Progress::Advanced(1);
        }
        match self.attempts.entry(walk.claim(walk.done), self.window, walk.now) {
            Some((attempt, evicted)) => {
                self.counters.attempts_evicted += u64::from(evicted);
                attempt.set_start(walk.done, start, walk.now);
                Progress::Advanced(walk.done)
            }
            None => {
                self.counters.attempts_refused += 1;
                Progress::TableFull
            }
        }
    }

    fn complete(&mut self, walk: &Walk<'_>, start: Stamp, source: IpAddr) -> Progress {
        let used = self.attempts.find(walk.key).and_then(|attempt| attempt.used());
        if used.is_some_and(|used| used.age(walk.now) <= start.age(walk.now)) {
            return Progress::Repeated;
        }
        if self.is_tainted(source, walk.sequence.within, walk.now) {
            return Progress::Tainted;
        }
        // Without room for it a repeated last knock would merely extend the grant.
        if let Some((attempt, evicted)) = self.attempts.entry(walk.claim(0), self.window, walk.now) {
            self.counters.attempts_evicted += u64::from(evicted);
            attempt.set_used(start, walk.now);
        }
        Progress::Completed
    }

    fn is_tainted(&mut self, source: IpAddr, within: Duration, now: Instant) -> bool {
        let key = self.key.source(source, TAINT_LABEL);
        let Some(sighting) = self.taint.last_seen(key, now) else { return false };
        let tainted = now.since(sighting.at) <= within;
        self.counters.taint_inexact += u64::from(tainted && !sighting.exact);
        tainted
    }

    /// Keeps the arrival of a knock other than the first, for predecessors still to come.
    fn note_arrival(&mut self, walk: &Walk<'_>) {
        // An arrival without progress counts as the least progress there is.
        match self.attempts.entry(walk.claim(1), self.window, walk.now) {
            Some((attempt, evicted)) => {
                self.counters.attempts_evicted += u64::from(evicted);
                attempt.set_arrival(walk.done, walk.now);
            }
            None => self.counters.attempts_refused += 1,
        }
    }

    /// Whether the knock after `walk.done` arrived at most `reorder` ago.
    fn came_early(&self, walk: &Walk<'_>) -> bool {
        let reorder = walk.sequence.reorder;
        if reorder == Duration::ZERO {
            return false;
        }
        let arrival = self.attempts.find(walk.key).and_then(|attempt| attempt.arrival(walk.done));
        arrival.is_some_and(|arrival| arrival.age(walk.now) <= reorder)
    }

    fn sweep_when_due(&mut self, now: Instant) {
        let idle = now.since(self.stepped_at);
        self.stepped_at = now;
        if idle >= SWEEP_EVERY {
            // Longer than any window, and perhaps longer than a time of 31 bits can tell.
            self.attempts.clear();
            self.swept_at = now;
        } else if now.since(self.swept_at) >= SWEEP_EVERY {
            self.attempts.sweep(self.window, now);
            self.swept_at = now;
        }
    }
}

/// One knock on its way through one sequence.
struct Walk<'a> {
    sequence: &'a Sequence,
    id: SequenceId,
    /// Hash of source and sequence.
    key: u64,
    now: Instant,
    /// Knocks shown so far, this one included once it is found in turn.
    done: u8,
    start: Option<Stamp>,
}

impl Walk<'_> {
    /// A claim to a place in the table for somebody who has shown `done` knocks.
    fn claim(&self, done: u8) -> Claim {
        Claim { key: self.key, sequence: self.id, done }
    }
}

fn is_meant(rules: &RuleSet, sequence: &Sequence, knock: &Knock) -> bool {
    let flags_fit = knock.step.protocol != Protocol::Tcp || sequence.flags.holds(knock.flags);
    let door_fits = rules.door(sequence.door).is_some_and(|door| {
        door.target.is_none_or(|target| target == knock.target) && door.interfaces.contains(knock.interface)
    });
    flags_fit && door_fits
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
