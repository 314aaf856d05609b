//! What the linker made of the core: no allocator, and no reachable panic.
//!
//! `tests/no-alloc` links every entry point of the core into a program without allocator, standard
//! library or start-up code. The linker drops what cannot be reached from the entry points, so
//! whatever is still in the file can be reached.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use object::{Object, ObjectSection, ObjectSymbol, RelocationKind, RelocationTarget, SymbolKind};

use crate::command::{self, cargo_line};
use crate::workspace::Workspace;

/// The only names the file may take from the C library: the compiler calls them by name.
const IMPORTS_ALLOWED: [&str; 5] = ["memcpy", "memmove", "memset", "memcmp", "bcmp"];

/// Functions that must be in the file, or the proof is empty.
const PROVED: [&str; 7] = [
    "postern_core::spa::fwknop::verifier::Verifier",
    "postern_core::spa::native::verifier::Verifier",
    "postern_core::wire::parse",
    "postern_core::engine::Engine",
    "postern_core::matcher::Matcher",
    "postern_core::grant::GrantTable",
    "postern_no_alloc::read_store",
];

/// Pieces of the names of functions that panic. The core library keeps them out of line.
const PANICS: [&str; 7] =
    ["core::panicking::", "panic", "unwrap_failed", "expect_failed", "index_fail", "_fail", "handle_error"];

/// Functions in which the compiler leaves checks that cannot fail. They are ciphers and hashes without
/// a branch or an index that depends on what they work on: their indices are counters of loops with
/// constant ends, which is what keeps time from telling secrets. So what fails once would fail
/// always, and the tests of vectors run them all. Nobody else may be in here.
const CONSTANT_FLOW: [&str; 4] = [
    "<aes::autodetect::Aes256Dec as cipher::block::BlockDecrypt>::decrypt_with_backend",
    "aes::soft::fixslice::memshift32",
    "aes::soft::fixslice::xor_columns",
    "sha2::sha512::x86::sha512_compress_x86_64_avx2",
];

/// One function of the file.
#[derive(Debug, PartialEq, Eq)]
struct Function {
    name: String,
    address: u64,
    size: u64,
}

/// One call, by position in `functions`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Call {
    caller: usize,
    callee: usize,
    /// Where in the file it stands.
    address: u64,
}

/// What is in a linked file.
#[derive(Debug)]
struct Linked {
    functions: Vec<Function>,
    imports: BTreeSet<String>,
    calls: Vec<Call>,
}

/// Links the core without an allocator.
///
/// # Errors
/// When it does not link, or the file is not what it should be.
pub(crate) fn check_no_alloc(workspace: &Workspace) -> Result<()> {
    let linked = Linked::read(&fs::read(build(workspace)?)?)?;
    let not_allowed: Vec<&String> =
        linked.imports.iter().filter(|name| !IMPORTS_ALLOWED.contains(&name.as_str())).collect();
    ensure!(not_allowed.is_empty(), "the core needs from outside: {not_allowed:?}");
    let allocates = |name: &str| {
        name.contains("__rust_alloc") || name.starts_with("alloc::") || name.contains("<alloc::")
    };
    if let Some(function) = linked.functions.iter().find(|function| allocates(&function.name)) {
        bail!("`{}` is linked into the core", function.name);
    }
    linked.require_proved()?;
    println!(
        "linked without allocator: {} functions, from outside only {}",
        linked.functions.len(),
        linked.imports.iter().cloned().collect::<Vec<_>>().join(", ")
    );
    Ok(())
}

