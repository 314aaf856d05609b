//! What every command prints, as JSON and for people, and its exit status.

use crate::bench::{Bench, DEVICE_TEXT, golden};

const OK: i32 = 0;
const FAILED: i32 = 1;
const USAGE: i32 = 2;
const INVALID: i32 = 3;
const UNREACHABLE: i32 = 4;

struct Story {
    bench: Bench,
    differences: String,
}

impl Story {
    fn new() -> Self {
        Self { bench: Bench::new(), differences: String::new() }
    }

    /// Commands that change nothing: asked twice, with and without `--json`.
    #[track_caller]
    fn ask(&mut self, name: &str, arguments: &[&str], status: i32) {
        self.change(name, arguments, status);
        let (text, said) = self.bench.expect(arguments, status);
        golden(&format!("{name}.txt"), &format!("{text}--\n{said}"), &mut self.differences);
    }

    /// Commands that would do something else a second time.
    #[track_caller]
    fn change(&mut self, name: &str, arguments: &[&str], status: i32) {
        let (printed, _) = self.bench.expect(&[arguments, &["--json"]].concat(), status);
        let value: serde_json::Value = serde_json::from_str(&printed).expect("one JSON object");
        assert_eq!(value.get("schema").or(value.get("version")), Some(&1.into()), "{printed}");
        golden(&format!("{name}.json"), &printed, &mut self.differences);
    }

    fn end(self) {
        assert!(self.differences.is_empty(), "{}", self.differences);
    }
}

#[test]
fn knocks() {
    let mut story = Story::new();
    for profile in ["spa", "rotating", "fixed"] {
        story.ask(&format!("dry-run-{profile}"), &["knock", profile, "--dry-run"], OK);
        story.ask(&format!("check-{profile}"), &["knock", profile, "--check"], OK);
    }
    story.ask("dry-run-probe", &["knock", "spa", "--dry-run", "--probe"], OK);
    story.ask("dry-run-close", &["knock", "spa", "--dry-run", "--close"], OK);
    story.ask("dry-run-host", &["knock", "127.0.0.1", "tcp/7", "udp/8", "--dry-run"], OK);
    story.change("sent-spa", &["knock", "spa"], OK);
    story.change("sent-spa-again", &["knock", "spa"], OK);
    story.change("sent-rotating", &["knock", "rotating", "--delay", "1"], OK);
    story.ask("sent-fixed", &["knock", "fixed"], OK);
    story.end();
}

#[test]
fn knocks_that_cannot_be() {
    let mut story = Story::new();
    story.ask("no-such-profile", &["knock", "spaa"], USAGE);
    story.ask("no-port-to-probe", &["knock", "fixed", "--probe"], USAGE);
    story.ask("retry-without-probe", &["knock", "spa", "--retry", "1"], USAGE);
    story.ask("close-by-sequence", &["knock", "fixed", "--close"], USAGE);
    story.ask("wrong-family", &["knock", "spa", "-6"], UNREACHABLE);
    story.bench.mode(".config/postern/clients.toml", 0o644);
    story.ask("others-may-read", &["knock", "spa"], INVALID);
    story.bench.mode(".config/postern/clients.toml", 0o600);
    story.bench.mode(".config/postern/keys/maria.key", 0o604);
    story.ask("others-may-read-key", &["knock", "spa"], INVALID);
    story.bench.write(".config/postern/keys/maria.key", "c2hvcnQ=\n", 0o600);
    story.ask("no-key", &["knock", "spa", "--check"], INVALID);
    let wrong = "schema = 1\n[[profile]]\nname = \"a b\"\ngatway = \"x\"\nprobe = \"udp/1\"\nretry = 99\n\
                 timeout = \"1d\"\n[[profile]]\nname = \"x\"\ngateway = \"y\"\nsequence = []\n\
                 rotating = { knocks = 4 }\n[[profile]]\nname = \"z\"\ngateway = \"y\"\ndoor = \"d\"\n\
                 device = \"12\"\nkey_file = \"k\"\nclaim = \"me\"\n";
    story.bench.write(".config/postern/clients.toml", wrong, 0o600);
    story.ask("wrong-profiles", &["knock", "spa"], INVALID);
    story.bench.write(".config/postern/clients.toml", "schema = 1\n", 0o600);
    story.ask("no-profiles-yet", &["knock", "spa"], USAGE);
    std::fs::remove_file(story.bench.path(".config/postern/clients.toml")).unwrap();
    story.ask("no-profile-file", &["knock", "spa"], USAGE);
    story.end();
}

