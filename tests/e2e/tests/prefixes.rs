//! Doors that open for the whole network of who knocked: who comes back from a neighbouring address gets
//! in, and nobody from outside.

use std::net::{IpAddr, SocketAddr};

use postern_core::rule::Purpose;
use postern_core::spa::native::Request;
use postern_e2e::keyring::{Keyring, sealed, send};
use postern_e2e::knock;
use postern_e2e::probe::{self, Session};
use postern_e2e::scene::{SSH, TCP};
use postern_e2e::{Backend, Control, DoorText, Scene, Site, both_back_ends};

both_back_ends!(
    a_neighbour_of_who_knocked_gets_in,
    the_network_is_shut_when_the_time_is_over,
    a_sealed_packet_opens_for_the_network,
    a_restart_keeps_the_network_and_another_width_does_not,
);

const MARIA: u8 = 0x11;
const OTTO: u8 = 0x22;

/// The networks of the client, of which the stranger is, too.
const NETWORKS: [&str; 2] = ["198.18.0.0/24", "2001:db8:18::/64"];

/// A door for all of a client's /24 and /64.
fn door(knocks: bool) -> DoorText {
    let knocks = if knocks { &TCP[..] } else { &[] };
    DoorText::new("ssh", &["tcp/22"], knocks).open_for("10m").with("prefix_v4 = 24\nprefix_v6 = 64")
}

/// Addresses of the stranger in other networks, which the gateway knows the way to.
fn outside(scene: &Scene) -> [IpAddr; 2] {
    let v4 = scene.stranger.more_addresses(1, &scene.gateway).unwrap()[0];
    let mac = scene.stranger.mac;
    scene.stranger.namespace.ip("addr add 2001:db8:19::3/128 dev eth0 nodad").unwrap();
    scene.gateway.namespace.ip("route add 2001:db8:19::/64 dev eth0").unwrap();
    let neighbour = format!("neigh replace 2001:db8:19::3 lladdr {mac} dev eth0 nud permanent");
    scene.gateway.namespace.ip(&neighbour).unwrap();
    [v4.into(), "2001:db8:19::3".parse().unwrap()]
}

fn expect_in(scene: &Scene, source: IpAddr, target: SocketAddr) -> Session {
    Session::get_in(&scene.stranger.namespace, Some(source), target).unwrap()
}

fn expect_out(scene: &Scene, source: IpAddr, target: SocketAddr) {
    probe::expect_silence(&scene.stranger.namespace, Some(source), target).unwrap();
}

fn a_neighbour_of_who_knocked_gets_in(backend: Backend) {
    let mut scene = Scene::set(&Site::new(backend).door(door(true))).unwrap();
    let outside = outside(&scene);
    for ((target, outsider), network) in scene.ssh_both().into_iter().zip(outside).zip(NETWORKS) {
        let neighbour = scene.stranger.address_like(target.ip());
        expect_out(&scene, neighbour, target);
        expect_out(&scene, outsider, target);
        knock::stock(&scene.client.namespace, target.ip(), &TCP).unwrap();
        scene.expect_client_in(target).unwrap();
        expect_in(&scene, neighbour, target);
        expect_out(&scene, outsider, target);
        let client = scene.client.address_like(target.ip());
        let words = format!("GRANT door=ssh src={client} for={network}");
        scene.gate.wait_for_log(&words, 0).unwrap();
        // Who knocks from next to it has the same grant.
        knock::stock(&scene.stranger.namespace, target.ip(), &TCP).unwrap();
        scene.gate.wait_for_log(&format!("GRANT src={neighbour} for={network} extended=true"), 0).unwrap();
    }
    assert_eq!(Control::connect(&scene.gate.control()).unwrap().status().unwrap().grants, 2);
}

fn the_network_is_shut_when_the_time_is_over(backend: Backend) {
    let door = door(true).open_for("3s");
    let mut scene = Scene::set(&Site::new(backend).door(door)).unwrap();
    for (target, network) in scene.ssh_both().into_iter().zip(NETWORKS) {
        knock::stock(&scene.client.namespace, target.ip(), &TCP).unwrap();
        scene.gate.wait_for_log(&format!("EXPIRE door=ssh for={network}"), 0).unwrap();
        scene.expect_client_out(target).unwrap();
        scene.expect_stranger_out(target).unwrap();
    }
    // The kernel does it alone, too.
    let target = scene.ssh();
    let mark = scene.gate.log_mark();
    knock::stock(&scene.client.namespace, target.ip(), &TCP).unwrap();
    scene.gate.wait_for_log("GRANT", mark).unwrap();
    scene.gate.kill().unwrap();
    for namespace in [&scene.stranger.namespace, &scene.client.namespace] {
        probe::wait_until_closed(namespace, None, target, postern_e2e::process::DEADLINE).unwrap();
    }
}

