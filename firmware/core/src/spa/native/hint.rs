//! Eight octets by which a gateway finds the key, and by which nobody else finds anything.
//!
//! The hint is SipHash-2-4 (Aumasson and Bernstein, 2012) of the nonce under a sub-key. Nonces do not
//! repeat, so no two hints of a person have anything in common. The gateway tries its keys, at most
//! [`crate::limits::KEYS_MAX`], which costs less than the check of one tag.

use core::fmt;

use zeroize::Zeroize;

use super::aead::NONCE_BYTES;
use crate::hash::siphash;
use crate::spa::key::SubKey;

/// Octets of a hint.
pub const HINT_BYTES: usize = 8;

/// Half of the sub-key for hints, as SipHash reads it. Wiped when dropped.
#[derive(Clone)]
pub(crate) struct HintKey {
    k0: u64,
    k1: u64,
}

impl HintKey {
    /// From the sub-key for hints; SipHash takes the first 16 octets.
    pub(crate) fn new(key: &SubKey) -> Self {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, ..] = *key.expose();
        Self {
            k0: u64::from_le_bytes([a, b, c, d, e, f, g, h]),
            k1: u64::from_le_bytes([i, j, k, l, m, n, o, p]),
        }
    }

    /// The hint that goes with `nonce`; little-endian in a packet, as SipHash writes it.
    pub(crate) fn hint(&self, nonce: [u64; 3]) -> u64 {
        siphash::<2, 4>(self.k0, self.k1, nonce)
    }
}

impl fmt::Debug for HintKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HintKey(..)")
    }
}

impl Drop for HintKey {
    fn drop(&mut self) {
        self.k0.zeroize();
        self.k1.zeroize();
    }
}

/// The nonce as SipHash reads it.
pub(crate) fn words(nonce: &[u8; NONCE_BYTES]) -> [u64; 3] {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t, u, v, w, x] = *nonce;
    [
        u64::from_le_bytes([a, b, c, d, e, f, g, h]),
        u64::from_le_bytes([i, j, k, l, m, n, o, p]),
        u64::from_le_bytes([q, r, s, t, u, v, w, x]),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spa::key::{DeviceId, KeyUse, SpaKey};
    use core::hash::Hasher;

    /// The standard library's deprecated hasher is documented to be SipHash-2-4: other hands.
    #[test]
    fn agrees_with_the_standard_library() {
        let key = SpaKey::new([5; 32]).derive(KeyUse::Hint, DeviceId([6; 16]));
        let ours = HintKey::new(&key);
        for seed in 0..100_u8 {
            let nonce = [seed.wrapping_mul(7); 24];
            #[expect(deprecated, reason = "the only SipHash-2-4 in the standard library")]
            let mut theirs = core::hash::SipHasher::new_with_keys(ours.k0, ours.k1);
            theirs.write(&nonce);
            assert_eq!(ours.hint(words(&nonce)), theirs.finish());
        }
    }
}
