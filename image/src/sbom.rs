//! Bill of materials: every Debian package and every crate in the image, in CycloneDX 1.5.

use std::path::Path;

use anyhow::Result;
use postern_board::Board;
use serde_json::{Value, json};

use crate::gpt::identity_text;
use crate::packages::Package;
use crate::program;

/// The bill for an image made of `packages` and of our programs.
///
/// # Errors
/// When cargo does not tell which crates are used.
pub fn bill(board: &Board, version: &str, packages: &[&Package], workspace: &Path) -> Result<String> {
    let mut components: Vec<Value> = packages.iter().map(|package| debian(package)).collect();
    components.extend(crates(board, workspace)?);
    let bill = json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": format!("urn:uuid:{}", identity_text(&format!("{}/{version}/bill", board.name))),
        "version": 1,
        "metadata": { "component": { "type": "firmware", "name": format!("postern-{}", board.name), "version": version } },
        "components": components,
    });
    Ok(format!("{bill:#}\n"))
}

fn debian(package: &Package) -> Value {
    let Package { architecture, name, version, sha256, .. } = package;
    let escaped = version.replace('+', "%2B").replace(':', "%3A");
    json!({
        "type": "library",
        "name": name,
        "version": version,
        "purl": format!("pkg:deb/debian/{name}@{escaped}?arch={architecture}&distro=bookworm"),
        "hashes": [{ "alg": "SHA-256", "content": sha256 }],
    })
}

/// The crates that are linked into the daemon for this board.
fn crates(board: &Board, workspace: &Path) -> Result<Vec<Value>> {
    let mut tree = std::process::Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    tree.current_dir(workspace).args(["tree", "--locked", "--package", "posternd", "--edges", "normal"]);
    tree.args(["--prefix", "none", "--format", "{p}|{l}", "--target", board.architecture.rust_target()]);
    let said = String::from_utf8_lossy(&program::run(&mut tree)?).into_owned();
    // A crate that stands twice is marked the second time.
    let mut lines: Vec<&str> = said.lines().map(|line| line.trim_end_matches(" (*)")).collect();
    lines.sort_unstable();
    lines.dedup();
    let components = lines.iter().filter_map(|line| {
        let (what, licence) = line.split_once('|')?;
        let mut words = what.split_whitespace();
        let (name, version) = (words.next()?, words.next()?.trim_start_matches('v'));
        Some(json!({
            "type": "library",
            "name": name,
            "version": version,
            "purl": format!("pkg:cargo/{name}@{version}"),
            "licenses": [{ "expression": licence.replace('/', " OR ") }],
        }))
    });
    Ok(components.collect())
}
