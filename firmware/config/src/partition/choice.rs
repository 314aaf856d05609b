//! Which slot is in force: a pure function of what the slots and the journal say.
//!
//! | slot | trial | confirmed by the journal | at or above the floor | counts |
//! | --- | --- | --- | --- | --- |
//! | blank, damaged, or its payload does not fit | | | | no |
//! | not sealed by this device for this slot, or written back | | | | no |
//! | valid | no | | no | no |
//! | valid | no | | yes | yes |
//! | valid | yes | no | | no: the trial ended with the reboot |
//! | valid | yes | yes | no | no |
//! | valid | yes | yes | yes | yes |
//!
//! Of those that count, the highest generation is in force. None counts: the factory profile,
//! which opens nothing.

use super::{Header, HeaderError, JournalState, SLOTS};

/// What was found in a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotState {
    /// The header is unusable.
    Unusable(HeaderError),
    /// The medium would not read it.
    Unreadable,
    /// The header is good, but the payload is not the one it was written for.
    Torn,
    /// It is not sealed, and this device seals what it writes.
    NotSealed,
    /// The seal is not this device's for this slot: it comes from elsewhere.
    BadSeal,
    /// Older than what was last committed to this slot: it was written back. Or it could not be read when
    /// something newer was committed.
    Replayed {
        /// Its generation, which is not used again.
        generation: u64,
    },
    /// Header and payload fit.
    Valid(Header),
}

impl SlotState {
    /// The header, when the slot is valid.
    pub const fn header(&self) -> Option<&Header> {
        match self {
            SlotState::Valid(header) => Some(header),
            _ => None,
        }
    }

    /// Why the slot does not count although something is there, in short lower-case words; `None`
    /// when it is valid or was never written.
    pub const fn refusal(&self) -> Option<&'static str> {
        match self {
            SlotState::Valid(_) | SlotState::Unusable(HeaderError::Blank) => None,
            SlotState::Unusable(HeaderError::Damaged) => Some("damaged"),
            SlotState::Unusable(HeaderError::OtherLayout) => Some("other-layout"),
            SlotState::Unusable(HeaderError::Impossible) => Some("impossible"),
            SlotState::Unreadable => Some("unreadable"),
            SlotState::Torn => Some("torn"),
            SlotState::NotSealed => Some("not-sealed"),
            SlotState::BadSeal => Some("bad-seal"),
            SlotState::Replayed { .. } => Some("replayed"),
        }
    }
}

/// What is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// This slot.
    Slot(usize),
    /// No slot counts: the factory profile.
    Factory,
}

/// Chooses.
pub fn choose(slots: &[SlotState; SLOTS], journal: &JournalState) -> Choice {
    let candidates = slots.iter().enumerate().filter_map(|(index, slot)| {
        let header = slot.header()?;
        counts(header, journal).then_some((header.generation, index))
    });
    candidates.max().map_or(Choice::Factory, |(_, index)| Choice::Slot(index))
}

fn counts(header: &Header, journal: &JournalState) -> bool {
    let confirmed = journal.is_confirmed(header.generation, &header.digest);
    (!header.trial || confirmed) && header.floor >= journal.floor
}

#[cfg(test)]
mod tests {
    use super::super::journal::Confirmation;
    use super::*;

    fn slot(generation: u64, trial: bool, floor: u32) -> SlotState {
        let digest = [generation.to_le_bytes()[0]; 32];
        SlotState::Valid(Header { generation, trial, schema: 1, floor, payload_bytes: 1, digest, seal: None })
    }

    fn journal(confirmed: u64, floor: u32) -> JournalState {
        let mut state = JournalState { floor, ..JournalState::default() };
        state.confirmed[2] = Confirmation { generation: confirmed, digest: [confirmed.to_le_bytes()[0]; 32] };
        state
    }

    fn check(slots: &[SlotState], journal: JournalState, expected: Choice) {
        let mut all = [SlotState::Unusable(HeaderError::Blank); SLOTS];
        all[..slots.len()].copy_from_slice(slots);
        assert_eq!(choose(&all, &journal), expected, "{slots:?} {journal:?}");
        // Where a slot lies does not matter.
        all.rotate_right(1);
        let moved = if let Choice::Slot(index) = expected { Choice::Slot(index + 1) } else { expected };
        assert_eq!(choose(&all, &journal), moved);
    }

    #[test]
    fn the_truth_table() {
        let bad = [
            SlotState::Unusable(HeaderError::Damaged),
            SlotState::Unreadable,
            SlotState::Torn,
            SlotState::NotSealed,
            SlotState::BadSeal,
        ];
        check(&bad, journal(0, 0), Choice::Factory);
        check(&[slot(1, false, 0)], journal(0, 0), Choice::Slot(0));
        check(&[slot(1, false, 0)], journal(0, 1), Choice::Factory);
        check(&[slot(1, true, 0)], journal(0, 0), Choice::Factory);
        check(&[slot(1, true, 0)], journal(1, 0), Choice::Slot(0));
        check(&[slot(1, true, 0)], journal(1, 1), Choice::Factory);
        check(&[slot(1, false, 0), slot(2, true, 0)], journal(0, 0), Choice::Slot(0));
        check(&[slot(1, false, 0), slot(2, true, 0)], journal(2, 0), Choice::Slot(1));
        check(&[slot(3, false, 0), slot(2, true, 0)], journal(2, 0), Choice::Slot(0));
        check(&[slot(3, false, 0), SlotState::Torn], journal(0, 0), Choice::Slot(0));
    }

    #[test]
    fn a_confirmation_is_bound_to_the_content() {
        let mut journal = journal(2, 0);
        journal.confirmed[2].digest = [0xee; 32];
        check(&[slot(1, false, 0), slot(2, true, 0)], journal, Choice::Slot(0));
    }
}
