//! `posternd` at work in a namespace.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Result, bail};
use nix::sys::signal::Signal;

use crate::backend::Backend;
use crate::lab::Lab;
use crate::namespace::Namespace;
use crate::process::{self, Background, Lines};
use crate::site::Site;
use crate::{binaries, tool};

static STORES: AtomicU32 = AtomicU32::new(0);

/// Compiles a site file to `store` with `postern compile`.
///
/// # Errors
/// When it is refused; shows the findings and the site file.
pub fn compile(site: &Site, store: &Path) -> Result<()> {
    let file = store.with_extension("toml");
    std::fs::write(&file, site.to_toml())?;
    let mut command = Command::new(binaries::path("postern")?);
    let output = process::output(command.arg("compile").arg(&file).arg("-o").arg(store))?;
    if !output.status.success() {
        bail!(
            "postern compile ended with {}\n{}{}\n{}",
            output.status,
            output.stdout,
            output.stderr,
            site.to_toml()
        );
    }
    Ok(())
}

/// A running (or killed) `posternd`. When a test panics while it lives, its log and the state of
/// its firewall are shown.
#[derive(Debug)]
pub struct Gate {
    namespace: Namespace,
    backend: Backend,
    store: PathBuf,
    daemon: Background,
    /// Options beyond those every daemon gets.
    options: Vec<String>,
    /// Environment variables beyond those every daemon gets.
    environment: Vec<(String, String)>,
    /// How it is started.
    stage: Stage,
    /// Logs of the processes before this one.
    past: Vec<Lines>,
}

/// What is prepared in the process before it becomes the daemon.
#[derive(Clone, Debug, Default)]
struct Stage {
    /// A directory that it sees as `/dev`, and that its log goes to.
    devices: Option<PathBuf>,
    /// Seconds that have passed since boot beyond what the machine says (time_namespaces(7)).
    later_secs: Option<u64>,
}

impl Gate {
    /// Compiles `site`, starts the daemon and waits until it is ready.
    ///
    /// # Errors
    /// When the site is refused or the daemon does not get ready.
    pub fn start(lab: &Lab, namespace: &Namespace, site: &Site) -> Result<Self> {
        let mut gate = Self::launch(lab, namespace, site)?;
        gate.daemon.wait_for_line("BOOT", 0)?;
        Ok(gate)
    }

    /// The same without waiting: for daemons that are expected to wait or to fail.
    ///
    /// # Errors
    /// When the site is refused or the daemon cannot be started.
    pub fn launch(lab: &Lab, namespace: &Namespace, site: &Site) -> Result<Self> {
        let number = STORES.fetch_add(1, Ordering::Relaxed);
        let store = lab.directory().join(format!("gate-{number}.store"));
        compile(site, &store)?;
        let stage = Stage::default();
        let daemon = spawn(namespace, &store, (&[], &[]), &stage, false)?;
        let (namespace, backend) = (namespace.clone(), site.backend());
        Ok(Self {
            namespace,
            backend,
            store,
            daemon,
            options: Vec::new(),
            environment: Vec::new(),
            stage,
            past: Vec::new(),
        })
    }

    /// Its store.
    pub fn store(&self) -> &Path {
        &self.store
    }

    /// Its control socket.
    pub fn control(&self) -> PathBuf {
        control_of(&self.store)
    }

    /// The running process.
    pub fn daemon(&mut self) -> &mut Background {
        &mut self.daemon
    }

    /// How many lines it has logged: a mark for [`Gate::wait_for_log`].
    pub fn log_mark(&self) -> usize {
        self.daemon.stderr().count()
    }

    /// Everything it has logged after `mark`.
    pub fn log_since(&self, mark: usize) -> Vec<String> {
        self.daemon.stderr().since(mark)
    }

    /// Lines of the running process's log that hold `words` (see [`process::holds`]).
    pub fn log_with(&self, words: &str) -> Vec<String> {
        self.daemon.stderr().all().into_iter().filter(|line| process::holds(line, words)).collect()
    }

    /// Waits for a log line that holds `words` (see [`process::holds`]) and comes after `mark`.
    ///
    /// # Errors
    /// When it does not come.
    pub fn wait_for_log(&mut self, words: &str, mark: usize) -> Result<String> {
        self.daemon.wait_for_line(words, mark)
    }

    /// Puts another site file in force: compiles it beside the store, renames it over the store,
    /// sends SIGHUP and waits until the daemon says that it is in force.
    ///
    /// # Errors
    /// When it is refused.
    pub fn reload(&mut self, site: &Site) -> Result<()> {
        self.replace_store(site)?;
        let mark = self.log_mark();
        self.daemon.signal(Signal::SIGHUP)?;
        self.wait_for_log("CFG-APPLY", mark)?;
        Ok(())
    }

    /// Puts another store in the place of the old one and tells nobody.
    ///
    /// # Errors
    /// When the site is refused.
    pub fn replace_store(&mut self, site: &Site) -> Result<()> {
        let next = self.store.with_extension("next");
        compile(site, &next)?;
        std::fs::rename(&next, &self.store)?;
        Ok(())
    }

    /// SIGTERM, and waits for the end.
    ///
    /// # Errors
    /// When it does not end.
    pub fn terminate(&mut self) -> Result<ExitStatus> {
        self.daemon.signal(Signal::SIGTERM)?;
        self.daemon.wait_for_end()
    }

    /// SIGKILL, and waits for the end.
    ///
    /// # Errors
    /// When it had ended already.
    pub fn kill(&mut self) -> Result<()> {
        self.daemon.signal(Signal::SIGKILL)?;
        self.daemon.wait_for_end()?;
        Ok(())
    }

