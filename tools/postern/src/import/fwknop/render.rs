//! The site file of an fwknopd: a key for each stanza, a door for each port.

use std::fmt::{Arguments, Write as _};

use postern_core::ServicePort;
use postern_core::limits::DOORS_MAX;
use postern_core::spa::fwknop::MacDigest;
use toml_edit::Value;

use super::server::Server;
use super::stanza::{Key, Stanzas};
use crate::import::report::shown;
use crate::site::notation::{duration, network_text};
use crate::site::{SPA_PORT_DEFAULT, calendar};

const HEAD: &str = "\
# Made by `postern import --fwknop`. Comments name the line of access.conf a key comes from. Read the
# findings of the import, then run `postern check` on this file. Every gateway needs keys of its own:
# a packet of the stock client counts wherever its keys are.
schema = 1
";

/// Writes the site file. Each port has a door of its own, so that a client opens what it asks for and
/// nothing else, as with fwknopd.
pub(super) fn site(stanzas: &Stanzas, server: &Server<'_>, now: u64) -> String {
    let mut site = HEAD.to_owned();
    gateway(&mut site, server);
    for key in &stanzas.keys {
        self::key(&mut site, key, server.clients_have_clocks.then_some(now));
    }
    for (line, reason) in &stanzas.refused {
        line_of(
            &mut site,
            format_args!("\n# The stanza in line {line} is not imported:\n#   {}", shown(reason)),
        );
    }
    let mut ports: Vec<ServicePort> = stanzas.keys.iter().flat_map(|key| &key.ports).copied().collect();
    ports.sort_unstable();
    ports.dedup();
    for port in ports.into_iter().take(DOORS_MAX) {
        door(&mut site, port, &stanzas.keys);
    }
    site
}

fn line_of(site: &mut String, line: Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = writeln!(site, "{line}");
}

fn gateway(site: &mut String, server: &Server<'_>) {
    line_of(site, format_args!("\n[gateway]\nname = \"gateway\" # give the device its own name"));
    match server.interface {
        Some(name) => {
            let line = name.place.line;
            line_of(
                site,
                format_args!("interfaces = [{}] # line {line} of fwknopd.conf", Value::from(name.text)),
            );
        }
        None => line_of(site, format_args!("interfaces = [\"eth0\"] # fwknopd's default")),
    }
    if server.port != SPA_PORT_DEFAULT {
        line_of(site, format_args!("spa_port = {}", server.port));
    }
    line_of(site, format_args!("\n[firewall]\nbackend = \"iptables\" # or \"nftables\""));
}

fn key(site: &mut String, key: &Key, first: Option<u64>) {
    let Key { name, line, .. } = key;
    line_of(site, format_args!("\n# line {line}\n[[key]]\nname = \"{name}\""));
    if let Some(person) = &key.person {
        line_of(site, format_args!("person = {}", Value::from(person.as_str())));
    }
    line_of(site, format_args!("kind = \"fwknop\""));
    line_of(site, format_args!("key_base64_file = \"keys/{name}.key\""));
    line_of(site, format_args!("hmac_key_base64_file = \"keys/{name}.hmac\""));
    match key.secrets.digest {
        MacDigest::Sha256 => {}
        MacDigest::Sha384 => line_of(site, format_args!("hmac_digest = \"sha384\"")),
        MacDigest::Sha512 => line_of(site, format_args!("hmac_digest = \"sha512\"")),
    }
    line_of(site, format_args!("longest = \"{}\"", duration(u64::from(key.longest_secs) * 1000)));
    if !key.sources.is_empty() {
        let sources: Vec<String> =
            key.sources.iter().map(|source| format!("\"{}\"", network_text(*source))).collect();
        line_of(site, format_args!("sources = [{}]", sources.join(", ")));
    }
    line_of(
        site,
        format_args!("may_claim = true # -a and -R; without it only -s and the client's own address"),
    );
    if let Some(first) = first {
        line_of(site, format_args!("counter_first = {first} # nothing the clients sent before counts"));
    }
    if let Some(until) = key.until {
        // The clock of the client ends it where the gateway has none.
        line_of(site, format_args!("counter_last = {}", until.saturating_sub(1)));
        if let Some(text) = calendar::text(until) {
            line_of(site, format_args!("valid_until = {text}"));
        }
    }
}

fn door(site: &mut String, port: ServicePort, keys: &[Key]) {
    let keys: Vec<&Key> = keys.iter().filter(|key| key.ports.contains(&port)).collect();
    let open_for = keys.iter().map(|key| key.open_for_secs).min().unwrap_or(30);
    let same = keys.iter().all(|key| key.open_for_secs == open_for);
    let remark = if same { "" } else { " # the shortest of the stanzas" };
    let names: Vec<String> = keys.iter().map(|key| format!("\"{}\"", key.name)).collect();
    let name = port.to_string().replace('/', "-");
    line_of(site, format_args!("\n[[door]]\nname = \"{name}\"\nports = [\"{port}\"]"));
    // All of them lead to the same place.
    if let Some(forward) = keys.iter().find_map(|key| key.forward) {
        line_of(site, format_args!("forward = \"{forward}\""));
    }
    line_of(site, format_args!("open_for = \"{}\"{remark}", duration(u64::from(open_for) * 1000)));
    line_of(site, format_args!("spa = [{}]", names.join(", ")));
}
