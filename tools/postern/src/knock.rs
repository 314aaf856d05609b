//! The knock client: sends what opens a door and, when asked, finds out whether it opened.
//!
//! | module | is |
//! | --- | --- |
//! | [`target`] | names and addresses of gateways |
//! | [`way`] | what is sent: fixed knocks, a datagram, rotating knocks |
//! | [`port`] | whether the door's port lets us in |
//! | [`relay`] | standard input and output over the connection, for `ProxyCommand` of ssh |
//! | [`command`] | `postern knock` |

use std::net::{SocketAddr, TcpStream};
use std::thread::sleep;
use std::time::Duration;

pub mod arguments;
mod checkup;
pub mod command;
mod echo;
pub mod port;
pub mod relay;
mod syn;
pub mod target;
pub mod way;

use crate::remote::failure::{Failure, Outcome};
use port::{Patience, Port};
pub use target::{Family, resolve};
use way::Way;

/// Longest pause before it is tried again.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// How long a look at a door takes that may be open still.
const GLANCE: Duration = Duration::from_millis(500);

/// What to find out, and how patiently.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Addresses of the gateway, in the order in which they are tried.
    pub addresses: Vec<SocketAddr>,
    /// The port that tells whether the door opened.
    pub probe: Option<Probe>,
    /// How often it is tried again when the door did not open.
    pub retries: u32,
    /// How long one try of the port takes.
    pub timeout: Duration,
}

/// The port that tells whether the door opened.
#[derive(Clone, Debug)]
pub struct Probe {
    /// TCP port.
    pub port: u16,
    /// Where it is, when it is not the gateway's own.
    pub elsewhere: Vec<SocketAddr>,
    /// When to look before the first knock, and not to knock at an open door.
    pub look: Look,
    /// Whether every attempt counts, because the first connection uses the grant up.
    pub one_shot: bool,
}

/// When to look before the first knock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// Always.
    Always,
    /// When the door may be open still: looking at one that is shut costs time.
    IfKnockedLately,
    /// Never.
    Never,
}

impl Probe {
    /// The door's port at the gateway.
    pub const fn of(port: u16) -> Self {
        Self { port, elsewhere: Vec::new(), look: Look::Always, one_shot: false }
    }

    /// The port that belongs to an address of the gateway: of the same family, when there is one.
    fn beside(&self, address: SocketAddr) -> SocketAddr {
        let alike = self.elsewhere.iter().find(|other| other.is_ipv4() == address.is_ipv4());
        let mut found = alike.or(self.elsewhere.first()).copied().unwrap_or(address);
        found.set_port(self.port);
        found
    }
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Became {
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

/// How it ended.
#[derive(Debug)]
pub struct Done {
    /// What became of it.
    pub became: Became,
    /// How often was knocked.
    pub attempts: u32,
    /// The address that was knocked at last, when one was.
    pub address: Option<SocketAddr>,
    /// The connection, when the port is open.
    pub stream: Option<TcpStream>,
}

impl Done {
    const fn new(became: Became, attempts: u32, address: SocketAddr) -> Self {
        Self { became, attempts, address: Some(address), stream: None }
    }
}

/// Carries out a plan. `say` is told what happens.
///
/// # Errors
/// [`Failure::Unreachable`] when nothing can be sent at all: no route, no privilege for echo requests.
/// What [`Way::send`] says of keys and counters.
pub fn knock(plan: &Plan, way: &mut dyn Way, say: &mut dyn FnMut(&str)) -> Outcome<Done> {
    let Some(&first) = plan.addresses.first() else {
        return Err(Failure::Unreachable("the gateway has no address".to_owned()));
    };
    let Some(probe) = &plan.probe else {
        let address = send_to_all(&plan.addresses, way, say)?;
        return Ok(Done::new(Became::Sent, 1, address));
    };
    let look = match probe.look {
        Look::Always => Some(plan.timeout),
        Look::IfKnockedLately if way.knocked_lately() => Some(plan.timeout.min(GLANCE)),
        Look::IfKnockedLately | Look::Never => None,
    };
    if let Some(timeout) = look {
        if let Port::Open(stream) = port::try_once(probe.beside(first), timeout) {
            let done = Done::new(Became::WasOpen, 0, first);
            return Ok(Done { stream: Some(stream), ..done });
        }
    }
    let patience = Patience { one_try: plan.timeout, one_shot: probe.one_shot };
    let mut address = first;
    for attempt in 0..=plan.retries {
        if attempt > 0 {
            say(&format!("not open yet, knocking again ({attempt} of {})", plan.retries));
            sleep(way.pause(attempt).min(PAUSE_MAX));
        }
        address = send_to_one(&plan.addresses, attempt, way, say)?;
        let done = |became| Done::new(became, attempt + 1, address);
        match port::wait_for(probe.beside(address), patience) {
            Port::Open(stream) => {
                way.worked()?;
                return Ok(Done { stream: Some(stream), ..done(Became::Opened) });
            }
            Port::Refused => {
                way.worked()?;
                return Ok(done(Became::Refused));
            }
            Port::Silent => {}
        }
    }
    Ok(Done::new(Became::StillShut, plan.retries.saturating_add(1), address))
}

/// Knocks at one address, another one with each attempt. Where nothing can be sent to one, the next
/// is taken.
fn send_to_one(
    addresses: &[SocketAddr],
    attempt: u32,
    way: &mut dyn Way,
    say: &mut dyn FnMut(&str),
) -> Outcome<SocketAddr> {
    let turn = usize::try_from(attempt).unwrap_or(0) % addresses.len().max(1);
    let in_turn = addresses.iter().cycle().skip(turn).take(addresses.len());
    let mut failure = None;
    for &address in in_turn {
        match way.send(address, attempt > 0, say) {
            Ok(()) => return Ok(address),
            Err(Failure::Unreachable(why)) => {
                say(&why);
                failure = Some(Failure::Unreachable(why));
            }
            Err(other) => return Err(other),
        }
    }
    Err(failure.unwrap_or_else(|| Failure::Unreachable("the gateway has no address".to_owned())))
}

/// Knocks at every address: whoever connects next may take either.
fn send_to_all(
    addresses: &[SocketAddr],
    way: &mut dyn Way,
    say: &mut dyn FnMut(&str),
) -> Outcome<SocketAddr> {
    let mut reached = None;
    let mut failure = None;
    for &address in addresses {
        match send_to_one(&[address], 0, way, say) {
            Ok(address) => reached = reached.or(Some(address)),
            Err(other @ Failure::Unreachable(_)) => failure = Some(other),
            Err(other) => return Err(other),
        }
    }
    match (reached, failure) {
        (Some(address), _) => Ok(address),
        (None, failure) => {
            Err(failure.unwrap_or_else(|| Failure::Unreachable("the gateway has no address".to_owned())))
        }
    }
}

#[cfg(test)]
mod tests;
