//! The grammar of access.conf and fwknopd.conf, as fwknopd 2.6 reads them.
//!
//! A line is a name, blanks, and a value that ends at a semicolon or with the line. A colon behind the
//! name is dropped. What begins with `#` or `;` is a comment. Names do not care about case.

use crate::finding::Finding;
use crate::import::report::{Place, Text, refusal};

/// Lines read before the rest of a file is refused.
const LINES_MAX: usize = 10_000;

/// One line that says something.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line<'a> {
    /// The directive, without its colon.
    pub(super) name: Text<'a>,
    /// What stands behind it, without blanks around it.
    pub(super) value: Text<'a>,
}

impl Line<'_> {
    /// Whether it is this directive.
    pub(super) fn is(&self, name: &str) -> bool {
        self.name.text.eq_ignore_ascii_case(name)
    }
}

/// One line; `None` when it says nothing, `Err` when it has no value.
pub(super) fn line(text: &str, number: u32) -> Option<Result<Line<'_>, Finding>> {
    let whole = Text { text, place: Place { line: number, column: 1 } }.trim();
    if whole.text.is_empty() || whole.text.starts_with(['#', ';']) {
        return None;
    }
    let end = whole.text.find([' ', '\t', ';']).unwrap_or(whole.text.len());
    let name = whole.slice(0, end);
    let rest = whole.slice(end, whole.text.len() - end);
    let value = rest.slice(0, rest.text.find(';').unwrap_or(rest.text.len())).trim();
    if value.text.is_empty() {
        let suggestion = "Write a value behind it, or delete the line.";
        return Some(Err(refusal(name.place, "no-value", "the line has no value", suggestion)));
    }
    let name = name.slice(0, name.text.trim_end_matches(':').len());
    Some(Ok(Line { name, value }))
}

/// Every line that says something.
pub(super) fn lines<'a>(text: &'a str, findings: &mut Vec<Finding>) -> Vec<Line<'a>> {
    let mut lines = Vec::new();
    for (number, text) in (1..).zip(text.lines()) {
        match line(text, number) {
            None => {}
            Some(Ok(_)) if lines.len() == LINES_MAX => {
                let place = Place { line: number, column: 1 };
                let message = format!("the file has more than {LINES_MAX} lines; the rest is not read");
                findings.push(refusal(place, "too-many-lines", message, "Split it."));
                break;
            }
            Some(Ok(line)) => lines.push(line),
            Some(Err(finding)) => findings.push(finding),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_as_fwknopd_reads_them() {
        let mut findings = Vec::new();
        let text = "# comment\n  SOURCE:   ANY;  # more\n;\n\nkey\tsecret words ; x\nEMPTY ;\nALONE\n";
        let read = lines(text, &mut findings);
        let found: Vec<_> = read.iter().map(|line| (line.name.text, line.value.text)).collect();
        assert_eq!(found, [("SOURCE", "ANY"), ("key", "secret words")]);
        assert!(read[1].is("KEY"));
        let codes: Vec<_> = findings.iter().map(|finding| (finding.line, finding.code)).collect();
        assert_eq!(codes, [(6, "no-value"), (7, "no-value")]);
    }
}
