//! The small languages of keys and accounts inside the strings of a site file, each read and
//! written in one place.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use postern_config::secret::{Secret, StoredSecret};
use postern_config::site::{StoredForward, StoredNetwork, StoredWindow};
use postern_core::knock::FlagCondition;

use super::FLAG_NAMES;
use super::words::Expected;
use crate::base64;

/// Octets of both keys of a verifier.
const VERIFIER_KEY_BYTES: usize = 32;

/// A time in the largest unit that divides it: `250ms`, `30s`, `10m`, `1h`.
pub fn duration(millis: u64) -> String {
    for (unit, name) in [(3_600_000, "h"), (60_000, "m"), (1000, "s")] {
        if millis != 0 && millis % unit == 0 {
            return format!("{}{name}", millis / unit);
        }
    }
    format!("{millis}ms")
}

/// `syn,!ack`.
pub fn flags_text(condition: FlagCondition) -> String {
    let looked_at = FLAG_NAMES.iter().filter(|(_, flag)| condition.mask.bits() & flag.bits() != 0);
    let words = looked_at.map(|(name, flag)| {
        let set = condition.value.bits() & flag.bits() != 0;
        if set { (*name).to_owned() } else { format!("!{name}") }
    });
    words.collect::<Vec<_>>().join(",")
}

/// `192.0.2.0/24`, `2001:db8::/32`; an address alone is the network of that address.
pub fn network(text: &str) -> Result<StoredNetwork, Expected> {
    let expected = || "a network is written 192.0.2.0/24 or 2001:db8::/32".to_owned();
    let (address, prefix) = text.split_once('/').map_or((text, None), |(left, right)| (left, Some(right)));
    let address: IpAddr = address.parse().map_err(|_| expected())?;
    let longest = if address.is_ipv4() { 32 } else { 128 };
    let prefix = match prefix {
        None => longest,
        Some(prefix) => digits(prefix).filter(|&prefix| prefix <= longest).ok_or_else(expected)?,
    };
    Ok(StoredNetwork { address, prefix })
}

/// See [`network`].
pub fn network_text(network: StoredNetwork) -> String {
    format!("{}/{}", network.address, network.prefix)
}

/// `192.0.2.5:22`, `[2001:db8::5]:22`.
pub fn forward(text: &str) -> Result<StoredForward, Expected> {
    let expected = || "a forward is written 192.168.1.5:22 or [2001:db8::5]:22".to_owned();
    let socket: SocketAddr = text.parse().map_err(|_| expected())?;
    if socket.port() == 0 || text.contains('%') {
        return Err(expected());
    }
    Ok(StoredForward { address: socket.ip(), port: socket.port() })
}

/// See [`forward`].
pub fn forward_text(forward: StoredForward) -> String {
    SocketAddr::new(forward.address, forward.port).to_string()
}

/// `20000-29999`.
pub fn port_range(text: &str) -> Result<(u16, u16), Expected> {
    let range = text.split_once('-').and_then(|(first, last)| {
        let (first, last) = (digits::<u16>(first)?, digits::<u16>(last)?);
        (first > 0 && first <= last).then_some((first, last))
    });
    range.ok_or_else(|| "ports are written from the lowest to the highest: \"20000-29999\"".to_owned())
}

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// `mon-fri 07:00-18:00`, `sat,sun 00:00-24:00`, in UTC.
pub fn window(text: &str) -> Result<StoredWindow, Expected> {
    let expected = || "a time of the week is written \"mon-fri 07:00-18:00\", in UTC".to_owned();
    let (days, time) = text.split_once(' ').ok_or_else(expected)?;
    let mut set = 0_u8;
    for part in days.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let position = |day: &str| DAYS.iter().position(|known| *known == day);
        let (first, last) = (position(first).ok_or_else(expected)?, position(last).ok_or_else(expected)?);
        if first > last {
            return Err(expected());
        }
        for day in first..=last {
            set |= 1 << day;
        }
    }
    let (from, until) = time.split_once('-').ok_or_else(expected)?;
    let (from, until) = (minute(from).ok_or_else(expected)?, minute(until).ok_or_else(expected)?);
    if from >= until {
        return Err(expected());
    }
    Ok(StoredWindow { days: set, from_minute: from, until_minute: until })
}

