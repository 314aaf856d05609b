//! Lints about the knocks of one sequence.

use postern_core::knock::Protocol;

use super::Linter;
use crate::finding::Severity;
use crate::site::{DoorFile, SequenceFile, SiteFile};
use postern_config::services::{EPHEMERAL_FIRST, EPHEMERAL_LAST, STOCK_PING_OCTETS, service_on};

/// All lints of an opening sequence.
pub(super) fn check(linter: &mut Linter<'_>, site: &SiteFile, door: &DoorFile, sequence: &SequenceFile) {
    length(linter, door, sequence);
    monotone(linter, door, sequence);
    repeated(linter, door, sequence);
    services(linter, door, sequence);
    check_protected(linter, site, door, sequence);
    lengths_of_ping(linter, door, sequence);
}

fn length(linter: &mut Linter<'_>, door: &DoorFile, sequence: &SequenceFile) {
    let count = sequence.steps.len();
    if count > 3 {
        return;
    }
    let severity = if count < 3 { Severity::Error } else { Severity::Warning };
    let message = format!("a sequence of {count} knock{} is short", if count == 1 { "" } else { "s" });
    linter.about(door, sequence.offset, severity, "short-sequence", message, "use four knocks or more");
}

/// A linear scan in either direction meets the knocks in order.
fn monotone(linter: &mut Linter<'_>, door: &DoorFile, sequence: &SequenceFile) {
    let values: Vec<u16> = sequence.steps.iter().map(|step| step.value.value).collect();
    let rising = values.windows(2).all(|pair| pair[0] < pair[1]);
    let falling = values.windows(2).all(|pair| pair[0] > pair[1]);
    if values.len() > 1 && (rising || falling) {
        let way = if rising { "rise" } else { "fall" };
        let message = format!("the knocks {way} from first to last: a linear scan meets them in order");
        let suggestion = "put them in an order that goes up and down";
        linter.about(door, sequence.offset, Severity::Error, "monotone-sequence", message, suggestion);
    }
}

/// A knock that follows itself is refused when the site is compiled.
fn repeated(linter: &mut Linter<'_>, door: &DoorFile, sequence: &SequenceFile) {
    for (index, step) in sequence.steps.iter().enumerate() {
        let before = sequence.steps.get(..index).unwrap_or_default();
        let follows_itself = before.last().is_some_and(|last| last.value == step.value);
        if !follows_itself && before.iter().any(|other| other.value == step.value) {
            let message = format!("{} stands twice: that is one knock less to guess", step.value);
            let (severity, suggestion) = (Severity::Warning, "use another knock");
            linter.about(door, step.offset, severity, "repeated-knock", message, suggestion);
        }
    }
}

fn services(linter: &mut Linter<'_>, door: &DoorFile, sequence: &SequenceFile) {
    for step in sequence.steps.iter().filter(|step| step.value.protocol != Protocol::Icmp) {
        let (knock, port) = (step.value, step.value.value);
        if let Some(service) = service_on(port) {
            let message =
                format!("{knock} is a port of {service}: everybody who looks for that knocks there");
            let suggestion = "use a port above 1023 that no service is known for";
            linter.about(door, step.offset, Severity::Error, "service-port", message, suggestion);
        } else if knock.protocol == Protocol::Udp && (EPHEMERAL_FIRST..=EPHEMERAL_LAST).contains(&port) {
            let message = format!("{knock} is in the range answers to the gateway's own questions come to");
            let suggestion = "use a UDP port of 1024 to 32767";
            linter.about(door, step.offset, Severity::Warning, "ephemeral-port", message, suggestion);
        }
    }
}

/// A knock on a protected port is somebody trying the service itself.
pub(super) fn check_protected(
    linter: &mut Linter<'_>,
    site: &SiteFile,
    door: &DoorFile,
    sequence: &SequenceFile,
) {
    for step in &sequence.steps {
        let knock = step.value;
        let protector = site.doors.iter().find(|other| {
            let same = |port: &postern_core::ServicePort| {
                port.port == knock.value && port.transport.name() == knock.protocol.name()
            };
            other.ports.iter().any(|port| same(&port.value))
        });
        if let Some(protector) = protector {
            let message =
                format!("{knock} is protected by door `{}`: whoever tries it knocks", protector.name.value);
            let suggestion = "use a port no door protects";
            linter.about(door, step.offset, Severity::Error, "protected-port", message, suggestion);
        }
    }
}

fn lengths_of_ping(linter: &mut Linter<'_>, door: &DoorFile, sequence: &SequenceFile) {
    for step in sequence.steps.iter().filter(|step| step.value.protocol == Protocol::Icmp) {
        if STOCK_PING_OCTETS.contains(&step.value.value) {
            let message = format!("{} is what a plain ping sends", step.value);
            let suggestion = "use a length no program sends by itself, such as 83 or 211";
            linter.about(door, step.offset, Severity::Error, "stock-ping", message, suggestion);
        }
    }
}
