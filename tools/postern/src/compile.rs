//! Site file to config store.

use postern_config::site::{StoredKey, StoredKeyKind};
use postern_config::{STORE_BYTES_MAX, Site, encode};
use postern_core::limits::{
    ACCOUNTS_MAX, DOORS_MAX, FWKNOP_KEYS_MAX, KEYS_MAX, REACH_V4_MIN, REACH_V6_MIN, ROWS_MAX, SEQUENCES_MAX,
};
use postern_core::rule::{Reach, RuleError, SequenceId};

use crate::site::{DoorFile, KindFile, RotatingFile, SPA_PORT_DEFAULT, SequenceFile, SiteFile};

mod door;
mod image;
mod key;

pub use image::{image, read_back};
pub use key::Secrets;

/// Why a site that was read could not be compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CompileError {
    /// More doors than [`DOORS_MAX`].
    TooManyDoors,
    /// More sequences than [`SEQUENCES_MAX`].
    TooManySequences,
    /// More keys than [`KEYS_MAX`].
    TooManyKeys,
    /// More keys of stock fwknop clients than [`FWKNOP_KEYS_MAX`].
    TooManyFwknopKeys,
    /// More accounts than [`ACCOUNTS_MAX`].
    TooManyAccounts,
    /// A key or account has the name of an earlier one.
    NameTwice {
        /// Octet of the file.
        offset: usize,
        /// The name.
        name: String,
    },
    /// A door names a key that is not there.
    NoSuchKey {
        /// Octet of the file.
        offset: usize,
        /// The name.
        name: String,
    },
    /// Rotating sequences are derived from a key that is not native.
    RotatingKey {
        /// Octet of the file.
        offset: usize,
        /// The name.
        name: String,
    },
    /// The file of a secret is no good.
    Secret {
        /// Octet of the file.
        offset: usize,
        /// What is wrong with it.
        why: String,
    },
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
            CompileError::TooManyKeys | CompileError::TooManyFwknopKeys => "too-many-keys",
            CompileError::TooManyAccounts => "too-many-accounts",
            CompileError::NameTwice { .. } => "name",
            CompileError::NoSuchKey { .. } => "no-such-key",
            CompileError::RotatingKey { .. } => "rotating-key",
            CompileError::Secret { .. } => "secret",
            CompileError::NoSuchInterface { .. } => "interface",
            CompileError::Rules(RuleError::DuplicateName(_)) => "name",
            CompileError::Rules(RuleError::RepeatedStep(_)) => "repeated-knock",
            CompileError::Rules(
                RuleError::BadReach(_) | RuleError::ReachNeedsPlainDoor(_) | RuleError::ReachesDiffer(_),
            ) => "prefix",
            CompileError::Rules(_) => "compile",
        }
    }

    /// Octet of the file it is about, when it is about one place.
    pub fn offset(&self, site: &SiteFile) -> Option<usize> {
        let sequence = |id: SequenceId| {
            let of_door = |door: &'_ DoorFile| {
                let reorder = door.reorder_millis.offset;
                sequences(door).map(|own| (own.offset, reorder)).collect::<Vec<_>>()
            };
            site.doors.iter().flat_map(of_door).nth(usize::from(id.0))
        };
        match self {
            CompileError::NoSuchInterface { offset, .. }
            | CompileError::NameTwice { offset, .. }
            | CompileError::NoSuchKey { offset, .. }
            | CompileError::RotatingKey { offset, .. }
            | CompileError::Secret { offset, .. } => Some(*offset),
            CompileError::TooManyKeys => site.keys.get(KEYS_MAX).map(|key| key.offset),
            CompileError::TooManyFwknopKeys => {
                let mut fwknop = site.keys.iter().filter(|key| matches!(key.kind, KindFile::Fwknop { .. }));
                fwknop.nth(FWKNOP_KEYS_MAX).map(|key| key.offset)
            }
            CompileError::TooManyAccounts => site.accounts.get(ACCOUNTS_MAX).map(|account| account.offset),
            CompileError::TooManyDoors => site.doors.get(DOORS_MAX).map(|door| door.name.offset),
            CompileError::Rules(RuleError::DuplicateName(id)) => {
                site.doors.get(usize::from(id.0)).map(|door| door.name.offset)
            }
            CompileError::Rules(RuleError::BadReorder(id) | RuleError::ReorderNeedsDistinctSteps(id)) => {
                sequence(*id).map(|(_, reorder)| reorder)
            }
            CompileError::Rules(RuleError::BadBehind(id) | RuleError::BehindNeedsOwnPort(id)) => {
                let door = site.doors.get(usize::from(id.0));
                door.map(|door| door.forward.as_ref().map_or(door.name.offset, |forward| forward.offset))
            }
            CompileError::Rules(RuleError::BadRotating(id)) => {
                let rotating = site.doors.get(usize::from(id.0)).and_then(|door| door.rotating.as_ref());
                rotating.map(|rotating| rotating.key.offset)
            }
            CompileError::Rules(RuleError::OneShotNeedsOnePort(id)) => {
                site.doors.get(usize::from(id.0)).map(|door| door.one_shot.offset)
            }
            CompileError::Rules(
                RuleError::BadReach(id) | RuleError::ReachNeedsPlainDoor(id) | RuleError::ReachesDiffer(id),
            ) => site.doors.get(usize::from(id.0)).map(prefix_of),
            CompileError::Rules(RuleError::BadFlags(id)) => sequence(*id).map(|(own, _)| own),
            CompileError::Rules(RuleError::RepeatedStep(id)) => repeated_knock(site, *id),
            CompileError::TooManySequences | CompileError::Rules(_) => None,
        }
    }

    /// What to do about it.
    pub fn suggestion(&self) -> &'static str {
        match self {
            CompileError::TooManyDoors => "protect more ports with each door",
            CompileError::TooManySequences => {
                "do without some of the `close_sequence`s, or give `one_time_sequences` fewer lines at a time: \
                 new ones may be added when some are used"
            }
            CompileError::TooManyKeys => "take away keys nobody uses any more",
            CompileError::TooManyFwknopKeys => "give some people keys of Postern's own: `kind = \"native\"`",
            CompileError::TooManyAccounts => "take away accounts nobody uses any more",
            CompileError::NameTwice { .. } => "give each one a name of its own",
            CompileError::NoSuchKey { .. } => "add a `[[key]]` with that name, or leave it out here",
            CompileError::RotatingKey { .. } => "give `rotating` a key of its own: `kind = \"native\"`",
            CompileError::Secret { .. } => "paths begin at the folder of the site file",
            CompileError::NoSuchInterface { .. } => {
                "add it to `interfaces` of [gateway], or leave it out here"
            }
            CompileError::Rules(error) => match error {
                RuleError::DuplicateName(_) => "give each door a name of its own: logs tell doors by it",
                RuleError::RepeatedStep(_) => "use another knock for one of the two",
                RuleError::BadReorder(_) => "write `reorder = \"150ms\"`",
                RuleError::ReorderNeedsDistinctSteps(_) => "use other knocks, or do without `reorder`",
                RuleError::TooManyPorts => "protect fewer ports",
                RuleError::TooManyRows => "open the other doors with authenticated packets (`spa`)",
                RuleError::BadRotating(_) => "write `ports = \"20000-29999\"` and 3 to 8 knocks",
                RuleError::BadBehind(_) => "write the service's own address: `forward = \"192.168.1.5:22\"`",
                RuleError::BehindNeedsOwnPort(_) => {
                    "give each service behind the gateway a door with one port that no other door has"
                }
                RuleError::OneShotNeedsOnePort(_) => "give each port a door of its own",
                RuleError::BadReach(_) => {
                    "write the length your clients need: `prefix_v4 = 24`, `prefix_v6 = 64`"
                }
                RuleError::ReachNeedsPlainDoor(_) => "leave the prefix out, or `forward` and `one_shot`",
                RuleError::ReachesDiffer(_) => "give all doors with a prefix the same one",
                RuleError::TooManyFlagConditions => "use the same `tcp_flags` for more doors",
                RuleError::StepSharedTooOften(_) => "give each door knocks of its own",
                _ => "change the site accordingly",
            },
        }
    }
}

