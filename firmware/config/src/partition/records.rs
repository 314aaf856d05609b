//! Finding the newest record of marks and of leases.
//!
//! Check sums and seals cost time at every start. So the numbers of all records are read first, as
//! they stand there, and only the few that claim to be the newest are looked at closely; when none
//! of them is good, the next few are.

use heapless::Vec;
use postern_core::port::{Partition, PartitionError, SECTOR_BYTES};

use super::leases::{LEASE_RECORD_BYTES, Leases};
use super::{
    COPIES, Identity, JOURNAL_RECORDS, JournalState, LEASE_RECORDS, identity_offset, lease_offset,
    record_offset,
};

/// Records looked at closely before the numbers are read again.
const CANDIDATES: usize = 4;

/// What stands where the identity of the device belongs.
pub(super) enum FoundIdentity {
    /// One; the first copy when both can be read.
    Known(Identity),
    /// None that counts: the device has not started yet.
    Absent,
    /// None in what could be read, and not all of it could.
    Unreadable,
}

/// Who the device is.
pub(super) fn identity(partition: &mut impl Partition) -> FoundIdentity {
    let mut found = FoundIdentity::Absent;
    for copy in 0..COPIES {
        let mut sector = [0; SECTOR_BYTES];
        match partition.read(identity_offset(copy), &mut sector) {
            Ok(()) => {
                if let Ok(identity) = Identity::decode(&sector) {
                    return FoundIdentity::Known(identity);
                }
            }
            Err(_) => found = FoundIdentity::Unreadable,
        }
    }
    found
}

/// What was found of a kind of records.
pub(super) struct Found<T> {
    /// The newest; the empty state when there is none.
    pub(super) newest: T,
    /// Whether everything was looked at: else a newer one may stand where nothing could be read.
    pub(super) is_whole: bool,
    /// Where nothing could be read: a newer record may stand there, from a write that failed.
    pub(super) hidden: Places,
}

/// Places of records: a bit for each, by copy.
pub(super) type Places = [u128; COPIES];

const _: () = assert!(JOURNAL_RECORDS <= 128 && LEASE_RECORDS <= 128);

/// Whether a place is among these.
pub(super) fn is_among(places: &Places, copy: usize, index: usize) -> bool {
    places.get(copy).is_some_and(|places| places & bit(index) != 0)
}

/// Adds a place to these.
fn add_place(places: &mut Places, copy: usize, index: usize) {
    if let Some(places) = places.get_mut(copy) {
        *places |= bit(index);
    }
}

fn bit(index: usize) -> u128 {
    u32::try_from(index).ok().and_then(|index| 1_u128.checked_shl(index)).unwrap_or(0)
}

/// The newest record of marks that the device with this key wrote.
pub(super) fn marks<P: Partition>(partition: &mut P, key: Option<&[u8; 32]>) -> Found<JournalState> {
    let open = |partition: &mut P, copy, index| {
        let mut sector = [0; SECTOR_BYTES];
        partition.read(record_offset(copy, index), &mut sector)?;
        let Ok(state) = JournalState::decode(&sector) else { return Ok(None) };
        // A record in a place that is not its own was misdirected.
        let own = state.record_index() == index && JournalState::is_sealed_by(&sector, key);
        Ok(own.then_some(state))
    };
    newest(partition, claims_of_marks, open)
}

/// Marks read at once: a start reads 30 times instead of 240.
const MARKS_AT_ONCE: usize = 8;
const _: () = assert!(JOURNAL_RECORDS % MARKS_AT_ONCE == 0);

