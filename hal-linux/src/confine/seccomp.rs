//! The filter of system calls (seccomp(2)), made with the same assembler as the capture's.

// What nix has no function for.
#![allow(unsafe_code)]

use nix::errno::Errno;
use nix::libc::{self, sock_filter, sock_fprog};

use super::error::{ConfineError, while_trying};
use super::system_calls::{Argument, Rule};
use crate::bpf::{Builder, Program, Target, Test, load_u32_at, mask};

// `<linux/seccomp.h>`.
const SET_MODE_FILTER: libc::c_uint = 1;
const GET_ACTION_AVAILABLE: libc::c_uint = 2;
const KILL_PROCESS: u32 = 0x8000_0000;
const ERRNO: u32 = 0x0005_0000;
const ALLOW: u32 = 0x7fff_0000;

// Offsets in `struct seccomp_data`. Every machine Postern runs on is little-endian: the low half of
// an argument comes first.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const FIRST_ARGUMENT: u32 = 16;
const ARGUMENT_BYTES: u32 = 8;

/// `AUDIT_ARCH_*` of this machine (`<linux/audit.h>`): a filter must know whose numbers it reads.
const OWN_ARCHITECTURE: Option<u32> = if cfg!(all(target_arch = "x86_64", target_pointer_width = "64")) {
    Some(0xc000_003e)
} else if cfg!(target_arch = "aarch64") {
    Some(0xc000_00b7)
} else if cfg!(all(target_arch = "arm", target_endian = "little")) {
    Some(0x4000_0028)
} else {
    None
};

/// What becomes of a system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is made.
    Allow,
    /// It fails with `EPERM`: whoever makes it can go on without.
    Refuse,
    /// It fails with `ENOSYS`: the C library has another way.
    Absent,
    /// The process ends: nothing of ours makes this call, so it is not ours any more.
    Kill,
}

impl Verdict {
    const fn target(self) -> Target {
        let value = match self {
            Verdict::Allow => ALLOW,
            Verdict::Refuse => ERRNO | libc::EPERM as u32,
            Verdict::Absent => ERRNO | libc::ENOSYS as u32,
            Verdict::Kill => KILL_PROCESS,
        };
        Target::Return(value)
    }
}

/// Installs the filter for this thread and all it makes, for good. False when the kernel has no
/// seccomp, or the machine none that we know.
pub(super) fn install(rules: &[(u32, Rule)]) -> Result<bool, ConfineError> {
    let Some(architecture) = OWN_ARCHITECTURE else { return Ok(false) };
    if !is_available(KILL_PROCESS) {
        return Ok(false);
    }
    let program = assemble(architecture, rules);
    let instructions: &[sock_filter] = program.instructions();
    let refused = while_trying("filter system calls (seccomp)");
    let length = u16::try_from(instructions.len()).map_err(|_| refused(Errno::EINVAL))?;
    // The kernel only reads; the C structure has no `const`.
    let filter = sock_fprog { len: length, filter: instructions.as_ptr().cast_mut() };
    // SAFETY: the filter points to `len` instructions; both outlive the call, which copies them.
    let result = unsafe { libc::syscall(libc::SYS_seccomp, SET_MODE_FILTER, 0_u32, &raw const filter) };
    Errno::result(result).map(|_| true).map_err(refused)
}

fn is_available(action: u32) -> bool {
    // SAFETY: the action is a number that outlives the call, which only reads it.
    let result = unsafe { libc::syscall(libc::SYS_seccomp, GET_ACTION_AVAILABLE, 0_u32, &raw const action) };
    result == 0
}

/// The program: whose numbers they are, then a binary search among them. What is on no list is
/// refused.
fn assemble(architecture: u32, rules: &[(u32, Rule)]) -> Program {
    let mut builder = Builder::default();
    let mut ranges: Vec<(u32, Target)> = vec![(0, Verdict::Refuse.target())];
    let mut from = 0;
    // In the order of their numbers; done once, and a sort would be ten times the code.
    while let Some(&(number, rule)) =
        rules.iter().filter(|&&(number, _)| number >= from).min_by_key(|&&(number, _)| number)
    {
        from = number + 1;
        let target = fragment(&mut builder, rule);
        // A rule for the very next number replaces the rest that began there.
        if ranges.last().is_some_and(|&(from, _)| from == number) {
            ranges.pop();
        }
        ranges.push((number, target));
        ranges.push((number + 1, Verdict::Refuse.target()));
    }
    ranges.dedup_by_key(|&mut (_, target)| target);
    let search = search(&mut builder, &ranges);
    let by_number = builder.run(&[load_u32_at(NUMBER)], search);
    let entry = builder.branch(Test::Equal(architecture), by_number, Verdict::Kill.target());
    let entry = builder.run(&[load_u32_at(ARCHITECTURE)], entry);
    builder.finish(entry)
}

fn search(builder: &mut Builder, ranges: &[(u32, Target)]) -> Target {
    let (below, above) = ranges.split_at(ranges.len() / 2);
    match (below, above.first()) {
        ([], Some(&(_, target))) => target,
        (_, Some(&(from, _))) => {
            let yes = search(builder, above);
            let no = search(builder, below);
            builder.branch(Test::AtLeast(from), yes, no)
        }
        (_, None) => Verdict::Refuse.target(),
    }
}

fn fragment(builder: &mut Builder, rule: Rule) -> Target {
    let (allow, refuse) = (Verdict::Allow.target(), Verdict::Refuse.target());
    match rule {
        Rule::Always(verdict) => verdict.target(),
        Rule::Only(argument, values) => {
            let mut otherwise = refuse;
            for &value in values {
                otherwise = builder.branch(Test::Equal(value), allow, otherwise);
            }
            builder.run(&[load_argument(argument)], otherwise)
        }
        Rule::Not(argument, values) => {
            let mut otherwise = allow;
            for &value in values {
                otherwise = builder.branch(Test::Equal(value), refuse, otherwise);
            }
            builder.run(&[load_argument(argument)], otherwise)
        }
        Rule::Without(argument, bits) => {
            let test = builder.branch(Test::AnyBit(bits), refuse, allow);
            builder.run(&[load_argument(argument)], test)
        }
        Rule::NotTogether(argument, bits) => {
            let test = builder.branch(Test::Equal(bits), refuse, allow);
            builder.run(&[load_argument(argument), mask(bits)], test)
        }
    }
}

const fn load_argument(argument: Argument) -> sock_filter {
    load_u32_at(FIRST_ARGUMENT + ARGUMENT_BYTES * argument.0)
}

#[cfg(test)]
mod tests;