/// Looks for panics that can be reached from the core's entry points.
///
/// # Errors
/// Names each one and the functions that lead to it.
pub(crate) fn check_panics(workspace: &Workspace) -> Result<()> {
    let path = build(workspace)?;
    let linked = Linked::read(&fs::read(&path)?)?;
    linked.require_proved()?;
    let panics = linked.reached_panics();
    if panics.is_empty() {
        let excused = CONSTANT_FLOW.len();
        println!("{} functions, none of them panics; {excused} of constant flow", linked.functions.len());
        return Ok(());
    }
    for &panic in &panics {
        println!("can be reached: {}", linked.name(panic));
        for call in linked.calls_of(panic) {
            println!("    from {}", linked.name(call.caller));
            lines_of(&path, call.address).iter().for_each(|line| println!("        {line}"));
        }
    }
    bail!(
        "{} panics can be reached from the core; return an error instead, or use get(), checked \
         arithmetic and iterators",
        panics.len()
    )
}

fn build(workspace: &Workspace) -> Result<PathBuf> {
    let words = "build --quiet --locked -p postern-no-alloc --features freestanding --bin no-alloc \
                 --profile no-alloc";
    command::run(&mut cargo_line(words))?;
    Ok(workspace.target.join("no-alloc/no-alloc"))
}

/// The source lines of an address, innermost first, as far as binutils can tell.
fn lines_of(path: &Path, address: u64) -> Vec<String> {
    let mut addr2line = Command::new("addr2line");
    addr2line.args(["-C", "-f", "-i", "-p", "-e"]).arg(path).arg(format!("{address:x}"));
    let said = addr2line.output().map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&said).lines().map(str::to_owned).collect()
}

impl Linked {
    fn read(bytes: &[u8]) -> Result<Self> {
        let file = object::File::parse(bytes).context("not an object file")?;
        let mut functions = Vec::new();
        let mut imports = BTreeSet::new();
        for symbol in file.symbols() {
            let Ok(name) = symbol.name() else { continue };
            if symbol.is_undefined() && !name.is_empty() {
                // GNU ld writes the version behind the name.
                imports.extend(name.split('@').next().map(str::to_owned));
            } else if symbol.kind() == SymbolKind::Text && symbol.is_definition() {
                let name = format!("{:#}", rustc_demangle::demangle(name));
                functions.push(Function { name, address: symbol.address(), size: symbol.size() });
            }
        }
        functions.sort_by_key(|function| function.address);
        let mut linked = Self { functions, imports, calls: Vec::new() };
        linked.calls = linked.read_calls(&file);
        Ok(linked)
    }

    /// Calls as the relocations tell, which `--emit-relocs` leaves in the file.
    fn read_calls(&self, file: &object::File<'_>) -> Vec<Call> {
        let mut calls = Vec::new();
        for section in file.sections().filter(|section| section.kind() == object::SectionKind::Text) {
            for (address, relocation) in section.relocations() {
                let RelocationTarget::Symbol(index) = relocation.target() else { continue };
                let Ok(symbol) = file.symbol_by_index(index) else { continue };
                // Relative ones count from the end of their four octets.
                let absolute = relocation.kind() == RelocationKind::Absolute;
                let addend = relocation.addend() + if absolute { 0 } else { 4 };
                let target = symbol.address().wrapping_add_signed(addend);
                if let (Some(caller), Some(callee)) = (self.at(address), self.at(target)) {
                    calls.push(Call { caller, callee, address });
                }
            }
        }
        calls
    }

    /// The function that holds `address`.
    fn at(&self, address: u64) -> Option<usize> {
        let after = self.functions.partition_point(|function| function.address <= address);
        let index = after.checked_sub(1)?;
        let function = &self.functions[index];
        (address < function.address + function.size.max(1)).then_some(index)
    }

    fn name(&self, index: usize) -> &str {
        &self.functions[index].name
    }

    fn panics(&self) -> Vec<usize> {
        let panics = |function: &Function| PANICS.iter().any(|piece| function.name.contains(piece));
        (0..self.functions.len()).filter(|&index| panics(&self.functions[index])).collect()
    }

