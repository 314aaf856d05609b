//! The capture on real interfaces of the real kernel, in network namespaces of its own. Needs root.
#![allow(unsafe_code)]

#[path = "../shared/counting.rs"]
mod counting;
mod frames;
mod namespace;

use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration as StdDuration, Instant as StdInstant};

use frames::{echo, ethernet, ipv4, ipv6, pppoe, syn, tagged, tcp, udp, with_options};
use namespace::{Sender, Tun, Witness, become_nobody, cable, in_namespace, ip};
use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::time::{ClockId, clock_gettime};
use postern_core::InterfaceIndex;
use postern_core::knock::{FlagCondition, InterfaceSet, Protocol, ServicePort, Step};
use postern_core::port::{Capture as _, Clock, LinkType};
use postern_core::rule::{Door, GuardRange, Name, Purpose, RuleSet, RuleSetBuilder, Sequence, Terms};
use postern_core::time::{Duration, Instant};
use postern_core::wire;
use postern_hal_linux::capture::{CaptureEvent, CaptureOpenError, LinuxCapture, RingBytes};
use postern_hal_linux::clock::BootClock;
use postern_hal_linux::link_watch::LinkWatch;
use postern_hal_linux::wait::Waiter;

/// A sequence of these knocks and a guard on tcp/7000 to tcp/7100.
fn rules(steps: &[Step]) -> RuleSet {
    let mut builder = RuleSetBuilder::new();
    let name = Name::try_from("door").unwrap();
    let ports = heapless::Vec::from_slice(&[ServicePort::tcp(22)]).unwrap();
    let (open_for, interfaces) = (Duration::from_secs(30), InterfaceSet::ALL);
    let door =
        builder.door(Door { name, ports, open_for, target: None, interfaces, terms: Terms::PLAIN }).unwrap();
    let (within, reorder, flags) = (Duration::from_secs(10), Duration::ZERO, FlagCondition::OPENING_SYN);
    let steps = heapless::Vec::from_slice(steps).unwrap();
    builder.sequence(Sequence { door, purpose: Purpose::Open, steps, within, reorder, flags }).unwrap();
    builder.guard(GuardRange { protocol: Protocol::Tcp, first: 7000, last: 7100 }).unwrap();
    builder.build().unwrap()
}

fn usual_rules() -> RuleSet {
    rules(&[Step::tcp(7351), Step::udp(24_011), Step::icmp(83)])
}

fn open(interfaces: &[&str]) -> LinuxCapture {
    let names = interfaces.iter().copied();
    LinuxCapture::open(names, &usual_rules(), &[], RingBytes::default(), now()).unwrap()
}

fn now() -> Instant {
    BootClock::new().now()
}

/// Waits for a condition, long enough for the slowest machine.
fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let start = StdInstant::now();
    while !holds() {
        assert!(start.elapsed() < StdDuration::from_secs(20), "{what}: did not happen");
        std::thread::sleep(StdDuration::from_millis(2));
    }
}

/// The next frame as the parser reads it.
fn next_step(capture: &mut LinuxCapture) -> Option<(InterfaceIndex, LinkType, Result<Step, wire::Ignored>)> {
    let frame = capture.next_frame()?;
    Some((frame.interface, frame.link, wire::parse(&frame).map(|knock| knock.step)))
}

/// Reads until `expected` steps have come, then makes sure that nothing else does.
fn expect_steps(capture: &mut LinuxCapture, link: LinkType, expected: &[Step]) {
    let mut seen = Vec::new();
    eventually("the knocks arrive", || {
        while let Some((_, frame_link, step)) = next_step(capture) {
            assert_eq!(frame_link, link);
            seen.push(step.expect("only knocks pass the filter"));
        }
        seen.len() >= expected.len()
    });
    assert_eq!(seen, expected);
}

