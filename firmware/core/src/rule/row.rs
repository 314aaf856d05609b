//! Rows of sequences that count once each: rotating ones, and the lines of one-time lists.
//!
//! A rule set says where there may be knocks; which of them are awaited at the moment changes with
//! every use. So the sequences of a row are there from the beginning, in order of their ids, and only
//! those that were put into their places are awaited.

use super::{DoorId, GuardRange, RuleError, RuleSet, RuleSetBuilder, Sequence, SequenceId, check_sequence};
use crate::knock::{FlagCondition, Protocol, ServicePort, Step, Transport};
use crate::limits::ROTATING_AHEAD_MAX;
use crate::spa::rotating::{Knocks, Shape};
use crate::time::Duration;

/// What the sequences of a row are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowKind {
    /// Derived from a key and a counter. Whatever they may be drawn from and is not awaited is a guard.
    Rotating(Shape),
    /// The lines of a list, in order.
    List,
}

/// Sequences of one door of which each counts once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// The door they open.
    pub door: DoorId,
    /// Where they come from.
    pub kind: RowKind,
    pub(super) first: u16,
    pub(super) count: u16,
}

impl Row {
    /// Sequences of it: those awaited at once, or the lines of its list.
    pub const fn count(&self) -> u16 {
        self.count
    }

    /// The sequence at `position`, if there are as many.
    pub fn sequence(&self, position: u16) -> Option<SequenceId> {
        let id = self.first.checked_add(position)?;
        (position < self.count).then_some(SequenceId(id))
    }

    /// Whether this row is of the same kind.
    const fn is_list(&self) -> bool {
        matches!(self.kind, RowKind::List)
    }

    /// Whether its knocks may be drawn from `step`.
    fn draws_from(&self, step: Step) -> bool {
        match self.kind {
            RowKind::Rotating(shape) => shape.draws_from(step),
            RowKind::List => false,
        }
    }
}

impl RuleSet {
    /// Every row.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// The row of `door` that is a list, or that rotates.
    pub fn row(&self, door: DoorId, list: bool) -> Option<Row> {
        self.rows.iter().find(|row| row.door == door && row.is_list() == list).copied()
    }

    /// The row a sequence belongs to, and its position there.
    pub fn row_of(&self, id: SequenceId) -> Option<(Row, u16)> {
        self.rows.iter().find_map(|row| {
            let position = id.0.checked_sub(row.first)?;
            (position < row.count).then_some((*row, position))
        })
    }

    /// Awaits `knocks` at `position` of a rotating row instead of what was awaited there; `None` awaits
    /// nothing. Returns whether they are awaited: not when one of them stands in too many places.
    pub fn await_knocks(&mut self, row: Row, position: u16, knocks: Option<&Knocks>) -> bool {
        let Some(id) = row.sequence(position) else { return false };
        self.await_nothing(id);
        let Some(sequence) = self.sequences.get_mut(usize::from(id.0)) else { return false };
        sequence.steps.clear();
        let Some(knocks) = knocks else { return false };
        // A sequence takes more knocks than a rotating one can have.
        let _ = sequence.steps.extend_from_slice(knocks);
        self.await_sequence(id)
    }

    /// Awaits the line at `position` of a list and no other of it; `None` awaits none. Returns whether it
    /// is awaited.
    pub fn await_line(&mut self, row: Row, position: Option<u16>) -> bool {
        for position in 0..row.count {
            if let Some(id) = row.sequence(position) {
                self.await_nothing(id);
            }
        }
        position.and_then(|position| row.sequence(position)).is_some_and(|id| self.await_sequence(id))
    }

    /// Number that tells the knocks a sequence has now from those it had before.
    pub(crate) fn label(&self, id: SequenceId) -> u64 {
        let turn = self.turns.get(usize::from(id.0)).copied().unwrap_or(0);
        u64::from(turn) << 16 | u64::from(id.0)
    }

