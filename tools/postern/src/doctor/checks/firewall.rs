//! The firewall: programs, kernel, the gate, and who stands in its way.

use postern_config::Backend;
use postern_core::knock::ServicePort;
use postern_hal_linux::firewall::{Drift, InstallError};

use crate::doctor::facts::Facts;
use crate::doctor::finding::{Finding, Symptom};
use crate::doctor::iptables::{Fate, Rules};
use crate::finding::Severity;

/// The chain of the gate in iptables.
const GATE: &str = "POSTERN";

pub(super) fn programs(facts: &Facts, findings: &mut Vec<Finding>) {
    let uses_iptables = facts.site.as_ref().is_none_or(|site| site.backend == Backend::Iptables);
    for program in &facts.programs_missing {
        let message = format!("{program} is neither in /usr/sbin, /sbin, /usr/bin nor /bin");
        let fix = if program == "nft" {
            "install nftables, or use the back end iptables"
        } else {
            "install iptables (both families), or use the back end nftables"
        };
        findings.push(Finding::new(Severity::Error, "program-missing", &[Symptom::NoLog], message, fix));
    }
    let is_nft = facts.iptables_version.contains("nf_tables");
    if uses_iptables && is_nft && !facts.legacy_tables.is_empty() {
        let message = format!(
            "{} is in use, but the kernel also holds rules of the legacy iptables (tables {}): two firewalls, one \
             after the other",
            facts.iptables_version,
            facts.legacy_tables.replace('\n', " ")
        );
        let fix =
            "move all rules to one of them (`update-alternatives --config iptables`), then flush the other";
        let explains = &[Symptom::TimeOut];
        findings.push(Finding::new(Severity::Warning, "iptables-variants-mixed", explains, message, fix));
    }
}

pub(super) fn gate(facts: &Facts, findings: &mut Vec<Finding>) {
    let Some(gate) = &facts.gate else { return };
    if let Some(Err(error)) = &gate.trial {
        let code = match error {
            InstallError::KernelLacks { .. } => "kernel-lacks",
            InstallError::ProgramMissing { .. } => return,
            _ => "gate-impossible",
        };
        let message = format!("a gate cannot be put up, not even in a namespace of its own: {error}");
        let fix = "add what is missing to the kernel, or its module to the image, or use the other back end";
        findings.push(Finding::new(Severity::Error, code, &[Symptom::NoLog], message, fix));
    }
    match &gate.drifts {
        Err(InstallError::ProgramMissing { .. }) => {}
        Err(error) => {
            let message = format!("the gate cannot be read: {error}");
            let fix = "run this as root, on the gateway itself";
            findings.push(Finding::new(Severity::Error, "gate-unreadable", &[], message, fix));
        }
        Ok(drifts) => drifts.iter().for_each(|drift| findings.push(drifted(facts, drift))),
    }
}

fn drifted(facts: &Facts, drift: &Drift) -> Finding {
    const OPEN: &[Symptom] = &[Symptom::Open];
    let restart = "restart posternd: it puts the gate up anew, and grants have to be knocked for again";
    match drift {
        Drift::JumpNotFirst(family) => {
            let rules = facts.iptables.iter().filter(|(program, _)| {
                (*program == "ip6tables") == (*family == postern_hal_linux::firewall::Family::V6)
            });
            let before: Vec<String> = rules.flat_map(|(_, rules)| rules.before_gate(GATE)).collect();
            let message = format!("{drift}: {}", before.join("; "));
            let fix = "start what made those rules before posternd, or have it append instead of insert; then \
                       restart posternd";
            Finding::new(Severity::Error, "gate-not-first", OPEN, message, fix)
        }
        Drift::PortsDiffer { .. } => {
            let message = format!("{drift}: the store asks for others than the gate in force");
            let fix = "send SIGHUP to posternd, or restart it, if the store is the one it runs with";
            Finding::new(Severity::Error, "gate-differs", OPEN, message, fix)
        }
        Drift::JumpMissing(_) | Drift::TableMissing(_) | Drift::ChainMissing(..) | Drift::SetMissing(_) => {
            Finding::new(Severity::Error, "gate-missing", OPEN, drift.to_string(), restart)
        }
        Drift::JumpRepeated(_) => {
            Finding::new(Severity::Note, "gate-repeated", &[], drift.to_string(), restart)
        }
        _ => Finding::new(Severity::Error, "gate-changed", OPEN, drift.to_string(), restart),
    }
}

/// What drops a client the gate let pass.
pub(super) fn shadows(facts: &Facts, findings: &mut Vec<Finding>) {
    for port in facts.own_ports() {
        for (program, rules) in &facts.iptables {
            shadow_of_iptables(program, rules, port, findings);
        }
        for chain in &facts.foreign_chains {
            // The tables of iptables-nft were judged above, rule by rule.
            let is_iptables = chain.table.ends_with(" filter") && chain.chain == "INPUT";
            let (transport, number) = (port.transport.name(), port.port);
            if !is_iptables && chain.drops_the_rest() && !chain.accepts(transport, number) {
                let message = format!(
                    "chain {} of table {} (hook {}) drops {port} for everybody, also for who was let in",
                    chain.chain, chain.table, chain.hook
                );
                let fix = format!(
                    "accept {port} there as well: `nft insert rule {} {} {transport} dport {number} accept`, and in \
                     whatever makes that table; the gate decides who gets that far",
                    chain.table, chain.chain
                );
                findings.push(Finding::new(Severity::Error, "shadowed", &[Symptom::TimeOut], message, fix));
            }
        }
    }
}

fn shadow_of_iptables(program: &str, rules: &Rules, port: ServicePort, findings: &mut Vec<Finding>) {
    let (transport, number) = (port.transport.name(), port.port);
    let Fate::Dropped(rule) = rules.fate(transport, number, GATE) else { return };
    let fix = format!(
        "accept {port} in the site's own rules (`{program} -A INPUT -p {transport} --dport {number} -j ACCEPT`, \
         `ufw allow {number}/{transport}`): the gate decides who gets that far"
    );
    let message = format!("{port} is dropped behind the gate, also for who was let in: {program} `{rule}`");
    findings.push(Finding::new(Severity::Error, "shadowed", &[Symptom::TimeOut], message, fix));
}

/// Others that make rules, and may make them again at any time.
pub(super) fn managers(facts: &Facts, findings: &mut Vec<Finding>) {
    let has_chain = |prefix: &str| facts.iptables.iter().any(|(_, rules)| rules.has_chain(prefix));
    let managers = [
        (
            "ufw",
            has_chain("ufw-"),
            "`ufw reload` puts its rules back behind the gate; allow the doors' ports in it",
        ),
        (
            "firewalld",
            facts.nft_tables.contains("firewalld") || has_chain("IN_public"),
            "`firewall-cmd --reload` must not flush the gate; allow the doors' ports in its zone",
        ),
        (
            "docker",
            has_chain("DOCKER"),
            "published ports go through FORWARD, past the gate in INPUT: publish on 127.0.0.1, or guard DOCKER-USER",
        ),
    ];
    for (name, _, fix) in managers.into_iter().filter(|(_, is_there, _)| *is_there) {
        let message = format!("{name} makes firewall rules here, too");
        findings.push(Finding::new(Severity::Note, "other-manager", &[], message, fix));
    }
}
