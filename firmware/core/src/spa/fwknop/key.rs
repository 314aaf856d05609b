//! The secrets the stock client shares with a gateway.

use core::fmt;

use hmac::digest::{FixedOutput, KeyInit, Update};
use hmac::{Hmac, Mac};
use sha2::{Sha256, Sha384, Sha512};
use subtle::{Choice, ConstantTimeEq};
use zeroize::Zeroize;

use super::PREFIX;
use crate::limits::SECRET_BYTES_MAX;
use crate::spa::key::{DeviceId, KeyTag};

/// Octets of the longest encryption key: the stock client takes no more.
pub const ENCRYPTION_KEY_BYTES_MAX: usize = 32;

/// Octets of the longest HMAC key: the stock client takes no more.
pub const MAC_KEY_BYTES_MAX: usize = SECRET_BYTES_MAX;

/// Octets a key should have at least. A shorter one is guessed from one captured packet: the
/// derivation is MD5 run once, and the HMAC costs an attacker nothing either. Tools refuse shorter
/// ones; the verifier does not, it cannot tell a word from random octets anyway.
pub const KEY_BYTES_ADVISED: usize = 16;

/// Octets of the longest MAC.
pub(super) const MAC_BYTES_MAX: usize = 64;

/// Digest of the HMAC (`HMAC_DIGEST_TYPE`). Not on the wire. MD5 and SHA-1 are left out on purpose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum MacDigest {
    /// HMAC-SHA-256, what the client does when not told otherwise.
    #[default]
    Sha256,
    /// HMAC-SHA-384.
    Sha384,
    /// HMAC-SHA-512.
    Sha512,
}

impl MacDigest {
    /// Every digest.
    pub const ALL: [MacDigest; 3] = [MacDigest::Sha256, MacDigest::Sha384, MacDigest::Sha512];

    /// Octets of the MAC.
    pub const fn bytes(self) -> usize {
        match self {
            MacDigest::Sha256 => 32,
            MacDigest::Sha384 => 48,
            MacDigest::Sha512 => 64,
        }
    }
}

/// A secret of this length is none of the stock client's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyLength {
    /// The encryption key has no octet, or more than [`ENCRYPTION_KEY_BYTES_MAX`].
    Encryption,
    /// The HMAC key has no octet, or more than [`MAC_KEY_BYTES_MAX`].
    Mac,
}

/// Both secrets of a stanza. Wiped when dropped, not printed.
///
/// A secret is the octets of `KEY`, or what `KEY_BASE64` says in base64. The client makes no
/// difference between the two: also 32 random octets are only a passphrase to it.
#[derive(Clone)]
pub struct FwknopKey {
    encryption: [u8; ENCRYPTION_KEY_BYTES_MAX],
    encryption_bytes: usize,
    mac: [u8; MAC_KEY_BYTES_MAX],
    mac_bytes: usize,
    digest: MacDigest,
}

impl FwknopKey {
    /// Copies the secrets. Whoever made them wipes theirs.
    ///
    /// # Errors
    /// [`KeyLength`].
    pub fn new(encryption: &[u8], mac: &[u8], digest: MacDigest) -> Result<Self, KeyLength> {
        let mut key = Self {
            encryption: [0; ENCRYPTION_KEY_BYTES_MAX],
            encryption_bytes: encryption.len(),
            mac: [0; MAC_KEY_BYTES_MAX],
            mac_bytes: mac.len(),
            digest,
        };
        if !(1..=ENCRYPTION_KEY_BYTES_MAX).contains(&encryption.len()) {
            return Err(KeyLength::Encryption);
        }
        if !(1..=MAC_KEY_BYTES_MAX).contains(&mac.len()) {
            return Err(KeyLength::Mac);
        }
        let octets = key.encryption.iter_mut().zip(encryption).chain(key.mac.iter_mut().zip(mac));
        octets.for_each(|(to, from)| *to = *from);
        Ok(key)
    }

    /// The digest of its MACs.
    pub const fn digest(&self) -> MacDigest {
        self.digest
    }

    /// What the key is called in the journal of `device`. The HMAC key alone makes the name: what was
    /// used stays used when only the encryption key is changed.
    pub fn tag(&self, device: DeviceId) -> KeyTag {
        let mut mac = keyed::<Hmac<Sha256>>(self.mac_key());
        Update::update(&mut mac, b"postern-fwknop-1 journal");
        Update::update(&mut mac, &device.0);
        KeyTag::cut(&mac.finalize_fixed().into())
    }

    pub(super) fn encryption_key(&self) -> &[u8] {
        self.encryption.get(..self.encryption_bytes).unwrap_or_default()
    }

    fn mac_key(&self) -> &[u8] {
        self.mac.get(..self.mac_bytes).unwrap_or_default()
    }

    /// The MAC of a body: over its text, with the prefix that is not sent.
    pub(super) fn mac(&self, body: &[u8]) -> [u8; MAC_BYTES_MAX] {
        match self.digest {
            MacDigest::Sha256 => mac::<Hmac<Sha256>>(self.mac_key(), body),
            MacDigest::Sha384 => mac::<Hmac<Sha384>>(self.mac_key(), body),
            MacDigest::Sha512 => mac::<Hmac<Sha512>>(self.mac_key(), body),
        }
    }

    /// Whether both have the same HMAC key: a packet of one is then a packet of the other.
    pub(super) fn same_mac_key(&self, other: &FwknopKey) -> Choice {
        self.mac.ct_eq(&other.mac) & self.mac_bytes.ct_eq(&other.mac_bytes)
    }
}

/// Keyed with any number of octets (RFC 2104).
fn keyed<M: Mac + KeyInit>(key: &[u8]) -> M {
    match <M as KeyInit>::new_from_slice(key) {
        Ok(mac) => mac,
        // An HMAC takes a key of any length. Nothing is right under one of zeros.
        Err(_) => <M as KeyInit>::new(&Default::default()),
    }
}

fn mac<M: Mac + KeyInit + FixedOutput>(key: &[u8], body: &[u8]) -> [u8; MAC_BYTES_MAX] {
    let mut mac = keyed::<M>(key);
    Mac::update(&mut mac, PREFIX);
    Mac::update(&mut mac, body);
    let mut octets = [0; MAC_BYTES_MAX];
    for (to, from) in octets.iter_mut().zip(FixedOutput::finalize_fixed(mac)) {
        *to = from;
    }
    octets
}

impl Drop for FwknopKey {
    fn drop(&mut self) {
        self.encryption.zeroize();
        self.mac.zeroize();
    }
}

impl fmt::Debug for FwknopKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FwknopKey(..)")
    }
}
