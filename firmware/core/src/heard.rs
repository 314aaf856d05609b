//! Which knocks of a sequence ever arrive, for who wants to know why nobody gets in.
//!
//! A knock that a router, a carrier or another firewall swallows on the way leaves no trace here. But the others
//! of its sequence do, and that tells them apart: what never comes is filtered, what comes and leads nowhere is too
//! late, out of order, or from changing addresses. Two octets and one for each sequence; nothing is decided by it.

use crate::limits::{SEQUENCES_MAX, STEPS_MAX};
use crate::matcher::Progress;
use crate::rule::{Place, SequenceId};

/// How far anybody came in one sequence since the rules were put in force.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// Knocks that came from anybody, in turn or not: bit 0 is the first.
    pub heard: u16,
    /// Most knocks that one source has shown in turn.
    pub furthest: u8,
}

const _: () = assert!(STEPS_MAX <= u16::BITS as usize);

/// How far anybody came in each sequence.
#[derive(Clone, Debug)]
pub(crate) struct HeardTable {
    sequences: [Heard; SEQUENCES_MAX],
}

impl HeardTable {
    /// Nobody came anywhere.
    pub(crate) const fn new() -> Self {
        Self { sequences: [Heard { heard: 0, furthest: 0 }; SEQUENCES_MAX] }
    }

    /// What a knock did that stands at `place`, in a sequence of `knocks` knocks.
    pub(crate) fn note(&mut self, place: Place, progress: Progress, knocks: usize) {
        let Some(known) = self.sequences.get_mut(usize::from(place.sequence.0)) else { return };
        let done = match progress {
            // The sequence does not count this packet: to its client it never came.
            Progress::NotMeant => return,
            Progress::Advanced(done) => done,
            Progress::Completed | Progress::Tainted | Progress::Repeated => {
                u8::try_from(knocks).unwrap_or(u8::MAX)
            }
            Progress::OutOfTurn | Progress::TableFull => 0,
        };
        known.heard |= 1_u16.checked_shl(place.step.into()).unwrap_or(0);
        known.furthest = known.furthest.max(done);
    }

    /// Other rules are in force.
    pub(crate) fn forget(&mut self) {
        *self = Self::new();
    }

    /// How far anybody came.
    pub(crate) fn of(&self, sequence: SequenceId) -> Heard {
        self.sequences.get(usize::from(sequence.0)).copied().unwrap_or_default()
    }
}
