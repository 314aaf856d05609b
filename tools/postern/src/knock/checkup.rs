//! `postern knock NAME --check`: looks at everything on this machine that a knock needs, and sends
//! nothing.

use std::io::Write;
use std::net::{SocketAddr, UdpSocket};

use postern_core::knock::{InterfaceSet, Protocol, ServicePort};
use postern_core::rule::{Door, DoorId, Purpose, Terms};
use postern_core::spa::key::SpaKey;
use postern_core::spa::native::{Arrival, Verdict, Verifier};
use postern_core::spa::policy::{ClaimRule, DoorSet, Policy};
use postern_core::spa::replay::COUNT_BITS;
use postern_core::time::{Duration, Instant};
use serde::Serialize;
use serde_json::json;

use super::arguments::KnockArgs;
use super::command::{AnyWay, Task, head, print_object, task};
use super::way::{DatagramWay, shown};
use super::{echo, resolve};
use crate::profile::counters::{CLOCK_LEAST_MILLIS, Counters, clock_millis};
use crate::profile::{Means, Spa};
use crate::remote::failure::Outcome;

/// A counter that is further ahead of the clock than this was made with a wrong one: a day.
const AHEAD_MOST_MILLIS: u64 = 86_400_000;

/// How one thing was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Found {
    Good,
    Warning,
    Error,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Look {
    check: &'static str,
    found: Found,
    message: String,
    fix: &'static str,
}

#[derive(Default)]
struct Looks(Vec<Look>);

impl Looks {
    fn good(&mut self, check: &'static str, message: impl Into<String>) {
        self.0.push(Look { check, found: Found::Good, message: message.into(), fix: "" });
    }

    fn warning(&mut self, check: &'static str, message: impl Into<String>, fix: &'static str) {
        self.0.push(Look { check, found: Found::Warning, message: message.into(), fix });
    }

    fn error(&mut self, check: &'static str, message: impl Into<String>, fix: &'static str) {
        self.0.push(Look { check, found: Found::Error, message: message.into(), fix });
    }
}

/// Looks, and prints what was found; 0 when nothing stands in the way.
pub(super) fn run(args: &KnockArgs) -> Outcome<u8> {
    // A profile that cannot be read, or a key, is a failure with its own exit status.
    let task = task(args)?;
    let mut looks = Looks::default();
    looks.good("profile", format!("{}, and the files it names, are for this user alone", args.target));
    gateway(&mut looks, &task);
    match &task.profile.means {
        Means::Spa(spa) => {
            sealing(&mut looks, spa)?;
            counter(&mut looks, &task, spa)?;
            wishes(&mut looks, &task, spa);
        }
        Means::Rotating(_) => rotation(&mut looks, &task)?,
        Means::Fixed(fixed) => {
            let what = "a fixed sequence is a filter: whoever sees it can repeat it";
            looks.warning("sequence", what, "ask for a key, where UDP passes");
            echoes(&mut looks, fixed.steps.iter().any(|step| step.protocol == Protocol::Icmp));
        }
    }
    if task.profile.probe.is_none() {
        let what = "no port tells whether the door opened";
        looks.warning(
            "probe",
            what,
            "write `probe = \"tcp/22\"` into the profile, then `--probe` needs no port",
        );
    }
    show(args, &task, &looks)
}

fn show(args: &KnockArgs, task: &Task, looks: &Looks) -> Outcome<u8> {
    let count = |found| looks.0.iter().filter(|look| look.found == found).count();
    let (errors, warnings) = (count(Found::Error), count(Found::Warning));
    if args.json {
        let mut fields = head(args, Some(&task.profile), if errors > 0 { "bad" } else { "good" });
        fields.insert("errors".to_owned(), json!(errors));
        fields.insert("warnings".to_owned(), json!(warnings));
        fields.insert("checks".to_owned(), json!(looks.0));
        print_object(fields)?;
    } else {
        let mut text = String::new();
        for Look { check, found, message, fix } in &looks.0 {
            let word = match found {
                Found::Good => "ok",
                Found::Warning => "warning",
                Found::Error => "error",
            };
            text.push_str(&format!("{word:<8}{check:<9}{message}\n"));
            if !fix.is_empty() {
                text.push_str(&format!("                 fix: {fix}\n"));
            }
        }
        let _ = write!(std::io::stdout(), "{text}");
    }
    Ok(u8::from(errors > 0))
}

/// Whether its name resolves and the system knows a way there; nothing is sent.
fn gateway(looks: &mut Looks, task: &Task) {
    let addresses = match resolve(&task.profile.gateway, task.profile.family) {
        Ok(addresses) => addresses,
        Err(error) => {
            let fix = "check `gateway` and `family` of the profile, and the name server";
            return looks.error("gateway", error.to_string(), fix);
        }
    };
    let route = |address: &SocketAddr| -> std::io::Result<SocketAddr> {
        let any: std::net::IpAddr = if address.is_ipv4() { [0; 4].into() } else { [0_u16; 8].into() };
        let socket = UdpSocket::bind((any, 0))?;
        let mut address = *address;
        address.set_port(9);
        // A datagram socket that is connected sends nothing (connect(2)).
        socket.connect(address)?;
        socket.local_addr()
    };
    for address in &addresses {
        match route(address) {
            Ok(own) => looks.good("gateway", format!("{} is reached from {}", shown(*address), shown(own))),
            Err(error) if addresses.len() > 1 => {
                let what = format!("no way to {}: {error}", shown(*address));
                looks.warning("gateway", what, "`family` of the profile leaves the other addresses out");
            }
            Err(error) => {
                let what = format!("no way to {}: {error}", shown(*address));
                looks.error("gateway", what, "check this machine's interfaces and routes");
            }
        }
    }
}

