//! Any store: read, or refused by name; what was read is written again octet for octet.

use postern_config::{DecodeError, STORE_BYTES_MAX, decode, encode};

/// Octets of the header: magic, format, length, check sum.
const HEADER_BYTES: usize = 20;

/// Reads the bytes as a store, and as the payload of a store whose header is right.
///
/// # Panics
/// When the decoder breaks a promise.
pub fn run(bytes: &[u8]) {
    read(bytes);
    let store = with_header(bytes);
    read(&store);
    // A fuzzer cannot guess a check sum, so every store above is whole; here one octet is not.
    if let Some(&last) = bytes.last() {
        let mut broken = store;
        let at = usize::from(last) % broken.len();
        broken[at] ^= 0x10;
        assert!(decode(&broken).is_err(), "octet {at} changed and nobody noticed");
    }
}

fn read(store: &[u8]) {
    let site = match decode(store) {
        Ok(site) => site,
        Err(DecodeError::OtherSchema(schema)) => {
            assert_ne!(schema, postern_config::SCHEMA, "this version reads it");
            return;
        }
        Err(_) => return,
    };
    let mut buffer = vec![0; STORE_BYTES_MAX];
    let again = encode(&site, &mut buffer).expect("what was read can be written");
    let (content, behind) = store.split_at(again.len());
    assert_eq!(again, content, "one site has one encoding");
    assert!(behind.iter().all(|&octet| octet == 0), "only zeros may follow");
    if let Ok(rules) = site.rules() {
        assert_eq!(rules.doors().len(), site.doors.len());
        assert_eq!(rules.sequences().len(), site.sequences.len());
        assert!(rules.guards().len() <= site.guards.len(), "guards are merged, not made");
        assert!(rules.guards().windows(2).all(|pair| pair[0] < pair[1]), "guards are sorted");
    }
}

/// `payload` behind a header that fits it.
#[must_use]
pub fn with_header(payload: &[u8]) -> Vec<u8> {
    let mut store = b"PSTRNCFG\x01\0\0\0".to_vec();
    store.extend(u32::try_from(payload.len()).expect("a fuzzed payload is short").to_le_bytes());
    let mut sum = crc32c(!0, &store);
    sum = crc32c(sum, payload);
    store.extend((!sum).to_le_bytes());
    assert_eq!(store.len(), HEADER_BYTES);
    store.extend(payload);
    store
}

/// CRC-32C (RFC 3720, appendix B.4), bit by bit: independent of the one under test.
pub(crate) fn crc32c(mut sum: u32, bytes: &[u8]) -> u32 {
    for &octet in bytes {
        sum ^= u32::from(octet);
        for _ in 0..8 {
            sum = if sum & 1 == 1 { sum >> 1 ^ 0x82f6_3b78 } else { sum >> 1 };
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_is_the_one_of_the_encoder() {
        let mut buffer = vec![0; STORE_BYTES_MAX];
        let store = encode(&postern_config::Site::default(), &mut buffer).unwrap().to_vec();
        assert_eq!(with_header(&store[HEADER_BYTES..]), store);
    }
}
