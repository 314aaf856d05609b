//! The built tool against sample sites: what it prints, as text and as JSON, and how it ends.
//!
//! Each `golden/NAME.toml` has what `postern check` prints beside it, in `NAME.txt` and
//! `NAME.json`. `POSTERN_REFRESH=1 cargo test -p postern --test check` writes those anew; read the
//! difference before committing it.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

/// A sample site that must be refused or not; every sample stands here, so that none is forgotten.
const SAMPLES: [(&str, i32); 37] = [
    ("allow", OK),
    ("allow-mistyped", OK),
    ("bad-reorder", INVALID_CONFIG),
    ("bad-values", INVALID_CONFIG),
    ("clean", OK),
    ("close-completes-open", INVALID_CONFIG),
    ("door-interfaces", INVALID_CONFIG),
    ("duplicate-door", INVALID_CONFIG),
    ("duplicate-key", INVALID_CONFIG),
    ("empty", INVALID_CONFIG),
    ("ephemeral-udp", OK),
    ("long-open", OK),
    ("missing-keys", INVALID_CONFIG),
    ("monotone-sequence", INVALID_CONFIG),
    ("no-doors", OK),
    ("no-way-in", OK),
    ("one-time-sequences", OK),
    ("overlapping-doors", OK),
    ("overlapping-sequences", INVALID_CONFIG),
    ("prefix-differs", INVALID_CONFIG),
    ("prefix-one-shot", INVALID_CONFIG),
    ("prefix-wide", INVALID_CONFIG),
    ("prefixes", OK),
    ("protected-port", INVALID_CONFIG),
    ("repeated-knock", INVALID_CONFIG),
    ("scan-probability", INVALID_CONFIG),
    ("service-port", INVALID_CONFIG),
    ("short-sequence", INVALID_CONFIG),
    ("stock-ping", INVALID_CONFIG),
    ("syntax-error", INVALID_CONFIG),
    ("unknown-key", INVALID_CONFIG),
    ("wide-guards", OK),
    ("wrong-schema", INVALID_CONFIG),
    ("wrong-types", INVALID_CONFIG),
    ("no-gateway", INVALID_CONFIG),
    ("bad-flags", INVALID_CONFIG),
    ("odd-characters", INVALID_CONFIG),
];

const OK: i32 = 0;
const FAILED: i32 = 1;
const USAGE: i32 = 2;
const INVALID_CONFIG: i32 = 3;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// Runs the tool in `directory`, so that what it prints names no path of this machine.
fn postern(directory: &Path, arguments: &[&str]) -> Output {
    let mut tool = Command::new(env!("CARGO_BIN_EXE_postern"));
    tool.args(arguments).current_dir(directory).output().expect("the tool starts")
}

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).expect("text")
}

fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).expect("text")
}

#[track_caller]
fn expect_code(output: &Output, code: i32) {
    let said = format!("{}{}", stdout(output), stderr(output));
    assert_eq!(output.status.code(), Some(code), "exit code; it said:\n{said}");
}

