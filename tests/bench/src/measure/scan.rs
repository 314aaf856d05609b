//! Scans of every TCP port by somebody who does not know the knock.

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::Result;

use super::Effort;
use crate::arena::{Arena, CLIENTS, KNOCKS, SAMPLE, Subject, client_address};
use crate::meter;
use crate::report::Table;
use crate::traffic::{Random, Visit, aim, pour, visit};

const PER_SECOND: u32 = 100_000;
/// Real scanners, at the end.
const NMAP: [(&str, &[&str]); 2] = [("nmap -r", &["-r"]), ("nmap, its own order", &[])];

pub(super) fn measure(effort: Effort) -> Result<Table> {
    let about = "Every TCP port once, 100,000 a second, each scan from an address of its own but for the last: the same \
                 source scans in rising order three times. How many scanning addresses found the service open afterwards.";
    let columns = ["subject", "sequence", "scans", "found it open"];
    let mut table = Table::new("scan", about, &columns);
    for (sequence, name) in [(SAMPLE.as_slice(), "7000,8000,9000"), (&KNOCKS, "17351,9011,31490,4722")] {
        for subject in Subject::GUARDS {
            subject_scanned(&mut table, subject, sequence, name, effort)?;
        }
    }
    Ok(table)
}

fn subject_scanned(
    table: &mut Table,
    subject: Subject,
    sequence: &[u16],
    name: &str,
    effort: Effort,
) -> Result<()> {
    let arena = Arena::new(subject, sequence)?;
    let mut random = Random(11);
    let mut kinds: Vec<&str> = Vec::new();
    let rising = || (1..=u16::MAX).collect::<Vec<_>>();
    meter::pin(0, meter::SENDER_CORE);
    let mut made = |kind, orders: Vec<Vec<u16>>| -> Result<()> {
        for ports in orders {
            scan(&arena, kinds.len(), &ports)?;
        }
        kinds.push(kind);
        Ok(())
    };
    made("rising", vec![rising()])?;
    made("falling", vec![rising().into_iter().rev().collect()])?;
    made("rising, three times", vec![rising(), rising(), rising()])?;
    for _ in 0..effort.scans.min(CLIENTS - 10) {
        made("random order", vec![random.ports()])?;
    }
    for (kind, more) in NMAP {
        let source = client_address(kinds.len()).to_string();
        let common =
            ["-n", "-Pn", "-sS", "-T5", "--min-rate", "20000", "--max-retries", "0", "-e", "eth0", "-S"];
        let arguments = [&common, [&*source, "-p", "1-65535", "198.18.0.1"].as_slice(), more].concat();
        arena.outside.run("nmap", &arguments)?;
        kinds.push(kind);
    }
    // No knocks: everybody only tries the door.
    let knock = [crate::arena::IRRELEVANT];
    let look = Visit {
        first: 0,
        clients: kinds.len(),
        every: Duration::ZERO,
        pause: Duration::ZERO,
        patience: Duration::from_secs(1),
    };
    let open = visit(&arena, &knock, look)?;
    let mut distinct = kinds.clone();
    distinct.dedup();
    for kind in distinct {
        let these = kinds.iter().zip(&open).filter(|(of, _)| **of == kind);
        let (all, found) =
            these.fold((0, 0), |(all, found), (_, open)| (all + 1, found + i32::from(open.is_some())));
        table.row(vec![subject.to_string(), name.to_owned(), kind.to_owned(), format!("{found} of {all}")]);
    }
    // The control: the subject still works, and an open door is seen.
    let honest = Visit { first: kinds.len(), clients: 1, pause: Duration::from_millis(30), ..look };
    let let_in = visit(&arena, sequence, honest)?.iter().flatten().count();
    table.row(vec![
        subject.to_string(),
        name.to_owned(),
        "control: an honest knock".to_owned(),
        format!("{let_in} of 1"),
    ]);
    Ok(())
}

fn scan(arena: &Arena, client: usize, ports: &[u16]) -> Result<()> {
    let mut frame = arena.syn(client_address(client), 50_001, 1);
    let count = ports.len() as u64;
    let never = AtomicBool::new(false);
    pour(&arena.sender()?, PER_SECOND, count, &never, |number, sender| {
        let port = ports[usize::try_from(number).unwrap_or(0)];
        aim(&mut frame, port);
        sender.send(&frame)
    })?;
    Ok(())
}
