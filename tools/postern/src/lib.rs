//! The host tool of Postern: checks and compiles site files, imports existing set-ups, knocks.
//!
//! The binary is a thin layer over this library, so that tests can use every part of it.

pub mod base64;
pub mod check;
pub mod cli;
pub mod compile;
pub mod doctor;
pub mod finding;
pub mod guards;
pub mod import;
pub mod key;
pub mod knock;
pub mod memory;
pub mod owner;
pub mod probability;
pub mod profile;
pub mod remote;
pub mod selftest;
pub mod sequence;
pub mod show;
pub mod site;
pub mod update_file;
pub mod whole_file;
