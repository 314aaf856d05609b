//! What a person sees. Whole transcripts are golden: `POSTERN_REFRESH=1` writes them anew.

use std::path::Path;

use postern_config::Role;
use postern_config::spelled::Spelled;
use postern_console::rpc::{InvalidConfig, Refusal};

use crate::person::{Desk, PASSWORD};

fn golden(name: &str, transcript: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/session/golden").join(name);
    if std::env::var_os("POSTERN_REFRESH").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, transcript).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(transcript, expected, "{name}: POSTERN_REFRESH=1 writes it anew");
    for line in transcript.lines() {
        // What the person types stands behind the prompt and may be longer.
        assert!(line.len() <= 80 || line.contains("> "), "wider than a terminal: {line}");
    }
}

#[test]
fn from_the_first_start_to_a_committed_configuration() {
    let mut desk = Desk::new();
    desk.type_in("maria lopez\r").type_in("maria\r").type_in("short\r");
    desk.type_in(&format!("{PASSWORD}\r")).type_in("something else\r");
    desk.type_in(&format!("{PASSWORD}\r{PASSWORD}\r"));
    desk.type_in("set door ssh sequence tcp/7351 udp/24011 icmp/83 tcp/1490\r");
    desk.type_in("set door ssh open-for 45s\r").type_in("diff\r").type_in("check\r");
    desk.type_in("commit confirm 10m\r").type_in("status\r").type_in("confirm\r").type_in("logout\r");
    golden("first-start.txt", &desk.read());
    assert_eq!(desk.gateway.running.doors[0].open_for_secs, 45);
    assert_eq!(desk.gateway.running.sequences.len(), 1);
    assert!(!desk.gateway.running.guards.is_empty(), "guards are chosen on the box");
}

#[test]
fn mistakes_help_and_completion() {
    let mut desk = Desk::logged_in();
    desk.type_in("shwo\r").type_in("d\r").type_in("set door ssh open-for 30\r");
    desk.type_in("set gateway name \"two words\"\r").type_in("set door ssh ports tcp/22 \"oops\r");
    desk.type_in("commit confrim 10m\r").type_in("revoke nobody\r");
    desk.type_in("set d\t ss\topen\t1m\r").type_in("se?\x15").type_in("set door ssh ?\x15");
    desk.type_in("set firewall backend ?\x15").type_in("co\t\t\x15").type_in("discard\r");
    golden("mistakes.txt", &desk.read());
}

#[test]
fn lists_and_pages() {
    let mut desk = Desk::logged_in();
    desk.type_in("doors\r").type_in("\r").type_in(" ").type_in("grants\r").type_in("keys\r");
    desk.type_in("history\r").type_in("log 4\r").type_in("show\r").type_in("show running\r");
    desk.type_in("show door ssh\r").type_in("help\r ").type_in("doors\rq").type_in("reboot\r");
    desk.type_in("rebase alice\r").type_in("rebase bob\r").type_in("rebase\r");
    golden("lists.txt", &desk.read());
}

#[test]
fn the_cable_is_pulled_during_a_trial() {
    let mut desk = Desk::logged_in();
    desk.type_in("set gateway name pump-18\r").type_in("commit confirm 1m\r");
    assert!(desk.read().contains("pump-18 (trial 1:00)> "));
    desk.session.line_lost();
    desk.gateway.end_trial();
    desk.pass(120);
    assert_eq!(desk.read(), "", "nobody is there to read");
    desk.type_in("\rmaria\r").type_in(&format!("{PASSWORD}\r")).type_in("show\r");
    let shown = desk.read();
    assert!(shown.contains("pump-17> show") && shown.contains("set gateway name pump-17"), "{shown}");
    assert!(!shown.contains("pump-18\n"), "{shown}");
}

#[test]
fn the_prompt_counts_down_and_marks_changes() {
    let mut desk = Desk::logged_in();
    desk.type_in("set console idle-lock 1h\r");
    assert!(desk.read().ends_with("pump-17*> "));
    desk.type_in("commit confirm 10m\r");
    assert!(desk.read().ends_with("pump-17 (trial 10:00)> "));
    desk.pass(19).type_in("\r");
    assert!(desk.read().ends_with("pump-17 (trial 9:41)> "));
    desk.type_in("cancel\r");
    assert!(desk.read().ends_with("pump-17> "));
}

