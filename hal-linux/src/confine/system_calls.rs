//! The system calls each process may make.
//!
//! The lists were found by tracing the whole end-to-end suite with both back ends, and completed with
//! the names by which the same work is asked for on other machines and by other C libraries. The
//! programs of the firewall inherit the daemon's list.

use nix::libc;

use super::seccomp::Verdict;

/// Number of an argument, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Argument(pub(super) u32);

/// What becomes of one system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    /// The same whatever its arguments are.
    Always(Verdict),
    /// Allowed when the low half of the argument is one of these.
    Only(Argument, &'static [u32]),
    /// Allowed when it is none of these.
    Not(Argument, &'static [u32]),
    /// Allowed when none of these bits is set.
    Without(Argument, u32),
    /// Allowed unless all of these bits are set.
    NotTogether(Argument, u32),
}

/// Whose list it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Profile {
    /// `posternd`, and the programs of the firewall.
    Daemon {
        /// Whether it may restart the machine.
        may_reboot: bool,
    },
    /// `postern-console`: its terminal, and its connection to the daemon.
    Console,
}

/// The rules of a profile; of two for the same number the first counts.
pub(super) fn rules(profile: Profile) -> Vec<(u32, Rule)> {
    let mut rules: Vec<(u32, Rule)> = Vec::new();
    let mut add = |calls: &[libc::c_long], rule: Rule| {
        for number in calls.iter().filter_map(|&call| u32::try_from(call).ok()) {
            if rules.iter().all(|&(listed, _)| listed != number) {
                rules.push((number, rule));
            }
        }
    };
    add(&[libc::SYS_socket], Rule::Only(Argument(0), profile.families()));
    add(&[libc::SYS_ioctl], Rule::Not(Argument(1), &INJECTING));
    match profile {
        Profile::Daemon { may_reboot } => {
            if may_reboot {
                add(&[libc::SYS_reboot, libc::SYS_sync], Rule::Always(Verdict::Allow));
            }
            add(&[libc::SYS_clone], Rule::Without(Argument(0), NEW_NAMESPACES));
            // The dynamic linker maps code; nobody maps memory that is code and writable at once.
            add(&mapping(), Rule::NotTogether(Argument(2), WRITABLE_CODE));
            add(&BASE, Rule::Always(Verdict::Allow));
            add(&DAEMON, Rule::Always(Verdict::Allow));
            add(machine::DAEMON, Rule::Always(Verdict::Allow));
        }
        Profile::Console => {
            add(&mapping(), Rule::Without(Argument(2), PROTECTION_EXECUTE));
            add(&BASE, Rule::Always(Verdict::Allow));
            add(&CONSOLE, Rule::Always(Verdict::Allow));
            add(&CONSOLE_NEVER, Rule::Always(Verdict::Kill));
        }
    }
    add(machine::BASE, Rule::Always(Verdict::Allow));
    add(&ANOTHER_WAY, Rule::Always(Verdict::Absent));
    add(&NEVER, Rule::Always(Verdict::Kill));
    rules
}

impl Profile {
    /// Address families of sockets (socket(2)).
    const fn families(self) -> &'static [u32] {
        match self {
            // The legacy iptables uses raw sockets of IP to talk to the kernel, libpcap any socket to
            // ask about interfaces.
            Profile::Daemon { .. } => &[
                libc::AF_UNIX as u32,
                libc::AF_INET as u32,
                libc::AF_INET6 as u32,
                libc::AF_NETLINK as u32,
                libc::AF_PACKET as u32,
            ],
            Profile::Console => &[libc::AF_UNIX as u32],
        }
    }
}

/// `TIOCSTI` and `TIOCLINUX` (`<asm-generic/ioctls.h>`): they push input into a terminal, an old way
/// out of confinement.
const INJECTING: [u32; 2] = [0x5412, 0x541c];

const PROTECTION_EXECUTE: u32 = libc::PROT_EXEC as u32;
const WRITABLE_CODE: u32 = (libc::PROT_EXEC | libc::PROT_WRITE) as u32;

/// clone(2), and `CLONE_NEWTIME`, which shares a bit with the exit signal.
const NEW_NAMESPACES: u32 = (libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWTIME) as u32;

fn mapping() -> [libc::c_long; 2] {
    [machine::MMAP, libc::SYS_mprotect]
}

/// Every program: memory, time, signals, and descriptors it has.
const BASE: [libc::c_long; 50] = [
    libc::SYS_brk,
    libc::SYS_clock_getres,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_close,
    libc::SYS_connect,
    libc::SYS_dup,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_fcntl,
    libc::SYS_futex,
    libc::SYS_getegid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getpeername,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_getrandom,
    libc::SYS_getsockname,
    libc::SYS_getsockopt,
    libc::SYS_gettid,
    libc::SYS_gettimeofday,
    libc::SYS_getuid,
    libc::SYS_lseek,
    libc::SYS_madvise,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_nanosleep,
    libc::SYS_ppoll,
    libc::SYS_pselect6,
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_restart_syscall,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigpending,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_sched_yield,
    libc::SYS_sendmsg,
    libc::SYS_sendto,
    libc::SYS_setsockopt,
    libc::SYS_shutdown,
    libc::SYS_sigaltstack,
    libc::SYS_signalfd4,
    libc::SYS_tgkill,
    libc::SYS_write,
    libc::SYS_writev,
];

