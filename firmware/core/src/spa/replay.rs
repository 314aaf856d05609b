//! Which counters of a key were used: no packet counts twice, whatever happens to the gateway.
//!
//! A counter is 64 bits, epoch and count:
//!
//! ```text
//! 63      48 47                                       0
//! [ epoch   ][ count: milliseconds since 1970, mostly  ]
//! ```
//!
//! The gateway needs no clock. It only wants counters to rise: to it a count is a number, and that
//! clients with a clock make it from the time is their affair ([`counter`] says how, and what one
//! without a clock does). The epoch never comes from a clock. It rises when a person says so, and is
//! the way out when a client's counts went where they should not.
//!
//! # Rules
//!
//! 1. A counter counts once. Up to [`WINDOW`] below the highest one may still come: packets overtake
//!    each other.
//! 2. Within an epoch a counter is at most [`JUMP_MAX`] above the highest. The first of an epoch may
//!    have any count, and the epoch may rise by [`EPOCHS_AHEAD_MAX`]: that needs a person with the key.
//! 3. Nothing above the *ceiling* is accepted, and a ceiling counts only when it is on the medium.
//!    After a start everything up to the ceiling counts as used: power cuts only skip numbers.
//!
//! # Ceilings
//!
//! A counter above the ceiling waits for a write; the new ceiling is [`LEASE_AHEAD`] above it, so that
//! what follows within seconds does not wait again. Longer leases would save writes and shut clients
//! out: after a power cut a client is refused until its counter has passed the ceiling. Four seconds
//! are less than a gateway takes to start.

pub mod counter;
#[cfg(test)]
mod reboots;

/// Bits of a count; the epoch stands above them.
pub const COUNT_BITS: u32 = 48;

/// The largest count of an epoch.
pub const COUNT_MAX: u64 = (1 << COUNT_BITS) - 1;

/// Counters from the highest one down that may still come, each once: 128 milliseconds to a client
/// with a clock. Enough for packets that overtake each other, too little to keep one back for later.
pub const WINDOW: u64 = 128;

/// The largest step up within an epoch: 17 years in milliseconds. Longer than a person stays away with
/// a key; shorter than the way to 2100, where broken clocks go.
pub const JUMP_MAX: u64 = 1 << 39;

/// Epochs one packet may go up. More than one, because packets of a new epoch may get lost; few, so
/// that the epochs last for thousands of mistakes.
pub const EPOCHS_AHEAD_MAX: u64 = 16;

/// How far above a counter its ceiling is written: four seconds in milliseconds.
pub const LEASE_AHEAD: u64 = 4096;

/// Why a counter does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CounterRefusal {
    /// It was used: the packet is a repetition.
    Used,
    /// It is too far below the highest, or from before the last start.
    Old,
    /// It is too far above the highest of its epoch.
    Jump,
    /// Its epoch is too far above the one in use.
    EpochJump,
    /// It is above the ceiling on the medium.
    NotPersisted,
}

impl CounterRefusal {
    /// Short lower-case words for an audit line.
    pub const fn reason(self) -> &'static str {
        match self {
            CounterRefusal::Used => "counter-used",
            CounterRefusal::Old => "counter-old",
            CounterRefusal::Jump => "counter-jump",
            CounterRefusal::EpochJump => "epoch-jump",
            CounterRefusal::NotPersisted => "counter-not-persisted",
        }
    }
}

/// The highest counter and which of the [`WINDOW`] below it were used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplayWindow {
    highest: u64,
    /// Bit `n` is the counter `highest - n`.
    used: u128,
}

impl ReplayWindow {
    /// Everything up to `floor` counts as used.
    pub const fn above(floor: u64) -> Self {
        Self { highest: floor, used: u128::MAX }
    }

    /// The highest counter that was used.
    pub const fn highest(&self) -> u64 {
        self.highest
    }

    /// Whether `counter` would count.
    ///
    /// # Errors
    /// Why not; never [`CounterRefusal::NotPersisted`].
    pub const fn check(&self, counter: u64) -> Result<(), CounterRefusal> {
        if counter > self.highest {
            return self.check_step_up(counter);
        }
        let below = self.highest - counter;
        if below >= WINDOW {
            return Err(CounterRefusal::Old);
        }
        if self.used >> below & 1 == 1 { Err(CounterRefusal::Used) } else { Ok(()) }
    }

    const fn check_step_up(&self, counter: u64) -> Result<(), CounterRefusal> {
        let epochs = (counter >> COUNT_BITS) - (self.highest >> COUNT_BITS);
        if epochs > EPOCHS_AHEAD_MAX {
            return Err(CounterRefusal::EpochJump);
        }
        let first_of_epoch = epochs > 0 || self.highest & COUNT_MAX == 0;
        if !first_of_epoch && counter - self.highest > JUMP_MAX {
            return Err(CounterRefusal::Jump);
        }
        Ok(())
    }

