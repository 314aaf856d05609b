//! `postern knock`: by a profile, or by knocks of the command line or a site file.

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::time::Duration;

use postern_core::Step;
use postern_core::rule::Purpose;
use serde_json::{Map, Value, json};

pub use super::arguments::KnockArgs;
use super::way::{DatagramWay, FixedWay, RotatingWay, Way, shown};
use super::{Became, Done, Family, Look, Plan, Probe, checkup, knock, relay, resolve};
use crate::check::check;
use crate::finding::render;
use crate::profile::counters::Counters;
use crate::profile::read::default;
use crate::profile::{self, Claim, Fixed, Means, Profile};
use crate::remote::failure::{Failure, Outcome};
use crate::remote::text_of;

/// Version of the JSON: rises when a field changes its meaning or goes.
const SCHEMA: u32 = 1;

/// What the command line asks for, with the profile looked up.
pub(super) struct Task {
    /// Name of the profile, when there is one.
    pub(super) named: Option<String>,
    /// What to knock at.
    pub(super) profile: Profile,
    /// What is sent.
    pub(super) way: AnyWay,
}

/// One of the ways, so that a dry run can ask what it would do.
pub(super) enum AnyWay {
    Datagram(Box<DatagramWay>),
    Rotating(Box<RotatingWay>),
    Fixed(FixedWay),
}

impl AnyWay {
    fn get(&mut self) -> &mut dyn Way {
        match self {
            AnyWay::Datagram(way) => &mut **way,
            AnyWay::Rotating(way) => &mut **way,
            AnyWay::Fixed(way) => way,
        }
    }

    /// The counter that would be next; `None` where there is none.
    pub(super) fn look_ahead(&self) -> Outcome<Option<u64>> {
        match self {
            AnyWay::Datagram(way) => way.look_ahead().map(Some),
            AnyWay::Rotating(way) => way.look_ahead().map(Some),
            AnyWay::Fixed(_) => Ok(None),
        }
    }
}

/// Carries it out and prints what it came to. Returns the exit status.
pub fn run(args: &KnockArgs) -> u8 {
    let outcome = if args.check { checkup::run(args) } else { execute(args) };
    outcome.unwrap_or_else(|failure| failed(args, &failure))
}

fn execute(args: &KnockArgs) -> Outcome<u8> {
    let mut task = task(args)?;
    let addresses = resolve(&task.profile.gateway, task.profile.family)?;
    let plan = plan(args, &task, addresses)?;
    if args.dry_run {
        return dry_run(args, &task, &plan);
    }
    let talks = args.verbose || (std::io::stderr().is_terminal() && !args.json && args.proxy.is_none());
    let mut say = |text: &str| {
        if talks {
            let _ = writeln!(std::io::stderr(), "{text}");
        }
    };
    let mut done = knock(&plan, task.way.get(), &mut say)?;
    match (args.proxy.is_some(), done.stream.take()) {
        (true, Some(stream)) => {
            relay::standard_streams(stream)
                .map_err(|error| Failure::Unreachable(format!("the connection broke: {error}")))?;
            Ok(0)
        }
        _ => report(args, &mut task, &done),
    }
}

/// Looks the profile up, or makes one of the command line, and reads its key.
pub(super) fn task(args: &KnockArgs) -> Outcome<Task> {
    let (named, mut profile) = if args.names_profile() {
        let path = profile::location(args.profiles.as_deref())?;
        (Some(args.target.clone()), profile::find(&path, &args.target)?)
    } else {
        (None, of_command_line(args)?)
    };
    if let Some(family) = args.family() {
        profile.family = family;
    }
    let delay = args.delay.map(Duration::from_millis);
    if let (Some(delay), Means::Fixed(fixed)) = (delay, &mut profile.means) {
        fixed.delay = delay;
    }
    if let (Some(delay), Means::Rotating(rotating)) = (delay, &mut profile.means) {
        rotating.delay = delay;
    }
    let purpose = if args.close { Purpose::Close } else { Purpose::Open };
    let way = match &profile.means {
        Means::Spa(spa) => {
            let counters = if spa.remember { Some(Counters::of_user()?) } else { None };
            let key = spa.key.load()?;
            AnyWay::Datagram(Box::new(DatagramWay::new(spa.clone(), purpose, &key, counters)))
        }
        _ if args.close => {
            let what = "only one authenticated packet can ask to close: with sequences, a door has a \
                        `close_sequence` of its own";
            return Err(Failure::Usage(what.to_owned()));
        }
        Means::Rotating(rotating) => {
            let (key, counters) = (rotating.key.load()?, Counters::of_user()?);
            AnyWay::Rotating(Box::new(RotatingWay::new(rotating.clone(), &key, counters)))
        }
        Means::Fixed(fixed) => AnyWay::Fixed(FixedWay(fixed.clone())),
    };
    Ok(Task { named, profile, way })
}

