//! What the holder of a key may ask for.

use core::net::IpAddr;

use heapless::Vec;

use super::native::request::Request;
use crate::limits::{DOORS_MAX, OPEN_FOR_MAX, OPEN_FOR_MIN, SOURCES_PER_KEY_MAX, WINDOWS_PER_KEY_MAX};
pub use crate::network::Network;
use crate::rule::DoorId;
use crate::time::Duration;

/// Seconds since 1970 in UTC, from a clock that the shell vouches for. Decides nothing but the validity
/// of keys; a gateway without such a clock passes `None`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WallTime {
    secs: u64,
}

impl WallTime {
    /// The point `secs` seconds after 1970.
    pub const fn from_secs(secs: u64) -> Self {
        Self { secs }
    }

    /// Seconds since 1970.
    pub const fn secs(self) -> u64 {
        self.secs
    }

    /// Day of the week, 0 is Monday, and minute of the day.
    const fn day_and_minute(self) -> (u64, u64) {
        // The first of January 1970 was a Thursday.
        ((self.secs / 86_400 + 3) % 7, self.secs % 86_400 / 60)
    }
}

/// Set of doors, by position in the rule set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DoorSet {
    words: [u64; DOORS_MAX / 64],
}

impl DoorSet {
    /// No door.
    pub const NONE: DoorSet = DoorSet { words: [0; DOORS_MAX / 64] };
    /// Every door.
    pub const ALL: DoorSet = DoorSet { words: [u64::MAX; DOORS_MAX / 64] };

    /// The set with `door` in it. A door that cannot be is left out.
    #[must_use]
    pub fn with(mut self, door: DoorId) -> Self {
        if let Some(word) = self.words.get_mut(usize::from(door.0 / 64)) {
            *word |= 1 << (door.0 % 64);
        }
        self
    }

    /// Whether `door` is in it.
    pub fn contains(&self, door: DoorId) -> bool {
        self.words.get(usize::from(door.0 / 64)).is_some_and(|word| word >> (door.0 % 64) & 1 == 1)
    }
}

/// A time of the week, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WeeklyWindow {
    /// Bit set of days: 1 is Monday, 64 Sunday.
    pub days: u8,
    /// First minute of the day, 0 to 1439.
    pub from_minute: u16,
    /// Minute of the day it ends before, 1 to 1440. A window over midnight is two windows.
    pub until_minute: u16,
}

impl WeeklyWindow {
    fn contains(&self, now: WallTime) -> bool {
        let (day, minute) = now.day_and_minute();
        self.days >> day & 1 == 1
            && (u64::from(self.from_minute)..u64::from(self.until_minute)).contains(&minute)
    }
}

/// Whether a request may name the addresses it is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClaimRule {
    /// Only the one the packet comes from; naming it makes the packet worthless from another.
    #[default]
    OnlyAsSeen,
    /// Any, or none: then the one the packet comes from.
    Allowed,
    /// Any, at least one: who catches the packet cannot use it from elsewhere.
    Required,
}

/// What a validity in wall time is worth while no clock can be trusted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WithoutClock {
    /// Nothing: the key counts as if it had none. The range of counters still holds.
    #[default]
    Ignored,
    /// The key is refused.
    Refused,
}

/// What the holder of a key may ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Refused for now.
    pub disabled: bool,
    /// Doors it opens.
    pub doors: DoorSet,
    /// The longest lease; `None` is what the door says. A longer wish is cut, not refused: a door that
    /// is open for less than was asked helps, one that stays shut does not.
    pub longest: Option<Duration>,
    /// Grants it may have at one door at a time. Counted by who keeps the grants, not here.
    pub grants_per_door: u8,
    /// Networks its packets and claims must be of; none is every one.
    pub sources: Vec<Network, SOURCES_PER_KEY_MAX>,
    /// Whether a request may name addresses.
    pub claims: ClaimRule,
    /// The first counter that counts.
    pub counter_first: u64,
    /// The last counter that counts. With clients that count time it ends a key's life without a clock
    /// on the gateway.
    pub counter_last: u64,
    /// Refused before this time.
    pub valid_from: Option<WallTime>,
    /// Refused from this time on.
    pub valid_until: Option<WallTime>,
    /// Times of the week it counts in; none is always.
    pub windows: Vec<WeeklyWindow, WINDOWS_PER_KEY_MAX>,
    /// What the three above are worth without a clock.
    pub without_clock: WithoutClock,
}

