//! Linux adapters of Postern. The only crate of the workspace that may hold `unsafe`, each block
//! with its `// SAFETY:`.

pub mod capture;
pub mod clock;
pub mod control;
pub mod firewall;
mod netlink;
pub mod partition;
pub mod random;
pub mod reboot;
pub mod syslog;
pub mod wait;
