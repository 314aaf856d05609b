//! The stanzas of access.conf: what each lets whom do.

use std::net::{Ipv4Addr, SocketAddrV4};

use postern_config::site::StoredNetwork;
use postern_core::ServicePort;
use postern_core::limits::{FWKNOP_KEYS_MAX, OPEN_FOR_MAX, SOURCES_PER_KEY_MAX};

use super::grammar::Line;
use super::secrets::Secrets;
use crate::finding::Finding;
use crate::import::report::{Text, note, refusal, shown, warning};
use crate::site::{calendar, notation};

/// Directives of a stanza that are read.
const READ: [&str; 18] = [
    "SOURCE",
    "OPEN_PORTS",
    "RESTRICT_PORTS",
    "KEY",
    "KEY_BASE64",
    "HMAC_KEY",
    "HMAC_KEY_BASE64",
    "HMAC_DIGEST_TYPE",
    "ENCRYPTION_MODE",
    "FW_ACCESS_TIMEOUT",
    "MAX_FW_TIMEOUT",
    "REQUIRE_USERNAME",
    "REQUIRE_SOURCE_ADDRESS",
    "REQUIRE_SOURCE",
    "ACCESS_EXPIRE",
    "ACCESS_EXPIRE_EPOCH",
    "DESTINATION",
    "FORCE_NAT",
];

/// Directives without which the stanza would do something else: it is refused, and why.
const REFUSED: [(&str, &str, &str, &str); 8] = [
    ("CMD_CYCLE_OPEN", "command-cycle", "the stanza opens by a command, and none is run here", CYCLE),
    ("CMD_CYCLE_CLOSE", "command-cycle", "the stanza closes by a command, and none is run here", CYCLE),
    ("CMD_CYCLE_TIMER", "command-cycle", "the stanza runs commands, and none is run here", CYCLE),
    ("FORWARD_ALL", "forward-all", "the stanza forwards every port", NAT),
    ("DISABLE_DNAT", "disable-dnat", "the stanza forwards without changing the destination", NAT),
    ("%INCLUDE", "include", "included files are not read", INCLUDE),
    ("%INCLUDE_FOLDER", "include", "included files are not read", INCLUDE),
    ("%INCLUDE_KEYS", "include", "included files are not read", INCLUDE),
];
const CYCLE: &str = "Write the ports the command opens as OPEN_PORTS.";
const NAT: &str = "Write a door with `forward` by hand.";
const INCLUDE: &str = "Put its lines here.";

/// Directives that are lost without harm to anybody but who uses them, and why.
const LOST: [(&str, &str); 8] = [
    ("ENABLE_CMD_EXEC", "no command is ever run for a client"),
    ("ENABLE_CMD_SUDO_EXEC", "no command is ever run for a client"),
    ("CMD_EXEC_USER", "no command is ever run for a client"),
    ("CMD_EXEC_GROUP", "no command is ever run for a client"),
    ("CMD_SUDO_EXEC_USER", "no command is ever run for a client"),
    ("CMD_SUDO_EXEC_GROUP", "no command is ever run for a client"),
    ("FORCE_SNAT", "source addresses are never changed: that is for rules of your own"),
    ("FORCE_MASQUERADE", "source addresses are never changed: that is for rules of your own"),
];

/// Directives of GPG, lost beside a symmetric key.
const GPG: [&str; 10] = [
    "GPG_HOME_DIR",
    "GPG_EXE",
    "GPG_DECRYPT_ID",
    "GPG_DECRYPT_PW",
    "GPG_ALLOW_NO_PW",
    "GPG_REQUIRE_SIG",
    "GPG_DISABLE_SIG",
    "GPG_IGNORE_SIG_VERIFY_ERROR",
    "GPG_REMOTE_ID",
    "GPG_FINGERPRINT_ID",
];

/// fwknopd's own times, in seconds.
const ACCESS_TIMEOUT_SECS: u32 = 30;
const ACCESS_TIMEOUT_MAX_SECS: u32 = 300;

/// The lines of one stanza.
#[derive(Debug)]
pub(super) struct Stanza<'a> {
    /// What stands behind SOURCE, with which it begins.
    pub(super) source: Text<'a>,
    /// All its lines, SOURCE too.
    pub(super) lines: Vec<Line<'a>>,
}

impl<'a> Stanza<'a> {
    /// The last value of a directive: fwknopd overwrites the earlier ones.
    pub(super) fn last(&self, name: &str) -> Option<Text<'a>> {
        self.lines.iter().rev().find(|line| line.is(name)).map(|line| line.value)
    }

    fn is_on(&self, name: &str) -> bool {
        self.last(name).is_some_and(|value| is_yes(value.text))
    }
}

