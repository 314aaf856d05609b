//! What people and programs say to the gateway: no_std, no alloc.
//!
//! | module | is |
//! | --- | --- |
//! | [`pump`] | octets between a line, a session and the daemon, over `embedded-io` |
//! | [`rpc`] | requests and replies in frames: the one way into the daemon, for every tool |
//! | [`scram`] | logging in without sending a password |
//! | [`session`] | one person at a line |
//! | [`text`] | the parts of the console for people |
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod pump;
pub mod rpc;
pub mod scram;
pub mod session;
pub mod text;
