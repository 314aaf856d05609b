//! Restarting the machine.

use std::convert::Infallible;

use nix::errno::Errno;
use nix::sys::reboot::{RebootMode, reboot as reboot_now};
use nix::unistd::sync;

/// Writes everything out and restarts the machine (reboot(2)).
///
/// # Errors
/// `EPERM` without `CAP_SYS_BOOT`.
pub fn reboot() -> Result<Infallible, Errno> {
    sync();
    reboot_now(RebootMode::RB_AUTOBOOT)
}
