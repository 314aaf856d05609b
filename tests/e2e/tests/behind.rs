//! Doors that lead to a service behind the gateway, which the clients cannot reach otherwise.

use std::net::SocketAddr;

use postern_core::spa::native::Request;
use postern_e2e::controller::Controller;
use postern_e2e::keyring::{Keyring, sealed, send};
use postern_e2e::probe::{self, Session};
use postern_e2e::process::DEADLINE;
use postern_e2e::scene::{MIXED, SSH, TCP};
use postern_e2e::{Backend, Control, DoorText, Scene, Site, both_back_ends};

both_back_ends!(
    knocks_and_keys_lead_behind_the_gateway,
    a_door_to_another_family_stays_shut,
    a_door_that_leads_elsewhere_is_another,
);

const MARIA: u8 = 0x11;
/// Ports of the gateway.
const V4_DOOR: u16 = 10_022;
const V6_DOOR: u16 = 10_023;

fn site(backend: Backend, keyring: &Keyring, v4_service: u16) -> Site {
    let v4 = format!("forward = \"192.168.10.5:{v4_service}\"");
    let v6 = "forward = \"[2001:db8:10::5]:22\"\nspa = [\"maria\"]";
    Site::new(backend)
        .door(DoorText::new("plc", &[&format!("tcp/{V4_DOOR}")], &MIXED).with(&v4).open_for("4s"))
        .door(DoorText::new("plc6", &[&format!("tcp/{V6_DOOR}")], &[]).with(v6))
        .key(&keyring.native("maria", MARIA, "").unwrap())
}

fn device(scene: &Scene) -> [u8; 16] {
    Control::connect(&scene.gate.control()).unwrap().status().unwrap().device
}

/// The client is greeted by the controller's service, whose port is not the door's.
fn expect_led(scene: &Scene, target: SocketAddr, service: u16) -> Session {
    let session = Session::get_in(&scene.client.namespace, None, target).unwrap();
    assert_eq!(session.greeting(), format!("hello from tcp/{service}"));
    session
}

fn knocks_and_keys_lead_behind_the_gateway(backend: Backend) {
    let keyring = Keyring::new().unwrap();
    let mut scene = Scene::set(&site(backend, &keyring, SSH)).unwrap();
    let _controller = Controller::behind(&scene, &[SSH, 23]).unwrap();
    let [v4, v6] = [(scene.gateway.addresses()[0], V4_DOOR), (scene.gateway.addresses()[1], V6_DOOR)]
        .map(SocketAddr::from);
    scene.expect_client_out(v4).unwrap();
    scene.knock(&MIXED).unwrap();
    let mut session = expect_led(&scene, v4, SSH);
    scene.expect_stranger_out(v4).unwrap();
    let record = scene.gate.wait_for_log("GRANT door=plc", 0).unwrap();
    assert!(record.contains("tcp/10022"), "{record}");

    scene.expect_client_out(v6).unwrap();
    let packet = sealed(MARIA, device(&scene), &Request::open("plc6".try_into().unwrap(), 1_000));
    send(&scene.client.namespace, v6.ip(), &packet).unwrap();
    expect_led(&scene, v6, SSH);
    scene.expect_stranger_out(v6).unwrap();

    probe::wait_until_closed(&scene.client.namespace, None, v4, DEADLINE).unwrap();
    session.expect_alive().unwrap();
    // Whoever kills the daemon opens nothing and closes nothing.
    scene.gate.kill().unwrap();
    expect_led(&scene, v6, SSH);
    scene.expect_stranger_out(v6).unwrap();
    scene.expect_client_out(v4).unwrap();
    session.expect_alive().unwrap();
}

fn a_door_to_another_family_stays_shut(backend: Backend) {
    let keyring = Keyring::new().unwrap();
    let mut scene = Scene::set(&site(backend, &keyring, SSH)).unwrap();
    let _controller = Controller::behind(&scene, &[SSH, 23]).unwrap();
    let packet = sealed(MARIA, device(&scene), &Request::open("plc6".try_into().unwrap(), 1_000));
    send(&scene.client.namespace, scene.gateway.v4.into(), &packet).unwrap();
    scene.gate.wait_for_log("DENY-POLICY maria other-address-family", 0).unwrap();
    for target in scene.gateway.addresses() {
        scene.expect_client_out(SocketAddr::new(target, V6_DOOR)).unwrap();
    }
}

fn a_door_that_leads_elsewhere_is_another(backend: Backend) {
    let keyring = Keyring::new().unwrap();
    let mut scene = Scene::set(&site(backend, &keyring, SSH)).unwrap();
    let _controller = Controller::behind(&scene, &[SSH, 23]).unwrap();
    let target = SocketAddr::new(scene.gateway.v4.into(), V4_DOOR);
    scene.knock(&MIXED).unwrap();
    expect_led(&scene, target, SSH);
    let mark = scene.gate.log_mark();
    scene.gate.reload(&site(backend, &keyring, 23)).unwrap();
    scene.gate.wait_for_log("REVOKE config-changed", mark).unwrap();
    scene.expect_client_out(target).unwrap();
    scene.knock(&MIXED).unwrap();
    expect_led(&scene, target, 23);
    // And a door of the gateway's own is led nowhere any more.
    let own = DoorText::new("plc", &[&format!("tcp/{V4_DOOR}")], &TCP);
    scene.gate.reload(&Site::new(backend).door(own)).unwrap();
    scene.expect_client_out(target).unwrap();
}
