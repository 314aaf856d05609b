//! fwknopd.conf: where packets are awaited, and why nothing else of it is needed.

use super::grammar::Line;
use super::stanza::is_yes;
use crate::finding::Finding;
use crate::import::report::{Place, Text, note, refusal, shown, warning};
use crate::site::SPA_PORT_DEFAULT;

/// What becomes of a directive that is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It is not needed.
    Needless,
    /// What it turns on is not there; off is no loss.
    LostWhenOn,
    /// Not there.
    Lost,
}

/// Directives of one fate: their names, and why.
type Group = (Fate, &'static [&'static str], &'static str);

/// Directives that are read here.
const READ: [&str; 8] = [
    "PCAP_INTF",
    "PCAP_FILTER",
    "ENABLE_UDP_SERVER",
    "UDPSERV_PORT",
    "ENABLE_SPA_PACKET_AGING",
    "MAX_SPA_PACKET_AGE",
    "ENABLE_DIGEST_PERSISTENCE",
    "ACCESS_FOLDER",
];

/// All others that fwknopd 2.6 knows, or its shipped files name. `x` in a name of the packet filters stands for FIREWD and IPT.
const GROUPS: [Group; 19] = [
    (
        Fate::Needless,
        &[
            "CONFIG_FILE",
            "OVERRIDE_CONFIG",
            "FWKNOP_RUN_DIR",
            "FWKNOP_CONF_DIR",
            "ACCESS_FILE",
            "FWKNOP_PID_FILE",
            "DIGEST_FILE",
            "DIGEST_DB_FILE",
        ],
        "it is a file of fwknopd; everything Postern needs is in its store",
    ),
    (Fate::Needless, &["GPG_HOME_DIR", "GPG_EXE"], "GPG is not used"),
    (
        Fate::Needless,
        &[
            "SUDO_EXE",
            "CMD_EXEC_TIMEOUT",
            "EXTERNAL_CMD_OPEN",
            "EXTERNAL_CMD_CLOSE",
            "EXTERNAL_CMD_ALARM",
            "EXT_CMD_PREFIX",
        ],
        "no command is ever run",
    ),
    (Fate::LostWhenOn, &["ENABLE_EXTERNAL_CMDS", "ENABLE_EXT_CMD_PREFIX"], "no command is ever run"),
    (Fate::Needless, &["FIREWALL_EXE"], "the kernel is told by itself; choose `firewall.backend`"),
    (Fate::Lost, &["PCAP_FILE"], "packets come from interfaces only"),
    (Fate::LostWhenOn, &["ENABLE_PCAP_PROMISC"], "packets to other machines are not looked at"),
    (Fate::LostWhenOn, &["ENABLE_PCAP_ANY_DIRECTION"], "only packets that come in are looked at"),
    (
        Fate::Needless,
        &[
            "PCAP_DISPATCH_COUNT",
            "PCAP_LOOP_SLEEP",
            "MAX_SNIFF_BYTES",
            "UDPSERV_SELECT_TIMEOUT",
            "RULES_CHECK_THRESHOLD",
        ],
        "there is nothing to tune",
    ),
    (Fate::Needless, &["EXIT_AT_INTF_DOWN"], "an interface that goes is waited for"),
    (
        Fate::LostWhenOn,
        &["ENABLE_SPA_OVER_HTTP", "ALLOW_ANY_USER_AGENT", "ENABLE_X_FORWARDED_FOR", "ENABLE_TCP_SERVER"],
        "packets are taken over UDP only",
    ),
    (Fate::Needless, &["TCPSERV_PORT"], "packets are taken over UDP only"),
    (
        Fate::Needless,
        &[
            "ENABLE_NFQ_CAPTURE",
            "NFQ_INTERFACE",
            "NFQ_PORT",
            "NFQ_TABLE",
            "NFQ_CHAIN",
            "NFQ_QUEUE_NUMBER",
            "NFQ_LOOP_SLEEP",
        ],
        "packets are captured at the interface, before any rule",
    ),
    (Fate::LostWhenOn, &["ENABLE_DESTINATION_RULE"], "a door opens on every address of the gateway"),
    (Fate::Needless, &["ENABLE_NAT_DNS"], "names are never resolved"),
    (
        Fate::LostWhenOn,
        &["ENABLE_x_FORWARDING", "ENABLE_x_LOCAL_NAT", "ENABLE_x_SNAT", "ENABLE_x_OUTPUT"],
        "a door that leads behind the gateway says so itself (`forward`); nothing else is forwarded",
    ),
    (
        Fate::Needless,
        &[
            "SNAT_TRANSLATE_IP",
            "ENABLE_RULE_PREPEND",
            "FLUSH_x_AT_INIT",
            "FLUSH_x_AT_EXIT",
            "x_INPUT_ACCESS",
            "x_OUTPUT_ACCESS",
            "x_FORWARD_ACCESS",
            "x_DNAT_ACCESS",
            "x_SNAT_ACCESS",
            "x_MASQUERADE_ACCESS",
            "ENABLE_x_COMMENT_CHECK",
        ],
        "Postern has a gate of its own in the packet filter and leaves all other rules alone",
    ),
    (
        Fate::Needless,
        &[
            "FLUSH_IPFW_AT_INIT",
            "FLUSH_IPFW_AT_EXIT",
            "IPFW_START_RULE_NUM",
            "IPFW_MAX_RULES",
            "IPFW_ACTIVE_SET_NUM",
            "IPFW_EXPIRE_SET_NUM",
            "IPFW_EXPIRE_PURGE_INTERVAL",
            "IPFW_ADD_CHECK_STATE",
            "PF_ANCHOR_NAME",
            "PF_EXPIRE_INTERVAL",
        ],
        "it is for a packet filter that Linux has not",
    ),
    (
        Fate::Needless,
        &["LOCALE", "SYSLOG_IDENTITY", "SYSLOG_FACILITY", "VERBOSE", "FAULT_INJECTION_TAG"],
        "the audit trail is what it is",
    ),
];

