//! One line of input: what every terminal can do, and no more.
//!
//! Only printable ASCII, backspace, carriage return, line feed and bell are sent, so that it works on
//! a printer. Keys: arrows, Home, End, Delete, Backspace, and those of a shell: `^A ^E ^B ^F ^K ^U ^W
//! ^L ^P ^N`.

use core::fmt::Write;

use heapless::{Deque, String, Vec};
use zeroize::Zeroize;

use super::screen::Screen;

/// Octets of a line.
pub const LINE_BYTES_MAX: usize = 400;

/// Lines kept.
const HISTORY_LINES_MAX: usize = 16;

/// A line, or what else a key asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The line is complete.
    Enter,
    /// `^C`: forget the line.
    Cancel,
    /// `^D` on an empty line: end the session.
    End,
    /// `?`: what can stand here?
    Help,
    /// Tab: complete the word.
    Complete,
    /// `^L`: show the line again.
    Redraw,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Escape {
    #[default]
    None,
    /// ESC was seen.
    Begun,
    /// ESC `[` or ESC `O`, and a number.
    Sequence(u8),
}

/// The line being written.
#[derive(Debug, Default)]
pub struct Editor {
    line: Vec<u8, LINE_BYTES_MAX>,
    cursor: usize,
    escape: Escape,
    /// Nothing is echoed, kept, completed or explained.
    secret: bool,
    after_return: bool,
    history: Deque<String<LINE_BYTES_MAX>, HISTORY_LINES_MAX>,
    /// How many lines back is shown.
    back: usize,
}

impl Editor {
    /// An empty line, no history.
    pub const fn new() -> Self {
        Self {
            line: Vec::new(),
            cursor: 0,
            escape: Escape::None,
            secret: false,
            after_return: false,
            history: Deque::new(),
            back: 0,
        }
    }

    /// Begins a line; a secret one is not echoed.
    pub fn begin(&mut self, secret: bool) {
        self.line.as_mut_slice().zeroize();
        self.line.clear();
        (self.cursor, self.secret, self.back) = (0, secret, 0);
    }

    /// Forgets everything, also the history: somebody else may come.
    pub fn forget(&mut self) {
        self.begin(false);
        self.history.clear();
        self.escape = Escape::None;
    }

    /// What is written.
    pub fn text(&self) -> &str {
        core::str::from_utf8(&self.line).unwrap_or_default()
    }

    /// What stands before the cursor.
    pub fn before_cursor(&self) -> &str {
        self.text().get(..self.cursor).unwrap_or_default()
    }

    /// Keeps the line for `^P`.
    pub fn remember(&mut self) {
        let text: String<LINE_BYTES_MAX> = self.text().try_into().unwrap_or_default();
        if self.secret || text.is_empty() || self.history.back() == Some(&text) {
            return;
        }
        if self.history.is_full() {
            let _ = self.history.pop_front();
        }
        let _ = self.history.push_back(text);
    }

    /// Shows the line again behind a prompt that was shown again.
    pub fn redraw(&self, screen: &mut Screen) {
        if self.secret {
            return;
        }
        let _ = screen.write_str(self.text());
        for _ in self.cursor..self.line.len() {
            screen.put(8);
        }
    }

    /// Writes text at the cursor, as if it had been typed.
    pub fn insert(&mut self, text: &str, screen: &mut Screen) {
        for octet in text.bytes() {
            self.type_octet(octet, screen);
        }
    }

    /// Takes an octet from the terminal.
    pub fn take(&mut self, octet: u8, screen: &mut Screen) -> Option<Event> {
        match (self.escape, octet) {
            (Escape::Begun, b'[' | b'O') => self.escape = Escape::Sequence(0),
            (Escape::Begun, _) => self.escape = Escape::None,
            (Escape::Sequence(number), b'0'..=b'9' | b';') => {
                let digit = octet.wrapping_sub(b'0');
                self.escape = Escape::Sequence(if octet == b';' {
                    0
                } else {
                    number.wrapping_mul(10).wrapping_add(digit)
                });
            }
            (Escape::Sequence(number), _) => {
                self.escape = Escape::None;
                self.sequence(octet, number, screen);
            }
            (Escape::None, _) => return self.key(octet, screen),
        }
        None
    }