fn of_command_line(args: &KnockArgs) -> Outcome<Profile> {
    let steps = match (&args.site, &args.door) {
        (Some(site), Some(door)) => steps_of_site(site, door)?,
        _ => args.steps.clone(),
    };
    let delay = Duration::from_millis(default::DELAY_MILLIS.into());
    Ok(Profile {
        name: args.target.clone(),
        gateway: args.target.clone(),
        family: Family::Any,
        door: None,
        means: Means::Fixed(Fixed { steps, delay }),
        probe: None,
        retries: 0,
        timeout: Duration::from_millis(default::TIMEOUT_MILLIS.into()),
    })
}

fn steps_of_site(path: &Path, name: &str) -> Outcome<Vec<Step>> {
    let text = text_of(path)?;
    let checked = check(&text);
    let shown = path.display().to_string();
    let Some(site) = &checked.site else {
        let all: String = checked.findings.iter().map(|finding| render(&shown, &text, finding)).collect();
        return Err(Failure::InvalidSite(format!("{shown} cannot be used\n{}", all.trim_end())));
    };
    let door = site.doors.iter().find(|door| door.name.value == *name);
    let door = door.ok_or_else(|| Failure::Failed(format!("{shown} has no door {name:?}")))?;
    let sequence = door.sequence.as_ref();
    let sequence = sequence.ok_or_else(|| Failure::Failed(format!("door {name:?} has no sequence")))?;
    Ok(sequence.knocks())
}

fn plan(args: &KnockArgs, task: &Task, addresses: Vec<std::net::SocketAddr>) -> Outcome<Plan> {
    let profile = &task.profile;
    let one_shot = matches!(&profile.means, Means::Spa(spa) if spa.one_shot);
    let probe = match (&args.proxy, &args.probe) {
        _ if args.close => None,
        (Some(words), _) => Some(proxied(words, profile)?),
        (None, None) => None,
        (None, Some(_)) if one_shot => {
            let what = "a probe would use the one-shot grant up: use --proxy, which keeps its connection, or \
                        knock without --probe";
            return Err(Failure::Usage(what.to_owned()));
        }
        (None, Some(port)) => Some(Probe::of(port.or(profile.probe).ok_or_else(|| {
            let what = "say which port: --probe tcp/22, or `probe = \"tcp/22\"` in the profile";
            Failure::Usage(what.to_owned())
        })?)),
    };
    if probe.is_none() && args.retry.is_some() {
        let what = "--retry needs to know whether the door opened: add --probe tcp/PORT";
        return Err(Failure::Usage(what.to_owned()));
    }
    let retries = args.retry.unwrap_or(profile.retries);
    let timeout = args.timeout.map_or(profile.timeout, Duration::from_millis);
    Ok(Plan { addresses, probe, retries, timeout })
}

/// Where ssh wants to go. Its `%h` is often the gateway itself, by its name here or elsewhere.
fn proxied(words: &[String], profile: &Profile) -> Outcome<Probe> {
    let [host, port] = words else {
        return Err(Failure::Usage(
            "write --proxy HOST PORT, in ssh's configuration --proxy %h %p".to_owned(),
        ));
    };
    let port = crate::site::notation::digits::<u16>(port).filter(|&port| port > 0);
    let port =
        port.ok_or_else(|| Failure::Usage("the port of --proxy is a number of 1 to 65535".to_owned()))?;
    let gateway = host.eq_ignore_ascii_case(&profile.gateway) || *host == profile.name;
    let elsewhere = if gateway { Vec::new() } else { resolve(host, profile.family)? };
    // Many sessions in a row, as of a deployment, must not knock each time: a key has so many visits.
    let one_shot = matches!(&profile.means, Means::Spa(spa) if spa.one_shot);
    let look = if one_shot { Look::Never } else { Look::IfKnockedLately };
    Ok(Probe { elsewhere, look, one_shot, ..Probe::of(port) })
}

fn print(text: &str) -> Outcome<()> {
    let mut out = std::io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.map_err(|error| Failure::failed("cannot write to standard output", error))
}

/// Fields that every answer has.
pub(super) fn head(args: &KnockArgs, profile: Option<&Profile>, outcome: &str) -> Map<String, Value> {
    let mut fields = Map::new();
    fields.insert("schema".to_owned(), json!(SCHEMA));
    if args.names_profile() {
        fields.insert("profile".to_owned(), json!(args.target));
    }
    if let Some(profile) = profile {
        fields.insert("host".to_owned(), json!(profile.gateway));
        fields.insert("way".to_owned(), json!(profile.means.name()));
    } else if !args.names_profile() {
        fields.insert("host".to_owned(), json!(args.target));
    }
    if let Some(door) = profile.and_then(|profile| profile.door.as_ref()) {
        fields.insert("door".to_owned(), json!(door.as_str()));
    }
    fields.insert("outcome".to_owned(), json!(outcome));
    fields
}

/// Prints an object.
pub(super) fn print_object(fields: Map<String, Value>) -> Outcome<()> {
    print(&format!("{:#}\n", Value::Object(fields)))
}

