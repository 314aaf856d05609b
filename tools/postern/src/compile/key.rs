//! Keys as they are stored, with their secrets.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use postern_config::secret::{Secret, StoredSecret};
use postern_config::site::{StoredKey, StoredKeyKind};
use postern_core::limits::SECRET_BYTES_MAX;

use super::CompileError;
use crate::base64;
use crate::site::{At, KeyFile, KindFile, SecretFile, SecretRef};

/// Octets of a key of our own format.
const NATIVE_BYTES: usize = 32;

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
    fn load(&self, path: &At<String>, bytes: Option<usize>) -> Result<StoredSecret, CompileError> {
        let failed = |why: String| CompileError::Secret { offset: path.offset, why };
        let octets = match self {
            Secrets::Unread => return Ok(StoredSecret::Held([0; 8])),
            Secrets::Files(folder) => read(&folder.join(&path.value)).map_err(failed)?,
            Secrets::Given(files) => {
                let file = files.iter().find(|file| file.path == path.value);
                file.ok_or_else(|| failed(format!("there is no file {}", path.value)))?.octets.clone()
            }
        };
        let fits =
            bytes.map_or((1..=SECRET_BYTES_MAX).contains(&octets.len()), |bytes| octets.len() == bytes);
        if !fits {
            let wanted = bytes.map_or(format!("1 to {SECRET_BYTES_MAX}"), |bytes| bytes.to_string());
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
    let load = |secret: &SecretRef, bytes| match secret {
        SecretRef::Held(label) => Ok(StoredSecret::Held(*label)),
        SecretRef::File(path) => secrets.load(path, bytes),
    };
    let kind = match &key.kind {
        KindFile::Native { secret } => StoredKeyKind::Native { secret: load(secret, Some(NATIVE_BYTES))? },
        KindFile::Fwknop { encryption, hmac, digest } => StoredKeyKind::Fwknop {
            encryption: load(encryption, None)?,
            hmac: load(hmac, None)?,
            digest: *digest,
        },
    };
    Ok(StoredKey { kind, ..key.rest.clone() })
}
