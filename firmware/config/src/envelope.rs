//! The envelope around a site in a store file.
//!
//! ```text
//!  0  magic "PSTRNCFG"
//!  8  schema    u16 le   of the payload
//! 10  zero      u16
//! 12  payload   u32 le   octets behind this header
//! 16  CRC-32C   u32 le   of octets 0 to 15 and the payload
//! 20  payload            a site, see [`crate::schema`]
//! ```
//!
//! Behind the payload only zeros may follow. This is the form of a site in a file of its own: the
//! factory profile, an export. On the config partition it lies in slots ([`crate::partition`]).

use core::fmt;

use crate::schema::{self, PAYLOAD_BYTES_MAX, PayloadError, SCHEMA};
use crate::site::Site;

const MAGIC: [u8; 8] = *b"PSTRNCFG";
const HEADER_BYTES: usize = 20;
const CRC_AT: usize = 16;

/// Octets of the largest store.
pub const STORE_BYTES_MAX: usize = HEADER_BYTES + PAYLOAD_BYTES_MAX;

const CRC: crc::Crc<u32> = crc::Crc::<u32>::new(&crc::CRC_32_ISCSI);

/// Why a site could not be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EncodeError {
    /// The buffer is too short; [`STORE_BYTES_MAX`] octets are always enough.
    NoRoom,
}

/// Why a store could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// The store ends before its payload does.
    TooShort,
    /// It does not begin like a store.
    NotAStore,
    /// Its schema is one of a later version.
    OtherSchema(u16),
    /// The check sum does not fit.
    Damaged,
    /// The check sum fits and the content cannot be: not made by this version.
    Malformed,
    /// Something stands behind the payload.
    TrailingBytes,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DecodeError::TooShort => f.write_str("it ends too early"),
            DecodeError::NotAStore => f.write_str("it is not a config store"),
            DecodeError::OtherSchema(schema) => {
                write!(f, "it has schema {schema}, and this version reads schema {SCHEMA}")
            }
            DecodeError::Damaged => f.write_str("its check sum does not fit"),
            DecodeError::Malformed => f.write_str("its content cannot be"),
            DecodeError::TrailingBytes => f.write_str("something stands behind its content"),
        }
    }
}

/// Writes `site` into `buffer`; returns the part that was written.
///
/// # Errors
/// [`EncodeError::NoRoom`].
pub fn encode<'b>(site: &Site, buffer: &'b mut [u8]) -> Result<&'b [u8], EncodeError> {
    let (header, payload) = buffer.split_at_mut_checked(HEADER_BYTES).ok_or(EncodeError::NoRoom)?;
    let length = schema::encode(site, payload).map_err(|_| EncodeError::NoRoom)?;
    let payload = payload.get(..length).ok_or(EncodeError::NoRoom)?;
    let length_field = u32::try_from(length).map_err(|_| EncodeError::NoRoom)?.to_le_bytes();
    let parts: [&[u8]; 4] = [&MAGIC, &SCHEMA.to_le_bytes(), &[0, 0], &length_field];
    let mut at = 0;
    for part in parts {
        if let Some(place) = header.get_mut(at..at + part.len()) {
            place.copy_from_slice(part);
        }
        at += part.len();
    }
    let crc = checksum(header, payload).to_le_bytes();
    if let Some(place) = header.get_mut(CRC_AT..HEADER_BYTES) {
        place.copy_from_slice(&crc);
    }
    buffer.get(..HEADER_BYTES + length).ok_or(EncodeError::NoRoom)
}

