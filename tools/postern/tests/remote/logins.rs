//! Peers who are nobody on the gateway's machine log in, or stay out.

use crate::tool::{Bench, PASSWORD};

const NOBODY: u32 = 1000;

fn log_in<'a>(name: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["--account", name, "--password-file", "password"], more].concat()
}

#[test]
fn the_right_password_and_no_other() {
    let bench = Bench::configured(NOBODY);
    bench.ask(&log_in("maria", &["status"]), 0);
    bench.ask(&["status"], 5);
    // Without a terminal nobody can be asked.
    let (_, said) = bench.ask(&["--account", "maria", "status"], 5);
    assert!(said.contains("password"), "{said}");
    bench.write("password", "wrong horse battery\n", 0o600);
    let (printed, said) = bench.ask(&log_in("maria", &["status", "--json"]), 5);
    assert!(printed.contains("\"code\": \"login-failed\""), "{printed}");
    let (_, of_nobody) = bench.ask(&log_in("nobody", &["status"]), 5);
    assert_eq!(said, of_nobody, "a name that exists is refused like any other");
    bench.ask(&log_in("maria", &["status"]), 5);
    // The fourth wrong one has to wait.
    let (printed, _) = bench.ask(&log_in("maria", &["status", "--json"]), 5);
    assert!(printed.contains("login-failed") || printed.contains("too-soon"), "{printed}");
    let (printed, _) = bench.ask(&log_in("maria", &["status", "--json"]), 5);
    assert!(printed.contains("\"code\": \"too-soon\""), "{printed}");
}

#[test]
fn a_viewer_looks_and_does_not_touch() {
    let bench = Bench::configured(NOBODY);
    bench.ask(&log_in("otto", &["doors"]), 0);
    bench.ask(&log_in("otto", &["config", "get"]), 0);
    let (printed, _) = bench.ask(&log_in("otto", &["config", "set", "door.ssh.open_for=31s", "--json"]), 5);
    assert!(printed.contains("\"code\": \"not-allowed\""), "{printed}");
    bench.ask(&log_in("otto", &["revoke", "ssh"]), 5);
    bench.ask(&log_in("maria", &["config", "set", "door.ssh.open_for=31s"]), 0);
    // A difference is seen without the right to change it.
    bench.ask(&log_in("otto", &["config", "diff", "site.toml"]), 9);
}

#[test]
fn a_password_others_may_read_is_not_used() {
    let bench = Bench::configured(NOBODY);
    bench.write("password", PASSWORD, 0o640);
    let (_, said) = bench.ask(&log_in("maria", &["status"]), 5);
    assert!(said.contains("chmod 600"), "{said}");
    bench.write("password", "", 0o600);
    bench.ask(&log_in("maria", &["status"]), 5);
    bench.write("password", "short\n", 0o600);
    let (_, said) = bench.expect(&["account", "verifier", "--new-password-file", "password"], 2);
    assert!(said.contains("10 characters"), "{said}");
}

#[test]
fn who_comes_first_enrols() {
    let bench = Bench::new(NOBODY);
    let (printed, _) = bench.ask(&log_in("maria", &["status", "--json"]), 1);
    assert!(printed.contains("\"code\": \"not-enrolled\""), "{printed}");
    bench.ask(&["enrol", "maria", "--new-password-file", "password"], 0);
    bench.ask(&log_in("maria", &["account", "list"]), 0);
    bench.ask(&["enrol", "eva", "--new-password-file", "password"], 1);
}

#[test]
fn the_last_of_a_new_password_works() {
    let bench = Bench::configured(NOBODY);
    bench.write("new", "another horse battery", 0o600);
    bench.ask(&log_in("maria", &["account", "password", "otto", "--new-password-file", "new"]), 0);
    bench.ask(&log_in("otto", &["status"]), 5);
    bench.ask(&["--account", "otto", "--password-file", "new", "status"], 0);
}

#[test]
fn the_owner_lets_somebody_in_once() {
    let bench = Bench::new(NOBODY);
    let (owner, _) = bench.expect(&["owner", "new", "-o", "owner.key"], 0);
    bench.gateway.configure(&crate::tool::site_text().replacen('\n', &format!("\n{owner}"), 1));
    bench.write("new", "another horse battery", 0o600);
    let (challenge, _) = bench.ask(&["recover"], 0);
    assert_eq!(challenge, bench.ask(&["recover"], 0).0, "the same until it is used");
    let words: Vec<&str> = challenge.split_whitespace().collect();
    let sign = [&["owner", "sign-break-glass", "--key", "owner.key"], words.as_slice()].concat();
    let (token, _) = bench.expect(&sign, 0);
    bench.write("token", &token, 0o600);
    let recover = ["recover", "eva", "--token-file", "token", "--new-password-file", "new"];
    // Another owner's signature, or one that was misheard, does not do.
    bench.expect(&["owner", "new", "-o", "stranger.key"], 0);
    let foreign = [&["owner", "sign-break-glass", "--key", "stranger.key"], words.as_slice()].concat();
    bench.write("token", &bench.expect(&foreign, 0).0, 0o600);
    bench.ask(&recover, 5);
    bench.write("token", &token.replacen(&token[..1], if &token[..1] == "7" { "8" } else { "7" }, 1), 0o600);
    let (_, said) = bench.ask(&recover, 2);
    assert!(said.contains("group 1 is wrong"), "{said}");
    bench.write("token", &token, 0o600);
    bench.ask(&recover, 0);
    bench.ask(&["--account", "eva", "--password-file", "new", "account", "list"], 0);
    bench.ask(&log_in("maria", &["status"]), 0);
    // Used up.
    bench.ask(&recover, 5);
    assert_ne!(challenge, bench.ask(&["recover"], 0).0);
}
