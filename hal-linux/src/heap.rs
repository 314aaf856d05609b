//! Gives back what a start has used of the heap and has freed again: the C library keeps it for itself
//! otherwise, for as long as the process lives.

// Tells the C library about memory.
#![allow(unsafe_code)]

/// Gives free pages of the heap back to the kernel; nothing where the C library has no such call.
pub fn release_unused() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes a number of octets to keep, touches only what is free, and may be called at any time
    // from any thread (malloc_trim(3)).
    let _ = unsafe { nix::libc::malloc_trim(0) };
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Octets of the heap in memory: what was written of it and not given back (proc_pid_statm(5)).
    fn resident() -> usize {
        let text = std::fs::read_to_string("/proc/self/statm").unwrap();
        text.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
    }

    #[test]
    fn what_is_free_is_given_back_and_what_is_in_use_stays() {
        const PIECES: usize = 4096;
        let mut pieces: Vec<Box<[u8; 4096]>> = (0..PIECES).map(|_| Box::new([7; 4096])).collect();
        // The last one stays: what lies below it cannot be given back by making the heap shorter.
        let kept = pieces.split_off(PIECES - 1);
        drop(pieces);
        let before = resident();
        release_unused();
        let after = resident();
        assert!(after + PIECES * 4096 / 2 < before, "{before} before, {after} after");
        assert_eq!(*kept[0], [7; 4096]);
    }
}
