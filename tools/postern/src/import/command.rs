//! What a start or stop command of knockd does to the firewall, read from its text.
//!
//! Commands are recognised, never run. A command that is understood in full becomes an
//! [`Action`]; one that is understood in part is refused: half a meaning is none.

use postern_core::ServicePort;

use super::report::{Text, refusal, shown, warning};
use super::words::{self, Joint, Word};
use crate::finding::Finding;

mod firewalld;
mod helper;
mod ipset;
mod iptables;
mod nft;
mod ports;
mod ufw;

/// The token knockd replaces by the knocker's address.
const SOURCE: &str = "%IP%";

/// What one command does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Lets the knocker reach these ports, for as many seconds as the command itself says.
    Open(Rule),
    /// Takes that back.
    Close(Rule),
    /// Looks whether a rule is there.
    Check,
    /// Waits this many seconds.
    Wait(u32),
    /// Prints or logs something.
    Nothing,
}

/// What is let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    /// Sorted, without duplicates, at least one.
    pub(super) ports: Vec<ServicePort>,
    /// How long the command itself bounds it.
    pub(super) lifetime_s: Option<u32>,
}

/// Reads a command line. Warnings go to `findings`; what is not understood is the error.
pub(super) fn actions(line: Text<'_>, findings: &mut Vec<Finding>) -> Result<Vec<Action>, Finding> {
    let mut actions: Vec<Action> = Vec::new();
    for command in words::split(line)? {
        let mut arguments = Arguments { line, words: &command.words, next: 0 };
        let first = arguments.peek().map_or(0, |word| word.offset);
        if command.joint == Joint::Otherwise && actions.last() != Some(&Action::Check) {
            return Err(refusal(
                line.at(first),
                "shell",
                "the command after `||` runs only when the one before fails",
                "Write the firewall command alone.",
            ));
        }
        actions.push(action(&mut arguments, findings)?);
    }
    Ok(actions)
}

fn action(arguments: &mut Arguments<'_>, findings: &mut Vec<Finding>) -> Result<Action, Finding> {
    let mut program = arguments.value("a program")?;
    if base_name(program) == "sudo" {
        while arguments.next_if(|word| word == "-n" || word == "-E" || word == "--").is_some() {}
        program = arguments.value("a program behind sudo")?;
    }
    match base_name(program) {
        "iptables" | "iptables-legacy" | "iptables-nft" | "ip6tables" | "ip6tables-legacy"
        | "ip6tables-nft" => iptables::action(arguments, findings),
        "nft" => nft::action(arguments, findings),
        "ufw" => ufw::action(arguments, findings),
        "firewall-cmd" => firewalld::action(arguments, findings),
        "ipset" => ipset::action(arguments, findings),
        "knock_add" | "knock_helper_ipt" | "knock_helper_ipt.sh" => helper::action(arguments, findings),
        "sleep" => sleep(arguments),
        "logger" | "echo" | "true" | ":" => Ok(Action::Nothing),
        name => Err(unknown_program(arguments, program, name)),
    }
}

/// Whether the first program of a command line is `nft`.
pub(super) fn is_nft(line: Text<'_>) -> bool {
    let words = line.text.split_whitespace();
    words.map(|word| word.rsplit('/').next().unwrap_or("")).find(|word| *word != "sudo") == Some("nft")
}

fn base_name(program: &Word) -> &str {
    program.text.rsplit('/').next().unwrap_or("")
}

fn sleep(arguments: &mut Arguments<'_>) -> Result<Action, Finding> {
    let time = arguments.value("a time")?;
    let seconds = seconds(&time.text).filter(|_| arguments.peek().is_none());
    seconds.map(Action::Wait).ok_or_else(|| {
        arguments.refuse(time, "bad-time", "how long it sleeps cannot be told", "Write whole seconds.")
    })
}

/// A time with or without units, largest first, as `sleep`, nft and firewalld write it: `90`,
/// `90s`, `1h30m`.
fn seconds(text: &str) -> Option<u32> {
    let mut total: u32 = 0;
    let mut number: Option<u32> = None;
    for character in text.chars() {
        if let Some(digit) = character.to_digit(10) {
            number = Some(number.unwrap_or(0).checked_mul(10)?.checked_add(digit)?);
            continue;
        }
        let unit = match character {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 86_400,
            _ => return None,
        };
        total = total.checked_add(number.take()?.checked_mul(unit)?)?;
    }
    total.checked_add(number.unwrap_or(0)).filter(|_| !text.is_empty())
}

