//! Writes a site as a site file: one text for one site, sections and keys in the order of the
//! documentation, what is usual left out.
//!
//! A secret the gateway keeps is written by its label, `secret = { held = "..." }`. One that is
//! known goes into a file of its own beside the text; verifiers of passwords stand in the text.

use std::fmt::Write as _;

use postern_config::allowance;
use postern_config::secret::{Secret, StoredSecret};
use postern_config::site::{
    Backend, Site, StoredAccount, StoredConsole, StoredDoor, StoredGuardWidths, StoredKey, StoredKeyKind,
    StoredRotating, StoredSequence,
};
use postern_core::knock::{FlagCondition, ServicePort, Step, TcpFlags};

use super::notation::{self, VerifierText, duration, hex};
use super::read::DIGESTS;
use super::{FLAGS_DEFAULT, SPA_PORT_DEFAULT, WITHIN_DEFAULT_MILLIS, calendar, rotating};

/// A site file and the files it refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// The text of the site file.
    pub text: String,
    /// Secrets it refers to.
    pub secrets: Vec<SecretFile>,
}

/// A secret in a file of its own.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretFile {
    /// Path from the folder of the site file.
    pub path: String,
    /// The secret itself; the file holds it in base64.
    pub octets: Vec<u8>,
}

impl std::fmt::Debug for SecretFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SecretFile").field("path", &self.path).finish_non_exhaustive()
    }
}

/// Writes `site`. A site that no site file can say, such as a door with two opening sequences, is
/// written as far as it goes; whoever must know reads the text again and compares.
pub fn render(site: &Site) -> Rendered {
    let mut file = Writer { text: "schema = 1\n".to_owned(), secrets: Vec::new() };
    if let Some(owner) = &site.owner {
        file.text("owner", &notation::owner_text(owner));
    }
    file.gateway(site);
    file.firewall(site);
    file.console(&site.console);
    for account in &site.accounts {
        file.account(account);
    }
    for (index, door) in (0_u16..).zip(&site.doors) {
        let own: Vec<&StoredSequence> = site.sequences.iter().filter(|one| one.door == index).collect();
        file.door(site, door, &own);
    }
    for key in &site.keys {
        file.key(key);
    }
    Rendered { text: file.text, secrets: file.secrets }
}

struct Writer {
    text: String,
    secrets: Vec<SecretFile>,
}

impl Writer {
    fn section(&mut self, name: &str) {
        let _ = writeln!(self.text, "\n{name}");
    }

    fn raw(&mut self, key: &str, value: impl std::fmt::Display) {
        let _ = writeln!(self.text, "{key} = {value}");
    }

    fn text(&mut self, key: &str, value: &str) {
        self.raw(key, quoted(value));
    }

    fn list<T: AsRef<str>>(&mut self, key: &str, values: impl IntoIterator<Item = T>) {
        self.raw(key, listed(values));
    }

    fn list_unless_empty<T: AsRef<str>>(&mut self, key: &str, values: Vec<T>) {
        if !values.is_empty() {
            self.list(key, values);
        }
    }

    fn switch(&mut self, key: &str, value: bool) {
        if value {
            self.raw(key, "true");
        }
    }

    fn unless<T: PartialEq + std::fmt::Display>(&mut self, default: T, key: &str, value: T) {
        if value != default {
            self.raw(key, value);
        }
    }

    fn millis_unless(&mut self, default: u32, key: &str, value: u32) {
        if value != default {
            self.text(key, &duration(u64::from(value)));
        }
    }

    fn gateway(&mut self, site: &Site) {
        self.section("[gateway]");
        self.text("name", &site.name);
        self.list("interfaces", &site.interfaces);
        let usual = if site.keys.is_empty() { 0 } else { SPA_PORT_DEFAULT };
        self.unless(usual, "spa_port", site.spa_port);
        let usual = StoredGuardWidths::default();
        self.unless(usual.tcp, "guard_tcp", site.guard_widths.tcp);
        self.unless(usual.udp, "guard_udp", site.guard_widths.udp);
        self.unless(usual.icmp, "guard_icmp", site.guard_widths.icmp);
    }

