//! The kickstart file of wic beside the layout table of `image/`: names, types, places, sizes, the mark of the boot
//! partition, for every board. The table is the image's; the file has to follow.

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::Yocto;

/// The file.
const FILE: &str = "yocto-layer/meta-postern-bsp/files/wic/postern-ab.wks.in";

/// Octets that wic itself needs in front: protective MBR, header and table of a GPT.
const TABLE_BYTES: u64 = 34 * 512;

/// A partition of a kickstart file.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Partition {
    name: String,
    kind: String,
    offset: u64,
    bytes: u64,
    bootable: bool,
    /// Where its content comes from.
    source: String,
}

/// Compares the file, as `machine` fills it in, with the table of `board`. Returns the number of partitions.
pub(super) fn compare_all(yocto: &Yocto, variables: &[(&str, String)], board: &Value) -> Result<usize> {
    let there = parse(&expand(&yocto.read(FILE)?, variables)).context(FILE)?;
    let table = board["partitions"].as_array().context("the board has no partitions")?;
    ensure!(
        there.len() == table.len(),
        "{FILE} has {} partitions, the image's layout {}",
        there.len(),
        table.len()
    );
    for (there, wanted) in there.iter().zip(table) {
        compare(there, wanted).context(FILE)?;
    }
    Ok(there.len())
}

fn compare(there: &Partition, wanted: &Value) -> Result<()> {
    let word = |key: &str| wanted[key].as_str().unwrap_or_default();
    let number = |key: &str| wanted[key].as_u64().unwrap_or_default();
    let name = word("name");
    ensure!(there.name == name, "partition {} stands where the image has {name}", there.name);
    ensure!(there.kind == word("kind"), "{name} has type {}, the image {}", there.kind, word("kind"));
    ensure!(
        there.offset == number("offset"),
        "{name} begins at {}, in the image at {}",
        there.offset,
        number("offset")
    );
    ensure!(
        there.bytes == number("bytes"),
        "{name} has {} octets, in the image {}",
        there.bytes,
        number("bytes")
    );
    ensure!(
        wanted["bootable"].as_bool() == Some(there.bootable),
        "{name}: only the boot partition is marked"
    );
    let source = match name {
        "boot" => there.source.starts_with("bootimg"),
        "environment" => there.source == "rawcopy file=postern-environment.bin",
        "kernel-a" | "kernel-b" => there.source == "rawcopy file=postern-kernel.fit",
        "root-a" | "root-b" => there.source == "rootfs",
        "config" => there.source == "empty fill",
        "data" => there.source.is_empty(),
        other => bail!("what fills the partition {other}? Say it in {FILE} and here"),
    };
    ensure!(source, "{name} is filled by {:?}", there.source);
    Ok(())
}

/// Puts the values of variables in, as BitBake does.
pub(super) fn expand<Name: std::fmt::Display>(text: &str, variables: &[(Name, String)]) -> String {
    let put = |text: String, (name, value): &(Name, String)| text.replace(&format!("${{{name}}}"), value);
    variables.iter().fold(text.to_owned(), put)
}

/// Reads the lines `part` of a kickstart file, and places the partitions as wic does.
fn parse(text: &str) -> Result<Vec<Partition>> {
    let mut partitions: Vec<Partition> = Vec::new();
    let mut end = TABLE_BYTES;
    for line in text.lines().filter(|line| !line.trim_start().starts_with('#')) {
        ensure!(!line.contains("${"), "a variable has no value: {line}");
        let Some(rest) = line.strip_prefix("part ") else { continue };
        let words = words(rest);
        let after = |option: &str| {
            let place = words.iter().position(|word| word == option)?;
            words.get(place + 1).map(String::as_str)
        };
        let offset = match (after("--offset"), after("--align")) {
            (Some(offset), _) => octets(offset)?,
            (None, Some(align)) => end.next_multiple_of(octets(&format!("{align}K"))?),
            (None, None) => bail!("no place: {line}"),
        };
        ensure!(offset >= end, "it begins in the one before: {line}");
        let bytes = octets(after("--fixed-size").with_context(|| format!("no fixed size: {line}"))?)?;
        let source = [after("--source"), after("--sourceparams")];
        partitions.push(Partition {
            name: after("--part-name").with_context(|| format!("no name: {line}"))?.to_owned(),
            kind: after("--part-type").unwrap_or_default().to_lowercase(),
            offset,
            bytes,
            bootable: words.iter().any(|word| word == "--active"),
            source: source.into_iter().flatten().collect::<Vec<_>>().join(" "),
        });
        end = offset + bytes;
    }
    Ok(partitions)
}

