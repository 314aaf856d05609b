//! The bounded table of attempts that have shown at least two knocks.
//!
//! A full bucket is shared fairly among the sequences: who has two places less than the sequence with
//! most takes one of those, however far on it is. So whoever knows one door's sequence, and sends it
//! from any number of forged addresses, crowds the clients of that door only; to keep those of another
//! out he must know as many sequences as a bucket has places. Among attempts at one sequence the one
//! further on keeps its place. An attempt that has completed is of no more use and gives way first.

use crate::limits::{REORDER_STEPS_MAX, STEPS_MAX};
use crate::rule::SequenceId;
use crate::time::{Duration, Instant};

/// Ways of one bucket.
const WAYS: usize = 8;
/// Buckets per unit: 10 KiB.
const BUCKETS: usize = 16;

/// Times kept per attempt: the latest start of each prefix of 2 to `STEPS_MAX - 1` knocks.
/// Sequences with a reordering window are shorter and keep arrivals behind their starts.
const STAMPS: usize = STEPS_MAX - 2;
const ARRIVALS_FROM: usize = REORDER_STEPS_MAX - 2;
const _: () = assert!(ARRIVALS_FROM + REORDER_STEPS_MAX - 1 <= STAMPS);

/// A time in 31 bits of milliseconds, or none. Only ages below 24 days can be told; the table is
/// swept far more often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp(u32);

const NONE: Stamp = Stamp(0);
const MASK: u32 = 0x7fff_ffff;

impl Stamp {
    pub(super) fn new(at: Instant) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "31 bits are wanted")]
        let low = at.millis() as u32 & MASK;
        Stamp(low + 1)
    }

    pub(super) fn age(self, now: Instant) -> Duration {
        let age = Stamp::new(now).0.wrapping_sub(self.0) & MASK;
        Duration::from_millis(u64::from(age))
    }

    fn known(self) -> Option<Stamp> {
        (self != NONE).then_some(self)
    }
}

/// What is known of one source's attempts at one sequence.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attempt {
    /// Keyed hash of source and sequence; 0 is a free place.
    key: u64,
    stamps: [Stamp; STAMPS],
    /// Start of the last completion.
    used: Stamp,
    /// Last change: the attempt is worthless one window later.
    touched: Stamp,
    /// Which sequence it is at.
    sequence: SequenceId,
    /// Most knocks shown in a row since the last completion; 0 when there were none.
    progress: u8,
}

const FREE: Attempt = Attempt {
    key: 0,
    stamps: [NONE; STAMPS],
    used: NONE,
    touched: NONE,
    sequence: SequenceId(0),
    progress: 0,
};

impl Attempt {
    /// Latest start of the prefix of `done` knocks, 2 or more.
    pub(super) fn start(&self, done: u8) -> Option<Stamp> {
        self.stamps.get(usize::from(done).checked_sub(2)?)?.known()
    }

    pub(super) fn set_start(&mut self, done: u8, start: Stamp, now: Instant) {
        let place = usize::from(done).checked_sub(2).and_then(|index| self.stamps.get_mut(index));
        if let Some(place) = place {
            *place = start;
        }
        self.touch(done, now);
    }

    /// Last arrival of the knock after the first `done`, 1 or more.
    pub(super) fn arrival(&self, done: u8) -> Option<Stamp> {
        self.stamps.get(arrival_index(done)?)?.known()
    }

    pub(super) fn set_arrival(&mut self, done: u8, now: Instant) {
        if let Some(place) = arrival_index(done).and_then(|index| self.stamps.get_mut(index)) {
            *place = Stamp::new(now);
        }
        self.touch(1, now);
    }

    /// Start of the last completion.
    pub(super) fn used(&self) -> Option<Stamp> {
        self.used.known()
    }

    /// It completed: what is kept tells repetitions, and gives way to anybody.
    pub(super) fn set_used(&mut self, start: Stamp, now: Instant) {
        self.used = start;
        self.progress = 0;
        self.touch(0, now);
    }

    fn touch(&mut self, done: u8, now: Instant) {
        self.touched = Stamp::new(now);
        self.progress = self.progress.max(done);
    }

