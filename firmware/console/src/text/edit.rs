//! What `set` and `delete` do to a site.

use core::fmt;

use heapless::{String, Vec};
use postern_config::site::{Backend, StoredDoor, StoredGuardWidths, StoredSequence};
use postern_config::{Site, allowance, guards};
use postern_core::limits::OPEN_FOR_MAX;
use postern_core::rule::is_name;

use super::site_lines::{FLAGS_DEFAULT, WITHIN_DEFAULT_MILLIS};
use super::value::{self, Flags};
use super::words::Word;

/// Why a site was not changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EditError {
    /// Octet of the line the mistake stands at.
    pub column: usize,
    /// What is wrong, and what is wanted.
    pub what: &'static str,
}

impl fmt::Display for EditError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.what)
    }
}

/// A field of a door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DoorField {
    /// `ports`
    Ports,
    /// `open-for`
    OpenFor,
    /// `sequence`
    Sequence,
    /// `close-sequence`
    CloseSequence,
    /// `within`
    Within,
    /// `reorder`
    Reorder,
    /// `flags`
    Flags,
    /// `target`
    Target,
    /// `interfaces`
    Interfaces,
    /// `allow`
    Allow,
}

/// A field of the rest of a site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// `gateway name`
    Name,
    /// `gateway interfaces`
    Interfaces,
    /// `gateway spa-port`
    SpaPort,
    /// `gateway guards`
    Guards,
    /// `firewall backend`
    Backend,
    /// `firewall exempt`
    Exempt,
    /// `console banner`
    Banner,
    /// `console idle-lock`
    IdleLock,
    /// `owner`
    Owner,
}

/// What a value is wanted to be.
type Checked<T> = Result<T, EditError>;

const fn wrong<T>(word: &Word<'_>, what: &'static str) -> Checked<T> {
    Err(EditError { column: word.column, what })
}

/// The only value there is.
fn one<'w, 'l>(values: &'w [Word<'l>], end: usize, what: &'static str) -> Checked<&'w Word<'l>> {
    match values {
        [value] => Ok(value),
        [] => Err(EditError { column: end, what }),
        [_, extra, ..] => wrong(extra, "one value is enough"),
    }
}

