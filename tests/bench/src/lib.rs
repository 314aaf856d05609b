//! Benchmarks: Postern beside stock knockd and a bare libpcap loop, in the same run.
//!
//! Every subject gets the same two namespaces, the same frames and the same observer: a door counts
//! as open for a client when a SYN from its address is answered. Nothing here fails on time; it
//! reports. Daemons run on core 0, everything that sends on core 1.

pub mod arena;
pub mod measure;
pub mod meter;
pub mod receiver;
pub mod report;
pub mod traffic;
