//! Capabilities: what is left of the superuser's powers.

// What nix has no function for.
#![allow(unsafe_code)]

use core::fmt;

use nix::errno::Errno;
use nix::libc;

use super::error::{ConfineError, while_trying};

/// Version of the structures of capset(2) with 64 capabilities (`<linux/capability.h>`).
const VERSION_3: u32 = 0x2008_0522;

/// Numbers that are tried: capabilities are bits of 64.
const CAPABILITIES_MAX: u32 = 64;

// Secure bits and their locks (`<linux/securebits.h>`).
const NO_ROOT: libc::c_ulong = 1 << 0;
const NO_SETUID_FIXUP: libc::c_ulong = 1 << 2;
const KEEP_CAPS_LOCKED: libc::c_ulong = 1 << 5;
const NO_AMBIENT_RAISE: libc::c_ulong = 1 << 6;

/// Being user 0 means nothing any more, changing the user neither, and nothing becomes ambient; for
/// good. Each lock is the bit beside its own.
const SECURE_BITS: libc::c_ulong = NO_ROOT
    | NO_ROOT << 1
    | NO_SETUID_FIXUP
    | NO_SETUID_FIXUP << 1
    | KEEP_CAPS_LOCKED
    | NO_AMBIENT_RAISE
    | NO_AMBIENT_RAISE << 1;

/// One power of the superuser (`<linux/capability.h>`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Capability {
    /// Changes its own capability sets and bits: given away last.
    SetPcap = 8,
    /// Changes the firewall and its sets.
    NetAdmin = 12,
    /// Captures packets; the legacy iptables talks to the kernel through a raw socket.
    NetRaw = 13,
    /// Restarts the machine.
    SysBoot = 22,
}

/// A set of capabilities, in the kernel's bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities(pub u64);

impl Capabilities {
    /// The empty set.
    pub const NONE: Self = Self(0);

    /// The set with one more.
    #[must_use]
    pub const fn with(self, capability: Capability) -> Self {
        Self(self.0 | 1 << capability as u8)
    }

    const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether it is in the set.
    pub const fn has(self, capability: Capability) -> bool {
        self.0 & 1 << capability as u8 != 0
    }

    const fn has_number(self, number: u32) -> bool {
        self.0 & 1 << number != 0
    }
}

impl fmt::Display for Capabilities {
    /// As `/proc/PID/status` shows it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// What a process keeps.
#[derive(Clone, Copy, Debug)]
pub(super) struct Privileges {
    /// For itself, at most.
    pub(super) kept: Capabilities,
    /// Also for programs that it executes.
    pub(super) inherited: Capabilities,
}

#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

#[derive(Clone, Copy, Default)]
#[repr(C)]
struct Half {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Takes everything but `kept` out of the bounding set, so that nothing executed later can have it.
/// A process without `CAP_SETPCAP`, started by a supervisor
/// that has confined it, has its bounding set as it is.
pub(super) fn drop_bounding(kept: Capabilities) -> Result<(), ConfineError> {
    if !permitted()?.has(Capability::SetPcap) {
        return Ok(());
    }
    for number in (0..CAPABILITIES_MAX).filter(|&number| !kept.has_number(number)) {
        match control(libc::PR_CAPBSET_DROP, number.into(), 0) {
            // The first that the kernel does not know.
            Err(Errno::EINVAL) => break,
            result => result.map_err(while_trying("bound the capabilities"))?,
        }
    }
    Ok(())
}

/// Keeps what `privileges` say of what there is, and locks the way back. Returns what is left.
pub(super) fn keep(privileges: &Privileges) -> Result<Capabilities, ConfineError> {
    let available = permitted()?;
    let refused = while_trying("give capabilities away");
    let kept = privileges.kept.and(available);
    let inherited = privileges.inherited.and(available);
    let may_lock = available.has(Capability::SetPcap);
    // A change of user has cleared the effective set; the bits need `CAP_SETPCAP` in it.
    let for_now = if may_lock { kept.with(Capability::SetPcap) } else { kept };
    set(for_now, inherited).map_err(&refused)?;
    make_ambient(inherited)?;
    if may_lock {
        control(libc::PR_SET_SECUREBITS, SECURE_BITS, 0).map_err(while_trying("lock the secure bits"))?;
    }
    set(kept, inherited).map_err(&refused)?;
    Ok(kept)
}

/// Neither set-user-id programs nor file capabilities give anything back (`PR_SET_NO_NEW_PRIVS`).
pub(super) fn forbid_new_privileges() -> Result<(), ConfineError> {
    nix::sys::prctl::set_no_new_privs().map_err(while_trying("forbid new privileges"))
}

fn make_ambient(inherited: Capabilities) -> Result<(), ConfineError> {
    let refused = while_trying("hand capabilities on to the firewall's programs");
    control(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL as libc::c_ulong, 0).map_err(&refused)?;
    for number in (0..CAPABILITIES_MAX).filter(|&number| inherited.has_number(number)) {
        control(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE as libc::c_ulong, number.into())
            .map_err(&refused)?;
    }
    Ok(())
}

/// prctl(2) with two numbers.
fn control(option: libc::c_int, first: libc::c_ulong, second: libc::c_ulong) -> Result<(), Errno> {
    let zero: libc::c_ulong = 0;
    // SAFETY: the options used here take numbers only and touch no memory of the process.
    let result = unsafe { libc::prctl(option, first, second, zero, zero) };
    Errno::result(result).map(drop)
}

fn permitted() -> Result<Capabilities, ConfineError> {
    let mut header = Header { version: VERSION_3, pid: 0 };
    let mut halves = [Half::default(); 2];
    // SAFETY: capget(2) of version 3 writes two `Half`s for the calling thread, and may write the
    // version into the header; both are valid for that and outlive the call.
    let result = unsafe { libc::syscall(libc::SYS_capget, &raw mut header, halves.as_mut_ptr()) };
    Errno::result(result).map_err(while_trying("read its capabilities"))?;
    let [low, high] = halves;
    Ok(Capabilities(u64::from(low.permitted) | u64::from(high.permitted) << 32))
}

/// Makes `kept` permitted and effective, and `inherited` inheritable.
fn set(kept: Capabilities, inherited: Capabilities) -> Result<(), Errno> {
    let mut header = Header { version: VERSION_3, pid: 0 };
    let half = |shift: u32| {
        let part =
            |set: Capabilities| u32::try_from(set.0 >> shift & u64::from(u32::MAX)).unwrap_or_default();
        Half { effective: part(kept), permitted: part(kept), inheritable: part(inherited) }
    };
    let halves = [half(0), half(32)];
    // SAFETY: capset(2) of version 3 reads two `Half`s, and may write the version into the header;
    // both are valid for that and outlive the call.
    let result = unsafe { libc::syscall(libc::SYS_capset, &raw mut header, halves.as_ptr()) };
    Errno::result(result).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_the_kernels_bits() {
        let set = Capabilities::NONE.with(Capability::NetAdmin).with(Capability::NetRaw);
        assert_eq!(set.to_string(), "0000000000003000");
        assert!(set.has(Capability::NetRaw) && !set.has(Capability::SysBoot));
        assert_eq!(set.and(Capabilities::NONE.with(Capability::NetRaw)).0, 1 << 13);
    }

    #[test]
    fn the_kernel_tells_what_we_have() {
        // The same as it tells everybody.
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("CapPrm:\t")).unwrap();
        assert_eq!(permitted().unwrap().to_string(), line);
    }
}
