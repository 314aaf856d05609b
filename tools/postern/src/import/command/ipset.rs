//! `ipset` (ipset(8)): a member with a port tells what it opens, a bare address does not.

use postern_core::knock::Transport;

use super::super::report::{refusal, shown};
use super::super::words::Word;
use super::{Action, Arguments, Rule, ports, seconds};
use crate::finding::Finding;

/// Reads the arguments behind the program.
pub(super) fn action(arguments: &mut Arguments<'_>, _: &mut [Finding]) -> Result<Action, Finding> {
    let mut close = None;
    let mut lifetime_s = None;
    let mut entry = None;
    while let Some(word) = arguments.next() {
        match word.text.as_str() {
            "add" | "-A" | "--add" | "del" | "-D" | "--del" if close.is_none() => {
                close = Some(matches!(word.text.as_str(), "del" | "-D" | "--del"));
                let set = arguments.value("a set")?;
                entry = Some((set, arguments.value("a member")?));
            }
            "-exist" | "-!" | "--exist" | "-q" | "--quiet" => {}
            "timeout" | "--timeout" => {
                let time = arguments.value("a time")?;
                lifetime_s = Some(seconds(&time.text).ok_or_else(|| arguments.unknown(time))?);
            }
            "comment" | "--comment" => _ = arguments.value("a comment")?,
            _ => return Err(arguments.unknown(word)),
        }
    }
    let (Some(close), Some((set, entry))) = (close, entry) else {
        let suggestion = "Write `ipset add SET %IP%,tcp:22` to open and `ipset del` to close.";
        return Err(refusal(
            arguments.line.place,
            "no-method",
            "it neither adds nor deletes a member",
            suggestion,
        ));
    };
    let ports = member_ports(arguments, set, entry)?;
    let rule = Rule { ports, lifetime_s: lifetime_s.filter(|seconds| *seconds > 0) };
    Ok(if close { Action::Close(rule) } else { Action::Open(rule) })
}

/// `%IP%,tcp:22` and `%IP%,22`, which is tcp (ipset(8), hash:ip,port).
fn member_ports(
    arguments: &Arguments<'_>,
    set: &Word,
    entry: &Word,
) -> Result<Vec<postern_core::ServicePort>, Finding> {
    let (source, port) = entry.text.split_once(',').unwrap_or((&entry.text, ""));
    arguments.source(&Word { text: source.to_owned(), offset: entry.offset })?;
    if port.is_empty() {
        return Err(ports_of_set(arguments, set));
    }
    let (protocol, port) = port.split_once(':').unwrap_or(("tcp", port));
    let transport: Transport = ports::transport(protocol).ok_or_else(|| arguments.unknown(entry))?;
    ports::read(arguments, entry, port, '-', &[transport])
}

/// The member is only an address: the ports stand in a rule elsewhere.
pub(super) fn ports_of_set(arguments: &Arguments<'_>, set: &Word) -> Finding {
    let name = shown(&set.text);
    arguments.refuse(
        set,
        "ports-unknown",
        format!("which ports set `{name}` opens stands in a rule elsewhere"),
        format!("Look up the rule that uses `{name}` and write its ports into the site file: `ports = [\"tcp/22\"]`."),
    )
}
