//! Giving away what is not needed, for good: after everything is opened, before anything of the
//! network is read.
//!
//! | measure | takes away |
//! | --- | --- |
//! | limits (setrlimit(2)) | descriptors, memory, processes and core files beyond what is needed |
//! | user, groups | the superuser's files, when a user is named |
//! | capabilities(7) | all but what the firewall and the capture need; also from whatever is executed |
//! | `no_new_privs`, secure bits | getting any of it back by executing something |
//! | landlock(7) | the file system, but for a read-only view of little of it |
//! | seccomp(2) | system calls that are not on a list |
//!
//! A measure the kernel does not have is left out and named in [`InForce`]; one that it has and
//! refuses is an error, and the caller must not go on.
//!
//! The programs of the firewall are children and inherit all of it: what they need is kept for them
//! as ambient capabilities, in the file system view and in the list of system calls.

mod account;
mod capability;
mod error;
mod landlock;
mod limits;
mod seccomp;
mod system_calls;

use std::path::Path;

use crate::firewall::PROGRAM_DIRECTORIES;
use account::{Account, Become};
use capability::Privileges;
use landlock::{Right, View};
use limits::Limits;

pub use account::prepare_lock_of_iptables;
pub use capability::{Capabilities, Capability};
pub use error::ConfineError;
pub use landlock::kernel_abi as landlock_abi;
pub use limits::Scheduling;

/// What the daemon was asked to keep.
#[derive(Clone, Copy, Debug)]
pub struct Daemon<'a> {
    /// Its config partition: stays readable and writable.
    pub store: &'a Path,
    /// Its control socket, if it has one: it may be taken away at the end.
    pub control: Option<&'a Path>,
    /// The user to become, by name or number. `None` stays the superuser, without his powers.
    pub user: Option<&'a str>,
    /// Whether it may restart the machine.
    pub may_reboot: bool,
    /// Whether all of its memory stays in RAM (mlockall(2)).
    pub lock_memory: bool,
    /// How it is scheduled.
    pub scheduling: Scheduling,
}

/// What the console was asked to keep.
#[derive(Clone, Copy, Debug)]
pub struct Console<'a> {
    /// The user to become, by name, with the groups that let it reach its line and the daemon. `None`
    /// stays who it is, without any powers.
    pub user: Option<&'a str>,
    /// Its serial line, which may vanish and come back: devices in its folder stay within reach, as
    /// far as the user may open them.
    pub line: &'a Path,
}

/// What is in force from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InForce {
    /// The user it runs as.
    pub user: u32,
    /// The capabilities it has left, and no program it executes can have more.
    pub capabilities: Capabilities,
    /// Whether system calls are filtered; not on a kernel without seccomp.
    pub seccomp: bool,
    /// Version of landlock that restricts the file system; 0 on a kernel without it.
    pub landlock_abi: u8,
    /// Whether its memory stays in RAM, also what it will ask for.
    pub memory_locked: bool,
}

/// Everything that is to be done.
struct Plan<'a> {
    user: Become<'a>,
    privileges: Privileges,
    limits: Limits,
    lock_memory: bool,
    scheduling: Scheduling,
    view: View<'a>,
    profile: system_calls::Profile,
}

/// Confines the daemon. Call it once, with one thread, when everything is open.
///
/// # Errors
/// [`ConfineError`]; the process may be confined in part and must end.
pub fn daemon(wishes: &Daemon<'_>) -> Result<InForce, ConfineError> {
    let user = match wishes.user {
        None => Become::NobodyElse,
        Some(user) => {
            let account = Account::find(user)?;
            prepare_lock_of_iptables(account.group())?;
            Become::Account(account)
        }
    };
    let mut kept = Capabilities::NONE.with(Capability::NetAdmin).with(Capability::NetRaw);
    let inherited = kept;
    if wishes.may_reboot {
        kept = kept.with(Capability::SysBoot);
    }
    enter(&Plan {
        user,
        privileges: Privileges { kept, inherited },
        limits: Limits::DAEMON,
        lock_memory: wishes.lock_memory,
        scheduling: wishes.scheduling,
        view: daemon_view(wishes),
        profile: system_calls::Profile::Daemon { may_reboot: wishes.may_reboot },
    })
}

