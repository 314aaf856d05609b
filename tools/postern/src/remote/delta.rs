//! What a change of the configuration is, for people and for scripts: lines of the site file, and
//! what it means for the firewall.

use std::collections::BTreeSet;

use postern_config::secret::StoredSecret;
use postern_config::{Site, held};
use postern_core::knock::ServicePort;
use serde_json::{Value, json};

use crate::site::render;

/// The difference of two sites.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delta {
    /// Lines of the site file, with ` `, `-` or `+` before them.
    pub lines: Vec<String>,
    /// Doors that are new.
    pub doors_added: Vec<String>,
    /// Doors that are gone.
    pub doors_removed: Vec<String>,
    /// Doors that are another.
    pub doors_changed: Vec<String>,
    /// Ports that are shut from now on but for who knocks.
    pub ports_protected: Vec<String>,
    /// Ports that are left to themselves from now on.
    pub ports_unprotected: Vec<String>,
}

impl Delta {
    /// What leads from `old` to `new`. A secret that is brought is shown by a label of zeros, and an
    /// account with the salt it had as one that stays: only the gateway can tell more.
    pub fn between(old: &Site, new: &Site) -> Self {
        let mut shown = Box::new(new.clone());
        for account in &mut shown.accounts {
            let before = old.accounts.iter().find(|before| {
                (&before.name, before.salt, before.iterations)
                    == (&account.name, account.salt, account.iterations)
            });
            if let Some(before) = before {
                account.stored_key = before.stored_key.clone();
                account.server_key = before.server_key.clone();
            }
        }
        let (before, after) = (text_without_secrets(old), text_without_secrets(&shown));
        let doors = (door_blocks(&before), door_blocks(&after));
        let named = |blocks: &[&'_ str], other: &[&'_ str]| -> Vec<String> {
            let missing =
                blocks.iter().filter(|block| !other.iter().any(|theirs| name(theirs) == name(block)));
            missing.map(|block| name(block).to_owned()).collect()
        };
        let changed = doors
            .1
            .iter()
            .filter(|block| doors.0.iter().any(|theirs| name(theirs) == name(block) && theirs != *block));
        let ports = (protected(old), protected(new));
        let less = |left: &BTreeSet<ServicePort>, right: &BTreeSet<ServicePort>| -> Vec<String> {
            left.difference(right).map(ToString::to_string).collect()
        };
        Self {
            lines: difference(&before, &after),
            doors_added: named(&doors.1, &doors.0),
            doors_removed: named(&doors.0, &doors.1),
            doors_changed: changed.map(|block| name(block).to_owned()).collect(),
            ports_protected: less(&ports.1, &ports.0),
            ports_unprotected: less(&ports.0, &ports.1),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// For scripts.
    pub fn json(&self) -> Value {
        json!({
            "config": self.lines,
            "doors_added": self.doors_added,
            "doors_changed": self.doors_changed,
            "doors_removed": self.doors_removed,
            "ports_protected": self.ports_protected,
            "ports_unprotected": self.ports_unprotected,
        })
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut text: String = self.lines.iter().map(|line| format!("{line}\n")).collect();
        for (what, names) in [
            ("doors added", &self.doors_added),
            ("doors changed", &self.doors_changed),
            ("doors removed", &self.doors_removed),
            ("ports shut", &self.ports_protected),
            ("ports no longer guarded", &self.ports_unprotected),
        ] {
            if !names.is_empty() {
                text.push_str(&format!("{what}: {}\n", names.join(", ")));
            }
        }
        text
    }
}

fn text_without_secrets(site: &Site) -> String {
    let mut site = Box::new(site.clone());
    held::for_each_secret(&mut site, &mut |stored| {
        if stored.known().is_some() {
            *stored = StoredSecret::Held([0; 8]);
        }
    });
    render(&site).text
}

fn protected(site: &Site) -> BTreeSet<ServicePort> {
    site.doors.iter().flat_map(|door| &door.ports).map(|&port| port.into()).collect()
}

/// The blocks of the doors; blocks are parted by an empty line.
fn door_blocks(text: &str) -> Vec<&str> {
    text.split("\n\n").map(str::trim_end).filter(|block| block.starts_with("[[door]]")).collect()
}

fn name(block: &str) -> &str {
    block
        .lines()
        .nth(1)
        .and_then(|line| line.strip_prefix("name = \""))
        .map_or("", |rest| rest.trim_end_matches('"'))
}

/// Lines around a change that are shown with it.
const CONTEXT: usize = 3;

/// Lines taken away and added, each with what stands around it.
fn difference(before: &str, after: &str) -> Vec<String> {
    let (old, new): (Vec<&str>, Vec<&str>) = (before.lines().collect(), after.lines().collect());
    let all = aligned(&old, &new);
    let near = |position: usize| {
        let around = position.saturating_sub(CONTEXT)..(position + CONTEXT + 1).min(all.len());
        all.get(around).is_some_and(|lines| lines.iter().any(|(sign, _)| *sign != ' '))
    };
    let shown = all.iter().enumerate().filter(|(position, _)| near(*position));
    shown.map(|(_, (sign, line))| format!("{sign} {line}").trim_end().to_owned()).collect()
}

/// The longest common subsequence, by its table: site files have a few thousand lines at most.
fn aligned<'t>(old: &[&'t str], new: &[&'t str]) -> Vec<(char, &'t str)> {
    let width = new.len() + 1;
    let mut common = vec![0_u32; (old.len() + 1) * width];
    for (row, left) in old.iter().enumerate().rev() {
        for (column, right) in new.iter().enumerate().rev() {
            common[row * width + column] = if left == right {
                common[(row + 1) * width + column + 1] + 1
            } else {
                common[(row + 1) * width + column].max(common[row * width + column + 1])
            };
        }
    }
    let (mut row, mut column, mut lines) = (0, 0, Vec::new());
    while row < old.len() || column < new.len() {
        if row < old.len() && column < new.len() && old[row] == new[column] {
            lines.push((' ', old[row]));
            (row, column) = (row + 1, column + 1);
        } else if row < old.len()
            && (column == new.len() || common[(row + 1) * width + column] >= common[row * width + column + 1])
        {
            lines.push(('-', old[row]));
            row += 1;
        } else {
            lines.push(('+', new[column]));
            column += 1;
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compile::{Secrets, stored};

    fn site(text: &str) -> Box<Site> {
        let text = format!("schema = 1\n[gateway]\nname = \"g\"\ninterfaces = [\"eth0\"]\n{text}");
        stored(&crate::site::read(&text).0.unwrap(), &Secrets::Unread).unwrap()
    }

    fn door(name: &str, port: u16, open_for: &str) -> String {
        format!("[[door]]\nname = \"{name}\"\nports = [\"tcp/{port}\"]\nopen_for = \"{open_for}\"\n")
    }

    #[test]
    fn what_changes_is_named() {
        let old = site(&[door("ssh", 22, "30s"), door("web", 443, "1m")].concat());
        let new = site(&[door("ssh", 22, "45s"), door("plc", 502, "1m")].concat());
        let delta = Delta::between(&old, &new);
        assert_eq!(delta.doors_added, ["plc"]);
        assert_eq!(delta.doors_removed, ["web"]);
        assert_eq!(delta.doors_changed, ["ssh"]);
        assert_eq!(delta.ports_protected, ["tcp/502"]);
        assert_eq!(delta.ports_unprotected, ["tcp/443"]);
        assert!(delta.lines.contains(&"- open_for = \"30s\"".to_owned()), "{:?}", delta.lines);
        assert!(delta.lines.contains(&"+ open_for = \"45s\"".to_owned()));
        assert!(!delta.lines.iter().any(|line| line.contains("schema")), "far from every change");
        assert!(Delta::between(&old, &old).is_empty());
    }

    #[test]
    fn no_verifier_is_shown() {
        let account = |role: &str| {
            let keys = crate::base64::encode(&[7; 32]);
            let salt = "A".repeat(22);
            site(&format!(
                "[[account]]\nname = \"a\"\nrole = \"{role}\"\nverifier = \"SCRAM-SHA-256$4096:{salt}==${keys}:{keys}\"\n"
            ))
        };
        let delta = Delta::between(&account("viewer"), &account("admin"));
        assert!(!delta.text().contains(&crate::base64::encode(&[7; 32])), "{}", delta.text());
        assert!(delta.lines.contains(&"+ role = \"admin\"".to_owned()));
    }
}
