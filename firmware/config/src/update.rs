//! A signed update: what its manifest says, octet for octet.
//!
//! ```text
//!   0  magic "PSTRNUPD"       8
//!   8  format, 1              u16 le
//!  10  reserved, 0            u16
//!  12  board                  32, ASCII, filled up with zeros
//!  44  release                u32 le
//!  48  version, for people    24, ASCII, filled up with zeros
//!  72  octets of the kernel   u32 le
//!  76  its SHA-256            32
//! 108  octets of the root     u32 le
//! 112  its SHA-256            32
//! 144  Ed25519 signature      64, over "postern update v1" and the 144 octets before
//! ```
//!
//! A bundle is the manifest, filled up with zeros to [`HEAD_BYTES`], then the kernel, then the root file
//! system, as they lie in the partitions of a slot. Format 1 is frozen.

use ed25519_dalek::Signature;
use heapless::String;

use crate::signed::{self, SIGNATURE_BYTES, SignatureError};

/// Octets of a manifest with its signature.
pub const MANIFEST_BYTES: usize = BODY_BYTES + SIGNATURE_BYTES;

/// Octets of what is signed, without the context.
pub const BODY_BYTES: usize = 144;

/// Octets before the kernel in a bundle.
pub const HEAD_BYTES: usize = 4096;

/// Payloads are whole blocks of so many octets: what a medium is written and read in.
pub const BLOCK_BYTES: u32 = 4096;

/// Octets of the longest name of a board.
pub const BOARD_BYTES_MAX: usize = 32;

/// Octets of the longest version.
pub const VERSION_BYTES_MAX: usize = 24;

const MAGIC: &[u8; 8] = b"PSTRNUPD";
const FORMAT: u16 = 1;
const CONTEXT: &[u8; 17] = b"postern update v1";

/// One of the two parts of a system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Payload {
    /// How long it is, in whole blocks.
    pub bytes: u32,
    /// Its SHA-256.
    pub digest: [u8; 32],
}

/// What an update is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    /// For which board.
    pub board: String<BOARD_BYTES_MAX>,
    /// Rises with every release: an older one is refused.
    pub release: u32,
    /// The same for people.
    pub version: String<VERSION_BYTES_MAX>,
    /// Kernel, initramfs and device tree.
    pub kernel: Payload,
    /// Root file system with its hash tree.
    pub root: Payload,
}

/// Why octets are no manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ManifestError {
    /// They do not begin as one, or are not as long.
    NotOne,
    /// Of a format this version does not know.
    OtherFormat(u16),
    /// Something in it cannot be.
    Malformed,
    /// Its signature does not count.
    Signature(SignatureError),
}

impl Manifest {
    /// Octets of both payloads.
    pub const fn bytes(&self) -> u64 {
        self.kernel.bytes as u64 + self.root.bytes as u64
    }

    /// What is signed, without the context.
    pub fn body(&self) -> [u8; BODY_BYTES] {
        let mut body = [0; BODY_BYTES];
        let mut place = body.iter_mut();
        let mut put = |octets: &[u8], length: usize| {
            for at in 0..length {
                if let Some(to) = place.next() {
                    *to = octets.get(at).copied().unwrap_or(0);
                }
            }
        };
        put(MAGIC, 8);
        put(&FORMAT.to_le_bytes(), 2);
        put(&[], 2);
        put(self.board.as_bytes(), BOARD_BYTES_MAX);
        put(&self.release.to_le_bytes(), 4);
        put(self.version.as_bytes(), VERSION_BYTES_MAX);
        for payload in [&self.kernel, &self.root] {
            put(&payload.bytes.to_le_bytes(), 4);
            put(&payload.digest, 32);
        }
        body
    }

    /// What the owner signs.
    pub fn message(&self) -> [u8; CONTEXT.len() + BODY_BYTES] {
        message(&self.body())
    }

