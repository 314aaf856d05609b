//! Cleaning up after Ctrl-C: the tour runs in a child process; whatever ends it, the parent
//! removes what it left behind.

use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::unistd::Pid;
use postern_e2e::lab;

/// The hidden option of the child.
pub(crate) const SUPERVISED: &str = "--supervised";

/// Runs this program once more with [`SUPERVISED`], passes signals on, and sweeps at the end.
pub(crate) fn supervise() -> Result<ExitCode> {
    let signals = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGCHLD];
    let waited_for: SigSet = signals.into_iter().collect();
    waited_for.thread_block()?;
    let own = std::env::current_exe()?;
    let mut child = Command::new(own).arg(SUPERVISED).args(std::env::args_os().skip(1)).spawn()?;
    let pid = Pid::from_raw(i32::try_from(child.id())?);
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        match waited_for.wait()? {
            Signal::SIGCHLD => {}
            // Ctrl-C reached the child as well, unless it was started with SIGINT ignored.
            _ => kill(pid, Signal::SIGTERM).context("cannot pass the signal on")?,
        }
    };
    lab::sweep();
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}

/// Undoes in the child what [`supervise`] blocked in the parent.
pub(crate) fn unblock() -> Result<()> {
    SigSet::all().thread_unblock()?;
    Ok(())
}
