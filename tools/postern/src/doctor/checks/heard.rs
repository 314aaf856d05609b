//! Knocks that never arrive, told from knocks that arrive and lead nowhere.

use postern_core::rule::{Purpose, Sequence, SequenceId};

use crate::doctor::facts::Facts;
use crate::doctor::finding::{Finding, Symptom};
use crate::finding::Severity;

/// Scanners knock, too, so nothing is proved: these are notes.
pub(super) fn sequences(facts: &Facts, findings: &mut Vec<Finding>) {
    let Some(rules) = &facts.rules else { return };
    for heard in &facts.heard {
        let Some(sequence) = rules.sequence(SequenceId(heard.sequence)) else { continue };
        let Some(door) = rules.door(sequence.door) else { continue };
        let has_completed = usize::from(heard.furthest) >= sequence.steps.len();
        if sequence.purpose != Purpose::Open || heard.heard == 0 || has_completed {
            continue;
        }
        let unheard = unheard(sequence, heard.heard);
        findings.push(if unheard.is_empty() {
            out_of_turn(&door.name, sequence, heard.furthest)
        } else {
            never_heard(&door.name, sequence, &unheard)
        });
    }
}

/// Knocks that came from nobody, each once, with their places.
fn unheard(sequence: &Sequence, heard: u16) -> Vec<String> {
    let all = sequence.steps.len();
    let steps = sequence.steps.iter().enumerate().filter(|(index, _)| heard & (1 << index) == 0);
    steps.map(|(index, step)| format!("{step} (knock {} of {all})", index + 1)).collect()
}

fn never_heard(door: &str, sequence: &Sequence, unheard: &[String]) -> Finding {
    let others = if sequence.steps.len() - unheard.len() == 1 { "another" } else { "others" };
    let message = format!("door {door}: {} came from nobody, {others} of its knocks did", unheard.join(", "));
    let fix = "if a client has knocked, it is swallowed on the way: by a router, the carrier, or a filter before the \
               capture (XDP, the network card). Let it through there, choose other knocks (`postern new-sequence`), \
               or use SPA, which needs one port";
    Finding::new(Severity::Note, "knock-never-heard", &[Symptom::NotRecognised, Symptom::NoLog], message, fix)
}

fn out_of_turn(door: &str, sequence: &Sequence, furthest: u8) -> Finding {
    let (all, secs) = (sequence.steps.len(), sequence.within.secs_ceil());
    let message =
        format!("door {door}: all its knocks came, but nobody showed more than {furthest} of {all} in turn");
    let fix = format!(
        "within {secs} s, in order and from one address? Over a carrier's NAT the address may change between \
         knocks: SPA needs one packet. `reorder` forgives knocks that overtake one another; `test knock` on the \
         console shows each as it comes"
    );
    Finding::new(Severity::Note, "knocks-out-of-turn", &[Symptom::NotRecognised], message, fix)
}
