//! `cargo xtask tidy`: house rules that no other tool checks.
//!
//! Each finding says what is wrong, where, and what to write instead.

mod calls;
mod documents;
mod edges;
mod shape;
mod source;
mod tree;
mod unsafety;

use std::fmt;

use anyhow::{Result, bail};

use crate::workspace::Workspace;
use source::Source;

/// One broken rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Finding {
    /// File, from the root of the workspace.
    path: String,
    /// Line, counted from 1; 0 is the file as a whole.
    line: usize,
    what: String,
    instead: String,
}

impl Finding {
    fn new(path: &str, line: usize, what: impl Into<String>, instead: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, what: what.into(), instead: instead.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path)?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        write!(f, ": {}\n    {}", self.what, self.instead)
    }
}

/// Checks everything.
///
/// # Errors
/// When a rule is broken; every finding is printed before.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    let files = tree::files(&workspace.root)?;
    let mut findings = edges::check(&workspace.metadata);
    findings.extend(tree::check(workspace, &files)?);
    let mut sources = Vec::new();
    for path in files.iter().filter(|path| path.ends_with(".rs")) {
        match Source::read(path, &std::fs::read_to_string(workspace.root.join(path))?) {
            Ok(source) => sources.push(source),
            Err(finding) => findings.push(finding),
        }
    }
    source::mark_test_modules(&mut sources);
    for source in &sources {
        findings.extend(shape::check(source));
        findings.extend(calls::check(source));
        findings.extend(unsafety::check(source));
    }
    findings.extend(tree::check_modules(&sources, &tree::roots(workspace)));
    findings.extend(documents::check(&workspace.root, &files)?);
    report(findings, sources.len())
}

fn report(mut findings: Vec<Finding>, sources: usize) -> Result<()> {
    findings.sort();
    findings.dedup();
    if findings.is_empty() {
        println!("{sources} Rust files follow the house rules.");
        return Ok(());
    }
    for finding in &findings {
        println!("{finding}");
    }
    bail!("{} house rules broken", findings.len())
}
