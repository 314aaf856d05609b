//! Any manifest of an update, and any copy of the choice of the slot: read, or refused; what was read is
//! written again octet for octet, and nobody but the owner signs.

use postern_config::slots::{ATTEMPTS, COPY_BYTES, Choice};
use postern_config::update::{MANIFEST_BYTES, Manifest};

/// Octets of a copy's check sum.
const SUM_BYTES: usize = 4;

/// Reads the bytes as a manifest and as a copy of the choice, also behind a right check sum.
///
/// # Panics
/// When a reader breaks a promise.
pub fn run(bytes: &[u8]) {
    if let Ok((manifest, signature)) = Manifest::read(bytes) {
        assert_eq!(manifest.signed(&signature).as_slice(), bytes, "one manifest has one encoding");
        assert_eq!(bytes.len(), MANIFEST_BYTES);
        assert!(manifest.bytes() > 0 && manifest.message().ends_with(&manifest.body()));
    }
    // The base point of Ed25519 (RFC 8032), a key whose secret nobody has.
    let mut owner = [0x66; 32];
    owner[0] = 0x58;
    assert!(Manifest::verify(bytes, &owner).is_err(), "signed by nobody");
    check(Choice::read(bytes));
    let mut copy = vec![0; COPY_BYTES];
    let taken = bytes.len().min(COPY_BYTES - SUM_BYTES);
    copy[SUM_BYTES..SUM_BYTES + taken].copy_from_slice(&bytes[..taken]);
    let sum = !crc32(!0, &copy[SUM_BYTES..]);
    copy[..SUM_BYTES].copy_from_slice(&sum.to_le_bytes());
    check(Choice::read(&copy));
    if let Some(&last) = bytes.last() {
        let at = usize::from(last) * 16 + 7;
        copy[at] ^= 0x10;
        assert_eq!(Choice::read(&copy), None, "octet {at} changed and nobody noticed");
    }
}

/// What was read comes back, and the boot script always finds something to start.
fn check(choice: Option<Choice>) {
    let Some(choice) = choice else { return };
    assert_eq!(Choice::read(&choice.copy()), Some(choice));
    let next = choice.next();
    assert!(next.slot == choice.slot || (choice.left == 0 && choice.other_good), "{choice:?}, {next:?}");
    assert!(choice.left == 0 || next.left == choice.left - 1);
    assert!(choice.left > 0 || next.left == ATTEMPTS - 1);
    assert_eq!(next.floor, choice.floor);
}

/// CRC-32 (ISO 3309), bit by bit: independent of the one under test.
fn crc32(mut sum: u32, bytes: &[u8]) -> u32 {
    for &octet in bytes {
        sum ^= u32::from(octet);
        for _ in 0..8 {
            sum = if sum & 1 == 1 { sum >> 1 ^ 0xedb8_8320 } else { sum >> 1 };
        }
    }
    sum
}
