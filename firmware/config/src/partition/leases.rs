//! Counters leased ahead: up to where each key's may have been used.
//!
//! Whoever uses a counter up to N first makes a lease up to N durable; after a power cut everything
//! up to the lease counts as used. So a cut can skip numbers and never repeat one.
//!
//! A record holds all leases; records go round through both copies like those of the marks.
//!
//! ```text
//!    0  magic "PSTRNLSE"
//!    8  layout     u16 le   1
//!   10  leases     u16 le   how many follow
//!   12  sealed     u16 le   1 when a seal follows, 0 when not
//!   14  zero       2
//!   16  sequence   u64 le   rises with every record, never 0
//!   24  leases     92 x (fingerprint u64 le, ceiling u64 le), used longest ago first
//! 1496  zero
//! 1500  seal       32       of octets 0 to 1499
//! 1532  CRC-32C    u32 le   of octets 0 to 1531
//! ```

use heapless::Vec;
use postern_core::port::SECTOR_BYTES;

use super::header::HeaderError;
use super::seal::{self, SEAL_BYTES, Sealed};
use super::{LEASE_RECORDS, LEASE_SECTORS, check_sum};

/// Leases kept: of every key there may be, and of some that were taken away, so that a key that
/// comes back knows what it used.
pub const LEASES_MAX: usize = 92;

/// Octets of a record.
pub const LEASE_RECORD_BYTES: usize = LEASE_SECTORS * SECTOR_BYTES;

const MAGIC: [u8; 8] = *b"PSTRNLSE";
const LAYOUT: u16 = 1;
const LEASES_AT: usize = 24;
const SEAL_AT: usize = 1500;
const CRC_AT: usize = LEASE_RECORD_BYTES - 4;

const _: () = assert!(LEASES_AT + LEASES_MAX * 16 <= SEAL_AT);
const _: () = assert!(SEAL_AT + SEAL_BYTES == CRC_AT);
const _: () = assert!(LEASES_MAX > postern_core::limits::KEYS_MAX + postern_core::limits::ROWS_MAX);

/// A record as it stands on the medium.
pub type LeaseRecord = [u8; LEASE_RECORD_BYTES];

/// The lease of one counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Names the key: the same key always has the same.
    pub fingerprint: u64,
    /// The highest number that may have been used.
    pub ceiling: u64,
}

/// Why a lease could not be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseError {
    /// Every place is taken by a key that is in use.
    Full,
    /// The medium did not do as it was told: nothing above the lease before may be used.
    Medium(super::CommitError),
}

impl From<super::CommitError> for LeaseError {
    fn from(error: super::CommitError) -> Self {
        LeaseError::Medium(error)
    }
}

/// All leases.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leases {
    /// Number of the record this was read from; 0 when there was none.
    pub sequence: u64,
    /// Used longest ago first.
    leases: Vec<Lease, LEASES_MAX>,
}

impl Leases {
    /// The highest number of this key that may have been used.
    pub fn ceiling(&self, fingerprint: u64) -> Option<u64> {
        self.leases.iter().find(|lease| lease.fingerprint == fingerprint).map(|lease| lease.ceiling)
    }

    /// Every lease, used longest ago first.
    pub fn iter(&self) -> impl Iterator<Item = &Lease> {
        self.leases.iter()
    }

    /// These leases with `lease` in the newest place. Keys that are not `live` make room, longest
    /// unused first. `None` changes nothing.
    ///
    /// # Errors
    /// [`LeaseError::Full`].
    pub fn with(&self, lease: Lease, live: &[u64]) -> Result<Option<Leases>, LeaseError> {
        if self.ceiling(lease.fingerprint) == Some(lease.ceiling) {
            return Ok(None);
        }
        let mut next = self.clone();
        next.leases.retain(|other| other.fingerprint != lease.fingerprint);
        if next.leases.is_full() {
            let unused = next.leases.iter().position(|other| !live.contains(&other.fingerprint));
            let unused = unused.ok_or(LeaseError::Full)?;
            let mut position = 0;
            next.leases.retain(|_| {
                position += 1;
                position - 1 != unused
            });
        }
        next.leases.push(lease).map_err(|_| LeaseError::Full)?;
        next.sequence = self.sequence.saturating_add(1);
        Ok(Some(next))
    }

    /// The number a record claims to have, by its first sector; `None` when it does not look like
    /// one.
    pub(super) fn claimed_sequence(sector: &[u8; SECTOR_BYTES]) -> Option<u64> {
        let number = sector.get(16..)?.first_chunk::<8>()?;
        sector.starts_with(&MAGIC).then(|| u64::from_le_bytes(*number))
    }

    /// The place this record stands at, in each copy.
    pub fn record_index(&self) -> usize {
        usize::try_from(self.sequence % LEASE_RECORDS as u64).unwrap_or(0)
    }

