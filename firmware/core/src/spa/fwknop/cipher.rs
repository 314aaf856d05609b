//! AES-256 in CBC mode as `openssl enc -aes-256-cbc -md md5 -pass` does it, which is what the stock
//! client copies.
//!
//! Key and initialisation vector come from the passphrase by `EVP_BytesToKey(3)` with MD5 and one
//! round. That is no protection of a weak passphrase, and MD5 is a broken hash; what is wanted of it
//! here is only that 16 secret octets or more become a key that nobody knows. Integrity rests on the
//! HMAC alone, which is checked before any octet is decrypted.

use aes::cipher::{BlockDecrypt, BlockEncrypt, KeyInit};
use aes::{Aes256Dec, Aes256Enc};
use md5::{Digest, Md5};
use zeroize::Zeroizing;

use super::{BLOCK_BYTES, SALT_BYTES};

type Block = [u8; BLOCK_BYTES];

/// AES key and initialisation vector.
struct Derived {
    key: Zeroizing<[u8; 32]>,
    vector: Block,
}

impl Derived {
    fn new(passphrase: &[u8], salt: &[u8; SALT_BYTES]) -> Self {
        let round = |before: &[u8]| -> Zeroizing<Block> {
            let hash = Md5::new().chain_update(before).chain_update(passphrase).chain_update(salt);
            Zeroizing::new(hash.finalize().into())
        };
        let first = round(&[]);
        let second = round(&*first);
        let vector = *round(&*second);
        let mut key = Zeroizing::new([0; 32]);
        for (to, from) in key.iter_mut().zip(first.iter().chain(second.iter())) {
            *to = *from;
        }
        Self { key, vector }
    }
}

/// Decrypts whole blocks in place. What is left over at the end, if anything, stays as it is.
pub(super) fn decrypt(passphrase: &[u8], salt: &[u8; SALT_BYTES], text: &mut [u8]) {
    let derived = Derived::new(passphrase, salt);
    let cipher = Aes256Dec::new((&*derived.key).into());
    let mut previous = derived.vector;
    for block in text.chunks_exact_mut(BLOCK_BYTES) {
        let Ok(block) = <&mut Block>::try_from(block) else { return };
        let sealed = *block;
        cipher.decrypt_block(block.into());
        mix(block, &previous);
        previous = sealed;
    }
}

/// Encrypts whole blocks in place. What is left over at the end, if anything, stays as it is.
pub(super) fn encrypt(passphrase: &[u8], salt: &[u8; SALT_BYTES], text: &mut [u8]) {
    let derived = Derived::new(passphrase, salt);
    let cipher = Aes256Enc::new((&*derived.key).into());
    let mut previous = derived.vector;
    for block in text.chunks_exact_mut(BLOCK_BYTES) {
        let Ok(block) = <&mut Block>::try_from(block) else { return };
        mix(block, &previous);
        cipher.encrypt_block(block.into());
        previous = *block;
    }
}

fn mix(block: &mut Block, with: &Block) {
    for (octet, other) in block.iter_mut().zip(with) {
        *octet ^= other;
    }
}

/// `text` without its padding (RFC 5652, section 6.3); `None` when there is none. Asked only behind the
/// MAC: nobody without the key learns anything from the answer.
pub(super) fn without_padding(text: &[u8]) -> Option<&[u8]> {
    let padding = *text.last()?;
    let length = usize::from(padding);
    let (text, end) = text.split_at_checked(text.len().checked_sub(length)?)?;
    let right = (1..=BLOCK_BYTES).contains(&length) && end.iter().all(|&octet| octet == padding);
    right.then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        let mut text = [7; 64];
        encrypt(b"a passphrase", b"saltsalt", &mut text);
        assert_ne!(text[..16], text[16..32], "blocks are chained");
        decrypt(b"a passphrase", b"saltsalt", &mut text);
        assert_eq!(text, [7; 64]);
    }

    #[test]
    fn padding() {
        assert_eq!(without_padding(b"text\x01"), Some(&b"text"[..]));
        assert_eq!(without_padding(&[16; 16]), Some(&[][..]));
        for other in [&b""[..], b"text\0", b"text\x03\x02\x03", b"\x02", &[17; 32]] {
            assert_eq!(without_padding(other), None, "{other:?}");
        }
    }
}
