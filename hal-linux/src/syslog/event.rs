//! What an audit record says: its severity, and its fields under stable names.

use std::fmt;
use std::net::IpAddr;

use postern_core::audit::{
    ConfigChange, Confinement, ConsoleAct, Event, Proof, Record, UpdateAct, WatchdogState,
};
use postern_core::grant::GrantId;
use postern_core::knock::{InterfaceIndex, ServicePort};
use postern_core::network::Network;
use postern_core::port::FirewallError;
use syslog::Severity;

use super::line::Identity;
use crate::confine::Capabilities;

/// One field: `door=ssh` for people, `door="ssh"` as structured data.
#[derive(Clone, Copy)]
pub(super) struct Field<'a> {
    pub(super) name: &'static str,
    pub(super) value: &'a dyn fmt::Display,
    /// Follows the value for people and the name in structured data: `open_for=30s`,
    /// `open_for_s="30"`.
    pub(super) unit: &'static str,
}

/// Severity (RFC 5424, section 6.2.1): what needs a person soon is an error or worse.
pub(super) const fn severity(event: &Event) -> Severity {
    match event {
        Event::FirewallFailed { .. }
        | Event::FirewallDrift { repaired: false, .. }
        | Event::SafeMode { .. }
        | Event::SelfTest { failure: Some(_) } => Severity::LOG_CRIT,
        Event::ConfigRejected
        | Event::Update { act: UpdateAct::Failed(_) | UpdateAct::FellBack, .. }
        | Event::SlotRefused { .. }
        | Event::StoreFailed
        | Event::FactoryProfile
        | Event::Watchdog(WatchdogState::Unusable)
        | Event::CaptureLost { .. } => Severity::LOG_ERR,
        Event::ConfigChanged { change: ConfigChange::Wiped, .. }
        | Event::Console { act: ConsoleAct::BrokeGlass, .. } => Severity::LOG_ALERT,
        Event::ConfigChanged { change: ConfigChange::TrialTimedOut | ConfigChange::TrialLost, .. }
        | Event::Update { act: UpdateAct::Refused(_) | UpdateAct::RolledBack(_), .. }
        | Event::Console { act: ConsoleAct::Failed | ConsoleAct::Delayed, .. } => Severity::LOG_WARNING,
        Event::Confinement(None)
        | Event::FirewallDrift { repaired: true, .. }
        | Event::Watchdog(WatchdogState::Missing | WatchdogState::LastReset(_))
        | Event::Confinement(Some(Confinement { seccomp: false, .. }))
        | Event::Deny { .. }
        | Event::SpaRefused { .. }
        | Event::DenySuppressed { .. }
        | Event::Suspect { begins: true, .. }
        | Event::SuspectsCounted { .. }
        | Event::FloodBegan { .. }
        | Event::CaptureDropped { .. }
        | Event::Lost { .. } => Severity::LOG_WARNING,
        Event::Grant { .. }
        | Event::Revoke { .. }
        | Event::Boot { .. }
        | Event::Confinement(Some(_))
        | Event::Watchdog(WatchdogState::Armed { .. })
        | Event::SelfTest { failure: None }
        | Event::SafeModeLeft
        | Event::Suspect { .. }
        | Event::FloodEnded { .. }
        | Event::ConfigApplied { .. }
        | Event::ConfigChanged { .. }
        | Event::KeyRebased { .. }
        | Event::Update { .. }
        | Event::Console { .. }
        | Event::CaptureBack { .. } => Severity::LOG_NOTICE,
        Event::Expire { .. } => Severity::LOG_INFO,
    }
}

/// The fields every record has, after those of its own.
pub(super) fn record_fields(record: &Record, take: &mut Take<'_>) -> fmt::Result {
    take(Field { name: "seq", value: &record.id, unit: "" })?;
    take(Field { name: "uptime", value: &record.at.millis(), unit: "ms" })
}

/// What is done with each field.
pub(super) type Take<'a> = dyn FnMut(Field<'_>) -> fmt::Result + 'a;

