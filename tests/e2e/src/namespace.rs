//! One network namespace: running programs in it and entering it with a thread.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::thread;

use anyhow::{Context, Result};
use nix::sched::{CloneFlags, setns};

use crate::process::{self, Background, Output};
use crate::tool;

/// Where `ip netns` keeps its handles.
pub(crate) const HANDLES: &str = "/run/netns";

/// A handle of a network namespace. Whoever made it ([`crate::Lab`]) removes it.
#[derive(Clone, Debug)]
pub struct Namespace {
    name: Arc<str>,
}

impl Namespace {
    pub(crate) fn new(name: &str) -> Self {
        Self { name: name.into() }
    }

    /// Its name, as `ip netns` knows it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its handle in the file system.
    pub fn handle(&self) -> PathBuf {
        Path::new(HANDLES).join(&*self.name)
    }

    /// A command that will run in it. `program` is looked up in root's directories too; a path is
    /// taken as it is.
    ///
    /// # Errors
    /// Says what to install when the program is missing.
    pub fn command(&self, program: &str) -> Result<Command> {
        let mut command = Command::new(tool::path("ip")?);
        command.args(["netns", "exec", &self.name]);
        if program.contains('/') {
            command.arg(program);
        } else {
            command.arg(tool::path(program)?);
        }
        Ok(command)
    }

    /// Runs a program to its end, whatever its exit code.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn output(&self, program: &str, arguments: &[&str]) -> Result<Output> {
        process::output(self.command(program)?.args(arguments))
    }

    /// Runs a program that must succeed.
    ///
    /// # Errors
    /// When it does not exit with 0.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Result<String> {
        process::success(self.command(program)?.args(arguments))
    }

    /// Runs a program in the background.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(&self, program: &str, arguments: &[&str]) -> Result<Background> {
        Background::start(program, self.command(program)?.args(arguments))
    }

    /// Runs `ip` with words separated by blanks.
    ///
    /// # Errors
    /// When it does not succeed.
    pub fn ip(&self, words: &str) -> Result<String> {
        let mut command = Command::new(tool::path("ip")?);
        process::success(command.args(["-n", &self.name]).args(words.split_whitespace()))
    }

    /// Runs many `ip` commands in one process, one a line.
    ///
    /// # Errors
    /// At the first that does not succeed.
    pub fn ip_batch(&self, lines: &str) -> Result<()> {
        let file = std::env::temp_dir().join(format!("{}.ip", self.name));
        std::fs::write(&file, lines)?;
        let mut command = Command::new(tool::path("ip")?);
        let done = process::success(command.args(["-n", &self.name, "-batch"]).arg(&file));
        std::fs::remove_file(&file)?;
        done.map(|_| ()).with_context(|| format!("in the batch\n{lines}"))
    }

    /// Sets a value below `/proc/sys/net/` of this namespace.
    ///
    /// # Errors
    /// When the kernel has no such value.
    pub fn set(&self, key: &str, value: &str) -> Result<()> {
        let path = Path::new("/proc/sys/net").join(key);
        self.enter(|| std::fs::write(&path, value))
            .with_context(|| format!("cannot set net/{key} to {value}"))
    }

    /// Runs `work` on a thread that has entered the namespace: sockets it opens belong to it for
    /// as long as they live. The rest of the process stays where it is.
    ///
    /// # Panics
    /// When the namespace cannot be entered, or `work` panics.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let result = thread::scope(|scope| {
            let inside = || {
                self.join();
                work()
            };
            scope.spawn(inside).join()
        });
        result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// Starts a thread that has entered the namespace and outlives this call.
    pub fn thread<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> thread::JoinHandle<T> {
        let namespace = self.clone();
        thread::spawn(move || {
            namespace.join();
            work()
        })
    }

    /// Moves the calling thread into the namespace (setns(2)).
    fn join(&self) {
        let entered = File::open(self.handle()).map_err(anyhow::Error::from).and_then(|handle| {
            setns(handle, CloneFlags::CLONE_NEWNET)?;
            Ok(())
        });
        if let Err(error) = entered {
            panic!("cannot enter the network namespace {}: {error}", self.name);
        }
    }
}
