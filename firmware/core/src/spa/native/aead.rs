//! XChaCha20-Poly1305, detached and in place.
//!
//! The construction of RFC 8439, section 2.8, with the 24-octet nonce of
//! draft-irtf-cfrg-xchacha-03, section 2. Composed here from the primitives instead of taken from
//! the AEAD crate of the same authors: that one unwraps the key stream's end, which no packet can
//! reach but no compiler can prove. The tests hold both against each other.

use chacha20::XChaCha20;
use chacha20::cipher::{KeyIvInit, StreamCipher};
use poly1305::Poly1305;
use poly1305::universal_hash::generic_array::GenericArray;
use poly1305::universal_hash::{KeyInit, UniversalHash};
use subtle::{Choice, ConstantTimeEq};
use zeroize::Zeroizing;

use crate::spa::key::KEY_BYTES;

/// Octets of a nonce: enough to draw them at random for ever.
pub const NONCE_BYTES: usize = 24;

/// Octets of a tag.
pub const TAG_BYTES: usize = 16;

/// Encrypts `body` and returns the tag over it and `associated`. Both are shorter than a packet.
pub fn seal(
    key: &[u8; KEY_BYTES],
    nonce: &[u8; NONCE_BYTES],
    associated: &[u8],
    body: &mut [u8],
) -> [u8; TAG_BYTES] {
    let (mut stream, authenticator) = begin(key, nonce);
    // Ends after 256 GiB of key stream; a packet is shorter.
    let _ = stream.try_apply_keystream(body);
    tag(authenticator, associated, body)
}

/// Decrypts `body` when the tag is right and leaves it alone when not. Takes the same time for every
/// wrong tag.
pub fn open(
    key: &[u8; KEY_BYTES],
    nonce: &[u8; NONCE_BYTES],
    associated: &[u8],
    body: &mut [u8],
    expected: &[u8; TAG_BYTES],
) -> Choice {
    let (mut stream, authenticator) = begin(key, nonce);
    let right = tag(authenticator, associated, body).ct_eq(expected);
    if bool::from(right) {
        let _ = stream.try_apply_keystream(body);
    }
    right
}

/// The key stream behind its first block, and the authenticator keyed with that block.
fn begin(key: &[u8; KEY_BYTES], nonce: &[u8; NONCE_BYTES]) -> (XChaCha20, Poly1305) {
    let mut stream = XChaCha20::new(key.into(), nonce.into());
    let mut first = Zeroizing::new([0; 64]);
    let _ = stream.try_apply_keystream(&mut *first);
    let mut one_time = Zeroizing::new([0; 32]);
    for (to, from) in one_time.iter_mut().zip(first.iter()) {
        *to = *from;
    }
    (stream, Poly1305::new(GenericArray::from_slice(&*one_time)))
}

fn tag(mut authenticator: Poly1305, associated: &[u8], body: &[u8]) -> [u8; TAG_BYTES] {
    authenticator.update_padded(associated);
    authenticator.update_padded(body);
    let lengths = u128::from(length(associated)) | u128::from(length(body)) << 64;
    authenticator.update_padded(&lengths.to_le_bytes());
    authenticator.finalize().into()
}

fn length(part: &[u8]) -> u64 {
    u64::try_from(part.len()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use chacha20poly1305::{AeadInPlace, XChaCha20Poly1305};

    const KEY: [u8; KEY_BYTES] = [7; KEY_BYTES];
    const NONCE: [u8; NONCE_BYTES] = [9; NONCE_BYTES];

    #[test]
    fn agrees_with_another_composition_at_every_length() {
        let theirs = <XChaCha20Poly1305 as KeyInit>::new(&KEY.into());
        for length in 0..200 {
            for associated in [0, 1, 8, 16, 17] {
                let plain: std::vec::Vec<u8> = (0..length).collect();
                let associated = std::vec![3; associated];
                let (mut ours, mut expected) = (plain.clone(), plain.clone());
                let tag = seal(&KEY, &NONCE, &associated, &mut ours);
                let other =
                    theirs.encrypt_in_place_detached(&NONCE.into(), &associated, &mut expected).unwrap();
                assert_eq!((&ours, &tag[..]), (&expected, other.as_slice()), "{length}");
                assert!(bool::from(open(&KEY, &NONCE, &associated, &mut ours, &tag)));
                assert_eq!(ours, plain);
            }
        }
    }

    #[test]
    fn a_wrong_tag_leaves_the_body_alone() {
        let mut body = *b"sealed octets";
        let tag = seal(&KEY, &NONCE, b"", &mut body);
        let sealed = body;
        for bit in 0..TAG_BYTES * 8 {
            let mut wrong = tag;
            wrong[bit / 8] ^= 1 << (bit % 8);
            assert!(!bool::from(open(&KEY, &NONCE, b"", &mut body, &wrong)), "bit {bit}");
            assert_eq!(body, sealed);
        }
    }

    /// draft-irtf-cfrg-xchacha-03, appendix A.3.1.
    #[test]
    fn the_vector_of_the_draft() {
        let key: [u8; 32] = core::array::from_fn(|index| 0x80 + u8::try_from(index).unwrap());
        let nonce: [u8; 24] = core::array::from_fn(|index| 0x40 + u8::try_from(index).unwrap());
        let associated = [0x50, 0x51, 0x52, 0x53, 0xc0, 0xc1, 0xc2, 0xc3, 0xc4, 0xc5, 0xc6, 0xc7];
        let mut body = *b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip \
            for the future, sunscreen would be it.";
        let tag = seal(&key, &nonce, &associated, &mut body);
        let expected_tag =
            [0xc0, 0x87, 0x59, 0x24, 0xc1, 0xc7, 0x98, 0x79, 0x47, 0xde, 0xaf, 0xd8, 0x78, 0x0a, 0xcf, 0x49];
        assert_eq!(body[..8], [0xbd, 0x6d, 0x17, 0x9d, 0x3e, 0x83, 0xd4, 0x3b]);
        assert_eq!(tag, expected_tag);
    }
}
