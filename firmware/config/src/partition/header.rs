//! The header sector of a slot.
//!
//! ```text
//!   0  magic "PSTRNSLT"
//!   8  layout        u16 le   1
//!  10  flags         u16 le   bit 0: a trial, which counts only once confirmed
//!  12  schema        u16 le   of the payload
//!  14  zero          u16
//!  16  generation    u64 le   rises with every commit, never 0
//!  24  floor         u32 le   security floor: slots below the highest confirmed one are refused
//!  28  payload       u32 le   octets behind this sector
//!  32  digest        32       SHA-256 of the payload
//!  64  sealed        u16 le   1 when a seal follows, 0 when not
//!  66  zero
//!  96  seal          32       of octets 0 to 95 and the index of the slot
//! 128  zero
//! 508  CRC-32C       u32 le   of octets 0 to 507
//! ```

use postern_core::port::SECTOR_BYTES;

use super::seal::{self, SEAL_BYTES, Sealed};
use super::{PAYLOAD_BYTES_MAX, check_sum};

const MAGIC: [u8; 8] = *b"PSTRNSLT";
const LAYOUT: u16 = 1;
const FLAG_TRIAL: u16 = 1;
const SEALED_AT: usize = 64;
const SEAL_AT: usize = 96;
const CRC_AT: usize = SECTOR_BYTES - 4;

/// What a header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Rises with every commit; never 0.
    pub generation: u64,
    /// Whether the slot counts only once a journal record confirms it.
    pub trial: bool,
    /// Schema of the payload.
    pub schema: u16,
    /// Security floor.
    pub floor: u32,
    /// Octets of payload.
    pub payload_bytes: u32,
    /// SHA-256 of the payload.
    pub digest: [u8; 32],
    /// The device's seal.
    pub seal: Option<[u8; SEAL_BYTES]>,
}

/// Why a sector is not a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HeaderError {
    /// Never written, or wiped: all zeros or all ones.
    Blank,
    /// The check sum does not fit: torn, rotten, or something else altogether.
    Damaged,
    /// Written by a firmware with another layout.
    OtherLayout,
    /// The check sum fits and the content cannot be.
    Impossible,
}

impl Header {
    /// The sector.
    pub fn encode(&self) -> [u8; SECTOR_BYTES] {
        let mut sector = [0; SECTOR_BYTES];
        let flags = if self.trial { FLAG_TRIAL } else { 0 };
        let parts: [(usize, &[u8]); 10] = [
            (0, &MAGIC),
            (8, &LAYOUT.to_le_bytes()),
            (10, &flags.to_le_bytes()),
            (12, &self.schema.to_le_bytes()),
            (16, &self.generation.to_le_bytes()),
            (24, &self.floor.to_le_bytes()),
            (28, &self.payload_bytes.to_le_bytes()),
            (32, &self.digest),
            (SEALED_AT, &u16::from(self.seal.is_some()).to_le_bytes()),
            (SEAL_AT, &self.seal.unwrap_or([0; SEAL_BYTES])),
        ];
        for (at, part) in parts {
            put(&mut sector, at, part);
        }
        seal(&mut sector);
        sector
    }

    /// The same header with the seal of the device with this key, for this slot.
    #[must_use]
    pub fn sealed(self, key: &[u8; 32], slot: u8) -> Self {
        // The mark that a seal follows is sealed with the rest.
        let sector = Self { seal: Some([0; SEAL_BYTES]), ..self }.encode();
        let covered = sector.get(..SEAL_AT).unwrap_or_default();
        Self { seal: Some(seal::seal(key, Sealed::Slot(slot), &[covered])), ..self }
    }

    /// Whether the device with this key sealed it for this slot.
    pub fn is_sealed_by(&self, key: &[u8; 32], slot: u8) -> bool {
        match (self.seal, self.sealed(key, slot).seal) {
            (Some(found), Some(expected)) => seal::same(&found, &expected),
            _ => false,
        }
    }

    /// Reads a sector.
    ///
    /// # Errors
    /// The first reason why it is not a header.
    pub fn decode(sector: &[u8; SECTOR_BYTES]) -> Result<Self, HeaderError> {
        check_seal(sector, &MAGIC)?;
        if u16::from_le_bytes(get(sector, 8)) != LAYOUT {
            return Err(HeaderError::OtherLayout);
        }
        let header = Self {
            generation: u64::from_le_bytes(get(sector, 16)),
            trial: u16::from_le_bytes(get(sector, 10)) & FLAG_TRIAL != 0,
            schema: u16::from_le_bytes(get(sector, 12)),
            floor: u32::from_le_bytes(get(sector, 24)),
            payload_bytes: u32::from_le_bytes(get(sector, 28)),
            digest: get(sector, 32),
            seal: (u16::from_le_bytes(get(sector, SEALED_AT)) == 1).then(|| get(sector, SEAL_AT)),
        };
        let too_long = usize::try_from(header.payload_bytes).is_ok_and(|bytes| bytes > PAYLOAD_BYTES_MAX);
        // Whatever this version does not know must be zero: encoding again must give the same.
        if header.generation == 0 || too_long || header.encode() != *sector {
            return Err(HeaderError::Impossible);
        }
        Ok(header)
    }
}

