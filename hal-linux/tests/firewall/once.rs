//! Grants that one connection uses up.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use postern_core::knock::ServicePort;

use crate::every_back_end;
use crate::gate::{Backend, rules, rules_behind};
use crate::lab::{BEHIND, echoes, in_lab, nets, serve, wait_until};

const SSH: ServicePort = ServicePort::tcp(7001);
const SNMP: ServicePort = ServicePort::udp(7002);
const DOORS: [ServicePort; 2] = [ServicePort::tcp(10_022), ServicePort::tcp(10_023)];

every_back_end!(
    the_first_connection_uses_the_grant_up,
    a_led_connection_uses_the_grant_up,
    a_datagram_uses_the_grant_up,
    what_is_no_beginning_uses_nothing_up,
    a_lost_answer_costs_no_connection,
    another_grant_is_asked_first,
    what_is_not_used_ends_in_its_time,
);

fn the_first_connection_uses_the_grant_up(backend: Backend) {
    in_lab(move |lab| {
        let rules = rules(&[&[SSH]]);
        let mut gate = backend.gate();
        gate.install(&rules);
        assert_eq!(gate.verify(&rules).to_string(), "as installed");
        for net in nets() {
            serve(net.gate, SSH.port);
            gate.open_once(net.friend, &[SSH], 60).unwrap();
            assert_eq!(gate.grants().len(), 1);
            assert!(!lab.answers(net.stranger, net.gate, SSH.port), "only for the friend: {net:?}");
            let connection = lab.reach(net.friend, net.gate, SSH.port);
            assert!(!lab.answers(net.friend, net.gate, SSH.port), "and no other: {net:?}");
            assert!(echoes(&connection), "while it goes on: {net:?}");
            assert_eq!(gate.grants(), []);
            // Closing what is gone is a success.
            gate.close_once(net.friend, &[SSH]).unwrap();
            assert!(echoes(&connection), "{net:?}");
            gate.open_once(net.friend, &[SSH], 60).unwrap();
            gate.close_once(net.friend, &[SSH]).unwrap();
            assert!(!lab.answers(net.friend, net.gate, SSH.port), "taken back unused: {net:?}");
            gate.open_once(net.friend, &[SSH], 60).unwrap();
            drop(lab.reach(net.friend, net.gate, SSH.port));
            assert!(!lab.answers(net.friend, net.gate, SSH.port), "{net:?}");
        }
        assert_eq!(gate.verify(&rules).to_string(), "as installed");
    });
}

fn a_led_connection_uses_the_grant_up(backend: Backend) {
    in_lab(move |lab| {
        let host = lab.host_behind();
        host.at(|| BEHIND.map(|address| serve(address.parse().unwrap(), SSH.port)));
        for (net, behind) in nets().into_iter().zip(BEHIND) {
            let behind: IpAddr = behind.parse().unwrap();
            wait_until("the gateway to forward", || lab.answers(net.friend, behind, SSH.port));
        }
        let behind = [0, 1].map(|which| (DOORS[which], BEHIND[which], SSH.port));
        let mut gate = backend.gate();
        gate.install(&rules_behind(&behind));
        for (net, door) in nets().into_iter().zip(DOORS) {
            gate.open_once(net.friend, &[door], 60).unwrap();
            assert!(!lab.answers(net.stranger, net.gate, door.port), "{net:?}");
            let connection = lab.reach(net.friend, net.gate, door.port);
            assert!(!lab.answers(net.friend, net.gate, door.port), "and no other: {net:?}");
            assert!(echoes(&connection), "while it goes on: {net:?}");
        }
        assert_eq!(gate.grants(), []);
        assert_eq!(gate.verify(&rules_behind(&behind)).to_string(), "as installed");
    });
}

fn a_datagram_uses_the_grant_up(backend: Backend) {
    in_lab(move |lab| {
        let mut gate = backend.gate();
        gate.install(&rules(&[&[SNMP]]));
        for net in nets() {
            let server = UdpSocket::bind(SocketAddr::new(net.gate, SNMP.port)).unwrap();
            std::thread::spawn(move || {
                while let Ok((_, from)) = server.recv_from(&mut [0; 8]) {
                    let _ = server.send_to(b"!", from);
                }
            });
            let [first, second] = [(), ()].map(|()| {
                lab.at_client(move || {
                    let socket = UdpSocket::bind(SocketAddr::new(net.friend, 0)).unwrap();
                    socket.connect(SocketAddr::new(net.gate, SNMP.port)).unwrap();
                    socket.set_read_timeout(Some(Duration::from_millis(250))).unwrap();
                    socket
                })
            });
            let asks = |socket: &UdpSocket| socket.send(b"?").is_ok() && socket.recv(&mut [0; 8]).is_ok();
            gate.open_once(net.friend, &[SNMP], 60).unwrap();
            assert!(asks(&first) && asks(&first), "an answered flow goes on: {net:?}");
            assert!(!asks(&second), "{net:?}");
            assert!(asks(&first), "{net:?}");
        }
    });
}

