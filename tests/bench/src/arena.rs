//! Two namespaces joined by one veth pair, and a subject that guards one of them.

use std::fmt::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::time::Duration;

use anyhow::{Context, Result};
use postern_e2e::frame::{Link, Payload, frame};
use postern_e2e::process::{Background, wait_until};
use postern_e2e::sender::FrameSender;
use postern_e2e::{Backend, DoorText, Gate, Lab, Namespace, Site};

use crate::meter;

/// The guarded service.
pub const SERVICE: u16 = 22;
/// The sequence of every benchmark: neither rising nor falling.
pub const KNOCKS: [u16; 4] = [17_351, 9_011, 31_490, 4_722];
/// The sequence of knockd's own sample.
pub const SAMPLE: [u16; 3] = [7_000, 8_000, 9_000];
/// A port nobody watches.
pub const IRRELEVANT: u16 = 50_000;
/// The guarded side.
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
/// Addresses a client may knock from.
pub const CLIENTS: usize = 250;
/// Lets a site be compiled that the check refuses, for knockd's own sample.
const ALLOW: &str =
    "allow = [\"monotone-sequence\", \"short-sequence\", \"scan-probability\", \"service-port\"]";

/// Who guards the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// Postern with one of its back ends.
    Postern(Backend),
    /// The stock Debian package; its command adds the client to a kernel set, the cheapest way it has.
    Knockd,
    /// Nobody: a libpcap loop that counts.
    Bare,
}

impl Subject {
    /// Everybody who opens doors.
    pub const GUARDS: [Subject; 3] =
        [Subject::Postern(Backend::Iptables), Subject::Postern(Backend::Nftables), Subject::Knockd];
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Subject::Postern(backend) => write!(f, "Postern, {backend}"),
            Subject::Knockd => f.write_str("knockd"),
            Subject::Bare => f.write_str("bare libpcap loop"),
        }
    }
}

/// What runs. Dropped before the namespaces.
#[derive(Debug)]
enum Running {
    Gate(Gate),
    Program(Background),
}

/// A subject at work, alone with its senders.
#[derive(Debug)]
pub struct Arena {
    running: Running,
    _service: TcpListener,
    /// The side that sends.
    pub outside: Namespace,
    link: Link,
    _lab: Lab,
}

impl Arena {
    /// One door, [`SERVICE`], behind `knocks`.
    ///
    /// # Errors
    /// When anything cannot be set up.
    pub fn new(subject: Subject, knocks: &[u16]) -> Result<Self> {
        let steps: Vec<Payload> = knocks.iter().map(|&port| Payload::syn(port)).collect();
        let mut door = DoorText::new("service", &["tcp/22"], &steps).open_for("3600s");
        if knocks.len() < KNOCKS.len() {
            door = door.with(ALLOW);
        }
        Self::with_doors(subject, knocks, vec![door])
    }

