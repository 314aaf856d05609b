//! What is to be shown, until the line takes it.

use core::fmt;

use heapless::Deque;

/// Octets that may wait for the line: four screens.
pub const SCREEN_BYTES_MAX: usize = 8192;

/// Octets waiting. What does not fit is lost and said to be, so that a line that takes nothing
/// stops nobody.
#[derive(Debug, Default)]
pub struct Screen {
    octets: Deque<u8, SCREEN_BYTES_MAX>,
    cut: bool,
}

/// Said instead of what did not fit.
const CUT: &[u8] = b"\r\n[output cut]\r\n";

impl Screen {
    /// Nothing to show.
    pub const fn new() -> Self {
        Self { octets: Deque::new(), cut: false }
    }

    /// The next octet for the line.
    pub fn take(&mut self) -> Option<u8> {
        let octet = self.octets.pop_front();
        if self.octets.is_empty() {
            self.cut = false;
        }
        octet
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.octets.is_empty()
    }

    /// Octets that fit yet.
    pub fn room(&self) -> usize {
        SCREEN_BYTES_MAX.saturating_sub(self.octets.len()).saturating_sub(CUT.len())
    }

    /// Forgets what waits: the line is gone.
    pub fn clear(&mut self) {
        self.octets.clear();
        self.cut = false;
    }

    /// Shows one octet as it is.
    pub fn put(&mut self, octet: u8) {
        if self.cut {
            return;
        }
        if self.room() == 0 {
            self.cut = true;
            for &octet in CUT {
                let _ = self.octets.push_back(octet);
            }
            return;
        }
        let _ = self.octets.push_back(octet);
    }
}

impl fmt::Write for Screen {
    /// Line feeds become the two octets a terminal wants; whatever is not printable ASCII becomes a
    /// question mark, so that no value can drive the terminal.
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for letter in text.chars() {
            match letter {
                '\n' => {
                    self.put(b'\r');
                    self.put(b'\n');
                }
                '\u{7}' | '\u{8}' => self.put(if letter == '\u{7}' { 7 } else { 8 }),
                ' '..='~' => self.put(u8::try_from(letter).unwrap_or(b'?')),
                _ => self.put(b'?'),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::fmt::Write;

    #[test]
    fn nothing_drives_the_terminal_and_memory_is_bounded() {
        let mut screen = Screen::new();
        screen.write_str("a\x1b[2J\u{e9}\n").unwrap();
        let shown: std::vec::Vec<u8> = core::iter::from_fn(|| screen.take()).collect();
        assert_eq!(shown, b"a?[2J?\r\n");
        for _ in 0..10_000 {
            screen.write_str("0123456789").unwrap();
        }
        let shown: std::vec::Vec<u8> = core::iter::from_fn(|| screen.take()).collect();
        assert!(shown.len() <= SCREEN_BYTES_MAX && shown.ends_with(CUT));
        screen.write_str("again").unwrap();
        assert_eq!(screen.take(), Some(b'a'));
    }
}
