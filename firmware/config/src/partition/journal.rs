//! The journal: one small record, written anew with every mark.
//!
//! A record holds the *whole* state of the journal, so that the newest readable one is all there
//! is to know and nothing is ever compacted. Records go round through the sectors of both copies;
//! a torn or lost one leaves the record before it.
//!
//! ```text
//!   0  magic "PSTRNJRN"
//!   8  layout       u16 le   1
//!  10  zero         u16
//!  12  floor        u32 le   security floor
//!  16  sequence     u64 le   rises with every record, never 0
//!  24  boots        u32 le   starts since the store was formatted
//!  28  unclean      u32 le   starts in a row that were not followed by a healthy period
//!  32  confirmed    6 x (generation u64 le, digest 32): confirmed trials, newest first
//! 272  zero
//! 508  CRC-32C      u32 le   of octets 0 to 507
//! ```

use postern_core::port::SECTOR_BYTES;

use super::header::{HeaderError, check_seal, get, put, seal};
use super::{JOURNAL_RECORDS, SLOTS};

const MAGIC: [u8; 8] = *b"PSTRNJRN";
const LAYOUT: u16 = 1;
const CONFIRMED_AT: usize = 32;
const CONFIRMED_BYTES: usize = 40;

/// A trial that was confirmed: bound to its content, not only to its number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Confirmation {
    /// Generation of the trial; 0 is none.
    pub generation: u64,
    /// SHA-256 of its payload.
    pub digest: [u8; 32],
}

/// What the journal says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JournalState {
    /// Number of the record this was read from; 0 when there was none.
    pub sequence: u64,
    /// Slots with a lower floor do not count.
    pub floor: u32,
    /// Starts since the store was formatted.
    pub boots: u32,
    /// Starts in a row that were not followed by a healthy period.
    pub unclean_boots: u32,
    /// Confirmed trials, newest first.
    pub confirmed: [Confirmation; SLOTS],
}

/// Something to keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// The trial with this generation and digest is confirmed.
    Confirmed(Confirmation),
    /// Slots below this floor do not count any more; never goes down.
    Floor(u32),
    /// The machine started.
    Booted,
    /// The machine has been healthy for a while.
    Healthy,
}

impl JournalState {
    /// The state after `mark`; `None` when that changes nothing, so nothing need be written.
    pub fn with(&self, mark: Mark) -> Option<JournalState> {
        let mut next = *self;
        match mark {
            Mark::Confirmed(confirmation) => {
                if self.is_confirmed(confirmation.generation, &confirmation.digest) {
                    return None;
                }
                next.confirmed.rotate_right(1);
                if let Some(first) = next.confirmed.first_mut() {
                    *first = confirmation;
                }
            }
            Mark::Floor(floor) => next.floor = floor.max(self.floor),
            Mark::Booted => {
                next.boots = self.boots.saturating_add(1);
                next.unclean_boots = self.unclean_boots.saturating_add(1);
            }
            Mark::Healthy => next.unclean_boots = 0,
        }
        if next == *self {
            return None;
        }
        next.sequence = self.sequence.saturating_add(1);
        Some(next)
    }

    /// Whether this very content was confirmed.
    pub fn is_confirmed(&self, generation: u64, digest: &[u8; 32]) -> bool {
        generation != 0
            && self.confirmed.iter().any(|one| one.generation == generation && one.digest == *digest)
    }

    /// The sector this record stands in, in each copy.
    pub fn record_index(&self) -> usize {
        usize::try_from(self.sequence % JOURNAL_RECORDS as u64).unwrap_or(0)
    }

