//! Site file to config store.

use postern_config::partition::{Choice, Kind, PARTITION_BYTES_MIN, Store};
use postern_config::site::{StoredDoor, StoredSequence};
use postern_config::{
    DecodeError, PAYLOAD_BYTES_MAX, SCHEMA, STORE_BYTES_MAX, Site, allowance, decode, encode, schema,
};
use postern_core::knock::FlagCondition;
use postern_core::limits::{DOORS_MAX, SEQUENCES_MAX};
use postern_core::port::{Partition, PartitionError};
use postern_core::rule::{RuleError, SequenceId};

use crate::guards;
use crate::site::{DoorFile, SequenceFile, SiteFile};

/// Why a site that was read could not be compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CompileError {
    /// More doors than [`DOORS_MAX`].
    TooManyDoors,
    /// More sequences than [`SEQUENCES_MAX`].
    TooManySequences,
    /// An interface of a door is not one of the gateway's.
    NoSuchInterface {
        /// Octet of the file.
        offset: usize,
        /// The name.
        name: String,
    },
    /// The engine would refuse it.
    Rules(RuleError),
}

impl CompileError {
    /// Stable name of the finding.
    pub fn code(&self) -> &'static str {
        match self {
            CompileError::TooManyDoors => "too-many-doors",
            CompileError::TooManySequences => "too-many-sequences",
            CompileError::NoSuchInterface { .. } => "interface",
            CompileError::Rules(RuleError::DuplicateName(_)) => "name",
            CompileError::Rules(_) => "compile",
        }
    }

    /// Octet of the file it is about, when it is about one place.
    pub fn offset(&self, site: &SiteFile) -> Option<usize> {
        let sequence = |id: SequenceId| {
            let opening = |door: &'_ DoorFile| {
                door.sequence.as_ref().map(|own| (own.offset, door.reorder_millis.offset))
            };
            let closing = |door: &'_ DoorFile| {
                door.close_sequence.as_ref().map(|own| (own.offset, door.reorder_millis.offset))
            };
            let mut all = site.doors.iter().flat_map(|door| [opening(door), closing(door)]).flatten();
            all.nth(usize::from(id.0))
        };
        match self {
            CompileError::NoSuchInterface { offset, .. } => Some(*offset),
            CompileError::TooManyDoors => site.doors.get(DOORS_MAX).map(|door| door.name.offset),
            CompileError::Rules(RuleError::DuplicateName(id)) => {
                site.doors.get(usize::from(id.0)).map(|door| door.name.offset)
            }
            CompileError::Rules(RuleError::BadReorder(id) | RuleError::ReorderNeedsDistinctSteps(id)) => {
                sequence(*id).map(|(_, reorder)| reorder)
            }
            CompileError::Rules(RuleError::BadFlags(id)) => sequence(*id).map(|(own, _)| own),
            CompileError::TooManySequences | CompileError::Rules(_) => None,
        }
    }

    /// What to do about it.
    pub fn suggestion(&self) -> &'static str {
        match self {
            CompileError::TooManyDoors => "protect more ports with each door",
            CompileError::TooManySequences => "do without some of the `close_sequence`s",
            CompileError::NoSuchInterface { .. } => {
                "add it to `interfaces` of [gateway], or leave it out here"
            }
            CompileError::Rules(error) => match error {
                RuleError::DuplicateName(_) => "give each door a name of its own: logs tell doors by it",
                RuleError::BadReorder(_) => "write `reorder = \"150ms\"`",
                RuleError::ReorderNeedsDistinctSteps(_) => "use other knocks, or do without `reorder`",
                RuleError::TooManyPorts => "protect fewer ports",
                RuleError::TooManyFlagConditions => "use the same `tcp_flags` for more doors",
                RuleError::StepSharedTooOften(_) => "give each door knocks of its own",
                _ => "change the site accordingly",
            },
        }
    }
}

/// The site as it is stored, proved to be one the engine accepts.
///
/// # Errors
/// [`CompileError`].
pub fn compile(file: &SiteFile) -> Result<Box<Site>, CompileError> {
    let mut site = Box::<Site>::default();
    site.name = file.name.value.as_str().try_into().unwrap_or_default();
    site.backend = file.backend;
    site.interfaces = names(&file.interfaces);
    site.exempt_interfaces = names(&file.exempt_interfaces);
    for (index, door) in (0..).zip(&file.doors) {
        site.doors.push(stored_door(file, door)?).map_err(|_| CompileError::TooManyDoors)?;
        for (sequence, closes) in [(&door.sequence, false), (&door.close_sequence, true)] {
            if let Some(sequence) = sequence {
                let stored = stored_sequence(door, sequence, index, closes);
                site.sequences.push(stored).map_err(|_| CompileError::TooManySequences)?;
            }
        }
    }
    site.guard_widths = guards::widths(file);
    postern_config::guards::renew(&mut site);
    site.rules().map_err(CompileError::Rules)?;
    Ok(site)
}

