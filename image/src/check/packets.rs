//! Packets of Single Packet Authorization, as a client's program seals them.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use postern_core::rule::Purpose;
use postern_core::spa::native::Request;
use postern_e2e::keyring::{sealed, send};
use postern_e2e::probe::Answer;
use postern_e2e::process::wait_for;
use postern_image::outside::appliance_for;

use super::stage::{Device, PATIENCE, Stage};
use super::tool;

/// The secret of the key `native` of the site for show, and of keys of other sites: this octet, 32 times.
pub(super) const NATIVE: u8 = 0x53;

/// The key at one device.
pub(super) struct Key {
    pub(super) device: [u8; 16],
}

impl Key {
    /// The device has run before, and has an identity.
    pub(super) fn of(stage: &Stage<'_>, device: &Device) -> Result<Self> {
        let id = tool::device_id(stage, device)?;
        let octet = |at: usize| id.get(2 * at..2 * at + 2).and_then(|text| u8::from_str_radix(text, 16).ok());
        let octets: Option<Vec<u8>> = (0..16).map(octet).collect();
        let device = octets.and_then(|octets| octets.try_into().ok());
        Ok(Self { device: device.with_context(|| format!("{id} is no id of a device"))? })
    }

    /// A packet that asks for a door.
    pub(super) fn asks(&self, door: &str, counter: u64) -> Result<Vec<u8>> {
        self.says(door, counter, Purpose::Open)
    }

    /// A packet that gives a grant back.
    pub(super) fn closes(&self, door: &str, counter: u64) -> Result<Vec<u8>> {
        self.says(door, counter, Purpose::Close)
    }

    fn says(&self, door: &str, counter: u64, purpose: Purpose) -> Result<Vec<u8>> {
        let door = door.try_into().map_err(|()| anyhow!("{door} is no name of a door"))?;
        let request = Request { purpose, ..Request::open(door, counter) };
        Ok(sealed(NATIVE, self.device, &request).to_vec())
    }
}

/// Sends it and looks for a while whether SSH opens for `source`, the client's address.
pub(super) fn opens_now(device: &Device, source: impl Into<IpAddr>, octets: &[u8]) -> Result<bool> {
    let source = source.into();
    let until = Instant::now() + Duration::from_secs(3);
    loop {
        // Again and again: the first may come before anybody listens. However often, it counts once.
        send(&device.outside.namespace, appliance_for(source), octets)?;
        if let Answer::Open(_) = device.outside.try_ssh(source)? {
            return Ok(true);
        }
        if Instant::now() > until {
            return Ok(false);
        }
    }
}

/// Sends it until SSH opens for `source`.
pub(super) fn opens(device: &Device, source: impl Into<IpAddr>, octets: &[u8]) -> Result<()> {
    let source = source.into();
    let open = || opens_now(device, source, octets).ok().filter(|open| *open).map(drop);
    wait_for("a packet to open the door", PATIENCE, open)
}
