//! Giving back the stack that only the start needed: a configuration is decoded through copies of
//! some hundred KiB, and what the stack once grew to stays in memory otherwise.

#![allow(unsafe_code)]

use core::ffi::c_void;

use nix::libc;

/// Octets below the stack pointer that stay: the red zone, and what is called next anyway.
const KEPT_BYTES: usize = 64 * 1024;

/// Gives the pages back that the calling thread's stack does not use now. For the first thread, after the
/// start and before memory is locked. Says how many octets; 0 when there is nothing to give, or where the
/// stack is cannot be told.
pub fn give_back() -> usize {
    let Some(here) = stack_pointer() else { return 0 };
    let Some(lowest) = lowest(here) else { return 0 };
    let page = 4096_usize.max(page_bytes());
    let end = here.saturating_sub(KEPT_BYTES) / page * page;
    let unused = end.saturating_sub(lowest);
    if unused == 0 {
        return 0;
    }
    let start = lowest as *mut c_void;
    // SAFETY: from the lowest address of this thread's stack to well below the stack pointer, as it was
    // when this function's frame, or that of the function it was inlined into, was complete: nothing lives
    // there (not in the red zone either), and what is written there later finds fresh pages.
    let done = unsafe { libc::madvise(start, unused, libc::MADV_DONTNEED) };
    if done == 0 { unused } else { 0 }
}

/// Where the stack ends now. The address of a local variable would not do: it may lie high up in the frame
/// of whatever function this is inlined into.
fn stack_pointer() -> Option<usize> {
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "arm"))]
    {
        let pointer: usize;
        // SAFETY: copies a register into another one.
        unsafe {
            #[cfg(target_arch = "x86_64")]
            core::arch::asm!("mov {}, rsp", out(reg) pointer, options(nomem, nostack, preserves_flags));
            #[cfg(not(target_arch = "x86_64"))]
            core::arch::asm!("mov {}, sp", out(reg) pointer, options(nomem, nostack, preserves_flags));
        }
        Some(pointer)
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "arm")))]
    None
}

fn page_bytes() -> usize {
    // SAFETY: asks for a number, and touches no memory of ours.
    let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(bytes).unwrap_or(0)
}

/// Where the mapping begins that `address` lies in (`/proc/self/maps`, proc(5)).
fn lowest(address: usize) -> Option<usize> {
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    maps.lines().find_map(|line| {
        let (range, _) = line.split_once(' ')?;
        let (start, end) = range.split_once('-')?;
        let number = |text| usize::from_str_radix(text, 16).ok();
        let (start, end) = (number(start)?, number(end)?);
        (start..end).contains(&address).then_some(start)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Uses so much stack that it must show.
    #[inline(never)]
    fn deep(rounds: usize) -> u8 {
        let mut octets = [0_u8; 64 * 1024];
        octets.fill(u8::try_from(rounds % 251).unwrap_or(0));
        let below = if rounds == 0 { 0 } else { deep(rounds - 1) };
        std::hint::black_box(&octets).iter().fold(below, |sum, octet| sum.wrapping_add(*octet))
    }

    #[test]
    fn what_was_used_once_is_given_back_and_can_be_used_again() {
        let first = deep(16);
        let given = give_back();
        assert!(given > 512 * 1024, "{given}");
        assert_eq!(deep(16), first, "the stack works as before");
    }
}
