//! What only this device can write: HMAC-SHA-256 (RFC 2104) under the device's key.
//!
//! A seal binds octets to the device and to the place they lie at, so that neither a slot of another
//! device nor one of another place counts. It proves nothing against somebody who can read the key:
//! where that lies on the same medium, whoever writes the medium can write a seal, too.

use hmac::{Hmac, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

/// Octets of a seal.
pub const SEAL_BYTES: usize = 32;

/// What is sealed: each kind has a text of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sealed {
    /// The header of this slot.
    Slot(u8),
    /// A record of marks.
    Marks,
    /// A record of leases.
    Leases,
}

/// The seal of `parts` under `key`.
pub fn seal(key: &[u8; 32], what: Sealed, parts: &[&[u8]]) -> [u8; SEAL_BYTES] {
    // HMAC takes a key of any length; the error cannot be.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return [0; SEAL_BYTES] };
    match what {
        Sealed::Slot(index) => {
            mac.update(b"postern slot v1");
            mac.update(&[index]);
        }
        Sealed::Marks => mac.update(b"postern marks v1"),
        Sealed::Leases => mac.update(b"postern leases v1"),
    }
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// Whether two seals are the same, in constant time.
pub fn same(one: &[u8; SEAL_BYTES], other: &[u8; SEAL_BYTES]) -> bool {
    one.ct_eq(other).into()
}
