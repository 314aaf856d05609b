//! Findings for people and for scripts.

use std::fmt::Write as _;

use serde_json::json;

use super::finding::has_errors;
use super::{Args, Finding, Symptom};

/// Version of the JSON object; rises when a field goes or changes its meaning.
const VERSION: u32 = 1;

/// One JSON object.
pub fn json(args: &Args, findings: &[Finding]) -> String {
    let object = json!({
        "version": VERSION,
        "store": args.store.display().to_string(),
        "ok": !has_errors(findings),
        "findings": findings,
        "symptoms": symptoms(args).map(|symptom| json!({
            "symptom": symptom,
            "explained_by": explained_by(symptom, findings),
        })).collect::<Vec<_>>(),
    });
    format!("{object:#}\n")
}

/// Findings with their fixes, then the table of symptoms.
pub fn text(args: &Args, findings: &[Finding]) -> String {
    let mut out = String::new();
    for finding in findings {
        let Finding { severity, code, message, fix, .. } = finding;
        let _ = writeln!(out, "{}[{code}]: {}", severity.name(), plain(message));
        let _ = writeln!(out, "  fix: {}", plain(fix));
    }
    if findings.is_empty() {
        out.push_str("nothing found\n");
    }
    for symptom in symptoms(args) {
        let codes = explained_by(symptom, findings);
        let because = if codes.is_empty() { symptom.elsewhere().to_owned() } else { codes.join(", ") };
        let _ = writeln!(out, "{}: {because}", symptom.words());
    }
    out
}

fn symptoms(args: &Args) -> impl Iterator<Item = Symptom> {
    let wanted = args.symptom;
    Symptom::ALL.into_iter().filter(move |symptom| wanted.is_none_or(|wanted| wanted == *symptom))
}

fn explained_by(symptom: Symptom, findings: &[Finding]) -> Vec<&'static str> {
    findings
        .iter()
        .filter(|finding| finding.explains.contains(&symptom))
        .map(|finding| finding.code)
        .collect()
}

/// Some of it comes from other programs: nothing of it may move the cursor.
fn plain(text: &str) -> String {
    text.trim().replace('\n', "; ").chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}
