//! The linter: what is wrong with a site although it can be read.

use postern_config::services::{EPHEMERAL_FIRST, EPHEMERAL_LAST};
use postern_core::knock::{Protocol, Step};
use postern_core::limits::CAPTURE_RANGES_MAX;
use postern_core::rule::GuardRange;
use serde::Serialize;

use crate::compile::{Secrets, compile};
use crate::finding::{Finding, Severity, place_of};
use crate::guards;
use crate::probability::{one_scan, words};
use crate::site::{DoorFile, RotatingFile, SequenceFile, SiteFile, read};

mod doors;
mod knocks;
mod reach;

/// Above this chance of one scan a sequence is refused.
const SCAN_ERROR: f64 = 1e-6;
/// Above this it is warned of.
const SCAN_WARNING: f64 = 1e-9;

/// What one scan of everything is worth against a door.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ScanOdds {
    /// The door.
    pub door: String,
    /// Probability that one random full scan opens it, at the worst pace.
    pub probability: f64,
    /// The same for people.
    pub words: String,
}

/// What a check found.
#[derive(Clone, Debug, Default)]
pub struct Checked {
    /// The file, when it can be compiled.
    pub site: Option<SiteFile>,
    /// Findings in the order of the file.
    pub findings: Vec<Finding>,
    /// Odds of every door with a sequence.
    pub odds: Vec<ScanOdds>,
}

impl Checked {
    /// Whether it must not be compiled.
    pub fn is_refused(&self) -> bool {
        self.count(Severity::Error) > 0
    }

    /// Findings of one severity.
    pub fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|finding| finding.severity == severity).count()
    }
}

/// Checks the text of a site file, but not whether the files of its secrets are good.
pub fn check(text: &str) -> Checked {
    check_with(text, &Secrets::Unread)
}

/// Checks the text of a site file and the files of its secrets.
pub fn check_with(text: &str, secrets: &Secrets<'_>) -> Checked {
    let (site, mut findings) = read(text);
    let Some(site) = site else {
        findings.sort_by_key(|finding| (finding.line, finding.column));
        return Checked { site: None, findings, odds: Vec::new() };
    };
    let mut linter = Linter { text, findings };
    linter.compiles(&site, secrets);
    let odds = linter.sequences(&site);
    doors::check(&mut linter, &site);
    reach::check(&mut linter, &site);
    let mut findings = linter.findings;
    findings.sort_by_key(|finding| (finding.line, finding.column));
    Checked { site: Some(site), findings, odds }
}

/// Collects findings.
struct Linter<'t> {
    text: &'t str,
    findings: Vec<Finding>,
}

