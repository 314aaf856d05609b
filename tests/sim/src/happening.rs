//! What happens to a world besides packets.

use std::net::IpAddr;

use postern_core::knock::ServicePort;
use postern_core::port::FirewallError;

use crate::random::Random;
use crate::site::{SitePlan, reach};
use crate::twin::Mood;
use crate::vigil::Ills;

/// Something that happens to the world besides packets.
#[derive(Clone, Debug)]
pub enum Happening {
    /// The firewall behaves otherwise from now on.
    Mood(Mood),
    /// Whether the audit sink takes records.
    SinkBusy(bool),
    /// Somebody takes a member of a kernel set away.
    Steal,
    /// The shell notices so many things for the audit trail.
    Notices(u32),
    /// An operator takes the door at this place (modulo their number) back, from one or from all.
    Revoke(usize, Option<IpAddr>),
    /// Another site is in force.
    Reload(Box<SitePlan>),
    /// The wall clock was set, to this many seconds since 1970; `None`: nobody trusts it any more.
    WallSet(Option<u64>),
    /// What is wrong with the daemon beside its engine, from now on.
    Ail(Ills),
}

impl Happening {
    /// Anything. A reload changes `site`, so happenings must be chosen in the order of their times.
    pub fn any(random: &mut Random, site: &mut SitePlan, someone: IpAddr) -> Self {
        match random.below(16) {
            0 => Happening::Mood(Mood::Refuses(FirewallError::Busy)),
            1 => Happening::Mood(Mood::LosesAnswers),
            2 => Happening::Mood(Mood::Erratic),
            3 => Happening::Mood(Mood::Refuses(FirewallError::Denied)),
            4 => Happening::SinkBusy(true),
            5 => Happening::SinkBusy(false),
            6 => Happening::Steal,
            7 => Happening::Notices(random.range(1, 400) as u32),
            8 => {
                let source = random.per_mille(500).then_some(someone);
                Happening::Revoke(random.below(8) as usize, source)
            }
            9 | 10 => {
                change(random, site);
                Happening::Reload(Box::new(site.clone()))
            }
            11 => {
                // Set right, and a year before and after.
                let secs = *random.pick(&[NOW_SECS, NOW_SECS - YEAR_SECS, NOW_SECS + YEAR_SECS]);
                Happening::WallSet(random.per_mille(800).then_some(secs))
            }
            12..15 => Happening::Ail(Ills::any(random)),
            _ => Happening::Mood(Mood::Well),
        }
    }
}

/// 2026-11-29, and how far a clock is wrong at most.
const NOW_SECS: u64 = 1_795_910_400;
const YEAR_SECS: u64 = 365 * 86_400;

/// One change of a site. Sequences stay as they are, so that whoever knows them still does.
fn change(random: &mut Random, site: &mut SitePlan) {
    let index = random.below(site.doors.len() as u64) as usize;
    let count = site.doors.len();
    let door = &mut site.doors[index];
    match random.below(7) {
        // For more, or for fewer: its grants end.
        5 => door.is_wide = !door.is_wide,
        6 => site.reach = reach(random),
        // Another port: its grants end.
        0 => door.ports[0].port += 100,
        1 => door.open_for_secs = 2,
        // One more port: its grants stay.
        2 if door.ports.len() < 4 => door.add_port(ServicePort::udp(300 + index as u16)),
        3 if count > 1 => drop(site.doors.remove(index)),
        // Ids change, names do not.
        _ => site.doors.reverse(),
    }
}
