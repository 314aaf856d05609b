//! Our own packet: 128 octets that look random to everybody without the key.
//!
//! ```text
//!   0  hint     8   finds the key, see [`hint`]
//!   8  nonce   24
//!  32  box     80   a [`Request`], encrypted
//! 112  tag     16   over hint and box
//! ```
//!
//! No octet says which format or version this is: the version is part of every sub-key, so that the
//! packets of another version are noise to this one. The device id is part of them too. `SPA.md` at
//! the root of the repository has the whole format for who writes another client.

pub mod aead;
pub mod hint;
pub mod request;
pub mod verifier;

#[cfg(test)]
mod reboots;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod vectors;

use subtle::Choice;

use self::aead::{NONCE_BYTES, TAG_BYTES};
use self::hint::{HINT_BYTES, HintKey};
pub use self::request::{Malformed, REQUEST_BYTES, Request};
pub use self::verifier::{Admitted, Arrival, Refusal, Refused, Verdict, Verifier, Waiting};
use super::key::{DeviceId, KEY_BYTES, KeyUse, SpaKey, SubKey};

/// Octets of a packet, always.
pub const PACKET_BYTES: usize = HINT_BYTES + NONCE_BYTES + REQUEST_BYTES + TAG_BYTES;

const _: () = assert!(PACKET_BYTES == 128);

/// A packet in its parts.
#[derive(Clone, Copy, Debug)]
struct Parts {
    hint: [u8; HINT_BYTES],
    nonce: [u8; NONCE_BYTES],
    body: [u8; REQUEST_BYTES],
    tag: [u8; TAG_BYTES],
}

impl Parts {
    /// `None` when it is not a packet's length.
    fn split(datagram: &[u8]) -> Option<Self> {
        let (hint, rest) = datagram.split_first_chunk()?;
        let (nonce, rest) = rest.split_first_chunk()?;
        let (body, rest) = rest.split_first_chunk()?;
        let tag = rest.try_into().ok()?;
        Some(Self { hint: *hint, nonce: *nonce, body: *body, tag })
    }

    fn join(&self) -> [u8; PACKET_BYTES] {
        let mut packet = [0; PACKET_BYTES];
        let octets = self.hint.iter().chain(&self.nonce).chain(&self.body).chain(&self.tag);
        for (to, from) in packet.iter_mut().zip(octets) {
            *to = *from;
        }
        packet
    }

    /// Decrypts the body in place when the tag is right.
    fn open(&mut self, key: &[u8; KEY_BYTES]) -> Choice {
        aead::open(key, &self.nonce, &self.hint, &mut self.body, &self.tag)
    }
}

/// What a client needs of a key for one device.
#[derive(Clone, Debug)]
pub struct Sealer {
    hint: HintKey,
    seal: SubKey,
    nonce: SubKey,
}

impl Sealer {
    /// Derives the sub-keys of `key` for `device`.
    pub fn new(key: &SpaKey, device: DeviceId) -> Self {
        Self {
            hint: HintKey::new(&key.derive(KeyUse::Hint, device)),
            seal: key.derive(KeyUse::Seal, device),
            nonce: key.derive(KeyUse::Nonce, device),
        }
    }

    /// The packet that asks for `request`. `random` comes from the system's generator. Should that be
    /// broken, nonces still differ as long as requests do, and counters see to that: the nonce is
    /// a pseudo-random function of both.
    ///
    /// # Errors
    /// [`Malformed`] when the request has no encoding.
    pub fn seal(
        &self,
        request: &Request,
        random: &[u8; NONCE_BYTES],
    ) -> Result<[u8; PACKET_BYTES], Malformed> {
        let octets = request.encode()?;
        Ok(self.seal_octets(&octets, &self.nonce_for(&octets, random)))
    }

    fn nonce_for(&self, octets: &[u8; REQUEST_BYTES], random: &[u8; NONCE_BYTES]) -> [u8; NONCE_BYTES] {
        let mut nonce = [0; NONCE_BYTES];
        for (to, from) in nonce.iter_mut().zip(self.nonce.hmac(&[random, octets])) {
            *to = from;
        }
        nonce
    }

    /// Seals any 80 octets under a nonce of the caller's choice, which must never come twice. For test
    /// vectors, and for tests of what lies behind the seal; clients use [`Sealer::seal`].
    pub fn seal_octets(&self, octets: &[u8; REQUEST_BYTES], nonce: &[u8; NONCE_BYTES]) -> [u8; PACKET_BYTES] {
        let hint = self.hint.hint(hint::words(nonce)).to_le_bytes();
        let mut body = *octets;
        let tag = aead::seal(self.seal.expose(), nonce, &hint, &mut body);
        Parts { hint, nonce: *nonce, body, tag }.join()
    }
}