/// Copies `part` to `at`; what does not fit is left out.
pub(super) fn put(sector: &mut [u8; SECTOR_BYTES], at: usize, part: &[u8]) {
    if let Some(place) = sector.get_mut(at..).and_then(|rest| rest.get_mut(..part.len())) {
        place.copy_from_slice(part);
    }
}

/// The `N` octets at `at`; zeros where the sector ends.
pub(super) fn get<const N: usize>(sector: &[u8; SECTOR_BYTES], at: usize) -> [u8; N] {
    sector.get(at..).and_then(|rest| rest.first_chunk::<N>()).copied().unwrap_or([0; N])
}

/// Writes the check sum into the last four octets.
pub(super) fn seal(sector: &mut [u8; SECTOR_BYTES]) {
    let crc = check_sum(sector.get(..CRC_AT).unwrap_or_default());
    put(sector, CRC_AT, &crc.to_le_bytes());
}

/// Checks magic and check sum.
pub(super) fn check_seal(sector: &[u8; SECTOR_BYTES], magic: &[u8; 8]) -> Result<(), HeaderError> {
    if get::<8>(sector, 0) != *magic {
        let blank = sector.iter().all(|&byte| byte == 0) || sector.iter().all(|&byte| byte == 0xff);
        return Err(if blank { HeaderError::Blank } else { HeaderError::Damaged });
    }
    let crc = check_sum(sector.get(..CRC_AT).unwrap_or_default());
    if u32::from_le_bytes(get(sector, CRC_AT)) == crc { Ok(()) } else { Err(HeaderError::Damaged) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: Header = Header {
        generation: 0x0102_0304_0506_0708,
        trial: true,
        schema: 1,
        floor: 7,
        payload_bytes: 1000,
        digest: [0xab; 32],
        seal: Some([0xcd; SEAL_BYTES]),
    };

    #[test]
    fn a_seal_is_for_one_device_one_slot_and_one_content() {
        let header = HEADER.sealed(&[1; 32], 3);
        assert!(header.is_sealed_by(&[1; 32], 3));
        assert!(!header.is_sealed_by(&[2; 32], 3), "another device");
        assert!(!header.is_sealed_by(&[1; 32], 4), "another slot");
        for other in [
            Header { generation: 1, ..header },
            Header { trial: false, ..header },
            Header { schema: 2, ..header },
            Header { floor: 8, ..header },
            Header { payload_bytes: 999, ..header },
            Header { digest: [0; 32], ..header },
            Header { seal: None, ..header },
        ] {
            assert!(!other.is_sealed_by(&[1; 32], 3), "{other:?}");
        }
    }

    #[test]
    fn round_trip_and_golden_bytes() {
        let sector = HEADER.encode();
        assert_eq!(Header::decode(&sector), Ok(HEADER));
        assert_eq!(
            sector[..36],
            [
                b'P', b'S', b'T', b'R', b'N', b'S', b'L', b'T', 1, 0, 1, 0, 1, 0, 0, 0, 8, 7, 6, 5, 4, 3, 2,
                1, 7, 0, 0, 0, 0xe8, 3, 0, 0, 0xab, 0xab, 0xab, 0xab
            ]
        );
    }

    #[test]
    fn every_bit_flip_is_refused() {
        let sector = HEADER.encode();
        for bit in 0..SECTOR_BYTES * 8 {
            let mut flipped = sector;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Header::decode(&flipped).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn content_that_cannot_be_is_refused_even_with_a_good_check_sum() {
        let resealed = |at: usize, bytes: &[u8]| {
            let mut sector = HEADER.encode();
            put(&mut sector, at, bytes);
            seal(&mut sector);
            Header::decode(&sector)
        };
        assert_eq!(resealed(8, &[2, 0]), Err(HeaderError::OtherLayout));
        assert_eq!(resealed(10, &[3, 0]), Err(HeaderError::Impossible), "unknown flag");
        assert_eq!(resealed(16, &[0; 8]), Err(HeaderError::Impossible), "generation 0");
        assert_eq!(resealed(28, &[0xff; 4]), Err(HeaderError::Impossible), "too long");
        assert_eq!(resealed(300, &[1]), Err(HeaderError::Impossible), "unused octet");
        assert_eq!(Header::decode(&[0; SECTOR_BYTES]), Err(HeaderError::Blank));
        assert_eq!(Header::decode(&[0xff; SECTOR_BYTES]), Err(HeaderError::Blank));
    }
}
