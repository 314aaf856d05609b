//! A TCP knock: one SYN, and no second one.

use std::net::SocketAddr;
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, connect, socket};

/// Sends a SYN to `target`. The socket does not wait for the answer and is closed at once, so the
/// kernel sends no retransmission.
///
/// # Errors
/// What socket(2) and connect(2) say: no route, no descriptors.
pub(super) fn send(target: SocketAddr) -> Result<(), Errno> {
    let family = if target.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let socket = socket(family, SockType::Stream, flags, None)?;
    match connect(socket.as_raw_fd(), &SockaddrStorage::from(target)) {
        // A refusal has reached us already: the knock was sent.
        Ok(()) | Err(Errno::EINPROGRESS | Errno::ECONNREFUSED) => Ok(()),
        Err(error) => Err(error),
    }
}
