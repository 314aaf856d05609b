//! The whole of "what should happen" when somebody knocks, without doing any of it.
//!
//! Packets and timer ticks go in, effects come out; results of effects come back as inputs. The
//! crate never reads a clock, allocates, performs I/O, logs or contains `unsafe`. It runs unchanged
//! in the Linux daemon, in the simulator and on a microcontroller.
//!
//! # Layers
//!
//! | module | turns | into |
//! | --- | --- | --- |
//! | [`wire`] | frame bytes | a [`Knock`] or [`wire::Ignored`] with its reason |
//! | [`matcher`] | a knock and the [`RuleSet`] | progress, completion, taint |
//! | [`spa`] | a datagram and the keys | an admitted request, or the reason why not |
//! | [`grant`] | a completed sequence | what is open, for whom, until when |
//! | [`engine`] | an [`engine::Input`] | [`engine::Effects`] for the shell |
//!
//! [`rule`] is the configuration already proved valid, [`audit`] the bounded record of what
//! happened, [`heard`] how far anybody came, [`port`] the few traits a shell implements, [`limits`] every capacity.
//!
//! # Running it
//!
//! 1. Build a [`RuleSet`] with [`rule::RuleSetBuilder`].
//! 2. Call [`Engine::handle`] for every frame, for every firewall result, and at
//!    [`Engine::poll_at`].
//! 3. Carry out the returned effects through a [`port::Firewall`], report each result back.
//! 4. Drain [`Engine::next_record`] into a [`port::AuditSink`].
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod audit;
pub mod detect;
pub mod engine;
pub mod grant;
pub mod hash;
pub mod heard;
pub mod knock;
pub mod limiter;
pub mod limits;
pub mod matcher;
pub mod network;
pub mod port;
pub mod recent;
pub mod rule;
pub mod spa;
pub mod time;
pub mod wire;

pub use engine::Engine;
pub use knock::{InterfaceIndex, InterfaceSet, Knock, Protocol, ServicePort, Step, TcpFlags, Transport};
pub use network::Network;
pub use rule::{DoorId, RuleSet, SequenceId};
pub use time::{Duration, Instant};
