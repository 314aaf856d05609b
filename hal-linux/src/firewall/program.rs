//! Runs the firewall's own programs: by absolute path, without a shell, with an empty environment,
//! for a limited time, and takes in what they say.

use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::SigSet;

use super::InstallError;

/// Time a program has that changes something. It includes waiting for the lock of iptables.
const LIMIT: Duration = Duration::from_secs(10);

/// Time a program has that only looks, while packets wait: it takes some milliseconds.
const LOOK_LIMIT: Duration = Duration::from_secs(1);

/// Pause between two looks whether a program has ended that says nothing more.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// Octets of standard output taken in: room for some ten thousand rules of the site.
const OUTPUT_BYTES_MAX: usize = 1 << 20;

/// Octets of standard error kept; the rest is read and dropped.
const SAID_BYTES_MAX: usize = 2048;

/// A program of the firewall.
#[derive(Clone, Debug)]
pub(super) struct Program {
    path: PathBuf,
}

impl Program {
    /// The first executable file called `name` in `directories`.
    ///
    /// # Errors
    /// [`InstallError::ProgramMissing`].
    pub(super) fn find(name: &str, directories: &[PathBuf]) -> Result<Self, InstallError> {
        let is_there = |path: &PathBuf| path.is_absolute() && path.is_file();
        let path = directories.iter().map(|directory| directory.join(name)).find(is_there);
        let missing =
            || InstallError::ProgramMissing { program: name.to_owned(), searched: directories.to_vec() };
        Ok(Self { path: path.ok_or_else(missing)? })
    }

    /// Runs it with `input` on standard input and returns its standard output.
    ///
    /// # Errors
    /// When it cannot be run, fails, says too much or takes longer than it may.
    pub(super) fn run(&self, arguments: &[&str], input: &str) -> Result<String, InstallError> {
        self.run_within(LIMIT, arguments, input)
    }

    /// The same for a program that only looks: one that hangs is given up soon, as nothing but the look is
    /// lost by that.
    ///
    /// # Errors
    /// As [`Program::run`].
    pub(super) fn look(&self, arguments: &[&str]) -> Result<String, InstallError> {
        self.run_within(LOOK_LIMIT, arguments, "")
    }

    fn run_within(&self, limit: Duration, arguments: &[&str], input: &str) -> Result<String, InstallError> {
        let deadline = Instant::now() + limit;
        let not_run = |error: std::io::Error| InstallError::ProgramNotRun {
            program: self.path.clone(),
            errno: Errno::from_raw(error.raw_os_error().unwrap_or_default()),
        };
        let mut command = Command::new(&self.path);
        take_signals(&mut command);
        let mut child = command
            .args(arguments)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(not_run)?;
        let conversation =
            Conversation::begin(&mut child, input).and_then(|conversation| conversation.hold(deadline));
        let ended = conversation.and_then(|said| Ok((said, wait(&mut child, deadline)?)));
        if !matches!(ended, Ok((_, Some(_)))) {
            let _ = child.kill();
            let _ = child.wait();
        }
        let program = || self.path.clone();
        match ended.map_err(not_run)? {
            (said, Some(status)) if !status.success() => {
                let said = String::from_utf8_lossy(&said.stderr).into_owned();
                Err(InstallError::ProgramFailed { program: program(), status, said })
            }
            (said, Some(_)) if said.is_cut => Err(InstallError::ProgramOutputTooLong { program: program() }),
            (said, Some(_)) => Ok(String::from_utf8_lossy(&said.stdout).into_owned()),
            (_, None) => {
                Err(InstallError::ProgramTimeout { program: program(), limit_secs: limit.as_secs() })
            }
        }
    }
}

/// The daemon blocks signals to read them from a descriptor; a program that inherited that could not
/// be told to end.
#[allow(unsafe_code)]
fn take_signals(command: &mut Command) {
    let take_all = || SigSet::empty().thread_set_mask().map_err(std::io::Error::from);
    // SAFETY: between fork and exec only sigprocmask is called, which is async-signal-safe
    // (signal-safety(7)), with a set on the stack; nothing is allocated and no lock is taken.
    unsafe { command.pre_exec(take_all) };
}

