//! `postern-console` on a line of 9600 baud, as a person at a cabinet has it, with a real daemon.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use postern_e2e::cable::Cable;
use postern_e2e::person::Person;
use postern_e2e::process::{self, Background, wait_for, wait_until};
use postern_e2e::scene::MIXED;
use postern_e2e::{Backend, DoorText, Scene, Site, binaries};

const PASSWORD: &str = "a pump and a gate";

/// A gateway, its console, and where its cable is plugged in.
struct Cabinet {
    scene: Scene,
    line: PathBuf,
    cable: Option<Cable>,
    console: Background,
}

impl Cabinet {
    fn new() -> Self {
        let ssh = DoorText::new("ssh", &["tcp/22"], &MIXED).open_for("30s");
        let scene = Scene::set(&Site::new(Backend::Iptables).door(ssh)).unwrap();
        let directory = scene.lab.directory().to_owned();
        // The console is nobody, and reaches the socket and the line.
        std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(0o711)).unwrap();
        let line = directory.join("ttyS0");
        let cable = Some(Cable::plug(&line).unwrap());
        let mut command = Command::new(binaries::path("postern-console").unwrap());
        command.arg("--line").arg(&line).args(["--baud", "9600", "--user", "nobody"]);
        command.arg("--control").arg(scene.gate.control()).args(["--log", "stderr", "--log-level", "debug"]);
        let console = Background::start("postern-console", &mut command).unwrap();
        Self { scene, line, cable, console }
    }

    fn far(&self) -> &Path {
        self.cable.as_ref().unwrap().far()
    }

    fn person(&self) -> Person {
        Person::at(self.far()).unwrap()
    }

    fn pull_the_cable(&mut self) {
        self.cable.take().unwrap().pull();
    }

    fn plug_it_in(&mut self) -> Person {
        self.cable = Some(Cable::plug(&self.line).unwrap());
        self.person()
    }
}

/// What it said, when a test fails.
impl Drop for Cabinet {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- log of postern-console\n{}", self.console.stderr().all().join("\n"));
        }
    }
}

fn enrol(person: &mut Person) {
    person.expect("name of the new account: ").unwrap();
    person.say("maria", "at least: ").unwrap();
    person.say(PASSWORD, "once more: ").unwrap();
    person.say(PASSWORD, "laboratory> ").unwrap();
}

fn log_in(person: &mut Person) {
    // The banner may have gone by before the cable was there.
    wait_until("the login prompt", || {
        person.type_in("\r").unwrap();
        person.expect("login: ").ok()
    })
    .unwrap();
    person.say("maria", "password: ").unwrap();
    person.say(PASSWORD, "laboratory> ").unwrap();
}

/// What differs from run to run is made the same: a countdown, digests.
fn normal(printed: &str) -> String {
    let mut text = String::new();
    for line in printed.lines() {
        let line = match line.split_once(" (trial 0:") {
            Some((before, rest)) => format!("{before} (trial 0:NN{}", rest.get(2..).unwrap_or_default()),
            None => line.to_owned(),
        };
        // Of the salt of the account.
        let line = match line.split_once(" octets  ") {
            Some((before, rest)) => {
                format!("{before} octets  NNNNNNNN{}", rest.get(8..).unwrap_or_default())
            }
            None => line,
        };
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn golden(name: &str, printed: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    let text = normal(printed);
    if std::env::var_os("POSTERN_REFRESH").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &text).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, expected, "{name}: POSTERN_REFRESH=1 writes it anew");
}

