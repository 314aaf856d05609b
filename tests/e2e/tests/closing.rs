//! The kernel closes the door, whatever becomes of the daemon, and no change of the daemon opens it.

use std::net::{IpAddr, SocketAddr};

use postern_e2e::frame::{Link, Payload, frame};
use postern_e2e::probe::{self, Session};
use postern_e2e::process::DEADLINE;
use postern_e2e::scene::{MIXED, TCP, UDP};
use postern_e2e::sender::{Flood, FrameSender};
use postern_e2e::watch::Witness;
use postern_e2e::{Backend, DoorText, Scene, Site, both_back_ends};

both_back_ends!(
    the_kernel_closes_the_door_of_a_killed_daemon,
    the_daemon_notes_the_end_of_a_grant,
    termination_leaves_the_gate_shut,
    a_restart_leaves_no_gap_and_adopts_what_it_accounts_for,
    a_start_closes_what_it_cannot_account_for,
    ports_are_shut_without_a_daemon,
    a_reload_leaves_no_gap_and_keeps_grants,
    a_bad_store_is_refused_on_reload,
    foreign_rules_are_left_alone,
);

fn the_kernel_closes_the_door_of_a_killed_daemon(backend: Backend) {
    let mut scene = Scene::with_door(Site::new(backend), &MIXED, "5s").unwrap();
    scene.knock(&MIXED).unwrap();
    let mut session = scene.expect_client_in(scene.ssh()).unwrap();
    scene.gate.kill().unwrap();
    let ssh = scene.ssh();
    let answer = probe::connect(&scene.client.namespace, None, ssh, probe::SILENCE).unwrap();
    assert!(answer.is_open(), "the door should still be open right after the kill: {answer:?}");
    probe::wait_until_closed(&scene.client.namespace, None, ssh, DEADLINE).unwrap();
    // The established session goes on, new ones do not get in.
    session.expect_alive().unwrap();
    scene.expect_client_out(ssh).unwrap();
    scene.expect_stranger_out(ssh).unwrap();
}

fn the_daemon_notes_the_end_of_a_grant(backend: Backend) {
    let mut scene = Scene::with_door(Site::new(backend), &MIXED, "1s").unwrap();
    scene.knock(&MIXED).unwrap();
    scene.gate.wait_for_log("GRANT", 0).unwrap();
    let record = scene.gate.wait_for_log("EXPIRE", 0).unwrap();
    assert!(record.contains("ssh") && record.contains(&scene.client.v4.to_string()), "{record}");
    probe::wait_until_closed(&scene.client.namespace, None, scene.ssh(), DEADLINE).unwrap();
}

fn termination_leaves_the_gate_shut(backend: Backend) {
    let mut scene = Scene::with_door(Site::new(backend), &MIXED, "60s").unwrap();
    scene.knock(&MIXED).unwrap();
    let mut session = scene.expect_client_in(scene.ssh()).unwrap();
    let flood = stranger_tries(&scene);
    let witness = Witness::start_with(&scene.stranger, &scene.gateway, "and tcp src port 22").unwrap();
    let status = scene.gate.terminate().unwrap();
    assert!(status.success(), "SIGTERM is a proper end, exit status 0: {status}");
    scene.expect_stranger_out(scene.ssh()).unwrap();
    for target in scene.ssh_both() {
        scene.expect_stranger_out(target).unwrap();
    }
    // Nobody listens to knocks any more.
    let knocker = postern_e2e::knock::Knocker::new(&scene.stranger, &scene.gateway).unwrap();
    knocker
        .sequence(scene.stranger.v4.into(), scene.gateway.v4.into(), &MIXED, postern_e2e::process::LOOK_EVERY)
        .unwrap();
    scene.expect_stranger_out(scene.ssh()).unwrap();
    session.expect_alive().unwrap();
    assert!(flood.stop().unwrap() > 0);
    witness.expect_silence().unwrap();
}

fn a_restart_leaves_no_gap_and_adopts_what_it_accounts_for(backend: Backend) {
    let mut scene = Scene::with_door(Site::new(backend), &MIXED, "10m").unwrap();
    let witness = Witness::start_with(&scene.stranger, &scene.gateway, "and tcp src port 22").unwrap();
    let flood = stranger_tries(&scene);
    scene.knock(&MIXED).unwrap();
    let mut session = scene.expect_client_in(scene.ssh()).unwrap();
    for killed in [true, false] {
        if killed {
            scene.gate.kill().unwrap();
        } else {
            assert!(scene.gate.terminate().unwrap().success());
        }
        scene.gate.restart().unwrap();
        // The session goes on, and so does the grant, of which a record tells now.
        let adopted = format!("GRANT door=ssh src={} proof=adopted", scene.client.v4);
        scene.gate.wait_for_log(&adopted, 0).unwrap();
        session.expect_alive().unwrap();
        scene.expect_client_in(scene.ssh()).unwrap();
        scene.expect_stranger_out(scene.ssh()).unwrap();
    }
    // Asking again extends it, and it has its end.
    let mark = scene.gate.log_mark();
    scene.knock(&MIXED).unwrap();
    scene.gate.wait_for_log(&format!("GRANT src={} extended=true", scene.client.v4), mark).unwrap();
    // After three starts that did not last nothing is adopted: nothing is open in safe mode.
    for _ in 0..3 {
        scene.gate.kill().unwrap();
        scene.gate.restart().unwrap();
    }
    scene.gate.wait_for_log("SAFE-MODE", 0).unwrap();
    scene.expect_client_out(scene.ssh()).unwrap();
    session.expect_alive().unwrap();
    assert!(flood.stop().unwrap() > 1000, "the stranger did not really try");
    witness.expect_silence().unwrap();
}

