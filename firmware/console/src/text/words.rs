//! A line in words.

use heapless::Vec;

/// Words of one line: a sequence of sixteen knocks and what stands before it.
pub const WORDS_MAX: usize = 32;

/// A word and where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word<'l> {
    /// Without its quotation marks.
    pub text: &'l str,
    /// Octet of the line it begins at.
    pub column: usize,
}

/// Why a line cannot be split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WordsError {
    /// A quotation mark without its partner, at this octet.
    OpenQuote(usize),
    /// More than [`WORDS_MAX`]; the one too many stands at this octet.
    TooMany(usize),
}

/// Splits at blanks; `"two words"` are one. What follows `#` at the beginning of a word is a remark.
///
/// # Errors
/// [`WordsError`].
pub fn split(line: &str) -> Result<Vec<Word<'_>, WORDS_MAX>, WordsError> {
    let mut words = Vec::new();
    let mut rest = line;
    loop {
        rest = rest.trim_start_matches([' ', '\t']);
        let column = line.len() - rest.len();
        if rest.is_empty() || rest.starts_with('#') {
            return Ok(words);
        }
        let (text, behind) = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').ok_or(WordsError::OpenQuote(column))?,
            None => rest.split_at(rest.find([' ', '\t']).unwrap_or(rest.len())),
        };
        words.push(Word { text, column }).map_err(|_| WordsError::TooMany(column))?;
        rest = behind;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(line: &str) -> Result<std::vec::Vec<(&str, usize)>, WordsError> {
        split(line).map(|words| words.iter().map(|word| (word.text, word.column)).collect())
    }

    #[test]
    fn blanks_quotes_and_remarks() {
        assert_eq!(texts("  set  door\tssh "), Ok(std::vec![("set", 2), ("door", 7), ("ssh", 12)]));
        assert_eq!(
            texts("banner \"two words\" x"),
            Ok(std::vec![("banner", 0), ("two words", 7), ("x", 19)])
        );
        assert_eq!(texts("show # everything"), Ok(std::vec![("show", 0)]));
        assert_eq!(texts("a \"b"), Err(WordsError::OpenQuote(2)));
        assert_eq!(texts(&"w ".repeat(WORDS_MAX + 1)), Err(WordsError::TooMany(2 * WORDS_MAX)));
    }
}