    /// Uses `counter` up.
    ///
    /// # Errors
    /// As [`ReplayWindow::check`]; nothing changes then.
    pub const fn accept(&mut self, counter: u64) -> Result<(), CounterRefusal> {
        if let Err(refusal) = self.check(counter) {
            return Err(refusal);
        }
        if counter > self.highest {
            let up = counter - self.highest;
            self.used = if up < WINDOW { self.used << up | 1 } else { 1 };
            self.highest = counter;
        } else {
            self.used |= 1 << (self.highest - counter);
        }
        Ok(())
    }
}

/// Up to which counter the medium has been told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CounterLease {
    ceiling: u64,
}

impl CounterLease {
    /// What the medium said at start.
    pub const fn restored(ceiling: u64) -> Self {
        Self { ceiling }
    }

    /// Nothing above this may be accepted.
    pub const fn ceiling(&self) -> u64 {
        self.ceiling
    }

    /// Whether `counter` may be accepted without a write.
    pub const fn covers(&self, counter: u64) -> bool {
        counter <= self.ceiling
    }

    /// The ceiling to write before `counter` may be accepted. It stays in the counter's epoch: the
    /// first count of the next one belongs to the client.
    pub const fn wanted(counter: u64) -> u64 {
        let last = counter | COUNT_MAX;
        let ceiling = counter.saturating_add(LEASE_AHEAD);
        if ceiling < last { ceiling } else { last }
    }

    /// `ceiling` is on the medium. A lower one than before changes nothing.
    pub const fn persisted(&mut self, ceiling: u64) {
        if ceiling > self.ceiling {
            self.ceiling = ceiling;
        }
    }
}

/// What to do with a counter that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Accept it.
    Now,
    /// Write this ceiling, say [`ReplayState::persisted`], then accept it.
    AfterPersisting {
        /// The ceiling.
        ceiling: u64,
    },
}

/// Window and ceiling of one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplayState {
    window: ReplayWindow,
    lease: CounterLease,
}

impl ReplayState {
    /// The state at start. `ceiling` is what the medium holds for the key, 0 for a new one; `first` is
    /// the lowest counter that shall count, or 0.
    pub const fn restored(ceiling: u64, first: u64) -> Self {
        let below_first = first.saturating_sub(1);
        let floor = if ceiling > below_first { ceiling } else { below_first };
        Self { window: ReplayWindow::above(floor), lease: CounterLease::restored(ceiling) }
    }

    /// The highest counter that was used.
    pub const fn highest(&self) -> u64 {
        self.window.highest()
    }

    /// What the medium holds.
    pub const fn ceiling(&self) -> u64 {
        self.lease.ceiling()
    }

    /// Whether `counter` would count, and what must be written before.
    ///
    /// # Errors
    /// Why not.
    pub const fn check(&self, counter: u64) -> Result<Admission, CounterRefusal> {
        if let Err(refusal) = self.window.check(counter) {
            return Err(refusal);
        }
        if self.lease.covers(counter) {
            return Ok(Admission::Now);
        }
        Ok(Admission::AfterPersisting { ceiling: CounterLease::wanted(counter) })
    }

    /// `ceiling` is on the medium.
    pub const fn persisted(&mut self, ceiling: u64) {
        self.lease.persisted(ceiling);
    }

    /// Uses `counter` up.
    ///
    /// # Errors
    /// Why not; nothing changes then.
    pub const fn accept(&mut self, counter: u64) -> Result<(), CounterRefusal> {
        match self.check(counter) {
            Ok(Admission::Now) => self.window.accept(counter),
            Ok(Admission::AfterPersisting { .. }) => Err(CounterRefusal::NotPersisted),
            Err(refusal) => Err(refusal),
        }
    }

    /// The ceiling to write when an administrator begins the next epoch: all counters so far are void
    /// then. `None` when there is no next epoch; the key must be replaced.
    pub const fn next_epoch(&self) -> Option<u64> {
        let highest = if self.highest() > self.ceiling() { self.highest() } else { self.ceiling() };
        match (highest >> COUNT_BITS).checked_add(1) {
            Some(epoch) if epoch <= u64::MAX >> COUNT_BITS => Some(epoch << COUNT_BITS),
            _ => None,
        }
    }