/// As fwknopd reads a switch: by the first letter.
pub(super) fn is_yes(value: &str) -> bool {
    value.starts_with(['y', 'Y'])
}

/// A stanza that became a key.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) name: String,
    /// Line of its stanza.
    pub(super) line: u32,
    pub(super) person: Option<String>,
    pub(super) secrets: Secrets,
    /// None is every network.
    pub(super) sources: Vec<StoredNetwork>,
    pub(super) ports: Vec<ServicePort>,
    /// Where its ports lead.
    pub(super) forward: Option<SocketAddrV4>,
    pub(super) open_for_secs: u32,
    pub(super) longest_secs: u32,
    /// Seconds since 1970.
    pub(super) until: Option<u64>,
}

/// What became of all stanzas.
#[derive(Debug, Default)]
pub(super) struct Stanzas {
    pub(super) keys: Vec<Key>,
    /// Line and reason.
    pub(super) refused: Vec<(u32, String)>,
}

/// Reads all stanzas.
pub(super) fn read(lines: Vec<Line<'_>>, findings: &mut Vec<Finding>) -> Stanzas {
    let mut found: Vec<Stanza<'_>> = Vec::new();
    for line in lines {
        if line.is("SOURCE") {
            found.push(Stanza { source: line.value, lines: vec![line] });
        } else if let Some(stanza) = found.last_mut() {
            stanza.lines.push(line);
        } else {
            let message = format!("`{}` stands before the first SOURCE", shown(line.name.text));
            let suggestion = "A stanza begins with `SOURCE ANY`.";
            findings.push(refusal(line.name.place, "no-stanza", message, suggestion));
        }
    }
    let mut stanzas = Stanzas::default();
    for stanza in &found {
        let key = key(stanza, findings).and_then(|key| fits(&stanzas.keys, key, stanza));
        match key {
            Ok(key) => stanzas.keys.push(key),
            Err(finding) => {
                stanzas.refused.push((stanza.source.place.line, finding.message.clone()));
                findings.push(finding);
            }
        }
    }
    stanzas
}

/// Whether a key goes with those before it.
fn fits(keys: &[Key], key: Key, stanza: &Stanza<'_>) -> Result<Key, Finding> {
    if keys.len() == FWKNOP_KEYS_MAX {
        let message = format!("a gateway has {FWKNOP_KEYS_MAX} keys of stock clients at most");
        let suggestion = "Give more people keys of Postern's own: they cost nothing each.";
        return Err(refusal(stanza.source.place, "too-many-keys", message, suggestion));
    }
    if let Some(other) = keys.iter().find(|other| other.secrets.same_mac(&key.secrets)) {
        let message = format!("its HMAC key is that of the stanza in line {}", other.line);
        let suggestion = "Make a key of its own with `fwknop --key-gen`, or put both stanzas together.";
        return Err(refusal(stanza.source.place, "same-keys", message, suggestion));
    }
    let elsewhere = |other: &&Key| {
        other.forward != key.forward && other.ports.iter().any(|port| key.ports.contains(port))
    };
    if let Some(other) = keys.iter().find(elsewhere) {
        let message = format!("a port of it leads elsewhere by the stanza in line {}", other.line);
        let suggestion = "Give the service behind the gateway a port of the gateway that nothing else has.";
        return Err(refusal(stanza.source.place, "force-nat", message, suggestion));
    }
    Ok(key)
}

fn key(stanza: &Stanza<'_>, findings: &mut Vec<Finding>) -> Result<Key, Finding> {
    for line in &stanza.lines {
        known(line)?;
    }
    let secrets = Secrets::read(stanza)?;
    let sources = sources(stanza.source)?;
    let ports = ports(stanza)?;
    let forward = stanza.last("FORCE_NAT").map(forward).transpose()?;
    let open_for_secs = seconds(stanza.last("FW_ACCESS_TIMEOUT"), ACCESS_TIMEOUT_SECS, findings)?;
    let longest_secs = seconds(stanza.last("MAX_FW_TIMEOUT"), ACCESS_TIMEOUT_MAX_SECS, findings)?;
    let until = until(stanza)?;
    let person = stanza.last("REQUIRE_USERNAME").map(|user| person(user, findings)).transpose()?;
    remarks(stanza, findings);
    let line = stanza.source.place.line;
    let name = format!("stanza-{line}");
    let longest_secs = longest_secs.max(open_for_secs);
    Ok(Key { name, line, person, secrets, sources, ports, forward, open_for_secs, longest_secs, until })
}

