//! Why the gate could not be put up, read or taken away, with what to do about it.

use std::fmt;
use std::path::PathBuf;
use std::process::ExitStatus;

use nix::errno::Errno;
use nix::libc;
use postern_core::port::FirewallError;

use crate::netlink::NetlinkError;

/// Why the gate could not be put up, read or taken away.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InstallError {
    /// A program of the firewall is not on this machine.
    ProgramMissing {
        /// Its name.
        program: String,
        /// Where it was looked for.
        searched: Vec<PathBuf>,
    },
    /// A program could not be started or talked to.
    ProgramNotRun {
        /// Which.
        program: PathBuf,
        /// Why.
        errno: Errno,
    },
    /// A program did not end in time and was killed.
    ProgramTimeout {
        /// Which.
        program: PathBuf,
        /// Seconds it had.
        limit_secs: u64,
    },
    /// A program said more than can be taken in.
    ProgramOutputTooLong {
        /// Which.
        program: PathBuf,
    },
    /// A program failed.
    ProgramFailed {
        /// Which.
        program: PathBuf,
        /// How it ended.
        status: ExitStatus,
        /// What it wrote to standard error, its beginning.
        said: String,
    },
    /// The process may not change the firewall.
    NotPermitted {
        /// What was tried.
        doing: &'static str,
    },
    /// The kernel lacks something.
    KernelLacks {
        /// What was tried.
        doing: &'static str,
        /// Kernel options, one of which is probably not set, or its module not there.
        options: &'static str,
    },
    /// The kernel refused a netlink request for another reason.
    Kernel {
        /// What was tried.
        doing: &'static str,
        /// Its answer.
        error: FirewallError,
    },
}

/// Kernel options of the iptables back end.
pub(super) const IPSET_OPTIONS: &str = "CONFIG_IP_SET, CONFIG_IP_SET_HASH_IPPORT and \
     CONFIG_IP_SET_BITMAP_PORT (modules ip_set, ip_set_hash_ipport, ip_set_bitmap_port)";

/// Kernel options of grants to networks.
pub(super) const NETWORK_SET_OPTIONS: &str =
    "CONFIG_IP_SET and CONFIG_IP_SET_HASH_NETPORT (modules ip_set, ip_set_hash_netport)";

/// Kernel options of cutting connections.
pub(super) const CONNECTION_OPTIONS: &str = "CONFIG_NF_CT_NETLINK (module nf_conntrack_netlink)";

/// Kernel options of the nftables back end.
pub(super) const NFT_OPTIONS: &str = "CONFIG_NF_TABLES and CONFIG_NF_TABLES_INET (module nf_tables)";

impl InstallError {
    /// What a failed netlink request means while `doing` something that needs `options`.
    pub(super) fn of_netlink(doing: &'static str, options: &'static str, error: NetlinkError) -> Self {
        match firewall_error(error) {
            FirewallError::Denied => InstallError::NotPermitted { doing },
            FirewallError::Unsupported => InstallError::KernelLacks { doing, options },
            error => InstallError::Kernel { doing, error },
        }
    }

    /// In the engine's words.
    pub fn to_firewall_error(&self) -> FirewallError {
        match self {
            InstallError::ProgramMissing { .. } | InstallError::KernelLacks { .. } => {
                FirewallError::Unsupported
            }
            InstallError::ProgramNotRun { errno, .. } => errno_error(*errno as i32),
            InstallError::ProgramTimeout { .. } => FirewallError::NoAnswer,
            InstallError::ProgramOutputTooLong { .. } => FirewallError::Other(libc::EMSGSIZE),
            InstallError::ProgramFailed { said, .. } if hint(said) == Some(Hint::Privilege) => {
                FirewallError::Denied
            }
            InstallError::ProgramFailed { said, .. } if hint(said) == Some(Hint::Busy) => FirewallError::Busy,
            InstallError::ProgramFailed { .. } => FirewallError::Other(libc::EPROTO),
            InstallError::NotPermitted { .. } => FirewallError::Denied,
            InstallError::Kernel { error, .. } => *error,
        }
    }
}

impl fmt::Display for InstallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            InstallError::ProgramMissing { program, searched } => {
                let searched: Vec<_> = searched.iter().map(|path| path.display().to_string()).collect();
                let searched = searched.join(", ");
                let package = if program == "nft" { "nftables" } else { "iptables" };
                write!(f, "{program}: not found in {searched}: install the package {package}")
            }
            InstallError::ProgramNotRun { program, errno } => {
                write!(f, "{}: cannot be run: {}", program.display(), errno.desc())
            }
            InstallError::ProgramTimeout { program, limit_secs } => write!(
                f,
                "{}: no end after {limit_secs} s: does another program hold the lock of the firewall?",
                program.display()
            ),
            InstallError::ProgramOutputTooLong { program } => {
                write!(f, "{}: the site's own rules are too many to be read back", program.display())
            }
            InstallError::ProgramFailed { program, status, said } => {
                let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
                let advice = hint(&said).map_or("", Hint::advice);
                write!(f, "{} ({status}): {said}{advice}", program.display())
            }
            InstallError::NotPermitted { doing } => write!(
                f,
                "{doing}: not permitted: run as root or with the capabilities CAP_NET_ADMIN and \
                 CAP_NET_RAW (systemd: AmbientCapabilities=)"
            ),
            InstallError::KernelLacks { doing, options } => {
                write!(f, "{doing}: not supported by this kernel: it needs {options}")
            }
            InstallError::Kernel { doing, error: FirewallError::Other(number) } => {
                write!(f, "{doing}: the kernel refused it: {}", describe(*number))
            }
            InstallError::Kernel { doing, error } => write!(f, "{doing}: {}", error.reason()),
        }
    }
}

