//! The control socket: a few local peers, each known by what the kernel says of it.

use core::fmt;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use nix::sys::socket::{UnixCredentials, getsockopt, sockopt::PeerCredentials};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Gid, chown};

use crate::{accounts, readiness};

/// Why there is no control socket.
#[derive(Debug)]
pub enum ControlError {
    /// Somebody answers at the path already.
    InUse(PathBuf),
    /// Something else than a socket is at the path; it is not ours to take away.
    NotASocket(PathBuf),
    /// There is no such group.
    NoSuchGroup(String),
    /// The system refused.
    Refused(PathBuf, std::io::Error),
}

impl fmt::Display for ControlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ControlError::InUse(path) => {
                write!(
                    f,
                    "another posternd answers at {}: stop it, or choose another --control",
                    path.display()
                )
            }
            ControlError::NotASocket(path) => {
                write!(
                    f,
                    "{} is there and is no socket: take it away, or choose another --control",
                    path.display()
                )
            }
            ControlError::NoSuchGroup(group) => {
                write!(f, "there is no group {group:?}: make it, or leave --control-group out")
            }
            ControlError::Refused(path, error) => {
                write!(f, "no control socket at {}: {error}; is its directory there?", path.display())
            }
        }
    }
}

impl std::error::Error for ControlError {}

/// Waits for peers; takes the socket away when dropped.
#[derive(Debug)]
pub struct ControlListener {
    listener: UnixListener,
    path: PathBuf,
}

/// Who is at the other end, as the kernel says (`SO_PEERCRED`, unix(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerId {
    /// User id when it connected.
    pub user: u32,
    /// Its first group then.
    pub group: u32,
    /// Process id when it connected.
    pub process: i32,
}

/// A peer.
#[derive(Debug)]
pub struct Connection {
    stream: UnixStream,
    /// Who it is.
    pub peer: PeerId,
}

/// What became of an attempt to read or write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moved {
    /// So many octets.
    Octets(usize),
    /// None now.
    NotNow,
    /// The peer is gone.
    Gone,
}

impl ControlListener {
    /// Listens at `path`, for the superuser and the members of `group`. A socket that a daemon left
    /// behind is replaced; nothing else is.
    ///
    /// # Errors
    /// [`ControlError`].
    pub fn bind(path: &Path, group: Option<&str>) -> Result<Self, ControlError> {
        let refused = |error: std::io::Error| ControlError::Refused(path.to_owned(), error);
        make_way(path)?;
        // Nobody may connect between the bind and the change of mode.
        let before = umask(Mode::from_bits_truncate(0o177));
        let listener = UnixListener::bind(path).map_err(refused);
        umask(before);
        let listener = listener?;
        listener.set_nonblocking(true).map_err(refused)?;
        if let Some(name) = group {
            let group = accounts::group(name).ok_or_else(|| ControlError::NoSuchGroup(name.to_owned()))?;
            chown(path, None, Some(Gid::from_raw(group))).map_err(|error| refused(error.into()))?;
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660)).map_err(refused)?;
        }
        Ok(Self { listener, path: path.to_owned() })
    }

    /// The next peer, if one waits.
    pub fn accept(&self) -> Option<Connection> {
        let (stream, _) = self.listener.accept().ok()?;
        stream.set_nonblocking(true).ok()?;
        let credentials = getsockopt(&stream, PeerCredentials).ok()?;
        let peer = id_of(&credentials);
        Some(Connection { stream, peer })
    }
}

fn id_of(credentials: &UnixCredentials) -> PeerId {
    PeerId { user: credentials.uid(), group: credentials.gid(), process: credentials.pid() }
}

/// Takes a socket away at which nobody listens any more.
fn make_way(path: &Path) -> Result<(), ControlError> {
    let refused = |error: std::io::Error| ControlError::Refused(path.to_owned(), error);
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(refused(error)),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(ControlError::NotASocket(path.to_owned()));
        }
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        Ok(_) => Err(ControlError::InUse(path.to_owned())),
        // Only this says that nobody listens (connect(2)).
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).map_err(refused)
        }
        Err(error) => Err(refused(error)),
    }
}

impl AsFd for ControlListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

