//! Places in the knockd file and the findings made about them.

use crate::finding::{Finding, Severity};

/// A place in the imported file: line and column, both counted from 1, columns in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) line: u32,
    pub(super) column: u32,
}

/// The place of what is about no line.
pub(super) const WHOLE_FILE: Place = Place { line: 0, column: 1 };

/// A piece of the imported file and where it begins.
#[derive(Clone, Copy, Debug)]
pub(super) struct Text<'a> {
    pub(super) text: &'a str,
    pub(super) place: Place,
}

impl<'a> Text<'a> {
    /// The place of the octet at `offset`; the end when there is none.
    pub(super) fn at(&self, offset: usize) -> Place {
        let characters = self.text.char_indices().take_while(|(index, _)| *index < offset).count();
        let column = self.place.column.saturating_add(u32::try_from(characters).unwrap_or(u32::MAX));
        Place { line: self.place.line, column }
    }

    /// The piece from `start` on, `length` octets; empty when there is none.
    pub(super) fn slice(&self, start: usize, length: usize) -> Text<'a> {
        let text = self.text.get(start..start.saturating_add(length)).unwrap_or("");
        Text { text, place: self.at(start) }
    }

    /// Without the blanks around it.
    pub(super) fn trim(&self) -> Text<'a> {
        let rest = self.text.trim_start_matches(is_blank);
        self.slice(self.text.len() - rest.len(), rest.trim_end_matches(is_blank).len())
    }
}

/// Said of what knockd itself ends at.
pub(super) const KNOCKD_ENDS: &str = "; stock knockd does not start with this file";

/// What C's `isspace` takes for a blank; knockd trims by it.
pub(super) fn is_blank(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\n' | '\x0b' | '\x0c' | '\r')
}

/// Something that is not imported.
pub(super) fn refusal(
    place: Place,
    code: &'static str,
    message: impl Into<String>,
    suggestion: impl Into<String>,
) -> Finding {
    finding(Severity::Error, place, code, message, suggestion)
}

/// Something that is imported and needs a look.
pub(super) fn warning(
    place: Place,
    code: &'static str,
    message: impl Into<String>,
    suggestion: impl Into<String>,
) -> Finding {
    finding(Severity::Warning, place, code, message, suggestion)
}

/// Something that is imported and worth knowing.
pub(super) fn note(
    place: Place,
    code: &'static str,
    message: impl Into<String>,
    suggestion: impl Into<String>,
) -> Finding {
    finding(Severity::Note, place, code, message, suggestion)
}

fn finding(
    severity: Severity,
    place: Place,
    code: &'static str,
    message: impl Into<String>,
    suggestion: impl Into<String>,
) -> Finding {
    let Place { line, column } = place;
    Finding { line, column, severity, code, message: message.into(), suggestion: suggestion.into() }
}

/// Text from the imported file, for a message or a comment: printable ASCII stays, the rest is
/// escaped, and it is cut after [`SHOWN_MAX`] characters. Nobody can smuggle a line break, a
/// terminal sequence or reversed writing into what an operator reads.
pub(super) fn shown(text: &str) -> String {
    let mut shown = String::new();
    for (count, character) in text.chars().enumerate() {
        if count == SHOWN_MAX {
            shown.push_str("...");
            break;
        }
        if matches!(character, ' '..='~') {
            shown.push(character);
        } else {
            shown.extend(character.escape_default());
        }
    }
    shown
}

/// Characters of the imported file shown in one message.
const SHOWN_MAX: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_characters() {
        let text = Text { text: "käse brot", place: Place { line: 3, column: 5 } };
        assert_eq!(text.at(0), Place { line: 3, column: 5 });
        assert_eq!(text.at("käse ".len()), Place { line: 3, column: 10 });
        assert_eq!(text.at(1000), Place { line: 3, column: 14 });
        assert_eq!(text.slice(1, 1).text, "", "half a character is nothing");
    }

    #[test]
    fn nothing_odd_is_shown() {
        assert_eq!(shown("a\u{1b}[2J\u{202e}b\r"), "a\\u{1b}[2J\\u{202e}b\\r");
        assert_eq!(shown(&"x".repeat(500)).len(), SHOWN_MAX + 3);
    }
}