    fn firewall(&mut self, site: &Site) {
        if site.backend == Backend::default() && site.exempt_interfaces.is_empty() {
            return;
        }
        self.section("[firewall]");
        if site.backend == Backend::Nftables {
            self.text("backend", "nftables");
        }
        if !site.exempt_interfaces.is_empty() {
            self.list("exempt_interfaces", &site.exempt_interfaces);
        }
    }

    fn console(&mut self, console: &StoredConsole) {
        let usual = StoredConsole::default();
        if *console == usual {
            return;
        }
        self.section("[console]");
        if console.banner != usual.banner {
            self.text("banner", &console.banner);
        }
        let millis = |secs: u16| u32::from(secs) * 1000;
        self.millis_unless(millis(usual.idle_lock_secs), "idle_lock", millis(console.idle_lock_secs));
    }

    fn account(&mut self, account: &StoredAccount) {
        self.section("[[account]]");
        self.text("name", &account.name);
        self.text("role", account.role.name());
        let verifier = VerifierText {
            salt: account.salt,
            iterations: account.iterations,
            stored_key: account.stored_key.clone(),
            server_key: account.server_key.clone(),
        };
        self.text("verifier", &notation::verifier_text(&verifier));
    }

    fn door(&mut self, site: &Site, door: &StoredDoor, sequences: &[&StoredSequence]) {
        self.section("[[door]]");
        self.text("name", &door.name);
        self.list("ports", door.ports.iter().map(|&port| ServicePort::from(port).to_string()));
        self.text("open_for", &duration(u64::from(door.open_for_secs) * 1000));
        self.list_unless_empty("spa", key_names(site, door.keys));
        self.sequences(sequences);
        if let Some(rotating) = &door.rotating {
            self.rotating(site, rotating);
        }
        if let Some(target) = door.target {
            self.text("target", &target.to_string());
        }
        if door.interfaces != u8::MAX {
            let named =
                site.interfaces.iter().enumerate().filter(|(bit, _)| door.interfaces & (1 << bit) != 0);
            self.list("interfaces", named.map(|(_, name)| name));
        }
        if let Some(forward) = door.forward {
            self.text("forward", &notation::forward_text(forward));
        }
        self.switch("one_shot", door.one_shot);
        self.switch("cut_at_end", door.cut_at_end);
        self.unless(32, "prefix_v4", door.prefix_v4);
        self.unless(128, "prefix_v6", door.prefix_v6);
        self.list_unless_empty("allow", allowance::names(door.allow).collect());
    }

    fn sequences(&mut self, sequences: &[&StoredSequence]) {
        let one = |closes| sequences.iter().find(move |one| !one.one_time && one.closes == closes);
        if let Some(opening) = one(false) {
            self.list("sequence", steps(opening));
        }
        let one_time: Vec<&&StoredSequence> = sequences.iter().filter(|one| one.one_time).collect();
        if !one_time.is_empty() {
            self.raw("one_time_sequences", "[");
            for sequence in one_time {
                let _ = writeln!(self.text, "    {},", listed(steps(sequence)));
            }
            self.text.push_str("]\n");
        }
        if let Some(any) = sequences.first() {
            self.millis_unless(WITHIN_DEFAULT_MILLIS, "within", any.within_millis);
            let (mask, value) = (TcpFlags::from_bits(any.flags_mask), TcpFlags::from_bits(any.flags_value));
            let flags = FlagCondition { mask, value };
            if flags != FLAGS_DEFAULT {
                self.text("tcp_flags", &notation::flags_text(flags));
            }
        }
        if let Some(closing) = one(true) {
            self.list("close_sequence", steps(closing));
        }
        if let Some(any) = sequences.first() {
            self.millis_unless(0, "reorder", any.reorder_millis);
        }
    }

    fn rotating(&mut self, site: &Site, stored: &StoredRotating) {
        let key = site.keys.get(usize::from(stored.key)).map_or("", |key| key.name.as_str());
        let mut parts = vec![format!("key = {}", quoted(key))];
        let mut unless = |usual: bool, part: String| {
            if !usual {
                parts.push(part);
            }
        };
        unless(stored.knocks == rotating::KNOCKS_DEFAULT, format!("knocks = {}", stored.knocks));
        let ahead = stored.look_ahead;
        unless(ahead == rotating::LOOK_AHEAD_DEFAULT, format!("look_ahead = {ahead}"));
        let used =
            rotating::PROTOCOLS.iter().enumerate().filter(|(bit, _)| stored.protocols & (1 << bit) != 0);
        let protocols = listed(used.map(|(_, name)| name));
        unless(stored.protocols == rotating::PROTOCOLS_DEFAULT, format!("protocols = {protocols}"));
        let range = (stored.first, stored.last);
        unless(range == rotating::PORTS_DEFAULT, format!("ports = \"{}-{}\"", range.0, range.1));
        let within = duration(u64::from(stored.within_millis));
        unless(stored.within_millis == WITHIN_DEFAULT_MILLIS, format!("within = \"{within}\""));
        self.raw("rotating", format!("{{ {} }}", parts.join(", ")));
    }

