//! The steps. Each needs what the ones before it found.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::process::{Command, Stdio};
use std::time::{Duration as Pause, Instant as Moment};

use nix::sched::{CloneFlags, unshare};
use postern_config::partition::Store;
use postern_config::{Backend, Site};
use postern_console::rpc::reply::{Origin, StoreHealth};
use postern_core::grant::GrantId;
use postern_core::hash::HashKey;
use postern_core::knock::{InterfaceIndex, Knock, Protocol, ServicePort, Step, TcpFlags};
use postern_core::limits::INTERFACES_MAX;
use postern_core::matcher::{Matcher, Progress};
use postern_core::port::{Capture as _, Clock as _, Firewall, FirewallCommand};
use postern_core::rule::{RuleSet, SequenceId};
use postern_core::time::Instant;
use postern_core::wire;
use postern_hal_linux::capture::{LinuxCapture, RingBytes};
use postern_hal_linux::clock::BootClock;
use postern_hal_linux::firewall::{
    ExemptInterface, FirewallOptions, IptablesFirewall, IptablesVariant, Member, NftablesFirewall,
};
use postern_hal_linux::partition::LinuxPartition;
use posternd::configuration::Configuration;
use posternd::health::Rehearsal;

use super::{Args, Outcome};
use crate::doctor::{Daemon, ask};

/// Seconds of the grant that is opened in the namespace.
const GRANT_SECS: u32 = 1;

/// How long anything may take that must happen.
const PATIENCE: Pause = Pause::from_secs(10);

/// Pause between two looks.
const LOOK_EVERY: Pause = Pause::from_millis(20);

/// The source of made-up knocks and grants: nobody (RFC 5737).
const NOBODY: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const HERE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);

/// What the store holds.
struct Held {
    site: Box<Site>,
    rules: RuleSet,
}

/// Does all of them.
pub(super) fn all(args: &Args) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    let mut note = |step, result| outcomes.push(Outcome { step, result });
    let held = read(args);
    note("store", held.as_ref().map(said_of_store).map_err(String::clone));
    note("rehearsal", rehearse());
    if let Ok(held) = &held {
        note("sequences", sequences(&held.rules));
        // A namespace belongs to a thread; it is gone with the last one in it.
        let tried = std::thread::scope(|scope| scope.spawn(|| in_a_namespace(held)).join());
        match tried {
            Ok(Ok([gate, capture])) => {
                note("gate", gate);
                note("capture", capture);
            }
            Ok(Err(error)) => note("gate", Err(error)),
            Err(_) => note("gate", Err("it ended before its time: report this".to_owned())),
        }
    }
    note("daemon", daemon(args));
    outcomes
}

fn read(args: &Args) -> Result<Held, String> {
    let partition = LinuxPartition::open_to_read(&args.store).map_err(|error| error.to_string())?;
    let too_small = |_| format!("{} is too small to be a config partition", args.store.display());
    let store = Store::open(partition).map_err(too_small)?;
    let mut configuration = Configuration::choose(store, Box::<Site>::default());
    if configuration.generation() == 0 {
        return Err("no configuration in it counts: commit one".to_owned());
    }
    let rules = configuration.rules().map_err(|error| format!("its rules cannot be run: {error:?}"))?;
    configuration.keys()?;
    Ok(Held { site: Box::new(configuration.site().clone()), rules })
}

fn said_of_store(held: &Held) -> String {
    let Held { site, rules } = held;
    format!(
        "{} doors, {} sequences, {} keys can be run",
        rules.doors().len(),
        rules.sequences().len(),
        site.keys.len()
    )
}

fn rehearse() -> Result<String, String> {
    let mut rehearsal = Rehearsal::new().map_err(|error| format!("{error:?}: report this"))?;
    let passes = rehearsal.passes(BootClock::new().now());
    passes
        .then(|| "a made-up knock went through parser and matcher".to_owned())
        .ok_or_else(|| "a made-up knock is not understood: report this".to_owned())
}

