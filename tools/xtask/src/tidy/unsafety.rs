//! `unsafe` only in the Linux adapters, and each time with its reason.

use super::Finding;
use super::source::Source;

/// The only folder with `unsafe`.
const ALLOWED: &str = "hal-linux/";

/// Lines of one statement between its reason and the word.
const DISTANCE_MAX: usize = 3;

/// Checks one file. A declaration (`unsafe fn`) asserts nothing; what its caller must hold stands in
/// its documentation.
pub(super) fn check(source: &Source) -> Vec<Finding> {
    let declared = source.lines_with(&["unsafe", "fn"], true);
    let lines: Vec<usize> =
        source.lines_with(&["unsafe"], true).into_iter().filter(|line| !declared.contains(line)).collect();
    if !source.path.starts_with(ALLOWED) {
        let instead = "move it behind a safe function of hal-linux";
        return lines.into_iter().map(|line| Finding::new(&source.path, line, "unsafe", instead)).collect();
    }
    let text: Vec<&str> = source.text.lines().collect();
    let unexplained = lines.into_iter().filter(|&line| !is_explained(&text, line));
    let instead = "write `// SAFETY:` above it: why what the callee demands holds here";
    unexplained.map(|line| Finding::new(&source.path, line, "unsafe without a reason", instead)).collect()
}

/// Whether a comment with the reason stands on the line or right above its statement.
fn is_explained(text: &[&str], line: usize) -> bool {
    let is_comment = |index: usize| text[index].trim_start().starts_with("//");
    let has_reason = |index: usize| text[index].contains("// SAFETY:");
    let at = line - 1;
    if has_reason(at) {
        return true;
    }
    let Some(comment) = (at.saturating_sub(DISTANCE_MAX)..at).rev().find(|&index| is_comment(index)) else {
        return false;
    };
    (0..=comment).rev().take_while(|&index| is_comment(index)).any(has_reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(path: &str, text: &str) -> Vec<usize> {
        check(&Source::read(path, text).unwrap()).into_iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn only_in_the_adapters() {
        let text = "fn f() {\n// SAFETY: none needed.\nunsafe { g() }\n}";
        assert_eq!(lines("firmware/core/src/x.rs", text), [3]);
        assert!(lines("hal-linux/src/x.rs", text).is_empty());
    }

    #[test]
    fn each_with_a_reason() {
        assert_eq!(lines("hal-linux/src/x.rs", "fn f() {\nlet a = 1;\nunsafe { g() }\n}"), [3]);
        assert_eq!(lines("hal-linux/src/x.rs", "fn f() {\n// As above.\nunsafe { g() }\n}"), [3]);
        let far = "fn f() {\n// SAFETY: holds,\n// because.\nlet a =\n    unsafe { g() };\n}";
        assert!(lines("hal-linux/src/x.rs", far).is_empty());
    }

    #[test]
    fn a_declaration_asserts_nothing_but_an_implementation_does() {
        assert!(lines("hal-linux/tests/x.rs", "unsafe fn f() {}").is_empty());
        assert_eq!(lines("hal-linux/tests/x.rs", "unsafe impl Sync for X {}"), [1]);
    }

    #[test]
    fn the_word_in_an_attribute_or_comment_is_none() {
        assert!(lines("x.rs", "#![forbid(unsafe_code)]\n// unsafe\nfn f() {}").is_empty());
    }
}
