//! A person at a terminal: types, and reads what a printer would have printed.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result};
use nix::fcntl::OFlag;

use crate::process;

/// Somebody at a terminal.
#[derive(Debug)]
pub struct Person {
    terminal: File,
    /// Everything the terminal ever received.
    received: Vec<u8>,
    /// What was read of it.
    seen: usize,
}

impl Person {
    /// Sits down at the terminal at `path`.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn at(path: &Path) -> Result<Self> {
        let flags = OFlag::O_NOCTTY | OFlag::O_NONBLOCK;
        let mut options = OpenOptions::new();
        let terminal = options.read(true).write(true).custom_flags(flags.bits()).open(path);
        let terminal = terminal.with_context(|| format!("cannot open {}", path.display()))?;
        Ok(Self { terminal, received: Vec::new(), seen: 0 })
    }

    /// Types `keys`.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub fn type_in(&mut self, keys: &str) -> Result<()> {
        self.terminal.write_all(keys.as_bytes()).context("the terminal takes no keys")
    }

    /// Waits until `text` was printed after what was read before, and reads up to its end.
    ///
    /// # Errors
    /// When it does not come; shows what came instead.
    pub fn expect(&mut self, text: &str) -> Result<()> {
        let found = process::wait_until(text, || {
            let mut octets = [0; 256];
            while let Ok(read) = self.terminal.read(&mut octets) {
                if read == 0 {
                    break;
                }
                self.received.extend(&octets[..read]);
            }
            let unread = self.received.get(self.seen..).unwrap_or_default();
            unread.windows(text.len()).position(|window| window == text.as_bytes())
        });
        let found = found.with_context(|| format!("the terminal shows:\n{}", self.printed()))?;
        self.seen += found + text.len();
        Ok(())
    }

    /// Types a line and waits for `text`.
    ///
    /// # Errors
    /// See [`Person::expect`].
    pub fn say(&mut self, line: &str, text: &str) -> Result<()> {
        self.type_in(&format!("{line}\r"))?;
        self.expect(text)
    }

    /// What was read so far, as paper shows it: a backspace goes back, and what is typed there
    /// stands in the place of what stood there.
    pub fn printed(&self) -> String {
        let read = self.received.get(..self.seen).unwrap_or_default();
        let mut lines = vec![Vec::new()];
        let mut column = 0_usize;
        for &octet in read {
            match (octet, lines.last_mut()) {
                (b'\n', _) => lines.push(Vec::new()),
                (b'\r', _) => column = 0,
                (0x08, _) => column = column.saturating_sub(1),
                (b' '..=b'~', Some(line)) => {
                    line.resize(line.len().max(column + 1), b' ');
                    line[column] = octet;
                    column += 1;
                }
                _ => {}
            }
        }
        let text = lines.iter().map(|line| String::from_utf8_lossy(line).trim_end().to_owned() + "\n");
        text.collect()
    }
}