    fn is_worthless(&self, window: Duration, now: Instant) -> bool {
        self.key == 0 || self.touched.age(now) > window
    }
}

fn arrival_index(done: u8) -> Option<usize> {
    usize::from(done).checked_sub(1).map(|index| ARRIVALS_FROM + index)
}

/// The table.
#[derive(Clone, Debug)]
pub(super) struct AttemptTable<const UNITS: usize> {
    buckets: [[[Attempt; WAYS]; BUCKETS]; UNITS],
}

impl<const UNITS: usize> AttemptTable<UNITS> {
    pub(super) const fn new() -> Self {
        Self { buckets: [[[FREE; WAYS]; BUCKETS]; UNITS] }
    }

    pub(super) fn clear(&mut self) {
        for attempt in self.buckets.as_flattened_mut().as_flattened_mut() {
            *attempt = FREE;
        }
    }

    /// Frees what is older than `window`.
    pub(super) fn sweep(&mut self, window: Duration, now: Instant) {
        for attempt in self.buckets.as_flattened_mut().as_flattened_mut() {
            if attempt.is_worthless(window, now) {
                *attempt = FREE;
            }
        }
    }

    pub(super) fn find(&self, key: u64) -> Option<&Attempt> {
        let buckets = self.buckets.as_flattened();
        let bucket = buckets.get(bucket_index(key, buckets.len()))?;
        bucket.iter().find(|attempt| attempt.key == key.max(1))
    }

    /// The entry of whom `claim` is about, made if need be and if somebody can give way. Says whether
    /// an attempt that was in progress had to.
    pub(super) fn entry(
        &mut self,
        claim: Claim,
        window: Duration,
        now: Instant,
    ) -> Option<(&mut Attempt, bool)> {
        let key = claim.key.max(1);
        let buckets = self.buckets.as_flattened_mut();
        let index = bucket_index(claim.key, buckets.len());
        let bucket = buckets.get_mut(index)?;
        let own = bucket.iter().position(|attempt| attempt.key == key);
        let free = || bucket.iter().position(|attempt| attempt.is_worthless(window, now));
        let (place, is_taken) = match own.or_else(free) {
            Some(place) => (place, false),
            None => (gives_way(bucket, claim, now)?, true),
        };
        let attempt = bucket.get_mut(place)?;
        let evicted = is_taken && attempt.progress > 0;
        if is_taken || attempt.is_worthless(window, now) {
            *attempt = Attempt { key, sequence: claim.sequence, ..FREE };
        }
        Some((attempt, evicted))
    }
}

/// Who wants a place, and for what.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claim {
    /// Keyed hash of source and sequence.
    pub(super) key: u64,
    /// The sequence.
    pub(super) sequence: SequenceId,
    /// Knocks shown, this one included; 0 for one that completes.
    pub(super) done: u8,
}

/// Which place of a full bucket is taken for `claim`, if any.
fn gives_way(bucket: &[Attempt; WAYS], claim: Claim, now: Instant) -> Option<usize> {
    let places = |sequence| bucket.iter().filter(|attempt| attempt.sequence == sequence).count();
    let mine = places(claim.sequence);
    let most = bucket.iter().map(|attempt| places(attempt.sequence)).max()?;
    let may_be_taken = |attempt: &Attempt| {
        if attempt.progress == 0 {
            true
        } else if claim.done == 0 {
            false
        } else if most > mine + 1 {
            places(attempt.sequence) == most
        } else {
            attempt.progress <= claim.done && (mine == 0 || attempt.sequence == claim.sequence)
        }
    };
    // Those that completed first, then those least far on, and of these the oldest.
    let order = |attempt: &Attempt| (attempt.progress, u64::MAX - attempt.touched.age(now).millis());
    let candidates = bucket.iter().enumerate().filter(|(_, attempt)| may_be_taken(attempt));
    candidates.min_by_key(|(_, attempt)| order(attempt)).map(|(place, _)| place)
}

fn bucket_index(key: u64, count: usize) -> usize {
    let low = key & u64::from(u32::MAX);
    ((low * count as u64) >> 32) as usize
}