/// An image of a config partition that holds the site: unsealed, so that it may be flashed to many
/// devices; each makes it its own at its first start.
pub fn image(site: &Site) -> Vec<u8> {
    let mut payload = vec![0; PAYLOAD_BYTES_MAX];
    let octets = schema::encode(site, &mut payload).unwrap_or_default();
    let partition = Memory(vec![0; PARTITION_BYTES_MIN]);
    // A partition in memory is large enough and does not fail.
    let Ok(mut store) = Store::open(partition) else { return Vec::new() };
    let committed = store.commit(&payload[..octets], SCHEMA, 0, Kind::Permanent);
    if committed.is_ok() { store.into_partition().0 } else { Vec::new() }
}

/// The site in force in an image of a config partition, or in a file of its own.
///
/// # Errors
/// Why there is none, in a sentence.
pub fn read_back(bytes: &[u8]) -> Result<Box<Site>, String> {
    let alone = match decode(bytes) {
        Ok(site) => return Ok(Box::new(site)),
        Err(error) => error,
    };
    if alone != DecodeError::NotAStore || bytes.len() < PARTITION_BYTES_MIN {
        return Err(alone.to_string());
    }
    let partition = Memory(bytes.to_vec());
    let mut store = Store::open(partition).map_err(|_| "it is too small".to_owned())?;
    let Choice::Slot(index) = store.choice() else {
        return Err("no slot of the partition counts".into());
    };
    let schema = store.in_force().map_or(SCHEMA, |header| header.schema);
    let mut payload = vec![0; PAYLOAD_BYTES_MAX];
    let payload = store.read(index, &mut payload).map_err(|error| format!("it cannot be read: {error:?}"))?;
    let site = schema::decode(schema, payload).map_err(|error| format!("it cannot be read: {error:?}"))?;
    Ok(Box::new(site))
}

/// A partition in memory.
struct Memory(Vec<u8>);

impl Memory {
    fn range(&mut self, offset: u64, length: usize) -> Result<&mut [u8], PartitionError> {
        let start = usize::try_from(offset).map_err(|_| PartitionError::OutOfRange)?;
        self.0.get_mut(start..).and_then(|rest| rest.get_mut(..length)).ok_or(PartitionError::OutOfRange)
    }
}

impl Partition for Memory {
    fn size_bytes(&self) -> u64 {
        self.0.len() as u64
    }

    fn read(&mut self, offset: u64, buffer: &mut [u8]) -> Result<(), PartitionError> {
        buffer.copy_from_slice(self.range(offset, buffer.len())?);
        Ok(())
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), PartitionError> {
        self.range(offset, bytes.len())?.copy_from_slice(bytes);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), PartitionError> {
        Ok(())
    }
}

/// The site in a file of its own: a factory profile.
pub fn store(site: &Site) -> Vec<u8> {
    let mut buffer = vec![0; STORE_BYTES_MAX];
    // A test of the format proves that the largest site fits.
    encode(site, &mut buffer).map(<[u8]>::to_vec).unwrap_or_default()
}

fn names<const N: usize>(
    names: &[crate::site::At<String>],
) -> heapless::Vec<postern_config::site::InterfaceName, N> {
    names.iter().filter_map(|name| name.value.as_str().try_into().ok()).take(N).collect()
}

fn stored_door(file: &SiteFile, door: &DoorFile) -> Result<StoredDoor, CompileError> {
    let mut interfaces = 0_u8;
    for name in &door.interfaces {
        let position = file.interfaces.iter().position(|known| known.value == name.value);
        let missing = || CompileError::NoSuchInterface { offset: name.offset, name: name.value.clone() };
        interfaces |= 1 << position.ok_or_else(missing)?;
    }
    let name = door.name.value.as_str().try_into().unwrap_or_default();
    Ok(StoredDoor {
        ports: door.ports.iter().map(|port| port.value.into()).take(8).collect(),
        target: door.target,
        interfaces: if door.interfaces.is_empty() { u8::MAX } else { interfaces },
        allow: door.allow.iter().filter_map(|code| allowance::bit(&code.value)).fold(0, |all, bit| all | bit),
        ..StoredDoor::plain(name, door.open_for_secs.value)
    })
}

