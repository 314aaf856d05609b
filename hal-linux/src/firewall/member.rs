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

/// What becomes of the grants that are in force when the gate is put up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Grants {
    /// They are this process's own, and go on.
    Own,
    /// A process before this one made them. They go on, to be accounted for, but for those for one
    /// connection: nobody knows whether theirs has come already.
    Adopted,
    /// They are withdrawn.
    Unknown,
}

impl Grants {
    /// Whether those for one connection, or the others, are withdrawn.
    pub(super) const fn are_withdrawn(self, once: bool) -> bool {
        match self {
            Grants::Own => false,
            Grants::Adopted => once,
            Grants::Unknown => true,
        }
    }
}
