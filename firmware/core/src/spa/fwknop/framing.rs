//! The outside of a datagram: what is text of ciphertext and what is text of the MAC.

use super::base64;
use super::key::{MAC_BYTES_MAX, MacDigest};
use super::verifier::Refusal;
use super::{BLOCK_BYTES, CIPHERTEXT_BYTES_MAX, PACKET_BYTES_MAX, PACKET_BYTES_MIN, PREFIX, SALTED_BYTES};

/// What every datagram is looked at for, whatever the keys: octets of a stock packet, all of them
/// base64, that do not begin with what the client cuts off.
///
/// # Errors
/// [`Refusal::Size`], [`Refusal::NotBase64`] and [`Refusal::Prefix`].
pub(super) fn screen(datagram: &[u8]) -> Result<(), Refusal> {
    if !(PACKET_BYTES_MIN..=PACKET_BYTES_MAX).contains(&datagram.len()) {
        return Err(Refusal::Size);
    }
    if !datagram.iter().all(|&character| base64::value(character).is_some()) {
        return Err(Refusal::NotBase64);
    }
    // The first character holds the last four bits of the `_` of `Salted__`.
    let first = datagram.first().and_then(|&character| base64::value(character));
    if first.is_some_and(|value| value >> 2 == 0b1111) { Ok(()) } else { Err(Refusal::Prefix) }
}

/// A datagram in its parts, as they are with one kind of MAC.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parts<'a> {
    /// Text of salt and ciphertext without its first ten characters.
    pub(super) body: &'a [u8],
    /// The MAC, in the front; the rest is zero.
    pub(super) mac: [u8; MAC_BYTES_MAX],
}

impl<'a> Parts<'a> {
    /// `None` when a packet with this MAC looks otherwise: the length tells nothing but which kinds of
    /// MAC it may have, so each is tried.
    pub(super) fn split(datagram: &'a [u8], digest: MacDigest) -> Option<Self> {
        let mac_characters = base64::characters(digest.bytes());
        let (body, mac_text) = datagram.split_at_checked(datagram.len().checked_sub(mac_characters)?)?;
        let octets = base64::octets(PREFIX.len() + body.len(), *body.last()?)?;
        let ciphertext = octets.checked_sub(SALTED_BYTES)?;
        if ciphertext % BLOCK_BYTES != 0 || !(BLOCK_BYTES..=CIPHERTEXT_BYTES_MAX).contains(&ciphertext) {
            return None;
        }
        let mut mac = [0; MAC_BYTES_MAX];
        let decoded = base64::decode(mac_text, &mut mac)?;
        (decoded == digest.bytes()).then_some(Self { body, mac })
    }
}