/// Refuses what nobody knows, and what would make the stanza another.
fn known(line: &Line<'_>) -> Result<(), Finding> {
    for (name, code, message, suggestion) in REFUSED {
        let off = matches!(name, "FORWARD_ALL" | "DISABLE_DNAT") && !is_yes(line.value.text);
        if line.is(name) && !off {
            return Err(refusal(line.name.place, code, message, suggestion));
        }
    }
    let known = READ.iter().chain(&GPG).chain(LOST.iter().map(|(name, _)| name));
    let mut known = known.chain(REFUSED.iter().map(|(name, ..)| name));
    if known.any(|name| line.is(name)) {
        return Ok(());
    }
    let message = format!("nobody knows what `{}` says", shown(line.name.text));
    Err(refusal(line.name.place, "unknown-directive", message, "Correct it, or delete the line."))
}

fn sources(value: Text<'_>) -> Result<Vec<StoredNetwork>, Finding> {
    let mut networks = Vec::new();
    for part in parts(value) {
        if part.text.eq_ignore_ascii_case("ANY") {
            return Ok(Vec::new());
        }
        let network = notation::network(part.text);
        let message = |why| format!("`{}` is no network: {why}", shown(part.text));
        let suggestion = "Write ANY, or networks such as 192.0.2.0/24.";
        networks.push(network.map_err(|why| refusal(part.place, "source", message(why), suggestion))?);
    }
    if networks.len() > SOURCES_PER_KEY_MAX {
        let message = format!("a key has {SOURCES_PER_KEY_MAX} networks at most");
        return Err(refusal(value.place, "source", message, "Write fewer and wider ones."));
    }
    Ok(networks)
}

/// The ports that may be asked for.
fn ports(stanza: &Stanza<'_>) -> Result<Vec<ServicePort>, Finding> {
    let Some(open) = stanza.last("OPEN_PORTS") else {
        let message = "without OPEN_PORTS the stanza opens whatever port is asked for";
        let suggestion = "Write the ports this client needs: `OPEN_PORTS tcp/22`.";
        return Err(refusal(stanza.source.place, "every-port", message, suggestion));
    };
    let mut ports = port_list(open)?;
    if let Some(restricted) = stanza.last("RESTRICT_PORTS") {
        let restricted = port_list(restricted)?;
        ports.retain(|port| !restricted.contains(port));
    }
    if ports.is_empty() {
        let message = "no port is left that the stanza could open";
        return Err(refusal(open.place, "no-port", message, "Leave the stanza out."));
    }
    Ok(ports)
}

fn port_list(value: Text<'_>) -> Result<Vec<ServicePort>, Finding> {
    let mut ports = Vec::new();
    for part in parts(value) {
        let port = match part.text.to_ascii_lowercase().split_once('/') {
            Some(("tcp", number)) => number.parse().ok().map(ServicePort::tcp),
            Some(("udp", number)) => number.parse().ok().map(ServicePort::udp),
            _ => None,
        };
        let Some(port) = port.filter(|port| port.port != 0) else {
            let message = format!("`{}` is no port", shown(part.text));
            return Err(refusal(part.place, "port", message, "Write `tcp/22` or `udp/1194`."));
        };
        if !ports.contains(&port) {
            ports.push(port);
        }
    }
    Ok(ports)
}

/// An address and a port behind the gateway, with blanks between them.
fn forward(value: Text<'_>) -> Result<SocketAddrV4, Finding> {
    let mut words = value.text.split_whitespace();
    let host = words.next().and_then(|word| word.parse::<Ipv4Addr>().ok());
    let port = words.next().and_then(|word| word.parse::<u16>().ok()).filter(|port| *port != 0);
    let host = host.filter(|host| {
        !(host.is_unspecified() || host.is_loopback() || host.is_multicast() || host.is_broadcast())
    });
    match (host, port, words.next()) {
        (Some(host), Some(port), None) => Ok(SocketAddrV4::new(host, port)),
        _ => {
            let message = format!("`{}` is no address and port behind the gateway", shown(value.text));
            Err(refusal(value.place, "force-nat", message, "Write it as `FORCE_NAT 192.168.10.5 22`."))
        }
    }
}

