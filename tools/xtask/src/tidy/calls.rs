//! Calls that are banned, each with what to write instead.

use super::Finding;
use super::source::{Source, is_test_path};

/// Where a ban holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Area {
    /// Everywhere, tests too.
    Everywhere,
    /// What the product runs.
    Product,
    /// Firmware and its Linux adapters.
    Device,
    /// Firmware.
    Firmware,
    /// The crates without standard library.
    Freestanding,
    /// The daemon's library, which the simulator drives.
    DaemonLibrary,
}

struct Ban {
    area: Area,
    /// Tokens, one after the other.
    pattern: &'static [&'static str],
    instead: &'static str,
}

const fn ban(area: Area, pattern: &'static [&'static str], instead: &'static str) -> Ban {
    Ban { area, pattern, instead }
}

const TIME: &str = "take `now: Instant` as an argument; the shell reads the clock once a turn";
const ERRORS: &str = "return a typed error, or make the case impossible; nothing from outside may panic";
const LOG: &str = "use the `log` macros: printing to a closed standard output ends the daemon";
const SHELL: &str =
    "start the program itself, with its arguments one by one: there is no shell in the product";
const TABLES: &str = "use the fixed tables of heapless: every table has a bound in `limits`";
const ALLOC: &str = "this crate is no_std without alloc";

const BANS: [Ban; 30] = [
    ban(Area::Firmware, &["Instant", ":", ":", "now", "("], TIME),
    ban(Area::Firmware, &["SystemTime"], TIME),
    ban(Area::Firmware, &["thread", ":", ":", "sleep"], "wait for readiness or the deadline of `poll_at`"),
    ban(Area::Device, &[".", "unwrap", "("], ERRORS),
    ban(Area::Device, &[".", "expect", "("], ERRORS),
    ban(Area::Device, &[".", "unwrap_err", "("], ERRORS),
    ban(Area::Device, &[".", "expect_err", "("], ERRORS),
    ban(Area::Device, &["panic", "!"], ERRORS),
    ban(Area::Device, &["unreachable", "!"], ERRORS),
    ban(Area::Device, &["todo", "!"], ERRORS),
    ban(Area::Device, &["unimplemented", "!"], ERRORS),
    ban(Area::Device, &["println", "!"], LOG),
    ban(Area::Device, &["eprintln", "!"], LOG),
    ban(Area::Device, &["print", "!"], LOG),
    ban(Area::Device, &["eprint", "!"], LOG),
    ban(Area::Device, &["dbg", "!"], LOG),
    ban(Area::Product, &["Command", ":", ":", "new", "(", "\"sh\""], SHELL),
    ban(Area::Product, &["Command", ":", ":", "new", "(", "\"/bin/sh\""], SHELL),
    ban(Area::Product, &["Command", ":", ":", "new", "(", "\"bash\""], SHELL),
    ban(Area::Product, &["Command", ":", ":", "new", "(", "\"/bin/bash\""], SHELL),
    ban(Area::Product, &["libc", ":", ":", "system"], SHELL),
    ban(Area::Freestanding, &["HashMap"], TABLES),
    ban(Area::Freestanding, &["HashSet"], TABLES),
    ban(Area::Freestanding, &["BTreeMap"], TABLES),
    ban(Area::Freestanding, &["alloc", ":", ":"], ALLOC),
    ban(Area::Freestanding, &["std", ":", ":"], ALLOC),
    ban(Area::Freestanding, &["extern", "crate"], ALLOC),
    ban(Area::DaemonLibrary, &["postern_hal_linux"], "pass the adapter in as one of the traits of `port`"),
    ban(
        Area::Everywhere,
        &["#", "[", "ignore"],
        "delete the test or make it run: a test nobody runs proves nothing",
    ),
    ban(Area::Everywhere, &["mem", ":", ":", "transmute"], "use the safe conversions of the types"),
];

impl Area {
    fn holds(self, source: &Source) -> bool {
        let in_product = |folders: &[&str]| {
            source.is_product() && folders.iter().any(|folder| source.path.starts_with(folder))
        };
        match self {
            Area::Everywhere => true,
            Area::Product => source.is_product(),
            Area::Device => in_product(&["firmware/", "hal-linux/"]),
            Area::Firmware => in_product(&["firmware/"]),
            Area::Freestanding => in_product(&["firmware/core/", "firmware/config/", "firmware/console/"]),
            Area::DaemonLibrary => {
                in_product(&["firmware/daemon/src/"]) && !source.path.starts_with("firmware/daemon/src/bin/")
            }
        }
    }
}

/// Checks one file.
pub(super) fn check(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    for ban in BANS.iter().filter(|ban| ban.area.holds(source)) {
        let in_tests = ban.area == Area::Everywhere || is_test_path(&source.path);
        for line in source.lines_with(ban.pattern, in_tests) {
            let what = format!("`{}` is banned here", ban.pattern.concat());
            findings.push(Finding::new(&source.path, line, what, ban.instead));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(path: &str, text: &str) -> Vec<usize> {
        check(&Source::read(path, text).unwrap()).into_iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn planted_calls_are_found() {
        for planted in [
            "let t = Instant::now();",
            "let t = std::time::SystemTime::UNIX_EPOCH;",
            "thread::sleep(d);",
            "x.unwrap();",
            "x.expect(\"y\");",
            "panic!();",
            "unreachable!();",
            "todo!();",
            "println!();",
            "eprintln!();",
        ] {
            let text = format!("fn f() {{\n{planted}\n}}");
            assert_eq!(lines("firmware/daemon/src/x.rs", &text), [2], "{planted}");
        }
    }

    #[test]
    fn what_only_looks_like_it_passes() {
        let text = "fn f() { x.unwrap_or(1); x.expect_silence(); let now = clock.now(); let panic = 1; }";
        assert!(lines("firmware/daemon/src/x.rs", text).is_empty());
    }

    #[test]
    fn tests_may_unwrap_but_not_ignore() {
        let text = "#[cfg(test)]\nmod tests {\n#[test]\nfn f() { x.unwrap(); }\n}";
        assert!(lines("firmware/core/src/x.rs", text).is_empty());
        assert_eq!(lines("tests/e2e/tests/x.rs", "#[test]\n#[ignore = \"slow\"]\nfn f() {}"), [2]);
    }

    #[test]
    fn no_shell_in_the_product() {
        let text = "fn f() { Command::new(\"sh\"); }";
        assert_eq!(lines("hal-linux/src/x.rs", text), [1]);
        assert_eq!(lines("tools/postern/src/x.rs", text), [1]);
        assert!(lines("tests/e2e/src/x.rs", text).is_empty());
    }

    #[test]
    fn the_daemon_library_does_not_know_linux() {
        let text = "use postern_hal_linux::Clock;";
        assert_eq!(lines("firmware/daemon/src/turn.rs", text), [1]);
        assert!(lines("firmware/daemon/src/bin/posternd/main.rs", text).is_empty());
    }

    #[test]
    fn core_has_no_allocator() {
        assert_eq!(
            lines("firmware/core/src/x.rs", "use alloc::vec::Vec;\nuse std::collections::HashMap;").len(),
            3
        );
        assert!(lines("firmware/core/src/x.rs", "#[cfg(test)]\nextern crate std;").is_empty());
    }
}
