//! Files of one-time sequences.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use postern_core::Step;

use super::report::{KNOCKD_ENDS, Place, Text, refusal, shown, warning};
use super::sequence;
use crate::finding::Finding;

/// Octets of a file that are read.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Unused sequences one door may bring.
const ENTRIES_MAX: usize = 4096;

/// The unused sequences of the file named by `value`, in their order.
///
/// A relative path is taken from `base_dir`, the folder of knockd.conf. A line is used, or a
/// comment, when it begins with `#` (blanks aside); one that knockd could not read is left out
/// with a warning, as knockd does.
pub(super) fn unused(
    value: Text<'_>,
    base_dir: &Path,
    findings: &mut Vec<Finding>,
) -> Result<Vec<Vec<Step>>, Finding> {
    let text = read(value, base_dir)?;
    let mut entries = Vec::new();
    for (index, line) in text.split('\n').enumerate() {
        let number = index + 1;
        let place = Place { line: u32::try_from(number).unwrap_or(u32::MAX), column: 1 };
        let line = Text { text: line, place }.trim();
        if line.text.is_empty() || line.text.starts_with('#') {
            continue;
        }
        match sequence::steps(line, &mut Vec::new()) {
            Ok(steps) => entries.push(steps),
            Err(error) if error.code == "sequence-too-long" => {
                return Err(in_file(value, number, error));
            }
            Err(error) => {
                let error = in_file(value, number, error);
                findings.push(warning(value.place, "one-time-line", error.message, error.suggestion));
            }
        }
        if entries.len() > ENTRIES_MAX {
            let message = format!("`{}` has more than {ENTRIES_MAX} unused sequences", shown(value.text));
            return Err(refusal(value.place, "one-time-file", message, "Split or shorten the file."));
        }
    }
    if entries.is_empty() {
        let message = format!("`{}` has no unused sequence{KNOCKD_ENDS}", shown(value.text));
        return Err(refusal(value.place, "one-time-file", message, "Fill it with fresh sequences."));
    }
    Ok(entries)
}

/// The same finding at the directive, naming the line of the file. knockd passes over such a line.
fn in_file(value: Text<'_>, number: usize, error: Finding) -> Finding {
    let reason = error.message.strip_suffix(KNOCKD_ENDS).unwrap_or(&error.message);
    let message = format!("line {number} of `{}`: {reason}", shown(value.text));
    refusal(value.place, error.code, message, error.suggestion)
}

fn read(value: Text<'_>, base_dir: &Path) -> Result<String, Finding> {
    let refused = |reason: &str| {
        let message = format!("cannot read the sequences in `{}`: {reason}", shown(value.text));
        let suggestion = "Bring the file along, or write a path relative to the configuration.";
        refusal(value.place, "one-time-file", message, suggestion)
    };
    let path = base_dir.join(value.text);
    // Looked at first: opening a fifo or a device could hang.
    let metadata = std::fs::metadata(&path).map_err(|error| refused(&error.to_string()))?;
    if !metadata.is_file() || metadata.len() > FILE_BYTES_MAX {
        return Err(refused("it is no regular file of at most 1 MiB"));
    }
    let mut octets = Vec::new();
    let file = File::open(&path).map_err(|error| refused(&error.to_string()))?;
    file.take(FILE_BYTES_MAX).read_to_end(&mut octets).map_err(|error| refused(&error.to_string()))?;
    String::from_utf8(octets).map_err(|_| refused("it is not text"))
}
