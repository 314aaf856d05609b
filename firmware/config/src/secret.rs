//! Octets nobody may see: not printed, wiped when dropped, compared without telling where they
//! differ.

use core::fmt;

use postern_core::limits::SECRET_BYTES_MAX;
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

/// Up to [`SECRET_BYTES_MAX`] secret octets.
#[derive(Clone)]
pub struct Secret {
    octets: [u8; SECRET_BYTES_MAX],
    length: u8,
}

/// More octets than [`SECRET_BYTES_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong;

impl Secret {
    /// Takes a copy.
    ///
    /// # Errors
    /// [`TooLong`].
    pub fn new(secret: &[u8]) -> Result<Self, TooLong> {
        let mut octets = [0; SECRET_BYTES_MAX];
        let length = u8::try_from(secret.len()).map_err(|_| TooLong)?;
        octets.get_mut(..secret.len()).ok_or(TooLong)?.copy_from_slice(secret);
        Ok(Self { octets, length })
    }

    /// The octets, for whoever computes with them.
    pub fn expose(&self) -> &[u8] {
        self.octets.get(..usize::from(self.length)).unwrap_or_default()
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.octets.zeroize();
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.expose().ct_eq(other.expose()).into()
    }
}

impl Eq for Secret {}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.expose())
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_bytes(SecretVisitor)
    }
}

struct SecretVisitor;

impl Visitor<'_> for SecretVisitor {
    type Value = Secret;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at most {SECRET_BYTES_MAX} octets")
    }

    fn visit_bytes<E: Error>(self, octets: &[u8]) -> Result<Secret, E> {
        Secret::new(octets).map_err(|TooLong| E::invalid_length(octets.len(), &self))
    }
}

/// A secret of a site.
///
/// In a slot every secret is known. What leaves the gateway names its secrets by a label instead,
/// and a configuration that comes back with the label means: the one the gateway holds already.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StoredSecret {
    /// The secret itself.
    Known(Secret),
    /// The label of one the gateway holds, see [`crate::held`].
    Held([u8; 8]),
}

impl StoredSecret {
    /// The secret, when it is here.
    pub const fn known(&self) -> Option<&Secret> {
        match self {
            StoredSecret::Known(secret) => Some(secret),
            StoredSecret::Held(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_not_printed_and_fits_or_is_refused() {
        let secret = Secret::new(b"correct horse").unwrap();
        assert_eq!(std::format!("{:?}", StoredSecret::Known(secret.clone())), "Known(Secret(..))");
        assert_eq!(secret.expose(), b"correct horse");
        assert_ne!(secret, Secret::new(b"correct hors").unwrap());
        assert!(Secret::new(&[7; SECRET_BYTES_MAX]).is_ok());
        assert_eq!(Secret::new(&[7; SECRET_BYTES_MAX + 1]), Err(TooLong));
    }

    #[test]
    fn round_trip() {
        let mut buffer = [0; 200];
        let secret = StoredSecret::Known(Secret::new(&[9; 64]).unwrap());
        let bytes = postcard::to_slice(&secret, &mut buffer).unwrap();
        assert_eq!(bytes.len(), 1 + 1 + 64);
        assert_eq!(postcard::from_bytes::<StoredSecret>(bytes), Ok(secret));
        // One octet more than there may be.
        let mut long = std::vec![0, 129, 1];
        long.extend([0; 129]);
        assert!(postcard::from_bytes::<StoredSecret>(&long).is_err());
    }
}
