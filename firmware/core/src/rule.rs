//! The configuration of the engine, already proved valid.
//!
//! "Parse, don't validate": whoever holds a [`RuleSet`] needs no further check. It is made by
//! [`RuleSetBuilder`], which refuses everything that could not be matched, bounded or explained.

use core::net::IpAddr;

use heapless::{String, Vec};

mod error;
mod reach;
mod row;
mod terms;

pub use error::RuleError;
pub use reach::Reach;
pub use row::{Row, RowKind};
pub use terms::{Behind, Terms};

use crate::knock::{FlagCondition, InterfaceSet, Knock, Protocol, ServicePort, Step, TcpFlags};
use crate::limits::{
    DOORS_MAX, FLAG_CONDITIONS_MAX, GUARD_RANGES_MAX, NAME_BYTES_MAX, OPEN_FOR_MAX, OPEN_FOR_MIN, PORTS_MAX,
    PORTS_PER_DOOR_MAX, REORDER_MAX, REORDER_STEPS_MAX, ROWS_MAX, SEQUENCES_MAX, STEP_SHARED_MAX, STEPS_MAX,
    WITHIN_MAX, WITHIN_MIN,
};
use crate::time::Duration;

/// A door's or key's name: 1 to 32 of `A-Z a-z 0-9 - _ .`, so that it needs no escaping anywhere.
pub type Name = String<NAME_BYTES_MAX>;

/// Position of a door in its rule set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DoorId(pub u16);

/// Position of a sequence in its rule set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SequenceId(pub u16);

/// What completing a sequence does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// Opens the door for the source.
    Open,
    /// Closes the door for the source before its time.
    Close,
}

/// A door: the ports it protects, and for how long a grant opens them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Door {
    /// Name, unique in the rule set.
    pub name: Name,
    /// Protected ports, at least one, sorted, without duplicates.
    pub ports: Vec<ServicePort, PORTS_PER_DOOR_MAX>,
    /// How long one grant lasts; whole seconds.
    pub open_for: Duration,
    /// Only knocks addressed to this address count.
    pub target: Option<IpAddr>,
    /// Only knocks that arrive on these interfaces count; at least one.
    pub interfaces: InterfaceSet,
    /// What a grant means beyond ports and time.
    pub terms: Terms,
}

/// A sequence of knocks and what it does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sequence {
    /// Door it belongs to.
    pub door: DoorId,
    /// Whether it opens or closes.
    pub purpose: Purpose,
    /// The knocks, in order, 1 to [`STEPS_MAX`]; none follows itself.
    pub steps: Vec<Step, STEPS_MAX>,
    /// Longest time from the first knock to the last.
    pub within: Duration,
    /// A knock counts from its arrival until this much later, so that neighbours may overtake
    /// each other. `ZERO`: strictly in order.
    pub reorder: Duration,
    /// Which TCP segments count as its knocks; others are not seen by it.
    pub flags: FlagCondition,
}

/// Inclusive range of values that taint a source: no sequence completes for it while the taint
/// is younger than the sequence's `within`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GuardRange {
    /// Protocol the range is watched on.
    pub protocol: Protocol,
    /// First value (port, or echo payload octets).
    pub first: u16,
    /// Last value, not below `first`.
    pub last: u16,
}

/// One place a knock stands in: the `step`-th of `sequence`, counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The knock.
    pub knock: Step,
    /// Sequence it stands in.
    pub sequence: SequenceId,
    /// Position in the sequence, 0 is the first knock.
    pub step: u8,
}

/// A valid configuration of the engine.
#[derive(Clone, Debug)]
pub struct RuleSet {
    doors: Vec<Door, DOORS_MAX>,
    sequences: Vec<Sequence, SEQUENCES_MAX>,
    guards: Vec<GuardRange, GUARD_RANGES_MAX>,
    ports: Vec<ServicePort, PORTS_MAX>,
    flag_conditions: Vec<FlagCondition, FLAG_CONDITIONS_MAX>,
    /// Sorted by knock, then sequence, then *descending* step: a knock that stands twice in one
    /// sequence advances the later place first and so counts once.
    places: Vec<Place, { SEQUENCES_MAX * STEPS_MAX }>,
    within_longest: Duration,
    rows: Vec<Row, ROWS_MAX>,
    /// How often each sequence got other knocks, which only those of rows do.
    turns: Vec<u32, SEQUENCES_MAX>,
}

