//! Classic BPF programs, written from their end to their beginning.
//!
//! Jumps of classic BPF only go forward, and the distance of a conditional one is a single octet
//! (`struct sock_filter` in `<linux/filter.h>`). Built backwards, every target is already there
//! when a jump to it is made, so its distance is known at once and a jump that would be too long
//! gets a long one (`ja`) or another `ret` beside it. What reads a fragment of a program reads it
//! in continuation style: each part is told where to go next.

use nix::libc::{self, sock_filter};
use postern_core::limits::FRAME_BYTES_MAX;

/// Longest program the kernel takes: `BPF_MAXINSNS` in `<linux/bpf_common.h>`.
pub const INSTRUCTIONS_MAX: usize = 4096;

/// A conditional jump reaches 255 instructions; two more may come between it and its target.
const REACH: usize = 253;

/// Where to go next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// The packet is kept.
    Accept,
    /// The packet is dropped.
    Reject,
    /// The program ends with this value: a verdict of a system call filter.
    Return(u32),
    /// An instruction, counted from the end of the program.
    At(usize),
}

/// A target, its value spelt out.
enum Place {
    Return(u32),
    At(usize),
}

impl Target {
    const fn place(self) -> Place {
        match self {
            Target::Accept => Place::Return(kept_octets()),
            Target::Reject => Place::Return(0),
            Target::Return(value) => Place::Return(value),
            Target::At(position) => Place::At(position),
        }
    }
}

/// What a conditional jump asks of the accumulator.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Test {
    Equal(u32),
    AtLeast(u32),
    Above(u32),
    AnyBit(u32),
}

/// A finished program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    instructions: Vec<sock_filter>,
}

impl Program {
    /// Drops every packet.
    pub fn reject_all() -> Self {
        Self { instructions: vec![constant(libc::BPF_RET, 0)] }
    }

    /// Keeps every packet.
    pub fn accept_all() -> Self {
        Self { instructions: vec![constant(libc::BPF_RET, kept_octets())] }
    }

    /// The instructions in the order of their execution; at most [`INSTRUCTIONS_MAX`].
    pub fn instructions(&self) -> &[sock_filter] {
        &self.instructions
    }
}

/// Builds a program backwards.
#[derive(Debug, Default)]
pub(crate) struct Builder {
    reversed: Vec<sock_filter>,
    /// Where the last `ret` of each value stands.
    last_returns: Vec<(u32, usize)>,
}

impl Builder {
    /// `yes` when the test holds for the accumulator, else `no`.
    ///
    /// Let `no` be the fragment made last: then it follows directly, and the kernel's translation
    /// to eBPF needs one instruction instead of two.
    pub(crate) fn branch(&mut self, test: Test, yes: Target, no: Target) -> Target {
        if yes == no {
            return yes;
        }
        let (yes, no) = (self.near(yes), self.near(no));
        let (operation, k) = match test {
            Test::Equal(k) => (libc::BPF_JEQ, k),
            Test::AtLeast(k) => (libc::BPF_JGE, k),
            Test::Above(k) => (libc::BPF_JGT, k),
            Test::AnyBit(k) => (libc::BPF_JSET, k),
        };
        let (jt, jf) = (self.distance(yes), self.distance(no));
        let jump = sock_filter { jt: octet(jt), jf: octet(jf), ..constant(libc::BPF_JMP | operation, k) };
        self.push(jump)
    }

    /// Executes `instructions`, then goes to `next`.
    pub(crate) fn run(&mut self, instructions: &[sock_filter], next: Target) -> Target {
        let mut entry = self.directly(next);
        for &instruction in instructions.iter().rev() {
            entry = self.push(instruction);
        }
        entry
    }

    /// The program that begins at `entry`.
    pub(crate) fn finish(mut self, entry: Target) -> Program {
        self.directly(entry);
        self.reversed.reverse();
        Program { instructions: self.reversed }
    }

    fn push(&mut self, instruction: sock_filter) -> Target {
        self.reversed.push(instruction);
        Target::At(self.reversed.len() - 1)
    }

    /// Instructions that the next one pushed must skip to reach `position`.
    fn distance(&self, position: usize) -> usize {
        self.reversed.len() - position - 1
    }

    fn last_return(&self, value: u32) -> Option<usize> {
        self.last_returns.iter().find(|&&(known, _)| known == value).map(|&(_, position)| position)
    }

    fn in_reach(&self, position: Option<usize>) -> Option<usize> {
        position.filter(|&position| self.distance(position) <= REACH)
    }

    /// An instruction in reach of a conditional jump that is, or leads to, `target`.
    fn near(&mut self, target: Target) -> usize {
        let known = match target.place() {
            Place::Return(value) => self.last_return(value),
            Place::At(position) => Some(position),
        };
        if let Some(position) = self.in_reach(known) {
            return position;
        }
        self.lead_to(target)
    }

    /// Makes `target` the very next instruction.
    fn directly(&mut self, target: Target) -> Target {
        match target {
            Target::At(position) if self.distance(position) == 0 => target,
            _ => Target::At(self.lead_to(target)),
        }
    }

