//! What people and programs say to the gateway: no_std, no alloc.
//!
//! | module | is |
//! | --- | --- |
//! | [`rpc`] | requests and replies in frames: the one way into the daemon, for every tool |
//! | [`scram`] | logging in without sending a password |
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod rpc;
pub mod scram;