    /// The record, with the seal of the device with this key.
    pub fn encode(&self, key: Option<&[u8; 32]>) -> LeaseRecord {
        let mut record = [0; LEASE_RECORD_BYTES];
        let count = u16::try_from(self.leases.len()).unwrap_or(0);
        put(&mut record, 0, &MAGIC);
        put(&mut record, 8, &LAYOUT.to_le_bytes());
        put(&mut record, 10, &count.to_le_bytes());
        put(&mut record, 12, &u16::from(key.is_some()).to_le_bytes());
        put(&mut record, 16, &self.sequence.to_le_bytes());
        for (index, lease) in self.leases.iter().enumerate() {
            put(&mut record, LEASES_AT + index * 16, &lease.fingerprint.to_le_bytes());
            put(&mut record, LEASES_AT + index * 16 + 8, &lease.ceiling.to_le_bytes());
        }
        if let Some(key) = key {
            let seal = seal::seal(key, Sealed::Leases, &[record.get(..SEAL_AT).unwrap_or_default()]);
            put(&mut record, SEAL_AT, &seal);
        }
        let crc = check_sum(record.get(..CRC_AT).unwrap_or_default());
        put(&mut record, CRC_AT, &crc.to_le_bytes());
        record
    }

    /// Reads a record.
    ///
    /// # Errors
    /// The first reason why it is none.
    pub fn decode(record: &LeaseRecord, key: Option<&[u8; 32]>) -> Result<Self, HeaderError> {
        if get::<8>(record, 0) != MAGIC {
            let blank = record.iter().all(|&octet| octet == 0) || record.iter().all(|&octet| octet == 0xff);
            return Err(if blank { HeaderError::Blank } else { HeaderError::Damaged });
        }
        let crc = check_sum(record.get(..CRC_AT).unwrap_or_default());
        if u32::from_le_bytes(get(record, CRC_AT)) != crc {
            return Err(HeaderError::Damaged);
        }
        if u16::from_le_bytes(get(record, 8)) != LAYOUT {
            return Err(HeaderError::OtherLayout);
        }
        let mut leases = Self { sequence: u64::from_le_bytes(get(record, 16)), leases: Vec::new() };
        for index in 0..usize::from(u16::from_le_bytes(get(record, 10))) {
            let at = LEASES_AT + index * 16;
            let fingerprint = u64::from_le_bytes(get(record, at));
            let ceiling = u64::from_le_bytes(get(record, at + 8));
            leases.leases.push(Lease { fingerprint, ceiling }).map_err(|_| HeaderError::Impossible)?;
        }
        // Encoding again must give the same, the seal included: in constant time, because it tells
        // nobody where a seal differs.
        let again = leases.encode(key);
        let same_seal = seal::same(&get(&again, SEAL_AT), &get(record, SEAL_AT));
        let same = again.get(..SEAL_AT) == record.get(..SEAL_AT) && same_seal;
        if leases.sequence == 0 || !same { Err(HeaderError::Impossible) } else { Ok(leases) }
    }
}

fn put(record: &mut LeaseRecord, at: usize, part: &[u8]) {
    if let Some(place) = record.get_mut(at..).and_then(|rest| rest.get_mut(..part.len())) {
        place.copy_from_slice(part);
    }
}

fn get<const N: usize>(record: &LeaseRecord, at: usize) -> [u8; N] {
    record.get(at..).and_then(|rest| rest.first_chunk::<N>()).copied().unwrap_or([0; N])
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn lease(fingerprint: u64, ceiling: u64) -> Lease {
        Lease { fingerprint, ceiling }
    }

    #[test]
    fn the_newest_place_is_last_and_live_keys_stay() {
        let mut leases = Leases::default();
        for key in 0..LEASES_MAX as u64 {
            leases = leases.with(lease(key, 100), &[]).unwrap().unwrap();
        }
        assert_eq!(leases.with(lease(5, 100), &[]), Ok(None), "nothing to write");
        leases = leases.with(lease(0, 200), &[]).unwrap().unwrap();
        // 1 is unused for longest, but live; 2 makes room.
        leases = leases.with(lease(1000, 1), &[0, 1]).unwrap().unwrap();
        assert_eq!((leases.ceiling(0), leases.ceiling(1), leases.ceiling(2)), (Some(200), Some(100), None));
        let all: std::vec::Vec<u64> = leases.iter().map(|lease| lease.fingerprint).collect();
        assert_eq!(leases.with(lease(2000, 1), &all), Err(LeaseError::Full));
    }

    #[test]
    fn round_trip_and_every_bit_flip() {
        let leases = Leases::default().with(lease(7, 8), &[]).unwrap().unwrap();
        let leases = leases.with(lease(u64::MAX, u64::MAX), &[]).unwrap().unwrap();
        for key in [None, Some(&[7; 32])] {
            let record = leases.encode(key);
            assert_eq!(Leases::decode(&record, key).as_ref(), Ok(&leases));
            assert!(Leases::decode(&record, Some(&[8; 32])).is_err(), "another device");
            assert_eq!(Leases::decode(&record, None).is_ok(), key.is_none());
            for bit in 0..LEASE_RECORD_BYTES * 8 {
                let mut flipped = record;
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert!(Leases::decode(&flipped, key).is_err(), "bit {bit}");
            }
        }
    }
}