    /// Adds an instruction that is, or unconditionally leads to, `target`.
    fn lead_to(&mut self, target: Target) -> usize {
        let here = self.reversed.len();
        match target.place() {
            Place::Return(value) => {
                self.last_returns.retain(|&(known, _)| known != value);
                self.last_returns.push((value, here));
                self.push(constant(libc::BPF_RET, value));
            }
            Place::At(position) => {
                let distance = u32::try_from(self.distance(position)).unwrap_or(u32::MAX);
                self.push(constant(libc::BPF_JMP | libc::BPF_JA, distance));
            }
        }
        here
    }
}

/// Loads the octet at `X + offset`.
pub(crate) const fn load_u8(offset: u32) -> sock_filter {
    constant(libc::BPF_LD | libc::BPF_B | libc::BPF_IND, offset)
}

/// Loads the two octets at `X + offset`, big-endian.
pub(crate) const fn load_u16(offset: u32) -> sock_filter {
    constant(libc::BPF_LD | libc::BPF_H | libc::BPF_IND, offset)
}

/// Loads the two octets at `offset`, big-endian.
pub(crate) const fn load_u16_at(offset: u32) -> sock_filter {
    constant(libc::BPF_LD | libc::BPF_H | libc::BPF_ABS, offset)
}

/// Loads the four octets at `offset`; what a system call filter reads is in the machine's own order.
pub(crate) const fn load_u32_at(offset: u32) -> sock_filter {
    constant(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset)
}

/// Loads something the kernel knows about the packet: `SKF_AD_*`.
pub(crate) const fn load_ancillary(what: i32) -> sock_filter {
    constant(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, (libc::SKF_AD_OFF + what) as u32)
}

/// Loads memory word `word`.
pub(crate) const fn load_word(word: u32) -> sock_filter {
    constant(libc::BPF_LD | libc::BPF_MEM, word)
}

/// Loads memory word `word` into X.
pub(crate) const fn load_x_word(word: u32) -> sock_filter {
    constant(libc::BPF_LDX | libc::BPF_MEM, word)
}

/// Sets X.
pub(crate) const fn set_x(value: u32) -> sock_filter {
    constant(libc::BPF_LDX | libc::BPF_IMM, value)
}

/// Stores the accumulator in memory word `word`.
pub(crate) const fn store(word: u32) -> sock_filter {
    constant(libc::BPF_ST, word)
}

/// Stores X in memory word `word`.
pub(crate) const fn store_x(word: u32) -> sock_filter {
    constant(libc::BPF_STX, word)
}

/// Adds a constant to the accumulator.
pub(crate) const fn add(value: u32) -> sock_filter {
    constant(libc::BPF_ALU | libc::BPF_ADD | libc::BPF_K, value)
}

/// Adds X to the accumulator.
pub(crate) const fn add_x() -> sock_filter {
    constant(libc::BPF_ALU | libc::BPF_ADD | libc::BPF_X, 0)
}

/// Subtracts a constant from the accumulator; wraps.
pub(crate) const fn subtract(value: u32) -> sock_filter {
    constant(libc::BPF_ALU | libc::BPF_SUB | libc::BPF_K, value)
}

/// Subtracts X from the accumulator; wraps.
pub(crate) const fn subtract_x() -> sock_filter {
    constant(libc::BPF_ALU | libc::BPF_SUB | libc::BPF_X, 0)
}

/// Keeps the bits in `mask`.
pub(crate) const fn mask(mask: u32) -> sock_filter {
    constant(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, mask)
}

/// Shifts the accumulator left.
pub(crate) const fn shift_left(bits: u32) -> sock_filter {
    constant(libc::BPF_ALU | libc::BPF_LSH | libc::BPF_K, bits)
}

/// X becomes the accumulator.
pub(crate) const fn a_to_x() -> sock_filter {
    constant(libc::BPF_MISC | libc::BPF_TAX, 0)
}

/// The accumulator becomes X.
pub(crate) const fn x_to_a() -> sock_filter {
    constant(libc::BPF_MISC | libc::BPF_TXA, 0)
}

#[expect(clippy::cast_possible_truncation, reason = "every opcode of classic BPF is below 256")]
const fn constant(code: u32, k: u32) -> sock_filter {
    sock_filter { code: code as u16, jt: 0, jf: 0, k }
}

#[expect(clippy::cast_possible_truncation, reason = "a small constant")]
const fn kept_octets() -> u32 {
    FRAME_BYTES_MAX as u32
}

fn octet(distance: usize) -> u8 {
    debug_assert!(distance <= usize::from(u8::MAX));
    u8::try_from(distance).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn far_targets_are_led_to() {
        let mut builder = Builder::default();
        let first = builder.run(&[add(1)], Target::Accept);
        let mut no = first;
        for value in 0..1000 {
            no = builder.branch(Test::Equal(value), Target::Reject, no);
        }
        let entry = builder.branch(Test::Above(7), first, no);
        let program = builder.finish(entry);
        let last = program.instructions().len() - 1;
        for (at, instruction) in program.instructions().iter().enumerate() {
            let long = u32::from(instruction.code) == libc::BPF_JMP | libc::BPF_JA;
            let furthest =
                if long { instruction.k as usize } else { instruction.jt.max(instruction.jf).into() };
            assert!(at + furthest < last || u32::from(instruction.code) == libc::BPF_RET);
        }
        assert!(program.instructions().len() < 1020, "trampolines are shared");
    }
}
