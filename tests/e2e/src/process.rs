//! Running programs: to their end, or in the background with their output caught.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How long anything that must happen may take. Generous: it is spent only when a test fails.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// Pause between two looks.
pub const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Looks until `look` finds something, for at most [`DEADLINE`].
///
/// # Errors
/// Names `what` was waited for.
pub fn wait_until<T>(what: &str, look: impl FnMut() -> Option<T>) -> Result<T> {
    wait_for(what, DEADLINE, look)
}

/// Looks until `look` finds something, for at most `patience`.
///
/// # Errors
/// Names `what` was waited for.
pub fn wait_for<T>(what: &str, patience: Duration, mut look: impl FnMut() -> Option<T>) -> Result<T> {
    let started = Instant::now();
    loop {
        if let Some(found) = look() {
            return Ok(found);
        }
        if started.elapsed() > patience {
            bail!("waited {} s in vain for: {what}", patience.as_secs_f32());
        }
        thread::sleep(LOOK_EVERY);
    }
}

/// What a program said and how it ended.
#[derive(Debug)]
pub struct Output {
    /// Exit status.
    pub status: ExitStatus,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// Runs a program to its end.
///
/// # Errors
/// When it cannot be started; its exit code is the caller's to judge.
pub fn output(command: &mut Command) -> Result<Output> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {}", command.get_program().to_string_lossy()))?;
    Ok(Output {
        status: output.status,
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// Runs a program that must succeed and returns its standard output.
///
/// # Errors
/// When it cannot be started or does not exit with 0; shows what it said.
pub fn success(command: &mut Command) -> Result<String> {
    let output = output(command)?;
    if !output.status.success() {
        bail!("{} ended with {}\n{}{}", words(command), output.status, output.stdout, output.stderr);
    }
    Ok(output.stdout)
}

/// The command line, for messages.
fn words(command: &Command) -> String {
    let arguments = command.get_args().map(|argument| argument.to_string_lossy());
    std::iter::once(command.get_program().to_string_lossy()).chain(arguments).collect::<Vec<_>>().join(" ")
}

/// Whether every one of `words`, separated by blanks, is a word of `line`: `GRANT src=192.0.2.1` is
/// held by `GRANT door=ssh src=192.0.2.1 ...`, not by a line about 192.0.2.10. Punctuation at a
/// word's end and a field's name do not matter.
pub fn holds(line: &str, words: &str) -> bool {
    let is_word = |wanted: &str| {
        line.split_whitespace().any(|word| {
            let value = word.split_once('=').map_or(word, |(_, value)| value);
            [word, word.trim_end_matches(['.', ',', ':', ';']), value].contains(&wanted)
        })
    };
    words.split_whitespace().all(is_word)
}

/// Lines a program wrote, as they come.
#[derive(Clone, Debug, Default)]
pub struct Lines(Arc<Mutex<Vec<String>>>);

impl Lines {
    fn follow(&self, stream: impl Read + Send + 'static) -> JoinHandle<()> {
        let lines = self.clone();
        thread::spawn(move || {
            for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).into_owned();
                lines.0.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
        })
    }

    /// Everything so far.
    pub fn all(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many lines so far: a mark for [`Lines::since`].
    pub fn count(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Everything after the first `mark` lines.
    pub fn since(&self, mark: usize) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().skip(mark).cloned().collect()
    }
}

/// A program in the background. It is killed, by its process id, when this is dropped.
#[derive(Debug)]
pub struct Background {
    name: String,
    child: Child,
    ended: Option<ExitStatus>,
    stdout: Lines,
    stderr: Lines,
    followers: Vec<JoinHandle<()>>,
}

impl Background {
    /// Starts it.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(name: &str, command: &mut Command) -> Result<Self> {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", words(command)))?;
        let (stdout, stderr) = (Lines::default(), Lines::default());
        let followers = [
            child.stdout.take().map(|stream| stdout.follow(stream)),
            child.stderr.take().map(|stream| stderr.follow(stream)),
        ];
        let followers = followers.into_iter().flatten().collect();
        Ok(Self { name: name.to_owned(), child, ended: None, stdout, stderr, followers })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it wrote to standard output.
    pub fn stdout(&self) -> &Lines {
        &self.stdout
    }

    /// What it wrote to standard error.
    pub fn stderr(&self) -> &Lines {
        &self.stderr
    }

    /// How it ended, if it did.
    ///
    /// # Errors
    /// From the operating system.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait()?;
        }
        Ok(self.ended)
    }

    /// Sends a signal; refused when it has ended.
    ///
    /// # Errors
    /// When it runs no more.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        if let Some(status) = self.ended()? {
            bail!("{} runs no more ({status}), cannot send {signal}", self.name);
        }
        kill(Pid::from_raw(i32::try_from(self.child.id())?), signal)?;
        Ok(())
    }

    /// Waits until it ends.
    ///
    /// # Errors
    /// When it still runs after [`DEADLINE`].
    pub fn wait_for_end(&mut self) -> Result<ExitStatus> {
        let what = format!("{} to end", self.name);
        wait_until(&what, || self.ended().ok().flatten())
    }

    /// Everything it said, after its end with `status`.
    pub fn output(mut self, status: ExitStatus) -> Output {
        for follower in self.followers.drain(..) {
            // The pipe is at its end: the other side is gone.
            let _ = follower.join();
        }
        Output { status, stdout: self.stdout.all().join("\n"), stderr: self.stderr.all().join("\n") }
    }

    /// Waits until a line on standard error (or output) that [`holds`] `words` comes after the first
    /// `mark` lines.
    ///
    /// # Errors
    /// When it ends first or the [`DEADLINE`] passes; shows what it said.
    pub fn wait_for_line(&mut self, words: &str, mark: usize) -> Result<String> {
        let stderr = self.stderr.clone();
        let stdout = self.stdout.clone();
        let first = |lines: Vec<String>| lines.into_iter().find(|line| holds(line, words));
        let found = || first(stderr.since(mark)).or_else(|| first(stdout.since(mark)));
        let mut ended = false;
        let line = wait_until("", || {
            // Its end is looked at first, so that its last words are not missed.
            let was_over = ended;
            ended = self.ended().ok().flatten().is_some();
            match found() {
                Some(line) => Some(Some(line)),
                None if was_over => Some(None),
                None => None,
            }
        });
        line.ok().flatten().ok_or_else(|| {
            let state = self.ended.map_or("still runs".to_owned(), |status| format!("ended with {status}"));
            let said = stderr.all().join("\n");
            anyhow!("{} did not say `{words}`; it {state} and said:\n{said}", self.name)
        })
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if matches!(self.ended(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_held_whole() {
        let line = "GRANT grant=7 door=ssh src=192.0.2.10 ports=tcp/22 open_for=30s";
        assert!(holds(line, "GRANT src=192.0.2.10"));
        assert!(holds(line, "ssh GRANT"));
        assert!(!holds(line, "GRANT src=192.0.2.1"));
        assert!(holds("Server listening on :: port 22.", "listening on :: port 22"));
    }
}
