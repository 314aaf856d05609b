//! The words of a command line, as a shell would split them, without a shell.
//!
//! Commands joined by `;`, `&&` and `||` are told apart, quotes are taken off, and output that is
//! thrown away (`>/dev/null`, `2>&1`) is left out. Everything else a shell could do (pipes,
//! variables, substitutions, files, background) is refused: what it would do cannot be told from
//! the text.

use super::report::{Text, refusal};
use crate::finding::Finding;

/// One word without its quotes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) text: String,
    /// Octets before it in the command line.
    pub(super) offset: usize,
}

/// How a command is joined to the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Joint {
    /// It is run in any case, or when the one before succeeded: `;`, `&&`.
    Then,
    /// It is run when the one before failed: `||`.
    Otherwise,
}

/// One command: a program and its arguments; at least one word.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Command {
    pub(super) joint: Joint,
    pub(super) words: Vec<Word>,
}

/// Splits a command line.
pub(super) fn split(line: Text<'_>) -> Result<Vec<Command>, Finding> {
    let mut splitter = Splitter {
        line,
        rest: line.text.char_indices().peekable(),
        word: None,
        command: Command { joint: Joint::Then, words: Vec::new() },
        commands: Vec::new(),
    };
    while let Some((offset, character)) = splitter.rest.next() {
        splitter.character(offset, character)?;
    }
    splitter.end_command(Joint::Then);
    Ok(splitter.commands)
}

struct Splitter<'a> {
    line: Text<'a>,
    rest: std::iter::Peekable<std::str::CharIndices<'a>>,
    word: Option<Word>,
    command: Command,
    commands: Vec<Command>,
}

