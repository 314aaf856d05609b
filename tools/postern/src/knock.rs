//! The knock client: sends a sequence and, when asked, finds out whether the door opened.

use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs, UdpSocket};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use postern_core::knock::{Protocol, Step};

mod echo;
mod syn;

/// Which address family to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// What the name resolves to first.
    Any,
    /// IPv4 only.
    V4,
    /// IPv6 only.
    V6,
}

/// What to send and what to find out.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The gateway.
    pub address: IpAddr,
    /// The knocks, in order.
    pub steps: Vec<Step>,
    /// Pause between two knocks.
    pub delay: Duration,
    /// How often the sequence is sent again when the door did not open.
    pub retries: u32,
    /// TCP port to try.
    pub probe: Option<u16>,
    /// How long one try of the port takes.
    pub timeout: Duration,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The knocks were sent; nobody asked for more.
    Sent,
    /// The port was shut and is open now.
    Opened,
    /// The port was open before the first knock.
    WasOpen,
    /// The port is still shut, and silent.
    StillShut,
    /// The port answers with a refusal: the door is open and nothing listens behind it.
    Refused,
}

/// The first address of `host` in the wanted family.
///
/// # Errors
/// When the name does not resolve, or not in that family.
pub fn resolve(host: &str, family: Family) -> Result<IpAddr> {
    let found = (host, 0).to_socket_addrs().with_context(|| format!("cannot resolve {host}"))?;
    let fits = |address: &SocketAddr| match family {
        Family::Any => true,
        Family::V4 => address.is_ipv4(),
        Family::V6 => address.is_ipv6(),
    };
    let address = found.map(|address| (fits(&address), address)).find(|(fits, _)| *fits);
    match address {
        Some((_, address)) => Ok(address.ip()),
        None => bail!("{host} has no address of the wanted family"),
    }
}

/// Carries out a plan. `say` is told what happens.
///
/// # Errors
/// When a knock cannot be sent at all: no route, no privilege for echo requests.
pub fn knock(plan: &Plan, say: &mut dyn FnMut(&str)) -> Result<Outcome> {
    if let Some(port) = plan.probe {
        if try_port(plan, port) == Port::Open {
            return Ok(Outcome::WasOpen);
        }
    }
    for attempt in 0..=plan.retries {
        if attempt > 0 {
            say(&format!("not open yet, knocking again ({attempt} of {})", plan.retries));
            sleep(plan.delay * 2 * attempt);
        }
        send(plan, say)?;
        let Some(port) = plan.probe else { return Ok(Outcome::Sent) };
        match wait_for(plan, port) {
            Port::Open => return Ok(Outcome::Opened),
            Port::Refused => return Ok(Outcome::Refused),
            Port::Silent => {}
        }
    }
    Ok(Outcome::StillShut)
}

fn send(plan: &Plan, say: &mut dyn FnMut(&str)) -> Result<()> {
    for (index, step) in plan.steps.iter().enumerate() {
        if index > 0 {
            sleep(plan.delay);
        }
        say(&format!("knock {} of {}: {step}", index + 1, plan.steps.len()));
        send_one(plan.address, *step).with_context(|| format!("cannot send {step} to {}", plan.address))?;
    }
    Ok(())
}

fn send_one(address: IpAddr, step: Step) -> Result<()> {
    let target = SocketAddr::new(address, step.value);
    match step.protocol {
        Protocol::Tcp => syn::send(target)?,
        Protocol::Udp => {
            let any: IpAddr = if address.is_ipv4() { [0; 4].into() } else { [0_u16; 8].into() };
            UdpSocket::bind((any, 0))?.send_to(&[0], target)?;
        }
        Protocol::Icmp => echo::send(address, step.value)?,
    }
    Ok(())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Port {
    Open,
    Refused,
    Silent,
}

fn try_port(plan: &Plan, port: u16) -> Port {
    match TcpStream::connect_timeout(&SocketAddr::new(plan.address, port), plan.timeout) {
        Ok(_) => Port::Open,
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => Port::Refused,
        Err(_) => Port::Silent,
    }
}

/// The door needs a moment, and the probe's own packet may be lost: several short tries.
fn wait_for(plan: &Plan, port: u16) -> Port {
    let deadline = Instant::now() + plan.timeout * 2;
    loop {
        let found = try_port(plan, port);
        if found != Port::Silent || Instant::now() >= deadline {
            return found;
        }
        sleep(Duration::from_millis(50));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    fn plan(port: u16, steps: &[Step]) -> Plan {
        Plan {
            address: [127, 0, 0, 1].into(),
            steps: steps.to_vec(),
            delay: Duration::from_millis(1),
            retries: 0,
            probe: Some(port),
            timeout: Duration::from_millis(500),
        }
    }

    #[test]
    fn an_open_port_needs_no_knock() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut said = Vec::new();
        let outcome = knock(&plan(port, &[Step::udp(9)]), &mut |text| said.push(text.to_owned())).unwrap();
        assert_eq!((outcome, said.len()), (Outcome::WasOpen, 0));
    }

    #[test]
    fn udp_knocks_arrive_and_a_refusal_is_told_apart() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let knock_port = socket.local_addr().unwrap().port();
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let outcome = knock(&plan(closed, &[Step::udp(knock_port)]), &mut |_| {}).unwrap();
        assert_eq!(outcome, Outcome::Refused);
        assert_eq!(socket.recv(&mut [0; 4]).unwrap(), 1);
    }

    #[test]
    fn a_tcp_knock_is_one_connection_attempt() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        send_one([127, 0, 0, 1].into(), Step::tcp(listener.local_addr().unwrap().port())).unwrap();
        assert!(listener.accept().is_ok());
    }

    #[test]
    fn families_are_kept_apart() {
        assert!(resolve("127.0.0.1", Family::V4).unwrap().is_ipv4());
        assert!(resolve("127.0.0.1", Family::V6).is_err());
        assert!(resolve("::1", Family::V6).unwrap().is_ipv6());
    }
}