impl RuleSet {
    /// The rule set of the factory profile: no doors, nothing to watch.
    pub const fn empty() -> Self {
        Self {
            doors: Vec::new(),
            sequences: Vec::new(),
            guards: Vec::new(),
            ports: Vec::new(),
            flag_conditions: Vec::new(),
            places: Vec::new(),
            within_longest: WITHIN_MIN,
            rows: Vec::new(),
            turns: Vec::new(),
        }
    }

    /// All doors, in the order of their ids.
    pub fn doors(&self) -> &[Door] {
        &self.doors
    }

    /// The door with this id.
    pub fn door(&self, id: DoorId) -> Option<&Door> {
        self.doors.get(usize::from(id.0))
    }

    /// The door with this name.
    pub fn door_named(&self, name: &str) -> Option<DoorId> {
        let position = self.doors.iter().position(|door| door.name == name)?;
        u16::try_from(position).ok().map(DoorId)
    }

    /// All sequences, in the order of their ids.
    pub fn sequences(&self) -> &[Sequence] {
        &self.sequences
    }

    /// The sequence with this id.
    pub fn sequence(&self, id: SequenceId) -> Option<&Sequence> {
        self.sequences.get(usize::from(id.0))
    }

    /// Guard ranges, sorted by protocol and first value, merged, disjoint.
    pub fn guards(&self) -> &[GuardRange] {
        &self.guards
    }

    /// Every protected port of every door, sorted, without duplicates: what the firewall drops.
    pub fn protected_ports(&self) -> &[ServicePort] {
        &self.ports
    }

    /// The widest network any grant covers, for each family. All that are wider than one address are
    /// equally wide.
    pub fn reach(&self) -> Reach {
        let reaches = self.doors.iter().map(|door| door.terms.reach);
        reaches.fold(Reach::SOURCE_ALONE, Reach::widest)
    }

    /// The TCP flag conditions any sequence uses; at least the opening SYN when a TCP knock or
    /// guard exists.
    pub fn flag_conditions(&self) -> &[FlagCondition] {
        &self.flag_conditions
    }

    /// Every place of a sequence that is awaited, sorted by knock.
    pub fn places(&self) -> &[Place] {
        &self.places
    }

    /// The longest `within` of all sequences.
    pub fn within_longest(&self) -> Duration {
        self.within_longest
    }

    /// The places `step` stands in: at most [`STEP_SHARED_MAX`].
    pub fn places_of(&self, step: Step) -> &[Place] {
        let start = self.places.partition_point(|place| place.knock < step);
        let rest = self.places.get(start..).unwrap_or(&[]);
        let count = rest.iter().take(STEP_SHARED_MAX).take_while(|place| place.knock == step).count();
        rest.get(..count).unwrap_or(&[])
    }

    /// Whether `knock` touches a guard. What is awaited is none.
    pub fn is_guarded(&self, knock: &Knock) -> bool {
        let covered = if self.rows.is_empty() {
            self.is_in_guard(knock.step)
        } else {
            let covered = self.is_in_guard(knock.step) || self.is_guarded_by_row(knock.step);
            covered && self.places_of(knock.step).is_empty()
        };
        covered && (knock.step.protocol != Protocol::Tcp || self.counts_as_knock(knock.flags))
    }

    fn is_in_guard(&self, Step { protocol, value }: Step) -> bool {
        let after = self.guards.partition_point(|guard| (guard.protocol, guard.first) <= (protocol, value));
        let guard = after.checked_sub(1).and_then(|index| self.guards.get(index));
        guard.is_some_and(|guard| guard.protocol == protocol && value <= guard.last)
    }

    /// Whether a TCP segment with these flags counts as a knock for any sequence.
    pub fn counts_as_knock(&self, flags: TcpFlags) -> bool {
        self.flag_conditions.iter().any(|condition| condition.holds(flags))
    }

