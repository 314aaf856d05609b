//! The two packet filters every scenario is run against.

use std::fmt;

/// Which firewall the gate uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// iptables, ip6tables and kernel IP sets.
    Iptables,
    /// nftables alone.
    Nftables,
}

impl Backend {
    /// As written in a site file.
    pub const fn name(self) -> &'static str {
        match self {
            Backend::Iptables => "iptables",
            Backend::Nftables => "nftables",
        }
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Makes each named `fn scenario(backend: Backend)` a test for both back ends:
/// `iptables::scenario` and `nftables::scenario`.
#[macro_export]
macro_rules! both_back_ends {
    ($($scenario:ident),+ $(,)?) => {
        mod iptables {
            $(#[test] fn $scenario() { super::$scenario($crate::Backend::Iptables) })+
        }
        mod nftables {
            $(#[test] fn $scenario() { super::$scenario($crate::Backend::Nftables) })+
        }
    };
}