/// Entries that no door of the configuration could have made: too long a time, none at all, another port.
fn a_start_closes_what_it_cannot_account_for(backend: Backend) {
    let site = Site::new(backend)
        .door(DoorText::new("ssh", &["tcp/22"], &MIXED).open_for("60s"))
        .door(DoorText::new("service", &["tcp/502", "udp/161"], &TCP).open_for("60s"));
    let mut scene = Scene::set(&site).unwrap();
    scene.knock(&MIXED).unwrap();
    scene.expect_client_in(scene.ssh()).unwrap();
    scene.gate.kill().unwrap();
    let stranger = scene.stranger.v4;
    for (port, secs) in [("tcp 22", 600), ("tcp 502", 30), ("udp 22", 30)] {
        let words = match backend {
            Backend::Iptables => {
                let port = port.replace(' ', ":");
                format!("ipset add POSTERN-GRANT4 {stranger},{port} timeout {secs}")
            }
            Backend::Nftables => {
                let port = port.replace(' ', " . ");
                format!("nft add element inet postern granted4 {{ {stranger} . {port} timeout {secs}s }}")
            }
        };
        let words: Vec<&str> = words.split_whitespace().collect();
        scene.gateway.namespace.run(words[0], &words[1..]).unwrap();
    }
    let modbus = SocketAddr::new(scene.ssh().ip(), 502);
    for target in [scene.ssh(), modbus] {
        Session::get_in(&scene.stranger.namespace, None, target).unwrap();
    }
    scene.gate.restart().unwrap();
    for target in [scene.ssh(), modbus] {
        scene.expect_stranger_out(target).unwrap();
    }
    let shown = scene.gate.firewall();
    assert!(!shown.contains(&stranger.to_string()), "{shown}");
    scene.expect_client_in(scene.ssh()).unwrap();
}

fn a_reload_leaves_no_gap_and_keeps_grants(backend: Backend) {
    let ssh = || DoorText::new("ssh", &["tcp/22"], &MIXED).open_for("120s");
    let service = |name, knocks: &[Payload]| DoorText::new(name, &["tcp/502"], knocks).open_for("120s");
    let first = Site::new(backend).door(ssh()).door(service("service", &TCP));
    let mut scene = Scene::set(&first).unwrap();
    let modbus = SocketAddr::new(scene.ssh().ip(), 502);

    let witness = Witness::start_with(&scene.stranger, &scene.gateway, "and tcp src port 22").unwrap();
    let flood = stranger_tries(&scene);
    scene.knock(&MIXED).unwrap();
    scene.knock(&TCP).unwrap();
    scene.expect_client_in(scene.ssh()).unwrap();
    scene.expect_client_in(modbus).unwrap();

    for _ in 0..5 {
        scene.gate.reload(&first).unwrap();
    }
    scene.expect_client_in(modbus).unwrap();
    // Another door for the same port: the grant of the one that is gone must not be inherited.
    let second = Site::new(backend).door(ssh()).door(service("other", &UDP));
    let mark = scene.gate.log_mark();
    scene.gate.reload(&second).unwrap();
    let record = scene.gate.wait_for_log("REVOKE", mark).unwrap();
    assert!(record.contains("service") && record.contains("config-changed"), "{record}");
    probe::wait_until_closed(&scene.client.namespace, None, modbus, DEADLINE).unwrap();
    scene.expect_client_in(scene.ssh()).unwrap();
    scene.knock(&UDP).unwrap();
    scene.expect_client_in(modbus).unwrap();

    assert!(flood.stop().unwrap() > 1000, "the stranger did not really try");
    witness.expect_silence().unwrap();
}

fn a_bad_store_is_refused_on_reload(backend: Backend) {
    let mut scene = Scene::with_door(Site::new(backend), &MIXED, "60s").unwrap();
    std::fs::write(scene.gate.store(), b"this is no store").unwrap();
    let mark = scene.gate.log_mark();
    scene.gate.daemon().signal(nix::sys::signal::Signal::SIGHUP).unwrap();
    scene.gate.wait_for_log("CFG-REJECT", mark).unwrap();
    scene.expect_client_out(scene.ssh()).unwrap();
    scene.knock(&MIXED).unwrap();
    scene.expect_client_in(scene.ssh()).unwrap();
}