/// How the child ended, or `None` when it still runs at `deadline`.
fn wait(child: &mut Child, deadline: Instant) -> std::io::Result<Option<ExitStatus>> {
    loop {
        let ended = child.try_wait()?;
        if ended.is_some() || Instant::now() >= deadline {
            return Ok(ended);
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// What a child said.
#[derive(Debug, Default)]
struct Said {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    /// There was more on standard output.
    is_cut: bool,
}

/// Reads and writes at once, so that neither side waits for the other for ever.
struct Conversation<'i> {
    stdin: Option<ChildStdin>,
    stdout: Option<ChildStdout>,
    stderr: Option<ChildStderr>,
    input: &'i [u8],
    said: Said,
}

impl<'i> Conversation<'i> {
    fn begin(child: &mut Child, input: &'i str) -> std::io::Result<Self> {
        let conversation = Self {
            stdin: child.stdin.take(),
            stdout: child.stdout.take(),
            stderr: child.stderr.take(),
            input: input.as_bytes(),
            said: Said::default(),
        };
        for fd in [
            conversation.stdin.as_ref().map(AsFd::as_fd),
            conversation.stdout.as_ref().map(AsFd::as_fd),
            conversation.stderr.as_ref().map(AsFd::as_fd),
        ]
        .into_iter()
        .flatten()
        {
            fcntl(fd, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        }
        Ok(conversation)
    }

    /// Goes on until the child has closed both outputs or the time is over.
    fn hold(mut self, deadline: Instant) -> std::io::Result<Said> {
        while self.stdout.is_some() || self.stderr.is_some() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            self.wait_for_progress(left)?;
            self.write()?;
            self.read()?;
        }
        Ok(self.said)
    }

    fn wait_for_progress(&self, left: Duration) -> std::io::Result<()> {
        let readable = [self.stdout.as_ref().map(AsFd::as_fd), self.stderr.as_ref().map(AsFd::as_fd)];
        let mut fds: heapless::Vec<PollFd<'_>, 3> =
            readable.into_iter().flatten().map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        if let Some(stdin) = &self.stdin {
            // There is room for three.
            let _ = fds.push(PollFd::new(stdin.as_fd(), PollFlags::POLLOUT));
        }
        match poll(&mut fds, PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    fn write(&mut self) -> std::io::Result<()> {
        let Some(stdin) = &mut self.stdin else { return Ok(()) };
        match stdin.write(self.input) {
            Ok(written) => self.input = self.input.get(written..).unwrap_or_default(),
            Err(error) if is_later(&error) => return Ok(()),
            // It closed its input; its exit status will tell why.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => self.input = &[],
            Err(error) => return Err(error),
        }
        if self.input.is_empty() {
            self.stdin = None;
        }
        Ok(())
    }

    fn read(&mut self) -> std::io::Result<()> {
        self.said.is_cut |= take_in(&mut self.stdout, &mut self.said.stdout, OUTPUT_BYTES_MAX)?;
        take_in(&mut self.stderr, &mut self.said.stderr, SAID_BYTES_MAX)?;
        Ok(())
    }
}

/// Reads what there is, closes the stream at its end, and says whether something did not fit.
fn take_in(stream: &mut Option<impl Read>, text: &mut Vec<u8>, bytes_max: usize) -> std::io::Result<bool> {
    let Some(open) = stream else { return Ok(false) };
    let mut buffer = [0; 4096];
    let octets = match open.read(&mut buffer) {
        Err(error) if is_later(&error) => return Ok(false),
        other => buffer.get(..other?).unwrap_or_default(),
    };
    if octets.is_empty() {
        *stream = None;
    }
    let room = bytes_max.saturating_sub(text.len()).min(octets.len());
    text.extend_from_slice(octets.get(..room).unwrap_or_default());
    Ok(room < octets.len())
}

fn is_later(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(name: &str) -> Program {
        Program::find(name, &["/nowhere", "/usr/bin", "/bin"].map(PathBuf::from)).unwrap()
    }

    #[test]
    fn long_input_and_output_pass_at_once() {
        let input = "rule\n".repeat(100_000);
        assert_eq!(program("cat").run(&[], &input).unwrap(), input);
    }

    #[test]
    fn the_environment_is_empty() {
        assert_eq!(program("env").run(&[], "").unwrap(), "");
    }

    #[test]
    fn signals_are_not_blocked() {
        let mut blocked = SigSet::empty();
        blocked.add(nix::sys::signal::Signal::SIGTERM);
        let before = blocked.thread_swap_mask(nix::sys::signal::SigmaskHow::SIG_BLOCK).unwrap();
        let status = program("cat").run(&["/proc/self/status"], "");
        before.thread_set_mask().unwrap();
        assert!(status.unwrap().contains("SigBlk:\t0000000000000000\n"));
    }

    #[test]
    fn one_that_does_not_end_is_killed() {
        let started = Instant::now();
        let hung = program("sleep").run_within(Duration::from_millis(50), &["60"], "");
        assert!(matches!(hung, Err(InstallError::ProgramTimeout { .. })), "{hung:?}");
        // Its input is not taken, its output held open.
        let deaf = program("sleep").run_within(Duration::from_millis(50), &["60"], &"x".repeat(1 << 20));
        assert!(matches!(deaf, Err(InstallError::ProgramTimeout { .. })), "{deaf:?}");
        assert!(started.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn a_look_is_given_up_soon() {
        let hung = program("sleep").look(&["60"]);
        assert!(matches!(hung, Err(InstallError::ProgramTimeout { limit_secs: 1, .. })), "{hung:?}");
    }

    #[test]
    fn what_a_failed_one_said_is_kept_within_bounds() {
        let failed = program("ls").run(&["/nowhere"], &"ignored".repeat(100_000)).unwrap_err();
        assert!(failed.to_string().contains("/nowhere"), "{failed}");
        let long = "/".to_owned() + &"x".repeat(8000);
        let InstallError::ProgramFailed { said, .. } = program("ls").run(&[&long], "").unwrap_err() else {
            panic!("it must fail");
        };
        assert_eq!(said.len(), SAID_BYTES_MAX);
        let endless = program("head").run(&["-c", "3000000", "/dev/zero"], "");
        assert!(matches!(endless, Err(InstallError::ProgramOutputTooLong { .. })));
    }

    #[test]
    fn only_absolute_directories_are_searched() {
        let missing = Program::find("ls", &[PathBuf::from("bin"), PathBuf::from("")]).unwrap_err();
        assert!(matches!(missing, InstallError::ProgramMissing { .. }), "{missing}");
    }
}
