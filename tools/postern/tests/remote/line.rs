//! A serial line of 9600 baud that loses octets, as a real terminal of the kernel.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::openpty;
use std::os::fd::AsFd;

use crate::gateway::Gateway;
use crate::tool::Bench;

/// Of so many octets in each direction one is lost or changed: more than one in every other frame
/// with a part of a configuration.
const BAD_ONE_IN: u32 = 700;

/// Octets a second at 9600 baud, as many as fit a tick.
const TICK: Duration = Duration::from_millis(10);
const OCTETS_PER_TICK: usize = 10;

/// The console's end of the line.
struct Console {
    stop: Arc<AtomicBool>,
    bad: Arc<AtomicU32>,
    thread: Option<std::thread::JoinHandle<()>>,
    path: String,
    /// Kept open, so that the line stays when the tool closes it.
    _slave: File,
}

impl Console {
    fn start(gateway: Gateway, user: u32) -> Self {
        let pty = openpty(None, None).unwrap();
        let (master, slave) = (File::from(pty.master), File::from(pty.slave));
        let path = std::fs::read_link(format!("/proc/self/fd/{}", slave.as_raw_fd())).unwrap();
        let (stop, bad) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
        let (stopped, counted) = (stop.clone(), bad.clone());
        let thread = std::thread::spawn(move || relay(master, &gateway, user, &stopped, &counted));
        let path = path.into_os_string().into_string().unwrap();
        Self { stop, bad, thread: Some(thread), path, _slave: slave }
    }

    fn target(&self) -> String {
        format!("serial:{}@9600", self.path)
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(std::thread::JoinHandle::join);
    }
}

/// What happens to the octets of one direction.
#[derive(Default)]
struct Luck(u32);

impl Luck {
    fn befalls(&mut self, octets: &[u8], bad: &AtomicU32) -> Vec<u8> {
        let mut arrived = Vec::new();
        for &octet in octets {
            self.0 += 1;
            if self.0 % BAD_ONE_IN == 0 {
                bad.fetch_add(1, Ordering::Relaxed);
                if self.0 % (2 * BAD_ONE_IN) == 0 {
                    arrived.push(octet ^ 0x10);
                }
            } else {
                arrived.push(octet);
            }
        }
        arrived
    }
}

/// Moves octets at the speed of the line, and loses some.
fn relay(mut master: File, gateway: &Gateway, user: u32, stop: &AtomicBool, bad: &AtomicU32) {
    let mut session = gateway.state().connect(user);
    let (mut inward, mut outward) = (Luck::default(), Luck::default());
    let mut leaving: Vec<u8> = b"\r\npump-station-17 login: ".to_vec();
    while !stop.load(Ordering::Relaxed) {
        let mut fds = [PollFd::new(master.as_fd(), PollFlags::POLLIN)];
        if poll(&mut fds, PollTimeout::from(0_u8)) == Ok(1) {
            let mut octets = [0; OCTETS_PER_TICK];
            let Ok(count) = master.read(&mut octets) else { return };
            let arrived = inward.befalls(&octets[..count], bad);
            let answers = gateway.state().take(&mut session, &arrived);
            leaving.extend(answers);
        }
        let now: Vec<u8> = leaving.drain(..leaving.len().min(OCTETS_PER_TICK)).collect();
        if !now.is_empty() && master.write_all(&outward.befalls(&now, bad)).is_err() {
            return;
        }
        std::thread::sleep(TICK);
    }
}

#[test]
fn a_slow_line_that_loses_octets_brings_a_whole_configuration() {
    let bench = Bench::configured(1000);
    let console = Console::start(bench.gateway.clone(), 1000);
    let target = console.target();
    let at = ["--to", &target, "--account", "maria", "--password-file", "password", "--progress"];
    let (_, said) = bench.expect(&[&at[..], &["config", "set", "door.ssh.open_for=45s"]].concat(), 0);
    assert!(said.contains("octets"), "progress is shown: {said:?}");
    assert_eq!(bench.gateway.state().configuration.site().doors[0].open_for_secs, 45);
    let (printed, _) = bench.expect(&[&at[..], &["config", "get"]].concat(), 0);
    assert!(printed.contains("open_for = \"45s\""), "{printed}");
    assert!(console.bad.load(Ordering::Relaxed) > 0, "octets were lost or changed");
}

#[test]
fn a_line_belongs_to_one_program() {
    use nix::fcntl::{Flock, FlockArg};
    let bench = Bench::configured(1000);
    let console = Console::start(bench.gateway.clone(), 1000);
    let line = File::options().read(true).write(true).open(&console.path).unwrap();
    let _held = Flock::lock(line, FlockArg::LockExclusiveNonblock).unwrap();
    let (_, said) = bench.expect(&["--to", &console.target(), "status"], 4);
    assert!(said.contains("another program"), "{said}");
    bench.expect(&["--to", &format!("serial:{}@1234", console.path), "status"], 2);
    bench.expect(&["--to", "serial:/dev/null", "status"], 4);
}
