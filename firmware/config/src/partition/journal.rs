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
//! 272  committed    6 x u64 le: generation last committed to each slot, 0 is none; all ones: what
//!                   stands there could not be read when something newer was committed, and is void
//! 320  trial        u64 le   generation on trial that nobody confirmed or took back; 0 is none
//! 328  zero
//! 472  sealed       u16 le   1 when a seal follows, 0 when not
//! 474  zero         2
//! 476  seal         32       of octets 0 to 475
//! 508  CRC-32C      u32 le   of octets 0 to 507
//! ```

use postern_core::port::SECTOR_BYTES;

use super::header::{self, HeaderError, check_seal, get, put};
use super::seal::{self, SEAL_BYTES, Sealed};
use super::{JOURNAL_RECORDS, SLOTS};

const MAGIC: [u8; 8] = *b"PSTRNJRN";
const LAYOUT: u16 = 1;
const CONFIRMED_AT: usize = 32;
const CONFIRMED_BYTES: usize = 40;
const COMMITTED_AT: usize = CONFIRMED_AT + SLOTS * CONFIRMED_BYTES;
const TRIAL_AT: usize = 320;
const SEALED_AT: usize = 472;
const SEAL_AT: usize = 476;

/// Stands for the generation committed to a slot of which nothing counts, whatever its generation.
pub const VOID: u64 = u64::MAX;

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
    /// Generation last committed to each slot; 0 is none, [`VOID`] that nothing there counts.
    pub committed: [u64; SLOTS],
    /// Generation on trial: a machine that starts and finds one here lost it. 0 is none.
    pub trial: u64,
}

