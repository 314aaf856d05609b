//! Whatever happens around the daemon, an honest knock works again soon after, and nobody else gets in.
//!
//! A test run does each once. `POSTERN_RECOVERY=8` does each so many times and writes the times into
//! `RECOVERY.md` beside the sources.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::Signal;
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use postern_console::rpc::request::Standing;
use postern_e2e::knock::Knocker;
use postern_e2e::probe::{self, Session};
use postern_e2e::process::{DEADLINE, success, wait_until};
use postern_e2e::scene::{MIXED, SSH};
use postern_e2e::tracer::Next;
use postern_e2e::{Backend, Control, DoorText, Gate, Lab, Listener, Scene, Site, Tracer, both_back_ends};
use postern_hal_linux::firewall::{FirewallOptions, IptablesFirewall, IptablesVariant, NftablesFirewall};

both_back_ends!(
    faults_of_the_process,
    faults_of_the_link,
    faults_of_a_link_without_a_link_layer,
    faults_of_the_firewall,
    faults_of_limits,
    faults_of_the_log,
    faults_of_the_store,
    a_clock_a_year_ahead,
);

/// Time a grant has here.
const OPEN_FOR: &str = "60s";
const OPEN_FOR_SECS: u32 = 60;

/// Every how often the client knocks until it is heard.
const KNOCK_EVERY: Duration = Duration::from_millis(10);

/// What was measured, by fault and back end. Written once more after every fault.
static TIMES: Mutex<BTreeMap<(String, &str), Vec<Duration>>> = Mutex::new(BTreeMap::new());

fn rounds() -> usize {
    std::env::var("POSTERN_RECOVERY").map_or(1, |rounds| rounds.parse().unwrap())
}

fn scene(backend: Backend) -> Scene {
    Scene::with_door(Site::new(backend), &MIXED, OPEN_FOR).unwrap()
}

/// Lets `strike` happen, which returns when what was broken is whole again as far as others are to
/// mend it, and measures how long an honest knock takes from then on to be heard and granted.
fn recovers(backend: Backend, scene: &mut Scene, fault: &str, mut strike: impl FnMut(&mut Scene) -> Instant) {
    for _ in 0..rounds() {
        let (pid, mark) = (scene.gate.daemon().pid(), scene.gate.log_mark());
        let whole = strike(scene);
        // A new process has a log of its own.
        let mark = if scene.gate.daemon().pid() == pid { mark } else { 0 };
        let took = knock_until_granted(scene, whole, mark);
        note(fault, backend, took);
        scene.expect_client_in(scene.ssh()).unwrap();
        expect_nobody_else(scene);
        expect_ends(backend, scene);
    }
}

fn knock_until_granted(scene: &Scene, whole: Instant, mark: usize) -> Duration {
    let knocker = Knocker::new(&scene.client, &scene.gateway).unwrap();
    let (source, target): (IpAddr, IpAddr) = (scene.client.v4.into(), scene.gateway.v4.into());
    let granted = format!("GRANT src={source}");
    let heard = || {
        let lines = scene.gate.log_since(mark);
        lines.iter().any(|line| postern_e2e::process::holds(line, &granted))
    };
    while !heard() {
        assert!(whole.elapsed() < DEADLINE, "an honest knock is not heard any more");
        knocker.sequence(source, target, &MIXED, Duration::from_millis(1)).unwrap();
        std::thread::sleep(KNOCK_EVERY);
    }
    whole.elapsed()
}

fn expect_nobody_else(scene: &Scene) {
    for target in scene.ssh_both() {
        scene.expect_stranger_out(target).unwrap();
    }
}

/// Everything the kernel holds open ends, and no later than a grant does.
fn expect_ends(backend: Backend, scene: &Scene) {
    let members = scene.gateway.namespace.enter(|| match backend {
        Backend::Iptables => {
            IptablesFirewall::new(FirewallOptions::default(), IptablesVariant::default())?.grants()
        }
        Backend::Nftables => NftablesFirewall::new(FirewallOptions::default())?.grants(),
    });
    let members = members.unwrap();
    assert!(!members.is_empty(), "the client was let in");
    for member in members {
        assert!(member.remaining_secs.is_some_and(|secs| secs <= OPEN_FOR_SECS), "{member:?}");
    }
}

fn note(fault: &str, backend: Backend, took: Duration) {
    println!("{backend}, {fault}: {} ms", took.as_millis());
    let mut times = TIMES.lock().unwrap();
    times.entry((fault.to_owned(), backend.name())).or_default().push(took);
    if rounds() > 1 {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("RECOVERY.md");
        std::fs::write(path, table(&times)).unwrap();
    }
}

