//! Stored keys, as the engine honours them.

use heapless::Vec;
use postern_core::engine::{KeySecret, Keys};
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
}

impl Site {
    /// The keys of this site, for `device`. `ceiling` says up to which counter a key may have been used,
    /// by its name in the journal.
    ///
    /// # Errors
    /// [`KeysError`].
    pub fn spa_keys(&self, device: DeviceId, ceiling: impl Fn(KeyTag) -> u64) -> Result<Keys, KeysError> {
        if self.keys.is_empty() {
            return Ok(Keys::none());
        }
        if self.spa_port == 0 {
            return Err(KeysError::NoPort);
        }
        let mut keys = Keys::new(self.spa_port, device);
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
        Ok(keys)
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
    use crate::site::StoredDoor;

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
