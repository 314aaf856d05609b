//! Remembers who was seen within a window, in fixed memory, and never forgets anybody.
//!
//! A table that evicts forgets honest clients under a flood; a filter alone cannot tell when
//! somebody was seen. So there are two parts:
//!
//! - an exact, set-associative table with the time of each sighting, and
//! - behind it, for entries it has to give up before their time, a keyed Bloom filter in
//!   `SLICES` slices of time. A slice is cleared when it is older than the window.
//!
//! Without a flood every answer is exact. Under a flood nobody is forgotten (a Bloom filter has no
//! false negatives); the price is a false *positive* now and then, and a time known only to one
//! slice. Which price that is, is up to the user of the set: for first knocks a stranger may skip
//! the first step, for taints a client may be held for a scanner.

use crate::time::{Duration, Instant};

/// Ways of one bucket of the exact table.
const WAYS: usize = 8;

/// Slices of the filter. One is being filled, the others cover the window behind it.
const SLICES: usize = 4;

/// Bits set for each entry of the filter.
const BITS_PER_ENTRY: u32 = 4;

/// When somebody was seen last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// The time; if not exact, the latest it can have been.
    pub at: Instant,
    /// Whether the exact table knew it.
    pub exact: bool,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    /// Keyed hash of who was seen; 0 is an empty slot.
    key: u64,
    at: Instant,
}

const EMPTY: Slot = Slot { key: 0, at: Instant::BOOT };

/// The set. `BUCKETS` and `WORDS` (of 64 bits, per slice) are counts per unit, there are `UNITS`.
#[derive(Clone, Debug)]
pub struct RecentSet<const BUCKETS: usize, const WORDS: usize, const UNITS: usize> {
    exact: [[[Slot; WAYS]; BUCKETS]; UNITS],
    slices: [[[u64; WORDS]; UNITS]; SLICES],
    /// Entries in each slice; an empty filter is not asked.
    filled: [u32; SLICES],
    /// Slice being filled.
    current: usize,
    /// When it began.
    since: Instant,
    window: Duration,
}

impl<const BUCKETS: usize, const WORDS: usize, const UNITS: usize> RecentSet<BUCKETS, WORDS, UNITS> {
    /// An empty set that remembers for `window`.
    pub const fn new(window: Duration) -> Self {
        Self {
            exact: [[[EMPTY; WAYS]; BUCKETS]; UNITS],
            slices: [[[0; WORDS]; UNITS]; SLICES],
            filled: [0; SLICES],
            current: 0,
            since: Instant::BOOT,
            window,
        }
    }

    /// Changes the window. Its slices have another length then, so what the filter holds counts as
    /// seen `now`: nobody is forgotten.
    pub fn set_window(&mut self, window: Duration, now: Instant) {
        if window == self.window {
            return;
        }
        self.advance(now);
        self.window = window;
        self.since = now;
        self.current = 0;
        let [into, others @ ..] = &mut self.slices;
        for from in others {
            for (into, from) in into.as_flattened_mut().iter_mut().zip(from.as_flattened_mut()) {
                *into |= core::mem::take(from);
            }
        }
        self.filled = [self.filter_entries(), 0, 0, 0];
    }

    /// Forgets everybody.
    pub fn clear(&mut self, now: Instant) {
        for slot in self.exact.as_flattened_mut().as_flattened_mut() {
            *slot = EMPTY;
        }
        self.clear_filter(now);
    }

    /// Remembers that `key` was seen `now`. Says whether another entry had to go to the filter.
    pub fn record(&mut self, key: u64, now: Instant) -> bool {
        self.advance(now);
        let key = key.max(1);
        let window = self.window;
        let Some(bucket) = self.bucket_mut(key) else { return false };
        let mut oldest: Option<&mut Slot> = None;
        for slot in bucket {
            if slot.key == key {
                slot.at = now;
                return false;
            }
            // Free places count as older than anything.
            let age = |slot: &Slot| {
                if slot.key == 0 { Duration::from_millis(u64::MAX) } else { now.since(slot.at) }
            };
            if oldest.as_ref().is_none_or(|oldest| age(slot) > age(oldest)) {
                oldest = Some(slot);
            }
        }
        let Some(place) = oldest else { return false };
        let evicted = core::mem::replace(place, Slot { key, at: now });
        let overflow = evicted.key != 0 && now.since(evicted.at) <= window;
        if overflow {
            self.filter_insert(evicted, now);
        }
        overflow
    }