fn failed(args: &KnockArgs, failure: &Failure) -> u8 {
    if args.json {
        let outcome = if matches!(failure, Failure::Unreachable(_)) { "unreachable" } else { "failed" };
        let mut fields = head(args, None, outcome);
        fields.insert("code".to_owned(), json!(failure.code()));
        fields.insert("message".to_owned(), json!(failure.to_string()));
        let _ = print_object(fields);
    } else {
        let _ = writeln!(std::io::stderr(), "postern: {failure}");
    }
    failure.exit_status()
}

fn report(args: &KnockArgs, task: &mut Task, done: &Done) -> Outcome<u8> {
    let (word, status, text) = match done.became {
        Became::Sent if task.named.is_some() => {
            ("sent", 0, "sent; the gateway never answers: --probe finds out whether the door opened")
        }
        Became::Sent => ("sent", 0, "sent; add --probe tcp/PORT to find out whether the door opened"),
        Became::Opened => ("opened", 0, "the door is open"),
        Became::WasOpen => ("was-open", 0, "the port was open before the first knock"),
        Became::Refused => (
            "refused",
            1,
            "the port answers with a refusal: the gate lets you through, and nothing listens there",
        ),
        Became::StillShut => ("still-shut", 1, advice(&task.profile.means)),
    };
    if args.json {
        let mut fields = head(args, Some(&task.profile), word);
        fields.insert("address".to_owned(), json!(done.address.map(shown)));
        fields.insert("attempts".to_owned(), json!(done.attempts));
        if let Some(counter) = task.way.get().counter() {
            fields.insert("counter".to_owned(), json!(counter));
        }
        print_object(fields)?;
    } else {
        let _ = writeln!(std::io::stderr(), "{}: {text}", args.target);
    }
    Ok(status)
}

/// What to look at when the port stays shut.
const fn advice(means: &Means) -> &'static str {
    match means {
        Means::Fixed(_) => {
            "the port is still shut. Check the sequence and its order; try a longer --delay on a bad link; \
             some networks swallow SYNs or UDP: ask for a sequence of the other kind; after touching a port \
             next to a knock wait for the sequence's time"
        }
        Means::Rotating(_) => {
            "the port is still shut. Check `rotating` against the gateway's site file, field by field; try \
             again with a higher --retry, it goes on searching where it was; some networks swallow SYNs or UDP"
        }
        Means::Spa(_) => {
            "the port is still shut. `postern knock NAME --check` looks at this machine's part; the gateway's \
             log says why it refused (DENY lines), and says nothing when no packet came: then something on the \
             way drops UDP"
        }
    }
}

fn dry_run(args: &KnockArgs, task: &Task, plan: &Plan) -> Outcome<u8> {
    let profile = &task.profile;
    let counter = task.way.look_ahead()?;
    let knocks: Option<Vec<String>> = match (&task.way, counter) {
        (AnyWay::Fixed(way), _) => Some(way.0.steps.iter().map(ToString::to_string).collect()),
        (AnyWay::Rotating(way), Some(counter)) => {
            Some(way.knocks(counter)?.iter().map(ToString::to_string).collect())
        }
        _ => None,
    };
    let addresses: Vec<String> = plan.addresses.iter().copied().map(shown).collect();
    let mut fields = head(args, Some(profile), "dry-run");
    fields.insert("addresses".to_owned(), json!(addresses));
    let mut text = format!("{}: by {} to {}\n", args.target, profile.means.name(), addresses.join(", "));
    let mut line = |name: &str, shown: String, value: Value| {
        let label = name.strip_suffix("_secs").unwrap_or(name);
        text.push_str(&format!("  {label:<9}{shown}\n"));
        fields.insert(name.to_owned(), value);
    };
    if let Some(counter) = counter {
        line("counter", format!("{counter}, not written down"), json!(counter));
    }
    if let Means::Spa(spa) = &profile.means {
        let action = if args.close { "close" } else { "open" };
        line("action", action.to_owned(), json!(action));
        line("port", format!("udp/{}", spa.port), json!(spa.port));
        if !args.close {
            let lease = match spa.lease_secs {
                0 => "the door's own time".to_owned(),
                secs => format!("{secs} s"),
            };
            line("lease_secs", lease, json!(spa.lease_secs));
            line("one_shot", spa.one_shot.to_string(), json!(spa.one_shot));
        }
        let claim = claim_text(&spa.claim);
        line("claim", claim.clone(), json!(claim));
    }
    if let Some(knocks) = &knocks {
        line("knocks", knocks.join(" "), json!(knocks));
    }
    if let Some(probe) = &plan.probe {
        let times = plan.retries.saturating_add(1);
        line("probe", format!("tcp/{}, {times} attempts at most", probe.port), json!(probe.port));
    }
    if args.json {
        print_object(fields)?;
    } else {
        print(&text)?;
        let _ = writeln!(std::io::stderr(), "nothing was sent");
    }
    Ok(0)
}

fn claim_text(claim: &Claim) -> String {
    match claim {
        Claim::Seen => "as seen".to_owned(),
        Claim::Own => "own address".to_owned(),
        Claim::These(addresses) => addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
    }
}
