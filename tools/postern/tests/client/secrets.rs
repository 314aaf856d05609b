//! Secrets are printed where that was asked for, and nowhere else.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::Stdio;

use nix::pty::openpty;

use crate::bench::{Bench, DEVICE_TEXT, SECRET};

fn secret() -> String {
    postern::base64::encode(&SECRET)
}

#[test]
fn no_command_tells_the_secret_but_an_export() {
    let bench = Bench::new();
    let export =
        ["key", "export", "maria", "--site", "site.toml", "--gateway", "gw", "--device", DEVICE_TEXT];
    let (line, _) = bench.expect(&export, 0);
    assert!(line.contains(&secret()), "{line}");
    let to_file = [&export[..], &["-o", "maria.line"]].concat();
    for arguments in [
        &to_file[..],
        &["key", "import", "maria.line", "--name", "imported"],
        &["knock", "spa", "--dry-run"],
        &["knock", "spa", "--verbose"],
        &["knock", "spa", "--check", "--json"],
        &["key", "show", "--site", "site.toml", "--json"],
        &["key", "rotate", "maria", "--site", "site.toml", "--dry-run"],
        &["key", "disable", "maria", "--site", "site.toml"],
        &[&export[..], &["--qr", "--ascii"]].concat(),
    ] {
        let (printed, said) = bench.expect(arguments, 0);
        assert!(!printed.contains(&secret()) && !said.contains(&secret()), "{arguments:?}\n{printed}{said}");
    }
    // Nor do errors quote what they could not read.
    let broken = line.trim().replace("&door=", "&dour=");
    bench.write("broken.line", &broken, 0o600);
    let (printed, said) = bench.expect(&["key", "import", "broken.line", "--json"], 2);
    assert!(!printed.contains(&secret()) && !said.contains(&secret()), "{printed}{said}");
    let profiles = bench.read(".config/postern/clients.toml");
    assert!(!profiles.contains(&secret()), "the profile file holds no secret");
    assert_eq!(bench.read(".config/postern/keys/imported.key").trim(), secret());
}

#[test]
fn what_is_made_is_for_nobody_else() {
    use std::os::unix::fs::PermissionsExt;
    let bench = Bench::new();
    std::fs::remove_dir_all(bench.path(".config")).unwrap();
    bench.mode("site.toml", 0o640);
    bench.expect(&["key", "new", "otto", "--door", "ssh", "--site", "site.toml"], 0);
    let export = ["key", "export", "otto", "--site", "site.toml", "--gateway", "gw", "--device", DEVICE_TEXT];
    bench.expect(&[&export[..], &["-o", "otto.line"]].concat(), 0);
    bench.expect(&["key", "import", "otto.line"], 0);
    for (name, mode) in [
        ("keys/otto.key", 0o600),
        ("otto.line", 0o600),
        // The site file keeps the permissions it had.
        ("site.toml", 0o640),
        (".config/postern", 0o700),
        (".config/postern/clients.toml", 0o600),
        (".config/postern/keys", 0o700),
        (".config/postern/keys/pump-17.key", 0o600),
    ] {
        let found = bench.path(name).metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(found, mode, "{name} has {found:o}");
    }
    assert_ne!(bench.read("keys/otto.key"), bench.read("keys/maria.key"));
    assert_eq!(bench.read("keys/otto.key"), bench.read(".config/postern/keys/pump-17.key"));
}

/// The line comes from standard input, or is typed where nobody sees it.
#[test]
fn a_line_is_piped_or_typed_without_echo() {
    let bench = Bench::new();
    let export =
        ["key", "export", "maria", "--site", "site.toml", "--gateway", "gw", "--device", DEVICE_TEXT];
    let (line, _) = bench.expect(&export, 0);
    let mut piped = bench.command(env!("CARGO_BIN_EXE_postern"), &["key", "import", "-", "--name", "piped"]);
    let mut piped = piped.stdin(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    piped.stdin.take().unwrap().write_all(line.as_bytes()).unwrap();
    assert!(piped.wait().unwrap().success());
    let pty = openpty(None, None).unwrap();
    // A session of its own, whose terminal is the other end (setsid(1), util-linux).
    let tool = env!("CARGO_BIN_EXE_postern");
    let mut typing = {
        let words = ["--wait", "--ctty", tool, "key", "import", "--name", "typed"];
        let mut command = bench.command("setsid", &words);
        let end = |end: &OwnedFd| Stdio::from(end.try_clone().unwrap());
        command.stdin(end(&pty.slave)).stdout(end(&pty.slave)).stderr(end(&pty.slave));
        // The command holds the terminal's end, which must be closed for its master to see the end.
        command.spawn().expect("setsid of util-linux")
    };
    drop(pty.slave);
    let mut terminal = File::from(pty.master);
    let mut shown = String::new();
    let mut octet = [0];
    while !shown.ends_with("printed: ") && terminal.read(&mut octet).is_ok_and(|count| count == 1) {
        shown.push(char::from(octet[0]));
    }
    terminal.write_all(line.as_bytes()).unwrap();
    let mut rest = Vec::new();
    while terminal.read(&mut octet).is_ok_and(|count| count == 1) {
        rest.push(octet[0]);
    }
    let said = shown + &String::from_utf8_lossy(&rest);
    assert!(typing.wait().unwrap().success(), "{said}");
    assert!(!said.contains(&secret()), "{said}");
    for name in ["piped", "typed"] {
        assert_eq!(bench.read(&format!(".config/postern/keys/{name}.key")).trim(), secret());
    }
}
