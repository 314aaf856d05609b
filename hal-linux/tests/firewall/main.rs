//! Both firewall back ends against the real kernel, in network namespaces of the tests' own.
//!
//! Needs root, iptables (legacy and nft), ipset, nft and ip; fails where one is missing.
#![allow(unsafe_code)]

mod behind;
mod cost;
#[path = "../shared/counting.rs"]
mod counting;
mod cutting;
mod gate;
mod installing;
mod lab;
mod networks;
mod once;
mod opening;
mod refusals;
mod sets;
mod verifying;
