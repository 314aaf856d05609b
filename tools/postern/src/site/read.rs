//! Reads a site file and says of everything that is wrong where it stands.

use postern_config::Backend;
use postern_config::site::{StoredConsole, StoredGuardWidths};
use postern_core::limits::BANNER_BYTES_MAX;
use toml_edit::{ArrayOfTables, ImDocument, Item, TableLike};

use super::{At, SiteFile, notation};
use crate::finding::{Finding, Severity, place_of};

mod door;
mod fields;
mod key;

pub(super) use key::DIGESTS;

/// The schema this version reads.
const SCHEMA: i64 = 1;

/// Reads `text`. The file is `None` when it is not worth checking further; the findings say why.
pub fn read(text: &str) -> (Option<SiteFile>, Vec<Finding>) {
    Reader::parse(text, Reader::site)
}

/// `[gateway]`.
struct GatewayTable {
    name: At<String>,
    interfaces: Vec<At<String>>,
    spa_port: Option<u16>,
    guards: StoredGuardWidths,
}

/// Collects what is wrong with a TOML file; client profiles are read with it too.
pub(crate) struct Reader<'t> {
    text: &'t str,
    findings: Vec<Finding>,
}

impl<'t> Reader<'t> {
    /// Parses `text` and lets `read` take it apart. What was read is `None` when anything is wrong;
    /// the findings say what.
    pub(crate) fn parse<T>(
        text: &'t str,
        read: impl FnOnce(&mut Self, &dyn TableLike) -> Option<T>,
    ) -> (Option<T>, Vec<Finding>) {
        let mut reader = Reader { text, findings: Vec::new() };
        let file = match ImDocument::parse(text) {
            Ok(document) => read(&mut reader, document.as_table()),
            Err(error) => {
                let offset = error.span().map_or(0, |span| span.start);
                let message = error.message().replace('\n', "; ");
                reader.error(offset, "syntax", message, "see https://toml.io for the syntax");
                None
            }
        };
        let refused = reader.findings.iter().any(|finding| finding.severity == Severity::Error);
        (file.filter(|_| !refused), reader.findings)
    }
}

impl Reader<'_> {
    pub(crate) fn error(
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
        let known = ["schema", "owner", "gateway", "firewall", "console", "account", "door", "key"];
        self.known_keys(root, "the file", &known);
        self.schema(root);
        let owner = self.parsed(root, "owner", notation::owner).map(|owner| owner.value);
        let gateway = self.gateway(root);
        let (backend, exempt_interfaces) = self.firewall(root);
        let console = self.console(root);
        let accounts = self.tables(root, "account", "account", Self::account);
        let doors = self.tables(root, "door", "door", Self::door);
        let keys = self.tables(root, "key", "key", Self::key);
        let GatewayTable { name, interfaces, spa_port, guards } = gateway?;
        Some(SiteFile {
            name,
            interfaces,
            spa_port,
            backend,
            exempt_interfaces,
            guards,
            owner,
            console,
            accounts,
            keys,
            doors,
        })
    }

    /// Reads each table of `[[key]]`; those that are wrong are reported and left out.
    pub(crate) fn tables<T>(
        &mut self,
        root: &dyn TableLike,
        key: &str,
        what: &str,
        mut read: impl FnMut(&mut Self, &dyn TableLike, usize) -> Option<T>,
    ) -> Vec<T> {
        let Some(item) = root.get(key) else { return Vec::new() };
        let tables = item.as_array_of_tables().map(ArrayOfTables::iter);
        if tables.is_none() {
            let message = format!("`{key}` must be a list of tables");
            self.error(start(item), "type", message, format!("write each {what} under `[[{key}]]`"));
        }
        let mut all = Vec::new();
        for table in tables.into_iter().flatten() {
            let at = table.span().map_or(0, |span| span.start);
            all.extend(read(self, table, at));
        }
        all
    }

    pub(crate) fn schema(&mut self, root: &dyn TableLike) {
        match root.get("schema").map(|item| (item.as_integer(), start(item))) {
            Some((Some(SCHEMA), _)) => {}
            Some((_, at)) => self.error(at, "schema", "this version reads schema 1", "write `schema = 1`"),
            None => self.error(0, "schema", "`schema` is missing", "begin the file with `schema = 1`"),
        }
    }

    fn gateway(&mut self, root: &dyn TableLike) -> Option<GatewayTable> {
        let Some(table) = self.table(root, "gateway") else {
            self.error(0, "missing", "[gateway] is missing", "add `[gateway]` with `name` and `interfaces`");
            return None;
        };
        let at = root.get("gateway").map_or(0, start);
        let known = ["name", "interfaces", "spa_port", "guard_tcp", "guard_udp", "guard_icmp"];
        self.known_keys(table, "[gateway]", &known);
        let mut guards = StoredGuardWidths::default();
        for (key, width) in
            [("guard_tcp", &mut guards.tcp), ("guard_udp", &mut guards.udp), ("guard_icmp", &mut guards.icmp)]
        {
            let expected = ("guard", "a guard is 0 to 8192 values wide to each side", "256");
            if let Some(given) = self.number(table, key, 0..=8192, expected) {
                *width = given.value;
            }
        }
        let expected = ("limit", "`spa_port` is a UDP port, or 0 for none", "62201");
        let spa_port = self.number(table, "spa_port", 0..=u16::MAX, expected).map(|port| port.value);
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
        Some(GatewayTable { name: name?, interfaces: interfaces?, spa_port, guards })
    }

    fn console(&mut self, root: &dyn TableLike) -> StoredConsole {
        let mut console = StoredConsole::default();
        let Some(table) = self.table(root, "console") else { return console };
        self.known_keys(table, "[console]", &["banner", "idle_lock"]);
        if let Some(banner) = self.optional_text(table, "banner") {
            let printable = |octet: u8| octet == b'\n' || (b' '..=b'~').contains(&octet);
            match banner.value.as_str().try_into() {
                Ok(text) if banner.value.bytes().all(printable) => console.banner = text,
                _ => {
                    let what = format!("a banner has {BANNER_BYTES_MAX} printable ASCII characters at most");
                    self.error(banner.offset, "banner", what, "every terminal must be able to show it");
                }
            }
        }
        let default = u32::from(console.idle_lock_secs) * 1000;
        let millis = self.millis(table, "idle_lock", default, 60_000, 3_600_000);
        if millis.value % 1000 != 0 {
            self.error(
                millis.offset,
                "limit",
                "`idle_lock` is in whole seconds",
                "write `idle_lock = \"10m\"`",
            );
        }
        console.idle_lock_secs = u16::try_from(millis.value / 1000).unwrap_or(console.idle_lock_secs);
        console
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
}

pub(crate) fn start(item: &Item) -> usize {
    item.span().map_or(0, |span| span.start)
}
