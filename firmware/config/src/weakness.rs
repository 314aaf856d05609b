//! What makes a sequence of knocks easy to meet by chance: the same words for the host tool, which refuses, and for the
//! console, where whoever stands at the line has no other tool and is warned.

use core::fmt;

use postern_core::knock::{Protocol, ServicePort, Step};

use crate::allowance;
use crate::services::{EPHEMERAL_FIRST, EPHEMERAL_LAST, STOCK_PING_OCTETS, service_on};
use crate::site::{Site, StoredDoor, StoredSequence};

/// Fewer knocks than this are too few.
const KNOCKS_MIN: usize = 3;
/// Fewer than this are warned of.
const KNOCKS_WANTED: usize = 4;

/// One weakness. Its text is a sentence without a full stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weakness<'n> {
    /// Fewer than four knocks.
    Short {
        /// How many there are.
        knocks: usize,
    },
    /// Every knock is above the one before, or below it.
    Monotone {
        /// Whether they rise.
        rising: bool,
    },
    /// A knock that an earlier one was already, not the one before.
    Repeated(Step),
    /// The port of a known service.
    Service {
        /// The knock.
        knock: Step,
        /// The service.
        service: &'static str,
    },
    /// A UDP port that answers to the gateway's own questions come to.
    Ephemeral(Step),
    /// A port that a door protects.
    Protected {
        /// The knock.
        knock: Step,
        /// Name of the door.
        by: &'n str,
    },
    /// An echo request as ping programs send it.
    StockPing(Step),
}

impl Weakness<'_> {
    /// Its name in [`crate::allowance::ALLOWANCES`].
    pub const fn code(&self) -> &'static str {
        match self {
            Weakness::Short { .. } => "short-sequence",
            Weakness::Monotone { .. } => "monotone-sequence",
            Weakness::Repeated(_) => "repeated-knock",
            Weakness::Service { .. } => "service-port",
            Weakness::Ephemeral(_) => "ephemeral-port",
            Weakness::Protected { .. } => "protected-port",
            Weakness::StockPing(_) => "stock-ping",
        }
    }

    /// Whether a site is not compiled with it, unless its door allows it.
    pub const fn is_grave(&self) -> bool {
        match self {
            Weakness::Short { knocks } => *knocks < KNOCKS_MIN,
            Weakness::Repeated(_) | Weakness::Ephemeral(_) => false,
            _ => true,
        }
    }

    /// What to do about it.
    pub const fn suggestion(&self) -> &'static str {
        match self {
            Weakness::Short { .. } => "use four knocks or more",
            Weakness::Monotone { .. } => "put them in an order that goes up and down",
            Weakness::Repeated(_) => "use another knock",
            Weakness::Service { .. } => "use a port above 1023 that no service is known for",
            Weakness::Ephemeral(_) => "use a UDP port of 1024 to 32767",
            Weakness::Protected { .. } => "use a port no door protects",
            Weakness::StockPing(_) => "use a length no program sends by itself, such as 83 or 211",
        }
    }
}

impl fmt::Display for Weakness<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Weakness::Short { knocks } => {
                write!(f, "a sequence of {knocks} knock{} is short", if *knocks == 1 { "" } else { "s" })
            }
            Weakness::Monotone { rising } => {
                let way = if *rising { "rise" } else { "fall" };
                write!(f, "the knocks {way} from first to last: a linear scan meets them in order")
            }
            Weakness::Repeated(knock) => write!(f, "{knock} stands twice: that is one knock less to guess"),
            Weakness::Service { knock, service } => {
                write!(f, "{knock} is a port of {service}: whoever looks for it knocks")
            }
            Weakness::Ephemeral(knock) => {
                write!(f, "{knock} is where answers to the gateway's own questions come in")
            }
            Weakness::Protected { knock, by } => {
                write!(f, "{knock} is protected by door `{by}`: whoever tries it knocks")
            }
            Weakness::StockPing(knock) => write!(f, "{knock} is what a plain ping sends"),
        }
    }
}