#[test]
fn ethernet_with_everything_in_between() {
    in_namespace(|| {
        cable("near", "far");
        let mut capture = open(&["near"]);
        let mut sender = Sender::new("far");
        let noise = [
            ethernet(0x0800, ipv4(syn(7352))),
            ethernet(0x0800, ipv4(tcp(7351, 0x10))),
            ethernet(0x0800, ipv4(tcp(7351, 0x12))),
            ethernet(0x0800, ipv4(udp(7351))),
            ethernet(0x0800, ipv4(echo(1, 84))),
            ethernet(0x86dd, ipv6(syn(6999))),
            ethernet(0x0806, vec![0; 28]),
            tagged(0x8100, 5, ethernet(0x0800, ipv4(udp(53)))),
            pppoe(0xc021, vec![9, 1, 0, 4]),
        ];
        let tcp_v4 = || ethernet(0x0800, ipv4(syn(7351)));
        let tcp_v6 = || ethernet(0x86dd, ipv6(syn(7351)));
        let mut options = ipv4(udp(24_011));
        options[0] = 0x46;
        options[3] += 4;
        options.splice(20..20, [1, 1, 1, 0]);
        let mut fragment = ipv4(syn(7351));
        fragment[6] = 0x20;
        let knocks = [
            (tcp_v4(), Step::tcp(7351)),
            (tcp_v6(), Step::tcp(7351)),
            (ethernet(0x0800, options), Step::udp(24_011)),
            (ethernet(0x86dd, with_options(ipv6(udp(24_011)))), Step::udp(24_011)),
            (ethernet(0x0800, ipv4(echo(1, 83))), Step::icmp(83)),
            (ethernet(0x86dd, with_options(ipv6(echo(58, 83)))), Step::icmp(83)),
            (ethernet(0x0800, ipv4(syn(7100))), Step::tcp(7100)),
            (tagged(0x8100, 5, tcp_v4()), Step::tcp(7351)),
            (tagged(0x88a8, 6, tcp_v6()), Step::tcp(7351)),
            (tagged(0x88a8, 6, tagged(0x8100, 5, tcp_v4())), Step::tcp(7351)),
            (tagged(0x8100, 6, tagged(0x8100, 5, tcp_v6())), Step::tcp(7351)),
            (pppoe(0x0021, ipv4(syn(7351))), Step::tcp(7351)),
            (pppoe(0x0057, ipv6(udp(24_011))), Step::udp(24_011)),
            (tagged(0x8100, 5, pppoe(0x0021, ipv4(echo(1, 83)))), Step::icmp(83)),
            (tagged(0x88a8, 6, tagged(0x8100, 5, pppoe(0x0021, ipv4(syn(7000))))), Step::tcp(7000)),
        ];
        sender.send(&ethernet(0x0800, fragment));
        for (index, (frame, _)) in knocks.iter().enumerate() {
            sender.send(frame);
            sender.send(&noise[index % noise.len()]);
        }
        let steps = knocks.map(|(_, step)| step);
        expect_steps(&mut capture, LinkType::Ethernet, &steps);
        assert_eq!(capture.take_event(), None);
    });
}

#[test]
fn what_the_machine_sends_is_not_captured() {
    in_namespace(|| {
        cable("near", "far");
        let mut capture = open(&["near"]);
        Sender::new("near").send(&ethernet(0x0800, ipv4(syn(7351))));
        Sender::new("far").send(&ethernet(0x0800, ipv4(udp(24_011))));
        expect_steps(&mut capture, LinkType::Ethernet, &[Step::udp(24_011)]);
    });
}

#[test]
fn loopback_shows_each_packet_once() {
    in_namespace(|| {
        ip("link set lo up");
        ip("address add 192.0.2.1/32 dev lo");
        let mut capture = open(&["lo"]);
        let socket = UdpSocket::bind("192.0.2.1:0").unwrap();
        for port in [24_011, 24_012, 24_011] {
            let _ = socket.send_to(b"knock", ("192.0.2.1", port));
        }
        expect_steps(&mut capture, LinkType::Ethernet, &[Step::udp(24_011); 2]);
    });
}

/// `ARPHRD_*` of `<linux/if_arp.h>`.
const NO_HEADER: u64 = 65_534;
const PPP: u64 = 512;
const RAW_IP_MODEM: u64 = 519;
const NETLINK_MONITOR: u64 = 824;

