//! QEMU's debugger stub (GDB remote serial protocol), to break a processor from outside.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

/// Numbers of registers of a 64-bit ARM (GDB, `aarch64-core.xml`).
const PC: u8 = 0x20;
const CPSR: u8 = 0x21;

/// All interrupts masked (Arm Architecture Reference Manual, PSTATE.DAIF).
const MASKED: u32 = 0x3c0;

/// The exception level in PSTATE: 1 is the kernel's.
const fn level(cpsr: u32) -> u32 {
    cpsr >> 2 & 3
}

/// `b .`, a branch to itself, little-endian.
const SPIN: &str = "00000014";

/// A connection; the machine stands still while it is open, until it is told to go on.
#[derive(Debug)]
pub(crate) struct Debugger {
    stream: UnixStream,
}

impl Debugger {
    /// Connects, which stops the machine.
    ///
    /// # Errors
    /// When QEMU does not listen.
    pub(crate) fn connect(socket: &Path) -> Result<Self> {
        let stream = UnixStream::connect(socket).context("QEMU's debugger does not listen")?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        let mut debugger = Self { stream };
        // Single registers are told only to who has asked for their description. That it stopped may
        // be told before, at any time.
        debugger.send("qXfer:features:read:target.xml:0,ffb")?;
        while !debugger.answer()?.starts_with(['l', 'm']) {}
        Ok(debugger)
    }

    /// Makes a 64-bit processor spin in its kernel, and lets it go on.
    ///
    /// # Errors
    /// When the debugger does not answer as it should.
    pub(crate) fn hang(mut self) -> Result<()> {
        // In a program, masked interrupts would still reach the kernel: wait until it is in there.
        for _ in 0..200 {
            let cpsr = u32::try_from(self.register(CPSR)?)?;
            if level(cpsr) == 1 {
                let place = self.register(PC)?;
                self.expect_ok(&format!("M{place:x},4:{SPIN}"))?;
                let masked = swapped(&format!("{:08x}", cpsr | MASKED));
                self.expect_ok(&format!("P{CPSR:x}={masked}"))?;
                return self.send("c");
            }
            self.send("c")?;
            thread::sleep(Duration::from_millis(20));
            self.stream.write_all(&[3])?;
            self.answer()?;
        }
        bail!("the processor was never found in its kernel")
    }

    fn register(&mut self, number: u8) -> Result<u64> {
        let answer = self.ask(&format!("p{number:x}"))?;
        u64::from_str_radix(&swapped(&answer), 16)
            .with_context(|| format!("the debugger says `{answer}` of register {number}"))
    }

    fn expect_ok(&mut self, question: &str) -> Result<()> {
        let answer = self.ask(question)?;
        ensure!(answer == "OK", "the debugger answered `{answer}` to `{question}`");
        Ok(())
    }

    fn ask(&mut self, question: &str) -> Result<String> {
        self.send(question)?;
        self.answer()
    }

    fn send(&mut self, text: &str) -> Result<()> {
        let sum = text.bytes().fold(0_u8, u8::wrapping_add);
        Ok(self.stream.write_all(format!("${text}#{sum:02x}").as_bytes())?)
    }

    /// The next packet, acknowledged. Acknowledgements of ours are passed over.
    fn answer(&mut self) -> Result<String> {
        let mut text = String::new();
        while self.octet()? != b'$' {}
        loop {
            match self.octet()? {
                b'#' => break,
                octet => text.push(octet as char),
            }
        }
        self.octet()?;
        self.octet()?;
        self.stream.write_all(b"+")?;
        Ok(text)
    }

    fn octet(&mut self) -> Result<u8> {
        let mut octet = [0];
        self.stream.read_exact(&mut octet).context("the debugger says nothing")?;
        Ok(octet[0])
    }
}

/// Registers travel in the machine's order of octets: little-endian.
fn swapped(digits: &str) -> String {
    let pairs: Vec<&str> =
        digits.as_bytes().chunks(2).filter_map(|pair| std::str::from_utf8(pair).ok()).collect();
    pairs.into_iter().rev().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octets_are_swapped() {
        assert_eq!(swapped("c5030060"), "600003c5");
        assert_eq!(level(0x6000_03c5), 1);
        assert_eq!(level(0x6000_0000), 0);
    }
}
