//! A program with no allocator, no standard library and no start-up code, around the whole core.
//!
//! It is linked and read, never run. `#[used]` keeps the entry points although nobody calls them,
//! so that everything they reach must be found by the linker.
#![no_std]
#![no_main]

use core::panic::PanicInfo;

use postern_core::engine::Engine;
use postern_core::rule::{Door, GuardRange, RuleError, RuleSet, Sequence};
use postern_core::time::Instant;

#[used]
static READ_FRAME: fn(&[u8]) = postern_no_alloc::read_frame;

#[used]
static RUN_ENGINE: fn(&mut Engine, &[u8], Instant) = postern_no_alloc::run_engine;

#[used]
static BUILD_RULES: fn(Door, Sequence, GuardRange) -> Result<RuleSet, RuleError> =
    postern_no_alloc::build_rules;

#[used]
static START_ENGINE: fn(RuleSet, RuleSet, [u8; 16], Instant) -> Engine = postern_no_alloc::start_engine;

#[used]
static READ_STORE: fn(&[u8]) -> Result<RuleSet, RuleError> = postern_no_alloc::read_store;

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    loop {
        core::hint::spin_loop();
    }
}
