//! The rules of the iptables back end, as `iptables-restore` takes them and `iptables -S` shows
//! them.

use std::fmt::Write as _;

use postern_core::rule::RuleSet;

use super::conntrack::cuts;
use super::iptables_behind::Behind;
use super::{Drift, Family, FirewallOptions, Kind, Verification};

/// Names of everything the back end makes.
#[derive(Clone, Debug)]
pub(super) struct Names {
    /// Chain that INPUT jumps to.
    pub(super) chain: String,
    /// Chain for packets to protected ports.
    pub(super) gate: String,
    /// Chain for packets that use a grant up.
    pub(super) once: String,
    /// Chain that FORWARD jumps to, when a door leads behind the gateway.
    pub(super) forward: String,
    /// Chain that PREROUTING of the table nat jumps to then.
    pub(super) lead: String,
    /// Chain for those of them that use a grant up.
    pub(super) lead_once: String,
    grants_v4: String,
    grants_v6: String,
    once_v4: String,
    once_v6: String,
    wide_v4: String,
    wide_v6: String,
    /// Set of protected TCP ports.
    pub(super) tcp: String,
    /// Set of protected UDP ports.
    pub(super) udp: String,
    /// The next set of TCP ports, while it is filled.
    pub(super) tcp_next: String,
    /// The next set of UDP ports, while it is filled.
    pub(super) udp_next: String,
}

impl Names {
    pub(super) fn new(options: &FirewallOptions) -> Self {
        let name = options.name.as_str().to_ascii_uppercase();
        Self {
            gate: format!("{name}-GATE"),
            once: format!("{name}-ONCE"),
            forward: format!("{name}-FORWARD"),
            lead: format!("{name}-LEAD"),
            lead_once: format!("{name}-LEAD-ONCE"),
            grants_v4: format!("{name}-GRANT4"),
            grants_v6: format!("{name}-GRANT6"),
            once_v4: format!("{name}-ONCE4"),
            once_v6: format!("{name}-ONCE6"),
            wide_v4: format!("{name}-WIDE4"),
            wide_v6: format!("{name}-WIDE6"),
            tcp: format!("{name}-TCP"),
            udp: format!("{name}-UDP"),
            tcp_next: format!("{name}-TCP-NEXT"),
            udp_next: format!("{name}-UDP-NEXT"),
            chain: name,
        }
    }

    /// The set of the grants of a family and a kind.
    pub(super) fn grants(&self, family: Family, kind: Kind) -> &str {
        match (family, kind) {
            (Family::V4, Kind::Address) => &self.grants_v4,
            (Family::V6, Kind::Address) => &self.grants_v6,
            (Family::V4, Kind::Once) => &self.once_v4,
            (Family::V6, Kind::Once) => &self.once_v6,
            (Family::V4, Kind::Network) => &self.wide_v4,
            (Family::V6, Kind::Network) => &self.wide_v6,
        }
    }

    /// Every set there can be.
    pub(super) fn sets(&self) -> [&str; 10] {
        let Self { grants_v4, grants_v6, once_v4, once_v6, wide_v4, wide_v6, .. } = self;
        let Self { tcp, udp, tcp_next, udp_next, .. } = self;
        [grants_v4, grants_v6, once_v4, once_v6, wide_v4, wide_v6, tcp, udp, tcp_next, udp_next]
    }

    fn jump(&self) -> String {
        format!("-A INPUT -j {}", self.chain)
    }
}

/// The rules of one family, in the words of `iptables -S`.
#[derive(Debug)]
pub(super) struct Rules<'a> {
    names: &'a Names,
    chain: Vec<String>,
    gate: Vec<String>,
    once: Vec<String>,
    behind: Behind<'a>,
}

impl<'a> Rules<'a> {
    pub(super) fn new(names: &'a Names, options: &FirewallOptions, family: Family, doors: &RuleSet) -> Self {
        let Names { chain, gate, tcp, udp, .. } = names;
        let mut rules = exemptions(chain, options);
        rules.push(format!("-A {chain} -p tcp -m set --match-set {tcp} dst -j {gate}"));
        rules.push(format!("-A {chain} -p udp -m set --match-set {udp} dst -j {gate}"));
        let accept =
            |kind| format!("-A {gate} -m set --match-set {} src,dst -j ACCEPT", names.grants(family, kind));
        let mut gate_rules = vec![accept(Kind::Address)];
        gate_rules.extend(family.width(doors).map(|_| accept(Kind::Network)));
        if cuts(doors) {
            // What the service sends after its connection was cut would begin one anew, the other way
            // round, and the client's answers would belong to it.
            gate_rules.push(format!("-A {gate} -m conntrack --ctdir REPLY -j DROP"));
        }
        gate_rules.extend([
            // The first packet of a connection was let in, and comes again: it uses up nothing more.
            format!("-A {gate} -p tcp -m conntrack --ctstatus CONFIRMED -j ACCEPT"),
            once_rule(names, family, "tcp", BEGINS_TCP),
            once_rule(names, family, "udp", ""),
            // Only here, for protected ports: whether other connections go on is the site's affair.
            format!("-A {gate} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"),
            format!("-A {gate} -j DROP"),
        ]);
        let behind = Behind::new(names, options, family, doors);
        let once = vec![
            format!("-A {} {}", names.once, uses_up(names, family)),
            format!("-A {} -j ACCEPT", names.once),
        ];
        Self { names, chain: rules, gate: gate_rules, once, behind }
    }

