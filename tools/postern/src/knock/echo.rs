//! An ICMP knock: an echo request with a payload of a certain length.

use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage, sendto, socket,
};

/// Octets of an echo request's header (RFC 792, RFC 4443).
const HEADER_BYTES: usize = 8;

/// Sends an echo request with `octets` octets of payload.
///
/// # Errors
/// When neither an unprivileged echo socket nor a raw one can be had.
pub(super) fn send(mut address: SocketAddr, octets: u16) -> Result<()> {
    let socket = open(address.is_ipv4()).with_context(
        || "no socket for echo requests: run as root, or allow your group in net.ipv4.ping_group_range",
    )?;
    // The port of an echo socket is not one of the other side.
    address.set_port(0);
    let target = SockaddrStorage::from(address);
    sendto(socket.as_raw_fd(), &request(address.is_ipv4(), octets), &target, MsgFlags::empty())?;
    Ok(())
}

/// Whether echo requests can be sent at all.
///
/// # Errors
/// As [`send`].
pub(super) fn possible() -> Result<()> {
    open(true).map(drop).context("no socket for echo requests")
}

/// An echo socket (icmp(7), `ping_group_range`), else a raw one (`CAP_NET_RAW`).
fn open(v4: bool) -> Result<OwnedFd, Errno> {
    let (family, protocol) = if v4 {
        (AddressFamily::Inet, SockProtocol::Icmp)
    } else {
        (AddressFamily::Inet6, SockProtocol::IcmpV6)
    };
    let flags = SockFlag::SOCK_CLOEXEC;
    socket(family, SockType::Datagram, flags, protocol)
        .or_else(|_| socket(family, SockType::Raw, flags, protocol))
}

fn request(v4: bool, octets: u16) -> Vec<u8> {
    const ECHO_V4: u8 = 8;
    const ECHO_V6: u8 = 128;
    let mut message = vec![0; HEADER_BYTES + usize::from(octets)];
    message[0] = if v4 { ECHO_V4 } else { ECHO_V6 };
    message[7] = 1;
    // The kernel computes the check sum of ICMPv6, which covers the addresses.
    if v4 {
        let sum = checksum(&message).to_be_bytes();
        message[2..4].copy_from_slice(&sum);
    }
    message
}

/// RFC 1071.
fn checksum(message: &[u8]) -> u16 {
    let mut sum: u32 = 0;
    for pair in message.chunks(2) {
        sum += u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_sum_of_a_request_is_right() {
        for octets in [0, 1, 83, 1400] {
            let message = request(true, octets);
            assert_eq!(message.len(), 8 + usize::from(octets));
            assert_eq!(checksum(&message), 0, "a message with its check sum adds up");
        }
    }
}
