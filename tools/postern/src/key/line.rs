//! A key with everything its holder needs, in one line of printable ASCII.
//!
//! ```text
//! postern:1?name=pump-17&gateway=gw17.example.net&port=62201&device=HEX&door=ssh&key=BASE64&first=N&probe=22&check=HEX
//! ```
//!
//! `key` is the secret. `check` is the first four octets of the SHA-256 of everything before `&check=`:
//! it finds slips of whoever types, and nothing else. With rotating sequences there is
//! `rotating=KNOCKS,LOOK_AHEAD,PROTOCOLS,FIRST-LAST,WITHIN_MS` and, where knocks are left out,
//! `exclude=tcp/22,udp/161`. Fields come in this order; `port`, `probe`, `rotating` and `exclude` may be
//! missing. Version 1 is never changed.

use std::fmt::Write as _;

use postern_config::site::StoredRotating;
use postern_core::knock::Step;
use postern_core::rule::is_name;
use postern_core::spa::key::{DeviceId, KEY_BYTES};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::base64;
use crate::site::SPA_PORT_DEFAULT;
use crate::site::notation::{digits, hex, port_range, unhex};

/// What every line begins with.
const HEAD: &str = "postern:1?";

/// Octets of the longest line that is read.
pub const LINE_BYTES_MAX: usize = 2048;

/// Octets of the longest name of a host (RFC 1035, section 2.3.4).
const HOST_BYTES_MAX: usize = 255;

/// What its holder needs.
#[derive(Clone, PartialEq, Eq)]
pub struct Line {
    /// Name for the profile.
    pub name: String,
    /// Name or address of the gateway.
    pub gateway: String,
    /// UDP port of the gateway.
    pub port: u16,
    /// Which gateway.
    pub device: DeviceId,
    /// The door.
    pub door: String,
    /// The secret.
    pub key: Zeroizing<[u8; KEY_BYTES]>,
    /// The first counter.
    pub first: u64,
    /// TCP port that tells whether the door opened.
    pub probe: Option<u16>,
    /// Knocks that change with every use, in the place of a packet. The number of the key means nothing.
    pub rotating: Option<StoredRotating>,
    /// Knocks that are left out.
    pub excluded: Vec<Step>,
}

impl std::fmt::Debug for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Line")
            .field("name", &self.name)
            .field("gateway", &self.gateway)
            .finish_non_exhaustive()
    }
}

/// Whether a gateway can be called so: a name or an address, which no field of a line or of a TOML file
/// is confused by.
pub fn is_host(text: &str) -> bool {
    let plain = |octet: u8| octet.is_ascii_alphanumeric() || b".-_:%[]".contains(&octet);
    (1..=HOST_BYTES_MAX).contains(&text.len()) && !text.starts_with('-') && text.bytes().all(plain)
}

impl Line {
    /// The line, without an end of line.
    pub fn write(&self) -> Zeroizing<String> {
        // Room for all of it: a string that grows leaves copies behind that nobody wipes.
        let mut text = Zeroizing::new(String::with_capacity(LINE_BYTES_MAX));
        let key = Zeroizing::new(base64::encode(&*self.key));
        let Self { name, gateway, port, device, door, first, .. } = self;
        let _ = write!(text, "{HEAD}name={name}&gateway={gateway}");
        if *port != SPA_PORT_DEFAULT {
            let _ = write!(text, "&port={port}");
        }
        let _ = write!(text, "&device={}&door={door}&key={}&first={first}", hex(&device.0), *key);
        if let Some(probe) = self.probe {
            let _ = write!(text, "&probe={probe}");
        }
        if let Some(rotating) = &self.rotating {
            let StoredRotating { knocks, look_ahead, protocols, first, last, within_millis, .. } = rotating;
            let _ =
                write!(text, "&rotating={knocks},{look_ahead},{protocols},{first}-{last},{within_millis}");
        }
        if !self.excluded.is_empty() {
            let all: Vec<String> = self.excluded.iter().map(ToString::to_string).collect();
            let _ = write!(text, "&exclude={}", all.join(","));
        }
        let check = check(&text);
        let _ = write!(text, "&check={check}");
        text
    }

    /// Reads a line; blanks around it do not matter.
    ///
    /// # Errors
    /// What is wrong with it; never what stands in it.
    pub fn read(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if !text.starts_with("postern:") {
            return Err("it is no exported key: that begins with `postern:1?`".to_owned());
        }
        if !text.starts_with(HEAD) {
            return Err("it was exported by another version of postern: export it with this one".to_owned());
        }
        let damaged = || "it is damaged: copy the whole line, or scan it again".to_owned();
        let (body, sum) = text.rsplit_once("&check=").ok_or_else(damaged)?;
        if text.len() > LINE_BYTES_MAX || check(body) != sum {
            return Err(damaged());
        }
        let fields = body.get(HEAD.len()..).unwrap_or_default();
        fields_of(fields).ok_or_else(|| "it was made by somebody else's tool, and wrongly".to_owned())
    }
}

fn check(body: &str) -> String {
    let digest: [u8; 32] = Sha256::digest(body.as_bytes()).into();
    hex(&digest[..4])
}