/// Sets a field of the site. `end` is the column behind the line.
///
/// # Errors
/// [`EditError`]; the site is as it was.
pub fn set(site: &mut Site, field: Field, values: &[Word<'_>], end: usize) -> Checked<()> {
    match field {
        Field::Name => site.name = name(one(values, end, "a name is wanted")?)?,
        Field::Interfaces => site.interfaces = names(values, end, "an interface is wanted, e.g. wwan0")?,
        Field::Exempt => site.exempt_interfaces = names(values, end, "an interface is wanted, e.g. br-lan")?,
        Field::SpaPort => {
            let word = one(values, end, "a UDP port is wanted; 0 is none")?;
            site.spa_port = number(word, "a UDP port is wanted; 0 is none")?;
        }
        Field::Guards => {
            let [tcp, udp, icmp] = values else {
                let column = values.last().map_or(end, |word| word.column);
                return Err(EditError {
                    column,
                    what: "three widths are wanted: TCP, UDP, ICMP, e.g. 256 16 16",
                });
            };
            let width = |word| {
                number(word, "a width is 0 to 8192").and_then(|width| {
                    if width <= 8192 { Ok(width) } else { wrong(word, "a width is 0 to 8192") }
                })
            };
            let widths = StoredGuardWidths { tcp: width(tcp)?, udp: width(udp)?, icmp: width(icmp)? };
            site.guard_widths = widths;
            guards::renew(site);
        }
        Field::Backend => {
            let word = one(values, end, "iptables or nftables")?;
            site.backend = match word.text {
                "iptables" => Backend::Iptables,
                "nftables" => Backend::Nftables,
                _ => return wrong(word, "iptables or nftables"),
            };
        }
        Field::Banner => {
            site.console.banner = banner(one(values, end, "a text in quotation marks is wanted")?)?
        }
        Field::IdleLock => {
            let word = one(values, end, "a time is wanted, 1m to 1h")?;
            let secs = value::millis(word.text).map(|millis| millis / 1000);
            let secs =
                secs.filter(|secs| (60..=3600).contains(secs)).and_then(|secs| u16::try_from(secs).ok());
            match secs {
                Some(secs) => site.console.idle_lock_secs = secs,
                None => return wrong(word, "a time is wanted, 1m to 1h"),
            }
        }
        Field::Owner => {
            let word = one(values, end, "an Ed25519 public key is wanted: 64 hexadecimal digits")?;
            match value::hex(word.text) {
                Some(key) => site.owner = Some(key),
                None => return wrong(word, "an Ed25519 public key is wanted: 64 hexadecimal digits"),
            }
        }
    }
    Ok(())
}

/// Puts a field of the site back to what it is when nobody says anything.
///
/// # Errors
/// [`EditError`]; the site is as it was.
pub fn delete(site: &mut Site, field: Field, column: usize) -> Checked<()> {
    match field {
        Field::Name | Field::Interfaces => {
            return Err(EditError { column, what: "a gateway cannot do without" });
        }
        Field::SpaPort => site.spa_port = 0,
        Field::Guards => {
            site.guard_widths = StoredGuardWidths::default();
            guards::renew(site);
        }
        Field::Backend => site.backend = Backend::default(),
        Field::Exempt => site.exempt_interfaces.clear(),
        Field::Banner => site.console.banner.clear(),
        Field::IdleLock => site.console.idle_lock_secs = 600,
        Field::Owner => site.owner = None,
    }
    Ok(())
}

/// Position of the door with this name.
pub fn door_named(site: &Site, name: &str) -> Option<usize> {
    site.doors.iter().position(|door| door.name == name)
}

/// Sets a field of a door, which is made when there is none with this name.
///
/// # Errors
/// [`EditError`]; the site is as it was.
pub fn set_door(
    site: &mut Site,
    door: &Word<'_>,
    field: DoorField,
    values: &[Word<'_>],
    end: usize,
) -> Checked<()> {
    let known = door_named(site, door.text);
    let index = match known {
        Some(index) => index,
        None => {
            let fresh = StoredDoor::plain(name(door)?, 30);
            if site.doors.push(fresh).is_err() {
                return wrong(door, "a gateway has no room for another door");
            }
            site.doors.len() - 1
        }
    };
    let set = match field {
        DoorField::Sequence => set_sequence(site, index, false, values, end),
        DoorField::CloseSequence => set_sequence(site, index, true, values, end),
        DoorField::Within | DoorField::Reorder | DoorField::Flags => {
            one(values, end, "a value is wanted").and_then(|value| set_manner(site, index, field, value))
        }
        _ => set_plain(site, index, field, values, end),
    };
    if set.is_err() && known.is_none() {
        // A door of a mistyped line would be in the way of the next commit.
        site.doors.pop();
    }
    guards::renew(site);
    set
}

fn set_plain(
    site: &mut Site,
    index: usize,
    field: DoorField,
    values: &[Word<'_>],
    end: usize,
) -> Checked<()> {
    let mut bits = 0_u8;
    if field == DoorField::Interfaces {
        for word in values {
            let known = site.interfaces.iter().position(|name| name == word.text);
            let Some(bit) = known else { return wrong(word, "not one of the gateway's interfaces") };
            bits |= 1 << bit;
        }
    }
    let Some(door) = site.doors.get_mut(index) else { return Ok(()) };
    match field {
        DoorField::Ports => {
            let mut ports = Vec::new();
            for word in values {
                let Some(port) = value::port(word.text) else {
                    return wrong(word, "a port is wanted, e.g. tcp/22");
                };
                if ports.push(port).is_err() {
                    return wrong(word, "a door has eight ports at most: make another of the rest");
                }
            }
            if ports.is_empty() {
                return Err(EditError { column: end, what: "a port is wanted, e.g. tcp/22" });
            }
            door.ports = ports;
        }
        DoorField::OpenFor => {
            let word = one(values, end, "a time is wanted, 1s to 24h")?;
            let millis = value::millis(word.text)
                .filter(|&millis| millis % 1000 == 0 && millis > 0 && millis <= OPEN_FOR_MAX.millis());
            match millis.and_then(|millis| u32::try_from(millis / 1000).ok()) {
                Some(secs) => door.open_for_secs = secs,
                None => return wrong(word, "whole seconds are wanted, 1s to 24h"),
            }
        }
        DoorField::Target => {
            let word = one(values, end, "an address is wanted")?;
            match word.text.parse() {
                Ok(address) => door.target = Some(address),
                Err(_) => return wrong(word, "an address is wanted, e.g. 203.0.113.7"),
            }
        }
        DoorField::Interfaces => door.interfaces = if values.is_empty() { u8::MAX } else { bits },
        _ => {
            let mut allow = 0;
            for word in values {
                match allowance::bit(word.text) {
                    Some(bit) => allow |= bit,
                    None => return wrong(word, "no finding that a door can accept"),
                }
            }
            door.allow = allow;
        }
    }
    Ok(())
}

fn set_sequence(site: &mut Site, index: usize, closes: bool, values: &[Word<'_>], end: usize) -> Checked<()> {
    let mut steps = Vec::new();
    for word in values {
        let Some(step) = value::step(word.text) else {
            return wrong(word, "a knock is wanted, e.g. tcp/7351, udp/24011 or icmp/83");
        };
        if steps.push(step).is_err() {
            return wrong(word, "a sequence has sixteen knocks at most");
        }
    }
    if steps.is_empty() {
        return Err(EditError { column: end, what: "knocks are wanted, e.g. tcp/7351 udp/24011" });
    }
    let door = u16::try_from(index).unwrap_or(u16::MAX);
    let manner = site.sequences.iter().find(|sequence| sequence.door == door);
    let (within_millis, reorder_millis, flags_mask, flags_value) = manner
        .map_or((WITHIN_DEFAULT_MILLIS, 0, FLAGS_DEFAULT.mask, FLAGS_DEFAULT.value), |own| {
            (own.within_millis, own.reorder_millis, own.flags_mask, own.flags_value)
        });
    let sequence = StoredSequence {
        door,
        closes,
        one_time: false,
        steps,
        within_millis,
        reorder_millis,
        flags_mask,
        flags_value,
    };
    let same = |other: &StoredSequence| other.door == door && other.closes == closes && !other.one_time;
    match site.sequences.iter_mut().find(|other| same(other)) {
        Some(place) => *place = sequence,
        None => {
            if site.sequences.push(sequence).is_err() {
                return Err(EditError { column: end, what: "a gateway has no room for another sequence" });
            }
            // Opening before closing, doors in their order: one site has one form.
            site.sequences.sort_unstable_by_key(|own| (own.door, own.closes));
        }
    }
    Ok(())
}

fn set_manner(site: &mut Site, index: usize, field: DoorField, word: &Word<'_>) -> Checked<()> {
    let time = || value::millis(word.text).and_then(|millis| u32::try_from(millis).ok());
    let mut found = false;
    for sequence in site.sequences.iter_mut().filter(|own| usize::from(own.door) == index) {
        found = true;
        match field {
            DoorField::Within => match time().filter(|time| (100..=120_000).contains(time)) {
                Some(time) => sequence.within_millis = time,
                None => return wrong(word, "a time is wanted, 100ms to 2m"),
            },
            DoorField::Reorder => match time().filter(|&time| time <= 2000) {
                Some(time) => sequence.reorder_millis = time,
                None => return wrong(word, "a time is wanted, 0s to 2s"),
            },
            _ => match value::flags(word.text) {
                Some(Flags { mask, value }) => {
                    (sequence.flags_mask, sequence.flags_value) = (mask, value);
                }
                None => return wrong(word, "flags are wanted, e.g. syn,!ack"),
            },
        }
    }
    if found { Ok(()) } else { wrong(word, "the door has no sequence yet: set that first") }
}

/// Takes a door away, or puts a field of it back.
///
/// # Errors
/// [`EditError`]; the site is as it was.
pub fn delete_door(site: &mut Site, door: &Word<'_>, field: Option<DoorField>) -> Checked<()> {
    let Some(index) = door_named(site, door.text) else { return wrong(door, "there is no such door") };
    let own = |sequence: &StoredSequence| usize::from(sequence.door) == index;
    match field {
        None => {
            site.sequences.retain(|sequence| !own(sequence));
            for sequence in &mut site.sequences {
                sequence.door -= u16::from(usize::from(sequence.door) > index);
            }
            site.doors.remove(index);
        }
        Some(DoorField::Sequence) => site.sequences.retain(|sequence| !own(sequence) || sequence.closes),
        Some(DoorField::CloseSequence) => {
            site.sequences.retain(|sequence| !own(sequence) || !sequence.closes);
        }
        Some(field) => delete_plain(site, index, door, field)?,
    }
    guards::renew(site);
    Ok(())
}

fn delete_plain(site: &mut Site, index: usize, door: &Word<'_>, field: DoorField) -> Checked<()> {
    for sequence in site.sequences.iter_mut().filter(|own| usize::from(own.door) == index) {
        match field {
            DoorField::Within => sequence.within_millis = WITHIN_DEFAULT_MILLIS,
            DoorField::Reorder => sequence.reorder_millis = 0,
            DoorField::Flags => {
                (sequence.flags_mask, sequence.flags_value) = (FLAGS_DEFAULT.mask, FLAGS_DEFAULT.value);
            }
            _ => {}
        }
    }
    let Some(place) = site.doors.get_mut(index) else { return Ok(()) };
    match field {
        DoorField::Ports | DoorField::OpenFor => return wrong(door, "a door cannot do without"),
        DoorField::Target => place.target = None,
        DoorField::Interfaces => place.interfaces = u8::MAX,
        DoorField::Allow => place.allow = 0,
        _ => {}
    }
    Ok(())
}

fn name<const N: usize>(word: &Word<'_>) -> Checked<String<N>> {
    let fitting = Some(word.text).filter(|text| is_name(text)).and_then(|text| text.try_into().ok());
    match fitting {
        Some(name) => Ok(name),
        None => wrong(word, "a name has 1 to 32 of the characters A-Z a-z 0-9 - _ ."),
    }
}

fn names<const N: usize, const M: usize>(
    values: &[Word<'_>],
    end: usize,
    what: &'static str,
) -> Checked<Vec<String<N>, M>> {
    let mut names: Vec<String<N>, M> = Vec::new();
    for word in values {
        let plain = |octet: u8| octet.is_ascii_alphanumeric() || b"-_.@".contains(&octet);
        let good = word.text.bytes().all(plain) && !word.text.starts_with('-');
        let Some(name) = Some(word.text).filter(|_| good).and_then(|text| text.try_into().ok()) else {
            return wrong(word, "no name of an interface");
        };
        if names.push(name).is_err() {
            return wrong(word, "too many interfaces");
        }
    }
    if names.is_empty() { Err(EditError { column: end, what }) } else { Ok(names) }
}

fn banner<const N: usize>(word: &Word<'_>) -> Checked<String<N>> {
    let mut banner = String::new();
    for (index, line) in word.text.split("\\n").enumerate() {
        let pushed = if index > 0 { banner.push('\n') } else { Ok(()) };
        if pushed.and_then(|()| banner.push_str(line)).is_err() {
            return wrong(word, "a banner has 240 characters at most");
        }
    }
    Ok(banner)
}

fn number(word: &Word<'_>, what: &'static str) -> Checked<u16> {
    word.text.parse().map_err(|_| EditError { column: word.column, what })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::grammar;
    use crate::text::site_lines;
    use crate::text::words::split;
    use std::boxed::Box;
    use std::string::{String as Text, ToString};
    use std::vec::Vec as List;

    fn shown(site: &Site) -> List<Text> {
        let mut lines = List::new();
        site_lines::for_each(site, &mut |line| {
            lines.push(line.to_string());
            true
        });
        lines
    }

    fn typed(site: &mut Site, line: &str) -> Checked<()> {
        grammar::edit(site, &split(line).unwrap(), line.len()).unwrap_or_else(|unknown| panic!("{unknown:?}"))
    }

    const LINES: [&str; 18] = [
        "set gateway name pump-17",
        "set gateway interfaces wwan0 eth0",
        "set gateway spa-port 62201",
        "set gateway guards 128 8 4",
        "set firewall backend nftables",
        "set firewall exempt br-lan",
        "set console banner \"Authorised use only.\\nAll access is recorded.\"",
        "set console idle-lock 5m",
        "set owner 000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
        "set door ssh ports tcp/22 udp/161",
        "set door ssh open-for 30s",
        "set door ssh sequence tcp/7351 udp/24011 icmp/83 tcp/1490",
        "set door ssh close-sequence tcp/1490 tcp/7351",
        "set door ssh within 5s",
        "set door ssh reorder 150ms",
        "set door ssh flags syn",
        "set door ssh target 203.0.113.7",
        "set door ssh interfaces eth0",
    ];

    #[test]
    fn what_is_shown_makes_the_same_site() {
        let mut site = Box::<Site>::default();
        for line in
            LINES.into_iter().chain(["set door ssh allow short-sequence", "set door web ports tcp/443"])
        {
            assert_eq!(typed(&mut site, line), Ok(()), "{line}");
        }
        assert!(!site.guards.is_empty() && site.rules().is_ok(), "{:?}", site.rules().err());
        let lines = shown(&site);
        assert_eq!(lines.first().map(Text::as_str), Some(LINES[0]));
        let mut again = Box::<Site>::default();
        for line in &lines {
            assert_eq!(typed(&mut again, line), Ok(()), "{line}");
        }
        assert_eq!(again, site);
    }

    #[test]
    fn deleting_undoes_setting() {
        let mut site = Box::<Site>::default();
        for line in LINES {
            typed(&mut site, line).unwrap();
        }
        let expected = shown(&site);
        typed(&mut site, "set door web ports tcp/443").unwrap();
        typed(&mut site, "set door web sequence tcp/9001 udp/9002").unwrap();
        typed(&mut site, "delete door web").unwrap();
        assert_eq!(shown(&site), expected);
        for (line, rest) in [
            ("delete door ssh close-sequence", "close-sequence"),
            ("delete door ssh within", "within"),
            ("delete door ssh target", "target"),
            ("delete door ssh interfaces", "ssh interfaces"),
            ("delete firewall exempt", "exempt"),
            ("delete owner", "owner"),
        ] {
            typed(&mut site, line).unwrap();
            assert!(!shown(&site).iter().any(|line| line.contains(rest)), "{line}");
        }
        typed(&mut site, "delete door ssh").unwrap();
        assert!(site.doors.is_empty() && site.sequences.is_empty() && site.guards.is_empty());
    }

    #[test]
    fn mistakes_are_named_where_they_stand() {
        let mut site = Box::<Site>::default();
        typed(&mut site, "set gateway interfaces eth0").unwrap();
        for (line, column, word) in [
            ("set gateway name two words", 21, "one value"),
            ("set gateway name \"two words\"", 17, "characters"),
            ("set gateway interfaces eth0 e/1", 28, "interface"),
            ("set gateway guards 1 2", 21, "three widths"),
            ("set firewall backend pf", 21, "nftables"),
            ("set console idle-lock 2h", 22, "1m to 1h"),
            ("set door ssh ports tcp/22 22", 26, "tcp/22"),
            ("set door ssh ports", 18, "tcp/22"),
            ("set door ssh open-for 30", 22, "whole seconds"),
            ("set door ssh sequence tcp/1 tcp/x", 28, "knock"),
            ("set door ssh within 5s", 20, "no sequence"),
            ("set door ssh interfaces eth1", 24, "not one"),
            ("set door ssh allow everything", 19, "finding"),
            ("delete gateway name", 15, "cannot do without"),
            ("delete door nobody", 12, "no such door"),
        ] {
            let error = typed(&mut site, line).unwrap_err();
            assert_eq!(error.column, column, "{line}: {error}");
            assert!(error.what.contains(word), "{line}: {error}");
        }
    }
}
