//! The site file, with comments that say where everything comes from.

use std::fmt::Write as _;

use postern_core::Step;
use postern_core::limits::{INTERFACE_NAME_BYTES_MAX, NAME_BYTES_MAX};
use toml_edit::Value;

use super::conf::Options;
use super::door::{Door, Doors, Proof};
use super::report::{Text, refusal, shown};
use crate::finding::Finding;
use crate::site::notation::duration;

const HEAD: &str = "\
# Made by `postern import` from a knockd configuration. Comments name the section and line a
# door comes from. Read the findings of the import, then run `postern check` on this file.
schema = 1
";

/// Writes the site file; doors get names of their own that need no escaping.
pub(super) fn site(options: &Options<'_>, doors: &Doors<'_>, findings: &mut Vec<Finding>) -> String {
    let mut site = HEAD.to_owned();
    // A site that speaks nft only has no use for the old tables.
    let nftables = !doors.doors.is_empty() && doors.doors.iter().all(|door| door.nft);
    gateway(&mut site, options, nftables, findings);
    let mut names: Vec<String> = Vec::new();
    for entry in in_order(doors) {
        match entry {
            Entry::Door(door) => self::door(&mut site, door, &mut names),
            Entry::Refused(section, reason) => {
                let (name, line) = (shown(section.text), section.place.line);
                line_of(
                    &mut site,
                    format_args!("\n# [{name}], line {line}, is not imported:\n#   {}", shown(reason)),
                );
            }
        }
    }
    site
}

enum Entry<'a> {
    Door(&'a Door<'a>),
    Refused(&'a Text<'a>, &'a str),
}

/// Doors and refused sections as they stand in the imported file.
fn in_order<'a>(doors: &'a Doors<'a>) -> Vec<Entry<'a>> {
    let refused = doors.refused.iter();
    let refused =
        refused.map(|refused| (refused.section.place, Entry::Refused(&refused.section, &refused.reason)));
    let mut entries: Vec<_> =
        doors.doors.iter().map(|door| (door.place(), Entry::Door(door))).chain(refused).collect();
    entries.sort_by_key(|(place, _)| *place);
    entries.into_iter().map(|(_, entry)| entry).collect()
}

fn line_of(site: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = writeln!(site, "{line}");
}

fn gateway(site: &mut String, options: &Options<'_>, nftables: bool, findings: &mut Vec<Finding>) {
    line_of(site, format_args!("\n[gateway]\nname = \"gateway\" # give the device its own name"));
    let (interface, origin) = match options.interface {
        None => ("eth0", "knockd's default".to_owned()),
        Some(given) => match interface_error(given) {
            None => (given.text, format!("line {}", given.place.line)),
            Some(error) => {
                findings.push(error);
                ("eth0", format!("line {} names none; correct this", given.place.line))
            }
        },
    };
    line_of(site, format_args!("interfaces = [{}] # {origin}", Value::from(interface)));
    let (backend, other) = if nftables { ("nftables", "iptables") } else { ("iptables", "nftables") };
    line_of(site, format_args!("\n[firewall]\nbackend = \"{backend}\" # or \"{other}\""));
}

/// Why the name cannot be one of a Linux interface Postern listens on.
pub(super) fn interface_error(interface: Text<'_>) -> Option<Finding> {
    let name = interface.text;
    let listed = "List the interfaces knocks arrive on: `interfaces = [\"eth0\", \"wwan0\"]`.";
    if name == "any" {
        let message = "Postern listens on interfaces by name, not on `any`; eth0 is written instead";
        return Some(refusal(interface.place, "interface-any", message, listed));
    }
    let fits = (1..=INTERFACE_NAME_BYTES_MAX).contains(&name.len());
    if fits && name.bytes().all(|octet| octet.is_ascii_graphic() && octet != b'/' && octet != b':') {
        return None;
    }
    let message = format!("`{}` is no name of an interface; eth0 is written instead", shown(name));
    Some(refusal(interface.place, "interface-name", message, listed))
}

fn door(site: &mut String, door: &Door<'_>, names: &mut Vec<String>) {
    let name = name(door.section.text, names);
    let from = shown(door.section.text);
    line_of(site, format_args!("\n# [{from}], line {}", door.section.place.line));
    if let Some(close) = &door.close {
        line_of(
            site,
            format_args!("# closed by [{}], line {}", shown(close.section.text), close.section.place.line),
        );
    }
    let ports: Vec<String> = door.ports.iter().map(ToString::to_string).collect();
    line_of(site, format_args!("[[door]]\nname = {}\nports = {}", Value::from(&*name), array(&ports)));
    let open_for = duration(u64::from(door.open_for_s) * 1000);
    let remark = if door.unbounded { " # knockd sets no bound; choose the time of a visit" } else { "" };
    line_of(site, format_args!("open_for = {}{remark}", Value::from(open_for)));
    match &door.proof {
        Proof::Sequence(steps) => line_of(site, format_args!("sequence = {}", sequence(steps))),
        Proof::OneTime(entries) => {
            line_of(site, format_args!("one_time_sequences = ["));
            for steps in entries {
                line_of(site, format_args!("    {},", sequence(steps)));
            }
            line_of(site, format_args!("]"));
        }
    }
    line_of(site, format_args!("within = {}", Value::from(duration(door.within.millis()))));
    let flags = door.flags.text();
    if !flags.is_empty() && door.has_tcp_knock() {
        line_of(site, format_args!("tcp_flags = {}", Value::from(flags)));
    }
    if let Some(target) = door.target {
        line_of(site, format_args!("target = {}", Value::from(target.to_string())));
    }
    if let Some(close) = &door.close {
        line_of(site, format_args!("close_sequence = {}", sequence(&close.steps)));
    }
    names.push(name);
}

fn sequence(steps: &[Step]) -> String {
    array(&steps.iter().map(ToString::to_string).collect::<Vec<_>>())
}

fn array(items: &[String]) -> String {
    let items: Vec<String> = items.iter().map(|item| Value::from(item.as_str()).to_string()).collect();
    format!("[{}]", items.join(", "))
}

/// The section's name with what a door's name cannot have replaced by `-`, and a number behind it
/// when another door has it already.
fn name(section: &str, taken: &[String]) -> String {
    let plain = |character: char| character.is_ascii_alphanumeric() || matches!(character, '_' | '.');
    let words: Vec<&str> =
        section.split(|character| !plain(character)).filter(|word| !word.is_empty()).collect();
    let mut name = words.join("-");
    name.truncate(NAME_BYTES_MAX);
    if name.is_empty() {
        name.push_str("door");
    }
    let mut unique = name.clone();
    let mut number = 2;
    while taken.contains(&unique) {
        let suffix = format!("-{number}");
        unique = name.chars().take(NAME_BYTES_MAX - suffix.len()).collect();
        unique.push_str(&suffix);
        number += 1;
    }
    unique
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain_and_unique() {
        assert_eq!(name("openSSH", &[]), "openSSH");
        assert_eq!(name(" ssh für / alle ", &[]), "ssh-f-r-alle");
        assert_eq!(name("\"]\n", &[]), "door");
        let long = "x".repeat(100);
        let first = name(&long, &[]);
        assert_eq!(first.len(), NAME_BYTES_MAX);
        let second = name(&long, std::slice::from_ref(&first));
        assert_eq!(second.len(), NAME_BYTES_MAX);
        assert!(second.ends_with("-2") && second != first);
    }
}