fn what_is_no_beginning_uses_nothing_up(backend: Backend) {
    in_lab(move |lab| {
        let mut gate = backend.gate();
        gate.install(&rules(&[&[SSH]]));
        for net in nets() {
            serve(net.gate, SSH.port);
            gate.open(net.friend, &[SSH], 60).unwrap();
            let old = lab.reach(net.friend, net.gate, SSH.port);
            gate.cut(net.friend, &[SSH]).unwrap();
            gate.open_once(net.friend, &[SSH], 60).unwrap();
            // The old one sends again and again, and is not a new one.
            std::io::Write::write_all(&mut &old, b"still there?").unwrap();
            std::thread::sleep(Duration::from_millis(450));
            assert_eq!(gate.grants().len(), 1, "{net:?}");
            drop(lab.reach(net.friend, net.gate, SSH.port));
            assert!(!lab.answers(net.friend, net.gate, SSH.port), "{net:?}");
        }
    });
}

/// The service is too busy for the first attempt: the client's kernel tries again by itself, after a
/// second, and that is the same connection.
fn a_lost_answer_costs_no_connection(backend: Backend) {
    in_lab(move |lab| {
        let mut gate = backend.gate();
        gate.install(&rules(&[&[SSH]]));
        for net in nets() {
            serve(net.gate, SSH.port);
            let program = if net.gate.is_ipv4() { "iptables-nft" } else { "ip6tables-nft" };
            let rule = format!("OUTPUT -p tcp --sport {} --tcp-flags SYN,ACK SYN,ACK -j DROP", SSH.port);
            crate::lab::run(&format!("{program} -A {rule}"));
            gate.open_once(net.friend, &[SSH], 60).unwrap();
            let trying = lab.connecting(net.friend, net.gate, SSH.port);
            wait_until("the grant to be used up", || gate.grants().is_empty());
            assert!(!lab.answers(net.friend, net.gate, SSH.port), "{net:?}");
            crate::lab::run(&format!("{program} -D {rule}"));
            wait_until("the same connection to be answered", || trying.is_up());
        }
    });
}

fn another_grant_is_asked_first(backend: Backend) {
    in_lab(move |lab| {
        let mut gate = backend.gate();
        gate.install(&rules(&[&[SSH]]));
        for net in nets() {
            serve(net.gate, SSH.port);
            gate.open(net.friend, &[SSH], 60).unwrap();
            gate.open_once(net.friend, &[SSH], 60).unwrap();
            for _ in 0..3 {
                drop(lab.reach(net.friend, net.gate, SSH.port));
            }
            gate.close(net.friend, &[SSH]).unwrap();
            drop(lab.reach(net.friend, net.gate, SSH.port));
            assert!(!lab.answers(net.friend, net.gate, SSH.port), "{net:?}");
        }
    });
}

fn what_is_not_used_ends_in_its_time(backend: Backend) {
    in_lab(move |lab| {
        let mut gate = backend.gate();
        gate.install(&rules(&[&[SSH]]));
        for net in nets() {
            serve(net.gate, SSH.port);
            gate.open_once(net.friend, &[SSH], 1).unwrap();
        }
        // Nobody is left who could close anything.
        drop(gate);
        let mut reader = backend.gate();
        wait_until("the kernel to close", || reader.grants().is_empty());
        for net in nets() {
            assert!(!lab.answers(net.friend, net.gate, SSH.port), "{net:?}");
        }
        // A start withdraws what nobody accounts for.
        let mut gate = backend.gate();
        gate.install(&rules(&[&[SSH]]));
        gate.open_once(nets()[0].friend, &[SSH], 60).unwrap();
        backend.gate().install(&rules(&[&[SSH]]));
        assert_eq!(gate.grants(), []);
    });
}