    fn sequence(&mut self, letter: u8, number: u8, screen: &mut Screen) {
        match (letter, number) {
            (b'A', _) => self.recall(1, screen),
            (b'B', _) => self.recall(-1, screen),
            (b'C', _) => self.forward(screen),
            (b'D', _) => self.backward(screen),
            (b'H', _) | (b'~', 1 | 7) => self.home(screen),
            (b'F', _) | (b'~', 4 | 8) => self.end(screen),
            (b'~', 3) => self.delete(screen),
            _ => {}
        }
    }

    fn key(&mut self, octet: u8, screen: &mut Screen) -> Option<Event> {
        // A terminal may send CR, LF or both.
        let after_return = core::mem::replace(&mut self.after_return, octet == b'\r');
        match octet {
            b'\n' if after_return => None,
            b'\r' | b'\n' => {
                let _ = screen.write_str("\n");
                Some(Event::Enter)
            }
            0x03 => Some(Event::Cancel),
            0x04 if self.line.is_empty() => Some(Event::End),
            0x04 => self.then(Self::delete, screen),
            0x0c => Some(Event::Redraw),
            0x1b => {
                self.escape = Escape::Begun;
                None
            }
            0x08 | 0x7f => self.then(Self::backspace, screen),
            0x15 => self.then(Self::kill_line, screen),
            0x17 => self.then(Self::kill_word, screen),
            b'\t' if !self.secret => Some(Event::Complete),
            b'?' if !self.secret && !self.in_quotes() => Some(Event::Help),
            b' '..=b'~' => {
                self.type_octet(octet, screen);
                None
            }
            _ if self.secret => None,
            0x01 => self.then(Self::home, screen),
            0x02 => self.then(Self::backward, screen),
            0x05 => self.then(Self::end, screen),
            0x06 => self.then(Self::forward, screen),
            0x0b => self.then(Self::kill_rest, screen),
            0x0e => self.then(|editor, screen| editor.recall(-1, screen), screen),
            0x10 => self.then(|editor, screen| editor.recall(1, screen), screen),
            _ => None,
        }
    }

    fn then(&mut self, act: impl FnOnce(&mut Self, &mut Screen), screen: &mut Screen) -> Option<Event> {
        act(self, screen);
        None
    }

    fn in_quotes(&self) -> bool {
        self.before_cursor().bytes().filter(|&octet| octet == b'"').count() % 2 == 1
    }

    fn type_octet(&mut self, octet: u8, screen: &mut Screen) {
        if !(b' '..=b'~').contains(&octet) || self.line.insert(self.cursor, octet).is_err() {
            screen.put(7);
            return;
        }
        self.cursor += 1;
        if !self.secret {
            screen.put(octet);
            self.show_tail(0, screen);
        }
    }

    /// Shows what stands behind the cursor, blanks where `gone` octets were, and comes back.
    fn show_tail(&self, gone: usize, screen: &mut Screen) {
        let tail = self.line.get(self.cursor..).unwrap_or_default();
        tail.iter().for_each(|&octet| screen.put(octet));
        (0..gone).for_each(|_| screen.put(b' '));
        (0..tail.len() + gone).for_each(|_| screen.put(8));
    }

    fn backspace(&mut self, screen: &mut Screen) {
        if self.cursor == 0 {
            return;
        }
        self.cursor -= 1;
        if self.cursor < self.line.len() {
            self.line.remove(self.cursor);
        }
        if !self.secret {
            screen.put(8);
            self.show_tail(1, screen);
        }
    }

    fn delete(&mut self, screen: &mut Screen) {
        if self.cursor < self.line.len() {
            self.line.remove(self.cursor);
            if !self.secret {
                self.show_tail(1, screen);
            }
        }
    }

    fn forward(&mut self, screen: &mut Screen) {
        if let Some(&octet) = self.line.get(self.cursor) {
            screen.put(octet);
            self.cursor += 1;
        }
    }

    fn backward(&mut self, screen: &mut Screen) {
        if self.cursor > 0 {
            self.cursor -= 1;
            screen.put(8);
        }
    }

    fn home(&mut self, screen: &mut Screen) {
        while self.cursor > 0 {
            self.backward(screen);
        }
    }

    fn end(&mut self, screen: &mut Screen) {
        while self.cursor < self.line.len() {
            self.forward(screen);
        }
    }

    fn kill_rest(&mut self, screen: &mut Screen) {
        let gone = self.line.len() - self.cursor;
        self.line.truncate(self.cursor);
        self.show_tail(gone, screen);
    }

