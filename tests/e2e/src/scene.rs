//! The usual cast: a gateway with a service behind its gate, a client who knows the knock, and a
//! stranger who does not.

use std::net::SocketAddr;

use anyhow::{Result, ensure};

use crate::frame::Payload;
use crate::gate::Gate;
use crate::host::Host;
use crate::knock::Knocker;
use crate::lab::Lab;
use crate::listener::Listener;
use crate::probe::{self, Session};
use crate::process::LOOK_EVERY;
use crate::site::{DoorText, Site};

/// The guarded service of most scenarios.
pub const SSH: u16 = 22;
/// Services that always listen; which of them are guarded is the site's affair.
pub const SERVICES: [u16; 3] = [SSH, 161, 502];

/// A sequence of every protocol.
pub const MIXED: [Payload; 4] =
    [Payload::syn(7351), Payload::udp(24011), Payload::echo(83), Payload::syn(1490)];
/// A sequence of TCP alone.
pub const TCP: [Payload; 4] =
    [Payload::syn(17351), Payload::syn(9011), Payload::syn(31490), Payload::syn(4722)];
/// A sequence of UDP alone.
pub const UDP: [Payload; 4] =
    [Payload::udp(15402), Payload::udp(8207), Payload::udp(28333), Payload::udp(5120)];
/// A sequence of echo requests alone.
pub const ECHO: [Payload; 4] =
    [Payload::echo(417), Payload::echo(83), Payload::echo(950), Payload::echo(222)];

/// A laboratory with a gate at work. Fields are dropped in this order.
#[derive(Debug)]
pub struct Scene {
    /// The daemon.
    pub gate: Gate,
    /// The services.
    pub listener: Listener,
    /// The guarded box.
    pub gateway: Host,
    /// Who knocks.
    pub client: Host,
    /// Who does not.
    pub stranger: Host,
    /// Everything's home.
    pub lab: Lab,
}

impl Scene {
    /// Sets it up; the gate is ready when this returns.
    ///
    /// # Errors
    /// When anything of it fails.
    pub fn set(site: &Site) -> Result<Self> {
        let lab = Lab::new()?;
        let gateway = lab.host("gateway")?;
        let client = lab.host("client")?;
        let stranger = lab.host("stranger")?;
        let listener = Listener::start(&gateway.namespace, &SERVICES)?;
        let gate = Gate::start(&lab, &gateway.namespace, site)?;
        Ok(Self { gate, listener, gateway, client, stranger, lab })
    }

    /// The same with one door to [`SSH`].
    ///
    /// # Errors
    /// As [`Scene::set`].
    pub fn with_door(site: Site, knocks: &[Payload], open_for: &str) -> Result<Self> {
        Self::set(&site.door(DoorText::new("ssh", &["tcp/22"], knocks).open_for(open_for)))
    }

    /// The guarded service over IPv4.
    pub fn ssh(&self) -> SocketAddr {
        SocketAddr::new(self.gateway.v4.into(), SSH)
    }

    /// The guarded service over both families.
    pub fn ssh_both(&self) -> [SocketAddr; 2] {
        self.gateway.addresses().map(|address| SocketAddr::new(address, SSH))
    }

    /// Knocks with hand-made frames of the client, as fast as they go.
    ///
    /// # Errors
    /// From the kernel.
    pub fn knock(&self, knocks: &[Payload]) -> Result<()> {
        let knocker = Knocker::new(&self.client, &self.gateway)?;
        knocker.sequence(self.client.v4.into(), self.gateway.v4.into(), knocks, LOOK_EVERY)
    }

    /// Lets the client in and shows it by a greeting.
    ///
    /// # Errors
    /// When it is not let in.
    pub fn expect_client_in(&self, target: SocketAddr) -> Result<Session> {
        let session = Session::get_in(&self.client.namespace, None, target)?;
        let wanted = format!("hello from tcp/{}", target.port());
        ensure!(session.greeting() == wanted, "wanted {wanted:?}, was greeted with {:?}", session.greeting());
        Ok(session)
    }

    /// Shows that the client is not let in.
    ///
    /// # Errors
    /// When it is, or is refused loudly.
    pub fn expect_client_out(&self, target: SocketAddr) -> Result<()> {
        probe::expect_silence(&self.client.namespace, None, target)
    }

    /// Shows that the stranger is not let in.
    ///
    /// # Errors
    /// When it is, or is refused loudly.
    pub fn expect_stranger_out(&self, target: SocketAddr) -> Result<()> {
        probe::expect_silence(&self.stranger.namespace, None, target)
    }
}
