//! Our own packet: see `SPA.md` for its octets.

pub mod aead;