/// Confines the console: no capability, no program, no network, nothing of the file system but its
/// line. It may connect to local sockets, as far as the user may.
///
/// # Errors
/// [`ConfineError`]; the process may be confined in part and must end.
pub fn console(wishes: &Console<'_>) -> Result<InForce, ConfineError> {
    let mut view = View::default();
    let line = wishes.line.canonicalize();
    let folder = line.as_deref().ok().and_then(Path::parent).unwrap_or(Path::new("/dev"));
    view.allow(folder, &[Right::Read, Right::Write, Right::ControlDevice]);
    enter(&Plan {
        user: wishes.user.map_or(Become::NobodyElse, Become::Named),
        privileges: Privileges { kept: Capabilities::NONE, inherited: Capabilities::NONE },
        limits: Limits::CONSOLE,
        lock_memory: false,
        scheduling: Scheduling::Inherited,
        view,
        profile: system_calls::Profile::Console,
    })
}

/// The order matters: each step still has the powers it needs, and the filter comes last.
fn enter(plan: &Plan<'_>) -> Result<InForce, ConfineError> {
    limits::schedule(plan.scheduling)?;
    limits::apply(&plan.limits, plan.user != Become::NobodyElse)?;
    let memory_locked = plan.lock_memory && limits::lock_memory(&plan.limits)?;
    capability::drop_bounding(plan.privileges.kept)?;
    plan.user.carry_out()?;
    let capabilities = capability::keep(&plan.privileges)?;
    capability::forbid_new_privileges()?;
    let landlock_abi = landlock::restrict(&plan.view)?;
    account::hide_memory()?;
    let seccomp = seccomp::install(&system_calls::rules(plan.profile))?;
    let user = nix::unistd::Uid::effective().as_raw();
    Ok(InForce { user, capabilities, seccomp, landlock_abi, memory_locked })
}

/// What the firewall's programs, the dynamic linker and libpcap read: libraries, protocol names,
/// what the kernel tells of interfaces. Nothing of `/etc` but these files, no home, no `/var`.
const READABLE: [&str; 18] = [
    "/usr",
    "/lib",
    "/lib32",
    "/lib64",
    "/proc",
    "/sys",
    "/etc/ld.so.cache",
    "/etc/ld.so.preload",
    "/etc/protocols",
    "/etc/services",
    "/etc/nsswitch.conf",
    "/etc/localtime",
    "/etc/iproute2",
    "/etc/xtables",
    "/etc/ethertypes",
    "/dev/random",
    "/dev/urandom",
    "/run/xtables.lock",
];

/// Programs that are run to change the firewall.
const PROGRAMS: [&str; 5] = ["iptables", "iptables-restore", "ip6tables", "ip6tables-restore", "nft"];

/// Dynamic linkers: the kernel executes them together with the program.
const LINKERS: [&str; 7] = [
    "/lib64/ld-linux-x86-64.so.2",
    "/lib/ld-linux-aarch64.so.1",
    "/lib/ld-linux-armhf.so.3",
    "/lib/ld-linux.so.3",
    "/lib/ld-musl-x86_64.so.1",
    "/lib/ld-musl-aarch64.so.1",
    "/lib/ld-musl-armhf.so.1",
];

fn daemon_view<'a>(wishes: &Daemon<'a>) -> View<'a> {
    let mut view = View::default();
    for path in READABLE {
        view.allow(Path::new(path), &[Right::Read]);
    }
    view.allow(Path::new("/dev/null"), &[Right::Read, Right::Write]);
    for directory in PROGRAM_DIRECTORIES {
        for program in PROGRAMS {
            view.allow(Path::new(directory).join(program), &[Right::Read, Right::Execute]);
        }
    }
    for linker in LINKERS {
        view.allow(Path::new(linker), &[Right::Read, Right::Execute]);
    }
    view.allow(wishes.store, &[Right::Read, Right::Write]);
    // An image file may be replaced by another one under its name, to be read again.
    let folder = wishes.store.parent().filter(|folder| folder.parent().is_some());
    if let (Some(folder), true) = (folder, wishes.store.is_file()) {
        view.allow(folder, &[Right::Read, Right::Write]);
    }
    if let Some(folder) = wishes.control.and_then(Path::parent) {
        view.allow(folder, &[Right::RemoveFile]);
    }
    view
}
