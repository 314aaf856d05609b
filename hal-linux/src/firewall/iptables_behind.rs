//! The rules of doors that lead behind the gateway, in the words of `iptables -S`.
//!
//! ```text
//! nat PREROUTING -> first of all, for the gateway's own addresses: POSTERN-LEAD
//!                     granted to this source, to a door's port? to the service behind it
//!                     for one connection?                       the grant is gone, and there, too
//!                     to a door's port?                         as it stands, to the gate
//! FORWARD        -> first of all: POSTERN-FORWARD
//!                     of a connection that was led?             pass
//!                     of any other connection there is?         not our affair
//!                     from lo or an exempt interface?           not our affair
//!                     to the service behind a door?             drop
//! ```
//!
//! iptables has no maps: there are six rules for each such door. Only the first packet of a
//! connection sees the table nat.

use std::fmt::Write as _;
use std::net::SocketAddr;

use postern_core::rule::RuleSet;

use super::iptables_rules::{Names, begins, exemptions, has_chain, rules_of, uses_up};
use super::{Drift, Family, FirewallOptions, Kind, Verification};

/// The rules of one family. None at all when no door leads behind the gateway.
#[derive(Debug)]
pub(super) struct Behind<'a> {
    names: &'a Names,
    forward: Vec<String>,
    lead: Vec<String>,
    lead_once: Vec<String>,
}

impl<'a> Behind<'a> {
    pub(super) fn new(names: &'a Names, options: &FirewallOptions, family: Family, doors: &RuleSet) -> Self {
        let Names { forward, lead, lead_once, .. } = names;
        let grants = names.grants(family, Kind::Address);
        let (mut leads, mut stays, mut once) = (Vec::new(), Vec::new(), Vec::new());
        let (mut passes, mut drops) = (Vec::new(), Vec::new());
        for leading in super::leadings(doors).filter(|leading| leading.family == family) {
            let (transport, port, host) = (leading.port.transport.name(), leading.port.port, leading.host);
            let (address, bits) = (host, if host.is_ipv4() { 32 } else { 128 });
            let (service, to) = (leading.host_port, SocketAddr::new(host, leading.host_port));
            leads.push(format!(
                "-A {lead} -p {transport} -m {transport} --dport {port} -m set --match-set {grants} src,dst \
                 -j DNAT --to-destination {to}"
            ));
            let first = if transport == "tcp" { " --tcp-flags FIN,SYN,RST,ACK SYN" } else { "" };
            leads.push(format!(
                "-A {lead} -p {transport} -m {transport} --dport {port}{first} {} -j {lead_once}",
                begins(names, family)
            ));
            once.push(format!(
                "-A {lead_once} -p {transport} -m {transport} --dport {port} -j DNAT --to-destination {to}"
            ));
            // Ends the table: no rule of the site leads strangers past the gate.
            stays.push(format!("-A {lead} -p {transport} -m {transport} --dport {port} -j ACCEPT"));
            passes.push(format!(
                "-A {forward} -p {transport} -m conntrack --ctstate DNAT --ctorigdstport {port} -j ACCEPT"
            ));
            drops.push(format!(
                "-A {forward} -d {address}/{bits} -p {transport} -m {transport} --dport {service} -j DROP"
            ));
        }
        leads.append(&mut stays);
        if !once.is_empty() {
            once.insert(0, format!("-A {lead_once} {}", uses_up(names, family)));
        }
        if !passes.is_empty() {
            passes.push(format!("-A {forward} -m conntrack --ctstate RELATED,ESTABLISHED -j RETURN"));
            passes.extend(exemptions(forward, options));
            passes.append(&mut drops);
        }
        Self { names, forward: passes, lead: leads, lead_once: once }
    }

    /// Whether a door of this family leads behind the gateway.
    pub(super) fn is_wanted(&self) -> bool {
        !self.lead.is_empty()
    }

    /// Whether there are rules in the table nat: the table filter tells, so that a kernel that has
    /// none need not be asked.
    pub(super) fn is_there(&self, filter: &str) -> bool {
        has_chain(filter, &self.names.forward)
    }

