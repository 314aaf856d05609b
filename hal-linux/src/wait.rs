//! Sleeping until a frame, a signal, a request or a deadline comes.

use std::os::fd::{AsFd, BorrowedFd};

use heapless::Vec;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::time::TimeSpec;
use postern_core::limits::INTERFACES_MAX;
use postern_core::time::Instant;

/// Control descriptors: the listener and its connections.
pub const CONTROLS_MAX: usize = 6;

/// Captures, and the watches of the links and of the packet filter.
pub const CAPTURES_MAX: usize = INTERFACES_MAX + 2;

/// Captures, signals, control descriptors.
const FDS_MAX: usize = CAPTURES_MAX + 1 + CONTROLS_MAX;

/// A control descriptor, and what is waited for.
#[derive(Clone, Copy, Debug)]
pub struct ControlInterest<'fd> {
    /// Which.
    pub fd: BorrowedFd<'fd>,
    /// Wait until it takes octets, instead of until it has some.
    pub writing: bool,
}

/// Why the wait ended; several may hold. None does after a deadline or a spurious wake-up, which
/// costs one idle turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wake {
    /// SIGTERM or SIGINT: end.
    pub stop: bool,
    /// SIGHUP: read the configuration again.
    pub reload: bool,
    /// A capture has frames, or an error to report, or a link or the packet filter changed.
    pub frames: bool,
    /// A control descriptor is ready or hung up.
    pub control: bool,
}

/// Waits for everything the daemon reacts to, and takes its signals.
#[derive(Debug)]
pub struct Waiter {
    signals: SignalFd,
}

impl Waiter {
    /// Blocks SIGTERM, SIGINT and SIGHUP for this thread, to read them here instead. Threads made
    /// later inherit that; make none before. Programs that are run inherit it as well.
    ///
    /// # Errors
    /// What signalfd(2) says: out of descriptors or memory.
    pub fn new() -> Result<Self, Errno> {
        let mut handled = SigSet::empty();
        for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
            handled.add(signal);
        }
        handled.thread_block()?;
        let signals = SignalFd::with_flags(&handled, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        Ok(Self { signals })
    }

    /// Sleeps until one of `captures` is readable or one of `controls` ready, a signal has come, or `deadline`
    /// has passed; `now` is what the clock says. Without a deadline it sleeps as long as it takes.
    /// The deadline is kept to the millisecond of the machine's running time: a suspended machine
    /// oversleeps by that, which leaves no door open, as the kernel closes them.
    ///
    /// # Errors
    /// What ppoll(2) or signalfd(2) say, but for `EINTR`. Not to be expected.
    pub fn wait(
        &mut self,
        captures: &[BorrowedFd<'_>],
        controls: &[ControlInterest<'_>],
        deadline: Option<Instant>,
        now: Instant,
    ) -> Result<Wake, Errno> {
        let ready = self.poll(captures, controls, deadline.map(|deadline| pause(deadline, now)))?;
        let mut wake = Wake { frames: ready.captures, control: ready.control, ..Wake::default() };
        if ready.signals {
            while let Some(signal) = self.signals.read_signal()? {
                match i32::try_from(signal.ssi_signo).map(Signal::try_from) {
                    Ok(Ok(Signal::SIGHUP)) => wake.reload = true,
                    _ => wake.stop = true,
                }
            }
        }
        Ok(wake)
    }

    fn poll(
        &self,
        captures: &[BorrowedFd<'_>],
        controls: &[ControlInterest<'_>],
        pause: Option<TimeSpec>,
    ) -> Result<Ready, Errno> {
        let readable = |fd| PollFd::new(fd, PollFlags::POLLIN);
        let mut fds: Vec<PollFd<'_>, FDS_MAX> =
            captures.iter().map(|&fd| readable(fd)).take(CAPTURES_MAX).collect();
        let frames_end = fds.len();
        // There is room: the captures take `CAPTURES_MAX` places at most.
        let _ = fds.push(readable(self.signals.as_fd()));
        for control in controls.iter().take(CONTROLS_MAX) {
            let ready = if control.writing { PollFlags::POLLOUT } else { PollFlags::POLLIN };
            let _ = fds.push(PollFd::new(control.fd, ready));
        }
        match ppoll(&mut fds, pause, None) {
            Ok(_) => {}
            Err(Errno::EINTR) => return Ok(Ready::default()),
            Err(error) => return Err(error),
        }
        // Errors and hang-ups count: whoever reads the descriptor learns of them.
        let any = |fds: &[PollFd<'_>]| fds.iter().any(|fd| fd.any().unwrap_or(true));
        let (captures, others) = fds.split_at(frames_end);
        let (signals, control) = others.split_at(1.min(others.len()));
        Ok(Ready { captures: any(captures), signals: any(signals), control: any(control) })
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Ready {
    captures: bool,
    signals: bool,
    control: bool,
}

/// From `now` to `deadline`, no time at all if that is past.
fn pause(deadline: Instant, now: Instant) -> TimeSpec {
    let left = deadline.since(now);
    std::time::Duration::from_millis(left.millis()).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use postern_core::time::Duration;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    /// One test, one thread: signals are sent to the thread that blocks them.
    #[test]
    fn every_reason_wakes() {
        let mut waiter = Waiter::new().unwrap();
        let now = Instant::from_millis(1000);
        let soon = Some(now + Duration::from_millis(2));
        let ((mut near, far), (mut control_near, control_far)) =
            (UnixStream::pair().unwrap(), UnixStream::pair().unwrap());
        let reading = |fd| ControlInterest { fd, writing: false };
        let mut wait =
            |deadline| waiter.wait(&[far.as_fd()], &[reading(control_far.as_fd())], deadline, now).unwrap();
        assert_eq!(wait(soon), Wake::default(), "the deadline");
        assert_eq!(wait(Some(Instant::BOOT)), Wake::default(), "a deadline in the past");

        near.write_all(b"x").unwrap();
        assert_eq!(wait(None), Wake { frames: true, ..Wake::default() });
        control_near.write_all(b"x").unwrap();
        assert_eq!(wait(None), Wake { frames: true, control: true, ..Wake::default() });
        (&far).read_exact(&mut [0]).unwrap();
        (&control_far).read_exact(&mut [0]).unwrap();

        nix::sys::signal::raise(Signal::SIGHUP).unwrap();
        assert_eq!(wait(None), Wake { reload: true, ..Wake::default() });
        nix::sys::signal::raise(Signal::SIGTERM).unwrap();
        nix::sys::signal::raise(Signal::SIGHUP).unwrap();
        assert_eq!(wait(None), Wake { stop: true, reload: true, ..Wake::default() });
        assert_eq!(wait(soon), Wake::default(), "each signal once");
        nix::sys::signal::raise(Signal::SIGINT).unwrap();
        assert_eq!(wait(soon), Wake { stop: true, ..Wake::default() });

        drop(near);
        assert_eq!(wait(None), Wake { frames: true, ..Wake::default() }, "a hang-up is for the reader");
    }
}
