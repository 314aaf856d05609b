//! What the stock client asks for, and the text behind the cipher.
//!
//! ```text
//! random:user:time stamp:version:type:message[:nat access][:server auth][:client time-out]:digest
//! ```
//!
//! `user`, `message`, `nat access` and `server auth` are base64. `random` is 16 digits and looked at
//! first: with another key or another mode of the cipher there is noise in their place. The digest is
//! over all that stands before its colon; its length tells which it is. It proves nothing that the MAC
//! has not proved, and is checked because a packet without it is none of a stock client's.

use core::net::{IpAddr, Ipv4Addr};

use heapless::{String, Vec};
use sha2::{Digest, Sha256, Sha384, Sha512};

use super::base64;
use crate::knock::ServicePort;
use crate::limits::FWKNOP_PORTS_MAX;
use crate::spa::native::request::may_be_claimed;

/// Octets of the longest user name.
pub const USER_BYTES_MAX: usize = 63;

/// What the client says its user is called. The key says who it is; this is for the record only.
pub type User = String<USER_BYTES_MAX>;

/// Octets of a decoded message, and of a decoded address for NAT.
const MESSAGE_BYTES_MAX: usize = 192;

/// Digits of the random number.
const RANDOM_DIGITS: usize = 16;

/// Digits of the longest number: the stock server reads no longer time stamp.
const DIGITS_MAX: usize = 12;

/// Longest time-out the stock client may ask for, in seconds.
const TIMEOUT_SECS_MAX: u64 = 65_536;

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Who it says it is.
    pub user: User,
    /// The client's clock, in seconds since 1970.
    pub sent_at: u64,
    /// What it wants.
    pub wish: Wish,
}

/// What a client wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Ports opened (types 1 to 6).
    Access(Access),
    /// A command run (type 0). Its text is not kept: there is nothing here that could run it.
    Command,
}

/// Ports a client wants opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// For whom (`-a`, `-R`); `None` is "for whom the packet is seen to come from" (`-s`).
    pub claimed: Option<Ipv4Addr>,
    /// Which, at least one, in the client's order.
    pub ports: Vec<ServicePort, FWKNOP_PORTS_MAX>,
    /// Where they are.
    pub route: Route,
    /// Seconds wanted (`-f`); 0 is the door's own time.
    pub lease_secs: u32,
}

/// Where the ports are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// On the gateway.
    Gateway,
    /// Behind it (`-N`).
    Behind {
        /// The host behind the gateway.
        host: Ipv4Addr,
        /// Its port, as fwknopd takes it; the client's manual takes it for the gateway's.
        port: u16,
    },
    /// On the gateway, by another port (`--nat-local`).
    Local,
}

/// Why a text whose MAC was right is no request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Malformed {
    /// Noise: another encryption key, or another mode than CBC (`-M`).
    NotDecrypted,
    /// The digest inside is MD5 or SHA-1 (`-m`).
    DigestWeak,
    /// The digest inside is wrong, or of a kind nobody knows.
    Digest,
    /// Fields are missing or left over.
    Fields,
    /// No user name, or one the stock client refuses too.
    User,
    /// No time stamp.
    Time,
    /// No protocol version.
    Version,
    /// No type of message of a stock client.
    Kind,
    /// A message of another form than its type has.
    Message,
    /// Not the IPv4 address of a host.
    Source,
    /// No port, port 0, or neither TCP nor UDP.
    Port,
    /// More than [`FWKNOP_PORTS_MAX`] ports.
    TooManyPorts,
    /// No IPv4 address with a port to reach by NAT: names are not resolved here.
    Nat,
    /// It carries a server authentication, which no stock client has an option for.
    ServerAuth,
    /// No time-out of a stock client.
    Timeout,
}

