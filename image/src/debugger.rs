//! QEMU's debugger stub (GDB remote serial protocol), to break a processor from outside.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use postern_board::Architecture;

/// How to break a processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It spins with interrupts off, as broken hardware would.
    Hang,
    /// Its kernel jumps to address 0: a panic.
    Panic,
}

/// What the debugger calls things, and what they mean to a processor.
#[derive(Debug)]
struct Processor {
    /// Number of the program counter (GDB, `aarch64-core.xml` and `arm-core.xml`).
    counter: u8,
    /// Number of the status register.
    status: u8,
    /// Its bits that mask interrupts.
    masked: u32,
    /// Its bits that tell who runs, and their value in the kernel.
    level: (u32, u32),
    /// A branch to itself, as it lies in memory.
    spin: &'static str,
    /// Address 0, as wide as the program counter.
    nowhere: &'static str,
}

/// Arm Architecture Reference Manual, `PSTATE`: EL1 with its own stack.
const AARCH64: Processor = Processor {
    counter: 0x20,
    status: 0x21,
    masked: 0x3c0,
    level: (0xc, 0x4),
    spin: "00000014",
    nowhere: "0000000000000000",
};

/// The same, `CPSR` of ARMv7: supervisor mode.
const ARMV7: Processor = Processor {
    counter: 0xf,
    status: 0x19,
    masked: 0x1c0,
    level: (0x1f, 0x13),
    spin: "feffffea",
    nowhere: "00000000",
};

/// A connection; the machine stands still while it is open, until it is told to go on.
#[derive(Debug)]
pub(crate) struct Debugger {
    stream: UnixStream,
    processor: &'static Processor,
}

impl Debugger {
    /// Connects, which stops the machine.
    ///
    /// # Errors
    /// When QEMU does not listen.
    pub(crate) fn connect(socket: &Path, architecture: Architecture) -> Result<Self> {
        let stream = UnixStream::connect(socket).context("QEMU's debugger does not listen")?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        let processor = match architecture {
            Architecture::Aarch64 => &AARCH64,
            Architecture::Armv7HardFloat => &ARMV7,
        };
        let mut debugger = Self { stream, processor };
        // Single registers are told only to who has asked for their description. That it stopped may
        // be told before, at any time.
        debugger.send("qXfer:features:read:target.xml:0,ffb")?;
        while !debugger.answer()?.starts_with(['l', 'm']) {}
        Ok(debugger)
    }

    /// Breaks the processor in its kernel, and lets it go on.
    ///
    /// # Errors
    /// When the debugger does not answer as it should.
    pub(crate) fn inject(mut self, fault: Fault) -> Result<()> {
        let Processor { counter, status, masked, level: (bits, kernel), spin, nowhere } = *self.processor;
        // In a program, masked interrupts would still reach the kernel: wait until it is in there.
        for _ in 0..200 {
            let now = u32::try_from(self.register(status)?)?;
            if now & bits == kernel {
                if fault == Fault::Panic {
                    self.expect_ok(&format!("P{counter:x}={nowhere}"))?;
                } else {
                    let place = self.register(counter)?;
                    self.expect_ok(&format!("M{place:x},4:{spin}"))?;
                    let masked = swapped(&format!("{:08x}", now | masked));
                    self.expect_ok(&format!("P{status:x}={masked}"))?;
                }
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
    }

    #[test]
    fn the_kernel_is_recognised() {
        let in_kernel = |processor: &Processor, status: u32| status & processor.level.0 == processor.level.1;
        assert!(in_kernel(&AARCH64, 0x6000_03c5) && !in_kernel(&AARCH64, 0x6000_0000));
        assert!(in_kernel(&ARMV7, 0x6000_0093) && !in_kernel(&ARMV7, 0x6000_0010));
    }
}
