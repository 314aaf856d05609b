//! `firewall-cmd` (firewall-cmd(1), firewalld.richlanguage(5)).

use postern_core::ServicePort;
use postern_core::knock::Transport;

use super::super::report::{refusal, shown};
use super::super::words::Word;
use super::{Action, Arguments, Rule, iptables, ports, seconds};
use crate::finding::Finding;

/// Reads the arguments behind the program.
pub(super) fn action(arguments: &mut Arguments<'_>, findings: &mut Vec<Finding>) -> Result<Action, Finding> {
    let mut rule: Option<(bool, Vec<ServicePort>)> = None;
    let mut lifetime_s = None;
    while let Some(word) = arguments.next() {
        let (name, inline) = word.text.split_once('=').unwrap_or((&word.text, ""));
        match name {
            "--add-rich-rule" | "--remove-rich-rule" if rule.is_none() => {
                let text = attached(arguments, word, inline, "a rule")?;
                rule = Some((name.starts_with("--remove"), rich_rule(arguments, &text)?));
            }
            "--timeout" => {
                let time = attached(arguments, word, inline, "a time")?;
                lifetime_s = Some(seconds(&time.text).ok_or_else(|| arguments.unknown(word))?);
            }
            "--zone" | "--policy" => _ = attached(arguments, word, inline, "a zone")?,
            "-q" | "--quiet" | "--permanent" => {}
            "--direct" => return direct(arguments, findings),
            "--add-port" | "--add-service" | "--remove-port" | "--remove-service" => {
                return Err(arguments.for_everybody());
            }
            "--add-source" | "--remove-source" => return Err(arguments.every_port()),
            _ => return Err(arguments.unknown(word)),
        }
    }
    let Some((close, ports)) = rule else {
        let suggestion = "Write `--add-rich-rule` to open and `--remove-rich-rule` to close.";
        return Err(refusal(
            arguments.line.place,
            "no-method",
            "it neither adds nor removes a rule",
            suggestion,
        ));
    };
    let rule = Rule { ports, lifetime_s: lifetime_s.filter(|seconds| *seconds > 0) };
    Ok(if close { Action::Close(rule) } else { Action::Open(rule) })
}

/// The value behind `=`, or the next word.
fn attached(arguments: &mut Arguments<'_>, word: &Word, inline: &str, what: &str) -> Result<Word, Finding> {
    if word.text.contains('=') {
        return Ok(Word { text: inline.to_owned(), offset: word.offset });
    }
    arguments.value(what).cloned()
}

/// `--direct --add-rule ipv4 filter INPUT 0 ...`: an iptables rule behind four words.
fn direct(arguments: &mut Arguments<'_>, findings: &mut Vec<Finding>) -> Result<Action, Finding> {
    let method = arguments.value("`--add-rule`")?;
    let option = match method.text.as_str() {
        "--add-rule" => "-A",
        "--remove-rule" => "-D",
        _ => return Err(arguments.unknown(method)),
    };
    let family = arguments.value("a family")?;
    if !matches!(family.text.as_str(), "ipv4" | "ipv6") {
        return Err(arguments.unknown(family));
    }
    let table = arguments.value("a table")?;
    let chain = arguments.value("a chain")?;
    arguments.value("a priority")?;
    let mut words = vec![
        Word { text: "-t".into(), offset: table.offset },
        table.clone(),
        Word { text: option.into(), offset: method.offset },
        chain.clone(),
    ];
    while let Some(word) = arguments.next() {
        words.push(word.clone());
    }
    iptables::action(&mut Arguments { line: arguments.line, words: &words, next: 0 }, findings)
}

/// `rule family="ipv4" source address="%IP%" port port="22" protocol="tcp" accept`.
fn rich_rule(arguments: &Arguments<'_>, rule: &Word) -> Result<Vec<ServicePort>, Finding> {
    let (mut source, mut accept, mut port, mut transport, mut service) = (None, false, None, None, None);
    // A word of the rule that names what the next `name=value` words are about.
    let mut element = "";
    for token in rule.text.split_whitespace() {
        let (name, value) = token.split_once('=').map_or((token, None), |(name, value)| {
            (name, Some(value.trim_matches(|quote| quote == '"' || quote == '\'').to_owned()))
        });
        match (element, name, value) {
            (_, "rule" | "source" | "port" | "service", None) => element = name,
            (_, "accept", None) => accept = true,
            ("rule", "family" | "priority", Some(_)) => {}
            ("source", "address", Some(address)) => {
                source = Some(Word { text: address, offset: rule.offset })
            }
            ("port", "port", Some(value)) => port = Some(value),
            ("port", "protocol", Some(value)) => transport = ports::transport(&value),
            ("service", "name", Some(value)) => service = Some(value),
            _ => {
                let message = format!("`{}` in the rich rule is not understood", shown(token));
                let suggestion = "Write the rule with family, source address, port and accept only.";
                return Err(arguments.refuse(rule, "not-understood", message, suggestion));
            }
        }
    }
    if !accept {
        let suggestion = "Write `accept` at its end if the rule lets the knocker in.";
        return Err(arguments.refuse(rule, "target", "the rule does not accept", suggestion));
    }
    arguments.source(&source.ok_or_else(|| arguments.for_everybody())?)?;
    match (port, transport, service) {
        (Some(port), Some(transport), None) => ports::read(arguments, rule, &port, '-', &[transport]),
        // Services of firewalld that are one tcp port carry the name it has in /etc/services.
        (None, None, Some(name))
            if matches!(name.as_str(), "ssh" | "http" | "https" | "smtp" | "imaps" | "pop3s") =>
        {
            ports::read(arguments, rule, &name, '-', &[Transport::Tcp])
        }
        (None, None, Some(name)) => {
            let message = format!("which ports service `{}` has stands in firewalld's files", shown(&name));
            let suggestion = "Write `port port=\"22\" protocol=\"tcp\"` instead of the service.";
            Err(arguments.refuse(rule, "ports-unknown", message, suggestion))
        }
        _ => Err(arguments.every_port()),
    }
}
