//! Ports as firewall commands write them.

use postern_core::ServicePort;
use postern_core::knock::Transport;
use postern_core::limits::PORTS_PER_DOOR_MAX;

use super::super::report::shown;
use super::super::words::Word;
use super::Arguments;
use crate::finding::Finding;

/// Names from `/etc/services` that stand in knockd files; the file itself is not read, because it
/// is that of another machine.
const SERVICES: [(&str, u16); 22] = [
    ("ftp", 21),
    ("ssh", 22),
    ("telnet", 23),
    ("smtp", 25),
    ("domain", 53),
    ("http", 80),
    ("www", 80),
    ("pop3", 110),
    ("ntp", 123),
    ("imap", 143),
    ("imap2", 143),
    ("snmp", 161),
    ("ldap", 389),
    ("https", 443),
    ("submission", 587),
    ("ldaps", 636),
    ("imaps", 993),
    ("pop3s", 995),
    ("openvpn", 1194),
    ("mysql", 3306),
    ("postgresql", 5432),
    ("http-alt", 8080),
];

/// One port, by number or name.
fn port(text: &str) -> Option<u16> {
    if let Some((_, port)) = SERVICES.iter().find(|(name, _)| text.eq_ignore_ascii_case(name)) {
        return Some(*port);
    }
    let digits = !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_digit());
    text.parse().ok().filter(|port| digits && *port > 0)
}

/// Reads `22,80,1000:1003` (the separator of a range is `range`) for each of `transports`.
pub(super) fn read(
    arguments: &Arguments<'_>,
    word: &Word,
    text: &str,
    range: char,
    transports: &[Transport],
) -> Result<Vec<ServicePort>, Finding> {
    let mut ports = Vec::new();
    for item in text.split(',') {
        let (first, last) = item.split_once(range).unwrap_or((item, item));
        let (Some(first), Some(last)) = (port(first.trim()), port(last.trim())) else {
            let message = format!("`{}` is no port that is known", shown(item));
            return Err(arguments.refuse(
                word,
                "bad-port",
                message,
                "Write the number of the port, 1 to 65535.",
            ));
        };
        for port in (first..=last).take(PORTS_PER_DOOR_MAX + 1) {
            ports.extend(transports.iter().map(|&transport| ServicePort { transport, port }));
        }
    }
    finish(arguments, word, ports)
}

/// Sorted, without duplicates, and no more than a door can have.
pub(super) fn finish(
    arguments: &Arguments<'_>,
    word: &Word,
    mut ports: Vec<ServicePort>,
) -> Result<Vec<ServicePort>, Finding> {
    ports.sort_unstable();
    ports.dedup();
    match ports.len() {
        1..=PORTS_PER_DOOR_MAX => Ok(ports),
        0 => Err(arguments.every_port()),
        _ => Err(arguments.refuse(
            word,
            "too-many-ports",
            format!("it opens more than the {PORTS_PER_DOOR_MAX} ports a door may have"),
            "Name the ports that are needed, or split them over several doors with sequences of their own.",
        )),
    }
}

/// The transport a protocol name stands for.
pub(super) fn transport(text: &str) -> Option<Transport> {
    match text.to_ascii_lowercase().as_str() {
        "tcp" | "6" => Some(Transport::Tcp),
        "udp" | "17" => Some(Transport::Udp),
        _ => None,
    }
}
