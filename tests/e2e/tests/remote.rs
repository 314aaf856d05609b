//! `postern --to` and a real daemon: what it shows is so, and what it changes counts in the kernel.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use nix::sys::signal::Signal;
use postern_e2e::process::{self, Background, Output, wait_until};
use postern_e2e::scene::{MIXED, TCP};
use postern_e2e::{Backend, DoorText, Scene, Site, binaries, both_back_ends};

both_back_ends!(
    what_is_shown_is_so,
    a_change_counts_in_the_kernel_at_once,
    a_trial_ends_with_a_restart,
    log_and_watch_show_what_happens,
    an_image_belongs_to_the_daemon_while_it_runs,
    a_backup_comes_back,
    ssh_carries_the_same_frames,
);

const OK: i32 = 0;
const REFUSED: i32 = 1;
const UNREACHABLE: i32 = 4;
const CONFLICT: i32 = 6;
const PENDING: i32 = 7;
const DIFFERS: i32 = 9;

fn scene(backend: Backend) -> Scene {
    let ssh = DoorText::new("ssh", &["tcp/22"], &MIXED);
    Scene::set(&Site::new(backend).door(ssh)).unwrap()
}

fn tool(target: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(binaries::path("postern").unwrap());
    command.args(["--to", target]).args(arguments);
    command
}

#[track_caller]
fn ask(target: &str, arguments: &[&str], status: i32) -> Output {
    let output = process::output(&mut tool(target, arguments)).unwrap();
    let said = format!("{}{}", output.stdout, output.stderr);
    assert_eq!(output.status.code(), Some(status), "{arguments:?} said:\n{said}");
    output
}

fn target(scene: &Scene) -> String {
    let target = format!("unix:{}", scene.gate.control().display());
    // The socket is there a moment after the daemon's first words.
    wait_until("an answer at the control socket", || {
        let output = process::output(&mut tool(&target, &["status"])).ok()?;
        output.status.success().then_some(())
    })
    .unwrap();
    target
}

fn what_is_shown_is_so(backend: Backend) {
    let scene = scene(backend);
    let to = target(&scene);
    let status = ask(&to, &["status", "--json"], OK).stdout;
    assert!(status.contains("\"gateway\": \"laboratory\"") && status.contains("\"live\": true"), "{status}");
    assert!(ask(&to, &["doors"], OK).stdout.contains("tcp/22"));
    assert!(ask(&to, &["grants", "--json"], OK).stdout.contains("\"grants\": []"));
    scene.knock(&MIXED).unwrap();
    scene.expect_client_in(scene.ssh()).unwrap();
    let grants = ask(&to, &["grants", "--json"], OK).stdout;
    assert!(grants.contains(&format!("\"source\": \"{}\"", scene.client.v4)), "{grants}");
    ask(&to, &["revoke", "ssh", &scene.stranger.v4.to_string()], OK);
    scene.expect_client_in(scene.ssh()).unwrap();
    ask(&to, &["revoke", "ssh"], OK);
    scene.expect_client_out(scene.ssh()).unwrap();
    assert!(ask(&to, &["grants", "--json"], OK).stdout.contains("\"grants\": []"));
}

fn a_change_counts_in_the_kernel_at_once(backend: Backend) {
    let scene = scene(backend);
    let to = target(&scene);
    scene.expect_stranger_out(scene.ssh()).unwrap();
    let file = scene.lab.directory().join("got.toml");
    let file = file.to_string_lossy();
    ask(&to, &["config", "get", "-o", &file], OK);
    ask(&to, &["config", "diff", &file], OK);
    // Another sequence: the old one opens nothing any more.
    let knocks: Vec<String> = TCP.iter().map(ToString::to_string).collect();
    ask(&to, &["config", "set", &format!("door.ssh.sequence={}", knocks.join(","))], OK);
    scene.knock(&MIXED).unwrap();
    scene.expect_client_out(scene.ssh()).unwrap();
    scene.knock(&TCP).unwrap();
    scene.expect_client_in(scene.ssh()).unwrap();
    scene.expect_stranger_out(scene.ssh()).unwrap();
    ask(&to, &["config", "diff", &file], DIFFERS);
    // It was made from the generation before.
    ask(&to, &["config", "apply", &file], CONFLICT);
    let dry = ask(&to, &["config", "apply", &file, "--base", "current", "--dry-run"], OK);
    assert!(dry.stdout.contains("doors changed: ssh"), "{}", dry.stdout);
    scene.knock(&TCP).unwrap();
    ask(&to, &["config", "apply", &file, "--base", "current"], OK);
    let again = ask(&to, &["config", "apply", &file, "--json"], OK);
    assert!(again.stdout.contains("\"changed\": false"), "{}", again.stdout);
    // A grant of a door that stays goes on.
    scene.expect_client_in(scene.ssh()).unwrap();
    // A door that goes leaves its port to itself.
    ask(&to, &["config", "set", "door.ssh.ports=tcp/502"], OK);
    postern_e2e::probe::Session::get_in(&scene.stranger.namespace, None, scene.ssh()).unwrap();
}