#[test]
fn a_trial_that_is_taken_back_is_told_and_can_be_mended() {
    let mut desk = Desk::logged_in();
    desk.type_in("set door ssh open-for 1s\r").type_in("commit confirm 30s\r").type_in("shwo\r");
    desk.pass(3).type_in("confirm 10m\r").type_in("set door ssh open");
    desk.pass(26);
    desk.gateway.end_trial();
    desk.pass(1);
    // What was being typed is still there.
    desk.type_in("-for 45s\r").type_in("diff\r").type_in("show running\r").type_in("commit\r");
    golden("trial-over.txt", &desk.read());
    assert_eq!(desk.gateway.running.doors[0].open_for_secs, 45);
}

#[test]
fn the_end_of_a_trial_is_asked_for_before_the_next_prompt() {
    let mut desk = Desk::logged_in();
    desk.type_in("set door ssh open-for 45s\r").type_in("commit confirm 30s\r").type_in("doors\r");
    desk.pass(31);
    // A page is full. The daemon has not got round to it; then somebody else confirms.
    desk.type_in("q");
    assert!(desk.read().ends_with("(trial 0:30)> "));
    desk.gateway.trial_secs = None;
    desk.pass(30);
    let shown = desk.read();
    assert!(shown.contains("was confirmed elsewhere: it stands") && shown.ends_with("pump-17> "), "{shown}");
}

#[test]
fn whoever_is_overtaken_is_told_and_decides() {
    let mut desk = Desk::logged_in();
    desk.type_in("set gateway name pump-18\r");
    desk.gateway.generation += 1;
    desk.gateway.running.doors[0].open_for_secs = 77;
    desk.read();
    desk.type_in("commit\r");
    let shown = desk.read();
    assert!(
        shown.contains("generation 4 is in force") && shown.contains("Your candidate is kept"),
        "{shown}"
    );
    desk.type_in("diff\r");
    let shown = desk.read();
    assert!(shown.contains("+ set gateway name pump-18") && shown.contains("- set door ssh open-for 77s"));
    desk.type_in("commit\r");
    assert!(desk.read().contains("Generation 5 is in force."));
    assert_eq!(desk.gateway.running.doors[0].open_for_secs, 30, "it was shown, and wanted");
}

#[test]
fn why_rules_cannot_be_run_is_said_at_the_line() {
    let mut desk = Desk::logged_in();
    desk.type_in("set door ssh sequence tcp/22 tcp/22\r");
    desk.read();
    desk.gateway.refuse_at_commit = Some(Refusal::Invalid(InvalidConfig::Rules));
    desk.type_in("commit\r");
    let shown = desk.read();
    assert!(shown.contains("Refused: door ssh: its sequence has a knock that follows itself."), "{shown}");
    assert!(shown.ends_with("pump-17*> "), "the candidate stays: {shown}");
}

#[test]
fn weak_knocks_are_told_when_set_checked_and_committed() {
    let mut desk = Desk::logged_in();
    desk.type_in("set door ssh sequence tcp/7000 tcp/8000 tcp/9000\r").type_in("check\r").type_in("commit\r");
    desk.type_in("set door ssh open-for 45s\r").type_in("commit\r");
    desk.type_in("set door ssh allow short-sequence monotone-sequence service-port\r").type_in("check\r");
    desk.type_in("set door web ports tcp/7351 udp/24011\r");
    desk.type_in("set door web seq tcp/1490 tcp/7351 icmp/56 tcp/2222 tcp/1490 udp/40000\r");
    desk.type_in("check\r").type_in("delete door web sequence\r").type_in("commit\r");
    golden("weak-knocks.txt", &desk.read());
    assert_eq!(desk.gateway.running.sequences.len(), 1, "told, and done all the same");
}

#[test]
fn only_the_door_that_was_set_is_told_of() {
    let mut desk = Desk::logged_in();
    desk.type_in("set door ssh sequence tcp/7000 tcp/7700\r");
    let shown = desk.read();
    assert!(shown.contains("[short-sequence]") && shown.contains("[monotone-sequence]"), "{shown}");
    assert!(shown.contains("accepts what stands in brackets") && !shown.contains("There is more"), "{shown}");
    // Three fit beside another answer.
    desk.type_in("set door ssh sequence tcp/7000 tcp/8000\r");
    let shown = desk.read();
    assert!(shown.contains("accepts what stands in brackets") && !shown.contains("There is more"), "{shown}");
    // A door that is called like a field of the gateway.
    desk.type_in("set door name ports tcp/443\r").type_in("set door name sequence tcp/1490 tcp/1491\r");
    let shown = desk.read();
    assert!(shown.contains("door name: ") && !shown.contains("door ssh: "), "{shown}");
    desk.type_in("set gateway name s\r").type_in("set door name open-for 45s\r");
    let shown = desk.read();
    assert!(!shown.contains("door name: ") && !shown.contains("door ssh: "), "{shown}");
}

