//! Honest clients with one sealed packet each, while packets of nobody arrive.

use std::net::Ipv4Addr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow};
use postern_core::spa::fwknop::{FwknopKey, MacDigest, sealer};
use postern_core::spa::key::{DeviceId, SpaKey};
use postern_core::spa::native::{Request, Sealer};
use postern_e2e::Backend;
use postern_e2e::keyring::{Keyring, base64};

use super::Effort;
use super::crowd::summary;
use crate::arena::{Arena, CLIENTS, StockKey, Subject, client_address};
use crate::meter;
use crate::report::Table;
use crate::traffic::{Flood, Random, Visit, visit_with};

/// An attack is under way this long before the first client.
const LEAD: Duration = Duration::from_secs(2);
/// Clients do not overlap, and are not in step with the attack.
const APART: Duration = Duration::from_millis(47);
const PATIENCE: Duration = Duration::from_secs(2);
/// No attack outlives it, whatever happens.
const ATTACK_S: u64 = 90;
/// Different bad packets of each kind.
const VARIETY: u64 = 500;
const SECRET: [u8; 32] = [0x2d; 32];
const MAC_SECRET: [u8; 64] = [0x6b; 64];
pub(super) const STOCK: StockKey<'static> = StockKey { encryption: &SECRET, mac: &MAC_SECRET };

/// Whose packets the clients send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Native,
    Stock,
}

/// Makes packets that open the door.
struct Maker {
    format: Format,
    device: DeviceId,
    /// Seconds since 1970 when the first client comes.
    begins: u64,
}

impl Maker {
    /// The packet with this number, which lets `address` in. No two numbers give the same octets.
    fn packet(&self, number: u64, address: Ipv4Addr) -> Result<Vec<u8>> {
        match self.format {
            Format::Native => {
                let door = "service".try_into().ok().context("a short name")?;
                let mut nonce = [7; 24];
                nonce[..8].copy_from_slice(&number.to_le_bytes());
                let request = Request::open(door, 1_000 + number);
                let sealed = Sealer::new(&SpaKey::new(SECRET), self.device).seal(&request, &nonce);
                Ok(sealed.map_err(|malformed| anyhow!("{malformed:?}"))?.to_vec())
            }
            Format::Stock => {
                let key = FwknopKey::new(&SECRET, &MAC_SECRET, MacDigest::Sha256)
                    .map_err(|error| anyhow!("{error:?}"))?;
                let message = base64(format!("{address},tcp/22").as_bytes());
                let message = message.trim_end_matches('=');
                // A second holds few packets of one key: nobody sends more.
                let seconds = self.begins + number % 1_000 / 10;
                let text = format!("{:016}:YWxpY2U:{seconds}:3.0.0:1:{message}", 1_000_000 + number);
                let packet = sealer::seal(&key, text.as_bytes(), &number.to_le_bytes());
                Ok(packet.context("too long")?.to_vec())
            }
        }
    }

    /// Noise, wrong tags and a packet that was used, in turn.
    fn bad(&self, arena: &Arena) -> Result<Vec<Vec<u8>>> {
        let nobody = Ipv4Addr::new(10, 1, 1, 1);
        let mut random = Random(11);
        let used = self.packet(0, client_address(CLIENTS - 1))?;
        let mut frames = Vec::new();
        for number in 0..VARIETY {
            let mut wrong = self.packet(1_000_000 + number, nobody)?;
            let noise: Vec<u8> = match self.format {
                Format::Native => wrong.iter().map(|_| random.number().to_be_bytes()[0]).collect(),
                // Only what is base64, and begins as it must, gets as far as the MAC.
                Format::Stock => {
                    let text: Vec<u8> = (0..180).map(|_| random.number().to_be_bytes()[0]).collect();
                    base64(&text).into_bytes()[..wrong.len().min(236)].to_vec()
                }
            };
            let place = wrong.len() - 40;
            wrong[place] = if wrong[place] == b'A' { b'B' } else { b'A' };
            frames.extend([noise, wrong, used.clone()].map(|octets| arena.sealed(nobody, &octets)));
        }
        Ok(frames)
    }
}

