//! What the rules of iptables do with a packet the gate let pass.

use std::collections::BTreeMap;

/// Chains that are followed into each other; iptables allows no loops.
const DEPTH_MAX: usize = 32;

/// The rules of `iptables -S`.
#[derive(Clone, Debug, Default)]
pub(super) struct Rules {
    chains: BTreeMap<String, Vec<String>>,
    policies: BTreeMap<String, String>,
}

/// What becomes of a new connection from anywhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It passes, or may: every rule that could drop it depends on something not known here.
    Passes,
    /// This rule, or policy, drops or rejects it.
    Dropped(String),
}

enum Step {
    Next,
    End(Fate),
    Return,
}

/// What the words of a rule ask, as far as it is understood.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Match {
    Yes,
    No,
    Unknown,
}

impl Rules {
    pub(super) fn parse(listing: &str) -> Self {
        let mut rules = Self::default();
        for line in listing.lines() {
            let mut words = line.split_whitespace();
            let (Some(command), Some(chain)) = (words.next(), words.next()) else { continue };
            match command {
                "-P" => {
                    rules.policies.insert(chain.to_owned(), words.next().unwrap_or_default().to_owned());
                }
                "-A" => rules.chains.entry(chain.to_owned()).or_default().push(line.to_owned()),
                _ => {}
            }
        }
        rules
    }

    /// Whether there is a chain whose name begins so, and who makes such chains.
    pub(super) fn has_chain(&self, prefix: &str) -> bool {
        self.chains.keys().any(|name| name.starts_with(prefix))
            || self.chains.values().flatten().any(|rule| rule.contains(&format!("-j {prefix}")))
    }

    /// Rules of INPUT before the jump to the gate.
    pub(super) fn before_gate(&self, gate: &str) -> Vec<String> {
        let input = self.chains.get("INPUT").map(Vec::as_slice).unwrap_or_default();
        let jump = format!("-j {gate}");
        if !input.iter().any(|rule| rule.ends_with(&jump)) {
            return Vec::new();
        }
        input.iter().take_while(|rule| !rule.ends_with(&jump)).cloned().collect()
    }

    /// Follows a new connection of somebody who was let in to `port` through INPUT. Whoever gets to `gate`
    /// passes: what it accepts, no later rule of the table is asked about.
    pub(super) fn fate(&self, transport: &str, port: u16, gate: &str) -> Fate {
        match self.walk("INPUT", transport, port, gate, 0) {
            Step::End(fate) => fate,
            Step::Next | Step::Return => match self.policies.get("INPUT").map(String::as_str) {
                Some("DROP") => Fate::Dropped("-P INPUT DROP".to_owned()),
                _ => Fate::Passes,
            },
        }
    }

    fn walk(&self, chain: &str, transport: &str, port: u16, gate: &str, depth: usize) -> Step {
        let rules = self.chains.get(chain).map(Vec::as_slice).unwrap_or_default();
        for rule in rules.iter().filter(|_| depth < DEPTH_MAX) {
            let words: Vec<&str> = rule.split_whitespace().collect();
            let target = after(&words, "-j").or_else(|| after(&words, "-g")).unwrap_or("");
            if target == gate {
                return Step::End(Fate::Passes);
            }
            match (matches(&words, transport, port), target) {
                (Match::No, _) => {}
                (_, "ACCEPT") => return Step::End(Fate::Passes),
                (Match::Yes, "DROP" | "REJECT") => return Step::End(Fate::Dropped(rule.clone())),
                (Match::Yes, "RETURN") => return Step::Return,
                (sure, other) if self.chains.contains_key(other) => {
                    match self.walk(other, transport, port, gate, depth + 1) {
                        Step::End(Fate::Dropped(_)) if sure == Match::Unknown => {}
                        Step::End(fate) => return Step::End(fate),
                        _ => {}
                    }
                }
                _ => {}
            }
        }
        Step::Next
    }
}

fn after<'w>(words: &[&'w str], option: &str) -> Option<&'w str> {
    words.windows(2).find(|pair| pair[0] == option).map(|pair| pair[1])
}