#[test]
fn interfaces_without_a_link_header() {
    for (hardware_type, link) in
        [(NO_HEADER, LinkType::RawIp), (PPP, LinkType::CookedV1), (RAW_IP_MODEM, LinkType::CookedV1)]
    {
        in_namespace(move || {
            let mut tun = Tun::new("modem", hardware_type);
            let mut capture = open(&["modem"]);
            tun.send(&ipv4(syn(7351)));
            tun.send(&ipv4(syn(7352)));
            tun.send(&ipv6(udp(24_011)));
            tun.send(&with_options(ipv6(echo(58, 83))));
            tun.send(&ipv4(echo(1, 82)));
            tun.send(&ipv6(tcp(7050, 0x02)));
            let steps = [Step::tcp(7351), Step::udp(24_011), Step::icmp(83), Step::tcp(7050)];
            expect_steps(&mut capture, link, &steps);
        });
    }
}

#[test]
fn any_is_every_interface() {
    in_namespace(|| {
        cable("near", "far");
        let mut tun = Tun::new("modem", NO_HEADER);
        let mut capture = open(&["any"]);
        let mut sender = Sender::new("far");
        let steps = [Step::tcp(7351), Step::udp(24_011), Step::tcp(7001), Step::icmp(83)];
        sender.send(&ethernet(0x0800, ipv4(syn(7351))));
        tun.send(&ipv6(udp(24_011)));
        sender.send(&tagged(0x8100, 5, ethernet(0x0800, ipv4(syn(7001)))));
        sender.send(&ethernet(0x0800, ipv4(syn(8000))));
        sender.send(&pppoe(0x0021, ipv4(echo(1, 83))));
        expect_steps(&mut capture, LinkType::CookedV1, &steps);
        capture.maintain(now() + Duration::from_secs(5));
        assert_eq!(capture.take_event(), None, "it is not lost, though no interface has that name");
    });
}

#[test]
fn errors_say_what_to_do() {
    in_namespace(|| {
        let _tun = Tun::new("netlink", NETLINK_MONITOR);
        let try_open = |name| LinuxCapture::open([name], &usual_rules(), &[], RingBytes::default(), now());
        let error = try_open("netlink").unwrap_err();
        assert!(matches!(error, CaptureOpenError::UnsupportedLink(_, 253)), "{error:?}");
        for name in ["", "a b", "a/b", "sixteen-letters-"] {
            assert_eq!(try_open(name).unwrap_err(), CaptureOpenError::BadName);
        }
        cable("near", "far");
        become_nobody();
        let error = try_open("near").unwrap_err();
        assert!(matches!(error, CaptureOpenError::NoPrivilege(_)), "{error:?}");
        assert!(error.to_string().contains("CAP_NET_RAW"), "{error}");
    });
    let none = LinuxCapture::open([], &usual_rules(), &[], RingBytes::default(), now());
    assert_eq!(none.unwrap_err(), CaptureOpenError::NoInterface);
}

/// A daemon's clock that a test moves on by itself.
struct Daemon {
    capture: LinuxCapture,
    now: Instant,
}

impl Daemon {
    /// A second passes; what happened?
    fn second(&mut self) -> Vec<CaptureEvent> {
        while self.capture.next_frame().is_some() {}
        self.now = self.now + Duration::from_secs(1);
        let next = self.capture.maintain(self.now);
        assert!(next > self.now && next <= self.now + Duration::from_secs(1));
        std::iter::from_fn(|| self.capture.take_event()).collect()
    }
}

#[test]
fn interfaces_come_and_go() {
    in_namespace(|| {
        let index = InterfaceIndex(0);
        let (lost, back) = (CaptureEvent::Lost(index), CaptureEvent::Back(index));
        let mut daemon = Daemon { capture: open(&["near"]), now: now() };
        assert_eq!(daemon.second(), [lost], "it was not there at start");
        assert_eq!(daemon.second(), [], "and that is said once");
        let knock = ethernet(0x0800, ipv4(syn(7351)));
        let works = |daemon: &mut Daemon| {
            Sender::new("far").send(&knock);
            expect_steps(&mut daemon.capture, LinkType::Ethernet, &[Step::tcp(7351)]);
        };

        ip("link add near type veth peer name far");
        assert_eq!(daemon.second(), [], "there, but down");
        ip("link delete near");
        cable("near", "far");
        assert_eq!(daemon.second(), [back]);
        works(&mut daemon);

        ip("link set near down");
        assert_eq!(daemon.second(), [], "down is not gone");
        ip("link set near up");
        assert_eq!(daemon.second(), []);
        works(&mut daemon);

        ip("link delete near");
        assert_eq!(daemon.second(), [lost]);
        assert_eq!(daemon.capture.open_count(), 0);
        cable("near", "far");
        assert_eq!(daemon.second(), [back]);
        works(&mut daemon);

        ip("link set near down");
        assert_eq!(daemon.second(), []);
        ip("link delete near");
        cable("near", "far");
        let events = [daemon.second(), daemon.second()].concat();
        assert_eq!(events, [lost, back], "created again between two looks, another one by that name");
        works(&mut daemon);

        ip("link set near down");
        ip("link set near name other");
        assert_eq!(daemon.second(), [lost], "renamed away");
        ip("link set other name near");
        ip("link set near up");
        daemon.capture.links_changed();
        assert_eq!(daemon.second(), [back]);
        works(&mut daemon);
    });
}

