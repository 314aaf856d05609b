//! The sources that do something most often, in a fixed table.
//!
//! Space-saving (Metwally, Agrawal and El Abbadi, "Efficient computation of frequent and top-k
//! elements in data streams", 2005): when the table is full, a new source takes the place of the one
//! with the lowest count and inherits it as its possible error. What a source has done for certain is
//! its count less the error; only that is held against it, so that a crowd of forged addresses makes
//! nobody a suspect. A source with more than 1 of [`SUSPECTS_MAX`] events of a window cannot hide.

use core::net::IpAddr;

use crate::limits::{SUSPECT_WINDOW, SUSPECTS_MAX, SUSPECTS_TOLD_MAX};
use crate::time::Instant;

/// Something to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// A source did it as often as makes it a suspect.
    Began { source: IpAddr, count: u32 },
    /// A source that was told of has not done it for a whole window.
    Ended { source: IpAddr, count: u32 },
    /// So many sources became suspects without being told one by one.
    Counted { sources: u32 },
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    source: IpAddr,
    /// In this window, with the error.
    count: u32,
    error: u32,
    /// Since it is a suspect, without the error.
    total: u32,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Watched,
    /// A suspect that was told of; keeps its place until it is quiet.
    Told,
    /// A suspect beyond those that are told of.
    Untold,
}

/// The table.
#[derive(Debug)]
pub(super) struct Suspects {
    entries: [Option<Entry>; SUSPECTS_MAX],
    threshold: u32,
    /// `None` while nothing is in the table.
    window_end: Option<Instant>,
    told: u32,
    untold: u32,
}

impl Suspects {
    /// `threshold` in a window makes a suspect.
    pub(super) const fn new(threshold: u32) -> Self {
        Self { entries: [None; SUSPECTS_MAX], threshold, window_end: None, told: 0, untold: 0 }
    }

    /// A source did it, `weight` times at once.
    pub(super) fn note(&mut self, source: IpAddr, weight: u32, now: Instant) -> Option<Change> {
        if self.window_end.is_none() {
            self.window_end = Some(now + SUSPECT_WINDOW);
        }
        let (threshold, may_tell) = (self.threshold, self.told < SUSPECTS_TOLD_MAX);
        let entry = self.entry_of(source)?;
        entry.count = entry.count.saturating_add(weight);
        entry.total = entry.total.saturating_add(weight);
        if entry.state != State::Watched || entry.count.saturating_sub(entry.error) < threshold {
            return None;
        }
        if may_tell {
            entry.state = State::Told;
            let count = entry.total;
            self.told = self.told.saturating_add(1);
            return Some(Change::Began { source, count });
        }
        entry.state = State::Untold;
        self.untold = self.untold.saturating_add(1);
        None
    }

    /// What the source did so far is not held against it.
    pub(super) fn forgive(&mut self, source: IpAddr) {
        let known = self.entries.iter_mut().flatten().find(|entry| entry.source == source);
        if let Some(entry) = known {
            entry.error = entry.count;
        }
    }

    /// The next change because a window is over; call it until there is none.
    pub(super) fn next(&mut self, now: Instant) -> Option<Change> {
        if self.window_end.is_none_or(|end| end > now) {
            return None;
        }
        let quiet = |entry: &Entry| entry.state == State::Told && entry.count == 0;
        for slot in &mut self.entries {
            if let Some(entry) = slot.take_if(|entry| quiet(entry)) {
                return Some(Change::Ended { source: entry.source, count: entry.total });
            }
        }
        self.begin_window(now);
        let sources = core::mem::take(&mut self.untold);
        (sources > 0).then_some(Change::Counted { sources })
    }

    /// When a window is over.
    pub(super) const fn due(&self) -> Option<Instant> {
        self.window_end
    }

    /// Only those that were told of stay.
    fn begin_window(&mut self, now: Instant) {
        let mut any = false;
        for slot in &mut self.entries {
            match slot {
                Some(entry) if entry.state == State::Told => {
                    (entry.count, entry.error) = (0, 0);
                    any = true;
                }
                _ => *slot = None,
            }
        }
        self.told = 0;
        self.window_end = any.then_some(now + SUSPECT_WINDOW);
    }

    /// The entry of a source; a new one takes a free place, or that of the one with the lowest count
    /// that was not told of. `None` when all were.
    fn entry_of(&mut self, source: IpAddr) -> Option<&mut Entry> {
        let is_its = |slot: &Option<Entry>| slot.as_ref().is_some_and(|entry| entry.source == source);
        let known = self.entries.iter().position(is_its);
        let place = known.or_else(|| self.place_for_another())?;
        let slot = self.entries.get_mut(place)?;
        if known.is_none() {
            let error = slot.map_or(0, |last| last.count);
            *slot = Some(Entry { source, count: error, error, total: 0, state: State::Watched });
        }
        slot.as_mut()
    }

    fn place_for_another(&self) -> Option<usize> {
        let rank = |slot: &Option<Entry>| match slot {
            None => Some(0),
            Some(entry) if entry.state == State::Told => None,
            Some(entry) => Some(entry.count.saturating_add(1)),
        };
        let ranked = self.entries.iter().enumerate().filter_map(|(place, slot)| Some((rank(slot)?, place)));
        ranked.min().map(|(_, place)| place)
    }
}
