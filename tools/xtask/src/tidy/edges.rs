//! Who may depend on whom: the table of the architecture, against what cargo knows.

use serde_json::Value;

use super::Finding;

/// A crate, the folder it lives in, and what it may use. Tests may use more (dev-dependencies).
struct Row {
    package: &'static str,
    may_use: &'static [&'static str],
}

const TABLE: [Row; 6] = [
    Row {
        package: "postern-core",
        may_use: &[
            "heapless", "smoltcp", "chacha20", "poly1305", "aes", "md-5", "hmac", "sha2", "subtle", "zeroize",
        ],
    },
    Row {
        package: "postern-config",
        may_use: &[
            "postern-core",
            "serde",
            "postcard",
            "crc",
            // Behind the feature `fast-crc`, which only the power-cut simulator has.
            "crc32c",
            "sha2",
            "hmac",
            "subtle",
            "zeroize",
            "ed25519-dalek",
            "heapless",
        ],
    },
    Row {
        package: "postern-console",
        may_use: &[
            "postern-core",
            "postern-config",
            "serde",
            "postcard",
            "crc",
            "sha2",
            "hmac",
            "pbkdf2",
            "subtle",
            "zeroize",
            "heapless",
            "embedded-io",
        ],
    },
    Row { package: "postern-board", may_use: &[] },
    Row {
        package: "posternd",
        may_use: &[
            "postern-core",
            "postern-config",
            "postern-console",
            "postern-board",
            // Only the binary: see the rule about naming it in `calls`.
            "postern-hal-linux",
            "embedded-io",
            "heapless",
            "log",
            "hmac",
            "sha2",
        ],
    },
    Row {
        package: "postern-hal-linux",
        may_use: &["postern-core", "nix", "pcap", "syslog", "log", "heapless", "embedded-io"],
    },
];

/// Crates that are built without their default features, because those need an allocator or more.
const WITHOUT_DEFAULTS: [&str; 12] = [
    "smoltcp", "heapless", "serde", "postcard", "sha2", "chacha20", "poly1305", "aes", "md-5", "hmac",
    "subtle", "zeroize",
];

/// Folders whose crates must have a row.
const FIRMWARE: [&str; 3] = ["/firmware/", "/hal-linux/", "/board/"];

/// Checks every edge of the workspace.
pub(super) fn check(metadata: &Value) -> Vec<Finding> {
    let packages: Vec<&Value> = metadata["packages"].as_array().into_iter().flatten().collect();
    let own: Vec<&str> = packages.iter().filter_map(|package| package["name"].as_str()).collect();
    packages.iter().flat_map(|package| check_package(package, &own)).collect()
}

fn check_package(package: &Value, own: &[&str]) -> Vec<Finding> {
    let name = package["name"].as_str().unwrap_or_default();
    let manifest = package["manifest_path"].as_str().unwrap_or_default();
    let place = manifest_place(manifest);
    let used = package["dependencies"].as_array().into_iter().flatten().filter(|edge| edge["kind"] != "dev");
    let used: Vec<&Value> = used.collect();
    let names = used.iter().filter_map(|edge| edge["name"].as_str());
    if name == "xtask" {
        let own = names.filter(|used| own.contains(used));
        let found = own.map(|used| {
            let instead = "run it as a program: xtask must be built before anything is installed";
            Finding::new(&place, 0, format!("xtask depends on {used}"), instead)
        });
        return found.collect();
    }
    let Some(row) = TABLE.iter().find(|row| row.package == name) else {
        let firmware = FIRMWARE.iter().any(|folder| manifest.contains(folder));
        let what = format!("{name} has no row in the table of dependency edges");
        let instead = "decide what it may use, in ARCHITECTURE.md and tools/xtask/src/tidy/edges.rs";
        return if firmware { vec![Finding::new(&place, 0, what, instead)] } else { Vec::new() };
    };
    let mut findings = Vec::new();
    for edge in &used {
        let used = edge["name"].as_str().unwrap_or_default();
        if !row.may_use.contains(&used) {
            let allowed = if row.may_use.is_empty() { "nothing".to_owned() } else { row.may_use.join(", ") };
            let what = format!("{name} depends on {used}");
            findings.push(Finding::new(&place, 0, what, format!("it may use {allowed}")));
        }
        if WITHOUT_DEFAULTS.contains(&used) && edge["uses_default_features"] != false {
            let what = format!("{name} uses {used} with its default features");
            let instead = "default-features = false in [workspace.dependencies]";
            findings.push(Finding::new(&place, 0, what, instead));
        }
    }
    findings
}

/// The last folders of a manifest's path: enough to find it, the same on every machine.
fn manifest_place(manifest: &str) -> String {
    let parts: Vec<&str> = manifest.rsplit('/').take(3).collect();
    parts.into_iter().rev().collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn package(name: &str, folder: &str, edges: &[(&str, Option<&str>, bool)]) -> Value {
        let edge = |(name, kind, defaults): &(&str, Option<&str>, bool)| json!({ "name": name, "kind": kind, "uses_default_features": defaults });
        let edges: Vec<Value> = edges.iter().map(edge).collect();
        json!({ "name": name, "manifest_path": format!("/src/postern/{folder}/Cargo.toml"), "dependencies": edges })
    }

    fn check_one(package: Value) -> Vec<String> {
        let metadata = json!({ "packages": [package, package_of_core()] });
        check(&metadata).into_iter().map(|finding| finding.what).collect()
    }

    fn package_of_core() -> Value {
        package("postern-core", "firmware/core", &[("smoltcp", None, false)])
    }

    #[test]
    fn edges_of_the_table_pass() {
        let daemon = [("postern-core", None, true), ("log", None, true), ("tempfile", Some("dev"), true)];
        assert!(check_one(package("posternd", "firmware/daemon", &daemon)).is_empty());
    }

    #[test]
    fn an_edge_outside_the_table_is_named() {
        let edges = [("heapless", None, false), ("serde", None, false)];
        let found = check_one(package("postern-core", "firmware/core", &edges));
        assert_eq!(found, ["postern-core depends on serde"]);
        let build = [("cc", Some("build"), true)];
        assert_eq!(check_one(package("postern-board", "board", &build)), ["postern-board depends on cc"]);
    }

    #[test]
    fn default_features_are_named() {
        let found = check_one(package("postern-core", "firmware/core", &[("heapless", None, true)]));
        assert_eq!(found, ["postern-core uses heapless with its default features"]);
    }

    #[test]
    fn a_crate_without_a_row_is_named() {
        let found = check_one(package("postern-radio", "firmware/radio", &[]));
        assert_eq!(found, ["postern-radio has no row in the table of dependency edges"]);
        assert!(check_one(package("postern-sim", "tests/sim", &[("rand", None, true)])).is_empty());
    }

    #[test]
    fn xtask_stands_alone() {
        let found =
            check_one(package("xtask", "tools/xtask", &[("clap", None, true), ("postern-core", None, true)]));
        assert_eq!(found, ["xtask depends on postern-core"]);
    }
}
