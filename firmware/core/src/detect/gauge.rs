//! Whether there is a flood.

use crate::limits::{FLOOD_OFF_PER_SEC, FLOOD_ON_PER_SEC, FLOOD_QUIET};
use crate::time::{Duration, Instant};

/// A flood begins or has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Edge {
    /// So many frames came within a second.
    Began {
        /// Frames so far in that second.
        per_sec: u32,
    },
    /// It has been quiet for a while.
    Ended {
        /// Frames in all.
        frames: u64,
        /// Frames of the busiest second.
        peak_per_sec: u32,
        /// From its begin to its last busy second.
        lasted: Duration,
    },
}

/// Counts frames by the second, with a gap between on and off.
#[derive(Debug)]
pub(super) struct Gauge {
    second_end: Instant,
    frames: u32,
    flood: Option<Flood>,
}

#[derive(Debug)]
struct Flood {
    began: Instant,
    last_busy: Instant,
    frames: u64,
    peak_per_sec: u32,
}

const SECOND: Duration = Duration::from_secs(1);

impl Gauge {
    pub(super) const fn new() -> Self {
        Self { second_end: Instant::BOOT, frames: 0, flood: None }
    }

    pub(super) fn frame(&mut self, now: Instant) -> Option<Edge> {
        if now >= self.second_end {
            self.second_end = now + SECOND;
            self.frames = 0;
        }
        self.frames = self.frames.saturating_add(1);
        match &mut self.flood {
            Some(flood) => {
                flood.frames = flood.frames.saturating_add(1);
                flood.peak_per_sec = flood.peak_per_sec.max(self.frames);
                if self.frames >= FLOOD_OFF_PER_SEC {
                    flood.last_busy = now;
                }
                None
            }
            None if self.frames >= FLOOD_ON_PER_SEC => {
                let (frames, peak_per_sec) = (self.frames.into(), self.frames);
                self.flood = Some(Flood { began: now, last_busy: now, frames, peak_per_sec });
                Some(Edge::Began { per_sec: self.frames })
            }
            None => None,
        }
    }

    pub(super) fn next(&mut self, now: Instant) -> Option<Edge> {
        if self.due().is_none_or(|due| due > now) {
            return None;
        }
        let flood = self.flood.take()?;
        let lasted = flood.last_busy.since(flood.began);
        Some(Edge::Ended { frames: flood.frames, peak_per_sec: flood.peak_per_sec, lasted })
    }

    pub(super) fn due(&self) -> Option<Instant> {
        self.flood.as_ref().map(|flood| flood.last_busy + FLOOD_QUIET)
    }
}