/// Something to keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// A generation was written to a slot.
    Committed {
        /// Which slot.
        slot: usize,
        /// Which generation.
        generation: u64,
        /// The floor it raises the device to.
        floor: u32,
    },
    /// A generation was written to a slot, on trial.
    Tried {
        /// Which slot.
        slot: usize,
        /// Which generation.
        generation: u64,
    },
    /// The trial was taken back while the machine ran.
    TakenBack,
    /// The trial with this generation and digest is confirmed, and the device raised to its floor.
    Confirmed(Confirmation, u32),
    /// Slots below this floor do not count any more; never goes down.
    Floor(u32),
    /// Every slot was erased: nothing below this generation counts any more, wherever it lies.
    Wiped {
        /// The first generation that may come.
        below: u64,
    },
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
            Mark::Committed { slot, generation, floor } => {
                if let Some(place) = next.committed.get_mut(slot) {
                    *place = generation;
                }
                next.floor = floor.max(self.floor);
                next.trial = 0;
            }
            Mark::Tried { slot, generation } => {
                if let Some(place) = next.committed.get_mut(slot) {
                    *place = generation;
                }
                next.trial = generation;
            }
            Mark::TakenBack => next.trial = 0,
            Mark::Confirmed(confirmation, floor) => {
                if self.is_confirmed(confirmation.generation, &confirmation.digest) {
                    return None;
                }
                next.confirmed.rotate_right(1);
                if let Some(first) = next.confirmed.first_mut() {
                    *first = confirmation;
                }
                next.floor = floor.max(self.floor);
                next.trial = 0;
            }
            Mark::Floor(floor) => next.floor = floor.max(self.floor),
            Mark::Wiped { below } => {
                next.confirmed = [Confirmation::default(); SLOTS];
                next.committed = [below; SLOTS];
                next.trial = 0;
            }
            Mark::Booted => {
                next.boots = self.boots.saturating_add(1);
                next.unclean_boots = self.unclean_boots.saturating_add(1);
                // A trial does not outlive a start.
                next.trial = 0;
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

    /// The number a sector claims to have; `None` when it does not look like a record.
    pub(super) fn claimed_sequence(sector: &[u8; SECTOR_BYTES]) -> Option<u64> {
        sector.starts_with(&MAGIC).then(|| u64::from_le_bytes(get(sector, 16)))
    }

    /// The sector this record stands in, in each copy.
    pub fn record_index(&self) -> usize {
        usize::try_from(self.sequence % JOURNAL_RECORDS as u64).unwrap_or(0)
    }

    /// The sector, with the seal of the device with this key.
    pub fn encode(&self, key: Option<&[u8; 32]>) -> [u8; SECTOR_BYTES] {
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
        for (index, generation) in self.committed.iter().enumerate() {
            put(&mut sector, COMMITTED_AT + index * 8, &generation.to_le_bytes());
        }
        put(&mut sector, TRIAL_AT, &self.trial.to_le_bytes());
        if let Some(key) = key {
            put(&mut sector, SEALED_AT, &1_u16.to_le_bytes());
            let seal = seal::seal(key, Sealed::Marks, &[sector.get(..SEAL_AT).unwrap_or_default()]);
            put(&mut sector, SEAL_AT, &seal);
        }
        header::seal(&mut sector);
        sector
    }

    /// Whether the sector, which was read with success, carries the seal of the device with this
    /// key, or none when the device has no key yet.
    pub fn is_sealed_by(sector: &[u8; SECTOR_BYTES], key: Option<&[u8; 32]>) -> bool {
        let covered = sector.get(..SEAL_AT).unwrap_or_default();
        let found = get::<SEAL_BYTES>(sector, SEAL_AT);
        match (key, u16::from_le_bytes(get(sector, SEALED_AT))) {
            (None, 0) => found == [0; SEAL_BYTES],
            (Some(key), 1) => seal::same(&found, &seal::seal(key, Sealed::Marks, &[covered])),
            _ => false,
        }
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
            committed: [0; SLOTS],
            trial: u64::from_le_bytes(get(sector, TRIAL_AT)),
        };
        for (index, one) in state.confirmed.iter_mut().enumerate() {
            let at = CONFIRMED_AT + index * CONFIRMED_BYTES;
            *one =
                Confirmation { generation: u64::from_le_bytes(get(sector, at)), digest: get(sector, at + 8) };
        }
        for (index, generation) in state.committed.iter_mut().enumerate() {
            *generation = u64::from_le_bytes(get(sector, COMMITTED_AT + index * 8));
        }
        // Whatever this version does not know must be zero; the seal is looked at by who has the key.
        let same = state.encode(None).get(..SEALED_AT) == sector.get(..SEALED_AT);
        if state.sequence == 0 || !same || get::<2>(sector, SEALED_AT + 2) != [0; 2] {
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
        let confirmed = raised.with(Mark::Confirmed(CONFIRMATION, 0)).unwrap();
        assert!(confirmed.is_confirmed(9, &[9; 32]));
        assert!(!confirmed.is_confirmed(9, &[8; 32]));
        assert!(!confirmed.is_confirmed(0, &[0; 32]), "an empty place confirms nothing");
        assert_eq!(confirmed.with(Mark::Confirmed(CONFIRMATION, 0)), None);
        assert_eq!(confirmed.floor, 5);
    }

    #[test]
    fn a_trial_is_noted_until_it_is_settled() {
        let tried = JournalState::default().with(Mark::Tried { slot: 1, generation: 4 }).unwrap();
        assert_eq!((tried.trial, tried.committed[1]), (4, 4));
        assert_eq!(tried.with(Mark::Healthy), None, "it settles nothing");
        let confirmed = Confirmation { generation: 4, digest: [4; 32] };
        let settled = [
            Mark::TakenBack,
            Mark::Booted,
            Mark::Confirmed(confirmed, 0),
            Mark::Wiped { below: 5 },
            Mark::Committed { slot: 2, generation: 5, floor: 0 },
        ];
        for mark in settled {
            assert_eq!(tried.with(mark).unwrap().trial, 0, "{mark:?}");
        }
        assert_eq!(JournalState::default().with(Mark::TakenBack), None, "nothing to write");
    }

    #[test]
    fn older_confirmations_are_kept_as_long_as_there_are_slots() {
        let mut state = JournalState::default();
        for generation in 1..=SLOTS as u64 {
            state = state.with(Mark::Confirmed(Confirmation { generation, digest: [1; 32] }, 0)).unwrap();
        }
        assert!((1..=SLOTS as u64).all(|generation| state.is_confirmed(generation, &[1; 32])));
    }

    #[test]
    fn round_trip_and_every_bit_flip() {
        let state =
            JournalState { sequence: 77, floor: 1, boots: 2, unclean_boots: 3, ..JournalState::default() };
        let state = state.with(Mark::Confirmed(CONFIRMATION, 0)).unwrap();
        let state = state.with(Mark::Committed { slot: 5, generation: 9, floor: 2 }).unwrap();
        assert_eq!((state.committed, state.floor), ([0, 0, 0, 0, 0, 9], 2));
        let state = state.with(Mark::Tried { slot: 4, generation: 10 }).unwrap();
        for key in [None, Some(&[7; 32])] {
            let sector = state.encode(key);
            assert_eq!(JournalState::decode(&sector), Ok(state));
            assert!(JournalState::is_sealed_by(&sector, key));
            assert!(!JournalState::is_sealed_by(&sector, Some(&[8; 32])));
            assert_eq!(JournalState::is_sealed_by(&sector, None), key.is_none());
            for bit in 0..SECTOR_BYTES * 8 {
                let mut flipped = sector;
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert!(JournalState::decode(&flipped).is_err(), "bit {bit}");
            }
        }
    }
}
