//! `postern --to` against a gateway in memory: what it prints, how it ends, and what is left when the
//! line is bad.

mod gateway;
mod golden;
mod line;
mod logins;
mod losses;
mod offline;
mod tool;
mod updates;