    /// Everything that may ever be a knock or a guard under these rules, in no order, with overlaps: what
    /// a capture must let through.
    pub fn watched(&self) -> impl Iterator<Item = GuardRange> + '_ {
        let single =
            |step: &Step| GuardRange { protocol: step.protocol, first: step.value, last: step.value };
        let knocks = self.sequences.iter().flat_map(|sequence| &sequence.steps).map(single);
        let drawn = self.rows.iter().filter_map(|row| match row.kind {
            RowKind::Rotating(shape) => Some(shape.watched()),
            RowKind::List => None,
        });
        knocks.chain(drawn.flatten()).chain(self.guards.iter().copied())
    }

    /// Whether `step` is a guard because it may be drawn and is not awaited. Protected ports are never
    /// drawn, and whoever has a grant goes there.
    pub(super) fn is_guarded_by_row(&self, step: Step) -> bool {
        let transport = match step.protocol {
            Protocol::Tcp => Some(Transport::Tcp),
            Protocol::Udp => Some(Transport::Udp),
            Protocol::Icmp => None,
        };
        self.rows.iter().any(|row| row.draws_from(step))
            && !transport.is_some_and(|transport| {
                self.ports.binary_search(&ServicePort { transport, port: step.value }).is_ok()
            })
    }

    fn await_sequence(&mut self, id: SequenceId) -> bool {
        let Some(sequence) = self.sequences.get(usize::from(id.0)) else { return false };
        let steps = sequence.steps.clone();
        let placed = (0_u8..).zip(&steps).try_for_each(|(step, &knock)| self.place(knock, id, step));
        if placed.is_err() {
            self.await_nothing(id);
        }
        placed.is_ok()
    }

    fn await_nothing(&mut self, id: SequenceId) {
        let before = self.places.len();
        self.places.retain(|place| place.sequence != id);
        if self.places.len() != before {
            // What was shown of the knocks before counts for nothing.
            if let Some(turn) = self.turns.get_mut(usize::from(id.0)) {
                *turn = turn.wrapping_add(1);
            }
        }
    }
}

impl RuleSetBuilder {
    /// Adds a line of the one-time list of a door that was added before. The lines of a door follow each
    /// other.
    ///
    /// # Errors
    /// The first rule of [`RuleError`] that it breaks.
    pub fn one_time(&mut self, sequence: Sequence) -> Result<SequenceId, RuleError> {
        let id = self.next_sequence(&sequence)?;
        check_sequence(id, &sequence)?;
        let door = sequence.door;
        match self.rules.rows.iter_mut().find(|row| row.door == door && row.is_list()) {
            Some(row) if row.first.saturating_add(row.count) == id.0 => row.count += 1,
            Some(_) => return Err(RuleError::OneTimeApart(id)),
            None => {
                let row = Row { door, kind: RowKind::List, first: id.0, count: 1 };
                self.rules.rows.push(row).map_err(|_| RuleError::TooManyRows)?;
            }
        }
        self.keep(sequence)?;
        Ok(id)
    }

