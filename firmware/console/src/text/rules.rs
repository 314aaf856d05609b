//! Why the rules of a candidate cannot be run, in the words of the console: whoever stands at the line has
//! no other tool.

use core::fmt;

use postern_config::Site;
use postern_core::rule::{DoorId, RuleError, SequenceId};

/// What is wrong, and where.
#[derive(Clone, Copy, Debug)]
pub struct Unrunnable<'s> {
    /// The candidate.
    pub site: &'s Site,
    /// What the engine says of it.
    pub error: RuleError,
}

impl Unrunnable<'_> {
    fn door(&self, door: usize) -> &str {
        self.site.doors.get(door).map_or("?", |door| door.name.as_str())
    }

    fn of_door(&self, f: &mut fmt::Formatter<'_>, door: DoorId, what: &str) -> fmt::Result {
        write!(f, "door {}: {what}", self.door(usize::from(door.0)))
    }

    fn of_sequence(&self, f: &mut fmt::Formatter<'_>, sequence: SequenceId, what: &str) -> fmt::Result {
        let sequence = self.site.sequences.get(usize::from(sequence.0));
        let door = sequence.map_or(usize::MAX, |sequence| usize::from(sequence.door));
        let closes = if sequence.is_some_and(|sequence| sequence.closes) { "close-" } else { "" };
        write!(f, "door {}: its {closes}sequence {what}", self.door(door))
    }
}

impl fmt::Display for Unrunnable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.error {
            RuleError::TooManyDoors => f.write_str("there are too many doors"),
            RuleError::TooManySequences => f.write_str("there are too many sequences"),
            RuleError::TooManyGuards => f.write_str("there are too many guards: make them wider or fewer"),
            RuleError::TooManyPorts => f.write_str("there are too many ports behind doors"),
            RuleError::TooManyFlagConditions => f.write_str("there are too many different `flags`"),
            RuleError::BadName(door) => self.of_door(f, door, "a name has 1 to 32 of A-Z a-z 0-9 - _ ."),
            RuleError::DuplicateName(door) => self.of_door(f, door, "another has this name"),
            RuleError::BadPorts(door) => self.of_door(f, door, "it has no `ports`, or port 0"),
            RuleError::BadOpenFor(door) => self.of_door(f, door, "`open-for` is 1s to 24h, whole seconds"),
            RuleError::NoInterface(door) => self.of_door(f, door, "it takes knocks on no interface"),
            RuleError::BadBehind(door) => self.of_door(f, door, "what it leads to cannot be"),
            RuleError::BehindNeedsOwnPort(door) => {
                self.of_door(f, door, "leading behind the gateway, it needs one port of its own")
            }
            RuleError::OneShotNeedsOnePort(door) => {
                self.of_door(f, door, "for one connection, it needs one port")
            }
            RuleError::BadReach(door) => self.of_door(f, door, "its prefix is wider than any may be"),
            RuleError::ReachNeedsPlainDoor(door) => {
                self.of_door(f, door, "for a whole prefix, it cannot lead on or be for one connection")
            }
            RuleError::ReachesDiffer(door) => {
                self.of_door(f, door, "its prefix is not that of the other doors with one")
            }
            RuleError::BadLength(sequence) => self.of_sequence(f, sequence, "has no knock, or too many"),
            RuleError::BadStep(sequence) => self.of_sequence(f, sequence, "has a knock on port 0"),
            RuleError::RepeatedStep(sequence) => {
                self.of_sequence(f, sequence, "has a knock that follows itself")
            }
            RuleError::BadWithin(sequence) => self.of_sequence(f, sequence, "has a `within` that cannot be"),
            RuleError::BadReorder(sequence) => {
                self.of_sequence(f, sequence, "has a `reorder` that is too long")
            }
            RuleError::ReorderNeedsDistinctSteps(sequence) => {
                self.of_sequence(f, sequence, "has a `reorder`: its knocks must be few and all different")
            }
            RuleError::BadFlags(sequence) => {
                self.of_sequence(f, sequence, "has `flags` that no packet can have")
            }
            RuleError::StepSharedTooOften(step) => write!(f, "the knock {step} is used too often"),
            RuleError::GuardCoversKnock(step) => {
                write!(f, "the knock {step} is a guard as well: set `guards` again, or another knock")
            }
            // What no line of the console can make.
            error => write!(f, "its rules cannot be run: {error:?}"),
        }
    }
}