impl Default for Policy {
    /// Opens no door, and puts no other limit.
    fn default() -> Self {
        Self {
            disabled: false,
            doors: DoorSet::NONE,
            longest: None,
            grants_per_door: 1,
            sources: Vec::new(),
            claims: ClaimRule::default(),
            counter_first: 0,
            counter_last: u64::MAX,
            valid_from: None,
            valid_until: None,
            windows: Vec::new(),
            without_clock: WithoutClock::default(),
        }
    }
}

/// Which rule of its policy a request breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PolicyRefusal {
    /// The key is disabled.
    Disabled,
    /// The counter is below the key's first.
    CounterTooEarly,
    /// The counter is above the key's last.
    CounterTooLate,
    /// The packet comes from outside the key's networks.
    SourceNetwork,
    /// The request names an address and may not.
    ClaimNotAllowed,
    /// The request names no address and must.
    ClaimMissing,
    /// The request names an address outside the key's networks.
    ClaimNetwork,
    /// It is before the key's time.
    NotYetValid,
    /// It is after the key's time.
    Expired,
    /// It is outside the key's times of the week.
    OutsideWindow,
    /// The key is limited in time and no clock can be trusted.
    NoClock,
    /// There is no such door.
    UnknownDoor,
    /// The key does not open this door.
    DoorNotAllowed,
}

impl PolicyRefusal {
    /// Short lower-case words for an audit line.
    pub const fn reason(self) -> &'static str {
        match self {
            PolicyRefusal::Disabled => "key-disabled",
            PolicyRefusal::CounterTooEarly => "counter-before-key",
            PolicyRefusal::CounterTooLate => "counter-after-key",
            PolicyRefusal::SourceNetwork => "source-not-allowed",
            PolicyRefusal::ClaimNotAllowed => "claim-not-allowed",
            PolicyRefusal::ClaimMissing => "claim-missing",
            PolicyRefusal::ClaimNetwork => "claimed-source-not-allowed",
            PolicyRefusal::NotYetValid => "key-not-yet-valid",
            PolicyRefusal::Expired => "key-expired",
            PolicyRefusal::OutsideWindow => "outside-weekly-window",
            PolicyRefusal::NoClock => "clock-not-trusted",
            PolicyRefusal::UnknownDoor => "no-such-door",
            PolicyRefusal::DoorNotAllowed => "door-not-allowed",
        }
    }
}

impl Policy {
    /// The rules that need no state. Asked before a counter is used up, so that a counter of no use
    /// does not move the window.
    ///
    /// # Errors
    /// [`PolicyRefusal::CounterTooEarly`] and [`PolicyRefusal::CounterTooLate`].
    pub const fn check_counter(&self, counter: u64) -> Result<(), PolicyRefusal> {
        if counter < self.counter_first {
            return Err(PolicyRefusal::CounterTooEarly);
        }
        if counter > self.counter_last {
            return Err(PolicyRefusal::CounterTooLate);
        }
        Ok(())
    }

