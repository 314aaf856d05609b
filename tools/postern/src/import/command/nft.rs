//! `nft` (nft(8)): `add rule`, `insert rule`, `add element`, `delete element`.

use postern_core::ServicePort;
use postern_core::knock::Transport;

use super::super::report::{refusal, warning};
use super::super::words::Word;
use super::{Action, Arguments, Rule, ipset, iptables, ports, seconds};
use crate::finding::Finding;

const FAMILIES: [&str; 6] = ["ip", "ip6", "inet", "arp", "bridge", "netdev"];

/// Reads the arguments behind the program.
pub(super) fn action(arguments: &mut Arguments<'_>, findings: &mut Vec<Finding>) -> Result<Action, Finding> {
    let tokens = tokens(arguments);
    let mut tokens = Arguments { line: arguments.line, words: &tokens, next: 0 };
    while tokens.next_if(|word| matches!(word, "-a" | "-e" | "-n" | "--echo" | "--handle")).is_some() {}
    let verb = tokens.value("`add`")?;
    let object = tokens.value("`rule` or `element`")?;
    match (verb.text.as_str(), object.text.as_str()) {
        ("add" | "insert", "rule") => rule(&mut tokens, findings).map(Action::Open),
        ("add" | "create", "element") => element(&mut tokens, findings).map(Action::Open),
        ("delete" | "destroy", "element") => element(&mut tokens, findings).map(Action::Close),
        ("delete", "rule") => {
            let suggestion = "Leave the stop command out: a Postern door closes by itself, after `open_for`.";
            Err(tokens.refuse(
                object,
                "rule-number",
                "what is deleted by its handle cannot be told",
                suggestion,
            ))
        }
        _ => Err(tokens.unknown(verb)),
    }
}

/// nft joins its arguments and splits them by its own rules: braces, commas and semicolons stand
/// for themselves.
fn tokens(arguments: &mut Arguments<'_>) -> Vec<Word> {
    let mut tokens: Vec<Word> = Vec::new();
    while let Some(word) = arguments.next() {
        let mut fresh = true;
        for character in word.text.chars() {
            if character == ' ' || character == '\t' {
                fresh = true;
            } else if matches!(character, '{' | '}' | ',' | ';') {
                tokens.push(Word { text: character.into(), offset: word.offset });
                fresh = true;
            } else if let (false, Some(token)) = (fresh, tokens.last_mut()) {
                token.text.push(character);
            } else {
                tokens.push(Word { text: character.into(), offset: word.offset });
                fresh = false;
            }
        }
    }
    tokens
}

/// `[family] table chain-or-set`: the last of them.
fn object<'a>(tokens: &mut Arguments<'a>, what: &str) -> Result<&'a Word, Finding> {
    tokens.next_if(|word| FAMILIES.contains(&word));
    tokens.value("a table")?;
    tokens.value(what)
}

#[derive(Default)]
struct Spec {
    from_knocker: bool,
    accept: bool,
    ports: Vec<ServicePort>,
    transport: Option<Transport>,
    lifetime_s: Option<u32>,
}

fn rule(tokens: &mut Arguments<'_>, findings: &mut Vec<Finding>) -> Result<Rule, Finding> {
    let chain = object(tokens, "a chain")?;
    if !chain.text.eq_ignore_ascii_case("input") {
        let upper = Word { text: chain.text.to_ascii_uppercase(), offset: chain.offset };
        return Err(iptables::other_chain(tokens, &upper));
    }
    if tokens.next_if(|word| matches!(word, "position" | "handle" | "index")).is_some() {
        tokens.value("a number")?;
    }
    let mut spec = Spec::default();
    while let Some(word) = tokens.next() {
        statement(tokens, word, &mut spec, findings)?;
    }
    if !spec.accept {
        let suggestion = "Write `accept` at its end if the rule lets the knocker in.";
        return Err(refusal(tokens.line.place, "target", "the rule does not accept", suggestion));
    }
    if !spec.from_knocker {
        return Err(tokens.for_everybody());
    }
    let ports = ports::finish(tokens, chain, spec.ports)?;
    Ok(Rule { ports, lifetime_s: None })
}

