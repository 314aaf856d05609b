//! A file with an update: the manifest, then kernel and root file system, see `postern_config::update`.

use std::fs;
use std::path::Path;

use postern_config::signed::SIGNATURE_BYTES;
use postern_config::update::{BODY_BYTES, HEAD_BYTES, MANIFEST_BYTES, Manifest, ManifestError, Payload};
use sha2::{Digest, Sha256};

/// An update, whole and as its manifest says. Whose it is, is the gateway's to prove.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpdateFile {
    /// What it is.
    pub manifest: Manifest,
    /// The manifest with its signature, as it came.
    pub octets: Vec<u8>,
    /// Kernel and root file system, one behind the other.
    pub payload: Vec<u8>,
}

impl UpdateFile {
    /// Reads a file.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(path: &Path) -> Result<Self, String> {
        let shown = path.display();
        let all = fs::read(path).map_err(|error| format!("cannot read {shown}: {error}"))?;
        Self::of(&all).map_err(|wrong| format!("{shown} {wrong}"))
    }

    /// Reads the octets of a file.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn of(all: &[u8]) -> Result<Self, String> {
        let head = all.get(..HEAD_BYTES).ok_or("is no update: it is too short")?;
        let (octets, rest) = head.split_at(MANIFEST_BYTES);
        let (manifest, _) = Manifest::read(octets).map_err(|error| match error {
            ManifestError::OtherFormat(format) => {
                format!("is an update of format {format}, which this version does not know")
            }
            _ => "is no update".to_owned(),
        })?;
        if rest.iter().any(|&octet| octet != 0) {
            return Err("is damaged: something follows its manifest".to_owned());
        }
        let payload = &all[HEAD_BYTES..];
        if payload.len() as u64 != manifest.bytes() {
            return Err(format!("is damaged: it has {} octets, not {}", payload.len(), manifest.bytes()));
        }
        let (kernel, root) = payload.split_at(usize::try_from(manifest.kernel.bytes).unwrap_or(usize::MAX));
        for (part, name, octets) in [(manifest.kernel, "kernel", kernel), (manifest.root, "root", root)] {
            if digest(octets) != part.digest {
                return Err(format!("is damaged: its {name} is not what its manifest says"));
            }
        }
        Ok(Self { manifest, octets: octets.to_vec(), payload: payload.to_vec() })
    }

    /// An update of these parts, without a signature. Each is filled up with zeros to whole blocks.
    ///
    /// # Errors
    /// When a part is too large, or a name does not fit.
    pub fn unsigned(
        board: &str,
        release: u32,
        version: &str,
        kernel: Vec<u8>,
        root: Vec<u8>,
    ) -> Result<Self, String> {
        let mut payload = Vec::new();
        let mut part = |mut octets: Vec<u8>| {
            octets.resize(octets.len().next_multiple_of(HEAD_BYTES), 0);
            let bytes = u32::try_from(octets.len()).map_err(|_| "a part is too large".to_owned())?;
            let digest = digest(&octets);
            payload.append(&mut octets);
            Ok::<_, String>(Payload { bytes, digest })
        };
        let (kernel, root) = (part(kernel)?, part(root)?);
        let manifest = Manifest {
            board: board.try_into().map_err(|_| format!("{board} is too long a name"))?,
            release,
            version: version.try_into().map_err(|_| format!("{version} is too long a version"))?,
            kernel,
            root,
        };
        let octets = manifest.signed(&[0; SIGNATURE_BYTES]).to_vec();
        Ok(Self { manifest, octets, payload })
    }

    /// The same with this signature.
    #[must_use]
    pub fn with_signature(self, signature: &[u8; SIGNATURE_BYTES]) -> Self {
        Self { octets: self.manifest.signed(signature).to_vec(), ..self }
    }

    /// Whether somebody has signed it, whoever that is.
    pub fn is_signed(&self) -> bool {
        self.octets.get(BODY_BYTES..).is_some_and(|signature| signature.iter().any(|&octet| octet != 0))
    }

    /// The file.
    pub fn bytes(&self) -> Vec<u8> {
        let mut all = self.octets.clone();
        all.resize(HEAD_BYTES, 0);
        all.extend_from_slice(&self.payload);
        all
    }
}

fn digest(octets: &[u8]) -> [u8; 32] {
    Sha256::digest(octets).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> UpdateFile {
        UpdateFile::unsigned("qemu-arm64", 7, "0.1.0", vec![1; 5000], vec![2; 4096]).unwrap()
    }

    #[test]
    fn a_file_comes_back_and_parts_are_whole_blocks() {
        let made = file();
        assert_eq!((made.manifest.kernel.bytes, made.manifest.root.bytes), (8192, 4096));
        assert!(!made.is_signed());
        assert_eq!(UpdateFile::of(&made.bytes()), Ok(made.clone()));
        let signed = made.with_signature(&[9; SIGNATURE_BYTES]);
        assert!(signed.is_signed());
        assert_eq!(UpdateFile::of(&signed.bytes()), Ok(signed));
    }

    #[test]
    fn what_is_damaged_is_named() {
        let whole = file().bytes();
        let damaged = |at: usize| {
            let mut octets = whole.clone();
            octets[at] ^= 1;
            UpdateFile::of(&octets).unwrap_err()
        };
        assert_eq!(damaged(0), "is no update");
        assert!(damaged(HEAD_BYTES - 1).contains("manifest"));
        assert!(damaged(HEAD_BYTES).contains("kernel"));
        assert!(damaged(whole.len() - 1).contains("root"));
        assert!(UpdateFile::of(&whole[..whole.len() - 1]).unwrap_err().contains("octets"));
        assert!(UpdateFile::of(&whole[..100]).unwrap_err().contains("short"));
    }
}