/// Whether a rule's words hold for a new connection to the port, from anywhere but here.
fn matches(words: &[&str], transport: &str, port: u16) -> Match {
    let mut verdict = Match::Yes;
    let mut at = 2;
    while let Some(&word) = words.get(at) {
        let value = words.get(at + 1).copied().unwrap_or("");
        let negated = at > 0 && words[at - 1] == "!";
        let (asked, taken) = match word {
            "-j" | "-g" => break,
            "-p" => (holds(value == transport || value == "all"), 2),
            "--dport" | "--dports" => (holds(ports_hold(value, port)), 2),
            "-i" => (if value == "lo" { Match::No } else { Match::Unknown }, 2),
            "--ctstate" | "--state" => (holds(value.split(',').any(|state| state == "NEW")), 2),
            "-m" | "--comment" => (Match::Yes, if word == "-m" { 2 } else { comment_words(words, at) }),
            "!" => (Match::Yes, 1),
            _ => (Match::Unknown, 1),
        };
        let asked = match (asked, negated) {
            (Match::Yes, true) => Match::No,
            (Match::No, true) => Match::Yes,
            (other, _) => other,
        };
        match asked {
            Match::No => return Match::No,
            Match::Unknown => verdict = Match::Unknown,
            Match::Yes => {}
        }
        at += taken;
    }
    verdict
}

fn holds(holds: bool) -> Match {
    if holds { Match::Yes } else { Match::No }
}

fn ports_hold(list: &str, port: u16) -> bool {
    list.split(',').any(|range| {
        let (first, last) = range.split_once(':').unwrap_or((range, range));
        match (first.parse::<u16>(), last.parse::<u16>()) {
            (Ok(first), Ok(last)) => (first..=last).contains(&port),
            _ => false,
        }
    })
}

/// Words of a comment, which is quoted when it has blanks.
fn comment_words(words: &[&str], at: usize) -> usize {
    match words.get(at + 1) {
        Some(first) if first.starts_with('"') && !(first.len() > 1 && first.ends_with('"')) => {
            let rest = words[at + 2..].iter().position(|word| word.ends_with('"'));
            rest.map_or(words.len(), |rest| rest + 3)
        }
        _ => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GATE: &str = "POSTERN";

    fn fate(rules: &str) -> Fate {
        Rules::parse(rules).fate("tcp", 22, GATE)
    }

    #[test]
    fn the_policy_decides_in_the_end() {
        assert_eq!(fate("-P INPUT ACCEPT\n-A INPUT -j POSTERN"), Fate::Passes);
        assert_eq!(fate("-P INPUT DROP\n-A INPUT -j POSTERN"), Fate::Passes, "the gate accepts");
        assert_eq!(fate("-P INPUT DROP"), Fate::Dropped("-P INPUT DROP".into()), "a gate of nftables");
        let before = "-P INPUT ACCEPT\n-A INPUT -p tcp --dport 22 -j DROP\n-A INPUT -j POSTERN";
        assert!(matches!(fate(before), Fate::Dropped(_)));
        let answered = "-P INPUT DROP\n-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT";
        assert_eq!(fate(answered), Fate::Dropped("-P INPUT DROP".into()));
        assert_eq!(fate("-P INPUT DROP\n-A INPUT -i lo -j ACCEPT"), Fate::Dropped("-P INPUT DROP".into()));
    }

    #[test]
    fn rules_are_followed_into_chains() {
        let ufw =
            "-P INPUT DROP\n-N ufw-in\n-A INPUT -j ufw-in\n-A ufw-in -p tcp -m tcp --dport 22 -j ACCEPT";
        assert_eq!(fate(ufw), Fate::Passes);
        let other = ufw.replace("22", "80");
        assert_eq!(fate(&other), Fate::Dropped("-P INPUT DROP".into()));
        let range = "-P INPUT ACCEPT\n-A INPUT -p tcp -m multiport --dports 20:25,80 -j DROP";
        assert!(matches!(fate(range), Fate::Dropped(rule) if rule.contains("multiport")));
        assert_eq!(fate("-P INPUT ACCEPT\n-A INPUT -p udp -j DROP"), Fate::Passes);
    }

    #[test]
    fn what_is_not_known_is_not_accused() {
        assert_eq!(fate("-P INPUT ACCEPT\n-A INPUT -s 10.0.0.0/8 -j DROP"), Fate::Passes);
        assert_eq!(
            fate("-P INPUT ACCEPT\n-A INPUT ! -p udp -j DROP"),
            Fate::Dropped("-A INPUT ! -p udp -j DROP".into())
        );
        let comment = "-P INPUT ACCEPT\n-A INPUT -m comment --comment \"drop the rest\" -j DROP";
        assert!(matches!(fate(comment), Fate::Dropped(_)));
    }

    #[test]
    fn what_stands_before_the_gate_is_told() {
        let rules = Rules::parse("-A INPUT -p tcp --dport 22 -j ACCEPT\n-A INPUT -j POSTERN");
        assert_eq!(rules.before_gate(GATE).len(), 1);
        assert!(Rules::parse("-A INPUT -j X").before_gate(GATE).is_empty());
    }
}
