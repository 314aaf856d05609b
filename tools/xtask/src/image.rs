//! `cargo xtask image`: the programs and the flashable image of a board.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::command::{self, bold, cargo_line};
use crate::cross::apt::Apt;
use crate::cross::lock::Lock;
use crate::cross::{self, Target};
use crate::setup;
use crate::workspace::Workspace;

/// What to make.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// For which board; the table is in board/BOARDS.md.
    #[arg(long, default_value = "qemu-arm64")]
    board: String,
    /// Only this part.
    #[arg(long, value_parser = ["firmware"])]
    only: Option<String>,
    /// Make the image twice, in two folders, and compare the octets.
    #[arg(long)]
    twice: bool,
    /// Number of the release, which rises with each; without it, the time of the last commit.
    #[arg(long)]
    release: Option<u32>,
    /// Take today's versions of the Debian packages into image/packages.lock, and make nothing.
    #[arg(long)]
    pin: bool,
}

/// Makes it.
///
/// # Errors
/// When a step fails or something is over its budget.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    if options.pin {
        let cache = cross::cache(workspace);
        fs::create_dir_all(&cache)?;
        return Apt::open(&cache)?.pin(&mut Lock::read(&workspace.root)?);
    }
    setup::install(setup::IMAGE)?;
    let board = Description::ask(&options.board)?;
    if options.only.as_deref() == Some("firmware") {
        return firmware(workspace, &board, cross::ALL).map(|_| ());
    }
    let programs = firmware(workspace, &board, cross::OF_IMAGE)?;
    let made =
        make(workspace, &board, &programs, &Content { release: options.release, ..Content::default() })?;
    if options.twice {
        return compare(workspace, &board, &programs, &made, options.release);
    }
    println!("\n{} {}", bold("Flash it:"), format_args!("bmaptool or dd if={}", made.display()));
    let update = made.with_file_name("update.bin");
    println!("{} postern owner sign-update {} --key owner.key", bold("Or sign it:"), update.display());
    Ok(())
}

/// What an image is made for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To be flashed.
    #[default]
    Product,
    /// To be compared with the one that is flashed.
    Comparison,
    /// To be broken by tests.
    Faults,
    /// The next release, to be brought as an update by tests.
    Next,
}

/// What the image begins with beside the system.
#[derive(Debug, Default)]
pub(crate) struct Content {
    /// Content of the config partition.
    pub(crate) store: Option<PathBuf>,
    /// Files of the data partition.
    pub(crate) data: Option<PathBuf>,
    /// What it is made for, beside being flashed.
    pub(crate) purpose: Purpose,
    /// Number of the release; without it, the time of the last commit.
    pub(crate) release: Option<u32>,
}

/// Makes the image out of `programs` and returns its path.
///
/// # Errors
/// When a package cannot be had or a part cannot be made.
pub(crate) fn make(
    workspace: &Workspace,
    board: &Description,
    programs: &[PathBuf],
    content: &Content,
) -> Result<PathBuf> {
    let cache = cross::cache(workspace);
    let lock = Lock::read(&workspace.root)?;
    let kernel = board.word("kernel_package")?;
    let locked = lock.select(&["root", "initramfs", "kernel"], &[board.word("debian")?]);
    let of_board = locked.into_iter().filter(|one| one.group != "kernel" || one.package == kernel);
    let files = Apt::open(&cache)?.fetch(&of_board.collect::<Vec<_>>())?;
    let packages = files.first().and_then(|file| file.parent()).context("the board needs no packages")?;
    let programs = programs.first().and_then(|program| program.parent()).context("there are no programs")?;
    let folder = match content.purpose {
        Purpose::Product => "image",
        Purpose::Comparison => "image-again",
        Purpose::Faults => "image-faults",
        Purpose::Next => "image-next",
    };
    let output = workspace.target.join(folder).join(board.word("name")?);
    println!("{}", bold("Assembling the image"));
    let mut build = cargo_line("run --quiet --locked -p postern-image -- build --board");
    build.arg(board.word("name")?).arg("--programs").arg(programs).arg("--packages").arg(packages);
    if content.purpose == Purpose::Faults {
        build.arg("--faults");
    }
    if let Some(release) = content.release.or(next_release(content.purpose)?) {
        build.arg("--release").arg(release.to_string());
    }
    for (option, path) in [("--store", &content.store), ("--data", &content.data)] {
        if let Some(path) = path {
            build.arg(option).arg(path);
        }
    }
    command::run(build.arg("--output").arg(&output).env("SOURCE_DATE_EPOCH", epoch()))?;
    Ok(output.join("postern.img"))
}

