//! Knock sequences, flags, addresses and numbers of a knockd door.

use std::net::IpAddr;

use postern_core::limits::{OPEN_FOR_MAX, STEPS_MAX, WITHIN_MAX, WITHIN_MIN};
use postern_core::{Duration, Protocol, Step};

use super::report::{KNOCKD_ENDS, Text, is_blank, refusal, shown, warning};
use crate::finding::Finding;

/// Sequence time-out of knockd when none is given.
pub(super) const SEQ_TIMEOUT_DEFAULT: Duration = Duration::from_secs(25);

/// Seconds between start and stop command of knockd when none are given.
pub(super) const CMD_TIMEOUT_DEFAULT: u32 = 10;

/// Knocks in a sequence of knockd (`SEQ_MAX`).
const KNOCKD_STEPS_MAX: usize = 32;

/// What C's `atoi` makes of `text`: blanks, a sign, digits; the rest is ignored. The value is that
/// of `strtol` on a 64-bit system, cut to 32 bits.
pub(super) fn atoi(text: &str) -> i32 {
    let text = text.trim_start_matches(is_blank);
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let mut value: i64 = 0;
    for digit in digits.chars().map_while(|character| character.to_digit(10)) {
        let digit = i64::from(digit);
        value = value.saturating_mul(10);
        value = if negative { value.saturating_sub(digit) } else { value.saturating_add(digit) };
    }
    // The cut is what the cast in `atoi` does.
    #[allow(clippy::cast_possible_truncation)]
    let cut = value as i32;
    cut
}

/// Whether `text` is nothing but a number: what `atoi` and a person agree on.
fn is_plain_number(text: &str) -> bool {
    let text = text.trim_matches(is_blank);
    !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_digit())
}

/// Reads `port[:protocol],...`; oddities that knockd takes are warned about. Of several errors the
/// first at which knockd itself ends is returned, or else the first.
pub(super) fn steps(sequence: Text<'_>, findings: &mut Vec<Finding>) -> Result<Vec<Step>, Finding> {
    let mut steps = Vec::new();
    let mut errors = Vec::new();
    let mut offset = 0;
    for item in sequence.text.split(',') {
        match step(sequence.slice(offset, item.len()), findings) {
            Ok(step) => steps.push(step),
            Err(error) => errors.push(error),
        }
        offset += item.len() + 1;
    }
    let count = steps.len() + errors.len();
    if count > STEPS_MAX {
        let end = if count > KNOCKD_STEPS_MAX { KNOCKD_ENDS } else { "" };
        let message = format!("the sequence has {count} knocks; Postern takes at most {STEPS_MAX}{end}");
        let suggestion = format!(
            "Use the first {STEPS_MAX}, or fewer, for server and clients: more add no safety, only packets to lose."
        );
        errors.push(refusal(sequence.place, "sequence-too-long", message, suggestion));
    }
    if let Some(pair) = steps.windows(2).find(|pair| pair[0] == pair[1]).filter(|_| errors.is_empty()) {
        let message = format!(
            "{} follows itself: one packet that is sent again, or delivered twice, counts as both, in knockd too",
            pair[0]
        );
        let suggestion = "Use another knock for one of the two, for server and clients.";
        errors.push(refusal(sequence.place, "knock-follows-itself", message, suggestion));
    }
    let worst = errors.iter().position(|error| error.message.ends_with(KNOCKD_ENDS)).unwrap_or(0);
    if worst < errors.len() { Err(errors.swap_remove(worst)) } else { Ok(steps) }
}

fn step(item: Text<'_>, findings: &mut Vec<Finding>) -> Result<Step, Finding> {
    let mut parts = item.text.split(':');
    let port = parts.next().unwrap_or("");
    let protocol = match parts.next().map(|protocol| protocol.trim_matches(is_blank)) {
        None => Protocol::Tcp,
        Some(name) if name.eq_ignore_ascii_case("tcp") => Protocol::Tcp,
        Some(name) if name.eq_ignore_ascii_case("udp") => Protocol::Udp,
        Some(name) => {
            let message = format!("`{}` is no protocol{KNOCKD_ENDS}", shown(name));
            return Err(refusal(
                item.place,
                "bad-protocol",
                message,
                "Write `tcp` or `udp` behind the colon.",
            ));
        }
    };
    let value = match u16::try_from(atoi(port)) {
        Ok(value) if value > 0 => value,
        _ => {
            let read = atoi(port);
            let end = if read > i32::from(u16::MAX) { KNOCKD_ENDS } else { "" };
            let message = format!("`{}` is no port: knockd reads it as {read}{end}", shown(port.trim()));
            let suggestion = "Write ports from 1 to 65535, with nothing behind the last one.";
            return Err(refusal(item.trim().place, "bad-port", message, suggestion));
        }
    };
    if !is_plain_number(port) || parts.next().is_some() {
        let message = format!("knockd reads `{}` as {}/{value}", shown(item.text.trim()), protocol.name());
        let suggestion = "If that was not meant, correct the sequence here and in the clients.";
        findings.push(warning(item.trim().place, "odd-knock", message, suggestion));
    }
    Ok(Step { protocol, value })
}

