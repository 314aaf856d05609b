//! Monotonic time since boot, in a type that carries its unit.
//!
//! The unit is the millisecond. Nothing here can read a clock: the shell reads
//! `CLOCK_BOOTTIME`-like time once a turn and passes it down. Wall time never decides anything.

use core::ops::Add;

/// A point in monotonic time: milliseconds since boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant {
    millis: u64,
}

impl Instant {
    /// The moment of boot.
    pub const BOOT: Instant = Instant { millis: 0 };

    /// The point `millis` milliseconds after boot.
    pub const fn from_millis(millis: u64) -> Self {
        Self { millis }
    }

    /// Milliseconds since boot.
    pub const fn millis(self) -> u64 {
        self.millis
    }

    /// Time passed since `earlier`; zero when `earlier` is in the future.
    pub const fn since(self, earlier: Instant) -> Duration {
        Duration::from_millis(self.millis.saturating_sub(earlier.millis))
    }

    /// The point `duration` before this one, not before boot.
    pub const fn before(self, duration: Duration) -> Instant {
        Instant { millis: self.millis.saturating_sub(duration.millis()) }
    }
}

impl Add<Duration> for Instant {
    type Output = Instant;

    /// Saturates at the end of representable time (584 million years).
    fn add(self, duration: Duration) -> Instant {
        Instant { millis: self.millis.saturating_add(duration.millis()) }
    }
}

/// A span of monotonic time in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Duration {
    millis: u64,
}

impl Duration {
    /// No time at all.
    pub const ZERO: Duration = Duration { millis: 0 };

    /// A span of `millis` milliseconds.
    pub const fn from_millis(millis: u64) -> Self {
        Self { millis }
    }

    /// A span of `secs` seconds; saturates.
    pub const fn from_secs(secs: u64) -> Self {
        Self { millis: secs.saturating_mul(1000) }
    }

    /// Milliseconds.
    pub const fn millis(self) -> u64 {
        self.millis
    }

    /// Whole seconds, rounded up: kernel set time-outs have a one-second unit, and a grant must
    /// not end before the time it was announced with.
    pub const fn secs_ceil(self) -> u64 {
        self.millis.div_ceil(1000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates() {
        let end = Instant::from_millis(u64::MAX);
        assert_eq!(end + Duration::from_secs(1), end);
        assert_eq!(Instant::BOOT.since(end), Duration::ZERO);
        assert_eq!(Instant::BOOT.before(Duration::from_secs(1)), Instant::BOOT);
        assert_eq!(Duration::from_secs(u64::MAX).millis(), u64::MAX);
    }

    #[test]
    fn seconds_round_up() {
        assert_eq!(Duration::from_millis(0).secs_ceil(), 0);
        assert_eq!(Duration::from_millis(1).secs_ceil(), 1);
        assert_eq!(Duration::from_millis(1000).secs_ceil(), 1);
        assert_eq!(Duration::from_millis(1001).secs_ceil(), 2);
    }
}
