//! A Rust file as tokens: comments and white space gone, code for tests told apart.

use proc_macro2::{Delimiter, TokenStream, TokenTree};

use super::Finding;

/// One token with its place.
#[derive(Clone, Debug)]
pub(super) struct Token {
    pub(super) text: String,
    /// Line, counted from 1.
    pub(super) line: usize,
    /// Whether it stands in code that only tests run.
    pub(super) test: bool,
}

/// A Rust file.
#[derive(Debug)]
pub(super) struct Source {
    /// From the root of the workspace.
    pub(super) path: String,
    pub(super) text: String,
    /// Every token, brackets included.
    pub(super) tokens: Vec<Token>,
    /// The same as a tree.
    pub(super) tree: TokenStream,
}

impl Source {
    /// Reads a file.
    ///
    /// # Errors
    /// A finding when its brackets or quotes do not fit.
    pub(super) fn read(path: &str, text: &str) -> Result<Self, Finding> {
        let tree: TokenStream = text
            .parse()
            .map_err(|error| Finding::new(path, 0, format!("cannot be read: {error}"), "does it compile?"))?;
        let mut tokens = Vec::new();
        flatten(&tree, is_test_path(path), &mut tokens);
        Ok(Self { path: path.to_owned(), text: text.to_owned(), tokens, tree })
    }

    /// The folder of the crate it belongs to.
    pub(super) fn crate_folder(&self) -> Option<&str> {
        let end = self.path.find("/src/").or_else(|| self.path.rfind("/tests/"))?;
        self.path.get(..end)
    }

    /// The name of the module it holds, when it is no root.
    pub(super) fn module(&self) -> Option<&str> {
        let mut parts = self.path.rsplit('/');
        let name = parts.next()?.strip_suffix(".rs")?;
        if name == "mod" { parts.next() } else { Some(name) }
    }

    /// Whether the product runs it: firmware, its adapters and the host tool, without their tests.
    pub(super) fn is_product(&self) -> bool {
        ["firmware/", "hal-linux/", "board/", "tools/postern/"].iter().any(|area| self.path.starts_with(area))
            && !is_test_path(&self.path)
    }

    /// The lines where `pattern` stands, code for tests left out unless it is asked for.
    pub(super) fn lines_with(&self, pattern: &[&str], in_tests: bool) -> Vec<usize> {
        let fits = |window: &[Token]| {
            window.iter().zip(pattern).all(|(token, text)| token.text == *text)
                && (in_tests || !window[0].test)
        };
        self.tokens
            .windows(pattern.len())
            .filter(|window| fits(window))
            .map(|window| window[0].line)
            .collect()
    }
}

/// Marks files that only tests compile: those declared by `#[cfg(test)] mod name;`.
pub(super) fn mark_test_modules(sources: &mut [Source]) {
    let declared_for_tests = |source: &Source, module: &str| {
        let in_tests = source.lines_with(&["mod", module, ";"], true).len();
        in_tests > source.lines_with(&["mod", module, ";"], false).len()
    };
    let mut for_tests = Vec::new();
    for source in sources.iter() {
        let Some(module) = source.module() else { continue };
        let declared = sources
            .iter()
            .any(|other| other.crate_folder() == source.crate_folder() && declared_for_tests(other, module));
        if declared {
            for_tests.push(source.path.clone());
        }
    }
    for source in sources {
        let folder = |path: &String| path.strip_suffix(".rs").map(|path| format!("{path}/"));
        let below = |path: &String| folder(path).is_some_and(|folder| source.path.starts_with(&folder));
        if for_tests.iter().any(|path| *path == source.path || below(path)) {
            source.tokens.iter_mut().for_each(|token| token.test = true);
        }
    }
}

/// Whether a whole file is for tests: `tests.rs`, and what lies below a folder `tests`.
pub(super) fn is_test_path(path: &str) -> bool {
    path.split('/').any(|part| part == "tests" || part == "tests.rs")
}

