//! One section of knockd.conf read as a door, and closing doors joined to the doors they close.

use std::net::IpAddr;
use std::path::Path;

use postern_core::limits::DOORS_MAX;
use postern_core::{Duration, Protocol, ServicePort, Step};

use super::conf::{Key, Section};
use super::meaning::{self, Meaning};
use super::report::{Place, Text, refusal, shown, warning};
use super::{command, differences, one_time, sequence};
use crate::finding::Finding;

/// Seconds a door stays open when nothing in knockd.conf bounds it.
const UNBOUNDED_S: u32 = 3600;

/// A door of the site file.
#[derive(Debug)]
pub(super) struct Door<'a> {
    pub(super) section: Text<'a>,
    pub(super) proof: Proof,
    pub(super) within: Duration,
    pub(super) flags: sequence::Flags,
    pub(super) target: Option<IpAddr>,
    pub(super) ports: Vec<ServicePort>,
    pub(super) open_for_s: u32,
    /// Nothing in knockd.conf bounds the time.
    pub(super) unbounded: bool,
    /// Its command is one of nft.
    pub(super) nft: bool,
    pub(super) close: Option<Closing<'a>>,
}

/// What opens a door.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Proof {
    Sequence(Vec<Step>),
    /// Each works once.
    OneTime(Vec<Vec<Step>>),
}

/// The sequence that closes a door before its time.
#[derive(Debug)]
pub(super) struct Closing<'a> {
    pub(super) section: Text<'a>,
    pub(super) steps: Vec<Step>,
}

/// A section that became no door, and why.
#[derive(Debug)]
pub(super) struct Refused<'a> {
    pub(super) section: Text<'a>,
    pub(super) reason: String,
}

/// Everything below `[options]`, read.
#[derive(Debug, Default)]
pub(super) struct Doors<'a> {
    pub(super) doors: Vec<Door<'a>>,
    pub(super) refused: Vec<Refused<'a>>,
    pub(super) findings: Vec<Finding>,
}

/// Reads every section.
pub(super) fn read<'a>(sections: &[Section<'a>], base_dir: &Path) -> Doors<'a> {
    let mut all = Doors::default();
    let mut closing = Vec::new();
    for section in sections {
        if section.broken {
            all.refused.push(Refused { section: section.name, reason: "a line of it cannot be read".into() });
            continue;
        }
        match draft(section, base_dir, &mut all.findings) {
            Ok((door, Meaning::Open { .. })) if all.doors.len() < DOORS_MAX => all.doors.push(door),
            Ok((door, Meaning::Open { .. })) => {
                let message = format!("there are more than {DOORS_MAX} doors");
                let error = refusal(door.section.place, "too-many-doors", message, "Split the site.");
                all.refuse(section.name, error);
            }
            Ok((door, Meaning::Close { .. })) => closing.push(door),
            Err(error) => all.refuse(section.name, error),
        }
    }
    for door in closing {
        let section = door.section;
        if let Err(error) = join(&mut all, door) {
            all.refuse(section, error);
        }
    }
    for index in 0..all.doors.len() {
        remark(&mut all, index);
    }
    all
}

impl<'a> Doors<'a> {
    fn refuse(&mut self, section: Text<'a>, error: Finding) {
        self.refused.push(Refused { section, reason: error.message.clone() });
        self.findings.push(error);
    }
}

/// Reads one section. Everything that is wrong with it is found at once: the first error is
/// returned, the others are among the findings.
fn draft<'a>(
    section: &Section<'a>,
    base_dir: &Path,
    findings: &mut Vec<Finding>,
) -> Result<(Door<'a>, Meaning), Finding> {
    let mut errors = Vec::new();
    superseded(section, base_dir, &mut errors);
    let proof = keep(proof(section, base_dir, findings), &mut errors);
    let within = keep(sequence::within(section.last(Key::SeqTimeout), findings), &mut errors);
    let mut flags = sequence::Flags::default();
    for value in section.all(Key::TcpFlags) {
        keep(flags.read(value), &mut errors);
    }
    let target = keep(section.last(Key::Target).map(sequence::target).transpose(), &mut errors);
    let meaning = keep(meaning::of(section, findings), &mut errors);
    let (Some(proof), Some(within), Some(target), Some(meaning), true) =
        (proof, within, target, meaning, errors.is_empty())
    else {
        errors.sort_by_key(|error| (error.line, error.column));
        let first = errors.remove(0);
        findings.append(&mut errors);
        return Err(first);
    };
    let (ports, lifetime_s) = match &meaning {
        Meaning::Open { ports, lifetime_s } => (ports.clone(), *lifetime_s),
        Meaning::Close { ports } => (ports.clone(), None),
    };
    let door = Door {
        section: section.name,
        proof,
        within,
        flags,
        target,
        ports,
        open_for_s: lifetime_s.unwrap_or(UNBOUNDED_S),
        unbounded: lifetime_s.is_none(),
        nft: section.last(Key::Start).or(section.last(Key::Start6)).is_some_and(command::is_nft),
        close: None,
    };
    Ok((door, meaning))
}

