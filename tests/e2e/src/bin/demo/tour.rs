//! What the demonstration shows, step by step.

use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use postern_e2e::frame::Payload;
use postern_e2e::probe::{self, Session};
use postern_e2e::process::{self, Background};
use postern_e2e::watch::Witness;
use postern_e2e::{Backend, DoorText, Gate, Host, Lab, Site, binaries, sshd, tool};

use crate::Options;
use crate::narrator::Narrator;

/// The secret of the tour.
const KNOCKS: [Payload; 4] =
    [Payload::syn(7351), Payload::udp(24011), Payload::syn(1490), Payload::udp(9377)];
/// How long the door stays open, in seconds.
const OPEN_FOR_S: u64 = 8;
/// Longest the kernel may take beyond that: its timers are coarse.
const SLACK: Duration = Duration::from_secs(4);

const PROGRAMS: [&str; 10] =
    ["ip", "iptables", "ip6tables", "ipset", "nft", "tcpdump", "nmap", "knock", "sshd", "ssh-keygen"];

/// Everything that lives during the tour, dropped in this order.
struct Stage {
    gate: Gate,
    _sshd: Background,
    gateway: Host,
    laptop: Host,
    stranger: Host,
    _lab: Lab,
}

impl Stage {
    fn ssh(&self) -> SocketAddr {
        SocketAddr::new(self.gateway.v4.into(), 22)
    }
}

