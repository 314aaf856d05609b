//! A laboratory of network namespaces: the real kernel, the real firewall, stock clients, and
//! nothing of the host touched.
//!
//! A [`Lab`] makes namespaces with names of its own (`pst-PID-N-ROLE`), joins them with veth pairs
//! on a bridge that plays the internet, and removes everything when it is dropped, also on a panic.
//! What a killed run left behind is swept when the next one starts. A [`Gate`] compiles a [`Site`]
//! and runs `posternd` in one of the namespaces; [`probe`], [`knock`], [`frame`] and [`watch`] are
//! the clients, the attackers and the witness.
//!
//! Nothing here sleeps and hopes: what must happen is waited for with a generous deadline
//! ([`process::wait_until`]), what must not happen is shown by what came *after* it.
//!
//! Needs root and the tools named by [`tool::require`], which says what to install.

pub mod backend;
pub mod binaries;
pub mod cable;
pub mod control;
pub mod controller;
pub mod frame;
pub mod gate;
pub mod host;
pub mod keyring;
pub mod knock;
pub mod lab;
pub mod listener;
pub mod namespace;
pub mod person;
pub mod probe;
pub mod process;
pub mod rotation;
pub mod scene;
pub mod sender;
pub mod site;
pub mod sshd;
pub mod tool;
pub mod tracer;
pub mod wall;
pub mod watch;

pub use backend::Backend;
pub use control::Control;
pub use gate::Gate;
pub use host::Host;
pub use lab::Lab;
pub use listener::Listener;
pub use namespace::Namespace;
pub use scene::Scene;
pub use site::{DoorText, Site};
pub use tracer::Tracer;
