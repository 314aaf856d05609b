//! What confined processes try, and what must become of it.

#![allow(unsafe_code)]

use std::fs::{File, OpenOptions};
use std::io::Error;
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::Path;
use std::process::Command;

use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};
use nix::sys::stat::{FchmodatFlags, Mode, fchmodat};
use postern_hal_linux::confine::{self, Capabilities, Capability, Console, Daemon, InForce, Scheduling};

use crate::status;

/// A user without any file of its own.
pub(crate) const NOBODY: u32 = 65_534;

/// Exit status of a child that was refused with `EPERM`, `EACCES` or `ENOSYS`.
pub(crate) const REFUSED: u8 = 13;

/// Who tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    /// The daemon as the superuser without powers.
    Root,
    /// The daemon as a user of its own.
    User,
    /// The daemon that may restart the machine.
    Rebooter,
    /// The console.
    Console,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It was done.
    Done,
    /// The kernel said no, and the child went on.
    Refused,
    /// The kernel ended the child (`SIGSYS`).
    Killed,
}

/// One attempt.
pub(crate) struct Attempt {
    pub(crate) name: &'static str,
    pub(crate) who: Who,
    pub(crate) outcome: Outcome,
    run: fn(&Path, InForce) -> Result<(), Error>,
}

const fn attempt(
    name: &'static str,
    who: Who,
    outcome: Outcome,
    run: fn(&Path, InForce) -> Result<(), Error>,
) -> Attempt {
    Attempt { name, who, outcome, run }
}

use Outcome::{Done, Killed, Refused};