impl std::error::Error for InstallError {}

/// What a program's words point at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hint {
    Privilege,
    Busy,
    KernelModule,
    Extension,
}

impl Hint {
    const fn advice(self) -> &'static str {
        match self {
            Hint::Privilege => {
                ": run as root or with the capabilities CAP_NET_ADMIN and CAP_NET_RAW (systemd: \
                 AmbientCapabilities=)"
            }
            Hint::Busy => ": another program is changing the firewall; try again",
            Hint::KernelModule => {
                ": the kernel probably lacks a match; needed are xt_set, xt_conntrack and xt_tcpudp \
                 with iptables (and nft_compat with iptables-nft), nft_ct and Linux 5.4 with nftables"
            }
            Hint::Extension => {
                ": an extension of iptables is not installed; needed are libxt_set.so, libxt_SET.so and \
                 libxt_conntrack.so"
            }
        }
    }
}

fn hint(said: &str) -> Option<Hint> {
    const WORDS: [(&str, Hint); 13] = [
        ("you must be root", Hint::Privilege),
        ("Permission denied", Hint::Privilege),
        ("Operation not permitted", Hint::Privilege),
        ("xtables lock", Hint::Busy),
        ("Resource temporarily unavailable", Hint::Busy),
        ("Couldn't load match", Hint::Extension),
        ("Couldn't load target", Hint::Extension),
        ("missing kernel module", Hint::KernelModule),
        ("No chain/target/match", Hint::KernelModule),
        // iptables-nft without nf_tables in the kernel.
        ("generation id: Invalid argument", Hint::KernelModule),
        ("Table does not exist", Hint::KernelModule),
        ("Protocol not supported", Hint::KernelModule),
        ("Operation not supported", Hint::KernelModule),
    ];
    WORDS.iter().find(|(words, _)| said.contains(words)).map(|&(_, hint)| hint)
}

/// An error of netlink in the engine's words.
pub(super) fn firewall_error(error: NetlinkError) -> FirewallError {
    match error {
        NetlinkError::Refused(number) => errno_error(number),
        NetlinkError::NotSent(errno) => errno_error(errno as i32),
        NetlinkError::NoAnswer => FirewallError::NoAnswer,
        NetlinkError::Interrupted => FirewallError::Busy,
        NetlinkError::TooLong => FirewallError::Other(libc::EMSGSIZE),
    }
}

/// Numbers of ip_set's own (`linux/netfilter/ipset/ip_set.h`, `ip_set_hash.h`).
mod ipset_errno {
    pub(super) const PROTOCOL: i32 = 4097;
    pub(super) const FIND_TYPE: i32 = 4098;
    pub(super) const MAX_SETS: i32 = 4099;
    pub(super) const BUSY: i32 = 4100;
    pub(super) const HASH_FULL: i32 = 4352;
}

fn errno_error(number: i32) -> FirewallError {
    match number {
        libc::EBUSY | libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM | libc::EINTR | ipset_errno::BUSY => {
            FirewallError::Busy
        }
        libc::ENFILE | libc::ENOSPC | ipset_errno::HASH_FULL | ipset_errno::MAX_SETS => FirewallError::Full,
        libc::ENOENT | libc::ENXIO => FirewallError::Missing,
        libc::EPERM | libc::EACCES => FirewallError::Denied,
        libc::EOPNOTSUPP
        | libc::EPROTONOSUPPORT
        | libc::EAFNOSUPPORT
        | ipset_errno::PROTOCOL
        | ipset_errno::FIND_TYPE => FirewallError::Unsupported,
        other => FirewallError::Other(other),
    }
}

/// Words for an `errno`, or for a number of ip_set's own.
fn describe(number: i32) -> String {
    match number {
        4096.. => format!("error {number} of ip_set"),
        libc::EEXIST => {
            "something with that name exists and is not alike: another version of Postern or somebody else \
             made it; remove it"
                .to_owned()
        }
        _ => Errno::from_raw(number).desc().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_answers_have_their_meaning() {
        let meaning = |number| firewall_error(NetlinkError::Refused(number));
        assert_eq!(meaning(libc::EBUSY), FirewallError::Busy);
        assert_eq!(meaning(libc::ENOENT), FirewallError::Missing);
        assert_eq!(meaning(4352), FirewallError::Full);
        assert_eq!(meaning(libc::ENFILE), FirewallError::Full);
        assert_eq!(meaning(4098), FirewallError::Unsupported);
        assert_eq!(meaning(libc::EDOM), FirewallError::Other(libc::EDOM));
        assert_eq!(firewall_error(NetlinkError::NotSent(Errno::ENOBUFS)), FirewallError::Busy);
    }

    #[test]
    fn what_programs_say_leads_to_advice() {
        let failed = |said: &str| InstallError::ProgramFailed {
            program: PathBuf::from("/usr/sbin/iptables-restore"),
            status: ExitStatus::default(),
            said: said.to_owned(),
        };
        let text = failed("iptables-restore v1.8.9 (nf_tables): Couldn't load match `set':No such file\n");
        assert!(text.to_string().contains("libxt_set.so"), "{text}");
        let text = failed("Extension set revision 0 not supported, missing kernel module?\n");
        assert!(text.to_string().contains("xt_set"), "{text}");
        let denied = failed("can't initialize iptables table `filter': Permission denied (you must be root)");
        assert_eq!(denied.to_firewall_error(), FirewallError::Denied);
        let busy = failed("Another app is currently holding the xtables lock.");
        assert_eq!(busy.to_firewall_error(), FirewallError::Busy);
        assert_eq!(failed("line 3 failed").to_firewall_error(), FirewallError::Other(libc::EPROTO));
    }
}
