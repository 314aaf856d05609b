//! What cannot work says why and what to do.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;

use nix::libc;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, send, socket};
use postern_core::knock::ServicePort;
use postern_core::port::FirewallError;
use postern_hal_linux::firewall::{FirewallOptions, InstallError};

use crate::every_back_end;
use crate::gate::{Backend, rules};
use crate::lab::{in_lab, nets};

const SSH: ServicePort = ServicePort::tcp(7001);

every_back_end!(
    without_privilege_nothing_is_done,
    a_missing_program_is_named,
    something_else_of_the_same_name_is_not_touched,
);

/// Makes this thread, and no other, an ordinary user's for as long as it runs.
fn drop_privilege() {
    const NOBODY: libc::uid_t = 65_534;
    // SAFETY: the bare system call takes three numbers and, unlike libc's function, changes the
    // calling thread alone.
    let result = unsafe { libc::syscall(libc::SYS_setresuid, NOBODY, NOBODY, NOBODY) };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}

fn without_privilege_nothing_is_done(backend: Backend) {
    in_lab(move |_| {
        let rules = rules(&[&[SSH]]);
        backend.gate().install(&rules);
        let mut gate = backend.gate();
        std::thread::scope(|scope| {
            let inside = || {
                drop_privilege();
                let mut gate = backend.gate();
                let error = gate.try_install(&rules).unwrap_err();
                assert_eq!(error.to_firewall_error(), FirewallError::Denied, "{error}");
                assert!(error.to_string().contains("CAP_NET_ADMIN"), "{error}");
                assert_eq!(gate.open(nets()[0].friend, &[SSH], 60), Err(FirewallError::Denied));
                assert_eq!(gate.close(nets()[1].friend, &[SSH]), Err(FirewallError::Denied));
            };
            scope.spawn(inside).join().unwrap();
        });
        assert_eq!(gate.grants(), []);
        assert!(gate.verify(&rules).is_intact());
    });
}

fn a_missing_program_is_named(backend: Backend) {
    in_lab(move |_| {
        let options = FirewallOptions {
            program_directories: vec![PathBuf::from("/nowhere"), PathBuf::from("usr/sbin")],
            ..FirewallOptions::default()
        };
        let mut gate = backend.gate_with(options);
        let error = gate.try_install(&rules(&[&[SSH]])).unwrap_err();
        let (program, package) = match backend {
            Backend::Nftables => ("nft", "nftables"),
            Backend::IptablesNft => ("iptables-nft", "iptables"),
            Backend::IptablesLegacy => ("iptables-legacy", "iptables"),
        };
        let text = format!("{program}: not found in /nowhere, usr/sbin: install the package {package}");
        assert_eq!(error.to_string(), text);
        assert_eq!(error.to_firewall_error(), FirewallError::Unsupported);
        assert!(gate.try_grants().is_err(), "no set was made");
    });
}

fn something_else_of_the_same_name_is_not_touched(backend: Backend) {
    in_lab(move |_| {
        if backend == Backend::Nftables {
            crate::lab::run("nft add table inet postern");
            crate::lab::run("nft add set inet postern granted4 { type ipv4_addr ; }");
        } else {
            crate::lab::run("ipset create POSTERN-GRANT4 hash:net");
        }
        let before = listing(backend);
        let error = backend.gate().try_install(&rules(&[&[SSH]])).unwrap_err();
        if backend == Backend::Nftables {
            assert!(matches!(error, InstallError::ProgramFailed { .. }), "{error}");
        } else {
            assert!(error.to_string().contains("exists and is not alike"), "{error}");
        }
        assert_eq!(listing(backend), before);
    });
}

fn listing(backend: Backend) -> String {
    crate::lab::run(if backend == Backend::Nftables { "nft list ruleset" } else { "ipset save" })
}

/// Somebody who lists a set keeps it from being exchanged for as long as the listing takes. What
/// was exchanged before it must go back.
fn ports_that_cannot_all_be_exchanged_stay(backend: Backend) {
    in_lab(move |_| {
        // A set that is listed in one datagram is let go at once: it takes many ports.
        let datagrams: Vec<_> = (8000..8480).map(ServicePort::udp).collect();
        let doors: Vec<_> = datagrams.chunks(8).chain([&[SSH] as &[_]]).collect();
        let (old, new) = (rules(&doors), rules(&[&[ServicePort::tcp(7002), ServicePort::udp(7004)]]));
        let mut gate = backend.gate();
        gate.install(&old);
        let listing = begin_listing("POSTERN-UDP");
        let error = gate.try_install(&new).unwrap_err();
        assert_eq!(error.to_firewall_error(), FirewallError::Busy, "{error}");
        drop(listing);
        assert_eq!(gate.verify(&old).to_string(), "as installed");
        gate.install(&new);
        assert_eq!(gate.verify(&new).to_string(), "as installed");
    });
}

#[test]
fn ports_that_cannot_all_be_exchanged_stay_iptables_nft() {
    ports_that_cannot_all_be_exchanged_stay(Backend::IptablesNft);
}

#[test]
fn ports_that_cannot_all_be_exchanged_stay_iptables_legacy() {
    ports_that_cannot_all_be_exchanged_stay(Backend::IptablesLegacy);
}

/// Asks for a listing of an IP set and does not read it: the kernel goes on holding the set.
fn begin_listing(set: &str) -> OwnedFd {
    const IPSET_LIST: u16 = 6 << 8 | 7;
    const REQUEST_DUMP: u16 = 0x301;
    let mut attributes = vec![5, 0, 1, 0, 6, 0, 0, 0]; // protocol 6
    attributes.extend(u16::try_from(4 + set.len() + 1).unwrap().to_ne_bytes());
    attributes.extend(2_u16.to_ne_bytes()); // name of the set
    attributes.extend(set.as_bytes());
    attributes.push(0);
    attributes.resize(attributes.len().next_multiple_of(4), 0);
    let mut message = u32::try_from(20 + attributes.len()).unwrap().to_ne_bytes().to_vec();
    message.extend(IPSET_LIST.to_ne_bytes());
    message.extend(REQUEST_DUMP.to_ne_bytes());
    message.extend([0; 8]);
    message.extend([2, 0, 0, 0]); // IPv4, version, resource
    message.extend(attributes);
    let socket =
        socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkNetFilter);
    let socket = socket.unwrap();
    assert_eq!(send(socket.as_raw_fd(), &message, MsgFlags::empty()), Ok(message.len()));
    socket
}
