//! What one grant costs.

use std::hint::black_box;
use std::net::IpAddr;

use nix::time::{ClockId, clock_gettime};
use postern_core::knock::ServicePort;
use postern_core::rule::Reach;

use crate::counting::allocations;
use crate::every_back_end;
use crate::gate::{Backend, open, rules, wide};
use crate::lab::{in_lab, nets};

const ALONE: Reach = Reach::SOURCE_ALONE;
const REACH: Reach = Reach { v4: 24, v6: 64 };

const ONE: [ServicePort; 1] = [ServicePort::tcp(7001)];
const EIGHT: [ServicePort; 8] = [
    ServicePort::tcp(1),
    ServicePort::tcp(2),
    ServicePort::tcp(3),
    ServicePort::tcp(4),
    ServicePort::udp(5),
    ServicePort::udp(6),
    ServicePort::udp(7),
    ServicePort::udp(8),
];

every_back_end!(a_grant_costs_no_allocation);

/// Time a thread has used, in microseconds.
fn cpu_micros() -> f64 {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap();
    (time.tv_sec() as f64) * 1e6 + (time.tv_nsec() as f64) / 1e3
}

/// With `--nocapture` it also tells the time, which is not judged.
fn a_grant_costs_no_allocation(backend: Backend) {
    in_lab(move |_| {
        const ROUNDS: u32 = 1000;
        let mut gate = backend.gate();
        gate.install(&wide(&rules(&[&ONE, &EIGHT]), REACH));
        for net in nets() {
            for (ports, reach) in [(&ONE[..], ALONE), (&EIGHT[..], ALONE), (&EIGHT[..], REACH)] {
                // Each of a network of its own.
                let source = |round: u32| match net.friend {
                    IpAddr::V4(_) => reach.network((0x0b00_0000 + (round << 8)).to_be_bytes().into()),
                    IpAddr::V6(v6) => {
                        reach.network((u128::from(v6) + (u128::from(round) << 64)).to_be_bytes().into())
                    }
                };
                for step in ["open", "extend", "close", "close again"] {
                    let (before, cpu, wall) = (allocations(), cpu_micros(), std::time::Instant::now());
                    for round in 0..ROUNDS {
                        let done = match step {
                            "open" => gate.execute(black_box(&open(source(round), ports, 600))),
                            "extend" => gate.execute(black_box(&open(source(round), ports, 900))),
                            _ => gate.close(source(round), ports),
                        };
                        done.unwrap();
                    }
                    let cost = (cpu_micros() - cpu) / f64::from(ROUNDS);
                    let wall = wall.elapsed().as_secs_f64() * 1e6 / f64::from(ROUNDS);
                    assert_eq!(allocations() - before, 0, "{step}");
                    let (family, count) = (if net.gate.is_ipv4() { "v4" } else { "v6" }, ports.len());
                    println!(
                        "{backend:?} {family} {step} {count} port(s) {reach:?}: {cost:.1} us CPU, {wall:.1} us"
                    );
                }
            }
        }
        assert_eq!(gate.grants(), []);
        // A refusal costs none either.
        gate.remove();
        let before = allocations();
        let refused = gate.open(nets()[0].friend, &EIGHT, 60);
        assert_eq!(allocations() - before, 0);
        assert!(refused.is_err());
    });
}