#[test]
fn flapping_leaks_no_descriptor() {
    in_namespace(|| {
        // A table of descriptors of its own: other tests run in this process.
        unshare(CloneFlags::CLONE_FILES).unwrap();
        let descriptors = || std::fs::read_dir("/proc/thread-self/fd").unwrap().count();
        let mut daemon = Daemon { capture: open(&["near"]), now: now() };
        let before = descriptors();
        for _ in 0..20 {
            cable("near", "far");
            daemon.second();
            assert_eq!(daemon.capture.open_count(), 1);
            ip("link delete near");
            daemon.second();
            assert_eq!(daemon.capture.open_count(), 0);
        }
        assert_eq!(descriptors(), before);
    });
}

#[test]
fn a_vanished_interface_wakes_the_daemon() {
    in_namespace(|| {
        cable("near", "far");
        let mut capture = open(&["near"]);
        let mut waiter = Waiter::new().unwrap();
        let deadline = |now: Instant| Some(now + Duration::from_secs(20));
        let quiet = waiter.wait(&capture.fds(), &[], Some(now()), now()).unwrap();
        assert!(!quiet.frames);
        Sender::new("far").send(&ethernet(0x0800, ipv4(syn(7351))));
        assert!(waiter.wait(&capture.fds(), &[], deadline(now()), now()).unwrap().frames);
        assert_eq!(next_step(&mut capture).unwrap().2, Ok(Step::tcp(7351)));
        ip("link delete near");
        assert!(waiter.wait(&capture.fds(), &[], deadline(now()), now()).unwrap().frames);
        eventually("the loss is noticed", || {
            assert!(capture.next_frame().is_none());
            capture.maintain(now());
            capture.take_event() == Some(CaptureEvent::Lost(InterfaceIndex(0)))
        });
        assert!(capture.fds().is_empty());
    });
}

#[test]
fn no_interface_starves_another() {
    in_namespace(|| {
        cable("near0", "far0");
        cable("near1", "far1");
        let mut capture = open(&["near0", "absent", "near1"]);
        let (mut loud, mut low) = (Sender::new("far0"), Sender::new("far1"));
        let mut witnesses = (Witness::new("near0"), Witness::new("near1"));
        for _ in 0..1000 {
            loud.send(&ethernet(0x0800, ipv4(syn(7351))));
        }
        for _ in 0..3 {
            low.send(&ethernet(0x0800, ipv4(udp(24_011))));
        }
        witnesses.0.wait_for(1000);
        witnesses.1.wait_for(3);
        let order: Vec<u8> =
            std::iter::from_fn(|| next_step(&mut capture).map(|(index, ..)| index.0)).collect();
        assert_eq!(order.len(), 1003);
        let last_low = order.iter().rposition(|&index| index == 2).unwrap();
        assert!(last_low < 64, "a few frames after a burst of 32: {last_low}");
    });
}