/// The sequences of a door in the order they are stored.
pub(crate) fn sequences(door: &DoorFile) -> impl Iterator<Item = &SequenceFile> {
    let one_time = door.one_time_sequences.iter().flat_map(|lists| &lists.value);
    door.sequence.iter().chain(&door.close_sequence).chain(one_time)
}

/// Where the prefix of a door stands that opens for more than one address.
fn prefix_of(door: &DoorFile) -> usize {
    let is_plain = door.prefix_v4.value >= Reach::SOURCE_ALONE.v4;
    let is_v6 = is_plain || door.prefix_v6.value < REACH_V6_MIN;
    if is_v6 { door.prefix_v6.offset } else { door.prefix_v4.offset }
}

/// Where the second of two equal knocks in a row stands.
fn repeated_knock(site: &SiteFile, id: SequenceId) -> Option<usize> {
    let steps = &site.doors.iter().flat_map(sequences).nth(usize::from(id.0))?.steps;
    let (_, second) = steps.iter().zip(steps.iter().skip(1)).find(|(step, next)| step.value == next.value)?;
    Some(second.offset)
}

/// The site as it is stored, proved to be one the engine accepts. What this version does not honour, a
/// check refuses.
///
/// # Errors
/// [`CompileError`].
pub fn compile(file: &SiteFile, secrets: &Secrets<'_>) -> Result<Box<Site>, CompileError> {
    let site = stored(file, secrets)?;
    let stock = |name: &str| {
        let key = file.keys.iter().find(|key| key.rest.name == name);
        key.is_some_and(|key| matches!(key.kind, KindFile::Fwknop { .. }))
    };
    let mut rotating = file.doors.iter().filter_map(|door| door.rotating.as_ref());
    if let Some(RotatingFile { key, .. }) = rotating.find(|rotating| stock(&rotating.key.value)) {
        return Err(CompileError::RotatingKey { offset: key.offset, name: key.value.clone() });
    }
    site.rules().map_err(CompileError::Rules)?;
    Ok(site)
}