/// The fields of the event, in the order a person reads them.
pub(super) fn event_fields(event: &Event, identity: &Identity, take: &mut Take<'_>) -> fmt::Result {
    let mut plain = |name, value: &dyn fmt::Display| take(Field { name, value, unit: "" });
    match event {
        Event::Grant { .. } => grant_fields(event, take),
        Event::Expire { grant, door, source, prefix } => {
            plain("grant", &Number(*grant))?;
            plain("door", door)?;
            whom(*source, *prefix, take)
        }
        Event::Revoke { grant, door, source, prefix, reason } => {
            plain("grant", &Number(*grant))?;
            plain("door", door)?;
            whom(*source, *prefix, take)?;
            take(Field { name: "reason", value: &reason.reason(), unit: "" })
        }
        Event::Deny { .. } | Event::SpaRefused { .. } | Event::DenySuppressed { .. } => {
            denial_fields(event, take)
        }
        Event::FirewallFailed { .. } => failure_fields(event, take),
        Event::Boot { doors } | Event::ConfigApplied { doors } => plain("doors", doors),
        Event::Suspect { .. }
        | Event::SuspectsCounted { .. }
        | Event::FloodBegan { .. }
        | Event::FloodEnded { .. } => detection_fields(event, take),
        Event::Confinement(None) => plain("state", &"off"),
        Event::Confinement(Some(confinement)) => confinement_fields(confinement, &mut plain),
        Event::Watchdog(state) => watchdog_fields(*state, take),
        Event::SelfTest { failure } => plain("result", &failure.unwrap_or("passed")),
        Event::FirewallDrift { differences, repaired } => {
            plain("differences", differences)?;
            plain("repaired", repaired)
        }
        Event::ConfigRejected | Event::StoreFailed | Event::FactoryProfile => Ok(()),
        Event::SafeMode { .. } | Event::SafeModeLeft => safe_mode_fields(event, take),
        Event::ConfigChanged { .. } | Event::KeyRebased { .. } | Event::SlotRefused { .. } => {
            change_fields(event, take)
        }
        Event::Console { account, .. } => plain("account", account),
        Event::CaptureLost { interface } | Event::CaptureBack { interface } => {
            plain("interface", &Interface(identity, *interface))
        }
        Event::CaptureDropped { frames } => plain("frames", frames),
        Event::Update { act, release, by } => {
            plain("release", release)?;
            plain("by", by)?;
            act.reason().map_or(Ok(()), |reason| plain("reason", &reason))
        }
        Event::Lost { records } => plain("records", records),
    }
}

/// The fields of a change of the configuration.
fn change_fields(event: &Event, take: &mut Take<'_>) -> fmt::Result {
    let mut plain = |name, value: &dyn fmt::Display| take(Field { name, value, unit: "" });
    match event {
        Event::ConfigChanged { change, generation, by } => {
            plain("generation", generation)?;
            plain("by", by)?;
            plain("reason", &change.reason())
        }
        Event::KeyRebased { key, epoch, by } => {
            plain("key", key)?;
            plain("epoch", epoch)?;
            plain("by", by)
        }
        Event::SlotRefused { slot, reason } => {
            plain("slot", slot)?;
            plain("reason", reason)
        }
        _ => Ok(()),
    }
}

/// Who asked for a grant, and what of its network it is for, if that is more.
fn whom(source: IpAddr, prefix: u8, take: &mut Take<'_>) -> fmt::Result {
    take(Field { name: "src", value: &source, unit: "" })?;
    let network = Network::around(source, prefix);
    if network.is_host() { Ok(()) } else { take(Field { name: "for", value: &network, unit: "" }) }
}

fn grant_fields(event: &Event, take: &mut Take<'_>) -> fmt::Result {
    let Event::Grant { grant, door, source, prefix, ports, open_for, proof, key, extended, one_shot } = event
    else {
        return Ok(());
    };
    let mut plain = |name, value: &dyn fmt::Display| take(Field { name, value, unit: "" });
    plain("grant", &Number(*grant))?;
    plain("door", door)?;
    whom(*source, *prefix, take)?;
    take(Field { name: "ports", value: &Ports(ports), unit: "" })?;
    take(Field { name: "open_for", value: &open_for.secs_ceil(), unit: "s" })?;
    take(Field { name: "proof", value: &proof_name(*proof), unit: "" })?;
    if !key.is_empty() {
        take(Field { name: "key", value: key, unit: "" })?;
    }
    take(Field { name: "extended", value: extended, unit: "" })?;
    // Few are: lines of the others stay as they were.
    if *one_shot { take(Field { name: "one_shot", value: one_shot, unit: "" }) } else { Ok(()) }
}

fn safe_mode_fields(event: &Event, take: &mut Take<'_>) -> fmt::Result {
    let mut plain = |name, value: &dyn fmt::Display| take(Field { name, value, unit: "" });
    let Event::SafeMode { starts, retry_after } = event else { return plain("state", &"off") };
    plain("state", &"on")?;
    plain("starts", starts)?;
    take(Field { name: "retry", value: &retry_after.secs_ceil(), unit: "s" })
}

