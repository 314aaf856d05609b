//! Who is whose neighbour, bit by bit: shares nothing with the arithmetic of the product.

use std::net::IpAddr;

use postern_core::network::Network;
use postern_core::rule::Reach;

/// The bits of an address, the first one first.
fn bits(address: IpAddr) -> Vec<bool> {
    let octets = match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    octets.iter().flat_map(|octet| (0..8).rev().map(move |bit| octet & (1 << bit) != 0)).collect()
}

fn address(bits: &[bool]) -> IpAddr {
    let octet = |bits: &[bool]| bits.iter().fold(0_u8, |octet, &bit| octet << 1 | u8::from(bit));
    let octets: Vec<u8> = bits.chunks(8).map(octet).collect();
    match <[u8; 4]>::try_from(octets.as_slice()) {
        Ok(v4) => v4.into(),
        Err(_) => <[u8; 16]>::try_from(octets).expect("an address of either family").into(),
    }
}

/// Whom a grant to `source` lets in.
pub fn neighbourhood(source: IpAddr, reach: Reach) -> Network {
    let prefix = if source.is_ipv4() { reach.v4 } else { reach.v6 };
    let mut bits = bits(source);
    bits.iter_mut().skip(prefix.into()).for_each(|bit| *bit = false);
    Network { address: address(&bits), prefix }
}

/// Whether `source` lives in `network`.
pub fn lives_in(source: IpAddr, network: Network) -> bool {
    let (theirs, ours) = (bits(source), bits(network.address));
    theirs.len() == ours.len() && theirs.iter().zip(&ours).take(network.prefix.into()).all(|(a, b)| a == b)
}

/// The last one inside of `network` and the first one behind it.
pub fn inside_and_outside(network: Network) -> [IpAddr; 2] {
    let mut inside = bits(network.address);
    let mut outside = inside.clone();
    inside.iter_mut().skip(network.prefix.into()).for_each(|bit| *bit = true);
    if let Some(last) = outside.get_mut(usize::from(network.prefix) - 1) {
        *last = !*last;
    }
    [address(&inside), address(&outside)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_by_hand() {
        let reach = Reach { v4: 29, v6: 56 };
        let v4 = neighbourhood("198.51.100.13".parse().unwrap(), reach);
        assert_eq!((v4.address, v4.prefix), ("198.51.100.8".parse().unwrap(), 29));
        assert_eq!(
            inside_and_outside(v4).map(|address| address.to_string()),
            ["198.51.100.15", "198.51.100.0"]
        );
        let v6 = neighbourhood("2001:db8:0:177::5".parse().unwrap(), reach);
        assert_eq!((v6.address, v6.prefix), ("2001:db8:0:100::".parse().unwrap(), 56));
        let [inside, outside] = inside_and_outside(v6);
        assert_eq!(inside.to_string(), "2001:db8:0:1ff:ffff:ffff:ffff:ffff");
        assert!(lives_in(inside, v6) && !lives_in(outside, v6) && !lives_in(v4.address, v6));
    }
}
