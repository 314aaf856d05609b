//! The real daemon has given away what it does not need, and still does all of its work.

use std::path::Path;

use postern_e2e::process::{DEADLINE, wait_for};
use postern_e2e::scene::MIXED;
use postern_e2e::{Backend, DoorText, Scene, Site, both_back_ends};
use postern_hal_linux::confine::landlock_abi;

both_back_ends!(
    the_daemon_is_confined_and_works,
    a_user_of_its_own_works_too,
    a_killed_daemon_is_confined_again,
    everything_is_kept_only_when_told_so,
);

/// `CAP_NET_ADMIN` and `CAP_NET_RAW`, as the kernel shows them.
const NEEDED: &str = "0000000000003000";

/// A line of `/proc/PID/status`.
fn status(pid: u32, what: &str) -> String {
    let path = format!("/proc/{pid}/status");
    let text = std::fs::read_to_string(&path).unwrap();
    let prefix = format!("{what}:");
    let line = text.lines().find_map(|line| line.strip_prefix(&prefix));
    line.unwrap_or_else(|| panic!("no {what} in {path}")).split_whitespace().collect::<Vec<_>>().join(" ")
}

fn expect_confined(scene: &mut Scene, user: &str) {
    // The audit line comes after the deed.
    let said = scene.gate.wait_for_log("CONFINE state=on", 0).unwrap();
    let pid = scene.gate.daemon().pid();
    for what in ["CapEff", "CapPrm", "CapBnd", "CapInh", "CapAmb"] {
        assert_eq!(status(pid, what), NEEDED, "{what}");
    }
    assert_eq!((status(pid, "NoNewPrivs"), status(pid, "Seccomp")), ("1".into(), "2".into()));
    assert_eq!((status(pid, "Uid"), status(pid, "Groups")), ([user; 4].join(" "), String::new()));
    let abi = landlock_abi();
    assert!(
        abi > 0,
        "this kernel has no landlock (CONFIG_SECURITY_LANDLOCK, lsm=landlock): it cannot be tested"
    );
    for field in [
        format!("user={user}"),
        format!("capabilities={NEEDED}"),
        "seccomp=filter".into(),
        format!("landlock={abi}"),
    ] {
        assert!(said.split_whitespace().any(|word| word == field), "{field} is missing in: {said}");
    }
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    assert!(limits.lines().any(|line| line.starts_with("Max core file size        0 ")), "{limits}");
    println!("posternd as user {user}: CapEff {NEEDED}, Seccomp 2, landlock {abi}: {said}");
}

/// A knock opens, a reload goes through the firewall's programs, and the door closes.
fn expect_work(scene: &mut Scene, site: &Site) {
    scene.expect_client_out(scene.ssh()).unwrap();
    scene.knock(&MIXED).unwrap();
    scene.expect_client_in(scene.ssh()).unwrap();
    scene.expect_stranger_out(scene.ssh()).unwrap();
    scene.gate.reload(site).unwrap();
    let mark = scene.gate.log_mark();
    scene.knock(&MIXED).unwrap();
    scene.gate.wait_for_log("GRANT door=ssh", mark).unwrap();
}

fn site(backend: Backend) -> Site {
    Site::new(backend).door(DoorText::new("ssh", &["tcp/22"], &MIXED).open_for("60s"))
}

fn the_daemon_is_confined_and_works(backend: Backend) {
    let site = site(backend);
    let mut scene = Scene::set(&site).unwrap();
    expect_confined(&mut scene, "0");
    expect_work(&mut scene, &site);
    let control = scene.gate.control();
    assert!(control.exists());
    assert!(scene.gate.terminate().unwrap().success());
    assert!(!control.exists(), "the control socket is taken away");
}

fn a_user_of_its_own_works_too(backend: Backend) {
    let site = site(backend);
    let mut scene = Scene::set(&site).unwrap();
    own(scene.lab.directory());
    scene.gate.restart_with(&["--user", "65534", "--lock-memory", "--nice", "-5"]).unwrap();
    expect_confined(&mut scene, "65534");
    let pid = scene.gate.daemon().pid();
    // Memory is locked when the limit allows it, and never in part: the log tells which.
    let locked = status(pid, "VmLck") != "0 kB";
    let word = if locked { "memory=locked" } else { "memory=pageable" };
    assert!(!scene.gate.log_with(&format!("CONFINE {word}")).is_empty(), "{}", scene.gate.log());
    // A store that replaces the first one is the user's, too.
    scene.gate.replace_store(&site).unwrap();
    own(scene.lab.directory());
    let mark = scene.gate.log_mark();
    scene.gate.daemon().signal(nix::sys::signal::Signal::SIGHUP).unwrap();
    scene.gate.wait_for_log("CFG-APPLY", mark).unwrap();
    scene.knock(&MIXED).unwrap();
    scene.expect_client_in(scene.ssh()).unwrap();
    scene.expect_stranger_out(scene.ssh()).unwrap();
}

/// Makes the directory and what is in it that user's.
fn own(directory: &Path) {
    let change = |path: &Path| std::os::unix::fs::chown(path, Some(65_534), None).unwrap();
    change(directory);
    for entry in std::fs::read_dir(directory).unwrap() {
        change(&entry.unwrap().path());
    }
}

fn a_killed_daemon_is_confined_again(backend: Backend) {
    let mut scene = Scene::set(&site(backend)).unwrap();
    for _ in 0..2 {
        scene.gate.kill().unwrap();
        scene.gate.restart().unwrap();
        expect_confined(&mut scene, "0");
    }
    scene.knock(&MIXED).unwrap();
    scene.expect_client_in(scene.ssh()).unwrap();
}

fn everything_is_kept_only_when_told_so(backend: Backend) {
    let mut scene = Scene::set(&site(backend)).unwrap();
    scene.gate.restart_with(&["--no-confine"]).unwrap();
    scene.gate.wait_for_log("CONFINE state=off", 0).unwrap();
    let pid = scene.gate.daemon().pid();
    assert_eq!(status(pid, "Seccomp"), "0");
    let kept = wait_for("the daemon's capabilities", DEADLINE, || Some(status(pid, "CapEff"))).unwrap();
    assert_ne!(kept, NEEDED);
}
