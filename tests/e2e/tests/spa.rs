//! Single Packet Authorization: one sealed datagram opens a real door, once, for one address.

use std::net::{IpAddr, SocketAddr};

use postern_console::rpc::request::Standing;
use postern_core::rule::Purpose;
use postern_core::spa::native::Request;
use postern_e2e::frame::{self, Link, Payload};
use postern_e2e::keyring::{Keyring, SPA_PORT, sealed, send};
use postern_e2e::sender::{Flood, FrameSender};
use postern_e2e::{Backend, Control, DoorText, Scene, Site, both_back_ends};

both_back_ends!(
    a_sealed_packet_opens_for_its_source_alone,
    a_packet_counts_once_also_after_a_kill,
    what_a_key_must_not_stays_shut,
    junk_beside_it_does_no_harm,
    a_key_that_is_taken_away_opens_nothing_more,
);

const MARIA: u8 = 0x11;
const OTTO: u8 = 0x22;

/// A door that only keys open.
fn scene(backend: Backend, keyring: &Keyring) -> Scene {
    let maria = keyring.native("maria", MARIA, "").unwrap();
    let otto = keyring.native("otto", OTTO, "").unwrap();
    let ssh = DoorText::new("ssh", &["tcp/22"], &[]).with("spa = [\"maria\"]");
    let web = DoorText::new("web", &["tcp/502"], &[]).with("spa = [\"otto\"]");
    Scene::set(&Site::new(backend).door(ssh).door(web).key(&maria).key(&otto)).unwrap()
}

fn device(scene: &Scene) -> [u8; 16] {
    Control::connect(&scene.gate.control()).unwrap().status().unwrap().device
}

fn open(door: &str, counter: u64) -> Request {
    Request::open(door.try_into().unwrap(), counter)
}

fn knock(scene: &Scene, octets: &[u8]) {
    send(&scene.client.namespace, scene.gateway.v4.into(), octets).unwrap();
}

/// Has the client close its door, and waits until it is.
fn close(scene: &mut Scene, device: [u8; 16], counter: u64) {
    let mark = scene.gate.log_mark();
    let request = Request { purpose: Purpose::Close, ..open("ssh", counter) };
    knock(scene, &sealed(MARIA, device, &request));
    scene.gate.wait_for_log("REVOKE spa-request", mark).unwrap();
}

fn a_sealed_packet_opens_for_its_source_alone(backend: Backend) {
    let keyring = Keyring::new().unwrap();
    let mut scene = scene(backend, &keyring);
    let device = device(&scene);
    for (target, counter) in scene.ssh_both().into_iter().zip([1_000, 2_000]) {
        scene.expect_client_out(target).unwrap();
        let packet = sealed(MARIA, device, &open("ssh", counter));
        send(&scene.client.namespace, target.ip(), &packet).unwrap();
        scene.expect_client_in(target).unwrap();
        scene.expect_stranger_out(target).unwrap();
    }
    let grants = scene.gate.log_with("GRANT maria spa");
    assert_eq!(grants.len(), 2, "{grants:?}");
    // What the client asks to be closed is closed.
    close(&mut scene, device, 3_000);
    scene.expect_client_out(scene.ssh()).unwrap();
}

fn a_packet_counts_once_also_after_a_kill(backend: Backend) {
    let keyring = Keyring::new().unwrap();
    let mut scene = scene(backend, &keyring);
    let device = device(&scene);
    let packet = sealed(MARIA, device, &open("ssh", 1_000));
    knock(&scene, &packet);
    scene.expect_client_in(scene.ssh()).unwrap();
    // Caught on the wire and sent again, by somebody else.
    send(&scene.stranger.namespace, scene.gateway.v4.into(), &packet).unwrap();
    scene.gate.wait_for_log("DENY-REPLAY maria counter-used", 0).unwrap();
    scene.expect_stranger_out(scene.ssh()).unwrap();
    for end in [true, false] {
        if end {
            scene.gate.kill().unwrap();
        } else {
            scene.gate.terminate().unwrap();
        }
        scene.gate.restart().unwrap();
        send(&scene.stranger.namespace, scene.gateway.v4.into(), &packet).unwrap();
        scene.gate.wait_for_log("DENY-REPLAY maria", 0).unwrap();
        scene.expect_stranger_out(scene.ssh()).unwrap();
        // The client's own time may go on; nothing was let in anew.
        let mut granted = scene.gate.log_with("GRANT");
        granted.retain(|line| !line.contains("proof=adopted"));
        assert!(granted.is_empty(), "{granted:?}");
    }
    // A counter above what was leased ahead counts.
    knock(&scene, &sealed(MARIA, device, &open("ssh", 20_000)));
    scene.gate.wait_for_log("GRANT maria spa", 0).unwrap();
    scene.expect_client_in(scene.ssh()).unwrap();
}

