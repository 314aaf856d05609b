//! Who gets in, and when no more.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use postern_core::knock::ServicePort;
use postern_hal_linux::firewall::FirewallOptions;

use crate::every_back_end;
use crate::gate::{Backend, rules};
use crate::lab::{echoes, in_lab, nets, serve, wait_until};

const SSH: ServicePort = ServicePort::tcp(7001);
const SNMP: ServicePort = ServicePort::udp(7002);

every_back_end!(
    only_the_granted_source_gets_in_until_the_kernel_closes,
    asking_again_extends,
    a_datagram_needs_a_grant_too,
    other_ports_and_exempt_interfaces_are_left_alone,
);

fn only_the_granted_source_gets_in_until_the_kernel_closes(backend: Backend) {
    in_lab(move |lab| {
        let rules = rules(&[&[SSH]]);
        for net in nets() {
            serve(net.gate, SSH.port);
            drop(lab.reach(net.stranger, net.gate, SSH.port));
        }
        let mut gate = backend.gate();
        gate.install(&rules);
        for net in nets() {
            assert!(!lab.answers(net.friend, net.gate, SSH.port), "closed by default: {net:?}");
            gate.open(net.friend, &[SSH], 2).unwrap();
        }
        let connections = nets().map(|net| {
            let connection = lab.connect(net.friend, net.gate, SSH.port);
            assert!(!lab.answers(net.stranger, net.gate, SSH.port), "only for the friend: {net:?}");
            connection.unwrap_or_else(|| panic!("open for the friend: {net:?}"))
        });
        // Nobody is left who could close anything.
        drop(gate);
        for (net, connection) in nets().into_iter().zip(&connections) {
            wait_until("the kernel to close", || !lab.answers(net.friend, net.gate, SSH.port));
            assert!(echoes(connection), "an established connection goes on: {net:?}");
        }
        assert_eq!(backend.gate().grants(), []);
    });
}

fn asking_again_extends(backend: Backend) {
    in_lab(move |lab| {
        let mut gate = backend.gate();
        gate.install(&rules(&[&[SSH]]));
        for net in nets() {
            serve(net.gate, SSH.port);
            gate.open(net.friend, &[SSH], 2).unwrap();
            gate.open(net.friend, &[SSH], 60).unwrap();
        }
        std::thread::sleep(Duration::from_secs(3));
        for net in nets() {
            assert!(lab.answers(net.friend, net.gate, SSH.port), "extended: {net:?}");
            let grants = gate.grants();
            let member = grants.iter().find(|member| member.source == net.friend.into()).unwrap();
            let remaining = member.remaining_secs.unwrap();
            assert!((30..=60).contains(&remaining), "{remaining} s left");
            // What the engine says counts, if it is less too.
            gate.open(net.friend, &[SSH], 1).unwrap();
            wait_until("the shorter end", || !lab.answers(net.friend, net.gate, SSH.port));
        }
    });
}

fn a_datagram_needs_a_grant_too(backend: Backend) {
    in_lab(move |lab| {
        let mut gate = backend.gate();
        gate.install(&rules(&[&[SNMP, ServicePort::tcp(SNMP.port)]]));
        for net in nets() {
            let server = UdpSocket::bind(SocketAddr::new(net.gate, SNMP.port)).unwrap();
            assert!(!lab.datagram_arrives(net.friend, &server), "{net:?}");
            gate.open(net.friend, &[ServicePort::tcp(SNMP.port)], 60).unwrap();
            assert!(!lab.datagram_arrives(net.friend, &server), "another transport is another port: {net:?}");
            gate.open(net.friend, &[SNMP], 60).unwrap();
            assert!(lab.datagram_arrives(net.friend, &server), "{net:?}");
            assert!(!lab.datagram_arrives(net.stranger, &server), "{net:?}");
            gate.close(net.friend, &[SNMP]).unwrap();
            assert!(!lab.datagram_arrives(net.friend, &server), "{net:?}");
        }
    });
}

fn other_ports_and_exempt_interfaces_are_left_alone(backend: Backend) {
    in_lab(move |lab| {
        let mut gate = backend.gate();
        gate.install(&rules(&[&[SSH]]));
        for net in nets() {
            serve(net.gate, SSH.port);
            serve(net.gate, 7003);
            assert!(lab.answers(net.stranger, net.gate, 7003), "not protected: {net:?}");
            assert!(!lab.answers(net.stranger, net.gate, SSH.port), "{net:?}");
            let local = std::net::TcpStream::connect(SocketAddr::new(net.gate, SSH.port));
            assert!(local.is_ok(), "the loopback interface is exempt: {net:?}");
        }
        let mut options = FirewallOptions::default();
        options.exempt_interfaces.push("gate0".try_into().unwrap()).unwrap();
        let mut gate = backend.gate_with(options);
        gate.install(&rules(&[&[SSH]]));
        assert!(gate.verify(&rules(&[&[SSH]])).is_intact());
        for net in nets() {
            assert!(lab.answers(net.stranger, net.gate, SSH.port), "exempt: {net:?}");
        }
    });
}