    /// Lines for the table filter, which `filter` lists.
    pub(super) fn to_install(&self, filter: &str) -> String {
        if !self.is_wanted() {
            return self.to_remove(filter);
        }
        let mut script = format!(":{} - [0:0]\n", self.names.forward);
        for rule in &self.forward {
            let _ = writeln!(script, "{rule}");
        }
        script.push_str(&self.jumps_deleted(filter));
        let _ = writeln!(script, "-I FORWARD 1 -j {}", self.names.forward);
        script
    }

    /// Lines that take it out of the table filter, which `filter` lists.
    pub(super) fn to_remove(&self, filter: &str) -> String {
        let chain = &self.names.forward;
        let mut script = self.jumps_deleted(filter);
        if self.is_there(filter) {
            let _ = write!(script, "-F {chain}\n-X {chain}\n");
        }
        script
    }

    /// Input of `iptables-restore --noflush` for the table nat, which `nat` lists.
    pub(super) fn to_lead(&self, nat: &str) -> String {
        let Names { lead, lead_once, .. } = self.names;
        let mut script = String::from("*nat\n");
        if self.is_wanted() {
            let _ = write!(script, ":{lead} - [0:0]\n:{lead_once} - [0:0]\n");
            for rule in self.lead.iter().chain(&self.lead_once) {
                let _ = writeln!(script, "{rule}");
            }
        }
        let jump = self.jump_to_lead();
        let there = rules_of(nat, "PREROUTING").filter(|rule| **rule == format!("-A {jump}")).count();
        script.push_str(&format!("-D {jump}\n").repeat(there));
        if self.is_wanted() {
            let first = jump.replacen("PREROUTING", "PREROUTING 1", 1);
            let _ = writeln!(script, "-I {first}");
        } else {
            let there = [lead, lead_once].map(|chain| has_chain(nat, chain).then_some(chain));
            for verb in ["-F", "-X"] {
                for chain in there.iter().flatten() {
                    let _ = writeln!(script, "{verb} {chain}");
                }
            }
        }
        script.push_str("COMMIT\n");
        script
    }

    /// Notes in `verification` how the table filter differs.
    pub(super) fn verify(&self, filter: &str, family: Family, verification: &mut Verification) {
        let jump = format!("-A FORWARD -j {}", self.names.forward);
        if self.is_wanted() && rules_of(filter, "FORWARD").next() != Some(&jump) {
            verification.note(Drift::NotLed(family, "FORWARD"));
        }
        self.verify_chain(filter, (&self.names.forward, &self.forward), family, verification);
    }

    /// Notes in `verification` how the table nat differs.
    pub(super) fn verify_lead(&self, nat: &str, family: Family, verification: &mut Verification) {
        let jump = format!("-A {}", self.jump_to_lead());
        let Names { lead, lead_once, .. } = self.names;
        if rules_of(nat, "PREROUTING").next() != Some(&jump) {
            verification.note(Drift::NotLed(family, "PREROUTING"));
        }
        self.verify_chain(nat, (lead, &self.lead), family, verification);
        self.verify_chain(nat, (lead_once, &self.lead_once), family, verification);
    }

    fn verify_chain(
        &self,
        listing: &str,
        (chain, wanted): (&String, &[String]),
        family: Family,
        verification: &mut Verification,
    ) {
        if !self.is_wanted() {
            if has_chain(listing, chain) {
                verification.note(Drift::ChainChanged(Some(family), chain.clone()));
            }
            return;
        }
        if !has_chain(listing, chain) {
            verification.note(Drift::ChainMissing(Some(family), chain.clone()));
        } else if !rules_of(listing, chain).eq(wanted.iter().map(String::as_str)) {
            verification.note(Drift::ChainChanged(Some(family), chain.clone()));
        }
    }

    /// Only exactly our jump: one with conditions was made by somebody else.
    fn jumps_deleted(&self, filter: &str) -> String {
        let jump = format!("-A FORWARD -j {}", self.names.forward);
        let count = rules_of(filter, "FORWARD").filter(|rule| *rule == jump).count();
        format!("-D FORWARD -j {}\n", self.names.forward).repeat(count)
    }

    fn jump_to_lead(&self) -> String {
        format!("PREROUTING -m addrtype --dst-type LOCAL -j {}", self.names.lead)
    }
}