/// The daemon and the programs of the firewall: files, sockets, the store, children.
const DAEMON: [libc::c_long; 66] = [
    libc::SYS_accept,
    libc::SYS_accept4,
    // Reads whether the clock can be trusted; to set it takes a capability that is gone.
    libc::SYS_adjtimex,
    libc::SYS_bind,
    libc::SYS_chdir,
    libc::SYS_clock_adjtime,
    libc::SYS_close_range,
    libc::SYS_dup3,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_eventfd2,
    libc::SYS_execve,
    libc::SYS_faccessat,
    libc::SYS_fdatasync,
    libc::SYS_flock,
    libc::SYS_fstat,
    libc::SYS_fstatfs,
    libc::SYS_fsync,
    libc::SYS_ftruncate,
    libc::SYS_getcwd,
    libc::SYS_getdents64,
    libc::SYS_getgroups,
    libc::SYS_getpgid,
    libc::SYS_getpriority,
    libc::SYS_getresgid,
    libc::SYS_getresuid,
    libc::SYS_getrusage,
    libc::SYS_getsid,
    libc::SYS_kill,
    libc::SYS_listen,
    libc::SYS_membarrier,
    libc::SYS_mincore,
    libc::SYS_mlock,
    libc::SYS_msync,
    libc::SYS_munlock,
    libc::SYS_openat,
    libc::SYS_pipe2,
    libc::SYS_pread64,
    libc::SYS_preadv,
    libc::SYS_prlimit64,
    libc::SYS_pwrite64,
    libc::SYS_pwritev,
    libc::SYS_readlinkat,
    libc::SYS_recvmmsg,
    libc::SYS_rseq,
    libc::SYS_rt_sigsuspend,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_getparam,
    libc::SYS_sched_getscheduler,
    libc::SYS_sendmmsg,
    libc::SYS_set_robust_list,
    libc::SYS_set_tid_address,
    libc::SYS_setitimer,
    libc::SYS_socketpair,
    libc::SYS_statfs,
    libc::SYS_statx,
    libc::SYS_sysinfo,
    libc::SYS_timerfd_create,
    libc::SYS_timerfd_gettime,
    libc::SYS_timerfd_settime,
    libc::SYS_umask,
    libc::SYS_uname,
    libc::SYS_unlinkat,
    libc::SYS_wait4,
    libc::SYS_waitid,
];

/// Newer ways for which the C library has an older one that the filter can judge, or that is on the
/// list.
const ANOTHER_WAY: [libc::c_long; 7] = [
    libc::SYS_clone3,
    libc::SYS_epoll_pwait2,
    libc::SYS_faccessat2,
    libc::SYS_memfd_create,
    libc::SYS_openat2,
    libc::SYS_pidfd_open,
    libc::SYS_copy_file_range,
];

/// What none of ours does: who does it has taken the process over.
const NEVER: [libc::c_long; 40] = [
    libc::SYS_acct,
    libc::SYS_add_key,
    libc::SYS_bpf,
    libc::SYS_chroot,
    libc::SYS_clock_settime,
    libc::SYS_delete_module,
    libc::SYS_execveat,
    libc::SYS_fanotify_init,
    libc::SYS_finit_module,
    libc::SYS_fsmount,
    libc::SYS_fsopen,
    libc::SYS_init_module,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_io_uring_setup,
    libc::SYS_kcmp,
    libc::SYS_keyctl,
    libc::SYS_mount,
    libc::SYS_mount_setattr,
    libc::SYS_move_mount,
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
    libc::SYS_open_tree,
    libc::SYS_perf_event_open,
    libc::SYS_personality,
    libc::SYS_pidfd_getfd,
    libc::SYS_pivot_root,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_ptrace,
    libc::SYS_quotactl,
    libc::SYS_reboot,
    libc::SYS_request_key,
    libc::SYS_setdomainname,
    libc::SYS_sethostname,
    libc::SYS_setns,
    libc::SYS_settimeofday,
    libc::SYS_swapon,
    libc::SYS_unshare,
    libc::SYS_userfaultfd,
];

/// The console opens its line again when it was away.
const CONSOLE: [libc::c_long; 3] = [libc::SYS_flock, libc::SYS_openat, libc::SYS_statx];

/// The console starts nothing and becomes nobody else.
const CONSOLE_NEVER: [libc::c_long; 8] = [
    libc::SYS_clone,
    libc::SYS_execve,
    libc::SYS_capset,
    libc::SYS_setgid,
    libc::SYS_setgroups,
    libc::SYS_setresgid,
    libc::SYS_setresuid,
    libc::SYS_setuid,
];

