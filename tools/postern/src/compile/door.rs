//! Doors and their sequences as they are stored.

use postern_config::allowance;
use postern_config::site::{StoredDoor, StoredRotating, StoredSequence};
use postern_core::knock::FlagCondition;
use postern_core::limits::PORTS_PER_DOOR_MAX;

use super::CompileError;
use crate::site::{At, DoorFile, SequenceFile, SiteFile};

pub(super) fn stored(file: &SiteFile, door: &DoorFile) -> Result<StoredDoor, CompileError> {
    let mut interfaces = 0_u8;
    for name in &door.interfaces {
        let position = file.interfaces.iter().position(|known| known.value == name.value);
        let missing = || CompileError::NoSuchInterface { offset: name.offset, name: name.value.clone() };
        interfaces |= 1 << position.ok_or_else(missing)?;
    }
    let mut keys = 0_u64;
    for name in &door.spa {
        keys |= 1_u64 << key_position(file, name)?;
    }
    let rotating = match &door.rotating {
        None => None,
        Some(rotating) => Some(StoredRotating { key: key_position(file, &rotating.key)?, ..rotating.rest }),
    };
    let name = door.name.value.as_str().try_into().unwrap_or_default();
    Ok(StoredDoor {
        ports: door.ports.iter().map(|port| port.value.into()).take(PORTS_PER_DOOR_MAX).collect(),
        target: door.target,
        interfaces: if door.interfaces.is_empty() { u8::MAX } else { interfaces },
        keys,
        rotating,
        forward: door.forward.as_ref().map(|forward| forward.value),
        one_shot: door.one_shot.value,
        cut_at_end: door.cut_at_end.value,
        prefix_v4: door.prefix_v4.value,
        prefix_v6: door.prefix_v6.value,
        allow: door.allow.iter().filter_map(|code| allowance::bit(&code.value)).fold(0, |all, bit| all | bit),
        ..StoredDoor::plain(name, door.open_for_secs.value)
    })
}

fn key_position(file: &SiteFile, name: &At<String>) -> Result<u8, CompileError> {
    let position = file.keys.iter().position(|key| key.rest.name == name.value.as_str());
    // More keys than there are bits were refused before.
    let position =
        position.and_then(|position| u8::try_from(position).ok()).filter(|&position| position < 64);
    position.ok_or_else(|| CompileError::NoSuchKey { offset: name.offset, name: name.value.clone() })
}

/// Opening, closing and one-time sequences of the door at `index`, in the order they are stored.
pub(super) fn sequences(door: &DoorFile, index: u16) -> impl Iterator<Item = StoredSequence> + '_ {
    let opening = door.sequence.iter().map(|sequence| (sequence, false, false));
    let closing = door.close_sequence.iter().map(|sequence| (sequence, true, false));
    let one_time = door.one_time_sequences.iter().flat_map(|lists| &lists.value);
    let all = opening.chain(closing).chain(one_time.map(|sequence| (sequence, false, true)));
    all.map(move |(sequence, closes, one_time)| stored_sequence(door, sequence, index, closes, one_time))
}

fn stored_sequence(
    door: &DoorFile,
    sequence: &SequenceFile,
    index: u16,
    closes: bool,
    one_time: bool,
) -> StoredSequence {
    let FlagCondition { mask, value } = door.flags;
    StoredSequence {
        door: index,
        closes,
        one_time,
        steps: sequence.steps.iter().map(|step| step.value.into()).collect(),
        within_millis: door.within_millis.value,
        reorder_millis: door.reorder_millis.value,
        flags_mask: mask.bits(),
        flags_value: value.bits(),
    }
}
