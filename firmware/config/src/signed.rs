//! What the owner signs offline with Ed25519 (RFC 8032): fleet configurations and break-glass tokens.
//!
//! Each kind of message begins with a text of its own, so that no signature is good for another:
//!
//! ```text
//! "postern fleet config v1"  | device? u8 | device id 16 (zeros when any) | floor u32 le | SHA-256 of the payload 32
//! "postern break glass v1"   | device id 16 | nonce 16
//! "postern update v1"        | the manifest, see `update`
//! ```

use ed25519_dalek::{Signature, VerifyingKey};

/// Octets of a signature.
pub const SIGNATURE_BYTES: usize = 64;

const FLEET: &[u8; 23] = b"postern fleet config v1";
const BREAK_GLASS: &[u8; 22] = b"postern break glass v1";

/// A configuration for one gateway or for all of an owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FleetConfig {
    /// The only device it is meant for; `None` is every one of this owner.
    pub device: Option<[u8; 16]>,
    /// Security floor it raises the gateway to.
    pub floor: u32,
    /// SHA-256 of its payload.
    pub digest: [u8; 32],
}

/// Lets somebody in at the console whose secret is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakGlass {
    /// The device.
    pub device: [u8; 16],
    /// What the device showed.
    pub nonce: [u8; 16],
}

/// Why a signature does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignatureError {
    /// The owner's key is no key.
    BadKey,
    /// It is not the owner's signature over this.
    Forged,
}

impl FleetConfig {
    /// What is signed.
    pub fn message(&self) -> [u8; 76] {
        let mut message = [0; 76];
        let device = self.device.unwrap_or([0; 16]);
        let scoped = [u8::from(self.device.is_some())];
        join(&mut message, &[FLEET, &scoped, &device, &self.floor.to_le_bytes(), &self.digest]);
        message
    }

    /// Checks the owner's signature.
    ///
    /// # Errors
    /// [`SignatureError`].
    pub fn verify(&self, owner: &[u8; 32], signature: &[u8; SIGNATURE_BYTES]) -> Result<(), SignatureError> {
        verify(owner, &self.message(), &Signature::from_bytes(signature))
    }
}

impl BreakGlass {
    /// What is signed.
    pub fn message(&self) -> [u8; 54] {
        let mut message = [0; 54];
        join(&mut message, &[BREAK_GLASS, &self.device, &self.nonce]);
        message
    }

    /// Checks the owner's signature.
    ///
    /// # Errors
    /// [`SignatureError`].
    pub fn verify(&self, owner: &[u8; 32], signature: &[u8; SIGNATURE_BYTES]) -> Result<(), SignatureError> {
        verify(owner, &self.message(), &Signature::from_bytes(signature))
    }
}

fn join(message: &mut [u8], parts: &[&[u8]]) {
    let octets = parts.iter().flat_map(|part| part.iter());
    for (place, octet) in message.iter_mut().zip(octets) {
        *place = *octet;
    }
}

/// Strictly: no small-order keys, and one signature has one encoding.
pub(crate) fn verify(owner: &[u8; 32], message: &[u8], signature: &Signature) -> Result<(), SignatureError> {
    let owner = VerifyingKey::from_bytes(owner).map_err(|_| SignatureError::BadKey)?;
    owner.verify_strict(message, signature).map_err(|_| SignatureError::Forged)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ed25519_dalek::{Signer, SigningKey};

    const CONFIG: FleetConfig = FleetConfig { device: Some([7; 16]), floor: 3, digest: [9; 32] };

    #[test]
    fn the_owner_and_nobody_else_for_this_and_nothing_else() {
        let owner = SigningKey::from_bytes(&[1; 32]);
        let public = owner.verifying_key().to_bytes();
        let signature = owner.sign(&CONFIG.message()).to_bytes();
        assert_eq!(CONFIG.verify(&public, &signature), Ok(()));
        for other in [
            FleetConfig { device: Some([8; 16]), ..CONFIG },
            FleetConfig { device: None, ..CONFIG },
            FleetConfig { floor: 2, ..CONFIG },
            FleetConfig { digest: [8; 32], ..CONFIG },
        ] {
            assert_eq!(other.verify(&public, &signature), Err(SignatureError::Forged), "{other:?}");
        }
        let stranger = SigningKey::from_bytes(&[2; 32]).verifying_key().to_bytes();
        assert_eq!(CONFIG.verify(&stranger, &signature), Err(SignatureError::Forged));
        for bit in 0..SIGNATURE_BYTES * 8 {
            let mut flipped = signature;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(CONFIG.verify(&public, &flipped).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn any_device_is_not_the_device_of_zeros() {
        let any = FleetConfig { device: None, ..CONFIG };
        let zeros = FleetConfig { device: Some([0; 16]), ..CONFIG };
        assert_ne!(any.message(), zeros.message());
    }

    #[test]
    fn a_token_is_for_one_device_and_one_nonce() {
        let owner = SigningKey::from_bytes(&[1; 32]);
        let public = owner.verifying_key().to_bytes();
        let token = BreakGlass { device: [7; 16], nonce: [5; 16] };
        let signature = owner.sign(&token.message()).to_bytes();
        assert_eq!(token.verify(&public, &signature), Ok(()));
        assert!(BreakGlass { device: [6; 16], ..token }.verify(&public, &signature).is_err());
        assert!(BreakGlass { nonce: [6; 16], ..token }.verify(&public, &signature).is_err());
    }
}
