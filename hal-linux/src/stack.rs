//! Gives back what a start has used of the stack and nobody needs any more: the kernel keeps a page of it
//! once it was touched, for as long as the process lives.

// Tells the kernel about memory.
#![allow(unsafe_code)]

use core::ffi::c_void;
use core::ptr::NonNull;

use nix::sys::mman::{MmapAdvise, madvise};

/// Octets below the caller's frame that are left alone: frames of this function and of what it calls.
const MARGIN_BYTES: usize = 64 * 1024;

/// Octets of the largest page of the machines Postern runs on; smaller ones divide it.
const PAGE_BYTES_MAX: usize = 64 * 1024;

/// Gives back the pages of this thread's stack that lie below what is in use. Call it where little is on the
/// stack. Memory that is locked stays; so does everything where the kernel does not say where the stack is.
#[inline(never)]
pub fn release_unused() {
    let here = 0_u8;
    let address = core::ptr::from_ref(&here) as usize;
    let Ok(maps) = std::fs::read_to_string("/proc/self/maps") else { return };
    let Some(lowest) = lowest_of(&maps, address) else { return };
    let from = lowest.next_multiple_of(PAGE_BYTES_MAX);
    let end = address.saturating_sub(MARGIN_BYTES);
    let end = end - end % PAGE_BYTES_MAX;
    let Some(start) = NonNull::new(from as *mut c_void).filter(|_| from < end) else { return };
    // SAFETY: the range lies in the mapping that holds this thread's stack, wholly below its stack pointer
    // with a margin: no frame in use is in it, and later frames write before they read. Threads share no
    // stack. The kernel gives zeros for pages that are dropped (madvise(2), MADV_DONTNEED).
    let _ = unsafe { madvise(start, end - from, MmapAdvise::MADV_DONTNEED) };
}

/// Where the mapping begins that holds `address` (proc_pid_maps(5)).
fn lowest_of(maps: &str, address: usize) -> Option<usize> {
    maps.lines().find_map(|line| {
        let (from, rest) = line.split_once('-')?;
        let to = rest.split(' ').next()?;
        let number = |text| usize::from_str_radix(text, 16).ok();
        let (from, to) = (number(from)?, number(to)?);
        (from..to).contains(&address).then_some(from)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mapping_that_holds_an_address() {
        let maps =
            "00400000-00410000 r-xp 00000000 08:01 7 /bin/x\nfff0000-fff8000 rw-p 00000000 00:00 0 [stack]\n";
        assert_eq!(lowest_of(maps, 0xfff_7fff), Some(0xfff_0000));
        assert_eq!(lowest_of(maps, 0xfff_8000), None);
        assert_eq!(lowest_of("", 1), None);
    }
}