    /// Postern gets all of `doors`; the others only the sequence `knocks`.
    ///
    /// # Errors
    /// When anything cannot be set up.
    pub fn with_doors(subject: Subject, knocks: &[u16], doors: Vec<DoorText>) -> Result<Self> {
        let lab = Lab::new()?;
        let (inside, outside) = (lab.namespace("gateway")?, lab.namespace("outside")?);
        let (own, other) = lab.veth((&inside, "eth0"), (&outside, "eth0"))?;
        inside.ip(&format!("addr add {GATEWAY}/15 dev eth0"))?;
        let (mut addresses, mut neighbours) = (String::new(), String::new());
        for client in 0..CLIENTS {
            let address = client_address(client);
            let _ = writeln!(addresses, "addr add {address}/15 dev eth0");
            let _ = writeln!(neighbours, "neigh replace {address} lladdr {other} dev eth0 nud permanent");
        }
        outside
            .ip_batch(&format!("{addresses}neigh replace {GATEWAY} lladdr {own} dev eth0 nud permanent\n"))?;
        inside.ip_batch(&neighbours)?;
        let service = inside.enter(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, SERVICE)))?;
        let running = match subject {
            Subject::Postern(backend) => {
                silence(&inside, "")?;
                let site = doors.into_iter().fold(Site::new(backend), Site::door);
                Running::Gate(Gate::start(&lab, &inside, &site)?)
            }
            Subject::Knockd => {
                inside.run("ipset", &["create", "open", "hash:ip"])?;
                silence(&inside, "-m set --match-set open src")?;
                Running::Program(knockd(&lab, &inside, knocks)?)
            }
            Subject::Bare => {
                silence(&inside, "")?;
                let ports: Vec<String> = knocks.iter().map(|port| format!("tcp dst port {port}")).collect();
                let filter = format!("({}) and tcp[13] & 0x12 == 2", ports.join(" or "));
                let own = std::env::current_exe()?;
                let own = own.to_str().context("a path is text")?;
                Running::Program(inside.start(own, &["--receive", &filter])?)
            }
        };
        let capturing = || inside.enter(|| std::fs::read_to_string("/proc/thread-self/net/packet")).ok();
        wait_until("the capture", || capturing().filter(|text| text.lines().count() > 1))?;
        if !matches!(subject, Subject::Postern(_)) {
            // Only Postern says when it is ready; the others have a filter to compile still.
            std::thread::sleep(Duration::from_millis(500));
        }
        let link = Link { source: other, target: own, tags: Vec::new() };
        let mut arena = Self { running, _service: service, outside, link, _lab: lab };
        let pid = arena.pid();
        meter::pin(i32::try_from(pid)?, meter::SUBJECT_CORE);
        meter::prefer(pid);
        Ok(arena)
    }

    /// The subject's process.
    pub fn pid(&mut self) -> u32 {
        match &mut self.running {
            Running::Gate(gate) => gate.daemon().pid(),
            Running::Program(program) => program.pid(),
        }
    }

    /// Frames its capture lost, as far as it says so.
    pub fn lost(&self) -> Option<u64> {
        let Running::Gate(gate) = &self.running else { return None };
        let lines = gate.log_with("CAP-DROP");
        let count =
            |line: &String| line.split("frames=").nth(1)?.split_whitespace().next()?.parse::<u64>().ok();
        Some(lines.iter().filter_map(count).sum())
    }

    /// A packet socket on the sending side.
    ///
    /// # Errors
    /// From the kernel.
    pub fn sender(&self) -> Result<FrameSender> {
        FrameSender::open(&self.outside, "eth0")
    }

    /// A SYN to the gateway.
    pub fn syn(&self, source: Ipv4Addr, source_port: u16, port: u16) -> Vec<u8> {
        frame(&self.link, IpAddr::V4(source), IpAddr::V4(GATEWAY), source_port, Payload::syn(port))
    }
}

/// Address of a client by number.
pub fn client_address(client: usize) -> Ipv4Addr {
    Ipv4Addr::new(198, 19, 1, u8::try_from(client + 1).unwrap_or(u8::MAX))
}

/// The same firewall for everybody beside the subject: only the service is let in, if the subject
/// does, and nothing is answered.
fn silence(inside: &Namespace, condition: &str) -> Result<()> {
    let rule = format!("-A INPUT -p tcp --dport {SERVICE} {condition} -j ACCEPT");
    inside.run("iptables", &rule.split_whitespace().collect::<Vec<_>>())?;
    inside.run("iptables", &["-P", "INPUT", "DROP"])?;
    Ok(())
}

fn knockd(lab: &Lab, inside: &Namespace, knocks: &[u16]) -> Result<Background> {
    let path = lab.directory().join("knockd.conf");
    let ports: Vec<String> = knocks.iter().map(ToString::to_string).collect();
    let ipset = postern_e2e::tool::path("ipset")?;
    std::fs::write(
        &path,
        format!(
            "[options]\n\tinterface = eth0\n[service]\n\tsequence = {}\n\tseq_timeout = 10\n\ttcpflags = syn\n\
             \tcommand = {} -exist add open %IP%\n",
            ports.join(","),
            ipset.display(),
        ),
    )?;
    inside.start("knockd", &["-i", "eth0", "-c", path.to_str().context("a path is text")?])
}
