//! The config partition: slots that a power cut cannot brick, and a journal of small marks.
//!
//! # Layout
//!
//! ```text
//! 0x000000  journal, first copy    64 KiB  128 records of one sector
//! 0x010000  journal, second copy   64 KiB  the same records once more
//! 0x020000  slot 0                128 KiB  header sector | payload | unused
//! 0x040000  slot 1
//!    ...
//! 0x0c0000  slot 5
//! 0x0e0000  (kept for the audit ring of a later layout)
//! ```
//!
//! Slots lie 128 KiB apart so that a medium that damages the page or erase group around a write
//! damages one slot and not two. A journal record stands in both copies for the same reason.
//!
//! # Rules
//!
//! - The header covers the payload by length and SHA-256, and its whole sector is covered by a
//!   CRC: in what order the sectors of a commit reach the medium does not matter, only the flush
//!   before it is acknowledged does.
//! - Of all valid slots the highest generation is in force, except trials that no journal record
//!   confirms (see [`choice`]).
//! - Opening never writes.
//! - Every commit and every mark is read back before it is acknowledged.
//! - A flush that failed leaves the state unknown: nothing is acknowledged, nothing is assumed.

pub mod choice;
pub mod header;
pub mod journal;
pub mod store;

pub use choice::{Choice, SlotState, choose};
pub use header::{Header, HeaderError};
pub use journal::{JournalState, Mark};
pub use store::{CommitError, Kind, OpenError, Store};

use postern_core::port::SECTOR_BYTES;

/// Slots: the one in force, the one being written, and four older generations.
pub const SLOTS: usize = 6;

/// Octets from one slot to the next.
pub const SLOT_BYTES: usize = 128 * 1024;

/// Octets of payload a slot can hold.
pub const PAYLOAD_BYTES_MAX: usize = SLOT_BYTES - SECTOR_BYTES;

/// Sectors of one copy of the journal.
pub const JOURNAL_RECORDS: usize = 128;

/// Octets of one copy of the journal.
pub const JOURNAL_BYTES: usize = JOURNAL_RECORDS * SECTOR_BYTES;

/// Copies of the journal.
pub const JOURNAL_COPIES: usize = 2;

/// Octets a partition must have at least.
pub const PARTITION_BYTES_MIN: usize = JOURNAL_COPIES * JOURNAL_BYTES + SLOTS * SLOT_BYTES;

/// Where slot `index` begins.
pub const fn slot_offset(index: usize) -> u64 {
    (JOURNAL_COPIES * JOURNAL_BYTES + index * SLOT_BYTES) as u64
}

/// Where record `index` of journal copy `copy` stands.
pub const fn record_offset(copy: usize, index: usize) -> u64 {
    (copy * JOURNAL_BYTES + index * SECTOR_BYTES) as u64
}

const _: () = assert!(PARTITION_BYTES_MIN <= 1024 * 1024, "fits the smallest partition boards offer");
const _: () = assert!(slot_offset(0) % 4096 == 0);

/// CRC-32C (Castagnoli, RFC 3720 appendix B.4): finds accidents, proves nothing.
const CRC: crc::Crc<u32> = crc::Crc::<u32>::new(&crc::CRC_32_ISCSI);

#[cfg(test)]
mod tests;
