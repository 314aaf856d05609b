//! Bugs to plant in the product, one at a time, to see whether the oracles notice.
//!
//! `cargo run --profile sim -p postern-sim --bin planted` plants each in a copy of the sources and
//! runs a thousand worlds; what they do not notice, the unit tests of the core must. A test of this
//! package sees to it that each place is still to be found.

/// One bug.
#[derive(Clone, Copy, Debug)]
pub struct Bug {
    /// What is wrong then.
    pub name: &'static str,
    /// File, from the root of the workspace.
    pub file: &'static str,
    /// What stands there once.
    pub text: &'static str,
    /// What is put there instead.
    pub instead: &'static str,
    /// Whether nobody can tell the difference from outside.
    pub equivalent: bool,
}

const AUDIT: &str = "firmware/core/src/audit.rs";
const ENGINE: &str = "firmware/core/src/engine.rs";
const GRANT: &str = "firmware/core/src/grant.rs";
const HASH: &str = "firmware/core/src/hash.rs";
const MATCHER: &str = "firmware/core/src/matcher.rs";
const ATTEMPT: &str = "firmware/core/src/matcher/attempt.rs";
const RECENT: &str = "firmware/core/src/recent.rs";
const REACH: &str = "firmware/core/src/rule/reach.rs";
const TURN: &str = "firmware/daemon/src/turn.rs";
const DISPATCH: &str = "firmware/daemon/src/dispatch.rs";

const fn bug(name: &'static str, file: &'static str, text: &'static str, instead: &'static str) -> Bug {
    Bug { name, file, text, instead, equivalent: false }
}

const fn equivalent(
    name: &'static str,
    file: &'static str,
    text: &'static str,
    instead: &'static str,
) -> Bug {
    Bug { name, file, text, instead, equivalent: true }
}

/// Bugs in what a completed sequence, a reload or an operator does.
const DECISIONS: &[Bug] = &[
    bug(
        "a closing sequence does nothing",
        ENGINE,
        "self.grants.revoke(RevokeReason::CloseSequence, now, meant);",
        "let _ = (meant, RevokeReason::CloseSequence);",
    ),
    bug(
        "an operator's revocation does nothing",
        ENGINE,
        "self.grants.revoke(RevokeReason::Operator, now, meant);",
        "let _ = (meant, RevokeReason::Operator);",
    ),
    bug(
        "a revocation closes only in its time",
        GRANT,
        "if grant.phase != Phase::Asked {\n                    grant.end(now);",
        "if grant.phase != Phase::Asked {",
    ),
    bug(
        "a reload takes nothing back",
        GRANT,
        "self.revoke(RevokeReason::ConfigChanged, now, |grant| grant.door.is_none());",
        "let _ = now;",
    ),
    bug("a reload takes everything back", GRANT, "|grant| grant.door.is_none());", "|_| true);"),
    bug(
        "a reload loses a grant's door",
        GRANT,
        "self.ports.iter().all(|port| door.ports.contains(port))",
        "self.ports == door.ports",
    ),
    bug(
        "a door stays open twice as long",
        GRANT,
        "let until = now + lease.time;",
        "let until = now + lease.time + lease.time;",
    ),
    bug("asking again does not extend", GRANT, "grant.until = grant.until.max(until);", "let _ = until;"),
    bug(
        "asking again makes another grant",
        GRANT,
        "                && !grant.is_ending()\n        };\n        if let Some(grant)",
        "                && grant.tries > 100\n        };\n        if let Some(grant)",
    ),
    bug("a reload's new port is left shut", GRANT, "grant.ports.clone_from(&door.ports);", ""),
];

