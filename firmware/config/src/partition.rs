//! The config partition: slots that a power cut cannot brick, and a journal of small marks.
//!
//! # Layout
//!
//! ```text
//! 0x000000  identity, first copy     4 KiB  one sector
//! 0x001000  marks, first copy       60 KiB  120 records of one sector
//! 0x010000  identity, second copy    4 KiB
//! 0x011000  marks, second copy      60 KiB
//! 0x020000  slot 0                 128 KiB  header sector | payload | unused
//! 0x040000  slot 1
//!    ...
//! 0x0c0000  slot 5
//! 0x0e0000  leases, first copy      64 KiB  42 records of three sectors
//! 0x0f0000  leases, second copy     64 KiB
//! 0x100000  end
//! ```
//!
//! Slots lie 128 KiB apart so that a medium that damages the page or erase group around a write
//! damages one slot and not two. A record stands in both copies for the same reason.
//!
//! # Rules
//!
//! - The header covers the payload by length and SHA-256, and its whole sector is covered by a
//!   CRC: in what order the sectors of a commit reach the medium does not matter, only the flush
//!   before it is acknowledged does.
//! - Of all valid slots the highest generation is in force, except trials that no journal record
//!   confirms (see [`choice`]).
//! - A partition that has an identity counts nothing that this device did not seal: slots and
//!   records carry an HMAC-SHA-256 under the device's key (see [`seal`]). One that has none yet, as
//!   it leaves the factory, counts what is unsealed; [`Store::adopt`] makes that its own.
//! - The marks know the generation last committed to each slot: older octets written back into a
//!   slot do not count.
//! - Opening never writes.
//! - Every commit and every mark is read back before it is acknowledged.
//! - A flush that failed leaves the state unknown: nothing is acknowledged, nothing is assumed.
//! - The newest slot of an older schema is not spent while another can be: a firmware that is taken back
//!   finds it, however many changes later, unless the floor was raised.
//! - A medium that says it has flushed and has not may lose what was acknowledged, and leaves an older
//!   configuration; the factory profile when the lost one had raised the floor.
//! - Before a record is written, the newest one is written again where a cut has left it in one copy only.
//! - What could not be read when the store was opened may only have been a bad moment: nothing is written while no
//!   copy of some record, or of the identity, could be read; slots that cannot be read are not spent, and no trial
//!   is confirmed beside one.
//! - What could not be read may also be newer than all that could, from a write that failed, and must not come back
//!   over what is acknowledged later: where the other copy of a record can be read, the one that cannot is written
//!   over before the next record; and the mark of a commit or a wipe makes slots void that could not be read.
//! - A wipe counts by its mark, which tells that all slots are void; erasing them comes after.

mod adopt;
pub mod choice;
mod copies;
pub mod header;
pub mod identity;
pub mod journal;
pub mod leases;
mod records;
pub mod seal;
pub mod store;

pub use choice::{Choice, SlotState, choose};
pub use header::{Header, HeaderError};
pub use identity::Identity;
pub use journal::{JournalState, Mark};
pub use leases::{LEASES_MAX, Lease, LeaseError, Leases};
pub use store::{CommitError, Kind, OpenError, Store};

use postern_core::port::SECTOR_BYTES;

/// Slots: the one in force, the one being written, and four older generations.
pub const SLOTS: usize = 6;

/// Octets from one slot to the next.
pub const SLOT_BYTES: usize = 128 * 1024;

/// Octets of payload a slot can hold.
pub const PAYLOAD_BYTES_MAX: usize = SLOT_BYTES - SECTOR_BYTES;

/// Records of marks in one copy.
pub const JOURNAL_RECORDS: usize = 120;

/// Copies of identity, marks and leases.
pub const COPIES: usize = 2;

/// Sectors of one record of leases.
pub const LEASE_SECTORS: usize = 3;

/// Records of leases in one copy.
pub const LEASE_RECORDS: usize = 42;

/// Octets a partition must have at least.
pub const PARTITION_BYTES_MIN: usize = 1024 * 1024;

const COPY_BYTES: usize = 0x1_0000;
const MARKS_AT: usize = 0x1000;
const SLOTS_AT: usize = COPIES * COPY_BYTES;
const LEASES_AT: usize = SLOTS_AT + SLOTS * SLOT_BYTES;

/// Where identity copy `copy` stands.
pub const fn identity_offset(copy: usize) -> u64 {
    (copy * COPY_BYTES) as u64
}

/// Where slot `index` begins.
pub const fn slot_offset(index: usize) -> u64 {
    (SLOTS_AT + index * SLOT_BYTES) as u64
}

/// Where record `index` of marks copy `copy` stands.
pub const fn record_offset(copy: usize, index: usize) -> u64 {
    (copy * COPY_BYTES + MARKS_AT + index * SECTOR_BYTES) as u64
}

/// Where record `index` of leases copy `copy` stands.
pub const fn lease_offset(copy: usize, index: usize) -> u64 {
    (LEASES_AT + copy * COPY_BYTES + index * LEASE_SECTORS * SECTOR_BYTES) as u64
}

const _: () = assert!(MARKS_AT + JOURNAL_RECORDS * SECTOR_BYTES == COPY_BYTES);
const _: () = assert!(LEASE_RECORDS * LEASE_SECTORS * SECTOR_BYTES <= COPY_BYTES);
const _: () = assert!(LEASES_AT + COPIES * COPY_BYTES == PARTITION_BYTES_MIN);
const _: () = assert!(slot_offset(0) % 4096 == 0);

/// CRC-32C (Castagnoli, RFC 3720 appendix B.4): finds accidents, proves nothing. A table of 1 KiB.
#[cfg(not(feature = "fast-crc"))]
fn check_sum(bytes: &[u8]) -> u32 {
    static CRC: crc::Crc<u32> = crc::Crc::<u32>::new(&crc::CRC_32_ISCSI);
    CRC.checksum(bytes)
}

/// The same by the processor's own instruction.
#[cfg(feature = "fast-crc")]
fn check_sum(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes)
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod unreadable_tests;
