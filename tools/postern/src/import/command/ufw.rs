//! `ufw` (ufw(8)).

use postern_core::knock::Transport;

use super::super::report::refusal;
use super::super::words::Word;
use super::{Action, Arguments, Rule, ports};
use crate::finding::Finding;

#[derive(Default)]
struct Spec<'a> {
    delete: bool,
    allow: bool,
    source: Option<&'a Word>,
    port: Option<&'a Word>,
    transport: Option<Transport>,
}

/// Reads the arguments behind the program.
pub(super) fn action(arguments: &mut Arguments<'_>, findings: &mut Vec<Finding>) -> Result<Action, Finding> {
    let mut spec = Spec::default();
    while let Some(word) = arguments.next() {
        clause(arguments, word, &mut spec, findings)?;
    }
    if !spec.allow {
        let suggestion =
            "Write `ufw allow from %IP% to any port 22 proto tcp`, and `ufw delete allow ...` to close.";
        return Err(refusal(arguments.line.place, "target", "the command lets nobody in", suggestion));
    }
    arguments.source(spec.source.ok_or_else(|| arguments.for_everybody())?)?;
    let port = spec.port.ok_or_else(|| arguments.every_port())?;
    // Without a protocol ufw opens both.
    let both = [Transport::Tcp, Transport::Udp];
    let one = spec.transport.map(|transport| [transport]);
    let transports = one.as_ref().map_or(both.as_slice(), |one| one.as_slice());
    let rule = Rule { ports: ports::read(arguments, port, &port.text, ':', transports)?, lifetime_s: None };
    Ok(if spec.delete { Action::Close(rule) } else { Action::Open(rule) })
}

fn clause<'a>(
    arguments: &mut Arguments<'a>,
    word: &'a Word,
    spec: &mut Spec<'a>,
    findings: &mut Vec<Finding>,
) -> Result<(), Finding> {
    match word.text.as_str() {
        "--force" | "rule" | "prepend" | "in" | "log" | "log-all" => {}
        "insert" => _ = arguments.value("a number")?,
        "delete" => {
            spec.delete = true;
            if let Some(number) = arguments.next_if(|word| word.bytes().all(|octet| octet.is_ascii_digit())) {
                let suggestion = "Write the rule itself behind `ufw delete`.";
                let message = "what is deleted by its number cannot be told";
                return Err(arguments.refuse(number, "rule-number", message, suggestion));
            }
        }
        "allow" => {
            spec.allow = true;
            if arguments.next_if(|word| word.starts_with(|first: char| first.is_ascii_digit())).is_some() {
                return Err(arguments.for_everybody());
            }
        }
        "on" => {
            let interface = arguments.value("an interface")?;
            findings.push(arguments.wider(interface));
        }
        "proto" => {
            let protocol = arguments.value("a protocol")?;
            spec.transport =
                Some(ports::transport(&protocol.text).ok_or_else(|| arguments.unknown(protocol))?);
        }
        "from" => {
            let address = arguments.value("an address")?;
            if address.text == "any" {
                return Err(arguments.for_everybody());
            }
            spec.source = Some(address);
            if let Some(port) = arguments.next_if(|word| word == "port") {
                return Err(arguments.unknown(port));
            }
        }
        "to" => {
            if arguments.next_if(|word| word == "any").is_none() {
                let address = arguments.value("an address")?;
                findings.push(arguments.wider(address));
            }
            if arguments.next_if(|word| word == "port").is_some() {
                spec.port = Some(arguments.value("a port")?);
            }
        }
        "comment" => _ = arguments.value("a comment")?,
        "route" => {
            let suggestion = "A door guards ports of the gateway; keep rules about forwarded traffic in ufw.";
            return Err(arguments.refuse(word, "chain", "the rule is about forwarded traffic", suggestion));
        }
        "deny" | "reject" | "limit" | "out" | "enable" | "disable" | "reset" | "reload" | "default" => {
            let message = format!("`ufw {}` lets no single knocker in", word.text);
            let suggestion =
                "Postern itself drops the ports of every door; a door stands for an `allow` rule.";
            return Err(arguments.refuse(word, "target", message, suggestion));
        }
        _ => return Err(arguments.unknown(word)),
    }
    Ok(())
}