impl Malformed {
    /// Short lower-case words for an audit line.
    pub const fn reason(self) -> &'static str {
        match self {
            Malformed::NotDecrypted => "fwknop-key-or-mode",
            Malformed::DigestWeak => "fwknop-digest-weak",
            Malformed::Digest => "fwknop-digest-wrong",
            Malformed::Fields => "fwknop-fields",
            Malformed::User => "fwknop-user-malformed",
            Malformed::Time => "fwknop-time-malformed",
            Malformed::Version => "fwknop-version-malformed",
            Malformed::Kind => "fwknop-type-unknown",
            Malformed::Message => "fwknop-message-malformed",
            Malformed::Source => "source-impossible",
            Malformed::Port => "fwknop-port-malformed",
            Malformed::TooManyPorts => "fwknop-too-many-ports",
            Malformed::Nat => "fwknop-nat-malformed",
            Malformed::ServerAuth => "fwknop-server-auth",
            Malformed::Timeout => "fwknop-timeout-malformed",
        }
    }
}

impl Request {
    /// Reads a text without its padding.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn read(text: &[u8]) -> Result<Self, Malformed> {
        let printable = text.iter().all(|octet| (0x20..0x7f).contains(octet));
        let (random, behind) = text.split_at_checked(RANDOM_DIGITS).ok_or(Malformed::NotDecrypted)?;
        if !printable || !random.iter().all(u8::is_ascii_digit) || behind.first() != Some(&b':') {
            return Err(Malformed::NotDecrypted);
        }
        let (text, digest) = split_at_last_colon(text).ok_or(Malformed::Fields)?;
        check_digest(text, digest)?;
        let mut fields = text.split(|&octet| octet == b':').skip(1);
        let mut next = || fields.next().ok_or(Malformed::Fields);
        let user = read_user(next()?)?;
        let sent_at = decimal(next()?).ok_or(Malformed::Time)?;
        check_version(next()?)?;
        let kind = Kind::read(next()?)?;
        let message = next()?;
        let wish = read_wish(kind, message, &mut fields)?;
        Ok(Self { user, sent_at, wish })
    }
}

/// The type of a message.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Command,
    Access,
    Nat,
    LocalNat,
}

impl Kind {
    /// The type, and whether a time-out comes with it.
    fn read(text: &[u8]) -> Result<(Self, bool), Malformed> {
        Ok(match text {
            b"0" => (Kind::Command, false),
            b"1" => (Kind::Access, false),
            b"2" => (Kind::Nat, false),
            b"3" => (Kind::Access, true),
            b"4" => (Kind::Nat, true),
            b"5" => (Kind::LocalNat, false),
            b"6" => (Kind::LocalNat, true),
            _ => return Err(Malformed::Kind),
        })
    }
}

fn read_wish<'a>(
    (kind, timed): (Kind, bool),
    message: &[u8],
    fields: &mut impl Iterator<Item = &'a [u8]>,
) -> Result<Wish, Malformed> {
    let mut decoded = [0; MESSAGE_BYTES_MAX];
    let message = decode(message, &mut decoded).ok_or(Malformed::Message)?;
    let mut parts = message.split(|&octet| octet == b',');
    let claimed = read_source(parts.next().unwrap_or_default())?;
    let nat = if matches!(kind, Kind::Nat | Kind::LocalNat) {
        Some(fields.next().ok_or(Malformed::Fields)?)
    } else {
        None
    };
    let last = if timed { Some(fields.next().ok_or(Malformed::Fields)?) } else { None };
    if fields.next().is_some() {
        return Err(Malformed::ServerAuth);
    }
    if kind == Kind::Command {
        // A command may hold commas.
        return parts.next().map(|_| Wish::Command).ok_or(Malformed::Message);
    }
    let route = match (kind, nat) {
        (Kind::LocalNat, Some(nat)) => read_nat(nat).map(|_| Route::Local)?,
        (_, Some(nat)) => read_nat(nat)?,
        (_, None) => Route::Gateway,
    };
    let secs = last.map_or(Some(0), decimal).filter(|secs| *secs <= TIMEOUT_SECS_MAX);
    let lease_secs = secs.and_then(|secs| u32::try_from(secs).ok()).ok_or(Malformed::Timeout)?;
    let mut ports = Vec::new();
    for part in parts {
        ports.push(read_port(part)?).map_err(|_| Malformed::TooManyPorts)?;
    }
    if ports.is_empty() {
        Err(Malformed::Port)
    } else {
        Ok(Wish::Access(Access { claimed, ports, route, lease_secs }))
    }
}