    /// Starts a new process with the same store and waits until it is ready.
    ///
    /// # Errors
    /// When it does not get ready.
    pub fn restart(&mut self) -> Result<()> {
        self.relaunch()?;
        self.daemon.wait_for_line("BOOT", 0)?;
        Ok(())
    }

    /// The same without waiting.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn relaunch(&mut self) -> Result<()> {
        self.launch_again(false)
    }

    /// The same, and the process stands still before its first step, until it gets `SIGCONT`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn relaunch_held(&mut self) -> Result<()> {
        self.launch_again(true)?;
        let state = format!("/proc/{}/stat", self.daemon.pid());
        let stopped = || std::fs::read_to_string(&state).ok().filter(|stat| stat.contains(") T "));
        process::wait_until("the process to stand still", stopped)?;
        Ok(())
    }

    fn launch_again(&mut self, held: bool) -> Result<()> {
        let next =
            spawn(&self.namespace, &self.store, (&self.options, &self.environment), &self.stage, held)?;
        let last = std::mem::replace(&mut self.daemon, next);
        self.past.push(last.stderr().clone());
        Ok(())
    }

    /// Ends the process and starts a new one with more options, which later ones get, too.
    ///
    /// # Errors
    /// When it does not end, or the new one does not get ready.
    pub fn restart_with(&mut self, options: &[&str]) -> Result<()> {
        self.terminate()?;
        self.options = options.iter().map(|&option| option.to_owned()).collect();
        self.restart()
    }

    /// The same with environment variables, too.
    ///
    /// # Errors
    /// As [`Gate::restart_with`].
    pub fn restart_in(&mut self, environment: &[(&str, &str)], options: &[&str]) -> Result<()> {
        let own = |&(name, value): &(&str, &str)| (name.to_owned(), value.to_owned());
        self.environment = environment.iter().map(own).collect();
        self.restart_with(options)
    }

    /// Ends the process and starts a new one that logs to the syslog socket `log` in `devices`.
    ///
    /// # Errors
    /// When it does not end, or cannot be started. It is not waited for: its log is elsewhere.
    pub fn restart_with_syslog(&mut self, devices: &Path) -> Result<()> {
        self.terminate()?;
        self.stage.devices = Some(devices.to_owned());
        self.relaunch()
    }

    /// Ends the process and starts a new one to which the machine runs for `secs` longer.
    ///
    /// # Errors
    /// When it does not end, or the new one does not get ready.
    pub fn restart_later(&mut self, secs: u64) -> Result<()> {
        self.terminate()?;
        self.stage.later_secs = Some(secs);
        self.restart()
    }

    /// The firewall of the namespace, as its own tools show it.
    pub fn firewall(&self) -> String {
        let commands: &[&[&str]] = match self.backend {
            Backend::Iptables => &[&["iptables-save"], &["ip6tables-save"], &["ipset", "list"]],
            Backend::Nftables => &[&["nft", "list", "ruleset"]],
        };
        let shown = commands.iter().map(|command| match self.namespace.output(command[0], &command[1..]) {
            Ok(output) => {
                // Comments tell the time, which is never the same.
                let lines = output.stdout.lines().filter(|line| !line.starts_with('#'));
                let stdout: String = lines.flat_map(|line| [line, "\n"]).collect();
                format!("$ {}\n{stdout}{}", command.join(" "), output.stderr)
            }
            Err(error) => format!("$ {}\n{error:#}\n", command.join(" ")),
        });
        shown.collect()
    }

    /// Everything the daemon said, with the processes before.
    pub fn log(&self) -> String {
        let mut lines: Vec<String> = self.past.iter().flat_map(Lines::all).collect();
        lines.extend(self.daemon.stderr().all());
        lines.join("\n")
    }
}

/// Where the daemon of a store listens.
fn control_of(store: &Path) -> PathBuf {
    store.with_extension("control")
}

fn spawn(
    namespace: &Namespace,
    store: &Path,
    (options, environment): (&[String], &[(String, String)]),
    stage: &Stage,
    held: bool,
) -> Result<Background> {
    let program = binaries::path("posternd")?;
    let log = if stage.devices.is_some() { "syslog" } else { "stderr" };
    // The daemon calls the firewall's own tools by name.
    let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    let mut command = match stage {
        _ if held => {
            let mut shell = namespace.command("/bin/sh")?;
            shell.args(["-c", "kill -STOP $$; exec \"$0\" \"$@\""]).arg(&program);
            shell
        }
        // `ip netns exec` has made a mount namespace, which is gone with the process.
        Stage { devices: Some(devices), .. } => {
            let mut shell = namespace.command("/bin/sh")?;
            shell.args(["-c", "mount --bind \"$0\" /dev && exec \"$@\""]).arg(devices).arg(&program);
            shell
        }
        Stage { later_secs: Some(secs), .. } => {
            let mut unshare = namespace.command("unshare")?;
            let secs = secs.to_string();
            unshare.args(["--time", "--monotonic", &secs, "--boottime", &secs, "--"]).arg(&program);
            unshare
        }
        Stage { .. } => namespace.command(&program.to_string_lossy())?,
    };
    command.arg("--store").arg(store).args(["--log", log]).env("PATH", path);
    // Members of the group may connect, and must log in: the console does, as nobody.
    command.arg("--control").arg(control_of(store)).args(["--control-group", "nogroup"]);
    command.args(options).envs(environment.iter().map(|(name, value)| (name, value)));
    tool::require(&["iptables", "nft"])?;
    Background::start("posternd", &mut command)
}

impl Drop for Gate {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let name = self.namespace.name();
            eprintln!("--- log of posternd in {name}\n{}", self.log());
            eprintln!("--- firewall of {name}\n{}--- end", self.firewall());
        }
    }
}