    /// When `key` was seen last, if that was within the window.
    pub fn last_seen(&mut self, key: u64, now: Instant) -> Option<Sighting> {
        self.advance(now);
        let key = key.max(1);
        let known = self.bucket_mut(key)?.iter().find(|slot| slot.key == key).map(|slot| slot.at);
        if let Some(at) = known.filter(|&at| now.since(at) <= self.window) {
            return Some(Sighting { at, exact: true });
        }
        let at = self.filter_latest(key, now)?;
        Some(Sighting { at, exact: false })
    }

    /// Entries in the filter now, over all slices.
    pub fn filter_entries(&self) -> u32 {
        self.filled.iter().fold(0, |sum, &count| sum.saturating_add(count))
    }

    fn bucket_mut(&mut self, key: u64) -> Option<&mut [Slot; WAYS]> {
        let buckets = self.exact.as_flattened_mut();
        let index = scale(low_half(key), buckets.len());
        buckets.get_mut(index)
    }

    /// Length of one slice: the slices behind the current one cover the window.
    fn slice_length(&self) -> Duration {
        let behind = SLICES as u64 - 1;
        Duration::from_millis(self.window.millis().div_ceil(behind).max(1))
    }

    /// Begins new slices until `now` lies in the current one.
    fn advance(&mut self, now: Instant) {
        let length = self.slice_length().millis();
        let passed = now.since(self.since).millis() / length;
        if passed == 0 {
            return;
        }
        if passed >= SLICES as u64 {
            if self.filter_entries() > 0 {
                self.clear_filter(now);
            }
            self.since = now;
            return;
        }
        for _ in 0..passed {
            self.current = (self.current + 1) % SLICES;
            self.clear_slice(self.current);
            self.since = self.since + Duration::from_millis(length);
        }
    }

    fn clear_filter(&mut self, now: Instant) {
        for slice in 0..SLICES {
            self.clear_slice(slice);
        }
        self.since = now;
    }

    fn clear_slice(&mut self, slice: usize) {
        let (Some(words), Some(filled)) = (self.slices.get_mut(slice), self.filled.get_mut(slice)) else {
            return;
        };
        if core::mem::take(filled) > 0 {
            words.as_flattened_mut().fill(0);
        }
    }

    /// The slice whose time `at` falls in, as steps back from the current one.
    fn steps_back(&self, at: Instant) -> usize {
        let behind = self.since.since(at).millis();
        usize::try_from(behind.div_ceil(self.slice_length().millis())).unwrap_or(SLICES)
    }

    fn filter_insert(&mut self, slot: Slot, now: Instant) {
        self.advance(now);
        let back = self.steps_back(slot.at).min(SLICES - 1);
        let slice = (self.current + SLICES - back) % SLICES;
        if let (Some(words), Some(filled)) = (self.slices.get_mut(slice), self.filled.get_mut(slice)) {
            let words = words.as_flattened_mut();
            for bit in bits(slot.key, words.len()) {
                if let Some(word) = words.get_mut(bit / 64) {
                    *word |= 1 << (bit % 64);
                }
            }
            *filled = filled.saturating_add(1);
        }
    }

    /// The latest time `key` can have been put into the filter.
    fn filter_latest(&self, key: u64, now: Instant) -> Option<Instant> {
        for back in 0..SLICES {
            let slice = (self.current + SLICES - back) % SLICES;
            if self.filled.get(slice).is_none_or(|&filled| filled == 0) {
                continue;
            }
            let words = self.slices.get(slice)?.as_flattened();
            let holds = |bit: usize| words.get(bit / 64).is_some_and(|word| word & (1 << (bit % 64)) != 0);
            if bits(key, words.len()).all(holds) {
                let steps_to_end = Duration::from_millis(self.slice_length().millis() * (back as u64));
                return Some(if back == 0 {
                    now
                } else {
                    (self.since + self.slice_length()).before(steps_to_end)
                });
            }
        }
        None
    }
}

/// The bits of an entry by double hashing (Kirsch and Mitzenmacher, "Less Hashing, Same
/// Performance", 2006).
fn bits(key: u64, words: usize) -> impl Iterator<Item = usize> {
    let first = low_half(key >> 32);
    let stride = low_half(key) | 1;
    (0..BITS_PER_ENTRY).map(move |index| scale(first.wrapping_add(index.wrapping_mul(stride)), words * 64))
}

