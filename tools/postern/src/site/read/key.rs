//! Reads `[[key]]` and `[[account]]`.

use postern_config::Role;
use postern_config::secret::StoredSecret;
use postern_config::site::{
    StoredAccount, StoredHmac, StoredKey, StoredKeyKind, StoredNetwork, StoredWindow,
};
use postern_console::scram::{ITERATIONS_MAX, ITERATIONS_MIN};
use postern_core::limits::{SOURCES_PER_KEY_MAX, WINDOWS_PER_KEY_MAX};
use toml_edit::{Item, TableLike};

use super::{Reader, start};
use crate::site::notation::{self, VerifierText};
use crate::site::{At, KeyFile, KindFile, SecretRef, calendar};

const KNOWN: [&str; 19] = [
    "name",
    "person",
    "kind",
    "secret",
    "secret_file",
    "key",
    "key_base64_file",
    "hmac_key",
    "hmac_key_base64_file",
    "hmac_digest",
    "longest",
    "sources",
    "may_claim",
    "counter_first",
    "counter_last",
    "valid_from",
    "valid_until",
    "windows",
    "grants_per_door",
];

/// Names of the HMAC digests.
pub(in crate::site) const DIGESTS: [(&str, StoredHmac); 3] =
    [("sha256", StoredHmac::Sha256), ("sha384", StoredHmac::Sha384), ("sha512", StoredHmac::Sha512)];

