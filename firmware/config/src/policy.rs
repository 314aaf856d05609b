//! Stored keys, as the engine honours them.

use heapless::Vec;
use postern_core::engine::{KeySecret, Keys};
use postern_core::knock::Step;
use postern_core::limits::{SEQUENCES_MAX, STEPS_MAX};
use postern_core::rule::DoorId;
use postern_core::spa::fwknop::{FwknopKey, MacDigest};
use postern_core::spa::key::{DeviceId, KEY_BYTES, KeyTag, SpaKey};
use postern_core::spa::native::verifier::KeyError;
use postern_core::spa::policy::{ClaimRule, DoorSet, Network, Policy, WallTime, WeeklyWindow, WithoutClock};
use postern_core::time::Duration;

use crate::key::{StoredHmac, StoredKey, StoredKeyKind};
use crate::secret::StoredSecret;
use crate::site::Site;

/// Why keys cannot be honoured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeysError {
    /// A native key has [`KEY_BYTES`] octets, one of fwknop those of [`FwknopKey::new`]; this one has
    /// others, or only a label.
    Secret,
    /// Two keys have the same secret.
    Duplicate,
    /// More keys of the stock fwknop client than packets of anybody may cost
    /// ([`postern_core::limits::FWKNOP_KEYS_MAX`]).
    TooMany,
    /// There are keys, and no port to await their packets on.
    NoPort,
    /// Rotating sequences are derived from a native key; this door's are from another, or from none.
    Rotating,
}

impl Site {
    /// The keys of this site, for `device`. `ceiling` says up to which counter a key may have been used,
    /// by its name in the journal.
    ///
    /// # Errors
    /// [`KeysError`].
    pub fn spa_keys(&self, device: DeviceId, ceiling: impl Fn(KeyTag) -> u64) -> Result<Keys, KeysError> {
        if self.spa_port == 0 && !self.keys.is_empty() {
            return Err(KeysError::NoPort);
        }
        let port = if self.keys.is_empty() { 0 } else { self.spa_port };
        let mut keys = Keys::new(port, device);
        for (position, stored) in (0_u32..).zip(&self.keys) {
            let policy = policy(stored, self.doors_of_key(position));
            let name = stored.name.clone();
            let added = match &stored.kind {
                StoredKeyKind::Native { secret } => {
                    let octets =
                        <[u8; KEY_BYTES]>::try_from(octets(secret)?).map_err(|_| KeysError::Secret)?;
                    keys.add(name, KeySecret::Native(&SpaKey::new(octets)), policy, &ceiling)
                }
                StoredKeyKind::Fwknop { encryption, hmac, digest } => {
                    let key = FwknopKey::new(octets(encryption)?, octets(hmac)?, mac_digest(*digest));
                    let key = key.map_err(|_| KeysError::Secret)?;
                    keys.add(name, KeySecret::Fwknop(&key), policy, &ceiling)
                }
            };
            added.map_err(|error| match error {
                KeyError::Duplicate => KeysError::Duplicate,
                KeyError::TooMany => KeysError::TooMany,
            })?;
        }
        self.add_rows(&mut keys, ceiling)?;
        Ok(keys)
    }

    /// Rotating sequences and one-time lists.
    fn add_rows(&self, keys: &mut Keys, ceiling: impl Fn(KeyTag) -> u64) -> Result<(), KeysError> {
        for (position, door) in (0_u16..).zip(&self.doors) {
            let id = (DoorId(position), &door.name);
            let mut lines = Vec::<Vec<Step, STEPS_MAX>, SEQUENCES_MAX>::new();
            for line in self.sequences.iter().filter(|line| line.one_time && line.door == position) {
                let mut steps = Vec::new();
                // The bounds are the same on both sides: nothing is left out.
                for &step in &line.steps {
                    let _ = steps.push(step.into());
                }
                let _ = lines.push(steps);
            }
            if !lines.is_empty() {
                let added = keys.add_list(id, lines.iter().map(Vec::as_slice), &ceiling);
                added.map_err(|_| KeysError::TooMany)?;
            }
            let Some(rotating) = &door.rotating else { continue };
            let key = self.keys.get(usize::from(rotating.key)).map(|key| &key.kind);
            let Some(StoredKeyKind::Native { secret }) = key else { return Err(KeysError::Rotating) };
            let octets = <[u8; KEY_BYTES]>::try_from(octets(secret)?).map_err(|_| KeysError::Secret)?;
            let added = keys.add_rotating(id, &SpaKey::new(octets), rotating.look_ahead, &ceiling);
            added.map_err(|_| KeysError::TooMany)?;
        }
        Ok(())
    }

