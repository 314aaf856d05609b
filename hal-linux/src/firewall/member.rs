//! What the kernel holds open.

use postern_core::knock::ServicePort;
use postern_core::network::Network;

/// One member of a grant set, as the kernel has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// For whom.
    pub source: Network,
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
    /// Whether those of a kind are withdrawn.
    pub(super) fn are_withdrawn(self, kind: Kind) -> bool {
        match self {
            Grants::Own => false,
            Grants::Adopted => kind == Kind::Once,
            Grants::Unknown => true,
        }
    }
}

/// What a grant is: the kernel holds each kind in sets of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Of one address.
    Address,
    /// Of one address, for one connection.
    Once,
    /// Of a network.
    Network,
}

impl Kind {
    /// The kind of a grant to `source`.
    pub(super) const fn of(source: Network, once: bool) -> Self {
        match (once, source.is_host()) {
            (true, _) => Kind::Once,
            (false, true) => Kind::Address,
            (false, false) => Kind::Network,
        }
    }
}