fn minute(text: &str) -> Option<u16> {
    let (hour, minute) = text.split_once(':')?;
    let (hour, minute): (u16, u16) = (digits(hour)?, digits(minute)?);
    let minutes = hour * 60 + minute;
    (text.len() == 5 && minute < 60 && minutes <= 1440).then_some(minutes)
}

/// See [`window`].
pub fn window_text(window: StoredWindow) -> String {
    let mut runs: Vec<String> = Vec::new();
    let mut day = 0;
    while day < DAYS.len() {
        let length = (day..DAYS.len()).take_while(|day| window.days & (1 << day) != 0).count();
        match length {
            0 => {}
            1 => runs.push(DAYS[day].to_owned()),
            length => runs.push(format!("{}-{}", DAYS[day], DAYS[day + length - 1])),
        }
        day += length.max(1);
    }
    let clock = |minute: u16| format!("{:02}:{:02}", minute / 60, minute % 60);
    format!("{} {}-{}", runs.join(","), clock(window.from_minute), clock(window.until_minute))
}

/// Eight octets in lower-case hexadecimal.
pub fn label(text: &str) -> Result<[u8; 8], Expected> {
    let expected = || "the label of a held secret has 16 hexadecimal digits".to_owned();
    unhex(text).and_then(|octets| octets.try_into().ok()).ok_or_else(expected)
}

/// Octets of lower-case hexadecimal digits.
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |octet: u8| match octet {
        b'0'..=b'9' => Some(octet - b'0'),
        b'a'..=b'f' => Some(octet - b'a' + 10),
        _ => None,
    };
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| Some(digit(pair[0])? << 4 | digit(*pair.get(1)?)?)).collect()
}

/// Lower-case hexadecimal.
pub fn hex(octets: &[u8]) -> String {
    octets.iter().fold(String::new(), |mut text, octet| {
        let _ = write!(text, "{octet:02x}");
        text
    })
}

/// What an account proves a password with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifierText {
    /// Salt.
    pub salt: [u8; 16],
    /// Iterations.
    pub iterations: u32,
    /// `StoredKey`.
    pub stored_key: StoredSecret,
    /// `ServerKey`.
    pub server_key: StoredSecret,
}

/// `SCRAM-SHA-256$ITERATIONS:SALT$STORED:SERVER` in base64, as PostgreSQL writes it (its manual,
/// `pg_authid`). A key the gateway holds is written `held-LABEL`.
pub fn verifier(text: &str) -> Result<VerifierText, Expected> {
    let expected = || {
        "a verifier is written SCRAM-SHA-256$ITERATIONS:SALT$STORED:SERVER; \
         `postern account verifier` makes one of a password"
            .to_owned()
    };
    let rest = text.strip_prefix("SCRAM-SHA-256$").ok_or_else(expected)?;
    let (salted, keys) = rest.split_once('$').ok_or_else(expected)?;
    let (iterations, salt) = salted.split_once(':').ok_or_else(expected)?;
    let (stored, server) = keys.split_once(':').ok_or_else(expected)?;
    Ok(VerifierText {
        salt: base64::decode_array(salt).ok_or_else(expected)?,
        iterations: digits(iterations).ok_or_else(expected)?,
        stored_key: verifier_key(stored).ok_or_else(expected)?,
        server_key: verifier_key(server).ok_or_else(expected)?,
    })
}

fn verifier_key(text: &str) -> Option<StoredSecret> {
    if let Some(held) = text.strip_prefix("held-") {
        return label(held).ok().map(StoredSecret::Held);
    }
    let octets = base64::decode_array::<VERIFIER_KEY_BYTES>(text)?;
    Secret::new(&octets).ok().map(StoredSecret::Known)
}

/// See [`verifier`].
pub fn verifier_text(verifier: &VerifierText) -> String {
    let key = |stored: &StoredSecret| match stored {
        StoredSecret::Known(secret) => base64::encode(secret.expose()),
        StoredSecret::Held(label) => format!("held-{}", hex(label)),
    };
    let VerifierText { salt, iterations, stored_key, server_key } = verifier;
    format!("SCRAM-SHA-256${iterations}:{}${}:{}", base64::encode(salt), key(stored_key), key(server_key))
}

