//! Ports that services use: a knock on one of them is touched by anybody who looks for the service.

/// Registered ports above 1023 that scanners and clients try often (IANA service names, and the
/// usual ports of industrial protocols).
const KNOWN: &[(u16, &str)] = &[
    (1080, "socks"),
    (1194, "openvpn"),
    (1433, "ms-sql"),
    (1521, "oracle"),
    (1723, "pptp"),
    (1883, "mqtt"),
    (1900, "ssdp"),
    (1911, "niagara-fox"),
    (2049, "nfs"),
    (2222, "ethernet-ip / ssh"),
    (2404, "iec-60870-5-104"),
    (3128, "proxy"),
    (3306, "mysql"),
    (3389, "rdp"),
    (4500, "ipsec-nat-t"),
    (4840, "opc-ua"),
    (4911, "niagara-foxs"),
    (5060, "sip"),
    (5061, "sips"),
    (5353, "mdns"),
    (5432, "postgresql"),
    (5672, "amqp"),
    (5683, "coap"),
    (5900, "vnc"),
    (6379, "redis"),
    (6443, "kubernetes"),
    (8000, "http-alt"),
    (8008, "http-alt"),
    (8080, "http-proxy"),
    (8443, "https-alt"),
    (8883, "mqtts"),
    (8888, "http-alt"),
    (9000, "http-alt"),
    (9090, "http-alt"),
    (9100, "printer"),
    (9200, "elasticsearch"),
    (11211, "memcached"),
    (18245, "ge-srtp"),
    (20000, "dnp3"),
    (27017, "mongodb"),
    (34962, "profinet-rt"),
    (34963, "profinet-rtm"),
    (34964, "profinet-cm"),
    (44818, "ethernet-ip"),
    (47808, "bacnet"),
    (51820, "wireguard"),
    (62201, "fwknop / postern spa"),
];

/// The ports below which Linux wants privilege to listen: services of the system.
pub const FIRST_UNPRIVILEGED_PORT: u16 = 1024;

/// Linux picks source ports of its own connections from here to [`EPHEMERAL_LAST`]
/// (`net.ipv4.ip_local_port_range`): answers to them come in there.
pub const EPHEMERAL_FIRST: u16 = 32_768;

/// See [`EPHEMERAL_FIRST`].
pub const EPHEMERAL_LAST: u16 = 60_999;

/// What service uses `port`, if one does.
pub fn service_on(port: u16) -> Option<&'static str> {
    if port < FIRST_UNPRIVILEGED_PORT {
        return Some("a system service");
    }
    KNOWN.iter().find(|(known, _)| *known == port).map(|(_, name)| *name)
}

/// Every port of which [`service_on`] knows a service, above the system's.
pub fn well_known_ports() -> impl Iterator<Item = u16> {
    KNOWN.iter().map(|(port, _)| *port)
}

/// Payload lengths that `ping` programs send when not told otherwise: Linux 56, Windows 32, some
/// devices 0, 8, 64 and 100.
pub const STOCK_PING_OCTETS: [u16; 6] = [0, 8, 32, 56, 64, 100];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sorted_and_known() {
        assert!(KNOWN.windows(2).all(|pair| pair[0].0 < pair[1].0));
        assert!(service_on(22).is_some() && service_on(47_808).is_some());
        assert_eq!(service_on(7351), None);
    }
}
