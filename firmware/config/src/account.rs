//! Who may configure the gateway.

use heapless::String;
use postern_core::limits::NAME_BYTES_MAX;
use serde::{Deserialize, Serialize};

use crate::secret::StoredSecret;

/// What an account may do; each role may do what the one before may.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Role {
    /// Look at everything but secrets.
    #[default]
    Viewer,
    /// Take grants back, watch knocks.
    Operator,
    /// Change the configuration and the accounts, wipe, restart.
    Admin,
}

impl Role {
    /// As the site file writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Role::Viewer => "viewer",
            Role::Operator => "operator",
            Role::Admin => "admin",
        }
    }

    /// The role with this name.
    pub fn named(name: &str) -> Option<Self> {
        [Role::Viewer, Role::Operator, Role::Admin].into_iter().find(|role| role.name() == name)
    }
}

/// An account. Its password is not here: these are the verifiers of SCRAM-SHA-256 (RFC 5802
/// section 3, RFC 7677), from which it cannot be computed but by guessing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredAccount {
    /// Name, unique in the site.
    pub name: String<NAME_BYTES_MAX>,
    /// What it may do.
    pub role: Role,
    /// Random octets.
    pub salt: [u8; 16],
    /// Iterations of PBKDF2-HMAC-SHA-256.
    pub iterations: u32,
    /// `StoredKey`, 32 octets: proves that the client knows the password.
    pub stored_key: StoredSecret,
    /// `ServerKey`, 32 octets: proves to the client that this is its gateway.
    pub server_key: StoredSecret,
}
