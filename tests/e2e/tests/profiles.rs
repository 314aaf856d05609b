//! The native client: keys made, brought to their holder, and knocked with by profile, over both
//! families, through a restart, and as the `ProxyCommand` of a real ssh.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use postern_e2e::keyring::Keyring;
use postern_e2e::process::{self, Background, Output, wait_until};
use postern_e2e::scene::MIXED;
use postern_e2e::{
    Backend, DoorText, Gate, Host, Lab, Namespace, Scene, Site, binaries, both_back_ends, sshd, tool,
};

both_back_ends!(
    a_profile_opens_the_door_over_both_families,
    a_link_local_gateway_is_reached_by_its_scope,
    keys_are_managed_at_the_gateway,
    a_key_begins_a_new_epoch,
    a_restart_between_two_knocks_is_no_obstacle,
    a_client_gets_in_as_soon_as_the_gateway_is_there,
    a_profile_may_hold_a_fixed_sequence,
    a_door_is_closed_when_its_holder_asks,
    the_relay_carries_a_session,
    ssh_knocks_by_its_proxy_command,
);

const OK: i32 = 0;
const FAILED: i32 = 1;
const USAGE: i32 = 2;
const INVALID: i32 = 3;

fn site(backend: Backend, keyring: &Keyring) -> Site {
    let key = keyring.native("maria", 7, "person = \"maria.m\"\n").unwrap();
    let door = DoorText::new("ssh", &["tcp/22"], &[]).with("spa = [\"maria\"]");
    Site::new(backend).door(door).key(&key)
}

/// The tool as the person at the client runs it: with a home directory of its own.
struct Person {
    namespace: Namespace,
    home: PathBuf,
    control: String,
}

impl Person {
    fn new(lab: &Lab, gate: &Gate, client: &Host) -> Self {
        let home = lab.directory().join("home");
        std::fs::create_dir_all(&home).unwrap();
        let control = format!("unix:{}", gate.control().display());
        Self { namespace: client.namespace.clone(), home, control }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let program = binaries::path("postern").unwrap();
        let mut command = self.namespace.command(&program.to_string_lossy()).unwrap();
        command.args(arguments).env("HOME", &self.home);
        for variable in ["XDG_CONFIG_HOME", "XDG_STATE_HOME", "POSTERN_PROFILES"] {
            command.env_remove(variable);
        }
        command
    }

    #[track_caller]
    fn run(&self, arguments: &[&str], status: i32) -> Output {
        let output = process::output(&mut self.command(arguments)).unwrap();
        let said = format!("{}{}", output.stdout, output.stderr);
        assert_eq!(output.status.code(), Some(status), "{arguments:?} said:\n{said}");
        output
    }

    /// The same at the gateway.
    #[track_caller]
    fn administers(&self, arguments: &[&str], status: i32) -> Output {
        self.run(&[&["--to", self.control.as_str()], arguments].concat(), status)
    }

    /// Waits until the gateway answers, which it does a moment after its first words.
    fn wait_for_gateway(&self) {
        wait_until("an answer at the control socket", || {
            let mut status = self.command(&["--to", &self.control, "status"]);
            process::output(&mut status).ok().filter(|output| output.status.success()).map(drop)
        })
        .unwrap();
    }

    fn file(&self, name: &str) -> String {
        self.home.join(name).to_string_lossy().into_owned()
    }

    /// A profile `name` for the key, knocking at `host`.
    fn gets(&self, key: &str, key_file: &str, name: &str, host: &str) {
        let line = self.file(&format!("{name}.line"));
        let export =
            ["key", "export", key, "--gateway", host, "--as", name, "--key-file", key_file, "-o", &line];
        self.administers(&export, OK);
        self.run(&["key", "import", &line], OK);
        self.run(&["knock", name, "--check"], OK);
    }

    /// Knocks by a profile and looks at the port.
    #[track_caller]
    fn knocks(&self, name: &str, status: i32, outcome: &str) -> String {
        let arguments = ["knock", name, "--probe", "--timeout", "500", "--retry", "4", "--json"];
        let output = self.run(&arguments, status).stdout;
        assert!(output.contains(&format!("\"outcome\": \"{outcome}\"")), "wanted {outcome}: {output}");
        output
    }
}

struct Stage {
    person: Person,
    scene: Scene,
    keyring: Keyring,
}