fn claims_of_marks<P: Partition>(partition: &mut P, copy: usize, claims: &mut Claims) {
    let mut sectors = [0; MARKS_AT_ONCE * SECTOR_BYTES];
    for first in (0..JOURNAL_RECORDS).step_by(MARKS_AT_ONCE) {
        if partition.read(record_offset(copy, first), &mut sectors).is_ok() {
            let sectors = sectors.chunks_exact(SECTOR_BYTES).filter_map(|sector| sector.first_chunk());
            for (index, sector) in (first..).zip(sectors) {
                claims.add(JournalState::claimed_sequence(sector), copy, index);
            }
            continue;
        }
        // A sector that cannot be read must not hide those beside it.
        for index in first..first + MARKS_AT_ONCE {
            let mut sector = [0; SECTOR_BYTES];
            match partition.read(record_offset(copy, index), &mut sector) {
                Ok(()) => claims.add(JournalState::claimed_sequence(&sector), copy, index),
                Err(_) => add_place(&mut claims.hidden, copy, index),
            }
        }
    }
}

/// The newest record of leases that the device with this key wrote.
pub(super) fn leases<P: Partition>(partition: &mut P, key: Option<&[u8; 32]>) -> Found<Leases> {
    let claims = |partition: &mut P, copy, claims: &mut Claims| {
        for index in 0..LEASE_RECORDS {
            let mut sector = [0; SECTOR_BYTES];
            match partition.read(lease_offset(copy, index), &mut sector) {
                Ok(()) => claims.add(Leases::claimed_sequence(&sector), copy, index),
                Err(_) => add_place(&mut claims.hidden, copy, index),
            }
        }
    };
    let open = |partition: &mut P, copy, index| {
        let mut record = [0; LEASE_RECORD_BYTES];
        partition.read(lease_offset(copy, index), &mut record)?;
        let Ok(leases) = Leases::decode(&record, key) else { return Ok(None) };
        Ok((leases.record_index() == index).then_some(leases))
    };
    newest(partition, claims, open)
}

/// A record that claims to have this number.
#[derive(Clone, Copy)]
struct Claim {
    sequence: u64,
    copy: usize,
    index: usize,
}

/// The newest claims, newest first.
struct Claims {
    newest: Vec<Claim, CANDIDATES>,
    /// Only numbers below this count.
    below: u64,
    /// Where nothing could be read, in any round so far.
    hidden: Places,
}

impl Claims {
    /// What stands at `index` of a copy and could be read; `sequence` is `None` when it is no record.
    fn add(&mut self, sequence: Option<u64>, copy: usize, index: usize) {
        let Some(sequence) = sequence.filter(|sequence| *sequence < self.below) else { return };
        let newest = &mut self.newest;
        let place = newest.iter().position(|claim| claim.sequence < sequence).unwrap_or(newest.len());
        if newest.is_full() {
            if place == CANDIDATES {
                return;
            }
            let _ = newest.pop();
        }
        let _ = newest.insert(place, Claim { sequence, copy, index });
    }
}

fn newest<P, T: Default>(
    partition: &mut P,
    read_claims: impl Fn(&mut P, usize, &mut Claims),
    open: impl Fn(&mut P, usize, usize) -> Result<Option<T>, PartitionError>,
) -> Found<T> {
    let mut below = u64::MAX;
    // The highest number of a record that could not be opened.
    let mut unread = 0;
    // Of every round: a later one asks for older records only.
    let mut hidden = [0; COPIES];
    loop {
        let mut claims = Claims { newest: Vec::new(), below, hidden };
        for copy in 0..COPIES {
            read_claims(partition, copy, &mut claims);
        }
        hidden = claims.hidden;
        let every_place = hidden.iter().fold(u128::MAX, |both, places| both & places) == 0;
        let claims = claims.newest;
        for claim in &claims {
            match open(partition, claim.copy, claim.index) {
                Ok(Some(newest)) => {
                    return Found { newest, is_whole: every_place && unread <= claim.sequence, hidden };
                }
                Ok(None) => {}
                Err(_) => unread = unread.max(claim.sequence),
            }
        }
        if !claims.is_full() {
            return Found { newest: T::default(), is_whole: every_place && unread == 0, hidden };
        }
        // Those with the same number as the last were perhaps not all among them: they come again.
        let last = claims.last().map_or(0, |claim| claim.sequence);
        let first = claims.first().map_or(0, |claim| claim.sequence);
        below = if first == last { last } else { last + 1 };
    }
}
