//! Links of the field: tags, modems without a link layer, interfaces that come and go.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use postern_e2e::knock::{self, Knocker};
use postern_e2e::probe::{self, Session};
use postern_e2e::process::wait_until;
use postern_e2e::scene::{MIXED, SSH, TCP};
use postern_e2e::{Backend, DoorText, Gate, Host, Lab, Listener, Scene, Site, both_back_ends};

both_back_ends!(
    knocks_behind_vlan_tags,
    knocks_over_a_raw_ip_link,
    an_interface_that_is_missing_at_start_is_waited_for,
    an_interface_that_is_deleted_and_made_anew_is_heard_again,
    several_interfaces,
    the_interface_with_the_default_route_is_followed,
);

fn knocks_behind_vlan_tags(backend: Backend) {
    let scene = Scene::with_door(Site::new(backend), &MIXED, "60s").unwrap();
    let pairs: [[IpAddr; 2]; 2] = [
        [scene.client.v4.into(), scene.gateway.v4.into()],
        [scene.client.v6.into(), scene.gateway.v6.into()],
    ];
    // IEEE 802.1Q for the one, 802.1ad ("QinQ") for the other. The tags are on the knocks alone:
    // the service is reached without.
    let tags: [&[(u16, u16)]; 2] = [&[(0x8100, 5)], &[(0x88a8, 7), (0x8100, 5)]];
    for ([source, target], tags) in pairs.into_iter().zip(tags) {
        let ssh = SocketAddr::new(target, SSH);
        scene.expect_client_out(ssh).unwrap();
        let knocker = Knocker::new(&scene.client, &scene.gateway).unwrap().tagged(tags);
        knocker.sequence(source, target, &MIXED, Duration::ZERO).unwrap();
        scene.expect_client_in(ssh).unwrap();
        scene.expect_stranger_out(ssh).unwrap();
    }
}

/// A gateway and a client without a gate yet, and the service.
fn pair() -> (Lab, Host, Host, Listener) {
    let lab = Lab::new().unwrap();
    let gateway = lab.host("gateway").unwrap();
    let client = lab.host("client").unwrap();
    let listener = Listener::start(&gateway.namespace, &[SSH]).unwrap();
    (lab, gateway, client, listener)
}

/// Shows that the stock client opens the door at `address`.
fn opens(client: &Host, address: IpAddr) {
    let ssh = SocketAddr::new(address, SSH);
    probe::expect_silence(&client.namespace, None, ssh).unwrap();
    knock::stock(&client.namespace, address, &TCP).unwrap();
    Session::get_in(&client.namespace, None, ssh).unwrap();
}

fn site(backend: Backend, interfaces: &[&str]) -> Site {
    Site::new(backend).interfaces(interfaces).door(DoorText::new("ssh", &["tcp/22"], &TCP))
}

fn knocks_over_a_raw_ip_link(backend: Backend) {
    let (lab, gateway, client, _listener) = pair();
    let ([address, _], _link) = lab.raw_ip_link(&gateway, &client, "wwan0").unwrap();
    let _gate = Gate::start(&lab, &gateway.namespace, &site(backend, &["wwan0"])).unwrap();
    opens(&client, address.into());
}

fn an_interface_that_is_missing_at_start_is_waited_for(backend: Backend) {
    let (lab, gateway, client, _listener) = pair();
    let mut gate = Gate::launch(&lab, &gateway.namespace, &site(backend, &["wwan0"])).unwrap();
    let said = gate.wait_for_log("wwan0", 0).unwrap();
    // The gate is up all the same: on the interface that is there, nobody gets in.
    let ssh = SocketAddr::new(gateway.v4.into(), SSH);
    wait_until("the gate to be up", || {
        probe::connect(&client.namespace, None, ssh, probe::SILENCE).unwrap().is_silent().then_some(())
    })
    .unwrap();
    let mark = gate.log_mark();
    let [address, _] = lab.second_link(&gateway, &client, "wwan0").unwrap();
    gate.wait_for_log("CAP-BACK", mark).unwrap_or_else(|error| panic!("{error}\nafter: {said}"));
    opens(&client, address.into());
}

