//! Hearing from the kernel that somebody changed the rules of nf_tables, be it with `nft` or with the
//! iptables of today, which is built on it (`iptables -V` says `nf_tables`). The legacy iptables and the
//! IP sets tell nobody: what uses them is read back from time to time.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket,
};

use crate::netlink::{Messages, Subsystem};

/// Bit of the group `NFNLGRP_NFTABLES` (`<linux/netfilter/nfnetlink.h>`).
const NF_TABLES: u32 = 1 << (7 - 1);

/// Octets of one datagram that are looked at; the kernel's are rarely longer. A longer one counts as a
/// change.
const DATAGRAM_BYTES: usize = 8192;

/// Datagrams read at once; what is left wakes us again.
const DATAGRAMS_MAX: usize = 64;

/// Becomes readable when tables, chains, rules, sets or members of sets changed.
#[derive(Debug)]
pub struct RulesetWatch {
    fd: OwnedFd,
}

impl RulesetWatch {
    /// Begins to listen. It takes the capability to administer the network (`CAP_NET_ADMIN`), once.
    ///
    /// # Errors
    /// What socket(2) and bind(2) say.
    pub fn open() -> Result<Self, Errno> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let fd = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkNetFilter)?;
        bind(fd.as_raw_fd(), &NetlinkAddr::new(0, NF_TABLES))?;
        Ok(Self { fd })
    }

    /// Whether something changed since the last call that a packet may notice. Members of sets come
    /// and go with every grant, and do not count.
    pub fn take_change(&mut self) -> bool {
        let mut changed = false;
        let mut buffer = [0; DATAGRAM_BYTES];
        for _ in 0..DATAGRAMS_MAX {
            // With `MSG_TRUNC` the length is that of the datagram, not of what was read of it.
            match recv(self.fd.as_raw_fd(), &mut buffer, MsgFlags::MSG_TRUNC) {
                Ok(length) => changed |= buffer.get(..length).is_none_or(tells_of_rules),
                Err(Errno::EINTR) => {}
                // More happened than the queue holds: something certainly did.
                Err(Errno::ENOBUFS) => changed = true,
                Err(_) => break,
            }
        }
        changed
    }
}

impl AsFd for RulesetWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Whether a datagram tells of tables, chains, rules or sets (`enum nf_tables_msg_types`).
fn tells_of_rules(datagram: &[u8]) -> bool {
    Messages(datagram).any(|message| {
        let [number, subsystem] = message.kind.to_le_bytes();
        let matters = matches!(number, 0 | 2 | 3 | 5 | 6 | 8 | 9 | 11);
        subsystem == Subsystem::NfTables as u8 && matters
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::{Encoder, Header};

    #[test]
    fn members_do_not_matter_and_rules_do() {
        let tells = |numbers: &[u8], subsystem: Subsystem| {
            let mut buffer = [0; 512];
            let mut encoder = Encoder::new(&mut buffer);
            for &kind in numbers {
                let header = Header { subsystem, kind, flags: 0, sequence: 0, family: 2, resource: 0 };
                encoder.message(header, |message| message.text(1, "filter"));
            }
            tells_of_rules(encoder.finish().unwrap())
        };
        // NEWSETELEM, DELSETELEM, NEWGEN.
        assert!(!tells(&[12, 14, 15], Subsystem::NfTables));
        for rules in [0, 2, 3, 5, 6, 8, 9, 11] {
            assert!(tells(&[12, rules, 15], Subsystem::NfTables), "{rules}");
            assert!(!tells(&[rules], Subsystem::IpSet), "{rules}");
        }
        assert!(!tells_of_rules(&[]) && !tells_of_rules(&[0xff; 40]));
    }
}