fn table(times: &BTreeMap<(String, &str), Vec<Duration>>) -> String {
    let mut text = "# Recovery\n\n\
         How long after a fault an honest knock is granted again, on both back ends, in network namespaces on a machine that\n\
         has other work, too: from the moment at which everything is mended that others have to mend (the link is up again,\n\
         the process was started again) to the record of the grant. The client knocks every 15 ms, which is in each time. In\n\
         the rows of the packet filter the clock starts with the attack, and it is the time until the gate is right again.\n\
         After each fault the client got in, nobody else did, and everything the kernel held open had its end.\n\n\
         Made by `POSTERN_RECOVERY=8 cargo test -p postern-e2e --test recovery -- --test-threads=1` (as root).\n\n\
         | fault | back end | times | median ms | longest ms |\n| --- | --- | --- | --- | --- |\n"
        .to_owned();
    for ((fault, backend), times) in times {
        let mut times = times.clone();
        times.sort_unstable();
        let (median, longest) = (times[times.len() / 2], times[times.len() - 1]);
        let _ = writeln!(
            text,
            "| {fault} | {backend} | {} | {} | {} |",
            times.len(),
            median.as_millis(),
            longest.as_millis()
        );
    }
    text
}

fn faults_of_the_process(backend: Backend) {
    let mut scene = scene(backend);
    recovers(backend, &mut scene, "process: SIGKILL, started again at once", |scene| {
        // One that lasted: otherwise the third start is in safe mode, as it should be.
        assert!(scene.gate.terminate().unwrap().success());
        scene.gate.restart().unwrap();
        scene.gate.kill().unwrap();
        let started = Instant::now();
        scene.gate.relaunch().unwrap();
        started
    });
    recovers(backend, &mut scene, "process: SIGSTOP for 1 s, then SIGCONT", |scene| {
        scene.gate.daemon().signal(Signal::SIGSTOP).unwrap();
        std::thread::sleep(Duration::from_secs(1));
        scene.gate.daemon().signal(Signal::SIGCONT).unwrap();
        Instant::now()
    });
}

fn faults_of_the_link(backend: Backend) {
    let mut scene = scene(backend);
    recovers(backend, &mut scene, "link: deleted and made anew", |scene| {
        scene.gateway.namespace.ip("link del eth0").unwrap();
        scene.lab.replug(&scene.gateway).unwrap();
        Instant::now()
    });
    let (v4, v6) = (scene.gateway.v4, scene.gateway.v6);
    recovers(backend, &mut scene, "link: renamed away and back", |scene| {
        for (from, to) in [("eth0", "away0"), ("away0", "eth0")] {
            scene.gateway.namespace.ip(&format!("link set {from} down")).unwrap();
            scene.gateway.namespace.ip(&format!("link set {from} name {to}")).unwrap();
            scene.gateway.namespace.ip(&format!("link set {to} up")).unwrap();
        }
        readdress(scene, (v4, v6));
        Instant::now()
    });
    recovers(backend, &mut scene, "link: down and up, five times", |scene| {
        for _ in 0..5 {
            scene.gateway.namespace.ip("link set eth0 down").unwrap();
            scene.gateway.namespace.ip("link set eth0 up").unwrap();
        }
        readdress(scene, (v4, v6));
        Instant::now()
    });
    recovers(backend, &mut scene, "link: other addresses", |scene| {
        let [.., last] = scene.gateway.v4.octets();
        let other = [198, 18, 0, if last < 100 { last + 100 } else { last - 100 }].into();
        scene.gateway.namespace.ip("addr flush dev eth0").unwrap();
        scene.gateway.v4 = other;
        readdress(scene, (other, v6));
        Instant::now()
    });
}

/// Addresses, and neighbours for good in both directions: what they say of each other goes down with
/// the link.
fn readdress(scene: &Scene, (v4, v6): (std::net::Ipv4Addr, std::net::Ipv6Addr)) {
    let mac = scene.gateway.mac;
    let mut own = format!("addr replace {v4}/16 dev eth0\naddr replace {v6}/64 dev eth0 nodad\n");
    for host in [&scene.client, &scene.stranger] {
        for address in host.addresses() {
            let _ = writeln!(own, "neigh replace {address} lladdr {} dev eth0 nud permanent", host.mac);
        }
        let known = format!(
            "neigh replace {v4} lladdr {mac} dev eth0 nud permanent\nneigh replace {v6} lladdr {mac} dev eth0 nud permanent\n"
        );
        host.namespace.ip_batch(&known).unwrap();
    }
    scene.gateway.namespace.ip_batch(&own).unwrap();
}

