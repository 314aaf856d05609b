//! Ways to a gateway: octets out, octets in.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

pub mod offline;
mod pipe;
mod serial;

pub use pipe::Pipe;

use super::failure::{Failure, Outcome};
use super::target::Target;

/// What octets travel on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nature {
    /// Whether octets may be lost or changed on the way.
    pub lossy: bool,
    /// Octets a second, when that is little.
    pub octets_per_sec: Option<u32>,
}

impl Nature {
    /// Nothing is lost, and nothing is slow.
    pub const SOUND: Self = Self { lossy: false, octets_per_sec: None };

    /// A serial line: ten bits an octet.
    pub const fn serial(baud: u32) -> Self {
        Self { lossy: true, octets_per_sec: Some(if baud < 10 { 1 } else { baud / 10 }) }
    }
}

/// A way to a gateway.
pub trait Link {
    /// Sends octets, all of them.
    ///
    /// # Errors
    /// When the way is broken.
    fn send(&mut self, octets: &[u8]) -> io::Result<()>;

    /// Waits for octets as long as `patience`; 0 is none came.
    ///
    /// # Errors
    /// When the way is broken; its end is [`io::ErrorKind::UnexpectedEof`].
    fn receive(&mut self, buffer: &mut [u8], patience: Duration) -> io::Result<usize>;

    /// What octets travel on.
    fn nature(&self) -> Nature;

    /// Why the way is broken, when more is known than the error says.
    fn last_words(&mut self) -> Option<String> {
        None
    }
}

/// Opens the way to `target`.
///
/// # Errors
/// [`Failure::Unreachable`].
pub fn open(target: &Target) -> Outcome<Box<dyn Link>> {
    match target {
        Target::Unix(path) => Ok(Box::new(unix(path)?)),
        Target::Serial { device, baud } => Ok(Box::new(serial::open(device, *baud)?)),
        Target::Ssh { host, socket } => Ok(Box::new(Pipe::ssh(host, socket)?)),
        Target::File(path) => Ok(Box::new(offline::open(path)?)),
    }
}

fn unix(path: &Path) -> Outcome<Pipe> {
    let stream = UnixStream::connect(path).map_err(|error| {
        let what = format!("no daemon answers at {}: {error}", path.display());
        Failure::Unreachable(match error.kind() {
            io::ErrorKind::PermissionDenied => format!("{what}; be root, or a member of --control-group"),
            _ => format!("{what}; is posternd running with --control {}?", path.display()),
        })
    })?;
    Pipe::of_stream(stream, Nature::SOUND).map_err(|error| Failure::Unreachable(error.to_string()))
}