    /// The manifest with its signature.
    pub fn signed(&self, signature: &[u8; SIGNATURE_BYTES]) -> [u8; MANIFEST_BYTES] {
        let mut octets = [0; MANIFEST_BYTES];
        let all = self.body().into_iter().chain(*signature);
        octets.iter_mut().zip(all).for_each(|(place, octet)| *place = octet);
        octets
    }

    /// Reads a manifest and believes it: for tools that make one. See [`Manifest::verify`].
    ///
    /// # Errors
    /// [`ManifestError`].
    pub fn read(octets: &[u8]) -> Result<(Self, [u8; SIGNATURE_BYTES]), ManifestError> {
        let mut rest = Rest(octets);
        if octets.len() != MANIFEST_BYTES || &rest.take::<8>()? != MAGIC {
            return Err(ManifestError::NotOne);
        }
        let format = u16::from_le_bytes(rest.take()?);
        if format != FORMAT {
            return Err(ManifestError::OtherFormat(format));
        }
        if rest.take::<2>()? != [0; 2] {
            return Err(ManifestError::Malformed);
        }
        let manifest = Self {
            board: text(&rest.take::<BOARD_BYTES_MAX>()?)?,
            release: u32::from_le_bytes(rest.take()?),
            version: text(&rest.take::<VERSION_BYTES_MAX>()?)?,
            kernel: rest.payload()?,
            root: rest.payload()?,
        };
        Ok((manifest, rest.take()?))
    }

    /// Reads a manifest that the owner signed.
    ///
    /// # Errors
    /// [`ManifestError`].
    pub fn verify(octets: &[u8], owner: &[u8; 32]) -> Result<Self, ManifestError> {
        let signed = |error| ManifestError::Signature(error);
        // The signature first: nothing else of what is not the owner's is looked at.
        let (body, rest) = octets.split_first_chunk::<BODY_BYTES>().ok_or(ManifestError::NotOne)?;
        let signature: &[u8; SIGNATURE_BYTES] = rest.try_into().map_err(|_| ManifestError::NotOne)?;
        signed::verify(owner, &message(body), &Signature::from_bytes(signature)).map_err(signed)?;
        Self::read(octets).map(|(manifest, _)| manifest)
    }
}

fn message(body: &[u8; BODY_BYTES]) -> [u8; CONTEXT.len() + BODY_BYTES] {
    let mut message = [0; CONTEXT.len() + BODY_BYTES];
    let all = CONTEXT.iter().chain(body);
    message.iter_mut().zip(all).for_each(|(place, octet)| *place = *octet);
    message
}

/// Octets that were not read yet.
struct Rest<'o>(&'o [u8]);

impl Rest<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], ManifestError> {
        let (taken, rest) = self.0.split_first_chunk::<N>().ok_or(ManifestError::NotOne)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn payload(&mut self) -> Result<Payload, ManifestError> {
        let bytes = u32::from_le_bytes(self.take()?);
        let digest = self.take()?;
        if bytes == 0 || bytes % BLOCK_BYTES != 0 {
            return Err(ManifestError::Malformed);
        }
        Ok(Payload { bytes, digest })
    }
}

