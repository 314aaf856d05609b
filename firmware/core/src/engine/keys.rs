//! The keys of Single Packet Authorization an engine honours.

use heapless::Vec;

use crate::limits::KEYS_MAX;
use crate::rule::Name;
use crate::spa::key::{DeviceId, KeyTag, SpaKey};
use crate::spa::native::Verifier;
use crate::spa::native::verifier::{KeyError, KeyId, KeyStatus};
use crate::spa::policy::Policy;

/// Keys, and the UDP port their packets are awaited on. Made for one rule set: their policies name its
/// doors by position.
#[derive(Clone, Debug)]
pub struct Keys {
    port: u16,
    pub(super) verifier: Verifier,
    names: Vec<(KeyTag, Name), KEYS_MAX>,
}

impl Keys {
    /// No key and no port.
    pub const fn none() -> Self {
        Self { port: 0, verifier: Verifier::new(DeviceId([0; 16])), names: Vec::new() }
    }

    /// No key yet, awaited on `port`; 0 is none.
    pub const fn new(port: u16, device: DeviceId) -> Self {
        Self { port, verifier: Verifier::new(device), names: Vec::new() }
    }

    /// Adds a key under `name`. `ceiling` says up to which counter it may have been used, by the name
    /// it has in the journal.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn add(
        &mut self,
        name: Name,
        (device, key): (DeviceId, &SpaKey),
        policy: Policy,
        ceiling: impl FnOnce(KeyTag) -> u64,
    ) -> Result<(), KeyError> {
        let tag = key.tag(device);
        self.verifier.add(key, policy, ceiling(tag))?;
        self.names.push((tag, name)).map_err(|_| KeyError::TooMany)
    }

    /// The UDP port; `None` when packets are awaited on none.
    pub fn port(&self) -> Option<u16> {
        (self.port != 0).then_some(self.port)
    }

    /// The name of the key with this tag.
    pub fn name(&self, tag: KeyTag) -> Option<&Name> {
        self.names.iter().find(|(other, _)| *other == tag).map(|(_, name)| name)
    }

    /// The tag of the key with this name.
    pub fn tag(&self, name: &str) -> Option<KeyTag> {
        self.names.iter().find(|(_, other)| other == name).map(|(tag, _)| *tag)
    }

    /// Every tag: leases of others may make room.
    pub fn tags(&self) -> impl Iterator<Item = KeyTag> {
        self.names.iter().map(|(tag, _)| *tag)
    }

    /// What an operator may know about each key, in order of adding.
    pub fn status(&self) -> impl Iterator<Item = KeyStatus> {
        self.verifier.status()
    }

    /// The ceiling to write when an administrator begins a new epoch of a key.
    pub fn next_epoch(&self, tag: KeyTag) -> Option<u64> {
        let position = self.names.iter().position(|(other, _)| *other == tag)?;
        self.verifier.next_epoch(KeyId(u8::try_from(position).ok()?))
    }

    pub(super) fn tag_at(&self, key: KeyId) -> Option<KeyTag> {
        self.names.get(usize::from(key.0)).map(|(tag, _)| *tag)
    }
}