fn keep<T>(result: Result<T, Finding>, errors: &mut Vec<Finding>) -> Option<T> {
    result.map_err(|error| errors.push(error)).ok()
}

/// knockd reads a directive also when a later one takes its place, and ends if it cannot.
fn superseded(section: &Section<'_>, base_dir: &Path, errors: &mut Vec<Finding>) {
    let mut sequences: Vec<Text<'_>> = section.all(Key::Sequence).collect();
    sequences.pop();
    for value in sequences {
        keep(sequence::steps(value, &mut Vec::new()), errors);
    }
    let mut files: Vec<Text<'_>> = section.all(Key::OneTimeSequences).collect();
    files.pop();
    for value in files {
        keep(one_time::unused(value, base_dir, &mut Vec::new()), errors);
    }
}

fn proof(section: &Section<'_>, base_dir: &Path, findings: &mut Vec<Finding>) -> Result<Proof, Finding> {
    match (section.last(Key::Sequence), section.last(Key::OneTimeSequences)) {
        (Some(sequence), None) => Ok(Proof::Sequence(sequence::steps(sequence, findings)?)),
        (None, Some(file)) => {
            let entries = one_time::unused(file, base_dir, findings)?;
            findings.push(differences::ONE_TIME.finding(file.place));
            Ok(Proof::OneTime(entries))
        }
        (Some(sequence), Some(file)) => {
            sequence::steps(sequence, findings)?;
            one_time::unused(file, base_dir, findings)?;
            Err(refusal(
                file.place,
                "two-proofs",
                "the door has a fixed sequence and one-time sequences; knockd changes between them",
                "Keep one of the two.",
            ))
        }
        (None, None) => Err(refusal(
            section.name.place,
            "no-sequence",
            "the door has no sequence; stock knockd does not start with this file",
            "Write `sequence = ...`.",
        )),
    }
}

/// Joins a closing door to the door it closes: the one with the same ports, and of several the one
/// whose sequence is this one backwards, or else the nearest.
fn join<'a>(all: &mut Doors<'a>, closing: Door<'a>) -> Result<(), Finding> {
    let place = closing.section.place;
    let Proof::Sequence(steps) = closing.proof else {
        let suggestion = "Give it a fixed sequence: closing a door early needs no secret.";
        return Err(refusal(place, "one-time-close", "one-time sequences cannot close a door", suggestion));
    };
    let reversed: Vec<Step> = steps.iter().rev().copied().collect();
    let candidates = all.doors.iter_mut().filter(|door| door.ports == closing.ports);
    let nearest = candidates.min_by_key(|door| {
        let mirrored = matches!(&door.proof, Proof::Sequence(opening) if *opening == reversed);
        (door.close.is_some(), !mirrored, door.section.place.line.abs_diff(place.line))
    });
    let Some(door) = nearest else {
        let message = "it closes ports that no door of this file opens";
        return Err(refusal(
            place,
            "closes-nothing",
            message,
            "Leave it out, or import the door that opens them.",
        ));
    };
    if let Some(other) = &door.close {
        let message = format!("`{}` closes the same ports already", shown(other.section.text));
        return Err(refusal(
            place,
            "closed-twice",
            message,
            "A Postern door has one closing sequence; keep one.",
        ));
    }
    if let Proof::Sequence(opening) = &door.proof {
        if *opening == steps {
            let message = "it closes with the sequence that opens";
            return Err(refusal(place, "same-sequence", message, "Give one of the two another sequence."));
        }
    }
    let differs =
        door.within != closing.within || door.flags != closing.flags || door.target != closing.target;
    if differs {
        let message =
            "its time, flags or target differ from those of the door it closes, which hold for both here";
        all.findings.push(warning(
            place,
            "close-differs",
            message,
            "Check that clients can still close the door.",
        ));
    }
    door.close = Some(Closing { section: closing.section, steps });
    Ok(())
}

/// What the operator should know about one door.
fn remark(all: &mut Doors<'_>, index: usize) {
    let Some(door) = all.doors.get(index) else { return };
    let place = door.section.place;
    if door.unbounded {
        all.findings.push(differences::DOOR_BOUNDED.warning(place));
    }
    if door.has_tcp_knock() && door.flags == sequence::Flags::default() {
        all.findings.push(differences::OPENING_SYN_ONLY.finding(place));
    }
}

impl Door<'_> {
    /// Whether any of its knocks is a TCP segment.
    pub(super) fn has_tcp_knock(&self) -> bool {
        let any_tcp = |steps: &[Step]| steps.iter().any(|step| step.protocol == Protocol::Tcp);
        match &self.proof {
            Proof::Sequence(steps) => any_tcp(steps),
            Proof::OneTime(entries) => entries.iter().any(|steps| any_tcp(steps)),
        }
    }

    /// Where its section begins.
    pub(super) fn place(&self) -> Place {
        self.section.place
    }
}