/// Runs the whole tour.
pub(crate) fn run(options: Options) -> Result<ExitCode> {
    tool::require_root()?;
    if !options.no_install {
        tool::install(&PROGRAMS)?;
    }
    tool::require(&PROGRAMS)?;
    let started = Instant::now();
    let mut narrator = Narrator::new();
    println!("Postern: a gateway whose SSH port nobody can see, until the right knock.");
    println!("All of this happens in network namespaces of its own; this machine's network is not touched.");
    let mut stage = set_up(&mut narrator)?;
    let shown = show(&mut narrator, &mut stage);
    if shown.is_err() {
        eprintln!("\n--- log of posternd\n{}\n--- firewall\n{}", stage.gate.log(), stage.gate.firewall());
    }
    shown?;
    println!("\nEvery step was as told, in {} seconds.", started.elapsed().as_secs());
    if options.keep {
        keep(&stage)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn show(narrator: &mut Narrator, stage: &mut Stage) -> Result<()> {
    closed_and_silent(narrator, stage)?;
    scan_opens_nothing(narrator, stage)?;
    knock_and_open(narrator, stage)?;
    closed_by_the_kernel(narrator, stage)?;
    open_again_with_own_client(narrator, stage)
}

fn set_up(narrator: &mut Narrator) -> Result<Stage> {
    narrator.chapter("Three machines on a network");
    let lab = Lab::new()?;
    let gateway = lab.host("gateway")?;
    let laptop = lab.host("laptop")?;
    let stranger = lab.host("stranger")?;
    narrator.say(&format!("gateway {}, your laptop {}, a stranger {}", gateway.v4, laptop.v4, stranger.v4));
    let sshd = narrator.check("OpenSSH listens on the gateway, port 22", || {
        sshd::start(&gateway.namespace, lab.directory())
    })?;
    let target = SocketAddr::new(gateway.v4.into(), 22);
    let claim = "anybody can reach it, as on most gateways today";
    let session = narrator.check(claim, || Session::get_in(&stranger.namespace, None, target))?;
    narrator.quote(session.greeting());

    narrator.chapter("Postern takes the door away");
    let door = DoorText::new("ssh", &["tcp/22"], &KNOCKS).open_for(&format!("{OPEN_FOR_S}s"));
    let site = Site::new(Backend::Iptables).door(door);
    let text = site.to_toml();
    narrator.say("The site file:");
    narrator.quote(text.split_once("[[door]]").map_or(text.as_str(), |(_, door)| door).trim());
    binaries::path("posternd")?;
    narrator.command("gateway", "postern compile site.toml -o gate.store && posternd --store gate.store");
    let gate = narrator.check("posternd is ready", || Gate::start(&lab, &gateway.namespace, &site))?;
    Ok(Stage { gate, _sshd: sshd, gateway, laptop, stranger, _lab: lab })
}

fn closed_and_silent(narrator: &mut Narrator, stage: &Stage) -> Result<()> {
    narrator.chapter("Closed, and silent");
    let witness = Witness::start(&stage.stranger, &stage.gateway)?;
    let address = stage.gateway.v4.to_string();
    narrator.command("stranger", &format!("nmap -Pn -p 22 {address}"));
    let seen = stage.stranger.namespace.run("nmap", &["-n", "-Pn", "-p", "22", "--reason", &address])?;
    narrator.quote(seen.lines().find(|line| line.starts_with("22/tcp")).unwrap_or(&seen));
    narrator.check("nmap gets no answer: \"filtered\"", || {
        ensure!(seen.contains("filtered") && seen.contains("no-response"), "nmap said:\n{seen}");
        Ok(())
    })?;
    narrator.check("connecting gets neither a reset nor an ICMP message", || {
        probe::expect_silence(&stage.stranger.namespace, None, stage.ssh())
    })?;
    narrator
        .check("tcpdump at the stranger saw not one packet from the gateway", || witness.expect_silence())?;
    narrator.check("your laptop gets no further", || {
        probe::expect_silence(&stage.laptop.namespace, None, stage.ssh())
    })
}

fn scan_opens_nothing(narrator: &mut Narrator, stage: &Stage) -> Result<()> {
    narrator.chapter("A scan of every port");
    let address = stage.gateway.v4.to_string();
    narrator.say("A scan knocks on every port there is, so also on the right ones:");
    narrator.command("stranger", &format!("nmap -Pn -sS -sU -p- {address}"));
    let fast =
        ["-n", "-Pn", "-T5", "--min-rate", "20000", "--max-retries", "0", "--max-rtt-timeout", "50ms", "-p-"];
    for kind in ["-sS", "-sU"] {
        let arguments: Vec<&str> =
            fast.into_iter().chain([kind, "--host-timeout", "30s", &address]).collect();
        stage.stranger.namespace.run("nmap", &arguments)?;
    }
    narrator.check(
        "it opened nothing: beside each right port lie wrong ones, and touching one spoils the knock",
        || {
            let opened = stage.gate.log_with("GRANT");
            ensure!(opened.is_empty(), "posternd opened: {opened:?}");
            probe::expect_silence(&stage.stranger.namespace, None, stage.ssh())
        },
    )
}

fn knock_and_open(narrator: &mut Narrator, stage: &mut Stage) -> Result<()> {
    narrator.chapter("The right knock");
    let address: IpAddr = stage.gateway.v4.into();
    narrator.say("The `knock` client of Debian's package knockd will do:");
    narrator.command("laptop", &format!("knock {address} {}", words(&KNOCKS)));
    let mark = stage.gate.log_mark();
    postern_e2e::knock::stock(&stage.laptop.namespace, address, &KNOCKS)?;
    let record = narrator.check("posternd tells the kernel to open the door for this one address", || {
        stage.gate.wait_for_log("GRANT", mark)
    })?;
    narrator.quote(&record);
    let session = narrator.check("your laptop is let in: OpenSSH greets", || {
        let session = Session::get_in(&stage.laptop.namespace, None, stage.ssh())?;
        ensure!(session.greeting().starts_with("SSH-2.0-OpenSSH"), "greeted with {:?}", session.greeting());
        Ok(session)
    })?;
    narrator.quote(session.greeting());
    narrator.check("the stranger still gets no answer", || {
        probe::expect_silence(&stage.stranger.namespace, None, stage.ssh())
    })
}

fn closed_by_the_kernel(narrator: &mut Narrator, stage: &mut Stage) -> Result<()> {
    narrator.chapter("The kernel closes the door, not the daemon");
    postern_e2e::knock::stock(&stage.laptop.namespace, stage.gateway.v4.into(), &KNOCKS)?;
    let mut session = Session::get_in(&stage.laptop.namespace, None, stage.ssh())?;
    narrator.command("gateway", "kill -9 $(pidof posternd)");
    narrator.check("posternd is dead, in the middle of an open door", || stage.gate.kill())?;
    narrator.say(&format!("Waiting: the door was opened for {OPEN_FOR_S} seconds ..."));
    let patience = Duration::from_secs(OPEN_FOR_S) + SLACK;
    narrator.check("the door is closed, with nobody there but the kernel", || {
        probe::wait_until_closed(&stage.laptop.namespace, None, stage.ssh(), patience)
    })?;
    narrator.check("the session that was established goes on", || session.expect_ssh_alive())?;
    narrator.check("a new one gets no answer", || {
        probe::expect_silence(&stage.laptop.namespace, None, stage.ssh())
    })
}

fn open_again_with_own_client(narrator: &mut Narrator, stage: &mut Stage) -> Result<()> {
    narrator.chapter("A new daemon, and Postern's own client");
    narrator.check("posternd is back and took over the gate it found", || stage.gate.restart())?;
    let knocks: Vec<String> = KNOCKS.iter().map(ToString::to_string).collect();
    let address = stage.gateway.v4.to_string();
    narrator.command("laptop", &format!("postern knock {address} {} --probe tcp/22", knocks.join(" ")));
    let postern = binaries::path("postern")?;
    let mut command = stage.laptop.namespace.command(&postern.to_string_lossy())?;
    command.args(["knock", &address]).args(&knocks).args(["--probe", "tcp/22"]);
    let said = narrator.check("it knocks, and tells by its exit code that the door is open", || {
        process::success(&mut command)
    })?;
    narrator.quote(said.trim_end());
    let session =
        Session::get_in(&stage.laptop.namespace, None, stage.ssh()).context("after postern knock")?;
    narrator.quote(session.greeting());
    narrator.check("the stranger still gets no answer", || {
        probe::expect_silence(&stage.stranger.namespace, None, stage.ssh())
    })
}

/// A sequence as the stock client wants it.
fn words(knocks: &[Payload]) -> String {
    let word = |knock: &Payload| {
        let text = knock.to_string();
        text.split_once('/').map(|(protocol, value)| format!("{value}:{protocol}")).unwrap_or(text)
    };
    knocks.iter().map(word).collect::<Vec<_>>().join(" ")
}

/// Leaves everything running until the user has seen enough.
fn keep(stage: &Stage) -> Result<()> {
    let (laptop, stranger) = (stage.laptop.namespace.name(), stage.stranger.namespace.name());
    let gateway = stage.gateway.namespace.name();
    let address = stage.gateway.v4;
    println!("\nIt is all still running. In another terminal, as root:\n");
    println!("  ip netns exec {laptop} knock {address} {}", words(&KNOCKS));
    println!(
        "  ip netns exec {laptop} ssh -v {address}        # open for {OPEN_FOR_S} seconds after a knock"
    );
    println!("  ip netns exec {stranger} nmap -Pn -p- {address}   # opens nothing, in any order");
    println!("  ip netns exec {gateway} iptables -S; ip netns exec {gateway} ipset list");
    println!("\nPress Enter to end and clean up.");
    if std::io::stdin().read_line(&mut String::new())? == 0 {
        println!("(No terminal: end with Ctrl-C or SIGTERM.)");
        loop {
            std::thread::park();
        }
    }
    Ok(())
}
