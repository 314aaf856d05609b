//! The two programs, the same configuration, the same frames.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use postern_core::engine::Input;
use postern_core::hash::HashKey;
use postern_core::matcher::Progress;
use postern_core::port::{Frame, LinkType};
use postern_core::rule::{Purpose, RuleSet};
use postern_core::{Engine, Instant, InterfaceIndex, wire};
use postern_e2e::frame::{Link, Payload, frame};
use postern_e2e::process::{self, Background};
use postern_e2e::sender::FrameSender;
use postern_e2e::{Host, Lab, binaries};

use super::model::{Door, Opened, Packet};
use super::trace::Planned;

/// Doors both programs get beside those under test.
pub(crate) const POISON: Payload = Payload::udp(60_999);
pub(crate) const SENTINEL: [Payload; 3] = [Payload::udp(62_011), Payload::udp(61_502), Payload::udp(62_703)];

/// A namespace in which stock knockd listens, and one that sends.
pub(crate) struct Stage {
    knockd: Background,
    sender: FrameSender,
    link: Link,
    sentinels: u8,
    pub(crate) gateway: Host,
    pub(crate) rules: Box<RuleSet>,
    /// Dropped last.
    _lab: Lab,
}

impl Stage {
    /// Starts knockd with `doors` (a function of the gateway's addresses) and imports the very
    /// same file for Postern.
    pub(crate) fn start(doors: impl FnOnce(&Host) -> Vec<Door>) -> Result<(Self, Vec<Door>)> {
        let lab = Lab::new()?;
        let gateway = lab.host("gateway")?;
        let client = lab.host("client")?;
        let doors = doors(&gateway);
        let conf = lab.directory().join("knockd.conf");
        // What knockd runs by this name does nothing; the importer reads it as what it is called.
        let harmless = lab.directory().join("iptables");
        std::os::unix::fs::symlink("/bin/true", &harmless)?;
        std::fs::write(&conf, conf_text(&doors, &harmless))?;
        let rules = import(&conf)?;
        let arguments = ["-v", "-i", "eth0", "-c", conf.to_str().context("a path is text")?];
        let mut knockd = gateway.namespace.start("knockd", &arguments)?;
        knockd.wait_for_line("listening on eth0", 0)?;
        let sender = FrameSender::open(&client.namespace, "eth0")?;
        let link = Link { source: client.mac, target: gateway.mac, tags: Vec::new() };
        let stage = Self { knockd, sender, link, sentinels: 0, gateway, rules, _lab: lab };
        Ok((stage, doors))
    }

    /// Sends one packet and says when.
    pub(crate) fn send(&mut self, planned: &Planned) -> Result<Packet> {
        // Every packet has a millisecond of its own, and knockd's capture buffer never fills.
        std::thread::sleep(Duration::from_millis(1));
        let Planned { source, target, payload } = *planned;
        let at_ms = wall_ms()?;
        self.sender.send(&self.frame_of(planned))?;
        Ok(Packet { at_ms, source, target, payload })
    }

    /// Ends every attempt of `source` in knockd, whose failures would reach into the next trace.
    pub(crate) fn poison(&mut self, source: IpAddr, targets: &[IpAddr]) -> Result<()> {
        for &target in targets.iter().filter(|target| target.is_ipv4() == source.is_ipv4()) {
            self.send(&Planned { source, target, payload: POISON })?;
        }
        Ok(())
    }

    /// Every sequence knockd saw completed so far, by source, in order.
    pub(crate) fn knockd_opened(&mut self, doors: &[Door]) -> Result<HashMap<IpAddr, Vec<Opened>>> {
        self.sentinels += 1;
        let source = IpAddr::from([100, 127, 0, self.sentinels]);
        for payload in SENTINEL {
            self.send(&Planned { source, target: self.gateway.v4.into(), payload })?;
        }
        self.knockd.wait_for_line(&format!("{source}: sentinel: OPEN SESAME"), 0)?;
        let mut opened: HashMap<IpAddr, Vec<Opened>> = HashMap::new();
        for line in self.knockd.stdout().all() {
            let Some(line) = line.strip_suffix(": OPEN SESAME") else { continue };
            let (source, name) = line.rsplit_once(": ").context("a door has a name")?;
            let Some(door) = doors.iter().find(|door| door.name == name) else { continue };
            let source: IpAddr = source.parse()?;
            opened.entry(source).or_default().push((source, door.name));
        }
        Ok(opened)
    }

    fn frame_of(&self, planned: &Planned) -> Vec<u8> {
        frame(&self.link, planned.source, planned.target, 40_000, planned.payload)
    }

    /// The sequences Postern's engine saw completed in a trace.
    pub(crate) fn postern_opened(
        &self,
        engine: &mut Engine,
        doors: &[Door],
        trace: &[Packet],
    ) -> Vec<Opened> {
        let mut opened = Vec::new();
        for packet in trace {
            let Packet { at_ms, source, target, payload } = *packet;
            let bytes = self.frame_of(&Planned { source, target, payload });
            let now = Instant::from_millis(at_ms);
            let effects = engine.handle(Input::Frame(captured(&bytes)), now);
            for command in effects {
                let done = Input::FirewallDone { grant: command.grant(), result: Ok(()) };
                assert!(engine.handle(done, now).is_empty());
            }
            for (sequence, progress) in engine.take_trace().into_iter().flat_map(|trace| trace.progress) {
                let name = self.door_of(sequence, doors);
                opened.extend(name.filter(|_| progress == Progress::Completed).map(|name| (source, name)));
            }
        }
        opened
    }

