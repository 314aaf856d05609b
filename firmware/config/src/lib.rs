//! The configuration as it lies on the config partition: no_std, no alloc.
//!
//! | module | is |
//! | --- | --- |
//! | [`site`] | schema 1: what a site consists of, serialised with postcard; [`account`], [`key`] and [`secret`] are parts of it |
//! | [`schema`] | payloads by the number of their schema, and how an older one becomes a site |
//! | [`envelope`] | magic, schema, length and check sum around a payload in a file |
//! | [`guards`] | chooses the guard ranges of a site |
//! | [`signed`] | what the owner signs offline |
//! | [`slots`] | which of two systems starts next, as the boot loader reads it |
//! | [`update`] | the manifest of a signed update |
//! | [`held`] | secrets that stay on the gateway |
//! | [`spelled`] | challenges and tokens that people read aloud and type |
//! | [`partition`] | slots and journal that a power cut cannot brick |
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod account;
pub mod allowance;
pub mod envelope;
pub mod guards;
pub mod held;
pub mod key;
pub mod partition;
pub mod policy;
pub mod schema;
pub mod secret;
pub mod services;
pub mod signed;
pub mod site;
pub mod slots;
pub mod spelled;
pub mod update;
pub mod weakness;

pub use account::Role;
pub use envelope::{DecodeError, EncodeError, STORE_BYTES_MAX, decode, encode};
pub use schema::{PAYLOAD_BYTES_MAX, PayloadError, SCHEMA};
pub use site::{Backend, Site};