#[test]
fn a_watched_line_is_locked_too() {
    let mut desk = Desk::logged_in();
    desk.type_in("test knock\r");
    for _ in 0..601 {
        desk.pass(1);
    }
    let shown = desk.read();
    assert!(shown.contains("Session ended: nobody pressed a key."), "{shown}");
    assert!(desk.type_in("show\r").read().contains("login: "));
}

#[test]
fn a_line_that_is_refused_changes_nothing() {
    let mut desk = Desk::logged_in();
    for line in ["set door web ports tcp/99999", "set door web sequence", "set door web open-for 1"] {
        desk.type_in(line).type_in("\r");
        assert!(desk.read().ends_with("pump-17> "), "{line}");
    }
    for (line, told) in [
        ("confirm 10m", "nothing stands behind `confirm`"),
        ("wipe now", "nothing stands behind `wipe`"),
        ("test foo", "`test knock`"),
    ] {
        desk.type_in(line).type_in("\r");
        let shown = desk.read();
        assert!(shown.contains(told) && shown.ends_with("pump-17> "), "{shown}");
    }
    desk.type_in("exit\r");
    assert!(desk.read().contains("Logged out."));
}

#[test]
fn the_caret_stands_below_the_mistake_whatever_the_prompt_says() {
    let mut desk = Desk::logged_in();
    desk.type_in("set console idle-lock 1h\r").type_in("commit confirm 10m\r").type_in("doosr\r");
    let shown = desk.read();
    let lines: Vec<&str> = shown.lines().collect();
    let typed = lines.iter().position(|line| line.ends_with("doosr")).unwrap();
    assert_eq!(lines[typed].find("doosr"), lines[typed + 1].find('^'), "{shown}");
    let knocks: String = (1001..1010).map(|port| format!(" tcp/{port}")).collect();
    desk.type_in(&format!("set door ssh sequence{knocks} not/one\r"));
    let shown = desk.read();
    let caret = shown.lines().find_map(|line| line.find('^')).unwrap();
    let typed = shown.lines().find_map(|line| line.find("not/one")).unwrap();
    let prompt = "pump-17 (trial 10:00)> ".len();
    assert_eq!(caret, (prompt + typed) % 80, "in the row it went on in: {shown}");
}

#[test]
fn wrong_passwords_and_waiting() {
    let mut desk = Desk::enrolled();
    desk.type_in("\rmaria\r").type_in("wrong password\r");
    let shown = desk.read();
    assert!(shown.contains("login failed.") && shown.ends_with("login: "), "{shown}");
    assert!(!shown.contains("wrong"), "a password is never shown");
    desk.gateway.refuse_next = Some(Refusal::TooSoon { secs: 8 });
    desk.type_in("maria\rwrong password\r");
    assert!(desk.read().contains("try again in 8 s"));
    desk.type_in("not a name\rx\r");
    assert!(desk.read().contains("login failed."), "a name that cannot be is asked for a password, too");
}

#[test]
fn nobody_at_the_console_is_logged_out() {
    let mut desk = Desk::logged_in();
    desk.type_in("set gateway name pump-18\r").pass(599);
    assert!(!desk.read().contains("Session ended"));
    desk.pass(1);
    assert!(desk.read().contains("Session ended"));
    desk.type_in("show\r");
    let shown = desk.read();
    assert!(shown.contains("login: ") && !shown.contains("set gateway"), "{shown}");
    desk.type_in("\x10\x10");
    assert!(!desk.read().contains("set"), "the history is forgotten, too");
}

