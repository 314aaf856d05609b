//! Scanners, forgers and crowds: they open nothing and keep nobody out.

use std::net::IpAddr;
use std::time::Duration;

use postern_e2e::frame::{Link, Payload, frame};
use postern_e2e::knock::{Knocker, overlapping};
use postern_e2e::probe::Session;
use postern_e2e::process::wait_until;
use postern_e2e::scene::{MIXED, SSH, TCP, UDP};
use postern_e2e::sender::{Flood, FrameSender};
use postern_e2e::{Backend, DoorText, Scene, Site, both_back_ends};

both_back_ends!(
    a_guard_port_before_or_after_taints_its_source_only,
    scans_of_nmap_open_nothing,
    scans_in_reverse_and_random_order_open_nothing,
    scans_of_all_protocols_open_nothing,
    the_fastest_scan_is_told_in_few_lines_and_no_grant_is_lost,
    scans_open_no_door_although_every_order_is_a_sequence,
    fifty_overlapping_clients_all_get_in,
    fifty_overlapping_clients_all_get_in_with_the_most_doors,
    first_knocks_forged_in_their_names_keep_nobody_out,
    first_knocks_forged_in_their_names_keep_nobody_out_with_the_most_doors,
    one_source_of_first_and_wrong_knocks_keeps_nobody_out,
    one_source_of_first_and_wrong_knocks_keeps_nobody_out_with_the_most_doors,
);

/// Doors of the largest site.
const DOORS_MAX: usize = 256;
/// Clients in a crowd.
const CROWD: usize = 50;
/// Frames a second of a scan by hand: a whole range of ports takes under two seconds, well within
/// the time any sequence may take.
const SCAN_PER_SECOND: u32 = 40_000;

fn a_guard_port_before_or_after_taints_its_source_only(backend: Backend) {
    let door = DoorText::new("ssh", &["tcp/22"], &MIXED).with("within = \"2s\"");
    let mut scene = Scene::set(&Site::new(backend).door(door)).unwrap();
    let [a, b, c, d] = MIXED;
    // The neighbour of the first knock, then of the second, which is another protocol's.
    for (guard, knocks) in [
        (Payload::syn(7352), [Payload::syn(7352), a, b, c, d]),
        (Payload::udp(24010), [a, b, c, Payload::udp(24010), d]),
    ] {
        let mark = scene.gate.log_mark();
        scene.knock(&knocks).unwrap();
        let record = scene.gate.wait_for_log("DENY-POLICY", mark).unwrap();
        assert!(record.contains("guard-port-touched"), "after {guard}: {record}");
        scene.expect_client_out(scene.ssh()).unwrap();
    }
    // The stranger, for once, knows the knock.
    let knocker = Knocker::new(&scene.stranger, &scene.gateway).unwrap();
    knocker.sequence(scene.stranger.v4.into(), scene.gateway.v4.into(), &MIXED, Duration::ZERO).unwrap();
    Session::get_in(&scene.stranger.namespace, None, scene.ssh()).unwrap();
    assert!(scene.gate.log_with(&format!("GRANT door=ssh src={}", scene.client.v4)).is_empty());
    // The taint goes away by itself.
    let granted = format!("GRANT src={}", scene.client.v4);
    wait_until("the taint to end", || {
        scene.knock(&MIXED).unwrap();
        (!scene.gate.log_with(&granted).is_empty()).then_some(())
    })
    .unwrap();
    scene.expect_client_in(scene.ssh()).unwrap();
}

/// Shows that what the client did opened nothing for it. What it sent is behind us when the
/// stranger, who knows the knock, got in after it.
fn expect_nothing_opened(scene: &mut Scene, what: &str) {
    let mark = scene.gate.log_mark();
    let (stranger, gateway) = (scene.stranger.v4, scene.gateway.v4);
    let knocker = Knocker::new(&scene.stranger, &scene.gateway).unwrap();
    knocker.sequence(stranger.into(), gateway.into(), &TCP, Duration::ZERO).unwrap();
    scene.gate.wait_for_log(&format!("GRANT door=ssh src={stranger}"), mark).unwrap();
    for address in scene.client.addresses() {
        let opened = scene.gate.log_with(&format!("GRANT src={address}"));
        assert!(opened.is_empty(), "{what} opened a door: {opened:?}");
    }
    for target in scene.ssh_both() {
        scene.expect_client_out(target).unwrap();
    }
}

