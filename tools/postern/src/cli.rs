//! The command line of `postern`.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Args, CommandFactory, Parser, Subcommand};
use serde_json::json;

use crate::check::{Checked, check_with};
use crate::compile::{self, Secrets};
use crate::finding::{Severity, render};
use crate::key::KeyCommand;
use crate::knock::command::KnockArgs;
use crate::owner::{self, OwnerCommand};
use crate::remote::{self, Connection};
use crate::{doctor, import, key, knock, selftest, sequence, show, whole_file};

/// Exit codes; the same for all commands.
mod code {
    pub(super) const OK: u8 = 0;
    pub(super) const FAILED: u8 = 1;
    pub(super) const INVALID_CONFIG: u8 = 3;
}

const AFTER_HELP: &str = "\
Exit codes: 0 ok, 1 failed, 2 usage, 3 invalid config, 4 unreachable, 5 not authenticated,
            6 conflict, 7 trial pending, 8 verification mismatch, 9 differs

Examples:
  postern check site.toml
  postern compile site.toml -o /dev/mmcblk0p5
  postern import /etc/knockd.conf -o site.toml
  postern import --fwknop /etc/fwknop/access.conf /etc/fwknop/fwknopd.conf -o site.toml
  postern knock gateway.example tcp/7351 udp/24011 icmp/83 tcp/1490 --probe tcp/22
  postern knock pump-17 --probe
  ssh -o 'ProxyCommand=postern knock pump-17 --proxy %h %p' root@gateway.example
  postern key new maria --site site.toml --door ssh
  postern knock gateway.example --site site.toml --door ssh --probe tcp/22
  postern doctor --store /dev/mmcblk0p5
  postern --to unix:/run/postern/control status
  postern --to serial:/dev/ttyUSB0@9600 --account maria config get -o site.toml
  postern --to ssh:root@gateway config apply site.toml --confirm 10m
  postern --to file:site.img config set door.ssh.open_for=45s
  postern owner sign-update update.bin --key owner.key -o signed.bin
  postern --to ssh:root@gateway update apply signed.bin";

/// Checks and compiles site files, imports existing set-ups, knocks, and configures gateways.
#[derive(Debug, Parser)]
#[command(name = "postern", version, after_help = AFTER_HELP)]
pub struct Cli {
    #[command(flatten)]
    connection: Connection,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Say what is wrong with a site file, and how likely a scan opens each door
    Check(CheckArgs),
    /// Make a config store of a site file
    Compile(CompileArgs),
    /// Show what a config store holds
    Show {
        /// The store: a file or a partition
        store: PathBuf,
    },
    /// Make a site file of a knockd.conf, or of an fwknopd's access.conf
    Import(import::Args),
    /// Knock, and find out whether the door opened
    Knock(Box<KnockArgs>),
    /// Print a random sequence that passes the check
    NewSequence {
        /// How many knocks
        #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(3..=16))]
        knocks: u8,
    },
    #[command(flatten)]
    Remote(remote::Command),
    /// Say what is wrong with this gateway, and what to do about it
    Doctor(doctor::Args),
    /// Do everything once that a knock needs, beside what is at work, and say what passed
    Selftest(selftest::Args),
    /// The owner's key, which stays offline
    #[command(subcommand)]
    Owner(OwnerCommand),
    /// Keys: make, replace, disable, and bring them to their holders
    #[command(subcommand)]
    Key(KeyCommand),
    /// Print completions for a shell
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Write the manual pages into a directory
    Man {
        /// Where to
        directory: PathBuf,
    },
}

#[derive(Debug, Args)]
struct CheckArgs {
    /// The site file
    site: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct CompileArgs {
    /// The site file
    site: PathBuf,
    /// The config partition to write: an image file, or the partition itself
    #[arg(short, long)]
    output: PathBuf,
    /// Write the site alone, for `posternd --factory`, instead of a whole partition
    #[arg(long)]
    profile: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the tool.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match &cli.command {
        Command::Check(args) => run_check(args),
        Command::Compile(args) => run_compile(args),
        Command::Show { store } => run_show(store),
        Command::Import(args) => Ok(import::run(args)),
        Command::Knock(args) => Ok(knock::command::run(args)),
        Command::NewSequence { knocks } => run_new_sequence(usize::from(*knocks)),
        Command::Remote(command) => Ok(remote::run(&cli.connection, command)),
        Command::Owner(command) => Ok(remote::finish(command.name(), command.is_json(), owner::run(command))),
        Command::Key(command) => {
            Ok(remote::finish(command.name(), command.is_json(), key::run(&cli.connection, command)))
        }
        Command::Doctor(args) => doctor::run(args),
        Command::Selftest(args) => selftest::run(args),
        Command::Completions { shell } => run_completions(*shell),
        Command::Man { directory } => run_man(directory),
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "postern: {error:#}");
            ExitCode::from(code::FAILED)
        }
    }
}

