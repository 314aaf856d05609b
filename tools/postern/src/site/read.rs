//! Reads a site file and says of everything that is wrong where it stands.

use std::net::IpAddr;

use postern_config::Backend;
use postern_core::limits::{
    INTERFACE_NAME_BYTES_MAX, INTERFACES_MAX, NAME_BYTES_MAX, OPEN_FOR_MAX, PORTS_PER_DOOR_MAX, REORDER_MAX,
    STEPS_MAX, WITHIN_MAX, WITHIN_MIN,
};
use postern_core::rule::is_name;
use toml_edit::{ImDocument, Item, TableLike};

use super::words::{self, did_you_mean};
use super::{At, DoorFile, FLAGS_DEFAULT, GuardWidths, SequenceFile, SiteFile, WITHIN_DEFAULT_MILLIS};
use crate::finding::{Finding, Severity, place_of};

/// The schema this version reads.
const SCHEMA: i64 = 1;

/// Reads `text`. The file is `None` when it is not worth checking further; the findings say why.
pub fn read(text: &str) -> (Option<SiteFile>, Vec<Finding>) {
    let mut reader = Reader { text, findings: Vec::new() };
    let file = match ImDocument::parse(text) {
        Ok(document) => reader.site(document.as_table()),
        Err(error) => {
            let offset = error.span().map_or(0, |span| span.start);
            reader.error(
                offset,
                "syntax",
                error.message().replace('\n', "; "),
                "see https://toml.io for the syntax",
            );
            None
        }
    };
    let refused = reader.findings.iter().any(|finding| finding.severity == Severity::Error);
    (file.filter(|_| !refused), reader.findings)
}

/// Name, interfaces and guards of `[gateway]`.
type GatewayTable = (Option<At<String>>, Option<Vec<At<String>>>, GuardWidths);

struct Reader<'t> {
    text: &'t str,
    findings: Vec<Finding>,
}

