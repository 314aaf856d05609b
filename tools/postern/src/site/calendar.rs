//! Days of the Gregorian calendar and seconds since 1970 in UTC, for the times a key is valid.

/// Seconds of a day.
const DAY_SECS: u64 = 86_400;

/// Last second a date can be written for: the end of the year 9999.
pub const LAST_SECS: u64 = 253_402_300_799;

/// Seconds since 1970-01-01T00:00:00Z; `None` when there is no such day or it is before 1970.
pub fn secs(year: u16, month: u8, day: u8, hour: u8, minute: u8, second: u8) -> Option<u64> {
    if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || day == 0 || day > days_of(year, month)
    {
        return None;
    }
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let years: u64 = (1970..year).map(|year| if is_leap(year) { 366 } else { 365 }).sum();
    let months: u64 = (1..month).map(|month| u64::from(days_of(year, month))).sum();
    let days = years + months + u64::from(day - 1);
    Some(days * DAY_SECS + u64::from(hour) * 3600 + u64::from(minute) * 60 + u64::from(second))
}

/// As RFC 3339 writes it, such as `2027-01-31T00:00:00Z`; `None` after the year 9999.
pub fn text(secs: u64) -> Option<String> {
    if secs > LAST_SECS {
        return None;
    }
    let (mut days, rest) = (secs / DAY_SECS, secs % DAY_SECS);
    let mut year = 1970;
    loop {
        let length = if is_leap(year) { 366 } else { 365 };
        if days < length {
            break;
        }
        days -= length;
        year += 1;
    }
    let mut month = 1;
    while days >= u64::from(days_of(year, month)) {
        days -= u64::from(days_of(year, month));
        month += 1;
    }
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    Some(format!("{year:04}-{month:02}-{:02}T{hour:02}:{minute:02}:{second:02}Z", days + 1))
}

const fn is_leap(year: u16) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

const fn days_of(year: u16, month: u8) -> u8 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if is_leap(year) => 29,
        2 => 28,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_instants() {
        // `date -u -d @SECS`.
        for (at, words) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_795_435_589, "2026-11-23T12:06:29Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (LAST_SECS, "9999-12-31T23:59:59Z"),
        ] {
            assert_eq!(text(at).as_deref(), Some(words), "{at}");
        }
        assert_eq!(text(LAST_SECS + 1), None);
        assert_eq!(secs(2026, 11, 23, 12, 6, 29), Some(1_795_435_589));
        assert_eq!(secs(9999, 12, 31, 23, 59, 59), Some(LAST_SECS));
        assert_eq!(secs(2025, 2, 29, 0, 0, 0), None);
        assert_eq!(secs(1969, 12, 31, 0, 0, 0), None);
        assert_eq!(secs(2025, 1, 1, 24, 0, 0), None);
    }
}