impl Reader<'_> {
    pub(super) fn account(&mut self, table: &dyn TableLike, at: usize) -> Option<At<StoredAccount>> {
        self.known_keys(table, "[[account]]", &["name", "role", "verifier"]);
        let name = self.required_text(table, "name", "[[account]]", at).filter(|name| self.check_name(name));
        self.required_text(table, "role", "[[account]]", at);
        let role = self.parsed(table, "role", |text| {
            Role::named(text).ok_or_else(|| "a role is \"viewer\", \"operator\" or \"admin\"".to_owned())
        });
        self.required_text(table, "verifier", "[[account]]", at);
        let verifier = self.parsed(table, "verifier", |text| {
            let verifier = notation::verifier(text)?;
            let fits = (ITERATIONS_MIN..=ITERATIONS_MAX).contains(&verifier.iterations);
            fits.then_some(verifier)
                .ok_or_else(|| format!("use {ITERATIONS_MIN} to {ITERATIONS_MAX} iterations"))
        });
        let VerifierText { salt, iterations, stored_key, server_key } = verifier?.value;
        let At { value, offset } = name?;
        let name = value.as_str().try_into().ok()?;
        let role = role?.value;
        Some(At::new(StoredAccount { name, role, salt, iterations, stored_key, server_key }, offset))
    }

    pub(super) fn key(&mut self, table: &dyn TableLike, at: usize) -> Option<KeyFile> {
        let known: Vec<&str> = KNOWN.into_iter().chain(["disabled"]).collect();
        self.known_keys(table, "[[key]]", &known);
        let name = self.required_text(table, "name", "[[key]]", at).filter(|name| self.check_name(name));
        let person = self.optional_text(table, "person").filter(|person| self.check_name(person));
        let kind = self.kind(table, at);
        let longest = self.millis(table, "longest", 0, 1000, 86_400_000);
        if longest.value % 1000 != 0 {
            self.error(longest.offset, "limit", "`longest` is in whole seconds", "write `longest = \"10m\"`");
        }
        let grants = ("limit", "a key has 1 to 255 grants at a door", "1");
        let grants = self.number(table, "grants_per_door", 1..=u8::MAX, grants);
        let rest = StoredKey {
            name: name.as_ref().and_then(|name| name.value.as_str().try_into().ok()).unwrap_or_default(),
            person: person.and_then(|person| person.value.as_str().try_into().ok()).unwrap_or_default(),
            kind: StoredKeyKind::Native { secret: StoredSecret::Held([0; 8]) },
            longest_secs: longest.value / 1000,
            sources: self.sources(table),
            may_claim: self.switch(table, "may_claim").value,
            counter_first: self.wide_number(table, "counter_first", 0),
            counter_last: self.wide_number(table, "counter_last", u64::MAX),
            valid_from_secs: self.instant(table, "valid_from", 0),
            valid_until_secs: self.instant(table, "valid_until", u64::MAX),
            windows: self.windows(table),
            grants_per_door: grants.map_or(1, |grants| grants.value),
            disabled: self.switch(table, "disabled").value,
        };
        name.and(kind).map(|kind| KeyFile { offset: at, kind, rest })
    }

    fn kind(&mut self, table: &dyn TableLike, at: usize) -> Option<KindFile> {
        let kind = self.optional_text(table, "kind");
        match kind.as_ref().map_or("native", |kind| kind.value.as_str()) {
            "native" => {
                self.only_of(
                    table,
                    "fwknop",
                    &["key", "key_base64_file", "hmac_key", "hmac_key_base64_file"],
                );
                let secret = self.secret(table, at, "secret", "secret_file")?;
                Some(KindFile::Native { secret })
            }
            "fwknop" => {
                self.only_of(table, "native", &["secret", "secret_file"]);
                let encryption = self.secret(table, at, "key", "key_base64_file");
                let hmac = self.secret(table, at, "hmac_key", "hmac_key_base64_file");
                let digest = self.parsed(table, "hmac_digest", |text| {
                    let found = DIGESTS.iter().find(|(name, _)| *name == text).map(|(_, digest)| *digest);
                    found.ok_or_else(|| "digests are \"sha256\", \"sha384\" and \"sha512\"".to_owned())
                });
                let digest = digest.map_or(StoredHmac::default(), |digest| digest.value);
                Some(KindFile::Fwknop { encryption: encryption?, hmac: hmac?, digest })
            }
            other => {
                let what = format!("there is no kind of key {other:?}");
                let offset = kind.as_ref().map_or(at, |kind| kind.offset);
                self.error(offset, "value", what, "write \"native\" or \"fwknop\"");
                None
            }
        }
    }

    /// Keys of the table that only another kind has.
    fn only_of(&mut self, table: &dyn TableLike, kind: &str, keys: &[&str]) {
        for key in keys {
            if let Some(item) = table.get(key) {
                let what = format!("`{key}` belongs to keys of the kind \"{kind}\"");
                self.error(
                    start(item),
                    "unknown-key",
                    what,
                    format!("write `kind = \"{kind}\"`, or leave it out"),
                );
            }
        }
    }

    /// `KEY = { held = "LABEL" }` or `FILE_KEY = "PATH"`.
    fn secret(&mut self, table: &dyn TableLike, at: usize, key: &str, file_key: &str) -> Option<SecretRef> {
        let fix = format!("write `{file_key} = \"keys/NAME.key\"`, or keep the `{key}` the gateway gave you");
        match (table.get(key), table.get(file_key)) {
            (None, None) => {
                self.error(at, "missing", format!("`{file_key}` is missing in [[key]]"), fix);
                None
            }
            (Some(item), Some(_)) => {
                self.error(start(item), "value", format!("`{key}` and `{file_key}` say two things"), fix);
                None
            }
            (None, Some(_)) => self.optional_text(table, file_key).map(SecretRef::File),
            (Some(item), None) => {
                let held = item.as_table_like().and_then(|table| table.get("held")).and_then(Item::as_str);
                let label = held.and_then(|held| notation::label(held).ok());
                if label.is_none() {
                    self.error(start(item), "value", format!("`{key}` is no label of a held secret"), fix);
                }
                label.map(SecretRef::Held)
            }
        }
    }

    fn sources(&mut self, table: &dyn TableLike) -> heapless::Vec<StoredNetwork, SOURCES_PER_KEY_MAX> {
        let texts = self.texts(table, "sources").unwrap_or_default();
        self.at_most(&texts, SOURCES_PER_KEY_MAX, "sources");
        self.each(texts, notation::network).into_iter().map(|at| at.value).take(SOURCES_PER_KEY_MAX).collect()
    }

    fn windows(&mut self, table: &dyn TableLike) -> heapless::Vec<StoredWindow, WINDOWS_PER_KEY_MAX> {
        let texts = self.texts(table, "windows").unwrap_or_default();
        self.at_most(&texts, WINDOWS_PER_KEY_MAX, "windows");
        self.each(texts, notation::window).into_iter().map(|at| at.value).take(WINDOWS_PER_KEY_MAX).collect()
    }

    fn at_most(&mut self, texts: &[At<String>], most: usize, what: &str) {
        if let Some(extra) = texts.get(most) {
            self.error(extra.offset, "limit", format!("a key has {most} {what} at most"), "make another key");
        }
    }

    /// A date (`2027-01-31`), a date with a time in UTC, or seconds since 1970.
    fn instant(&mut self, table: &dyn TableLike, key: &str, default: u64) -> u64 {
        let Some(item) = table.get(key) else { return default };
        let Some(datetime) = item.as_datetime() else { return self.wide_number(table, key, default) };
        let utc = match datetime.offset {
            None | Some(toml_edit::Offset::Z) => true,
            Some(toml_edit::Offset::Custom { minutes }) => minutes == 0,
        };
        let secs = datetime.date.filter(|_| utc).and_then(|date| {
            let (hour, minute, second) =
                datetime.time.map_or((0, 0, 0), |time| (time.hour, time.minute, time.second));
            calendar::secs(date.year, date.month, date.day, hour, minute, second)
        });
        secs.unwrap_or_else(|| {
            let what = format!("`{key}` must be a day from 1970 on, in UTC");
            self.error(start(item), "value", what, format!("write `{key} = 2027-01-31T00:00:00Z`"));
            default
        })
    }
}
