//! Hearing from the kernel that an interface came, went, was renamed or changed its state
//! (rtnetlink(7), group `RTMGRP_LINK`).

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket,
};

/// `RTMGRP_LINK`, `RTMGRP_IPV4_ROUTE` and `RTMGRP_IPV6_ROUTE` (`<linux/rtnetlink.h>`).
const LINKS: u32 = 1;
const ROUTES: u32 = 0x40 | 0x400;

/// Datagrams thrown away at once; what is left wakes us again.
const DATAGRAMS_MAX: usize = 64;

/// Becomes readable when something changed. What it was is not read: whoever is woken looks at the
/// interfaces themselves.
#[derive(Debug)]
pub struct LinkWatch {
    fd: OwnedFd,
}

impl LinkWatch {
    /// Begins to listen; also to routes, when the default route decides which interface is captured.
    ///
    /// # Errors
    /// What socket(2) and bind(2) say.
    pub fn open(routes: bool) -> Result<Self, Errno> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let fd = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute)?;
        let groups = if routes { LINKS | ROUTES } else { LINKS };
        bind(fd.as_raw_fd(), &NetlinkAddr::new(0, groups))?;
        Ok(Self { fd })
    }

    /// Whether something changed since the last call.
    pub fn take_change(&mut self) -> bool {
        let mut changed = false;
        for _ in 0..DATAGRAMS_MAX {
            match recv(self.fd.as_raw_fd(), &mut [0; 64], MsgFlags::empty()) {
                Ok(_) => changed = true,
                Err(Errno::EINTR) => {}
                // More happened than the queue holds: something certainly did.
                Err(Errno::ENOBUFS) => changed = true,
                Err(_) => break,
            }
        }
        changed
    }
}

impl AsFd for LinkWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
