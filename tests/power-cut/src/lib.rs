//! Power cuts at every write of the config partition, enumerated and not sampled where the space
//! is small.
//!
//! One operation (commit, trial, confirm, mark) runs against a [`medium::Recorder`], which keeps
//! every sector written and every flush. Then the power is cut behind each of them: all subsets of
//! the sectors not flushed yet may have reached the medium, each that has not may be torn with what a
//! medium leaves behind, its neighbour may be damaged, and the start that follows may be cut, too. After each
//! the store is opened anew and the
//! [`oracle`] asks whether what is in force is exactly the old or exactly the new configuration,
//! and the new one if it was acknowledged. [`faults`] does the same with a medium that fails while the
//! power stays, and [`lives`] goes on from every state that was found, with a ledger of what was
//! acknowledged.

// Numbers here are small by construction.
#![allow(clippy::cast_possible_truncation)]

pub mod campaign;
pub mod faults;
pub mod lives;
pub mod medium;
pub mod oracle;
pub mod tally;
pub mod tear;
