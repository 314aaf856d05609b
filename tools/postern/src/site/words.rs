//! The small languages inside the strings of a site file.

use postern_core::knock::{FlagCondition, ServicePort, Step, TcpFlags, Transport};

use super::FLAG_NAMES;
use super::notation::digits;

/// What was expected instead.
pub(super) type Expected = String;

/// Reads a knock: `tcp/7351`, `udp/24011`, `icmp/83`.
///
/// # Errors
/// What was expected instead.
pub fn step(text: &str) -> Result<Step, String> {
    let expected =
        || "a knock is written `tcp/PORT`, `udp/PORT` or `icmp/OCTETS`, such as \"tcp/7351\"".to_owned();
    let (protocol, value) = text.split_once('/').ok_or_else(expected)?;
    let value = digits(value).ok_or_else(expected)?;
    match protocol {
        "tcp" | "udp" if value == 0 => Err("ports are 1 to 65535".into()),
        "tcp" => Ok(Step::tcp(value)),
        "udp" => Ok(Step::udp(value)),
        "icmp" if value > 1400 => Err(
            "use 1400 octets or less: longer ones are cut to pieces on the way, and fragments never count"
                .into(),
        ),
        "icmp" => Ok(Step::icmp(value)),
        _ => Err(expected()),
    }
}

/// `tcp/22`, `udp/161`.
pub(super) fn service_port(text: &str) -> Result<ServicePort, Expected> {
    let expected = || "a port is written `tcp/PORT` or `udp/PORT`, such as \"tcp/22\"".to_owned();
    let (transport, port) = text.split_once('/').ok_or_else(expected)?;
    let port = digits(port).filter(|&port| port > 0).ok_or_else(expected)?;
    match transport {
        "tcp" => Ok(ServicePort { transport: Transport::Tcp, port }),
        "udp" => Ok(ServicePort { transport: Transport::Udp, port }),
        _ => Err(expected()),
    }
}

/// `syn,!ack`: flags that must be set, and after `!` those that must not.
pub(super) fn flags(text: &str) -> Result<FlagCondition, Expected> {
    let mut condition = FlagCondition { mask: TcpFlags::NONE, value: TcpFlags::NONE };
    for word in text.split(',').map(str::trim) {
        let (name, set) = word.strip_prefix('!').map_or((word, true), |name| (name, false));
        let flag = FLAG_NAMES.iter().find(|(known, _)| *known == name).map(|(_, flag)| *flag);
        let flag = flag.ok_or_else(|| {
            format!(
                "`{name}` is no TCP flag; they are fin, syn, rst, psh, ack, urg, each with or without `!`"
            )
        })?;
        if condition.mask.bits() & flag.bits() != 0 {
            return Err(format!("`{name}` is named twice"));
        }
        condition.mask = condition.mask.union(flag);
        if set {
            condition.value = condition.value.union(flag);
        }
    }
    Ok(condition)
}

/// `250ms`, `30s`, `10m`, `1h`, in milliseconds.
pub(crate) fn millis(text: &str) -> Result<u64, Expected> {
    let expected = || "a time is written with its unit: \"250ms\", \"30s\", \"10m\", \"1h\"".to_owned();
    let unit_at = text.find(|character: char| !character.is_ascii_digit()).ok_or_else(expected)?;
    let (value, unit) = text.split_at_checked(unit_at).ok_or_else(expected)?;
    let value: u64 = value.parse().map_err(|_| expected())?;
    let factor = match unit.trim() {
        "ms" => 1,
        "s" => 1000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        _ => return Err(expected()),
    };
    value.checked_mul(factor).ok_or_else(expected)
}

/// The word among `known` that was probably meant.
pub(crate) fn did_you_mean<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    let best = known.iter().map(|candidate| (distance(word, candidate), *candidate)).min()?;
    (best.0 <= 1 + word.len() / 4).then_some(best.1)
}

/// Levenshtein's distance.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (index, character) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = index + 1;
        for (position, other) in right.iter().enumerate() {
            let substituted = diagonal + usize::from(character != *other);
            diagonal = row[position + 1];
            row[position + 1] = substituted.min(diagonal + 1).min(row[position] + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_and_ports() {
        assert_eq!(step("tcp/7351"), Ok(Step::tcp(7351)));
        assert_eq!(step("icmp/0"), Ok(Step::icmp(0)));
        for wrong in ["7351", "tcp/0", "tcp/65536", "tcp/+1", "tcp/ 1", "sctp/1", "icmp/2000", "tcp/"] {
            assert!(step(wrong).is_err(), "{wrong}");
        }
        assert_eq!(service_port("udp/161"), Ok(ServicePort::udp(161)));
        for wrong in ["22", "icmp/22", "tcp/0", "tcp/x"] {
            assert!(service_port(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn flags_and_times() {
        assert_eq!(flags("syn,!ack"), Ok(FlagCondition::OPENING_SYN));
        assert!(flags("syn,!syn").is_err() && flags("sin").is_err() && flags("").is_err());
        assert_eq!(millis("250ms"), Ok(250));
        assert_eq!(millis("10 m"), Ok(600_000));
        for wrong in ["30", "s", "1d", "-1s", "99999999999999999999s", "18446744073709551615h"] {
            assert!(millis(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn slips_are_recognised() {
        let known = ["name", "ports", "open_for", "sequence"];
        assert_eq!(did_you_mean("seqence", &known), Some("sequence"));
        assert_eq!(did_you_mean("port", &known), Some("ports"));
        assert_eq!(did_you_mean("colour", &known), None);
    }
}
