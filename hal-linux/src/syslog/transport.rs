//! Ways out that never wait: the local syslog socket, and stderr.

use std::io::{ErrorKind, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use postern_core::port::SinkBusy;
use postern_core::time::{Duration, Instant};
use syslog::LoggerBackend;

/// Pause after a failed connection; doubles up to [`RECONNECT_MAX`].
const RECONNECT_MIN: Duration = Duration::from_secs(1);

/// Longest pause between two connections.
const RECONNECT_MAX: Duration = Duration::from_secs(32);

/// The local syslog socket.
pub(super) struct Transport {
    /// `None`: where syslog daemons are known to listen.
    path: Option<PathBuf>,
    backend: Option<LoggerBackend>,
    connect_at: Instant,
    pause: Duration,
}

impl Transport {
    /// Connects if a daemon listens already.
    pub(super) fn new(path: Option<&Path>) -> Self {
        let mut transport = Self {
            path: path.map(Path::to_path_buf),
            backend: None,
            connect_at: Instant::BOOT,
            pause: RECONNECT_MIN,
        };
        transport.backend = transport.connect();
        transport
    }

    /// Hands one message over, or says that it cannot be done now.
    pub(super) fn send(&mut self, message: &[u8], now: Instant) -> Result<(), SinkBusy> {
        // Twice: a syslog daemon that was started again has a new socket under the old name.
        for _ in 0..2 {
            if self.backend.is_none() && !self.reconnect(now) {
                return Err(SinkBusy);
            }
            let Some(backend) = &mut self.backend else { return Err(SinkBusy) };
            match hand_over(backend, message) {
                Ok(()) => {
                    self.pause = RECONNECT_MIN;
                    return Ok(());
                }
                Err(ErrorKind::WouldBlock | ErrorKind::OutOfMemory | ErrorKind::Interrupted) => {
                    return Err(SinkBusy);
                }
                Err(_) => self.backend = None,
            }
        }
        Err(SinkBusy)
    }

    fn reconnect(&mut self, now: Instant) -> bool {
        if now < self.connect_at {
            return false;
        }
        self.backend = self.connect();
        self.connect_at = now + self.pause;
        self.pause = Duration::from_millis(2 * self.pause.millis()).min(RECONNECT_MAX);
        self.backend.is_some()
    }

    fn connect(&self) -> Option<LoggerBackend> {
        let logger = match &self.path {
            Some(path) => syslog::unix_custom((), path),
            None => syslog::unix(()),
        };
        let backend = logger.ok()?.backend;
        match &backend {
            LoggerBackend::Unix(socket) => socket.set_nonblocking(true).ok()?,
            LoggerBackend::UnixStream(stream) => stream.get_ref().set_nonblocking(true).ok()?,
            _ => return None,
        }
        Some(backend)
    }
}

/// On a stream socket what was not taken at once stays in the writer's buffer, where it counts as
/// handed over; the next message must not follow before it has left.
fn hand_over(backend: &mut LoggerBackend, message: &[u8]) -> Result<(), ErrorKind> {
    backend.flush().map_err(|error| error.kind())?;
    match backend.write(message) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::WouldBlock => match backend {
            LoggerBackend::UnixStream(_) => Ok(()),
            _ => Err(ErrorKind::WouldBlock),
        },
        Err(error) => Err(error.kind()),
    }
}

/// Writes one line to `out` in one piece, or says that whoever reads it is too slow. What cannot
/// be written at all because nobody reads it any more is gone.
pub(super) fn write_line(out: &impl AsFd, line: &[u8]) -> Result<(), SinkBusy> {
    // A pipe is writable when a page is free, which is more than a line: the write does not block.
    let mut fds = [PollFd::new(out.as_fd(), PollFlags::POLLOUT)];
    match poll(&mut fds, PollTimeout::ZERO) {
        Ok(0) | Err(_) => return Err(SinkBusy),
        Ok(_) => {}
    }
    let _ = nix::unistd::write(out, line);
    Ok(())
}