#[test]
fn from_the_first_login_to_a_rollback_after_the_cable_was_pulled() {
    let mut cabinet = Cabinet::new();
    let mut person = cabinet.person();
    enrol(&mut person);
    person.say("shwo", "laboratory> ").unwrap();
    person.say("set door ssh open-for 45", "laboratory> ").unwrap();
    // Half a word and Tab.
    person.type_in("set do\t").unwrap();
    person.expect("door ").unwrap();
    person.type_in("ss\t").unwrap();
    person.expect("ssh ").unwrap();
    person.type_in("open\t").unwrap();
    person.expect("open-for ").unwrap();
    person.say("45s", "laboratory*> ").unwrap();
    person.say("diff", "laboratory*> ").unwrap();
    person.say("check", "laboratory*> ").unwrap();
    let mark = cabinet.scene.gate.log_mark();
    person.say("commit confirm 30s", "> ").unwrap();
    person.say("show door ssh", "> ").unwrap();
    golden("console-commit.txt", &person.printed());

    cabinet.pull_the_cable();
    drop(person);
    let gate = &cabinet.scene.gate;
    let rolled_back = || {
        let lines = gate.log_with("CFG-ROLLBACK");
        (!lines.is_empty() && gate.log_mark() > mark).then_some(())
    };
    wait_for("the trial to be taken back", Duration::from_secs(60), rolled_back).unwrap();

    let mut person = cabinet.plug_it_in();
    wait_until("the login prompt", || {
        person.type_in("\r").unwrap();
        person.expect("login: ").ok()
    })
    .unwrap();
    let before_login = person.printed();
    assert!(!before_login.contains("set door"), "nobody is logged in: {before_login}");
    drop(person);
    let mut person = cabinet.person();
    log_in(&mut person);
    person.say("show door ssh", "laboratory> ").unwrap();
    assert!(person.printed().contains("set door ssh open-for 30s"), "{}", person.printed());
    person.say("history", "laboratory> ").unwrap();
    let printed = person.printed();
    let (_, from_login) = printed.rsplit_once("login: ").unwrap();
    assert!(from_login.contains("a trial nobody confirmed"), "{printed}");
    golden("console-return.txt", from_login);
    person.say("log 40", "laboratory> ").unwrap();
    assert!(person.printed().contains("CFG-ROLLBACK"), "{}", person.printed());
    person.say("logout", "login: ").unwrap();
    person.say("maria", "password: ").unwrap();
    person.say("not the password", "login: ").unwrap();
    assert!(person.printed().contains("login failed"), "{}", person.printed());
    // And the gate still opens for who knows the knock.
    cabinet.scene.knock(&MIXED).unwrap();
    cabinet.scene.expect_client_in(cabinet.scene.ssh()).unwrap();
}

#[test]
fn who_stays_sees_the_trial_end_and_goes_on() {
    let cabinet = Cabinet::new();
    let mut person = cabinet.person();
    enrol(&mut person);
    person.say("set door ssh open-for 45s", "laboratory*> ").unwrap();
    person.say("commit confirm 30s", "(trial 0:").unwrap();
    // Half a line, and the trial ends below it.
    person.type_in("set door ssh open").unwrap();
    let limit = Duration::from_secs(60);
    let told = || person.expect("in force again").ok();
    wait_for("the end of the trial to be told", limit, told).unwrap();
    person.expect("laboratory*> set door ssh open").unwrap();
    person.say("-for 46s", "laboratory*> ").unwrap();
    person.say("commit", "is in force.").unwrap();
    person.expect("laboratory> ").unwrap();
}

/// It holds nothing the kernel would let it do harm with.
#[test]
fn it_has_no_privileges() {
    let cabinet = Cabinet::new();
    let mut person = cabinet.person();
    person.expect("name of the new account: ").unwrap();
    let status = std::fs::read_to_string(format!("/proc/{}/status", cabinet.console.pid())).unwrap();
    let of = |what: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(what)).unwrap();
        line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    let nobody = nix::unistd::User::from_name("nobody").unwrap().unwrap();
    assert_eq!(of("Uid:"), vec![nobody.uid.to_string(); 4]);
    assert!(!of("Gid:").contains(&"0".to_owned()) && !of("Groups:").contains(&"0".to_owned()), "{status}");
    for what in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
        assert_eq!(of(what), ["0000000000000000"], "{what}");
    }
    assert_eq!((of("NoNewPrivs:"), of("Seccomp:")), (vec!["1".to_owned()], vec!["2".to_owned()]));
}

