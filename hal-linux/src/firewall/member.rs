//! What the kernel holds open.

use std::net::IpAddr;

use postern_core::knock::ServicePort;

/// One member of a grant set, as the kernel has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// For whom.
    pub source: IpAddr,
    /// What is open.
    pub port: ServicePort,
    /// Seconds until the kernel closes it, rounded up. `None`: it never will. Postern adds no such
    /// member.
    pub remaining_secs: Option<u32>,
}