/// Bugs in how the firewall is told.
const FIREWALL: &[Bug] = &[
    bug(
        "the kernel's time is 5 s too long",
        GRANT,
        ".secs_ceil().max(1)).unwrap_or",
        ".secs_ceil().max(1) + 5).unwrap_or",
    ),
    bug(
        "no second try",
        GRANT,
        "!hopeless && tries < FIREWALL_TRIES_MAX",
        "!hopeless && tries > FIREWALL_TRIES_MAX",
    ),
    bug(
        "one try too many",
        GRANT,
        "!hopeless && tries < FIREWALL_TRIES_MAX",
        "!hopeless && tries <= FIREWALL_TRIES_MAX",
    ),
    bug(
        "no answer counts as opened",
        GRANT,
        "(Phase::Asked, Err(error)) => open_failed",
        "(Phase::Asked, Err(FirewallError::NoAnswer)) => opened(grant, now),\n            (Phase::Asked, Err(error)) => open_failed",
    ),
    bug(
        "what failed to open is not taken back",
        GRANT,
        "        _ => grant.end(now),\n",
        "        _ => {\n            grant.end(now);\n            grant.ports.clear();\n        }\n",
    ),
    bug(
        "closing takes a port that another grant holds",
        GRANT,
        "if once || self.covered_until(index, port).is_none() {",
        "if once || true {",
    ),
    bug(
        "opening shortens a port that another grant holds",
        GRANT,
        "self.covered_until(index, port).map_or(",
        "None::<Instant>.map_or(",
    ),
    bug(
        "a revoked grant leaves its longer time on a port in common",
        GRANT,
        "        self.shorten_sharers(index, now);\n",
        "",
    ),
    bug(
        "an extension that failed leaves its longer time on a port in common",
        GRANT,
        "ending.until.max(ending.asked_until)",
        "ending.until",
    ),
    bug(
        "answers are lost",
        DISPATCH,
        "FirewallDone { grant: command.grant(), result }",
        "FirewallDone { grant: command.grant(), result: { let _ = result; Ok(()) } }",
    ),
];

/// Bugs in the audit trail.
const TRAIL: &[Bug] = &[
    bug(
        "an extension is not audited",
        ENGINE,
        "                self.counters.opened += 1;",
        "                self.counters.opened += 1;\n                if extended {\n                    return;\n                }",
    ),
    bug(
        "every record is written twice",
        ENGINE,
        "        self.audit.push(event, now);\n    }\n}",
        "        self.audit.push(event.clone(), now);\n        self.audit.push(event, now);\n    }\n}",
    ),
    bug(
        "a shorter kernel time is audited as a grant",
        GRANT,
        "(!only_shortened).then_some(Change::Opened { extended })",
        "let _ = only_shortened;\n    Some(Change::Opened { extended })",
    ),
    bug(
        "a revocation is not audited",
        GRANT,
        "=> Change::Revoked(reason),",
        "=> {\n                let _ = reason;\n                return None;\n            }",
    ),
    bug("losses are not confessed", AUDIT, "self.append(Event::Lost { records }, at);", "let _ = at;"),
    bug(
        "one loss less is confessed",
        AUDIT,
        "self.append(Event::Lost { records }, at);",
        "self.append(Event::Lost { records: records - 1 }, at);",
    ),
    bug(
        "a record counts as written though the sink was busy",
        TURN,
        "            return true;\n        }\n        let id = record.id;",
        "            let id = record.id;\n            engine.record_written(id);\n            return true;\n        }\n        let id = record.id;",
    ),
];

/// Bugs in time.
const TIME: &[Bug] = &[
    bug(
        "grants wake nobody",
        ENGINE,
        "[self.grants.next_due(), self.denials.due(),",
        "[None, self.denials.due(),",
    ),
    bug(
        "everything is done 3 s late",
        ENGINE,
        "dues.into_iter().flatten().min()",
        "dues.into_iter().flatten().min().map(|at| at + crate::time::Duration::from_secs(3))",
    ),
    bug(
        "a turn never says that there is more",
        TURN,
        "more: frames == FRAMES_PER_TURN_MAX || ticks == TICKS_PER_TURN_MAX",
        "more: false",
    ),
    equivalent(
        "a turn takes one frame",
        TURN,
        "    for count in 0..FRAMES_PER_TURN_MAX {",
        "    for count in 0..1 {",
    ),
    equivalent(
        "a turn ticks once",
        TURN,
        "    for count in 0..TICKS_PER_TURN_MAX {",
        "    for count in 0..1 {",
    ),
    bug(
        "after 3,000 frames the engine is deaf",
        ENGINE,
        "        self.counters.frames += 1;\n",
        "        self.counters.frames += 1;\n        if self.counters.frames > 3000 {\n            return;\n        }\n",
    ),
];

