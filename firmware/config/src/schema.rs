//! Payloads: a site in postcard, by the number of its schema.
//!
//! Schema 1 is [`crate::site`] and frozen. The next one is a new module with a `From` of the site
//! before it, one more arm in [`decode`], and golden octets (`tests/golden.rs`);
//! `tests/migration.rs` does all of that with a pretended schema 2, so that it is routine when the
//! time comes.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::site::Site;

/// The schema this version writes.
pub const SCHEMA: u16 = 1;

/// Octets of the largest payload: a test makes the largest site there can be.
pub const PAYLOAD_BYTES_MAX: usize = 120 * 1024;

/// Why a payload could not be read or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PayloadError {
    /// Of a schema this version does not know: made by a later one.
    OtherSchema(u16),
    /// Not a site, or not in its one encoding.
    Malformed,
    /// The buffer is too short; [`PAYLOAD_BYTES_MAX`] octets are always enough.
    NoRoom,
}

/// Reads a payload.
///
/// # Errors
/// [`PayloadError::OtherSchema`] and [`PayloadError::Malformed`].
pub fn decode(schema: u16, payload: &[u8]) -> Result<Site, PayloadError> {
    match schema {
        SCHEMA => decode_as(payload),
        other => Err(PayloadError::OtherSchema(other)),
    }
}

/// Writes a payload of [`SCHEMA`] into `buffer`; returns how many octets.
///
/// # Errors
/// [`PayloadError::NoRoom`].
pub fn encode(site: &Site, buffer: &mut [u8]) -> Result<usize, PayloadError> {
    postcard::to_slice(site, buffer).map(|payload| payload.len()).map_err(|_| PayloadError::NoRoom)
}

/// Reads a payload of one schema. One value has one encoding: postcard reads numbers written with
/// more octets than needed, and they are refused here.
///
/// # Errors
/// [`PayloadError::Malformed`].
pub fn decode_as<T: DeserializeOwned + Serialize>(payload: &[u8]) -> Result<T, PayloadError> {
    let (value, unread) = postcard::take_from_bytes::<T>(payload).map_err(|_| PayloadError::Malformed)?;
    let canonical = postcard::serialize_with_flavor(&value, Comparison::new(payload)).unwrap_or(false);
    if unread.is_empty() && canonical { Ok(value) } else { Err(PayloadError::Malformed) }
}

/// Compares an encoding with what was read, without a second buffer.
struct Comparison<'a> {
    expected: &'a [u8],
    same: bool,
}

impl<'a> Comparison<'a> {
    fn new(expected: &'a [u8]) -> Self {
        Self { expected, same: true }
    }
}

impl postcard::ser_flavors::Flavor for Comparison<'_> {
    type Output = bool;

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        match self.expected.split_first() {
            Some((first, rest)) => {
                self.same &= *first == byte;
                self.expected = rest;
            }
            None => self.same = false,
        }
        Ok(())
    }

    fn finalize(self) -> postcard::Result<bool> {
        Ok(self.same && self.expected.is_empty())
    }
}
