//! The site file: TOML as people write it, read with the place of every value.

use std::net::IpAddr;

use postern_config::Backend;
use postern_core::knock::{FlagCondition, ServicePort, Step, TcpFlags};

mod read;
mod words;

pub use read::read;
pub(crate) use words::did_you_mean;
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

/// Half-widths of the guard ranges around each knock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuardWidths {
    /// TCP ports to each side.
    pub tcp: u16,
    /// UDP ports to each side. Narrow: answers to the gateway's own questions come in on any port.
    pub udp: u16,
    /// Echo payload octets to each side.
    pub icmp: u16,
}

impl Default for GuardWidths {
    fn default() -> Self {
        Self { tcp: 256, udp: 16, icmp: 16 }
    }
}

/// A whole site file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SiteFile {
    /// `gateway.name`.
    pub name: At<String>,
    /// `gateway.interfaces`.
    pub interfaces: Vec<At<String>>,
    /// `firewall.backend`.
    pub backend: Backend,
    /// `firewall.exempt_interfaces`.
    pub exempt_interfaces: Vec<At<String>>,
    /// `gateway.guard_tcp`, `guard_udp`, `guard_icmp`.
    pub guards: GuardWidths,
    /// `[[door]]`.
    pub doors: Vec<DoorFile>,
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
    /// `one_time_sequences`: kept, and not honoured by this version.
    pub one_time_sequences: Option<At<usize>>,
    /// `allow`: findings that are no errors for this door.
    pub allow: Vec<At<String>>,
}

impl DoorFile {
    /// Whether the findings with this code are allowed for this door.
    pub fn allows(&self, code: &str) -> bool {
        self.allow.iter().any(|allowed| allowed.value == code)
    }
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
