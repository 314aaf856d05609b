//! The loop around a knock, against sockets of this machine.

use std::net::{TcpListener, UdpSocket};

use postern_core::knock::Step;

use super::way::FixedWay;
use super::*;
use crate::profile::Fixed;

fn plan(port: u16) -> Plan {
    Plan {
        addresses: resolve("127.0.0.1", Family::Any).unwrap(),
        probe: Some(Probe::of(port)),
        retries: 0,
        timeout: Duration::from_millis(500),
    }
}

fn fixed(steps: &[Step]) -> FixedWay {
    FixedWay(Fixed { steps: steps.to_vec(), delay: Duration::from_millis(1) })
}

fn listener() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

/// A port nobody listens on.
fn closed_port() -> u16 {
    listener().1
}

#[test]
fn an_open_port_needs_no_knock() {
    let (_held, port) = listener();
    let mut said = Vec::new();
    let done =
        knock(&plan(port), &mut fixed(&[Step::udp(9)]), &mut |text| said.push(text.to_owned())).unwrap();
    assert_eq!((done.became, done.attempts, said.len()), (Became::WasOpen, 0, 0));
}

#[test]
fn udp_knocks_arrive_and_a_refusal_is_told_apart() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let knock_port = socket.local_addr().unwrap().port();
    let done = knock(&plan(closed_port()), &mut fixed(&[Step::udp(knock_port)]), &mut |_| {}).unwrap();
    assert_eq!((done.became, done.attempts), (Became::Refused, 1));
    assert_eq!(socket.recv(&mut [0; 4]).unwrap(), 1);
}

#[test]
fn a_tcp_knock_is_one_connection_attempt() {
    let (listener, port) = listener();
    let plan = Plan { probe: None, ..plan(port) };
    let done = knock(&plan, &mut fixed(&[Step::tcp(port)]), &mut |_| {}).unwrap();
    assert_eq!(done.became, Became::Sent);
    assert!(listener.accept().is_ok());
}

/// Times that no clock can hold are cut, not added up.
#[test]
fn absurd_times_are_no_panic() {
    let mut way = fixed(&[Step::udp(9)]);
    way.0.delay = Duration::MAX;
    assert_eq!(way.pause(u32::MAX), Duration::MAX);
    assert!(matches!(
        port::try_once(plan(closed_port()).addresses[0], Duration::ZERO),
        Port::Refused | Port::Silent
    ));
    let (_held, port) = listener();
    let address = Probe::of(port).beside(plan(port).addresses[0]);
    let patience = Patience { one_try: Duration::MAX, one_shot: false };
    assert!(matches!(port::wait_for(address, patience), Port::Open(_)));
}

/// Counts, and opens the port at the attempt that is wanted.
struct Opens {
    at: u32,
    sent: Vec<(SocketAddr, bool)>,
    worked: bool,
    port: u16,
    held: Option<TcpListener>,
}

impl Way for Opens {
    fn send(&mut self, address: SocketAddr, again: bool, _: &mut dyn FnMut(&str)) -> Outcome<()> {
        if address.is_ipv6() {
            return Err(Failure::Unreachable("no IPv6 today".to_owned()));
        }
        self.sent.push((address, again));
        if self.sent.len() == self.at as usize {
            self.held = Some(TcpListener::bind(("127.0.0.1", self.port)).unwrap());
        }
        Ok(())
    }

    fn pause(&self, _: u32) -> Duration {
        Duration::from_millis(1)
    }

    fn worked(&mut self) -> Outcome<()> {
        self.worked = true;
        Ok(())
    }
}

fn opens(at: u32) -> Opens {
    Opens { at, sent: Vec::new(), worked: false, port: closed_port(), held: None }
}

#[test]
fn an_address_that_cannot_be_reached_is_left_out() {
    let mut way = opens(1);
    let mut plan = plan(way.port);
    plan.addresses = [resolve("::1", Family::Any).unwrap(), plan.addresses].concat();
    plan.probe = Some(Probe { look: Look::Never, ..Probe::of(way.port) });
    let done = knock(&plan, &mut way, &mut |_| {}).unwrap();
    assert_eq!(done.became, Became::Opened);
    assert!(done.address.unwrap().is_ipv4() && done.stream.is_some() && way.worked);
    plan.addresses.truncate(1);
    assert!(matches!(knock(&plan, &mut opens(1), &mut |_| {}), Err(Failure::Unreachable(_))));
    plan.addresses.clear();
    assert!(matches!(knock(&plan, &mut opens(1), &mut |_| {}), Err(Failure::Unreachable(_))));
}

#[test]
fn without_a_probe_every_address_is_knocked_at() {
    let mut way = opens(9);
    let mut plan = Plan { probe: None, ..plan(1) };
    plan.addresses.push(plan.addresses[0]);
    plan.addresses.push(resolve("::1", Family::Any).unwrap()[0]);
    assert_eq!(knock(&plan, &mut way, &mut |_| {}).unwrap().became, Became::Sent);
    assert_eq!(way.sent.len(), 2);
}

#[test]
fn the_probe_goes_where_the_door_is() {
    let gateway = resolve("127.0.0.1", Family::Any).unwrap();
    let six = resolve("::1", Family::Any).unwrap();
    let elsewhere = Probe {
        elsewhere: [six.clone(), resolve("127.0.0.2", Family::Any).unwrap()].concat(),
        ..Probe::of(22)
    };
    assert_eq!(elsewhere.beside(gateway[0]).to_string(), "127.0.0.2:22");
    assert_eq!(elsewhere.beside(six[0]).to_string(), "[::1]:22");
    assert_eq!(Probe::of(22).beside(gateway[0]).to_string(), "127.0.0.1:22");
}
