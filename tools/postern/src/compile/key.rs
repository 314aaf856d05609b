//! Keys as they are stored, with their secrets.

use std::ops::RangeInclusive;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use postern_config::secret::{Secret, StoredSecret};
use postern_config::site::{StoredKey, StoredKeyKind};
use postern_core::spa::fwknop::key::{ENCRYPTION_KEY_BYTES_MAX, KEY_BYTES_ADVISED, MAC_KEY_BYTES_MAX};

use super::CompileError;
use crate::base64;
use crate::site::{At, KeyFile, KindFile, SecretFile, SecretRef};

/// Octets of a key of our own format.
const NATIVE_BYTES: RangeInclusive<usize> = 32..=32;

/// Octets of a stock client's encryption key.
const FWKNOP_CIPHER_BYTES: RangeInclusive<usize> = KEY_BYTES_ADVISED..=ENCRYPTION_KEY_BYTES_MAX;

/// Octets of a stock client's HMAC key.
const FWKNOP_HMAC_BYTES: RangeInclusive<usize> = KEY_BYTES_ADVISED..=MAC_KEY_BYTES_MAX;

/// Where the files of secrets are.
#[derive(Clone, Copy, Debug)]
pub enum Secrets<'a> {
    /// Not looked at: every secret is a label of zeros. For checks only.
    Unread,
    /// Paths begin at this folder.
    Files(&'a Path),
    /// These, and no others.
    Given(&'a [SecretFile]),
}

impl Secrets<'_> {
    fn load(&self, path: &At<String>, bytes: RangeInclusive<usize>) -> Result<StoredSecret, CompileError> {
        let failed = |why: String| CompileError::Secret { offset: path.offset, why };
        let octets = match self {
            Secrets::Unread => return Ok(StoredSecret::Held([0; 8])),
            Secrets::Files(folder) => read(&folder.join(&path.value)).map_err(failed)?,
            Secrets::Given(files) => {
                let file = files.iter().find(|file| file.path == path.value);
                file.ok_or_else(|| failed(format!("there is no file {}", path.value)))?.octets.clone()
            }
        };
        if !bytes.contains(&octets.len()) {
            let (least, most) = (bytes.start(), bytes.end());
            let wanted = if least == most { least.to_string() } else { format!("{least} to {most}") };
            return Err(failed(format!("{} holds {} octets, not {wanted}", path.value, octets.len())));
        }
        let secret = Secret::new(&octets).map_err(|_| failed(format!("{} is too long", path.value)))?;
        Ok(StoredSecret::Known(secret))
    }
}

/// Reads a file of base64 that nobody else may read.
fn read(path: &Path) -> Result<Vec<u8>, String> {
    let shown = path.display();
    let metadata = path.metadata().map_err(|error| format!("cannot read {shown}: {error}"))?;
    if metadata.permissions().mode() & 0o077 != 0 {
        return Err(format!("others may read the secret in {shown}: chmod 600 {shown}"));
    }
    let text = std::fs::read_to_string(path).map_err(|error| format!("cannot read {shown}: {error}"))?;
    base64::decode(text.trim()).ok_or_else(|| format!("{shown} does not hold base64"))
}

pub(super) fn stored(key: &KeyFile, secrets: &Secrets<'_>) -> Result<StoredKey, CompileError> {
    let load = |secret: &SecretRef, bytes: RangeInclusive<usize>| match secret {
        SecretRef::Held(label) => Ok(StoredSecret::Held(*label)),
        SecretRef::File(path) => secrets.load(path, bytes),
    };
    let kind = match &key.kind {
        KindFile::Native { secret } => StoredKeyKind::Native { secret: load(secret, NATIVE_BYTES)? },
        KindFile::Fwknop { encryption, hmac, digest } => {
            let [for_cipher, for_hmac] = [(encryption, FWKNOP_CIPHER_BYTES), (hmac, FWKNOP_HMAC_BYTES)]
                .map(|(secret, bytes)| load(secret, bytes));
            let (encryption_key, hmac_key) = (for_cipher?, for_hmac?);
            differ(hmac, &encryption_key, &hmac_key)?;
            StoredKeyKind::Fwknop { encryption: encryption_key, hmac: hmac_key, digest: *digest }
        }
    };
    Ok(StoredKey { kind, ..key.rest.clone() })
}

/// Refuses one secret for both uses: who guesses one has both.
fn differ(place: &SecretRef, encryption: &StoredSecret, hmac: &StoredSecret) -> Result<(), CompileError> {
    let same = encryption.known().is_some() && encryption == hmac;
    match place {
        SecretRef::File(path) if same => {
            let why =
                format!("{} is the encryption key too: make them anew with `fwknop --key-gen`", path.value);
            Err(CompileError::Secret { offset: path.offset, why })
        }
        _ => Ok(()),
    }
}