/// Seconds fwknopd lets packets be old.
const AGE_MAX_SECS: u64 = postern_core::spa::fwknop::mark::AGE_MAX_SECS;

/// What is needed of fwknopd.conf.
#[derive(Debug)]
pub(super) struct Server<'a> {
    /// The interface, and its line.
    pub(super) interface: Option<Text<'a>>,
    pub(super) port: u16,
    /// Whether clients' clocks are right, as far as fwknopd could know.
    pub(super) clients_have_clocks: bool,
}

/// Reads what is needed, and says of everything else why it is not.
pub(super) fn read<'a>(lines: Vec<Line<'a>>, findings: &mut Vec<Finding>) -> Server<'a> {
    for line in &lines {
        if !READ.iter().any(|name| line.is(name)) {
            findings.push(fate(line));
        }
    }
    let last = |name: &str| lines.iter().rev().find(|line| line.is(name)).map(|line| line.value);
    let is_on = |name: &str, default| last(name).map_or(default, |value| is_yes(value.text));
    let filter = last("PCAP_FILTER").map(filtered_port);
    let served = last("UDPSERV_PORT").filter(|_| is_on("ENABLE_UDP_SERVER", false)).map(port);
    let port = match served.or(filter) {
        Some(Ok(port)) => port,
        Some(Err(finding)) => {
            findings.push(finding);
            SPA_PORT_DEFAULT
        }
        None => SPA_PORT_DEFAULT,
    };
    let interface = last("PCAP_INTF").filter(|value| match interface(*value) {
        Ok(()) => true,
        Err(finding) => {
            findings.push(finding);
            false
        }
    });
    let aging = is_on("ENABLE_SPA_PACKET_AGING", true);
    ages(aging, last("ENABLE_SPA_PACKET_AGING"), last("MAX_SPA_PACKET_AGE"), findings);
    if let Some(value) = last("ENABLE_DIGEST_PERSISTENCE").filter(|value| !is_yes(value.text)) {
        let message = "what was used is remembered over restarts all the same";
        findings.push(note(value.place, "replay", message, ""));
    }
    if let Some(value) = last("ACCESS_FOLDER") {
        let message = "the files of this folder are not read";
        findings.push(warning(value.place, "access-folder", message, "Import each of them."));
    }
    Server { interface, port, clients_have_clocks: aging }
}