#[test]
fn a_program_on_the_same_line() {
    let mut cabinet = Cabinet::new();
    let mut person = cabinet.person();
    enrol(&mut person);
    person.say("logout", "login: ").unwrap();
    drop(person);
    let password = cabinet.scene.lab.directory().join("password");
    std::fs::write(&password, PASSWORD).unwrap();
    std::fs::set_permissions(&password, std::fs::Permissions::from_mode(0o600)).unwrap();
    let to = format!("serial:{}@9600", cabinet.far().display());
    let ask = |arguments: &[&str], status: i32| {
        let mut command = Command::new(binaries::path("postern").unwrap());
        command.args(["--to", &to, "--account", "maria", "--password-file"]).arg(&password).args(arguments);
        let output = process::output(&mut command).unwrap();
        assert_eq!(output.status.code(), Some(status), "{}{}", output.stdout, output.stderr);
        output.stdout
    };
    assert!(ask(&["status", "--json"], 0).contains("\"gateway\": \"laboratory\""));
    ask(&["config", "set", "door.ssh.open_for=47s"], 0);
    assert!(ask(&["config", "get"], 0).contains("47s"));
    // The line is a person's again: a program that asks once more, too, but nobody is logged in.
    let mut without = Command::new(binaries::path("postern").unwrap());
    let output = process::output(without.args(["--to", &to, "status"])).unwrap();
    assert_eq!(output.status.code(), Some(5), "{}{}", output.stdout, output.stderr);
    let status = cabinet.console.ended().unwrap();
    assert!(status.is_none(), "the console is alive");
}

#[test]
fn the_console_waits_for_a_daemon_that_is_started_anew() {
    let mut cabinet = Cabinet::new();
    let mut person = cabinet.person();
    enrol(&mut person);
    cabinet.scene.gate.kill().unwrap();
    person.expect("does not answer").unwrap();
    cabinet.scene.gate.restart().unwrap();
    person.expect("login: ").unwrap();
    person.say("maria", "password: ").unwrap();
    person.say(PASSWORD, "laboratory> ").unwrap();
}

#[test]
fn it_refuses_to_be_the_superuser() {
    let cabinet = Cabinet::new();
    let cable = cabinet.scene.lab.directory().join("ttyS1");
    let _cable = Cable::plug(&cable).unwrap();
    let mut command = Command::new(binaries::path("postern-console").unwrap());
    command.arg("--line").arg(&cable).arg("--control").arg(cabinet.scene.gate.control());
    let output = process::output(command.args(["--log", "stderr"])).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stderr.contains("--user NAME"), "{}", output.stderr);
    // And a line that somebody has is left alone.
    let mut second = Command::new(binaries::path("postern-console").unwrap());
    second.arg("--line").arg(&cabinet.line).arg("--control").arg(cabinet.scene.gate.control());
    let output = process::output(second.args(["--log", "stderr", "--user", "nobody"])).unwrap();
    assert!(output.stderr.contains("another program uses"), "{}", output.stderr);
}

/// A line of `/proc/PID/status`.
fn status(pid: u32, what: &str) -> String {
    let path = format!("/proc/{pid}/status");
    let text = std::fs::read_to_string(&path).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{what}:")));
    line.unwrap_or_else(|| panic!("no {what} in {path}")).split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn it_runs_with_nothing() {
    let cabinet = Cabinet::new();
    let mut person = cabinet.person();
    // Somebody is served: it is confined by now.
    enrol(&mut person);
    let pid = cabinet.console.pid();
    for what in ["CapEff", "CapPrm", "CapBnd", "CapInh", "CapAmb"] {
        assert_eq!(status(pid, what), "0".repeat(16), "{what}");
    }
    assert_eq!((status(pid, "NoNewPrivs"), status(pid, "Seccomp")), ("1".into(), "2".into()));
    assert_eq!(status(pid, "Uid"), ["65534"; 4].join(" "));
    println!(
        "postern-console as user 65534: CapEff {}, Seccomp {}",
        status(pid, "CapEff"),
        status(pid, "Seccomp")
    );
    // It started nothing, and has nothing but its line, the daemon, and its log.
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    assert_eq!(children.trim(), "");
    person.say("status", "laboratory> ").unwrap();
}
