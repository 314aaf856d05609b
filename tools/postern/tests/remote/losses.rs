//! Each frame of each command lost, damaged or cut once, and the command comes to the same.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use clap::Parser;
use postern::remote::answer::Answer;
use postern::remote::failure::Failure;
use postern::remote::link::{Link, Nature};
use postern::remote::{Command, Connection, execute_over};
use posternd::control::Session;

use crate::gateway::Gateway;
use crate::tool::Bench;

/// What happens to one frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    CallLost,
    CallDamaged,
    CallCut,
    AnswerLost,
    AnswerDamaged,
    AnswerCut,
    AnswerTwice,
}

const FAULTS: [Fault; 7] = [
    Fault::CallLost,
    Fault::CallDamaged,
    Fault::CallCut,
    Fault::AnswerLost,
    Fault::AnswerDamaged,
    Fault::AnswerCut,
    Fault::AnswerTwice,
];

/// A line on which one frame has bad luck.
struct BadLine {
    gateway: Gateway,
    session: Session,
    arriving: VecDeque<u8>,
    sent: Rc<RefCell<usize>>,
    unlucky: Option<(usize, Fault)>,
}

impl Link for BadLine {
    fn send(&mut self, octets: &[u8]) -> io::Result<()> {
        let number = *self.sent.borrow();
        *self.sent.borrow_mut() += 1;
        let fault = self.unlucky.filter(|(unlucky, _)| *unlucky == number).map(|(_, fault)| fault);
        let mut call = octets.to_vec();
        match fault {
            Some(Fault::CallLost) => return Ok(()),
            Some(Fault::CallDamaged) => call[octets.len() / 2] ^= 0x41,
            Some(Fault::CallCut) => drop(call.remove(octets.len() / 2)),
            _ => {}
        }
        let mut answer = self.gateway.state().take(&mut self.session, &call);
        match fault {
            Some(Fault::AnswerLost) => answer.clear(),
            Some(Fault::AnswerDamaged) => {
                let middle = answer.len() / 2;
                answer[middle] ^= 0x41;
            }
            Some(Fault::AnswerCut) => drop(answer.remove(answer.len() / 2)),
            Some(Fault::AnswerTwice) => answer.extend(answer.clone()),
            _ => {}
        }
        self.arriving.extend(answer);
        Ok(())
    }

    fn receive(&mut self, buffer: &mut [u8], _patience: Duration) -> io::Result<usize> {
        if self.arriving.is_empty() {
            // Nothing is slow here: what has not come by now does not come.
            return Err(io::ErrorKind::TimedOut.into());
        }
        let count = buffer.len().min(self.arriving.len());
        for (place, octet) in buffer.iter_mut().zip(self.arriving.drain(..count)) {
            *place = octet;
        }
        Ok(count)
    }

    fn nature(&self) -> Nature {
        Nature { lossy: true, octets_per_sec: None }
    }
}

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    connection: Connection,
    #[command(subcommand)]
    command: Command,
}

/// A gateway with the site in force, and a command for it.
struct Case {
    arguments: &'static str,
    user: u32,
    before: &'static [&'static str],
}

/// Carries words out; returns what they came to and how many frames were sent.
fn say(
    bench: &Bench,
    words: &str,
    user: u32,
    unlucky: Option<(usize, Fault)>,
) -> (Result<Answer, Failure>, usize) {
    let words = words.replace('@', &format!("{}/", bench.path("").display()));
    let line = Line::try_parse_from(std::iter::once("postern").chain(words.split(' '))).unwrap();
    let sent = Rc::new(RefCell::new(0));
    let session = bench.gateway.state().connect(user);
    let gateway = bench.gateway.clone();
    let link = BadLine { gateway, session, arriving: VecDeque::new(), sent: sent.clone(), unlucky };
    let outcome = execute_over(Box::new(link), &line.connection, &line.command);
    let sent = *sent.borrow();
    (outcome, sent)
}