impl Drop for ControlListener {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Connection {
    /// Takes what is there.
    pub fn read(&mut self, buffer: &mut [u8]) -> Moved {
        loop {
            match self.stream.read(buffer) {
                Ok(0) => return Moved::Gone,
                Ok(octets) => return Moved::Octets(octets),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Moved::NotNow,
                Err(_) => return Moved::Gone,
            }
        }
    }

    /// Sends what fits. A peer that is gone raises no signal: Rust's streams send with
    /// `MSG_NOSIGNAL`.
    pub fn write(&mut self, octets: &[u8]) -> Moved {
        loop {
            match self.stream.write(octets) {
                Ok(sent) => return Moved::Octets(sent),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Moved::NotNow,
                Err(_) => return Moved::Gone,
            }
        }
    }
}

impl Connection {
    /// Connects to a daemon, as a peer of its.
    ///
    /// # Errors
    /// What connect(2) says.
    pub fn to(path: &Path) -> std::io::Result<Self> {
        let stream = UnixStream::connect(path)?;
        stream.set_nonblocking(true)?;
        let credentials = getsockopt(&stream, PeerCredentials)?;
        let peer = id_of(&credentials);
        Ok(Self { stream, peer })
    }
}

impl embedded_io::ErrorType for Connection {
    type Error = embedded_io::ErrorKind;
}

impl embedded_io::Read for Connection {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Self::Error> {
        match Connection::read(self, buffer) {
            Moved::Octets(octets) => Ok(octets),
            Moved::NotNow => Err(embedded_io::ErrorKind::TimedOut),
            Moved::Gone => Ok(0),
        }
    }
}

impl embedded_io::Write for Connection {
    fn write(&mut self, octets: &[u8]) -> Result<usize, Self::Error> {
        match Connection::write(self, octets) {
            Moved::Octets(octets) => Ok(octets),
            Moved::NotNow => Err(embedded_io::ErrorKind::TimedOut),
            Moved::Gone => Err(embedded_io::ErrorKind::BrokenPipe),
        }
    }

    fn flush(&mut self) -> Result<(), Self::Error> {
        Ok(())
    }
}

impl embedded_io::ReadReady for Connection {
    fn read_ready(&mut self) -> Result<bool, Self::Error> {
        readiness::is_readable(self.stream.as_fd())
    }
}

impl embedded_io::WriteReady for Connection {
    fn write_ready(&mut self) -> Result<bool, Self::Error> {
        readiness::is_writable(self.stream.as_fd())
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("postern-control-{name}-{}", std::process::id()));
        std::fs::create_dir(&folder).unwrap();
        folder
    }

    #[test]
    fn only_a_socket_left_behind_is_replaced() {
        let folder = folder("replaced");
        let path = folder.join("control");
        std::fs::write(&path, "somebody's data").unwrap();
        assert!(matches!(ControlListener::bind(&path, None), Err(ControlError::NotASocket(_))));
        assert_eq!(std::fs::read(&path).unwrap(), b"somebody's data");
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink(folder.join("elsewhere"), &path).unwrap();
        assert!(matches!(ControlListener::bind(&path, None), Err(ControlError::NotASocket(_))));
        std::fs::remove_file(&path).unwrap();

        // A listener that ends without taking its socket away, as one that was killed.
        drop(UnixListener::bind(&path).unwrap());
        let listener = ControlListener::bind(&path, None).unwrap();
        assert!(matches!(ControlListener::bind(&path, None), Err(ControlError::InUse(_))));
        drop(listener);
        assert!(!path.exists());
        std::fs::remove_dir(folder).unwrap();
    }

    #[test]
    fn a_peer_is_known_by_user_group_and_process() {
        let folder = folder("peer");
        let path = folder.join("control");
        let listener = ControlListener::bind(&path, None).unwrap();
        let _peer = Connection::to(&path).unwrap();
        let known = listener.accept().unwrap().peer;
        let here = (nix::unistd::getuid().as_raw(), nix::unistd::getgid().as_raw(), nix::unistd::getpid());
        assert_eq!((known.user, known.group, known.process), (here.0, here.1, here.2.as_raw()));
        drop(listener);
        std::fs::remove_dir(folder).unwrap();
    }
}
