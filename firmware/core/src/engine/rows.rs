//! Sequences that count once each: which are awaited, and what the journal must be told before one
//! opens its door.

use crate::knock::{Protocol, ServicePort, Step, Transport};
use crate::limits::ROTATING_AHEAD_MAX;
use crate::rule::{DoorId, Name, Row, RowKind, RuleSet};
use crate::spa::allowance::WriteAllowance;
use crate::spa::key::{DeviceId, KeyTag, KeyUse, SpaKey, SubKey};
use crate::spa::rotating::cursor::{Cursor, CursorRefusal, ListMark, list_tag, rotating_tag};
use crate::spa::rotating::knocks;
use crate::time::Instant;

/// How far the sequences of one row were used.
#[derive(Clone, Debug)]
pub(super) struct KeyRow {
    pub(super) door: DoorId,
    /// Its name in the journal.
    pub(super) tag: KeyTag,
    cursor: Cursor,
    allowance: WriteAllowance,
    means: Means,
}

#[derive(Clone, Debug)]
enum Means {
    Rotating {
        secret: SubKey,
        holder: KeyTag,
        door: Name,
        /// The counter that is awaited at each position of the row.
        awaited: [Option<u64>; ROTATING_AHEAD_MAX as usize],
    },
    List(ListMark),
}

/// A sequence that was completed and is not used up yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Completion {
    /// Which row's.
    pub(super) tag: KeyTag,
    /// Which of it.
    pub(super) counter: u64,
    /// What the journal must hold before it counts.
    pub(super) ceiling: u64,
}

impl KeyRow {
    /// Rotating sequences of `door`, of which the next `ahead` are awaited.
    pub(super) fn rotating(
        (door, name): (DoorId, &Name),
        (key, device): (&SpaKey, DeviceId),
        ahead: u8,
        ceiling: impl FnOnce(KeyTag) -> u64,
    ) -> Self {
        let secret = key.derive(KeyUse::Rotation, device);
        let tag = rotating_tag(&secret, name);
        let (holder, awaited) = (key.tag(device), [None; ROTATING_AHEAD_MAX as usize]);
        let means = Means::Rotating { secret, holder, door: name.clone(), awaited };
        let cursor = Cursor::rotating(ceiling(tag), ahead);
        Self { door, tag, cursor, allowance: WriteAllowance::new(), means }
    }

