//! The keys of Single Packet Authorization an engine honours.

use heapless::Vec;

use super::rows::{Completion, KeyRow};
use crate::knock::Step;
use crate::limits::{KEYS_MAX, ROWS_MAX};
use crate::rule::{DoorId, Name, Row, RuleSet};
use crate::spa::fwknop::{self, FwknopKey};
use crate::spa::key::{DeviceId, KeyTag, SpaKey};
use crate::spa::native::{
    self,
    verifier::{KeyError, KeyId, KeyStatus},
};
use crate::spa::policy::Policy;
use crate::time::Instant;

/// Whose packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Our own.
    Native,
    /// The stock fwknop client's.
    Fwknop,
}

/// A secret to be added.
#[derive(Clone, Copy, Debug)]
pub enum KeySecret<'a> {
    /// Of our own packets.
    Native(&'a SpaKey),
    /// Of the stock client's.
    Fwknop(&'a FwknopKey),
}

#[derive(Clone, Debug)]
struct Named {
    format: Format,
    tag: KeyTag,
    name: Name,
}

/// Keys, and the UDP port their packets are awaited on. Made for one rule set: their policies name its
/// doors by position.
#[derive(Clone, Debug)]
pub struct Keys {
    port: u16,
    device: DeviceId,
    pub(super) native: native::Verifier,
    pub(super) fwknop: fwknop::Verifier,
    names: Vec<Named, KEYS_MAX>,
    rows: Vec<KeyRow, ROWS_MAX>,
}

impl Keys {
    /// No key and no port.
    pub const fn none() -> Self {
        Self::new(0, DeviceId([0; 16]))
    }

    /// No key yet, awaited on `port`; 0 is none.
    pub const fn new(port: u16, device: DeviceId) -> Self {
        Self {
            port,
            device,
            native: native::Verifier::new(device),
            fwknop: fwknop::Verifier::new(device),
            names: Vec::new(),
            rows: Vec::new(),
        }
    }

    /// Adds a key under `name`. `ceiling` says up to which counter it may have been used, by the name
    /// it has in the journal.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn add(
        &mut self,
        name: Name,
        secret: KeySecret<'_>,
        policy: Policy,
        ceiling: impl FnOnce(KeyTag) -> u64,
    ) -> Result<(), KeyError> {
        let (format, tag) = match secret {
            KeySecret::Native(key) => {
                let tag = key.tag(self.device);
                self.native.add(key, policy, ceiling(tag))?;
                (Format::Native, tag)
            }
            KeySecret::Fwknop(key) => {
                let tag = key.tag(self.device);
                self.fwknop.add(key, policy, ceiling(tag))?;
                (Format::Fwknop, tag)
            }
        };
        self.names.push(Named { format, tag, name }).map_err(|_| KeyError::TooMany)
    }

    /// Has the rotating sequences of `door` derived from `key`, which was added before. `ahead` of them are
    /// awaited at once; `ceiling` says how many may have been used, by the name the row has in the journal.
    ///
    /// # Errors
    /// [`KeyError::TooMany`].
    pub fn add_rotating(
        &mut self,
        door: (DoorId, &Name),
        key: &SpaKey,
        ahead: u8,
        ceiling: impl FnOnce(KeyTag) -> u64,
    ) -> Result<(), KeyError> {
        let row = KeyRow::rotating(door, (key, self.device), ahead, ceiling);
        self.rows.push(row).map_err(|_| KeyError::TooMany)
    }

    /// Has the lines of the one-time list of `door` count one after the other. `ceiling` says what the
    /// journal holds, by the name the list has there.
    ///
    /// # Errors
    /// [`KeyError::TooMany`].
    pub fn add_list<'l>(
        &mut self,
        door: (DoorId, &Name),
        lines: impl Iterator<Item = &'l [Step]> + Clone,
        ceiling: impl FnOnce(KeyTag) -> u64,
    ) -> Result<(), KeyError> {
        self.rows.push(KeyRow::list(door, lines, ceiling)).map_err(|_| KeyError::TooMany)
    }

    /// The UDP port; `None` when packets are awaited on none.
    pub fn port(&self) -> Option<u16> {
        (self.port != 0).then_some(self.port)
    }

    /// The name of the key with this tag, or of the one the row with this tag is derived from.
    pub fn name(&self, tag: KeyTag) -> Option<&Name> {
        let row = self.rows.iter().find(|row| row.tag == tag);
        let tag = row.and_then(KeyRow::holder).unwrap_or(tag);
        self.names.iter().find(|named| named.tag == tag).map(|named| &named.name)
    }

    /// The tag of the key with this name.
    pub fn tag(&self, name: &str) -> Option<KeyTag> {
        self.names.iter().find(|named| named.name == name).map(|named| named.tag)
    }

    /// Every tag, of keys and of rows: leases of others may make room.
    pub fn tags(&self) -> impl Iterator<Item = KeyTag> {
        self.names.iter().map(|named| named.tag).chain(self.rows.iter().map(|row| row.tag))
    }

    /// What an operator may know about each key.
    pub fn status(&self) -> impl Iterator<Item = KeyStatus> {
        self.native.status().chain(self.fwknop.status())
    }

    /// The ceiling to write when an administrator begins a new epoch of a key; `None` when there is no
    /// such key, or its packets have no epochs.
    pub fn next_epoch(&self, tag: KeyTag) -> Option<u64> {
        let mut native = self.names.iter().filter(|named| named.format == Format::Native);
        let position = native.position(|named| named.tag == tag)?;
        self.native.next_epoch(KeyId(u8::try_from(position).ok()?))
    }

    /// `ceiling` of the key with this tag is on the medium.
    pub(super) fn persisted(&mut self, tag: KeyTag, ceiling: u64) {
        self.native.persisted(tag, ceiling);
        self.fwknop.persisted(tag, ceiling);
    }

    /// Takes over what `before` knows about the same keys.
    pub(super) fn carry_over(&mut self, before: &Keys) {
        self.native.carry_over(&before.native);
        self.fwknop.carry_over(&before.fwknop);
        for row in &mut self.rows {
            if let Some(before) = before.rows.iter().find(|before| before.tag == row.tag) {
                row.carry_over(before);
            }
        }
    }

    /// Has `rules` await what comes next in every row.
    pub(super) fn await_rows(&mut self, rules: &mut RuleSet) {
        self.rows.iter_mut().for_each(|row| row.await_next(rules));
    }

    /// The row with this tag.
    pub(super) fn row(&mut self, tag: KeyTag) -> Option<&mut KeyRow> {
        self.rows.iter_mut().find(|row| row.tag == tag)
    }

    /// The knocks at `position` of `row` were shown; `line` has them.
    ///
    /// # Errors
    /// Why they do not count.
    pub(super) fn completed(
        &mut self,
        (row, position): (&Row, u16),
        line: &[Step],
        now: Instant,
    ) -> Result<Completion, (Option<KeyTag>, &'static str)> {
        let kept = self.rows.iter_mut().find(|kept| kept.is_of(row)).ok_or((None, "key-removed"))?;
        let tag = kept.tag;
        kept.completed(position, line, now).map_err(|reason| (Some(tag), reason))
    }

    /// The tag of the key at this position among those of its format.
    pub(super) fn tag_at(&self, format: Format, key: KeyId) -> Option<KeyTag> {
        let mut same = self.names.iter().filter(|named| named.format == format);
        same.nth(usize::from(key.0)).map(|named| named.tag)
    }
}
