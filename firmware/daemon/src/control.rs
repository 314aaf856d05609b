//! The control socket's side of the RPC: who is there, what they may do, what they are answered.
//!
//! Nothing here does I/O. A connection is a [`Session`]: octets in, octets out. Requests are carried
//! out by the [`Desk`] on the [`Configuration`](crate::configuration::Configuration) and the
//! [`Machine`](crate::machine::Machine), between two turns of the loop, one request of one peer at a
//! time.

mod desk;
mod device;
mod guesses;
mod lines;
mod lists;
mod session;
mod sightings;

pub use desk::{After, Desk};
pub use device::Device;
pub use guesses::Guesses;
pub use lines::Lines;
pub use session::{Peer, Session};
pub use sightings::Sightings;
