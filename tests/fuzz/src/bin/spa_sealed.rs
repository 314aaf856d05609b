//! The target `spa-sealed` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| postern_fuzz::spa_sealed::run(bytes));