#[test]
fn replacing_the_filter_misses_nothing() {
    const SWAPS: usize = 200;
    const UNREAD_MAX: usize = 1000;
    in_namespace(|| {
        cable("near", "far");
        let small = usual_rules();
        let large = rules(&[Step::tcp(7351), Step::tcp(1), Step::tcp(3), Step::tcp(5), Step::udp(9)]);
        let mut capture = open(&["near"]);
        let (seen, done) = (AtomicUsize::new(0), AtomicBool::new(false));
        std::thread::scope(|scope| {
            let sending = scope.spawn(|| {
                let mut sender = Sender::new("far");
                let knock = ethernet(0x0800, ipv4(syn(7351)));
                let (mut sent, start) = (0, StdInstant::now());
                // Ends by itself when the other side has failed.
                while !done.load(Ordering::Relaxed) && start.elapsed() < StdDuration::from_secs(60) {
                    if sent - seen.load(Ordering::Relaxed) < UNREAD_MAX {
                        sender.send(&knock);
                        sent += 1;
                    } else {
                        std::thread::yield_now();
                    }
                }
                sent
            });
            for swap in 0..SWAPS {
                // Each filter sees some packets before the next one comes.
                let target = seen.load(Ordering::Relaxed) + 20;
                eventually("packets go on", || {
                    while seen.load(Ordering::Relaxed) < target && capture.next_frame().is_some() {
                        seen.fetch_add(1, Ordering::Relaxed);
                    }
                    seen.load(Ordering::Relaxed) >= target
                });
                capture.replace_filter(if swap % 2 == 0 { &large } else { &small }, &[]).unwrap();
            }
            done.store(true, Ordering::Relaxed);
            let sent = sending.join().unwrap();
            eventually("every packet is seen", || {
                while capture.next_frame().is_some() {
                    seen.fetch_add(1, Ordering::Relaxed);
                }
                seen.load(Ordering::Relaxed) == sent
            });
        });
        // And the filter is the new one.
        let mut sender = Sender::new("far");
        capture.replace_filter(&large, &[]).unwrap();
        sender.send(&ethernet(0x0800, ipv4(udp(24_011))));
        sender.send(&ethernet(0x0800, ipv4(udp(9))));
        expect_steps(&mut capture, LinkType::Ethernet, &[Step::udp(9)]);
    });
}

/// Rules that watch this many separate ranges.
fn many_rules(ranges: u16) -> RuleSet {
    let mut builder = RuleSetBuilder::new();
    for range in 0..ranges {
        let (protocol, first) = ([Protocol::Tcp, Protocol::Udp][usize::from(range % 2)], 1 + range * 70);
        builder.guard(GuardRange { protocol, first, last: first + 50 }).unwrap();
    }
    builder.build().unwrap()
}

/// Octets of filters that the kernel lets a socket have; a namespace has its own number.
fn limit_filters_to(octets: usize) {
    std::fs::write("/proc/sys/net/core/optmem_max", octets.to_string()).unwrap();
}

#[test]
fn little_memory_for_filters() {
    in_namespace(|| {
        cable("near", "far");
        // The default of 32-bit kernels before Linux 6.8, and the least there is.
        limit_filters_to(10_240);
        let open =
            |ranges| LinuxCapture::open(["near"], &many_rules(ranges), &[], RingBytes::default(), now());
        let too_many = open(500).unwrap_err();
        assert!(matches!(too_many, CaptureOpenError::FilterRefused(_, Errno::ENOMEM)), "{too_many:?}");
        assert!(too_many.to_string().contains("net.core.optmem_max"), "{too_many}");

        // Each fits alone, both together do not.
        let mut capture = open(200).unwrap();
        capture.replace_filter(&many_rules(202), &[]).unwrap();
        let mut sender = Sender::new("far");
        let (last, beyond) = (1 + 200 * 70, 1 + 202 * 70);
        let mut send = || {
            sender.send(&ethernet(0x0800, ipv4(syn(beyond))));
            sender.send(&ethernet(0x0800, ipv4(syn(last))));
        };
        send();
        expect_steps(&mut capture, LinkType::Ethernet, &[Step::tcp(last)]);

        assert_eq!(capture.replace_filter(&many_rules(500), &[]), Err(too_many));
        send();
        expect_steps(&mut capture, LinkType::Ethernet, &[Step::tcp(last)]);
    });
}