fn statement<'a>(
    tokens: &mut Arguments<'a>,
    word: &'a Word,
    spec: &mut Spec,
    findings: &mut Vec<Finding>,
) -> Result<(), Finding> {
    match word.text.as_str() {
        "accept" => spec.accept = true,
        "counter" => {}
        "comment" => _ = tokens.value("a comment")?,
        "ip" | "ip6" => {
            let field = tokens.value("`saddr`")?;
            let address = tokens.value("an address")?;
            match field.text.as_str() {
                "saddr" => {
                    tokens.source(address)?;
                    spec.from_knocker = true;
                }
                "daddr" => findings.push(tokens.wider(address)),
                _ => return Err(tokens.unknown(field)),
            }
        }
        "iif" | "iifname" => {
            let interface = tokens.value("an interface")?;
            findings.push(tokens.wider(interface));
        }
        "meta" => {
            let field = tokens.value("`l4proto`")?;
            if matches!(field.text.as_str(), "iif" | "iifname") {
                let interface = tokens.value("an interface")?;
                findings.push(tokens.wider(interface));
            } else if field.text == "l4proto" {
                let protocol = tokens.value("a protocol")?;
                let known = ports::transport(&protocol.text).ok_or_else(|| tokens.unknown(protocol))?;
                spec.transport = Some(known);
            } else {
                return Err(tokens.unknown(field));
            }
        }
        "ct" => states(tokens)?,
        "tcp" | "udp" | "th" => {
            let transport = ports::transport(&word.text).or(spec.transport);
            let transport = transport.ok_or_else(|| tokens.unknown(word))?;
            let field = tokens.next_if(|word| word == "dport").ok_or_else(|| tokens.unknown(word))?;
            for item in list(tokens)? {
                spec.ports.extend(ports::read(tokens, field, &item, '-', &[transport])?);
            }
        }
        _ => return Err(tokens.unknown(word)),
    }
    Ok(())
}

fn states(tokens: &mut Arguments<'_>) -> Result<(), Finding> {
    let field = tokens.value("`state`")?;
    if field.text != "state" {
        return Err(tokens.unknown(field));
    }
    if list(tokens)?.iter().any(|state| state == "new") {
        return Ok(());
    }
    let suggestion = "Established connections go on in any case; the rule needs no door.";
    Err(tokens.refuse(field, "state", "the rule lets no new connection in", suggestion))
}

/// One word, words joined by commas, or words in braces.
fn list(tokens: &mut Arguments<'_>) -> Result<Vec<String>, Finding> {
    let braces = tokens.next_if(|word| word == "{").is_some();
    let mut items = vec![tokens.value("a value")?.text.clone()];
    while tokens.next_if(|word| word == ",").is_some() {
        items.push(tokens.value("a value")?.text.clone());
    }
    if braces {
        let end = tokens.value("`}`")?;
        if end.text != "}" {
            return Err(tokens.unknown(end));
        }
    }
    Ok(items)
}

fn element(tokens: &mut Arguments<'_>, findings: &mut Vec<Finding>) -> Result<Rule, Finding> {
    let set = object(tokens, "a set")?;
    let open = tokens.value("`{`")?;
    if open.text != "{" {
        return Err(tokens.unknown(open));
    }
    let mut spec = Spec::default();
    loop {
        member(tokens, set, &mut spec, findings)?;
        let word = tokens.value("`}`")?;
        match word.text.as_str() {
            "}" => break,
            "," => {}
            _ => return Err(tokens.unknown(word)),
        }
    }
    if let Some(word) = tokens.next() {
        return Err(tokens.unknown(word));
    }
    let ports = ports::finish(tokens, set, spec.ports)?;
    Ok(Rule { ports, lifetime_s: spec.lifetime_s })
}

/// `%IP% . tcp . 22 timeout 30s`.
fn member(
    tokens: &mut Arguments<'_>,
    set: &Word,
    spec: &mut Spec,
    findings: &mut Vec<Finding>,
) -> Result<(), Finding> {
    tokens.source(tokens.peek().unwrap_or(set))?;
    tokens.next();
    let (mut transport, mut port) = (None, None);
    while tokens.next_if(|word| word == ".").is_some() {
        let part = tokens.value("a port")?;
        match ports::transport(&part.text) {
            Some(known) if transport.is_none() && port.is_none() => transport = Some(known),
            _ if port.is_none() => port = Some(part),
            _ => return Err(tokens.unknown(part)),
        }
    }
    while let Some(option) = tokens.next_if(|word| matches!(word, "timeout" | "expires" | "comment")) {
        let value = tokens.value("a value")?;
        if option.text == "timeout" {
            let lifetime_s = seconds(&value.text).filter(|seconds| *seconds > 0);
            let lifetime_s = lifetime_s.ok_or_else(|| tokens.unknown(value))?;
            spec.lifetime_s = Some(spec.lifetime_s.map_or(lifetime_s, |other| other.min(lifetime_s)));
        }
    }
    let Some(port) = port else { return Err(ipset::ports_of_set(tokens, set)) };
    if transport.is_none() {
        let message = "the set does not tell tcp from udp; taken for tcp";
        findings.push(warning(
            tokens.line.at(port.offset),
            "protocol-missing",
            message,
            "Check the door's ports.",
        ));
    }
    spec.ports.extend(ports::read(tokens, port, &port.text, '-', &[transport.unwrap_or(Transport::Tcp)])?);
    Ok(())
}
