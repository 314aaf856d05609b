//! The target `fwknop-sealed` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| postern_fuzz::fwknop_sealed::run(bytes));