fn a_trial_ends_with_a_restart(backend: Backend) {
    let mut scene = scene(backend);
    let to = target(&scene);
    ask(&to, &["config", "set", "door.ssh.ports=tcp/502", "--confirm", "10m"], OK);
    ask(&to, &["config", "set", "door.ssh.open_for=31s"], PENDING);
    assert!(ask(&to, &["status"], OK).stdout.contains("trial       generation 2"));
    scene.gate.kill().unwrap();
    scene.gate.restart().unwrap();
    let to = target(&scene);
    assert!(ask(&to, &["status"], OK).stdout.contains("generation 1,"));
    scene.expect_stranger_out(scene.ssh()).unwrap();
    ask(&to, &["config", "set", "door.ssh.open_for=31s", "--confirm", "10m"], OK);
    ask(&to, &["config", "confirm"], OK);
    ask(&to, &["config", "cancel"], REFUSED);
    scene.gate.kill().unwrap();
    scene.gate.restart().unwrap();
    let to = target(&scene);
    assert!(ask(&to, &["doors"], OK).stdout.contains("31 s"));
}

fn log_and_watch_show_what_happens(backend: Backend) {
    let scene = scene(backend);
    let to = target(&scene);
    let mut log = Background::start("log", &mut tool(&to, &["log", "--follow", "--json"])).unwrap();
    let mut watch = Background::start("watch", &mut tool(&to, &["watch", "--json"])).unwrap();
    wait_until("knocks are watched", || {
        scene.knock(&MIXED).ok()?;
        let seen = watch.stdout().all();
        seen.iter().any(|line| line.contains("\"progress\":\"completed\"")).then_some(())
    })
    .unwrap();
    wait_until("the log tells of the grant", || {
        let lines = log.stdout().all();
        lines.iter().any(|line| line.contains("GRANT") && line.contains("\"version\":1")).then_some(())
    })
    .unwrap();
    for background in [&mut log, &mut watch] {
        background.signal(Signal::SIGTERM).unwrap();
        background.wait_for_end().unwrap();
    }
    // The gateway goes on as if nobody had asked.
    ask(&to, &["status"], OK);
}

fn an_image_belongs_to_the_daemon_while_it_runs(backend: Backend) {
    let mut scene = scene(backend);
    target(&scene);
    let image = format!("file:{}", scene.gate.store().display());
    let refused = ask(&image, &["status"], UNREACHABLE);
    assert!(refused.stderr.contains("in use"), "{}", refused.stderr);
    scene.gate.terminate().unwrap();
    ask(&image, &["config", "set", "door.ssh.open_for=33s"], OK);
    assert!(ask(&image, &["history"], OK).stdout.contains("in force"));
    scene.gate.restart().unwrap();
    let to = target(&scene);
    assert!(ask(&to, &["doors"], OK).stdout.contains("33 s"));
    scene.knock(&MIXED).unwrap();
    scene.expect_client_in(scene.ssh()).unwrap();
}

fn a_backup_comes_back(backend: Backend) {
    let scene = scene(backend);
    let to = target(&scene);
    let directory = scene.lab.directory();
    let (backup, password) = (directory.join("backup.txt"), directory.join("password"));
    std::fs::write(&password, "correct horse battery\n").unwrap();
    std::fs::set_permissions(&password, std::fs::Permissions::from_mode(0o600)).unwrap();
    let (backup, password) = (backup.to_string_lossy(), password.to_string_lossy());
    ask(&to, &["enrol", "maria", "--new-password-file", &password], OK);
    ask(&to, &["--account", "maria", "--password-file", &password, "status"], OK);
    ask(&to, &["backup", "-o", &backup], OK);
    ask(&to, &["config", "set", "door.ssh.ports=tcp/502"], OK);
    let restored = ask(&to, &["restore", &backup], OK);
    assert!(restored.stderr.contains("read back"), "{}", restored.stderr);
    scene.expect_stranger_out(scene.ssh()).unwrap();
    // The secret never left the gateway, and is the same.
    ask(&to, &["--account", "maria", "--password-file", &password, "status"], OK);
}

fn ssh_carries_the_same_frames(backend: Backend) {
    let scene = scene(backend);
    target(&scene);
    // A program in the place of ssh: checks what it is told, and is at the gateway at once.
    let directory = scene.lab.directory().join("bin");
    std::fs::create_dir(&directory).unwrap();
    let daemon = binaries::path("posternd").unwrap();
    let socket = scene.gate.control();
    let script = format!(
        "#!/bin/sh\n[ \"$*\" = \"-T -- root@gw posternd --attach {0}\" ] || exit 99\nexec {1} --attach {0}\n",
        socket.display(),
        daemon.display()
    );
    let ssh = directory.join("ssh");
    std::fs::write(&ssh, script).unwrap();
    std::fs::set_permissions(&ssh, std::fs::Permissions::from_mode(0o755)).unwrap();
    let over = |target: &str| {
        let mut command = tool(target, &["config", "get"]);
        process::output(command.env("PATH", format!("{}:/usr/bin:/bin", directory.display()))).unwrap()
    };
    let got = over(&format!("ssh:root@gw:{}", socket.display()));
    assert!(got.status.success() && got.stdout.contains("[[door]]"), "{}{}", got.stdout, got.stderr);
    let lost = over(&format!("ssh:other:{}", socket.display()));
    assert_eq!(lost.status.code(), Some(UNREACHABLE), "{}", lost.stderr);
    assert!(lost.stderr.contains("ssh ended"), "{}", lost.stderr);
}