fn a_sealed_packet_opens_for_the_network(backend: Backend) {
    let keyring = Keyring::new().unwrap();
    let site = Site::new(backend)
        .door(door(false).with("spa = [\"maria\", \"otto\"]"))
        .key(&keyring.native("maria", MARIA, "").unwrap())
        .key(&keyring.native("otto", OTTO, "").unwrap());
    let mut scene = Scene::set(&site).unwrap();
    let outside = outside(&scene);
    let device = Control::connect(&scene.gate.control()).unwrap().status().unwrap().device;
    let request = |counter| Request::open("ssh".try_into().unwrap(), counter);
    for (round, (target, outsider)) in (1..).zip(scene.ssh_both().into_iter().zip(outside)) {
        let neighbour = scene.stranger.address_like(target.ip());
        let (counter, maria) = (10_000 * round, &scene.client.namespace);
        let once = Request { one_shot: true, ..request(counter) };
        let mark = scene.gate.log_mark();
        send(maria, target.ip(), &sealed(MARIA, device, &once)).unwrap();
        scene.gate.wait_for_log("DENY-POLICY maria one-shot-needs-one-address", mark).unwrap();
        expect_out(&scene, neighbour, target);
        send(&scene.client.namespace, target.ip(), &sealed(MARIA, device, &request(counter + 1))).unwrap();
        scene.expect_client_in(target).unwrap();
        let mut session = expect_in(&scene, neighbour, target);
        expect_out(&scene, outsider, target);
        // The neighbour has a key of his own, and the same grant.
        send(&scene.stranger.namespace, target.ip(), &sealed(OTTO, device, &request(counter + 2))).unwrap();
        scene.gate.wait_for_log("GRANT otto extended=true", mark).unwrap();
        let close = Request { purpose: Purpose::Close, ..request(counter + 3) };
        send(&scene.stranger.namespace, target.ip(), &sealed(OTTO, device, &close)).unwrap();
        scene.gate.wait_for_log("REVOKE spa-request", mark).unwrap();
        scene.expect_client_out(target).unwrap();
        expect_out(&scene, neighbour, target);
        session.expect_alive().unwrap();
    }
}

fn a_restart_keeps_the_network_and_another_width_does_not(backend: Backend) {
    let mut scene = Scene::set(&Site::new(backend).door(door(true))).unwrap();
    let outside = outside(&scene);
    for target in scene.ssh_both() {
        knock::stock(&scene.client.namespace, target.ip(), &TCP).unwrap();
        scene.expect_client_in(target).unwrap();
    }
    scene.gate.kill().unwrap();
    scene.gate.restart().unwrap();
    for ((target, outsider), network) in scene.ssh_both().into_iter().zip(outside).zip(NETWORKS) {
        scene.gate.wait_for_log(&format!("GRANT for={network} proof=adopted"), 0).unwrap();
        expect_in(&scene, scene.stranger.address_like(target.ip()), target);
        expect_out(&scene, outsider, target);
    }
    let mut sessions = scene.ssh_both().map(|target| scene.expect_client_in(target).unwrap());
    let mark = scene.gate.log_mark();
    let other =
        DoorText::new("ssh", &["tcp/22"], &TCP).open_for("10m").with("prefix_v4 = 25\nprefix_v6 = 80");
    scene.gate.reload(&Site::new(backend).door(other)).unwrap();
    for ((target, outsider), network) in scene.ssh_both().into_iter().zip(outside).zip(NETWORKS) {
        scene.gate.wait_for_log(&format!("REVOKE for={network} config-changed"), mark).unwrap();
        scene.expect_client_out(target).unwrap();
        expect_out(&scene, scene.stranger.address_like(target.ip()), target);
        expect_out(&scene, outsider, target);
        knock::stock(&scene.client.namespace, target.ip(), &TCP).unwrap();
        expect_in(&scene, scene.stranger.address_like(target.ip()), target);
    }
    // A door that is gone takes its networks with it, and its port is nobody's affair any more.
    let web = DoorText::new("web", &["tcp/502"], &TCP).open_for("10m");
    scene.gate.reload(&Site::new(backend).door(web)).unwrap();
    for target in scene.ssh_both() {
        scene.expect_client_in(SocketAddr::new(target.ip(), SSH)).unwrap();
        expect_out(&scene, scene.stranger.address_like(target.ip()), SocketAddr::new(target.ip(), 502));
    }
    assert_eq!(scene.gate.log_with("FW-FAIL"), [] as [String; 0]);
    assert_eq!(scene.gate.log_with("FW-DRIFT"), [] as [String; 0]);
    sessions.iter_mut().for_each(|session| session.expect_alive().unwrap());
}
