//! Logging in without sending a password: SCRAM-SHA-256 (RFC 5802, RFC 7677).
//!
//! The gateway keeps what cannot be turned into the password but by guessing; the costly part is
//! the client's, so that no login costs the daemon more than a few digests. The messages are those
//! of [`crate::rpc`] and not the text of the RFC, therefore the `AuthMessage` is made of their
//! fields:
//!
//! ```text
//! "postern scram v1" | length of name u8 | name | client nonce 16 | salt 16 | iterations u32 le |
//! server nonce 16
//! ```

use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

use crate::rpc::reply::Challenge;

/// Fewest iterations an account may have (RFC 7677 section 4).
pub const ITERATIONS_MIN: u32 = 4096;

/// Iterations of new accounts: half a second on a slow gateway.
pub const ITERATIONS: u32 = 60_000;

/// Most iterations a client computes: a gateway that asks for more is not trusted.
pub const ITERATIONS_MAX: u32 = 10_000_000;

/// Fewest characters of a new password.
pub const PASSWORD_CHARS_MIN: usize = 10;

/// What the gateway keeps of a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verifier {
    /// Proves that the client knows the password.
    pub stored_key: [u8; 32],
    /// Proves to the client that this is its gateway.
    pub server_key: [u8; 32],
}

/// What both sides have said.
#[derive(Clone, Copy, Debug)]
pub struct Exchange<'a> {
    /// Name of the account.
    pub name: &'a str,
    /// Random octets of the client.
    pub client_nonce: [u8; 16],
    /// What the daemon answered.
    pub challenge: &'a Challenge,
}

/// What the client sends, and what it expects back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientFinal {
    /// `ClientProof`.
    pub proof: [u8; 32],
    /// `ServerSignature`.
    pub server_signature: [u8; 32],
}

/// The verifier of a password; takes as long as the iterations take.
pub fn verifier(password: &[u8], salt: &[u8; 16], iterations: u32) -> Verifier {
    let mut salted = salted_password(password, salt, iterations);
    let mut client_key = hmac(&salted, &[b"Client Key"]);
    let verifier = Verifier {
        stored_key: Sha256::digest(client_key).into(),
        server_key: hmac(&salted, &[b"Server Key"]),
    };
    salted.zeroize();
    client_key.zeroize();
    verifier
}

/// The client's proof; takes as long as the iterations take.
pub fn client_final(password: &[u8], exchange: Exchange<'_>) -> ClientFinal {
    let Challenge { salt, iterations, .. } = exchange.challenge;
    let mut salted = salted_password(password, salt, *iterations);
    let mut client_key = hmac(&salted, &[b"Client Key"]);
    let stored_key: [u8; 32] = Sha256::digest(client_key).into();
    let proof = xor(client_key, exchange.signature(&stored_key));
    let server_signature = exchange.signature(&hmac(&salted, &[b"Server Key"]));
    salted.zeroize();
    client_key.zeroize();
    ClientFinal { proof, server_signature }
}

/// Checks the client's proof in constant time. Returns the `ServerSignature` when it fits.
pub fn check_proof(verifier: &Verifier, exchange: Exchange<'_>, proof: &[u8; 32]) -> Option<[u8; 32]> {
    let client_key = xor(*proof, exchange.signature(&verifier.stored_key));
    let stored_key: [u8; 32] = Sha256::digest(client_key).into();
    let server_signature = exchange.signature(&verifier.server_key);
    bool::from(stored_key.ct_eq(&verifier.stored_key)).then_some(server_signature)
}

impl Exchange<'_> {
    fn signature(&self, key: &[u8; 32]) -> [u8; 32] {
        let Challenge { salt, iterations, server_nonce } = self.challenge;
        let length = u8::try_from(self.name.len()).unwrap_or(u8::MAX);
        hmac(
            key,
            &[
                b"postern scram v1",
                &[length],
                self.name.as_bytes(),
                &self.client_nonce,
                salt,
                &iterations.to_le_bytes(),
                server_nonce,
            ],
        )
    }
}

fn salted_password(password: &[u8], salt: &[u8; 16], iterations: u32) -> [u8; 32] {
    pbkdf2::pbkdf2_hmac_array::<Sha256, 32>(password, salt, iterations.max(1))
}

fn hmac(key: &[u8; 32], parts: &[&[u8]]) -> [u8; 32] {
    // HMAC takes a key of any length; the error cannot be.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return [0; 32] };
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

fn xor(mut left: [u8; 32], right: [u8; 32]) -> [u8; 32] {
    for (octet, other) in left.iter_mut().zip(right) {
        *octet ^= other;
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHALLENGE: Challenge = Challenge { salt: [1; 16], iterations: 4096, server_nonce: [2; 16] };
    const EXCHANGE: Exchange<'_> = Exchange { name: "maria", client_nonce: [3; 16], challenge: &CHALLENGE };

    /// The example of RFC 7677 section 3: SaltedPassword and both keys are the same computation.
    #[test]
    fn keys_of_the_rfc_example() {
        // Salt "W22ZaJ0SNY7soEsUEjb6gQ==", password "pencil", 4096 iterations.
        let salt =
            [0x5b, 0x6d, 0x99, 0x68, 0x9d, 0x12, 0x35, 0x8e, 0xec, 0xa0, 0x4b, 0x14, 0x12, 0x36, 0xfa, 0x81];
        let keys = verifier(b"pencil", &salt, 4096);
        // ClientProof and ServerSignature of the example follow from these and its AuthMessage.
        let message = b"n=user,r=rOprNGfwEbeRWgbNEkqO,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                        s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        let server_signature = hmac(&keys.server_key, &[message]);
        // "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
        assert_eq!(
            server_signature,
            [
                0xea, 0xba, 0xe2, 0x4d, 0x10, 0x62, 0xdb, 0x75, 0xa9, 0x45, 0x1f, 0xf0, 0xb6, 0xea, 0x7e,
                0x98, 0xc8, 0x54, 0x65, 0x49, 0xff, 0x74, 0x1e, 0x67, 0x2d, 0x32, 0x51, 0xb2, 0x39, 0x7d,
                0xe4, 0x6e
            ]
        );
    }

    #[test]
    fn the_right_password_and_no_other() {
        let kept = verifier(b"correct horse", &CHALLENGE.salt, CHALLENGE.iterations);
        let client = client_final(b"correct horse", EXCHANGE);
        assert_eq!(check_proof(&kept, EXCHANGE, &client.proof), Some(client.server_signature));
        let wrong = client_final(b"correct hors", EXCHANGE);
        assert_eq!(check_proof(&kept, EXCHANGE, &wrong.proof), None);
    }

    #[test]
    fn a_proof_is_worth_nothing_in_another_exchange() {
        let kept = verifier(b"correct horse", &CHALLENGE.salt, CHALLENGE.iterations);
        let proof = client_final(b"correct horse", EXCHANGE).proof;
        let challenge = Challenge { server_nonce: [9; 16], ..CHALLENGE };
        for other in [
            Exchange { challenge: &challenge, ..EXCHANGE },
            Exchange { client_nonce: [9; 16], ..EXCHANGE },
            Exchange { name: "mario", ..EXCHANGE },
        ] {
            assert_eq!(check_proof(&kept, other, &proof), None);
        }
    }
}
