//! Who the device is: written once, at its first start.
//!
//! ```text
//!   0  magic "PSTRNIDT"
//!   8  layout      u16 le   1
//!  10  zero        6
//!  16  device id   16       no secret
//!  32  device key  32
//!  64  adopted     32       SHA-256 of the header of the unsealed slot that counts; zeros are none
//!  96  zero
//! 508  CRC-32C     u32 le   of octets 0 to 507
//! ```

use core::fmt;

use postern_core::port::SECTOR_BYTES;
use sha2::{Digest, Sha256};
use zeroize::Zeroize;

use super::header::{Header, HeaderError, check_seal, get, put, seal};

const MAGIC: [u8; 8] = *b"PSTRNIDT";
const LAYOUT: u16 = 1;

/// Id and key of a device; the key is wiped when dropped and not printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    /// Names the device; no secret.
    pub id: [u8; 16],
    /// Seals what the device writes, and hides its secrets.
    pub key: [u8; 32],
    /// SHA-256 of the header of the unsealed slot the device was flashed with; zeros are none.
    pub adopted: [u8; 32],
}

impl Identity {
    /// Makes one of random octets.
    pub fn from_random(octets: &[u8; 48]) -> Self {
        let mut identity = Self { id: [0; 16], key: [0; 32], adopted: [0; 32] };
        let (id, key) = octets.split_at(16);
        identity.id.copy_from_slice(id);
        identity.key.copy_from_slice(key);
        identity
    }

    /// The same device, which counts this unsealed slot as its own.
    #[must_use]
    pub fn adopting(mut self, header: &Header) -> Self {
        self.adopted = Sha256::digest(header.encode()).into();
        self
    }

    /// Whether it counts this unsealed slot as its own.
    pub fn adopts(&self, header: &Header) -> bool {
        header.seal.is_none() && self.adopted == <[u8; 32]>::from(Sha256::digest(header.encode()))
    }

    /// The sector.
    pub fn encode(&self) -> [u8; SECTOR_BYTES] {
        let mut sector = [0; SECTOR_BYTES];
        put(&mut sector, 0, &MAGIC);
        put(&mut sector, 8, &LAYOUT.to_le_bytes());
        put(&mut sector, 16, &self.id);
        put(&mut sector, 32, &self.key);
        put(&mut sector, 64, &self.adopted);
        seal(&mut sector);
        sector
    }

    /// Reads a sector.
    ///
    /// # Errors
    /// The first reason why it is none.
    pub fn decode(sector: &[u8; SECTOR_BYTES]) -> Result<Self, HeaderError> {
        check_seal(sector, &MAGIC)?;
        if u16::from_le_bytes(get(sector, 8)) != LAYOUT {
            return Err(HeaderError::OtherLayout);
        }
        let identity = Self { id: get(sector, 16), key: get(sector, 32), adopted: get(sector, 64) };
        if identity.encode() == *sector { Ok(identity) } else { Err(HeaderError::Impossible) }
    }
}

impl Drop for Identity {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("id", &self.id).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_every_bit_flip_and_no_key_in_sight() {
        let identity = Identity::from_random(&[0xa5; 48]);
        let sector = identity.encode();
        assert_eq!(Identity::decode(&sector).as_ref(), Ok(&identity));
        for bit in 0..SECTOR_BYTES * 8 {
            let mut flipped = sector;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Identity::decode(&flipped).is_err(), "bit {bit}");
        }
        assert!(!std::format!("{identity:?}").contains("key"));
    }
}
