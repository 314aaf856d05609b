//! What the commands of one knockd door come to, start and stop together.

use postern_core::ServicePort;

use super::command::{self, Action, Rule};
use super::conf::{Key, Section};
use super::report::{Text, refusal, warning};
use super::sequence;
use crate::finding::Finding;

/// What a door does for the knocker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// Opens ports; `None` is for ever, until something else closes them.
    Open { ports: Vec<ServicePort>, lifetime_s: Option<u32> },
    /// Closes ports.
    Close { ports: Vec<ServicePort> },
}

/// Reads the commands of a door for both families; both must come to the same.
pub(super) fn of(section: &Section<'_>, findings: &mut Vec<Finding>) -> Result<Meaning, Finding> {
    let given = |key| section.last(key).filter(|command| !command.text.is_empty());
    let (start, stop) = (given(Key::Start), given(Key::Stop));
    // An absent command for IPv6 falls back to the one for IPv4, an empty one does nothing.
    let start_6 = section.last(Key::Start6).map_or(start, |_| given(Key::Start6));
    let stop_6 = section.last(Key::Stop6).map_or(stop, |_| given(Key::Stop6));
    match (start, start_6) {
        (None, None) => Err(refusal(
            section.name.place,
            "no-command",
            "the door runs no command: there is nothing to open",
            "Leave it out, or write the ports it should open into the site file.",
        )),
        (Some(start), None) => {
            findings.push(other_family(section.last(Key::Start6).unwrap_or(start), "IPv6"));
            meaning(section, start, stop, findings)
        }
        (None, Some(start_6)) => {
            findings.push(other_family(section.last(Key::Start).unwrap_or(start_6), "IPv4"));
            meaning(section, start_6, stop_6, findings)
        }
        (Some(start), Some(start_6)) => {
            let four = meaning(section, start, stop, findings)?;
            let own = section.last(Key::Start6).is_some() || section.last(Key::Stop6).is_some();
            // What is warned about twice is said once.
            if own && meaning(section, start_6, stop_6, &mut Vec::new())? != four {
                return Err(refusal(
                    start_6.place,
                    "families-differ",
                    "the commands for IPv6 do something else than those for IPv4",
                    "A Postern door is the same for both; make them equal, or write two doors by hand.",
                ));
            }
            Ok(four)
        }
    }
}

fn other_family(command: Text<'_>, family: &str) -> Finding {
    let message =
        format!("knockd does nothing for {family} knockers here; the Postern door opens for them too");
    let suggestion =
        "Only for the knocker's own address. Block the family in your firewall if it is not wanted.";
    warning(command.place, "both-families", message, suggestion)
}

fn meaning(
    section: &Section<'_>,
    start: Text<'_>,
    stop: Option<Text<'_>>,
    findings: &mut Vec<Finding>,
) -> Result<Meaning, Finding> {
    let started = effect(start, findings)?;
    let stopped = stop.map(|stop| effect(stop, findings)).transpose()?.unwrap_or_default();
    let stop = stop.unwrap_or(start);
    if !stopped.opened.is_empty() {
        let suggestion =
            "A door is closed unless somebody knocked; write the stop command as the opposite of the start.";
        return Err(refusal(stop.place, "inverted", "the stop command opens instead of closing", suggestion));
    }
    if started.opened.is_empty() && started.closed.is_empty() {
        let suggestion = "Leave the door out, or write the ports it should open into the site file.";
        return Err(refusal(
            start.place,
            "no-command",
            "the command changes nothing in the firewall",
            suggestion,
        ));
    }
    if started.opened.is_empty() {
        return Ok(Meaning::Close { ports: started.closed });
    }
    let mut lifetime_s = started.lifetime_s;
    for (closed, waited_s, line) in [
        (&started.closed, started.waited_s, start),
        (&stopped.closed, stop_after(section, &stopped, findings)?, stop),
    ] {
        if closed.is_empty() {
            continue;
        }
        if *closed != started.opened {
            let suggestion = "Close exactly the ports that are opened, or write the door by hand.";
            let message = "what is closed is not what was opened";
            return Err(refusal(line.place, "ports-differ", message, suggestion));
        }
        lifetime_s = Some(lifetime_s.map_or(waited_s, |lifetime| lifetime.min(waited_s)));
    }
    let lifetime_s = lifetime_s.map(|seconds| sequence::bounded_lifetime(seconds.max(1), start, findings));
    Ok(Meaning::Open { ports: started.opened, lifetime_s })
}

/// Seconds from the start command until the stop command has closed; 0 without one.
fn stop_after(section: &Section<'_>, stopped: &Sum, findings: &mut Vec<Finding>) -> Result<u32, Finding> {
    if stopped.closed.is_empty() {
        return Ok(0);
    }
    let timeout_s = sequence::lifetime(section.last(Key::CmdTimeout), findings)?;
    Ok(timeout_s.saturating_add(stopped.waited_s))
}

/// What the commands of one line come to.
#[derive(Default)]
struct Sum {
    opened: Vec<ServicePort>,
    closed: Vec<ServicePort>,
    /// The shortest time any of them bounds itself to.
    lifetime_s: Option<u32>,
    /// Seconds slept before closing.
    waited_s: u32,
}

fn effect(line: Text<'_>, findings: &mut Vec<Finding>) -> Result<Sum, Finding> {
    let mut sum = Sum::default();
    for action in command::actions(line, findings)? {
        match action {
            Action::Open(Rule { ports, lifetime_s }) if sum.closed.is_empty() && sum.waited_s == 0 => {
                sum.opened.extend(ports);
                sum.lifetime_s = sum.lifetime_s.into_iter().chain(lifetime_s).min();
            }
            Action::Open(_) => {
                let suggestion = "Write one command that opens and one that closes.";
                return Err(refusal(
                    line.place,
                    "inverted",
                    "it opens again after closing or waiting",
                    suggestion,
                ));
            }
            Action::Close(Rule { ports, .. }) => sum.closed.extend(ports),
            Action::Wait(seconds) if sum.closed.is_empty() => {
                sum.waited_s = sum.waited_s.saturating_add(seconds)
            }
            Action::Wait(_) | Action::Check | Action::Nothing => {}
        }
    }
    for ports in [&mut sum.opened, &mut sum.closed] {
        ports.sort_unstable();
        ports.dedup();
        if ports.len() > postern_core::limits::PORTS_PER_DOOR_MAX {
            let suggestion = "Split them over several doors with sequences of their own.";
            return Err(refusal(line.place, "too-many-ports", "too many ports for one door", suggestion));
        }
    }
    Ok(sum)
}