/// Splits at blanks; an option may be written with `=`, and quotes hold blanks together.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for (index, part) in line.split('"').enumerate() {
        quoted = index % 2 == 1;
        let Some(word) = words.last_mut() else { continue };
        if quoted {
            word.push_str(part);
            continue;
        }
        let mut pieces = part.split_whitespace();
        if part.starts_with(char::is_whitespace) {
            words.push(String::new());
        }
        if let (Some(piece), Some(word)) = (pieces.next(), words.last_mut()) {
            word.push_str(piece);
        }
        words.extend(pieces.map(str::to_owned));
        if part.ends_with(char::is_whitespace) {
            words.push(String::new());
        }
    }
    debug_assert!(!quoted, "an open quote");
    let split = |word: String| match word.split_once('=') {
        Some((option, value)) if option.starts_with("--") => vec![option.to_owned(), value.to_owned()],
        _ => vec![word],
    };
    words.into_iter().filter(|word| !word.is_empty()).flat_map(split).collect()
}

/// A size: a number and K or M.
fn octets(text: &str) -> Result<u64> {
    let (number, unit) = text.split_at(text.len().saturating_sub(1));
    let unit = match unit {
        "K" => 1024,
        "M" => 1024 * 1024,
        _ => bail!("{text} is no size in K or M"),
    };
    Ok(number.parse::<u64>().with_context(|| format!("{text} is no size"))? * unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# part of a comment\nbootloader --ptable gpt\npart /boot --source x --part-name boot --offset 1024K \
        --fixed-size ${SIZE}M --active --part-type AB\npart --source rawcopy --sourceparams=\"file=a b\" \
        --part-name=raw --align 1024 --fixed-size 1M\n";

    fn text() -> String {
        expand(TEXT, &[("SIZE", "8".to_owned())])
    }

    #[test]
    fn partitions_are_placed_one_after_the_other() {
        let partitions = parse(&text()).unwrap();
        let places: Vec<(&str, u64, u64, bool)> =
            partitions.iter().map(|one| (one.name.as_str(), one.offset, one.bytes, one.bootable)).collect();
        assert_eq!(places, [("boot", 1 << 20, 8 << 20, true), ("raw", 9 << 20, 1 << 20, false)]);
        assert_eq!((partitions[0].kind.as_str(), partitions[1].source.as_str()), ("ab", "rawcopy file=a b"));
    }

    #[test]
    fn what_wic_would_place_elsewhere_is_refused() {
        assert!(parse(TEXT).unwrap_err().to_string().contains("no value"));
        assert!(parse(&text().replace("1024K", "8K")).unwrap_err().to_string().contains("begins in"));
        assert!(
            parse(&text().replace("--fixed-size", "--size"))
                .unwrap_err()
                .to_string()
                .contains("no fixed size")
        );
        assert!(parse(&text().replace("--align 1024", "")).unwrap_err().to_string().contains("no place"));
    }

    #[test]
    fn another_table_is_noticed() {
        let table = |bytes: u64| {
            serde_json::json!({
                "name": "boot", "kind": "ab", "offset": 1 << 20, "bytes": bytes, "bootable": true
            })
        };
        let mut boot = parse(&text()).unwrap().remove(0);
        boot.source = "bootimg_partition".to_owned();
        assert!(compare(&boot, &table(8 << 20)).is_ok());
        assert!(compare(&boot, &table(9 << 20)).unwrap_err().to_string().contains("octets"));
        boot.bootable = false;
        assert!(compare(&boot, &table(8 << 20)).is_err());
    }
}