/// A modem that shows raw IP, is unplugged, and comes back.
fn faults_of_a_link_without_a_link_layer(backend: Backend) {
    let lab = Lab::new().unwrap();
    let gateway = lab.host("gateway").unwrap();
    let client = lab.host("client").unwrap();
    let _listener = Listener::start(&gateway.namespace, &[SSH]).unwrap();
    let tcp = postern_e2e::scene::TCP;
    let site = Site::new(backend).interfaces(&["wwan0"]).door(DoorText::new("ssh", &["tcp/22"], &tcp));
    let mut link = Some(lab.raw_ip_link(&gateway, &client, "wwan0").unwrap());
    let mut gate = Gate::start(&lab, &gateway.namespace, &site).unwrap();
    for _ in 0..rounds() {
        let mark = gate.log_mark();
        drop(link.take());
        gate.wait_for_log("CAP-LOST", mark).unwrap();
        let made = lab.raw_ip_link(&gateway, &client, "wwan0").unwrap();
        let whole = Instant::now();
        let address: IpAddr = made.0[0].into();
        link = Some(made);
        let heard =
            || gate.log_since(mark).iter().any(|line| postern_e2e::process::holds(line, "GRANT door=ssh"));
        while !heard() {
            assert!(whole.elapsed() < DEADLINE, "an honest knock is not heard any more");
            postern_e2e::knock::stock(&client.namespace, address, &tcp).unwrap();
        }
        note("link: raw IP (tun), unplugged and back", backend, whole.elapsed());
        Session::get_in(&client.namespace, None, SocketAddr::new(address, SSH)).unwrap();
    }
}

fn faults_of_the_firewall(backend: Backend) {
    let mut scene = scene(backend);
    let attacks: &[(&str, &[&str])] = match backend {
        Backend::Iptables => &[
            ("packet filter: own chains flushed", &["iptables -F", "ip6tables -F"]),
            (
                "packet filter: sets destroyed",
                &["iptables -F", "ip6tables -F", "iptables -X", "ip6tables -X", "ipset destroy"],
            ),
            (
                "packet filter: a rule inserted above",
                &[
                    "iptables -I INPUT -p tcp --dport 22 -j ACCEPT",
                    "ip6tables -I INPUT -p tcp --dport 22 -j ACCEPT",
                ],
            ),
        ],
        Backend::Nftables => &[
            ("packet filter: own chains flushed", &["nft flush table inet postern"]),
            (
                "packet filter: sets destroyed",
                &["nft flush table inet postern", "nft delete set inet postern granted4"],
            ),
            (
                "packet filter: a rule inserted above",
                &["nft insert rule inet postern input tcp dport 22 accept"],
            ),
        ],
    };
    for (fault, commands) in attacks {
        for _ in 0..rounds() {
            let mark = scene.gate.log_mark();
            let struck = Instant::now();
            for words in *commands {
                let words: Vec<&str> = words.split_whitespace().collect();
                // The daemon may have put right already what the next one would break.
                let _ = scene.gateway.namespace.output(words[0], &words[1..]).unwrap();
            }
            scene.gate.wait_for_log("FW-DRIFT repaired=true", mark).unwrap();
            note(fault, backend, struck.elapsed());
            // What came after the repair is repaired, too.
            wait_until("the stranger to be out for good", || scene.expect_stranger_out(scene.ssh()).ok())
                .unwrap();
            expect_nobody_else(&scene);
            knock_until_granted(&scene, Instant::now(), mark);
            scene.expect_client_in(scene.ssh()).unwrap();
            expect_ends(backend, &scene);
        }
    }
}

/// Not one descriptor and not one page more than it has.
fn faults_of_limits(backend: Backend) {
    let mut scene = scene(backend);
    let limit = |scene: &mut Scene, what: &str| {
        let pid = scene.gate.daemon().pid();
        let mut command = std::process::Command::new(postern_e2e::tool::path("prlimit").unwrap());
        success(command.args(["--pid", &pid.to_string(), what])).unwrap();
    };
    recovers(backend, &mut scene, "limits: no descriptor is free", |scene| {
        let open = std::fs::read_dir(format!("/proc/{}/fd", scene.gate.daemon().pid())).unwrap().count();
        limit(scene, &format!("--nofile={open}:"));
        Instant::now()
    });
    limit(&mut scene, "--nofile=64:");
    recovers(backend, &mut scene, "limits: no page is free", |scene| {
        limit(scene, "--data=0:");
        limit(scene, "--as=0:");
        Instant::now()
    });
}

/// A directory that can stand for `/dev`.
fn devices(scene: &Scene) -> PathBuf {
    let directory = scene.lab.directory().join("dev");
    std::fs::create_dir(&directory).unwrap();
    for (name, minor) in [("null", 3), ("zero", 5), ("urandom", 9)] {
        mknod(&directory.join(name), SFlag::S_IFCHR, Mode::from_bits_truncate(0o666), makedev(1, minor))
            .unwrap();
    }
    directory
}