fn stage(backend: Backend) -> Stage {
    let keyring = Keyring::new().unwrap();
    let scene = Scene::set(&site(backend, &keyring)).unwrap();
    let person = Person::new(&scene.lab, &scene.gate, &scene.client);
    person.wait_for_gateway();
    Stage { person, scene, keyring }
}

impl Stage {
    fn key_file(&self) -> String {
        self.keyring.path("maria.key").to_string_lossy().into_owned()
    }
}

fn a_profile_opens_the_door_over_both_families(backend: Backend) {
    let stage = stage(backend);
    let Stage { person, scene, .. } = &stage;
    for (name, target) in ["four", "six"].into_iter().zip(scene.ssh_both()) {
        person.gets("maria", &stage.key_file(), name, &target.ip().to_string());
        scene.expect_client_out(target).unwrap();
        person.run(&["knock", name, "--dry-run"], OK);
        scene.expect_client_out(target).unwrap();
        person.knocks(name, OK, "opened");
        scene.expect_client_in(target).unwrap();
        scene.expect_stranger_out(target).unwrap();
        person.knocks(name, OK, "was-open");
        // Naming one's own address needs no permission.
        let profiles = person.home.join(".config/postern/clients.toml");
        let text = std::fs::read_to_string(&profiles).unwrap();
        std::fs::write(&profiles, format!("{text}claim = \"own\"\n")).unwrap();
        person.administers(&["revoke", "ssh"], OK);
        person.knocks(name, OK, "opened");
        std::fs::write(&profiles, text).unwrap();
        assert_eq!(scene.gate.log_with("GRANT maria spa ssh").len(), if target.is_ipv4() { 2 } else { 4 });
    }
    // Others may read the profile now: nothing is done with it.
    use std::os::unix::fs::PermissionsExt;
    let profiles = person.home.join(".config/postern/clients.toml");
    std::fs::set_permissions(&profiles, std::fs::Permissions::from_mode(0o640)).unwrap();
    assert!(person.run(&["knock", "four"], INVALID).stderr.contains("chmod 600"));
}

fn a_link_local_gateway_is_reached_by_its_scope(backend: Backend) {
    let stage = stage(backend);
    let Stage { person, scene, .. } = &stage;
    let shown = scene.gateway.namespace.ip("-6 -o addr show dev eth0 scope link").unwrap();
    let address =
        shown.split_whitespace().find_map(|word| word.strip_suffix("/64")).expect("a link-local address");
    let host = format!("{address}%eth0");
    person.gets("maria", &stage.key_file(), "near", &host);
    person.knocks("near", OK, "opened");
    person.run(&["knock", address, "udp/9"], 4);
    // What is open there is not open elsewhere.
    scene.expect_client_out(scene.ssh()).unwrap();
}

fn keys_are_managed_at_the_gateway(backend: Backend) {
    let stage = stage(backend);
    let Stage { person, scene, .. } = &stage;
    let host = scene.gateway.v4.to_string();
    let key_file = person.file("otto.key");
    person.administers(&["key", "new", "otto", "--door", "ssh", "--key-file", &key_file], OK);
    assert!(person.administers(&["key", "show"], OK).stdout.contains("otto"));
    person.administers(
        &["key", "new", "otto", "--door", "ssh", "--key-file", &person.file("again.key")],
        USAGE,
    );
    assert!(!person.home.join("again.key").exists(), "a secret nobody has is kept");
    person.gets("otto", &key_file, "otto", &host);
    person.knocks("otto", OK, "opened");
    person.administers(&["revoke", "ssh"], OK);
    scene.expect_client_out(scene.ssh()).unwrap();
    // Both keys are good for a while, then only the new one.
    let next = person.file("otto-2.key");
    person.administers(&["key", "rotate", "otto", "--key-file", &next], OK);
    person.gets("otto-2", &next, "otto-2", &host);
    person.administers(&["key", "disable", "otto"], OK);
    person.run(&["knock", "otto", "--probe", "--timeout", "300", "--retry", "0"], FAILED);
    assert!(!scene.gate.log_with("otto key-disabled").is_empty(), "{}", scene.gate.log());
    person.knocks("otto-2", OK, "opened");
    scene.expect_stranger_out(scene.ssh()).unwrap();
}

