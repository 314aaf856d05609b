//! How often one key may have its ceiling written: whoever holds a key must not wear out the medium.

use crate::limits::{CEILING_WRITE_EVERY, CEILING_WRITES_AT_ONCE};
use crate::time::{Duration, Instant};

/// A bucket of writes that fills again with time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WriteAllowance {
    /// When it is full again. Each write puts that off.
    full_at: Instant,
}

impl WriteAllowance {
    /// A full one.
    pub(crate) const fn new() -> Self {
        Self { full_at: Instant::BOOT }
    }

    /// Takes one write; whether there was one.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        let room = CEILING_WRITE_EVERY.millis() * (u64::from(CEILING_WRITES_AT_ONCE) - 1);
        let missing = self.full_at.since(now);
        if missing > Duration::from_millis(room) {
            return false;
        }
        self.full_at = now + missing + CEILING_WRITE_EVERY;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_at_once_then_one_by_one() {
        let mut allowance = WriteAllowance::new();
        let mut now = Instant::from_millis(77);
        let taken = (0..1000).filter(|_| allowance.take(now)).count();
        assert_eq!(taken, usize::from(CEILING_WRITES_AT_ONCE));
        now = now + CEILING_WRITE_EVERY;
        assert!(allowance.take(now));
        assert!(!allowance.take(now));
        now = now + Duration::from_secs(86_400 * 365);
        let taken = (0..1000).filter(|_| allowance.take(now)).count();
        assert_eq!(taken, usize::from(CEILING_WRITES_AT_ONCE), "no more than the bucket holds");
    }
}
