//! The rules of the nftables back end, as `nft -f` takes them.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use postern_core::knock::{ServicePort, Transport};
use postern_core::limits::PORTS_MAX;
use postern_core::network::Network;
use postern_core::rule::RuleSet;

use super::conntrack::cuts;
use super::nf_tables::Hook;
use super::{Family, FirewallOptions, Grants, Kind, leadings};

/// The base chain.
const INPUT: &str = "input";

/// The chain for packets to protected ports.
const GATE: &str = "gate";

/// The set of protected ports.
pub(super) const PROTECTED: &str = "protected";

/// How the base chain is hooked in: early among the filters, behind connection tracking (-200).
/// It only ever drops: in nftables a drop is final, while an accept is only the opinion of one of
/// several base chains.
const HOOK: Hook = Hook { number: 1, priority: -10, policy: 1, is_filter: true };

/// The base chain that leads connections to services behind the gateway.
pub(super) const LEAD: &str = "lead";

/// How it is hooked in: where destinations are changed, before the site's own such chains.
pub(super) const LEAD_HOOK: Hook = Hook { number: 0, priority: -110, policy: 1, is_filter: false };

/// The base chain that drops packets to services behind the gateway that were not led there.
pub(super) const FORWARD: &str = "forward";

/// How it is hooked in: as [`HOOK`].
pub(super) const FORWARD_HOOK: Hook = Hook { number: 2, priority: -10, policy: 1, is_filter: true };

/// Seconds that an element added by hand without a time-out lives: no door for ever.
const TIMEOUT_SECS_DEFAULT: u32 = 60;

/// The set of grants of a family to one address, or of those for one connection.
pub(super) const fn grants(family: Family, once: bool) -> &'static str {
    match (family, once) {
        (Family::V4, false) => "granted4",
        (Family::V6, false) => "granted6",
        (Family::V4, true) => "once4",
        (Family::V6, true) => "once6",
    }
}

/// Octets of the longest name of a set of grants: `wide6-127` and some.
const SET_NAME_BYTES_MAX: usize = 12;

/// The name of a set of grants, made without allocating.
pub(super) type SetName = heapless::String<SET_NAME_BYTES_MAX>;

/// How the names of sets of grants to networks begin.
const WIDE_V4: &str = "wide4-";
const WIDE_V6: &str = "wide6-";

/// The set of grants of a family to networks of `width` bits. Its members are the networks' lowest
/// addresses and mean nothing without the width: it is in the name, so that none outlives it. A rule
/// that masks the address needs no intervals, whose sets with time-outs are younger than the others.
pub(super) fn wide(family: Family, width: u8) -> SetName {
    let mut name = SetName::new();
    let start = if family == Family::V4 { WIDE_V4 } else { WIDE_V6 };
    // Three digits at most.
    let _ = write!(name, "{start}{width}");
    name
}

/// The set of the grants to `source`.
pub(super) fn set_of(family: Family, source: Network, once: bool) -> SetName {
    match Kind::of(source, once) {
        Kind::Network => wide(family, source.prefix),
        Kind::Address | Kind::Once => grants(family, once).try_into().unwrap_or_default(),
    }
}

/// How wide the networks of a set of that name are; `None` for another set.
pub(super) fn width_of(set: &str) -> Option<u8> {
    set.strip_prefix(WIDE_V4).or_else(|| set.strip_prefix(WIDE_V6))?.parse().ok()
}

/// The sets of grants to networks that `doors` need.
pub(super) fn wides(doors: &RuleSet) -> impl Iterator<Item = (Family, u8)> + '_ {
    let families = [Family::V4, Family::V6].into_iter();
    families.filter_map(|family| Some((family, family.width(doors)?)))
}

/// Every set of grants there should be.
pub(super) fn sets(doors: &RuleSet) -> Vec<SetName> {
    let fixed = ["granted4", "granted6", "once4", "once6"].map(|name| name.try_into().unwrap_or_default());
    fixed.into_iter().chain(wides(doors).map(|(family, width)| wide(family, width))).collect()
}

/// Conditions of the first packet of a connection, by transport. A TCP segment of a connection that was
/// cut or forgotten looks new as well, and must not use up what was meant for another.
const FIRST_PACKETS: [&str; 2] = ["tcp flags & (fin | syn | rst | ack) == syn", "meta l4proto udp"];

/// Finds a packet's grant for one connection and takes it away.
fn uses_up(family: Family) -> String {
    let (ip, set) = (ip(family), grants(family, true));
    let key = format!("{ip} saddr . meta l4proto . th dport");
    format!("{key} @{set} delete @{set} {{ {key} }}")
}

