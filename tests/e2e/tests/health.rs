//! A daemon that proves its health is left alone; one that cannot is not petted, and says why.

use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use postern_e2e::process::{DEADLINE, success, wait_until};
use postern_e2e::scene::MIXED;
use postern_e2e::{Backend, DoorText, Scene, Site, both_back_ends};

both_back_ends!(
    the_supervisor_hears_of_start_health_and_end,
    a_flushed_firewall_is_put_right,
    a_deaf_daemon_is_not_petted_until_it_hears_again,
    a_stopped_daemon_is_not_petted,
);

/// A supervisor without systemd: a socket that hears everything.
struct Supervisor {
    socket: UnixDatagram,
}

impl Supervisor {
    /// Starts the daemon anew under it, with a `WatchdogSec` of two seconds.
    fn take_over(scene: &mut Scene, options: &[&str]) -> Self {
        let path = scene.lab.directory().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        let environment = [("NOTIFY_SOCKET", path.to_str().unwrap()), ("WATCHDOG_USEC", "2000000")];
        scene.gate.restart_in(&environment, options).unwrap();
        Self { socket }
    }

    fn hears(&self) -> String {
        let mut buffer = [0; 256];
        let read = self.socket.recv(&mut buffer).expect("the daemon tells how it is");
        String::from_utf8(buffer[..read].to_vec()).unwrap()
    }

    /// Forgets what it has heard; how much that was.
    fn forgets(&self) -> usize {
        self.socket.set_nonblocking(true).unwrap();
        let mut heard = 0;
        while self.socket.recv(&mut [0; 256]).is_ok() {
            heard += 1;
        }
        self.socket.set_nonblocking(false).unwrap();
        heard
    }
}

fn scene(backend: Backend) -> Scene {
    let door = DoorText::new("ssh", &["tcp/22"], &MIXED).open_for("60s");
    Scene::set(&Site::new(backend).door(door)).unwrap()
}

fn the_supervisor_hears_of_start_health_and_end(backend: Backend) {
    let mut scene = scene(backend);
    // No watchdog: that is said.
    scene.gate.wait_for_log("WDT state=missing", 0).unwrap();
    let supervisor = Supervisor::take_over(&mut scene, &["--watchdog", "/dev/postern-no-watchdog"]);
    assert_eq!(supervisor.hears(), "READY=1");
    for _ in 0..4 {
        assert_eq!(supervisor.hears(), "WATCHDOG=1");
    }
    scene.gate.wait_for_log("WDT state=unusable", 0).unwrap();
    scene.knock(&MIXED).unwrap();
    scene.expect_client_in(scene.ssh()).unwrap();
    assert!(scene.gate.terminate().unwrap().success());
    let last = std::iter::repeat_with(|| supervisor.hears()).find(|heard| heard != "WATCHDOG=1");
    assert_eq!(last.as_deref(), Some("STOPPING=1"));
    assert_eq!(supervisor.forgets(), 0, "nothing after the end");
}

fn a_flushed_firewall_is_put_right(backend: Backend) {
    let mut scene = scene(backend);
    let supervisor = Supervisor::take_over(&mut scene, &[]);
    scene.expect_stranger_out(scene.ssh()).unwrap();
    let mark = scene.gate.log_mark();
    let flushed = Instant::now();
    match backend {
        Backend::Iptables => {
            scene.gateway.namespace.run("iptables", &["-F"]).unwrap();
            scene.gateway.namespace.run("ip6tables", &["-F"]).unwrap();
        }
        Backend::Nftables => drop(scene.gateway.namespace.run("nft", &["flush", "ruleset"]).unwrap()),
    }
    let record = scene.gate.wait_for_log("FW-DRIFT repaired=true", mark).unwrap();
    println!("put right after {} ms: {record}", flushed.elapsed().as_millis());
    for target in scene.ssh_both() {
        scene.expect_stranger_out(target).unwrap();
        scene.expect_client_out(target).unwrap();
    }
    scene.knock(&MIXED).unwrap();
    scene.expect_client_in(scene.ssh()).unwrap();
    supervisor.forgets();
    assert_eq!(supervisor.hears(), "WATCHDOG=1");
}

/// No descriptor is free when the link comes back: it is there, and cannot be captured.
fn a_deaf_daemon_is_not_petted_until_it_hears_again(backend: Backend) {
    let mut scene = scene(backend);
    let supervisor = Supervisor::take_over(&mut scene, &[]);
    let pid = scene.gate.daemon().pid().to_string();
    let descriptors = |limit: &str| {
        let mut command = std::process::Command::new(postern_e2e::tool::path("prlimit").unwrap());
        success(command.args(["--pid", &pid, &format!("--nofile={limit}:")])).unwrap();
    };
    let mark = scene.gate.log_mark();
    let rename = |from: &str, to: &str| {
        scene.gateway.namespace.ip(&format!("link set {from} down")).unwrap();
        scene.gateway.namespace.ip(&format!("link set {from} name {to}")).unwrap();
        scene.gateway.namespace.ip(&format!("link set {to} up")).unwrap();
    };
    rename("eth0", "away0");
    scene.gate.wait_for_log("CAP-LOST", mark).unwrap();
    // As many as it waits for: signals, links, packet filter, control socket.
    descriptors("4");
    rename("away0", "eth0");
    scene.gate.wait_for_log("SELFTEST result=deaf", mark).unwrap();
    supervisor.forgets();
    // Each try to capture again is told: three of them take longer than the time between two pets.
    let tries = |scene: &Scene| scene.gate.log_with("eth0").len();
    let before = tries(&scene);
    wait_until("three more tries", || (tries(&scene) >= before + 3).then_some(())).unwrap();
    assert_eq!(supervisor.forgets(), 0, "a deaf daemon was petted");

    descriptors("64");
    scene.gate.wait_for_log("SELFTEST result=passed", mark).unwrap();
    assert_eq!(supervisor.hears(), "WATCHDOG=1");
    scene.knock(&MIXED).unwrap();
    scene.expect_client_in(scene.ssh()).unwrap();
}

fn a_stopped_daemon_is_not_petted(backend: Backend) {
    let mut scene = scene(backend);
    let supervisor = Supervisor::take_over(&mut scene, &[]);
    assert_eq!(supervisor.hears(), "READY=1");
    scene.gate.daemon().signal(Signal::SIGSTOP).unwrap();
    let state = format!("/proc/{}/stat", scene.gate.daemon().pid());
    let stopped = || std::fs::read_to_string(&state).ok().filter(|stat| stat.contains(") T "));
    wait_until("the daemon to stop", stopped).unwrap();
    supervisor.forgets();
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(supervisor.forgets(), 0);
    scene.gate.daemon().signal(Signal::SIGCONT).unwrap();
    assert_eq!(supervisor.hears(), "WATCHDOG=1");
}