    fn key(&mut self, key: &StoredKey) {
        self.section("[[key]]");
        self.text("name", &key.name);
        if !key.person.is_empty() {
            self.text("person", &key.person);
        }
        match &key.kind {
            StoredKeyKind::Native { secret } => {
                self.secret("secret", "secret_file", &key.name, "key", secret)
            }
            StoredKeyKind::Fwknop { encryption, hmac, digest } => {
                self.text("kind", "fwknop");
                self.secret("key", "key_base64_file", &key.name, "key", encryption);
                self.secret("hmac_key", "hmac_key_base64_file", &key.name, "hmac", hmac);
                let name = DIGESTS.iter().find(|(_, known)| known == digest).map_or("", |(name, _)| name);
                if *digest != Default::default() {
                    self.text("hmac_digest", name);
                }
            }
        }
        if key.longest_secs != 0 {
            self.text("longest", &duration(u64::from(key.longest_secs) * 1000));
        }
        self.list_unless_empty("sources", key.sources.iter().copied().map(notation::network_text).collect());
        self.switch("may_claim", key.may_claim);
        self.wide_unless(0, "counter_first", key.counter_first);
        self.wide_unless(u64::MAX, "counter_last", key.counter_last);
        self.instant_unless(0, "valid_from", key.valid_from_secs);
        self.instant_unless(u64::MAX, "valid_until", key.valid_until_secs);
        self.list_unless_empty("windows", key.windows.iter().copied().map(notation::window_text).collect());
        self.unless(1, "grants_per_door", key.grants_per_door);
        self.switch("disabled", key.disabled);
    }

    fn secret(&mut self, key: &str, file_key: &str, name: &str, ending: &str, stored: &StoredSecret) {
        match stored {
            StoredSecret::Held(label) => self.raw(key, format!("{{ held = \"{}\" }}", hex(label))),
            StoredSecret::Known(secret) => {
                let path = format!("keys/{name}.{ending}");
                self.text(file_key, &path);
                self.secrets.push(SecretFile { path, octets: Secret::expose(secret).to_vec() });
            }
        }
    }

    /// TOML's integers are signed: the upper half is written in quotes.
    fn wide_unless(&mut self, default: u64, key: &str, value: u64) {
        if value == default {
            return;
        }
        match i64::try_from(value) {
            Ok(value) => self.raw(key, value),
            Err(_) => self.text(key, &value.to_string()),
        }
    }

    fn instant_unless(&mut self, default: u64, key: &str, value: u64) {
        match calendar::text(value).filter(|_| value != default) {
            Some(text) => self.raw(key, text),
            None => self.wide_unless(default, key, value),
        }
    }
}

fn key_names(site: &Site, bits: u64) -> Vec<&str> {
    let keys = site.keys.iter().enumerate().filter(|(bit, _)| bits & (1 << bit) != 0);
    keys.map(|(_, key)| key.name.as_str()).collect()
}

fn steps(sequence: &StoredSequence) -> impl Iterator<Item = String> + '_ {
    sequence.steps.iter().map(|&step| Step::from(step).to_string())
}

fn listed<T: AsRef<str>>(values: impl IntoIterator<Item = T>) -> String {
    let values: Vec<String> = values.into_iter().map(|value| quoted(value.as_ref())).collect();
    format!("[{}]", values.join(", "))
}

/// A basic string (toml.io, "String").
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            '\n' => quoted.push_str("\\n"),
            control if control.is_control() => {
                let _ = write!(quoted, "\\u{:04X}", u32::from(control));
            }
            plain => quoted.push(plain),
        }
    }
    quoted.push('"');
    quoted
}
