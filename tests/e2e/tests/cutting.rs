//! Doors whose grants take the connections with them when they end.

use std::net::SocketAddr;

use postern_e2e::frame::Payload;
use postern_e2e::process::DEADLINE;
use postern_e2e::scene::{ECHO, SSH, TCP, UDP};
use postern_e2e::{Backend, DoorText, Scene, Site, both_back_ends, probe};

both_back_ends!(connections_end_with_their_grant, a_door_that_is_taken_away_takes_them_with_it);

const MODBUS: u16 = 502;

fn door(name: &str, port: u16, knocks: &[Payload], open_for: &str) -> DoorText {
    DoorText::new(name, &[&format!("tcp/{port}")], knocks).open_for(open_for)
}

fn connections_end_with_their_grant(backend: Backend) {
    let site = Site::new(backend)
        // Long enough to come in on a machine that does other things as well.
        .door(door("ssh", SSH, &TCP, "8s").with("cut_at_end = true").close_sequence(&ECHO))
        .door(door("modbus", MODBUS, &UDP, "4s"));
    let mut scene = Scene::set(&site).unwrap();
    let [cuts, goes_on] = [SSH, MODBUS].map(|port| SocketAddr::new(scene.gateway.v4.into(), port));
    scene.knock(&UDP).unwrap();
    let mut goes_on_session = scene.expect_client_in(goes_on).unwrap();
    scene.knock(&TCP).unwrap();
    let mut session = scene.expect_client_in(cuts).unwrap();
    session.expect_alive().unwrap();
    probe::wait_until_closed(&scene.client.namespace, None, cuts, DEADLINE).unwrap();
    scene.gate.wait_for_log("EXPIRE door=ssh", 0).unwrap();
    session.expect_cut().unwrap();
    goes_on_session.expect_alive().unwrap();
    scene.knock(&TCP).unwrap();
    session = scene.expect_client_in(cuts).unwrap();
    session.expect_alive().unwrap();
    scene.knock(&ECHO).unwrap();
    scene.gate.wait_for_log("REVOKE", 0).unwrap();
    session.expect_cut().unwrap();
    goes_on_session.expect_alive().unwrap();
    assert!(!scene.gate.log().contains("FW-FAIL"), "{}", scene.gate.log());
}

fn a_door_that_is_taken_away_takes_them_with_it(backend: Backend) {
    let both = Site::new(backend)
        .door(door("ssh", SSH, &TCP, "10m").with("cut_at_end = true"))
        .door(door("modbus", MODBUS, &ECHO, "10m").with("cut_at_end = true"));
    let mut scene = Scene::set(&both).unwrap();
    let [ssh, modbus] = [SSH, MODBUS].map(|port| SocketAddr::new(scene.gateway.v4.into(), port));
    scene.knock(&TCP).unwrap();
    let mut at_ssh = scene.expect_client_in(ssh).unwrap();
    scene.knock(&ECHO).unwrap();
    let mut at_modbus = scene.expect_client_in(modbus).unwrap();
    // Only the door behind other ports stays.
    let mark = scene.gate.log_mark();
    let one = Site::new(backend)
        .door(door("ssh", SSH, &TCP, "10m").with("cut_at_end = true"))
        .door(door("field", MODBUS, &UDP, "10m"));
    scene.gate.reload(&one).unwrap();
    scene.gate.wait_for_log("REVOKE config-changed", mark).unwrap();
    at_modbus.expect_cut().unwrap();
    at_ssh.expect_alive().unwrap();
}
