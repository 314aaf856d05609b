//! Whole knockd files against golden site files and findings, and against garbage.
//!
//! `BLESS=1 cargo test -p postern --test import` writes the golden files anew; look at the
//! difference before committing it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use postern::finding::Severity;
use postern::import::{Imported, import_knockd};
use toml_edit::{DocumentMut, Item};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/import")
}

/// Every knockd file of the folder, in order of names.
fn confs() -> Vec<(String, String)> {
    let mut confs: Vec<_> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "conf"))
        .map(|path| {
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            (name, std::fs::read_to_string(&path).unwrap())
        })
        .collect();
    confs.sort();
    assert!(confs.len() >= 7, "the golden files are gone");
    confs
}

/// One finding a line, as in a compiler's output.
fn listing(imported: &Imported) -> String {
    let mut text = String::new();
    for finding in &imported.findings {
        let severity = finding.severity.name();
        let (line, column, code) = (finding.line, finding.column, finding.code);
        writeln!(text, "{line}:{column}: {severity}[{code}]: {}", finding.message).unwrap();
    }
    text
}

fn golden(file: &str, actual: &str) {
    let path = folder().join(file);
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, actual).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(actual, expected, "{file} differs");
}

#[test]
fn golden_files() {
    for (name, text) in confs() {
        let imported = import_knockd(&text, &folder());
        golden(&format!("{name}.toml"), &imported.site_toml);
        golden(&format!("{name}.findings"), &listing(&imported));
    }
}

#[test]
fn the_tool_reads_what_it_wrote() {
    for (name, text) in confs() {
        let imported = import_knockd(&text, &folder());
        let (site, findings) = postern::site::read(&imported.site_toml);
        let errors: Vec<_> = findings.iter().filter(|finding| finding.severity == Severity::Error).collect();
        assert!(errors.is_empty(), "{name}: {errors:?}");
        assert_eq!(site.unwrap().doors.len(), imported.doors, "{name}");
    }
}

#[test]
fn an_allowance_is_for_a_person_to_give() {
    for (name, text) in confs() {
        let imported = import_knockd(&text, &folder());
        assert!(!imported.site_toml.contains("\nallow"), "{name}");
        let allowed = imported.site_toml.replace("\n# allow = ", "\nallow = ");
        let checked = postern::check::check(&allowed);
        assert!(!checked.is_refused(), "{name}: {:?}", checked.findings);
        let warned = codes(&imported, Severity::Warning).iter().any(|(_, code)| *code == "scan-check");
        assert_eq!(warned, allowed != imported.site_toml, "{name}");
    }
}

fn codes(imported: &Imported, severity: Severity) -> Vec<(u32, &str)> {
    let meant = imported.findings.iter().filter(|finding| finding.severity == severity);
    meant.map(|finding| (finding.line, finding.code)).collect()
}

#[test]
fn a_clean_file_refuses_nothing() {
    for (name, text) in confs() {
        let expected = matches!(name.as_str(), "debian" | "firewalls" | "nft" | "odd");
        assert_eq!(!import_knockd(&text, &folder()).refused_any(), expected, "{name}");
    }
}

#[test]
fn a_one_time_sequence_never_becomes_reusable() {
    let text = std::fs::read_to_string(folder().join("man-page.conf")).unwrap();
    let imported = import_knockd(&text, &folder());
    let site: DocumentMut = imported.site_toml.parse().unwrap();
    let doors = site["door"].as_array_of_tables().unwrap();
    let smtp = doors.iter().find(|door| door["name"].as_str() == Some("opencloseSMTP")).unwrap();
    assert!(smtp.get("sequence").is_none());
    assert_eq!(smtp["one_time_sequences"].as_array().unwrap().len(), 3, "used lines are left out");
    let warnings = codes(&imported, Severity::Warning);
    let notes = codes(&imported, Severity::Note);
    assert!(notes.iter().any(|(_, code)| *code == "one-time-journal"), "{notes:?}");
    assert!(warnings.iter().any(|(_, code)| *code == "one-time-line"), "{warnings:?}");
}

/// SplitMix64 (Steele, Lea and Flood, 2014): small, seeded, good enough to make garbage.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound.max(1) as u64).unwrap()
    }
}

/// Pieces that mean something to some part of the importer.
const PIECES: [&str; 40] = [
    "[",
    "]",
    "=",
    "#",
    "\n",
    "\r",
    "\0",
    "%IP%",
    " %IP% ",
    ",",
    ":",
    "udp",
    "!",
    "-",
    "--",
    "'",
    "\"",
    "\\",
    "{",
    "}",
    ";",
    "&&",
    "||",
    "|",
    ">",
    "2>/dev/null",
    "$",
    "`",
    "-j ACCEPT",
    "--dport 22",
    "-A INPUT",
    "sleep 5",
    "65536",
    "99999999999999999999",
    "é",
    "\u{202e}",
    "[options]\n",
    "sequence = 1,2,3\n",
    "one_time_sequences = sequences/smtp\n",
    "stop_command = ",
];

