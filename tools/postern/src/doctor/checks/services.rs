//! The services behind the doors, and what listens where it must not.

use postern_core::knock::{Protocol, Transport};

use crate::doctor::facts::Facts;
use crate::doctor::finding::{Finding, Symptom};
use crate::finding::Severity;

pub(super) fn doors(facts: &Facts, findings: &mut Vec<Finding>) {
    for port in facts.own_ports() {
        let here: Vec<_> = facts
            .listeners
            .iter()
            .filter(|listener| listener.transport == port.transport && listener.port == port.port)
            .collect();
        let explains = &[Symptom::Refused];
        if here.is_empty() {
            let message = format!("nothing listens on {port}: who is let in is refused");
            let fix = "start the service, or take the port out of the door";
            findings.push(Finding::new(Severity::Warning, "nothing-listens", explains, message, fix));
        } else if here.iter().all(|listener| listener.address.is_loopback()) {
            let message = format!("{port} is listened to on the loopback only: who is let in is refused");
            let fix = "let the service listen on the outer address, too";
            findings.push(Finding::new(Severity::Warning, "listens-on-loopback", explains, message, fix));
        }
    }
}

pub(super) fn behind(facts: &Facts, findings: &mut Vec<Finding>) {
    let [v4, v6] = facts.forwards;
    for door in facts.rules.iter().flat_map(|rules| rules.doors()) {
        let Some(behind) = door.terms.behind else { continue };
        let (family, switch, on) = if behind.host.is_ipv4() {
            ("IPv4", "net.ipv4.ip_forward", v4)
        } else {
            ("IPv6", "net.ipv6.conf.all.forwarding", v6)
        };
        if !on {
            let (name, host) = (&door.name, behind.host);
            let message = format!("door {name} leads to {host}, and this machine forwards no {family}");
            let fix = format!("`sysctl -w {switch}=1`, and the same in /etc/sysctl.d");
            let explains = &[Symptom::TimeOut];
            findings.push(Finding::new(Severity::Error, "forwarding-off", explains, message, fix));
        }
    }
}

pub(super) fn knocks(facts: &Facts, findings: &mut Vec<Finding>) {
    let sequences = facts.rules.iter().flat_map(|rules| rules.sequences());
    let steps = sequences.flat_map(|sequence| &sequence.steps);
    let steps = steps.filter_map(|step| match step.protocol {
        Protocol::Tcp => Some((Transport::Tcp, step.value)),
        Protocol::Udp => Some((Transport::Udp, step.value)),
        Protocol::Icmp => None,
    });
    let spa = facts.site.iter().map(|site| (Transport::Udp, site.spa_port)).filter(|(_, port)| *port != 0);
    let mut knocks: Vec<(Transport, u16)> = steps.chain(spa).collect();
    knocks.sort_unstable_by_key(|(transport, port)| (transport.name(), *port));
    knocks.dedup();
    for (transport, port) in knocks {
        let taken = facts.listeners.iter().any(|listener| {
            listener.transport == transport && listener.port == port && !listener.address.is_loopback()
        });
        if taken {
            let name = transport.name();
            let message = format!(
                "a program listens on {name}/{port}, which is a knock: it answers, and its own \
                                   clients knock without knowing"
            );
            let fix = "choose another port (`postern new-sequence`), or stop that program";
            let explains = &[Symptom::NotRecognised];
            findings.push(Finding::new(Severity::Warning, "knock-port-in-use", explains, message, fix));
        }
    }
}
