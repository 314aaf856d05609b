//! Keys of Single Packet Authorization and what each may do.

use core::net::IpAddr;

use heapless::{String, Vec};
use postern_core::limits::{NAME_BYTES_MAX, SOURCES_PER_KEY_MAX, WINDOWS_PER_KEY_MAX};
use serde::{Deserialize, Serialize};

use crate::secret::StoredSecret;

/// A key and its policy. Which doors it opens is written at the doors
/// ([`crate::site::StoredDoor::keys`]).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredKey {
    /// Name, unique in the site.
    pub name: String<NAME_BYTES_MAX>,
    /// Whose it is, when that is not its name: two keys of one person overlap while one replaces
    /// the other. Empty is the name.
    pub person: String<NAME_BYTES_MAX>,
    /// The secrets.
    pub kind: StoredKeyKind,
    /// Longest lease in seconds; 0 is what the door says.
    pub longest_secs: u32,
    /// Networks its packets may come from; none is every one.
    pub sources: Vec<StoredNetwork, SOURCES_PER_KEY_MAX>,
    /// Whether it may ask for another source than the packet came from.
    pub may_claim: bool,
    /// First counter that counts.
    pub counter_first: u64,
    /// Last counter that counts.
    pub counter_last: u64,
    /// Seconds since 1970 before which it is refused when the clock is trusted; 0 is none.
    pub valid_from_secs: u64,
    /// Seconds since 1970 after which it is refused when the clock is trusted; the largest is none.
    pub valid_until_secs: u64,
    /// Times of the week it counts in, when the clock is trusted; none is always.
    pub windows: Vec<StoredWindow, WINDOWS_PER_KEY_MAX>,
    /// Grants it may have at one door at a time, 1 when not said otherwise.
    pub grants_per_door: u8,
    /// Whether it is refused for now.
    pub disabled: bool,
}

/// The secrets of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StoredKeyKind {
    /// Our own format: 32 random octets.
    Native {
        /// The key.
        secret: StoredSecret,
    },
    /// The stock fwknop client's symmetric mode.
    Fwknop {
        /// Encryption key or passphrase.
        encryption: StoredSecret,
        /// HMAC key.
        hmac: StoredSecret,
        /// HMAC digest.
        digest: StoredHmac,
    },
}

/// Digest of the stock client's HMAC; the weaker ones are refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum StoredHmac {
    /// HMAC-SHA-256, the client's default.
    #[default]
    Sha256,
    /// HMAC-SHA-384.
    Sha384,
    /// HMAC-SHA-512.
    Sha512,
}

/// A network in CIDR notation (RFC 4632).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredNetwork {
    /// An address of it.
    pub address: IpAddr,
    /// Leading bits that count.
    pub prefix: u8,
}

/// A time of the week, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredWindow {
    /// Bit set of days: 1 is Monday, 64 Sunday.
    pub days: u8,
    /// First minute of the day, 0 to 1439.
    pub from_minute: u16,
    /// Minute of the day it ends before, 1 to 1440.
    pub until_minute: u16,
}