/// The log is a socket that nobody reads, then none at all, then one that is read again.
fn faults_of_the_log(backend: Backend) {
    let mut scene = scene(backend);
    let devices = devices(&scene);
    let path = devices.join("log");
    let open = |path: &Path| {
        let socket = UnixDatagram::bind(path).unwrap();
        // Longer than the longest pause between two tries of the daemon to reach it.
        socket.set_read_timeout(Some(3 * DEADLINE)).unwrap();
        socket
    };
    let log = RefCell::new(Some(open(&path)));
    scene.gate.restart_with_syslog(&devices).unwrap();
    let hears = |words: &str| loop {
        let mut buffer = [0; 2048];
        let read = log.borrow().as_ref().unwrap().recv(&mut buffer).expect("a record");
        let line = String::from_utf8_lossy(&buffer[..read]).into_owned();
        if words.split(' ').all(|word| line.contains(word)) {
            return line;
        }
    };
    hears("CONFINE");
    for fault in ["log: a syslog socket that nobody reads", "log: no syslog socket"] {
        if fault.contains("no syslog") {
            *log.borrow_mut() = None;
            std::fs::remove_file(&path).unwrap();
        }
        // More records than the socket and the ring together hold, of no more sources than there are
        // places: each asks twice.
        let struck = Instant::now();
        let knocker = Knocker::new(&scene.client, &scene.gateway).unwrap();
        let target = scene.gateway.v4.into();
        for number in (0..600_u16).chain(0..600) {
            let [high, low] = number.to_be_bytes();
            knocker.sequence([198, 19, high, low].into(), target, &MIXED, Duration::ZERO).unwrap();
        }
        // A knock among so many may be lost, as in the field: who is not let in knocks again.
        wait_until("the client to be let in", || {
            scene.knock(&MIXED).unwrap();
            let answer = probe::connect(&scene.client.namespace, None, scene.ssh(), probe::SILENCE);
            answer.unwrap().is_open().then_some(())
        })
        .unwrap();
        println!(
            "{backend}, {fault}: let in {} ms after 1,200 knocks of others",
            struck.elapsed().as_millis()
        );
        scene.expect_stranger_out(scene.ssh()).unwrap();
        if log.borrow().is_none() {
            *log.borrow_mut() = Some(open(&path));
        }
        // Read again, it hears of what was lost.
        hears("LOG-DROP");
    }
    // And it goes on with what happens now.
    let stranger = scene.stranger.v4;
    let knocker = Knocker::new(&scene.stranger, &scene.gateway).unwrap();
    knocker.sequence(stranger.into(), scene.gateway.v4.into(), &MIXED, Duration::ZERO).unwrap();
    hears(&format!("GRANT {stranger}"));
}

/// Every read, write and flush of the config partition fails.
fn faults_of_the_store(backend: Backend) {
    let mut scene = scene(backend);
    let mut peer = Control::connect(&scene.gate.control()).unwrap();
    let site = peer.site().unwrap();
    let mut other = site.clone();
    other.name = "another".try_into().unwrap();
    let broken = |_, call: postern_e2e::tracer::Call| match call.number {
        libc::SYS_pread64 | libc::SYS_pwrite64 | libc::SYS_fdatasync | libc::SYS_fsync if !call.done => {
            Next::Fail(Errno::EIO)
        }
        _ => Next::Go,
    };
    let tracer = Tracer::hold(scene.gate.daemon().pid(), broken).unwrap();
    let refused = peer.commit(&other, Standing::Permanent).unwrap();
    assert!(refused.is_err(), "a commit on a medium that fails was acknowledged: {refused:?}");
    recovers(backend, &mut scene, "store: every access fails with EIO", |_| Instant::now());
    assert!(!tracer.is_over(), "the daemon died of it");
    tracer.leave().unwrap();
    // What was in force is in force after it, too.
    assert!(scene.gate.terminate().unwrap().success());
    scene.gate.restart().unwrap();
    wait_until("the control socket", || scene.gate.control().exists().then_some(())).unwrap();
    let mut peer = Control::connect(&scene.gate.control()).unwrap();
    assert_eq!(peer.site().unwrap().name, site.name);
    recovers(backend, &mut scene, "store: whole again, started again", |_| Instant::now());
}

/// The machine's clock is not touched: to the daemon it runs for a year already.
fn a_clock_a_year_ahead(backend: Backend) {
    let mut scene = scene(backend);
    let year = 365 * 86_400;
    scene.gate.restart_later(year).unwrap();
    recovers(backend, &mut scene, "clock: a year ahead", |_| Instant::now());
    let answer = probe::connect(&scene.stranger.namespace, None, scene.ssh(), probe::SILENCE).unwrap();
    assert!(answer.is_silent());
    let uptime = scene.gate.log_with("BOOT").concat();
    let millis = uptime.split("uptime=").nth(1).and_then(|rest| rest.split("ms").next()).unwrap();
    assert!(millis.parse::<u64>().unwrap() > year * 1000, "{uptime}");
}