/// Somebody caught packets ahead of time, or a client's counter ran away: an administrator voids them all.
fn a_key_begins_a_new_epoch(backend: Backend) {
    let stage = stage(backend);
    let Stage { person, scene, .. } = &stage;
    person.gets("maria", &stage.key_file(), "gate", &scene.gateway.v4.to_string());
    person.knocks("gate", OK, "opened");
    person.administers(&["revoke", "ssh"], OK);
    person.administers(&["key", "rebase", "nobody"], FAILED);
    let said = person.administers(&["key", "rebase", "maria", "--json"], OK).stdout;
    assert!(said.contains("\"epoch\": 1") || said.contains("\"epoch\":1"), "{said}");
    assert_eq!(scene.gate.log_with("KEY-REBASE maria 1").len(), 1, "{}", scene.gate.log());
    person.run(&["knock", "gate", "--probe", "--timeout", "300", "--retry", "0"], FAILED);
    scene.expect_client_out(scene.ssh()).unwrap();
    let profiles = person.home.join(".config/postern/clients.toml");
    let text = std::fs::read_to_string(&profiles).unwrap();
    std::fs::write(&profiles, text.replacen("device = ", "epoch = 1\ndevice = ", 1)).unwrap();
    person.knocks("gate", OK, "opened");
}

fn a_restart_between_two_knocks_is_no_obstacle(backend: Backend) {
    let mut stage = stage(backend);
    stage.person.gets("maria", &stage.key_file(), "gate", &stage.scene.gateway.v4.to_string());
    for _ in 0..3 {
        stage.person.knocks("gate", OK, "opened");
        stage.scene.gate.kill().unwrap();
        stage.scene.gate.restart().unwrap();
        stage.person.wait_for_gateway();
        stage.person.administers(&["revoke", "ssh"], OK);
        wait_until("the door is shut", || stage.scene.expect_client_out(stage.scene.ssh()).ok()).unwrap();
    }
    // Every visit is one grant, although some packets came before the gateway would count that far.
    let log = stage.scene.gate.log();
    assert_eq!(log.lines().filter(|line| process::holds(line, "GRANT maria spa ssh")).count(), 3, "{log}");
}

fn a_client_gets_in_as_soon_as_the_gateway_is_there(backend: Backend) {
    let mut stage = stage(backend);
    stage.person.gets("maria", &stage.key_file(), "gate", &stage.scene.gateway.v4.to_string());
    stage.scene.gate.kill().unwrap();
    let arguments = ["knock", "gate", "--probe", "--retry", "20", "--timeout", "500", "--json"];
    let mut client = Background::start("postern", &mut stage.person.command(&arguments)).unwrap();
    // Its first packets meet nobody: one counter after the other is used up.
    let counters = stage.person.home.join(".local/state/postern/counters");
    let last = || {
        let file =
            std::fs::read_dir(&counters).ok()?.flatten().find(|file| file.path().extension().is_none())?;
        std::fs::read_to_string(file.path()).ok()
    };
    let first = wait_until("the first packet", last).unwrap();
    wait_until("the second packet", || last().filter(|last| *last != first)).unwrap();
    stage.scene.gate.restart().unwrap();
    let status = client.wait_for_end().unwrap();
    let output = client.output(status);
    assert!(status.success() && output.stdout.contains("\"opened\""), "{}{}", output.stdout, output.stderr);
    assert!(!output.stdout.contains("\"attempts\": 1,"), "{}", output.stdout);
    stage.scene.expect_client_in(stage.scene.ssh()).unwrap();
}

fn a_profile_may_hold_a_fixed_sequence(backend: Backend) {
    let door = DoorText::new("ssh", &["tcp/22"], &MIXED);
    let scene = Scene::set(&Site::new(backend).door(door)).unwrap();
    let person = Person::new(&scene.lab, &scene.gate, &scene.client);
    let knocks: Vec<String> = MIXED.iter().map(ToString::to_string).collect();
    let mut text = "schema = 1\n".to_owned();
    for (name, target) in ["four", "six"].into_iter().zip(scene.ssh_both()) {
        let gateway = target.ip();
        text += &format!(
            "[[profile]]\nname = \"{name}\"\ngateway = \"{gateway}\"\nsequence = {knocks:?}\ndelay = \"20ms\"\n\
             probe = \"tcp/22\"\n"
        );
    }
    let folder = person.home.join(".config/postern");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("clients.toml"), text).unwrap();
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(folder.join("clients.toml"), private).unwrap();
    for (name, target) in ["four", "six"].into_iter().zip(scene.ssh_both()) {
        scene.expect_client_out(target).unwrap();
        let host = target.ip().to_string();
        let session = person.run(&["knock", name, "--proxy", &host, "22"], OK);
        assert_eq!(session.stdout, "hello from tcp/22\n");
        person.knocks(name, OK, "was-open");
        scene.expect_stranger_out(target).unwrap();
    }
}