    fn place(&mut self, knock: Step, sequence: SequenceId, step: u8) -> Result<(), RuleError> {
        if self.places_of(knock).len() == STEP_SHARED_MAX {
            return Err(RuleError::StepSharedTooOften(knock));
        }
        let place = Place { knock, sequence, step };
        let key = |place: &Place| (place.knock, place.sequence, u8::MAX - place.step);
        let position = self.places.partition_point(|other| key(other) < key(&place));
        insert_at(&mut self.places, position, place).map_err(|_| RuleError::TooManySequences)
    }
}

/// Collects doors, sequences and guards and proves them valid together.
#[derive(Debug)]
pub struct RuleSetBuilder {
    rules: RuleSet,
}

impl Default for RuleSetBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl RuleSetBuilder {
    /// Begins with nothing.
    pub const fn new() -> Self {
        Self { rules: RuleSet::empty() }
    }

    /// Adds a door; its id is its position.
    ///
    /// # Errors
    /// The first rule of [`RuleError`] that it breaks.
    pub fn door(&mut self, mut door: Door) -> Result<DoorId, RuleError> {
        let id = next_id(self.rules.doors.len()).map(DoorId).ok_or(RuleError::TooManyDoors)?;
        if !is_name(&door.name) {
            return Err(RuleError::BadName(id));
        }
        if self.rules.doors.iter().any(|other| other.name == door.name) {
            return Err(RuleError::DuplicateName(id));
        }
        if door.ports.is_empty() || door.ports.iter().any(|port| port.port == 0) {
            return Err(RuleError::BadPorts(id));
        }
        let whole = door.open_for.millis() % 1000 == 0;
        if !whole || door.open_for < OPEN_FOR_MIN || door.open_for > OPEN_FOR_MAX {
            return Err(RuleError::BadOpenFor(id));
        }
        if door.interfaces.is_empty() {
            return Err(RuleError::NoInterface(id));
        }
        sort_ports(&mut door.ports);
        self.check_behind(id, &door)?;
        if door.terms.one_shot && door.ports.len() != 1 {
            return Err(RuleError::OneShotNeedsOnePort(id));
        }
        self.check_reach(id, &door)?;
        for &port in &door.ports {
            if let Err(position) = self.rules.ports.binary_search(&port) {
                insert_at(&mut self.rules.ports, position, port).map_err(|_| RuleError::TooManyPorts)?;
            }
        }
        self.rules.doors.push(door).map_err(|_| RuleError::TooManyDoors)?;
        Ok(id)
    }

    /// Adds a sequence of a door that was added before.
    ///
    /// # Errors
    /// The first rule of [`RuleError`] that it breaks.
    pub fn sequence(&mut self, sequence: Sequence) -> Result<SequenceId, RuleError> {
        let id = self.next_sequence(&sequence)?;
        check_sequence(id, &sequence)?;
        for (step, &knock) in (0_u8..).zip(&sequence.steps) {
            self.rules.place(knock, id, step)?;
        }
        self.keep(sequence)?;
        Ok(id)
    }

    fn next_sequence(&self, sequence: &Sequence) -> Result<SequenceId, RuleError> {
        let id = next_id(self.rules.sequences.len()).map(SequenceId).ok_or(RuleError::TooManySequences)?;
        if self.rules.door(sequence.door).is_none() { Err(RuleError::NoSuchDoor(id)) } else { Ok(id) }
    }

    fn keep(&mut self, sequence: Sequence) -> Result<(), RuleError> {
        if sequence.steps.iter().any(|step| step.protocol == Protocol::Tcp) {
            self.watch_flags(sequence.flags)?;
        }
        self.rules.within_longest = self.rules.within_longest.max(sequence.within);
        self.rules.turns.push(0).map_err(|_| RuleError::TooManySequences)?;
        self.rules.sequences.push(sequence).map_err(|_| RuleError::TooManySequences)
    }

    /// Adds a guard range; overlapping and touching ranges are merged.
    ///
    /// # Errors
    /// [`RuleError::BadGuard`] and [`RuleError::TooManyGuards`].
    pub fn guard(&mut self, guard: GuardRange) -> Result<(), RuleError> {
        if guard.first > guard.last {
            return Err(RuleError::BadGuard(guard));
        }
        if guard.protocol == Protocol::Tcp {
            self.watch_flags(FlagCondition::OPENING_SYN)?;
        }
        let mut merged = guard;
        self.rules.guards.retain(|other| {
            let apart = other.protocol != merged.protocol
                || u32::from(other.last) + 1 < u32::from(merged.first)
                || u32::from(merged.last) + 1 < u32::from(other.first);
            if !apart {
                merged.first = merged.first.min(other.first);
                merged.last = merged.last.max(other.last);
            }
            apart
        });
        let position = self.rules.guards.partition_point(|other| *other < merged);
        insert_at(&mut self.rules.guards, position, merged).map_err(|_| RuleError::TooManyGuards)
    }