/// The release after the one that images have when nobody says which.
fn next_release(purpose: Purpose) -> Result<Option<u32>> {
    let now: u32 = epoch().parse().context("SOURCE_DATE_EPOCH is no number of a release")?;
    Ok((purpose == Purpose::Next).then_some(now + 1))
}

/// Time of the last commit, or a fixed one outside of a repository; the same for the whole run.
fn epoch() -> &'static str {
    static EPOCH: OnceLock<String> = OnceLock::new();
    EPOCH.get_or_init(|| {
        let git = || command::output(Command::new("git").args(["log", "-1", "--format=%ct"]));
        let told = std::env::var("SOURCE_DATE_EPOCH").or_else(|_| git());
        told.map_or_else(|_| "1763856000".to_owned(), |time| time.trim().to_owned())
    })
}

/// Makes the image once more and compares it with the one that was made.
fn compare(
    workspace: &Workspace,
    board: &Description,
    programs: &[PathBuf],
    made: &Path,
    release: Option<u32>,
) -> Result<()> {
    let content = Content { purpose: Purpose::Comparison, release, ..Content::default() };
    let again = make(workspace, board, programs, &content)?;
    let sums = |image: &Path| {
        let path = image.with_file_name("SHA256SUMS");
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    };
    let (first, second) = (sums(made)?, sums(&again)?);
    ensure!(first == second, "the same input gave other octets:\n{first}{second}");
    println!("\n{}\n{first}", bold("The same octets, twice:"));
    Ok(fs::remove_dir_all(again.with_file_name(""))?)
}

/// Builds the programs and says how large they are.
pub(crate) fn firmware(
    workspace: &Workspace,
    board: &Description,
    programs: &[(&str, &str)],
) -> Result<Vec<PathBuf>> {
    let target = Target {
        rust: board.word("rust_target")?,
        gnu: board.word("gnu_triple")?,
        debian: board.word("debian")?,
    };
    let programs = cross::build(workspace, &target, programs)?;
    println!("\n{}", bold("program           octets    budget"));
    let mut sum = 0;
    for program in &programs {
        let octets = fs::metadata(program).with_context(|| format!("no {}", program.display()))?.len();
        let name = program.file_name().unwrap_or_default().to_string_lossy();
        sum += octets;
        if name == "posternd" {
            let most = board.number("daemon_bytes_max")?;
            println!("{name:<16}{octets:>8}{most:>10}");
            ensure!(octets <= most, "posternd is over its budget");
        } else {
            println!("{name:<16}{octets:>8}");
        }
    }
    let most = board.number("firmware_bytes_max")?;
    println!("{:<16}{sum:>8}{most:>10}", "together");
    ensure!(sum <= most, "the programs are over their budget");
    Ok(programs)
}

/// What `postern-image describe` says of a board.
#[derive(Debug)]
pub(crate) struct Description(Value);

impl Description {
    /// Asks.
    ///
    /// # Errors
    /// When there is no such board.
    pub(crate) fn ask(board: &str) -> Result<Self> {
        let mut ask = cargo_line("run --quiet --locked -p postern-image -- describe --board");
        let said = command::output(ask.arg(board))?;
        Ok(Self(serde_json::from_str(&said).context("the description is not JSON")?))
    }

    fn word(&self, key: &str) -> Result<&str> {
        self.0[key].as_str().with_context(|| format!("the description has no {key}"))
    }

    fn number(&self, key: &str) -> Result<u64> {
        self.0[key].as_u64().with_context(|| format!("the description has no {key}"))
    }
}