/// Names that only some machines have for the work of the lists above.
#[cfg(target_arch = "x86_64")]
mod machine {
    use nix::libc;

    pub(super) const MMAP: libc::c_long = libc::SYS_mmap;

    pub(super) const BASE: &[libc::c_long] = &[libc::SYS_poll, libc::SYS_select, libc::SYS_time];

    pub(super) const DAEMON: &[libc::c_long] = &[
        libc::SYS_access,
        // The C library starts each program of the firewall with it: the thread pointer.
        libc::SYS_arch_prctl,
        libc::SYS_dup2,
        libc::SYS_epoll_wait,
        libc::SYS_getpgrp,
        libc::SYS_getrlimit,
        libc::SYS_lstat,
        libc::SYS_newfstatat,
        libc::SYS_open,
        libc::SYS_pipe,
        libc::SYS_readlink,
        libc::SYS_fadvise64,
        libc::SYS_stat,
        libc::SYS_unlink,
    ];
}

/// Names that only some machines have for the work of the lists above.
#[cfg(target_arch = "aarch64")]
mod machine {
    use nix::libc;

    pub(super) const MMAP: libc::c_long = libc::SYS_mmap;

    pub(super) const BASE: &[libc::c_long] = &[];

    pub(super) const DAEMON: &[libc::c_long] =
        &[libc::SYS_fadvise64, libc::SYS_getrlimit, libc::SYS_newfstatat];
}

/// Names that only some machines have for the work of the lists above. Numbers without a name are
/// those for 64-bit times, which the crate does not name yet (`<asm/unistd-eabi.h>`), and the private
/// calls of the machine (`<asm/unistd.h>`).
#[cfg(target_arch = "arm")]
mod machine {
    use nix::libc;

    pub(super) const MMAP: libc::c_long = libc::SYS_mmap2;

    const CLOCK_GETTIME64: libc::c_long = 403;
    const CLOCK_ADJTIME64: libc::c_long = 405;
    const CLOCK_GETRES_TIME64: libc::c_long = 406;
    const CLOCK_NANOSLEEP_TIME64: libc::c_long = 407;
    const TIMERFD_GETTIME64: libc::c_long = 410;
    const TIMERFD_SETTIME64: libc::c_long = 411;
    const PSELECT6_TIME64: libc::c_long = 413;
    const PPOLL_TIME64: libc::c_long = 414;
    const RECVMMSG_TIME64: libc::c_long = 417;
    const RT_SIGTIMEDWAIT_TIME64: libc::c_long = 421;
    const FUTEX_TIME64: libc::c_long = 422;
    const CACHE_FLUSH: libc::c_long = 0x000f_0002;
    const SET_TLS: libc::c_long = 0x000f_0005;

    pub(super) const BASE: &[libc::c_long] = &[
        CACHE_FLUSH,
        CLOCK_GETRES_TIME64,
        CLOCK_GETTIME64,
        CLOCK_NANOSLEEP_TIME64,
        FUTEX_TIME64,
        PPOLL_TIME64,
        PSELECT6_TIME64,
        RT_SIGTIMEDWAIT_TIME64,
        libc::SYS__llseek,
        libc::SYS__newselect,
        libc::SYS_fcntl64,
        libc::SYS_getegid32,
        libc::SYS_geteuid32,
        libc::SYS_getgid32,
        libc::SYS_getuid32,
        libc::SYS_poll,
        libc::SYS_recv,
        libc::SYS_send,
        libc::SYS_sigreturn,
    ];

    pub(super) const DAEMON: &[libc::c_long] = &[
        CLOCK_ADJTIME64,
        RECVMMSG_TIME64,
        SET_TLS,
        TIMERFD_GETTIME64,
        TIMERFD_SETTIME64,
        libc::SYS_access,
        libc::SYS_arm_fadvise64_64,
        libc::SYS_dup2,
        libc::SYS_epoll_wait,
        libc::SYS_fstat64,
        libc::SYS_fstatat64,
        libc::SYS_fstatfs64,
        libc::SYS_ftruncate64,
        libc::SYS_getgroups32,
        libc::SYS_getpgrp,
        libc::SYS_getresgid32,
        libc::SYS_getresuid32,
        libc::SYS_lstat64,
        libc::SYS_open,
        libc::SYS_pipe,
        libc::SYS_readlink,
        libc::SYS_stat64,
        libc::SYS_statfs64,
        libc::SYS_ugetrlimit,
        libc::SYS_unlink,
    ];
}

/// Other machines have no filter: see `OWN_ARCHITECTURE`.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "arm")))]
mod machine {
    use nix::libc;

    pub(super) const MMAP: libc::c_long = libc::SYS_mprotect;
    pub(super) const BASE: &[libc::c_long] = &[];
    pub(super) const DAEMON: &[libc::c_long] = &[];
}
