//! The right knock opens the door: stock clients, both families, only for who knocked.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use postern_e2e::frame::Payload;
use postern_e2e::knock;
use postern_e2e::probe::{self, Session};
use postern_e2e::process::{DEADLINE, wait_until};
use postern_e2e::scene::{ECHO, MIXED, SSH, TCP, UDP};
use postern_e2e::{Backend, DoorText, Host, Lab, Namespace, Scene, Site, both_back_ends};

both_back_ends!(
    stock_client_over_tcp,
    stock_client_over_udp,
    stock_client_with_a_mixed_sequence,
    echo_lengths_of_hping3_nping_and_ping,
    echo_lengths_of_ping_over_ipv6,
    a_door_of_several_ports_and_transports,
    duplicates_and_retransmissions_do_no_harm,
    knocking_again_extends,
    the_closing_sequence_closes,
    two_clients_behind_one_address,
);

/// Shows that nobody gets in, then that after `knock` the client does, and the stranger does not.
fn opens(scene: &Scene, target: SocketAddr, knock: impl FnOnce()) {
    scene.expect_client_out(target).unwrap();
    knock();
    scene.expect_client_in(target).unwrap();
    scene.expect_stranger_out(target).unwrap();
}

fn stock_client_over_tcp(backend: Backend) {
    let scene = Scene::with_door(Site::new(backend), &TCP, "60s").unwrap();
    for target in scene.ssh_both() {
        opens(&scene, target, || knock::stock(&scene.client.namespace, target.ip(), &TCP).unwrap());
    }
    let grants = scene.gate.log_with("GRANT");
    assert_eq!(grants.len(), 2, "one for each family: {grants:?}");
    for address in scene.client.addresses() {
        let named = grants.iter().any(|line| line.contains(&address.to_string()) && line.contains("ssh"));
        assert!(named, "no audit record names {address}: {grants:?}");
    }
}

fn stock_client_over_udp(backend: Backend) {
    let scene = Scene::with_door(Site::new(backend), &UDP, "60s").unwrap();
    for target in scene.ssh_both() {
        opens(&scene, target, || knock::stock(&scene.client.namespace, target.ip(), &UDP).unwrap());
    }
}

fn stock_client_with_a_mixed_sequence(backend: Backend) {
    let knocks = [Payload::syn(7351), Payload::udp(24011), Payload::syn(1490), Payload::udp(9377)];
    let scene = Scene::with_door(Site::new(backend), &knocks, "60s").unwrap();
    for target in scene.ssh_both() {
        opens(&scene, target, || knock::stock(&scene.client.namespace, target.ip(), &knocks).unwrap());
    }
}

fn echo_lengths_of_hping3_nping_and_ping(backend: Backend) {
    // A scan of echo lengths alone is short: the check wants this said aloud.
    let door = DoorText::new("ssh", &["tcp/22"], &ECHO).with("allow = [\"scan-probability\"]");
    let scene = Scene::set(&Site::new(backend).door(door)).unwrap();
    let gateway = scene.gateway.v4.to_string();
    let client = &scene.client.namespace;
    opens(&scene, scene.ssh(), || {
        client.run("hping3", &["-1", "-c", "1", "-d", "417", &gateway]).unwrap();
        client.run("nping", &["--icmp", "-c", "1", "--data-length", "83", &gateway]).unwrap();
        client.run("ping", &["-4", "-c", "1", "-s", "950", &gateway]).unwrap();
        client.run("hping3", &["-1", "-c", "1", "-d", "222", &gateway]).unwrap();
    });
}

fn echo_lengths_of_ping_over_ipv6(backend: Backend) {
    // A scan of echo lengths alone is short: the check wants this said aloud.
    let door = DoorText::new("ssh", &["tcp/22"], &ECHO).with("allow = [\"scan-probability\"]");
    let scene = Scene::set(&Site::new(backend).door(door)).unwrap();
    let [_, target] = scene.ssh_both();
    opens(&scene, target, || {
        for octets in ["417", "83", "950", "222"] {
            let gateway = target.ip().to_string();
            scene.client.namespace.run("ping", &["-6", "-c", "1", "-s", octets, &gateway]).unwrap();
        }
    });
}

fn a_door_of_several_ports_and_transports(backend: Backend) {
    let door = DoorText::new("service", &["tcp/502", "udp/161"], &MIXED);
    let other = DoorText::new("ssh", &["tcp/22"], &TCP);
    let scene = Scene::set(&Site::new(backend).door(door).door(other)).unwrap();
    let (modbus, snmp) = (SocketAddr::new(scene.ssh().ip(), 502), SocketAddr::new(scene.ssh().ip(), 161));
    scene.expect_client_out(modbus).unwrap();
    probe::expect_udp_silence(&scene.client.namespace, None, snmp).unwrap();

    scene.knock(&MIXED).unwrap();
    scene.expect_client_in(modbus).unwrap();
    wait_until("udp/161 to answer", || {
        probe::echo(&scene.client.namespace, None, snmp, probe::SILENCE).unwrap().is_open().then_some(())
    })
    .unwrap();
    // No other door, no other transport of the same number, nobody else.
    scene.expect_client_out(scene.ssh()).unwrap();
    scene.expect_stranger_out(modbus).unwrap();
    probe::expect_udp_silence(&scene.stranger.namespace, None, snmp).unwrap();
}