/// All of them; each has its own name.
pub(crate) const ATTEMPTS: &[Attempt] = &[
    // What the kernel shows of the processes themselves.
    attempt("root-is-confined", Who::Root, Done, |_, in_force| is_confined(in_force, 0, 0x3000)),
    attempt("user-is-confined", Who::User, Done, |_, in_force| is_confined(in_force, NOBODY, 0x3000)),
    attempt("rebooter-is-confined", Who::Rebooter, Done, |_, in_force| is_confined(in_force, 0, 0x40_3000)),
    attempt("console-has-nothing", Who::Console, Done, |_, in_force| {
        assert_eq!(
            (in_force.user, in_force.capabilities, in_force.seccomp),
            (NOBODY, Capabilities::NONE, true)
        );
        assert!(in_force.landlock_abi > 0);
        Ok(())
    }),
    // What the daemon must still be able to do.
    attempt("programs-have-the-capabilities", Who::User, Done, |_, _| firewall_program()),
    attempt("programs-of-root-have-them-too", Who::Root, Done, |_, _| firewall_program()),
    attempt("captures", Who::User, Done, |_, _| opened(AddressFamily::Packet, SockType::Raw)),
    attempt("talks-to-netfilter", Who::User, Done, |_, _| {
        let protocol = SockProtocol::NetlinkNetFilter;
        socket(AddressFamily::Netlink, SockType::Raw, SockFlag::empty(), protocol)?;
        Ok(())
    }),
    attempt("writes-its-store", Who::User, Done, |directory, _| write(&directory.join("store/image"))),
    attempt("opens-another-store", Who::Root, Refused, |directory, _| write(&directory.join("other/secret"))),
    attempt("opens-the-next-store", Who::User, Done, |directory, _| write(&directory.join("store/next"))),
    attempt("removes-its-socket", Who::User, Done, |directory, _| {
        std::fs::remove_file(directory.join("run/control"))
    }),
    attempt("reads-random-octets", Who::User, Done, |_, _| {
        postern_hal_linux::random::random::<16>().map(drop)
    }),
    attempt("sees-interfaces", Who::User, Done, |_, _| std::fs::read_dir("/sys/class/net").map(drop)),
    attempt("reads-the-state-of-the-clock", Who::User, Done, |_, _| {
        // SAFETY: `timex` is plain numbers, and all zero asks for nothing to be changed.
        let mut state: nix::libc::timex = unsafe { std::mem::zeroed() };
        // SAFETY: the structure is valid and outlives the call.
        Ok(Errno::result(unsafe { nix::libc::adjtimex(&raw mut state) }).map(drop)?)
    }),
    attempt("sets-the-clock", Who::User, Killed, |_, _| call(nix::libc::SYS_clock_settime)),
    attempt("allocates", Who::User, Done, |_, _| {
        drop(vec![1_u8; 8 << 20]);
        Ok(())
    }),
    // What it must not.
    attempt("reads-secrets", Who::Root, Refused, |_, _| File::open("/etc/shadow").map(drop)),
    attempt("reads-homes", Who::Root, Refused, |_, _| std::fs::read_dir("/root").map(drop)),
    attempt("reads-beside-its-store", Who::User, Refused, |directory, _| {
        File::open(directory.join("other/secret")).map(drop)
    }),
    attempt("makes-files", Who::User, Refused, |directory, _| {
        File::create(directory.join("store/new")).map(drop)
    }),
    attempt("removes-its-store", Who::User, Refused, |directory, _| {
        std::fs::remove_file(directory.join("store/image"))
    }),
    attempt("changes-modes", Who::User, Refused, |directory, _| {
        let path = directory.join("store/image");
        Ok(fchmodat(nix::fcntl::AT_FDCWD, &path, Mode::S_IRWXU, FchmodatFlags::FollowSymlink)?)
    }),
    attempt("executes-a-shell", Who::Root, Refused, |_, _| run("/bin/sh", &["-c", ":"])),
    attempt("executes-its-own-file", Who::Root, Refused, |_, _| {
        Command::new(std::env::current_exe()?).status().map(drop)
    }),
    attempt("connects", Who::Root, Refused, |_, _| TcpStream::connect("127.0.0.1:9").map(drop)),
    attempt("listens", Who::Root, Refused, |_, _| TcpListener::bind("127.0.0.1:0").map(drop)),
    attempt("opens-a-socket-of-another-family", Who::Root, Refused, |_, _| {
        opened(AddressFamily::Vsock, SockType::Stream)
    }),
    attempt("becomes-root", Who::User, Refused, |_, _| Ok(nix::unistd::setuid(0.into())?)),
    attempt("traces", Who::Root, Killed, |_, _| call(nix::libc::SYS_ptrace)),
    attempt("mounts", Who::Root, Killed, |_, _| call(nix::libc::SYS_mount)),
    attempt("loads-a-module", Who::Root, Killed, |_, _| call(nix::libc::SYS_init_module)),
    attempt("loads-a-bpf-program", Who::Root, Killed, |_, _| call(nix::libc::SYS_bpf)),
    attempt("leaves-its-namespace", Who::Root, Killed, |_, _| Ok(unshare(CloneFlags::CLONE_NEWUSER)?)),
    attempt("makes-a-ring", Who::Root, Killed, |_, _| call(nix::libc::SYS_io_uring_setup)),
    attempt("restarts-the-machine", Who::Root, Killed, |_, _| call(nix::libc::SYS_reboot)),
    // Wrong magic numbers: the call is made, and the kernel finds them wrong.
    attempt("may-restart-the-machine", Who::Rebooter, Done, |_, _| match call(nix::libc::SYS_reboot) {
        Err(error) if error.raw_os_error() == Some(nix::libc::EINVAL) => Ok(()),
        other => other,
    }),
    attempt("signals-others", Who::Root, Refused, |_, _| {
        Ok(nix::sys::signal::kill(nix::unistd::getppid(), None)?)
    }),
    // The console.
    attempt("console-uses-a-pipe-of-sockets", Who::Console, Done, |_, _| {
        // What it got before stays usable; a new local socket may be made.
        UnixDatagram::unbound().map(drop)
    }),
    attempt("console-connects-out", Who::Console, Refused, |_, _| {
        TcpStream::connect("127.0.0.1:9").map(drop)
    }),
    attempt("console-reads-files", Who::Console, Refused, |_, _| File::open("/proc/self/status").map(drop)),
    attempt("console-reads-libraries", Who::Console, Refused, |_, _| std::fs::read_dir("/usr").map(drop)),
    attempt("console-forks", Who::Console, Killed, |_, _| call(nix::libc::SYS_clone)),
    attempt("console-executes", Who::Console, Killed, |_, _| call(nix::libc::SYS_execve)),
    attempt("console-captures", Who::Console, Refused, |_, _| opened(AddressFamily::Packet, SockType::Raw)),
    attempt("console-reaches-a-socket-that-is-not-there", Who::Console, Refused, |directory, _| {
        // Not found is an answer of the file system, not of the confinement: it may ask.
        match UnixStream::connect(directory.join("run/nobody")) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(Errno::EPERM.into()),
            other => other.map(drop),
        }
    }),
];