fn scans_of_nmap_open_nothing(backend: Backend) {
    let mut scene = Scene::with_door(Site::new(backend), &TCP, "60s").unwrap();
    let scan = ["-n", "-Pn", "-sS", "-T5", "--min-rate", "20000", "--max-retries", "1", "-p", "1-65535"];
    let [v4, v6] = scene.gateway.addresses().map(|address| address.to_string());
    // Twice, because a second scan could go on where the first one left off.
    for (what, more) in [
        ("a linear scan", vec!["-r", &v4]),
        ("a second linear scan", vec!["-r", &v4]),
        ("a random scan", vec![&*v4]),
        ("a second random scan", vec![&*v4]),
        ("a linear scan over IPv6", vec!["-r", "-6", &v6]),
    ] {
        let arguments: Vec<&str> = scan.into_iter().chain(more).collect();
        let seen = scene.client.namespace.run("nmap", &arguments).unwrap();
        assert!(seen.contains("1 host up"), "nmap did not scan:\n{seen}");
        expect_nothing_opened(&mut scene, what);
    }
}

/// Sends these knocks from the client, as fast as a scan goes.
fn scan(scene: &Scene, knocks: Vec<Payload>) {
    let sender = FrameSender::open(&scene.client.namespace, "eth0").unwrap();
    let link = Link { source: scene.client.mac, target: scene.gateway.mac, tags: Vec::new() };
    let (source, target): (IpAddr, IpAddr) = (scene.client.v4.into(), scene.gateway.v4.into());
    let count = knocks.len() as u64;
    let mut knocks = knocks.into_iter();
    let flood = Flood::start(sender, SCAN_PER_SECOND, count, move |_| {
        frame(&link, source, target, 40_000, knocks.next().unwrap_or(Payload::syn(1)))
    });
    assert_eq!(flood.finish().unwrap(), count);
}

fn scans_in_reverse_and_random_order_open_nothing(backend: Backend) {
    let mut scene = Scene::with_door(Site::new(backend), &TCP, "60s").unwrap();
    scan(&scene, (1..=65_535).rev().map(Payload::syn).collect());
    expect_nothing_opened(&mut scene, "a scan in reverse order");
    for seed in 1..=3 {
        let mut ports: Vec<u16> = (1..=65_535).collect();
        shuffle(&mut ports, seed);
        scan(&scene, ports.into_iter().map(Payload::syn).collect());
        expect_nothing_opened(&mut scene, &format!("a scan in the random order of seed {seed}"));
    }
}

/// As fast as this machine sends: from ever new sources, at all ports, and at the first knock in between,
/// while people come in.
fn the_fastest_scan_is_told_in_few_lines_and_no_grant_is_lost(backend: Backend) {
    const FRAMES: u64 = 400_000;
    let mut scene = Scene::with_door(Site::new(backend), &MIXED, "60s").unwrap();
    let people = scene.client.more_addresses(CROWD, &scene.gateway).unwrap();
    let (link, target): (Link, IpAddr) = (
        Link { source: scene.stranger.mac, target: scene.gateway.mac, tags: Vec::new() },
        scene.gateway.v4.into(),
    );
    let sender = FrameSender::open(&scene.stranger.namespace, "eth0").unwrap();
    let started = std::time::Instant::now();
    let mut state = 7_u64;
    let flood = Flood::start(sender, u32::MAX, FRAMES, move |number| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let [a, b, c, d, e, ..] = state.to_be_bytes();
        let source = IpAddr::from([11, a, b, c]);
        let anywhere = Payload::syn(u16::from_be_bytes([d, e]).max(1));
        frame(&link, source, target, 40_001, if number % 2 == 0 { anywhere } else { MIXED[0] })
    });
    wait_until("the scan to be under way", || (flood.sent() > 5000).then_some(())).unwrap();
    let knocker = Knocker::new(&scene.client, &scene.gateway).unwrap();
    for person in &people {
        knocker.sequence((*person).into(), target, &MIXED, Duration::from_millis(2)).unwrap();
    }
    let sent = flood.finish().unwrap();
    let took = started.elapsed();
    // Afterwards everybody who knocks gets in.
    let mark = scene.gate.log_mark();
    scene.knock(&MIXED).unwrap();
    scene.gate.wait_for_log(&format!("GRANT src={}", scene.client.v4), mark).unwrap();
    scene.expect_client_in(scene.ssh()).unwrap();
    wait_until("the flood to be over", || (!scene.gate.log_with("FLOOD-OFF").is_empty()).then_some(()))
        .unwrap();
    let status = postern_e2e::Control::connect(&scene.gate.control()).unwrap().status().unwrap();
    let grants = scene.gate.log_with("GRANT").len();
    let others = scene.gate.log_since(0).len() - grants;
    println!(
        "{backend}: {sent} frames in {:.1} s ({:.0} a second), {grants} of {} let in, {others} other lines, {} frames dropped",
        took.as_secs_f64(),
        sent as f64 / took.as_secs_f64(),
        people.len() + 1,
        status.dropped
    );
    assert_eq!(status.opened, grants as u64, "one opening, one record");
    assert!(scene.gate.log_with("LOG-DROP").is_empty());
    // Edges and summaries: of each detector, of the capture, and of the start.
    let longest = 60 + 5 * scene_secs(started);
    assert!(others as u64 <= longest, "{others} lines:\n{}", scene.gate.log());
    scene.expect_stranger_out(scene.ssh()).unwrap();
}

