//! `iptables` and `ip6tables` (iptables(8), iptables-extensions(8)).

use postern_core::ServicePort;
use postern_core::knock::Transport;

use super::super::report::{refusal, shown, warning};
use super::super::words::Word;
use super::{Action, Arguments, Rule, ports};
use crate::finding::Finding;

/// What the rule does when it is in the chain, and what is done with it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Method {
    Add,
    Delete,
    Check,
}

#[derive(Default)]
struct Spec {
    method: Option<Method>,
    chain: Option<Word>,
    target: Option<Word>,
    source: Option<Word>,
    protocol: Option<Word>,
    ports: Option<Word>,
    states: Option<Word>,
}

/// Reads the arguments behind the program.
pub(super) fn action(arguments: &mut Arguments<'_>, findings: &mut Vec<Finding>) -> Result<Action, Finding> {
    let mut spec = Spec::default();
    while let Some(word) = arguments.next() {
        option(arguments, word, &mut spec, findings)?;
    }
    let ports = judge(arguments, &spec, findings)?;
    let rule = Rule { ports, lifetime_s: None };
    match spec.method {
        Some(Method::Add) => Ok(Action::Open(rule)),
        Some(Method::Delete) => Ok(Action::Close(rule)),
        Some(Method::Check) => Ok(Action::Check),
        None => Err(refusal(
            arguments.line.place,
            "no-method",
            "the command neither adds nor deletes a rule",
            "Write `-A INPUT` or `-I INPUT`, and `-D INPUT` in the stop command.",
        )),
    }
}

/// An option and the value attached to it: `--dport=22`, `-ptcp`.
fn attached(text: &str) -> (&str, Option<&str>) {
    if text.starts_with("--") {
        return text.split_once('=').map_or((text, None), |(name, value)| (name, Some(value)));
    }
    match text.char_indices().nth(2) {
        Some((index, _)) if text.starts_with('-') => {
            let (name, value) = text.split_at(index);
            (name, Some(value))
        }
        _ => (text, None),
    }
}

fn option(
    arguments: &mut Arguments<'_>,
    word: &Word,
    spec: &mut Spec,
    findings: &mut Vec<Finding>,
) -> Result<(), Finding> {
    let (name, inline) = attached(&word.text);
    let mut value = |what: &str| match inline {
        Some(text) => Ok(Word { text: text.to_owned(), offset: word.offset }),
        None => arguments.value(what).cloned(),
    };
    match name {
        "-A" | "--append" | "-I" | "--insert" | "-D" | "--delete" | "-C" | "--check" => {
            spec.chain = Some(value("a chain")?);
            return method(arguments, word, name, spec);
        }
        "-t" | "--table" => {
            let table = value("a table")?;
            if table.text != "filter" {
                let message = format!("table `{}` does more than letting packets in", shown(&table.text));
                let suggestion =
                    "Postern opens ports of the gateway itself; keep translation rules in your firewall.";
                return Err(arguments.refuse(&table, "table", message, suggestion));
            }
        }
        "-s" | "--source" | "--src" => spec.source = Some(value("an address")?),
        "-p" | "--protocol" | "--proto" => spec.protocol = Some(value("a protocol")?),
        "-j" | "--jump" => spec.target = Some(value("a target")?),
        "-m" | "--match" => known_match(&value("a match")?, arguments)?,
        "--dport" | "--destination-port" | "--dports" | "--destination-ports" => {
            spec.ports = Some(value("a port")?);
        }
        "--state" | "--ctstate" => spec.states = Some(value("a state")?),
        "--comment" => _ = value("a comment")?,
        "-d" | "--destination" | "--dst" | "-i" | "--in-interface" => {
            let limit = value("an address or interface")?;
            findings.push(arguments.wider(&limit));
        }
        "-w" | "--wait" if inline.is_none() => _ = arguments.next_if(is_number),
        "-w" | "--wait" | "-v" | "--verbose" | "-n" | "--numeric" | "-4" | "--ipv4" | "-6" | "--ipv6"
        | "--syn" => {}
        "!" => {
            let suggestion = "Write what is let in, not what is left out.";
            return Err(arguments.refuse(word, "negation", "a match turned round with `!`", suggestion));
        }
        "-R" | "-F" | "-P" | "-X" | "-N" | "-Z" | "--flush" | "--policy" | "--replace" => {
            let message = format!("`{name}` changes the firewall for everybody");
            let suggestion =
                "Postern only ever lets single addresses in; keep the rest in your own firewall.";
            return Err(arguments.refuse(word, "for-everybody", message, suggestion));
        }
        _ => return Err(arguments.unknown(word)),
    }
    Ok(())
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_digit() || octet == b'.')
}

