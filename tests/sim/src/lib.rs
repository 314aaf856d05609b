//! The simulator: a seeded world in virtual time around the production engine and turn.
//!
//! | module | is |
//! | --- | --- |
//! | [`world`] | packets, faults and reloads chosen by a seed, and the oracles after every step |
//! | [`twin`] | simulated capture, firewall with kernel timers, audit sink |
//! | [`reference`](mod@reference) | the naive model that must agree with the engine |
//! | [`ledger`] | what must be open, for whom, until when, and what must be audited |
//! | [`neighbours`] | who is whose neighbour, bit by bit |
//! | [`happening`] | what happens to a world besides packets |
//! | [`actor`] | honest clients, scanners, insiders, forgers, floods |
//! | [`hostile`] | millions of hostile sessions, none of which may open anything |
//! | [`instructions`] | what a packet costs, counted one by one |
//! | [`rotation`] | the same against rotating sequences and one-time lists that were seen |
//! | [`planted`] | bugs to plant in the product, and who must notice |
//! | [`volume`] | what an attack writes into the log, and whether a grant's record is among it |
//! | [`flood`] | honest success against flood rate and table size |

// Worlds are made of numbers that are known to fit.
#![allow(clippy::cast_possible_truncation)]

pub mod actor;
pub mod flood;
pub mod frame;
pub mod happening;
pub mod hostile;
pub mod instructions;
pub mod ledger;
pub mod neighbours;
pub mod planted;
pub mod random;
pub mod reference;
pub mod rotation;
pub mod site;
pub mod twin;
pub mod vigil;
pub mod volume;
pub mod world;
