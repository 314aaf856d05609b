//! Lints about the knocks of one sequence: what makes it weak is the firmware's to say.

use postern_config::weakness::{self, Weakness};
use postern_core::knock::{ServicePort, Step};

use super::Linter;
use crate::finding::Severity;
use crate::site::{DoorFile, SequenceFile, SiteFile};

/// All lints of an opening sequence.
pub(super) fn check_opening(
    linter: &mut Linter<'_>,
    site: &SiteFile,
    door: &DoorFile,
    sequence: &SequenceFile,
) {
    weakness::of_opening(&knocks(sequence), &ports(site), |position, weakness| {
        found(linter, door, sequence, position, weakness);
    });
}

/// All lints of a closing sequence.
pub(super) fn check_closing(
    linter: &mut Linter<'_>,
    site: &SiteFile,
    door: &DoorFile,
    sequence: &SequenceFile,
) {
    weakness::of_closing(&knocks(sequence), &ports(site), |position, weakness| {
        found(linter, door, sequence, position, weakness);
    });
}

fn knocks(sequence: &SequenceFile) -> impl Iterator<Item = Step> + Clone {
    sequence.steps.iter().map(|step| step.value)
}

fn ports(site: &SiteFile) -> impl Iterator<Item = (&str, ServicePort)> + Clone {
    site.doors.iter().flat_map(|door| door.ports.iter().map(|port| (door.name.value.as_str(), port.value)))
}

fn found(
    linter: &mut Linter<'_>,
    door: &DoorFile,
    sequence: &SequenceFile,
    position: Option<usize>,
    weakness: Weakness<'_>,
) {
    let step = position.and_then(|position| sequence.steps.get(position));
    let offset = step.map_or(sequence.offset, |step| step.offset);
    let severity = if weakness.is_grave() { Severity::Error } else { Severity::Warning };
    linter.about(door, offset, severity, weakness.code(), weakness.to_string(), weakness.suggestion());
}
