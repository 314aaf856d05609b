//! The configuration as it lies on the config partition: no_std, no alloc.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod partition;
