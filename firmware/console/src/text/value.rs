//! Times, ports, knocks and flags as people write them; what is shown can be typed in again.

use core::fmt;

use postern_config::site::{StoredPort, StoredStep};

/// Milliseconds, written with the largest unit that fits: `150ms`, `30s`, `10m`, `2h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Millis(pub u64);

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("0s"),
            millis if millis % 3_600_000 == 0 => write!(f, "{}h", millis / 3_600_000),
            millis if millis % 60_000 == 0 => write!(f, "{}m", millis / 60_000),
            millis if millis % 1000 == 0 => write!(f, "{}s", millis / 1000),
            millis => write!(f, "{millis}ms"),
        }
    }
}

/// Reads a time.
pub fn millis(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let unit = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(unit)
}

/// Reads `tcp/22` or `udp/161`.
pub fn port(text: &str) -> Option<StoredPort> {
    let (protocol, port) = text.split_once('/')?;
    let port = port.parse().ok().filter(|&port| port != 0)?;
    match protocol {
        "tcp" => Some(StoredPort::Tcp(port)),
        "udp" => Some(StoredPort::Udp(port)),
        _ => None,
    }
}

/// Reads `tcp/7351`, `udp/24011` or `icmp/83`.
pub fn step(text: &str) -> Option<StoredStep> {
    if let Some(octets) = text.strip_prefix("icmp/") {
        return octets.parse().ok().map(StoredStep::Icmp);
    }
    port(text).map(|port| match port {
        StoredPort::Tcp(port) => StoredStep::Tcp(port),
        StoredPort::Udp(port) => StoredStep::Udp(port),
    })
}

/// A port of a service.
#[derive(Clone, Copy, Debug)]
pub struct Port(pub StoredPort);

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            StoredPort::Tcp(port) => write!(f, "tcp/{port}"),
            StoredPort::Udp(port) => write!(f, "udp/{port}"),
        }
    }
}

/// A knock.
#[derive(Clone, Copy, Debug)]
pub struct Knock(pub StoredStep);

impl fmt::Display for Knock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            StoredStep::Tcp(port) => write!(f, "tcp/{port}"),
            StoredStep::Udp(port) => write!(f, "udp/{port}"),
            StoredStep::Icmp(octets) => write!(f, "icmp/{octets}"),
        }
    }
}

const FLAGS: [(&str, u8); 6] = [("fin", 1), ("syn", 2), ("rst", 4), ("psh", 8), ("ack", 16), ("urg", 32)];

/// TCP flags: `syn,!ack` is a mask and what the flags in it must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flags {
    /// Flags that are looked at.
    pub mask: u8,
    /// What they must be.
    pub value: u8,
}

impl fmt::Display for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut comma = "";
        for (name, bit) in FLAGS.iter().filter(|(_, bit)| self.mask & bit != 0) {
            let not = if self.value & bit == 0 { "!" } else { "" };
            write!(f, "{comma}{not}{name}")?;
            comma = ",";
        }
        Ok(())
    }
}

/// Reads flags.
pub fn flags(text: &str) -> Option<Flags> {
    let mut flags = Flags { mask: 0, value: 0 };
    for word in text.split(',') {
        let name = word.strip_prefix('!').unwrap_or(word);
        let (_, bit) = FLAGS.iter().find(|(known, _)| *known == name)?;
        if flags.mask & bit != 0 {
            return None;
        }
        flags.mask |= bit;
        flags.value |= if name.len() == word.len() { *bit } else { 0 };
    }
    Some(flags)
}

/// So many of something: `1 door`, `2 doors`.
#[derive(Clone, Copy, Debug)]
pub struct Count<'w>(pub u32, pub &'w str);

impl fmt::Display for Count<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Count(many, what) = self;
        let ending = if *many == 1 { "" } else { "s" };
        write!(f, "{many} {what}{ending}")
    }
}

/// Octets in hexadecimal digits.
#[derive(Clone, Copy, Debug)]
pub struct Hex<'o>(pub &'o [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

/// Reads `N` octets.
pub fn hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut octets = [0; N];
    if text.len() != 2 * N || !text.is_ascii() {
        return None;
    }
    for (place, pair) in octets.iter_mut().zip(text.as_bytes().chunks(2)) {
        *place = u8::from_str_radix(core::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(octets)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn what_is_shown_can_be_typed_in_again() {
        for time in [0, 1, 150, 1000, 30_000, 60_000, 90_000, 3_600_000, 86_400_000] {
            assert_eq!(millis(&Millis(time).to_string()), Some(time));
        }
        for text in ["tcp/22", "udp/161"] {
            assert_eq!(Port(port(text).unwrap()).to_string(), text);
        }
        for text in ["tcp/7351", "udp/24011", "icmp/83", "icmp/0"] {
            assert_eq!(Knock(step(text).unwrap()).to_string(), text);
        }
        for text in ["syn,!ack", "!fin", "syn", "fin,psh,!urg"] {
            assert_eq!(flags(text).unwrap().to_string(), text);
        }
        assert_eq!(hex::<3>(&Hex(&[0, 0xab, 255]).to_string()), Some([0, 0xab, 255]));
    }

    #[test]
    fn one_is_not_many() {
        let texts = [0, 1, 2].map(|many| Count(many, "door").to_string());
        assert_eq!(texts, ["0 doors", "1 door", "2 doors"]);
    }

    #[test]
    fn what_is_no_value_is_none() {
        for text in ["", "s", "10", "10 s", "-1s", "99999999999999999999s", "1d"] {
            assert_eq!(millis(text), None, "{text}");
        }
        for text in ["", "22", "tcp/", "tcp/0", "tcp/65536", "sctp/22", "icmp/70000"] {
            assert_eq!(step(text).map(|_| ()), None, "{text}");
        }
        for text in ["", "sin", "syn,syn", "syn,", "!"] {
            assert_eq!(flags(text), None, "{text}");
        }
        assert_eq!(hex::<2>("abc"), None);
        assert_eq!(hex::<2>("abxy"), None);
    }
}