/// Why a directive is not needed, or what is lost with it.
fn fate(line: &Line<'_>) -> Finding {
    let name = line.name.text.to_ascii_uppercase();
    let plain = ["FIREWD", "IPT"].iter().fold(name, |name, filter| {
        let words = name.split('_').map(|word| if word == *filter { "x" } else { word });
        words.collect::<Vec<_>>().join("_")
    });
    let Some(&(fate, _, why)) = GROUPS.iter().find(|(_, names, _)| names.contains(&plain.as_str())) else {
        let message = format!("nobody knows what `{}` says", shown(line.name.text));
        let suggestion = "Correct it, or delete the line.";
        return refusal(line.name.place, "unknown-directive", message, suggestion);
    };
    let lost = fate == Fate::Lost || fate == Fate::LostWhenOn && is_yes(line.value.text);
    let say = if lost { warning } else { note };
    say(line.name.place, if lost { "not-carried-over" } else { "not-needed" }, why, "")
}

fn ages(aging: bool, switch: Option<Text<'_>>, most: Option<Text<'_>>, findings: &mut Vec<Finding>) {
    if let Some(value) = switch.filter(|_| !aging) {
        let message = format!(
            "while the gateway trusts its clock, packets count for {AGE_MAX_SECS} seconds; without a clock their \
             age does not matter, and none counts twice in either case"
        );
        findings.push(warning(
            value.place,
            "packet-age",
            message,
            "See to it that clients' clocks are right.",
        ));
    }
    if let Some(value) = most.filter(|value| aging && value.text.parse() != Ok(AGE_MAX_SECS)) {
        let message = format!("packets count for {AGE_MAX_SECS} seconds, whatever is written here");
        findings.push(warning(value.place, "packet-age", message, ""));
    }
}

/// The port of the only filters that say nothing but a port.
fn filtered_port(filter: Text<'_>) -> Result<u16, Finding> {
    let words: Vec<&str> = filter.text.split_whitespace().collect();
    match words.as_slice() {
        ["udp", "port", number] | ["udp", "dst", "port", number] => {
            number.parse().ok().filter(|port| *port != 0).ok_or_else(|| no_port(filter.place, number))
        }
        _ => {
            let message =
                format!("`{}` says more than a UDP port; {SPA_PORT_DEFAULT} is written", shown(filter.text));
            Err(refusal(filter.place, "filter", message, "Write the port clients send to as `spa_port`."))
        }
    }
}

fn port(value: Text<'_>) -> Result<u16, Finding> {
    value.text.parse().ok().filter(|port| *port != 0).ok_or_else(|| no_port(value.place, value.text))
}

fn no_port(place: Place, text: &str) -> Finding {
    let message = format!("`{}` is no port; {SPA_PORT_DEFAULT} is written", shown(text));
    refusal(place, "port", message, "Write the port clients send to as `spa_port`.")
}

fn interface(value: Text<'_>) -> Result<(), Finding> {
    crate::import::render::interface_error(value).map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_directive_of_the_manual_has_a_fate() {
        let names = GROUPS.iter().flat_map(|(_, names, _)| names.iter());
        let text: String = names.map(|name| format!("{} Y;\n", name.replace('x', "IPT"))).collect();
        let text = format!("{text}ENABLE_FIREWD_FORWARDING N;\nFIREWD_INPUT_ACCESS a, b;\nPCAP_FITLER x;\n");
        let mut findings = Vec::new();
        read(super::super::grammar::lines(&text, &mut findings), &mut findings);
        let unknown: Vec<_> = findings.iter().filter(|finding| finding.code == "unknown-directive").collect();
        assert_eq!(unknown.len(), 1, "{unknown:?}");
        assert!(unknown[0].message.contains("PCAP_FITLER"));
    }
}
