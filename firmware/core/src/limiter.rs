//! Bounds how often one class of event is recorded, and counts the rest.

use crate::limits::{DENY_RECORDS_PER_WINDOW_MAX, DENY_WINDOW};
use crate::time::Instant;

/// What to do with an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Record it.
    Record,
    /// It was counted; a summary follows when the window ends.
    Counted,
}

/// Lets a few events through in each window of time. Who repeats a denied knock a thousand times
/// a second fills no log.
#[derive(Debug, Default)]
pub struct Limiter {
    window_end: Instant,
    recorded: u32,
    counted: u32,
}

impl Limiter {
    /// Nothing seen yet.
    pub const fn new() -> Self {
        Self { window_end: Instant::BOOT, recorded: 0, counted: 0 }
    }

    /// Takes one event. Call [`Limiter::summary`] first, so that a window that is over is closed.
    pub fn take(&mut self, now: Instant) -> Verdict {
        if now >= self.window_end {
            self.window_end = now + DENY_WINDOW;
            self.recorded = 0;
        }
        if self.recorded < DENY_RECORDS_PER_WINDOW_MAX {
            self.recorded += 1;
            return Verdict::Record;
        }
        self.counted = self.counted.saturating_add(1);
        Verdict::Counted
    }

    /// How many events were counted in a window that is over; once.
    pub fn summary(&mut self, now: Instant) -> Option<u32> {
        (self.counted > 0 && now >= self.window_end).then(|| core::mem::take(&mut self.counted))
    }

    /// When a summary is due.
    pub fn due(&self) -> Option<Instant> {
        (self.counted > 0).then_some(self.window_end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Duration;

    #[test]
    fn a_storm_becomes_a_few_records_and_a_count() {
        let mut limiter = Limiter::new();
        let (mut recorded, mut counted) = (0, 0);
        let start = Instant::from_millis(5000);
        for millis in 0..3 * DENY_WINDOW.millis() {
            let now = start + Duration::from_millis(millis);
            counted += limiter.summary(now).unwrap_or(0);
            recorded += u32::from(limiter.take(now) == Verdict::Record);
        }
        let end = limiter.due().expect("the last window is still to be summarised");
        assert_eq!(limiter.summary(end.before(Duration::from_millis(1))), None);
        counted += limiter.summary(end).unwrap_or(0);
        assert_eq!(recorded, 3 * DENY_RECORDS_PER_WINDOW_MAX);
        assert_eq!(u64::from(recorded + counted), 3 * DENY_WINDOW.millis(), "each is recorded or counted");
        assert_eq!(limiter.due(), None);
    }
}
