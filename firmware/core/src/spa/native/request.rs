//! What a client asks for, and its 80 octets inside the seal.
//!
//! ```text
//!  0  action     u8      1 open, 2 close
//!  1  flags      u8      bit 0: one-shot; the others zero
//!  2  sources    u8      claimed sources, 0 to 2; 0 is "as seen"
//!  3  zero       u8
//!  4  lease      u32 be  seconds wanted; 0 is the door's own time
//!  8  counter    u64 be
//! 16  door       32      name in ASCII, filled up with zeros
//! 48  source 1   16      IPv6 address, or IPv4 as ::ffff:a.b.c.d; zero when not claimed
//! 64  source 2   16      likewise
//! ```
//!
//! One request has one encoding: whatever is reserved or unused is zero and is checked.

use core::net::{IpAddr, Ipv6Addr};

use heapless::Vec;

use crate::limits::NAME_BYTES_MAX;
use crate::rule::{Name, Purpose};

/// Octets of a request.
pub const REQUEST_BYTES: usize = 80;

/// Sources one request may claim: one for each family of a dual-stack client.
pub const CLAIMS_MAX: usize = 2;

const ONE_SHOT: u8 = 1;
const ADDRESS_BYTES: usize = 16;

const _: () = assert!(16 + NAME_BYTES_MAX + CLAIMS_MAX * ADDRESS_BYTES == REQUEST_BYTES);

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// To open or to close.
    pub purpose: Purpose,
    /// Which door, by name: a request outlives a new order of the doors.
    pub door: Name,
    /// Rises with every packet, see [`crate::spa::replay`].
    pub counter: u64,
    /// Seconds wanted; 0 is the door's own time.
    pub lease_secs: u32,
    /// For whom; nobody is "for whom the packet is seen to come from".
    pub claimed: Vec<IpAddr, CLAIMS_MAX>,
    /// Whether the first new connection shall use the grant up.
    pub one_shot: bool,
}

/// Why octets are no request, or a request has no octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Malformed {
    /// Neither open nor close, or a close that wants a lease or is one-shot.
    Action,
    /// A flag this version does not know.
    Flags,
    /// More than [`CLAIMS_MAX`] sources, the same one twice, or one that no client can have.
    Source,
    /// Not a door's name.
    Door,
    /// What must be zero is not.
    Padding,
}

impl Malformed {
    /// Short lower-case words for an audit line.
    pub const fn reason(self) -> &'static str {
        match self {
            Malformed::Action => "action-unknown",
            Malformed::Flags => "flags-unknown",
            Malformed::Source => "source-impossible",
            Malformed::Door => "door-malformed",
            Malformed::Padding => "padding-not-zero",
        }
    }
}

impl Request {
    /// Opens `door` for as long as it says, for the address the packet comes from.
    pub const fn open(door: Name, counter: u64) -> Self {
        Self { purpose: Purpose::Open, door, counter, lease_secs: 0, claimed: Vec::new(), one_shot: false }
    }

    /// The octets.
    ///
    /// # Errors
    /// [`Malformed`], as whoever reads them would say.
    pub fn encode(&self) -> Result<[u8; REQUEST_BYTES], Malformed> {
        let mut octets = [0; REQUEST_BYTES];
        let mut rest = octets.as_mut_slice();
        let action = match self.purpose {
            Purpose::Open => 1,
            Purpose::Close => 2,
        };
        let flags = if self.one_shot { ONE_SHOT } else { 0 };
        let sources = u8::try_from(self.claimed.len()).map_err(|_| Malformed::Source)?;
        put(&mut rest, &[action, flags, sources, 0]);
        put(&mut rest, &self.lease_secs.to_be_bytes());
        put(&mut rest, &self.counter.to_be_bytes());
        let mut door = [0; NAME_BYTES_MAX];
        for (to, from) in door.iter_mut().zip(self.door.bytes()) {
            *to = from;
        }
        put(&mut rest, &door);
        for source in &self.claimed {
            let mapped = match source {
                IpAddr::V4(v4) => v4.to_ipv6_mapped(),
                IpAddr::V6(v6) => *v6,
            };
            put(&mut rest, &mapped.octets());
        }
        // Whoever reads it is the judge, also of an IPv4-mapped IPv6 address, which has no octets.
        if Self::decode(&octets)? == *self { Ok(octets) } else { Err(Malformed::Source) }
    }

    /// Reads octets whose tag was right.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn decode(octets: &[u8; REQUEST_BYTES]) -> Result<Self, Malformed> {
        let mut rest = octets.as_slice();
        let [action, flags, sources, zero] = take(&mut rest);
        let lease_secs = u32::from_be_bytes(take(&mut rest));
        let counter = u64::from_be_bytes(take(&mut rest));
        let one_shot = match flags {
            0 => false,
            ONE_SHOT => true,
            _ => return Err(Malformed::Flags),
        };
        let purpose = match action {
            1 => Purpose::Open,
            2 if lease_secs == 0 && !one_shot => Purpose::Close,
            _ => return Err(Malformed::Action),
        };
        let door = read_door(&take(&mut rest))?;
        let claimed = read_sources(sources, &[take(&mut rest), take(&mut rest)])?;
        if zero != 0 {
            return Err(Malformed::Padding);
        }
        Ok(Self { purpose, door, counter, lease_secs, claimed, one_shot })
    }
}

