//! The hardware watchdog: a machine whose daemon does not work any more is reset
//! (`Documentation/watchdog/watchdog-api.rst` of the kernel).
//!
//! Opening the device starts it. Dropping a [`Watchdog`] leaves it running, so that a daemon that
//! dies and does not come back ends in a reset; only [`Watchdog::disarm`] stops it, where the driver
//! allows that at all.

// What nix makes ioctls of.
#![allow(unsafe_code)]

use core::fmt;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::libc::c_int;

/// `struct watchdog_info` (`<linux/watchdog.h>`).
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Info {
    options: u32,
    firmware_version: u32,
    identity: [u8; 32],
}

mod calls {
    use super::{Info, c_int};

    nix::ioctl_read!(support, b'W', 0, Info);
    nix::ioctl_read!(boot_status, b'W', 2, c_int);
    nix::ioctl_read!(keep_alive, b'W', 5, c_int);
    nix::ioctl_readwrite!(set_timeout, b'W', 6, c_int);
    nix::ioctl_read!(timeout, b'W', 7, c_int);
    nix::ioctl_readwrite!(set_pretimeout, b'W', 8, c_int);
}

// Flags of `Info::options` and of the boot status.
const OVERHEAT: u32 = 0x01;
const FAN_FAULT: u32 = 0x02;
const EXTERNAL_1: u32 = 0x04;
const EXTERNAL_2: u32 = 0x08;
const POWER_UNDER: u32 = 0x10;
const CARD_RESET: u32 = 0x20;
const POWER_OVER: u32 = 0x40;
const SET_TIMEOUT: u32 = 0x80;
const MAGIC_CLOSE: u32 = 0x100;
const PRETIMEOUT: u32 = 0x200;

/// Written before the device is closed, it stops the watchdog.
const MAGIC: &[u8] = b"V";

/// Why there is no watchdog.
#[derive(Debug)]
pub enum WatchdogError {
    /// open(2) failed.
    Open(PathBuf, std::io::Error),
    /// Another program has it.
    InUse(PathBuf),
    /// It does not answer as a watchdog.
    NotAWatchdog(PathBuf, Errno),
}

impl fmt::Display for WatchdogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WatchdogError::Open(path, error) => {
                write!(f, "cannot open the watchdog {}: {error}; is its driver loaded?", path.display())
            }
            WatchdogError::InUse(path) => {
                write!(f, "another program pets the watchdog {}: stop it", path.display())
            }
            WatchdogError::NotAWatchdog(path, errno) => {
                write!(f, "{} is no watchdog: {errno}; it is usually /dev/watchdog0", path.display())
            }
        }
    }
}

impl std::error::Error for WatchdogError {}

/// A running watchdog.
#[derive(Debug)]
pub struct Watchdog {
    device: File,
    path: PathBuf,
    options: u32,
    timeout_secs: u16,
    last_reset: Option<&'static str>,
}

impl Watchdog {
    /// Starts the watchdog at `path`. A time-out that the driver refuses is logged, and its own stays;
    /// a pretimeout, where there is one, is set to a quarter of it before the end.
    ///
    /// # Errors
    /// [`WatchdogError`].
    pub fn open(path: &Path, timeout_secs: Option<u16>) -> Result<Self, WatchdogError> {
        let device = OpenOptions::new().write(true).open(path).map_err(|error| {
            match error.raw_os_error().map(Errno::from_raw) {
                Some(Errno::EBUSY) => WatchdogError::InUse(path.to_owned()),
                _ => WatchdogError::Open(path.to_owned(), error),
            }
        })?;
        let mut info = Info::default();
        // SAFETY: the descriptor is open and the kernel fills in the structure, which outlives the call.
        unsafe { calls::support(device.as_raw_fd(), &raw mut info) }
            .map_err(|errno| WatchdogError::NotAWatchdog(path.to_owned(), errno))?;
        let mut watchdog =
            Self { device, path: path.to_owned(), options: info.options, timeout_secs: 0, last_reset: None };
        watchdog.last_reset = watchdog.boot_status();
        watchdog
            .set_times(timeout_secs)
            .map_err(|errno| WatchdogError::NotAWatchdog(path.to_owned(), errno))?;
        Ok(watchdog)
    }

