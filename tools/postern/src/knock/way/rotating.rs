//! Knocks that change with every use (see `SPA.md`).
//!
//! The gateway awaits the counters `g` to `g + look_ahead - 1` and answers nothing, so `g` has to be
//! guessed. It is at least the lowest counter that is not known to be used. The first attempt takes a
//! counter that never was tried. When it is in vain and more were tried in vain than the gateway awaits,
//! the others search: each step covers as many counters as the gateway awaits. Every other one takes the
//! lowest, which are the likeliest when much gets lost; the rest go upwards. Since any of them may be
//! lost, too, they begin again and again, and go twice as far each time.

use std::net::SocketAddr;
use std::time::Duration;

use postern_core::spa::key::{KeyTag, KeyUse, SpaKey, SubKey};
use postern_core::spa::rotating::cursor::rotating_tag;
use postern_core::spa::rotating::{Knocks, knocks};

use super::{Way, sequence};
use crate::profile::Rotating;
use crate::profile::counters::{Counters, Position};
use crate::remote::failure::{Failure, Outcome};

/// How far beyond what was tried the search goes: a client whose memory was restored from a backup.
const SEARCH_BEYOND: u64 = 512;

/// A touched guard port taints for the sequence's time; clocks of both ends differ a little.
const LONGER_THAN_TAINT: Duration = Duration::from_millis(500);

/// One profile's sequences.
#[derive(Debug)]
pub struct RotatingWay {
    rotating: Rotating,
    key: SubKey,
    tag: KeyTag,
    counters: Counters,
    last: Option<u64>,
}

impl RotatingWay {
    /// Derives what is needed of `key`.
    pub fn new(rotating: Rotating, key: &SpaKey, counters: Counters) -> Self {
        let key = key.derive(KeyUse::Rotation, rotating.key.device);
        let tag = rotating_tag(&key, &rotating.door);
        Self { rotating, key, tag, counters, last: None }
    }

    /// The knocks with this counter.
    ///
    /// # Errors
    /// [`Failure::InvalidProfile`] when too many are excluded.
    pub fn knocks(&self, counter: u64) -> Outcome<Knocks> {
        let Rotating { door, shape, excluded, .. } = &self.rotating;
        knocks(&self.key, door, counter, shape, |step| excluded.contains(&step)).map_err(|_| {
            Failure::InvalidProfile(
                "too few knocks are left to draw from: exclude fewer, or widen `ports`".into(),
            )
        })
    }

    /// The counter that would be tried next; nothing is written down.
    ///
    /// # Errors
    /// When what is remembered is damaged.
    pub fn look_ahead(&self) -> Outcome<u64> {
        let position = self.counters.look(self.tag)?;
        Ok(choose(begin(position, self.rotating.first_counter), self.rotating.look_ahead, false).0)
    }
}

/// Where to go on from.
fn begin(remembered: Option<Position>, first: u64) -> Position {
    let position = remembered.unwrap_or_default();
    let known = position.known.max(first);
    Position { known, fresh: position.fresh.max(known), ..position }
}

/// The next counter to try, and where that leads. `again` says that the last one was in vain.
fn choose(position: Position, look_ahead: u8, again: bool) -> (u64, Position) {
    let Position { known, fresh, sweep } = position;
    let ahead = u64::from(look_ahead.max(1));
    let awaited_for_sure = fresh - known < ahead;
    if awaited_for_sure || !again {
        return (fresh, Position { fresh: fresh.saturating_add(1), ..position });
    }
    let step = search_step(sweep);
    let counter = known.saturating_add(ahead - 1).saturating_add(step.saturating_mul(ahead));
    if counter > fresh.saturating_add(SEARCH_BEYOND) {
        return choose(Position { sweep: 0, ..position }, look_ahead, again);
    }
    (counter, Position { sweep: sweep.saturating_add(1), ..position })
}

/// 0, 1, 0, 1, 0, 2, 0, 1, 0, 2, 0, 3, 0, 4, 0, 1, ...: every other one is 0, the rest go in rounds of
/// 1, 2, 4, ... steps.
const fn search_step(sweep: u64) -> u64 {
    if sweep % 2 == 0 {
        return 0;
    }
    let rest = sweep / 2 + 1;
    rest - (1 << rest.ilog2()) + 1
}

/// The gateway took `counter`.
fn took(position: Position, counter: u64, look_ahead: u8) -> Position {
    let known = counter.saturating_add(1);
    // Those that were tried before and are still awaited are left out, as long as a new one is.
    let last_awaited = counter.saturating_add(u64::from(look_ahead.max(1)));
    Position { known, fresh: position.fresh.clamp(known, last_awaited), sweep: 0 }
}

