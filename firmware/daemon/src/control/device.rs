//! Who this device is.

use hmac::{Hmac, Mac};
use postern_core::rule::Name;
use sha2::Sha256;

/// Who this device is.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Device {
    /// Its id, no secret.
    pub id: [u8; 16],
    /// Its key.
    pub key: [u8; 32],
}

impl core::fmt::Debug for Device {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Device").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Device {
    /// Something only this device can compute of a name.
    pub(super) fn pretended(&self, what: &[u8], name: &Name) -> [u8; 32] {
        // HMAC takes a key of any length; the error cannot be.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.key) else { return [0; 32] };
        mac.update(b"postern pretended account v1 ");
        mac.update(what);
        mac.update(name.as_bytes());
        mac.finalize().into_bytes().into()
    }
}