/// Confines this child as the attempt wants it, tries, and tells by the exit status.
pub(crate) fn child(attempt: &Attempt, directory: &Path) -> u8 {
    let store = directory.join("store/image");
    let control = directory.join("run/control");
    let daemon = Daemon {
        store: &store,
        control: Some(&control),
        user: None,
        may_reboot: false,
        lock_memory: true,
        scheduling: Scheduling::Nice(-5),
    };
    let confined = match attempt.who {
        Who::Root => confine::daemon(&daemon),
        Who::User => confine::daemon(&Daemon { user: Some("65534"), ..daemon }),
        Who::Rebooter => confine::daemon(&Daemon { may_reboot: true, ..daemon }),
        Who::Console => confine::console(&Console { user: Some("nobody"), line: Path::new("/dev/ttyS0") }),
    };
    let in_force = confined.unwrap_or_else(|error| panic!("not confined: {error}"));
    match (attempt.run)(directory, in_force) {
        Ok(()) => 0,
        Err(error) => match error.raw_os_error() {
            Some(nix::libc::EPERM | nix::libc::EACCES | nix::libc::ENOSYS) => REFUSED,
            _ => {
                eprintln!("{error:?}");
                1
            }
        },
    }
}

fn is_confined(in_force: InForce, user: u32, capabilities: u64) -> Result<(), Error> {
    let set = format!("{capabilities:016x}");
    assert_eq!((in_force.user, in_force.capabilities.to_string()), (user, set.clone()));
    // The test's own process has looked whether there is landlock at all.
    assert!(in_force.seccomp && in_force.landlock_abi > 0);
    for what in ["CapEff", "CapPrm", "CapBnd"] {
        assert_eq!(status(what), set, "{what}");
    }
    let inherited = Capabilities::NONE.with(Capability::NetAdmin).with(Capability::NetRaw).to_string();
    for what in ["CapInh", "CapAmb"] {
        assert_eq!(status(what), inherited, "{what}");
    }
    assert_eq!((status("NoNewPrivs"), status("Seccomp")), ("1".into(), "2".into()));
    assert_eq!(status("Groups").trim(), "");
    assert_eq!(status("Uid"), format!("{user}\t{user}\t{user}\t{user}"));
    // Locked when the limit allows it, and never in part.
    assert_eq!(status("VmLck").trim() != "0 kB", in_force.memory_locked);
    let limits = std::fs::read_to_string("/proc/self/limits")?;
    for (limit, value) in [("Max open files", "64"), ("Max core file size", "0")] {
        let line = limits.lines().find(|line| line.starts_with(limit)).expect("a limit");
        assert!(line[limit.len()..].split_whitespace().take(2).eq([value, value]), "{line}");
    }
    Ok(())
}

/// A program of the firewall runs, and may read the rules, which needs `CAP_NET_ADMIN`.
fn firewall_program() -> Result<(), Error> {
    // A namespace of this child's own would need what was given away: only read.
    run("/usr/sbin/iptables", &["-w", "-S", "INPUT"])?;
    run("/usr/sbin/nft", &["list", "tables"])
}

fn run(program: &str, arguments: &[&str]) -> Result<(), Error> {
    let output = Command::new(program).args(arguments).env_clear().output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program}: {} {said}", output.status);
    Ok(())
}

fn write(path: &Path) -> Result<(), Error> {
    OpenOptions::new().read(true).write(true).open(path).map(drop)
}

fn opened(family: AddressFamily, kind: SockType) -> Result<(), Error> {
    socket(family, kind, SockFlag::empty(), None)?;
    Ok(())
}

/// Makes a call with arguments that do nothing, should it be allowed.
fn call(number: nix::libc::c_long) -> Result<(), Error> {
    // SAFETY: all arguments are zero: no memory is read or written, and every one of these calls
    // refuses them.
    let result = unsafe { nix::libc::syscall(number, 0, 0, 0, 0, 0) };
    Ok(Errno::result(result).map(drop)?)
}
