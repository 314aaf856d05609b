//! Why rules are refused.

use super::{DoorId, GuardRange, SequenceId};
use crate::knock::Step;

/// Why a rule set was refused. `door` and `sequence` are positions in order of adding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleError {
    /// More than [`crate::limits::DOORS_MAX`] doors.
    TooManyDoors,
    /// More than [`crate::limits::SEQUENCES_MAX`] sequences.
    TooManySequences,
    /// More than [`crate::limits::GUARD_RANGES_MAX`] guard ranges.
    TooManyGuards,
    /// More than [`crate::limits::PORTS_MAX`] distinct service ports.
    TooManyPorts,
    /// More than [`crate::limits::FLAG_CONDITIONS_MAX`] distinct TCP flag conditions.
    TooManyFlagConditions,
    /// A name is empty, too long, or has a character outside `A-Z a-z 0-9 - _ .`.
    BadName(DoorId),
    /// Two doors have one name.
    DuplicateName(DoorId),
    /// A door protects no port, too many, or port 0.
    BadPorts(DoorId),
    /// `open_for` is not a whole number of seconds or outside [`crate::limits::OPEN_FOR_MIN`] to
    /// [`crate::limits::OPEN_FOR_MAX`].
    BadOpenFor(DoorId),
    /// A door takes knocks on no interface: nothing could ever open it.
    NoInterface(DoorId),
    /// A door leads to an address that no host behind the gateway can have, or to port 0.
    BadBehind(DoorId),
    /// A door that leads behind the gateway has other than one port, or shares it with another door:
    /// where a connection to it leads would depend on who let the client in.
    BehindNeedsOwnPort(DoorId),
    /// A door whose grants are used up by one connection has several ports: there would be one for each.
    OneShotNeedsOnePort(DoorId),
    /// A door's grants cover more than [`crate::limits::REACH_V4_MIN`] or [`crate::limits::REACH_V6_MIN`]
    /// allow, or more bits than there are.
    BadReach(DoorId),
    /// A door whose grants cover more than one address leads behind the gateway, or is for one connection:
    /// a stranger beside the client would be led there, or use the grant up.
    ReachNeedsPlainDoor(DoorId),
    /// A door's grants are wide, and those of an earlier door are so in another way: the firewall has one
    /// width for each address family.
    ReachesDiffer(DoorId),
    /// A sequence belongs to no door.
    NoSuchDoor(SequenceId),
    /// A sequence has no knock or more than [`crate::limits::STEPS_MAX`].
    BadLength(SequenceId),
    /// A TCP or UDP knock on port 0.
    BadStep(SequenceId),
    /// A knock follows itself: one packet that is delivered twice, or sent again, would count as both.
    RepeatedStep(SequenceId),
    /// `within` is outside [`crate::limits::WITHIN_MIN`]..=[`crate::limits::WITHIN_MAX`].
    BadWithin(SequenceId),
    /// The reordering window is over [`crate::limits::REORDER_MAX`] or not below `within`.
    BadReorder(SequenceId),
    /// A reordering window needs distinct knocks, at most [`crate::limits::REORDER_STEPS_MAX`].
    ReorderNeedsDistinctSteps(SequenceId),
    /// A flag condition that no segment can meet: a flag must be set that is not looked at.
    BadFlags(SequenceId),
    /// One knock stands in more than [`crate::limits::STEP_SHARED_MAX`] places.
    StepSharedTooOften(Step),
    /// More than [`crate::limits::ROWS_MAX`] rows of rotating sequences and one-time lists, or two of a kind at one door.
    TooManyRows,
    /// The lines of a door's one-time list do not follow each other.
    OneTimeApart(SequenceId),
    /// Rotating sequences cannot be made so.
    BadRotating(DoorId),
    /// A guard range ends before it begins.
    BadGuard(GuardRange),
    /// A guard range covers a knock of a sequence: every knock would taint.
    GuardCoversKnock(Step),
}