/// A directory that is removed again.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("postern-check-{}-{number}", std::process::id()));
        fs::create_dir(&path).expect("a fresh directory");
        Self(path)
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).expect("the scratch directory is ours");
        path
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<_> = entries.map(|name| name.into_string().unwrap()).collect();
        names.sort();
        names
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn golden(file: &str, actual: &str, differences: &mut String) {
    let path = folder("tests/golden").join(file);
    if std::env::var_os("POSTERN_REFRESH").is_some() {
        fs::write(&path, actual).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    if actual != expected {
        let _ = writeln!(differences, "--- {file}, wanted:\n{expected}+++ found:\n{actual}");
    }
}

#[test]
fn every_sample_is_judged_as_before() {
    let directory = folder("tests/golden");
    let mut differences = String::new();
    for (name, code) in SAMPLES {
        let site = format!("{name}.toml");
        let text = postern(&directory, &["check", &site]);
        let json = postern(&directory, &["check", "--json", &site]);
        for (output, kind) in [(&text, "txt"), (&json, "json")] {
            if output.status.code() != Some(code) || !output.stderr.is_empty() {
                let _ = writeln!(differences, "{site} ({kind}): {} {}", output.status, stderr(output));
            }
            golden(&format!("{name}.{kind}"), stdout(output), &mut differences);
        }
    }
    assert!(differences.is_empty(), "{differences}");
}

#[test]
fn every_sample_is_listed() {
    let entries = fs::read_dir(folder("tests/golden")).unwrap().map(|entry| entry.unwrap().path());
    for path in entries {
        let stem = path.file_stem().unwrap().to_string_lossy().into_owned();
        assert!(SAMPLES.iter().any(|(name, _)| *name == stem), "{} is no listed sample", path.display());
    }
}

#[test]
fn json_says_the_same_as_the_text() {
    let directory = folder("tests/golden");
    for (name, code) in SAMPLES {
        let site = format!("{name}.toml");
        let text = postern(&directory, &["check", &site]);
        let json = postern(&directory, &["check", "--json", &site]);
        let object: serde_json::Value = serde_json::from_str(stdout(&json)).expect("one JSON object");
        assert_eq!(object["schema"], 1, "{name}");
        assert_eq!(object["ok"], code == OK, "{name}");
        let findings = object["findings"].as_array().unwrap();
        let errors = findings.iter().filter(|finding| finding["severity"] == "error").count();
        assert_eq!(object["errors"], errors, "{name}");
        for finding in findings {
            // JSON escapes what the terminal must not get; the text has question marks for it.
            let [code, message] = ["code", "message"]
                .map(|key| finding[key].as_str().unwrap().replace(|c: char| c.is_control(), "?"));
            assert!(stdout(&text).contains(&format!("[{code}]: {message}\n")), "{name}: {message}");
        }
        let lines: Vec<_> = findings.iter().map(|finding| finding["line"].as_u64().unwrap()).collect();
        assert!(lines.is_sorted(), "{name}: findings in the order of the file, not {lines:?}");
    }
}

#[test]
fn nothing_of_a_file_reaches_the_terminal_raw() {
    let output = postern(&folder("tests/golden"), &["check", "odd-characters.toml"]);
    assert!(!stdout(&output).contains('\u{1b}') && !stdout(&output).contains('\u{7}'));
}

/// A gateway with `count` doors, each with knocks far from all others.
fn crowded(count: u16, more: &str) -> String {
    let mut text = "schema = 1\n[gateway]\nname = \"g\"\ninterfaces = [\"eth0\"]\nguard_tcp = 1\n".to_owned();
    for door in 0..count {
        let knock = |place: u16| 10_000 + place * 4 * count + door * 4;
        let _ = write!(
            text,
            "[[door]]\nname = \"d{door}\"\nports = [\"tcp/{}\"]\nopen_for = \"30s\"\nallow = \
             [\"scan-probability\"]\nsequence = [\"tcp/{}\", \"tcp/{}\", \"tcp/{}\", \"tcp/{}\"]\n{more}",
            door + 1,
            knock(1),
            knock(3),
            knock(0),
            knock(2)
        );
    }
    text
}

#[test]
fn limits_of_the_whole_site() {
    let scratch = Scratch::new();
    for (count, code) in [(200, None), (230, Some("filter-size")), (257, Some("too-many-doors"))] {
        scratch.write("site.toml", crowded(count, ""));
        let output = postern(&scratch.0, &["check", "site.toml"]);
        match code {
            Some(code) => {
                expect_code(&output, INVALID_CONFIG);
                assert!(stdout(&output).contains(&format!("error[{code}]: ")), "{}", stdout(&output));
            }
            None => expect_code(&output, OK),
        }
    }
}

#[test]
fn a_site_that_cannot_be_read_is_a_failure_and_not_a_finding() {
    let scratch = Scratch::new();
    scratch.write("octets.toml", [0xff, 0xfe, 0x00]);
    for site in ["missing.toml", "octets.toml", "."] {
        let output = postern(&scratch.0, &["check", site]);
        expect_code(&output, FAILED);
        assert!(stderr(&output).contains(site), "{}", stderr(&output));
    }
}

#[test]
fn shipped_examples_are_beyond_reproach() {
    let directory = folder("examples");
    let scratch = Scratch::new();
    let mut seen = 0;
    for entry in fs::read_dir(&directory).unwrap() {
        let path = entry.unwrap().path();
        let (site, store) = (path.to_string_lossy(), scratch.0.join("store"));
        let checked = postern(&scratch.0, &["check", "--json", &site]);
        expect_code(&checked, OK);
        let object: serde_json::Value = serde_json::from_str(stdout(&checked)).unwrap();
        assert_eq!((&object["errors"], &object["warnings"]), (&0.into(), &0.into()), "{object:#}");
        expect_code(&postern(&scratch.0, &["compile", &site, "-o", &store.to_string_lossy()]), OK);
        expect_code(&postern(&scratch.0, &["show", &store.to_string_lossy()]), OK);
        seen += 1;
    }
    assert_eq!(seen, 3, "an example came or went");
}

#[test]
fn what_was_compiled_is_shown() {
    let scratch = Scratch::new();
    let site = folder("tests/golden/clean.toml");
    let compiled = postern(&scratch.0, &["compile", &site.to_string_lossy(), "-o", "store", "--json"]);
    expect_code(&compiled, OK);
    let object: serde_json::Value = serde_json::from_str(stdout(&compiled)).unwrap();
    let bytes = fs::metadata(scratch.0.join("store")).unwrap().len();
    assert_eq!((&object["store"]["path"], &object["store"]["bytes"]), (&"store".into(), &bytes.into()));
    let shown = postern(&scratch.0, &["show", "store"]);
    expect_code(&shown, OK);
    let wanted = [
        "gateway pump-station-17 on wwan0, eth0, ",
        "door ssh: tcp/22 for 30 s\n",
        "  opened by tcp/7351 udp/24011 icmp/83 tcp/1490 within 5000 ms\n",
        "  closed by tcp/1490 udp/24011 tcp/7351 within 5000 ms\n",
        "door service: tcp/502 udp/161 for 900 s\n",
        "  opened by udp/9313 tcp/23817 icmp/211 tcp/3790 within 10000 ms\n",
    ];
    let mut rest = stdout(&shown);
    for line in wanted {
        let (_, after) = rest.split_once(line).unwrap_or_else(|| panic!("{line:?} is missing in: {rest}"));
        rest = after;
    }
}

#[test]
fn whom_a_door_opens_for_is_shown() {
    let scratch = Scratch::new();
    let site = folder("tests/golden/prefixes.toml");
    expect_code(&postern(&scratch.0, &["compile", &site.to_string_lossy(), "-o", "store"]), OK);
    let shown = postern(&scratch.0, &["show", "store"]);
    expect_code(&shown, OK);
    for (door, whom) in [
        ("ssh: tcp/22", "IPv4 /20 or IPv6 /64"),
        ("web: tcp/443", "IPv4 /32 or IPv6 /64"),
        ("accepted: tcp/8443", "IPv4 /20 or IPv6 /128"),
    ] {
        let line = format!("door {door} for 30 s\n  for everybody in the client's {whom}\n");
        assert!(stdout(&shown).contains(&line), "{}", stdout(&shown));
    }
}

#[test]
fn a_site_with_errors_leaves_the_old_store_alone() {
    let scratch = Scratch::new();
    let store = scratch.write("store", "what was there before");
    for (name, code) in SAMPLES {
        if code == OK {
            continue;
        }
        let site = folder("tests/golden").join(format!("{name}.toml"));
        for json in [&[][..], &["--json"]] {
            let site = site.to_string_lossy();
            let words: Vec<&str> =
                ["compile", &site, "-o", "store"].into_iter().chain(json.to_vec()).collect();
            let output = postern(&scratch.0, &words);
            expect_code(&output, INVALID_CONFIG);
            assert_eq!(fs::read(&store).unwrap(), b"what was there before", "{name}");
        }
    }
    assert_eq!(scratch.names(), ["store"]);
}

#[test]
fn a_store_is_replaced_whole() {
    let scratch = Scratch::new();
    let store = scratch.write("store", vec![0x55; 1 << 20]);
    // Whoever has the old one open, as the daemon may, goes on reading the old one.
    let mut old = fs::File::open(&store).unwrap();
    let site = folder("tests/golden/clean.toml");
    let compile = ["compile", &site.to_string_lossy(), "-o", "store"].map(str::to_owned);
    let compile: Vec<&str> = compile.iter().map(String::as_str).collect();
    expect_code(&postern(&scratch.0, &compile), OK);
    let mut before = Vec::new();
    std::io::Read::read_to_end(&mut old, &mut before).unwrap();
    assert!(before == vec![0x55; 1 << 20], "the old file was written into");
    let first = fs::read(&store).unwrap();
    assert!(postern::compile::read_back(&first).is_ok());
    // The same site makes the same store.
    expect_code(&postern(&scratch.0, &compile), OK);
    assert!(fs::read(&store).unwrap() == first, "compiling twice gives two stores");
    assert_eq!(scratch.names(), ["store"], "nothing is left over");
}

#[test]
fn a_store_that_cannot_be_written_is_a_failure() {
    let scratch = Scratch::new();
    let site = folder("tests/golden/clean.toml");
    for output in ["missing/store", "/dev/full", "."] {
        let compiled = postern(&scratch.0, &["compile", &site.to_string_lossy(), "-o", output]);
        expect_code(&compiled, FAILED);
        assert!(stderr(&compiled).contains(output), "{}", stderr(&compiled));
    }
    assert_eq!(scratch.names(), [""; 0]);
}

#[test]
fn what_is_no_store_is_not_shown() {
    let scratch = Scratch::new();
    scratch.write("store", "schema = 1");
    expect_code(&postern(&scratch.0, &["show", "store"]), INVALID_CONFIG);
    expect_code(&postern(&scratch.0, &["show", "missing"]), FAILED);
}

#[test]
fn new_sequences_differ_and_pass_the_check() {
    let scratch = Scratch::new();
    let head = "schema = 1\n[gateway]\nname = \"g\"\ninterfaces = [\"eth0\"]\n[[door]]\nname = \"d\"\n";
    let mut made = Vec::new();
    for knocks in ["4", "5", "16"] {
        let output = postern(&scratch.0, &["new-sequence", "--knocks", knocks]);
        expect_code(&output, OK);
        let line = stdout(&output).to_owned();
        assert_eq!(line.matches('/').count().to_string(), knocks, "{line}");
        scratch.write("site.toml", format!("{head}ports = [\"tcp/22\"]\nopen_for = \"30s\"\n{line}"));
        let checked = postern(&scratch.0, &["check", "site.toml"]);
        expect_code(&checked, OK);
        assert!(stdout(&checked).contains("0 errors, 0 warnings"), "{}", stdout(&checked));
        assert!(!made.contains(&line), "{line} came twice");
        made.push(line);
    }
}

#[test]
fn completions_and_manual_pages() {
    let scratch = Scratch::new();
    for shell in ["bash", "zsh", "fish"] {
        let output = postern(&scratch.0, &["completions", shell]);
        expect_code(&output, OK);
        for word in ["new-sequence", "knock", "probe"] {
            assert!(stdout(&output).contains(word), "{shell} does not complete {word}");
        }
    }
    expect_code(&postern(&scratch.0, &["man", "made/here"]), OK);
    for page in ["postern.1", "postern-check.1", "postern-knock.1", "postern-compile.1", "postern-import.1"] {
        let text = fs::read_to_string(scratch.0.join("made/here").join(page)).expect(page);
        assert!(text.contains(".SH NAME") && text.contains(".SH SYNOPSIS"), "{page}: {text}");
    }
}

#[test]
fn wrong_usage_is_told_apart_from_failure() {
    let scratch = Scratch::new();
    let wrong: [&[&str]; 13] = [
        &[],
        &["chekc", "site.toml"],
        &["check"],
        &["compile", "site.toml"],
        &["new-sequence", "--knocks", "2"],
        &["completions", "tcsh"],
        &["knock", "127.0.0.1", "tcp/0"],
        &["knock", "127.0.0.1", "7351"],
        &["knock", "127.0.0.1", "icmp/1401"],
        &["knock", "127.0.0.1", "tcp/7351", "--probe", "udp/161"],
        &["knock", "127.0.0.1", "tcp/7351", "--probe", "tcp/0"],
        &["knock", "127.0.0.1", "tcp/7351", "--retry", "2"],
        &["knock", "127.0.0.1", "tcp/7351", "--site", "site.toml", "--door", "ssh"],
    ];
    for words in wrong {
        let output = postern(&scratch.0, words);
        expect_code(&output, USAGE);
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{words:?}");
    }
    expect_code(&postern(&scratch.0, &["--help"]), OK);
    expect_code(&postern(&scratch.0, &["--version"]), OK);
}

#[test]
fn knocking_with_a_bad_site_sends_nothing() {
    let scratch = Scratch::new();
    let golden = folder("tests/golden");
    let knock = |site: &str, door: &str| {
        let site = golden.join(site).to_string_lossy().into_owned();
        postern(&scratch.0, &["knock", "127.0.0.1", "--site", &site, "--door", door])
    };
    expect_code(&knock("syntax-error.toml", "ssh"), INVALID_CONFIG);
    for (site, door, words) in
        [("clean.toml", "shh", "shh"), ("no-way-in.toml", "ssh", "sequence"), ("missing.toml", "ssh", "read")]
    {
        let output = knock(site, door);
        expect_code(&output, FAILED);
        assert!(stderr(&output).contains(words), "{}", stderr(&output));
    }
}