    /// Adds rotating sequences of a door that was added before, of which `ahead` are awaited at once. None
    /// is before it was put in ([`RuleSet::await_knocks`]).
    ///
    /// # Errors
    /// The first rule of [`RuleError`] that they break.
    pub fn rotating(
        &mut self,
        door: DoorId,
        shape: Shape,
        ahead: u8,
        within: Duration,
    ) -> Result<(), RuleError> {
        let flags = FlagCondition::OPENING_SYN;
        let (purpose, reorder) = (super::Purpose::Open, Duration::ZERO);
        let steps = heapless::Vec::new();
        let sequence = Sequence { door, purpose, steps, within, reorder, flags };
        let first = self.next_sequence(&sequence)?;
        if !(1..=ROTATING_AHEAD_MAX).contains(&ahead) {
            return Err(RuleError::BadLength(first));
        }
        super::check_within(first, &sequence)?;
        if self.rules.row(door, false).is_some() {
            return Err(RuleError::TooManyRows);
        }
        let row = Row { door, kind: RowKind::Rotating(shape), first: first.0, count: ahead.into() };
        self.rules.rows.push(row).map_err(|_| RuleError::TooManyRows)?;
        if shape.protocols().tcp {
            self.watch_flags(flags)?;
        }
        for _ in 0..ahead {
            self.next_sequence(&sequence)?;
            self.keep(sequence.clone())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{door, sequence};
    use super::*;
    use crate::knock::{InterfaceIndex, Knock, TcpFlags};
    use crate::spa::rotating::Protocols;

    fn knock(step: Step) -> Knock {
        let source = core::net::IpAddr::from([192, 0, 2, 1]);
        Knock { source, target: source, step, flags: TcpFlags::SYN, interface: InterfaceIndex(0) }
    }

    fn rotating() -> RuleSet {
        let mut builder = RuleSetBuilder::new();
        let ssh = builder.door(door("ssh", &[ServicePort::tcp(30_010)])).unwrap();
        let fixed = [Step::tcp(30_020), Step::tcp(9), Step::tcp(10)];
        builder.sequence(sequence(ssh, &fixed)).unwrap();
        let shape = Shape::new(3, Protocols { tcp: true, udp: false, icmp: false }, 30_000, 30_099).unwrap();
        builder.rotating(ssh, shape, 2, Duration::from_secs(5)).unwrap();
        builder.guard(GuardRange { protocol: Protocol::Tcp, first: 30_050, last: 30_060 }).unwrap();
        builder.build().unwrap()
    }

    fn three(first: u16) -> Knocks {
        Knocks::from_slice(&[Step::tcp(first), Step::tcp(first + 2), Step::tcp(first + 1)]).unwrap()
    }

    #[test]
    fn what_is_awaited_changes_and_the_rest_of_the_range_is_a_guard() {
        let mut rules = rotating();
        let row = rules.row(DoorId(0), false).unwrap();
        assert_eq!((row.count(), row.sequence(1), row.sequence(2)), (2, Some(SequenceId(2)), None));
        assert_eq!(rules.row_of(SequenceId(2)), Some((row, 1)));
        assert_eq!(rules.row_of(SequenceId(0)), None);
        let guarded = |rules: &RuleSet, port| rules.is_guarded(&knock(Step::tcp(port)));
        assert!(guarded(&rules, 30_000) && guarded(&rules, 30_099) && !guarded(&rules, 30_100));
        assert!(!guarded(&rules, 30_010), "a protected port");
        assert!(!guarded(&rules, 30_020), "a knock of a fixed sequence");
        // Also where a guard that was chosen before covers it.
        assert!(rules.await_knocks(row, 1, Some(&three(30_049))));
        assert_eq!(rules.places_of(Step::tcp(30_050)).len(), 1);
        assert!(!guarded(&rules, 30_050) && guarded(&rules, 30_052));
        let label = rules.label(SequenceId(2));
        assert!(rules.await_knocks(row, 1, Some(&three(30_070))));
        assert_ne!(rules.label(SequenceId(2)), label, "progress of the knocks before is void");
        assert!(guarded(&rules, 30_050) && rules.places_of(Step::tcp(30_050)).is_empty());
        assert!(!rules.await_knocks(row, 1, None) && guarded(&rules, 30_070));
        assert!(!rules.await_knocks(row, 2, Some(&three(30_070))), "there is no third place");
        assert_eq!(rules.places().len(), 3, "the fixed sequence is where it was");
    }

    #[test]
    fn knocks_in_too_many_places_are_not_awaited() {
        let mut builder = RuleSetBuilder::new();
        let ssh = builder.door(door("ssh", &[ServicePort::tcp(22)])).unwrap();
        for other in 0..crate::limits::STEP_SHARED_MAX {
            let other = u16::try_from(other).unwrap() + 2;
            builder.sequence(sequence(ssh, &[Step::tcp(30_001), Step::tcp(other)])).unwrap();
        }
        let shape = Shape::new(3, Protocols { tcp: true, udp: false, icmp: false }, 30_000, 30_099).unwrap();
        builder.rotating(ssh, shape, 2, Duration::from_secs(5)).unwrap();
        let mut rules = builder.build().unwrap();
        let before = rules.places().len();
        let row = rules.row(ssh, false).unwrap();
        assert!(!rules.await_knocks(row, 0, Some(&three(30_000))));
        assert_eq!(rules.places().len(), before, "not in part either");
        assert!(rules.await_knocks(row, 0, Some(&three(30_010))));
    }

    #[test]
    fn a_list_awaits_one_line() {
        let mut builder = RuleSetBuilder::new();
        let ssh = builder.door(door("ssh", &[ServicePort::tcp(22)])).unwrap();
        let web = builder.door(door("web", &[ServicePort::tcp(80)])).unwrap();
        for line in 0..3_u16 {
            builder.one_time(sequence(ssh, &[Step::tcp(100 + line), Step::tcp(200)])).unwrap();
        }
        builder.one_time(sequence(web, &[Step::tcp(300), Step::tcp(200)])).unwrap();
        let apart = builder.one_time(sequence(ssh, &[Step::tcp(400), Step::tcp(200)]));
        assert_eq!(apart, Err(RuleError::OneTimeApart(SequenceId(4))));
        let mut rules = builder.build().unwrap();
        assert!(rules.places().is_empty());
        let row = rules.row(ssh, true).unwrap();
        assert!(rules.await_line(row, Some(1)));
        let awaited: std::vec::Vec<Step> = rules.places().iter().map(|place| place.knock).collect();
        assert_eq!(awaited, [Step::tcp(101), Step::tcp(200)]);
        assert!(rules.await_line(row, Some(2)) && rules.places_of(Step::tcp(101)).is_empty());
        assert!(!rules.await_line(row, None) && rules.places().is_empty());
        assert!(!rules.await_line(row, Some(3)));
        for port in [100, 102, 200, 300] {
            assert!(rules.watched().any(|range| (range.first..=range.last).contains(&port)), "{port}");
        }
    }

    #[test]
    fn a_guard_on_any_line_of_a_list_is_refused() {
        let mut builder = RuleSetBuilder::new();
        let ssh = builder.door(door("ssh", &[ServicePort::tcp(22)])).unwrap();
        builder.one_time(sequence(ssh, &[Step::tcp(100), Step::tcp(200)])).unwrap();
        builder.one_time(sequence(ssh, &[Step::tcp(101), Step::tcp(201)])).unwrap();
        builder.guard(GuardRange { protocol: Protocol::Tcp, first: 201, last: 201 }).unwrap();
        assert_eq!(builder.build().err(), Some(RuleError::GuardCoversKnock(Step::tcp(201))));
    }

    #[test]
    fn rows_have_bounds() {
        let mut builder = RuleSetBuilder::new();
        let ssh = builder.door(door("ssh", &[ServicePort::tcp(22)])).unwrap();
        let shape = Shape::new(3, Protocols { tcp: true, udp: false, icmp: false }, 30_000, 30_099).unwrap();
        let within = Duration::from_secs(5);
        assert_eq!(builder.rotating(DoorId(7), shape, 1, within), Err(RuleError::NoSuchDoor(SequenceId(0))));
        for ahead in [0, ROTATING_AHEAD_MAX + 1] {
            let refused = builder.rotating(ssh, shape, ahead, within);
            assert_eq!(refused, Err(RuleError::BadLength(SequenceId(0))));
        }
        let refused = builder.rotating(ssh, shape, 1, Duration::ZERO);
        assert_eq!(refused, Err(RuleError::BadWithin(SequenceId(0))));
        builder.rotating(ssh, shape, 1, within).unwrap();
        assert_eq!(builder.rotating(ssh, shape, 1, within), Err(RuleError::TooManyRows), "two of one door");
    }
}
