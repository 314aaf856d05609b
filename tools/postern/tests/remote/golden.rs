//! Every command in one story, with the JSON it prints and its exit status.

use postern_console::rpc::{Answer, Call, Deframer, FRAME_BYTES_MAX, Refusal, Reply, Request, encode_frame};

use crate::tool::{Bench, golden, site_text};

/// Asks with `--json`, and compares with the golden file of this name.
struct Story {
    bench: Bench,
    differences: String,
}

impl Story {
    #[track_caller]
    fn ask(&mut self, name: &str, arguments: &[&str], status: i32) {
        let (printed, _) = self.bench.ask(&[arguments, &["--json"]].concat(), status);
        for line in if name == "log" { printed.lines().collect() } else { vec![printed.as_str()] } {
            let value: serde_json::Value = serde_json::from_str(line).unwrap();
            assert_eq!(value["version"], 1, "{printed}");
            let words = value["command"].as_str().unwrap().split(' ').zip(arguments);
            assert!(
                words.clone().count() > 0 && words.clone().all(|(word, given)| word == *given),
                "{printed}"
            );
        }
        golden(&format!("{name}.json"), &printed, &mut self.differences);
        // People are told the same.
        let (text, said) = self.bench.ask(arguments, status);
        golden(&format!("{name}.txt"), &format!("{text}--\n{said}"), &mut self.differences);
    }

    /// For commands that change something: a second time they would do something else.
    #[track_caller]
    fn change(&mut self, name: &str, arguments: &[&str], status: i32) {
        let (printed, _) = self.bench.ask(&[arguments, &["--json"]].concat(), status);
        golden(&format!("{name}.json"), &printed, &mut self.differences);
    }
}

#[test]
fn every_command() {
    let mut story = Story { bench: Bench::new(0), differences: String::new() };
    let other = site_text().replace("30s", "45s").replace("udp/161", "udp/162");
    story.bench.write("other.toml", &other, 0o644);
    story.ask("status-factory", &["status"], 0);
    begin(&mut story);
    trial(&mut story);
    history(&mut story);
    in_the_way(&mut story);
    files(&mut story);
    the_end(&mut story);
    assert!(story.differences.is_empty(), "{}", story.differences);
}

/// Who knocked, and whom that let in.
#[test]
fn grants_to_networks() {
    let mut story = Story { bench: Bench::new(0), differences: String::new() };
    let wide = site_text().replace("open_for = \"30s\"", "open_for = \"30s\"\nprefix_v4 = 24");
    story.bench.write("wide.toml", &wide, 0o644);
    story.bench.ask(&["config", "apply", "wide.toml"], 0);
    for source in [[192, 0, 2, 7], [192, 0, 2, 8], [198, 51, 100, 7]] {
        for port in [7351, 17_011, 3083, 1490] {
            story.bench.gateway.state().knock(source.into(), port);
        }
    }
    story.ask("grants-wide", &["grants"], 0);
    // What a change would take back.
    for (to, lost) in [
        ("prefix_v4 = 24\nprefix_v6 = 64", 0),
        ("prefix_v4 = 25", 2),
        ("one_shot = true", 2),
        ("forward = \"192.168.10.5:22\"", 2),
    ] {
        story.bench.write("next.toml", &wide.replace("prefix_v4 = 24", to), 0o644);
        let (said, _) = story.bench.ask(&["config", "apply", "next.toml", "--dry-run"], 0);
        assert!(said.contains(&format!("grants taken back: {lost}\n")), "{to}: {said}");
    }
    // By any address of it.
    story.bench.ask(&["revoke", "ssh", "192.0.2.200"], 0);
    let (left, _) = story.bench.ask(&["grants"], 0);
    assert!(left.contains("198.51.100.7 for 198.51.100.0/24") && !left.contains("192.0.2."), "{left}");
    assert!(story.differences.is_empty(), "{}", story.differences);
}

fn begin(story: &mut Story) {
    story.change("apply", &["config", "apply", "site.toml"], 0);
    story.ask("apply-again", &["config", "apply", "site.toml"], 0);
    story.ask("status", &["status"], 0);
    story.ask("doors", &["doors"], 0);
    story.ask("keys", &["keys"], 0);
    for source in [[192, 0, 2, 7], [192, 0, 2, 8]] {
        for port in [7351, 17_011, 3083, 1490] {
            story.bench.gateway.state().knock(source.into(), port);
        }
    }
    story.ask("grants", &["grants"], 0);
    story.change("revoke-one", &["revoke", "ssh", "192.0.2.7"], 0);
    story.ask("grants-left", &["grants"], 0);
    story.ask("revoke-nothing", &["revoke", "nothing"], 1);
    story.ask("log", &["log"], 0);
    story.ask("apply-dry-run", &["config", "apply", "other.toml", "--dry-run"], 0);
    // A door that goes takes its grants along.
    let gone = &["config", "set", "door.ssh=", "--dry-run"];
    story.ask("set-dry-run", gone, 0);
}

fn trial(story: &mut Story) {
    story.change("set-trial", &["config", "set", "door.ssh.open_for=40s", "--confirm", "10m"], 0);
    story.ask("status-trial", &["status"], 0);
    story.ask("trial-pending", &["config", "apply", "other.toml"], 7);
    story.change("confirm", &["config", "confirm"], 0);
    story.ask("no-trial", &["config", "confirm"], 1);
    story.change("apply-trial", &["config", "apply", "other.toml", "--confirm", "30s"], 0);
    story.change("cancel", &["config", "cancel"], 0);
}

