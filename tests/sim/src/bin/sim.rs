//! `sim SEED`: one world, told in full when it breaks. `sim --runs N [--from SEED]`: many.
//! `sim --sessions N [--from SEED]`: a hostile campaign; `sim --rotation N [--from SEED]`: one against
//! sequences that count once. `sim --flood-table`: the table.

use std::process::ExitCode;
use std::time::Instant;

use postern_sim::flood::table;
use postern_sim::hostile::{Campaign, campaign};
use postern_sim::rotation;
use postern_sim::world::{Planted, World};

const USAGE: &str = "usage: sim SEED | sim --runs N [--from SEED] | sim --soak | sim --sessions N [--from SEED] | sim --rotation N [--from SEED] | sim --flood-table";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let number = |text: &str| text.replace('_', "").parse::<u64>().ok();
    let option = |name: &str| {
        words
            .iter()
            .position(|word| *word == name)
            .and_then(|at| words.get(at + 1))
            .and_then(|text| number(text))
    };
    let from = option("--from").unwrap_or(1);
    match words.first().copied() {
        Some("--runs") => option("--runs").map_or_else(usage, |runs| many(from, runs)),
        Some("--soak") => many(from, u64::MAX / 2),
        Some("--sessions") => option("--sessions").map_or_else(usage, |sessions| hostile(from, sessions)),
        Some("--rotation") => option("--rotation").map_or_else(usage, |sessions| rotating(from, sessions)),
        Some("--flood-table") => {
            println!("{}", table(&[0, 10_000, 100_000, 200_000, 1_000_000], &[1, 2, 4, 8, 16], 1000));
            ExitCode::SUCCESS
        }
        Some(word) => number(word).map_or_else(usage, |seed| many(seed, 1)),
        None => usage(),
    }
}

fn usage() -> ExitCode {
    eprintln!("{USAGE}");
    ExitCode::from(2)
}

fn many(from: u64, runs: u64) -> ExitCode {
    let started = Instant::now();
    let (mut frames, mut turns, mut opened, mut inexact) = (0_u64, 0_u64, 0_u64, 0_u64);
    for seed in from..from.saturating_add(runs) {
        let report = World::new(seed, Planted::default()).run();
        (frames, turns, opened) = (frames + report.frames, turns + report.turns, opened + report.opened);
        inexact += u64::from(report.inexact);
        if let Some(violation) = report.violation {
            for event in report.last_events {
                println!("{event}");
            }
            println!("world {seed}: {violation}\nagain: cargo xtask sim {seed}");
            return ExitCode::FAILURE;
        }
        if seed % 1000 == 999 {
            eprintln!(
                "seed {seed}: {turns} turns, {opened} doors opened, {:.0} s",
                started.elapsed().as_secs_f64()
            );
        }
    }
    println!(
        "{runs} worlds from seed {from}: {frames} packets, {turns} turns, {opened} doors opened, {inexact} inexact under flood, no violation"
    );
    ExitCode::SUCCESS
}

/// As many campaigns at once as there are cores, with seeds of their own.
fn at_once<C: Send>(seed: u64, sessions: u64, campaign: fn(u64, u64) -> C) -> Vec<C> {
    let workers = std::thread::available_parallelism().map_or(1, std::num::NonZero::get) as u64;
    std::thread::scope(|scope| {
        let play = |worker| move || campaign(seed + worker, sessions.div_ceil(workers));
        let handles: Vec<_> = (0..workers).map(|worker| scope.spawn(play(worker))).collect();
        handles
            .into_iter()
            .map(|handle| handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    })
}

fn rotating(seed: u64, sessions: u64) -> ExitCode {
    let started = Instant::now();
    let results = at_once(seed, sessions, rotation::campaign);
    let sum = |part: fn(&rotation::Campaign) -> u64| results.iter().map(part).sum::<u64>();
    let (played, frames, opened) = (sum(|one| one.sessions), sum(|one| one.frames), sum(|one| one.opened));
    let (visits, honest) = (sum(|one| one.visits), sum(|one| one.honest_opened));
    let (replayed, cuts) = (sum(|one| one.replayed), sum(|one| one.cuts));
    let rate = played as f64 / started.elapsed().as_secs_f64();
    println!(
        "{played} hostile sessions against sequences that count once, from seed {seed}, {frames} packets, {replayed} whole sequences that were seen, {cuts} power cuts, {rate:.0} sessions a second: {opened} opened; {honest} of {visits} honest visits were let in or met a cut"
    );
    if opened == 0 && honest == visits && visits > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn hostile(seed: u64, sessions: u64) -> ExitCode {
    let started = Instant::now();
    let results: Vec<Campaign> = at_once(seed, sessions, campaign);
    let sum = |part: fn(&Campaign) -> u64| results.iter().map(part).sum::<u64>();
    let (played, frames, opened) = (sum(|one| one.sessions), sum(|one| one.frames), sum(|one| one.opened));
    let honest = sum(|one| one.honest_opened);
    let rate = played as f64 / started.elapsed().as_secs_f64();
    println!(
        "{played} hostile sessions from seed {seed}, {frames} packets, {rate:.0} sessions a second: {opened} opened; {honest} honest ones in between opened"
    );
    if opened == 0 && (honest > 0 || played < 20_000) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
