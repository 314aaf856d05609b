//! Texts: links that lead somewhere, commands that exist, no notes left behind.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::Result;
use clap::CommandFactory;

use super::Finding;
use crate::Cli;

/// Words that mark something unfinished. Spelled in two halves, so that this file passes.
const NOTES: [&str; 2] = [concat!("FIX", "ME"), concat!("XX", "X")];

/// Endings of files that are searched for notes.
const TEXTS: [&str; 8] = [".rs", ".md", ".toml", ".sh", ".yml", ".bb", ".conf", ".run"];

/// The two commands of the README.
const README_COMMANDS: [&str; 2] = ["cargo xtask appliance", "cargo xtask test"];

/// Checks every text.
///
/// # Errors
/// When a file cannot be read.
pub(super) fn check(root: &Path, files: &[String]) -> Result<Vec<Finding>> {
    let commands = commands();
    let mut findings = Vec::new();
    for path in files.iter().filter(|path| TEXTS.iter().any(|ending| path.ends_with(ending))) {
        let text = fs::read_to_string(root.join(path))?;
        findings.extend(check_notes(path, &text));
        if path.ends_with(".md") {
            findings.extend(check_links(path, &text, |target| exists(root, files, target)));
            findings.extend(check_commands(path, &text, &commands));
        }
        if path == "README.md" {
            let missing = README_COMMANDS.iter().filter(|command| !text.contains(**command));
            let instead = "it is one of the two commands a newcomer needs";
            findings.extend(missing.map(|command| Finding::new(path, 0, format!("no `{command}`"), instead)));
        }
    }
    Ok(findings)
}

/// Names of the commands xtask has.
fn commands() -> BTreeSet<String> {
    let cli = Cli::command();
    let names = cli.get_subcommands().flat_map(|command| {
        std::iter::once(command.get_name())
            .chain(command.get_all_aliases())
            .map(str::to_owned)
            .collect::<Vec<_>>()
    });
    names.collect()
}

fn check_notes(path: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let is_word = |word: &str| line.split(|c: char| !c.is_ascii_alphanumeric()).any(|part| part == word);
        if let Some(note) = NOTES.iter().find(|note| is_word(note)) {
            let instead = "do it now, or open an issue";
            findings.push(Finding::new(path, index + 1, format!("a note was left behind: {note}"), instead));
        }
    }
    findings
}

/// Lines of a text that are not in a fenced block, counted from 1.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    text.lines().enumerate().filter_map(move |(index, line)| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        (!fenced && !fence).then_some((index + 1, line))
    })
}

fn check_links(path: &str, text: &str, exists: impl Fn(&str) -> bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (line, prose) in prose(text) {
        let targets = prose.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for target in targets {
            let file = target.split('#').next().unwrap_or_default();
            if file.is_empty() || file.contains("://") || file.starts_with("mailto:") {
                continue;
            }
            let resolved = resolve(path, file);
            if !resolved.as_deref().is_some_and(&exists) {
                let what = format!("the link `{target}` leads nowhere");
                findings.push(Finding::new(path, line, what, "links are relative to the file they stand in"));
            }
        }
    }
    findings
}

/// `target` as seen from the file `path`, from the root; `None` above the root.
fn resolve(path: &str, target: &str) -> Option<String> {
    let mut parts: Vec<&str> = path.split('/').collect();
    parts.pop();
    for part in target.trim_end_matches('/').split('/') {
        match part {
            "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

fn exists(root: &Path, files: &[String], target: &str) -> bool {
    let folder = format!("{target}/");
    target.is_empty()
        || files.iter().any(|file| file == target || file.starts_with(&folder))
        || (target.starts_with('.') && root.join(target).exists())
}

fn check_commands(path: &str, text: &str, commands: &BTreeSet<String>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, line) in text.lines().enumerate() {
        for rest in line.split("cargo xtask ").skip(1) {
            let name: String = rest.chars().take_while(|c| c.is_ascii_lowercase() || *c == '-').collect();
            if !name.is_empty() && !name.starts_with('-') && !commands.contains(&name) {
                let what = format!("there is no `cargo xtask {name}`");
                let instead =
                    format!("there are: {}", commands.iter().cloned().collect::<Vec<_>>().join(", "));
                findings.push(Finding::new(path, index + 1, what, instead));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_followed_from_their_file() {
        let exists = |target: &str| ["README.md", "tools/x.md"].contains(&target);
        let text = "[a](../README.md) [b](x.md#part) [c](https://example.org/) [d](#here)\n[e](y.md)\n```\n[f](z.md)\n```\n";
        let found = check_links("tools/index.md", text, exists);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].line, found[0].what.as_str()), (2, "the link `y.md` leads nowhere"));
        assert_eq!(check_links("a.md", "[up](../../x.md)", exists).len(), 1);
    }

    #[test]
    fn commands_must_exist() {
        let found =
            check_commands("a.md", "run `cargo xtask test --only sim` or cargo xtask tset", &commands());
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].what, "there is no `cargo xtask tset`");
        assert!(check_commands("a.md", "`cargo xtask ci` and `cargo xtask --help`", &commands()).is_empty());
    }

    #[test]
    fn notes_are_words_of_their_own() {
        assert_eq!(check_notes("a.rs", concat!("// FIX", "ME later")).len(), 1);
        assert!(check_notes("a.rs", "mktemp /run/x.XXXXXX").is_empty());
    }
}
