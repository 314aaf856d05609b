//! The site file: TOML as people write it, read with the place of every value.

use std::net::IpAddr;

use postern_config::Backend;
use postern_config::site::{
    StoredAccount, StoredConsole, StoredForward, StoredGuardWidths, StoredHmac, StoredKey, StoredRotating,
};
use postern_core::knock::{FlagCondition, ServicePort, Step, TcpFlags};

pub mod calendar;
pub mod notation;
mod read;
mod render;
mod words;

pub use read::read;
pub(crate) use read::{Reader, start};
pub use render::{Rendered, SecretFile, render};
pub(crate) use words::did_you_mean;
pub(crate) use words::millis;
pub use words::step;

/// A value and the octet of the file it begins at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct At<T> {
    /// The value.
    pub value: T,
    /// Where it stands.
    pub offset: usize,
}

impl<T> At<T> {
    /// A value at a place.
    pub const fn new(value: T, offset: usize) -> Self {
        Self { value, offset }
    }
}

/// A whole site file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SiteFile {
    /// `gateway.name`.
    pub name: At<String>,
    /// `gateway.interfaces`.
    pub interfaces: Vec<At<String>>,
    /// `gateway.spa_port`; when it is not written, [`SPA_PORT_DEFAULT`] for a site with keys and
    /// none for others.
    pub spa_port: Option<u16>,
    /// `firewall.backend`.
    pub backend: Backend,
    /// `firewall.exempt_interfaces`.
    pub exempt_interfaces: Vec<At<String>>,
    /// `gateway.guard_tcp`, `guard_udp`, `guard_icmp`.
    pub guards: StoredGuardWidths,
    /// `owner`, an Ed25519 public key.
    pub owner: Option<[u8; 32]>,
    /// `[console]`.
    pub console: StoredConsole,
    /// `[[account]]`.
    pub accounts: Vec<At<StoredAccount>>,
    /// `[[key]]`.
    pub keys: Vec<KeyFile>,
    /// `[[door]]`.
    pub doors: Vec<DoorFile>,
}

/// One `[[key]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyFile {
    /// Where it begins.
    pub offset: usize,
    /// Where its secrets are.
    pub kind: KindFile,
    /// Everything else; its kind is to be filled in.
    pub rest: StoredKey,
}

/// Where the secrets of a key are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KindFile {
    /// `secret_file` or `secret`.
    Native {
        /// The key.
        secret: SecretRef,
    },
    /// `kind = "fwknop"`.
    Fwknop {
        /// `key_base64_file` or `key`.
        encryption: SecretRef,
        /// `hmac_key_base64_file` or `hmac_key`.
        hmac: SecretRef,
        /// `hmac_digest`.
        digest: StoredHmac,
    },
}

/// Where a secret is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretRef {
    /// The gateway holds one with this label.
    Held([u8; 8]),
    /// In this file, in base64.
    File(At<String>),
}

/// One `[[door]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DoorFile {
    /// `name`.
    pub name: At<String>,
    /// `ports`.
    pub ports: Vec<At<ServicePort>>,
    /// `open_for`, in whole seconds.
    pub open_for_secs: At<u32>,
    /// `sequence`.
    pub sequence: Option<SequenceFile>,
    /// `close_sequence`.
    pub close_sequence: Option<SequenceFile>,
    /// `within`, in milliseconds.
    pub within_millis: At<u32>,
    /// `reorder`, in milliseconds; 0 is none.
    pub reorder_millis: At<u32>,
    /// `tcp_flags`.
    pub flags: FlagCondition,
    /// `target`.
    pub target: Option<IpAddr>,
    /// `interfaces`, as positions in the gateway's list; empty is all.
    pub interfaces: Vec<At<String>>,
    /// `one_time_sequences`.
    pub one_time_sequences: Option<At<Vec<SequenceFile>>>,
    /// `spa`: names of keys.
    pub spa: Vec<At<String>>,
    /// `rotating`.
    pub rotating: Option<RotatingFile>,
    /// `forward`.
    pub forward: Option<At<StoredForward>>,
    /// `one_shot`.
    pub one_shot: At<bool>,
    /// `cut_at_end`.
    pub cut_at_end: At<bool>,
    /// `prefix_v4`.
    pub prefix_v4: At<u8>,
    /// `prefix_v6`.
    pub prefix_v6: At<u8>,
    /// `allow`: findings that are no errors for this door.
    pub allow: Vec<At<String>>,
}

impl DoorFile {
    /// Whether the findings with this code are allowed for this door.
    pub fn allows(&self, code: &str) -> bool {
        self.allow.iter().any(|allowed| allowed.value == code)
    }
}

/// `rotating` of a door.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RotatingFile {
    /// `key`: the name of one.
    pub key: At<String>,
    /// Everything else; its key is to be filled in.
    pub rest: StoredRotating,
}

/// A sequence of knocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SequenceFile {
    /// Where the list begins.
    pub offset: usize,
    /// The knocks.
    pub steps: Vec<At<Step>>,
}

impl SequenceFile {
    /// The knocks without their places.
    pub fn knocks(&self) -> Vec<Step> {
        self.steps.iter().map(|step| step.value).collect()
    }
}

/// What `within` is when it is not written.
pub const WITHIN_DEFAULT_MILLIS: u32 = 10_000;

/// UDP port Single Packet Authorization is awaited on when `spa_port` is not written: the stock
/// client's.
pub const SPA_PORT_DEFAULT: u16 = 62_201;

/// What `rotating` is when it is not written.
pub mod rotating {
    /// `knocks`.
    pub const KNOCKS_DEFAULT: u8 = 5;
    /// `look_ahead`.
    pub const LOOK_AHEAD_DEFAULT: u8 = 3;
    /// Names of the protocols, in the order of their bits.
    pub const PROTOCOLS: [&str; 3] = ["tcp", "udp", "icmp"];
    /// `protocols`.
    pub const PROTOCOLS_DEFAULT: u8 = 0b11;
    /// `ports`: below the ones Linux picks for its own connections.
    pub const PORTS_DEFAULT: (u16, u16) = (10_000, 32_767);
}

/// What `tcp_flags` is when it is not written.
pub const FLAGS_DEFAULT: FlagCondition = FlagCondition::OPENING_SYN;

/// The names of the flags, as `tcp_flags` writes them.
pub const FLAG_NAMES: [(&str, TcpFlags); 6] = [
    ("fin", TcpFlags::FIN),
    ("syn", TcpFlags::SYN),
    ("rst", TcpFlags::RST),
    ("psh", TcpFlags::PSH),
    ("ack", TcpFlags::ACK),
    ("urg", TcpFlags::URG),
];