fn what_a_key_must_not_stays_shut(backend: Backend) {
    let keyring = Keyring::new().unwrap();
    let mut scene = scene(backend, &keyring);
    let device = device(&scene);
    let web = SocketAddr::new(scene.gateway.v4.into(), 502);
    knock(&scene, &sealed(MARIA, device, &open("web", 1_000)));
    scene.gate.wait_for_log("DENY-POLICY maria door-not-allowed", 0).unwrap();
    knock(&scene, &sealed(OTTO, [0xee; 16], &open("web", 1_000)));
    scene.gate.wait_for_log("DENY-MAC not-genuine", 0).unwrap();
    let mut changed = sealed(OTTO, device, &open("web", 1_001));
    changed[60] ^= 1;
    knock(&scene, &changed);
    scene.expect_client_out(web).unwrap();
    scene.expect_client_out(scene.ssh()).unwrap();
    knock(&scene, &sealed(OTTO, device, &open("web", 1_002)));
    scene.expect_client_in(web).unwrap();
    scene.expect_client_out(scene.ssh()).unwrap();
}

/// Adds to a datagram of one octet until it has 128. Captures do not look at checksums.
fn as_long_as_a_packet(mut frame: Vec<u8>) -> Vec<u8> {
    const ETHERNET: usize = 14;
    const IP: usize = 20;
    frame.resize(ETHERNET + IP + 8 + 128, 0x5a);
    frame[ETHERNET + 2..ETHERNET + 4].copy_from_slice(&(20 + 8 + 128_u16).to_be_bytes());
    frame[ETHERNET + IP + 4..ETHERNET + IP + 6].copy_from_slice(&(8 + 128_u16).to_be_bytes());
    frame
}

fn junk_beside_it_does_no_harm(backend: Backend) {
    const JUNK: u64 = 20_000;
    let keyring = Keyring::new().unwrap();
    let mut scene = scene(backend, &keyring);
    let device = device(&scene);
    let sender = FrameSender::open(&scene.stranger.namespace, "eth0").unwrap();
    let link = Link { source: scene.stranger.mac, target: scene.gateway.mac, tags: Vec::new() };
    let (gateway, port) = (IpAddr::from(scene.gateway.v4), SPA_PORT);
    let junk = move |number: u64| {
        let source = IpAddr::from([198, 18, number.to_be_bytes()[6], number.to_be_bytes()[7]]);
        as_long_as_a_packet(frame::frame(&link, source, gateway, 4711, Payload::udp(port)))
    };
    let flood = Flood::start(sender, 10_000, JUNK, junk);
    for counter in 0..10_u64 {
        knock(&scene, &sealed(MARIA, device, &open("ssh", 1_000 + counter * 10_000)));
        scene.expect_client_in(scene.ssh()).unwrap();
        close(&mut scene, device, 1_001 + counter * 10_000);
        scene.expect_client_out(scene.ssh()).unwrap();
    }
    flood.stop().unwrap();
    let denials = scene.gate.log_with("DENY-MAC").len();
    assert!(denials < 200, "{denials} records of a flood");
}

fn a_key_that_is_taken_away_opens_nothing_more(backend: Backend) {
    let keyring = Keyring::new().unwrap();
    let mut scene = scene(backend, &keyring);
    let device = device(&scene);
    knock(&scene, &sealed(MARIA, device, &open("ssh", 1_000)));
    scene.expect_client_in(scene.ssh()).unwrap();
    let mut peer = Control::connect(&scene.gate.control()).unwrap();
    let mut site = peer.site().unwrap();
    site.keys[0].disabled = true;
    peer.commit(&site, Standing::Permanent).unwrap().unwrap();
    // The packet is used up, whatever becomes of the key.
    let packet = sealed(MARIA, device, &open("ssh", 50_000));
    knock(&scene, &packet);
    scene.gate.wait_for_log("DENY-POLICY maria key-disabled", 0).unwrap();
    site.keys[0].disabled = false;
    peer.commit(&site, Standing::Permanent).unwrap().unwrap();
    send(&scene.stranger.namespace, scene.gateway.v4.into(), &packet).unwrap();
    scene.gate.wait_for_log("DENY-REPLAY maria", 0).unwrap();
    scene.expect_stranger_out(scene.ssh()).unwrap();
}
