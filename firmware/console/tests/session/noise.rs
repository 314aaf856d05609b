//! Lines that send anything.

use crate::person::Desk;

fn next(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

#[test]
fn noise_on_the_line_does_nothing_but_noise() {
    for seed in 1..=4_u64 {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut desk = if seed % 2 == 0 { Desk::logged_in() } else { Desk::enrolled() };
        let before = desk.gateway.running.clone();
        for _ in 0..6_000 {
            let octet = next(&mut state).to_le_bytes()[0];
            // A program's line is another story.
            if octet != 0 {
                desk.session.key(octet, desk.now);
                desk.settle();
            }
        }
        desk.read();
        assert_eq!(desk.gateway.running, before);
    }
}

#[test]
fn noise_of_the_daemon_is_dropped() {
    let mut state = 77;
    let mut desk = Desk::logged_in();
    for _ in 0..100_000 {
        desk.session.daemon(next(&mut state).to_le_bytes()[0], desk.now);
    }
    desk.session.daemon(0, desk.now);
    desk.type_in("status\r");
    assert!(desk.read().contains("generation 3"));
}
