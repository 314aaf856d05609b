//! Reads the profile file and says of everything that is wrong where it stands.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use postern_core::knock::{Protocol, Step};
use postern_core::limits::STEPS_MAX;
use postern_core::rule::{Name, is_name};
use postern_core::spa::key::DeviceId;
use postern_core::spa::native::request::CLAIMS_MAX;
use postern_core::spa::rotating::{Protocols, Shape, ShapeError};
use toml_edit::TableLike;

use super::{Claim, Fixed, KeyPlace, Means, Profile, Rotating, Spa, private};
use crate::finding::{Finding, render};
use crate::knock::Family;
use crate::remote::failure::{Failure, Outcome};
use crate::site::rotating::{KNOCKS_DEFAULT, LOOK_AHEAD_DEFAULT, PORTS_DEFAULT};
use crate::site::{Reader, SPA_PORT_DEFAULT, WITHIN_DEFAULT_MILLIS, notation, start};

/// Times of a profile when it names none.
pub mod default {
    /// `delay`, in milliseconds: longer than packets overtake each other.
    pub const DELAY_MILLIS: u32 = 200;
    /// `timeout`, in milliseconds.
    pub const TIMEOUT_MILLIS: u32 = 1000;
    /// `retry`: enough for a link that loses every third packet.
    pub const RETRIES: u32 = 3;
}

/// Most retries.
pub const RETRIES_MAX: u32 = 20;

/// Longest lease that can be wished for, in milliseconds: a day, as for doors.
const LEASE_MAX_MILLIS: u64 = 86_400_000;

const WHERE: &str = "[[profile]]";
const OF_ALL: [&str; 7] = ["name", "gateway", "family", "door", "probe", "retry", "timeout"];
const OF_KEYS: [&str; 3] = ["device", "key_file", "first_counter"];
const OF_SPA: [&str; 7] = ["port", "epoch", "remember", "lease", "one_shot", "claim", "copies"];

/// Reads the file at `path`.
///
/// # Errors
/// [`Failure::InvalidProfile`] with everything that is wrong.
pub fn file(path: &Path) -> Outcome<Vec<Profile>> {
    let text = private::read(path, "profile file").map_err(Failure::InvalidProfile)?;
    let folder = path.parent().unwrap_or(Path::new("."));
    let (profiles, findings) = text_of(&text, folder);
    profiles.ok_or_else(|| {
        let shown = path.display().to_string();
        let all: String = findings.iter().map(|finding| render(&shown, &text, finding)).collect();
        Failure::InvalidProfile(format!("{shown} cannot be used\n{}", all.trim_end()))
    })
}

/// Reads the text of a profile file whose paths begin at `folder`.
pub fn text_of(text: &str, folder: &Path) -> (Option<Vec<Profile>>, Vec<Finding>) {
    let (profiles, mut findings) = Reader::parse(text, |reader, root| {
        reader.known_keys(root, "the file", &["schema", "profile"]);
        reader.schema(root);
        let mut names: Vec<String> = Vec::new();
        let profiles = reader.tables(root, "profile", "profile", |reader, table, at| {
            let profile = reader.profile(table, at, folder)?;
            if names.contains(&profile.name) {
                let what = format!("{:?} is the name of an earlier profile", profile.name);
                reader.error(at, "name", what, "give each profile a name of its own");
            }
            names.push(profile.name.clone());
            Some(profile)
        });
        Some(profiles)
    });
    findings.sort_by_key(|finding| (finding.line, finding.column));
    (profiles, findings)
}

