//! One secret, and the sub-keys derived from it for one device and one use each.
//!
//! HKDF-Expand with SHA-256 (RFC 5869, section 2.3): a key is 32 random octets, which is what
//! HKDF-Extract would make. The device id is part of every derivation, so that the same secret on
//! two gateways is two unrelated keys: nothing that is sealed for one means anything to the other.

use core::fmt;

use hmac::digest::KeyInit;
use hmac::digest::generic_array::GenericArray;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use zeroize::{Zeroize, Zeroizing};

/// Octets of a secret, and of every sub-key of it.
pub const KEY_BYTES: usize = 32;

/// Which gateway: 16 octets chosen at random when it is commissioned. Not secret, never sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DeviceId(pub [u8; 16]);

/// What a key in a journal is called: the same secret on the same device has the same tag, whatever
/// the key is named and wherever it stands in the configuration. Rows of sequences have tags too, see
/// [`super::rotating::cursor`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyTag(pub [u8; 8]);

impl KeyTag {
    /// The first eight of `octets`.
    pub(crate) const fn cut(octets: &[u8; 32]) -> Self {
        let [a, b, c, d, e, f, g, h, ..] = *octets;
        Self([a, b, c, d, e, f, g, h])
    }

    /// As a number, as journals keep it.
    pub const fn fingerprint(self) -> u64 {
        u64::from_le_bytes(self.0)
    }
}

/// A secret: 32 octets from a random generator, never a password. Wiped when dropped, not printed.
#[derive(Clone)]
pub struct SpaKey {
    octets: [u8; KEY_BYTES],
}

impl SpaKey {
    /// Takes the octets. Whoever made them wipes their copy.
    pub const fn new(octets: [u8; KEY_BYTES]) -> Self {
        Self { octets }
    }

    /// The sub-key for one use on one `device`: HKDF-Expand of `"postern-spa-1 "`, the label of
    /// the use and the device id, 32 octets long.
    pub fn derive(&self, purpose: KeyUse, device: DeviceId) -> SubKey {
        let parts: [&[u8]; 4] = [DOMAIN, purpose.label(), &device.0, &[1]];
        SubKey { octets: hmac(&self.octets, &parts) }
    }

    /// The name of this key in the journal of `device`.
    pub fn tag(&self, device: DeviceId) -> KeyTag {
        KeyTag::cut(&self.derive(KeyUse::Journal, device).octets)
    }
}

impl Drop for SpaKey {
    fn drop(&mut self) {
        self.octets.zeroize();
    }
}

impl fmt::Debug for SpaKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SpaKey(..)")
    }
}

/// Format and its version: another version is another label, and its packets are noise to this one.
const DOMAIN: &[u8] = b"postern-spa-1 ";

/// What a sub-key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyUse {
    /// Finding the key of a packet.
    Hint,
    /// Sealing what is in a packet.
    Seal,
    /// Making nonces; only clients do.
    Nonce,
    /// Deriving the knocks of rotating sequences.
    Rotation,
    /// Naming the key in the journal.
    Journal,
}

impl KeyUse {
    const fn label(self) -> &'static [u8] {
        match self {
            KeyUse::Hint => b"hint",
            KeyUse::Seal => b"seal",
            KeyUse::Nonce => b"nonce",
            KeyUse::Rotation => b"rotation",
            KeyUse::Journal => b"journal",
        }
    }
}

/// 32 octets for one use on one device. Wiped when dropped, not printed.
#[derive(Clone)]
pub struct SubKey {
    octets: [u8; KEY_BYTES],
}

impl SubKey {
    /// The octets, for whoever computes with them.
    pub const fn expose(&self) -> &[u8; KEY_BYTES] {
        &self.octets
    }

    /// HMAC-SHA-256 under this key of all `parts`, one after the other.
    pub fn hmac(&self, parts: &[&[u8]]) -> [u8; 32] {
        hmac(&self.octets, parts)
    }
}

impl Drop for SubKey {
    fn drop(&mut self) {
        self.octets.zeroize();
    }
}

impl fmt::Debug for SubKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SubKey(..)")
    }
}

fn hmac(key: &[u8; KEY_BYTES], parts: &[&[u8]]) -> [u8; 32] {
    // RFC 2104 pads a short key with zeros to a block. Padded here, no length is left to be wrong.
    let mut block = Zeroizing::new([0; 64]);
    for (to, from) in block.iter_mut().zip(key) {
        *to = *from;
    }
    let mut mac = <Hmac<Sha256> as KeyInit>::new(GenericArray::from_slice(&*block));
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}