    /// What the table nat must have and have no more, given what the table filter had.
    pub(super) const fn behind(&self) -> &Behind<'a> {
        &self.behind
    }

    /// Input of `iptables-restore --noflush` that puts the rules in, whatever of them is there
    /// already, in one transaction. `listing` is what `iptables -S` shows now.
    pub(super) fn to_install(&self, listing: &str) -> String {
        let Names { chain, gate, once, .. } = self.names;
        // Naming a chain empties it, or creates it.
        let mut script = format!("*filter\n:{chain} - [0:0]\n:{gate} - [0:0]\n:{once} - [0:0]\n");
        for rule in self.chain.iter().chain(&self.gate).chain(&self.once) {
            let _ = writeln!(script, "{rule}");
        }
        script.push_str(&self.jumps_deleted(listing));
        let _ = writeln!(script, "-I INPUT 1 -j {chain}");
        script.push_str(&self.behind.to_install(listing));
        script.push_str("COMMIT\n");
        script
    }

    /// Input of `iptables-restore --noflush` that takes away what `listing` shows of ours, if
    /// there is anything.
    pub(super) fn to_remove(&self, listing: &str) -> Option<String> {
        let mut script = self.jumps_deleted(listing);
        let Names { chain, gate, once, .. } = self.names;
        let there = [chain, gate, once].map(|chain| has_chain(listing, chain).then_some(chain));
        for chain in there.iter().flatten() {
            let _ = writeln!(script, "-F {chain}");
        }
        for chain in there.iter().flatten() {
            let _ = writeln!(script, "-X {chain}");
        }
        script.push_str(&self.behind.to_remove(listing));
        (!script.is_empty()).then(|| format!("*filter\n{script}COMMIT\n"))
    }

    /// Notes in `verification` how `listing` differs.
    pub(super) fn verify(&self, listing: &str, family: Family, verification: &mut Verification) {
        let jump = self.names.jump();
        let input: Vec<&str> = rules_of(listing, "INPUT").collect();
        match input.iter().filter(|rule| **rule == jump).count() {
            0 => verification.note(Drift::JumpMissing(family)),
            _ if input.first() != Some(&jump.as_str()) => verification.note(Drift::JumpNotFirst(family)),
            1 => {}
            _ => verification.note(Drift::JumpRepeated(family)),
        }
        let Names { chain, gate, once, .. } = self.names;
        for (name, wanted) in [(chain, &self.chain), (gate, &self.gate), (once, &self.once)] {
            if !has_chain(listing, name) {
                verification.note(Drift::ChainMissing(Some(family), name.clone()));
            } else if !rules_of(listing, name).eq(wanted.iter().map(String::as_str)) {
                verification.note(Drift::ChainChanged(Some(family), name.clone()));
            }
        }
        self.behind.verify(listing, family, verification);
    }

    /// Only exactly our jump: one with conditions was made by somebody else.
    fn jumps_deleted(&self, listing: &str) -> String {
        let jump = self.names.jump();
        let count = rules_of(listing, "INPUT").filter(|rule| *rule == jump).count();
        format!("-D INPUT -j {}\n", self.names.chain).repeat(count)
    }
}

/// What makes a TCP segment the first of a connection. One of a connection that was cut or forgotten
/// looks new as well, and must not use up what was meant for another.
const BEGINS_TCP: &str = " -m tcp --tcp-flags FIN,SYN,RST,ACK SYN";

/// Conditions of a packet that uses a grant up, but for its port.
pub(super) fn begins(names: &Names, family: Family) -> String {
    format!("-m set --match-set {} src,dst", names.grants(family, Kind::Once))
}

/// Takes the grant of a packet away. Not the last rule for it.
pub(super) fn uses_up(names: &Names, family: Family) -> String {
    format!("-j SET --del-set {} src,dst", names.grants(family, Kind::Once))
}