/// What stands between commas.
fn parts(value: Text<'_>) -> impl Iterator<Item = Text<'_>> {
    let mut start = 0;
    value.text.split(',').map(move |part| {
        let text = value.slice(start, part.len()).trim();
        start += part.len() + 1;
        text
    })
}

fn seconds(value: Option<Text<'_>>, default: u32, findings: &mut Vec<Finding>) -> Result<u32, Finding> {
    let Some(value) = value else { return Ok(default) };
    let suggestion = "Write a number of seconds.";
    let message = || format!("`{}` is no number of seconds", shown(value.text));
    let secs: u32 = value.text.parse().map_err(|_| refusal(value.place, "seconds", message(), suggestion))?;
    let most = u32::try_from(OPEN_FOR_MAX.millis() / 1000).unwrap_or(u32::MAX);
    if secs == 0 {
        // So does fwknopd.
        return Ok(default);
    }
    if secs > most {
        let message = format!("a door is open for {most} seconds at most; that is written instead");
        findings.push(warning(value.place, "seconds", message, ""));
    }
    Ok(secs.min(most))
}

/// The end of the key, in seconds since 1970; both directives are the beginning of what is too late.
fn until(stanza: &Stanza<'_>) -> Result<Option<u64>, Finding> {
    if let Some(value) = stanza.last("ACCESS_EXPIRE_EPOCH") {
        let message = format!("`{}` is no number of seconds since 1970", shown(value.text));
        let secs = value.text.parse().map_err(|_| refusal(value.place, "expire", message, "Correct it."))?;
        return Ok(Some(secs));
    }
    let Some(value) = stanza.last("ACCESS_EXPIRE") else { return Ok(None) };
    let mut numbers = value.text.split('/').map(str::parse::<u16>);
    let date = match (numbers.next(), numbers.next(), numbers.next(), numbers.next()) {
        (Some(Ok(month)), Some(Ok(day)), Some(Ok(year)), None) => {
            let month = u8::try_from(month).ok();
            let day = u8::try_from(day).ok();
            month.zip(day).and_then(|(month, day)| calendar::secs(year, month, day, 0, 0, 0))
        }
        _ => None,
    };
    let message = || format!("`{}` is no day", shown(value.text));
    let suggestion = "Write it as 12/31/2027.";
    date.map(Some).ok_or_else(|| refusal(value.place, "expire", message(), suggestion))
}

/// The user's name, when it can be one here.
fn person(user: Text<'_>, findings: &mut Vec<Finding>) -> Result<String, Finding> {
    let message = "the client writes into a packet whatever name it likes: the key says who it is, and a packet \
                   with another name counts too";
    findings.push(note(user.place, "user-name", message, ""));
    let fits = (1..=postern_core::limits::NAME_BYTES_MAX).contains(&user.text.len());
    if fits && user.text.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"-_.".contains(&octet)) {
        return Ok(user.text.to_owned());
    }
    let message = format!("`{}` is no name of a person here", shown(user.text));
    let suggestion = "Use at most 32 letters, digits, dots, dashes and underscores.";
    Err(refusal(user.place, "user-name", message, suggestion))
}

/// What is lost, and what is otherwise.
fn remarks(stanza: &Stanza<'_>, findings: &mut Vec<Finding>) {
    for line in &stanza.lines {
        let place = line.name.place;
        let on = !line.value.text.starts_with(['n', 'N']);
        if let Some((_, why)) = LOST.iter().find(|(name, _)| line.is(name) && on) {
            findings.push(warning(place, "not-carried-over", *why, ""));
        }
        if GPG.iter().any(|name| line.is(name)) {
            findings.push(warning(
                place,
                "gpg",
                "GPG packets are not read",
                "The symmetric key is imported.",
            ));
        }
        if line.is("DESTINATION") && !line.value.text.eq_ignore_ascii_case("ANY") {
            let message = "packets to every address of the gateway count";
            findings.push(warning(place, "destination", message, "A door may have a `target`."));
        }
    }
    for name in ["REQUIRE_SOURCE_ADDRESS", "REQUIRE_SOURCE"] {
        if let Some(value) = stanza.last(name).filter(|_| stanza.is_on(name)) {
            let message = "packets that name no address (-s) count too: who catches one before it arrives can use \
                           it from elsewhere";
            let suggestion = "See to it that the client sends -a or -R.";
            findings.push(warning(value.place, "source-required", message, suggestion));
        }
    }
    if !stanza.source.text.eq_ignore_ascii_case("ANY") {
        let message =
            "the address a packet names must be of these networks too, not only the one it comes from";
        findings.push(note(stanza.source.place, "source", message, ""));
    }
}
