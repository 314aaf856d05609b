//! What was used of the stack once is given back. The only test of its process: it counts its pages.

use std::hint::black_box;

use postern_hal_linux::stack::release_unused;

const USED_BYTES: usize = 4 * 1024 * 1024;

#[inline(never)]
fn uses_much() {
    let mut much = [0_u8; USED_BYTES];
    much.fill(black_box(7));
    black_box(&much);
}

/// Pages in memory (proc_pid_statm(5)), in octets.
fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

#[test]
fn what_was_used_once_is_given_back() {
    let work = || {
        let kept = black_box([0x5a_u8; 4096]);
        uses_much();
        let before = resident();
        release_unused();
        let after = resident();
        assert!(after + USED_BYTES / 2 < before, "{before} before, {after} after");
        // What is in use is as it was, and the stack can be used again.
        assert_eq!(kept, [0x5a; 4096]);
        uses_much();
    };
    std::thread::Builder::new().stack_size(2 * USED_BYTES).spawn(work).unwrap().join().unwrap();
}
