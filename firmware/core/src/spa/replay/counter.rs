//! How a client makes its counters. Nothing here runs on a gateway.
//!
//! A client with a clock uses it, so that it needs no memory and two machines may share a key. A
//! client with a memory never goes back, so that its clock may do what it wants.

use super::{COUNT_BITS, COUNT_MAX, JUMP_MAX, LEASE_AHEAD};

/// What a client adds when its clock does not help, in milliseconds: more than a ceiling is ahead, so
/// that the packet counts even when the gateway lost power since the last one.
pub const STRIDE: u64 = 5_000;

/// The largest step a client lets its clock make. Half of what the gateway allows: one packet that got
/// lost while the clock was wrong must not put the next one out of reach.
pub const CLOCK_STEP_MAX: u64 = JUMP_MAX / 2;

const _: () = assert!(STRIDE > LEASE_AHEAD);

/// The counter that begins `epoch`, for a client without memory or a person who wants a new one.
pub const fn in_epoch(epoch: u16, clock_millis: u64) -> u64 {
    let count = if clock_millis > COUNT_MAX { COUNT_MAX } else { clock_millis };
    (epoch as u64) << COUNT_BITS | if count == 0 { 1 } else { count }
}

/// The counter behind `last`. `clock_millis` is milliseconds since 1970, when there is a clock.
/// `None` at the end of the last epoch: the key must be replaced.
pub const fn next(last: u64, clock_millis: Option<u64>) -> Option<u64> {
    let epoch = last >> COUNT_BITS;
    let count = last & COUNT_MAX;
    let clock = match clock_millis {
        Some(clock) => clock,
        None => 0,
    };
    let is_first = count == 0;
    let believable = clock > count && clock <= COUNT_MAX && (is_first || clock - count <= CLOCK_STEP_MAX);
    if believable {
        return Some(epoch << COUNT_BITS | clock);
    }
    if count + STRIDE <= COUNT_MAX {
        return Some(last + STRIDE);
    }
    // The epoch is used up. The first count of the next one may be any.
    match (epoch + 1).checked_shl(COUNT_BITS) {
        Some(start) if start > last => Some(start | if clock == 0 { 1 } else { clock & COUNT_MAX }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_795_000_000_000;
    const YEAR: u64 = 366 * 86_400_000;

    #[test]
    fn the_clock_is_used_when_it_helps() {
        assert_eq!(next(0, Some(NOW)), Some(NOW));
        assert_eq!(next(NOW, Some(NOW + 1)), Some(NOW + 1));
        assert_eq!(next(NOW, Some(NOW + 5 * YEAR)), Some(NOW + 5 * YEAR));
        assert_eq!(next(7 << COUNT_BITS | NOW, Some(NOW + 1)), Some(7 << COUNT_BITS | (NOW + 1)));
    }

    #[test]
    fn and_not_when_it_does_not() {
        assert_eq!(next(NOW, None), Some(NOW + STRIDE));
        assert_eq!(next(NOW, Some(NOW)), Some(NOW + STRIDE));
        assert_eq!(next(NOW, Some(0)), Some(NOW + STRIDE), "a clock that thinks it is 1970");
        assert_eq!(next(NOW, Some(4_102_444_800_000)), Some(NOW + STRIDE), "or 2100");
        assert_eq!(next(NOW, Some(u64::MAX)), Some(NOW + STRIDE));
        assert_eq!(next(0, None), Some(STRIDE));
    }

    #[test]
    fn behind_the_last_count_the_next_epoch_begins_with_the_clock() {
        assert_eq!(next(COUNT_MAX, Some(NOW)), Some(1 << COUNT_BITS | NOW));
        assert_eq!(next(COUNT_MAX, None), Some(1 << COUNT_BITS | 1));
        assert_eq!(next(u64::MAX, Some(NOW)), None);
        assert_eq!(in_epoch(3, NOW), 3 << COUNT_BITS | NOW);
        assert_eq!(in_epoch(0, 0), 1, "0 is no counter");
    }

    #[test]
    fn counters_always_rise() {
        let mut random = 1_u64;
        let mut last = 0;
        for _ in 0..100_000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let clock = (random >> 20 & 1 == 1).then_some(random >> (random & 31));
            let Some(counter) = next(last, clock) else { break };
            assert!(counter > last);
            last = counter;
        }
    }
}
