//! Knocking by hand: frames with a chosen source, at chosen times.

use std::net::IpAddr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::frame::{Link, Payload, frame};
use crate::host::Host;
use crate::namespace::Namespace;
use crate::process;
use crate::sender::FrameSender;

/// Sends knocks from `eth0` of one host to another, with any source address.
#[derive(Debug)]
pub struct Knocker {
    sender: FrameSender,
    link: Link,
}

impl Knocker {
    /// Knocks from `host` at `gateway`.
    ///
    /// # Errors
    /// When the host has no `eth0`.
    pub fn new(host: &Host, gateway: &Host) -> Result<Self> {
        let sender = FrameSender::open(&host.namespace, "eth0")?;
        Ok(Self { sender, link: Link { source: host.mac, target: gateway.mac, tags: Vec::new() } })
    }

    /// The same with VLAN tags, from the outside in (see [`Link::tags`]).
    #[must_use]
    pub fn tagged(mut self, tags: &[(u16, u16)]) -> Self {
        self.link.tags = tags.to_vec();
        self
    }

    /// One knock.
    ///
    /// # Errors
    /// From the kernel.
    pub fn knock(&self, source: IpAddr, target: IpAddr, knock: Payload) -> Result<()> {
        self.sender.send(&frame(&self.link, source, target, 40_000, knock))
    }

    /// A whole sequence with `pause` between two knocks.
    ///
    /// # Errors
    /// From the kernel.
    pub fn sequence(
        &self,
        source: IpAddr,
        target: IpAddr,
        knocks: &[Payload],
        pause: Duration,
    ) -> Result<()> {
        for (position, &knock) in knocks.iter().enumerate() {
            if position > 0 {
                thread::sleep(pause);
            }
            self.knock(source, target, knock)?;
        }
        Ok(())
    }

    /// Knocks of many at their times, measured from now; `plan` need not be in order.
    ///
    /// # Errors
    /// From the kernel.
    pub fn play(&self, target: IpAddr, mut plan: Vec<(Duration, IpAddr, Payload)>) -> Result<()> {
        plan.sort_by_key(|(due, ..)| *due);
        let started = Instant::now();
        for (due, source, knock) in plan {
            if let Some(early) = due.checked_sub(started.elapsed()) {
                thread::sleep(early);
            }
            self.knock(source, target, knock)?;
        }
        Ok(())
    }
}

/// Knocks with the stock client: `knock HOST 7351:tcp ...`, five milliseconds apart.
///
/// # Errors
/// When the client fails, or a knock is an echo request, which it cannot send.
pub fn stock(namespace: &Namespace, target: IpAddr, knocks: &[Payload]) -> Result<()> {
    let mut command = namespace.command("knock")?;
    command.arg(if target.is_ipv4() { "-4" } else { "-6" }).args(["-d", "5", &target.to_string()]);
    for knock in knocks {
        match knock {
            Payload::Tcp { port, .. } => command.arg(format!("{port}:tcp")),
            Payload::Udp { port } => command.arg(format!("{port}:udp")),
            Payload::Echo { .. } => bail!("the stock client cannot send {knock}"),
        };
    }
    process::success(&mut command)?;
    Ok(())
}

/// The plan of clients that start `every` after each other and knock `pause` apart, so that their
/// sequences overlap.
pub fn overlapping(
    sources: &[IpAddr],
    knocks: impl Fn(usize) -> Vec<Payload>,
    every: Duration,
    pause: Duration,
) -> Vec<(Duration, IpAddr, Payload)> {
    let times = |number: usize, source: IpAddr| {
        let due = move |step: usize| {
            every * u32::try_from(number).unwrap_or(0) + pause * u32::try_from(step).unwrap_or(0)
        };
        knocks(number)
            .into_iter()
            .enumerate()
            .map(move |(step, knock)| (due(step), source, knock))
            .collect::<Vec<_>>()
    };
    sources.iter().enumerate().flat_map(|(number, &source)| times(number, source)).collect()
}
