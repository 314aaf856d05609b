//! `cargo xtask sizes`: what the release takes on flash and in memory.

use std::fs;

use anyhow::{Context, Result};
use object::{Object, ObjectSection, SectionKind};

use crate::command::{self, bold, cargo_line};
use crate::workspace::Workspace;

/// Sizes of one program, in octets.
#[derive(Debug, Default, PartialEq, Eq)]
struct Sizes {
    /// Code and constants.
    text: u64,
    /// Data with values.
    data: u64,
    /// Data that begins as zeros.
    bss: u64,
}

/// Builds the release for this machine and prints. What a static one may have is a board's to say: `cargo xtask image`
/// refuses more.
///
/// # Errors
/// When it cannot be built.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    command::run(&mut cargo_line("build --quiet --locked --release -p posternd -p postern"))?;
    let words = "run --quiet --locked --release -p postern-no-alloc --bin table-sizes";
    let tables = command::output(&mut cargo_line(words))?;
    println!("\n{}", bold("release programs      file      text      data       bss"));
    for program in ["posternd", "postern"] {
        let path = workspace.target.join("release").join(program);
        let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let Sizes { text, data, bss } = Sizes::read(&bytes)?;
        println!("{program:<16}{:>10}{text:>10}{data:>10}{bss:>10}", bytes.len());
    }
    println!("\n{}", bold("in memory          octets"));
    for line in tables.lines() {
        if let Some((name, octets)) = line.split_once(' ') {
            println!("{name:<16}{octets:>10}");
        }
    }
    Ok(())
}

impl Sizes {
    fn read(bytes: &[u8]) -> Result<Self> {
        let file = object::File::parse(bytes).context("not an object file")?;
        let mut sizes = Self::default();
        for section in file.sections() {
            match section.kind() {
                SectionKind::Text | SectionKind::ReadOnlyData | SectionKind::ReadOnlyString => {
                    sizes.text += section.size();
                }
                SectionKind::Data | SectionKind::ReadOnlyDataWithRel | SectionKind::Tls => {
                    sizes.data += section.size();
                }
                SectionKind::UninitializedData | SectionKind::UninitializedTls => sizes.bss += section.size(),
                _ => {}
            }
        }
        Ok(sizes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_of_this_program_add_up() {
        let bytes = fs::read(std::env::current_exe().unwrap()).unwrap();
        let sizes = Sizes::read(&bytes).unwrap();
        assert!(sizes.text > 0 && sizes.data > 0, "{sizes:?}");
        assert!(sizes.text + sizes.data <= bytes.len() as u64, "{sizes:?}");
    }
}