impl Way for RotatingWay {
    fn send(&mut self, address: SocketAddr, again: bool, say: &mut dyn FnMut(&str)) -> Outcome<()> {
        let Rotating { look_ahead, first_counter, delay, .. } = self.rotating;
        let mut chosen = 0;
        self.counters.change(self.tag, |remembered| {
            let (counter, position) = choose(begin(remembered, first_counter), look_ahead, again);
            chosen = counter;
            Ok(position)
        })?;
        self.last = Some(chosen);
        say(&format!("sequence number {chosen}"));
        let knocks = self.knocks(chosen)?;
        sequence(address, &knocks, delay, say)
    }

    fn pause(&self, _: u32) -> Duration {
        self.rotating.within.saturating_add(LONGER_THAN_TAINT)
    }

    fn worked(&mut self) -> Outcome<()> {
        let Some(counter) = self.last else { return Ok(()) };
        let Rotating { look_ahead, first_counter, .. } = self.rotating;
        self.counters
            .change(self.tag, |remembered| Ok(took(begin(remembered, first_counter), counter, look_ahead)))
            .map(drop)
    }

    fn knocked_lately(&self) -> bool {
        self.counters.used_lately(self.tag)
    }

    fn counter(&self) -> Option<u64> {
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use postern_core::spa::rotating::cursor::Cursor;

    /// A gateway and a client; `lost` sequences do not arrive.
    struct Pair {
        cursor: Cursor,
        position: Position,
        random: u64,
        used: Vec<u64>,
    }

    impl Pair {
        fn new(gateway: u64, position: Position) -> Self {
            Self { cursor: Cursor::rotating(gateway, AHEAD), position, random: 1, used: Vec::new() }
        }

        fn arrives(&mut self, counter: u64) -> bool {
            let Ok(next) = self.cursor.check(counter) else { return false };
            self.cursor.persisted(next);
            self.cursor.consume(counter).unwrap();
            assert!(!self.used.contains(&counter));
            self.used.push(counter);
            true
        }

        /// One run with a probe; the number of attempts it took.
        fn visit(&mut self, loss_percent: u64) -> u32 {
            for attempt in 0..2000 {
                let (counter, position) = choose(begin(Some(self.position), 0), AHEAD, attempt > 0);
                self.position = position;
                self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let lost = (self.random >> 33) % 100 < loss_percent;
                if !lost && self.arrives(counter) {
                    self.position = took(self.position, counter, AHEAD);
                    return attempt + 1;
                }
            }
            panic!("locked out: gateway {:?}, client {:?}", self.cursor.awaited(), self.position);
        }
    }

    const AHEAD: u8 = 3;

    #[test]
    fn without_losses_one_attempt_is_enough() {
        let mut pair = Pair::new(0, Position::default());
        assert!((0..1000).all(|_| pair.visit(0) == 1));
        assert_eq!(pair.used, (0..1000).collect::<Vec<u64>>());
    }

    #[test]
    fn losses_never_lock_out() {
        for loss in [10, 50, 80] {
            let mut pair = Pair::new(0, Position::default());
            let attempts: u32 = (0..500).map(|_| pair.visit(loss)).sum();
            assert!(u64::from(attempts) < 500 * 100 / (100 - loss) * 3, "{loss} %: {attempts}");
        }
    }

    /// Somebody who never probes loses more in a row than the gateway awaits, and probes then.
    #[test]
    fn a_client_that_was_not_told_is_found_again() {
        for lost in 0..60 {
            let mut pair = Pair::new(5, Position { known: 5, fresh: 5, sweep: 0 });
            for _ in 0..lost {
                pair.position = choose(pair.position, AHEAD, false).1;
            }
            assert!(pair.visit(0) <= 2, "{lost} lost");
        }
    }

    /// The memory of a machine that was restored from a backup, or a profile that was imported anew.
    #[test]
    fn a_client_that_forgot_catches_up() {
        for gateway in [1, 2, 3, 4, 50, 400] {
            let mut pair = Pair::new(gateway, Position::default());
            assert!(u64::from(pair.visit(0)) <= gateway / u64::from(AHEAD) * 8 + 5, "{gateway}");
            assert_eq!(pair.visit(0), 1);
        }
    }

    #[test]
    fn the_first_counter_of_a_profile_is_the_least() {
        assert_eq!(begin(None, 7), Position { known: 7, fresh: 7, sweep: 0 });
        let later = Position { known: 9, fresh: 12, sweep: 2 };
        assert_eq!(begin(Some(later), 7), later);
        assert_eq!(choose(begin(None, u64::MAX), 3, true).0, u64::MAX);
    }
}
