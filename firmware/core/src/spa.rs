//! Single Packet Authorization: one authenticated datagram is the knock.

pub mod key;
pub mod native;
