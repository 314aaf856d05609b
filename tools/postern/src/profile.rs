//! Client profiles: how a machine knocks at its gateways, `~/.config/postern/clients.toml`.
//!
//! | module | is |
//! | --- | --- |
//! | [`read`] | the file, with the place of what is wrong |
//! | [`private`] | files that nobody else may read |
//! | [`mod@write`] | adding and replacing profiles |
//! | [`counters`] | numbers that are written down before they are used |
//!
//! `CLIENTS.md` at the root of the repository describes the format for people.

use std::path::{Path, PathBuf};
use std::time::Duration;

use postern_core::knock::Step;
use postern_core::rule::Name;
use postern_core::spa::key::{DeviceId, KEY_BYTES, SpaKey};
use postern_core::spa::rotating::Shape;
use zeroize::Zeroizing;

use crate::base64;
use crate::knock::Family;
use crate::remote::failure::{Failure, Outcome};
use crate::site::did_you_mean;

pub mod counters;
pub mod private;
pub mod read;
pub mod write;

/// How one door of one gateway is knocked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// What the user calls it.
    pub name: String,
    /// Name or address of the gateway; an IPv6 address may have a scope, `fe80::1%eth0`.
    pub gateway: String,
    /// Addresses that are used.
    pub family: Family,
    /// Name of the door.
    pub door: Option<Name>,
    /// What is sent.
    pub means: Means,
    /// TCP port that tells whether the door opened.
    pub probe: Option<u16>,
    /// How often it is tried again.
    pub retries: u32,
    /// How long one try of the port takes.
    pub timeout: Duration,
}

/// What is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Means {
    /// One authenticated datagram.
    Spa(Spa),
    /// Knocks that change with every use.
    Rotating(Rotating),
    /// The same knocks each time.
    Fixed(Fixed),
}

impl Means {
    /// As scripts know it.
    pub const fn name(&self) -> &'static str {
        match self {
            Means::Spa(_) => "spa",
            Means::Rotating(_) => "rotating",
            Means::Fixed(_) => "sequence",
        }
    }
}

/// One authenticated datagram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spa {
    /// Where the secret is.
    pub key: KeyPlace,
    /// The door.
    pub door: Name,
    /// UDP port of the gateway.
    pub port: u16,
    /// No counter is lower: the time the key was made.
    pub first_counter: u64,
    /// Raised by a person when counters were spoiled.
    pub epoch: u16,
    /// Whether the last counter is written down. Without, the clock alone makes counters.
    pub remember: bool,
    /// Seconds wanted; 0 is the door's own time.
    pub lease_secs: u32,
    /// Whether the first new connection uses the grant up.
    pub one_shot: bool,
    /// For which addresses.
    pub claim: Claim,
    /// How often the same octets are sent.
    pub copies: u8,
}

/// For which addresses a door is to open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// For whom the packet is seen to come from: works behind address translation.
    Seen,
    /// For the address this machine sends from: not behind address translation.
    Own,
    /// For these, one or two.
    These(Vec<std::net::IpAddr>),
}

/// Knocks that change with every use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotating {
    /// Where the secret is.
    pub key: KeyPlace,
    /// The door.
    pub door: Name,
    /// How many knocks, and which.
    pub shape: Shape,
    /// How many of the next sequences the gateway awaits.
    pub look_ahead: u8,
    /// The sequence's time.
    pub within: Duration,
    /// Knocks that gateway and client leave out.
    pub excluded: Vec<Step>,
    /// No sequence before this one is used.
    pub first_counter: u64,
    /// Pause between two knocks.
    pub delay: Duration,
}

/// The same knocks each time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fixed {
    /// The knocks, in order.
    pub steps: Vec<Step>,
    /// Pause between two knocks.
    pub delay: Duration,
}

/// Where a secret is, and for which gateway it is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPlace {
    /// File with the secret in base64.
    pub file: PathBuf,
    /// The gateway.
    pub device: DeviceId,
}

impl KeyPlace {
    /// Reads the secret.
    ///
    /// # Errors
    /// [`Failure::InvalidProfile`] when it is not there, is no key, or others may read it.
    pub fn load(&self) -> Outcome<SpaKey> {
        secret_of(&self.file).map(|octets| SpaKey::new(*octets))
    }
}

/// The secret in a file of base64 that nobody else may read.
///
/// # Errors
/// [`Failure::InvalidProfile`].
pub fn secret_of(file: &Path) -> Outcome<Zeroizing<[u8; KEY_BYTES]>> {
    let text = private::read(file, "key").map_err(Failure::InvalidProfile)?;
    let octets = base64::decode(text.trim()).map(Zeroizing::new);
    let octets = octets.as_ref().and_then(|octets| <&[u8; KEY_BYTES]>::try_from(octets.as_slice()).ok());
    octets.map(|octets| Zeroizing::new(*octets)).ok_or_else(|| {
        let shown = file.display();
        Failure::InvalidProfile(format!(
            "{shown} holds no key: {KEY_BYTES} octets in base64 are expected, as `postern key import` writes them"
        ))
    })
}

/// The profile file: the one that is named, else that of the user.
///
/// # Errors
/// [`Failure::Usage`] when there is no home directory.
pub fn location(named: Option<&Path>) -> Outcome<PathBuf> {
    if let Some(path) = named {
        return Ok(path.to_owned());
    }
    let folder = folder("XDG_CONFIG_HOME", ".config").ok_or_else(|| {
        Failure::Usage("there is no home directory: name the profile file with --profiles FILE".to_owned())
    })?;
    Ok(folder.join("clients.toml"))
}

/// `$VARIABLE/postern` or `~/FALLBACK/postern` (XDG Base Directory Specification 0.8: relative
/// values are ignored).
fn folder(variable: &str, fallback: &str) -> Option<PathBuf> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = absolute(variable).or_else(|| absolute("HOME").map(|home| home.join(fallback)))?;
    Some(base.join("postern"))
}

/// The profile with this name.
///
/// # Errors
/// [`Failure::InvalidProfile`] when the file is no good, [`Failure::Usage`] when it has no such profile.
pub fn find(path: &Path, name: &str) -> Outcome<Profile> {
    if path.symlink_metadata().is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound) {
        return Err(Failure::Usage(format!(
            "there is no profile {name:?}, because there is no {}: `postern key import` makes it (for a host that \
             has no profile, write the knocks behind it)",
            path.display()
        )));
    }
    let mut profiles = read::file(path)?;
    if let Some(position) = profiles.iter().position(|profile| profile.name == name) {
        return Ok(profiles.swap_remove(position));
    }
    let known: Vec<&str> = profiles.iter().map(|profile| profile.name.as_str()).collect();
    let advice = match did_you_mean(name, &known) {
        Some(meant) => format!("did you mean {meant:?}?"),
        None if known.is_empty() => "it holds none yet: `postern key import` adds one".to_owned(),
        None => format!("there are {}", known.join(", ")),
    };
    Err(Failure::Usage(format!(
        "there is no profile {name:?} in {}; {advice} (for a host that has none, write the knocks behind it)",
        path.display()
    )))
}