    fn doors_of_key(&self, position: u32) -> DoorSet {
        (0_u16..).zip(&self.doors).fold(DoorSet::NONE, |doors, (id, door)| {
            let named = door.keys.checked_shr(position).unwrap_or(0) & 1 == 1;
            if named { doors.with(DoorId(id)) } else { doors }
        })
    }
}

fn octets(secret: &StoredSecret) -> Result<&[u8], KeysError> {
    secret.known().map(crate::secret::Secret::expose).ok_or(KeysError::Secret)
}

const fn mac_digest(digest: StoredHmac) -> MacDigest {
    match digest {
        StoredHmac::Sha256 => MacDigest::Sha256,
        StoredHmac::Sha384 => MacDigest::Sha384,
        StoredHmac::Sha512 => MacDigest::Sha512,
    }
}

fn policy(stored: &StoredKey, doors: DoorSet) -> Policy {
    let mut policy = Policy {
        disabled: stored.disabled,
        doors,
        longest: (stored.longest_secs != 0).then(|| Duration::from_secs(u64::from(stored.longest_secs))),
        grants_per_door: stored.grants_per_door,
        sources: Vec::new(),
        claims: if stored.may_claim { ClaimRule::Allowed } else { ClaimRule::OnlyAsSeen },
        counter_first: stored.counter_first,
        counter_last: stored.counter_last,
        valid_from: (stored.valid_from_secs != 0).then(|| WallTime::from_secs(stored.valid_from_secs)),
        valid_until: (stored.valid_until_secs != u64::MAX)
            .then(|| WallTime::from_secs(stored.valid_until_secs)),
        windows: Vec::new(),
        without_clock: WithoutClock::Ignored,
    };
    // The bounds are the same on both sides: nothing is left out.
    for network in &stored.sources {
        let _ = policy.sources.push(Network { address: network.address, prefix: network.prefix });
    }
    for window in &stored.windows {
        let (days, from_minute, until_minute) = (window.days, window.from_minute, window.until_minute);
        let _ = policy.windows.push(WeeklyWindow { days, from_minute, until_minute });
    }
    policy
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;
    use crate::site::{StoredDoor, StoredPort, StoredRotating, StoredSequence, StoredStep};
    use postern_core::rule::RuleError;

    fn native(name: &str, octets: &[u8]) -> StoredKey {
        StoredKey {
            name: name.try_into().unwrap(),
            person: heapless::String::new(),
            kind: StoredKeyKind::Native { secret: StoredSecret::Known(Secret::new(octets).unwrap()) },
            longest_secs: 0,
            sources: Vec::new(),
            may_claim: false,
            counter_first: 0,
            counter_last: u64::MAX,
            valid_from_secs: 0,
            valid_until_secs: u64::MAX,
            windows: Vec::new(),
            grants_per_door: 1,
            disabled: false,
        }
    }

    fn site(keys: &[StoredKey]) -> std::boxed::Box<Site> {
        let mut site = std::boxed::Box::<Site>::default();
        site.spa_port = 62_201;
        site.keys = Vec::from_slice(keys).unwrap();
        for (name, keys) in [("ssh", 0b10), ("web", 0b11), ("none", 0)] {
            let mut door = StoredDoor::plain(name.try_into().unwrap(), 30);
            door.keys = keys;
            site.doors.push(door).unwrap();
        }
        site
    }

    const DEVICE: DeviceId = DeviceId([7; 16]);

    #[test]
    fn keys_open_the_doors_that_name_them() {
        let site = site(&[native("maria", &[1; 32]), native("otto", &[2; 32])]);
        assert!(!site.doors_of_key(0).contains(DoorId(0)) && site.doors_of_key(0).contains(DoorId(1)));
        assert!(site.doors_of_key(1).contains(DoorId(0)) && !site.doors_of_key(1).contains(DoorId(2)));
        let keys = site.spa_keys(DEVICE, |_| 5).unwrap();
        assert_eq!(keys.port(), Some(62_201));
        let tag = SpaKey::new([2; 32]).tag(DEVICE);
        assert_eq!(keys.name(tag).map(heapless::String::as_str), Some("otto"));
        assert!(keys.status().all(|status| status.ceiling == 5));
    }

    fn rotating(key: u8) -> StoredRotating {
        let (first, last, within_millis) = (20_000, 29_999, 10_000);
        StoredRotating { key, knocks: 4, look_ahead: 3, protocols: 1, first, last, within_millis }
    }

    #[test]
    fn rotating_sequences_and_lists_have_names_in_the_journal() {
        let mut site = site(&[native("maria", &[1; 32])]);
        site.doors[0].rotating = Some(rotating(0));
        for door in &mut site.doors {
            door.ports.push(StoredPort::Tcp(22)).unwrap();
        }
        for line in 0..3 {
            let steps = Vec::from_slice(&[StoredStep::Tcp(1000 + line), StoredStep::Udp(7)]).unwrap();
            let (within_millis, reorder_millis, flags_mask, flags_value) = (5000, 0, 0x12, 2);
            let (door, closes, one_time) = (1, false, true);
            let sequence = StoredSequence {
                door,
                closes,
                one_time,
                steps,
                within_millis,
                reorder_millis,
                flags_mask,
                flags_value,
            };
            site.sequences.push(sequence).unwrap();
        }
        let rules = site.rules().unwrap();
        assert_eq!(rules.rows().len(), 2);
        assert!(rules.places().is_empty(), "nothing is awaited before the keys are known");
        assert_eq!(site.spa_keys(DEVICE, |_| 0).unwrap().tags().count(), 3);
        // A list needs no key and no port.
        site.keys.clear();
        site.doors[0].rotating = None;
        site.spa_port = 0;
        let keys = site.spa_keys(DEVICE, |_| 0).unwrap();
        assert_eq!((keys.tags().count(), keys.port()), (1, None));
        site.doors[0].rotating = Some(rotating(0));
        assert_eq!(site.spa_keys(DEVICE, |_| 0).unwrap_err(), KeysError::Rotating);
        site.doors[0].rotating = Some(StoredRotating { knocks: 2, ..rotating(0) });
        assert_eq!(site.rules().unwrap_err(), RuleError::BadRotating(DoorId(0)));
    }

    #[test]
    fn what_cannot_be_honoured_is_refused() {
        let refused = |keys: &[StoredKey]| site(keys).spa_keys(DEVICE, |_| 0).unwrap_err();
        assert_eq!(refused(&[native("short", &[1; 31])]), KeysError::Secret);
        let same = [native("maria", &[1; 32]), native("otto", &[1; 32])];
        assert_eq!(refused(&same), KeysError::Duplicate);
        let mut without_port = site(&[native("maria", &[1; 32])]);
        without_port.spa_port = 0;
        assert_eq!(without_port.spa_keys(DEVICE, |_| 0).unwrap_err(), KeysError::NoPort);
        without_port.keys.clear();
        assert_eq!(without_port.spa_keys(DEVICE, |_| 0).unwrap().port(), None);
    }

    #[test]
    fn a_policy_says_what_was_stored() {
        let mut stored = native("maria", &[1; 32]);
        (stored.longest_secs, stored.may_claim, stored.valid_until_secs) = (60, true, 99);
        let policy = policy(&stored, DoorSet::ALL);
        assert_eq!(policy.longest, Some(Duration::from_secs(60)));
        assert_eq!((policy.claims, policy.valid_from), (ClaimRule::Allowed, None));
        assert_eq!(policy.valid_until, Some(WallTime::from_secs(99)));
    }
}
