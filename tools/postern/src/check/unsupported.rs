//! Refuses what schema 1 can say and this version does not honour.

use super::Linter;
use crate::finding::{Finding, Severity, place_of};
use crate::site::SiteFile;
use crate::supported::SUPPORTED;

/// One finding for each place.
pub(super) fn check(linter: &mut Linter<'_>, site: &SiteFile) {
    for door in &site.doors {
        let rotating = door.rotating.as_ref().map(|rotating| rotating.key.offset);
        let prefix = [(&door.prefix_v4, 32), (&door.prefix_v6, 128)];
        let prefix = prefix.iter().find(|(prefix, whole)| prefix.value != *whole);
        let asked = [
            ("rotating", SUPPORTED.rotating, rotating),
            ("forward", SUPPORTED.forward, door.forward.as_ref().map(|forward| forward.offset)),
            ("one_shot", SUPPORTED.one_shot, door.one_shot.value.then_some(door.one_shot.offset)),
            ("cut_at_end", SUPPORTED.cut_at_end, door.cut_at_end.value.then_some(door.cut_at_end.offset)),
            ("prefix", SUPPORTED.prefix, prefix.map(|(prefix, _)| prefix.offset)),
        ];
        for (name, supported, place) in asked {
            if let Some(offset) = place.filter(|_| !supported) {
                let what = format!("`{name}` of a door is not supported by this version");
                refuse(linter, offset, "unsupported", &what, "leave it out");
            }
        }
    }
}

fn refuse(linter: &mut Linter<'_>, offset: usize, code: &'static str, message: &str, suggestion: &str) {
    let (line, column) = place_of(linter.text, offset);
    let (message, suggestion) = (message.to_owned(), suggestion.to_owned());
    linter.findings.push(Finding { line, column, severity: Severity::Error, code, message, suggestion });
}
