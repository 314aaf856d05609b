//! Sequences that count once: rotating ones by profile, and the one-time lists of a knockd.conf. Whoever
//! saw one opens nothing with it, also after a kill.

use std::process::Command;
use std::time::Duration;

use postern_e2e::frame::Payload;
use postern_e2e::keyring::Keyring;
use postern_e2e::process::wait_until;
use postern_e2e::{
    Backend, Control, DoorText, Namespace, Scene, Site, binaries, both_back_ends, knock, process, rotation,
    tool,
};

both_back_ends!(
    a_profile_knocks_anew_each_time_and_nobody_repeats_it,
    the_lines_of_an_imported_list_count_once,
);

const SECRET: u8 = 0x2b;
/// Short, so that taints are over soon.
const WITHIN: Duration = Duration::from_secs(2);

/// The knocks with this counter, as somebody on the way saw them.
fn seen(device: [u8; 16], counter: u64) -> Vec<Payload> {
    rotation::sequence(SECRET, device, "ssh", counter).unwrap()
}

fn stranger_knocks(scene: &Scene, knocks: &[Payload]) {
    // What it did before may have touched guards.
    std::thread::sleep(WITHIN + Duration::from_millis(500));
    knock::stock(&scene.stranger.namespace, scene.gateway.v4.into(), knocks).unwrap();
    // A knock that is answered behind them shows that they were handled.
    scene.expect_stranger_out(scene.ssh()).unwrap();
}

/// Once killed, otherwise told to end: three kills in a row would be answered by safe mode.
fn end(scene: &mut Scene, killed: bool) {
    if killed {
        scene.gate.kill().unwrap();
    } else {
        scene.gate.terminate().unwrap();
    }
    scene.gate.restart().unwrap();
}

struct Client {
    namespace: Namespace,
    home: std::path::PathBuf,
}

impl Client {
    fn run(&self, arguments: &[&str]) -> String {
        let mut command =
            self.namespace.command(&binaries::path("postern").unwrap().to_string_lossy()).unwrap();
        command.args(arguments).env("HOME", &self.home);
        for variable in ["XDG_CONFIG_HOME", "XDG_STATE_HOME", "POSTERN_PROFILES"] {
            command.env_remove(variable);
        }
        process::success(&mut command).unwrap()
    }

    /// Knocks until the door is open, and says with which counter it opened.
    fn gets_in(&self) -> u64 {
        let said = self.run(&["knock", "home", "--probe", "--timeout", "500", "--retry", "9", "--json"]);
        let said: serde_json::Value = serde_json::from_str(&said).unwrap();
        assert_eq!(said["outcome"], "opened", "{said}");
        said["counter"].as_u64().unwrap_or_else(|| panic!("no counter in {said}"))
    }
}

fn a_profile_knocks_anew_each_time_and_nobody_repeats_it(backend: Backend) {
    let keyring = Keyring::new().unwrap();
    let key = keyring.native("maria", SECRET, "").unwrap();
    let door = DoorText::new("ssh", &["tcp/22"], &[]).open_for("3s").with(&rotation::line("maria"));
    let mut scene = Scene::set(&Site::new(backend).door(door).key(&key)).unwrap();
    let control = format!("unix:{}", scene.gate.control().display());
    let home = scene.lab.directory().join("home");
    std::fs::create_dir_all(&home).unwrap();
    let client = Client { namespace: scene.client.namespace.clone(), home };
    let (line, secret) = (keyring.path("line"), keyring.path("maria.key"));
    let (line, secret) = (line.to_string_lossy(), secret.to_string_lossy());
    let gateway = scene.gateway.v4.to_string();
    let device = wait_until("an answer at the control socket", || {
        Control::connect(&scene.gate.control()).ok()?.status().ok().map(|status| status.device)
    })
    .unwrap();
    let export = ["--to", &control, "key", "export", "maria", "--gateway", &gateway, "--as", "home"];
    client.run(&[&export[..], &["--key-file", &secret, "-o", &line]].concat());
    client.run(&["key", "import", &line]);

    let mut used = Vec::new();
    for round in 0..3 {
        scene.expect_client_out(scene.ssh()).unwrap();
        let mark = scene.gate.log_mark();
        used.push(client.gets_in());
        let granted = scene.gate.wait_for_log("GRANT maria rotating ssh", mark).unwrap();
        assert!(granted.contains(&scene.client.v4.to_string()), "{granted}");
        let shown = client.run(&["--to", &control, "key", "show", "maria"]);
        assert!(shown.contains("s ago"), "{shown}");
        scene.expect_stranger_out(scene.ssh()).unwrap();
        for counter in &used {
            stranger_knocks(&scene, &seen(device, *counter));
        }
        end(&mut scene, round == 0);
        for counter in &used {
            stranger_knocks(&scene, &seen(device, *counter));
        }
    }
    used.dedup();
    assert_eq!(used.len(), 3, "a counter came twice");
    // What was not used opens for whoever has it: the test of the test.
    std::thread::sleep(WITHIN);
    let next = seen(device, used.last().unwrap() + 1);
    knock::stock(&scene.client.namespace, scene.gateway.v4.into(), &next).unwrap();
    scene.expect_client_in(scene.ssh()).unwrap();
}