#[test]
fn a_break_glass_token_is_typed_over_several_lines() {
    let mut desk = Desk::enrolled();
    desk.type_in("\rbreak-glass\r");
    let shown = desk.read();
    let mut challenge = [0x11; 32];
    challenge[16..].fill(0x22);
    assert!(shown.contains("BREAK GLASS") && shown.contains(&Spelled(&challenge).to_string()), "{shown}");
    let mut signature = [0x33; 64];
    signature[32..].fill(0x44);
    let token = Spelled(&signature).to_string();
    let wrong = token.replacen('6', "7", 1);
    desk.type_in(&format!("{}\r", wrong.replace('\n', "\r")));
    assert!(desk.read().contains("group 1 is wrong"));
    desk.type_in("\r");
    desk.type_in("break-glass\r").type_in(&format!("{}\r", token.replace('\n', "\r")));
    assert!(desk.gateway.glass_broken);
    desk.type_in("nora\r").type_in(&format!("{PASSWORD}\r{PASSWORD}\r"));
    assert!(desk.read().contains("Logged in as nora (admin)"));
}

#[test]
fn the_daemon_is_started_anew() {
    let mut desk = Desk::logged_in();
    desk.session.daemon_lost();
    desk.settle();
    assert!(desk.read().contains("waiting for it"));
    // Nothing is done, but whoever presses Enter is told why.
    desk.type_in("show\r");
    assert_eq!(desk.read(), "\nThe gateway's daemon does not answer; waiting for it.\n");
    desk.session.daemon_found(desk.now);
    desk.settle();
    assert!(desk.read().ends_with("login: "));
}

#[test]
fn a_daemon_that_does_not_answer_is_given_up() {
    let mut desk = Desk::logged_in();
    for octet in b"status\r" {
        desk.session.key(*octet, desk.now);
    }
    while desk.session.take_output().is_some() {}
    let frame = desk.session.frame().len();
    desk.session.sent(frame);
    desk.pass(30);
    assert!(desk.read().contains("does not answer"));
}

#[test]
fn knocks_are_watched_until_a_key() {
    let mut desk = Desk::logged_in();
    desk.type_in("test knock\r");
    desk.pass(1).pass(1);
    let shown = desk.read();
    assert_eq!(shown.matches("192.0.2.1 tcp/7351: door ssh, knock 1 of 4").count(), 1, "{shown}");
    desk.type_in("x");
    assert!(desk.read().ends_with("pump-17> "));
}

#[test]
fn erasing_is_for_admins() {
    for role in [Role::Viewer, Role::Operator] {
        let mut desk = Desk::logged_in_as(role);
        desk.type_in("wipe\r");
        assert_eq!(desk.read().lines().rev().nth(1), Some("That needs the role admin."));
        desk.type_in("abab\r");
        assert!(!desk.gateway.wiped);
    }
}

#[test]
fn erasing_wants_a_word() {
    let mut desk = Desk::logged_in();
    desk.type_in("wipe\r").type_in("yes\r");
    assert!(desk.read().contains("Nothing was erased") && !desk.gateway.wiped);
    desk.type_in("wipe\r").type_in("abab\r");
    assert!(desk.gateway.wiped);
    assert!(desk.read().ends_with("name of the new account: "));
}

#[test]
fn accounts_go_into_the_candidate() {
    let mut desk = Desk::logged_in();
    desk.type_in("account add otto operator\r").type_in(&format!("{PASSWORD}\r{PASSWORD}\r"));
    assert!(desk.read().ends_with("pump-17*> "));
    desk.type_in("commit\r");
    assert_eq!(desk.gateway.running.accounts[0].name, "otto");
    desk.type_in("account delete otto\r").type_in("commit\r");
    assert!(desk.gateway.running.accounts.is_empty());
    desk.type_in("account delete otto\r");
    assert!(desk.read().contains("no such account"));
}

#[test]
fn a_conflict_is_told() {
    let mut desk = Desk::logged_in();
    desk.type_in("set gateway name pump-18\r");
    desk.gateway.generation = 9;
    desk.type_in("commit\r");
    assert!(desk.read().contains("generation 9 is in force"));
}

#[test]
fn a_program_at_the_line_is_relayed() {
    let mut desk = Desk::enrolled();
    desk.type_in("\r");
    assert!(!desk.session.is_relay());
    desk.session.key(0, desk.now);
    assert!(desk.session.is_relay());
    desk.session.line_lost();
    assert!(!desk.session.is_relay());
    // Inside a session, and for noise of a line that is plugged in, nothing of that happens.
    let mut desk = Desk::logged_in();
    desk.session.key(0, desk.now);
    assert!(!desk.session.is_relay());
}
