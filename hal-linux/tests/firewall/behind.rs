//! Doors that lead to services behind the gateway.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use postern_core::knock::ServicePort;
use postern_core::rule::RuleSet;
use postern_hal_linux::firewall::{Drift, Family};

use crate::every_back_end;
use crate::gate::{Backend, rules, rules_behind};
use crate::lab::{BEHIND, HostBehind, Lab, echoes, in_lab, nets, run, serve, wait_until};

/// The gateway's ports that lead to the host, and the host's port.
const DOORS: [ServicePort; 2] = [ServicePort::tcp(10_022), ServicePort::tcp(10_023)];
const SERVICE: u16 = 7001;

every_back_end!(
    a_granted_source_reaches_the_service_behind,
    the_site_that_forwards_nothing_else_lets_it_through,
    a_datagram_is_led_and_answered,
    doors_behind_come_and_go,
    changes_of_their_rules_are_seen,
);

fn doors() -> RuleSet {
    rules_behind(&[(DOORS[0], BEHIND[0], SERVICE), (DOORS[1], BEHIND[1], SERVICE)])
}

/// A host behind the gate that serves both families.
fn serving(lab: &Lab) -> HostBehind {
    let host = lab.host_behind();
    host.at(|| BEHIND.map(|address| serve(address.parse().unwrap(), SERVICE)));
    for (net, behind) in nets().into_iter().zip(BEHIND) {
        let behind = behind.parse().unwrap();
        wait_until("the gateway to forward", || lab.answers(net.stranger, behind, SERVICE));
    }
    host
}

fn a_granted_source_reaches_the_service_behind(backend: Backend) {
    in_lab(move |lab| {
        let _host = serving(lab);
        let mut gate = backend.gate();
        gate.install(&doors());
        assert_eq!(gate.verify(&doors()).to_string(), "as installed");
        let mut connections = Vec::new();
        for ((net, door), behind) in nets().into_iter().zip(DOORS).zip(BEHIND) {
            let behind: IpAddr = behind.parse().unwrap();
            assert!(!lab.answers(net.friend, net.gate, door.port), "closed by default: {net:?}");
            assert!(!lab.answers(net.friend, behind, SERVICE), "no way past the door: {net:?}");
            gate.open(net.friend, &[door], 5).unwrap();
            let connection = lab.connect(net.friend, net.gate, door.port);
            connections.push(connection.unwrap_or_else(|| panic!("led to {behind}")));
            assert!(!lab.answers(net.stranger, net.gate, door.port), "only for the friend: {net:?}");
            assert!(!lab.answers(net.friend, behind, SERVICE), "by the door alone: {net:?}");
        }
        // Nobody is left who could close anything.
        drop(gate);
        for ((net, door), connection) in nets().into_iter().zip(DOORS).zip(&connections) {
            wait_until("the kernel to close", || !lab.answers(net.friend, net.gate, door.port));
            assert!(echoes(connection), "an established connection goes on: {net:?}");
        }
    });
}

/// With iptables what is granted is let through; with nftables no accept of ours could be final, and
/// the site says itself that led connections pass.
fn the_site_that_forwards_nothing_else_lets_it_through(backend: Backend) {
    in_lab(move |lab| {
        let _host = serving(lab);
        for program in backend.programs() {
            if backend == Backend::Nftables {
                run("nft add table inet site");
                run(
                    "nft add chain inet site forward { type filter hook forward priority 0 ; policy drop ; }",
                );
                run("nft add rule inet site forward ct status dnat accept");
            } else {
                run(&format!("{program} -P FORWARD DROP"));
            }
        }
        let mut gate = backend.gate();
        gate.install(&doors());
        for (net, door) in nets().into_iter().zip(DOORS) {
            assert!(!lab.answers(net.friend, net.gate, door.port), "{net:?}");
            gate.open(net.friend, &[door], 60).unwrap();
            let connection = lab.connect(net.friend, net.gate, door.port);
            assert!(echoes(&connection.expect("led through")), "{net:?}");
            assert!(!lab.answers(net.stranger, net.gate, door.port), "{net:?}");
        }
    });
}

