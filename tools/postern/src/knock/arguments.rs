//! The command line of `postern knock`.

use std::path::PathBuf;

use clap::Args;
use postern_core::Step;

use super::Family;
use crate::profile::read::{RETRIES_MAX, tcp_port};

/// See `postern knock --help`.
#[derive(Debug, Args)]
pub struct KnockArgs {
    /// Profile of `clients.toml`; or, with knocks behind it, name or address of the gateway
    #[arg(value_name = "NAME|HOST")]
    pub(super) target: String,
    /// Knocks in order: tcp/PORT, udp/PORT, icmp/OCTETS
    #[arg(conflicts_with = "site", value_parser = crate::site::step)]
    pub(super) steps: Vec<Step>,
    /// Take the sequence from this site file
    #[arg(long, requires = "door")]
    pub(super) site: Option<PathBuf>,
    /// Door of the site file
    #[arg(long, requires = "site")]
    pub(super) door: Option<String>,
    /// The profile file, instead of ~/.config/postern/clients.toml
    #[arg(long, value_name = "FILE", env = "POSTERN_PROFILES")]
    pub(super) profiles: Option<PathBuf>,
    /// Pause between two knocks, in milliseconds [default: 200]
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(0..=10_000))]
    pub(super) delay: Option<u64>,
    /// Knock again so often while the door stays shut (needs a port to try)
    #[arg(long, value_parser = clap::value_parser!(u32).range(0..=i64::from(RETRIES_MAX)))]
    pub(super) retry: Option<u32>,
    /// Try this port, and exit with 0 only if it opened; a profile may know which
    #[arg(long, value_name = "tcp/PORT", num_args = 0..=1, value_parser = tcp_port)]
    pub(super) probe: Option<Option<u16>>,
    /// How long one try of the port takes, in milliseconds [default: 1000]
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..=60_000))]
    pub(super) timeout: Option<u64>,
    /// IPv4 only
    #[arg(short = '4', conflicts_with = "v6")]
    pub(super) v4: bool,
    /// IPv6 only
    #[arg(short = '6')]
    pub(super) v6: bool,
    /// Knock, connect, and relay standard input and output: ProxyCommand of ssh
    #[arg(long, num_args = 2, value_names = ["HOST", "PORT"], conflicts_with_all = ["probe", "json", "dry_run", "check"])]
    pub(super) proxy: Option<Vec<String>>,
    /// Ask to close the door again (only with one authenticated packet)
    #[arg(long, conflicts_with_all = ["probe", "proxy", "check", "steps", "site"])]
    pub(super) close: bool,
    /// Say what would be sent, and send nothing
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Check everything the profile needs, and send nothing
    #[arg(long, conflicts_with_all = ["dry_run", "steps", "site"])]
    pub(super) check: bool,
    /// Say what happens, also when standard error is no terminal
    #[arg(short, long, conflicts_with = "json")]
    pub(super) verbose: bool,
    /// Print one JSON object
    #[arg(long)]
    pub(super) json: bool,
}

impl KnockArgs {
    /// The address family of the command line, when it names one.
    pub(super) const fn family(&self) -> Option<Family> {
        match (self.v4, self.v6) {
            (true, _) => Some(Family::V4),
            (_, true) => Some(Family::V6),
            _ => None,
        }
    }

    /// Whether `target` is a profile.
    pub(super) fn names_profile(&self) -> bool {
        self.steps.is_empty() && self.site.is_none()
    }
}
