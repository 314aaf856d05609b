//! A debugger's grip on a process (ptrace(2)): it is watched from one system call to the next, and can
//! be ended, or lied to, at any of them.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use anyhow::{Context, Result, anyhow};
use nix::errno::Errno;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::Pid;

/// A system call, at its beginning or at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// Its number (`SYS_*`).
    pub number: i64,
    /// Its first argument.
    pub first: u64,
    /// It was done; what it did shows, and the process does not know yet.
    pub done: bool,
}

/// How the process goes on from there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// As if nobody watched.
    Go,
    /// Not at all: `SIGKILL`.
    Kill,
    /// The call is not made, and fails with this. Only at its beginning.
    Fail(Errno),
    /// It returns this. Only at its end.
    Answer(i64),
    /// The time it wrote where its second argument points is so many seconds later. Only at its end.
    Later(i64),
}

/// A watched process. The watching ends with [`Tracer::leave`], or when the process does.
///
/// Whoever asks for the process's exit status meanwhile (wait(2), [`crate::process::Background::ended`])
/// takes from the watcher what was meant for it: ask [`Tracer::is_over`].
#[derive(Debug)]
pub struct Tracer {
    pid: Pid,
    thread: JoinHandle<Result<()>>,
    leaves: Arc<AtomicBool>,
    calls: Arc<AtomicU64>,
}

impl Tracer {
    /// Watches a process of ours, which may be stopped and is continued then. `judge` is asked at the
    /// beginning and the end of every system call, and told how many were asked about before.
    ///
    /// # Errors
    /// When the kernel does not allow it.
    pub fn hold(pid: u32, judge: impl FnMut(u64, Call) -> Next + Send + 'static) -> Result<Self> {
        let pid = Pid::from_raw(i32::try_from(pid)?);
        let (leaves, calls) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (leaving, counter) = (leaves.clone(), calls.clone());
        let (held, is_held) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            // Whoever seizes a process is the only thread that may ask about it.
            let seized = seize(pid);
            let failed = seized.as_ref().err().map(ToString::to_string);
            let _ = held.send(failed);
            seized?;
            watch(pid, judge, &leaving, &counter)
        });
        match is_held.recv() {
            Ok(None) => Ok(Self { pid, thread, leaves, calls }),
            Ok(Some(error)) => Err(anyhow!("cannot watch process {pid}: {error}")),
            Err(_) => Err(anyhow!("the watcher of process {pid} panicked")),
        }
    }

    /// Beginnings and ends of calls so far.
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// Whether it has ended, or nobody watches it any more.
    pub fn is_over(&self) -> bool {
        self.thread.is_finished()
    }

    /// Lets it go, if it still lives.
    ///
    /// # Errors
    /// When watching it failed.
    pub fn leave(self) -> Result<()> {
        self.leaves.store(true, Ordering::Relaxed);
        // A signal that means nothing to it makes it stop once more, which the watcher sees.
        let _ = kill(self.pid, Signal::SIGCONT);
        self.thread.join().map_err(|_| anyhow!("the watcher panicked"))?
    }
}

fn seize(pid: Pid) -> Result<()> {
    ptrace::seize(pid, Options::PTRACE_O_TRACESYSGOOD)?;
    ptrace::interrupt(pid)?;
    kill(pid, Signal::SIGCONT)?;
    Ok(())
}

