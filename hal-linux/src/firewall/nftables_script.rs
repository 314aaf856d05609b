//! The rules of the nftables back end, as `nft -f` takes them.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use postern_core::knock::ServicePort;
use postern_core::limits::PORTS_MAX;

use super::nf_tables::Hook;
use super::{Family, FirewallOptions};

/// The base chain.
pub(super) const INPUT: &str = "input";

/// The chain for packets to protected ports.
pub(super) const GATE: &str = "gate";

/// The set of protected ports.
pub(super) const PROTECTED: &str = "protected";

/// How the base chain is hooked in: early among the filters, behind connection tracking (-200).
/// It only ever drops: in nftables a drop is final, while an accept is only the opinion of one of
/// several base chains.
pub(super) const HOOK: Hook = Hook { number: 1, priority: -10, policy: 1, is_filter: true };

/// Seconds that an element added by hand without a time-out lives: no door for ever.
const TIMEOUT_SECS_DEFAULT: u32 = 60;

/// The set of grants of a family.
pub(super) const fn grants(family: Family) -> &'static str {
    match family {
        Family::V4 => "granted4",
        Family::V6 => "granted6",
    }
}

/// A rule, and the comment by which it is known again: the kernel shows a comment as it was given,
/// while each version of `nft` spells rules its own way.
struct Rule {
    text: String,
    comment: String,
}

fn rule(text: impl Into<String>, comment: impl Into<String>) -> Rule {
    Rule { text: text.into(), comment: comment.into() }
}

fn input_rules(options: &FirewallOptions) -> Vec<Rule> {
    let exempt = options.exempt_interfaces.iter().map(|interface| interface.as_str());
    let mut rules: Vec<Rule> = std::iter::once("lo")
        .chain(exempt)
        .map(|name| rule(format!("iifname \"{name}\" return"), format!("exempt {name}")))
        .collect();
    let protected = format!("meta l4proto . th dport @{PROTECTED} jump {GATE}");
    rules.push(rule(protected, "protected port"));
    rules
}

fn gate_rules() -> [Rule; 4] {
    [
        rule("ip saddr . meta l4proto . th dport @granted4 return", "granted to this IPv4 source"),
        rule("ip6 saddr . meta l4proto . th dport @granted6 return", "granted to this IPv6 source"),
        rule("ct state established,related return", "of a connection that was granted"),
        rule("drop", "not granted"),
    ]
}

/// The comments of the base chain's rules, in order.
pub(super) fn input_comments(options: &FirewallOptions) -> Vec<String> {
    input_rules(options).into_iter().map(|rule| rule.comment).collect()
}

/// The comments of the gate chain's rules, in order.
pub(super) fn gate_comments() -> Vec<String> {
    gate_rules().into_iter().map(|rule| rule.comment).collect()
}

/// What a transaction starts from and goes to.
#[derive(Debug)]
pub(super) struct Installation<'a> {
    pub(super) options: &'a FirewallOptions,
    /// Ports that shall be protected.
    pub(super) ports: &'a [ServicePort],
    /// Ports that are protected now.
    pub(super) protected: &'a BTreeSet<ServicePort>,
    /// Whether grants are withdrawn.
    pub(super) flush_grants: bool,
}

impl Installation<'_> {
    /// Input of `nft -f -`, one transaction, whatever of the table is there already.
    ///
    /// A port that stays protected is not touched: before Linux 6.17 a look-up may miss, for a
    /// moment, an element that is deleted and added in one transaction.
    pub(super) fn to_script(&self) -> String {
        let Self { options, ports, .. } = self;
        let table = options.name.as_str();
        let mut script = format!("add table inet {table}\n");
        for (family, address) in [(Family::V4, "ipv4_addr"), (Family::V6, "ipv6_addr")] {
            let set = grants(family);
            let _ = writeln!(
                script,
                "add set inet {table} {set} {{ type {address} . inet_proto . inet_service; flags timeout; \
                 timeout {TIMEOUT_SECS_DEFAULT}s; size {}; }}",
                options.members_max
            );
            if self.flush_grants {
                let _ = writeln!(script, "flush set inet {table} {set}");
            }
        }
        let _ = write!(
            script,
            "add set inet {table} {PROTECTED} {{ type inet_proto . inet_service; size {}; }}\n\
             add chain inet {table} {INPUT} {{ type filter hook input priority {}; policy accept; }}\n\
             add chain inet {table} {GATE}\n",
            2 * PORTS_MAX,
            HOOK.priority,
        );
        let stale: Vec<ServicePort> =
            self.protected.iter().filter(|port| !ports.contains(port)).copied().collect();
        self.change_ports(&mut script, "delete", &stale);
        self.change_ports(&mut script, "add", ports);
        self.replace_rules(&mut script, INPUT, &input_rules(options));
        self.replace_rules(&mut script, GATE, &gate_rules());
        script
    }

    fn change_ports(&self, script: &mut String, verb: &str, ports: &[ServicePort]) {
        if ports.is_empty() {
            return;
        }
        let table = self.options.name.as_str();
        let _ = write!(script, "{verb} element inet {table} {PROTECTED} {{ ");
        for (position, port) in ports.iter().enumerate() {
            let separator = if position == 0 { "" } else { ", " };
            let _ = write!(script, "{separator}{} . {}", port.transport.name(), port.port);
        }
        script.push_str(" }\n");
    }

    fn replace_rules(&self, script: &mut String, chain: &str, rules: &[Rule]) {
        let table = self.options.name.as_str();
        let _ = writeln!(script, "flush chain inet {table} {chain}");
        for Rule { text, comment } in rules {
            let _ = writeln!(script, "add rule inet {table} {chain} {text} comment \"{comment}\"");
        }
    }
}

/// Input of `nft -f -` that takes everything away.
pub(super) fn removal(options: &FirewallOptions) -> String {
    let table = options.name.as_str();
    // Adding it first makes deleting it possible whether or not it is there.
    format!("add table inet {table}\ndelete table inet {table}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_that_stay_are_not_deleted() {
        let options = FirewallOptions::default();
        let ports = [ServicePort::tcp(22), ServicePort::udp(161)];
        let protected = BTreeSet::from([ServicePort::tcp(22), ServicePort::tcp(80)]);
        let installation =
            Installation { options: &options, ports: &ports, protected: &protected, flush_grants: false };
        let script = installation.to_script();
        assert!(script.contains("delete element inet postern protected { tcp . 80 }\n"), "{script}");
        assert!(script.contains("add element inet postern protected { tcp . 22, udp . 161 }\n"), "{script}");
        assert!(!script.contains("flush set"), "{script}");
        assert!(!script.contains(" accept\n"), "an accept could not be final: {script}");
    }

    #[test]
    fn grants_are_flushed_and_no_port_is_an_empty_list() {
        let options = FirewallOptions::default();
        let protected = BTreeSet::new();
        let installation =
            Installation { options: &options, ports: &[], protected: &protected, flush_grants: true };
        let script = installation.to_script();
        assert_eq!(script.matches("flush set").count(), 2, "{script}");
        assert!(!script.contains("element"), "{script}");
    }
}