/// `ed25519:BASE64`.
pub fn owner(text: &str) -> Result<[u8; 32], Expected> {
    let key = text.strip_prefix("ed25519:").and_then(base64::decode_array);
    key.ok_or_else(|| {
        "an owner's key is written \"ed25519:BASE64\"; `postern owner new` makes one".to_owned()
    })
}

/// See [`owner`].
pub fn owner_text(owner: &[u8; 32]) -> String {
    format!("ed25519:{}", base64::encode(owner))
}

/// Digits alone: no sign, no blanks.
pub fn digits<T: std::str::FromStr>(text: &str) -> Option<T> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_both_ways() {
        for text in
            ["mon-fri 07:00-18:00", "sat-sun 00:00-24:00", "mon,wed,fri-sun 09:05-09:06", "tue 00:00-00:01"]
        {
            assert_eq!(window(text).map(window_text).as_deref(), Ok(text));
        }
        assert_eq!(window("sun,mon 01:00-02:00").map(window_text).as_deref(), Ok("mon,sun 01:00-02:00"));
        for wrong in [
            "mon",
            "mon 7:00-8:00",
            "fri-mon 07:00-08:00",
            "mon 08:00-08:00",
            "mon 00:00-24:01",
            "x 01:00-02:00",
        ] {
            assert!(window(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn networks_and_forwards_both_ways() {
        for text in ["192.0.2.0/24", "0.0.0.0/0", "2001:db8::/32", "::/0"] {
            assert_eq!(network(text).map(network_text).as_deref(), Ok(text));
        }
        assert_eq!(network("192.0.2.7").map(network_text).as_deref(), Ok("192.0.2.7/32"));
        for wrong in ["192.0.2.0/33", "192.0.2.0/+8", "::/129", "gateway/8", "1.2.3.4/"] {
            assert!(network(wrong).is_err(), "{wrong}");
        }
        for text in ["192.168.1.5:22", "[2001:db8::5]:502"] {
            assert_eq!(forward(text).map(forward_text).as_deref(), Ok(text));
        }
        for wrong in ["192.168.1.5", "192.168.1.5:0", "[fe80::1%2]:22", "plc:22"] {
            assert!(forward(wrong).is_err(), "{wrong}");
        }
        assert_eq!(port_range("20000-29999"), Ok((20_000, 29_999)));
        assert!(port_range("9-8").is_err() && port_range("0-8").is_err());
    }

    /// The example of RFC 7677 section 3, in the notation of PostgreSQL.
    #[test]
    fn verifiers_both_ways() {
        let text = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$\
                    WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";
        let read = verifier(text).unwrap();
        assert_eq!(read.iterations, 4096);
        let keys = postern_console::scram::verifier(b"pencil", &read.salt, read.iterations);
        assert_eq!(read.stored_key.known().unwrap().expose(), keys.stored_key);
        assert_eq!(read.server_key.known().unwrap().expose(), keys.server_key);
        assert_eq!(verifier_text(&read), text);
        let held = "SCRAM-SHA-256$60000:AAAAAAAAAAAAAAAAAAAAAA==$held-0123456789abcdef:held-fedcba9876543210";
        assert_eq!(verifier(held).map(|read| verifier_text(&read)).as_deref(), Ok(held));
        assert!(verifier("md5$1:AAAA$B:C").is_err());
        assert!(verifier(&text[..text.len() - 4]).is_err());
    }

    #[test]
    fn the_rest() {
        assert_eq!(unhex("00ff1a"), Some(vec![0, 255, 26]));
        assert_eq!(unhex("0"), None);
        assert_eq!(unhex("FF"), None);
        assert_eq!(duration(0), "0ms");
        for (millis, text) in
            [(100, "100ms"), (25_000, "25s"), (3_600_000, "1h"), (90_000, "90s"), (120_000, "2m")]
        {
            assert_eq!(duration(millis), text);
            assert_eq!(super::super::words::millis(text), Ok(millis));
        }
        assert!(owner("ed25519:AAAA").is_err());
        assert_eq!(owner(&owner_text(&[7; 32])), Ok([7; 32]));
    }
}
