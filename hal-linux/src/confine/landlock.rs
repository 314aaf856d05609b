//! What of the file system, of the network and of other processes is left (landlock(7)).

// What nix has no function for.
#![allow(unsafe_code)]

use std::borrow::Cow;
use std::fs::OpenOptions;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::errno::Errno;
use nix::libc;

use super::error::{ConfineError, while_trying};

// `<linux/landlock.h>`.
const CREATE_RULESET_VERSION: u32 = 1;
const RULE_PATH_BENEATH: u32 = 1;

const EXECUTE: u64 = 1 << 0;
const WRITE_FILE: u64 = 1 << 1;
const READ_FILE: u64 = 1 << 2;
const READ_DIR: u64 = 1 << 3;
const REMOVE_FILE: u64 = 1 << 5;
/// What concerns files: of directories only the other rights may be named.
const OF_FILES: u64 = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEVICE;
/// The rights of version 1.
const FIRST_RIGHTS: u64 = (1 << 13) - 1;
const REFER: u64 = 1 << 13;
const TRUNCATE: u64 = 1 << 14;
const IOCTL_DEVICE: u64 = 1 << 15;
/// Binding and connecting TCP sockets.
const NETWORK_RIGHTS: u64 = 0b11;
/// Signals to processes outside. Abstract sockets are left: a supervisor may be told by one.
const SCOPE_SIGNALS: u64 = 1 << 1;

/// Something a view allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Right {
    /// To read files and list directories.
    Read,
    /// To write files that are there.
    Write,
    /// To execute.
    Execute,
    /// To set a device, a terminal, say (`ioctl`).
    ControlDevice,
    /// To remove files from the directory.
    RemoveFile,
}

impl Right {
    const fn bits(self) -> u64 {
        match self {
            Right::Read => READ_FILE | READ_DIR,
            Right::Write => WRITE_FILE | TRUNCATE,
            Right::Execute => EXECUTE,
            Right::ControlDevice => IOCTL_DEVICE,
            Right::RemoveFile => REMOVE_FILE,
        }
    }
}

/// What is left of the file system; everything else is refused, also to programs that are executed.
#[derive(Clone, Debug, Default)]
pub(super) struct View<'a> {
    rules: Vec<(Cow<'a, Path>, u64)>,
}

impl<'a> View<'a> {
    /// Allows `rights` on the file at `path`, or on everything beneath that directory. A path where
    /// nothing is allows nothing. Symbolic links are followed now.
    pub(super) fn allow(&mut self, path: impl Into<Cow<'a, Path>>, rights: &[Right]) {
        let bits = rights.iter().fold(0, |bits, right| bits | right.bits());
        self.rules.push((path.into(), bits));
    }
}

#[repr(C)]
struct RulesetAttributes {
    handled_access_fs: u64,
    handled_access_net: u64,
    scoped: u64,
}

#[repr(C, packed)]
struct PathBeneath {
    allowed_access: u64,
    parent_fd: i32,
}

/// Version of landlock in this kernel; 0 when it has none, or has it turned off.
pub fn kernel_abi() -> u8 {
    let nothing: *const libc::c_void = core::ptr::null();
    // SAFETY: with this flag landlock_create_ruleset(2) takes no attributes and returns a number.
    let version =
        unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, nothing, 0_usize, CREATE_RULESET_VERSION) };
    u8::try_from(version.max(0)).unwrap_or(u8::MAX)
}

/// The file system rights a kernel of this version knows.
const fn known_rights(abi: u8) -> u64 {
    let mut rights = FIRST_RIGHTS;
    if abi >= 2 {
        rights |= REFER;
    }
    if abi >= 3 {
        rights |= TRUNCATE;
    }
    if abi >= 5 {
        rights |= IOCTL_DEVICE;
    }
    rights
}

/// Leaves only `view`, and no TCP. Returns the kernel's version, 0 when it has no landlock.
pub(super) fn restrict(view: &View<'_>) -> Result<u8, ConfineError> {
    let abi = kernel_abi();
    if abi == 0 {
        return Ok(0);
    }
    let refused = while_trying("restrict the file system (landlock)");
    let rights = known_rights(abi);
    let ruleset = create(rights, abi).map_err(&refused)?;
    for (path, allowed) in &view.rules {
        match add(&ruleset, path, allowed & rights) {
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::EACCES) => {}
            result => result.map_err(&refused)?,
        }
    }
    // SAFETY: landlock_restrict_self(2) takes a descriptor, which is open, and flags.
    let result = unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_raw_fd(), 0_u32) };
    Errno::result(result).map_err(&refused)?;
    Ok(abi)
}

fn create(rights: u64, abi: u8) -> Result<OwnedFd, Errno> {
    let attributes = RulesetAttributes {
        handled_access_fs: rights,
        handled_access_net: if abi >= 4 { NETWORK_RIGHTS } else { 0 },
        scoped: if abi >= 6 { SCOPE_SIGNALS } else { 0 },
    };
    // Trailing zeros are no matter to an older kernel (landlock_create_ruleset(2), E2BIG).
    let size = size_of::<RulesetAttributes>();
    // SAFETY: the attributes are valid for their size and outlive the call, which only reads them.
    let fd = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, &raw const attributes, size, 0_u32) };
    owned(Errno::result(fd)?)
}

fn add(ruleset: &OwnedFd, path: &Path, allowed: u64) -> Result<(), Errno> {
    let place = OpenOptions::new().read(true).custom_flags(libc::O_PATH).open(path);
    let place = place.map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or_default()))?;
    let allowed = if path.is_dir() { allowed } else { allowed & OF_FILES };
    let rule = PathBeneath { allowed_access: allowed, parent_fd: place.as_raw_fd() };
    // SAFETY: both descriptors are open, and the rule outlives the call, which only reads it.
    let result = unsafe {
        libc::syscall(
            libc::SYS_landlock_add_rule,
            ruleset.as_raw_fd(),
            RULE_PATH_BENEATH,
            &raw const rule,
            0_u32,
        )
    };
    Errno::result(result).map(drop)
}

fn owned(fd: libc::c_long) -> Result<OwnedFd, Errno> {
    let fd = i32::try_from(fd).map_err(|_| Errno::EBADF)?;
    // SAFETY: the kernel just returned this descriptor, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_kernel_is_asked_for_nothing_it_does_not_know() {
        assert_eq!(known_rights(1), 0x1fff);
        assert_eq!(known_rights(3), 0x7fff);
        assert_eq!(known_rights(7), 0xffff);
    }

    #[test]
    fn rights_add_up() {
        let mut view = View::default();
        view.allow(Path::new("/"), &[Right::Read, Right::Execute]);
        assert_eq!(view.rules[0].1, 0b1101);
    }
}
