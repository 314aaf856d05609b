//! The config partition under the real daemon: killed at any moment of a commit, it holds the old
//! configuration or the new one, and never loses one it acknowledged.

use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use postern_config::Site as Stored;
use postern_config::partition::{Choice, Store};
use postern_config::schema;
use postern_console::rpc::reply::Trial;
use postern_console::rpc::request::{Request, Standing};
use postern_e2e::scene::MIXED;
use postern_e2e::{Backend, Control, Scene, Site};
use postern_hal_linux::partition::LinuxPartition;

/// Kills. Each costs a start of the daemon, with its firewall.
const KILLS: u32 = 300;

/// What a reader finds on the partition: generation and name.
fn in_force(path: &Path) -> (u64, String) {
    let mut store = Store::open(LinuxPartition::open_to_read(path).unwrap()).unwrap();
    let Choice::Slot(index) = store.choice() else { panic!("the factory profile: the store is lost") };
    let header = *store.in_force().unwrap();
    let mut payload = vec![0; postern_config::PAYLOAD_BYTES_MAX];
    let site = schema::decode(header.schema, store.read(index, &mut payload).unwrap()).unwrap();
    (header.generation, site.name.as_str().to_owned())
}

fn named(site: &Stored, name: &str) -> Box<Stored> {
    let mut site = Box::new(site.clone());
    site.name = name.try_into().unwrap();
    site
}