fn check_digest(text: &[u8], digest: &[u8]) -> Result<(), Malformed> {
    let same = match digest.len() {
        22 | 27 => return Err(Malformed::DigestWeak),
        43 => same(&Sha256::digest(text), digest),
        64 => same(&Sha384::digest(text), digest),
        86 => same(&Sha512::digest(text), digest),
        _ => false,
    };
    if same { Ok(()) } else { Err(Malformed::Digest) }
}

fn same(octets: &[u8], text: &[u8]) -> bool {
    base64::encode(octets).eq(text.iter().copied())
}

/// Base64 of printable ASCII.
fn decode<'a>(text: &[u8], into: &'a mut [u8]) -> Option<&'a [u8]> {
    let length = base64::decode(text, into)?;
    let decoded = into.get(..length)?;
    decoded.iter().all(|octet| (0x20..0x7f).contains(octet)).then_some(decoded)
}

fn read_user(text: &[u8]) -> Result<User, Malformed> {
    let mut decoded = [0; USER_BYTES_MAX];
    let name = decode(text, &mut decoded).ok_or(Malformed::User)?;
    if name.is_empty() || name.iter().any(|octet| b"\"/\\[]:;|=,+*?<>".contains(octet)) {
        return Err(Malformed::User);
    }
    let mut user = User::new();
    for &octet in name {
        user.push(char::from(octet)).map_err(|()| Malformed::User)?;
    }
    Ok(user)
}

fn check_version(text: &[u8]) -> Result<(), Malformed> {
    let fits = (1..=8).contains(&text.len());
    let digits = text.iter().all(|octet| octet.is_ascii_digit() || *octet == b'.');
    if fits && digits { Ok(()) } else { Err(Malformed::Version) }
}

/// The claimed source; the address of nobody is "as seen".
fn read_source(text: &[u8]) -> Result<Option<Ipv4Addr>, Malformed> {
    let address = read_address(text).ok_or(Malformed::Source)?;
    if address.is_unspecified() {
        return Ok(None);
    }
    may_be_claimed(IpAddr::V4(address)).then_some(Some(address)).ok_or(Malformed::Source)
}

fn read_nat(text: &[u8]) -> Result<Route, Malformed> {
    let mut decoded = [0; MESSAGE_BYTES_MAX];
    let text = decode(text, &mut decoded).ok_or(Malformed::Nat)?;
    let mut parts = text.split(|&octet| octet == b',');
    let host = parts.next().and_then(read_address).ok_or(Malformed::Nat)?;
    let port = parts.next().and_then(read_port_number).ok_or(Malformed::Nat)?;
    if parts.next().is_some() { Err(Malformed::Nat) } else { Ok(Route::Behind { host, port }) }
}

fn read_address(text: &[u8]) -> Option<Ipv4Addr> {
    core::str::from_utf8(text).ok()?.parse().ok()
}

fn read_port(text: &[u8]) -> Result<ServicePort, Malformed> {
    let service = match text.split_at_checked(4) {
        Some((b"tcp/", number)) => read_port_number(number).map(ServicePort::tcp),
        Some((b"udp/", number)) => read_port_number(number).map(ServicePort::udp),
        _ => None,
    };
    service.ok_or(Malformed::Port)
}

fn read_port_number(text: &[u8]) -> Option<u16> {
    decimal(text).and_then(|number| u16::try_from(number).ok()).filter(|number| *number != 0)
}

fn decimal(text: &[u8]) -> Option<u64> {
    if !(1..=DIGITS_MAX).contains(&text.len()) {
        return None;
    }
    text.iter().try_fold(0_u64, |number, octet| {
        octet.is_ascii_digit().then(|| number.saturating_mul(10).saturating_add(u64::from(octet - b'0')))
    })
}

fn split_at_last_colon(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut parts = text.rsplitn(2, |&octet| octet == b':');
    let behind = parts.next()?;
    Some((parts.next()?, behind))
}