fn fields_of(text: &str) -> Option<Line> {
    let mut rest = text.split('&').peekable();
    let mut field = |name: &str| {
        let value = rest.peek()?.strip_prefix(name)?.strip_prefix('=')?;
        rest.next();
        Some(value)
    };
    let name = field("name").filter(|name| is_name(name))?.to_owned();
    let gateway = field("gateway").filter(|host| is_host(host))?.to_owned();
    let port = match field("port") {
        Some(port) => digits(port).filter(|&port| port > 0)?,
        None => SPA_PORT_DEFAULT,
    };
    let device = DeviceId(unhex(field("device")?)?.try_into().ok()?);
    let door = field("door").filter(|door| is_name(door))?.to_owned();
    let octets = Zeroizing::new(base64::decode(field("key")?)?);
    let key = Zeroizing::new(<[u8; KEY_BYTES]>::try_from(octets.as_slice()).ok()?);
    let first = digits(field("first")?)?;
    let probe = match field("probe") {
        Some(probe) => Some(digits(probe).filter(|&port: &u16| port > 0)?),
        None => None,
    };
    let rotating = match field("rotating") {
        Some(text) => Some(rotating_of(text)?),
        None => None,
    };
    let excluded = match field("exclude") {
        Some(text) => text.split(',').map(|step| crate::site::step(step).ok()).collect::<Option<_>>()?,
        None => Vec::new(),
    };
    if rest.next().is_some() {
        return None;
    }
    Some(Line { name, gateway, port, device, door, key, first, probe, rotating, excluded })
}

fn rotating_of(text: &str) -> Option<StoredRotating> {
    let mut parts = text.split(',');
    let knocks = digits(parts.next()?)?;
    let look_ahead = digits(parts.next()?)?;
    let protocols = digits(parts.next()?)?;
    let (first, last) = port_range(parts.next()?).ok()?;
    let within_millis = digits(parts.next()?)?;
    let rotating = StoredRotating { key: 0, knocks, look_ahead, protocols, first, last, within_millis };
    parts.next().is_none().then_some(rotating)
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn line() -> Line {
        Line {
            name: "pump-17".to_owned(),
            gateway: "gw17.example.net".to_owned(),
            port: SPA_PORT_DEFAULT,
            device: DeviceId([0xac; 16]),
            door: "ssh".to_owned(),
            key: Zeroizing::new(std::array::from_fn(|at| at.to_le_bytes()[0])),
            first: 1_795_000_000_000,
            probe: Some(22),
            rotating: None,
            excluded: Vec::new(),
        }
    }

    fn full() -> Line {
        let rotating = StoredRotating {
            key: 0,
            knocks: 5,
            look_ahead: 3,
            protocols: 3,
            first: 10_000,
            last: 32_767,
            within_millis: 10_000,
        };
        let excluded = vec![Step::tcp(22_000), Step::udp(161)];
        let gateway = "fe80::1%eth0".to_owned();
        Line { port: 4000, gateway, probe: None, rotating: Some(rotating), excluded, ..line() }
    }

    /// Version 1 is never changed.
    #[test]
    fn the_line_is_golden() {
        assert_eq!(
            line().write().as_str(),
            "postern:1?name=pump-17&gateway=gw17.example.net&device=acacacacacacacacacacacacacacacac&door=ssh\
             &key=AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=&first=1795000000000&probe=22&check=df339231"
        );
    }

    #[test]
    fn what_is_written_is_read() {
        for line in [line(), full()] {
            assert_eq!(Line::read(&line.write()), Ok(line.clone()));
            assert_eq!(Line::read(&format!("\n  {} \r\n", *line.write())), Ok(line));
        }
    }

    #[test]
    fn every_slip_is_found_and_nothing_is_told() {
        let text = full().write();
        for at in 0..text.len() {
            let mut octets = text.as_bytes().to_vec();
            octets[at] ^= 1;
            let slip = String::from_utf8(octets).unwrap();
            let said = Line::read(&slip).unwrap_err();
            assert!(!said.contains("AAECAw"), "{said}");
            assert!(Line::read(&text[..at]).is_err());
        }
        for wrong in ["", "postern:2?name=x&check=00000000", "hello"] {
            assert!(Line::read(wrong).is_err(), "{wrong}");
        }
        assert!(!format!("{:?}", full()).contains("key"));
    }

    #[test]
    fn a_right_sum_does_not_make_a_line() {
        let good = line().write();
        let body = good.rsplit_once("&check=").unwrap().0.to_owned();
        for (from, to) in [
            ("door=ssh", "door=s h"),
            ("name=pump-17", "name="),
            ("gateway=gw17.example.net", "gateway=a\nb"),
            ("gateway=gw17.example.net", "gateway=-oProxyCommand"),
            ("first=1795000000000", "first=-1"),
            ("probe=22", "probe=0"),
            ("&key=AAEC", "&key=AAE"),
            ("device=ac", "device="),
            ("&probe=22", "&probe=22&more=1"),
        ] {
            let wrong = body.replace(from, to);
            assert_ne!(wrong, body);
            assert!(Line::read(&format!("{wrong}&check={}", check(&wrong))).is_err(), "{to}");
        }
    }
}