    fn kill_line(&mut self, screen: &mut Screen) {
        if self.secret {
            self.begin(true);
            return;
        }
        self.end(screen);
        while self.cursor > 0 {
            self.backspace(screen);
        }
    }

    fn kill_word(&mut self, screen: &mut Screen) {
        let before = |editor: &Self| editor.cursor.checked_sub(1).and_then(|at| editor.line.get(at)).copied();
        while before(self) == Some(b' ') {
            self.backspace(screen);
        }
        while before(self).is_some_and(|octet| octet != b' ') {
            self.backspace(screen);
        }
    }

    fn recall(&mut self, step: isize, screen: &mut Screen) {
        let wanted = self.back.saturating_add_signed(step);
        if self.secret || wanted > self.history.len() || wanted == self.back {
            return;
        }
        self.kill_line(screen);
        self.back = wanted;
        let index = self.history.len().checked_sub(wanted);
        let line = index.and_then(|index| self.history.iter().nth(index)).cloned();
        if let Some(line) = line {
            self.insert(&line, screen);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a terminal of one line shows.
    fn shown(screen: &mut Screen) -> std::string::String {
        let (mut line, mut column) = (std::vec::Vec::new(), 0_usize);
        while let Some(octet) = screen.take() {
            match octet {
                8 => column = column.checked_sub(1).expect("left of the prompt"),
                7 => {}
                b'\r' => column = 0,
                b'\n' => line.clear(),
                octet => {
                    line.resize(line.len().max(column + 1), b' ');
                    line[column] = octet;
                    column += 1;
                }
            }
        }
        std::string::String::from_utf8(line).unwrap().trim_end().into()
    }

    fn typed(octets: &[u8]) -> (Editor, std::string::String) {
        let (mut editor, mut screen) = (Editor::new(), Screen::new());
        for &octet in octets {
            editor.take(octet, &mut screen);
        }
        (editor, shown(&mut screen))
    }

    #[test]
    fn what_is_shown_is_what_is_held() {
        for keys in [
            &b"show doors"[..],
            b"shw\x1b[Do\x1b[C doors",
            b"xshow\x01\x04",
            b"show doors\x17grants",
            b"show doors\x01\x06\x06\x0b",
            b"abc\x7f\x7f\x7f\x7fxyz",
            b"abc\x15def",
            b"abc\x1b[H-\x1b[F+\x1b[3~",
            b"\xff\xfeab\x00c\x1bZ",
        ] {
            let (editor, shown) = typed(keys);
            assert_eq!(editor.text(), shown, "{keys:?}");
        }
        assert_eq!(typed(b"shw\x1b[Do\x1b[C doors").0.text(), "show doors");
    }

    #[test]
    fn a_secret_is_neither_echoed_nor_kept() {
        let (mut editor, mut screen) = (Editor::new(), Screen::new());
        editor.begin(true);
        for octet in b"s3cret?\t!" {
            assert_eq!(editor.take(*octet, &mut screen), None);
        }
        assert_eq!((editor.text(), screen.is_empty()), ("s3cret?!", true));
        editor.remember();
        editor.begin(false);
        editor.take(0x10, &mut screen);
        assert_eq!(editor.text(), "");
    }

    #[test]
    fn history_goes_back_and_forth() {
        let (mut editor, mut screen) = (Editor::new(), Screen::new());
        for line in ["first", "second"] {
            editor.begin(false);
            editor.insert(line, &mut screen);
            editor.remember();
        }
        editor.begin(false);
        let mut up = |editor: &mut Editor, key: &[u8]| {
            key.iter().for_each(|&octet| {
                editor.take(octet, &mut screen);
            });
            std::string::String::from(editor.text())
        };
        assert_eq!(up(&mut editor, b"\x1b[A"), "second");
        assert_eq!(up(&mut editor, b"\x1b[A\x1b[A"), "first");
        assert_eq!(up(&mut editor, b"\x1b[B"), "second");
        assert_eq!(up(&mut editor, b"\x1b[B"), "");
    }

    #[test]
    fn both_line_ends_are_one() {
        let (mut editor, mut screen) = (Editor::new(), Screen::new());
        let events: std::vec::Vec<_> =
            b"\r\n\n\r\r\n".iter().filter_map(|&octet| editor.take(octet, &mut screen)).collect();
        assert_eq!(events, [Event::Enter; 4]);
    }
}
