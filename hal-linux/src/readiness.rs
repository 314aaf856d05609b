//! Whether a descriptor is ready now, for the traits of `embedded-io` that ask before they act.

use std::os::fd::BorrowedFd;

use embedded_io::ErrorKind;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Whether a read would not wait. An end or an error is something to read, too (poll(2)).
pub(crate) fn is_readable(fd: BorrowedFd<'_>) -> Result<bool, ErrorKind> {
    is_ready(fd, PollFlags::POLLIN)
}

/// Whether a write would not wait.
pub(crate) fn is_writable(fd: BorrowedFd<'_>) -> Result<bool, ErrorKind> {
    is_ready(fd, PollFlags::POLLOUT)
}

fn is_ready(fd: BorrowedFd<'_>, wanted: PollFlags) -> Result<bool, ErrorKind> {
    let mut fds = [PollFd::new(fd, wanted)];
    match poll(&mut fds, PollTimeout::ZERO) {
        Ok(ready) => Ok(ready > 0),
        Err(Errno::EINTR) => Ok(false),
        Err(_) => Err(ErrorKind::Other),
    }
}
