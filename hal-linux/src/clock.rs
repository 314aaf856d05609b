//! Clocks: monotonic time for decisions, wall time for log lines only.

use std::fmt;

use nix::libc;
use nix::time::{ClockId, clock_gettime};
use postern_core::port::Clock;
use postern_core::time::{Duration, Instant};

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

/// What the wall clock says. It is stamped on log lines and decides nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WallTime {
    /// Milliseconds since 1970-01-01 UTC.
    pub unix_millis: u64,
    /// Whether the kernel says that a time source keeps it right (NTP, PTP).
    pub synchronised: bool,
}

/// No earlier than this is it now: 2026-01-01 UTC, the year of the first release. A gateway whose
/// clock battery is empty starts in 1970 or at the date of its image.
const CREDIBLE_FROM_UNIX_MILLIS: u64 = 1_767_225_600_000;

impl WallTime {
    /// Reads the clock; `None` when what it says cannot be.
    pub fn now() -> Option<Self> {
        let time = clock_gettime(ClockId::CLOCK_REALTIME).ok()?;
        let seconds = u64::try_from(time.tv_sec()).ok()?;
        let millis = u64::try_from(time.tv_nsec() / 1_000_000).ok()?;
        let unix_millis = seconds.checked_mul(1000)?.checked_add(millis)?;
        Self::credible(unix_millis, is_synchronised())
    }

    /// `None` when it cannot have been so early.
    fn credible(unix_millis: u64, synchronised: bool) -> Option<Self> {
        (unix_millis >= CREDIBLE_FROM_UNIX_MILLIS).then_some(Self { unix_millis, synchronised })
    }

    /// The time `span` earlier.
    #[must_use]
    pub const fn before(self, span: Duration) -> Self {
        Self { unix_millis: self.unix_millis.saturating_sub(span.millis()), ..self }
    }
}

/// RFC 3339 in UTC with milliseconds: `2026-11-23T06:57:02.123Z`.
impl fmt::Display for WallTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, millis) = (self.unix_millis / 1000, self.unix_millis % 1000);
        let (days, second_of_day) = (seconds / 86_400, seconds % 86_400);
        let (year, month, day) = civil_date(days);
        let (hour, minute, second) = (second_of_day / 3600, second_of_day / 60 % 60, second_of_day % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
    }
}

/// Year, month and day of the `days`-th day after 1970-01-01 in the Gregorian calendar. Years are
/// counted from 1 March, so that the leap day is the last of its year.
const fn civil_date(days: u64) -> (u64, u64, u64) {
    const DAYS_TO_1970: u64 = 719_468; // from 0000-03-01
    const DAYS_OF_400_YEARS: u64 = 146_097;
    let days = days + DAYS_TO_1970;
    let (era, day_of_era) = (days / DAYS_OF_400_YEARS, days % DAYS_OF_400_YEARS);
    let leap_days = day_of_era / 1460 - day_of_era / 36_524 + day_of_era / 146_096;
    let year_of_era = (day_of_era - leap_days) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    // Months from March have 31, 30, 31, 30, 31 days over and over: 153 in five.
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + if month <= 2 { 1 } else { 0 };
    (year, month, day)
}

/// What adjtimex(2) says of the kernel's clock.
#[allow(unsafe_code)]
fn is_synchronised() -> bool {
    // SAFETY: `timex` is integers only, for which zero is a value; with `modes` zero the call
    // changes nothing and fills in the structure, which lives until it returns.
    let state = unsafe {
        let mut time: libc::timex = std::mem::zeroed();
        libc::adjtimex(&raw mut time)
    };
    state >= 0 && state != libc::TIME_ERROR
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boot_time_goes_on() {
        let mut clock = BootClock::new();
        let first = clock.now();
        assert!(first > Instant::BOOT);
        std::thread::sleep(std::time::Duration::from_millis(3));
        assert!(clock.now() > first);
    }

    #[test]
    fn dates_are_gregorian() {
        for (unix_millis, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_767_225_600_000, "2026-01-01T00:00:00.000Z"),
            (1_835_222_399_999, "2028-02-26T23:59:59.999Z"),
            (1_835_438_400_007, "2028-02-29T12:00:00.007Z"),
            (4_107_542_399_000, "2100-02-28T23:59:59.000Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(WallTime { unix_millis, synchronised: false }.to_string(), text);
        }
    }

    #[test]
    fn a_clock_without_battery_is_not_believed() {
        assert_eq!(WallTime::credible(86_400_000, true), None);
        assert!(WallTime::credible(CREDIBLE_FROM_UNIX_MILLIS, false).is_some());
        assert!(WallTime::now().is_some(), "this machine's clock is wrong");
    }
}
