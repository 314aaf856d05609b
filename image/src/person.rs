//! Somebody at the serial console of a running machine: types, and reads what it shows.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use postern_e2e::process::wait_for;

use crate::machine::{Machine, shown};

/// A person with a terminal at the serial line. What was shown before they came is not theirs.
#[derive(Debug)]
pub struct Person {
    line: UnixStream,
    log: PathBuf,
    /// Octets of the log that were read.
    read: usize,
    patience: Duration,
}

impl Person {
    /// Plugs the cable in.
    ///
    /// # Errors
    /// When the machine has no console.
    pub fn at(machine: &Machine, patience: Duration) -> Result<Self> {
        let line = UnixStream::connect(&machine.console).context("no serial console")?;
        let mut drain = line.try_clone()?;
        // What is shown is read from the log; a line that nobody reads would stop the machine.
        thread::spawn(move || {
            let mut octets = [0; 4096];
            while drain.read(&mut octets).is_ok_and(|count| count > 0) {}
        });
        let read = shown(&machine.log).len();
        Ok(Self { line, log: machine.log.clone(), read, patience })
    }

    /// Types a line and the return key.
    ///
    /// # Errors
    /// When the cable is out.
    pub fn types(&mut self, text: &str) -> Result<()> {
        Ok(self.line.write_all(format!("{text}\r").as_bytes())?)
    }

    /// Reads on until `text`, and returns what was passed over.
    ///
    /// # Errors
    /// When it does not come in time; shows what came instead.
    pub fn reads(&mut self, text: &str) -> Result<String> {
        let look = || {
            let all = shown(&self.log);
            let rest = all.get(self.read..)?;
            rest.find(text).map(|place| (rest[..place].to_owned(), self.read + place + text.len()))
        };
        let found = wait_for(text, self.patience, look);
        let (before, read) = found.map_err(|_| {
            let all = shown(&self.log);
            let rest = all.get(self.read..).unwrap_or_default();
            anyhow::anyhow!("the console should show `{text}`, but after what was read came:\n{rest}")
        })?;
        self.read = read;
        Ok(before)
    }

    /// Types a line and reads on until `text`; returns what was passed over.
    ///
    /// # Errors
    /// When it does not come in time.
    pub fn asks(&mut self, line: &str, text: &str) -> Result<String> {
        self.types(line)?;
        self.reads(text)
    }

    /// Makes the first account of a device.
    ///
    /// # Errors
    /// When the console does not ask for it.
    pub fn enrols(&mut self, name: &str, password: &str) -> Result<()> {
        self.asks("", "name of the new account: ")?;
        self.asks(name, "at least: ")?;
        self.asks(password, "once more: ")?;
        self.asks(password, "Logged in as ")?;
        self.reads("> ").map(drop)
    }

    /// Logs in.
    ///
    /// # Errors
    /// When the console does not let them.
    pub fn logs_in(&mut self, name: &str, password: &str) -> Result<()> {
        self.asks("", "login: ")?;
        self.asks(name, "password: ")?;
        self.asks(password, "Logged in as ")?;
        self.reads("> ").map(drop)
    }
}