#[test]
fn dropped_frames_are_counted() {
    in_namespace(|| {
        cable("near", "far");
        let mut capture =
            LinuxCapture::open(["near"], &usual_rules(), &[], RingBytes(64 * 1024), now()).unwrap();
        let (mut sender, mut witness) = (Sender::new("far"), Witness::new("near"));
        for count in 0..2000_u32 {
            // What the filter rejects can never be dropped.
            sender.send(&ethernet(0x0800, ipv4(syn(if count % 2 == 0 { 7351 } else { 7352 }))));
        }
        witness.wait_for(2000);
        let seen = std::iter::from_fn(|| capture.next_frame().map(drop)).count();
        println!("a ring of 64 KiB holds {seen} frames");
        assert!(seen < 1000);
        capture.maintain(now() + Duration::from_secs(2));
        let frames = u64::try_from(1000 - seen).unwrap();
        let event = CaptureEvent::Dropped { interface: InterfaceIndex(0), frames };
        assert_eq!(capture.take_event(), Some(event));
        assert_eq!(capture.take_event(), None);
        sender.send(&ethernet(0x0800, ipv4(udp(24_011))));
        expect_steps(&mut capture, LinkType::Ethernet, &[Step::udp(24_011)]);
    });
}

#[test]
fn a_change_of_a_link_wakes() {
    in_namespace(|| {
        cable("near", "far");
        let (mut watch, mut waiter) = (LinkWatch::open(false).unwrap(), Waiter::new().unwrap());
        for change in ["link set far down", "link set far name away", "link del near"] {
            // Carriers settle a little later than the command that moves them returns.
            while waiter
                .wait(&[watch.as_fd()], &[], Some(now() + Duration::from_millis(300)), now())
                .unwrap()
                .frames
            {
                assert!(watch.take_change());
            }
            ip(change);
            let deadline = Some(now() + Duration::from_secs(20));
            assert!(waiter.wait(&[watch.as_fd()], &[], deadline, now()).unwrap().frames, "{change}");
            assert!(watch.take_change(), "{change}");
        }
    });
}

#[test]
fn frames_do_not_allocate() {
    in_namespace(|| {
        cable("near", "far");
        let mut capture = open(&["near", "lo", "absent"]);
        let mut sender = Sender::new("far");
        for _ in 0..2000 {
            sender.send(&ethernet(0x0800, ipv4(syn(7351))));
        }
        let mut waiter = Waiter::new().unwrap();
        let time = now();
        let mut seen = 0;
        let before = counting::allocations();
        while seen < 2000 {
            let wake = waiter.wait(&capture.fds(), &[], Some(time + Duration::from_secs(20)), time).unwrap();
            assert!(wake.frames, "{seen}");
            seen += std::iter::from_fn(|| capture.next_frame().map(drop)).count();
            capture.maintain(time);
        }
        assert_eq!(counting::allocations() - before, 0);
    });
}

/// Prints what a frame costs through the capture and through a bare libpcap loop.
#[test]
fn cost_of_a_frame() {
    // The ring holds a few more.
    const FRAMES: usize = 3000;
    in_namespace(|| {
        cable("near", "far");
        let bare = pcap::Capture::from_device("near").unwrap().immediate_mode(true).snaplen(256);
        let mut bare = bare.buffer_size(2 * 1024 * 1024).open().unwrap().setnonblock().unwrap();
        bare.filter("tcp port 7351", true).unwrap();
        let mut capture = open(&["near"]);
        let (mut sender, mut witness) = (Sender::new("far"), Witness::new("near"));
        let knock = ethernet(0x0800, ipv4(syn(7351)));
        let (mut best, mut best_bare) = (u128::MAX, u128::MAX);
        for _ in 0..20 {
            for _ in 0..FRAMES {
                sender.send(&knock);
            }
            witness.wait_for(FRAMES);
            let cpu = || {
                let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap();
                StdDuration::from(time).as_nanos()
            };
            let start = cpu();
            let seen = std::iter::from_fn(|| capture.next_frame().map(drop)).count();
            let middle = cpu();
            let seen_bare = std::iter::from_fn(|| bare.next_packet().ok().map(drop)).count();
            let end = cpu();
            assert_eq!((seen, seen_bare), (FRAMES, FRAMES));
            best = best.min(middle - start);
            best_bare = best_bare.min(end - middle);
        }
        let frames = u128::try_from(FRAMES).unwrap();
        println!("a frame: {} ns, bare libpcap loop: {} ns", best / frames, best_bare / frames);
    });
}
