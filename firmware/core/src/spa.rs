//! Single Packet Authorization: one authenticated datagram is the knock.

pub(crate) mod allowance;
pub mod fwknop;
pub mod key;
pub mod native;
pub mod policy;
pub mod replay;
pub mod rotating;
