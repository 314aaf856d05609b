//! Doors that lead to a controller behind the appliance.

use std::net::IpAddr;

use anyhow::{Result, ensure};
use postern_e2e::controller::Controller;
use postern_e2e::keyring::send;
use postern_e2e::probe::{self, Answer, Session};
use postern_e2e::process::wait_for;
use postern_e2e::{Backend, DoorText, Site, knock};
use postern_image::outside::{APPLIANCE, APPLIANCE6, CLIENT, CLIENT6, STRANGER, STRANGER6};

use super::knocks::{self, OPENS};
use super::packets::Key;
use super::stage::{Device, PATIENCE, Stage, has_v6};

/// Port of the appliance that leads to the controller, for IPv4.
const DOOR: u16 = 10_022;

/// The same for IPv6.
const DOOR6: u16 = 10_023;

/// Port of the controller.
const SERVICE: u16 = 22;

/// Knocks and packets lead who sent them to the controller, over both families, and nobody else. The one
/// door has its connections cut at the end of a grant, the other is for one connection.
pub(super) fn led_to_a_controller(stage: &mut Stage<'_>) -> Result<()> {
    let keys = knocks::keyring()?;
    let cut = format!("forward = \"192.168.10.5:{SERVICE}\"\ncut_at_end = true");
    let once = format!("forward = \"[2001:db8:10::5]:{SERVICE}\"\none_shot = true\nspa = [\"native\"]");
    let site = Site::new(Backend::Iptables)
        .door(DoorText::new("plc", &[&format!("tcp/{DOOR}")], &OPENS).open_for("10s").with(&cut))
        .door(DoorText::new("plc6", &[&format!("tcp/{DOOR6}")], &[]).open_for("1h").with(&once))
        .key(&knocks::native(&keys)?);
    let mut device = stage.guarding(stage.device()?, &site)?;
    let (outside, controller) = (device.outside.namespace.clone(), device.neighbour("controller")?);
    // There is a way past the doors, which the appliance does not let anybody go. On one wire it says so.
    for (namespace, interface) in [(&outside, "tap0"), (&controller, "eth0")] {
        for (place, family) in [("all", "ipv4"), ("all", "ipv6"), (interface, "ipv4"), (interface, "ipv6")] {
            namespace.set(&format!("{family}/conf/{place}/accept_redirects"), "0")?;
        }
    }
    let _controller = Controller::on(controller, &[SERVICE])?;
    outside.ip(&format!("route add 192.168.10.0/24 via {APPLIANCE}"))?;
    outside.ip(&format!("-6 route add 2001:db8:10::/64 via {APPLIANCE6}"))?;
    device.switch_on()?;
    device.shows("interfaces up")?;
    let key = Key::of(stage, &device)?;

    let (client, stranger) = (CLIENT.into(), STRANGER.into());
    led(&device, client, stranger, DOOR, || knock::stock(&outside, APPLIANCE.into(), &OPENS))?;
    stage.told("a stock knock led the client to the controller, over IPv4, and nobody else");
    let mut session = Session::get_in(&outside, Some(client), (APPLIANCE, DOOR).into())?;
    session.expect_alive()?;
    wait_for("the door to close", PATIENCE, || expect_out(&device, client, DOOR).ok())?;
    session.expect_cut()?;
    expect_out(&device, stranger, DOOR)?;
    stage.told("the door has closed, and the connection through it is cut");

    if !has_v6(stage.options.board) {
        stage.told("QEMU cannot do TCP over IPv6 on this board");
        return Ok(());
    }
    let (client, stranger) = (CLIENT6.into(), STRANGER6.into());
    // Within what is leased at once: another lease has to wait for a minute.
    let mut counter = 1_000;
    led(&device, client, stranger, DOOR6, || {
        counter += 1;
        send(&outside, APPLIANCE6.into(), &key.asks("plc6", counter)?)
    })?;
    expect_out(&device, client, DOOR6)?;
    stage.told("a packet led the client to the controller, over IPv6, for one connection");
    Ok(())
}

/// Asks until the door leads the client to the controller, and the stranger nowhere.
fn led(
    device: &Device,
    client: IpAddr,
    stranger: IpAddr,
    door: u16,
    mut ask: impl FnMut() -> Result<()>,
) -> Result<()> {
    expect_out(device, client, door)?;
    let greeting = wait_for("the door to lead to the controller", PATIENCE, || {
        ask().ok()?;
        match device.outside.try_port(client, door) {
            Ok(Answer::Open(greeting)) => Some(greeting),
            _ => None,
        }
    })?;
    ensure!(greeting == format!("hello from tcp/{SERVICE}"), "somebody else greets: {greeting}");
    expect_out(device, stranger, door)
}

/// Silence at the door, and at the controller's own address.
fn expect_out(device: &Device, source: IpAddr, door: u16) -> Result<()> {
    let answer = device.outside.try_port(source, door)?;
    ensure!(answer.is_silent(), "{source} should hear nothing of port {door}, but: {answer:?}");
    let controller: IpAddr =
        if source.is_ipv4() { [192, 168, 10, 5].into() } else { "2001:db8:10::5".parse()? };
    let past = (controller, SERVICE).into();
    probe::expect_silence(&device.outside.namespace, Some(source), past)
}
