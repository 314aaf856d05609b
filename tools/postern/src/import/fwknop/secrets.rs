//! The secrets of a stanza, and why some are none.

use postern_core::spa::fwknop::MacDigest;
use postern_core::spa::fwknop::key::{ENCRYPTION_KEY_BYTES_MAX, KEY_BYTES_ADVISED, MAC_KEY_BYTES_MAX};

use super::stanza::Stanza;
use crate::base64;
use crate::finding::Finding;
use crate::import::report::{Text, refusal, shown};
use crate::site::SecretFile;

/// Directives whose values nobody may see.
const SECRET: [&str; 5] = ["KEY", "KEY_BASE64", "HMAC_KEY", "HMAC_KEY_BASE64", "GPG_DECRYPT_PW"];

/// What stands in the shipped access.conf instead of a key.
const PLACEHOLDER: &str = "__CHANGEME__";

/// Whether the value of this directive is a secret.
pub(super) fn is_secret(name: &str) -> bool {
    SECRET.iter().any(|secret| secret.eq_ignore_ascii_case(name))
}

/// Both secrets of a key.
pub(super) struct Secrets {
    encryption: Vec<u8>,
    mac: Vec<u8>,
    /// Digest of the HMAC.
    pub(super) digest: MacDigest,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secrets(..)")
    }
}

impl Secrets {
    /// The secrets of a stanza.
    ///
    /// # Errors
    /// Why they are not taken; the findings show nothing of them.
    pub(super) fn read(stanza: &Stanza<'_>) -> Result<Self, Finding> {
        gpg(stanza)?;
        mode(stanza)?;
        let digest = digest(stanza)?;
        let encryption = secret(stanza, "KEY", "KEY_BASE64", ENCRYPTION_KEY_BYTES_MAX)?;
        let mac = secret(stanza, "HMAC_KEY", "HMAC_KEY_BASE64", MAC_KEY_BYTES_MAX)?;
        let (Some((encryption, _)), Some((mac, line))) = (&encryption, &mac) else {
            let missing = if encryption.is_none() { "no-key" } else { "no-hmac" };
            let message = if encryption.is_none() {
                "the stanza has no encryption key"
            } else {
                "the stanza has no HMAC key: without one anybody can have packets decrypted, and change them"
            };
            let suggestion = "Make both keys anew with `fwknop --key-gen`, for the client too.";
            return Err(refusal(stanza.source.place, missing, message, suggestion));
        };
        if encryption == mac {
            let suggestion = "Make both keys anew with `fwknop --key-gen`.";
            return Err(refusal(line.place, "same-keys", "both keys are the same", suggestion));
        }
        Ok(Self { encryption: encryption.clone(), mac: mac.clone(), digest })
    }

    /// The files the site file names.
    pub(super) fn files(&self, name: &str) -> [SecretFile; 2] {
        [("key", &self.encryption), ("hmac", &self.mac)].map(|(ending, octets)| SecretFile {
            path: format!("keys/{name}.{ending}"),
            octets: octets.clone(),
        })
    }

    /// Whether a packet made with one could be one made with the other.
    pub(super) fn same_mac(&self, other: &Secrets) -> bool {
        self.mac == other.mac
    }
}

/// GPG instead of a passphrase.
fn gpg(stanza: &Stanza<'_>) -> Result<(), Finding> {
    let symmetric = stanza.last("KEY").or(stanza.last("KEY_BASE64"));
    let gpg = stanza.lines.iter().find(|line| line.name.text.to_ascii_uppercase().starts_with("GPG_"));
    match gpg {
        Some(line) if symmetric.is_none() => {
            let message = "the stanza is for GPG, which Postern does not read";
            let suggestion = "Give the client a key with `fwknop --key-gen`.";
            Err(refusal(line.name.place, "gpg", message, suggestion))
        }
        _ => Ok(()),
    }
}

fn mode(stanza: &Stanza<'_>) -> Result<(), Finding> {
    let Some(value) = stanza.last("ENCRYPTION_MODE") else { return Ok(()) };
    let message = match value.text.to_ascii_uppercase().as_str() {
        "CBC" => return Ok(()),
        "ECB" => "ECB shows which blocks of packets are equal",
        "LEGACY" => "the legacy mode pads short keys with the digit 0, as before version 2.5",
        "CFB" | "OFB" | "CTR" | "PCBC" => "only CBC is read, the client's default",
        "ASYMMETRIC" => "the mode is for GPG, which Postern does not read",
        other => {
            let message = format!("there is no mode `{}`", shown(other));
            return Err(refusal(value.place, "encryption-mode", message, "Write CBC."));
        }
    };
    let suggestion = "Leave ENCRYPTION_MODE out, for the client too (-M, ENCRYPTION_MODE).";
    Err(refusal(value.place, "encryption-mode", message, suggestion))
}

fn digest(stanza: &Stanza<'_>) -> Result<MacDigest, Finding> {
    let Some(value) = stanza.last("HMAC_DIGEST_TYPE") else { return Ok(MacDigest::Sha256) };
    let (code, message) = match value.text.to_ascii_uppercase().as_str() {
        "SHA256" => return Ok(MacDigest::Sha256),
        "SHA384" => return Ok(MacDigest::Sha384),
        "SHA512" => return Ok(MacDigest::Sha512),
        "MD5" | "SHA1" => ("weak-hmac", "MD5 and SHA-1 are not taken for HMACs".to_owned()),
        "SHA3_256" | "SHA3_512" => ("hmac-digest", "SHA-3 is not taken for HMACs".to_owned()),
        other => ("hmac-digest", format!("there is no digest `{}`", shown(other))),
    };
    let suggestion = "Write SHA256, SHA384 or SHA512, for the client too (--hmac-digest-type).";
    Err(refusal(value.place, code, message, suggestion))
}

/// A secret with its place, from one of two directives.
fn secret<'a>(
    stanza: &Stanza<'a>,
    plain: &str,
    base64: &str,
    bytes_max: usize,
) -> Result<Option<(Vec<u8>, Text<'a>)>, Finding> {
    let (octets, value) = match (stanza.last(plain), stanza.last(base64)) {
        (None, None) => return Ok(None),
        (Some(_), Some(value)) => {
            let message = format!("{plain} and {base64} say two things");
            return Err(refusal(value.place, "two-keys", message, "Keep the one the client has."));
        }
        (Some(value), None) => (value.text.as_bytes().to_vec(), value),
        (None, Some(value)) if value.text == PLACEHOLDER => (PLACEHOLDER.as_bytes().to_vec(), value),
        (None, Some(value)) => match base64::decode(value.text) {
            Some(octets) => (octets, value),
            None => {
                let message = format!("what {base64} says is not base64");
                return Err(refusal(value.place, "key-base64", message, "Copy it again."));
            }
        },
    };
    let suggestion = "Make keys with `fwknop --key-gen`, for the client too.";
    let refused = |code, message| Err(refusal(value.place, code, message, suggestion));
    if octets == PLACEHOLDER.as_bytes() {
        return refused("key-placeholder", "the key is the placeholder that fwknop ships".to_owned());
    }
    if octets.len() < KEY_BYTES_ADVISED {
        let message = format!(
            "the key has {} octets: one captured packet is enough to guess fewer than {KEY_BYTES_ADVISED}",
            octets.len()
        );
        return refused("short-key", message);
    }
    if octets.len() > bytes_max {
        let message = format!("the key has {} octets; the client uses {bytes_max} at most", octets.len());
        return refused("long-key", message);
    }
    Ok(Some((octets, value)))
}