fn a_datagram_is_led_and_answered(backend: Backend) {
    in_lab(move |lab| {
        let host = lab.host_behind();
        let door = ServicePort::udp(10_161);
        let net = nets()[0];
        host.at(|| {
            let server = UdpSocket::bind(SocketAddr::new(BEHIND[0].parse().unwrap(), 161)).unwrap();
            std::thread::spawn(move || {
                while let Ok((octets, from)) = server.recv_from(&mut [0; 8]) {
                    let _ = server.send_to(&b"answer"[..octets.min(6)], from);
                }
            });
        });
        let mut gate = backend.gate();
        gate.install(&rules_behind(&[(door, BEHIND[0], 161)]));
        let asks = |source: IpAddr| {
            lab.at_client(move || {
                let socket = UdpSocket::bind(SocketAddr::new(source, 0)).unwrap();
                socket.connect(SocketAddr::new(net.gate, door.port)).unwrap();
                socket.set_read_timeout(Some(std::time::Duration::from_millis(250))).unwrap();
                socket.send(b"?").unwrap();
                socket.recv(&mut [0; 8]).is_ok()
            })
        };
        assert!(!asks(net.friend));
        gate.open(net.friend, &[door], 60).unwrap();
        assert!(asks(net.friend));
        assert!(!asks(net.stranger));
        gate.close(net.friend, &[door]).unwrap();
        assert!(!asks(net.friend));
    });
}

fn doors_behind_come_and_go(backend: Backend) {
    in_lab(move |lab| {
        let _host = serving(lab);
        let plain = rules(&[&[DOORS[0], DOORS[1]]]);
        let mut gate = backend.gate();
        gate.install(&plain);
        let before = everything(backend);
        for _ in 0..2 {
            gate.install(&doors());
            gate.install(&doors());
            for (net, door) in nets().into_iter().zip(DOORS) {
                gate.open(net.friend, &[door], 60).unwrap();
                assert!(lab.answers(net.friend, net.gate, door.port), "{net:?}");
                assert!(!lab.answers(net.stranger, net.gate, door.port), "{net:?}");
                gate.close(net.friend, &[door]).unwrap();
            }
            assert!(!gate.verify(&plain).is_intact(), "more than is wanted");
            gate.install(&plain);
            assert_eq!(gate.verify(&plain).to_string(), "as installed");
            assert!(!gate.verify(&doors()).is_intact(), "less than is wanted");
            assert_eq!(everything(backend), before, "nothing is left behind");
        }
        gate.install(&doors());
        // Another process may take it away.
        backend.gate().remove();
        let left = everything(backend).to_lowercase();
        assert!(!left.contains("postern"), "{left}");
    });
}

fn everything(backend: Backend) -> String {
    match backend {
        Backend::Nftables => run("nft list ruleset"),
        _ => {
            let tables = backend
                .programs()
                .iter()
                .flat_map(|program| [run(&format!("{program} -S")), run(&format!("{program} -t nat -S"))]);
            tables.collect::<String>()
        }
    }
}

fn changes_of_their_rules_are_seen(backend: Backend) {
    in_lab(move |_| {
        let mut gate = backend.gate();
        gate.install(&doors());
        let mut changes = Vec::new();
        if backend == Backend::Nftables {
            let changed = |name: &str| Drift::ChainChanged(None, name.to_owned());
            changes.push(("nft flush chain inet postern lead".to_owned(), changed("lead")));
            changes.push(("nft insert rule inet postern forward accept".to_owned(), changed("forward")));
        }
        for (program, family) in backend.programs().iter().zip([Family::V4, Family::V6]) {
            if backend == Backend::Nftables {
                break;
            }
            let changed = |name: &str| Drift::ChainChanged(Some(family), name.to_owned());
            changes.push((format!("{program} -t nat -F POSTERN-LEAD"), changed("POSTERN-LEAD")));
            changes.push((format!("{program} -I FORWARD -j ACCEPT"), Drift::NotLed(family, "FORWARD")));
            changes.push((format!("{program} -t nat -F PREROUTING"), Drift::NotLed(family, "PREROUTING")));
            changes.push((format!("{program} -I POSTERN-FORWARD -j ACCEPT"), changed("POSTERN-FORWARD")));
        }
        for (command, drift) in changes {
            assert_eq!(gate.verify(&doors()).to_string(), "as installed", "before {command}");
            run(&command);
            let found = gate.verify(&doors());
            assert!(found.drifts().contains(&drift), "{command}: {found}");
            gate.install(&doors());
        }
        assert_eq!(gate.verify(&doors()).to_string(), "as installed");
    });
}
