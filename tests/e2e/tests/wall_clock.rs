//! The time of day decides nothing: it may jump by a year, there and back, under a daemon that believes it.

use std::net::SocketAddr;

use postern_core::spa::native::Request;
use postern_e2e::keyring::{Keyring, sealed, send};
use postern_e2e::process::{holds, wait_until};
use postern_e2e::scene::MIXED;
use postern_e2e::wall::WallClock;
use postern_e2e::{Backend, Control, DoorText, Scene, Site, both_back_ends};

both_back_ends!(a_year_there_and_back);

const MARIA: u8 = 0x11;
const YEAR_SECS: i64 = 365 * 86_400;

/// Waits for a line with these words. The process is watched: nobody else may ask whether it has ended.
fn hears(scene: &Scene, words: &str, mark: usize) {
    wait_until(words, || scene.gate.log_since(mark).iter().any(|line| holds(line, words)).then_some(()))
        .unwrap();
}

fn a_year_there_and_back(backend: Backend) {
    let keyring = Keyring::new().unwrap();
    let maria = keyring.native("maria", MARIA, "").unwrap();
    let ssh = DoorText::new("ssh", &["tcp/22"], &[]).with("spa = [\"maria\"]").open_for("600s");
    let web = DoorText::new("web", &["tcp/502"], &MIXED).open_for("2s");
    let site = Site::new(backend).door(ssh).door(web).key(&maria);
    let mut scene = Scene::set(&site).unwrap();
    let device = Control::connect(&scene.gate.control()).unwrap().status().unwrap().device;
    let packet = |counter| {
        let request = Request::open("ssh".try_into().unwrap(), counter);
        sealed(MARIA, device, &request)
    };
    let clock = WallClock::of(scene.gate.daemon().pid()).unwrap();
    // A clock that is wrong from the start is no jump.
    clock.jump(0).unwrap();
    let first = packet(1_000);
    send(&scene.client.namespace, scene.gateway.v4.into(), &first).unwrap();
    hears(&scene, "GRANT maria spa", 0);
    for (round, ahead) in (1_u64..).zip([YEAR_SECS, -YEAR_SECS, 0]) {
        // The grant of the fixed knock is open while the clock jumps.
        let mark = scene.gate.log_mark();
        scene.knock(&MIXED).unwrap();
        hears(&scene, "GRANT door=web", mark);
        clock.jump(ahead).unwrap();
        hears(&scene, "EXPIRE door=web", mark);
        let web = SocketAddr::new(scene.gateway.v4.into(), 502);
        scene.expect_client_out(web).unwrap();
        // What was open for longer still is, for its own client alone, and ends when it must.
        scene.expect_client_in(scene.ssh()).unwrap();
        scene.expect_stranger_out(scene.ssh()).unwrap();
        // What was used does not count again, under any clock.
        let mark = scene.gate.log_mark();
        send(&scene.stranger.namespace, scene.gateway.v4.into(), &first).unwrap();
        hears(&scene, "DENY-REPLAY maria counter-used", mark);
        scene.expect_stranger_out(scene.ssh()).unwrap();
        // What is new does, and so does an honest knock.
        let mark = scene.gate.log_mark();
        send(&scene.client.namespace, scene.gateway.v4.into(), &packet(1_000 + round)).unwrap();
        hears(&scene, "GRANT maria spa", mark);
        scene.knock(&MIXED).unwrap();
        hears(&scene, "GRANT door=web", mark);
    }
    // Nothing was taken for a fault.
    for word in ["SELFTEST", "SAFE-MODE", "FW-DRIFT"] {
        assert!(scene.gate.log_with(word).is_empty(), "{:?}", scene.gate.log_with(word));
    }
    let status = Control::connect(&scene.gate.control()).unwrap().status().unwrap();
    assert_eq!(status.boots, 1, "{status:?}");
}