fn an_interface_that_is_deleted_and_made_anew_is_heard_again(backend: Backend) {
    let (lab, gateway, client, _listener) = pair();
    let mut gate = Gate::start(&lab, &gateway.namespace, &site(backend, &["eth0"])).unwrap();
    for round in 1..=2 {
        let mark = gate.log_mark();
        gateway.namespace.ip("link del eth0").unwrap();
        let lost = gate.wait_for_log("CAP-LOST", mark).unwrap();
        assert!(lost.contains("eth0"), "round {round}: {lost}");
        lab.replug(&gateway).unwrap();
        gate.wait_for_log("CAP-BACK", mark).unwrap();
        let granted = gate.log_with("GRANT").len();
        knock::stock(&client.namespace, gateway.v4.into(), &TCP).unwrap();
        wait_until("a grant", || (gate.log_with("GRANT").len() > granted).then_some(())).unwrap();
        Session::get_in(&client.namespace, None, SocketAddr::new(gateway.v4.into(), SSH)).unwrap();
    }
}

fn several_interfaces(backend: Backend) {
    let (lab, gateway, client, _listener) = pair();
    let [address, _] = lab.second_link(&gateway, &client, "eth1").unwrap();
    let _gate = Gate::start(&lab, &gateway.namespace, &site(backend, &["eth0", "eth1"])).unwrap();
    opens(&client, gateway.v4.into());
    opens(&client, address.into());
}

/// Wherever the default route leads, knocks are heard there, and nowhere else.
fn the_interface_with_the_default_route_is_followed(backend: Backend) {
    let (lab, gateway, client, _listener) = pair();
    let [address, peer] = lab.second_link(&gateway, &client, "eth1").unwrap();
    let mut gate = Gate::launch(&lab, &gateway.namespace, &site(backend, &["default-route"])).unwrap();
    gate.wait_for_log("CAP-LOST interface=default-route", 0).unwrap();
    let route = |words: &str| gateway.namespace.ip(&format!("route {words}")).unwrap();
    let outer = SocketAddr::new(gateway.v4.into(), SSH);
    let heard = |gate: &Gate| gate.log_with("GRANT").len();

    let mark = gate.log_mark();
    route(&format!("add default via {} dev eth0", client.v4));
    gate.wait_for_log("CAP-BACK interface=default-route", mark).unwrap();
    opens(&client, gateway.v4.into());

    let mark = gate.log_mark();
    route(&format!("replace default via {peer} dev eth1"));
    gate.wait_for_log("CAP-BACK interface=default-route", mark).unwrap();
    // A grant is by address: this one is another.
    opens(&client, address.into());
    let before = heard(&gate);
    knock::stock(&client.namespace, gateway.v4.into(), &TCP).unwrap();
    knock::stock(&client.namespace, address.into(), &TCP).unwrap();
    wait_until("the later knock to be heard", || (heard(&gate) > before).then_some(())).unwrap();
    assert_eq!(heard(&gate), before + 1, "knocks at eth0, where no default route is any more, were heard");

    let mark = gate.log_mark();
    gateway.namespace.ip("link del eth1").unwrap();
    gate.wait_for_log("CAP-LOST interface=default-route", mark).unwrap();
    let mark = gate.log_mark();
    route(&format!("add default via {} dev eth0", client.v4));
    gate.wait_for_log("CAP-BACK interface=default-route", mark).unwrap();
    let granted = heard(&gate);
    knock::stock(&client.namespace, gateway.v4.into(), &TCP).unwrap();
    wait_until("a grant", || (heard(&gate) > granted).then_some(())).unwrap();
    Session::get_in(&client.namespace, None, outer).unwrap();
}