/// Carries the command out on a fresh gateway; returns what it came to, what the gateway runs, and
/// how many frames were sent.
fn carry_out(case: &Case, unlucky: Option<(usize, Fault)>) -> (Result<Answer, Failure>, String, usize) {
    let bench = Bench::configured(case.user);
    for before in case.before {
        say(&bench, before, 0, None).0.unwrap();
    }
    let (outcome, sent) = say(&bench, case.arguments, case.user, unlucky);
    let state = bench.gateway.state();
    let mut site = state.configuration.site().clone();
    // Salts are random.
    site.accounts.iter_mut().for_each(|account| account.salt = [0; 16]);
    let accounts: Vec<_> = site.accounts.iter().map(|account| (account.name.clone(), account.role)).collect();
    site.accounts.clear();
    let runs = format!("{site:?} {accounts:?} {:?}", state.configuration.trial(state.now));
    (outcome, runs, sent)
}

fn generation(outcome: &Result<Answer, Failure>) -> Option<u64> {
    outcome.as_ref().ok()?.fields.get("generation")?.as_u64()
}

#[track_caller]
fn survives(case: &Case) {
    let (outcome, runs, frames) = carry_out(case, None);
    let answer = outcome.clone().unwrap_or_else(|failure| panic!("{}: {failure}", case.arguments));
    for number in 0..frames {
        for fault in FAULTS {
            let (found, found_runs, _) = carry_out(case, Some((number, fault)));
            let at = format!("{}: frame {number} of {frames}, {fault:?}", case.arguments);
            let found_answer = found.clone().unwrap_or_else(|failure| panic!("{at}: {failure}"));
            assert_eq!(found_runs, runs, "{at}");
            assert_eq!(generation(&found), generation(&outcome), "{at}");
            assert_eq!(found_answer.exit_status, answer.exit_status, "{at}");
        }
    }
}

#[test]
fn apply_with_a_login() {
    survives(&Case {
        arguments: "--account maria --password-file @password config set door.ssh.open_for=41s",
        user: 1000,
        before: &[],
    });
}

#[test]
fn apply_on_trial() {
    survives(&Case { arguments: "config set door.ssh.open_for=41s --confirm 10m", user: 0, before: &[] });
}

#[test]
fn confirm() {
    let before = &["config set door.ssh.open_for=41s --confirm 10m"];
    survives(&Case { arguments: "config confirm", user: 0, before });
}

#[test]
fn cancel() {
    let before = &["config set door.ssh.open_for=41s --confirm 10m"];
    survives(&Case { arguments: "config cancel", user: 0, before });
}

#[test]
fn rollback() {
    let before = &["config set door.ssh.open_for=41s"];
    survives(&Case { arguments: "config rollback 1", user: 0, before });
}

#[test]
fn looks() {
    for arguments in ["status", "doors", "config get", "history", "config diff @site.toml"] {
        survives(&Case { arguments, user: 0, before: &[] });
    }
}

#[test]
fn wipe() {
    survives(&Case { arguments: "wipe --device 5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a", user: 0, before: &[] });
}

#[test]
fn a_dead_line_is_named() {
    let case = Case { arguments: "status", user: 0, before: &[] };
    let bench = Bench::configured(case.user);
    struct Dead;
    impl Link for Dead {
        fn send(&mut self, _: &[u8]) -> io::Result<()> {
            Ok(())
        }
        fn receive(&mut self, _: &mut [u8], _: Duration) -> io::Result<usize> {
            Err(io::ErrorKind::TimedOut.into())
        }
        fn nature(&self) -> Nature {
            Nature::serial(9600)
        }
    }
    let line = Line::try_parse_from(["postern", "status"]).unwrap();
    let failure = execute_over(Box::new(Dead), &line.connection, &line.command).unwrap_err();
    assert_eq!(failure.exit_status(), 4);
    assert!(failure.to_string().contains("speed"), "{failure}");
    drop(bench);
}