pub(super) fn flood(effort: Effort) -> Result<Table> {
    let about = "One packet of noise, one with a wrong MAC and one that was used already, in turn from random forged \
                 sources, from 2 s before the first client until the last is done; a client sends one good packet every \
                 47 ms and tries the port for 2 s.";
    let columns = [
        "subject",
        "packets",
        "asked kpps",
        "sent kpps",
        "let in",
        "p50 ms",
        "p99 ms",
        "CPU ns a packet",
        "capture lost",
    ];
    let mut table = Table::new("packets", about, &columns);
    let subjects = [
        (Subject::Postern(Backend::Iptables), Format::Native),
        (Subject::Postern(Backend::Nftables), Format::Native),
        (Subject::Postern(Backend::Iptables), Format::Stock),
        (Subject::Fwknopd, Format::Stock),
    ];
    for (subject, format) in subjects {
        let rates: &[u32] = if subject == Subject::Fwknopd { &[0, 1, 3, 10, 100] } else { &[0, 10, 100] };
        for &kpps in rates {
            // Over a thousand clients where a thousandth is claimed; who lets nobody in is not asked so often.
            let is_claimed = kpps == 100 && subject != Subject::Fwknopd && !effort.brief;
            let crowds = if is_claimed { 5 } else { 1 };
            let clients = if crowds > 1 { CLIENTS - 2 } else { effort.samples.min(50) };
            table.row(cell(subject, format, kpps * 1000, crowds, clients)?);
        }
    }
    Ok(table)
}

fn cell(
    subject: Subject,
    format: Format,
    per_second: u32,
    crowds: u32,
    clients: usize,
) -> Result<Vec<String>> {
    let (mut let_in, mut kpps, mut ns, mut lost) = (Vec::new(), f64::INFINITY, 0.0_f64, Some(0));
    for _ in 0..crowds {
        let keyring = Keyring::new()?;
        let key = site_key(&keyring, format)?;
        let mut arena = Arena::with_key(subject, &key, STOCK)?;
        let device = DeviceId(arena.device()?.unwrap_or_default());
        let begins = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs() - 20;
        let maker = Maker { format, device, begins };
        // The packet that is replayed was used by a client that is not measured.
        arena.sender()?.send(
            &arena.sealed(client_address(CLIENTS - 1), &maker.packet(0, client_address(CLIENTS - 1))?),
        )?;
        std::thread::sleep(Duration::from_millis(500));
        let (pid, bad) = (arena.pid(), maker.bad(&arena)?);
        let before = meter::cpu(pid)?;
        let count = u64::from(per_second) * ATTACK_S;
        let attack =
            (per_second > 0).then(|| Flood::of_datagrams(&arena, bad, per_second, count)).transpose()?;
        std::thread::sleep(LEAD);
        let packets: Vec<Vec<u8>> = (0..clients)
            .map(|client| {
                let address = client_address(client);
                Ok(arena.sealed(address, &maker.packet(1 + client as u64, address)?))
            })
            .collect::<Result<_>>()?;
        let visit = Visit { first: 0, clients, every: APART, pause: Duration::ZERO, patience: PATIENCE };
        let_in.extend(visit_with(&arena, 1, &|client, _| packets.get(client).cloned(), visit)?);
        let sent = attack.map(Flood::stop).transpose()?.unwrap_or_default();
        kpps = kpps.min(sent.kpps());
        ns = ns.max(sent.ns_each(meter::cpu(pid)?.saturating_sub(before)));
        lost = lost.zip(arena.lost()).map(|(sum, more)| sum + more);
    }
    let attacked = per_second > 0;
    let or_dash = |text: String| if attacked { text } else { "-".to_owned() };
    let packets = if format == Format::Native { "ours" } else { "fwknop" };
    let mut row = vec![subject.to_string(), packets.to_owned(), (per_second / 1000).to_string()];
    row.push(or_dash(format!("{kpps:.1}")));
    row.extend(summary(let_in));
    row.push(or_dash(format!("{ns:.0}")));
    row.push(lost.map_or("-".to_owned(), |lost| lost.to_string()));
    Ok(row)
}

/// The key `bench` as a site file has it.
fn site_key(keyring: &Keyring, format: Format) -> Result<String> {
    if format == Format::Native {
        return keyring.native("bench", SECRET[0], "");
    }
    let encryption = keyring.write("bench.key", &base64(&SECRET))?;
    let mac = keyring.write("bench.mac", &base64(&MAC_SECRET))?;
    Ok(format!(
        "name = \"bench\"\nkind = \"fwknop\"\nkey_base64_file = {encryption:?}\nhmac_key_base64_file = {mac:?}\n\
         hmac_digest = \"sha256\"\nmay_claim = true\n"
    ))
}