/// Reads a store.
///
/// # Errors
/// The first reason why it is none.
pub fn decode(store: &[u8]) -> Result<Site, DecodeError> {
    let header = store.first_chunk::<HEADER_BYTES>().ok_or(DecodeError::TooShort)?;
    if !header.starts_with(&MAGIC) {
        return Err(DecodeError::NotAStore);
    }
    let [_, _, _, _, _, _, _, _, s0, s1, z0, z1, l0, l1, l2, l3, c0, c1, c2, c3] = *header;
    let length = usize::try_from(u32::from_le_bytes([l0, l1, l2, l3])).map_err(|_| DecodeError::TooShort)?;
    let rest = store.get(HEADER_BYTES..).ok_or(DecodeError::TooShort)?;
    let (payload, behind) = rest.split_at_checked(length).ok_or(DecodeError::TooShort)?;
    if [z0, z1] != [0, 0] || checksum(header, payload) != u32::from_le_bytes([c0, c1, c2, c3]) {
        return Err(DecodeError::Damaged);
    }
    if behind.iter().any(|&byte| byte != 0) {
        return Err(DecodeError::TrailingBytes);
    }
    schema::decode(u16::from_le_bytes([s0, s1]), payload).map_err(|error| match error {
        PayloadError::OtherSchema(schema) => DecodeError::OtherSchema(schema),
        PayloadError::Malformed | PayloadError::NoRoom => DecodeError::Malformed,
    })
}