fn unknown_program(arguments: &Arguments<'_>, program: &Word, name: &str) -> Finding {
    let suggestion = match name {
        "service" | "systemctl" | "rc-service" | "invoke-rc.d" | "initctl" => {
            "Keep the service running and let a door guard its port; Postern starts and stops nothing."
        }
        "etherwake" | "wakeonlan" | "wol" => {
            "Postern wakes no hosts; let something that reads its audit lines do it."
        }
        "mail" | "mailx" | "sendmail" | "curl" | "wget" => {
            "Every opening is an audit line (syslog, RFC 5424); let the receiver of the log act on it."
        }
        "sh" | "bash" | "dash" | "ash" | "env" | "eval" => {
            "Write the firewall command alone, without a shell."
        }
        "iptables-restore" | "ip6tables-restore" | "iptables-apply" => {
            "Write what is let in as a door: `ports = [\"tcp/22\"]`."
        }
        _ => {
            "If it opens ports for the knocker, write them into the site file as a door: `ports = [\"tcp/22\"]`."
        }
    };
    let message =
        format!("`{}` is no firewall command that is known; Postern runs no commands", shown(&program.text));
    arguments.refuse(program, "unknown-command", message, suggestion)
}

/// The words of one command, one after the other.
struct Arguments<'a> {
    line: Text<'a>,
    words: &'a [Word],
    next: usize,
}

impl<'a> Arguments<'a> {
    fn peek(&self) -> Option<&'a Word> {
        self.words.get(self.next)
    }

    fn next(&mut self) -> Option<&'a Word> {
        let word = self.words.get(self.next)?;
        self.next += 1;
        Some(word)
    }

    fn next_if(&mut self, wanted: impl FnOnce(&str) -> bool) -> Option<&'a Word> {
        if wanted(&self.peek()?.text) { self.next() } else { None }
    }

    /// The next word; `what` is missing when there is none.
    fn value(&mut self, what: &str) -> Result<&'a Word, Finding> {
        self.next().ok_or_else(|| {
            let place = self.line.at(self.line.text.len());
            refusal(
                place,
                "incomplete",
                format!("the command ends where {what} should stand"),
                "Complete it.",
            )
        })
    }

    fn refuse(
        &self,
        word: &Word,
        code: &'static str,
        message: impl Into<String>,
        suggestion: impl Into<String>,
    ) -> Finding {
        refusal(self.line.at(word.offset), code, message, suggestion)
    }

    /// A word that the reader of this command does not know.
    fn unknown(&self, word: &Word) -> Finding {
        let message =
            format!("`{}` is not understood here, so what the command does is not known", shown(&word.text));
        let suggestion = "Write the command without it, or write the door into the site file by hand.";
        self.refuse(word, "not-understood", message, suggestion)
    }

    /// The rule lets in less than the door will: `word` is an address of the gateway, or an
    /// interface.
    fn wider(&self, word: &Word) -> Finding {
        let limit = shown(&word.text);
        warning(
            self.line.at(word.offset),
            "wider-door",
            format!("the rule is for `{limit}` only; the door opens on every address and interface"),
            "Still for the knocker's address only. Keep a rule of your own if other networks must not be reached.",
        )
    }

    /// The command lets everybody in.
    fn for_everybody(&self) -> Finding {
        refusal(
            self.line.place,
            "for-everybody",
            format!("the command opens for everybody: no `{SOURCE}` as source address"),
            "A Postern door opens for the knocker only; add it as a door if that is enough.",
        )
    }

    /// The command lets the knocker reach everything.
    fn every_port(&self) -> Finding {
        refusal(
            self.line.place,
            "no-port",
            "the command names no port: it opens every service to the knocker",
            "Decide which services are meant and write a door with `ports = [...]`.",
        )
    }

    /// Checks that `word` is exactly the knocker's address.
    fn source(&self, word: &Word) -> Result<(), Finding> {
        match word.text.strip_prefix(SOURCE) {
            Some("" | "/32" | "/128" | "/255.255.255.255") => Ok(()),
            Some(_) => Err(self.refuse(
                word,
                "for-network",
                format!("`{}` opens for the knocker's whole network", shown(&word.text)),
                "A Postern door opens for the knocker's address only; write `-s %IP%` if that is enough.",
            )),
            None => Err(self.refuse(
                word,
                "for-fixed-address",
                format!("`{}` is not the knocker's address", shown(&word.text)),
                "A Postern door opens for the knocker; write a fixed exception as a rule of your own firewall.",
            )),
        }
    }
}

#[cfg(test)]
mod tests;
