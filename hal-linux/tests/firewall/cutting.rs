//! Connections that end with their grant.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use postern_core::knock::ServicePort;

use crate::every_back_end;
use crate::gate::{Backend, cutting, rules, rules_behind};
use crate::lab::{BEHIND, echoes, in_lab, nets, serve, wait_until};

const SSH: ServicePort = ServicePort::tcp(7001);
const SNMP: ServicePort = ServicePort::udp(7002);
const DOORS: [ServicePort; 2] = [ServicePort::tcp(10_022), ServicePort::tcp(10_023)];

every_back_end!(
    only_what_the_client_has_at_the_door_is_cut,
    a_service_that_keeps_talking_brings_nothing_back,
    led_connections_are_cut,
    datagrams_are_cut,
    a_start_cuts_what_nobody_accounts_for,
);

/// Longer than the first retransmission of TCP, which Linux makes after 200 ms.
const SILENCE: Duration = Duration::from_millis(450);

/// A service that says something all the time, and counts the octets it hears.
fn talk(address: IpAddr, port: u16) -> Arc<AtomicUsize> {
    let heard = Arc::new(AtomicUsize::new(0));
    let counts = Arc::clone(&heard);
    let listener = TcpListener::bind(SocketAddr::new(address, port)).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, counts) = (stream.unwrap(), Arc::clone(&counts));
            let mut talks = stream.try_clone().unwrap();
            std::thread::spawn(move || {
                for _ in 0..500 {
                    if talks.write_all(b".").is_err() {
                        return;
                    }
                    std::thread::sleep(Duration::from_millis(20));
                }
            });
            std::thread::spawn(move || {
                while let Ok(octets @ 1..) = stream.read(&mut [0; 64]) {
                    counts.fetch_add(octets, Ordering::SeqCst);
                }
            });
        }
    });
    heard
}

/// Whether nothing that is written into `connections` comes to where `heard` counts.
fn is_deaf(connections: &[TcpStream], heard: &AtomicUsize) -> bool {
    let before = write_all(connections, heard);
    std::thread::sleep(SILENCE);
    heard.load(Ordering::SeqCst) == before
}

/// Waits until what is written into each of `connections` is heard.
fn expect_heard(connections: &[TcpStream], heard: &AtomicUsize) {
    let before = write_all(connections, heard);
    wait_until("the service to hear", || heard.load(Ordering::SeqCst) >= before + connections.len());
}

/// How much had been heard before.
fn write_all(connections: &[TcpStream], heard: &AtomicUsize) -> usize {
    let before = heard.load(Ordering::SeqCst);
    for mut connection in connections {
        let _ = connection.write_all(b"x");
    }
    before
}

fn only_what_the_client_has_at_the_door_is_cut(backend: Backend) {
    in_lab(move |lab| {
        let host = lab.host_behind();
        host.at(|| BEHIND.map(|address| serve(address.parse().unwrap(), SSH.port)));
        let other = ServicePort::tcp(7003);
        let rules = cutting(&rules(&[&[SSH], &[other]]));
        let mut gate = backend.gate();
        gate.install(&rules);
        for (net, behind) in nets().into_iter().zip(BEHIND) {
            serve(net.gate, other.port);
            let heard = talk(net.gate, SSH.port);
            let behind = behind.parse().unwrap();
            wait_until("the gateway to forward", || lab.answers(net.friend, behind, SSH.port));
            gate.open(net.friend, &[SSH, other], 60).unwrap();
            gate.open(net.stranger, &[SSH], 60).unwrap();
            // More than one listing takes.
            let connect = |source, to, port| lab.reach(source, to, port);
            let cut: Vec<_> = (0..70).map(|_| connect(net.friend, net.gate, SSH.port)).collect();
            let at_other = connect(net.friend, net.gate, other.port);
            let elsewhere = connect(net.friend, behind, SSH.port);
            let strangers = connect(net.stranger, net.gate, SSH.port);
            gate.close(net.friend, &[SSH]).unwrap();
            // Closing alone cuts nothing.
            expect_heard(&cut, &heard);
            gate.cut(net.friend, &[SSH]).unwrap();
            assert!(is_deaf(&cut, &heard), "{net:?}");
            // Everything else goes on: somebody else's, to another port, through the gateway.
            expect_heard(&[strangers], &heard);
            assert!(echoes(&at_other), "{net:?}");
            assert!(echoes(&elsewhere), "{net:?}");
            gate.cut(net.friend, &[SSH]).unwrap();
            gate.open(net.friend, &[SSH], 60).unwrap();
            assert!(lab.answers(net.friend, net.gate, SSH.port), "a new grant, a new connection: {net:?}");
        }
    });
}

