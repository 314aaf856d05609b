//! Running other programs: shown before, judged after.

use std::io::IsTerminal;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

/// The cargo that runs us.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // What `cargo run` sets for us is not meant for those we start.
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            command.env_remove(name);
        }
    }
    command
}

/// Cargo with `words` separated by blanks.
pub(crate) fn cargo_line(words: &str) -> Command {
    let mut command = cargo();
    command.args(words.split_whitespace());
    command
}

/// Shows and runs `command`, which inherits our terminal.
///
/// # Errors
/// When it cannot be started or does not end with 0.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    println!("{} {}", dim("$"), dim(&line_of(command)));
    let status = command.status().with_context(|| format!("cannot start {}", line_of(command)))?;
    if !status.success() {
        bail!("`{}` ended with {status}", line_of(command));
    }
    Ok(())
}

/// Shows and runs a `cargo test`; of its output only the number of tests, unless one fails.
///
/// # Errors
/// When it cannot be started, a test fails, or there is none.
pub(crate) fn run_tests(command: &mut Command) -> Result<()> {
    println!("{} {}", dim("$"), dim(&line_of(command)));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    let output = command.output().with_context(|| format!("cannot start {}", line_of(command)))?;
    let said = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        println!("{said}");
        bail!("`{}` ended with {}", line_of(command), output.status);
    }
    let passed = tests_passed(&said);
    ensure!(passed > 0, "`{}` ran no test", line_of(command));
    println!("{passed} tests passed");
    Ok(())
}

/// Sum over all test programs, as libtest tells.
fn tests_passed(said: &str) -> u64 {
    let counts = said.lines().filter_map(|line| line.strip_prefix("test result: ok. ")?.split(' ').next());
    counts.filter_map(|count| count.parse::<u64>().ok()).sum()
}

/// What `command` prints on its standard output; its standard error only when it fails.
///
/// # Errors
/// When it cannot be started or does not end with 0.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {}", line_of(command)))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("`{}` ended with {}\n{}", line_of(command), output.status, said.trim_end());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The command as one would type it, without the path of the program.
pub(crate) fn line_of(command: &Command) -> String {
    let program = command.get_program().to_string_lossy();
    let name = program.rsplit('/').next().unwrap_or(&program).to_owned();
    let arguments = command.get_args().map(|argument| argument.to_string_lossy().into_owned());
    std::iter::once(name).chain(arguments).collect::<Vec<_>>().join(" ")
}

/// Whether we are root.
pub(crate) fn is_root() -> bool {
    // The owner of our own entry in /proc; geteuid(2) would need a crate for one number.
    std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0)
}

/// `command` as root: itself when we are root, else through sudo, which may ask for a password.
///
/// # Errors
/// When we are not root and there is no sudo.
pub(crate) fn as_root(program: impl AsRef<std::ffi::OsStr>) -> Result<Command> {
    if is_root() {
        return Ok(Command::new(program));
    }
    let sudo = sudo().context("this needs root: run it as root, or install sudo")?;
    let mut command = Command::new(sudo);
    command.arg("--preserve-env=POSTERN_BIN_DIR,DEBIAN_FRONTEND,PATH,CARGO").arg(program);
    Ok(command)
}

/// Path of sudo, when it is installed.
pub(crate) fn sudo() -> Option<&'static str> {
    ["/usr/bin/sudo", "/usr/local/bin/sudo"].into_iter().find(|path| std::path::Path::new(path).exists())
}

/// Grey on a terminal that shows colours.
pub(crate) fn dim(text: &str) -> String {
    painted("2", text)
}

/// Bold on a terminal that shows colours.
pub(crate) fn bold(text: &str) -> String {
    painted("1", text)
}

fn painted(code: &str, text: &str) -> String {
    let colours = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    if colours { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_counted() {
        let said = "\nrunning 2 tests\n..\ntest result: ok. 2 passed; 0 failed\n\ntest result: ok. 40 passed; 0 failed\n";
        assert_eq!(tests_passed(said), 42);
    }

    #[test]
    fn a_command_is_shown_as_it_is_typed() {
        assert_eq!(line_of(Command::new("/usr/bin/ip").args(["link", "show"])), "ip link show");
    }

    #[test]
    fn a_command_that_fails_is_an_error_with_what_it_said() {
        let error = output(&mut cargo_line("no-such-command")).unwrap_err();
        assert!(error.to_string().contains("no-such-command"), "{error}");
        assert!(run(&mut Command::new("/no/such/program")).is_err());
    }
}