/// Seconds since `started`, with the one that has begun.
fn scene_secs(started: std::time::Instant) -> u64 {
    started.elapsed().as_secs() + 1
}

fn scans_of_all_protocols_open_nothing(backend: Backend) {
    let mixed = DoorText::new("mixed", &["tcp/502"], &MIXED);
    let udp = DoorText::new("udp", &["udp/161"], &UDP);
    let ssh = DoorText::new("ssh", &["tcp/22"], &TCP);
    let mut scene = Scene::set(&Site::new(backend).door(mixed).door(udp).door(ssh)).unwrap();
    scan(&scene, (1..=65_535).map(Payload::udp).collect());
    expect_nothing_opened(&mut scene, "a linear scan of UDP");
    // One of each protocol in turn, so that every sequence finds its knocks in some order.
    let turn = |number: u16| [Payload::syn(number), Payload::udp(number), Payload::echo(number % 1400)];
    scan(&scene, (1..=32_000).flat_map(turn).collect());
    scan(&scene, (1..=32_000).rev().flat_map(turn).collect());
    expect_nothing_opened(&mut scene, "two scans of TCP, UDP and echo requests in turn");
}

fn scans_open_no_door_although_every_order_is_a_sequence(backend: Backend) {
    // The sequence of knockd's own sample in every order: whatever order a scan takes, it knocks
    // one of these sequences in full, within their time. The check refuses such doors otherwise.
    let allowed = r#"allow = ["monotone-sequence", "short-sequence", "scan-probability", "service-port", "overlapping-sequences"]"#;
    let [a, b, c] = [7000, 8000, 9000].map(Payload::syn);
    let orders = [[a, b, c], [a, c, b], [b, a, c], [b, c, a], [c, a, b], [c, b, a]];
    let door = |number: usize| {
        DoorText::new(&format!("order-{number}"), &["tcp/502"], &orders[number]).with(allowed)
    };
    let ssh = DoorText::new("ssh", &["tcp/22"], &TCP);
    let mut scene = Scene::set(&(0..6).map(door).fold(Site::new(backend).door(ssh), Site::door)).unwrap();
    scan(&scene, (1..=65_535).map(Payload::syn).collect());
    expect_nothing_opened(&mut scene, "a linear scan");
    scan(&scene, (1..=65_535).rev().map(Payload::syn).collect());
    expect_nothing_opened(&mut scene, "a scan in reverse order");
    for seed in 4..=6 {
        let mut ports: Vec<u16> = (1..=65_535).collect();
        shuffle(&mut ports, seed);
        scan(&scene, ports.into_iter().map(Payload::syn).collect());
        expect_nothing_opened(&mut scene, &format!("a scan in the random order of seed {seed}"));
    }
}

fn fifty_overlapping_clients_all_get_in(backend: Backend) {
    crowd_gets_in(backend, 1, |_, _| None);
}

fn fifty_overlapping_clients_all_get_in_with_the_most_doors(backend: Backend) {
    crowd_gets_in(backend, DOORS_MAX, |_, _| None);
}

fn first_knocks_forged_in_their_names_keep_nobody_out(backend: Backend) {
    crowd_gets_in(backend, 1, forged_first_knocks);
}

fn first_knocks_forged_in_their_names_keep_nobody_out_with_the_most_doors(backend: Backend) {
    crowd_gets_in(backend, DOORS_MAX, forged_first_knocks);
}

fn one_source_of_first_and_wrong_knocks_keeps_nobody_out(backend: Backend) {
    crowd_gets_in(backend, 1, first_and_wrong_knocks);
}

fn one_source_of_first_and_wrong_knocks_keeps_nobody_out_with_the_most_doors(backend: Backend) {
    crowd_gets_in(backend, DOORS_MAX, first_and_wrong_knocks);
}

/// Each client's own first knock, 5,000 a second, in the names of all clients in turn.
fn forged_first_knocks(scene: &Scene, crowd: &Crowd) -> Option<Flood> {
    let link = Link { source: scene.stranger.mac, target: scene.gateway.mac, tags: Vec::new() };
    let target: IpAddr = scene.gateway.v4.into();
    let sender = FrameSender::open(&scene.stranger.namespace, "eth0").unwrap();
    let crowd = crowd.clone();
    Some(Flood::start(sender, 5000, 100_000, move |number| {
        let client = usize::try_from(number).unwrap_or(0) % CROWD;
        frame(&link, crowd.sources[client], target, 40_001, crowd.knocks(client)[0])
    }))
}

