//! Lints about doors that open for a whole network.

use super::Linter;
use crate::finding::Severity;
use crate::site::{At, DoorFile, KeyFile, SiteFile};

/// What is shorter is more than the neighbours of one carrier's address, or of one customer's.
const WIDE_V4: u8 = 24;
const WIDE_V6: u8 = 56;

/// All of them: a door accepts them with `wide-prefix`.
pub(super) fn check(linter: &mut Linter<'_>, site: &SiteFile) {
    for door in &site.doors {
        if let Some((prefix, customary)) = wider_than_customary(door) {
            let (name, bits) = (&door.name.value, prefix.value);
            let message = format!("a grant of door `{name}` lets in everybody in the client's /{bits}");
            let suggestion = format!("a /{customary} covers most carriers' pools and homes");
            about(linter, door, prefix, message, &suggestion);
        }
        let keys = site.keys.iter().filter(|key| door.spa.iter().any(|name| *name.value == key.rest.name));
        for key in keys {
            if let Some((prefix, network)) = beyond_key(door, key) {
                let (name, key, bits) = (&door.name.value, &key.rest.name, prefix.value);
                let message = format!(
                    "key `{key}` counts from {network} only, and door `{name}` opens for all of a client's /{bits}"
                );
                about(linter, door, prefix, message, "make the prefix at least as long as those of the key");
            }
        }
    }
}

fn about(linter: &mut Linter<'_>, door: &DoorFile, prefix: &At<u8>, message: String, suggestion: &str) {
    linter.about(door, prefix.offset, Severity::Warning, "wide-prefix", message, suggestion);
}

fn wider_than_customary(door: &DoorFile) -> Option<(&At<u8>, u8)> {
    let each = [(&door.prefix_v4, WIDE_V4), (&door.prefix_v6, WIDE_V6)];
    each.into_iter().find(|(prefix, customary)| prefix.value < *customary)
}

/// A network of the key that a grant would reach out of.
fn beyond_key<'d>(door: &'d DoorFile, key: &KeyFile) -> Option<(&'d At<u8>, String)> {
    let networks = key.rest.sources.iter().map(|network| {
        let prefix = if network.address.is_ipv4() { &door.prefix_v4 } else { &door.prefix_v6 };
        (prefix, network)
    });
    let mut beyond = networks.filter(|(prefix, network)| {
        let alone = if network.address.is_ipv4() { 32 } else { 128 };
        prefix.value < alone && prefix.value < network.prefix
    });
    beyond.next().map(|(prefix, network)| (prefix, format!("{}/{}", network.address, network.prefix)))
}
