//! Honest clients, undisturbed and under attack.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::Result;

use super::Effort;
use crate::arena::{Arena, KNOCKS, Subject, client_address};
use crate::meter;
use crate::report::{Table, ms, quantile};
use crate::traffic::{Flood, Sources, Visit, visit};

const CROWD: usize = 50;
const PATIENCE: Duration = Duration::from_secs(2);
/// An attack is under way this long before the first client.
const LEAD: Duration = Duration::from_secs(2);
/// No attack outlives it, whatever happens.
const ATTACK_S: u64 = 40;
/// Clients under attack do not overlap, and are not in step with an attack of 300 a second.
const APART: Duration = Duration::from_millis(127);

fn overlapping(pause_ms: u64) -> Visit {
    Visit {
        first: 0,
        clients: CROWD,
        every: Duration::from_millis(10),
        pause: Duration::from_millis(pause_ms),
        patience: PATIENCE,
    }
}

/// How many got in, and how fast half and nearly all of them did.
pub(super) fn summary(mut let_in: Vec<Option<Duration>>) -> Vec<String> {
    let of = let_in.len();
    let mut times: Vec<Duration> = let_in.drain(..).flatten().collect();
    times.sort_unstable();
    vec![format!("{} of {of}", times.len()), ms(quantile(&times, 0.5)), ms(quantile(&times, 0.99))]
}

pub(super) fn latency(effort: Effort) -> Result<Table> {
    let mut table = Table::new(
        "latency",
        "No attack, one client after the other: from the last knock to the first answered SYN, probed every 50 µs.",
        &["subject", "let in", "p50 ms", "p99 ms"],
    );
    for subject in Subject::GUARDS {
        let arena = Arena::new(subject, &KNOCKS)?;
        let calm = Visit {
            first: 0,
            clients: effort.samples,
            every: Duration::from_millis(120),
            pause: Duration::from_millis(30),
            patience: PATIENCE,
        };
        let let_in = visit(&arena, &KNOCKS, calm)?;
        table.row([vec![subject.to_string()], summary(let_in)].concat());
    }
    Ok(table)
}

pub(super) fn overlap(_: Effort) -> Result<Table> {
    let mut table = Table::new(
        "overlap",
        "No attack: 50 clients, one starts every 10 ms.",
        &["subject", "knocks apart ms", "let in", "p50 ms", "p99 ms"],
    );
    for subject in Subject::GUARDS {
        for pause_ms in [30, 200] {
            let arena = Arena::new(subject, &KNOCKS)?;
            let let_in = visit(&arena, &KNOCKS, overlapping(pause_ms))?;
            table.row([vec![subject.to_string(), pause_ms.to_string()], summary(let_in)].concat());
        }
    }
    Ok(table)
}

fn under_attack(
    table: &mut Table,
    subject: Subject,
    pause_ms: u64,
    per_second: u32,
    (sources, ports): (Sources, &[u16]),
) -> Result<()> {
    let mut arena = Arena::new(subject, &KNOCKS)?;
    let pid = arena.pid();
    let (before_kb, _) = meter::memory_kb(pid)?;
    let attack = match per_second {
        0 => None,
        _ => Some(Flood::start(&arena, sources, ports, per_second, u64::from(per_second) * ATTACK_S)?),
    };
    std::thread::sleep(LEAD);
    let let_in = visit(&arena, &KNOCKS, Visit { every: APART, ..overlapping(pause_ms) })?;
    let sent = attack.map(Flood::stop).transpose()?.unwrap_or_default();
    let (after_kb, _) = meter::memory_kb(pid)?;
    let rate = if per_second == 0 { "0".to_owned() } else { format!("{:.1}", sent.kpps()) };
    let asked = format!("{:.1}", f64::from(per_second) / 1e3);
    let mut row = vec![subject.to_string(), pause_ms.to_string(), asked, rate];
    row.extend(summary(let_in));
    let lost = arena.lost().map_or("-".to_owned(), |lost| lost.to_string());
    row.extend([lost, format!("{before_kb} -> {after_kb}")]);
    table.row(row);
    Ok(())
}

const ATTACKED: [&str; 9] = [
    "subject",
    "knocks apart ms",
    "asked kpps",
    "sent kpps",
    "let in",
    "p50 ms",
    "p99 ms",
    "capture lost",
    "RSS kB",
];

pub(super) fn flood(effort: Effort) -> Result<Table> {
    let about = "First knocks from random forged sources, from 2 s before the first of 50 clients until the last is done; \
                 a client starts every 127 ms.";
    let mut table = Table::new("flood", about, &ATTACKED);
    for subject in Subject::GUARDS {
        for (pause_ms, kpps) in [(30, 0), (30, 10), (30, 50), (30, 100), (30, 200), (200, 100), (200, 200)] {
            let skipped = effort.brief && [(30, 50), (200, 100)].contains(&(pause_ms, kpps));
            if skipped || (subject == Subject::Knockd && pause_ms != 30) {
                continue;
            }
            let attack = (Sources::Spoofed, &KNOCKS[..1]);
            under_attack(&mut table, subject, pause_ms, kpps * 1000, attack)?;
        }
    }
    Ok(table)
}

pub(super) fn forged(_: Effort) -> Result<Table> {
    let about = "First knocks forged in the names of the clients in turn, 5,000 a second.";
    let mut table = Table::new("forged", about, &ATTACKED);
    for subject in Subject::GUARDS {
        let names = Sources::These((0..CROWD).map(client_address).collect());
        under_attack(&mut table, subject, 30, 5000, (names, &KNOCKS[..1]))?;
    }
    Ok(table)
}

pub(super) fn headcut(_: Effort) -> Result<Table> {
    let about = "One real source sends the first knock and a wrong one in turn, 300 a second.";
    let mut table = Table::new("headcut", about, &ATTACKED);
    let wrong = [KNOCKS[0], KNOCKS[2]];
    for subject in Subject::GUARDS {
        let one = Sources::These(vec![Ipv4Addr::new(10, 7, 7, 7)]);
        under_attack(&mut table, subject, 30, 300, (one, &wrong))?;
    }
    Ok(table)
}