/// Seals a packet and opens it again as the gateway would.
fn sealing(looks: &mut Looks, spa: &Spa) -> Outcome<()> {
    let key = spa.key.load()?;
    match opens(spa, &key) {
        Ok(()) => looks.good("packet", "a packet was made, and a gateway with this key would take it"),
        Err(why) => looks.error("packet", why, "mend the profile, or import the key anew"),
    }
    Ok(())
}

fn opens(spa: &Spa, key: &SpaKey) -> Result<(), String> {
    // What the gateway takes as its own address does not matter here, unless it is no address at all.
    let seen_from = std::net::IpAddr::from([192, 0, 2, 1]);
    let way = DatagramWay::new(spa.clone(), Purpose::Open, key, None);
    let counter = spa.first_counter.max(1);
    let packet = way.packet(counter, seen_from).map_err(|failure| failure.to_string())?;
    let mut verifier = Verifier::new(spa.key.device);
    let policy =
        Policy { doors: DoorSet::NONE.with(DoorId(0)), claims: ClaimRule::Allowed, ..Policy::default() };
    verifier.add(key, policy, 0).map_err(|error| format!("the key cannot be used: {error:?}"))?;
    let mut ports = heapless::Vec::new();
    let _ = ports.push(ServicePort::tcp(22));
    let (name, open_for) = (spa.door.clone(), Duration::from_secs(30));
    let door =
        Door { name, ports, open_for, target: None, interfaces: InterfaceSet::ALL, terms: Terms::PLAIN };
    let arrival = Arrival { seen_from, at: Instant::from_millis(1000), wall: None };
    let doors = std::slice::from_ref(&door);
    let admitted = match verifier.verify(&packet, arrival, doors) {
        Ok(Verdict::Admitted(admitted)) => Ok(admitted),
        Ok(Verdict::Waiting(waiting)) => {
            verifier.persisted(waiting.tag, waiting.ceiling);
            verifier.resume(&waiting, arrival.at, arrival.wall, doors)
        }
        Err(refused) => Err(refused),
    };
    match admitted {
        Ok(admitted) if admitted.counter == counter => Ok(()),
        Ok(_) => Err("a packet was made that asks for something else".to_owned()),
        Err(refused) => Err(format!("a gateway would refuse the packet: {}", refused.reason.reason())),
    }
}

fn counter(looks: &mut Looks, task: &Task, spa: &Spa) -> Outcome<()> {
    let clock = clock_millis().unwrap_or(0);
    let next = task.way.look_ahead()?.unwrap_or_default();
    let count = next & ((1 << COUNT_BITS) - 1);
    if clock < CLOCK_LEAST_MILLIS {
        let what = "the clock was never set; counters go on from the last one";
        looks.warning(
            "clock",
            what,
            "set the clock, or keep ~/.local/state/postern safe: a lost counter cannot be made again",
        );
    } else if count > clock.saturating_add(AHEAD_MOST_MILLIS) {
        let what = "the next counter is more than a day ahead of the clock";
        let fix = "nothing, if the clock was ahead once and is right now: counters go on from there";
        looks.warning("clock", what, fix);
    } else {
        looks.good("clock", "the clock can make counters");
    }
    if !spa.remember {
        let what = "the last counter is not remembered: a clock that goes back keeps this machine out";
        looks.warning("counter", what, "take `remember = false` out of the profile where a file can be kept");
        return Ok(());
    }
    writable(looks, &Counters::of_user()?, next);
    Ok(())
}

fn writable(looks: &mut Looks, counters: &Counters, next: u64) {
    let shown = counters.folder().display();
    // The nearest folder that exists: the rest is made with the first knock.
    let folder = counters.folder().ancestors().find(|folder| folder.exists());
    let mode = nix::unistd::AccessFlags::W_OK | nix::unistd::AccessFlags::X_OK;
    match folder.map(|folder| nix::unistd::access(folder, mode)) {
        Some(Ok(())) => looks.good("counter", format!("the next one is {next}, remembered in {shown}")),
        _ => {
            let what = format!("counters cannot be written down in {shown}: nothing would be sent");
            looks.error("counter", what, "make the folder writable, or set XDG_STATE_HOME");
        }
    }
}

fn wishes(looks: &mut Looks, task: &Task, spa: &Spa) {
    if spa.one_shot && task.profile.probe.is_some() {
        let what = "a probe uses a one-shot grant up";
        looks.warning("one_shot", what, "knock with --proxy, or without --probe");
    }
}

fn rotation(looks: &mut Looks, task: &Task) -> Outcome<()> {
    let (AnyWay::Rotating(way), Some(next)) = (&task.way, task.way.look_ahead()?) else { return Ok(()) };
    let knocks = way.knocks(next)?;
    looks.good("sequence", format!("number {next} has {} knocks", knocks.len()));
    echoes(looks, knocks.iter().any(|step| step.protocol == Protocol::Icmp));
    writable(looks, &Counters::of_user()?, next);
    Ok(())
}

fn echoes(looks: &mut Looks, needed: bool) {
    if !needed {
        return;
    }
    match echo::possible() {
        Ok(()) => looks.good("echo", "echo requests can be sent"),
        Err(error) => {
            looks.error(
                "echo",
                format!("{error:#}"),
                "run as root, or allow your group in net.ipv4.ping_group_range",
            );
        }
    }
}