    /// The start of a new epoch is on the medium. A lower one than in use changes nothing.
    pub const fn rebased(&mut self, epoch_start: u64) {
        if epoch_start > self.highest() {
            self.window = ReplayWindow::above(epoch_start);
        }
        self.lease.persisted(epoch_start);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// Seconds of 2026 in milliseconds.
    const NOW: u64 = 1_795_000_000_000;

    #[test]
    fn counts_once_and_in_the_window() {
        let mut window = ReplayWindow::above(NOW);
        assert_eq!(window.check(NOW), Err(CounterRefusal::Used));
        assert_eq!(window.accept(NOW + 5), Ok(()));
        assert_eq!(window.accept(NOW + 5), Err(CounterRefusal::Used));
        assert_eq!(window.accept(NOW + 3), Ok(()), "it was overtaken");
        assert_eq!(window.accept(NOW + 3), Err(CounterRefusal::Used));
        assert_eq!(window.accept(NOW + 3 + WINDOW), Ok(()));
        assert_eq!(window.check(NOW + 4), Ok(()), "the last that may still come");
        assert_eq!(window.check(NOW + 5), Err(CounterRefusal::Used));
        assert_eq!(window.accept(NOW + 4 + WINDOW), Ok(()));
        assert_eq!(window.check(NOW + 4), Err(CounterRefusal::Old));
    }

    /// Against a set of everything ever accepted.
    #[test]
    fn agrees_with_a_naive_model() {
        let mut random = 0x9e37_79b9_7f4a_7c15_u64;
        for _ in 0..200 {
            let mut window = ReplayWindow::above(NOW);
            let mut accepted = BTreeSet::from([NOW]);
            for _ in 0..500 {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                let highest = window.highest();
                let counter = (highest + random % 80).saturating_sub(random >> 32 & 0xff);
                let expected = if counter > highest {
                    Ok(())
                } else if highest - counter >= WINDOW {
                    Err(CounterRefusal::Old)
                } else if counter <= NOW || accepted.contains(&counter) {
                    Err(CounterRefusal::Used)
                } else {
                    Ok(())
                };
                assert_eq!(window.accept(counter), expected, "{counter} at {highest}");
                if expected.is_ok() {
                    assert!(accepted.insert(counter));
                }
            }
        }
    }

    #[test]
    fn steps_up_are_capped_but_for_the_first_of_an_epoch() {
        let first = ReplayWindow::above(0);
        assert_eq!(first.check(NOW), Ok(()), "any count begins");
        let window = ReplayWindow::above(NOW);
        assert_eq!(window.check(NOW + JUMP_MAX), Ok(()));
        assert_eq!(window.check(NOW + JUMP_MAX + 1), Err(CounterRefusal::Jump));
        let in_2100 = 4_102_444_800_000;
        assert_eq!(window.check(in_2100), Err(CounterRefusal::Jump));
        assert_eq!(window.check(1 << COUNT_BITS), Ok(()));
        assert_eq!(window.check(1 << COUNT_BITS | COUNT_MAX), Ok(()));
        assert_eq!(window.check(EPOCHS_AHEAD_MAX << COUNT_BITS | NOW), Ok(()));
        let too_far = (EPOCHS_AHEAD_MAX + 1) << COUNT_BITS;
        assert_eq!(window.check(too_far), Err(CounterRefusal::EpochJump));
    }

    #[test]
    fn the_ends_of_all_numbers() {
        assert_eq!(ReplayWindow::above(0).check(0), Err(CounterRefusal::Used), "no packet has counter 0");
        let mut window = ReplayWindow::above(u64::MAX - 1);
        assert_eq!(window.accept(u64::MAX), Ok(()));
        assert_eq!(window.check(u64::MAX), Err(CounterRefusal::Used));
        assert_eq!(CounterLease::wanted(u64::MAX), u64::MAX);
        assert_eq!(CounterLease::wanted(COUNT_MAX - 1), COUNT_MAX, "a ceiling stays in its epoch");
    }

    #[test]
    fn nothing_above_the_ceiling_is_accepted() {
        let mut state = ReplayState::restored(0, 0);
        let ceiling = NOW + LEASE_AHEAD;
        assert_eq!(state.check(NOW), Ok(Admission::AfterPersisting { ceiling }));
        assert_eq!(state.accept(NOW), Err(CounterRefusal::NotPersisted));
        state.persisted(ceiling);
        assert_eq!(state.accept(NOW), Ok(()));
        assert_eq!(state.accept(ceiling), Ok(()), "within seconds, without a write");
        assert!(matches!(state.check(ceiling + 1), Ok(Admission::AfterPersisting { .. })));
        let after_start = ReplayState::restored(state.ceiling(), 0);
        assert_eq!(after_start.check(NOW + 1), Err(CounterRefusal::Old), "it may have been used");
        assert!(after_start.check(ceiling + 1).is_ok());
    }

    #[test]
    fn a_new_key_begins_where_it_is_told() {
        let state = ReplayState::restored(0, NOW);
        assert_eq!(state.check(NOW - 1), Err(CounterRefusal::Used));
        assert!(matches!(state.check(NOW), Ok(Admission::AfterPersisting { .. })));
        assert_eq!(state.check(NOW + JUMP_MAX), Err(CounterRefusal::Jump));
    }

    #[test]
    fn an_administrator_can_begin_anew() {
        let mut state = ReplayState::restored(NOW, 0);
        let start = state.next_epoch().unwrap();
        assert_eq!(start, 1 << COUNT_BITS);
        state.rebased(start);
        assert_eq!(state.check(NOW + 1), Err(CounterRefusal::Old));
        assert!(state.check(start | NOW).is_ok(), "any count begins");
        state.rebased(NOW);
        assert_eq!(state.highest(), start, "never down");
        assert_eq!(ReplayState::restored(u64::MAX - 5, 0).next_epoch(), None);
    }
}
