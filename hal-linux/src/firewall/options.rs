//! How a back end is set up.

use std::fmt;
use std::path::PathBuf;

use heapless::{String, Vec};
use postern_core::limits::{GRANTS_MAX, INTERFACE_NAME_BYTES_MAX, INTERFACES_MAX, PORTS_PER_DOOR_MAX};

/// Octets of an [`ObjectName`]: with the longest suffix it stays below the 28 of a chain of
/// iptables (`XT_EXTENSION_MAXNAMELEN`) and the 31 of an IP set (`IPSET_MAXNAMELEN`).
const OBJECT_NAME_BYTES_MAX: usize = 16;

/// Members of a grant set: twice what all grants can have, as the kernel may still count members
/// whose time is over.
const MEMBERS_MAX: u32 = 16_384;

/// Where the firewall's programs are looked for, unless told otherwise.
pub(crate) const PROGRAM_DIRECTORIES: [&str; 4] = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"];

const _: () = assert!(MEMBERS_MAX as usize >= 2 * GRANTS_MAX * PORTS_PER_DOOR_MAX);

/// Name of everything Postern makes in a firewall: 1 to 16 of `a-z 0-9 -`, a letter first. It is
/// the table of nftables as it stands; chains and sets of iptables have it in capitals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectName(String<OBJECT_NAME_BYTES_MAX>);

impl ObjectName {
    /// The name as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for ObjectName {
    /// `postern`.
    fn default() -> Self {
        Self("postern".try_into().unwrap_or_default())
    }
}

impl TryFrom<&str> for ObjectName {
    type Error = BadName;

    fn try_from(text: &str) -> Result<Self, BadName> {
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let starts_well = text.starts_with(|first: char| first.is_ascii_lowercase());
        if !starts_well || !text.bytes().all(allowed) {
            return Err(BadName);
        }
        String::try_from(text).map(Self).map_err(|()| BadName)
    }
}

/// An interface whose traffic is left alone: a service port behind a locked door, a VPN. 1 to 15
/// of `A-Z a-z 0-9 - _ . @`; no wildcards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExemptInterface(String<INTERFACE_NAME_BYTES_MAX>);

impl ExemptInterface {
    /// Its name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<&str> for ExemptInterface {
    type Error = BadName;

    fn try_from(text: &str) -> Result<Self, BadName> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.@".contains(&byte);
        // A dash first would be an option to a program.
        if text.is_empty() || text.starts_with('-') || !text.bytes().all(allowed) {
            return Err(BadName);
        }
        String::try_from(text).map(Self).map_err(|()| BadName)
    }
}

/// A name is empty, too long, or has a character that is not allowed in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadName;

impl fmt::Display for BadName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name is empty, too long, or has a character that is not allowed in it")
    }
}

impl std::error::Error for BadName {}

/// Interfaces that are left alone, besides `lo`.
pub type ExemptInterfaces = Vec<ExemptInterface, INTERFACES_MAX>;

/// How a back end is set up. The defaults are right for a gateway.
#[derive(Clone, Debug)]
pub struct FirewallOptions {
    /// Name of everything that is made.
    pub name: ObjectName,
    /// Interfaces left alone, besides `lo`.
    pub exempt_interfaces: ExemptInterfaces,
    /// Where the firewall's programs are looked for, in this order. Absolute; `PATH` is not asked.
    pub program_directories: std::vec::Vec<PathBuf>,
    /// Members a grant set can hold.
    pub members_max: u32,
}

impl Default for FirewallOptions {
    fn default() -> Self {
        Self {
            name: ObjectName::default(),
            exempt_interfaces: Vec::new(),
            program_directories: PROGRAM_DIRECTORIES.map(PathBuf::from).to_vec(),
            members_max: MEMBERS_MAX,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_mean_something_else_are_refused() {
        for name in ["postern", "p", "gate-17", "abcdefghijklmnop"] {
            assert_eq!(ObjectName::try_from(name).unwrap().as_str(), name);
        }
        for name in ["", "-x", "1a", "Postern", "a b", "a\nb", "a;b", "a_b", "abcdefghijklmnopq", "ä"] {
            assert_eq!(ObjectName::try_from(name), Err(BadName), "{name:?}");
        }
        for name in ["eth0", "wwan0", "eth0.17", "br-lan", "veth@if2", "abcdefghijklmno"] {
            assert_eq!(ExemptInterface::try_from(name).unwrap().as_str(), name);
        }
        for name in ["", "-i", "eth+", "eth*", "a b", "a\"b", "a\n", "a/b", "abcdefghijklmnop", "é"] {
            assert_eq!(ExemptInterface::try_from(name), Err(BadName), "{name:?}");
        }
    }
}
