//! A program with no allocator, no standard library and no start-up code, around the whole core.
//!
//! It is linked and read, never run. `#[used]` keeps the entry points although nobody calls them,
//! so that everything they reach must be found by the linker.
#![no_std]
#![no_main]

use core::panic::PanicInfo;

use postern_core::engine::Engine;
use postern_core::rule::{Door, GuardRange, Name, RuleError, RuleSet, Sequence};
use postern_core::spa::fwknop;
use postern_core::spa::key::{DeviceId, SpaKey};
use postern_core::spa::native::{Admitted, Arrival, Refused, Request, Verifier};
use postern_core::spa::policy::Policy;
use postern_core::spa::rotating::cursor::Cursor;
use postern_core::spa::rotating::{Knocks, Shape, ShapeError};
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

/// What reads one datagram.
type ReadSpa = fn(&mut Verifier, &[u8], Arrival, &[Door]) -> Result<Admitted, Refused>;

#[used]
static READ_SPA: ReadSpa = postern_no_alloc::spa::read_spa;

#[used]
static START_SPA: fn(&Verifier, DeviceId, &SpaKey, Policy, u64) -> Verifier =
    postern_no_alloc::spa::start_spa;

#[used]
static SEAL_SPA: fn(&SpaKey, DeviceId, &mut Request, Option<u64>) -> Option<[u8; 128]> =
    postern_no_alloc::spa::seal_spa;

/// What reads one datagram of a stock fwknop client.
type ReadFwknop =
    fn(&mut fwknop::Verifier, &[u8], Arrival, &[Door]) -> Result<fwknop::Admitted, fwknop::Refused>;

#[used]
static READ_FWKNOP: ReadFwknop = postern_no_alloc::fwknop::read_fwknop;

/// What takes the keys of stock fwknop clients.
type StartFwknop =
    fn(&fwknop::Verifier, DeviceId, &[u8], Policy, u64) -> Result<fwknop::Verifier, fwknop::KeyLength>;

#[used]
static START_FWKNOP: StartFwknop = postern_no_alloc::fwknop::start_fwknop;

#[used]
static SEAL_FWKNOP: fn(&fwknop::FwknopKey, &[u8], &[u8; 8]) -> Option<fwknop::sealer::Packet> =
    postern_no_alloc::fwknop::seal_fwknop;

/// What derives one sequence.
type Rotate = fn(&SpaKey, &Name, &Shape, &mut Cursor, u32) -> Result<Knocks, ShapeError>;

#[used]
static ROTATE: Rotate = postern_no_alloc::spa::rotate;

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    loop {
        core::hint::spin_loop();
    }
}
