//! `postern doctor`: what is wrong with this gateway, and what to do about it.
//!
//! Runs on the gateway itself and changes nothing. Facts are gathered first, then judged: each check
//! is a function of the facts alone.

mod checks;
mod daemon;
mod facts;
mod finding;
mod gate;
mod iptables;
mod nft;
mod report;
mod sockets;

use std::path::PathBuf;

use anyhow::Result;
use clap::Args as ClapArgs;

pub(crate) use daemon::{Daemon, ask};
pub use finding::{Finding, Symptom};
pub use report::{json, text};

use facts::Facts;

/// Arguments of `postern doctor`.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// The config partition of this gateway, or an image of one
    #[arg(long)]
    pub store: PathBuf,
    /// The daemon's control socket
    #[arg(long, default_value = "/run/postern/control")]
    pub control: PathBuf,
    /// Only what explains this
    #[arg(long)]
    pub symptom: Option<Symptom>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Looks, and returns the findings, the worst first.
pub fn examine(args: &Args) -> Vec<Finding> {
    let (facts, mut findings) = Facts::gather(&args.store, &args.control);
    for check in checks::ALL {
        check(&facts, &mut findings);
    }
    findings.retain(|finding| args.symptom.is_none_or(|symptom| finding.explains.contains(&symptom)));
    // A stable sort: findings of the same severity stay in the order of the checks.
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    findings
}

/// Runs the command: 0 when there is no error among the findings, else 1.
///
/// # Errors
/// When nothing can be printed.
pub fn run(args: &Args) -> Result<u8> {
    let findings = examine(args);
    let out = if args.json { json(args, &findings) } else { text(args, &findings) };
    crate::cli::print(&out)?;
    Ok(u8::from(finding::has_errors(&findings)))
}
