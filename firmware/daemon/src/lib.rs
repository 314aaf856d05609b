//! The daemon without its machine: one turn of the loop over the ports of `postern-core`.
//!
//! The binary beside it puts real adapters in; the simulator puts its own in and drives the very
//! same turn.

pub mod adoption;
pub mod configuration;
pub mod control;
pub mod dispatch;
pub mod health;
pub mod machine;
pub mod options;
pub mod supervision;
pub mod turn;
pub mod update;
