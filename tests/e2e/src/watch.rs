//! The witness: tcpdump at a client, to show that nothing answers.

use std::net::{SocketAddr, UdpSocket};

use anyhow::{Context, Result, ensure};

use crate::host::Host;
use crate::process::{Background, wait_until};

/// UDP discard (RFC 863): the port of the packet that marks the end of a watch.
const MARK: u16 = 9;

/// Watches which IP packets `gateway` sends to a client (link-layer address resolution is not
/// looked at), until [`Witness::finish`].
#[derive(Debug)]
pub struct Witness {
    tcpdump: Background,
    host: Host,
    gateway: Host,
}

impl Witness {
    /// Starts to watch; ready when this returns.
    ///
    /// # Errors
    /// When tcpdump does not start.
    pub fn start(host: &Host, gateway: &Host) -> Result<Self> {
        Self::start_with(host, gateway, "")
    }

    /// The same for packets that also match `filter`, a tcpdump expression such as
    /// `and tcp src port 22`.
    ///
    /// # Errors
    /// When tcpdump does not start.
    pub fn start_with(host: &Host, gateway: &Host, filter: &str) -> Result<Self> {
        let (v4, v6) = (gateway.v4, gateway.v6);
        let expression = format!(
            "((ip src host {v4} or ip6 src host {v6}) and not multicast {filter}) or udp dst port {MARK}"
        );
        let options = ["-i", "eth0", "-n", "-l", "--immediate-mode", &expression];
        let mut tcpdump = host.namespace.start("tcpdump", &options)?;
        tcpdump.wait_for_line("listening on", 0)?;
        Ok(Self { tcpdump, host: host.clone(), gateway: gateway.clone() })
    }

    /// Everything seen until now, one line a packet. A packet of our own marks the end, so that
    /// nothing that came before it is missed.
    ///
    /// # Errors
    /// When the mark is not seen.
    pub fn finish(self) -> Result<Vec<String>> {
        let target = SocketAddr::new(self.gateway.v4.into(), MARK);
        self.host
            .namespace
            .enter(|| UdpSocket::bind((self.host.v4, 0)).and_then(|socket| socket.send_to(b"end", target)))
            .context("cannot send the mark")?;
        let mark = format!("> {}.{MARK}: UDP", self.gateway.v4);
        let lines = wait_until("tcpdump to show the mark", || {
            let lines = self.tcpdump.stdout().all();
            let end = lines.iter().position(|line| line.contains(&mark))?;
            Some(lines[..end].to_vec())
        })?;
        Ok(lines)
    }

    /// Shows that nothing at all came back.
    ///
    /// # Errors
    /// With the packets that did.
    pub fn expect_silence(self) -> Result<()> {
        let lines = self.finish()?;
        ensure!(lines.is_empty(), "the gateway should send nothing at all, but sent:\n{}", lines.join("\n"));
        Ok(())
    }
}