    /// The finished rule set.
    ///
    /// # Errors
    /// [`RuleError::GuardCoversKnock`] when a guard and a sequence want the same knock.
    pub fn build(self) -> Result<RuleSet, RuleError> {
        let mut knocks = self.rules.sequences.iter().flat_map(|sequence| &sequence.steps);
        match knocks.find(|knock| self.rules.is_in_guard(**knock)) {
            Some(knock) => Err(RuleError::GuardCoversKnock(*knock)),
            None => Ok(self.rules),
        }
    }

    fn check_behind(&self, id: DoorId, door: &Door) -> Result<(), RuleError> {
        if let Some(Behind { host, port }) = door.terms.behind {
            if port == 0 || !can_be_behind(host) {
                return Err(RuleError::BadBehind(id));
            }
            if door.ports.len() != 1 {
                return Err(RuleError::BehindNeedsOwnPort(id));
            }
        }
        let apart = |other: &Door| {
            let leads = door.terms.behind.is_some() || other.terms.behind.is_some();
            !leads || other.ports.iter().all(|port| !door.ports.contains(port))
        };
        if self.rules.doors.iter().all(apart) { Ok(()) } else { Err(RuleError::BehindNeedsOwnPort(id)) }
    }

    fn check_reach(&self, id: DoorId, door: &Door) -> Result<(), RuleError> {
        let Terms { reach, behind, one_shot, .. } = door.terms;
        if !reach.is_allowed() {
            return Err(RuleError::BadReach(id));
        }
        if reach.is_wide() && (behind.is_some() || one_shot) {
            return Err(RuleError::ReachNeedsPlainDoor(id));
        }
        if !reach.agrees_with(self.rules.reach()) {
            return Err(RuleError::ReachesDiffer(id));
        }
        Ok(())
    }

    fn watch_flags(&mut self, flags: FlagCondition) -> Result<(), RuleError> {
        if self.rules.flag_conditions.contains(&flags) {
            return Ok(());
        }
        self.rules.flag_conditions.push(flags).map_err(|_| RuleError::TooManyFlagConditions)
    }
}

fn check_sequence(id: SequenceId, sequence: &Sequence) -> Result<(), RuleError> {
    let Sequence { steps, within, reorder, flags, .. } = sequence;
    check_within(id, sequence)?;
    if steps.is_empty() {
        return Err(RuleError::BadLength(id));
    }
    if steps.iter().any(|step| step.value == 0 && step.protocol != Protocol::Icmp) {
        return Err(RuleError::BadStep(id));
    }
    if steps.iter().zip(steps.iter().skip(1)).any(|(step, next)| step == next) {
        return Err(RuleError::RepeatedStep(id));
    }
    if flags.value.bits() & !flags.mask.bits() != 0 {
        return Err(RuleError::BadFlags(id));
    }
    if *reorder == Duration::ZERO {
        return Ok(());
    }
    if *reorder > REORDER_MAX || *reorder >= *within {
        return Err(RuleError::BadReorder(id));
    }
    let repeated =
        steps.iter().enumerate().any(|(index, step)| steps.iter().take(index).any(|other| other == step));
    if repeated || steps.len() > REORDER_STEPS_MAX {
        return Err(RuleError::ReorderNeedsDistinctSteps(id));
    }
    Ok(())
}

fn check_within(id: SequenceId, sequence: &Sequence) -> Result<(), RuleError> {
    let bad = sequence.within < WITHIN_MIN || sequence.within > WITHIN_MAX;
    if bad { Err(RuleError::BadWithin(id)) } else { Ok(()) }
}

/// Whether `name` may stand in a log line, a rule comment and a file name as it is.
pub fn is_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    !name.is_empty() && name.len() <= NAME_BYTES_MAX && name.bytes().all(allowed)
}