fn history(story: &mut Story) {
    story.ask("get", &["config", "get"], 0);
    story.ask("get-old", &["config", "get", "--generation", "1"], 0);
    story.ask("get-nothing", &["config", "get", "--generation", "99"], 1);
    story.ask("diff", &["config", "diff", "other.toml"], 9);
    story.ask("diff-none", &["config", "diff", "current.toml"], 1);
    story.bench.ask(&["config", "get", "-o", "current.toml"], 0);
    story.ask("diff-same", &["config", "diff", "current.toml"], 0);
    story.ask("rollback-dry-run", &["config", "rollback", "1", "--dry-run"], 0);
    story.change("rollback", &["config", "rollback", "1"], 0);
    story.ask("history", &["history"], 0);
    story.ask("config-history", &["config", "history"], 0);
}

fn in_the_way(story: &mut Story) {
    // `current.toml` says in its first line from which generation it was made.
    let stale = story.bench.read("current.toml").replace("40s", "41s");
    story.bench.write("stale.toml", &stale, 0o644);
    story.ask("conflict", &["config", "apply", "stale.toml"], 6);
    story.ask("conflict-base", &["config", "apply", "other.toml", "--base", "1"], 6);
    let mut session = story.bench.gateway.state().connect(0);
    let request = Request::Stage { schema: 1, bytes: 10, digest: [0; 32] };
    let mut frame = [0; FRAME_BYTES_MAX];
    let frame = encode_frame(&Call { number: 1, request }, &mut frame).unwrap();
    let stages = || {
        let answer = story.bench.gateway.state().take(&mut session, frame);
        let mut deframer = Deframer::new();
        answer.iter().find_map(|&octet| deframer.take::<Answer>(octet)).unwrap().unwrap().result
    };
    // The last tool's connection may be a moment older than its end.
    let done = std::iter::repeat_with(stages).find(|result| *result != Err(Refusal::Busy));
    assert_eq!(done, Some(Ok(Reply::Done)));
    story.ask("busy", &["config", "apply", "other.toml"], 6);
    story.bench.gateway.state().configuration.peer_left(session.peer().number);
    story.change("apply-current", &["config", "apply", "stale.toml", "--base", "current"], 0);
    let bad = site_text().replace("\"tcp/7351\", \"tcp/17011\", ", "");
    story.bench.write("bad.toml", &bad, 0o644);
    story.ask("invalid-site", &["config", "apply", "bad.toml"], 3);
    let nobody = site_text().replace("role = \"admin\"", "role = \"viewer\"");
    story.bench.write("nobody.toml", &nobody, 0o644);
    story.ask("no-admin", &["config", "apply", "nobody.toml"], 3);
    let away = story.bench.expect(&["--to", "unix:nowhere", "status", "--json"], 4);
    golden("unreachable.json", &away.0, &mut story.differences);
    story.bench.expect(&["status"], 2);
}

fn files(story: &mut Story) {
    story.ask("export", &["config", "export"], 0);
    story.bench.ask(&["config", "export", "-o", "export.txt"], 0);
    story.bench.ask(&["backup", "-o", "backup.txt"], 0);
    assert_eq!(story.bench.read("export.txt"), story.bench.read("backup.txt"));
    assert!(!story.bench.read("backup.txt").contains(&postern::base64::encode(&[9; 16])[..20].repeat(2)));
    story.bench.ask(&["config", "set", "door.ssh.open_for=50s"], 0);
    story.change("restore", &["restore", "backup.txt"], 0);
    story.ask("restore-again", &["restore", "backup.txt"], 0);
    story.bench.ask(&["config", "set", "door.ssh.open_for=51s"], 0);
    story.change("import", &["config", "import", "export.txt"], 0);
    let backup = story.bench.read("backup.txt");
    story.bench.write("cut.txt", &backup.replace("41s", "42s"), 0o644);
    story.ask("restore-damaged", &["restore", "cut.txt"], 8);
    story.bench.write("foreign.txt", &backup.replace("# device 5a", "# device 5b"), 0o644);
    story.ask("restore-foreign", &["restore", "foreign.txt"], 8);
    story.bench.ask(&["restore", "foreign.txt", "--other-device"], 0);
}

fn the_end(story: &mut Story) {
    story.ask("account-list", &["account", "list"], 0);
    let new = ["--new-password-file", "password"];
    story.change("account-add", &[&["account", "add", "eva", "--role", "operator"], &new[..]].concat(), 0);
    story.ask("account-twice", &[&["account", "add", "eva", "--role", "operator"], &new[..]].concat(), 2);
    story.change("account-password", &[&["account", "password", "otto"], &new[..]].concat(), 0);
    story.change("account-delete", &["account", "delete", "eva"], 0);
    story.ask("account-nobody", &["account", "delete", "eva"], 1);
    story.ask("account-last-admin", &["account", "delete", "maria"], 3);
    story.ask("enrol-twice", &[&["enrol", "eva"], &new[..]].concat(), 1);
    story.ask("reboot", &["reboot"], 5);
    story.ask("wipe-other", &["wipe", "--device", &"00".repeat(16)], 8);
    story.change("wipe", &["wipe", "--device", &"5a".repeat(16)], 0);
    story.change("enrol", &[&["enrol", "eva"], &new[..]].concat(), 0);
    let (printed, _) = story.bench.expect(&[&["account", "verifier", "--json"], &new[..]].concat(), 0);
    assert!(printed.contains("SCRAM-SHA-256$60000:"), "{printed}");
}
