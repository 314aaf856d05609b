//! How much work a login is, counted in instructions of the processor and not in time: a name that exists and
//! one that does not cost the same, and so do a password that is nearly right and one that is not.
//!
//! The test runs itself once more and steps that process, instruction by instruction (ptrace(2)), from one
//! signal to the next.

use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};

use nix::sys::ptrace;
use nix::sys::signal::{Signal, raise};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, gettid};
use postern_console::rpc::Call;
use postern_console::rpc::request::Request;
use postern_core::rule::Name;
use posternd::control::{Peer, Session};
use sha2::{Digest, Sha256};

use crate::changes::commissioned;
use crate::world::CONSOLE;

/// Set in the process that is counted.
const COUNTED: &str = "POSTERN_COUNT_LOGIN";

/// Between two of these is what is counted.
const MARK: Signal = Signal::SIGUSR1;

/// The test may run in a thread of its own.
const ANY_THREAD: Option<WaitPidFlag> = Some(WaitPidFlag::__WALL);

/// Who logs in, and with what proof.
const LOGINS: [(&str, [u8; 32]); 3] = [("maria", [7; 32]), ("maria", [0x5a; 32]), ("nobod", [7; 32])];

fn counted() {
    let (mut world, _root) = commissioned();
    let mut session = Session::new(Peer { number: 99, user: CONSOLE });
    println!("counted {}", gettid());
    std::io::stdout().flush().unwrap();
    std::io::stdin().read_exact(&mut [0]).unwrap();
    // What is made once is made before it is counted.
    for (count, (name, proof)) in LOGINS.iter().chain(&LOGINS).enumerate() {
        let login = Request::Login { name: Name::try_from(*name).unwrap(), client_nonce: [7; 16] };
        for (number, request) in [(1, login), (2, Request::Proof { proof: *proof })] {
            let call = Ok(Call { number, request });
            let (configuration, machine) = (&mut world.configuration, &mut world.machine);
            let marked = count >= LOGINS.len();
            marked.then(|| raise(MARK).unwrap());
            world.desk.handle(&mut session, call, configuration, machine, world.now);
            marked.then(|| raise(MARK).unwrap());
        }
        world.pass(6000);
        assert_eq!(world.machine.audit(world.now), ["CONSOLE-FAIL"]);
    }
    raise(MARK).unwrap();
    std::hint::black_box(Sha256::digest(std::hint::black_box([7_u8; 32])));
    raise(MARK).unwrap();
}

/// Goes on until the next mark, in steps or in one go; how many steps that was.
fn to_mark(pid: Pid, steps: bool) -> u64 {
    let mut taken = 0;
    loop {
        let go = if steps { ptrace::step(pid, None) } else { ptrace::cont(pid, None) };
        go.unwrap();
        match waitpid(pid, ANY_THREAD).unwrap() {
            WaitStatus::Stopped(_, MARK) => return taken,
            WaitStatus::Stopped(_, Signal::SIGTRAP) => taken += 1,
            other => panic!("{other:?}"),
        }
    }
}

/// The process that is counted, and its thread.
fn start() -> (Child, Pid) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "work::no_name_is_told_from_another_by_its_work", "--nocapture"]);
    command.args(["--test-threads", "1"]).env(COUNTED, "1").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut said = String::new();
    let mut octet = [0];
    let out = child.stdout.as_mut().unwrap();
    let pid = loop {
        out.read_exact(&mut octet).unwrap();
        said.push(char::from(octet[0]));
        if let Some((_, number)) = said.strip_suffix('\n').and_then(|said| said.rsplit_once("counted ")) {
            break number.parse().unwrap();
        }
    };
    (child, Pid::from_raw(pid))
}

#[test]
fn no_name_is_told_from_another_by_its_work() {
    if std::env::var_os(COUNTED).is_some() {
        return counted();
    }
    let (mut child, thread) = start();
    ptrace::seize(thread, ptrace::Options::PTRACE_O_EXITKILL).unwrap();
    child.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    waitpid(thread, ANY_THREAD).unwrap();
    let next = || {
        let steps = to_mark(thread, true);
        to_mark(thread, false);
        steps
    };
    let counts = LOGINS.map(|_| [next(), next()]);
    let digest = to_mark(thread, true);
    ptrace::detach(thread, None).unwrap();
    drop(child.stdin.take());
    assert!(child.wait_with_output().unwrap().status.success());
    println!("instructions of challenge and refusal: {counts:?}; of a digest: {digest}");
    for (what, counts) in
        ["challenge", "refusal"].iter().zip([counts.map(|of| of[0]), counts.map(|of| of[1])])
    {
        let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
        // Two made-up answers, and three signatures: what they cost is counted, and not lost in the rest.
        assert!(*least > 2 * digest, "{what}: {counts:?}, of a digest {digest}");
        assert!(most - least < digest / 4, "{what} tells something: {counts:?}, of a digest {digest}");
    }
}
