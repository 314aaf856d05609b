//! The knock client: opens a door from another machine, and says by its exit code what became of it.

use std::net::IpAddr;

use postern_e2e::frame::Payload;
use postern_e2e::process::Output;
use postern_e2e::scene::{ECHO, MIXED, TCP, UDP};
use postern_e2e::{Backend, DoorText, Host, Scene, Site, binaries, both_back_ends};

both_back_ends!(
    a_door_opens_to_every_kind_of_knock,
    the_wrong_knock_leaves_it_shut,
    a_door_that_leads_nowhere_refuses,
    a_second_try_makes_up_for_a_slip,
    sequences_come_from_a_site_file,
    without_a_route_nothing_is_reached,
);

const OK: i32 = 0;
const FAILED: i32 = 1;
const UNREACHABLE: i32 = 4;

/// Runs `postern knock` on `host`.
fn client(host: &Host, target: &str, more: &[&str]) -> Output {
    let program = binaries::path("postern").unwrap();
    let words: Vec<&str> = ["knock", target, "--json"].into_iter().chain(more.iter().copied()).collect();
    host.namespace.output(&program.to_string_lossy(), &words).unwrap()
}

fn words(knocks: &[Payload]) -> Vec<String> {
    knocks.iter().map(ToString::to_string).collect()
}

/// Knocks from the client's machine, fast, and probes SSH patiently.
fn knock(scene: &Scene, target: IpAddr, knocks: &[Payload], more: &[&str]) -> Output {
    let knocks = words(knocks);
    let mut all: Vec<&str> = knocks.iter().map(String::as_str).collect();
    all.extend(["--delay", "20", "--timeout", "500", "--probe", "tcp/22"]);
    all.extend(more);
    client(&scene.client, &target.to_string(), &all)
}

#[track_caller]
fn expect(output: &Output, code: i32, outcome: &str) {
    let said = format!("{}{}", output.stdout, output.stderr);
    assert_eq!(output.status.code(), Some(code), "exit code; it said: {said}");
    assert!(output.stdout.contains(&format!("\"outcome\": \"{outcome}\"")), "wanted {outcome}: {said}");
}

fn a_door_opens_to_every_kind_of_knock(backend: Backend) {
    for sequence in [&TCP, &UDP, &ECHO, &MIXED] {
        // Few lengths are guarded: the check wants to hear that echo requests alone are meant.
        let door = DoorText::new("ssh", &["tcp/22"], sequence).with("allow = [\"scan-probability\"]");
        let scene = Scene::set(&Site::new(backend).door(door)).unwrap();
        for target in scene.ssh_both() {
            expect(&knock(&scene, target.ip(), sequence, &[]), OK, "opened");
            scene.expect_client_in(target).unwrap();
            scene.expect_stranger_out(target).unwrap();
            // Now it need not knock, and does not.
            let grants = scene.gate.log_with("GRANT").len();
            expect(&knock(&scene, target.ip(), sequence, &[]), OK, "was-open");
            assert_eq!(scene.gate.log_with("GRANT").len(), grants, "it knocked at an open door");
        }
    }
}

fn the_wrong_knock_leaves_it_shut(backend: Backend) {
    let scene = Scene::with_door(Site::new(backend), &MIXED, "60s").unwrap();
    let [a, b, c, d] = MIXED;
    for target in scene.gateway.addresses() {
        expect(&knock(&scene, target, &[b, a, c, d], &[]), FAILED, "still-shut");
        expect(&knock(&scene, target, &[a, b, c], &["--retry", "1"]), FAILED, "still-shut");
    }
    assert!(scene.gate.log_with("GRANT").is_empty());
    // Without a probe it cannot tell, and says so.
    let sent = client(&scene.client, &scene.gateway.v4.to_string(), &["tcp/7351", "--delay", "1"]);
    expect(&sent, OK, "sent");
}

fn a_door_that_leads_nowhere_refuses(backend: Backend) {
    // Nothing listens on 2022: past the gate the kernel itself refuses.
    let scene = Scene::set(&Site::new(backend).door(DoorText::new("ssh", &["tcp/2022"], &MIXED))).unwrap();
    for target in scene.gateway.addresses() {
        let knocks = words(&MIXED);
        let mut all: Vec<&str> = knocks.iter().map(String::as_str).collect();
        all.extend(["--delay", "20", "--timeout", "500", "--probe", "tcp/2022"]);
        expect(&client(&scene.client, &target.to_string(), &all), FAILED, "refused");
    }
}

fn a_second_try_makes_up_for_a_slip(backend: Backend) {
    let door = DoorText::new("ssh", &["tcp/22"], &UDP).with("within = \"5s\"");
    let scene = Scene::set(&Site::new(backend).door(door)).unwrap();
    let target = scene.gateway.v4.into();
    // A port next to a knock: for five seconds nothing this machine knocks counts.
    let slip = || {
        let near = client(&scene.client, &scene.gateway.v4.to_string(), &["udp/15403"]);
        expect(&near, OK, "sent");
    };
    slip();
    expect(&knock(&scene, target, &UDP, &[]), FAILED, "still-shut");
    slip();
    expect(&knock(&scene, target, &UDP, &["--retry", "12"]), OK, "opened");
    scene.expect_client_in(scene.ssh()).unwrap();
}

fn sequences_come_from_a_site_file(backend: Backend) {
    let site = Site::new(backend).door(DoorText::new("service", &["tcp/502"], &UDP)).door(DoorText::new(
        "ssh",
        &["tcp/22"],
        &TCP,
    ));
    let scene = Scene::set(&site).unwrap();
    let file = scene.lab.directory().join("site.toml");
    std::fs::write(&file, site.to_toml()).unwrap();
    let file = file.to_string_lossy();
    let target = scene.gateway.v4.to_string();
    let common = ["--delay", "20", "--timeout", "500", "--site", &file, "--door"];
    // The other door's knocks do not open this one.
    let with = |door: &'static str| {
        client(&scene.client, &target, &[&common[..], &[door, "--probe", "tcp/22"]].concat())
    };
    expect(&with("service"), FAILED, "still-shut");
    expect(&with("ssh"), OK, "opened");
    scene.expect_stranger_out(scene.ssh()).unwrap();
}

fn without_a_route_nothing_is_reached(backend: Backend) {
    let scene = Scene::with_door(Site::new(backend), &MIXED, "60s").unwrap();
    for knock in ["tcp/7351", "udp/24011", "icmp/83"] {
        for nowhere in ["203.0.113.9", "2001:db8:ffff::9"] {
            expect(&client(&scene.client, nowhere, &[knock]), UNREACHABLE, "unreachable");
        }
    }
    // Nor is a name of the wrong family.
    let v4 = scene.gateway.v4.to_string();
    expect(&client(&scene.client, &v4, &["tcp/7351", "-6"]), UNREACHABLE, "unreachable");
}
