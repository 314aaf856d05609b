//! The configuration as it lies on the config partition: no_std, no alloc.
//!
//! | module | is |
//! | --- | --- |
//! | [`site`] | the schema: what a site consists of, serialised with postcard |
//! | [`envelope`] | magic, version, length and check sum around it |
//! | [`partition`] | slots and journal that a power cut cannot brick |
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod envelope;
pub mod partition;
pub mod site;

pub use envelope::{DecodeError, EncodeError, STORE_BYTES_MAX, decode, encode};
pub use site::{Backend, Site};
