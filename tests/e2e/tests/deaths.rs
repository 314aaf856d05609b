//! The daemon dies at any moment of its life: nothing opens, nothing stays open, and the next one works.
//!
//! Moments are the beginning and the end of every effect (what reaches the kernel's packet filter, the
//! medium, the log, a program, or the confinement) and of system calls picked at random, in the start
//! and from the knock to the end of its grant. A test run takes a few of them; `POSTERN_DEATHS=300`
//! takes every boundary of an effect and that many random calls of each part.

use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::libc;
use postern_e2e::frame::{Link, Payload, frame};
use postern_e2e::knock::Knocker;
use postern_e2e::probe;
use postern_e2e::process::{DEADLINE, wait_until};
use postern_e2e::scene::MIXED;
use postern_e2e::sender::{Flood, FrameSender};
use postern_e2e::tracer::{Call, Next};
use postern_e2e::watch::Witness;
use postern_e2e::{Backend, Scene, Site, Tracer, both_back_ends};
use postern_hal_linux::firewall::{
    FirewallOptions, IptablesFirewall, IptablesVariant, Member, NftablesFirewall,
};

both_back_ends!(it_dies_at_any_moment_and_nothing_opens);

/// Time a grant has here.
const OPEN_FOR: Duration = Duration::from_secs(1);

/// Random calls of each part, and boundaries of effects of each part, in a test run.
const FEW: usize = 12;

/// What is seen from outside, or cannot be taken back.
const EFFECTS: [i64; 22] = [
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_pwrite64,
    libc::SYS_fdatasync,
    libc::SYS_fsync,
    libc::SYS_clone,
    libc::SYS_clone3,
    libc::SYS_wait4,
    libc::SYS_waitid,
    libc::SYS_setsockopt,
    libc::SYS_bind,
    libc::SYS_prctl,
    libc::SYS_capset,
    libc::SYS_setgroups,
    libc::SYS_prlimit64,
    libc::SYS_seccomp,
    libc::SYS_flock,
    libc::SYS_fcntl,
    libc::SYS_mmap,
    libc::SYS_recvfrom,
];

/// A part of its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// From its first step until it waits.
    Start,
    /// From the first knock until the grant's end is noted.
    Grant,
}

struct Campaign {
    scene: Scene,
    backend: Backend,
    /// Sources that knocked at a daemon that died, and when it was dead.
    dead: Vec<(IpAddr, Instant)>,
    rounds: u16,
}

fn it_dies_at_any_moment_and_nothing_opens(backend: Backend) {
    let many: Option<usize> = std::env::var("POSTERN_DEATHS").ok().map(|number| number.parse().unwrap());
    let open_for = format!("{}s", OPEN_FOR.as_secs());
    let scene = Scene::with_door(Site::new(backend), &MIXED, &open_for).unwrap();
    let witness = Witness::start_with(&scene.stranger, &scene.gateway, "and tcp src port 22").unwrap();
    let flood = stranger_tries(&scene);
    let mut campaign = Campaign { scene, backend, dead: Vec::new(), rounds: 0 };
    for part in [Part::Start, Part::Grant] {
        let life = campaign.whole(part);
        let boundaries: Vec<u64> =
            (0..).zip(&life).filter(|(_, call)| is_effect(**call)).map(|(at, _)| at).collect();
        assert!(boundaries.len() > 10 && life.len() > boundaries.len(), "{part:?}: {life:?}");
        let wanted = many.unwrap_or(FEW);
        let step = if many.is_some() { 1 } else { boundaries.len().div_ceil(FEW) };
        // Another first one for each back end and run would hide what fails; these are the same always.
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let random = (0..wanted).map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % life.len() as u64
        });
        let moments: Vec<u64> = boundaries.iter().copied().step_by(step).chain(random).collect();
        println!(
            "{backend}, {part:?}: {} calls' ends, {} of effects; dies at {} of them",
            life.len(),
            boundaries.len(),
            moments.len()
        );
        for at in moments {
            campaign.dies(part, at);
        }
    }
    // The last ones are over, too.
    std::thread::sleep(OPEN_FOR + Duration::from_secs(1));
    campaign.expect_nothing_stays();
    println!("{backend}: {} deaths", campaign.rounds);
    assert!(flood.stop().unwrap() > 1000, "the stranger did not really try");
    witness.expect_silence().unwrap();
}

fn is_effect(call: Call) -> bool {
    EFFECTS.contains(&call.number)
}

impl Campaign {
    /// All calls of a part.
    fn whole(&mut self, part: Part) -> Vec<Call> {
        let calls = Arc::new(Mutex::new(Vec::new()));
        let seen = calls.clone();
        self.live(part, move |_, call| {
            seen.lock().unwrap().push(call);
            Next::Go
        });
        assert!(self.scene.gate.terminate().unwrap().success());
        let calls = calls.lock().unwrap();
        calls.clone()
    }