/// Everything the file says, as schema 1 stores it, whether the engine honours it or not.
///
/// # Errors
/// [`CompileError`], but for the rules of the engine.
pub fn stored(file: &SiteFile, secrets: &Secrets<'_>) -> Result<Box<Site>, CompileError> {
    let mut site = Box::<Site>::default();
    site.name = file.name.value.as_str().try_into().unwrap_or_default();
    site.spa_port = file.spa_port.unwrap_or(if file.keys.is_empty() { 0 } else { SPA_PORT_DEFAULT });
    site.guard_widths = file.guards;
    site.backend = file.backend;
    site.interfaces = names(&file.interfaces);
    site.exempt_interfaces = names(&file.exempt_interfaces);
    site.console = file.console.clone();
    site.owner = file.owner;
    for account in &file.accounts {
        let name = &account.value.name;
        if site.accounts.iter().any(|other| other.name == *name) {
            return Err(CompileError::NameTwice { offset: account.offset, name: name.as_str().to_owned() });
        }
        site.accounts.push(account.value.clone()).map_err(|_| CompileError::TooManyAccounts)?;
    }
    for key in &file.keys {
        let name = &key.rest.name;
        if site.keys.iter().any(|other| other.name == *name) {
            return Err(CompileError::NameTwice { offset: key.offset, name: name.as_str().to_owned() });
        }
        let fwknop = |key: &&StoredKey| matches!(key.kind, StoredKeyKind::Fwknop { .. });
        let full = site.keys.iter().filter(fwknop).count() == FWKNOP_KEYS_MAX;
        if full && matches!(key.kind, KindFile::Fwknop { .. }) {
            return Err(CompileError::TooManyFwknopKeys);
        }
        site.keys.push(key::stored(key, secrets)?).map_err(|_| CompileError::TooManyKeys)?;
    }
    for (index, door) in (0..).zip(&file.doors) {
        site.doors.push(door::stored(file, door)?).map_err(|_| CompileError::TooManyDoors)?;
        for sequence in door::sequences(door, index) {
            site.sequences.push(sequence).map_err(|_| CompileError::TooManySequences)?;
        }
    }
    postern_config::guards::renew(&mut site);
    Ok(site)
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

impl std::fmt::Display for CompileError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            CompileError::TooManyDoors => write!(f, "a site has {DOORS_MAX} doors at most"),
            CompileError::TooManySequences => write!(f, "a site has {SEQUENCES_MAX} sequences at most"),
            CompileError::TooManyKeys => write!(f, "a site has {KEYS_MAX} keys at most"),
            CompileError::TooManyFwknopKeys => {
                write!(f, "a site has {FWKNOP_KEYS_MAX} keys of stock fwknop clients at most")
            }
            CompileError::TooManyAccounts => write!(f, "a site has {ACCOUNTS_MAX} accounts at most"),
            CompileError::NameTwice { name, .. } => write!(f, "{name:?} is the name of an earlier one"),
            CompileError::NoSuchKey { name, .. } => write!(f, "there is no key {name:?}"),
            CompileError::RotatingKey { name, .. } => {
                write!(
                    f,
                    "key {name:?} is one of a stock fwknop client: rotating sequences need a native one"
                )
            }
            CompileError::Secret { why, .. } => f.write_str(why),
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
        RuleError::RepeatedStep(_) => {
            "a knock follows itself: one packet that is sent again, or delivered twice, counts as both".into()
        }
        RuleError::TooManyRows => {
            format!("more than {ROWS_MAX} doors have `rotating` or `one_time_sequences`")
        }
        RuleError::BadRotating(_) => "no rotating sequences can be made so".into(),
        RuleError::BadReorder(_) => "`reorder` must be shorter than `within`".into(),
        RuleError::ReorderNeedsDistinctSteps(_) => {
            "a sequence with `reorder` needs distinct knocks, eight at most".into()
        }
        RuleError::StepSharedTooOften(step) => format!("the knock {step} stands in too many sequences"),
        RuleError::BadBehind(_) => "no host behind the gateway can have that address and port".into(),
        RuleError::BehindNeedsOwnPort(door) => format!(
            "door {} must have one port of its own, because it, or a door with the same port, leads behind \
             the gateway",
            door.0 + 1
        ),
        RuleError::OneShotNeedsOnePort(door) => format!(
            "door {} is one_shot and has several ports: a grant would be a connection for each",
            door.0 + 1
        ),
        RuleError::BadReach(door) => format!(
            "door {} opens for more than any may: {REACH_V4_MIN} bits of an IPv4 address and {REACH_V6_MIN} of \
             an IPv6 address are the least",
            door.0 + 1
        ),
        RuleError::ReachNeedsPlainDoor(door) => format!(
            "door {} opens for a whole prefix, and leads behind the gateway or is one_shot: a stranger would be \
             led there, or use the grant up",
            door.0 + 1
        ),
        RuleError::ReachesDiffer(door) => format!(
            "door {} has another prefix than an earlier door: the firewall has one length for IPv4 and one for \
             IPv6",
            door.0 + 1
        ),
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
        let site = compile(&read(TEXT).0.unwrap(), &Secrets::Unread).unwrap();
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
        assert!(crate::guards::count(rules.guards()) > 1000);
        assert_eq!(again.exempt_interfaces[0], "br-lan");
    }

    #[test]
    fn an_interface_that_is_not_the_gateways_is_found() {
        let text = TEXT.replace("interfaces = [\"wwan0\"]", "interfaces = [\"wwan1\"]");
        let error = compile(&read(&text).0.unwrap(), &Secrets::Unread).unwrap_err();
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