/// Every sequence of the configuration is told, knock by knock, and must complete.
fn sequences(rules: &RuleSet) -> Result<String, String> {
    let mut failed = Vec::new();
    for (number, sequence) in (0..).zip(rules.sequences()) {
        let mut matcher = Box::new(Matcher::<1>::new(HashKey::new([0; 16]), rules.within_longest()));
        let door = rules.door(sequence.door);
        let target = door.and_then(|door| door.target).unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let listened =
            |&interface: &InterfaceIndex| door.is_none_or(|door| door.interfaces.contains(interface));
        let interfaces = (0..u8::try_from(INTERFACES_MAX).unwrap_or(u8::MAX)).map(InterfaceIndex);
        let interface = interfaces.into_iter().find(listened).unwrap_or(InterfaceIndex(0));
        let mut last = None;
        for (at, &step) in (1_u64..).zip(&sequence.steps) {
            let flags = if step.protocol == Protocol::Tcp { sequence.flags.value } else { TcpFlags::NONE };
            let source =
                if target.is_ipv4() { NOBODY } else { IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1]) };
            let knock = Knock { source, target, step, flags, interface };
            let outcome = matcher.step(rules, &knock, Instant::from_millis(1000 + at));
            last = outcome.progress.iter().find(|(id, _)| *id == SequenceId(number)).map(|(_, done)| *done);
        }
        if last != Some(Progress::Completed) {
            failed.push(door.map_or("?", |door| door.name.as_str()).to_owned());
        }
    }
    if failed.is_empty() {
        Ok(format!("{} sequences complete when they are knocked", rules.sequences().len()))
    } else {
        Err(format!("sequences of these doors do not complete: {}: commit the site again", failed.join(", ")))
    }
}

type Said = Result<String, String>;

fn in_a_namespace(held: &Held) -> Result<[Said; 2], String> {
    unshare(CloneFlags::CLONE_NEWNET)
        .map_err(|error| format!("no network namespace can be made: {error}; run this as root"))?;
    let gate = match held.site.backend {
        Backend::Iptables => IptablesFirewall::new(options(&held.site), IptablesVariant::default())
            .map_err(|error| error.to_string())
            .and_then(|mut gate| {
                gate.try_install(&held.rules).map_err(|error| error.to_string())?;
                opens_and_ends(&mut gate, &held.rules, |gate| gate.grants().ok())
            }),
        Backend::Nftables => NftablesFirewall::new(options(&held.site))
            .map_err(|error| error.to_string())
            .and_then(|mut gate| {
                gate.try_install(&held.rules).map_err(|error| error.to_string())?;
                opens_and_ends(&mut gate, &held.rules, |gate| gate.grants().ok())
            }),
    };
    Ok([gate, captures(held)])
}

fn options(site: &Site) -> FirewallOptions {
    let exempt = site.exempt_interfaces.iter();
    let exempt_interfaces = exempt.filter_map(|name| ExemptInterface::try_from(name.as_str()).ok()).collect();
    FirewallOptions { exempt_interfaces, ..FirewallOptions::default() }
}

/// A grant of the first protected port is in the kernel, with an end, and gone when its time is over,
/// although nobody closes it.
fn opens_and_ends<F: Firewall>(
    gate: &mut F,
    rules: &RuleSet,
    mut list: impl FnMut(&mut F) -> Option<Vec<Member>>,
) -> Said {
    let port = rules.protected_ports().first().copied().unwrap_or(ServicePort::tcp(22));
    let ports = std::iter::once((port, GRANT_SECS)).collect();
    let open =
        FirewallCommand::Open { grant: GrantId::from_raw(0), source: NOBODY.into(), ports, once: false };
    let begun = Moment::now();
    gate.execute(&open).map_err(|error| format!("the kernel does not open {port}: {}", error.reason()))?;
    let opening = begun.elapsed();
    let there = |members: &[Member]| members.iter().find(|member| member.source == NOBODY.into()).copied();
    match list(gate).as_deref().map(there) {
        Some(Some(member)) if member.remaining_secs.is_some() => {}
        Some(Some(_)) => {
            return Err(format!("the kernel would hold {port} open for ever: use another kernel"));
        }
        _ => return Err(format!("{port} was opened, and is not open")),
    }
    while list(gate).is_none_or(|members| there(&members).is_some()) {
        if begun.elapsed() > PATIENCE {
            return Err(format!("the kernel does not close {port} when its time is over"));
        }
        std::thread::sleep(LOOK_EVERY);
    }
    Ok(format!("put up; {port} was opened in {} µs and ended by itself", opening.as_micros()))
}

