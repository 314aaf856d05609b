//! Octets through file descriptors: a socket, a terminal, the standard streams of ssh.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::Flock;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::{Link, Nature};
use crate::remote::failure::{Failure, Outcome};

/// A pair of file descriptors.
#[derive(Debug)]
pub struct Pipe {
    from: File,
    to: File,
    nature: Nature,
    child: Option<Child>,
    /// Keeps other programs away from a terminal.
    _lock: Option<Flock<File>>,
}

impl Pipe {
    /// Over a socket.
    ///
    /// # Errors
    /// When it cannot be duplicated.
    pub fn of_stream(stream: UnixStream, nature: Nature) -> io::Result<Self> {
        let to = File::from(OwnedFd::from(stream.try_clone()?));
        Ok(Self { from: File::from(OwnedFd::from(stream)), to, nature, child: None, _lock: None })
    }

    /// Over a terminal.
    ///
    /// # Errors
    /// When it cannot be duplicated.
    pub(super) fn of_terminal(terminal: File, lock: Flock<File>, nature: Nature) -> io::Result<Self> {
        let to = terminal.try_clone()?;
        Ok(Self { to, from: terminal, nature, child: None, _lock: Some(lock) })
    }

    /// Starts ssh, which runs `posternd --attach` there. Passwords and host keys are ssh's affair.
    pub(super) fn ssh(host: &str, socket: &str) -> Outcome<Self> {
        let unreachable = |error: io::Error| Failure::Unreachable(format!("cannot start ssh: {error}"));
        let mut command = Command::new("ssh");
        command.args(["-T", "--", host, "posternd", "--attach", socket]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().map_err(unreachable)?;
        let (Some(to), Some(from)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(Failure::Unreachable("ssh has no standard streams".to_owned()));
        };
        let (from, to) = (File::from(OwnedFd::from(from)), File::from(OwnedFd::from(to)));
        Ok(Self { from, to, nature: Nature::SOUND, child: Some(child), _lock: None })
    }
}

impl Link for Pipe {
    fn send(&mut self, octets: &[u8]) -> io::Result<()> {
        self.to.write_all(octets)
    }

    fn receive(&mut self, buffer: &mut [u8], patience: Duration) -> io::Result<usize> {
        let timeout = PollTimeout::try_from(patience).unwrap_or(PollTimeout::MAX);
        let mut fds = [PollFd::new(self.from.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, timeout) {
            Ok(0) | Err(Errno::EINTR) => return Ok(0),
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        match self.from.read(buffer) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
            other => other,
        }
    }

    fn nature(&self) -> Nature {
        self.nature
    }

    fn last_words(&mut self) -> Option<String> {
        let status = self.child.as_mut()?.wait().ok()?;
        // What ssh itself had to say went to standard error.
        Some(format!("ssh ended with {status}: can you log in there, and is posternd running?"))
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // Its standard input is still open in `to`: it would wait for more.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
