//! `knock_add`, the helper script of the knock project, which Debian's sample file uses.

use postern_core::knock::Transport;

use super::super::report::refusal;
use super::{Action, Arguments, Rule, iptables, ports};
use crate::finding::Finding;

/// Reads the arguments behind the program.
pub(super) fn action(arguments: &mut Arguments<'_>, _: &mut [Finding]) -> Result<Action, Finding> {
    let (mut close, mut source, mut port, mut transport) = (None, None, None, Transport::Tcp);
    while let Some(word) = arguments.next() {
        match word.text.as_str() {
            "-a" | "--append" | "-i" | "--insert" => close = Some(false),
            "-x" | "--delete" => close = Some(true),
            "-f" | "--srcaddr" => source = Some(arguments.value("an address")?),
            "-d" | "--dstport" => port = Some(arguments.value("a port")?),
            "-p" | "--proto" => {
                let protocol = arguments.value("a protocol")?;
                transport = ports::transport(&protocol.text).ok_or_else(|| arguments.unknown(protocol))?;
            }
            "-c" | "--chain" => {
                let chain = arguments.value("a chain")?;
                if chain.text != "INPUT" {
                    return Err(iptables::other_chain(arguments, chain));
                }
            }
            "-v" | "--verbose" => {}
            // The comment of the rule is attached to the option, or the default one is taken.
            comment if comment.starts_with("-m") || comment.starts_with("--comment") => {}
            _ => return Err(arguments.unknown(word)),
        }
    }
    arguments.source(source.ok_or_else(|| arguments.for_everybody())?)?;
    let port = port.ok_or_else(|| arguments.every_port())?;
    let ports = ports::read(arguments, port, &port.text, ':', &[transport])?;
    let rule = Rule { ports, lifetime_s: None };
    match close {
        Some(false) => Ok(Action::Open(rule)),
        Some(true) => Ok(Action::Close(rule)),
        None => {
            let suggestion = "Write -i or -a to open, -x to close.";
            Err(refusal(arguments.line.place, "no-method", "it neither adds nor deletes a rule", suggestion))
        }
    }
}
