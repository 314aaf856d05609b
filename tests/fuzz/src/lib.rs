//! Fuzz targets as plain functions: bytes in, a panic when a promise is broken.
//!
//! `cargo xtask fuzz` drives them with libFuzzer and coverage counters on the stable tool chain;
//! the test beside them runs every file of the corpus without any of that.

pub mod console;
pub mod desk;
pub mod engine;
pub mod frame;
pub mod fwknop;
pub mod fwknop_sealed;
pub mod partition;
pub mod rpc;
pub mod spa;
pub mod spa_sealed;
pub mod store;
pub mod update;

/// A target with its name, which is also the name of its folder in the corpus.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: [Target; 12] = [
    ("frame", frame::run),
    ("engine", engine::run),
    ("store", store::run),
    ("console", console::run),
    ("rpc", rpc::run),
    ("partition", partition::run),
    ("desk", desk::run),
    ("spa", spa::run),
    ("spa-sealed", spa_sealed::run),
    ("fwknop", fwknop::run),
    ("fwknop-sealed", fwknop_sealed::run),
    ("update", update::run),
];
