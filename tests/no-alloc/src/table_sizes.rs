//! Prints what the tables of the firmware take in memory, for `cargo xtask sizes`.

use postern_config::site::Site;
use postern_core::audit::AuditRing;
use postern_core::engine::{Effects, Engine};
use postern_core::grant::GrantTable;
use postern_core::limits::TABLE_UNITS;
use postern_core::matcher::Matcher;
use postern_core::rule::RuleSet;
use postern_core::spa::native::Verifier;

fn main() {
    println!("Engine {}", size_of::<Engine>());
    println!("Matcher {}", size_of::<Matcher<TABLE_UNITS>>());
    println!("RuleSet {}", size_of::<RuleSet>());
    println!("GrantTable {}", size_of::<GrantTable>());
    println!("Verifier {}", size_of::<Verifier>());
    println!("AuditRing {}", size_of::<AuditRing>());
    println!("Effects {}", size_of::<Effects>());
    println!("Site {}", size_of::<Site>());
}