/// What the service sends on its own begins the connection anew, the other way round: the client's
/// answers must not belong to it.
fn a_service_that_keeps_talking_brings_nothing_back(backend: Backend) {
    in_lab(move |lab| {
        let rules = cutting(&rules(&[&[SSH]]));
        let mut gate = backend.gate();
        gate.install(&rules);
        assert_eq!(gate.verify(&rules).to_string(), "as installed");
        for net in nets() {
            let heard = talk(net.gate, SSH.port);
            gate.open(net.friend, &[SSH], 60).unwrap();
            let connection = [lab.reach(net.friend, net.gate, SSH.port)];
            expect_heard(&connection, &heard);
            gate.cut(net.friend, &[SSH]).unwrap();
            assert!(is_deaf(&connection, &heard), "{net:?}");
            // The service has talked meanwhile.
            assert!(is_deaf(&connection, &heard), "{net:?}");
        }
    });
}

fn led_connections_are_cut(backend: Backend) {
    in_lab(move |lab| {
        let host = lab.host_behind();
        let heard = host.at(|| BEHIND.map(|address| talk(address.parse().unwrap(), SSH.port)));
        let rules =
            cutting(&rules_behind(&[(DOORS[0], BEHIND[0], SSH.port), (DOORS[1], BEHIND[1], SSH.port)]));
        let mut gate = backend.gate();
        gate.install(&rules);
        for ((net, door), heard) in nets().into_iter().zip(DOORS).zip(&heard) {
            gate.open(net.friend, &[door], 60).unwrap();
            gate.open(net.stranger, &[door], 60).unwrap();
            let led = |source| lab.connect(source, net.gate, door.port);
            let mut first = None;
            wait_until("the way to the host", || {
                first = led(net.friend);
                first.is_some()
            });
            let friends = [first.unwrap(), led(net.friend).unwrap()];
            let strangers = [led(net.stranger).unwrap()];
            gate.close(net.friend, &[door]).unwrap();
            expect_heard(&friends, heard);
            gate.cut(net.friend, &[door]).unwrap();
            assert!(is_deaf(&friends, heard), "{net:?}");
            expect_heard(&strangers, heard);
        }
    });
}

fn datagrams_are_cut(backend: Backend) {
    in_lab(move |lab| {
        let rules = cutting(&rules(&[&[SNMP]]));
        let mut gate = backend.gate();
        gate.install(&rules);
        for net in nets() {
            let server = UdpSocket::bind(SocketAddr::new(net.gate, SNMP.port)).unwrap();
            std::thread::spawn(move || {
                while let Ok((_, from)) = server.recv_from(&mut [0; 8]) {
                    let _ = server.send_to(b"!", from);
                }
            });
            let client = lab.at_client(move || {
                let socket = UdpSocket::bind(SocketAddr::new(net.friend, 0)).unwrap();
                socket.connect(SocketAddr::new(net.gate, SNMP.port)).unwrap();
                socket.set_read_timeout(Some(Duration::from_millis(250))).unwrap();
                socket
            });
            let asks = || client.send(b"?").is_ok() && client.recv(&mut [0; 8]).is_ok();
            gate.open(net.friend, &[SNMP], 60).unwrap();
            assert!(asks(), "{net:?}");
            gate.close(net.friend, &[SNMP]).unwrap();
            assert!(asks(), "an answered flow goes on: {net:?}");
            gate.cut(net.friend, &[SNMP]).unwrap();
            assert!(!asks(), "{net:?}");
        }
    });
}

fn a_start_cuts_what_nobody_accounts_for(backend: Backend) {
    in_lab(move |lab| {
        let plain = rules(&[&[SSH]]);
        let heard = nets().map(|net| talk(net.gate, SSH.port));
        let mut gate = backend.gate();
        gate.install(&plain);
        let connections = nets().map(|net| {
            gate.open(net.friend, &[SSH], 60).unwrap();
            [lab.reach(net.friend, net.gate, SSH.port)]
        });
        // Installing again in the same process is no start.
        gate.install(&cutting(&plain));
        let all_are_heard = || {
            for (connection, heard) in connections.iter().zip(&heard) {
                expect_heard(connection, heard);
            }
        };
        all_are_heard();
        // Nor does a start cut anything without the wish.
        backend.gate().install(&plain);
        all_are_heard();
        backend.gate().install(&cutting(&plain));
        assert!(connections.iter().zip(&heard).all(|(connection, heard)| is_deaf(connection, heard)));
    });
}