/// Whether a host behind the gateway can have this address.
fn can_be_behind(host: IpAddr) -> bool {
    let nobody = host.is_unspecified() || host.is_loopback() || host.is_multicast();
    let mapped = matches!(host, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some());
    !nobody && !mapped && host != IpAddr::V4(core::net::Ipv4Addr::BROADCAST)
}

fn next_id(count: usize) -> Option<u16> {
    u16::try_from(count).ok()
}

fn sort_ports(ports: &mut Vec<ServicePort, PORTS_PER_DOOR_MAX>) {
    // Not `sort_unstable`, which panics when an order contradicts itself.
    let mut sorted = Vec::new();
    for &port in ports.iter() {
        if let Err(position) = sorted.binary_search(&port) {
            let _ = insert_at(&mut sorted, position, port);
        }
    }
    *ports = sorted;
}

/// Inserts without the panic of `heapless::Vec::insert` on a bad position, which counts as the end.
fn insert_at<T, const N: usize>(vec: &mut Vec<T, N>, position: usize, value: T) -> Result<(), T> {
    if vec.is_full() {
        return Err(value);
    }
    let mut carried = value;
    for place in vec.iter_mut().skip(position) {
        core::mem::swap(place, &mut carried);
    }
    vec.push(carried)
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::Ipv4Addr;

    pub(super) fn door(name: &str, ports: &[ServicePort]) -> Door {
        Door {
            name: Name::try_from(name).unwrap(),
            ports: Vec::from_slice(ports).unwrap(),
            open_for: Duration::from_secs(30),
            target: None,
            interfaces: InterfaceSet::ALL,
            terms: Terms::PLAIN,
        }
    }

    pub(super) fn sequence(door: DoorId, steps: &[Step]) -> Sequence {
        Sequence {
            door,
            purpose: Purpose::Open,
            steps: Vec::from_slice(steps).unwrap(),
            within: Duration::from_secs(10),
            reorder: Duration::ZERO,
            flags: FlagCondition::OPENING_SYN,
        }
    }

    fn knock(step: Step, flags: TcpFlags) -> Knock {
        let source = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
        Knock { source, target: source, step, flags, interface: crate::InterfaceIndex(0) }
    }

    #[test]
    fn places_are_found_by_knock_later_step_first() {
        let mut builder = RuleSetBuilder::new();
        let ssh = builder.door(door("ssh", &[ServicePort::tcp(22)])).unwrap();
        let steps = [Step::tcp(7351), Step::udp(24011), Step::tcp(7351), Step::icmp(83)];
        builder.sequence(sequence(ssh, &steps)).unwrap();
        let rules = builder.build().unwrap();
        let found: std::vec::Vec<u8> =
            rules.places_of(Step::tcp(7351)).iter().map(|place| place.step).collect();
        assert_eq!(found, [2, 0]);
        assert_eq!(rules.places_of(Step::icmp(83)).len(), 1);
        assert!(rules.places_of(Step::tcp(24011)).is_empty());
        assert_eq!(rules.flag_conditions(), [FlagCondition::OPENING_SYN]);
    }

    #[test]
    fn guards_merge_and_answer() {
        let mut builder = RuleSetBuilder::new();
        for (first, last) in [(100, 110), (120, 130), (111, 119), (200, 200)] {
            builder.guard(GuardRange { protocol: Protocol::Tcp, first, last }).unwrap();
        }
        builder.guard(GuardRange { protocol: Protocol::Udp, first: 65_535, last: 65_535 }).unwrap();
        let rules = builder.build().unwrap();
        assert_eq!(rules.guards().len(), 3);
        let syn = TcpFlags::SYN;
        for (step, guarded) in [
            (Step::tcp(99), false),
            (Step::tcp(100), true),
            (Step::tcp(130), true),
            (Step::tcp(131), false),
            (Step::udp(120), false),
            (Step::udp(65_535), true),
            (Step::icmp(120), false),
        ] {
            assert_eq!(rules.is_guarded(&knock(step, syn)), guarded, "{step}");
        }
        assert!(!rules.is_guarded(&knock(Step::tcp(120), TcpFlags::ACK)), "an answer is not a touch");
    }

    #[test]
    fn what_cannot_work_is_refused() {
        let mut builder = RuleSetBuilder::new();
        let ssh = builder.door(door("ssh", &[ServicePort::tcp(22), ServicePort::tcp(22)])).unwrap();
        assert_eq!(builder.rules.doors[0].ports.len(), 1);
        let refused = builder.door(door("ssh", &[ServicePort::tcp(23)]));
        assert_eq!(refused, Err(RuleError::DuplicateName(DoorId(1))));
        assert_eq!(builder.door(door("a b", &[ServicePort::tcp(23)])), Err(RuleError::BadName(DoorId(1))));
        assert_eq!(builder.door(door("none", &[])), Err(RuleError::BadPorts(DoorId(1))));
        assert_eq!(builder.door(door("zero", &[ServicePort::udp(0)])), Err(RuleError::BadPorts(DoorId(1))));
        let mut never = door("never", &[ServicePort::tcp(23)]);
        never.open_for = Duration::from_millis(1500);
        assert_eq!(builder.door(never), Err(RuleError::BadOpenFor(DoorId(1))));
        let nowhere = Door { interfaces: InterfaceSet(0), ..door("nowhere", &[ServicePort::tcp(23)]) };
        assert_eq!(builder.door(nowhere), Err(RuleError::NoInterface(DoorId(1))));

        let id = SequenceId(0);
        assert_eq!(builder.sequence(sequence(DoorId(9), &[Step::tcp(1)])), Err(RuleError::NoSuchDoor(id)));
        assert_eq!(builder.sequence(sequence(ssh, &[])), Err(RuleError::BadLength(id)));
        assert_eq!(builder.sequence(sequence(ssh, &[Step::udp(0)])), Err(RuleError::BadStep(id)));
        let stutter = sequence(ssh, &[Step::tcp(1), Step::udp(2), Step::udp(2)]);
        assert_eq!(builder.sequence(stutter), Err(RuleError::RepeatedStep(id)));
        let mut twice = sequence(ssh, &[Step::tcp(1), Step::tcp(2), Step::tcp(1)]);
        twice.reorder = Duration::from_millis(100);
        assert_eq!(builder.sequence(twice), Err(RuleError::ReorderNeedsDistinctSteps(id)));
        let mut flags = sequence(ssh, &[Step::tcp(1)]);
        flags.flags = FlagCondition { mask: TcpFlags::SYN, value: TcpFlags::ACK };
        assert_eq!(builder.sequence(flags), Err(RuleError::BadFlags(id)));
    }

    #[test]
    fn a_door_behind_the_gateway_has_one_port_of_its_own() {
        let leading = |name: &str, ports: &[ServicePort], host: &str, port| {
            let behind = Some(Behind { host: host.parse().unwrap(), port });
            Door { terms: Terms { behind, ..Terms::PLAIN }, ..door(name, ports) }
        };
        let (plc, host) = (ServicePort::tcp(10_022), "192.168.10.5");
        let mut builder = RuleSetBuilder::new();
        let id = builder.door(leading("plc", &[plc], host, 22)).unwrap();
        let next = DoorId(id.0 + 1);
        for wrong in ["0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255", "::", "::1", "::ffff:10.0.0.1"]
        {
            let refused = builder.door(leading("wrong", &[ServicePort::tcp(1)], wrong, 22));
            assert_eq!(refused, Err(RuleError::BadBehind(next)), "{wrong}");
        }
        let refused = builder.door(leading("zero", &[ServicePort::tcp(1)], host, 0));
        assert_eq!(refused, Err(RuleError::BadBehind(next)));
        let own = Err(RuleError::BehindNeedsOwnPort(next));
        let two = [ServicePort::tcp(1), ServicePort::udp(1)];
        assert_eq!(builder.door(leading("two", &two, host, 22)), own);
        assert_eq!(builder.door(door("here", &[plc])), own);
        assert_eq!(builder.door(leading("there", &[plc], host, 23)), own);
        builder.door(door("other", &[ServicePort::udp(10_022)])).unwrap();
    }

    #[test]
    fn a_grant_for_one_connection_is_for_one_port() {
        let once = |ports: &[ServicePort]| {
            let terms = Terms { one_shot: true, ..Terms::PLAIN };
            Door { terms, ..door("once", ports) }
        };
        let mut builder = RuleSetBuilder::new();
        let refused = builder.door(once(&[ServicePort::tcp(22), ServicePort::tcp(23)]));
        assert_eq!(refused, Err(RuleError::OneShotNeedsOnePort(DoorId(0))));
        builder.door(once(&[ServicePort::tcp(22)])).unwrap();
    }

    #[test]
    fn a_wide_grant_is_of_a_plain_door_and_of_one_width() {
        let wide = |name: &str, port, v4, v6| {
            let terms = Terms { reach: Reach { v4, v6 }, ..Terms::PLAIN };
            Door { terms, ..door(name, &[ServicePort::tcp(port)]) }
        };
        let mut builder = RuleSetBuilder::new();
        for (v4, v6) in [(15, 128), (0, 128), (33, 128), (32, 47), (32, 0), (32, 129), (255, 255)] {
            assert_eq!(
                builder.door(wide("bad", 1, v4, v6)),
                Err(RuleError::BadReach(DoorId(0))),
                "{v4} {v6}"
            );
        }
        builder.door(wide("v4", 1, 16, 128)).unwrap();
        builder.door(door("alone", &[ServicePort::tcp(2)])).unwrap();
        builder.door(wide("both", 3, 16, 48)).unwrap();
        assert_eq!(builder.rules.reach(), Reach { v4: 16, v6: 48 });
        let next = DoorId(3);
        for (v4, v6) in [(24, 128), (32, 64), (31, 127)] {
            assert_eq!(
                builder.door(wide("other", 4, v4, v6)),
                Err(RuleError::ReachesDiffer(next)),
                "{v4} {v6}"
            );
        }
        let behind = Some(Behind { host: "192.168.10.5".parse().unwrap(), port: 22 });
        let plain = wide("special", 5, 16, 128);
        for terms in [Terms { behind, ..plain.terms }, Terms { one_shot: true, ..plain.terms }] {
            let refused = builder.door(Door { terms, ..plain.clone() });
            assert_eq!(refused, Err(RuleError::ReachNeedsPlainDoor(next)));
        }
        let cut = Terms { cut_at_end: true, ..plain.terms };
        builder.door(Door { terms: cut, ..plain }).unwrap();
    }

    #[test]
    fn nobody_is_led_to_the_other_family() {
        let terms = |host: &str| {
            let behind = Some(Behind { host: host.parse().unwrap(), port: 22 });
            Terms { behind, ..Terms::PLAIN }
        };
        let (v4, v6) = ("198.51.100.7".parse().unwrap(), "2001:db8::7".parse().unwrap());
        assert!(terms("192.168.10.5").can_admit(v4) && !terms("192.168.10.5").can_admit(v6));
        assert!(terms("2001:db8::5").can_admit(v6) && !terms("2001:db8::5").can_admit(v4));
        assert!(Terms::PLAIN.can_admit(v4) && Terms::PLAIN.can_admit(v6));
    }

    #[test]
    fn a_guard_on_a_knock_is_refused() {
        let mut builder = RuleSetBuilder::new();
        let ssh = builder.door(door("ssh", &[ServicePort::tcp(22)])).unwrap();
        builder.sequence(sequence(ssh, &[Step::tcp(700), Step::tcp(600)])).unwrap();
        builder.guard(GuardRange { protocol: Protocol::Tcp, first: 601, last: 700 }).unwrap();
        assert_eq!(builder.build().err(), Some(RuleError::GuardCoversKnock(Step::tcp(700))));
    }

    #[test]
    fn sharing_a_knock_is_bounded() {
        let mut builder = RuleSetBuilder::new();
        let ssh = builder.door(door("ssh", &[ServicePort::tcp(22)])).unwrap();
        for other in 0..STEP_SHARED_MAX {
            let other = u16::try_from(other).unwrap() + 2;
            builder.sequence(sequence(ssh, &[Step::tcp(1), Step::tcp(other)])).unwrap();
        }
        let refused = builder.sequence(sequence(ssh, &[Step::tcp(1), Step::tcp(999)]));
        assert_eq!(refused, Err(RuleError::StepSharedTooOften(Step::tcp(1))));
    }
}