/// Calls `emit` with every weakness of an opening sequence of `knocks`, beside doors with `ports`: first those of the
/// whole, which have no position, then those of its knocks in their order, with theirs.
pub fn of_opening<'n>(
    knocks: &(impl Iterator<Item = Step> + Clone),
    ports: &(impl Iterator<Item = (&'n str, ServicePort)> + Clone),
    mut emit: impl FnMut(Option<usize>, Weakness<'n>),
) {
    let count = knocks.clone().count();
    if count < KNOCKS_WANTED {
        emit(None, Weakness::Short { knocks: count });
    }
    // A linear scan in either direction meets the knocks in order.
    let values = || knocks.clone().map(|step| step.value);
    let rising = values().zip(values().skip(1)).all(|(one, next)| one < next);
    let falling = values().zip(values().skip(1)).all(|(one, next)| one > next);
    if count > 1 && (rising || falling) {
        emit(None, Weakness::Monotone { rising });
    }
    for (position, knock) in knocks.clone().enumerate() {
        // One that follows itself is no sequence at all, and refused by the engine.
        let follows_itself = position > 0 && knocks.clone().nth(position - 1) == Some(knock);
        if !follows_itself && knocks.clone().take(position).any(|other| other == knock) {
            emit(Some(position), Weakness::Repeated(knock));
        }
        of_knock(knock, |weakness| emit(Some(position), weakness));
    }
    of_closing(knocks, ports, emit);
}

/// The same of a closing sequence: it opens nothing, but nobody should close a door by trying another.
pub fn of_closing<'n>(
    knocks: &(impl Iterator<Item = Step> + Clone),
    ports: &(impl Iterator<Item = (&'n str, ServicePort)> + Clone),
    mut emit: impl FnMut(Option<usize>, Weakness<'n>),
) {
    for (position, knock) in knocks.clone().enumerate() {
        let same =
            |port: ServicePort| port.port == knock.value && port.transport.name() == knock.protocol.name();
        if let Some((by, _)) = ports.clone().find(|(_, port)| same(*port)) {
            emit(Some(position), Weakness::Protected { knock, by });
        }
    }
}

fn of_knock(knock: Step, mut emit: impl FnMut(Weakness<'static>)) {
    let Step { protocol, value } = knock;
    if protocol == Protocol::Icmp {
        if STOCK_PING_OCTETS.contains(&value) {
            emit(Weakness::StockPing(knock));
        }
    } else if let Some(service) = service_on(value) {
        emit(Weakness::Service { knock, service });
    } else if protocol == Protocol::Udp && (EPHEMERAL_FIRST..=EPHEMERAL_LAST).contains(&value) {
        emit(Weakness::Ephemeral(knock));
    }
}

/// Calls `emit` with the door and each weakness of every sequence in `site` that its door does not allow.
pub fn for_each<'s>(site: &'s Site, mut emit: impl FnMut(&'s StoredDoor, Weakness<'s>)) {
    let doors = site.doors.iter();
    let ports = doors.flat_map(|door| door.ports.iter().map(|&port| (door.name.as_str(), port.into())));
    for StoredSequence { door, closes, steps, .. } in &site.sequences {
        let Some(door) = site.doors.get(usize::from(*door)) else { continue };
        let knocks = steps.iter().map(|&step| step.into());
        let emit = |_, weakness: Weakness<'s>| {
            let allowed = allowance::bit(weakness.code()).is_some_and(|bit| door.allow & bit != 0);
            if !allowed {
                emit(door, weakness);
            }
        };
        if *closes { of_closing(&knocks, &ports, emit) } else { of_opening(&knocks, &ports, emit) }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::string::{String, ToString};
    use std::vec::Vec;

    use super::*;
    use crate::site::StoredPort;
    use crate::site::StoredStep::{self, Icmp, Tcp, Udp};

    fn site(steps: &[StoredStep], closes: bool, allow: u32) -> Site {
        let mut site = Site::default();
        let mut door = StoredDoor::plain("ssh".try_into().unwrap(), 30);
        door.ports.push(StoredPort::Tcp(7022)).unwrap();
        door.allow = allow;
        site.doors.push(door).unwrap();
        let steps = steps.iter().copied().collect();
        let sequence = StoredSequence {
            door: 0,
            closes,
            one_time: false,
            steps,
            within_millis: 10_000,
            reorder_millis: 0,
            flags_mask: 0,
            flags_value: 0,
        };
        site.sequences.push(sequence).unwrap();
        site
    }

    fn found(site: &Site) -> Vec<(&'static str, String)> {
        let mut found = Vec::new();
        for_each(site, |_, weakness| found.push((weakness.code(), weakness.to_string())));
        found
    }

    fn codes(site: &Site) -> Vec<&'static str> {
        found(site).into_iter().map(|(code, _)| code).collect()
    }

    #[test]
    fn a_good_sequence_has_none() {
        let good = site(&[Tcp(7351), Udp(24_011), Icmp(83), Tcp(1490)], false, 0);
        assert_eq!(codes(&good), [""; 0]);
    }

    #[test]
    fn each_is_found() {
        let of = |steps: &[StoredStep]| codes(&site(steps, false, 0));
        assert_eq!(of(&[Tcp(7351), Tcp(24_011), Tcp(1490)]), ["short-sequence"]);
        assert_eq!(of(&[Tcp(7351)]), ["short-sequence"]);
        assert_eq!(of(&[Tcp(1490), Udp(2000), Tcp(2001), Tcp(7351)]), ["monotone-sequence"]);
        assert_eq!(of(&[Tcp(7351), Tcp(2001), Udp(2000), Tcp(1490)]), ["monotone-sequence"]);
        assert_eq!(of(&[Tcp(7351), Tcp(2001), Tcp(7351), Tcp(1490)]), ["repeated-knock"]);
        assert_eq!(of(&[Tcp(7351), Tcp(7351), Tcp(2001), Tcp(7000)]), [""; 0], "the engine's to refuse");
        assert_eq!(of(&[Tcp(7351), Tcp(22), Tcp(8080), Tcp(1490)]), ["service-port"; 2]);
        assert_eq!(of(&[Tcp(7351), Udp(40_000), Tcp(40_000), Tcp(1490)]), ["ephemeral-port"]);
        assert_eq!(of(&[Tcp(7351), Udp(32_767), Udp(61_000), Tcp(1490)]), [""; 0]);
        assert_eq!(of(&[Tcp(7351), Udp(32_768), Udp(60_999), Tcp(1490)]), ["ephemeral-port"; 2]);
        assert_eq!(of(&[Tcp(7351), Tcp(2001), Tcp(7022), Tcp(1490)]), ["protected-port"]);
        assert_eq!(of(&[Tcp(7351), Udp(7022), Icmp(56), Tcp(1490)]), ["stock-ping"]);
    }

    #[test]
    fn a_closing_one_must_only_keep_off_the_doors() {
        assert_eq!(codes(&site(&[Tcp(1001), Tcp(7022)], true, 0)), ["protected-port"]);
    }

    #[test]
    fn what_the_door_allows_is_not_said() {
        let bits = allowance::bit("short-sequence").unwrap();
        assert_eq!(codes(&site(&[Tcp(7000), Tcp(7700)], false, bits)), ["monotone-sequence"]);
        let bits = bits | allowance::bit("monotone-sequence").unwrap();
        assert_eq!(codes(&site(&[Tcp(7000), Tcp(7700)], false, bits)), [""; 0]);
    }

    #[test]
    fn every_code_can_be_allowed() {
        let knock = Step::tcp(1);
        for weakness in [
            Weakness::Short { knocks: 3 },
            Weakness::Monotone { rising: true },
            Weakness::Repeated(knock),
            Weakness::Service { knock, service: "" },
            Weakness::Ephemeral(knock),
            Weakness::Protected { knock, by: "" },
            Weakness::StockPing(knock),
        ] {
            assert!(allowance::bit(weakness.code()).is_some(), "{weakness:?}");
        }
    }

    #[test]
    fn in_words() {
        let said = found(&site(&[Tcp(1023)], false, 0));
        let said: Vec<_> = said.iter().map(|(_, words)| words.as_str()).collect();
        let service = "tcp/1023 is a port of a system service: whoever looks for it knocks";
        assert_eq!(said, ["a sequence of 1 knock is short", service]);
        assert!(Weakness::Short { knocks: 2 }.is_grave() && !Weakness::Short { knocks: 3 }.is_grave());
    }
}
