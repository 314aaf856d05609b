//! Grants that one connection uses up.

use std::net::SocketAddr;

use postern_core::spa::native::Request;
use postern_e2e::keyring::{Keyring, sealed, send};
use postern_e2e::scene::{SSH, TCP};
use postern_e2e::{Backend, Control, DoorText, Scene, Site, both_back_ends};

both_back_ends!(a_door_may_be_for_one_connection, a_packet_may_ask_for_one_connection);

const MARIA: u8 = 0x11;
const MODBUS: u16 = 502;

fn a_door_may_be_for_one_connection(backend: Backend) {
    let door = DoorText::new("ssh", &["tcp/22"], &TCP).open_for("10m").with("one_shot = true");
    let mut scene = Scene::set(&Site::new(backend).door(door)).unwrap();
    scene.knock(&TCP).unwrap();
    let record = scene.gate.wait_for_log("GRANT door=ssh", 0).unwrap();
    assert!(record.contains("one_shot=true"), "{record}");
    scene.expect_stranger_out(scene.ssh()).unwrap();
    let mut session = scene.expect_client_in(scene.ssh()).unwrap();
    scene.expect_client_out(scene.ssh()).unwrap();
    session.expect_alive().unwrap();
    // Who knocks again may come again.
    scene.knock(&TCP).unwrap();
    let mut another = scene.expect_client_in(scene.ssh()).unwrap();
    scene.expect_client_out(scene.ssh()).unwrap();
    session.expect_alive().unwrap();
    another.expect_alive().unwrap();
    // Whoever kills the daemon gives nothing back.
    scene.gate.kill().unwrap();
    scene.expect_client_out(scene.ssh()).unwrap();
    session.expect_alive().unwrap();
}

fn a_packet_may_ask_for_one_connection(backend: Backend) {
    let keyring = Keyring::new().unwrap();
    let site = Site::new(backend)
        .door(DoorText::new("modbus", &["tcp/502"], &[]).open_for("10m").with("spa = [\"maria\"]"))
        .door(DoorText::new("both", &["tcp/22", "udp/161"], &[]).open_for("10m").with("spa = [\"maria\"]"))
        .key(&keyring.native("maria", MARIA, "").unwrap());
    let mut scene = Scene::set(&site).unwrap();
    let device = Control::connect(&scene.gate.control()).unwrap().status().unwrap().device;
    let once =
        |door: &str, counter| Request { one_shot: true, ..Request::open(door.try_into().unwrap(), counter) };
    let modbus = scene.gateway.addresses().map(|address| SocketAddr::new(address, MODBUS));
    for (target, counter) in modbus.into_iter().zip(1_000..) {
        let packet = sealed(MARIA, device, &once("modbus", counter));
        send(&scene.client.namespace, target.ip(), &packet).unwrap();
        let mut session = scene.expect_client_in(target).unwrap();
        scene.expect_client_out(target).unwrap();
        scene.expect_stranger_out(target).unwrap();
        session.expect_alive().unwrap();
    }
    // A connection for each port would be more than was asked for.
    let packet = sealed(MARIA, device, &once("both", 2_000));
    send(&scene.client.namespace, scene.gateway.v4.into(), &packet).unwrap();
    scene.gate.wait_for_log("DENY-POLICY maria one-shot-needs-one-port", 0).unwrap();
    scene.expect_client_out(SocketAddr::new(scene.gateway.v4.into(), SSH)).unwrap();
}