fn foreign_rules_are_left_alone(backend: Backend) {
    let lab = postern_e2e::Lab::new().unwrap();
    let gateway = lab.host("gateway").unwrap();
    let client = lab.host("client").unwrap();
    let _listener = postern_e2e::Listener::start(&gateway.namespace, &[22, 502]).unwrap();
    // A site with rules of its own: it lets nobody reach 502, and counts.
    let own = match backend {
        Backend::Iptables => {
            for program in ["iptables", "ip6tables"] {
                let rule = ["-A", "INPUT", "-p", "tcp", "--dport", "502", "-j", "DROP"];
                gateway.namespace.run(program, &rule).unwrap();
            }
            gateway.namespace.run("ipset", &["create", "theirs", "hash:ip"]).unwrap();
            "-A INPUT -p tcp -m tcp --dport 502 -j DROP"
        }
        Backend::Nftables => {
            let rules = "add table inet theirs; add chain inet theirs input { type filter hook input priority 0; }; \
                         add rule inet theirs input tcp dport 502 drop";
            gateway.namespace.run("nft", &[rules]).unwrap();
            "tcp dport 502 drop"
        }
    };
    let site = Site::new(backend).door(DoorText::new("ssh", &["tcp/22"], &MIXED));
    let mut gate = postern_e2e::Gate::start(&lab, &gateway.namespace, &site).unwrap();
    gate.reload(&site).unwrap();
    gate.terminate().unwrap();
    gate.restart().unwrap();
    assert!(gate.firewall().contains(own), "the site's own rule is gone:\n{}", gate.firewall());
    let [v4, v6] = gateway.addresses();
    for address in [v4, v6] {
        probe::expect_silence(&client.namespace, None, SocketAddr::new(address, 502)).unwrap();
    }
    if backend == Backend::Iptables {
        gateway.namespace.run("ipset", &["list", "theirs"]).unwrap();
    }
    // What is allowed through the gate is still subject to the site's rules behind it.
    let knocker = postern_e2e::knock::Knocker::new(&client, &gateway).unwrap();
    knocker.sequence(client.v4.into(), v4, &MIXED, postern_e2e::process::LOOK_EVERY).unwrap();
    Session::get_in(&client.namespace, None, SocketAddr::new(v4, 22)).unwrap();
}

/// The stranger sends opening segments to the guarded port, 8,000 a second from ever new source
/// ports: if one of them gets through, the service's answer is seen by a witness.
fn stranger_tries(scene: &Scene) -> Flood {
    let sender = FrameSender::open(&scene.stranger.namespace, "eth0").unwrap();
    let link = Link { source: scene.stranger.mac, target: scene.gateway.mac, tags: Vec::new() };
    let (source, target): (IpAddr, IpAddr) = (scene.stranger.v4.into(), scene.gateway.v4.into());
    Flood::start(sender, 8000, 400_000, move |number| {
        let source_port = u16::try_from(1024 + number % 60_000).unwrap_or(1024);
        frame(&link, source, target, source_port, Payload::syn(22))
    })
}

/// `--shut` on a machine where nothing of Postern was ever started: from a store, and from none.
fn ports_are_shut_without_a_daemon(backend: Backend) {
    let lab = postern_e2e::Lab::new().unwrap();
    let gateway = lab.host("gateway").unwrap();
    let client = lab.host("client").unwrap();
    let _listener = postern_e2e::Listener::start(&gateway.namespace, &[22, 502]).unwrap();
    let reach = |port| {
        let target = SocketAddr::new(gateway.v4.into(), port);
        probe::connect(&client.namespace, None, target, probe::SILENCE).unwrap()
    };
    let daemon = postern_e2e::binaries::path("posternd").unwrap();
    let shut = |store: &std::path::Path| {
        let store = store.to_string_lossy().into_owned();
        let program = daemon.to_string_lossy().into_owned();
        gateway.namespace.output(&program, &["--store", &store, "--shut"]).unwrap()
    };
    assert!(reach(22).is_open() && reach(502).is_open());
    // No store: what a gateway is usually managed by is shut, and the unit failed.
    let failed = shut(&lab.directory().join("none"));
    assert_eq!(failed.status.code(), Some(3), "{failed:?}");
    assert!(failed.stderr.contains("factory profile were shut"), "{failed:?}");
    assert!(reach(22).is_silent() && reach(502).is_open());
    // With one, its doors are, and a daemon that starts later goes on from there.
    let store = lab.directory().join("shut.store");
    let door = DoorText::new("service", &["tcp/22", "tcp/502"], &MIXED);
    let site = Site::new(backend).door(door);
    postern_e2e::gate::compile(&site, &store).unwrap();
    let done = shut(&store);
    assert!(done.status.success(), "{done:?}");
    assert!(reach(22).is_silent() && reach(502).is_silent());
    let _gate = postern_e2e::Gate::start(&lab, &gateway.namespace, &site).unwrap();
    let knocker = postern_e2e::knock::Knocker::new(&client, &gateway).unwrap();
    knocker.sequence(client.v4.into(), gateway.v4.into(), &MIXED, postern_e2e::process::LOOK_EVERY).unwrap();
    // Also at the port that a gate of the other back end had shut.
    for port in [502, 22] {
        Session::get_in(&client.namespace, None, SocketAddr::new(gateway.v4.into(), port)).unwrap();
    }
}