/// The word for a family.
const fn ip(family: Family) -> &'static str {
    match family {
        Family::V4 => "ip",
        Family::V6 => "ip6",
    }
}

/// The address with the first `width` bits set.
fn mask(family: Family, width: u8) -> IpAddr {
    let ones = match family {
        Family::V4 => Ipv4Addr::BROADCAST.into(),
        Family::V6 => Ipv6Addr::from_bits(u128::MAX).into(),
    };
    Network::around(ones, width).address
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

fn exemptions(options: &FirewallOptions) -> Vec<Rule> {
    let exempt = options.exempt_interfaces.iter().map(|interface| interface.as_str());
    std::iter::once("lo")
        .chain(exempt)
        .map(|name| rule(format!("iifname \"{name}\" return"), format!("exempt {name}")))
        .collect()
}

fn input_rules(options: &FirewallOptions) -> Vec<Rule> {
    let mut rules = exemptions(options);
    let protected = format!("meta l4proto . th dport @{PROTECTED} jump {GATE}");
    rules.push(rule(protected, "protected port"));
    rules
}

fn gate_rules(doors: &RuleSet) -> Vec<Rule> {
    let mut rules = vec![
        rule("ip saddr . meta l4proto . th dport @granted4 return", "granted to this IPv4 source"),
        rule("ip6 saddr . meta l4proto . th dport @granted6 return", "granted to this IPv6 source"),
    ];
    rules.extend(wides(doors).map(|(family, width)| {
        let (ip, mask, set) = (ip(family), mask(family, width), wide(family, width));
        let text = format!("{ip} saddr & {mask} . meta l4proto . th dport @{set} return");
        rule(text, format!("granted to this {family} source's /{width}"))
    }));
    if cuts(doors) {
        // What the service sends after its connection was cut would begin one anew, the other way
        // round, and the client's answers would belong to it.
        rules.push(rule("ct direction reply drop", "of a connection that was cut"));
    }
    // The first packet of a connection was let in, and comes again: it uses up nothing more.
    rules.push(rule("meta l4proto tcp ct status confirmed return", "of a connection that was begun"));
    for (family, name) in [(Family::V4, "IPv4"), (Family::V6, "IPv6")] {
        rules.extend(FIRST_PACKETS.map(|first| {
            let text = format!("{first} ct state new {} return", uses_up(family));
            rule(text, format!("granted to this {name} source once"))
        }));
    }
    rules.extend([
        rule("ct state established,related return", "of a connection that was granted"),
        rule("drop", "not granted"),
    ]);
    rules
}

/// One for each door that leads behind the gateway; only the first packet of a connection sees them.
fn lead_rules(doors: &RuleSet) -> Vec<Rule> {
    let mut rules = vec![rule("fib daddr type != local return", "through the gateway")];
    rules.extend(leadings(doors).map(|leading| {
        let (ip, grants) = (ip(leading.family), grants(leading.family, false));
        let (transport, port) = (leading.port.transport.name(), leading.port.port);
        let to = SocketAddr::new(leading.host, leading.host_port);
        let text = format!(
            "{transport} dport {port} {ip} saddr . meta l4proto . th dport @{grants} dnat {ip} to {to}"
        );
        rule(text, leading.to_string())
    }));
    rules.extend(leadings(doors).map(|leading| {
        let [tcp, udp] = FIRST_PACKETS;
        let first = if leading.port.transport == Transport::Tcp { tcp } else { udp };
        let (transport, port) = (leading.port.transport.name(), leading.port.port);
        let (ip, to) = (ip(leading.family), SocketAddr::new(leading.host, leading.host_port));
        let uses_up = uses_up(leading.family);
        let text = format!("{first} {transport} dport {port} {uses_up} dnat {ip} to {to}");
        rule(text, format!("{leading} once"))
    }));
    rules
}

fn forward_rules(options: &FirewallOptions, doors: &RuleSet) -> Vec<Rule> {
    let mut rules = vec![
        rule("ct status dnat return", "led by a door, or by the site"),
        rule("ct state established,related return", "of a connection there is"),
    ];
    rules.extend(exemptions(options));
    rules.extend(leadings(doors).map(|leading| {
        let ip = ip(leading.family);
        let (host, transport, port) = (leading.host, leading.port.transport.name(), leading.host_port);
        rule(format!("{ip} daddr {host} {transport} dport {port} drop"), format!("not by {leading}"))
    }));
    rules
}

fn comments_of(rules: Vec<Rule>) -> Vec<String> {
    rules.into_iter().map(|rule| rule.comment).collect()
}

/// A chain as it should be.
#[derive(Debug)]
pub(super) struct Chain {
    pub(super) name: &'static str,
    /// Where it is hooked in, if it is.
    pub(super) hook: Option<Hook>,
    /// The comments of its rules, in order.
    pub(super) comments: Vec<String>,
}

/// Every chain there should be.
pub(super) fn chains(options: &FirewallOptions, doors: &RuleSet) -> Vec<Chain> {
    let chain = |name, hook, rules| Chain { name, hook, comments: comments_of(rules) };
    let mut chains =
        vec![chain(INPUT, Some(HOOK), input_rules(options)), chain(GATE, None, gate_rules(doors))];
    if leadings(doors).next().is_some() {
        chains.push(chain(LEAD, Some(LEAD_HOOK), lead_rules(doors)));
        chains.push(chain(FORWARD, Some(FORWARD_HOOK), forward_rules(options, doors)));
    }
    chains
}

/// What a transaction starts from and goes to.
#[derive(Debug)]
pub(super) struct Installation<'a> {
    pub(super) options: &'a FirewallOptions,
    pub(super) doors: &'a RuleSet,
    /// Chains for doors that lead behind the gateway are there now.
    pub(super) leads: bool,
    /// Sets of grants to networks that are there now.
    pub(super) wide: &'a [String],
    /// Ports that are protected now.
    pub(super) protected: &'a BTreeSet<ServicePort>,
    /// What becomes of the grants there are.
    pub(super) kept: Grants,
}

