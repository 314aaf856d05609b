//! A serial cable: two pseudo terminals, and between them a thread that lets octets pass no faster
//! than the line does.

use std::fs::{File, Permissions};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::Result;
use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::pty::openpty;
use nix::sys::termios::{SetArg, cfmakeraw, tcgetattr, tcsetattr};
use nix::unistd::ttyname;

/// One octet at 9600 baud, 8N1.
const OCTET_TIME: Duration = Duration::from_micros(1042);

/// Octets moved at once: the thread sleeps as long as they take.
const BURST_BYTES: usize = 16;

/// A cable that is plugged in. The gateway's end is the terminal a link points to, so that another
/// cable can take its place; pulling it hangs both ends up.
#[derive(Debug)]
pub struct Cable {
    far: PathBuf,
    pulled: Arc<AtomicBool>,
    carrier: Option<JoinHandle<()>>,
    /// Keeps the far terminal alive while nobody has opened it.
    _far_end: OwnedFd,
}

impl Cable {
    /// Plugs a cable of 9600 baud in where `link` is, for whoever opens that.
    ///
    /// # Errors
    /// From the operating system.
    pub fn plug(link: &Path) -> Result<Self> {
        let (near, far) = (openpty(None, None)?, openpty(None, None)?);
        for end in [&near.slave, &far.slave] {
            let mut settings = tcgetattr(end)?;
            cfmakeraw(&mut settings);
            tcsetattr(end, SetArg::TCSANOW, &settings)?;
        }
        // A program that inherits an end keeps the cable plugged in for ever.
        for end in [&near.master, &near.slave, &far.master, &far.slave] {
            fcntl(end, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
        }
        let near_path = ttyname(&near.slave)?;
        // The console has given its rights up when it opens the line again.
        std::fs::set_permissions(&near_path, Permissions::from_mode(0o666))?;
        let next = link.with_extension("next");
        let _ = std::fs::remove_file(&next);
        symlink(&near_path, &next)?;
        std::fs::rename(&next, link)?;
        let far_path = ttyname(&far.slave)?;
        let pulled = Arc::new(AtomicBool::new(false));
        let (near_end, far_end) = (File::from(near.master), File::from(far.master));
        for end in [&near_end, &far_end] {
            fcntl(end.as_fd(), FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        }
        let seen = Arc::clone(&pulled);
        let near_slave = near.slave;
        let carrier = thread::spawn(move || carry(near_end, far_end, near_slave, &seen));
        Ok(Self { far: far_path, pulled, carrier: Some(carrier), _far_end: far.slave })
    }

    /// The terminal at the person's end.
    pub fn far(&self) -> &Path {
        &self.far
    }

    /// Pulls it: the gateway's end hangs up.
    pub fn pull(mut self) {
        self.hang_up();
    }

    fn hang_up(&mut self) {
        self.pulled.store(true, Ordering::Relaxed);
        if let Some(carrier) = self.carrier.take() {
            let _ = carrier.join();
        }
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        self.hang_up();
    }
}

/// Carries octets both ways until the cable is pulled. The gateway's terminal is held open, as a
/// UART is there while nobody uses it.
fn carry(mut near: File, mut far: File, near_slave: OwnedFd, pulled: &AtomicBool) {
    let (mut to_near, mut to_far) = (Vec::new(), Vec::new());
    while !pulled.load(Ordering::Relaxed) {
        step(&mut near, &mut far, &mut to_far);
        step(&mut far, &mut near, &mut to_near);
        thread::sleep(OCTET_TIME * u32::try_from(BURST_BYTES).unwrap_or(1));
    }
    drop(near_slave);
}

fn step(from: &mut File, to: &mut File, pending: &mut Vec<u8>) {
    if pending.is_empty() {
        let mut octets = [0; BURST_BYTES];
        if let Ok(read) = from.read(&mut octets) {
            pending.extend(&octets[..read]);
        }
    }
    match to.write(pending) {
        Ok(written) => drop(pending.drain(..written)),
        Err(error) if error.kind() == ErrorKind::WouldBlock => {}
        Err(_) => pending.clear(),
    }
}
