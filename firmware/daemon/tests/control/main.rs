//! The control socket's desk over a gateway in memory: every promise of commit-confirm, of roles and
//! of logins.

mod changes;
mod faults;
mod logins;
mod noise;
mod safe;
mod splices;
mod updates;
mod work;
mod world;
