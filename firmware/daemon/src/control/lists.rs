//! What is read of the gateway: status, doors, grants, keys.

use heapless::Vec;
use postern_config::Site;
use postern_config::site::StoredKeyKind;
use postern_console::rpc::reply::{
    DOORS_PER_REPLY_MAX, DoorStatus, GRANTS_PER_REPLY_MAX, GrantStatus, HEARD_PER_REPLY_MAX,
    KEYS_PER_REPLY_MAX, KeyStatus, SequenceHeard, Status,
};
use postern_core::grant::Grant;
use postern_core::heard::Heard;
use postern_core::port::Partition;
use postern_core::rule::SequenceId;
use postern_core::time::Instant;

use crate::configuration::Configuration;
use crate::machine::Machine;

pub(super) fn status<P: Partition>(
    configuration: &Configuration<P>,
    machine: &mut impl Machine,
    log_newest: u64,
    now: Instant,
) -> Status {
    let (interfaces, dropped) = machine.interfaces();
    let site = configuration.site();
    let journal = configuration.store().journal();
    let engine = machine.engine();
    let counters = engine.counters();
    Status {
        gateway: site.name.clone(),
        device: configuration.device().id,
        uptime_millis: now.millis(),
        generation: configuration.generation(),
        digest: configuration.digest(),
        origin: configuration.origin(),
        trial: configuration.trial(now),
        floor: journal.floor,
        store: configuration.health(),
        boots: journal.boots,
        unclean_boots: journal.unclean_boots,
        doors: engine.door_count(),
        grants: u16::try_from(engine.grants().filter(|grant| grant.is_open()).count()).unwrap_or(u16::MAX),
        accounts: u8::try_from(site.accounts.len()).unwrap_or(u8::MAX),
        keys: u8::try_from(site.keys.len()).unwrap_or(u8::MAX),
        interfaces,
        frames: counters.frames,
        knocks: counters.knocks,
        guard_touches: counters.guard_touches,
        opened: counters.opened,
        dropped,
        log_newest,
    }
}

pub(super) fn doors(
    site: &Site,
    machine: &mut impl Machine,
    from: u16,
) -> Vec<DoorStatus, DOORS_PER_REPLY_MAX> {
    let engine = machine.engine();
    let doors = (0_u16..).zip(&site.doors).skip(usize::from(from)).take(DOORS_PER_REPLY_MAX);
    doors
        .map(|(index, door)| {
            let opening =
                |sequence: &&postern_config::site::StoredSequence| sequence.door == index && !sequence.closes;
            let knocks = site.sequences.iter().find(opening).map_or(0, |sequence| sequence.steps.len());
            let held = |grant: &&Grant| grant.is_open() && grant.door_name == door.name;
            // The bit of the key it rotates with, if it does.
            let rotating = door.rotating.and_then(|rotating| 1_u64.checked_shl(rotating.key.into()));
            let keys = door.keys | rotating.unwrap_or(0);
            DoorStatus {
                name: door.name.clone(),
                ports: door.ports.clone(),
                open_for_secs: door.open_for_secs,
                knocks: u8::try_from(knocks).unwrap_or(u8::MAX),
                keys: u8::try_from(keys.count_ones()).unwrap_or(u8::MAX),
                grants: u16::try_from(engine.grants().filter(held).count()).unwrap_or(u16::MAX),
            }
        })
        .collect()
}

/// How far anybody came in the fixed sequences.
pub(super) fn heard(machine: &mut impl Machine, from: u16) -> Vec<SequenceHeard, HEARD_PER_REPLY_MAX> {
    let engine = machine.engine();
    let count = u16::try_from(engine.rules().sequences().len()).unwrap_or(u16::MAX);
    let of = |sequence| {
        let Heard { heard, furthest } = engine.heard(SequenceId(sequence))?;
        Some(SequenceHeard { sequence, heard, furthest })
    };
    (from..count).filter_map(of).take(HEARD_PER_REPLY_MAX).collect()
}

/// The open grants with the lowest ids above `after`.
pub(super) fn grants(
    machine: &mut impl Machine,
    after: u64,
    now: Instant,
) -> Vec<GrantStatus, GRANTS_PER_REPLY_MAX> {
    let engine = machine.engine();
    let mut listed = Vec::new();
    let mut last = after;
    while !listed.is_full() {
        let above = |grant: &&Grant| grant.is_open() && u64::from(grant.id.raw()) > last;
        let Some(grant) = engine.grants().filter(above).min_by_key(|grant| grant.id) else { break };
        last = u64::from(grant.id.raw());
        let secs_left = u32::try_from(grant.until.since(now).secs_ceil()).unwrap_or(u32::MAX);
        let (door, source) = (grant.door_name.clone(), grant.source);
        let prefix = grant.network.prefix;
        let _ = listed.push(GrantStatus { id: last, door, source, prefix, secs_left });
    }
    listed
}

pub(super) fn keys(
    site: &Site,
    machine: &mut impl Machine,
    from: u16,
    now: Instant,
) -> Vec<KeyStatus, KEYS_PER_REPLY_MAX> {
    let held = machine.engine().keys();
    let keys = site.keys.iter().enumerate().skip(usize::from(from)).take(KEYS_PER_REPLY_MAX);
    keys.map(|(index, key)| {
        let opens = |door: &&postern_config::site::StoredDoor| {
            let rotating = door.rotating.is_some_and(|rotating| usize::from(rotating.key) == index);
            door.keys & (1 << index) != 0 || rotating
        };
        // In safe mode there is none.
        let used = held.tag(&key.name).and_then(|tag| held.status().find(|status| status.tag == tag));
        let ago = used.and_then(|used| used.last_used).map(|at| now.since(at).millis() / 1000);
        KeyStatus {
            name: key.name.clone(),
            fwknop: matches!(key.kind, StoredKeyKind::Fwknop { .. }),
            doors: u16::try_from(site.doors.iter().filter(opens).count()).unwrap_or(u16::MAX),
            disabled: key.disabled,
            counter: used.map_or(0, |used| used.highest.max(used.ceiling)),
            used_secs_ago: ago.map(|secs| u32::try_from(secs).unwrap_or(u32::MAX)),
        }
    })
    .collect()
}