    /// A closing sequence was a door of its own in knockd, called `close-` and the door's name.
    fn door_of(&self, sequence: postern_core::SequenceId, doors: &[Door]) -> Option<&'static str> {
        let sequence = self.rules.sequence(sequence)?;
        let door = self.rules.door(sequence.door)?;
        let name = match sequence.purpose {
            Purpose::Open => door.name.to_string(),
            Purpose::Close => format!("close-{}", door.name),
        };
        doors.iter().find(|door| door.name == name).map(|door| door.name)
    }

    /// Whether Postern takes the packet for a touch of a guard port.
    pub(crate) fn is_guarded(&self, packet: &Packet) -> bool {
        let Packet { source, target, payload, .. } = *packet;
        let bytes = self.frame_of(&Planned { source, target, payload });
        wire::parse(&captured(&bytes)).is_ok_and(|knock| self.rules.is_guarded(&knock))
    }

    /// An engine with the imported rules.
    pub(crate) fn engine(&self) -> Box<Engine> {
        Box::new(Engine::new(RuleSet::clone(&self.rules), HashKey::new([7; 16])))
    }
}

fn captured(bytes: &[u8]) -> Frame<'_> {
    Frame { interface: InterfaceIndex(0), link: LinkType::Ethernet, bytes }
}

/// Milliseconds of the wall clock, which knockd goes by.
pub(crate) fn wall_ms() -> Result<u64> {
    Ok(u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?)
}

/// knockd.conf for `doors`; every door but the closing ones opens a port of its own.
fn conf_text(doors: &[Door], iptables: &Path) -> String {
    let mut text = "[options]\n\tinterface = eth0\n".to_owned();
    let fixed = [("poison", vec![Payload::udp(60_111), POISON, Payload::udp(60_222)], None)];
    let aimed = doors.iter().filter_map(|door| door.target).next();
    let aimed = aimed.map(|target| {
        ("poison-aimed", vec![Payload::udp(60_333), POISON, Payload::udp(60_444)], Some(target))
    });
    let own = [("sentinel", SENTINEL.to_vec(), None)];
    let helpers = fixed.into_iter().chain(aimed).chain(own);
    let helpers =
        helpers.map(|(name, steps, target)| Door { name, steps, timeout_s: 5, flags: None, target });
    let all: Vec<Door> = doors.iter().cloned().chain(helpers).collect();
    for (number, door) in all.iter().enumerate() {
        let closes = door.name.strip_prefix("close-");
        let opening = closes.and_then(|name| all.iter().position(|other| other.name == name));
        let port = 2000 + opening.unwrap_or(number);
        let method = if closes.is_some() { "-D" } else { "-A" };
        text.push_str(&section(
            door,
            &format!("{} {method} INPUT -s %IP% -p tcp --dport {port} -j ACCEPT", iptables.display()),
        ));
    }
    text
}

fn section(door: &Door, command: &str) -> String {
    let steps: Vec<String> = door
        .steps
        .iter()
        .map(|step| match step {
            Payload::Tcp { port, .. } => port.to_string(),
            Payload::Udp { port } => format!("{port}:udp"),
            Payload::Echo { .. } => unreachable!("knockd knows no echo requests"),
        })
        .collect();
    let Door { name, timeout_s, .. } = door;
    let mut text = format!(
        "\n[{name}]\n\tsequence = {}\n\tseq_timeout = {timeout_s}\n\tcommand = {command}\n",
        steps.join(",")
    );
    if let Some((mask, value)) = door.flags {
        let names =
            [(0x01, "fin"), (0x02, "syn"), (0x04, "rst"), (0x08, "psh"), (0x10, "ack"), (0x20, "urg")];
        let looked_at = names.iter().filter(|(bit, _)| mask & bit != 0);
        let words: Vec<String> = looked_at
            .map(|(bit, name)| format!("{}{name}", if value & bit == 0 { "!" } else { "" }))
            .collect();
        text.push_str(&format!("\ttcpflags = {}\n", words.join(",")));
    }
    if let Some(target) = door.target {
        text.push_str(&format!("\ttarget = {target}\n"));
    }
    text
}

/// `postern import`, `postern compile`, and the store as the daemon reads it.
fn import(conf: &Path) -> Result<Box<RuleSet>> {
    let (site, store) = (conf.with_extension("toml"), conf.with_extension("store"));
    process::success(Command::new(binaries::path("postern")?).arg("import").arg(conf).arg("-o").arg(&site))?;
    // The differential is about matching: what the check thinks of a sequence does not matter.
    std::fs::write(&site, std::fs::read_to_string(&site)?.replace("\n# allow = ", "\nallow = "))?;
    let mut compile = Command::new(binaries::path("postern")?);
    process::success(compile.arg("compile").arg(&site).arg("-o").arg(&store))
        .with_context(|| std::fs::read_to_string(&site).unwrap_or_default())?;
    let site = postern::compile::read_back(&std::fs::read(&store)?).map_err(anyhow::Error::msg)?;
    let rules = site.rules().map_err(|error| anyhow::anyhow!("the engine refuses them: {error:?}"))?;
    ensure!(!rules.guards().is_empty(), "the compiler chose no guard ports");
    Ok(Box::new(rules))
}