fn mutated(random: &mut Random, confs: &[(String, String)]) -> String {
    let mut lines: Vec<String> =
        confs[random.below(confs.len())].1.split('\n').map(ToOwned::to_owned).collect();
    for _ in 0..=random.below(6) {
        let at = random.below(lines.len());
        match random.below(6) {
            0 => drop(lines.remove(at)),
            1 => {
                let other = &confs[random.below(confs.len())].1;
                let stolen = other.split('\n').nth(random.below(60)).unwrap_or("").to_owned();
                lines.insert(at, stolen);
            }
            2 => {
                let line = lines[at].clone();
                lines.insert(random.below(lines.len()), line);
            }
            kind => {
                let mut characters: Vec<char> = lines[at].chars().collect();
                let position = random.below(characters.len() + 1);
                if kind == 3 && position < characters.len() {
                    characters.drain(position..(position + 1 + random.below(4)).min(characters.len()));
                } else {
                    let piece = PIECES[random.below(PIECES.len())];
                    characters.splice(position..position, piece.chars());
                }
                lines[at] = characters.into_iter().collect();
            }
        }
        if lines.is_empty() {
            lines.push(String::new());
        }
    }
    lines.join("\n")
}

/// What holds for every import, whatever was put in.
fn check_import(text: &str) {
    let imported = import_knockd(text, &folder());
    let site: DocumentMut = imported.site_toml.parse().expect("the site file is TOML");
    assert_eq!(site["schema"].as_integer(), Some(1));
    let control = |character: char| character != '\n' && !matches!(character, ' '..='~');
    assert!(!imported.site_toml.contains(control), "{}", imported.site_toml);
    for finding in &imported.findings {
        assert!(finding.line >= 1 || finding.severity != Severity::Error);
        assert!(finding.column >= 1);
        assert!(
            !finding.message.contains(|character| control(character) || character == '\n'),
            "{finding:?}"
        );
        assert!(!finding.suggestion.is_empty() || finding.severity == Severity::Note);
    }
    let none = toml_edit::ArrayOfTables::new();
    let doors = site.get("door").and_then(Item::as_array_of_tables).unwrap_or(&none);
    let mut names: Vec<&str> = Vec::new();
    for door in doors {
        let name = door["name"].as_str().unwrap();
        assert!(!names.contains(&name), "two doors named {name}");
        names.push(name);
        let ports = door["ports"].as_array().unwrap();
        assert!((1..=8).contains(&ports.len()));
        let proofs = ["sequence", "one_time_sequences"].iter().filter(|key| door.contains_key(key)).count();
        assert_eq!(proofs, 1, "{name}");
        assert!(door["open_for"].is_str() && door["within"].is_str());
    }
    assert!(doors.is_empty() || text.contains("%IP%"), "a door from nothing");
    // Every section became a door, closes one, or is named as refused.
    let sections = text.split('\n').map(|line| line.trim_matches([' ', '\t', '\r', '\x0b', '\x0c']));
    let sections = sections.filter(|line| line.len() > 2 && line.starts_with('[') && line.ends_with(']'));
    let sections = sections.filter(|line| !line.contains('\0'));
    let sections =
        sections.filter(|line| !line[1..line.len() - 1].trim().eq_ignore_ascii_case("options")).count();
    let closings = doors.iter().filter(|door| door.contains_key("close_sequence")).count();
    let refused = imported.site_toml.lines().filter(|line| line.ends_with("is not imported:")).count();
    assert_eq!((imported.doors, imported.refused), (doors.len(), refused));
    assert_eq!(doors.len() + closings + refused, sections, "{text}\n{}", imported.site_toml);
}

#[test]
fn garbage_never_panics_and_loses_no_section() {
    let confs = confs();
    let seed: u64 = std::env::var("SEED").map_or(0x706f_7374_6572_6e21, |seed| seed.parse().unwrap());
    for round in 0..1_200_u64 {
        let mut random = Random(seed ^ round.wrapping_mul(0x9e37_79b9));
        let text = mutated(&mut random, &confs);
        if std::panic::catch_unwind(|| check_import(&text)).is_err() {
            panic!("seed {seed}, round {round}:\n{text}");
        }
    }
}

#[test]
fn pure_noise_never_panics() {
    let mut random = Random(7);
    for _ in 0..400 {
        let octets: Vec<u8> = (0..random.below(400)).map(|_| random.next().to_le_bytes()[0]).collect();
        check_import(&String::from_utf8_lossy(&octets));
    }
}
