//! Import of a stock knockd.conf.
//!
//! [`import_knockd`] reads the file as knockd 0.8 reads it, turns each door whose commands are
//! understood into a typed door of a site file, and says by line and column what it refused and
//! where Postern will behave otherwise. Commands are recognised from their text and never run.
//!
//! | step | module |
//! | --- | --- |
//! | lines and sections | `conf` |
//! | sequences, times, flags | `sequence`, `one_time` |
//! | words of a command, without a shell | `words` |
//! | what a command does to the firewall | `command` |
//! | start and stop together | `meaning` |
//! | opening and closing doors together | `door` |
//! | what differs from knockd | [`differences`] |
//! | the site file | `render` |
//! | what `postern check` will say | `lint` |

use std::fs::File;
use std::io::{Read, Write, stderr, stdout};
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::json;

use crate::finding::{self, Finding, Severity};

mod command;
mod conf;
pub mod differences;
mod door;
mod lint;
mod meaning;
mod one_time;
mod render;
mod report;
mod sequence;
mod words;

/// Octets of a configuration that are read.
const CONF_BYTES_MAX: u64 = 1 << 20;

/// What came of an import.
#[derive(Debug)]
pub struct Imported {
    /// The site file: every door that could be imported, and comments.
    pub site_toml: String,
    /// What was refused ([`Severity::Error`]), what needs a look and what is worth knowing, in the
    /// order of the imported file; what is about the file as a whole comes last.
    pub findings: Vec<Finding>,
    /// Doors in the site file.
    pub doors: usize,
    /// Sections of the imported file that became no door and close none.
    pub refused: usize,
}

impl Imported {
    /// Whether a part of the file was not imported.
    pub fn refused_any(&self) -> bool {
        self.findings.iter().any(|finding| finding.severity == Severity::Error)
    }
}

/// Reads the text of a knockd.conf. Files of one-time sequences are looked for from `base_dir`.
pub fn import_knockd(text: &str, base_dir: &Path) -> Imported {
    let (conf, mut findings) = conf::parse(text);
    let mut doors = door::read(&conf.sections, base_dir);
    findings.append(&mut doors.findings);
    findings.extend(differences::of(&conf.options, &doors));
    let site_toml = render::site(&conf.options, &doors, &mut findings);
    let site_toml = lint::allowances(&site_toml, &doors.doors, &mut findings);
    // Stable: findings of one place stay in the order they were made. What is about the whole
    // file comes last.
    findings.sort_by_key(|finding| (finding.line == 0, finding.line, finding.column));
    Imported { site_toml, findings, doors: doors.doors.len(), refused: doors.refused.len() }
}

/// Arguments of `postern import`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The knockd configuration to read, say /etc/knockd.conf
    #[arg(value_name = "KNOCKD_CONF")]
    conf: PathBuf,
    /// Write the site file here instead of to standard output
    #[arg(short, long, value_name = "SITE.toml")]
    output: Option<PathBuf>,
    /// Overwrite the output file if it is there
    #[arg(long, requires = "output")]
    force: bool,
    /// Print site file and findings as one JSON object
    #[arg(long)]
    json: bool,
    /// Succeed although parts of the file were refused
    #[arg(long)]
    partial: bool,
}

/// Runs `postern import` and returns its exit code: 0 imported, 1 a file cannot be read or
/// written, 3 a part was refused (unless `--partial`).
pub fn run(args: &Args) -> u8 {
    match import_file(args) {
        Ok(imported) if imported.refused_any() && !args.partial => 3,
        Ok(_) => 0,
        Err(error) => {
            eprintln!("postern: {error:#}");
            1
        }
    }
}

fn import_file(args: &Args) -> anyhow::Result<Imported> {
    let text = read(&args.conf).with_context(|| format!("cannot read {}", args.conf.display()))?;
    let base_dir = args.conf.parent().unwrap_or_else(|| Path::new(""));
    let imported = import_knockd(&text, base_dir);
    if let Some(output) = &args.output {
        write(output, args.force, &imported.site_toml)
            .with_context(|| format!("cannot write {}", output.display()))?;
    }
    report(args, &text, &imported)?;
    Ok(imported)
}

/// Site file and findings as one JSON object, or the site file to standard output (unless it went
/// to a file) and the findings to standard error.
fn report(args: &Args, text: &str, imported: &Imported) -> anyhow::Result<()> {
    if args.json {
        let report = json!({ "site": imported.site_toml, "findings": imported.findings });
        writeln!(stdout(), "{}", serde_json::to_string_pretty(&report)?)?;
        return Ok(());
    }
    if args.output.is_none() {
        stdout().write_all(imported.site_toml.as_bytes())?;
    }
    let path = args.conf.display().to_string();
    for finding in &imported.findings {
        write!(stderr(), "{}", finding::render(&path, text, finding))?;
    }
    let (doors, refused) = (imported.doors, imported.refused);
    let hint = if refused == 0 { "" } else { "; what was not imported is named in the site file" };
    writeln!(stderr(), "{path}: doors imported: {doors}; sections refused: {refused}{hint}")?;
    Ok(())
}

/// The file as text; octets that are not UTF-8 are replaced, and so understood by nothing.
fn read(path: &Path) -> anyhow::Result<String> {
    let mut octets = Vec::new();
    File::open(path)?.take(CONF_BYTES_MAX + 1).read_to_end(&mut octets)?;
    anyhow::ensure!(octets.len() as u64 <= CONF_BYTES_MAX, "it is larger than 1 MiB");
    Ok(String::from_utf8_lossy(&octets).into_owned())
}

fn write(path: &Path, force: bool, text: &str) -> anyhow::Result<()> {
    let mut options = File::options();
    options.write(true).create(true).truncate(true).create_new(!force);
    options.open(path)?.write_all(text.as_bytes())?;
    Ok(())
}
