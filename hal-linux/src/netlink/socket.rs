//! A netlink socket.

use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::sockopt::ReceiveTimeout;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, connect, recv, send, setsockopt,
    socket,
};
use nix::sys::time::{TimeVal, TimeValLike};
use postern_core::limits::FIREWALL_ANSWER;

use super::flags;
use super::message::{Message, Messages, TooLong};

/// `NLMSG_ERROR`: an answer, of success too.
const ERROR: u16 = 2;

/// `NLMSG_DONE`: the end of a listing.
const DONE: u16 = 3;

/// Datagrams read for one answer. The answers to earlier requests that were given up wait before
/// it: a listing of full grant sets is some hundred.
const DATAGRAMS_MAX: usize = 4096;

/// Why the kernel did not do what a message asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NetlinkError {
    /// It said so: an `errno`, or a number above 4096 of the subsystem's own.
    Refused(i32),
    /// The message could not be sent.
    NotSent(Errno),
    /// No answer came in time, or it was lost.
    NoAnswer,
    /// A listing changed while it was made.
    Interrupted,
    /// A message is longer than its buffer: a mistake in this program.
    TooLong,
}

impl From<TooLong> for NetlinkError {
    fn from(_: TooLong) -> Self {
        NetlinkError::TooLong
    }
}

/// The sequence numbers of a request's messages. The last is the one that asks for an answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    /// Of the first message.
    pub(crate) first: u32,
    messages: u32,
}

impl Window {
    /// Number of the message at this position, counted from 0.
    pub(crate) const fn at(self, position: u32) -> u32 {
        self.first.wrapping_add(position)
    }

    const fn holds(self, sequence: u32) -> bool {
        sequence.wrapping_sub(self.first) < self.messages
    }
}

/// A netlink socket. Belongs to the network namespace it was opened in.
#[derive(Debug)]
pub(crate) struct NetlinkSocket {
    fd: OwnedFd,
    next_sequence: u32,
}

impl NetlinkSocket {
    /// Opens one to netfilter. Needs no privilege; what is asked through it does.
    ///
    /// # Errors
    /// `EPROTONOSUPPORT` when the kernel has no netfilter netlink.
    pub(crate) fn to_netfilter() -> Result<Self, Errno> {
        Self::open(SockProtocol::NetlinkNetFilter)
    }

    /// Opens one to the kernel's routes. To ask needs no privilege.
    ///
    /// # Errors
    /// When the machine is out of sockets.
    pub(crate) fn to_routes() -> Result<Self, Errno> {
        Self::open(SockProtocol::NetlinkRoute)
    }

    fn open(protocol: SockProtocol) -> Result<Self, Errno> {
        let fd = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)?;
        // Connected to the kernel: it refuses datagrams from anybody else (netlink(7)).
        connect(fd.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
        let patience = i64::try_from(FIREWALL_ANSWER.millis()).unwrap_or(i64::MAX);
        setsockopt(&fd, ReceiveTimeout, &TimeVal::milliseconds(patience))?;
        Ok(Self { fd, next_sequence: 1 })
    }

    /// Sequence numbers for a request of so many messages.
    pub(crate) const fn window(&mut self, messages: u32) -> Window {
        let first = self.next_sequence;
        self.next_sequence = first.wrapping_add(messages);
        Window { first, messages }
    }

    /// Sends `request` and reads until it is answered: by the first error to any of its messages,
    /// or by the word that the last is done, or by the end of a listing. Messages of a listing
    /// are handed to `each`.
    ///
    /// # Errors
    /// [`NetlinkError`].
    pub(crate) fn exchange(
        &mut self,
        request: &[u8],
        window: Window,
        buffer: &mut [u8],
        mut each: impl FnMut(Message<'_>),
    ) -> Result<(), NetlinkError> {
        self.send(request)?;
        let mut interrupted = false;
        for _ in 0..DATAGRAMS_MAX {
            let datagram = self.receive(buffer)?;
            for message in Messages(datagram).filter(|message| window.holds(message.sequence)) {
                interrupted |= message.flags & flags::DUMP_INTERRUPTED != 0;
                match (message.kind, code(message)) {
                    (ERROR | DONE, code) if code != 0 => return Err(NetlinkError::Refused(code)),
                    (DONE, _) if interrupted => return Err(NetlinkError::Interrupted),
                    (ERROR | DONE, _) => return Ok(()),
                    _ => each(message),
                }
            }
        }
        Err(NetlinkError::NoAnswer)
    }

    fn send(&self, request: &[u8]) -> Result<(), NetlinkError> {
        loop {
            match send(self.fd.as_raw_fd(), request, MsgFlags::empty()) {
                Ok(_) => return Ok(()),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(NetlinkError::NotSent(errno)),
            }
        }
    }

    fn receive<'b>(&self, buffer: &'b mut [u8]) -> Result<&'b [u8], NetlinkError> {
        loop {
            // With `MSG_TRUNC` the length is that of the datagram, not of what was read of it.
            match recv(self.fd.as_raw_fd(), buffer, MsgFlags::MSG_TRUNC) {
                Ok(length) => return buffer.get(..length).ok_or(NetlinkError::TooLong),
                Err(Errno::EINTR) => {}
                // The time is over, or the answer did not fit into the socket's queue.
                Err(_) => return Err(NetlinkError::NoAnswer),
            }
        }
    }
}

/// The positive error number of an answer, 0 for success.
fn code(message: Message<'_>) -> i32 {
    message.payload.first_chunk().copied().map_or(0, i32::from_ne_bytes).wrapping_neg()
}