fn method(arguments: &mut Arguments<'_>, word: &Word, name: &str, spec: &mut Spec) -> Result<(), Finding> {
    if spec.method.is_some() {
        return Err(arguments.unknown(word));
    }
    spec.method = Some(match name {
        "-D" | "--delete" => Method::Delete,
        "-C" | "--check" => Method::Check,
        _ => Method::Add,
    });
    let Some(number) = arguments.next_if(is_number) else { return Ok(()) };
    if spec.method == Some(Method::Add) {
        return Ok(());
    }
    let suggestion = "Write the rule itself behind `-D INPUT`, as it was added.";
    Err(arguments.refuse(number, "rule-number", "what is deleted by its number cannot be told", suggestion))
}

fn known_match(name: &Word, arguments: &Arguments<'_>) -> Result<(), Finding> {
    if matches!(name.text.as_str(), "tcp" | "udp" | "multiport" | "state" | "conntrack" | "comment") {
        return Ok(());
    }
    let message = format!("match `{}` is a condition a door cannot have", shown(&name.text));
    let suggestion =
        "A door opens ports for the knocker's address and a time; if that is enough, leave the match out.";
    Err(arguments.refuse(name, "match", message, suggestion))
}

/// Whether the rule is one a door can stand for, and its ports.
fn judge(
    arguments: &Arguments<'_>,
    spec: &Spec,
    findings: &mut Vec<Finding>,
) -> Result<Vec<ServicePort>, Finding> {
    if let Some(chain) = spec.chain.as_ref().filter(|chain| chain.text != "INPUT") {
        return Err(other_chain(arguments, chain));
    }
    match &spec.target {
        Some(target) if target.text == "ACCEPT" => {}
        Some(target) => {
            let message = format!("the rule's target is `{}`: it lets nobody in", shown(&target.text));
            let suggestion =
                "Postern itself drops the ports of every door; a door stands for an ACCEPT rule.";
            return Err(arguments.refuse(target, "target", message, suggestion));
        }
        None => {
            let suggestion = "Write `-j ACCEPT` if the rule lets the knocker in.";
            return Err(refusal(arguments.line.place, "target", "the rule has no target", suggestion));
        }
    }
    arguments.source(spec.source.as_ref().ok_or_else(|| arguments.for_everybody())?)?;
    if let Some(states) = &spec.states {
        if !states.text.split(',').any(|state| state == "NEW") {
            let suggestion = "Established connections go on in any case; the rule needs no door.";
            return Err(arguments.refuse(states, "state", "the rule lets no new connection in", suggestion));
        }
    }
    let Some(port) = &spec.ports else { return Err(arguments.every_port()) };
    let transport = match &spec.protocol {
        None => {
            let message = "iptables refuses a port without `-p tcp` or `-p udp`; taken for tcp";
            findings.push(warning(
                arguments.line.at(port.offset),
                "protocol-missing",
                message,
                "Check the door's ports.",
            ));
            Transport::Tcp
        }
        Some(protocol) => ports::transport(&protocol.text).ok_or_else(|| {
            let message = format!("protocol `{}` has no ports a door could guard", shown(&protocol.text));
            arguments.refuse(protocol, "protocol", message, "A door guards tcp and udp ports.")
        })?,
    };
    ports::read(arguments, port, &port.text, ':', &[transport])
}

pub(super) fn other_chain(arguments: &Arguments<'_>, chain: &Word) -> Finding {
    let name = shown(&chain.text);
    let (message, suggestion) = match chain.text.as_str() {
        "FORWARD" | "OUTPUT" | "PREROUTING" | "POSTROUTING" | "DOCKER-USER" => (
            format!("chain `{name}` is not about services of the gateway itself"),
            "A door guards ports of the gateway; keep rules about forwarded or own traffic in your firewall.",
        ),
        _ => (
            format!("what chain `{name}` protects cannot be told from here"),
            "If packets to the gateway come through it, write the rule with INPUT and import again.",
        ),
    };
    arguments.refuse(chain, "chain", message, suggestion)
}
