//! Failed logins and how long the next one must wait: longer with every one, never for good.
//!
//! | failed in a row | wait |
//! | --- | --- |
//! | 1 to 3 | none |
//! | 4 | 1 s |
//! | 5 | 2 s |
//! | ... | twice as long |
//! | 10 and more | 60 s |
//!
//! Counted is the user a peer runs as: the console for all who type at it, and any other program for
//! itself, so that a program that guesses keeps nobody from the console. Ten minutes of quiet forgive
//! one failure. At one guess a minute, ten thousand guesses take a week.

use heapless::Vec;
use postern_core::limits::{FREE_GUESSES, GUESS_DELAY_MAX, GUESSERS_MAX};
use postern_core::time::{Duration, Instant};

/// Quiet after which one failure is forgiven.
const FORGIVEN_AFTER: Duration = Duration::from_secs(600);

/// Failed logins by who failed.
#[derive(Debug, Default)]
pub struct Guesses {
    guessers: Vec<Guesser, GUESSERS_MAX>,
}

#[derive(Clone, Copy, Debug)]
struct Guesser {
    user: u32,
    failures: u8,
    /// When the next try may be made.
    next: Instant,
    last: Instant,
}

impl Guesses {
    /// Nobody has failed.
    pub const fn new() -> Self {
        Self { guessers: Vec::new() }
    }

    /// How long `user` must wait before the next try; `None` is not at all.
    pub fn wait(&self, user: u32, now: Instant) -> Option<Duration> {
        let guesser = self.guessers.iter().find(|guesser| guesser.user == user)?;
        (guesser.next > now).then(|| guesser.next.since(now))
    }

    /// A login of `user` failed; returns how long the next must wait.
    pub fn failed(&mut self, user: u32, now: Instant) -> Duration {
        let guesser = self.guesser(user, now);
        let quiet = now.since(guesser.last).millis() / FORGIVEN_AFTER.millis();
        let forgiven = u8::try_from(quiet).unwrap_or(u8::MAX);
        guesser.failures = guesser.failures.saturating_sub(forgiven).saturating_add(1);
        guesser.last = now;
        let delay = delay(guesser.failures);
        guesser.next = now + delay;
        delay
    }

    /// A login of `user` succeeded.
    pub fn succeeded(&mut self, user: u32) {
        self.guessers.retain(|guesser| guesser.user != user);
    }

    fn guesser(&mut self, user: u32, now: Instant) -> &mut Guesser {
        let fresh = Guesser { user, failures: 0, next: now, last: now };
        let known = self.guessers.iter().position(|guesser| guesser.user == user);
        let position = known.unwrap_or_else(|| {
            if self.guessers.is_full() {
                // Who failed longest ago makes room.
                let oldest = self.guessers.iter().enumerate().min_by_key(|(_, guesser)| guesser.last);
                let oldest = oldest.map_or(0, |(position, _)| position);
                self.guessers.swap_remove(oldest);
            }
            let _ = self.guessers.push(fresh);
            self.guessers.len() - 1
        });
        &mut self.guessers[position]
    }
}

fn delay(failures: u8) -> Duration {
    match failures.checked_sub(FREE_GUESSES) {
        None | Some(0) => Duration::ZERO,
        Some(paid) => {
            let secs = 1_u64.checked_shl(u32::from(paid) - 1).unwrap_or(u64::MAX);
            Duration::from_secs(secs.min(GUESS_DELAY_MAX.millis() / 1000))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Instant = Instant::from_millis(1_000_000);

    #[test]
    fn the_table_of_the_documentation() {
        let mut guesses = Guesses::new();
        let delays: std::vec::Vec<u64> = (0..12).map(|_| guesses.failed(7, NOW).millis() / 1000).collect();
        assert_eq!(delays, [0, 0, 0, 1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(guesses.wait(7, NOW), Some(Duration::from_secs(60)));
        assert_eq!(guesses.wait(7, NOW + Duration::from_secs(60)), None, "never for good");
        assert_eq!(guesses.wait(8, NOW), None, "others do not wait");
        guesses.succeeded(7);
        assert_eq!(guesses.failed(7, NOW), Duration::ZERO, "a success forgives all");
    }

    #[test]
    fn quiet_forgives_and_memory_is_bounded() {
        let mut guesses = Guesses::new();
        for _ in 0..5 {
            guesses.failed(7, NOW);
        }
        let later = NOW + Duration::from_secs(1800);
        assert_eq!(guesses.failed(7, later), Duration::ZERO, "three of five are forgiven");
        for user in 100..200 {
            guesses.failed(user, later);
        }
        assert_eq!(guesses.guessers.len(), GUESSERS_MAX);
    }
}