    /// One life that ends at the `at`-th beginning or end of a call of the part; then the next one must
    /// work.
    fn dies(&mut self, part: Part, at: u64) {
        self.live(part, move |number, _| if number == at { Next::Kill } else { Next::Go });
        // It may have had fewer calls this time.
        let _ = self.scene.gate.daemon().signal(nix::sys::signal::Signal::SIGKILL);
        self.scene.gate.daemon().wait_for_end().unwrap();
        self.dead.push((self.source(), Instant::now()));
        self.rounds += 1;
        self.expect_nothing_stays();
        self.scene.gate.restart().unwrap();
        self.expect_work(&format!("after a death at call {at} of {part:?}"));
        self.expect_nothing_stays();
        assert!(self.scene.gate.terminate().unwrap().success());
    }

    /// Who knocks in this round: nobody who answers, and nobody who ever knocks again.
    fn source(&self) -> IpAddr {
        let [high, low] = self.rounds.to_be_bytes();
        [198, 19, 128 + high, low].into()
    }

    /// Lets the part happen while `judge` watches.
    fn live(&mut self, part: Part, judge: impl FnMut(u64, Call) -> Next + Send + 'static) {
        let gate = &mut self.scene.gate;
        if part == Part::Start {
            // The last one ended a line ago; this one stands still.
            let _ = gate.daemon().signal(nix::sys::signal::Signal::SIGKILL);
            gate.daemon().wait_for_end().unwrap();
            gate.relaunch_held().unwrap();
        } else {
            let _ = gate.daemon().signal(nix::sys::signal::Signal::SIGKILL);
            gate.daemon().wait_for_end().unwrap();
            gate.restart().unwrap();
            gate.wait_for_log("CONFINE state=on", 0).unwrap();
        }
        let tracer = Tracer::hold(self.scene.gate.daemon().pid(), judge).unwrap();
        let last = match part {
            Part::Start => "CONFINE state=on",
            Part::Grant => {
                let knocker = Knocker::new(&self.scene.client, &self.scene.gateway).unwrap();
                let target = self.scene.gateway.v4.into();
                knocker.sequence(self.source(), target, &MIXED, Duration::from_millis(2)).unwrap();
                "EXPIRE"
            }
        };
        let gate = &self.scene.gate;
        wait_until("its death, or the end of this part of its life", || {
            (tracer.is_over() || !gate.log_with(last).is_empty()).then_some(())
        })
        .unwrap();
        let calls = tracer.calls();
        tracer.leave().unwrap();
        assert!(calls > 0, "nothing was watched");
    }

    /// Nothing in the kernel has more time than a grant has, or none to end it; and what a dead daemon
    /// let in is over when its time and a second are.
    fn expect_nothing_stays(&self) {
        let looked_at = Instant::now();
        let members = self.members();
        let longest = u32::try_from(OPEN_FOR.as_secs()).unwrap();
        for member in members {
            let left = member.remaining_secs.unwrap_or_else(|| panic!("{member:?} has no end"));
            assert!(left <= longest, "{member:?} has more time than any grant");
            let over = |at: &Instant| looked_at.duration_since(*at) > OPEN_FOR + Duration::from_secs(1);
            let late = self.dead.iter().find(|(source, at)| member.source.contains(*source) && over(at));
            assert!(late.is_none(), "{member:?} outlives the daemon that made it");
        }
    }

    fn members(&self) -> Vec<Member> {
        let backend = self.backend;
        let listed = self.scene.gateway.namespace.enter(|| match backend {
            Backend::Iptables => {
                IptablesFirewall::new(FirewallOptions::default(), IptablesVariant::default())?.grants()
            }
            Backend::Nftables => NftablesFirewall::new(FirewallOptions::default())?.grants(),
        });
        listed.unwrap()
    }

    fn expect_work(&mut self, when: &str) {
        let granted = format!("GRANT src={}", self.scene.client.v4);
        let started = Instant::now();
        loop {
            self.scene.knock(&MIXED).unwrap();
            let answer = probe::connect(&self.scene.client.namespace, None, self.scene.ssh(), probe::SILENCE);
            if answer.unwrap().is_open() && !self.scene.gate.log_with(&granted).is_empty() {
                return;
            }
            assert!(started.elapsed() < DEADLINE, "{when} an honest knock does not open");
        }
    }
}

/// Somebody who never knocked tries the door all the time: if it ever opens, the service's answer is
/// seen by a witness.
fn stranger_tries(scene: &Scene) -> Flood {
    let sender = FrameSender::open(&scene.stranger.namespace, "eth0").unwrap();
    let link = Link { source: scene.stranger.mac, target: scene.gateway.mac, tags: Vec::new() };
    let (source, target): (IpAddr, IpAddr) = (scene.stranger.v4.into(), scene.gateway.v4.into());
    Flood::start(sender, 500, u64::MAX, move |number| {
        let source_port = u16::try_from(1024 + number % 60_000).unwrap_or(1024);
        frame(&link, source, target, source_port, Payload::syn(22))
    })
}
