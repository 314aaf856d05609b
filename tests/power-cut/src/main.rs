//! Runs power-cut campaigns until a number of states is reached, `postern-power-cut [SEED] [STATES]`, or whole lives
//! only, `postern-power-cut --lives [SEED] [LIVES]`: these find what takes many starts and several faults.

use std::process::ExitCode;
use std::time::Instant;

use postern_power_cut::campaign::{Action, Effort, NAMES, Report};
use postern_power_cut::campaign::{actions, cut_everywhere, lived_in, settled_after};
use postern_power_cut::faults::{fail_everywhere, flip_bits};
use postern_power_cut::lives::live;
use postern_power_cut::medium::Image;

/// States from which on a run must have tried everything.
const ALL_FROM: u64 = 10_000_000;

/// Starts of one life.
const STARTS: usize = 60;

fn main() -> ExitCode {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let is_lives = arguments.first().is_some_and(|first| first == "--lives");
    arguments.drain(..usize::from(is_lives));
    let mut numbers = arguments.iter().map(|argument| argument.replace('_', "").parse::<u64>());
    let (seed, count) = match (numbers.next().unwrap_or(Ok(1)), numbers.next().unwrap_or(Ok(1_000_000))) {
        (Ok(seed), Ok(count)) => (seed, count),
        _ => {
            eprintln!("usage: postern-power-cut [SEED] [STATES] or postern-power-cut --lives [SEED] [LIVES]");
            return ExitCode::from(2);
        }
    };
    let started = Instant::now();
    let report = if is_lives { on_all(seed, count, lives) } else { on_all(seed, count, campaign) };
    let seconds = started.elapsed().as_secs_f64();
    print!("{}", report.tally);
    println!(
        "{} states, {:.0} a second, {} failures",
        report.states,
        report.states as f64 / seconds,
        report.failures.len()
    );
    for failure in &report.failures {
        println!("  {:?}: {}", failure.violation, failure.state);
    }
    // A short run of a developer need not have got round to everything.
    let missing = if is_lives || count < ALL_FROM { Vec::new() } else { report.tally.missing(&NAMES) };
    missing.iter().for_each(|never| println!("  never tried: {never}"));
    let fine = report.failures.is_empty() && missing.is_empty();
    if fine { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs `campaign` on every processor: from which seed, how far to the next, how many.
fn on_all(first_seed: u64, count: u64, campaign: fn(u64, u64, u64) -> Report) -> Report {
    let workers = std::thread::available_parallelism().map_or(1, std::num::NonZero::get) as u64;
    std::thread::scope(|scope| {
        let work = |worker: u64| move || campaign(first_seed + worker, workers, count / workers);
        let handles: Vec<_> = (0..workers).map(|worker| scope.spawn(work(worker))).collect();
        let mut report = Report::default();
        for handle in handles {
            report.add(handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        report
    })
}

fn lives(first_seed: u64, stride: u64, count: u64) -> Report {
    let mut report = Report::default();
    for number in 0..count {
        let seed = first_seed + number * stride;
        let life = named(live(seed, STARTS), seed);
        life.failures.iter().for_each(|failure| eprintln!("{:?}: {}", failure.violation, failure.state));
        report.add(life);
        if number % 1000 == 999 {
            eprintln!("seed {seed}: {} of {count} lives, {} failures", number + 1, report.failures.len());
        }
    }
    report
}

fn campaign(mut seed: u64, stride: u64, states: u64) -> Report {
    let mut report = Report::default();
    while report.states < states {
        let mut image = Image::blank();
        let octet = seed.to_le_bytes()[0];
        for action in [Action::Adopt(octet), Action::Boot, Action::Commit(vec![octet; 300])] {
            image = everywhere(&mut report, image, &action, seed);
        }
        let mut image = lived_in(seed);
        for action in actions(payload_bytes(seed), seed) {
            image = everywhere(&mut report, image, &action, seed);
        }
        report.add(named(live(seed, STARTS), seed));
        report.add(flip_bits(&image, (seed % 211) as usize, 211, seed));
        eprintln!("seed {seed}: {} states of {states}, {} failures", report.states, report.failures.len());
        seed += stride;
    }
    report
}

/// Up to the eight sectors all subsets of which are tried.
fn payload_bytes(seed: u64) -> usize {
    100 + (seed % 8) as usize * 400
}

/// Every cut and every fault of one action; what stands after it.
fn everywhere(report: &mut Report, image: Image, action: &Action, seed: u64) -> Image {
    let effort = Effort { tear_step_bytes: 37, second_cut: true, subsets_sampled: 64, bug: None };
    report.add(named(cut_everywhere(&image, action, effort, seed), seed));
    report.add(named(fail_everywhere(&image, action, seed), seed));
    settled_after(&image, action)
}

fn named(mut part: Report, seed: u64) -> Report {
    for failure in &mut part.failures {
        failure.state = format!("postern-power-cut {seed}: {}", failure.state);
    }
    part
}