/// Bugs in who is at which step.
const MATCHING: &[Bug] = &[
    bug(
        "a taint lasts half as long",
        MATCHER,
        "now.since(sighting.at) <= within;",
        "now.since(sighting.at).millis() <= within.millis() / 2;",
    ),
    bug(
        "repetitions complete",
        MATCHER,
        "used.is_some_and(|used| used.age(walk.now) <= start.age(walk.now))",
        "used.is_some_and(|_| false)",
    ),
    bug(
        "a sequence may take 1 ms too long",
        MATCHER,
        "(start.age(walk.now) <= walk.sequence.within).then_some(start)",
        "(start.age(walk.now).millis() <= walk.sequence.within.millis() + 1).then_some(start)",
    ),
    bug(
        "a sequence must be 1 ms faster",
        MATCHER,
        "(start.age(walk.now) <= walk.sequence.within).then_some(start)",
        "(start.age(walk.now) < walk.sequence.within).then_some(start)",
    ),
    bug(
        "a reload forgets taints",
        MATCHER,
        "self.taint.set_window(window, now);",
        "self.taint.set_window(window, now);\n        self.taint.clear(now);",
    ),
    bug(
        "a reload keeps attempts",
        MATCHER,
        "        self.attempts.clear();\n    }\n\n    /// How often",
        "    }\n\n    /// How often",
    ),
    bug("a reload keeps first knocks", MATCHER, "        self.first.clear(now);\n", ""),
    bug(
        "the reordering window is twice as long",
        MATCHER,
        "arrival.age(walk.now) <= reorder)",
        "arrival.age(walk.now).millis() <= 2 * reorder.millis())",
    ),
    bug(
        "there is no reordering",
        MATCHER,
        "if reorder == Duration::ZERO {\n            return false;",
        "if reorder >= Duration::ZERO {\n            return false;",
    ),
    bug(
        "TCP flags do not matter",
        MATCHER,
        "    flags_fit && door_fits",
        "    let _ = flags_fit;\n    door_fits",
    ),
    bug(
        "target and interface do not matter",
        MATCHER,
        "    flags_fit && door_fits",
        "    let _ = door_fits;\n    flags_fit",
    ),
    bug("the interface does not matter", MATCHER, "&& door.interfaces.contains(knock.interface)", ""),
    bug(
        "the first knock may always be skipped",
        RECENT,
        "let at = self.filter_latest(key, now)?;",
        "let at = self.filter_latest(key, now).unwrap_or(now);",
    ),
    bug(
        "who leaves the exact table is forgotten",
        RECENT,
        "            self.filter_insert(evicted, now);",
        "            let _ = evicted;",
    ),
    bug(
        "neighbours are one source",
        HASH,
        "self.hash([high, low, label])",
        "self.hash([high, low & !0xff, label])",
    ),
    bug(
        "progress outranks across doors",
        ATTEMPT,
        "attempt.progress <= claim.done && (mine == 0 || attempt.sequence == claim.sequence)",
        "attempt.progress <= claim.done",
    ),
    bug("the richest sequence keeps its places", ATTEMPT, "most > mine + 1", "most > mine + 100"),
    bug(
        "who has completed keeps the place",
        ATTEMPT,
        "        self.progress = 0;\n        self.touch(0, now);",
        "        self.touch(0, now);",
    ),
];

/// Bugs in grants to networks.
const NETWORKS: &[Bug] = &[
    bug(
        "a network is twice as wide",
        REACH,
        "Network::around(source, self.v4)",
        "Network::around(source, self.v4.max(1) - 1)",
    ),
    bug(
        "an IPv6 network is its one address",
        REACH,
        "Network::around(source, self.v6)",
        "Network::host(source)",
    ),
    bug(
        "people of one network have a grant each",
        GRANT,
        "&& grant.network == network\n                && grant.terms",
        "&& grant.source == source\n                && grant.terms",
    ),
    bug(
        "doors of one network do not know of each other",
        GRANT,
        "let same = grant.network == covered.network &&",
        "let same = grant.source == covered.source &&",
    ),
    bug(
        "an address holds a port for its network",
        GRANT,
        "let same = grant.network == covered.network &&",
        "let same = (grant.network == covered.network || grant.source == covered.source) &&",
    ),
    bug(
        "who shares a network's port keeps the longer time",
        GRANT,
        "let same = grant.network == network && !grant",
        "let same = grant.source == network.address && !grant",
    ),
    bug(
        "a network survives another width",
        GRANT,
        "same_way && same_reach && same_use",
        "same_way && same_use",
    ),
    bug(
        "only who opened a network closes it",
        ENGINE,
        "grant.door == Some(sequence.door) && grant.network.contains(source);",
        "grant.door == Some(sequence.door) && grant.source == source;",
    ),
    bug(
        "an operator closes a network by one address only",
        ENGINE,
        "source.is_none_or(|source| grant.network.contains(source))",
        "source.is_none_or(|source| grant.source == source)",
    ),
];

/// All of them.
pub fn bugs() -> impl Iterator<Item = Bug> {
    [DECISIONS, FIREWALL, TRAIL, TIME, MATCHING, NETWORKS].into_iter().flatten().copied()
}
