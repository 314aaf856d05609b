//! Two namespaces joined by one veth pair, and a subject that guards one of them.

use std::fmt::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use postern_e2e::frame::{Link, Payload, frame};
use postern_e2e::keyring::{SPA_PORT, base64};
use postern_e2e::process::{Background, wait_until};
use postern_e2e::sender::FrameSender;
use postern_e2e::{Backend, Control, DoorText, Gate, Lab, Namespace, Site};

use crate::meter;
use crate::traffic::replace;

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
    /// The stock Debian package as it comes, with one key.
    Fwknopd,
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
            Subject::Fwknopd => f.write_str("fwknopd"),
            Subject::Bare => f.write_str("bare libpcap loop"),
        }
    }
}

/// A key of the stock client: what it encrypts with, and what it signs with.
#[derive(Clone, Copy, Debug)]
pub struct StockKey<'a> {
    /// Octets of the encryption key.
    pub encryption: &'a [u8],
    /// Octets of the HMAC key.
    pub mac: &'a [u8],
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
        let site = |backend| doors.into_iter().fold(Site::new(backend), Site::door);
        Self::guarded(subject, |lab, inside| start(subject, lab, inside, knocks, site))
    }

    /// One door, [`SERVICE`], behind packets that the key opens: `native`'s lines of a site file for
    /// Postern, the same stock key for fwknopd.
    ///
    /// # Errors
    /// When anything cannot be set up.
    pub fn with_key(subject: Subject, key: &str, stock: StockKey<'_>) -> Result<Self> {
        Self::guarded(subject, |lab, inside| match subject {
            Subject::Postern(backend) => {
                silence(inside, "")?;
                let door =
                    DoorText::new("service", &["tcp/22"], &[]).open_for("3600s").with("spa = [\"bench\"]");
                Ok(Running::Gate(Gate::start(lab, inside, &Site::new(backend).door(door).key(key))?))
            }
            _ => {
                inside.run("iptables", &["-P", "INPUT", "DROP"])?;
                Ok(Running::Program(fwknopd(lab, inside, stock)?))
            }
        })
    }

    fn guarded(subject: Subject, start: impl FnOnce(&Lab, &Namespace) -> Result<Running>) -> Result<Self> {
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
        let running = start(&lab, &inside)?;
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

    /// The device's id, which its packets are bound to; `None` where there is none.
    ///
    /// # Errors
    /// When the daemon does not answer.
    pub fn device(&self) -> Result<Option<[u8; 16]>> {
        match &self.running {
            Running::Gate(gate) => Ok(Some(Control::connect(&gate.control())?.status()?.device)),
            Running::Program(_) => Ok(None),
        }
    }

    /// A datagram to the port of sealed packets.
    pub fn sealed(&self, source: Ipv4Addr, octets: &[u8]) -> Vec<u8> {
        let udp = frame(&self.link, IpAddr::V4(source), IpAddr::V4(GATEWAY), 40_002, Payload::udp(SPA_PORT));
        with_data(udp, octets)
    }

    /// A SYN to the gateway.
    pub fn syn(&self, source: Ipv4Addr, source_port: u16, port: u16) -> Vec<u8> {
        frame(&self.link, IpAddr::V4(source), IpAddr::V4(GATEWAY), source_port, Payload::syn(port))
    }
}

/// Starts a subject that is told to watch for a sequence.
fn start(
    subject: Subject,
    lab: &Lab,
    inside: &Namespace,
    knocks: &[u16],
    site: impl FnOnce(Backend) -> Site,
) -> Result<Running> {
    match subject {
        Subject::Postern(backend) => {
            silence(inside, "")?;
            Ok(Running::Gate(Gate::start(lab, inside, &site(backend))?))
        }
        Subject::Knockd => {
            inside.run("ipset", &["create", "open", "hash:ip"])?;
            silence(inside, "-m set --match-set open src")?;
            Ok(Running::Program(knockd(lab, inside, knocks)?))
        }
        Subject::Fwknopd => bail!("fwknopd knows no sequences"),
        Subject::Bare => {
            silence(inside, "")?;
            let ports: Vec<String> = knocks.iter().map(|port| format!("tcp dst port {port}")).collect();
            let filter = format!("({}) and tcp[13] & 0x12 == 2", ports.join(" or "));
            let own = std::env::current_exe()?;
            let own = own.to_str().context("a path is text")?;
            Ok(Running::Program(inside.start(own, &["--receive", &filter])?))
        }
    }
}

/// Gives a frame with a UDP datagram over IPv4 these octets as data. The checksums of IP and UDP are
/// right and absent.
fn with_data(mut frame: Vec<u8>, octets: &[u8]) -> Vec<u8> {
    const IP: usize = 14;
    const UDP: usize = IP + 20;
    frame.truncate(UDP + 8);
    frame.extend(octets);
    let length = |from: usize| u16::try_from(frame.len() - from).unwrap_or(u16::MAX);
    let (of_ip, of_udp) = (length(IP), length(UDP));
    replace(&mut frame, IP + 2, of_ip, &[IP + 10]);
    frame[UDP + 4..UDP + 6].copy_from_slice(&of_udp.to_be_bytes());
    frame[UDP + 6..UDP + 8].fill(0);
    frame
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

/// The stock daemon with one key and otherwise Debian's defaults.
fn fwknopd(lab: &Lab, inside: &Namespace, key: StockKey<'_>) -> Result<Background> {
    let write = |name: &str, text: String| -> Result<String> {
        let path = lab.directory().join(name);
        std::fs::write(&path, text)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
        Ok(path.to_str().context("a path is text")?.to_owned())
    };
    let (encryption, mac) = (base64(key.encryption), base64(key.mac));
    let access = format!(
        "SOURCE ANY\nKEY_BASE64 {encryption}\nHMAC_KEY_BASE64 {mac}\nHMAC_DIGEST_TYPE SHA256\n\
         FW_ACCESS_TIMEOUT 3600\n"
    );
    let access = write("access.conf", access)?;
    let config = write("fwknopd.conf", "PCAP_INTF eth0;\nPCAP_FILTER udp port 62201;\n".to_owned())?;
    let run = lab.directory().join("fwknop");
    std::fs::create_dir_all(&run)?;
    let run = run.to_str().context("a path is text")?;
    inside.start("fwknopd", &["-f", "-i", "eth0", "-c", &config, "-a", &access, "-r", run])
}
