//! `postern selftest`: does everything once that a knock needs, beside what is at work, and says what
//! passed.
//!
//! `postern doctor` looks; this one acts, in a network namespace of its own that is gone afterwards: the
//! gate of this very configuration is put up there, a grant is opened and must end by the kernel's own
//! clock, and a real packet must be captured through the kernel's filter. The machine's firewall and
//! interfaces are not touched.

mod steps;

use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::Result;
use clap::Args as ClapArgs;
use serde_json::json;

/// Version of the JSON object; rises when a field goes or changes its meaning.
const VERSION: u32 = 1;

/// Arguments of `postern selftest`.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// The config partition of this gateway, or an image of one
    #[arg(long)]
    pub store: PathBuf,
    /// The daemon's control socket
    #[arg(long, default_value = "/run/postern/control")]
    pub control: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// What became of one step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Stable name, for scripts.
    pub step: &'static str,
    /// What was found, or what is wrong and what to do about it.
    pub result: Result<String, String>,
}

/// Runs the command: 0 when every step passed, else 1.
///
/// # Errors
/// When nothing can be printed.
pub fn run(args: &Args) -> Result<u8> {
    let outcomes = steps::all(args);
    let passed = outcomes.iter().all(|outcome| outcome.result.is_ok());
    let out = if args.json { json_of(&outcomes, passed) } else { text(&outcomes, passed) };
    crate::cli::print(&out)?;
    Ok(u8::from(!passed))
}

fn json_of(outcomes: &[Outcome], passed: bool) -> String {
    let step = |outcome: &Outcome| {
        let (passed, said) = match &outcome.result {
            Ok(said) => (true, said),
            Err(said) => (false, said),
        };
        json!({ "step": outcome.step, "passed": passed, "said": said })
    };
    let steps: Vec<_> = outcomes.iter().map(step).collect();
    format!("{:#}\n", json!({ "version": VERSION, "ok": passed, "steps": steps }))
}

fn text(outcomes: &[Outcome], passed: bool) -> String {
    let mut out = String::new();
    for Outcome { step, result } in outcomes {
        let (word, said) = match result {
            Ok(said) => ("passed", said),
            Err(said) => ("FAILED", said),
        };
        // Some of it comes from other programs: nothing of it may move the cursor.
        let said: String = said.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let _ = writeln!(out, "{word} {step}: {said}");
    }
    out.push_str(if passed { "all passed\n" } else { "not all passed; `postern doctor` may say why\n" });
    out
}
