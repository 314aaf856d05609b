//! Makes packets as the stock client does: for tests of what lies behind the MAC, and for clients.

use heapless::Vec;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::key::FwknopKey;
use super::{
    BLOCK_BYTES, CIPHERTEXT_BYTES_MAX, MAGIC, PACKET_BYTES_MAX, PREFIX, SALT_BYTES, SALTED_BYTES, base64,
    cipher,
};

/// The UDP payload.
pub type Packet = Vec<u8, PACKET_BYTES_MAX>;

/// The packet with this text inside, which gets its digest (SHA-256) and its padding here. `None` when
/// it is too long. `salt` is random and never comes twice.
pub fn seal(key: &FwknopKey, text: &[u8], salt: &[u8; SALT_BYTES]) -> Option<Packet> {
    let mut plain = Zeroizing::new([0; CIPHERTEXT_BYTES_MAX]);
    let digest = Sha256::digest(text);
    let octets = text.iter().copied().chain([b':']).chain(base64::encode(&digest));
    let mut length = 0;
    let mut places = plain.iter_mut();
    for octet in octets {
        *places.next()? = octet;
        length += 1;
    }
    seal_text(key, plain.get(..length)?, salt)
}

/// The packet with exactly this text inside, whatever it is; only its padding is added.
pub fn seal_text(key: &FwknopKey, text: &[u8], salt: &[u8; SALT_BYTES]) -> Option<Packet> {
    let padding = BLOCK_BYTES - text.len() % BLOCK_BYTES;
    let mut plain = Zeroizing::new([u8::try_from(padding).ok()?; CIPHERTEXT_BYTES_MAX]);
    for (to, from) in plain.iter_mut().zip(text) {
        *to = *from;
    }
    seal_blocks(key, plain.get(..text.len() + padding)?, salt)
}

/// The packet with exactly these blocks inside, the padding too. `None` when they are no whole blocks.
pub fn seal_blocks(key: &FwknopKey, blocks: &[u8], salt: &[u8; SALT_BYTES]) -> Option<Packet> {
    if blocks.is_empty() || blocks.len() % BLOCK_BYTES != 0 {
        return None;
    }
    let mut blob: Vec<u8, { SALTED_BYTES + CIPHERTEXT_BYTES_MAX }> = Vec::new();
    blob.extend_from_slice(MAGIC).ok()?;
    blob.extend_from_slice(salt).ok()?;
    blob.extend_from_slice(blocks).ok()?;
    cipher::encrypt(key.encryption_key(), salt, blob.get_mut(SALTED_BYTES..)?);
    let mut packet = Packet::new();
    for character in base64::encode(&blob).skip(PREFIX.len()) {
        packet.push(character).ok()?;
    }
    let mac = key.mac(&packet);
    for character in base64::encode(mac.get(..key.digest().bytes())?) {
        packet.push(character).ok()?;
    }
    Some(packet)
}