    fn set_times(&mut self, wanted_secs: Option<u16>) -> Result<(), Errno> {
        let fd = self.device.as_raw_fd();
        if let Some(wanted) = wanted_secs {
            let mut seconds = c_int::from(wanted);
            // SAFETY: the descriptor is open; the kernel reads and writes one integer that outlives the call.
            let set = unsafe { calls::set_timeout(fd, &raw mut seconds) };
            if let (Err(errno), true) = (set, self.options & SET_TIMEOUT != 0) {
                log::warn!("the watchdog {} does not count to {wanted} s: {errno}", self.path.display());
            }
        }
        let mut seconds: c_int = 0;
        // SAFETY: as above.
        unsafe { calls::timeout(fd, &raw mut seconds) }?;
        self.timeout_secs = u16::try_from(seconds).unwrap_or(u16::MAX).max(1);
        if self.options & PRETIMEOUT != 0 {
            let mut before = c_int::from(self.timeout_secs / 4);
            // SAFETY: as above.
            if let Err(errno) = unsafe { calls::set_pretimeout(fd, &raw mut before) } {
                log::warn!("the watchdog {} gives no warning before it bites: {errno}", self.path.display());
            }
        }
        Ok(())
    }

    fn boot_status(&self) -> Option<&'static str> {
        let mut flags: c_int = 0;
        // SAFETY: the descriptor is open; the kernel writes one integer that outlives the call.
        unsafe { calls::boot_status(self.device.as_raw_fd(), &raw mut flags) }.ok()?;
        reset_cause(u32::from_ne_bytes(flags.to_ne_bytes()))
    }

    /// Seconds without a pet after which it resets the machine.
    pub fn timeout_secs(&self) -> u16 {
        self.timeout_secs
    }

    /// Why the machine was reset last, if the hardware says so; after a power-on and an ordinary
    /// restart it does not.
    pub fn last_reset(&self) -> Option<&'static str> {
        self.last_reset
    }

    /// Begins its time anew.
    ///
    /// # Errors
    /// What the driver says; not to be expected.
    pub fn pet(&mut self) -> Result<(), Errno> {
        let mut ignored: c_int = 0;
        // SAFETY: the descriptor is open; the kernel ignores the argument, which outlives the call.
        unsafe { calls::keep_alive(self.device.as_raw_fd(), &raw mut ignored) }.map(drop)
    }

    /// Stops it: nothing will reset the machine. Where the driver does not allow that, it goes on.
    pub fn disarm(mut self) {
        if self.options & MAGIC_CLOSE == 0 {
            log::warn!("the watchdog {} cannot be stopped: it resets the machine soon", self.path.display());
        }
        if let Err(error) = self.device.write_all(MAGIC) {
            log::error!("the watchdog {} was not stopped: {error}", self.path.display());
        }
    }
}

/// The cause that the flags of a boot status name, the most telling first.
fn reset_cause(flags: u32) -> Option<&'static str> {
    const CAUSES: [(u32, &str); 7] = [
        (CARD_RESET, "watchdog"),
        (OVERHEAT, "overheat"),
        (POWER_UNDER, "power-low"),
        (POWER_OVER, "power-high"),
        (FAN_FAULT, "fan-fault"),
        (EXTERNAL_1, "external-1"),
        (EXTERNAL_2, "external-2"),
    ];
    CAUSES.iter().find(|(flag, _)| flags & flag != 0).map(|&(_, cause)| cause)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_watchdog_is_told_so() {
        // Never a real one: opening it would start it.
        let error = Watchdog::open(Path::new("/dev/null"), Some(10)).unwrap_err();
        assert!(matches!(error, WatchdogError::NotAWatchdog(_, Errno::ENOTTY)), "{error}");
        let error = Watchdog::open(Path::new("/dev/postern-no-watchdog"), None).unwrap_err();
        assert!(matches!(error, WatchdogError::Open(..)) && error.to_string().contains("driver"), "{error}");
    }

    #[test]
    fn causes_of_a_reset() {
        assert_eq!(reset_cause(CARD_RESET | POWER_UNDER), Some("watchdog"));
        assert_eq!(reset_cause(EXTERNAL_2), Some("external-2"));
        assert_eq!(reset_cause(0), None);
        assert_eq!(reset_cause(MAGIC_CLOSE | SET_TIMEOUT), None, "abilities, no causes");
    }

    #[test]
    fn the_structure_is_the_kernels() {
        assert_eq!(size_of::<Info>(), 40);
    }
}