/// Printable ASCII without blanks, at least one letter, then zeros.
fn text<const N: usize>(octets: &[u8; N]) -> Result<String<N>, ManifestError> {
    let length = octets.iter().position(|&octet| octet == 0).unwrap_or(N);
    let (letters, zeros) = octets.split_at_checked(length).ok_or(ManifestError::Malformed)?;
    let plain = !letters.is_empty() && letters.iter().all(u8::is_ascii_graphic);
    if !plain || zeros.iter().any(|&octet| octet != 0) {
        return Err(ManifestError::Malformed);
    }
    let letters = core::str::from_utf8(letters).map_err(|_| ManifestError::Malformed)?;
    String::try_from(letters).map_err(|_| ManifestError::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ed25519_dalek::{Signer, SigningKey};
    use std::vec::Vec;

    fn manifest() -> Manifest {
        Manifest {
            board: "qemu-arm64".try_into().unwrap(),
            release: 0x0102_0304,
            version: "0.1.0".try_into().unwrap(),
            kernel: Payload { bytes: 8192, digest: [0xaa; 32] },
            root: Payload { bytes: 4096, digest: [0xbb; 32] },
        }
    }

    fn signed() -> ([u8; MANIFEST_BYTES], [u8; 32]) {
        let owner = SigningKey::from_bytes(&[1; 32]);
        let manifest = manifest();
        let signature = owner.sign(&manifest.message()).to_bytes();
        (manifest.signed(&signature), owner.verifying_key().to_bytes())
    }

    #[test]
    fn format_1_is_frozen() {
        let mut golden = Vec::new();
        golden.extend_from_slice(b"PSTRNUPD\x01\0\0\0qemu-arm64");
        golden.resize(44, 0);
        golden.extend_from_slice(b"\x04\x03\x02\x010.1.0");
        golden.resize(72, 0);
        golden.extend_from_slice(&[0, 0x20, 0, 0]);
        golden.extend_from_slice(&[0xaa; 32]);
        golden.extend_from_slice(&[0, 0x10, 0, 0]);
        golden.extend_from_slice(&[0xbb; 32]);
        assert_eq!(manifest().body().as_slice(), golden);
        assert!(manifest().message().starts_with(b"postern update v1PSTRNUPD"));
        let (octets, owner) = signed();
        // Ed25519 signs the same octets to the same signature (RFC 8032).
        assert_eq!(octets[BODY_BYTES..BODY_BYTES + 8], [32, 101, 125, 204, 134, 103, 55, 253]);
        assert_eq!(Manifest::verify(&octets, &owner), Ok(manifest()));
    }

    #[test]
    fn no_octet_may_differ_or_be_missing() {
        let (octets, owner) = signed();
        // Each octet with another bit: all 1,664 take a minute without optimisation.
        for index in 0..MANIFEST_BYTES {
            let mut flipped = octets;
            flipped[index] ^= 1 << (index % 8);
            assert!(Manifest::verify(&flipped, &owner).is_err(), "octet {index}");
        }
        for length in 0..MANIFEST_BYTES {
            assert_eq!(Manifest::verify(&octets[..length], &owner), Err(ManifestError::NotOne));
        }
        let longer: Vec<u8> = octets.iter().copied().chain([0]).collect();
        assert_eq!(Manifest::verify(&longer, &owner), Err(ManifestError::NotOne));
    }

    #[test]
    fn the_owner_and_for_an_update_and_nobody_else() {
        let (octets, _) = signed();
        let forged = Err(ManifestError::Signature(SignatureError::Forged));
        let stranger = SigningKey::from_bytes(&[2; 32]);
        assert_eq!(Manifest::verify(&octets, &stranger.verifying_key().to_bytes()), forged);
        // The body alone, without the context: what another kind of message could be made of.
        let owner = SigningKey::from_bytes(&[1; 32]);
        let other = manifest().signed(&owner.sign(&manifest().body()).to_bytes());
        assert_eq!(Manifest::verify(&other, &owner.verifying_key().to_bytes()), forged);
        let unsigned = manifest().signed(&[0; SIGNATURE_BYTES]);
        assert_eq!(Manifest::verify(&unsigned, &owner.verifying_key().to_bytes()), forged);
    }

    #[test]
    fn what_cannot_be_is_refused_though_it_is_signed() {
        let owner = SigningKey::from_bytes(&[1; 32]);
        let sign = |manifest: &Manifest| manifest.signed(&owner.sign(&manifest.message()).to_bytes());
        let public = owner.verifying_key().to_bytes();
        let payload = |bytes| Payload { bytes, digest: [0; 32] };
        for manifest in [
            Manifest { kernel: payload(0), ..manifest() },
            Manifest { root: payload(4095), ..manifest() },
            Manifest { board: String::new(), ..manifest() },
            Manifest { version: "0.1 0".try_into().unwrap(), ..manifest() },
            Manifest { board: "qemu\0arm".try_into().unwrap(), ..manifest() },
        ] {
            assert_eq!(Manifest::verify(&sign(&manifest), &public), Err(ManifestError::Malformed));
        }
    }
}
