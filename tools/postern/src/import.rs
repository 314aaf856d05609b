//! Import of a stock knockd.conf, or of a stock fwknopd's files (module [`fwknop`]).
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

use std::fs::{DirBuilder, File};
use std::io::{Read, Write, stderr, stdout};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::Context;
use serde_json::json;

use crate::base64;
use crate::finding::{self, Finding, Severity};
use crate::whole_file;

mod command;
mod conf;
pub mod differences;
mod door;
pub mod fwknop;
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
    /// The knockd configuration to read, say /etc/knockd.conf; with --fwknop the access.conf
    #[arg(value_name = "CONF")]
    conf: PathBuf,
    /// The fwknopd.conf beside the access.conf
    #[arg(value_name = "FWKNOPD_CONF", requires = "fwknop")]
    server: Option<PathBuf>,
    /// Read the files of an fwknopd: access.conf, and fwknopd.conf if there is one
    #[arg(long)]
    fwknop: bool,
    /// Write the site file here instead of to standard output; with --fwknop the keys go to the folder
    /// `keys` beside it
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
    let refused_any = if args.fwknop {
        import_fwknop_files(args).map(|imported| imported.refused_any())
    } else {
        import_file(args).map(|imported| imported.refused_any())
    };
    match refused_any {
        Ok(refused_any) if refused_any && !args.partial => 3,
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

fn import_fwknop_files(args: &Args) -> anyhow::Result<fwknop::Imported> {
    let read = |path: &PathBuf| read(path).with_context(|| format!("cannot read {}", path.display()));
    let access = read(&args.conf)?;
    let server = args.server.as_ref().map(read).transpose()?.unwrap_or_default();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let imported = fwknop::import_fwknop(&access, &server, now);
    if let Some(output) = &args.output {
        let folder = output.parent().unwrap_or_else(|| Path::new(""));
        for secret in &imported.secrets {
            let path = folder.join(&secret.path);
            write_secret(&path, args.force, &secret.octets)
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        write(output, args.force, &imported.site_toml)
            .with_context(|| format!("cannot write {}", output.display()))?;
    }
    report_fwknop(args, &access, &server, &imported)?;
    Ok(imported)
}

/// As [`report`], with the findings of both files. No secret is shown.
fn report_fwknop(args: &Args, access: &str, server: &str, imported: &fwknop::Imported) -> anyhow::Result<()> {
    if args.json {
        let (access, server) = (&imported.access, &imported.server);
        let report =
            json!({ "site": imported.site_toml, "findings": access, "fwknopd_conf_findings": server });
        writeln!(stdout(), "{}", serde_json::to_string_pretty(&report)?)?;
        return Ok(());
    }
    if args.output.is_none() {
        stdout().write_all(imported.site_toml.as_bytes())?;
    }
    let path = args.conf.display().to_string();
    let shown = fwknop::without_secrets(access);
    for finding in &imported.access {
        write!(stderr(), "{}", finding::render(&path, &shown, finding))?;
    }
    let server_path = args.server.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
    for finding in &imported.server {
        write!(stderr(), "{}", finding::render(&server_path, server, finding))?;
    }
    let (keys, refused) = (imported.keys, imported.refused);
    let hint = if args.output.is_some() { "" } else { "; the keys are written only with --output" };
    writeln!(stderr(), "{path}: keys imported: {keys}; stanzas refused: {refused}{hint}")?;
    Ok(())
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

/// Writes a secret in base64, for nobody but the owner of the file.
fn write_secret(path: &Path, force: bool, octets: &[u8]) -> anyhow::Result<()> {
    if let Some(folder) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    if force && path.exists() {
        std::fs::remove_file(path)?;
    }
    let text = format!("{}\n", base64::encode(octets));
    whole_file::write_secret(path, text.as_bytes())?;
    Ok(())
}

fn write(path: &Path, force: bool, text: &str) -> anyhow::Result<()> {
    let mut options = File::options();
    options.write(true).create(true).truncate(true).create_new(!force);
    options.open(path)?.write_all(text.as_bytes())?;
    Ok(())
}
