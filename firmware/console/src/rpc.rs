//! Requests and replies, in frames that any octet stream carries: a Unix socket, a serial line,
//! the standard streams of ssh.
//!
//! A peer sends one [`Request`] and waits for its [`Answer`] before the next. Everything is bounded:
//! lists come in parts, a configuration in chunks small enough for 9600 baud.
//!
//! | module | is |
//! | --- | --- |
//! | [`frame`] | COBS, check sum, resynchronisation |
//! | [`request`] | what can be asked |
//! | [`reply`] | what is answered |
//! | [`refusal`] | why not |
//!
//! Numbers of variants are part of the protocol: new ones are added at the end, and [`PROTOCOL`]
//! rises when an old one changes its meaning.

pub mod frame;
pub mod refusal;
pub mod reply;
pub mod request;

pub use frame::{Deframer, FRAME_BYTES_MAX, FrameError, MESSAGE_BYTES_MAX, encode_frame};
pub use refusal::{InvalidConfig, Refusal, UpdateRefusal};
pub use reply::{Answer, Reply};
pub use request::{Call, Request};

/// Version of the protocol, told in [`request::Request::Hello`].
pub const PROTOCOL: u16 = 1;

/// Octets of a configuration in one request or reply.
pub const CHUNK_BYTES_MAX: usize = 512;

/// Octets of an update in one request: what a frame holds beside the request itself.
pub const UPDATE_PART_BYTES_MAX: usize = 960;

/// Octets of a version's name.
pub const VERSION_BYTES_MAX: usize = 32;

/// Octets of one line of the log.
pub const LINE_BYTES_MAX: usize = 220;