/// A reader that closed its end is no reason for a panic.
pub(crate) fn print(text: &str) -> Result<()> {
    std::io::stdout().write_all(text.as_bytes()).context("cannot write to standard output")
}

fn read_text(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// Where the paths in a site file begin.
fn folder_of(site: &Path) -> &Path {
    site.parent().unwrap_or(Path::new("."))
}

fn json_of(path: &Path, checked: &Checked) -> serde_json::Value {
    json!({
        "schema": 1,
        "site": path.display().to_string(),
        "ok": !checked.is_refused(),
        "errors": checked.count(Severity::Error),
        "warnings": checked.count(Severity::Warning),
        "findings": checked.findings,
        "scan_odds": checked.odds,
    })
}

fn findings_text(path: &Path, text: &str, checked: &Checked) -> String {
    let path = path.display().to_string();
    checked.findings.iter().map(|finding| render(&path, text, finding)).collect()
}

fn run_check(args: &CheckArgs) -> Result<u8> {
    let text = read_text(&args.site)?;
    let checked = check_with(&text, &Secrets::Files(folder_of(&args.site)));
    if args.json {
        print(&format!("{:#}\n", json_of(&args.site, &checked)))?;
    } else {
        let mut out = findings_text(&args.site, &text, &checked);
        for odds in &checked.odds {
            out.push_str(&format!(
                "door {}: one random scan of all ports opens it with a chance of {}\n",
                odds.door, odds.words
            ));
        }
        let counted = |severity: Severity| {
            let count = checked.count(severity);
            format!("{count} {}{}", severity.name(), if count == 1 { "" } else { "s" })
        };
        let (errors, warnings) = (counted(Severity::Error), counted(Severity::Warning));
        out.push_str(&format!("{}: {errors}, {warnings}\n", args.site.display()));
        print(&out)?;
    }
    Ok(if checked.is_refused() { code::INVALID_CONFIG } else { code::OK })
}

fn run_compile(args: &CompileArgs) -> Result<u8> {
    let text = read_text(&args.site)?;
    let secrets = Secrets::Files(folder_of(&args.site));
    let checked = check_with(&text, &secrets);
    if !args.json {
        let _ = write!(std::io::stderr(), "{}", findings_text(&args.site, &text, &checked));
    }
    let site = checked.site.as_ref().filter(|_| !checked.is_refused());
    let compiled = site.and_then(|site| compile::compile(site, &secrets).ok());
    let Some(compiled) = compiled else {
        if args.json {
            print(&format!("{:#}\n", json_of(&args.site, &checked)))?;
        }
        let _ = writeln!(
            std::io::stderr(),
            "postern: {} is not compiled; mend the errors first",
            args.site.display()
        );
        return Ok(code::INVALID_CONFIG);
    };
    let store = if args.profile { compile::store(&compiled) } else { compile::image(&compiled) };
    whole_file::write(&args.output, &store)
        .with_context(|| format!("cannot write {}", args.output.display()))?;
    if args.json {
        let mut object = json_of(&args.site, &checked);
        object["store"] = json!({ "path": args.output.display().to_string(), "bytes": store.len() });
        print(&format!("{object:#}\n"))?;
    } else if std::io::stdout().is_terminal() {
        print(&format!(
            "{}: {} octets, {} doors\n",
            args.output.display(),
            store.len(),
            compiled.doors.len()
        ))?;
    }
    Ok(code::OK)
}

fn run_show(path: &Path) -> Result<u8> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let site = match compile::read_back(&bytes) {
        Ok(site) => site,
        Err(error) => {
            let _ =
                writeln!(std::io::stderr(), "postern: {} holds no configuration: {error}", path.display());
            return Ok(code::INVALID_CONFIG);
        }
    };
    let rules = site.rules().map_err(|error| anyhow::anyhow!("the engine refuses it: {error:?}"))?;
    print(&show::text(&site, &rules))?;
    Ok(code::OK)
}

fn run_new_sequence(knocks: usize) -> Result<u8> {
    let steps = sequence::random(knocks).context("no random numbers")?;
    let list: Vec<String> = steps.iter().map(|step| format!("\"{step}\"")).collect();
    print(&format!("sequence = [{}]\n", list.join(", ")))?;
    Ok(code::OK)
}

fn run_completions(shell: clap_complete::Shell) -> Result<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "postern", &mut script);
    print(&String::from_utf8_lossy(&script))?;
    Ok(code::OK)
}

fn run_man(directory: &Path) -> Result<u8> {
    std::fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    clap_mangen::generate_to(Cli::command(), directory)
        .with_context(|| format!("cannot write into {}", directory.display()))?;
    Ok(code::OK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
