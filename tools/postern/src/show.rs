//! Prints what a store holds.

use std::fmt::Write as _;

use postern_config::Site;
use postern_config::site::StoredRotating;
use postern_core::rule::{Purpose, Reach, RuleSet};

/// The store for people: gateway, doors, sequences, guards.
pub fn text(site: &Site, rules: &RuleSet) -> String {
    let mut out = String::new();
    let interfaces: Vec<&str> = site.interfaces.iter().map(|name| name.as_str()).collect();
    let _ = writeln!(out, "gateway {} on {}, {:?}", site.name, interfaces.join(", "), site.backend);
    for (index, door) in rules.doors().iter().enumerate() {
        let ports: Vec<String> = door.ports.iter().map(ToString::to_string).collect();
        let _ = writeln!(out, "door {}: {} for {} s", door.name, ports.join(" "), door.open_for.secs_ceil());
        let Reach { v4, v6 } = door.terms.reach;
        if door.terms.reach.is_wide() {
            let _ = writeln!(out, "  for everybody in the client's IPv4 /{v4} or IPv6 /{v6}");
        }
        let own = rules.sequences().iter().filter(|sequence| usize::from(sequence.door.0) == index);
        let own = own.filter(|sequence| !sequence.steps.is_empty());
        if let Some(rotating) = site.doors.get(index).and_then(|door| door.rotating) {
            let StoredRotating { knocks, look_ahead, first, last, .. } = rotating;
            let _ = writeln!(
                out,
                "  opened by {knocks} knocks of {first} to {last} that change with every use, {look_ahead} awaited"
            );
        }
        for sequence in own {
            let verb = if sequence.purpose == Purpose::Open { "opened" } else { "closed" };
            let steps: Vec<String> = sequence.steps.iter().map(ToString::to_string).collect();
            let _ = writeln!(out, "  {verb} by {} within {} ms", steps.join(" "), sequence.within.millis());
        }
    }
    let _ = writeln!(out, "{} guard ranges", rules.guards().len());
    out
}