    /// The sector.
    pub fn encode(&self) -> [u8; SECTOR_BYTES] {
        let mut sector = [0; SECTOR_BYTES];
        let parts: [(usize, &[u8]); 6] = [
            (0, &MAGIC),
            (8, &LAYOUT.to_le_bytes()),
            (12, &self.floor.to_le_bytes()),
            (16, &self.sequence.to_le_bytes()),
            (24, &self.boots.to_le_bytes()),
            (28, &self.unclean_boots.to_le_bytes()),
        ];
        for (at, part) in parts {
            put(&mut sector, at, part);
        }
        for (index, one) in self.confirmed.iter().enumerate() {
            let at = CONFIRMED_AT + index * CONFIRMED_BYTES;
            put(&mut sector, at, &one.generation.to_le_bytes());
            put(&mut sector, at + 8, &one.digest);
        }
        seal(&mut sector);
        sector
    }

    /// Reads a sector.
    ///
    /// # Errors
    /// The first reason why it is not a record.
    pub fn decode(sector: &[u8; SECTOR_BYTES]) -> Result<Self, HeaderError> {
        check_seal(sector, &MAGIC)?;
        if u16::from_le_bytes(get(sector, 8)) != LAYOUT {
            return Err(HeaderError::OtherLayout);
        }
        let mut state = Self {
            sequence: u64::from_le_bytes(get(sector, 16)),
            floor: u32::from_le_bytes(get(sector, 12)),
            boots: u32::from_le_bytes(get(sector, 24)),
            unclean_boots: u32::from_le_bytes(get(sector, 28)),
            confirmed: [Confirmation::default(); SLOTS],
        };
        for (index, one) in state.confirmed.iter_mut().enumerate() {
            let at = CONFIRMED_AT + index * CONFIRMED_BYTES;
            *one =
                Confirmation { generation: u64::from_le_bytes(get(sector, at)), digest: get(sector, at + 8) };
        }
        if state.sequence == 0 || state.encode() != *sector {
            return Err(HeaderError::Impossible);
        }
        Ok(state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIRMATION: Confirmation = Confirmation { generation: 9, digest: [9; 32] };

    #[test]
    fn marks_change_what_they_say_and_nothing_else() {
        let state = JournalState::default();
        let booted = state.with(Mark::Booted).unwrap();
        assert_eq!((booted.sequence, booted.boots, booted.unclean_boots), (1, 1, 1));
        let healthy = booted.with(Mark::Healthy).unwrap();
        assert_eq!((healthy.sequence, healthy.boots, healthy.unclean_boots), (2, 1, 0));
        assert_eq!(healthy.with(Mark::Healthy), None, "nothing to write");
        let raised = healthy.with(Mark::Floor(5)).unwrap();
        assert_eq!(raised.with(Mark::Floor(3)), None, "a floor never goes down");
        let confirmed = raised.with(Mark::Confirmed(CONFIRMATION)).unwrap();
        assert!(confirmed.is_confirmed(9, &[9; 32]));
        assert!(!confirmed.is_confirmed(9, &[8; 32]));
        assert!(!confirmed.is_confirmed(0, &[0; 32]), "an empty place confirms nothing");
        assert_eq!(confirmed.with(Mark::Confirmed(CONFIRMATION)), None);
        assert_eq!(confirmed.floor, 5);
    }

    #[test]
    fn older_confirmations_are_kept_as_long_as_there_are_slots() {
        let mut state = JournalState::default();
        for generation in 1..=SLOTS as u64 {
            state = state.with(Mark::Confirmed(Confirmation { generation, digest: [1; 32] })).unwrap();
        }
        assert!((1..=SLOTS as u64).all(|generation| state.is_confirmed(generation, &[1; 32])));
    }

    #[test]
    fn round_trip_and_every_bit_flip() {
        let state =
            JournalState { sequence: 77, floor: 1, boots: 2, unclean_boots: 3, ..JournalState::default() };
        let state = state.with(Mark::Confirmed(CONFIRMATION)).unwrap();
        let sector = state.encode();
        assert_eq!(JournalState::decode(&sector), Ok(state));
        for bit in 0..SECTOR_BYTES * 8 {
            let mut flipped = sector;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(JournalState::decode(&flipped).is_err(), "bit {bit}");
        }
    }
}