fn duplicates_and_retransmissions_do_no_harm(backend: Backend) {
    let scene = Scene::with_door(Site::new(backend), &MIXED, "60s").unwrap();
    let [a, b, c, d] = MIXED;
    scene.expect_client_out(scene.ssh()).unwrap();
    // Each knock twice, the first one again between all others, earlier ones late.
    scene.knock(&[a, a, b, a, b, c, a, c, b, d, d]).unwrap();
    scene.expect_client_in(scene.ssh()).unwrap();
    scene.expect_stranger_out(scene.ssh()).unwrap();
}

fn knocking_again_extends(backend: Backend) {
    let scene = Scene::with_door(Site::new(backend), &MIXED, "4s").unwrap();
    scene.knock(&MIXED).unwrap();
    scene.expect_client_in(scene.ssh()).unwrap();
    // Twice the door's time, knocking every second: never closed.
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(8) {
        scene.knock(&MIXED).unwrap();
        let again = Instant::now();
        while again.elapsed() < Duration::from_secs(1) {
            let answer = probe::connect(&scene.client.namespace, None, scene.ssh(), probe::SILENCE).unwrap();
            assert!(answer.is_open(), "the door closed although it was extended: {answer:?}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    probe::wait_until_closed(&scene.client.namespace, None, scene.ssh(), DEADLINE).unwrap();
}

fn the_closing_sequence_closes(backend: Backend) {
    let door = DoorText::new("ssh", &["tcp/22"], &MIXED).open_for("10m").close_sequence(&UDP);
    let mut scene = Scene::set(&Site::new(backend).door(door)).unwrap();
    scene.knock(&MIXED).unwrap();
    let mut session = scene.expect_client_in(scene.ssh()).unwrap();
    scene.knock(&UDP).unwrap();
    let record = scene.gate.wait_for_log("REVOKE", 0).unwrap();
    assert!(record.contains("close-sequence"), "{record}");
    scene.expect_client_out(scene.ssh()).unwrap();
    session.expect_alive().unwrap();
    // It opens again as before.
    scene.knock(&MIXED).unwrap();
    scene.expect_client_in(scene.ssh()).unwrap();
}

fn two_clients_behind_one_address(backend: Backend) {
    let ssh = DoorText::new("ssh", &["tcp/22"], &TCP);
    let service = DoorText::new("service", &["tcp/502"], &UDP);
    let scene = Scene::set(&Site::new(backend).door(ssh).door(service)).unwrap();
    let router = scene.lab.host("router").unwrap();
    let inside = [masqueraded(&scene.lab, &router, 1), masqueraded(&scene.lab, &router, 2)];
    let address = scene.gateway.v4.into();
    // Maria knocks for SSH while her neighbour knocks for the other door, one knock each in turn.
    for (maria, neighbour) in TCP.into_iter().zip(UDP) {
        knock::stock(&inside[0], address, &[maria]).unwrap();
        knock::stock(&inside[1], address, &[neighbour]).unwrap();
    }
    for (namespace, port) in inside.iter().zip([SSH, 502]) {
        Session::get_in(namespace, None, SocketAddr::new(address, port)).unwrap();
        scene.expect_stranger_out(SocketAddr::new(address, port)).unwrap();
    }
    // And both for the same door: the one does not disturb the other.
    let granted = || scene.gate.log_with("GRANT door=ssh").len();
    assert_eq!(granted(), 1);
    for knock in TCP {
        for namespace in &inside {
            knock::stock(namespace, address, &[knock]).unwrap();
        }
    }
    wait_until("another grant", || (granted() > 1).then_some(())).unwrap();
}

/// A machine whose packets leave `router` with the router's own address.
fn masqueraded(lab: &Lab, router: &Host, number: u8) -> Namespace {
    let namespace = lab.namespace(&format!("inside{number}")).unwrap();
    let link = format!("lan{number}");
    lab.veth((&router.namespace, &link), (&namespace, "eth0")).unwrap();
    router.namespace.ip(&format!("addr add 10.0.{number}.1/24 dev {link}")).unwrap();
    namespace.ip(&format!("addr add 10.0.{number}.2/24 dev eth0")).unwrap();
    namespace.ip(&format!("route add default via 10.0.{number}.1")).unwrap();
    router.namespace.set("ipv4/ip_forward", "1").unwrap();
    let network = format!("10.0.{number}.0/24");
    let rule = ["-t", "nat", "-A", "POSTROUTING", "-s", &network, "-o", "eth0", "-j", "MASQUERADE"];
    router.namespace.run("iptables", &rule).unwrap();
    namespace
}
