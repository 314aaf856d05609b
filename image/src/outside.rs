//! The world outside of a running appliance: its wire, and two clients on it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use postern_e2e::probe::{self, Answer};
use postern_e2e::process::Background;
use postern_e2e::{Lab, Namespace};

/// Address of the appliance, from the range for benchmarks (RFC 2544).
pub const APPLIANCE: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);

/// Address of the client that knocks.
pub const CLIENT: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 3);

/// Address of one that does not.
pub const STRANGER: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 4);

/// The same for IPv6, from the range for documentation (RFC 3849).
pub const APPLIANCE6: Ipv6Addr = v6(2);

/// The client's address there.
pub const CLIENT6: Ipv6Addr = v6(3);

/// The address of who does not knock.
pub const STRANGER6: Ipv6Addr = v6(4);

const fn v6(last: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 0x18, 0, 0, 0, 0, last)
}

/// Address of the appliance that somebody with this one talks to.
pub fn appliance_for(source: IpAddr) -> IpAddr {
    if source.is_ipv4() { APPLIANCE.into() } else { APPLIANCE6.into() }
}

/// Patience with a port that is expected to say nothing: an emulated machine takes milliseconds.
const SILENCE: Duration = Duration::from_millis(1500);

/// A namespace with the appliance's wire, a witness on it, and the clients.
#[derive(Debug)]
pub struct Outside {
    /// Where clients and the tap device are.
    pub namespace: Namespace,
    witness: Background,
}

impl Outside {
    /// Makes it, and starts to watch the wire before anything is switched on.
    ///
    /// # Errors
    /// When the kernel has no tap devices or tcpdump does not start.
    pub fn new(lab: &Lab) -> Result<Self> {
        ensure!(
            std::path::Path::new("/dev/net/tun").exists(),
            "the kernel has no tap devices (CONFIG_TUN, /dev/net/tun)"
        );
        let namespace = lab.namespace("outside")?;
        namespace.ip("tuntap add dev tap0 mode tap")?;
        for address in [CLIENT, STRANGER] {
            namespace.ip(&format!("addr add {address}/24 dev tap0"))?;
        }
        // A program that names no source is the client.
        namespace.ip(&format!("addr add {CLIENT6}/64 dev tap0 nodad"))?;
        namespace.ip(&format!("addr add {STRANGER6}/64 dev tap0 nodad preferred_lft 0"))?;
        namespace.ip("link set tap0 up")?;
        let expression = format!("src host {APPLIANCE} and not arp");
        let options = ["-i", "tap0", "-n", "-l", "--immediate-mode", &expression];
        let mut witness = namespace.start("tcpdump", &options)?;
        witness.wait_for_line("listening on", 0)?;
        Ok(Self { namespace, witness })
    }

    /// What the appliance has sent over IP since it was switched on, one line a packet.
    pub fn sent(&self) -> Vec<String> {
        self.witness.stdout().all()
    }

    /// Tries SSH from `source`.
    ///
    /// # Errors
    /// When the attempt itself is impossible.
    pub fn try_ssh(&self, source: impl Into<IpAddr>) -> Result<Answer<String>> {
        self.try_port(source, 22)
    }

    /// Tries a port whose service greets.
    ///
    /// # Errors
    /// When the attempt itself is impossible.
    pub fn try_port(&self, source: impl Into<IpAddr>, port: u16) -> Result<Answer<String>> {
        let source = source.into();
        let target = SocketAddr::new(appliance_for(source), port);
        Ok(match probe::connect(&self.namespace, Some(source), target, SILENCE)? {
            Answer::Open(stream) => {
                let mut line = String::new();
                let mut reader = std::io::BufReader::new(stream);
                std::io::BufRead::read_line(&mut reader, &mut line).context("the service does not greet")?;
                Answer::Open(line.trim_end().to_owned())
            }
            Answer::Refused => Answer::Refused,
            Answer::Unreachable => Answer::Unreachable,
            Answer::Silent => Answer::Silent,
        })
    }

    /// Shows that SSH says nothing to `source`.
    ///
    /// # Errors
    /// When it does.
    pub fn expect_silence(&self, source: impl Into<IpAddr>) -> Result<()> {
        let source = source.into();
        let answer = self.try_ssh(source)?;
        ensure!(answer.is_silent(), "{source} tried SSH and should hear nothing, but: {answer:?}");
        Ok(())
    }

    /// Knocks with the stock client from `source`.
    ///
    /// # Errors
    /// When the client fails.
    pub fn knock(&self, sequence: &[String]) -> Result<()> {
        // The stock client takes the source that routing gives: the first address.
        let target = APPLIANCE.to_string();
        let mut words = vec!["-d", "50", &target];
        words.extend(sequence.iter().map(String::as_str));
        self.namespace.run("knock", &words)?;
        Ok(())
    }
}

/// The sequence of the first door of a site, in the words of the stock client: `7351:tcp`.
///
/// # Errors
/// When the text has none, or one with echo requests.
pub fn sequence(site: &str) -> Result<Vec<String>> {
    let list = site.split("sequence = [").nth(1).and_then(|rest| rest.split(']').next());
    let words =
        list.context("the site has no sequence")?.split(',').map(|word| word.trim().trim_matches('"'));
    words
        .map(|word| match word.split_once('/') {
            Some((kind @ ("tcp" | "udp"), port)) => Ok(format!("{port}:{kind}")),
            _ => anyhow::bail!("the stock client cannot send {word}"),
        })
        .collect()
}

/// A knock of the stock client, `7351:tcp`, as the site has it: `tcp/7351`.
pub fn as_in_site(knock: &str) -> String {
    knock.split_once(':').map_or_else(|| knock.to_owned(), |(port, kind)| format!("{kind}/{port}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sequence_is_told_to_the_stock_client() {
        let site = "x = 1\nsequence = [\"tcp/7351\", \"udp/24011\"]\n";
        assert_eq!(sequence(site).unwrap(), ["7351:tcp", "24011:udp"]);
        assert!(sequence("sequence = [\"icmp/83\"]").is_err());
        assert_eq!(as_in_site("7351:tcp"), "tcp/7351");
    }
}
