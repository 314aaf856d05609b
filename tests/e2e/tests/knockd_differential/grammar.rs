//! What stock knockd takes for a configuration, `postern import` takes too, and the other way
//! round.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use postern_e2e::process::{self, Output};
use postern_e2e::{Lab, Namespace, binaries};

use super::trace::Random;

/// Said by the import about what knockd itself ends at.
const KNOCKD_ENDS: &str = "does not start with this file";

/// An interface no namespace has: knockd ends as soon as it has read its configuration.
const NOWHERE: &str = "nowhere0";

/// Pieces that mean something to knockd.
const PIECES: [&str; 22] = [
    "[",
    "]",
    "[x]",
    "=",
    "#",
    " ",
    "\t",
    ",",
    ":",
    "udp",
    ":udp",
    "!",
    "SYN",
    ", ack",
    "0",
    "65535",
    "65536",
    "-1",
    "x",
    "sequence = 1,2,3",
    "timeout = 7",
    "options",
];

/// Two programs that read the same file.
pub(crate) struct Readers {
    lab: Lab,
    namespace: Namespace,
    corpus: Vec<String>,
}

/// How the two judged a file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Verdicts {
    /// `None` when knockd did something else than ending in order.
    pub(crate) knockd_takes: Option<bool>,
    /// The import says that knockd does not start.
    pub(crate) said_to_end: bool,
    /// It says so, or cannot tell because a file of sequences is missing.
    pub(crate) may_end: bool,
}

impl Readers {
    pub(crate) fn new() -> Result<Self> {
        let lab = Lab::new()?;
        let namespace = lab.namespace("reader")?;
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tools/postern/tests/import");
        let sequences = lab.directory().join("sequences");
        std::fs::create_dir(&sequences)?;
        for entry in std::fs::read_dir(folder.join("sequences"))? {
            let entry = entry?;
            std::fs::copy(entry.path(), sequences.join(entry.file_name()))?;
        }
        let mut corpus = Vec::new();
        for entry in std::fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "conf") {
                corpus.push(std::fs::read_to_string(&path)?);
            }
        }
        corpus.sort();
        Ok(Self { lab, namespace, corpus })
    }

    /// A file of the corpus, damaged in a few places. Nothing in it makes knockd write outside
    /// the laboratory.
    pub(crate) fn file(&self, random: &mut Random) -> String {
        let text = random.of(&self.corpus);
        let mut lines: Vec<String> = text.lines().map(ToOwned::to_owned).collect();
        // Most doors of a file, so that one refused door does not hide the others.
        let keep = 1 + random.below(lines.len());
        lines.truncate(keep);
        for _ in 0..random.below(3) {
            let at = random.below(lines.len());
            let mut characters: Vec<char> = lines[at].chars().collect();
            let position = random.below(characters.len() + 1);
            match random.below(4) {
                0 => drop(lines.remove(at)),
                1 => lines.insert(at, (*random.of(&PIECES)).to_owned()),
                2 if position < characters.len() => {
                    characters.remove(position);
                    lines[at] = characters.into_iter().collect();
                }
                _ => {
                    characters.splice(position..position, random.of(&PIECES).chars());
                    lines[at] = characters.into_iter().collect();
                }
            }
            if lines.is_empty() {
                break;
            }
        }
        let harmless = |line: &&String| {
            let line = line.to_ascii_lowercase();
            !["logfile", "log", "pidfile", "/dev/"].iter().any(|word| line.contains(word))
        };
        lines.iter().filter(harmless).map(|line| format!("{line}\n")).collect()
    }

    pub(crate) fn judge(&self, text: &str) -> Result<Verdicts> {
        let conf: PathBuf = self.lab.directory().join("reader.conf");
        std::fs::write(&conf, text)?;
        let conf = conf.to_str().context("a path is text")?;
        let mut knockd = self.namespace.command("knockd")?;
        knockd.args(["-i", NOWHERE, "-c", conf]).current_dir(self.lab.directory());
        let Output { stdout, stderr, .. } = process::output(&mut knockd)?;
        let knockd_takes = match (stderr.contains(NOWHERE), stdout.contains("usage: knockd")) {
            (true, false) => Some(true),
            (false, true) => Some(false),
            _ => None,
        };
        let site = self.lab.directory().join("reader.toml");
        let mut import = Command::new(binaries::path("postern")?);
        let import = process::output(import.args(["import", conf, "--force", "-o"]).arg(site))?;
        anyhow::ensure!(
            matches!(import.status.code(), Some(0 | 3)),
            "postern import ended with {}:\n{}",
            import.status,
            import.stderr
        );
        let said_to_end = import.stderr.contains(KNOCKD_ENDS);
        let may_end = said_to_end || import.stderr.contains("one-time-file");
        Ok(Verdicts { knockd_takes, said_to_end, may_end })
    }
}
