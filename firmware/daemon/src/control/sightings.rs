//! What was seen of knocks while somebody watches: an installer who wants to know where one gets
//! stuck.

use heapless::Deque;
use postern_console::rpc::reply::{KNOCKS_PER_REPLY_MAX, Progress, SeenKnock};
use postern_core::engine::Trace;
use postern_core::limits::{SIGHTINGS_MAX, WATCH_IDLE};
use postern_core::matcher;
use postern_core::rule::RuleSet;
use postern_core::time::Instant;

/// The newest knocks, kept only while somebody asks for them.
#[derive(Debug, Default)]
pub struct Sightings {
    seen: Deque<SeenKnock, SIGHTINGS_MAX>,
    next_number: u64,
    watched_until: Option<Instant>,
}

impl Sightings {
    /// Nobody watches.
    pub const fn new() -> Self {
        Self { seen: Deque::new(), next_number: 1, watched_until: None }
    }

    /// Whether somebody watches; forgets everything when nobody does any more.
    pub fn is_watched(&mut self, now: Instant) -> bool {
        let watched = self.watched_until.is_some_and(|until| until > now);
        if !watched {
            self.seen.clear();
        }
        watched
    }

    /// Somebody asks for what came after this number, and for what comes.
    pub fn after(&mut self, after: u64, now: Instant) -> heapless::Vec<SeenKnock, KNOCKS_PER_REPLY_MAX> {
        self.watched_until = Some(now + WATCH_IDLE);
        self.seen.iter().filter(|knock| knock.number > after).take(KNOCKS_PER_REPLY_MAX).cloned().collect()
    }

    /// Keeps what a frame did.
    pub fn keep(&mut self, trace: &Trace, rules: &RuleSet, now: Instant) {
        let seen = |door, of, progress| SeenKnock {
            number: 0,
            at_millis: now.millis(),
            source: trace.knock.source,
            step: trace.knock.step.into(),
            door,
            of,
            progress,
        };
        if trace.guard_touched {
            self.push(seen(None, 0, Progress::Tainted));
        }
        for &(id, progress) in &trace.progress {
            let Some(sequence) = rules.sequence(id) else { continue };
            let door = rules.door(sequence.door).map(|door| door.name.clone());
            let of = u8::try_from(sequence.steps.len()).unwrap_or(u8::MAX);
            let Some(progress) = reached(progress) else { continue };
            self.push(seen(door, of, progress));
        }
    }

    fn push(&mut self, mut knock: SeenKnock) {
        knock.number = self.next_number;
        self.next_number += 1;
        if self.seen.is_full() {
            let _ = self.seen.pop_front();
        }
        let _ = self.seen.push_back(knock);
    }
}

const fn reached(progress: matcher::Progress) -> Option<Progress> {
    Some(match progress {
        matcher::Progress::Advanced(knocks) => Progress::Reached { knocks },
        matcher::Progress::Completed => Progress::Completed,
        matcher::Progress::Tainted => Progress::Tainted,
        matcher::Progress::OutOfTurn | matcher::Progress::Repeated => Progress::OutOfOrder,
        matcher::Progress::TableFull => Progress::NoRoom,
        matcher::Progress::NotMeant => return None,
    })
}
