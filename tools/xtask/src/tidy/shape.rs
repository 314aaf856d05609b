//! The shape of a file: a head that says what it is, functions that fit on a screen.

use proc_macro2::{Delimiter, TokenStream, TokenTree};

use super::Finding;
use super::source::Source;

/// Lines of a function, signature and closing brace included.
const FUNCTION_LINES_MAX: usize = 70;

/// Lines of a file.
const FILE_LINES_MAX: usize = 700;

/// Checks one file.
pub(super) fn check(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    if !source.text.starts_with("//!") {
        let instead = "begin with `//!` and a sentence that says what the file is for";
        findings.push(Finding::new(&source.path, 1, "no head", instead));
    }
    let lines = source.text.lines().count();
    if lines > FILE_LINES_MAX {
        let instead = format!("one concept a file; split it below {FILE_LINES_MAX}");
        findings.push(Finding::new(&source.path, 0, format!("{lines} lines"), instead));
    }
    for (name, first, last) in functions(&source.tree) {
        let lines = last + 1 - first;
        if lines > FUNCTION_LINES_MAX {
            let what = format!("`{name}` has {lines} lines");
            let instead = format!("split it: a function fits on a screen ({FUNCTION_LINES_MAX} lines)");
            findings.push(Finding::new(&source.path, first, what, instead));
        }
    }
    findings
}

/// Name, first and last line of every function with a body.
fn functions(stream: &TokenStream) -> Vec<(String, usize, usize)> {
    let trees: Vec<TokenTree> = stream.clone().into_iter().collect();
    let mut found = Vec::new();
    for (index, tree) in trees.iter().enumerate() {
        if let TokenTree::Group(group) = tree {
            found.extend(functions(&group.stream()));
        }
        let (TokenTree::Ident(word), Some(TokenTree::Ident(name))) = (tree, trees.get(index + 1)) else {
            continue;
        };
        if word != "fn" {
            continue;
        }
        let first = word.span().start().line;
        found.extend(body_end(&trees[index..]).map(|last| (name.to_string(), first, last)));
    }
    found
}

/// The line where the body ends, for a function that has one.
fn body_end(trees: &[TokenTree]) -> Option<usize> {
    let end = trees.iter().find(|tree| match tree {
        TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
        TokenTree::Punct(punct) => punct.as_char() == ';',
        _ => false,
    })?;
    let TokenTree::Group(body) = end else { return None };
    Some(body.span_close().end().line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(text: &str) -> Vec<String> {
        check(&Source::read("x.rs", text).unwrap()).into_iter().map(|finding| finding.what).collect()
    }

    #[test]
    fn a_file_needs_a_head() {
        assert_eq!(findings("fn f() {}"), ["no head"]);
        assert!(findings("//! Head.\nfn f() {}").is_empty());
    }

    #[test]
    fn long_functions_are_measured_with_their_signature() {
        let text = |lines: usize| {
            format!("//! Head.\nimpl X {{\nfn f(\n) {{\n{}}}\n}}\n", "a();\n".repeat(lines - 3))
        };
        assert!(findings(&text(70)).is_empty());
        assert_eq!(findings(&text(71)), ["`f` has 71 lines"]);
    }

    #[test]
    fn a_function_without_body_is_not_measured() {
        assert!(findings(&format!("//! Head.\ntrait T {{ fn f();\n{} }}", "\n".repeat(100))).is_empty());
    }

    #[test]
    fn long_files_are_named() {
        assert_eq!(findings(&format!("//! Head.\n{}", "\n".repeat(700))), ["701 lines"]);
    }
}