fn read_door(octets: &[u8; NAME_BYTES_MAX]) -> Result<Name, Malformed> {
    let length = octets.iter().position(|&octet| octet == 0).unwrap_or(NAME_BYTES_MAX);
    let (name, padding) = octets.split_at_checked(length).ok_or(Malformed::Door)?;
    if padding.iter().any(|&octet| octet != 0) {
        return Err(Malformed::Padding);
    }
    let named = |octet: &u8| octet.is_ascii_alphanumeric() || b"-_.".contains(octet);
    if name.is_empty() || !name.iter().all(named) {
        return Err(Malformed::Door);
    }
    let mut door = Name::new();
    for &octet in name {
        door.push(char::from(octet)).map_err(|()| Malformed::Door)?;
    }
    Ok(door)
}

fn read_sources(
    count: u8,
    octets: &[[u8; ADDRESS_BYTES]; CLAIMS_MAX],
) -> Result<Vec<IpAddr, CLAIMS_MAX>, Malformed> {
    let mut claimed = Vec::new();
    if usize::from(count) > CLAIMS_MAX {
        return Err(Malformed::Source);
    }
    for (index, octets) in octets.iter().enumerate() {
        if index >= usize::from(count) {
            if *octets != [0; ADDRESS_BYTES] {
                return Err(Malformed::Padding);
            }
            continue;
        }
        let source = Ipv6Addr::from(*octets).to_canonical();
        if !may_be_claimed(source) || claimed.contains(&source) {
            return Err(Malformed::Source);
        }
        claimed.push(source).map_err(|_| Malformed::Source)?;
    }
    Ok(claimed)
}

/// Whether a host can have this address and send from it.
pub(in crate::spa) fn may_be_claimed(source: IpAddr) -> bool {
    let broadcast = matches!(source, IpAddr::V4(v4) if v4.is_broadcast());
    !source.is_unspecified() && !source.is_loopback() && !source.is_multicast() && !broadcast
}

/// Takes the next `N` octets; the lengths add up to [`REQUEST_BYTES`].
fn take<const N: usize>(rest: &mut &[u8]) -> [u8; N] {
    let Some((head, behind)) = rest.split_first_chunk() else { return [0; N] };
    *rest = behind;
    *head
}

/// Writes the next octets; what is too long is left out, and missed when it is read again.
fn put(rest: &mut &mut [u8], octets: &[u8]) {
    let whole = core::mem::take(rest);
    let Some((head, behind)) = whole.split_at_mut_checked(octets.len()) else { return };
    for (to, from) in head.iter_mut().zip(octets) {
        *to = *from;
    }
    *rest = behind;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> Request {
        let claimed = [IpAddr::from([192, 0, 2, 7]), IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 7])];
        Request {
            purpose: Purpose::Open,
            door: "pump-station.17_a".try_into().unwrap(),
            counter: 0x0001_0198_7654_3210,
            lease_secs: 900,
            claimed: Vec::from_slice(&claimed).unwrap(),
            one_shot: true,
        }
    }

    #[test]
    fn every_field_has_its_place() {
        let octets = full().encode().unwrap();
        assert_eq!(octets[..8], [1, 1, 2, 0, 0, 0, 3, 132]);
        assert_eq!(octets[8..16], [0, 1, 1, 0x98, 0x76, 0x54, 0x32, 0x10]);
        assert_eq!(&octets[16..34], b"pump-station.17_a\0");
        assert_eq!(octets[34..48], [0; 14]);
        assert_eq!(octets[48..64], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 7]);
        assert_eq!(octets[64..], [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7]);
        assert_eq!(Request::decode(&octets), Ok(full()));
    }

    #[test]
    fn what_is_read_is_written_again_or_refused() {
        let octets = full().encode().unwrap();
        for at in 0..REQUEST_BYTES {
            for change in 1..=u8::MAX {
                let mut other = octets;
                other[at] ^= change;
                if let Ok(request) = Request::decode(&other) {
                    assert_eq!(request.encode(), Ok(other), "octet {at} by {change}");
                    assert_ne!(request, full());
                }
            }
        }
    }

    #[test]
    fn each_refusal_has_its_name() {
        let refused = |at: usize, octet: u8| {
            let mut octets = full().encode().unwrap();
            octets[at] = octet;
            Request::decode(&octets).unwrap_err()
        };
        assert_eq!(refused(0, 0), Malformed::Action);
        assert_eq!(refused(0, 2), Malformed::Action, "a close wants no lease");
        assert_eq!(refused(1, 2), Malformed::Flags);
        assert_eq!(refused(2, 3), Malformed::Source);
        assert_eq!(refused(2, 1), Malformed::Padding, "a source that is not claimed");
        assert_eq!(refused(3, 1), Malformed::Padding);
        assert_eq!(refused(16, 0), Malformed::Padding, "a name of nothing with something behind");
        assert_eq!(refused(16, b'/'), Malformed::Door);
        assert_eq!(refused(47, 1), Malformed::Padding);
        assert_eq!(refused(60, 127), Malformed::Source, "loopback");
        assert_eq!(refused(64, 0xff), Malformed::Source, "multicast");
    }

    #[test]
    fn requests_without_octets_are_refused() {
        let mapped = Ipv6Addr::from([0, 0, 0, 0, 0, 0xffff, 0xc000, 0x0207]);
        for claimed in [
            &[IpAddr::V6(mapped)][..],
            &[IpAddr::from([0, 0, 0, 0])],
            &[IpAddr::from([192, 0, 2, 7]), IpAddr::from([192, 0, 2, 7])],
        ] {
            let request = Request { claimed: Vec::from_slice(claimed).unwrap(), ..full() };
            assert_eq!(request.encode(), Err(Malformed::Source), "{claimed:?}");
        }
        assert_eq!(Request { door: Name::new(), ..full() }.encode(), Err(Malformed::Door));
        let closing = Request { purpose: Purpose::Close, ..full() };
        assert_eq!(closing.encode(), Err(Malformed::Action));
        let closing = Request { lease_secs: 0, one_shot: false, ..closing };
        assert!(closing.encode().is_ok());
    }
}
