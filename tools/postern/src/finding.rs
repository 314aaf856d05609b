//! What a check or an import has to say about a file: where, what, and how to mend it.

use std::fmt::Write as _;

use serde::Serialize;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing.
    Note,
    /// Needs a look.
    Warning,
    /// Is refused.
    Error,
}

impl Severity {
    /// As printed.
    pub const fn name(self) -> &'static str {
        match self {
            Severity::Note => "note",
            Severity::Warning => "warning",
            Severity::Error => "error",
        }
    }
}

/// One thing found in a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Line, counted from 1; 0 when it is about the file as a whole.
    pub line: u32,
    /// Column in characters, counted from 1.
    pub column: u32,
    /// How bad it is.
    pub severity: Severity,
    /// Stable name of the kind of finding, for `allow` and for scripts.
    pub code: &'static str,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub suggestion: String,
}

/// Line and column of the octet at `offset`, both counted from 1, the column in characters.
pub fn place_of(text: &str, offset: usize) -> (u32, u32) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
    (u32::try_from(line).unwrap_or(u32::MAX), u32::try_from(column).unwrap_or(u32::MAX))
}

/// A finding for people: place, message, the line with a caret, and what to do.
///
/// ```text
/// site.toml:12:13: error[short-sequence]: two knocks are found by chance
///   12 | sequence = ["tcp/1", "tcp/2"]
///      |            ^
///   fix: use four knocks or more
/// ```
pub fn render(path: &str, text: &str, finding: &Finding) -> String {
    let Finding { line, column, severity, code, .. } = finding;
    // Both may quote the file, which comes from who knows where.
    let [message, suggestion] =
        [&finding.message, &finding.suggestion].map(|text| text.chars().map(printable).collect::<String>());
    let mut out = String::new();
    if *line == 0 {
        let _ = writeln!(out, "{path}: {}[{code}]: {message}", severity.name());
    } else {
        let _ = writeln!(out, "{path}:{line}:{column}: {}[{code}]: {message}", severity.name());
        let source = usize::try_from(*line - 1).ok().and_then(|index| text.lines().nth(index));
        if let Some(source) = source {
            let margin = line.to_string();
            let shown: String = source.chars().take(120).map(printable).collect();
            let _ = writeln!(out, "  {margin} | {shown}");
            let before = usize::try_from(column.saturating_sub(1)).unwrap_or(0).min(120);
            let _ = writeln!(out, "  {:width$} | {:before$}^", "", "", width = margin.len());
        }
    }
    if !suggestion.is_empty() {
        let _ = writeln!(out, "  fix: {suggestion}");
    }
    out
}

/// A tab takes one column, and nothing from the file may move the cursor.
fn printable(character: char) -> char {
    match character {
        '\t' => ' ',
        other if other.is_control() => '?',
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_characters_from_one() {
        let text = "ab\nä = 1\n";
        assert_eq!(place_of(text, 0), (1, 1));
        assert_eq!(place_of(text, 3), (2, 1));
        assert_eq!(place_of(text, 6), (2, 3));
        assert_eq!(place_of(text, 99), (3, 1));
    }

    #[test]
    fn the_caret_stands_under_its_column() {
        let finding = Finding {
            line: 2,
            column: 5,
            severity: Severity::Error,
            code: "x",
            message: "wrong".into(),
            suggestion: "right".into(),
        };
        let shown = render("f", "a\n\tb = \x1b[31m\n", &finding);
        assert_eq!(shown, "f:2:5: error[x]: wrong\n  2 |  b = ?[31m\n    |     ^\n  fix: right\n");
    }
}