fn checksum(header: &[u8], payload: &[u8]) -> u32 {
    let mut digest = CRC.digest();
    digest.update(header.get(..CRC_AT).unwrap_or_default());
    digest.update(payload);
    digest.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::{Secret, StoredSecret};
    use crate::site::{
        Role, StoredAccount, StoredDoor, StoredForward, StoredGuard, StoredHmac, StoredKey, StoredKeyKind,
        StoredNetwork, StoredPort, StoredRotating, StoredSequence, StoredStep, StoredWindow,
    };
    use postern_core::limits::{DOORS_MAX, GUARD_RANGES_MAX, SEQUENCES_MAX, STEPS_MAX};
    use std::boxed::Box;
    use std::format;
    use std::vec;

    fn small() -> Box<Site> {
        let mut site = Box::new(Site::default());
        site.name = "pump-station-17".try_into().unwrap();
        site.interfaces.push("wwan0".try_into().unwrap()).unwrap();
        let door = StoredDoor {
            ports: heapless::Vec::from_slice(&[StoredPort::Tcp(22)]).unwrap(),
            target: Some([203, 0, 113, 7].into()),
            interfaces: 1,
            ..StoredDoor::plain("ssh".try_into().unwrap(), 30)
        };
        site.doors.push(door).unwrap();
        let steps = [StoredStep::Tcp(7351), StoredStep::Udp(24_011), StoredStep::Icmp(83)];
        let sequence = StoredSequence {
            door: 0,
            closes: false,
            one_time: false,
            steps: heapless::Vec::from_slice(&steps).unwrap(),
            within_millis: 10_000,
            reorder_millis: 0,
            flags_mask: 0x12,
            flags_value: 0x02,
        };
        site.sequences.push(sequence).unwrap();
        site.guards.push(StoredGuard { first: StoredStep::Tcp(7352), last: 7400 }).unwrap();
        site
    }

    fn secret(length: usize) -> StoredSecret {
        StoredSecret::Known(Secret::new(&vec![0xa5; length]).unwrap())
    }

    fn largest_key() -> StoredKey {
        let network = StoredNetwork { address: [0xffff; 8].into(), prefix: 128 };
        let window = StoredWindow { days: 127, from_minute: 1439, until_minute: 1440 };
        let name: heapless::String<32> = "key-with-a-very-long-name-000000".try_into().unwrap();
        StoredKey {
            name: name.clone(),
            person: name,
            kind: StoredKeyKind::Fwknop {
                encryption: secret(128),
                hmac: secret(128),
                digest: StoredHmac::Sha512,
            },
            longest_secs: u32::MAX,
            sources: (0..4).map(|_| network).collect(),
            may_claim: true,
            counter_first: u64::MAX,
            counter_last: u64::MAX,
            valid_from_secs: u64::MAX,
            valid_until_secs: u64::MAX,
            windows: (0..4).map(|_| window).collect(),
            grants_per_door: u8::MAX,
            disabled: true,
        }
    }

    fn largest_account() -> StoredAccount {
        StoredAccount {
            name: "account-with-a-very-long-name-00".try_into().unwrap(),
            role: Role::Admin,
            salt: [0xff; 16],
            iterations: u32::MAX,
            stored_key: secret(32),
            server_key: secret(32),
        }
    }

    fn store(site: &Site) -> vec::Vec<u8> {
        let mut buffer = vec![0; STORE_BYTES_MAX];
        encode(site, &mut buffer).unwrap().to_vec()
    }

    #[test]
    fn round_trip_and_rules() {
        let site = small();
        assert_eq!(decode(&store(&site)).as_ref(), Ok(&*site));
        let rules = site.rules().unwrap();
        assert_eq!(rules.doors().len(), 1);
        assert_eq!(rules.sequences()[0].steps.len(), 3);
        assert_eq!(rules.guards().len(), 1);
    }

    #[test]
    fn every_cut_and_every_bit_flip_is_refused() {
        let store = store(&small());
        for cut in 0..store.len() {
            assert!(decode(&store[..cut]).is_err(), "cut at {cut}");
        }
        for bit in 0..store.len() * 8 {
            let mut flipped = store.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&flipped).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn what_follows_must_be_zeros() {
        let mut padded = store(&small());
        padded.resize(4096, 0);
        assert!(decode(&padded).is_ok());
        padded[4000] = 1;
        assert_eq!(decode(&padded), Err(DecodeError::TrailingBytes));
    }

    #[test]
    fn one_site_has_one_encoding() {
        let store = store(&small());
        // The length of the name, 15, with a needless second octet.
        let mut payload = store[HEADER_BYTES..].to_vec();
        payload.splice(0..1, [0x8f, 0x00]);
        let mut header = store[..CRC_AT].to_vec();
        header[12..16].copy_from_slice(&u32::try_from(payload.len()).unwrap().to_le_bytes());
        let crc = checksum(&header, &payload).to_le_bytes();
        let forged = [header, crc.to_vec(), payload].concat();
        assert_eq!(decode(&forged), Err(DecodeError::Malformed));
    }

    #[test]
    fn other_schemas_are_named() {
        let mut other = store(&small());
        other[8] = 9;
        let crc = checksum(&other[..HEADER_BYTES], &other[HEADER_BYTES..]).to_le_bytes();
        other[CRC_AT..HEADER_BYTES].copy_from_slice(&crc);
        assert_eq!(decode(&other), Err(DecodeError::OtherSchema(9)));
        assert_eq!(decode(b"#!/bin/false but long enough"), Err(DecodeError::NotAStore));
        assert_eq!(decode(b""), Err(DecodeError::TooShort));
    }

    #[test]
    fn the_largest_site_fits() {
        let mut site = small();
        let (door, sequence) = (site.doors[0].clone(), site.sequences[0].clone());
        site.doors.clear();
        site.sequences.clear();
        site.guards.clear();
        while site.keys.push(largest_key()).is_ok() {}
        while site.accounts.push(largest_account()).is_ok() {}
        let rotating = StoredRotating {
            key: 63,
            knocks: 16,
            look_ahead: 8,
            protocols: 7,
            first: u16::MAX,
            last: u16::MAX,
            within_millis: u32::MAX,
        };
        for index in 0..DOORS_MAX {
            let name = format!("door-with-a-very-long-name-{index:05}");
            let ports = (0..8).map(|port| StoredPort::Tcp(65_000 + port)).collect();
            let target = Some([0xffff; 8].into());
            site.doors
                .push(StoredDoor {
                    name: name.as_str().try_into().unwrap(),
                    ports,
                    target,
                    open_for_secs: u32::MAX,
                    keys: u64::MAX,
                    rotating: Some(rotating),
                    forward: Some(StoredForward { address: [0xffff; 8].into(), port: u16::MAX }),
                    allow: u32::MAX,
                    ..door.clone()
                })
                .unwrap();
        }
        for index in 0..SEQUENCES_MAX {
            let steps = (0..STEPS_MAX).map(|_| StoredStep::Udp(65_535)).collect();
            let longest = StoredSequence {
                door: u16::try_from(index).unwrap(),
                steps,
                within_millis: u32::MAX,
                reorder_millis: u32::MAX,
                ..sequence.clone()
            };
            site.sequences.push(longest).unwrap();
        }
        while site.guards.len() < GUARD_RANGES_MAX {
            site.guards.push(StoredGuard { first: StoredStep::Udp(65_535), last: 65_535 }).unwrap();
        }
        let store = store(&site);
        assert!(store.len() > STORE_BYTES_MAX / 2, "the bound is not wildly off: {}", store.len());
        assert_eq!(decode(&store).as_ref(), Ok(&*site));
    }
}