    /// The one-time list `lines` of `door`.
    pub(super) fn list<'l>(
        (door, name): (DoorId, &Name),
        lines: impl Iterator<Item = &'l [Step]> + Clone,
        ceiling: impl FnOnce(KeyTag) -> u64,
    ) -> Self {
        let tag = list_tag(name);
        let mark = ListMark::restored(ceiling(tag));
        let length = (0_u64..).zip(lines.clone()).last().map_or(0, |(last, _)| last + 1);
        let cursor = Cursor::list(mark.next(lines), length);
        Self { door, tag, cursor, allowance: WriteAllowance::new(), means: Means::List(mark) }
    }

    /// The key it is derived from.
    pub(super) const fn holder(&self) -> Option<KeyTag> {
        match &self.means {
            Means::Rotating { holder, .. } => Some(*holder),
            Means::List(_) => None,
        }
    }

    /// Whether this keeps the account of `row`.
    pub(super) fn is_of(&self, row: &Row) -> bool {
        self.door == row.door && self.is_list() == matches!(row.kind, RowKind::List)
    }

    /// Takes over what `before` knows about the same row. Where a list goes on is only in the journal.
    pub(super) fn carry_over(&mut self, before: &KeyRow) {
        self.allowance = before.allowance;
        if !self.is_list() {
            self.cursor.advance_to(&before.cursor);
        }
    }

    const fn is_list(&self) -> bool {
        matches!(self.means, Means::List(_))
    }

    /// Has `rules` await what comes next.
    pub(super) fn await_next(&mut self, rules: &mut RuleSet) {
        let Some(row) = rules.row(self.door, self.is_list()) else { return };
        let (first, behind_last) = self.cursor.awaited();
        match &mut self.means {
            Means::List(_) => {
                let line = (first < behind_last).then(|| u16::try_from(first).ok()).flatten();
                rules.await_line(row, line);
            }
            Means::Rotating { secret, door, awaited, .. } => {
                let RowKind::Rotating(shape) = row.kind else { return };
                for (position, awaited) in (0..row.count()).zip(awaited) {
                    let next = counter_at(position, row.count(), first).filter(|next| *next < behind_last);
                    if *awaited == next && next.is_some() {
                        continue;
                    }
                    *awaited = next;
                    let knocks = next.and_then(|next| {
                        knocks(secret, door, next, &shape, |step| is_protected(rules, step)).ok()
                    });
                    rules.await_knocks(row, position, knocks.as_ref());
                }
            }
        }
    }

    /// The knocks at `position` of its row were shown. `line` has the knocks when it is a list.
    ///
    /// # Errors
    /// Why they do not count.
    pub(super) fn completed(
        &mut self,
        position: u16,
        line: &[Step],
        now: Instant,
    ) -> Result<Completion, &'static str> {
        let (counter, ceiling) = match &self.means {
            Means::List(mark) => (Some(u64::from(position)), Some(mark.after(line).number())),
            Means::Rotating { awaited, .. } => (awaited.get(usize::from(position)).copied().flatten(), None),
        };
        let counter = counter.ok_or(CursorRefusal::TooFar.reason())?;
        let next = self.cursor.check(counter).map_err(CursorRefusal::reason)?;
        if !self.allowance.take(now) {
            return Err("too-many-writes");
        }
        Ok(Completion { tag: self.tag, counter, ceiling: ceiling.unwrap_or(next) })
    }

    /// The journal holds what it must: uses the sequence up, and all before it.
    ///
    /// # Errors
    /// Why it does not count any more.
    pub(super) fn consume(&mut self, completion: &Completion) -> Result<(), CursorRefusal> {
        let next = self.cursor.check(completion.counter)?;
        self.cursor.persisted(next);
        self.cursor.consume(completion.counter)?;
        if let Means::List(mark) = &mut self.means {
            *mark = ListMark::restored(completion.ceiling);
        }
        Ok(())
    }
}

/// Of the counters from `first` on, the one that is awaited at `position` of `count`: each stays where it
/// is until it is used.
fn counter_at(position: u16, count: u16, first: u64) -> Option<u64> {
    let count = u64::from(count);
    let begins = first.checked_rem(count)?;
    let behind = (u64::from(position) + count).checked_sub(begins)?.checked_rem(count)?;
    first.checked_add(behind)
}

/// Nobody knocks where whoever has a grant goes.
fn is_protected(rules: &RuleSet, step: Step) -> bool {
    let transport = match step.protocol {
        Protocol::Tcp => Transport::Tcp,
        Protocol::Udp => Transport::Udp,
        Protocol::Icmp => return false,
    };
    rules.protected_ports().binary_search(&ServicePort { transport, port: step.value }).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_stay_where_they_are_until_they_are_used() {
        for count in 1..=8_u16 {
            for first in (0..50).chain([u64::MAX - 9]) {
                let at = |first| (0..count).map(move |position| counter_at(position, count, first));
                let mut awaited: std::vec::Vec<u64> = at(first).flatten().collect();
                awaited.sort_unstable();
                assert!(awaited.iter().zip(first..).all(|(one, other)| *one == other), "{awaited:?}");
                assert_eq!(awaited.len(), usize::from(count));
                let changed = at(first).zip(at(first + 1)).filter(|(before, now)| before != now);
                assert_eq!(changed.count(), 1, "{first} of {count}");
            }
        }
        assert_eq!(counter_at(0, 0, 5), None);
        assert_eq!(counter_at(1, 8, u64::MAX - 1), None, "behind all numbers");
    }
}