impl Splitter<'_> {
    fn character(&mut self, offset: usize, character: char) -> Result<(), Finding> {
        match character {
            ' ' | '\t' | '\r' | '\x0b' | '\x0c' => self.end_word(),
            '\'' => self.quoted(offset)?,
            '"' => self.double_quoted(offset)?,
            '\\' => match self.rest.next() {
                Some((_, escaped)) => self.word_at(offset).push(escaped),
                None => return Err(self.shell(offset, "a backslash at the end of the line")),
            },
            ';' => self.end_command(Joint::Then),
            '&' if self.next_is('&') => self.end_command(Joint::Then),
            '|' if self.next_is('|') => self.end_command(Joint::Otherwise),
            '&' if self.next_is('>') => self.redirection(offset)?,
            '>' => {
                // `2>`: the digit belongs to the operator.
                self.word.take_if(|word| word.text.bytes().all(|octet| octet.is_ascii_digit()));
                self.end_word();
                self.redirection(offset)?;
            }
            '#' if self.word.is_none() => while self.rest.next().is_some() {},
            '&' => return Err(self.shell(offset, "a command in the background")),
            '|' => return Err(self.shell(offset, "a pipe")),
            '<' => return Err(self.shell(offset, "input from a file")),
            '$' | '`' => return Err(self.shell(offset, "a variable or substitution")),
            '(' | ')' => return Err(self.shell(offset, "a subshell")),
            '*' | '?' => return Err(self.shell(offset, "a file name pattern")),
            plain => self.word_at(offset).push(plain),
        }
        Ok(())
    }

    fn quoted(&mut self, offset: usize) -> Result<(), Finding> {
        self.word_at(offset);
        loop {
            match self.rest.next() {
                Some((_, '\'')) => return Ok(()),
                Some((_, plain)) => self.word_at(offset).push(plain),
                None => return Err(self.shell(offset, "a quote that does not end")),
            }
        }
    }

    fn double_quoted(&mut self, offset: usize) -> Result<(), Finding> {
        self.word_at(offset);
        loop {
            match self.rest.next() {
                Some((_, '"')) => return Ok(()),
                Some((at, '$' | '`')) => return Err(self.shell(at, "a variable or substitution")),
                Some((_, '\\')) => match self.rest.next() {
                    // A backslash hides only these between double quotes.
                    Some((_, special @ ('"' | '\\' | '$' | '`'))) => self.word_at(offset).push(special),
                    Some((_, plain)) => self.word_at(offset).extend(['\\', plain]),
                    None => return Err(self.shell(offset, "a quote that does not end")),
                },
                Some((_, plain)) => self.word_at(offset).push(plain),
                None => return Err(self.shell(offset, "a quote that does not end")),
            }
        }
    }

    /// What stands behind `>`: nothing but throwing output away is left out silently.
    fn redirection(&mut self, offset: usize) -> Result<(), Finding> {
        while self.next_is('>') || self.next_is(' ') {}
        let mut target = String::new();
        while let Some((_, character)) =
            self.rest.next_if(|(_, next)| !matches!(next, ' ' | '\t' | ';' | '|'))
        {
            if character == '&' && !target.is_empty() {
                return Err(self.shell(offset, "output to a file"));
            }
            target.push(character);
        }
        if matches!(target.as_str(), "/dev/null" | "&1" | "&2" | "&-") {
            return Ok(());
        }
        Err(self.shell(offset, "output to a file"))
    }

    fn next_is(&mut self, character: char) -> bool {
        self.rest.next_if(|(_, next)| *next == character).is_some()
    }

    fn word_at(&mut self, offset: usize) -> &mut String {
        &mut self.word.get_or_insert_with(|| Word { text: String::new(), offset }).text
    }

    fn end_word(&mut self) {
        self.command.words.extend(self.word.take());
    }

    fn end_command(&mut self, next: Joint) {
        self.end_word();
        let following = Command { joint: next, words: Vec::new() };
        let command = std::mem::replace(&mut self.command, following);
        if !command.words.is_empty() {
            self.commands.push(command);
        }
    }

    fn shell(&self, offset: usize, what: &str) -> Finding {
        refusal(
            self.line.at(offset),
            "shell",
            format!(
                "the command needs a shell ({what}); Postern runs none, and what it would do cannot be told"
            ),
            "Write the firewall command alone, or write the door into the site file by hand.",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::report::Place;

    fn words(line: &str) -> Result<Vec<Vec<String>>, u32> {
        let text = Text { text: line, place: Place { line: 1, column: 1 } };
        let commands = split(text).map_err(|refused| refused.column)?;
        Ok(commands
            .into_iter()
            .map(|command| command.words.into_iter().map(|word| word.text).collect())
            .collect())
    }

    #[test]
    fn words_and_quotes() {
        assert_eq!(
            words(r#" a  'b c'd "e \"f\" \g" \;h  "" "#).unwrap(),
            [["a", "b cd", "e \"f\" \\g", ";h", ""]]
        );
        assert_eq!(words("").unwrap(), Vec::<Vec<String>>::new());
        assert_eq!(words("a # b ; c").unwrap(), [["a"]]);
        assert_eq!(words("a#b").unwrap(), [["a#b"]]);
    }

    #[test]
    fn lists_are_told_apart() {
        let text = Text { text: "a;b && c||d ;; e", place: Place { line: 1, column: 1 } };
        let commands = split(text).unwrap();
        let joints: Vec<_> = commands.iter().map(|command| command.joint).collect();
        assert_eq!(joints, [Joint::Then, Joint::Then, Joint::Then, Joint::Otherwise, Joint::Then]);
        assert_eq!(commands[3].words, [Word { text: "d".into(), offset: 10 }]);
    }

    #[test]
    fn output_thrown_away_is_left_out() {
        for line in [
            "a b >/dev/null",
            "a b > /dev/null 2>&1",
            "a b 2>/dev/null",
            "a b &>/dev/null",
            "a b >>/dev/null",
        ] {
            assert_eq!(words(line).unwrap(), [["a", "b"]], "{line}");
        }
        assert_eq!(words("a22 >/dev/null; b").unwrap(), [["a22"], ["b"]]);
    }

    #[test]
    fn what_needs_a_shell_is_refused_where_it_stands() {
        for (line, column) in [
            ("a | b", 3),
            ("a & b", 3),
            ("a `b`", 3),
            ("a $B", 3),
            ("a \"x$B\"", 5),
            ("a (b)", 3),
            ("a > /tmp/x", 3),
            ("a >&/tmp/x", 3),
            ("a < b", 3),
            ("a 'b", 3),
            ("a \"b", 3),
            ("a \\", 3),
            ("rm /*", 5),
        ] {
            assert_eq!(words(line), Err(column), "{line}");
        }
    }
}