fn stored_sequence(door: &DoorFile, sequence: &SequenceFile, index: u16, closes: bool) -> StoredSequence {
    let FlagCondition { mask, value } = door.flags;
    StoredSequence {
        door: index,
        closes,
        one_time: false,
        steps: sequence.steps.iter().map(|step| step.value.into()).collect(),
        within_millis: door.within_millis.value,
        reorder_millis: door.reorder_millis.value,
        flags_mask: mask.bits(),
        flags_value: value.bits(),
    }
}

impl std::fmt::Display for CompileError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            CompileError::TooManyDoors => write!(f, "a site has {DOORS_MAX} doors at most"),
            CompileError::TooManySequences => write!(f, "a site has {SEQUENCES_MAX} sequences at most"),
            CompileError::NoSuchInterface { name, .. } => {
                write!(f, "{name:?} is not one of the gateway's interfaces")
            }
            CompileError::Rules(error) => f.write_str(&rule_words(*error)),
        }
    }
}

fn rule_words(error: RuleError) -> String {
    match error {
        RuleError::TooManyPorts => "more protected ports than the firewall adapter takes".into(),
        RuleError::TooManyFlagConditions => "more different `tcp_flags` than the kernel filter takes".into(),
        RuleError::DuplicateName(door) => format!("door {} has the name of an earlier door", door.0 + 1),
        RuleError::BadReorder(_) => "`reorder` must be shorter than `within`".into(),
        RuleError::ReorderNeedsDistinctSteps(_) => {
            "a sequence with `reorder` needs distinct knocks, eight at most".into()
        }
        RuleError::StepSharedTooOften(step) => format!("the knock {step} stands in too many sequences"),
        RuleError::BadFlags(_) => "`tcp_flags` can be met by no segment".into(),
        other => format!("the engine refuses it: {other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site::read;

    const TEXT: &str = r#"
schema = 1
[gateway]
name = "g"
interfaces = ["eth0", "wwan0"]
[firewall]
backend = "nftables"
exempt_interfaces = ["br-lan"]
[[door]]
name = "ssh"
ports = ["tcp/22"]
open_for = "30s"
sequence = ["tcp/7351", "udp/24011", "icmp/83", "tcp/1490"]
close_sequence = ["tcp/1490", "tcp/7351", "udp/24011"]
within = "5s"
tcp_flags = "syn"
target = "203.0.113.7"
interfaces = ["wwan0"]
"#;

    #[test]
    fn everything_arrives_in_the_rules() {
        let site = compile(&read(TEXT).0.unwrap()).unwrap();
        let again = read_back(&image(&site)).unwrap();
        assert_eq!(again, site);
        assert_eq!(read_back(&store(&site)).as_ref(), Ok(&site));
        let rules = again.rules().unwrap();
        assert_eq!(rules.doors()[0].interfaces.0, 0b10);
        assert_eq!(rules.doors()[0].target, Some([203, 0, 113, 7].into()));
        assert_eq!(rules.sequences().len(), 2);
        assert_eq!(rules.sequences()[0].within.millis(), 5000);
        assert_eq!(rules.sequences()[0].flags.mask, postern_core::TcpFlags::SYN);
        assert_eq!(rules.sequences()[1].purpose, postern_core::rule::Purpose::Close);
        assert!(guards::count(rules.guards()) > 1000);
        assert_eq!(again.exempt_interfaces[0], "br-lan");
    }

    #[test]
    fn an_interface_that_is_not_the_gateways_is_found() {
        let text = TEXT.replace("interfaces = [\"wwan0\"]", "interfaces = [\"wwan1\"]");
        let error = compile(&read(&text).0.unwrap()).unwrap_err();
        assert!(
            matches!(error, CompileError::NoSuchInterface { ref name, .. } if name == "wwan1"),
            "{error}"
        );
    }

    #[test]
    fn names_of_interfaces_that_the_daemon_refuses_are_found() {
        for (known, refused) in
            [("br-lan", "eth+"), ("br-lan", "-i"), ("br-lan", "a'b"), ("br-lan", "eth*"), ("eth0", "..")]
        {
            let text = TEXT.replace(&format!("\"{known}\""), &format!("\"{refused}\""));
            let (site, findings) = read(&text);
            assert!(site.is_none(), "{refused}");
            assert!(findings.iter().all(|finding| finding.code == "interface"), "{findings:?}");
        }
    }
}