/// xorshift: the same moments in every run, as far as the machine lets them be.
fn next(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

fn killed_at_random_moments(backend: Backend) {
    let mut scene = Scene::with_door(Site::new(backend), &MIXED, "60s").unwrap();
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut acknowledged = in_force(scene.gate.store());
    let mut commit_time = Duration::from_millis(20);
    let (mut answered, mut old, mut new) = (0_u32, 0_u32, 0_u32);
    for kill in 0..KILLS {
        let mut peer = Control::connect(&scene.gate.control()).unwrap();
        let site = peer.site().unwrap();
        assert_eq!(site.name.as_str(), acknowledged.1, "the daemon runs what is on the partition");
        // One commit to see how long it takes, one that is cut.
        let name = format!("gateway-{kill}-whole");
        peer.stage(&named(&site, &name)).unwrap().unwrap();
        let begun = Instant::now();
        let generation = peer.commit_staged(acknowledged.0, Standing::Permanent).unwrap().unwrap();
        commit_time = (commit_time * 3 + begun.elapsed()) / 4;
        acknowledged = (generation, name);
        let name = format!("gateway-{kill}-cut");
        peer.stage(&named(&site, &name)).unwrap().unwrap();
        let pid = nix::unistd::Pid::from_raw(i32::try_from(scene.gate.daemon().pid()).unwrap());
        // The partition is written at the end of a commit, after the firewall: most of the moments
        // lie there.
        let share = f64::from(u16::try_from(next(&mut seed) % 1000).unwrap()) / 1000.0;
        let after = commit_time.mul_f64(1.1 - 0.5 * share * share);
        let killer = std::thread::spawn(move || {
            let begun = Instant::now();
            while begun.elapsed() < after {
                std::hint::spin_loop();
            }
            nix::sys::signal::kill(pid, Signal::SIGKILL).unwrap();
        });
        if let Ok(committed) = peer.commit_staged(generation, Standing::Permanent) {
            acknowledged = (committed.unwrap(), name.clone());
            answered += 1;
        }
        killer.join().unwrap();
        scene.gate.daemon().wait_for_end().unwrap();
        let found = in_force(scene.gate.store());
        if found == acknowledged {
            old += 1;
        } else {
            assert_eq!(found, (acknowledged.0 + 1, name), "neither the old one nor the new one");
            new += 1;
            acknowledged = found;
        }
        scene.gate.restart().unwrap();
    }
    println!(
        "{KILLS} kills: {answered} after the answer, {} before the commit, {new} between",
        old - answered
    );
    assert!(answered < KILLS && old > answered, "the moments were not spread over the commit");
    // After so many starts that did not last everything is shut, until somebody changes something.
    scene.gate.wait_for_log("SAFE-MODE state=on", 0).unwrap();
    let mut peer = Control::connect(&scene.gate.control()).unwrap();
    let site = peer.site().unwrap();
    assert_eq!(site.name.as_str(), acknowledged.1, "safe mode shuts, and forgets nothing");
    peer.stage(&named(&site, "gateway-at-the-end")).unwrap().unwrap();
    peer.commit_staged(acknowledged.0, Standing::Permanent).unwrap().unwrap();
    scene.knock(&MIXED).unwrap();
    scene.expect_client_in(scene.ssh()).unwrap();
}

#[test]
fn a_daemon_killed_during_commits_loses_nothing() {
    killed_at_random_moments(Backend::Nftables);
}

fn commit_confirm(backend: Backend) {
    let mut scene = Scene::with_door(Site::new(backend), &MIXED, "60s").unwrap();
    scene.knock(&MIXED).unwrap();
    scene.expect_client_in(scene.ssh()).unwrap();
    let mut peer = Control::connect(&scene.gate.control()).unwrap();
    let before = peer.site().unwrap();

    // A trial that is not confirmed: the daemon is killed, and comes back with the old one.
    let trial = named(&before, "on-trial");
    assert_eq!(peer.commit(&trial, Standing::Trial { secs: 600 }).unwrap(), Ok(2));
    let status = peer.status().unwrap();
    assert!(matches!(status.trial, Some(Trial { generation: 2, secs_left: 1..=600 })), "{status:?}");
    assert_eq!(peer.site().unwrap().name, "on-trial");
    scene.expect_client_in(scene.ssh()).unwrap();
    scene.gate.kill().unwrap();
    scene.gate.restart().unwrap();
    let mut peer = Control::connect(&scene.gate.control()).unwrap();
    assert_eq!(peer.site().unwrap().name, before.name);

    // A trial that is confirmed: it stands.
    let Ok(generation) = peer.commit(&trial, Standing::Trial { secs: 600 }).unwrap() else {
        panic!("refused")
    };
    peer.ask(Request::Confirm { generation }).unwrap().unwrap();
    scene.gate.kill().unwrap();
    scene.gate.restart().unwrap();
    let mut peer = Control::connect(&scene.gate.control()).unwrap();
    assert_eq!(peer.site().unwrap().name, "on-trial");
    scene.knock(&MIXED).unwrap();
    scene.expect_client_in(scene.ssh()).unwrap();
}

fn a_commit_keeps_grants_and_closes_removed_doors(backend: Backend) {
    let mut scene = Scene::with_door(Site::new(backend), &MIXED, "60s").unwrap();
    scene.knock(&MIXED).unwrap();
    scene.expect_client_in(scene.ssh()).unwrap();
    let mut peer = Control::connect(&scene.gate.control()).unwrap();
    let site = peer.site().unwrap();
    let kept = named(&site, "renamed");
    peer.commit(&kept, Standing::Permanent).unwrap().unwrap();
    scene.expect_client_in(scene.ssh()).unwrap();
    assert_eq!(peer.status().unwrap().grants, 1);

    // The door gets another name: the grant of the old one is taken back.
    let mut other = site.clone();
    other.doors[0].name = "other".try_into().unwrap();
    let mark = scene.gate.log_mark();
    peer.commit(&other, Standing::Permanent).unwrap().unwrap();
    scene.gate.wait_for_log("REVOKE", mark).unwrap();
    scene.expect_client_out(scene.ssh()).unwrap();
    assert_eq!(peer.status().unwrap().grants, 0);
}

/// Another interface is exempt: the gate is exchanged where it stands, and who was let in stays in.
fn another_exempt_interface_keeps_grants(backend: Backend) {
    let mut scene = Scene::with_door(Site::new(backend), &MIXED, "60s").unwrap();
    scene.knock(&MIXED).unwrap();
    scene.expect_client_in(scene.ssh()).unwrap();
    let mut peer = Control::connect(&scene.gate.control()).unwrap();
    let mut site = peer.site().unwrap();
    site.exempt_interfaces.push("lan7".try_into().unwrap()).unwrap();
    peer.commit(&site, Standing::Permanent).unwrap().unwrap();
    assert_eq!(peer.status().unwrap().grants, 1);
    scene.expect_client_in(scene.ssh()).unwrap();
    // The gate that stands is the one that is wanted.
    let mark = scene.gate.log_mark();
    peer.commit(&named(&site, "later"), Standing::Permanent).unwrap().unwrap();
    scene.gate.wait_for_log("CFG-COMMIT", mark).unwrap();
    scene.expect_client_in(scene.ssh()).unwrap();
}

fn another_back_end_without_a_gap(backend: Backend) {
    let scene = Scene::with_door(Site::new(backend), &MIXED, "60s").unwrap();
    scene.expect_client_out(scene.ssh()).unwrap();
    let mut peer = Control::connect(&scene.gate.control()).unwrap();
    let mut site = peer.site().unwrap();
    site.backend = match site.backend {
        postern_config::Backend::Iptables => postern_config::Backend::Nftables,
        postern_config::Backend::Nftables => postern_config::Backend::Iptables,
    };
    peer.commit(&site, Standing::Permanent).unwrap().unwrap();
    scene.expect_client_out(scene.ssh()).unwrap();
    scene.knock(&MIXED).unwrap();
    scene.expect_client_in(scene.ssh()).unwrap();
}

postern_e2e::both_back_ends! {
    commit_confirm,
    a_commit_keeps_grants_and_closes_removed_doors,
    another_exempt_interface_keeps_grants,
    another_back_end_without_a_gap,
}