impl Reader<'_> {
    fn profile(&mut self, table: &dyn TableLike, at: usize, folder: &Path) -> Option<Profile> {
        let name = self.required_text(table, "name", WHERE, at).filter(|name| self.check_name(name));
        let gateway = self.required_text(table, "gateway", WHERE, at);
        let family = self.parsed(table, "family", family).map_or(Family::Any, |at| at.value);
        let door = self.optional_text(table, "door").filter(|door| self.check_name(door));
        let door = door.and_then(|door| Name::try_from(door.value.as_str()).ok());
        let probe = self.parsed(table, "probe", tcp_port).map(|at| at.value);
        let retries = ("limit", "it is tried again 0 to 20 times", "3");
        let retries = self.number(table, "retry", 0..=RETRIES_MAX, retries);
        let retries = retries.map_or(default::RETRIES, |at| at.value);
        let timeout = self.millis(table, "timeout", default::TIMEOUT_MILLIS, 50, 60_000).value;
        let means = match (table.get("sequence"), table.get("rotating")) {
            (Some(_), None) => self.fixed(table).map(Means::Fixed),
            (None, Some(_)) => self.rotating_of(table, at, &door, folder).map(Means::Rotating),
            (None, None) => self.spa(table, at, &door, folder).map(Means::Spa),
            (Some(item), Some(_)) => {
                let what = "`sequence` and `rotating` are two ways to knock";
                self.error(start(item), "value", what, "keep the one the gateway's door has");
                None
            }
        };
        let timeout = Duration::from_millis(timeout.into());
        let (name, gateway) = (name?.value, gateway?.value);
        Some(Profile { name, gateway, family, door, means: means?, probe, retries, timeout })
    }

    fn fixed(&mut self, table: &dyn TableLike) -> Option<Fixed> {
        self.known_keys(table, WHERE, &[&OF_ALL[..], &["sequence", "delay"]].concat());
        let steps = self.texts(table, "sequence")?;
        let steps = self.each(steps, crate::site::step);
        let fits = (1..=STEPS_MAX).contains(&steps.len());
        if !fits {
            let what = format!("a sequence has 1 to {STEPS_MAX} knocks");
            self.error(
                table.get("sequence").map_or(0, start),
                "limit",
                what,
                "write `sequence = [\"tcp/7351\", ...]`",
            );
        }
        let delay = self.delay(table);
        fits.then(|| Fixed { steps: steps.into_iter().map(|at| at.value).collect(), delay })
    }

    fn delay(&mut self, table: &dyn TableLike) -> Duration {
        Duration::from_millis(self.millis(table, "delay", default::DELAY_MILLIS, 1, 10_000).value.into())
    }

    fn spa(&mut self, table: &dyn TableLike, at: usize, door: &Option<Name>, folder: &Path) -> Option<Spa> {
        self.known_keys(table, WHERE, &[&OF_ALL[..], &OF_KEYS, &OF_SPA, &["sequence", "rotating"]].concat());
        let port = ("limit", "`port` is a UDP port", "62201");
        let port = self.number(table, "port", 1..=u16::MAX, port).map_or(SPA_PORT_DEFAULT, |at| at.value);
        let epoch = ("limit", "`epoch` is a number of 0 to 65535", "1");
        let epoch = self.number(table, "epoch", 0..=u16::MAX, epoch).map_or(0, |at| at.value);
        let copies = ("limit", "the same packet is sent 1 to 5 times", "2");
        let copies = self.number(table, "copies", 1..=5, copies).map_or(1, |at| at.value);
        let lease = self.millis(table, "lease", 0, 1000, LEASE_MAX_MILLIS);
        if lease.value % 1000 != 0 {
            self.error(lease.offset, "limit", "`lease` is in whole seconds", "write `lease = \"10m\"`");
        }
        let remember = table.get("remember").is_none() || self.switch(table, "remember").value;
        let first_counter = self.wide_number(table, "first_counter", 0);
        let one_shot = self.switch(table, "one_shot").value;
        let claim = self.claim(table)?;
        let key = self.key_place(table, at, folder);
        let door = self.needed_door(door, at);
        let lease_secs = lease.value / 1000;
        let (key, door) = (key?, door?);
        Some(Spa { key, door, port, first_counter, epoch, remember, lease_secs, one_shot, claim, copies })
    }

    fn needed_door(&mut self, door: &Option<Name>, at: usize) -> Option<Name> {
        if door.is_none() {
            self.error(
                at,
                "missing",
                format!("`door` is missing in {WHERE}"),
                "name the gateway's door: `door = \"ssh\"`",
            );
        }
        door.clone()
    }

    fn key_place(&mut self, table: &dyn TableLike, at: usize, folder: &Path) -> Option<KeyPlace> {
        let file = self.required_text(table, "key_file", WHERE, at);
        self.required_text(table, "device", WHERE, at);
        let device = self.parsed(table, "device", |text| {
            crate::remote::device(text)
                .map_err(|error| format!("{error}: `postern --to TARGET status` shows it"))
        });
        let file: PathBuf = folder.join(file?.value);
        Some(KeyPlace { file, device: DeviceId(device?.value) })
    }

    /// `claim = "own"`, `claim = ["203.0.113.7"]`; `None` is wrong, and was said.
    fn claim(&mut self, table: &dyn TableLike) -> Option<Claim> {
        let Some(item) = table.get("claim") else { return Some(Claim::Seen) };
        let fix = "write `claim = \"seen\"`, `claim = \"own\"` or `claim = [\"203.0.113.7\"]`";
        match item.as_str() {
            Some("seen") => return Some(Claim::Seen),
            Some("own") => return Some(Claim::Own),
            Some(_) => {
                self.error(start(item), "value", "`claim` is not understood", fix);
                return None;
            }
            None => {}
        }
        let texts = self.texts(table, "claim")?;
        let addresses = self.each(texts, |text| text.parse::<IpAddr>().map_err(|_| fix.to_owned()));
        if !(1..=CLAIMS_MAX).contains(&addresses.len()) {
            self.error(start(item), "limit", "one or two addresses are claimed", fix);
            return None;
        }
        Some(Claim::These(addresses.into_iter().map(|at| at.value).collect()))
    }

    fn rotating_of(
        &mut self,
        table: &dyn TableLike,
        at: usize,
        door: &Option<Name>,
        folder: &Path,
    ) -> Option<Rotating> {
        self.known_keys(table, WHERE, &[&OF_ALL[..], &OF_KEYS, &["rotating", "delay"]].concat());
        let inner = self.table(table, "rotating")?;
        let known = ["knocks", "look_ahead", "protocols", "ports", "within", "exclude"];
        self.known_keys(inner, "`rotating`", &known);
        let knocks = ("limit", "a rotating sequence has 3 to 8 knocks", "5");
        let knocks = self.number(inner, "knocks", 3..=8, knocks).map_or(KNOCKS_DEFAULT, |at| at.value);
        let ahead = ("limit", "1 to 8 sequences are awaited at once", "3");
        let look_ahead =
            self.number(inner, "look_ahead", 1..=8, ahead).map_or(LOOK_AHEAD_DEFAULT, |at| at.value);
        let protocols = self.protocols(inner);
        let ports = self.parsed(inner, "ports", notation::port_range).map_or(PORTS_DEFAULT, |at| at.value);
        let within = self.millis(inner, "within", WITHIN_DEFAULT_MILLIS, 100, 600_000).value;
        let excluded = self.texts(inner, "exclude").unwrap_or_default();
        let excluded = self.each(excluded, crate::site::step).into_iter().map(|at| at.value).collect();
        let first_counter = self.wide_number(table, "first_counter", 0);
        let delay = self.delay(table);
        let shape = match Shape::new(knocks, protocols, ports.0, ports.1) {
            Ok(shape) => Some(shape),
            Err(error) => {
                let at = table.get("rotating").map_or(0, start);
                self.error(at, "value", shape_words(error), "write it as the gateway's site file does");
                None
            }
        };
        let key = self.key_place(table, at, folder);
        let (door, within) = (self.needed_door(door, at), Duration::from_millis(within.into()));
        let (key, door, shape) = (key?, door?, shape?);
        Some(Rotating { key, door, shape, look_ahead, within, excluded, first_counter, delay })
    }

    fn protocols(&mut self, table: &dyn TableLike) -> Protocols {
        if table.get("protocols").is_none() {
            return Protocols { tcp: true, udp: true, icmp: false };
        }
        let texts = self.texts(table, "protocols").unwrap_or_default();
        let expected = || "protocols are \"tcp\", \"udp\" and \"icmp\"".to_owned();
        let found = self.each(texts, |text| match text {
            "tcp" => Ok(Protocol::Tcp),
            "udp" => Ok(Protocol::Udp),
            "icmp" => Ok(Protocol::Icmp),
            _ => Err(expected()),
        });
        let has = |protocol| found.iter().any(|at| at.value == protocol);
        Protocols { tcp: has(Protocol::Tcp), udp: has(Protocol::Udp), icmp: has(Protocol::Icmp) }
    }
}

