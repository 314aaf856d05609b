//! What one packet costs the daemon, and the path in front of it.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::Result;
use postern_e2e::frame::Payload;
use postern_e2e::{Backend, DoorText};

use super::Effort;
use crate::arena::{Arena, IRRELEVANT, KNOCKS, Subject};
use crate::meter;
use crate::report::Table;
use crate::traffic::{Flood, Sent, Sources};

const PER_SECOND: u32 = 50_000;
const DOORS_MAX: usize = 256;

/// Sends, waits until the subject has digested it, and says what it took.
fn run(arena: &mut Arena, sources: Sources, port: u16, frames: u32) -> Result<(Sent, Duration)> {
    let pid = arena.pid();
    let before = meter::cpu(pid)?;
    let sent = Flood::start(arena, sources, &[port], PER_SECOND, frames.into())?.finish()?;
    std::thread::sleep(Duration::from_millis(300));
    Ok((sent, meter::cpu(pid)?.saturating_sub(before)))
}

fn cases(first: u16) -> [(&'static str, Sources, u16); 3] {
    let one = || Sources::These(vec![Ipv4Addr::new(10, 7, 7, 7)]);
    [
        ("irrelevant", Sources::Spoofed, IRRELEVANT),
        ("first knock, one source", one(), first),
        ("first knock, forged sources", Sources::Spoofed, first),
    ]
}

pub(super) fn packets(effort: Effort) -> Result<Table> {
    let about = "CPU time of the daemon for each packet sent, at 50 kpps; the ratio is to the bare libpcap loop in the \
                 same run.";
    let columns =
        ["subject", "packets", "sent kpps", "daemon ns a packet", "ratio to bare", "capture lost", "RSS kB"];
    let mut table = Table::new("cost", about, &columns);
    let mut bare = [0.0; 3];
    for subject in [&[Subject::Bare], Subject::GUARDS.as_slice()].concat() {
        for (case, (name, sources, port)) in cases(KNOCKS[0]).into_iter().enumerate() {
            let mut arena = Arena::new(subject, &KNOCKS)?;
            let (sent, cpu) = run(&mut arena, sources, port, effort.frames)?;
            let each = sent.ns_each(cpu);
            if subject == Subject::Bare {
                bare[case] = each;
            }
            // A packet the kernel's filter keeps away costs neither of them anything.
            let ratio = if bare[case] < 50.0 { "-".to_owned() } else { format!("{:.2}", each / bare[case]) };
            let lost = arena.lost().map_or("-".to_owned(), |lost| lost.to_string());
            let (rss_kb, _) = meter::memory_kb(arena.pid())?;
            table.row(vec![
                subject.to_string(),
                name.to_owned(),
                format!("{:.1}", sent.kpps()),
                format!("{each:.0}"),
                ratio,
                lost,
                rss_kb.to_string(),
            ]);
        }
    }
    Ok(table)
}

pub(super) fn doors(effort: Effort) -> Result<Table> {
    let about = "One door and 256. The path is CPU of the sending thread: sending, veth, capture filter, copy, firewall.";
    let columns = ["subject", "doors", "packets", "path ns a packet", "daemon ns a packet", "capture lost"];
    let mut table = Table::new("doors", about, &columns);
    for backend in [Backend::Iptables, Backend::Nftables] {
        for count in [1, DOORS_MAX] {
            let sequences: Vec<[u16; 4]> = (0..count).map(knocks_of_door).collect();
            for (name, sources, port) in cases(sequences[0][0]) {
                // Outside every guard range of the largest site.
                let port = if name == "irrelevant" { 700 } else { port };
                let site = sequences.iter().enumerate().map(|(door, knocks)| {
                    let steps = knocks.map(Payload::syn);
                    DoorText::new(&format!("door-{door}"), &[&format!("tcp/{}", 200 + door)], &steps)
                });
                let subject = Subject::Postern(backend);
                let mut arena = Arena::with_doors(subject, &KNOCKS, site.collect())?;
                let (sent, cpu) = run(&mut arena, sources, port, effort.frames)?;
                let lost = arena.lost().map_or("-".to_owned(), |lost| lost.to_string());
                table.row(vec![
                    subject.to_string(),
                    count.to_string(),
                    name.to_owned(),
                    format!("{:.0}", sent.ns_each(sent.cpu)),
                    format!("{:.0}", sent.ns_each(cpu)),
                    lost,
                ]);
            }
        }
    }
    Ok(table)
}

/// Four of 128 ports that lie 487 apart, never rising or falling, each shared by eight doors.
fn knocks_of_door(door: usize) -> [u16; 4] {
    let places = [0, 93, 31, 62].map(|offset| (door + offset + door / 128 * (offset + 1) / 32) % 128);
    places.map(|place| 1637 + 487 * u16::try_from(place).unwrap_or(0))
}
