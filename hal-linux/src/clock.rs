//! Clocks: monotonic time for decisions, wall time for log lines only.

use nix::time::{ClockId, clock_gettime};
use postern_core::port::Clock;
use postern_core::time::Instant;

/// Milliseconds since boot, suspended time included (`CLOCK_BOOTTIME`).
#[derive(Debug, Default)]
pub struct BootClock {
    last: Instant,
}

impl BootClock {
    /// A clock that has not been read yet.
    pub const fn new() -> Self {
        Self { last: Instant::BOOT }
    }
}

impl Clock for BootClock {
    fn now(&mut self) -> Instant {
        // The call cannot fail on any kernel since 2.6.39. If it did, time would stand still, which
        // opens nothing: the kernel closes the doors by its own clock.
        if let Ok(time) = clock_gettime(ClockId::CLOCK_BOOTTIME) {
            let seconds = u64::try_from(time.tv_sec()).unwrap_or(0);
            let millis = u64::try_from(time.tv_nsec() / 1_000_000).unwrap_or(0);
            let now = Instant::from_millis(seconds.saturating_mul(1000).saturating_add(millis));
            self.last = self.last.max(now);
        }
        self.last
    }
}
