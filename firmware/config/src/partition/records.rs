//! Finding the newest record of marks and of leases.
//!
//! Check sums and seals cost time at every start. So the numbers of all records are read first, as
//! they stand there, and only the few that claim to be the newest are looked at closely; when none
//! of them is good, the next few are.

use heapless::Vec;
use postern_core::port::{Partition, SECTOR_BYTES};

use super::leases::{LEASE_RECORD_BYTES, Leases};
use super::{
    COPIES, Identity, JOURNAL_RECORDS, JournalState, LEASE_RECORDS, identity_offset, lease_offset,
    record_offset,
};

/// Records looked at closely before the numbers are read again.
const CANDIDATES: usize = 4;

/// Who the device is; the first copy when both can be read.
pub(super) fn identity(partition: &mut impl Partition) -> Option<Identity> {
    (0..COPIES).find_map(|copy| {
        let mut sector = [0; SECTOR_BYTES];
        partition.read(identity_offset(copy), &mut sector).ok()?;
        Identity::decode(&sector).ok()
    })
}

/// The newest record of marks that the device with this key wrote; the empty state when there is
/// none.
pub(super) fn marks<P: Partition>(partition: &mut P, key: Option<&[u8; 32]>) -> JournalState {
    let claim = |partition: &mut P, copy, index| {
        let mut sector = [0; SECTOR_BYTES];
        partition.read(record_offset(copy, index), &mut sector).ok()?;
        JournalState::claimed_sequence(&sector)
    };
    let open = |partition: &mut P, copy, index| {
        let mut sector = [0; SECTOR_BYTES];
        partition.read(record_offset(copy, index), &mut sector).ok()?;
        let state = JournalState::decode(&sector).ok()?;
        // A record in a place that is not its own was misdirected.
        let own = state.record_index() == index && JournalState::is_sealed_by(&sector, key);
        own.then_some(state)
    };
    newest(partition, JOURNAL_RECORDS, claim, open).unwrap_or_default()
}

/// The newest record of leases that the device with this key wrote; none when there is none.
pub(super) fn leases<P: Partition>(partition: &mut P, key: Option<&[u8; 32]>) -> Leases {
    let claim = |partition: &mut P, copy, index| {
        let mut sector = [0; SECTOR_BYTES];
        partition.read(lease_offset(copy, index), &mut sector).ok()?;
        Leases::claimed_sequence(&sector)
    };
    let open = |partition: &mut P, copy, index| {
        let mut record = [0; LEASE_RECORD_BYTES];
        partition.read(lease_offset(copy, index), &mut record).ok()?;
        let leases = Leases::decode(&record, key).ok()?;
        (leases.record_index() == index).then_some(leases)
    };
    newest(partition, LEASE_RECORDS, claim, open).unwrap_or_default()
}

/// A record that claims to have this number.
#[derive(Clone, Copy)]
struct Claim {
    sequence: u64,
    copy: usize,
    index: usize,
}

fn newest<P, T>(
    partition: &mut P,
    records: usize,
    claim: impl Fn(&mut P, usize, usize) -> Option<u64>,
    open: impl Fn(&mut P, usize, usize) -> Option<T>,
) -> Option<T> {
    let mut below = u64::MAX;
    loop {
        let mut claims: Vec<Claim, CANDIDATES> = Vec::new();
        for copy in 0..COPIES {
            for index in 0..records {
                let Some(sequence) = claim(partition, copy, index) else { continue };
                if sequence < below {
                    keep_newest(&mut claims, Claim { sequence, copy, index });
                }
            }
        }
        let good = claims.iter().find_map(|claim| open(partition, claim.copy, claim.index));
        if good.is_some() || !claims.is_full() {
            return good;
        }
        // Those with the same number as the last were perhaps not all among them: they come again.
        let last = claims.last().map_or(0, |claim| claim.sequence);
        let first = claims.first().map_or(0, |claim| claim.sequence);
        below = if first == last { last } else { last + 1 };
    }
}

/// Keeps the newest, newest first.
fn keep_newest(claims: &mut Vec<Claim, CANDIDATES>, one: Claim) {
    let place = claims.iter().position(|claim| claim.sequence < one.sequence).unwrap_or(claims.len());
    if claims.is_full() {
        if place == CANDIDATES {
            return;
        }
        let _ = claims.pop();
    }
    let _ = claims.insert(place, one);
}