fn flatten(stream: &TokenStream, test: bool, tokens: &mut Vec<Token>) {
    let trees: Vec<TokenTree> = stream.clone().into_iter().collect();
    // Set by an attribute, until the end of the item behind it.
    let mut item_is_test = false;
    for (index, tree) in trees.iter().enumerate() {
        item_is_test |= index > 0 && is_test_attribute(&trees[index - 1], tree);
        push(tree, test || item_is_test, tokens);
        if ends_item(tree) {
            item_is_test = false;
        }
    }
}

fn push(tree: &TokenTree, test: bool, tokens: &mut Vec<Token>) {
    let TokenTree::Group(group) = tree else {
        tokens.push(Token { text: tree.to_string(), line: tree.span().start().line, test });
        return;
    };
    let (open, close) = match group.delimiter() {
        Delimiter::Parenthesis => ("(", ")"),
        Delimiter::Brace => ("{", "}"),
        Delimiter::Bracket => ("[", "]"),
        Delimiter::None => ("", ""),
    };
    tokens.push(Token { text: open.to_owned(), line: group.span_open().start().line, test });
    flatten(&group.stream(), test, tokens);
    tokens.push(Token { text: close.to_owned(), line: group.span_close().start().line, test });
}

/// `#` and `[cfg(test)]`, or `[test]`.
fn is_test_attribute(hash: &TokenTree, attribute: &TokenTree) -> bool {
    let (TokenTree::Punct(hash), TokenTree::Group(group)) = (hash, attribute) else { return false };
    if hash.as_char() != '#' || group.delimiter() != Delimiter::Bracket {
        return false;
    }
    let text = group.stream().to_string().replace(' ', "");
    text == "test" || (text.starts_with("cfg(") && text.contains("test") && !text.contains("not(test"))
}

fn ends_item(tree: &TokenTree) -> bool {
    match tree {
        TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
        TokenTree::Punct(punct) => punct.as_char() == ';',
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "//! Head.\nfn real() { a(); }\n#[cfg(test)]\nmod tests {\n  fn unreal() { a(); }\n}\nfn more() { a(); }\n";

    #[test]
    fn code_for_tests_is_told_apart() {
        let source = Source::read("firmware/core/src/x.rs", TEXT).unwrap();
        assert_eq!(source.lines_with(&["a", "("], false), [2, 7]);
        assert_eq!(source.lines_with(&["a", "("], true), [2, 5, 7]);
    }

    #[test]
    fn a_test_module_in_its_own_file_hides_nothing_behind_it() {
        let source = Source::read("x.rs", "#[cfg(test)]\nmod tests;\nfn f() { a(); }").unwrap();
        assert_eq!(source.lines_with(&["a"], false), [3]);
    }

    #[test]
    fn a_file_declared_for_tests_is_for_tests() {
        let read = |path: &str, text: &str| Source::read(path, text).unwrap();
        let mut sources = [
            read("firmware/core/src/lib.rs", "mod matcher;\nmod grant;"),
            read("firmware/core/src/matcher.rs", "#[cfg(test)]\nmod model;"),
            read("firmware/core/src/matcher/model.rs", "mod part;\nfn f() { a(); }"),
            read("firmware/core/src/matcher/model/part.rs", "fn f() { a(); }"),
            read("firmware/core/src/grant.rs", "fn f() { a(); }"),
        ];
        mark_test_modules(&mut sources);
        let calls = sources.map(|source| source.lines_with(&["a", "("], false).len());
        assert_eq!(calls, [0, 0, 0, 0, 1]);
    }

    #[test]
    fn comments_and_strings_are_no_code() {
        let source = Source::read("x.rs", "// a(\nfn f() { b(\"a(\"); /* a( */ }").unwrap();
        assert!(source.lines_with(&["a", "("], true).is_empty());
    }

    #[test]
    fn areas_by_path() {
        let product = |path| Source::read(path, "").unwrap().is_product();
        assert!(product("firmware/core/src/wire.rs") && product("tools/postern/src/main.rs"));
        assert!(!product("firmware/core/src/wire/tests.rs") && !product("hal-linux/tests/capture/main.rs"));
        assert!(!product("tools/xtask/src/main.rs") && !product("tests/sim/src/lib.rs"));
    }

    #[test]
    fn what_is_no_rust_is_a_finding() {
        assert_eq!(Source::read("x.rs", "fn f() {").unwrap_err().path, "x.rs");
    }
}