fn once_rule(names: &Names, family: Family, transport: &str, first: &str) -> String {
    let Names { gate, once, .. } = names;
    let begins = begins(names, family);
    format!("-A {gate} -p {transport}{first} {begins} -m conntrack --ctstate NEW -j {once}")
}

/// Packets from interfaces that are exempt are not our affair.
pub(super) fn exemptions(chain: &str, options: &FirewallOptions) -> Vec<String> {
    let exempt = options.exempt_interfaces.iter().map(|interface| interface.as_str());
    let all = std::iter::once("lo").chain(exempt);
    all.map(|interface| format!("-A {chain} -i {interface} -j RETURN")).collect()
}

pub(super) fn rules_of<'l>(listing: &'l str, chain: &str) -> impl Iterator<Item = &'l str> {
    let start = format!("-A {chain} ");
    listing.lines().map(str::trim_end).filter(move |line| line.starts_with(&start))
}

pub(super) fn has_chain(listing: &str, chain: &str) -> bool {
    listing.lines().any(|line| line.trim_end().strip_prefix("-N ") == Some(chain))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SITE: &str = "-P INPUT DROP\n-N SITE\n-A INPUT -i lo -j ACCEPT\n-A INPUT -j SITE\n";

    fn options() -> FirewallOptions {
        let mut options = FirewallOptions::default();
        options.exempt_interfaces.push("wg0".try_into().unwrap()).unwrap();
        options
    }

    #[test]
    fn an_old_jump_goes_and_a_new_one_comes_first() {
        let names = Names::new(&options());
        let rules = Rules::new(&names, &options(), Family::V4, &RuleSet::empty());
        let fresh = rules.to_install(SITE);
        assert!(!fresh.contains("-D INPUT"), "{fresh}");
        let listing =
            format!("{SITE}-A INPUT -j POSTERN\n-A INPUT -i eth0 -j POSTERN\n-A INPUT -j POSTERN-GATE\n");
        let again = rules.to_install(&listing);
        assert_eq!(again.matches("-D INPUT -j POSTERN\n").count(), 1, "{again}");
        assert_eq!(again.matches("-D ").count(), 1, "{again}");
        assert!(again.ends_with("-I INPUT 1 -j POSTERN\nCOMMIT\n"), "{again}");
        let accepted = again.lines().filter(|line| line.ends_with("ACCEPT"));
        let ours = |line: &str| line.starts_with("-A POSTERN-GATE ") || line.starts_with("-A POSTERN-ONCE ");
        assert!(accepted.clone().all(ours), "{again}");
    }

    #[test]
    fn removal_touches_what_is_there() {
        let names = Names::new(&options());
        let rules = Rules::new(&names, &options(), Family::V6, &RuleSet::empty());
        assert_eq!(rules.to_remove(SITE), None);
        let script = rules.to_remove("-N POSTERN\n-N POSTERNS\n-A INPUT -j POSTERN\n").unwrap();
        assert_eq!(script, "*filter\n-D INPUT -j POSTERN\n-F POSTERN\n-X POSTERN\nCOMMIT\n");
    }

    #[test]
    fn verification_sees_each_change() {
        let names = Names::new(&options());
        let rules = Rules::new(&names, &options(), Family::V4, &RuleSet::empty());
        let ours: String = rules
            .chain
            .iter()
            .chain(&rules.gate)
            .chain(&rules.once)
            .map(|rule| format!("{rule}\n"))
            .collect();
        let chains = "-N POSTERN\n-N POSTERN-GATE\n-N POSTERN-ONCE\n";
        let intact = format!("{chains}-A INPUT -j POSTERN\n-A INPUT -j SITE\n{ours}");
        let found = |listing: &str| {
            let mut verification = Verification::default();
            rules.verify(listing, Family::V4, &mut verification);
            verification.drifts().to_vec()
        };
        assert_eq!(found(&intact), []);
        let jump = "-A INPUT -j POSTERN\n";
        assert_eq!(found(&intact.replace(jump, "")), [Drift::JumpMissing(Family::V4)]);
        assert_eq!(found(&format!("-A INPUT -j A\n{intact}")), [Drift::JumpNotFirst(Family::V4)]);
        assert_eq!(found(&format!("{intact}{jump}")), [Drift::JumpRepeated(Family::V4)]);
        let changed = Drift::ChainChanged(Some(Family::V4), "POSTERN-GATE".to_owned());
        assert_eq!(found(&intact.replace("-A POSTERN-GATE -j DROP\n", "")), std::slice::from_ref(&changed));
        assert_eq!(found(&format!("{intact}-A POSTERN-GATE -j ACCEPT\n")), [changed]);
        assert_eq!(found(SITE).len(), 4);
    }
}
