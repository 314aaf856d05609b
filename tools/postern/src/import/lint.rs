//! What `postern check` will say about the imported sequences, said at once.

use super::differences::SCAN_CHECK;
use super::door::Door;
use crate::check::check;
use crate::finding::{Finding, Severity};

/// Adds a commented `allow` line to every door whose sequence the check refuses, and a finding at
/// the section it comes from. Existing clients may have to go on for a while; that is decided by
/// a person, not by the import. `doors` are those of the site file, in its order.
pub(super) fn allowances(site: &str, doors: &[Door<'_>], findings: &mut Vec<Finding>) -> String {
    let refused = refused_codes(site, doors.len());
    let mut lines: Vec<String> = Vec::new();
    let mut pending: Option<String> = None;
    let mut doors = doors.iter().zip(refused);
    for line in site.lines() {
        if line == "[[door]]" {
            pending = doors.next().filter(|(_, codes)| !codes.is_empty()).map(|(door, codes)| {
                let mut finding = SCAN_CHECK.warning(door.place());
                finding.message = format!("{}: {}", finding.message, codes.join(", "));
                findings.push(finding);
                format!("# allow = [\"{}\"] # uncomment to keep this sequence", codes.join("\", \""))
            });
        } else if line.is_empty() {
            lines.extend(pending.take());
        }
        lines.push(line.to_owned());
    }
    lines.extend(pending);
    lines.join("\n") + "\n"
}

/// For each door the codes of errors it may be allowed by name.
fn refused_codes(site: &str, doors: usize) -> Vec<Vec<&'static str>> {
    let mut codes = vec![Vec::new(); doors];
    let errors = check(site).findings.into_iter().filter(|finding| finding.severity == Severity::Error);
    for error in errors.filter(|error| error.suggestion.contains("`allow = [")) {
        let line = usize::try_from(error.line).unwrap_or(usize::MAX);
        let headers = site.lines().take(line).filter(|line| *line == "[[door]]").count();
        let door = headers.checked_sub(1).and_then(|index| codes.get_mut(index));
        if let Some(door) = door.filter(|door| !door.contains(&error.code)) {
            door.push(error.code);
        }
    }
    codes
}