fn the_lines_of_an_imported_list_count_once(backend: Backend) {
    tool::require(&["knock"]).unwrap();
    let lines = [
        [Payload::syn(7351), Payload::udp(24_011), Payload::syn(1490), Payload::udp(9377)],
        [Payload::udp(2113), Payload::syn(9002), Payload::udp(7043), Payload::syn(8127)],
        [Payload::syn(6021), Payload::syn(2930), Payload::udp(5203), Payload::udp(4004)],
    ];
    let keyring = Keyring::new().unwrap();
    let used = "#6001:tcp,6003:udp,6002:tcp,6007:tcp\n";
    let text = |lines: &[[Payload; 4]]| -> String {
        let line = |knocks: &[Payload; 4]| {
            let words: Vec<String> = knocks
                .iter()
                .map(|knock| {
                    let text = knock.to_string();
                    let (protocol, port) = text.split_once('/').unwrap();
                    format!("{port}:{protocol}")
                })
                .collect();
            words.join(",") + "\n"
        };
        used.to_owned() + &lines.iter().map(line).collect::<String>()
    };
    keyring.write("ssh.sequences", &text(&lines)).unwrap();
    let conf = keyring
        .write(
            "knockd.conf",
            "[options]\n  interface = eth0\n[ssh]\n  one_time_sequences = ssh.sequences\n  seq_timeout = 2\n  \
             start_command = /sbin/iptables -I INPUT -s %IP% -p tcp --dport 22 -j ACCEPT\n  cmd_timeout = 3\n  \
             stop_command = /sbin/iptables -D INPUT -s %IP% -p tcp --dport 22 -j ACCEPT\n  tcpflags = syn\n",
        )
        .unwrap();
    let site = keyring.path("site.toml");
    let mut import = Command::new(binaries::path("postern").unwrap());
    import.arg("import").arg(conf).arg("--output").arg(&site);
    process::success(&mut import).unwrap();
    let text = std::fs::read_to_string(&site).unwrap();
    let text = text.replace("backend = \"iptables\"", &format!("backend = \"{backend}\""));
    let mut scene = Scene::set(&Site::written(backend, text)).unwrap();
    for (number, line) in lines.iter().enumerate() {
        // Not before its turn.
        if let Some(next) = lines.get(number + 1) {
            stranger_knocks(&scene, next);
        }
        let mark = scene.gate.log_mark();
        knock::stock(&scene.client.namespace, scene.gateway.v4.into(), line).unwrap();
        scene.gate.wait_for_log("GRANT one-time ssh", mark).unwrap();
        scene.expect_client_in(scene.ssh()).unwrap();
        stranger_knocks(&scene, line);
        end(&mut scene, number == 0);
        for used in &lines[..=number] {
            stranger_knocks(&scene, used);
        }
        scene.expect_client_out(scene.ssh()).unwrap();
        let mut granted = scene.gate.log_with("GRANT");
        // What the line had opened may not have run out when the gateway is back; nothing new was let in.
        granted.retain(|line| !line.contains("proof=adopted"));
        assert!(granted.is_empty(), "{granted:?}");
    }
}