    /// All but those that only functions of constant flow lead to.
    fn reached_panics(&self) -> Vec<usize> {
        let mut reached = self.panics();
        let constant = |index: usize| CONSTANT_FLOW.contains(&self.name(index));
        let mut excused = BTreeSet::new();
        loop {
            let count = reached.len();
            reached.retain(|&panic| {
                let mut callers =
                    self.calls.iter().filter(|call| call.callee == panic && call.caller != panic).peekable();
                // Nobody calls it: then something holds a pointer to it.
                let alone = callers.peek().is_none();
                let stays =
                    alone || callers.any(|call| !constant(call.caller) && !excused.contains(&call.caller));
                if !stays {
                    excused.insert(panic);
                }
                stays
            });
            if reached.len() == count {
                return reached;
            }
        }
    }

    /// The direct calls of `callee`, those of panics left out.
    fn calls_of(&self, callee: usize) -> Vec<Call> {
        let panics = self.panics();
        let meant = |call: &&Call| call.callee == callee && !panics.contains(&call.caller);
        self.calls.iter().filter(meant).copied().collect()
    }

    fn require_proved(&self) -> Result<()> {
        for proved in PROVED {
            let found = self.functions.iter().any(|function| function.name.contains(proved));
            ensure!(found, "`{proved}` is not in the linked file: the proof would be empty");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// This test program is linked with the standard library, so it is the opposite of the core.
    fn ourselves() -> Linked {
        let own = std::env::current_exe().unwrap();
        Linked::read(&fs::read(own).unwrap()).unwrap()
    }

    #[test]
    fn a_program_that_panics_is_seen_to() {
        let linked = ourselves();
        let names: Vec<&str> = linked.panics().into_iter().map(|index| linked.name(index)).collect();
        assert!(names.iter().any(|name| name.contains("core::panicking::panic_fmt")), "{names:?}");
    }

    #[test]
    fn a_program_with_the_standard_library_needs_more_from_outside() {
        let linked = ourselves();
        assert!(linked.imports.iter().any(|name| name.starts_with("malloc")), "{:?}", linked.imports);
        assert!(linked.require_proved().is_err());
    }

    #[test]
    fn an_address_belongs_to_the_function_around_it() {
        let function = |name: &str, address, size| Function { name: name.to_owned(), address, size };
        let call = Call { caller: 0, callee: 1, address: 12 };
        let functions = vec![function("a", 10, 5), function("b", 20, 5)];
        let linked = Linked { functions, imports: BTreeSet::new(), calls: vec![call] };
        assert_eq!([linked.at(9), linked.at(10), linked.at(14)], [None, Some(0), Some(0)]);
        assert_eq!([linked.at(15), linked.at(24), linked.at(25)], [None, Some(1), None]);
        assert_eq!(linked.calls_of(1), [call]);
        assert!(linked.calls_of(0).is_empty());
    }

    #[test]
    fn a_panic_is_excused_only_when_constant_flow_alone_leads_to_it() {
        let names =
            ["core::panicking::panic_fmt", "slice_index_fail", CONSTANT_FLOW[0], "postern_core::ours"];
        let function = |(index, name): (u64, &&str)| Function {
            name: (*name).to_owned(),
            address: index * 10,
            size: 10,
        };
        let functions: Vec<Function> = (0..).zip(&names).map(function).collect();
        let call = |caller, callee| Call { caller, callee, address: 0 };
        let reached = |calls: &[Call]| {
            let functions =
                functions.iter().map(|function| Function { name: function.name.clone(), ..*function });
            let functions = functions.collect();
            Linked { functions, imports: BTreeSet::new(), calls: calls.to_vec() }.reached_panics()
        };
        assert_eq!(reached(&[call(2, 1), call(1, 0)]), [0; 0]);
        assert_eq!(reached(&[call(2, 1), call(1, 0), call(3, 1)]), [0, 1]);
        assert_eq!(reached(&[call(2, 1), call(1, 0), call(3, 0)]), [0]);
        assert_eq!(reached(&[call(2, 1)]), [0], "nobody calls it, so somebody points at it");
    }
}
