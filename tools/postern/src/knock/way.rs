//! What is sent: fixed knocks, one datagram, rotating knocks.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::thread::sleep;
use std::time::Duration;

use postern_core::knock::{Protocol, Step};

mod datagram;
mod rotating;

pub use datagram::DatagramWay;
pub use rotating::RotatingWay;

use super::{echo, syn};
use crate::profile::Fixed;
use crate::remote::failure::{Failure, Outcome};

/// One way to knock.
pub trait Way {
    /// Knocks at `address`, whose port means nothing. `again` says that the last one was in vain.
    ///
    /// # Errors
    /// [`Failure::Unreachable`] when nothing can be sent there; others when there is nothing to send.
    fn send(&mut self, address: SocketAddr, again: bool, say: &mut dyn FnMut(&str)) -> Outcome<()>;

    /// How long to wait before attempt number `attempt`, counted from 0.
    fn pause(&self, attempt: u32) -> Duration;

    /// The door opened after the last [`Way::send`].
    ///
    /// # Errors
    /// When that cannot be remembered.
    fn worked(&mut self) -> Outcome<()> {
        Ok(())
    }

    /// Whether the door may still be open from an earlier knock.
    fn knocked_lately(&self) -> bool {
        true
    }

    /// The counter of the last packet or sequence, when there is one.
    fn counter(&self) -> Option<u64> {
        None
    }
}

/// The same knocks each time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FixedWay(pub Fixed);

impl Way for FixedWay {
    fn send(&mut self, address: SocketAddr, _: bool, say: &mut dyn FnMut(&str)) -> Outcome<()> {
        sequence(address, &self.0.steps, self.0.delay, say)
    }

    fn pause(&self, attempt: u32) -> Duration {
        self.0.delay.saturating_mul(2).saturating_mul(attempt)
    }
}

/// Sends knocks in order.
fn sequence(address: SocketAddr, steps: &[Step], delay: Duration, say: &mut dyn FnMut(&str)) -> Outcome<()> {
    for (index, step) in steps.iter().enumerate() {
        if index > 0 {
            sleep(delay);
        }
        say(&format!("knock {} of {}: {step}", index + 1, steps.len()));
        one(address, *step).map_err(|error| {
            Failure::Unreachable(format!("cannot send {step} to {}: {error:#}", shown(address)))
        })?;
    }
    Ok(())
}

fn one(mut address: SocketAddr, step: Step) -> anyhow::Result<()> {
    match step.protocol {
        Protocol::Tcp => {
            address.set_port(step.value);
            syn::send(address)?;
        }
        Protocol::Udp => {
            address.set_port(step.value);
            socket_for(address)?.send_to(&[0], address)?;
        }
        Protocol::Icmp => echo::send(address, step.value)?,
    }
    Ok(())
}

/// A UDP socket of the same family as `address`.
fn socket_for(address: SocketAddr) -> std::io::Result<UdpSocket> {
    let any: IpAddr = if address.is_ipv4() { [0; 4].into() } else { [0_u16; 8].into() };
    UdpSocket::bind((any, 0))
}

/// An address without its port, with its scope.
pub(super) fn shown(address: SocketAddr) -> String {
    match address {
        SocketAddr::V6(v6) if v6.scope_id() != 0 => format!("{}%{}", v6.ip(), v6.scope_id()),
        other => other.ip().to_string(),
    }
}