fn a_door_is_closed_when_its_holder_asks(backend: Backend) {
    let stage = stage(backend);
    let Stage { person, scene, .. } = &stage;
    person.gets("maria", &stage.key_file(), "gate", &scene.gateway.v4.to_string());
    person.knocks("gate", OK, "opened");
    person.run(&["knock", "gate", "--close"], OK);
    wait_until("the door is shut", || scene.expect_client_out(scene.ssh()).ok()).unwrap();
}

fn the_relay_carries_a_session(backend: Backend) {
    let stage = stage(backend);
    let Stage { person, scene, .. } = &stage;
    let sent: Vec<u8> = (0..300_000_u32).flat_map(|number| number.to_le_bytes()).collect();
    for (name, target) in ["four", "six"].into_iter().zip(scene.ssh_both()) {
        let host = target.ip().to_string();
        person.gets("maria", &stage.key_file(), name, &host);
        scene.expect_client_out(target).unwrap();
        let mut relay = person.command(&["knock", name, "--proxy", &host, "22"]);
        let relay = relay.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut relay = relay.spawn().unwrap();
        let mut input = relay.stdin.take().unwrap();
        let copy = sent.clone();
        // Ends its half when all is written; the echo of it is still on its way then.
        let writer = std::thread::spawn(move || input.write_all(&copy).unwrap());
        let output = relay.wait_with_output().unwrap();
        writer.join().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() && said.is_empty(), "{said}");
        let heard = output.stdout.strip_prefix(b"hello from tcp/22\n").expect("the greeting");
        assert!(heard == sent, "{} octets of {} came back", heard.len(), sent.len());
    }
    // Ten sessions more, as a deployment makes them, are no knock more.
    let host = scene.gateway.v4.to_string();
    let grants = scene.gate.log_with("GRANT").len();
    for _ in 0..10 {
        let session = person.run(&["knock", "four", "--proxy", &host, "22"], OK);
        assert_eq!(session.stdout, "hello from tcp/22\n");
    }
    assert_eq!(scene.gate.log_with("GRANT").len(), grants);
    // Nobody listens on another port of the gateway: the relay says so and ends.
    let refused = person.run(&["knock", "four", "--proxy", &scene.gateway.v4.to_string(), "2022"], FAILED);
    assert!(refused.stderr.contains("refusal"), "{}", refused.stderr);
}

fn ssh_knocks_by_its_proxy_command(backend: Backend) {
    let keyring = Keyring::new().unwrap();
    let lab = Lab::new().unwrap();
    let (gateway, client) = (lab.host("gateway").unwrap(), lab.host("client").unwrap());
    let _sshd = sshd::start(&gateway.namespace, lab.directory()).unwrap();
    let gate = Gate::start(&lab, &gateway.namespace, &site(backend, &keyring)).unwrap();
    let person = Person::new(&lab, &gate, &client);
    person.wait_for_gateway();
    let key_file = keyring.path("maria.key").to_string_lossy().into_owned();
    person.gets("maria", &key_file, "gate", &gateway.v4.to_string());
    tool::require(&["ssh"]).unwrap();
    let program = binaries::path("postern").unwrap();
    let known = person.file("known_hosts");
    let mut ssh = client.namespace.command("ssh").unwrap();
    ssh.args(["-F", "none", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no"]);
    ssh.arg("-o").arg(format!("UserKnownHostsFile={known}"));
    ssh.arg("-o").arg(format!("ProxyCommand={} knock gate --proxy %h %p", program.display()));
    ssh.arg(format!("nobody@{}", gateway.v4)).arg("true").env("HOME", &person.home);
    let output = process::output(&mut ssh).unwrap();
    // Nobody can log in there; that the server's key was proved and it refused the login is the session.
    assert!(output.stderr.contains("Permission denied"), "{}", output.stderr);
    let known = std::fs::read_to_string(&known).expect("the server's key is kept");
    let own = std::fs::read_to_string(lab.directory().join("ssh_host_ed25519_key.pub")).unwrap();
    assert!(known.contains(own.split(' ').nth(1).unwrap()), "{known}");
    assert_eq!(gate.log_with("GRANT maria spa ssh").len(), 1);
}
