//! Lints about doors and what they have in common.

use postern_config::allowance::ALLOWANCES;

use super::Linter;
use crate::finding::{Finding, Severity, place_of};
use crate::guards;
use crate::site::{DoorFile, SequenceFile, SiteFile, did_you_mean};

/// A door open for longer than this is hardly a door.
const OPEN_FOR_LONG_SECS: u32 = 3600;

/// Guards beyond this catch many packets that mean nothing.
const GUARDS_WIDE: u32 = 16_384;

/// All lints about doors.
pub(super) fn check(linter: &mut Linter<'_>, site: &SiteFile) {
    for (index, door) in site.doors.iter().enumerate() {
        alone(linter, door);
        allowances(linter, door);
        for other in site.doors.get(..index).unwrap_or_default() {
            ports_in_common(linter, door, other);
            sequences_in_common(linter, door, other);
        }
    }
    if site.doors.is_empty() {
        let (line, column) = place_of(linter.text, site.name.offset);
        linter.findings.push(Finding {
            line,
            column,
            severity: Severity::Warning,
            code: "no-doors",
            message: "there is no door: nothing is protected, and the firewall lets everything pass".into(),
            suggestion: "add a `[[door]]` for each service".into(),
        });
    }
    let guarded = guards::count(&guards::choose(site));
    if let Some(door) = site.doors.first().filter(|_| guarded > GUARDS_WIDE) {
        let message =
            format!("{guarded} ports and lengths are guarded: much honest traffic will be looked at");
        linter.about(door, site.name.offset, Severity::Warning, "wide-guards", message, "lower `guard_tcp`");
    }
}

fn alone(linter: &mut Linter<'_>, door: &DoorFile) {
    let name = &door.name.value;
    if door.open_for_secs.value > OPEN_FOR_LONG_SECS {
        let message = format!("door `{name}` stays open for {}", duration(door.open_for_secs.value));
        let suggestion = "connections go on when the door closes: a minute is enough to connect";
        linter.about(door, door.open_for_secs.offset, Severity::Warning, "long-open", message, suggestion);
    }
    if let (Some(open), Some(close)) = (&door.sequence, &door.close_sequence) {
        if is_subsequence(open, close) || is_subsequence(close, open) {
            let message = format!("door `{name}` opens and closes with the same knocks");
            let suggestion = "give `close_sequence` knocks of its own";
            linter.about(door, close.offset, Severity::Error, "overlapping-sequences", message, suggestion);
        }
    }
    let other_way = !door.spa.is_empty() || door.rotating.is_some();
    let one_time = door.one_time_sequences.is_some();
    if door.sequence.is_none() && !other_way && !one_time {
        let message = format!("nothing opens door `{name}`: its ports are dropped for everybody");
        let suggestion = "give it a `sequence`";
        linter.about(door, door.name.offset, Severity::Warning, "no-way-in", message, suggestion);
    }
}

/// A slip in `allow` would leave the finding in place, or hide that it is gone.
fn allowances(linter: &mut Linter<'_>, door: &DoorFile) {
    for allowed in &door.allow {
        let code = &allowed.value;
        if !ALLOWANCES.contains(&code.as_str()) {
            let message = format!("{code:?} is no finding that a door can allow");
            let suggestion = match did_you_mean(code, &ALLOWANCES) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => "the code to allow stands in brackets in the finding".to_owned(),
            };
            let severity = Severity::Warning;
            linter.about(door, allowed.offset, severity, "unknown-allow", message, &suggestion);
        }
    }
}

fn ports_in_common(linter: &mut Linter<'_>, door: &DoorFile, other: &DoorFile) {
    let shared = door.ports.iter().find(|port| other.ports.iter().any(|theirs| theirs.value == port.value));
    if let Some(port) = shared {
        let (name, other) = (&door.name.value, &other.name.value);
        let message =
            format!("doors `{other}` and `{name}` both open {}: the easier way in counts", port.value);
        let suggestion = "make sure that both are meant to";
        linter.about(door, port.offset, Severity::Warning, "overlapping-doors", message, suggestion);
    }
}

/// As a site file writes it, with the largest unit that fits.
fn duration(secs: u32) -> String {
    match secs {
        secs if secs % 3600 == 0 => format!("{} h", secs / 3600),
        secs if secs % 60 == 0 => format!("{} min", secs / 60),
        secs => format!("{secs} s"),
    }
}

/// Knocks that complete one sequence must not complete another on the way.
fn sequences_in_common(linter: &mut Linter<'_>, door: &DoorFile, other: &DoorFile) {
    let (Some(ours), Some(theirs)) = (&door.sequence, &other.sequence) else { return };
    let (shorter, longer) =
        if ours.steps.len() <= theirs.steps.len() { (ours, theirs) } else { (theirs, ours) };
    let message = if is_subsequence(shorter, longer) {
        format!(
            "whoever opens one of the doors `{}` and `{}` opens the other on the way",
            other.name.value, door.name.value
        )
    } else if same_knocks(ours, theirs) {
        format!(
            "doors `{}` and `{}` have the same knocks in another order",
            other.name.value, door.name.value
        )
    } else {
        return;
    };
    let suggestion = "give each door knocks of its own";
    linter.about(door, ours.offset, Severity::Error, "overlapping-sequences", message, suggestion);
}

fn is_subsequence(shorter: &SequenceFile, longer: &SequenceFile) -> bool {
    let mut rest = longer.steps.iter();
    shorter.steps.iter().all(|step| rest.any(|other| other.value == step.value))
}

fn same_knocks(left: &SequenceFile, right: &SequenceFile) -> bool {
    let (mut left, mut right) = (left.knocks(), right.knocks());
    left.sort();
    right.sort();
    left == right
}