impl Linter<'_> {
    /// Adds a finding about a door; one that the door allows becomes a note.
    fn about(
        &mut self,
        door: &DoorFile,
        offset: usize,
        severity: Severity,
        code: &'static str,
        message: String,
        suggestion: &str,
    ) {
        let allowed = door.allows(code);
        let (line, column) = place_of(self.text, offset);
        let accept = format!("{suggestion}; or accept it with `allow = [\"{code}\"]`");
        let (severity, message, suggestion) = match (allowed, severity) {
            (true, _) => (Severity::Note, format!("{message} (allowed by this door)"), String::new()),
            (false, Severity::Error) => (severity, message, accept),
            (false, _) => (severity, message, suggestion.to_owned()),
        };
        self.findings.push(Finding { line, column, severity, code, message, suggestion });
    }

    fn compiles(&mut self, site: &SiteFile, secrets: &Secrets<'_>) {
        if let Err(error) = compile(site, secrets) {
            let (line, column) = error.offset(site).map_or((0, 0), |offset| place_of(self.text, offset));
            let (severity, code, message) = (Severity::Error, error.code(), error.to_string());
            let suggestion = error.suggestion().to_owned();
            self.findings.push(Finding { line, column, severity, code, message, suggestion });
        }
        let ranges = capture_ranges(site);
        if ranges > CAPTURE_RANGES_MAX {
            let message = format!(
                "{ranges} separate port ranges are more than the kernel filter's {CAPTURE_RANGES_MAX}"
            );
            let suggestion = "use knocks that lie closer together, or wider guards that merge".to_owned();
            let severity = Severity::Error;
            self.findings.push(Finding {
                line: 0,
                column: 0,
                severity,
                code: "filter-size",
                message,
                suggestion,
            });
        }
    }

    fn sequences(&mut self, site: &SiteFile) -> Vec<ScanOdds> {
        let ranges = guards::choose(site);
        let mut odds = Vec::new();
        for door in &site.doors {
            if let Some(sequence) = &door.sequence {
                knocks::check_opening(self, site, door, sequence);
                odds.push(self.scan(door, sequence, &ranges));
            }
            odds.extend(self.one_time(site, door, &ranges));
            if let Some(rotating) = &door.rotating {
                odds.push(self.rotating(door, rotating));
            }
            if let Some(sequence) = &door.close_sequence {
                knocks::check_closing(self, site, door, sequence);
            }
        }
        odds
    }

    /// The odds of the line a scan meets most easily.
    fn one_time(&mut self, site: &SiteFile, door: &DoorFile, ranges: &[GuardRange]) -> Option<ScanOdds> {
        let lines = &door.one_time_sequences.as_ref()?.value;
        lines.iter().for_each(|line| knocks::check_opening(self, site, door, line));
        let odds = lines.iter().map(|line| self.scan(door, line, ranges)).collect::<Vec<_>>();
        odds.into_iter().max_by(|one, other| one.probability.total_cmp(&other.probability))
    }

    /// Of a range that is drawn from, all is a guard but what is awaited.
    fn rotating(&mut self, door: &DoorFile, rotating: &RotatingFile) -> ScanOdds {
        let RotatingFile { key, rest } = rotating;
        let watched: Vec<GuardRange> =
            rest.shape().map(|shape| shape.watched().collect()).unwrap_or_default();
        let (knocks, ahead) = (u32::from(rest.knocks), u32::from(rest.look_ahead));
        let guards = guards::count(&watched).saturating_sub(knocks * ahead);
        let probability = (one_scan(knocks, guards) * f64::from(ahead)).min(1.0);
        let suggestion = "use four knocks or more, of a wider range of ports";
        let udp = watched.iter().find(|range| range.protocol == Protocol::Udp);
        if udp.is_some_and(|range| range.last >= EPHEMERAL_FIRST && range.first <= EPHEMERAL_LAST) {
            let message =
                "rotating knocks are drawn from ports where answers to the gateway's own questions come in";
            let other = "use ports of 1024 to 32767, or `protocols = [\"tcp\"]`";
            self.about(door, key.offset, Severity::Warning, "ephemeral-port", message.to_owned(), other);
        }
        self.judged(door, key.offset, probability, suggestion)
    }

    fn scan(&mut self, door: &DoorFile, sequence: &SequenceFile, ranges: &[GuardRange]) -> ScanOdds {
        // Counted is the scanner who scans the protocols of this sequence and no other, so that only
        // their guards see him; with an echo request among them, every length as well.
        let scanned =
            |range: &GuardRange| sequence.steps.iter().any(|step| step.value.protocol == range.protocol);
        let seen: Vec<_> = ranges.iter().copied().filter(scanned).collect();
        let knocks = u32::try_from(sequence.steps.len()).unwrap_or(u32::MAX);
        let probability = one_scan(knocks, guards::count(&seen));
        let suggestion = "use four knocks or more, of both protocols, and do not narrow the guards";
        self.judged(door, sequence.offset, probability, suggestion)
    }

    fn judged(&mut self, door: &DoorFile, offset: usize, probability: f64, suggestion: &str) -> ScanOdds {
        let odds = ScanOdds { door: door.name.value.clone(), probability, words: words(probability) };
        if probability > SCAN_WARNING {
            let severity = if probability > SCAN_ERROR { Severity::Error } else { Severity::Warning };
            let message = format!(
                "one random scan of all ports opens door `{}` with a chance of {}",
                odds.door, odds.words
            );
            self.about(door, offset, severity, "scan-probability", message, suggestion);
        }
        odds
    }
}

/// Ranges the kernel filter is made of: knocks and guards of one protocol that touch are one.
fn capture_ranges(site: &SiteFile) -> usize {
    let mut spans: Vec<(Protocol, u16, u16)> =
        guards::choose(site).iter().map(|guard| (guard.protocol, guard.first, guard.last)).collect();
    let knocks = site.doors.iter().flat_map(crate::compile::sequences).flat_map(SequenceFile::knocks);
    spans.extend(knocks.map(|Step { protocol, value }| (protocol, value, value)));
    let rotating = site.doors.iter().filter_map(|door| door.rotating.as_ref()?.rest.shape().ok());
    let drawn = rotating.flat_map(|shape| shape.watched());
    spans.extend(drawn.map(|range| (range.protocol, range.first, range.last)));
    spans.sort();
    let mut count = 0;
    let mut end: Option<(Protocol, u32)> = None;
    for (protocol, first, last) in spans {
        let joins = end.is_some_and(|(before, reach)| before == protocol && u32::from(first) <= reach + 1);
        count += usize::from(!joins);
        let reach = end.filter(|_| joins).map_or(0, |(_, reach)| reach).max(u32::from(last));
        end = Some((protocol, reach));
    }
    count
}
