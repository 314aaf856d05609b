//! Who listens here, from `/proc/net` (proc(5)).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use postern_core::knock::Transport;

/// A socket that takes connections or datagrams from anywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Listener {
    pub(super) transport: Transport,
    pub(super) address: IpAddr,
    pub(super) port: u16,
}

/// State `TCP_LISTEN` of `<net/tcp_states.h>`; a UDP socket that is not connected is `TCP_CLOSE`.
const TCP_LISTEN: &str = "0A";
const UDP_UNCONNECTED: &str = "07";

/// All listeners of this network namespace.
pub(super) fn listeners() -> Vec<Listener> {
    let tables = [
        ("tcp", Transport::Tcp),
        ("tcp6", Transport::Tcp),
        ("udp", Transport::Udp),
        ("udp6", Transport::Udp),
    ];
    let read = |(name, transport)| {
        let text = std::fs::read_to_string(format!("/proc/net/{name}")).unwrap_or_default();
        parse(&text, transport)
    };
    tables.into_iter().flat_map(read).collect()
}

fn parse(text: &str, transport: Transport) -> Vec<Listener> {
    let wanted = if transport == Transport::Tcp { TCP_LISTEN } else { UDP_UNCONNECTED };
    let line = |line: &str| {
        let mut words = line.split_whitespace();
        let (local, state) = (words.nth(1)?, words.nth(1)?);
        let (address, port) = local.split_once(':')?;
        let listener =
            Listener { transport, address: address_of(address)?, port: u16::from_str_radix(port, 16).ok()? };
        (state == wanted).then_some(listener)
    };
    text.lines().skip(1).filter_map(line).collect()
}

/// Words of four octets, each in the machine's order.
fn address_of(hex: &str) -> Option<IpAddr> {
    let word = |at: usize| u32::from_str_radix(hex.get(at..at + 8)?, 16).ok().map(u32::to_ne_bytes);
    if hex.len() == 8 {
        return Some(Ipv4Addr::from(word(0)?).into());
    }
    let mut octets = [0; 16];
    for (index, part) in octets.chunks_mut(4).enumerate() {
        part.copy_from_slice(&word(8 * index)?);
    }
    let address = Ipv6Addr::from(octets);
    Some(address.to_ipv4_mapped().map_or(address.into(), IpAddr::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_are_told_from_connections() {
        let text = "  sl  local_address rem_address   st\n\
                    0: 0100007F:0016 00000000:0000 0A 0\n\
                    1: 00000000:01F6 00000000:0000 0A 0\n\
                    2: 0100007F:0016 0100007F:C001 01 0\n";
        let found = parse(text, Transport::Tcp);
        let ports: Vec<(bool, u16)> =
            found.iter().map(|found| (found.address.is_loopback(), found.port)).collect();
        assert_eq!(ports, [(true, 22), (false, 502)]);
        let six = "x\n0: 00000000000000000000000001000000:0016 0:0 0A\n";
        assert!(parse(six, Transport::Tcp)[0].address.is_loopback());
    }
}
