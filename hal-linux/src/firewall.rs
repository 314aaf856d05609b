//! The gate in the machine's packet filter: iptables with IP sets, or nftables.
//!
//! Both are built alike, with a number of rules that does not depend on the number of doors that are
//! the gateway's own:
//!
//! ```text
//! INPUT -> first of all: POSTERN
//!            from lo or an exempt interface?   not our affair
//!            to a protected port?              POSTERN-GATE
//!                                                granted to this source?  pass
//!                                                or to its network?       pass, if doors have such grants
//!                                                for one connection?      the grant is gone, pass
//!                                                of a connection that is? pass
//!                                                drop
//! ```
//!
//! Rules are put in by the firewall's own program, at start and at a change of the configuration
//! only, each time in one transaction. Grants are members of kernel sets, added by netlink messages
//! made here: no process is started and nothing is allocated for one. Each member has its own
//! time-out, so that the kernel closes the door whether or not anybody is alive to do it.
//!
//! # IPv6
//!
//! A kernel without any IPv6 (no `AF_INET6` sockets) can receive none and gets IPv4 rules only. In
//! every other case, also when `disable_ipv6` is set, for that can change at any time, IPv6 is
//! guarded or installing fails: a door that is closed in one family only is an open door.

mod conntrack;
mod error;
mod family;
mod ipset;
mod iptables;
mod iptables_behind;
mod iptables_rules;
mod leading;
mod member;
mod nf_tables;
mod nftables;
mod nftables_script;
mod options;
mod program;
mod verification;
mod watch;

pub use error::InstallError;
pub use family::Family;
pub use iptables::{IptablesFirewall, IptablesVariant};
use leading::leadings;
pub use member::Member;
use member::{Grants, Kind};
pub use nftables::NftablesFirewall;
pub(crate) use options::PROGRAM_DIRECTORIES;
pub use options::{BadName, ExemptInterface, ExemptInterfaces, FirewallOptions, ObjectName};
pub use verification::{Drift, Verification};
pub use watch::RulesetWatch;

/// Buffer for listings: the kernel makes their datagrams no longer than this.
const LISTING_BYTES: usize = 32 * 1024;