impl Installation<'_> {
    /// Input of `nft -f -`, one transaction, whatever of the table is there already.
    ///
    /// A port that stays protected is not touched: before Linux 6.17 a look-up may miss, for a
    /// moment, an element that is deleted and added in one transaction.
    pub(super) fn to_script(&self) -> String {
        let Self { options, doors, .. } = self;
        let ports = doors.protected_ports();
        let table = options.name.as_str();
        let mut script = format!("add table inet {table}\n");
        for family in [Family::V4, Family::V6] {
            for (kind, flags) in [(Kind::Address, "timeout"), (Kind::Once, "dynamic, timeout")] {
                self.add_grants(&mut script, grants(family, kind == Kind::Once), (family, kind), flags);
            }
        }
        for (family, width) in wides(doors) {
            self.add_grants(&mut script, &wide(family, width), (family, Kind::Network), "timeout");
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
        self.replace_rules(&mut script, GATE, &gate_rules(doors));
        self.delete_other_widths(&mut script);
        self.replace_leads(&mut script);
        script
    }

    fn add_grants(&self, script: &mut String, set: &str, (family, kind): (Family, Kind), flags: &str) {
        let (table, size) = (self.options.name.as_str(), self.options.members_max);
        let address = match family {
            Family::V4 => "ipv4_addr",
            Family::V6 => "ipv6_addr",
        };
        let _ = writeln!(
            script,
            "add set inet {table} {set} {{ type {address} . inet_proto . inet_service; flags {flags}; \
             timeout {TIMEOUT_SECS_DEFAULT}s; size {size}; }}",
        );
        if self.kept.are_withdrawn(kind) {
            let _ = writeln!(script, "flush set inet {table} {set}");
        }
    }

    /// Sets of another width go with the rules that used them, and with their grants.
    fn delete_other_widths(&self, script: &mut String) {
        let (table, wanted) = (self.options.name.as_str(), sets(self.doors));
        for set in self.wide.iter().filter(|set| wanted.iter().all(|wanted| wanted != set.as_str())) {
            let _ = writeln!(script, "delete set inet {table} {set}");
        }
    }

    /// A kernel without NAT is asked for none unless a door needs it.
    fn replace_leads(&self, script: &mut String) {
        let table = self.options.name.as_str();
        if leadings(self.doors).next().is_some() {
            let (lead, forward) = (LEAD_HOOK.priority, FORWARD_HOOK.priority);
            let _ = write!(
                script,
                "add chain inet {table} {LEAD} {{ type nat hook prerouting priority {lead}; policy accept; }}\n\
                 add chain inet {table} {FORWARD} {{ type filter hook forward priority {forward}; policy \
                 accept; }}\n",
            );
            self.replace_rules(script, LEAD, &lead_rules(self.doors));
            self.replace_rules(script, FORWARD, &forward_rules(self.options, self.doors));
        } else if self.leads {
            for chain in [LEAD, FORWARD] {
                let _ =
                    write!(script, "flush chain inet {table} {chain}\ndelete chain inet {table} {chain}\n");
            }
        }
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
    use postern_core::Duration;
    use postern_core::knock::InterfaceSet;
    use postern_core::rule::{Behind, Door, Reach, RuleSetBuilder, Terms};

    fn doors(doors: &[(&str, ServicePort, Option<&str>)]) -> RuleSet {
        let mut builder = RuleSetBuilder::new();
        for &(name, port, host) in doors {
            let behind = host.map(|host| Behind { host: host.parse().unwrap(), port: 22 });
            let door = Door {
                name: name.try_into().unwrap(),
                ports: heapless::Vec::from_slice(&[port]).unwrap(),
                open_for: Duration::from_secs(30),
                target: None,
                interfaces: InterfaceSet::ALL,
                terms: Terms { behind, ..Terms::PLAIN },
            };
            builder.door(door).unwrap();
        }
        builder.build().unwrap()
    }

    fn script(doors: &RuleSet, leads: bool, kept: Grants) -> String {
        script_beside(&[], doors, leads, kept)
    }

    fn script_beside(wide: &[&str], doors: &RuleSet, leads: bool, kept: Grants) -> String {
        let protected = BTreeSet::from([ServicePort::tcp(22), ServicePort::tcp(80)]);
        let (options, wide) = (&FirewallOptions::default(), wide.iter().map(|&set| set.to_owned()));
        let wide: Vec<String> = wide.collect();
        Installation { options, doors, leads, wide: &wide, protected: &protected, kept }.to_script()
    }

    #[test]
    fn ports_that_stay_are_not_deleted() {
        let doors = doors(&[("ssh", ServicePort::tcp(22), None), ("snmp", ServicePort::udp(161), None)]);
        let script = script(&doors, false, Grants::Own);
        assert!(script.contains("delete element inet postern protected { tcp . 80 }\n"), "{script}");
        assert!(script.contains("add element inet postern protected { tcp . 22, udp . 161 }\n"), "{script}");
        assert!(!script.contains("flush set"), "{script}");
        assert!(!script.contains(" accept\n"), "an accept could not be final: {script}");
        assert!(!script.contains("nat") && !script.contains("forward"), "not without need: {script}");
    }

    #[test]
    fn grants_are_flushed_and_no_port_is_an_empty_list() {
        let script = script(&RuleSet::empty(), false, Grants::Unknown);
        assert_eq!(script.matches("flush set").count(), 4, "{script}");
        assert!(!script.contains("add element"), "{script}");
    }

    #[test]
    fn sets_of_networks_come_and_go_with_their_width() {
        let mut builder = RuleSetBuilder::new();
        let plain = doors(&[("ssh", ServicePort::tcp(22), None)]).doors()[0].clone();
        let terms = Terms { reach: Reach { v4: 24, v6: 64 }, ..Terms::PLAIN };
        builder.door(Door { terms, ..plain }).unwrap();
        let wide = builder.build().unwrap();
        let there = script_beside(&["wide4-24", "wide4-28"], &wide, false, Grants::Own);
        let rule = "ip saddr & 255.255.255.0 . meta l4proto . th dport @wide4-24 return comment";
        assert!(there.contains(&format!("{rule} \"granted to this IPv4 source's /24\"\n")), "{there}");
        assert!(there.contains("ip6 saddr & ffff:ffff:ffff:ffff:: . meta"), "{there}");
        assert!(there.contains("add set inet postern wide6-64 { type ipv6_addr . "), "{there}");
        assert_eq!(there.matches("delete set").count(), 1, "{there}");
        let (flushed, deleted) =
            (there.find("flush chain inet postern gate"), there.find("delete set inet postern wide4-28"));
        assert!(flushed.is_some() && flushed < deleted, "nothing refers to it any more: {there}");
        assert!(!there.contains("flush set"), "{there}");
        let started = script_beside(&["wide4-24"], &wide, false, Grants::Unknown);
        assert!(started.contains("flush set inet postern wide4-24\n"), "{started}");
        let gone = script_beside(&["wide4-24"], &RuleSet::empty(), false, Grants::Adopted);
        assert!(
            gone.contains("delete set inet postern wide4-24\n")
                && !gone.contains("add set inet postern wide")
        );
        assert_eq!(
            [width_of("wide6-127"), width_of("wide4-"), width_of("granted4")],
            [Some(127), None, None]
        );
    }

    #[test]
    fn doors_behind_the_gateway_come_and_go() {
        let plc = ("plc", ServicePort::tcp(10_022), Some("2001:db8::5"));
        let there = script(&doors(&[plc]), false, Grants::Own);
        assert!(there.contains("dnat ip6 to [2001:db8::5]:22 comment \"tcp/10022 to [2001:db8::5]:22\"\n"));
        assert!(there.contains("ip6 daddr 2001:db8::5 tcp dport 22 drop"), "{there}");
        let gone = script(&RuleSet::empty(), true, Grants::Own);
        assert!(gone.contains("delete chain inet postern lead\n"), "{gone}");
        assert!(gone.contains("delete chain inet postern forward\n"), "{gone}");
    }
}