const fn shape_words(error: ShapeError) -> &'static str {
    match error {
        ShapeError::Knocks => "a rotating sequence cannot have so many knocks",
        ShapeError::Ports => "the ports of a rotating sequence begin at 0 or end before they begin",
        ShapeError::Protocols => "a rotating sequence needs a protocol",
        ShapeError::TooFewKnocks => "too few knocks are left to draw from",
    }
}

fn family(text: &str) -> Result<Family, String> {
    match text {
        "any" => Ok(Family::Any),
        "v4" => Ok(Family::V4),
        "v6" => Ok(Family::V6),
        _ => Err("write `family = \"any\"`, \"v4\" or \"v6\"".to_owned()),
    }
}

/// What a probe names.
///
/// # Errors
/// What was expected instead.
pub fn tcp_port(text: &str) -> Result<u16, String> {
    match crate::site::step(text) {
        Ok(Step { protocol: Protocol::Tcp, value }) => Ok(value),
        _ => Err("only a TCP port tells whether it is open: write `tcp/22`".to_owned()),
    }
}

/// Whether a profile may have this name.
///
/// # Errors
/// [`Failure::Usage`].
pub fn name(text: &str) -> Outcome<&str> {
    is_name(text)
        .then_some(text)
        .ok_or_else(|| Failure::Usage(format!("{text:?} is no name: 1 to 32 of A-Z a-z 0-9 - _ .")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"schema = 1
[[profile]]
name = "a"
gateway = "fe80::1%eth0"
door = "ssh"
device = "acacacacacacacacacacacacacacacac"
key_file = "keys/a.key"
port = 4000
lease = "10m"
one_shot = true
claim = ["203.0.113.7", "2001:db8::7"]
first_counter = 5
epoch = 1
remember = false
copies = 2
probe = "tcp/22"
retry = 1
timeout = "2s"
family = "v6"
[[profile]]
name = "b"
gateway = "gw"
door = "scada"
device = "acacacacacacacacacacacacacacacac"
key_file = "/abs/b.key"
first_counter = "18446744073709551615"
rotating = { knocks = 4, look_ahead = 2, protocols = ["icmp"], ports = "1-9", within = "5s", exclude = ["icmp/99"] }
[[profile]]
name = "c"
gateway = "gw"
sequence = ["tcp/1"]
delay = "50ms"
"#;

    fn read(text: &str) -> (Option<Vec<Profile>>, Vec<Finding>) {
        text_of(text, Path::new("/home/maria/.config/postern"))
    }

    #[test]
    fn everything_is_read() {
        let (profiles, findings) = read(TEXT);
        assert_eq!(findings, []);
        let [a, b, c]: [Profile; 3] = profiles.unwrap().try_into().unwrap();
        let Means::Spa(spa) = &a.means else { panic!("{a:?}") };
        assert_eq!(spa.key.file, Path::new("/home/maria/.config/postern/keys/a.key"));
        assert_eq!(
            (spa.port, spa.lease_secs, spa.first_counter, spa.epoch, spa.copies),
            (4000, 600, 5, 1, 2)
        );
        assert!(spa.one_shot && !spa.remember && matches!(&spa.claim, Claim::These(two) if two.len() == 2));
        assert_eq!(
            (a.probe, a.retries, a.timeout, a.family),
            (Some(22), 1, Duration::from_secs(2), Family::V6)
        );
        let Means::Rotating(rotating) = &b.means else { panic!("{b:?}") };
        assert_eq!((rotating.shape.knocks(), rotating.look_ahead, rotating.first_counter), (4, 2, u64::MAX));
        assert_eq!((rotating.within, &*rotating.excluded), (Duration::from_secs(5), &[Step::icmp(99)][..]));
        assert_eq!(rotating.key.file, Path::new("/abs/b.key"));
        let Means::Fixed(fixed) = &c.means else { panic!("{c:?}") };
        assert_eq!((fixed.steps.len(), fixed.delay), (1, Duration::from_millis(50)));
        assert_eq!((c.probe, c.retries), (None, default::RETRIES));
    }

    #[test]
    fn keys_of_one_way_are_unknown_to_the_others() {
        for (from, to) in [
            ("delay = \"50ms\"", "lease = \"1m\""),
            ("look_ahead = 2", "look_behind = 2"),
            ("epoch = 1", "sequense = []"),
            ("claim = [\"203.0.113.7\", \"2001:db8::7\"]", "claim = []"),
            ("name = \"c\"", "name = \"a\""),
            ("lease = \"10m\"", "lease = \"1500ms\""),
        ] {
            let wrong = TEXT.replace(from, to);
            assert_ne!(wrong, TEXT, "{from}");
            let (profiles, findings) = read(&wrong);
            assert!(profiles.is_none() && findings.len() == 1, "{to}: {findings:?}");
        }
    }

    /// Whatever stands in the file, it is read or refused.
    #[test]
    fn no_octet_panics() {
        for at in 0..TEXT.len() {
            for octet in [b'"', b'0', b'-', b'[', b'=', b'\n', b'%'] {
                let mut octets = TEXT.as_bytes().to_vec();
                octets[at] = octet;
                let (profiles, findings) = read(&String::from_utf8(octets).unwrap());
                assert!(profiles.is_some() || !findings.is_empty());
            }
        }
    }
}
