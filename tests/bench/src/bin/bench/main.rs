//! `bench [NAME] [--json] [--save] [--quick]`: measures Postern beside its peers and reports.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use clap::Parser;
use postern_bench::measure::{ALL, Effort};
use postern_bench::report::{Table, circumstances};
use postern_bench::{meter, receiver};

/// What is written above the tables of RESULTS.md.
const NOTES: &str = include_str!("notes.md");

/// Measures Postern beside stock knockd and a bare libpcap loop, in network namespaces of its own.
#[derive(Debug, Parser)]
struct Options {
    /// Benchmarks to run; all when none is named.
    names: Vec<String>,
    /// JSON on standard output instead of markdown.
    #[arg(long)]
    json: bool,
    /// Also write tests/bench/RESULTS.md.
    #[arg(long)]
    save: bool,
    /// Fewer scans, samples and frames: under ten minutes.
    #[arg(long)]
    brief: bool,
    /// Little of everything, to see that it works.
    #[arg(long)]
    quick: bool,
    /// Be the bare loop with this filter on eth0.
    #[arg(long, hide = true)]
    receive: Option<String>,
}

fn main() -> Result<()> {
    let options = Options::parse();
    if let Some(filter) = &options.receive {
        return receiver::run("eth0", filter);
    }
    if let Some(name) = options.names.iter().find(|name| ALL.iter().all(|(known, _)| known != name)) {
        bail!("no benchmark {name:?}; there are: {}", ALL.map(|(name, _)| name).join(", "));
    }
    meter::prefer(std::process::id());
    let effort = match (options.quick, options.brief) {
        (true, _) => Effort::QUICK,
        (_, true) => Effort::BRIEF,
        _ => Effort::FULL,
    };
    let mut tables: Vec<Table> = Vec::new();
    for (name, measure) in ALL {
        if options.names.is_empty() || options.names.iter().any(|wanted| wanted == name) {
            eprintln!("{name}");
            match measure(effort) {
                Ok(table) => tables.push(table),
                Err(error) => eprintln!("  {name} could not be measured: {error:#}"),
            }
            if options.save {
                // After every benchmark: a run that is broken off leaves what it has measured.
                std::fs::write(results(), markdown(&tables))?;
            }
        }
    }
    if options.json {
        let tables: Vec<serde_json::Value> = tables.iter().map(Table::to_json).collect();
        let all = serde_json::json!({ "circumstances": circumstances(), "tables": tables });
        println!("{}", serde_json::to_string_pretty(&all)?);
    } else {
        println!("{}", markdown(&tables));
    }
    Ok(())
}

fn results() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("RESULTS.md")
}

fn markdown(tables: &[Table]) -> String {
    let texts: Vec<String> = tables.iter().map(Table::to_markdown).collect();
    format!("# Results\n\n{}\n{NOTES}\n{}", circumstances(), texts.join("\n"))
}
