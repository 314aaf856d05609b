//! Linux adapters of Postern. The only crate of the workspace that may hold `unsafe`, each block
//! with its `// SAFETY:`.

pub mod accounts;
mod bpf;
pub mod capture;
pub mod clock;
pub mod confine;
pub mod control;
pub mod default_route;
pub mod firewall;
pub mod heap;
pub mod link_watch;
mod netlink;
pub mod partition;
pub mod random;
mod readiness;
pub mod reboot;
pub mod serial;
pub mod stack;
pub mod supervisor;
pub mod syslog;
pub mod user;
pub mod wait;
pub mod watchdog;