/// A real packet on the loopback of the namespace goes through the kernel's filter.
fn captures(held: &Held) -> Said {
    let (nobody, here) = (format!("{NOBODY}/32"), format!("{HERE}/32"));
    let up: [&[&str]; 3] = [
        &["link", "set", "lo", "up"],
        &["addr", "add", &nobody, "dev", "lo"],
        &["addr", "add", &here, "dev", "lo"],
    ];
    for words in up {
        let done = Command::new("/sbin/ip").args(words).env_clear().stdin(Stdio::null()).status();
        if !done.is_ok_and(|status| status.success()) {
            return Err("/sbin/ip cannot set up a loopback: install iproute2".to_owned());
        }
    }
    let spa = (held.site.spa_port != 0 && !held.site.keys.is_empty()).then_some(held.site.spa_port);
    let now = BootClock::new().now();
    let capture = LinuxCapture::open(["lo"], &held.rules, &Vec::from_iter(spa), RingBytes::default(), now);
    let mut capture = capture.map_err(|error| error.to_string())?;
    // What an ordinary program can send: no echo requests, no odd segments.
    let ordinary = held.rules.sequences().iter().filter(|sequence| sequence.flags.holds(TcpFlags::SYN));
    let steps = ordinary.flat_map(|sequence| sequence.steps.iter().copied());
    let wanted = steps.chain(spa.map(Step::udp)).find(|step| step.protocol != Protocol::Icmp);
    let Some(step) = wanted else {
        return Ok("opened; there is no TCP or UDP knock to try".to_owned());
    };
    let begun = Moment::now();
    while begun.elapsed() < PATIENCE {
        send(step);
        while let Some(frame) = capture.next_frame() {
            if wire::parse(&frame).is_ok_and(|knock| knock.step == step) {
                return Ok(format!("{step} was heard"));
            }
        }
        std::thread::sleep(LOOK_EVERY);
    }
    Err(format!("{step} was sent and not heard: the kernel's filter or its packet sockets do not work"))
}

fn send(step: Step) {
    let target = SocketAddr::from((HERE, step.value));
    if step.protocol == Protocol::Tcp {
        let _ = TcpStream::connect_timeout(&target, LOOK_EVERY);
    } else if let Ok(socket) = UdpSocket::bind((NOBODY, 0)) {
        let _ = socket.send_to(b"", target);
    }
}

fn daemon(args: &Args) -> Said {
    match ask(&args.control).0 {
        Daemon::Answers(status) => {
            let deaf: Vec<&str> = status
                .interfaces
                .iter()
                .filter(|interface| !interface.live)
                .map(|interface| interface.name.as_str())
                .collect();
            if status.origin != Origin::Slot {
                return Err(format!(
                    "it does not run a configuration of its store, but: {:?}",
                    status.origin
                ));
            }
            if !deaf.is_empty() {
                return Err(format!("it hears nothing on {}", deaf.join(", ")));
            }
            if status.store == StoreHealth::Failed {
                return Err("the medium of its store failed".to_owned());
            }
            Ok(format!("generation {}, {} interfaces are heard", status.generation, status.interfaces.len()))
        }
        Daemon::Refuses(why) | Daemon::Silent(why) => Err(why),
    }
}
