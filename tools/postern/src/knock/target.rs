//! Names and addresses of gateways.

use std::net::{SocketAddr, ToSocketAddrs};

use crate::remote::failure::{Failure, Outcome};

/// Which address family to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// What the name resolves to.
    Any,
    /// IPv4 only.
    V4,
    /// IPv6 only.
    V6,
}

impl Family {
    const fn fits(self, address: &SocketAddr) -> bool {
        match self {
            Family::Any => true,
            Family::V4 => address.is_ipv4(),
            Family::V6 => address.is_ipv6(),
        }
    }
}

/// The first address of each wanted family of `host`, in the order the system prefers them
/// (RFC 6724), with port 0. The scope of a link-local address, as in `fe80::1%eth0`, is kept: without
/// it nothing can be sent there. Brackets around an IPv6 address are taken off.
///
/// # Errors
/// [`Failure::Unreachable`] when the name does not resolve, or not in that family.
pub fn resolve(host: &str, family: Family) -> Outcome<Vec<SocketAddr>> {
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    let found = (bare, 0)
        .to_socket_addrs()
        .map_err(|error| Failure::Unreachable(format!("cannot resolve {host}: {error}")))?;
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for address in found.filter(|address| family.fits(address)) {
        if !addresses.iter().any(|other| other.is_ipv4() == address.is_ipv4()) {
            addresses.push(address);
        }
    }
    if addresses.is_empty() {
        return Err(Failure::Unreachable(format!("{host} has no address of the wanted family")));
    }
    if let Some(scopeless) = addresses.iter().find(|address| needs_scope(address)) {
        let ip = scopeless.ip();
        let what = format!("{ip} is on every link: say which interface leads there, {ip}%eth0");
        return Err(Failure::Unreachable(what));
    }
    Ok(addresses)
}

/// A link-local address without a scope (RFC 4007, section 6) names no host.
fn needs_scope(address: &SocketAddr) -> bool {
    matches!(address, SocketAddr::V6(v6) if v6.ip().is_unicast_link_local() && v6.scope_id() == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_kept_apart() {
        assert!(resolve("127.0.0.1", Family::V4).unwrap()[0].is_ipv4());
        assert!(resolve("127.0.0.1", Family::V6).is_err());
        assert!(resolve("::1", Family::V6).unwrap()[0].is_ipv6());
        assert!(resolve("[::1]", Family::Any).unwrap()[0].is_ipv6());
        assert!(resolve("", Family::Any).is_err());
    }

    #[test]
    fn a_scope_is_kept_and_asked_for() {
        let SocketAddr::V6(v6) = resolve("fe80::1%lo", Family::Any).unwrap()[0] else { panic!("not IPv6") };
        assert_eq!(v6.scope_id(), nix::net::if_::if_nametoindex("lo").unwrap());
        let said = resolve("fe80::1", Family::Any).unwrap_err().to_string();
        assert!(said.contains("fe80::1%eth0"), "{said}");
        assert!(resolve("fe80::1%no-such-link", Family::Any).is_err());
    }
}