/// Reads `Seq_Timeout`, clamped to what Postern can hold.
pub(super) fn within(value: Option<Text<'_>>, findings: &mut Vec<Finding>) -> Result<Duration, Finding> {
    let Some(value) = value else { return Ok(SEQ_TIMEOUT_DEFAULT) };
    let seconds = seconds(value, "Seq_Timeout", findings)?;
    let within = Duration::from_secs(seconds.into());
    if within > WITHIN_MAX {
        let longest = WITHIN_MAX.millis() / 1000;
        let message =
            format!("a sequence may take at most {longest} s in Postern; {seconds} s is cut to that");
        let suggestion = "Nobody needs minutes for a few packets; a shorter time is safer still.";
        findings.push(warning(value.place, "within-cut", message, suggestion));
        return Ok(WITHIN_MAX);
    }
    Ok(within.max(WITHIN_MIN))
}

/// Reads `Cmd_Timeout` in seconds, clamped to what Postern can hold.
pub(super) fn lifetime(value: Option<Text<'_>>, findings: &mut Vec<Finding>) -> Result<u32, Finding> {
    let Some(value) = value else { return Ok(CMD_TIMEOUT_DEFAULT) };
    let seconds = seconds(value, "Cmd_Timeout", findings)?;
    Ok(bounded_lifetime(seconds, value, findings))
}

/// Cuts a time a door stays open to the longest there is.
pub(super) fn bounded_lifetime(seconds: u32, value: Text<'_>, findings: &mut Vec<Finding>) -> u32 {
    let longest = u32::try_from(OPEN_FOR_MAX.millis() / 1000).unwrap_or(u32::MAX);
    if seconds > longest {
        let message = format!("a door may stay open for at most {longest} s in Postern; {seconds} s is cut");
        let suggestion = "Established connections go on after it closes; knocking again extends it.";
        findings.push(warning(value.place, "open-for-cut", message, suggestion));
    }
    seconds.min(longest)
}

fn seconds(value: Text<'_>, key: &str, findings: &mut Vec<Finding>) -> Result<u32, Finding> {
    let seconds = atoi(value.text);
    let read = match u32::try_from(seconds) {
        Ok(read) if read > 0 => read,
        _ => {
            let shown = shown(value.text);
            let message =
                format!("{key} `{shown}` is {seconds} s to knockd: the door never opens or never closes");
            return Err(refusal(value.place, "bad-time", message, "Write whole seconds from 1."));
        }
    };
    if !is_plain_number(value.text) {
        let message = format!("knockd reads {key} `{}` as {read} s", shown(value.text));
        let suggestion = "If that was not meant, correct the time in the site file.";
        findings.push(warning(value.place, "odd-time", message, suggestion));
    }
    Ok(read)
}

/// Names of the flags, in the order they are written in a site file.
const FLAG_NAMES: [&str; 6] = ["fin", "syn", "rst", "psh", "ack", "urg"];

/// What `TCPFlags` demands of each of [`FLAG_NAMES`]: set, clear, or nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Flags([Option<bool>; FLAG_NAMES.len()]);

impl Flags {
    /// Reads one `TCPFlags` line; what it does not name stays.
    pub(super) fn read(&mut self, value: Text<'_>) -> Result<(), Finding> {
        let mut offset = 0;
        for item in value.text.split(',') {
            let (name, set) = item.strip_prefix('!').map_or((item, true), |name| (name, false));
            let known = FLAG_NAMES.iter().position(|known| known.eq_ignore_ascii_case(name));
            let Some(flag) = known.and_then(|index| self.0.get_mut(index)) else {
                let message = format!("`{}` is no flag{KNOCKD_ENDS}", shown(item));
                let suggestion =
                    "Write fin, syn, rst, psh, ack or urg, `!` right before a name, no blanks at the commas.";
                return Err(refusal(value.slice(offset, item.len()).place, "bad-flag", message, suggestion));
            };
            *flag = Some(set);
            offset += item.len() + 1;
        }
        Ok(())
    }