/// One real source sends the first knock of some door and a wrong knock in turn, 300 a second.
fn first_and_wrong_knocks(scene: &Scene, crowd: &Crowd) -> Option<Flood> {
    let link = Link { source: scene.stranger.mac, target: scene.gateway.mac, tags: Vec::new() };
    let (source, target): (IpAddr, IpAddr) = (scene.stranger.v4.into(), scene.gateway.v4.into());
    let sender = FrameSender::open(&scene.stranger.namespace, "eth0").unwrap();
    let crowd = crowd.clone();
    Some(Flood::start(sender, 300, 10_000, move |number| {
        let knocks = crowd.knocks(usize::try_from(number / 2).unwrap_or(0) % CROWD);
        frame(&link, source, target, 40_001, knocks[if number % 2 == 0 { 0 } else { 2 }])
    }))
}

/// Clients with an address each, and the door each one wants.
#[derive(Clone)]
struct Crowd {
    sources: Vec<IpAddr>,
    doors: usize,
}

impl Crowd {
    fn door(&self, client: usize) -> usize {
        client * 5 % self.doors
    }

    fn knocks(&self, client: usize) -> Vec<Payload> {
        if self.doors == 1 { MIXED.to_vec() } else { knocks_of_door(self.door(client)) }
    }

    fn port(&self, client: usize) -> u16 {
        if self.doors == 1 { SSH } else { port_of_door(self.door(client)) }
    }
}

/// Fifty clients who start every 10 ms and knock 30 ms apart all get in, whatever `attack` does.
fn crowd_gets_in(backend: Backend, doors: usize, attack: impl FnOnce(&Scene, &Crowd) -> Option<Flood>) {
    let scene = if doors == 1 {
        Scene::with_door(Site::new(backend), &MIXED, "60s").unwrap()
    } else {
        Scene::set(&site_of(backend, doors)).unwrap()
    };
    let sources = scene.client.more_addresses(CROWD, &scene.gateway).unwrap();
    let crowd = Crowd { sources: sources.into_iter().map(IpAddr::V4).collect(), doors };
    let ports: Vec<u16> = (0..CROWD).map(|client| crowd.port(client)).filter(|port| *port != SSH).collect();
    let _listener = postern_e2e::Listener::start(&scene.gateway.namespace, &ports).unwrap();

    let attack = attack(&scene, &crowd);
    if let Some(attack) = &attack {
        wait_until("the attack to be under way", || (attack.sent() > 500).then_some(())).unwrap();
    }
    let knocker = Knocker::new(&scene.client, &scene.gateway).unwrap();
    let (every, pause) = (Duration::from_millis(10), Duration::from_millis(30));
    let plan = overlapping(&crowd.sources, |client| crowd.knocks(client), every, pause);
    knocker.play(scene.gateway.v4.into(), plan).unwrap();
    for (client, source) in crowd.sources.iter().enumerate() {
        let target = std::net::SocketAddr::new(scene.gateway.v4.into(), crowd.port(client));
        Session::get_in(&scene.client.namespace, Some(*source), target).unwrap();
    }
    scene.expect_stranger_out(std::net::SocketAddr::new(scene.gateway.v4.into(), crowd.port(0))).unwrap();
    if let Some(attack) = attack {
        attack.stop().unwrap();
    }
}

/// A site of many doors, each with a port and a sequence of its own.
fn site_of(backend: Backend, doors: usize) -> Site {
    let door = |number| {
        let port = format!("tcp/{}", port_of_door(number));
        DoorText::new(&format!("door-{number}"), &[&port], &knocks_of_door(number))
    };
    (0..doors).map(door).fold(Site::new(backend), Site::door)
}

fn port_of_door(door: usize) -> u16 {
    200 + u16::try_from(door).unwrap_or(0)
}

/// Four of 128 ports that lie 487 apart, never in rising or falling order, each used by eight doors.
fn knocks_of_door(door: usize) -> Vec<Payload> {
    let places = [0, 93, 31, 62].map(|offset| (door + offset + door / 128 * (offset + 1) / 32) % 128);
    places.map(|place| Payload::syn(1637 + 487 * u16::try_from(place).unwrap_or(0))).to_vec()
}

/// Fisher and Yates, with the generator of Steele, Lea and Flood (SplitMix64): the same order for
/// the same seed.
fn shuffle(ports: &mut [u16], seed: u64) {
    let mut state = seed;
    let mut random = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    };
    for last in (1..ports.len()).rev() {
        let other = usize::try_from(random() % (last as u64 + 1)).unwrap_or(0);
        ports.swap(last, other);
    }
}