#[expect(clippy::cast_possible_truncation, reason = "the low half is wanted")]
fn low_half(key: u64) -> u32 {
    key as u32
}

/// Maps a uniform 32-bit value to `0..count` without a division.
fn scale(value: u32, count: usize) -> usize {
    ((u64::from(value) * count as u64) >> 32) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::HashKey;
    use std::collections::HashMap;

    const WINDOW: Duration = Duration::from_secs(9);
    type Small = RecentSet<4, 64, 1>;

    fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    fn key(number: u64) -> u64 {
        HashKey::new([3; 16]).hash([number, 0, 0])
    }

    #[test]
    fn exact_while_there_is_room() {
        let mut set = Small::new(WINDOW);
        assert!(!set.record(key(1), at(1000)));
        assert_eq!(set.last_seen(key(1), at(5000)), Some(Sighting { at: at(1000), exact: true }));
        assert_eq!(set.last_seen(key(2), at(5000)), None);
        set.record(key(1), at(6000));
        assert_eq!(set.last_seen(key(1), at(15_000)), Some(Sighting { at: at(6000), exact: true }));
        assert_eq!(set.last_seen(key(1), at(15_001)), None, "older than the window");
    }

    #[test]
    fn nobody_is_forgotten_under_a_flood() {
        let mut set = Small::new(WINDOW);
        let mut truth = HashMap::new();
        let mut state = 1_u64;
        for step in 0..20_000_u64 {
            let now = at(50_000 + step * 3);
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let who = (state >> 33) % 400;
            if state & 1 == 0 {
                set.record(key(who), now);
                truth.insert(who, now);
            } else if let Some(&seen) = truth.get(&who) {
                let sighting = set.last_seen(key(who), now);
                if now.since(seen) <= WINDOW {
                    let sighting = sighting.expect("no false negative");
                    assert!(sighting.at >= seen, "the latest it can have been");
                    assert!(!sighting.exact || sighting.at == seen);
                }
            }
        }
        assert!(set.filter_entries() > 0, "the flood must have reached the filter");
    }

    #[test]
    fn the_filter_empties_with_time() {
        let mut set = Small::new(WINDOW);
        for number in 0..500 {
            set.record(key(number), at(1000));
        }
        assert!(set.filter_entries() > 0);
        // One window and one slice later nothing may be left.
        for number in 0..500 {
            assert_eq!(set.last_seen(key(number), at(1000 + 12_001)), None);
        }
        assert_eq!(set.filter_entries(), 0);
    }

    #[test]
    fn a_time_from_the_filter_is_off_by_a_slice_at_most() {
        let mut set = Small::new(WINDOW);
        for number in 0..200 {
            set.record(key(number), at(10_000));
        }
        for number in 200..400 {
            set.record(key(number), at(10_500));
        }
        let inexact =
            (0..200).filter_map(|number| set.last_seen(key(number), at(17_000))).filter(|seen| !seen.exact);
        let mut count = 0;
        for sighting in inexact {
            assert!(sighting.at >= at(10_000) && sighting.at <= at(10_500 + 3000), "{sighting:?}");
            count += 1;
        }
        assert!(count > 100);
    }

    #[test]
    fn clear_and_new_window() {
        let mut set = Small::new(WINDOW);
        for number in 0..100 {
            set.record(key(number), at(1000));
        }
        set.set_window(Duration::from_secs(3), at(1000));
        set.clear(at(1000));
        assert_eq!(set.filter_entries(), 0);
        for number in 0..100 {
            assert_eq!(set.last_seen(key(number), at(1000)), None);
        }
    }

    #[test]
    fn another_window_forgets_nobody() {
        for window in [3, 9, 20] {
            let mut set = Small::new(WINDOW);
            for number in 0..100 {
                set.record(key(number), at(1000 + number));
            }
            assert!(set.filter_entries() > 0);
            set.set_window(Duration::from_secs(window), at(1100));
            for number in 0..100 {
                let seen = set.last_seen(key(number), at(1100 + 1000 * window - 200));
                assert!(seen.is_some_and(|seen| seen.at >= at(1000 + number)), "{window} s: {number}");
            }
        }
    }
}