    /// As written in a site file: `syn,!ack`; empty when nothing is demanded.
    pub(super) fn text(&self) -> String {
        let named = self.0.iter().zip(FLAG_NAMES).filter_map(|(flag, name)| flag.map(|set| (set, name)));
        named
            .map(|(set, name)| if set { name.to_owned() } else { format!("!{name}") })
            .collect::<Vec<_>>()
            .join(",")
    }
}

/// Reads `Target`: knockd compares it as text with the numeric address of the packet.
pub(super) fn target(value: Text<'_>) -> Result<IpAddr, Finding> {
    value.text.parse().map_err(|_| {
        let message = format!("Target `{}` is not an address: knockd never matches it", shown(value.text));
        refusal(value.place, "bad-target", message, "Write the numeric IPv4 or IPv6 address of the host.")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::report::Place;

    fn text(text: &str) -> Text<'_> {
        Text { text, place: Place { line: 1, column: 1 } }
    }

    fn read(sequence: &str) -> Result<Vec<Step>, (u32, &'static str)> {
        steps(text(sequence), &mut Vec::new()).map_err(|refused| (refused.column, refused.code))
    }

    #[test]
    fn atoi_is_that_of_c() {
        for (text, value) in [
            ("", 0),
            ("x", 0),
            (" \t42abc", 42),
            ("-7", -7),
            ("+7", 7),
            ("- 7", 0),
            ("4294967303", 7),
            ("99999999999999999999", -1),
            ("-99999999999999999999", 0),
        ] {
            assert_eq!(atoi(text), value, "{text:?}");
        }
    }

    #[test]
    fn sequences_as_knockd_reads_them() {
        assert_eq!(read("1,2:udp,3:TCP"), Ok(vec![Step::tcp(1), Step::udp(2), Step::tcp(3)]));
        assert_eq!(
            read(" 7000 , 8000: udp ,9000x"),
            Ok(vec![Step::tcp(7000), Step::udp(8000), Step::tcp(9000)])
        );
        assert_eq!(read("1:tcp:what"), Ok(vec![Step::tcp(1)]));
        assert_eq!(read("7000,8000,"), Err((11, "bad-port")));
        assert_eq!(read("7000, 70000"), Err((7, "bad-port")));
        assert_eq!(read("-1"), Err((1, "bad-port")));
        assert_eq!(read("7000:icmp"), Err((1, "bad-protocol")));
        assert_eq!(read("7000:"), Err((1, "bad-protocol")));
        assert_eq!(read("7000,8000:udp,8000:udp"), Err((1, "knock-follows-itself")));
        assert_eq!(read("7000,8000,8000:udp,7000").map(|steps| steps.len()), Ok(4));
        let sixteen = ["9,8"; 8].join(",");
        assert_eq!(read(&sixteen).map(|steps| steps.len()), Ok(16));
        assert_eq!(read(&format!("{sixteen},9")), Err((1, "sequence-too-long")));
    }

    #[test]
    fn oddities_are_warned_about() {
        let mut findings = Vec::new();
        steps(text("7000,8000x,9000:udp:y"), &mut findings).unwrap();
        assert_eq!(findings.iter().map(|finding| finding.column).collect::<Vec<_>>(), [6, 12]);
        findings.clear();
        assert_eq!(within(Some(text("5m")), &mut findings), Ok(Duration::from_secs(5)));
        assert_eq!(findings[0].code, "odd-time");
    }

    #[test]
    fn times_are_bounded() {
        let mut findings = Vec::new();
        assert_eq!(within(None, &mut findings), Ok(Duration::from_secs(25)));
        assert_eq!(lifetime(None, &mut findings), Ok(10));
        assert!(findings.is_empty());
        assert_eq!(within(Some(text("600")), &mut findings), Ok(Duration::from_secs(120)));
        assert_eq!(lifetime(Some(text("900000")), &mut findings), Ok(86_400));
        assert_eq!(
            findings.iter().map(|finding| finding.code).collect::<Vec<_>>(),
            ["within-cut", "open-for-cut"]
        );
        assert!(within(Some(text("0")), &mut findings).is_err());
        assert!(lifetime(Some(text("-1")), &mut findings).is_err());
    }

    #[test]
    fn flags_as_knockd_reads_them() {
        let mut flags = Flags::default();
        assert_eq!(flags.text(), "");
        flags.read(text("SYN,!Ack,fin,!fin")).unwrap();
        assert_eq!(flags.text(), "!fin,syn,!ack");
        assert_eq!(flags.read(text("syn, ack")).unwrap_err().column, 5);
        assert_eq!(flags.read(text("syn,")).unwrap_err().column, 5);
    }
}