fn watchdog_fields(state: WatchdogState, take: &mut Take<'_>) -> fmt::Result {
    let mut plain = |name, value: &dyn fmt::Display| take(Field { name, value, unit: "" });
    match state {
        WatchdogState::Armed { timeout_secs } => {
            plain("state", &"armed")?;
            take(Field { name: "timeout", value: &timeout_secs, unit: "s" })
        }
        WatchdogState::Missing => plain("state", &"missing"),
        WatchdogState::Unusable => plain("state", &"unusable"),
        WatchdogState::LastReset(cause) => plain("last_reset", &cause),
    }
}

/// The fields of a refusal.
fn denial_fields(event: &Event, take: &mut Take<'_>) -> fmt::Result {
    let mut plain = |name, value: &dyn fmt::Display| take(Field { name, value, unit: "" });
    match event {
        Event::Deny { door, source, reason } => {
            plain("door", door)?;
            plain("src", source)?;
            plain("reason", &reason.reason())
        }
        Event::SpaRefused { key, source, reason, .. } => {
            if !key.is_empty() {
                plain("key", key)?;
            }
            plain("src", source)?;
            plain("reason", reason)
        }
        Event::DenySuppressed { records, .. } => {
            plain("reason", &"rate-limited")?;
            plain("records", records)
        }
        _ => Ok(()),
    }
}

/// The fields of a command the firewall did not carry out.
fn failure_fields(event: &Event, take: &mut Take<'_>) -> fmt::Result {
    let Event::FirewallFailed { grant, door, source, prefix, task, revoked, held_for, error } = event else {
        return Ok(());
    };
    take(Field { name: "grant", value: &Number(*grant), unit: "" })?;
    take(Field { name: "door", value: door, unit: "" })?;
    whom(*source, *prefix, take)?;
    let mut plain = |name, value: &dyn fmt::Display| take(Field { name, value, unit: "" });
    plain("task", &task.name())?;
    if let Some(revoked) = revoked {
        plain("revoked", &revoked.reason())?;
    }
    plain("reason", &error.reason())?;
    if let FirewallError::Other(errno) = error {
        plain("errno", errno)?;
    }
    take(Field { name: "held_for", value: &held_for.secs_ceil(), unit: "s" })
}

/// The fields of what the detectors found.
fn detection_fields(event: &Event, take: &mut Take<'_>) -> fmt::Result {
    let mut plain = |name, value: &dyn fmt::Display| take(Field { name, value, unit: "" });
    match event {
        Event::Suspect { source, begins, count, .. } => {
            plain("state", &if *begins { "on" } else { "off" })?;
            plain("src", source)?;
            plain("count", count)
        }
        Event::SuspectsCounted { sources, .. } => {
            plain("state", &"more")?;
            plain("sources", sources)
        }
        Event::FloodBegan { per_sec } => plain("per_sec", per_sec),
        Event::FloodEnded { frames, peak_per_sec, lasted } => {
            plain("frames", frames)?;
            plain("peak_per_sec", peak_per_sec)?;
            take(Field { name: "lasted", value: &lasted.secs_ceil(), unit: "s" })
        }
        _ => Ok(()),
    }
}

/// What the kernel lacks is named as such: who relies on it must see that it is not there.
fn confinement_fields(
    confinement: &Confinement,
    plain: &mut dyn FnMut(&'static str, &dyn fmt::Display) -> fmt::Result,
) -> fmt::Result {
    plain("state", &"on")?;
    plain("user", &confinement.user)?;
    plain("capabilities", &Capabilities(confinement.capabilities))?;
    plain("seccomp", &if confinement.seccomp { "filter" } else { "none" })?;
    match confinement.landlock_abi {
        0 => plain("landlock", &"none"),
        version => plain("landlock", &version),
    }?;
    plain("memory", &if confinement.memory_locked { "locked" } else { "pageable" })
}

const fn proof_name(proof: Proof) -> &'static str {
    match proof {
        Proof::Sequence => "sequence",
        Proof::Spa(_) => "spa",
        Proof::Adopted => "adopted",
        Proof::Rotating(_) => "rotating",
        Proof::OneTime => "one-time",
    }
}

struct Number(GrantId);

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.raw())
    }
}

struct Ports<'a>(&'a [ServicePort]);

impl fmt::Display for Ports<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, port) in self.0.iter().enumerate() {
            let comma = if position == 0 { "" } else { "," };
            write!(f, "{comma}{port}")?;
        }
        Ok(())
    }
}

/// The interface's name, or its number when the site's list has none.
struct Interface<'a>(&'a Identity, InterfaceIndex);

impl fmt::Display for Interface<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.interfaces.get(usize::from(self.1.0)) {
            Some(name) => f.write_str(name),
            None => write!(f, "{}", self.1.0),
        }
    }
}