impl Reader<'_> {
    fn error(
        &mut self,
        offset: usize,
        code: &'static str,
        message: impl Into<String>,
        suggestion: impl Into<String>,
    ) {
        let (line, column) = place_of(self.text, offset);
        let (message, suggestion) = (message.into(), suggestion.into());
        self.findings.push(Finding { line, column, severity: Severity::Error, code, message, suggestion });
    }

    fn site(&mut self, root: &dyn TableLike) -> Option<SiteFile> {
        self.known_keys(root, "the file", &["schema", "gateway", "firewall", "door", "key"]);
        self.schema(root);
        if let Some(keys) = root.get("key") {
            self.spa_unsupported(start(keys));
        }
        let (name, interfaces, guards) = self.gateway(root);
        let (backend, exempt_interfaces) = self.firewall(root);
        let mut doors = Vec::new();
        match root.get("door") {
            None => {}
            Some(item) => match item.as_array_of_tables() {
                Some(tables) => {
                    for table in tables {
                        let at = table.span().map_or(0, |span| span.start);
                        doors.extend(self.door(table, at));
                    }
                }
                None => self.error(
                    start(item),
                    "type",
                    "`door` must be a list of tables",
                    "write each door under `[[door]]`",
                ),
            },
        }
        Some(SiteFile { name: name?, interfaces: interfaces?, backend, exempt_interfaces, guards, doors })
    }

    fn schema(&mut self, root: &dyn TableLike) {
        match root.get("schema").map(|item| (item.as_integer(), start(item))) {
            Some((Some(SCHEMA), _)) => {}
            Some((_, at)) => self.error(at, "schema", "this version reads schema 1", "write `schema = 1`"),
            None => self.error(0, "schema", "`schema` is missing", "begin the file with `schema = 1`"),
        }
    }

    fn gateway(&mut self, root: &dyn TableLike) -> GatewayTable {
        let mut guards = GuardWidths::default();
        let Some(table) = self.table(root, "gateway") else {
            self.error(0, "missing", "[gateway] is missing", "add `[gateway]` with `name` and `interfaces`");
            return (None, None, guards);
        };
        let at = root.get("gateway").map_or(0, start);
        let known = ["name", "interfaces", "spa_port", "guard_tcp", "guard_udp", "guard_icmp"];
        self.known_keys(table, "[gateway]", &known);
        for (key, width) in
            [("guard_tcp", &mut guards.tcp), ("guard_udp", &mut guards.udp), ("guard_icmp", &mut guards.icmp)]
        {
            if let Some(item) = table.get(key) {
                match item
                    .as_integer()
                    .and_then(|value| u16::try_from(value).ok())
                    .filter(|&value| value <= 8192)
                {
                    Some(value) => *width = value,
                    None => self.error(
                        start(item),
                        "guard",
                        "a guard is 0 to 8192 values wide to each side",
                        format!("write `{key} = 256`"),
                    ),
                }
            }
        }
        let name = self.required_text(table, "name", "[gateway]", at).filter(|name| self.check_name(name));
        let interfaces = self.interface_names(table, "interfaces");
        if interfaces.as_ref().is_some_and(Vec::is_empty) || table.get("interfaces").is_none() {
            self.error(
                table.get("interfaces").map_or(at, start),
                "missing",
                "no interface is named in [gateway]",
                "say where knocks arrive: `interfaces = [\"wwan0\"]`",
            );
        }
        (name, interfaces, guards)
    }

    fn firewall(&mut self, root: &dyn TableLike) -> (Backend, Vec<At<String>>) {
        let Some(table) = self.table(root, "firewall") else { return (Backend::default(), Vec::new()) };
        self.known_keys(table, "[firewall]", &["backend", "exempt_interfaces"]);
        let backend = match self.optional_text(table, "backend") {
            None => Backend::default(),
            Some(At { value, offset }) => match value.as_str() {
                "iptables" => Backend::Iptables,
                "nftables" => Backend::Nftables,
                _ => {
                    self.error(
                        offset,
                        "backend",
                        format!("there is no back end {value:?}"),
                        "write \"iptables\" or \"nftables\"",
                    );
                    Backend::default()
                }
            },
        };
        let exempt = self.interface_names(table, "exempt_interfaces").unwrap_or_default();
        for name in &exempt {
            // The firewall takes these and no other: `+` would be a wildcard, a dash an option.
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.@".contains(&byte);
            if name.value.starts_with('-') || !name.value.bytes().all(plain) {
                let what = format!("{:?} cannot be exempt: posternd would not start with it", name.value);
                self.error(name.offset, "interface", what, "name each interface in full, without wildcards");
            }
        }
        (backend, exempt)
    }

    fn door(&mut self, table: &dyn TableLike, at: usize) -> Option<DoorFile> {
        let known = [
            "name",
            "ports",
            "open_for",
            "sequence",
            "within",
            "tcp_flags",
            "close_sequence",
            "reorder",
            "target",
            "interfaces",
            "allow",
            "one_time_sequences",
            "spa",
        ];
        self.known_keys(table, "[[door]]", &known);
        if let Some(item) = table.get("spa") {
            self.spa_unsupported(start(item));
        }
        let name = self.required_text(table, "name", "[[door]]", at).filter(|name| self.check_name(name));
        let ports = self.ports(table, at);
        let open_for_secs = self.open_for(table, at);
        let within =
            self.millis(table, "within", WITHIN_DEFAULT_MILLIS, WITHIN_MIN.millis(), WITHIN_MAX.millis());
        let reorder = self.millis(table, "reorder", 0, 0, REORDER_MAX.millis());
        let flags = self.parsed(table, "tcp_flags", words::flags).map_or(FLAGS_DEFAULT, |flags| flags.value);
        let target = self.parsed(table, "target", |text| {
            text.parse::<IpAddr>().map_err(|_| "an address is written 203.0.113.7 or 2001:db8::7".to_owned())
        });
        let one_time_sequences = table
            .get("one_time_sequences")
            .map(|item| At::new(item.as_array().map_or(0, toml_edit::Array::len), start(item)));
        Some(DoorFile {
            sequence: self.sequence(table, "sequence"),
            close_sequence: self.sequence(table, "close_sequence"),
            interfaces: self.interface_names(table, "interfaces").unwrap_or_default(),
            allow: self.texts(table, "allow").unwrap_or_default(),
            name: name?,
            ports: ports?,
            open_for_secs: open_for_secs?,
            within_millis: within,
            reorder_millis: reorder,
            flags,
            target: target.map(|target| target.value),
            one_time_sequences,
        })
    }

    fn spa_unsupported(&mut self, at: usize) {
        let what = "keys and Single Packet Authorization are not supported by this version";
        self.error(at, "spa-unsupported", what, "use a `sequence` for now, or a version that has SPA");
    }

    fn ports(&mut self, table: &dyn TableLike, at: usize) -> Option<Vec<At<postern_core::ServicePort>>> {
        let texts = self.texts(table, "ports");
        let Some(texts) = texts.filter(|texts| !texts.is_empty()) else {
            let at = table.get("ports").map_or(at, start);
            self.error(at, "missing", "the door protects no port", "say which: `ports = [\"tcp/22\"]`");
            return None;
        };
        if texts.len() > PORTS_PER_DOOR_MAX {
            let what = format!("a door has {PORTS_PER_DOOR_MAX} ports at most");
            self.error(texts[PORTS_PER_DOOR_MAX].offset, "limit", what, "make a second door of the rest");
        }
        Some(self.each(texts, words::service_port))
    }

    fn open_for(&mut self, table: &dyn TableLike, at: usize) -> Option<At<u32>> {
        if table.get("open_for").is_none() {
            self.error(
                at,
                "missing",
                "the door does not say how long it stays open",
                "add `open_for = \"30s\"`",
            );
            return None;
        }
        let millis = self.parsed(table, "open_for", words::millis)?;
        let secs = u32::try_from(millis.value / 1000).unwrap_or(u32::MAX);
        if millis.value % 1000 != 0 || secs == 0 || millis.value > OPEN_FOR_MAX.millis() {
            let what = "a door stays open for whole seconds, 1 s to 24 h: the kernel counts them";
            self.error(millis.offset, "open-for", what, "write `open_for = \"30s\"`");
            return None;
        }
        Some(At::new(secs, millis.offset))
    }

    fn sequence(&mut self, table: &dyn TableLike, key: &str) -> Option<SequenceFile> {
        let offset = table.get(key).map(start)?;
        let texts = self.texts(table, key)?;
        if texts.is_empty() || texts.len() > STEPS_MAX {
            let what = format!("a sequence has 1 to {STEPS_MAX} knocks, and this one {}", texts.len());
            self.error(offset, "limit", what, "four or five are plenty");
            return None;
        }
        let count = texts.len();
        let steps = self.each(texts, words::step);
        (steps.len() == count).then_some(SequenceFile { offset, steps })
    }

    fn check_name(&mut self, name: &At<String>) -> bool {
        let fits = is_name(&name.value);
        if !fits {
            let what = format!("a name has 1 to {NAME_BYTES_MAX} of the characters A-Z a-z 0-9 - _ .");
            self.error(name.offset, "name", what, "choose a name that needs no quoting in logs and scripts");
        }
        fits
    }

    fn interface_names(&mut self, table: &dyn TableLike, key: &str) -> Option<Vec<At<String>>> {
        let names = self.texts(table, key)?;
        for name in &names {
            let odd = |byte: u8| !byte.is_ascii_graphic() || byte == b'/' || byte == b':';
            if matches!(name.value.as_str(), "" | "." | "..")
                || name.value.len() > INTERFACE_NAME_BYTES_MAX
                || name.value.bytes().any(odd)
            {
                let what = format!("{:?} is no name of an interface", name.value);
                self.error(name.offset, "interface", what, "`ip -br link` lists them");
            }
        }
        if let Some(extra) = names.get(INTERFACES_MAX) {
            self.error(extra.offset, "limit", format!("at most {INTERFACES_MAX} interfaces"), "watch fewer");
        }
        Some(names)
    }

    fn millis(&mut self, table: &dyn TableLike, key: &str, default: u32, least: u64, most: u64) -> At<u32> {
        let Some(millis) = self.parsed(table, key, words::millis) else { return At::new(default, 0) };
        match u32::try_from(millis.value).ok().filter(|_| (least..=most).contains(&millis.value)) {
            Some(value) => At::new(value, millis.offset),
            None => {
                let what = format!("`{key}` must be {least} ms to {most} ms, and is {} ms", millis.value);
                self.error(millis.offset, "limit", what, "choose a time in that range");
                At::new(default, millis.offset)
            }
        }
    }

    fn parsed<T>(
        &mut self,
        table: &dyn TableLike,
        key: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<At<T>> {
        let text = self.optional_text(table, key)?;
        self.each(vec![text], parse).pop()
    }

    /// Parses each text; those that are wrong are reported and left out.
    fn each<T>(&mut self, texts: Vec<At<String>>, parse: impl Fn(&str) -> Result<T, String>) -> Vec<At<T>> {
        let mut parsed = Vec::with_capacity(texts.len());
        for At { value, offset } in texts {
            match parse(&value) {
                Ok(value) => parsed.push(At::new(value, offset)),
                Err(expected) => {
                    self.error(offset, "value", format!("{value:?} is not understood"), expected)
                }
            }
        }
        parsed
    }

    fn table<'d>(&mut self, root: &'d dyn TableLike, key: &str) -> Option<&'d dyn TableLike> {
        let item = root.get(key)?;
        let table = item.as_table_like();
        if table.is_none() {
            self.error(
                start(item),
                "type",
                format!("`{key}` must be a table"),
                format!("write it as `[{key}]`"),
            );
        }
        table
    }

    fn texts(&mut self, table: &dyn TableLike, key: &str) -> Option<Vec<At<String>>> {
        let item = table.get(key)?;
        let Some(array) = item.as_array() else {
            self.error(
                start(item),
                "type",
                format!("`{key}` must be a list of strings"),
                format!("write `{key} = [\"...\"]`"),
            );
            return None;
        };
        let mut texts = Vec::new();
        for value in array {
            let offset = value.span().map_or(0, |span| span.start);
            match value.as_str() {
                Some(text) => texts.push(At::new(text.to_owned(), offset)),
                None => self.error(
                    offset,
                    "type",
                    format!("`{key}` must be a list of strings"),
                    "put it in quotes",
                ),
            }
        }
        Some(texts)
    }

    fn required_text(
        &mut self,
        table: &dyn TableLike,
        key: &str,
        place: &str,
        at: usize,
    ) -> Option<At<String>> {
        if table.get(key).is_none() {
            self.error(
                at,
                "missing",
                format!("`{key}` is missing in {place}"),
                format!("add `{key} = \"...\"`"),
            );
        }
        self.optional_text(table, key)
    }

    fn optional_text(&mut self, table: &dyn TableLike, key: &str) -> Option<At<String>> {
        let item = table.get(key)?;
        match item.as_str() {
            Some(text) => Some(At::new(text.to_owned(), start(item))),
            None => {
                self.error(
                    start(item),
                    "type",
                    format!("`{key}` must be a string"),
                    format!("write `{key} = \"...\"`"),
                );
                None
            }
        }
    }

    fn known_keys(&mut self, table: &dyn TableLike, place: &str, known: &[&str]) {
        let unknown: Vec<(String, usize)> = table
            .iter()
            .filter(|(key, _)| !known.contains(key))
            .map(|(key, item)| {
                let at = table.key(key).and_then(toml_edit::Key::span).map_or(start(item), |span| span.start);
                (key.to_owned(), at)
            })
            .collect();
        for (key, at) in unknown {
            let suggestion = match did_you_mean(&key, known) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => format!("known there: {}", known.join(", ")),
            };
            self.error(at, "unknown-key", format!("unknown key `{key}` in {place}"), suggestion);
        }
    }
}

fn start(item: &Item) -> usize {
    item.span().map_or(0, |span| span.start)
}
