//! Packets of the stock fwknop client, version 2.5 to 2.6, in symmetric mode with HMAC.
//!
//! ```text
//! UDP payload   text of the blob, without its first ten characters and without padding
//!               text of the MAC, without padding; how long it is nobody says
//! blob          "Salted__" (8), salt (8), AES-256-CBC (16, 32, ... 272)
//! MAC           HMAC of the blob's text, the ten characters put back
//! ```
//!
//! Everything is base64. [`request`] has the text behind the cipher, [`mark`] says what keeps packets
//! from counting twice, [`verifier`] the order of all checks. Names of fields, limits and defaults are
//! those of the sources of fwknop 2.6.11 (`lib/` and fwknopd(8)); test vectors made by the client Debian
//! ships lie in `tests/vectors`.
//!
//! # What is taken and what is not
//!
//! | | |
//! | --- | --- |
//! | HMAC-SHA-256, -384, -512 | taken |
//! | no HMAC, HMAC-MD5, HMAC-SHA-1, HMAC-SHA3 | no such key can be made: packets are [`Refusal::NotGenuine`] |
//! | CBC | taken |
//! | ECB, CFB, OFB, CTR, the IV of before 2.5 | [`Malformed::NotDecrypted`]: the mode is not on the wire |
//! | GPG | not genuine, or too long |
//! | digest inside: SHA-256, -384, -512 | taken |
//! | digest inside: MD5, SHA-1 | [`Malformed::DigestWeak`] |
//! | access, with time-out (types 1, 3) | taken |
//! | NAT (types 2, 4) | taken when a door leads exactly there, else [`Refusal::Nat`] |
//! | local NAT (types 5, 6) | [`Refusal::Nat`] |
//! | command (type 0) | [`Refusal::Command`], always |
//!
//! # What it is worth
//!
//! Less than our own packet. Nothing in it names the gateway: a packet to one counts at every other
//! that has the same key, once each, so every gateway needs keys of its own. Packets are
//! recognised by their length and their port. And they carry the client's clock, which need not be
//! right; see [`mark`] for what that means.

mod base64;
mod cipher;
mod framing;
pub mod key;
pub mod mark;
pub mod request;
pub mod sealer;
pub mod verifier;

#[cfg(test)]
mod reboots;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod vectors;

pub use self::key::{FwknopKey, KeyLength, MacDigest};
pub use self::request::{Malformed, Request, User};
pub use self::verifier::{Admitted, Opening, Refusal, Refused, Verdict, Verifier, Waiting};

/// Octets of the shortest packet: the stock server reads nothing shorter.
pub const PACKET_BYTES_MIN: usize = 140;

/// Octets of the longest packet a stock client makes: 288 octets of blob and an HMAC-SHA-512. It
/// refuses to make longer ones, which it would itself take for GPG.
pub const PACKET_BYTES_MAX: usize =
    base64::characters(BLOB_BYTES_MAX) - PREFIX.len() + base64::characters(key::MAC_BYTES_MAX);

const _: () = assert!(PACKET_BYTES_MAX == 460);

/// What the client does not send: the text of the first octets of every blob.
const PREFIX: &[u8; 10] = b"U2FsdGVkX1";

/// What every blob begins with.
const MAGIC: &[u8; 8] = b"Salted__";

const SALT_BYTES: usize = 8;

/// Octets in front of the ciphertext.
const SALTED_BYTES: usize = MAGIC.len() + SALT_BYTES;

/// Octets of a block of the cipher.
const BLOCK_BYTES: usize = 16;

const BLOB_BYTES_MAX: usize = 288;

const CIPHERTEXT_BYTES_MAX: usize = BLOB_BYTES_MAX - SALTED_BYTES;