fn watch(
    pid: Pid,
    mut judge: impl FnMut(u64, Call) -> Next,
    leaves: &AtomicBool,
    calls: &AtomicU64,
) -> Result<()> {
    let (mut done, mut lie) = (false, None);
    while let Some(status) = next_stop(pid)? {
        let mut signal = None;
        match status {
            WaitStatus::PtraceSyscall(_) => {
                let Some((number, first)) = call_of(pid) else { continue };
                let number_before = calls.fetch_add(1, Ordering::Relaxed);
                match judge(number_before, Call { number, first, done }) {
                    Next::Go => {}
                    Next::Kill => {
                        // Whoever started it learns of its end.
                        return Ok(kill(pid, Signal::SIGKILL)?);
                    }
                    Next::Fail(errno) => lie = (!done).then_some(errno),
                    Next::Answer(value) => answer(pid, value)?,
                    Next::Later(secs) => postpone(pid, secs)?,
                }
                if let Some(errno) = lie {
                    tell_lie(pid, errno, done)?;
                    if done {
                        lie = None;
                    }
                }
                done = !done;
            }
            WaitStatus::Stopped(_, stopped) => signal = Some(stopped),
            _ => {}
        }
        let going = if leaves.load(Ordering::Relaxed) && lie.is_none() {
            ptrace::detach(pid, signal).map(|()| true)
        } else {
            ptrace::syscall(pid, signal).map(|()| false)
        };
        match going {
            Ok(true) | Err(Errno::ESRCH) => return Ok(()),
            Ok(false) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Waits until it stops; `None` when it has ended, which is left for its parent to see.
fn next_stop(pid: Pid) -> Result<Option<WaitStatus>> {
    let any = WaitPidFlag::WEXITED | WaitPidFlag::WSTOPPED | WaitPidFlag::WNOWAIT | WaitPidFlag::__WALL;
    loop {
        match waitid(Id::Pid(pid), any) {
            Ok(WaitStatus::Exited(..) | WaitStatus::Signaled(..)) | Err(Errno::ECHILD) => return Ok(None),
            Ok(_) => return Ok(Some(waitpid(pid, Some(WaitPidFlag::__WALL))?)),
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// The system call it is in and its first argument (proc(5)); `None` when it was killed meanwhile.
fn call_of(pid: Pid) -> Option<(i64, u64)> {
    let text = fs::read_to_string(format!("/proc/{pid}/syscall")).ok()?;
    let mut words = text.split_whitespace();
    let number = words.next()?.parse().ok()?;
    let first = words.next().and_then(|word| u64::from_str_radix(word.strip_prefix("0x")?, 16).ok());
    Some((number, first.unwrap_or(0)))
}

/// At the beginning of a call: it shall be none. At its end: it failed.
#[cfg(target_arch = "x86_64")]
fn tell_lie(pid: Pid, errno: Errno, done: bool) -> Result<()> {
    let mut registers = ptrace::getregs(pid).context("cannot read its registers")?;
    if done {
        registers.rax = u64::from_ne_bytes((-i64::from(errno as i32)).to_ne_bytes());
    } else {
        registers.orig_rax = u64::MAX;
    }
    ptrace::setregs(pid, registers).context("cannot write its registers")
}

/// It returns `value`.
#[cfg(target_arch = "x86_64")]
fn answer(pid: Pid, value: i64) -> Result<()> {
    let mut registers = ptrace::getregs(pid).context("cannot read its registers")?;
    registers.rax = u64::from_ne_bytes(value.to_ne_bytes());
    ptrace::setregs(pid, registers).context("cannot write its registers")
}

/// The `timespec` that its second argument points to begins with seconds.
#[cfg(target_arch = "x86_64")]
fn postpone(pid: Pid, secs: i64) -> Result<()> {
    let registers = ptrace::getregs(pid).context("cannot read its registers")?;
    let place = registers.rsi as ptrace::AddressType;
    let now = ptrace::read(pid, place).context("cannot read what it was told")?;
    ptrace::write(pid, place, now + secs).context("cannot change what it was told")
}

#[cfg(not(target_arch = "x86_64"))]
fn answer(_: Pid, _: i64) -> Result<()> {
    Err(anyhow!("registers of this architecture are not known: let no system call answer otherwise here"))
}

#[cfg(not(target_arch = "x86_64"))]
fn postpone(_: Pid, _: i64) -> Result<()> {
    Err(anyhow!("registers of this architecture are not known: let no clock be wrong here"))
}

#[cfg(not(target_arch = "x86_64"))]
fn tell_lie(_: Pid, _: Errno, _: bool) -> Result<()> {
    Err(anyhow!("registers of this architecture are not known: let no system call fail here"))
}