#[test]
fn a_check_finds_what_is_in_the_way() {
    let story = Story::new();
    let profiles = story.bench.read(".config/postern/clients.toml");
    let changed = profiles
        .replace("gateway = \"127.0.0.1\"\ndoor = \"ssh\"", "gateway = \"fe80::1\"\ndoor = \"ssh\"")
        .replace("lease = \"10m\"", "one_shot = true\nremember = false")
        .replace("203.0.113.7", "127.0.0.1");
    story.bench.write(".config/postern/clients.toml", &changed, 0o600);
    let (printed, _) = story.bench.expect(&["knock", "spa", "--check", "--json"], FAILED);
    let value: serde_json::Value = serde_json::from_str(&printed).unwrap();
    let found = |check: &str| {
        let mut all = value["checks"].as_array().unwrap().iter().filter(|one| one["check"] == check);
        all.next().map(|one| one["found"].as_str().unwrap().to_owned())
    };
    assert_eq!(found("gateway").as_deref(), Some("error"), "{printed}");
    assert_eq!(found("packet").as_deref(), Some("error"), "{printed}");
    assert_eq!(found("counter").as_deref(), Some("warning"), "{printed}");
    assert_eq!(found("one_shot").as_deref(), Some("warning"), "{printed}");
    assert_eq!(value["errors"], 2, "{printed}");
}

#[test]
fn keys_in_a_site_file() {
    let mut story = Story::new();
    let at = ["--site", "site.toml"];
    let with = |words: &[&'static str]| [words, &at].concat();
    story.ask("show", &with(&["key", "show"]), OK);
    story.ask("show-one", &with(&["key", "show", "maria"]), OK);
    story.ask("show-nobody", &with(&["key", "show", "mario"]), USAGE);
    story.ask("new-dry-run", &with(&["key", "new", "otto", "--door", "ssh", "--dry-run"]), OK);
    assert!(!story.bench.path("keys/otto.key").exists());
    story.change("new", &with(&["key", "new", "otto", "--door", "ssh", "--person", "otto.k"]), OK);
    story.ask("new-twice", &with(&["key", "new", "otto"]), USAGE);
    story.ask("new-no-door", &with(&["key", "new", "eva", "--door", "shh"]), USAGE);
    assert!(!story.bench.path("keys/eva.key").exists(), "a secret nobody has is kept");
    story.change("rotate", &with(&["key", "rotate", "maria"]), OK);
    story.change("disable", &with(&["key", "disable", "maria"]), OK);
    story.ask("disable-again", &with(&["key", "disable", "maria"]), OK);
    story.ask("enable-nobody", &with(&["key", "enable", "mario"]), USAGE);
    story.ask("two-places", &with(&["--to", "unix:nowhere", "key", "show"]), USAGE);
    story.ask("no-place", &["key", "show"], USAGE);
    story.ask("show-after", &with(&["key", "show"]), OK);
    golden("site-after.toml", &story.bench.read("site.toml"), &mut story.differences);
    story.bench.expect(&["compile", "site.toml", "-o", "site.store"], OK);
    story.end();
}

#[test]
fn keys_on_their_way() {
    let mut story = Story::new();
    let from = ["--site", "site.toml", "--gateway", "gw17.example.net"];
    let with = |words: &[&'static str]| [words, &from, &["--device", DEVICE_TEXT]].concat();
    story.change("export", &with(&["key", "export", "maria", "-o", "maria.line"]), OK);
    story.change("export-again", &with(&["key", "export", "maria", "-o", "maria.line"]), FAILED);
    story.change(
        "export-rotating",
        &with(&["key", "export", "pump", "--as", "pump-17-scada", "-o", "pump.line"]),
        OK,
    );
    story.change("export-json-alone", &with(&["key", "export", "maria"]), USAGE);
    story.ask("export-no-door", &with(&["key", "export", "maria", "--door", "scada", "-o", "x"]), USAGE);
    story.ask("export-no-device", &[&["key", "export", "maria", "-o", "x"], &from[..]].concat(), USAGE);
    story.change("import", &["key", "import", "maria.line"], OK);
    story.ask("import-twice", &["key", "import", "maria.line"], USAGE);
    story.change("import-replace", &["key", "import", "maria.line", "--replace"], OK);
    story.change("import-rotating", &["key", "import", "pump.line"], OK);
    let line = story.bench.read("maria.line");
    story.bench.write("slip.line", &line.replace("gw17", "gw71"), 0o600);
    story.ask("import-slip", &["key", "import", "slip.line", "--name", "slip"], USAGE);
    story.bench.mode("maria.line", 0o644);
    story.ask("import-open", &["key", "import", "maria.line", "--name", "open"], INVALID);
    story.ask("import-nothing", &["key", "import"], USAGE);
    // The clock is in the line, and nothing else that changes.
    let profiles = story.bench.read(".config/postern/clients.toml");
    let lines = profiles.lines().filter(|line| !line.starts_with("first_counter = 1"));
    let text: String = lines.map(|line| format!("{line}\n")).collect();
    golden("profiles-after.toml", &text, &mut story.differences);
    story.end();
}