    /// All other rules. `door` is where the request's name leads, if anywhere.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn check(
        &self,
        request: &Request,
        seen_from: IpAddr,
        now: Option<WallTime>,
        door: Option<DoorId>,
    ) -> Result<DoorId, PolicyRefusal> {
        self.check_bearer(&request.claimed, seen_from, now)?;
        let door = door.ok_or(PolicyRefusal::UnknownDoor)?;
        if self.doors.contains(door) { Ok(door) } else { Err(PolicyRefusal::DoorNotAllowed) }
    }

    /// All rules but those of counters and doors: whether the key counts here and now, for the sources
    /// it claims; none is "as seen".
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn check_bearer(
        &self,
        claimed: &[IpAddr],
        seen_from: IpAddr,
        now: Option<WallTime>,
    ) -> Result<(), PolicyRefusal> {
        if self.disabled {
            return Err(PolicyRefusal::Disabled);
        }
        self.check_sources(claimed, seen_from)?;
        self.check_time(now)
    }

    fn check_sources(&self, claimed: &[IpAddr], seen_from: IpAddr) -> Result<(), PolicyRefusal> {
        let allowed = |source: IpAddr| {
            self.sources.is_empty() || self.sources.iter().any(|network| network.contains(source))
        };
        if !allowed(seen_from) {
            return Err(PolicyRefusal::SourceNetwork);
        }
        let only_as_seen = claimed.iter().all(|&source| source == seen_from);
        match self.claims {
            ClaimRule::OnlyAsSeen if !only_as_seen => Err(PolicyRefusal::ClaimNotAllowed),
            ClaimRule::Required if claimed.is_empty() => Err(PolicyRefusal::ClaimMissing),
            _ if !claimed.iter().all(|&source| allowed(source)) => Err(PolicyRefusal::ClaimNetwork),
            _ => Ok(()),
        }
    }

    fn check_time(&self, now: Option<WallTime>) -> Result<(), PolicyRefusal> {
        let limited = self.valid_from.is_some() || self.valid_until.is_some() || !self.windows.is_empty();
        let Some(now) = now else {
            let refused = limited && self.without_clock == WithoutClock::Refused;
            return if refused { Err(PolicyRefusal::NoClock) } else { Ok(()) };
        };
        if self.valid_from.is_some_and(|from| now < from) {
            return Err(PolicyRefusal::NotYetValid);
        }
        if self.valid_until.is_some_and(|until| now >= until) {
            return Err(PolicyRefusal::Expired);
        }
        if !self.windows.is_empty() && !self.windows.iter().any(|window| window.contains(now)) {
            return Err(PolicyRefusal::OutsideWindow);
        }
        Ok(())
    }

    /// How long a door that says `open_for` is opened for who wants `wanted_secs`; 0 wants what the
    /// door says. Without a longest lease of its own a key gets no more than the door says.
    pub fn lease(&self, wanted_secs: u32, open_for: Duration) -> Duration {
        let wanted = if wanted_secs == 0 { open_for } else { Duration::from_secs(u64::from(wanted_secs)) };
        wanted.min(self.longest.unwrap_or(open_for)).min(OPEN_FOR_MAX).max(OPEN_FOR_MIN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::Name;

    const CLIENT: IpAddr = IpAddr::V4(core::net::Ipv4Addr::new(198, 51, 100, 7));
    const OTHER: IpAddr = IpAddr::V4(core::net::Ipv4Addr::new(203, 0, 113, 9));
    const DOOR: DoorId = DoorId(70);

    /// Wednesday, 25 November 2026, 10:30 UTC.
    const NOW: WallTime = WallTime::from_secs(1_795_602_600);

    fn request(claimed: &[IpAddr]) -> Request {
        let claimed = Vec::from_slice(claimed).unwrap();
        Request { claimed, ..Request::open(Name::try_from("ssh").unwrap(), 1) }
    }

    fn policy() -> Policy {
        Policy { doors: DoorSet::NONE.with(DOOR), ..Policy::default() }
    }

    fn check(policy: &Policy, claimed: &[IpAddr], now: Option<WallTime>) -> Result<DoorId, PolicyRefusal> {
        policy.check(&request(claimed), CLIENT, now, Some(DOOR))
    }

    #[test]
    fn doors() {
        assert_eq!(check(&policy(), &[], None), Ok(DOOR));
        let other = policy().check(&request(&[]), CLIENT, None, Some(DoorId(71)));
        assert_eq!(other, Err(PolicyRefusal::DoorNotAllowed));
        let none = policy().check(&request(&[]), CLIENT, None, None);
        assert_eq!(none, Err(PolicyRefusal::UnknownDoor));
        let disabled = Policy { disabled: true, ..policy() };
        assert_eq!(check(&disabled, &[], None), Err(PolicyRefusal::Disabled));
        assert!(!DoorSet::ALL.contains(DoorId(u16::MAX)));
        assert_eq!(DoorSet::NONE.with(DoorId(u16::MAX)), DoorSet::NONE);
    }

    #[test]
    fn claims() {
        let with = |claims| Policy { claims, ..policy() };
        for (rule, none, own, other) in [
            (ClaimRule::OnlyAsSeen, Ok(DOOR), Ok(DOOR), Err(PolicyRefusal::ClaimNotAllowed)),
            (ClaimRule::Allowed, Ok(DOOR), Ok(DOOR), Ok(DOOR)),
            (ClaimRule::Required, Err(PolicyRefusal::ClaimMissing), Ok(DOOR), Ok(DOOR)),
        ] {
            let policy = with(rule);
            assert_eq!(check(&policy, &[], None), none, "{rule:?}");
            assert_eq!(check(&policy, &[CLIENT], None), own, "{rule:?}");
            assert_eq!(check(&policy, &[CLIENT, OTHER], None), other, "{rule:?}");
        }
    }

    #[test]
    fn networks() {
        let network = |address: &str, prefix| Network { address: address.parse().unwrap(), prefix };
        let sources = Vec::from_slice(&[network("198.51.100.0", 24), network("2001:db8::", 32)]).unwrap();
        let policy = Policy { sources, claims: ClaimRule::Allowed, ..policy() };
        assert_eq!(check(&policy, &[], None), Ok(DOOR));
        assert_eq!(check(&policy, &[OTHER], None), Err(PolicyRefusal::ClaimNetwork));
        assert_eq!(check(&policy, &["2001:db8:9::1".parse().unwrap()], None), Ok(DOOR));
        let outside = policy.check(&request(&[CLIENT]), OTHER, None, Some(DOOR));
        assert_eq!(outside, Err(PolicyRefusal::SourceNetwork));
        assert!(network("0.0.0.0", 0).contains(CLIENT));
        assert!(!network("0.0.0.0", 0).contains("::1".parse().unwrap()));
        assert!(network("::", 0).contains("2001:db8::1".parse().unwrap()));
        assert!(network("198.51.100.7", 32).contains(CLIENT));
        assert!(!network("198.51.100.6", 32).contains(CLIENT));
        assert!(!network("198.51.100.6", 200).contains(CLIENT));
        assert!(network("198.51.100.6", 31).contains(CLIENT));
        let v6 = |prefix| network("2001:db8::", prefix).contains("2001:db8:8000::".parse().unwrap());
        assert!(v6(32) && !v6(33) && !v6(128));
        assert!(network("::1", 128).contains("::1".parse().unwrap()));
        assert!(!network("::1", 128).contains("::".parse().unwrap()));
        assert!(network("::1", 127).contains("::".parse().unwrap()));
    }

    #[test]
    fn times() {
        let at = |secs| Some(WallTime::from_secs(secs));
        let limited = Policy { valid_from: at(1000), valid_until: at(2000), ..policy() };
        assert_eq!(check(&limited, &[], at(999)), Err(PolicyRefusal::NotYetValid));
        assert_eq!(check(&limited, &[], at(1000)), Ok(DOOR));
        assert_eq!(check(&limited, &[], at(2000)), Err(PolicyRefusal::Expired));
        assert_eq!(check(&limited, &[], None), Ok(DOOR));
        let strict = Policy { without_clock: WithoutClock::Refused, ..limited };
        assert_eq!(check(&strict, &[], None), Err(PolicyRefusal::NoClock));
        let unlimited = Policy { without_clock: WithoutClock::Refused, ..policy() };
        assert_eq!(check(&unlimited, &[], None), Ok(DOOR));
    }

    #[test]
    fn times_of_the_week() {
        let wednesday = WeeklyWindow { days: 4, from_minute: 8 * 60, until_minute: 17 * 60 };
        let policy = Policy { windows: Vec::from_slice(&[wednesday]).unwrap(), ..policy() };
        let later = |secs| Some(WallTime::from_secs(NOW.secs() + secs));
        assert_eq!(check(&policy, &[], Some(NOW)), Ok(DOOR));
        assert_eq!(check(&policy, &[], later(6 * 3600 + 1799)), Ok(DOOR), "16:59:59");
        assert_eq!(check(&policy, &[], later(6 * 3600 + 1800)), Err(PolicyRefusal::OutsideWindow));
        assert_eq!(check(&policy, &[], later(86_400)), Err(PolicyRefusal::OutsideWindow));
        assert_eq!(check(&policy, &[], later(7 * 86_400)), Ok(DOOR));
        assert_eq!(check(&policy, &[], None), Ok(DOOR));
    }

    #[test]
    fn counters() {
        let policy = Policy { counter_first: 10, counter_last: 20, ..policy() };
        assert_eq!(policy.check_counter(9), Err(PolicyRefusal::CounterTooEarly));
        assert_eq!(policy.check_counter(10), Ok(()));
        assert_eq!(policy.check_counter(20), Ok(()));
        assert_eq!(policy.check_counter(21), Err(PolicyRefusal::CounterTooLate));
    }

    #[test]
    fn leases() {
        let secs = Duration::from_secs;
        let capped = Policy { longest: Some(secs(3600)), ..policy() };
        assert_eq!(policy().lease(0, secs(30)), secs(30));
        assert_eq!(policy().lease(20, secs(30)), secs(20));
        assert_eq!(policy().lease(60, secs(30)), secs(30));
        assert_eq!(capped.lease(0, secs(30)), secs(30));
        assert_eq!(capped.lease(900, secs(30)), secs(900));
        assert_eq!(capped.lease(u32::MAX, secs(30)), secs(3600));
        assert_eq!(capped.lease(0, secs(7200)), secs(3600));
        let endless = Policy { longest: Some(secs(u64::MAX)), ..policy() };
        assert_eq!(endless.lease(u32::MAX, secs(30)), OPEN_FOR_MAX);
        let nothing = Policy { longest: Some(Duration::ZERO), ..policy() };
        assert_eq!(nothing.lease(0, secs(30)), OPEN_FOR_MIN);
    }
}
