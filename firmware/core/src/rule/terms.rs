//! What a grant of a door means beyond its ports and its time.

use core::net::IpAddr;

use super::Reach;

/// A service behind the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Behind {
    /// The host's address. Clients of the other family cannot be led there.
    pub host: IpAddr,
    /// Its port, of the transport of the door's only port.
    pub port: u16,
}

/// What a grant of a door means beyond its ports and its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The door leads to a service behind the gateway: the door's only port stands for it.
    pub behind: Option<Behind>,
    /// Established connections are cut when the grant ends. The kernel closes the door whatever
    /// happens; this needs a daemon that lives.
    pub cut_at_end: bool,
    /// The first new connection uses a grant up. Such a door has one port.
    pub one_shot: bool,
    /// How much of the network around a client a grant covers. Only plain doors open for more than who
    /// knocked.
    pub reach: Reach,
}

impl Terms {
    /// The terms of most doors: a service of the gateway itself, for who knocked, and connections go on.
    pub const PLAIN: Terms =
        Terms { behind: None, cut_at_end: false, one_shot: false, reach: Reach::SOURCE_ALONE };

    /// Whether a client at `source` can be let in: nobody is led to a host of the other family.
    pub fn can_admit(&self, source: IpAddr) -> bool {
        self.behind.is_none_or(|behind| behind.host.is_ipv4() == source.is_ipv4())
    }
}
