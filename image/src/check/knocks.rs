//! What else opens and closes a door: IPv6, closing sequences, rotating sequences, packets over IPv6.

use std::net::IpAddr;
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use postern_e2e::frame::{Payload, frame};
use postern_e2e::keyring::{Keyring, send};
use postern_e2e::process::wait_for;
use postern_e2e::sender::FrameSender;
use postern_e2e::{Backend, DoorText, Site, knock, rotation};
use postern_image::outside::{CLIENT, CLIENT6, STRANGER, STRANGER6, appliance_for};

use super::attacks;
use super::packets::{self, Key, NATIVE};
use super::stage::{Device, PATIENCE, Stage, has_v6};

/// Opens the door `ssh`.
pub(super) const OPENS: [Payload; 4] =
    [Payload::syn(7351), Payload::udp(24_011), Payload::syn(18_490), Payload::syn(1490)];

/// Closes it.
const CLOSES: [Payload; 3] = [Payload::syn(9002), Payload::udp(7043), Payload::syn(8127)];

/// Until wrong knocks at a rotating sequence are forgotten: its two seconds, and some.
const FORGOTTEN: Duration = Duration::from_millis(2500);

/// How long a door may take to close that was asked to. Far less than it would stay open.
const CLOSED_SOON: Duration = Duration::from_secs(120);

/// Files of secrets that a site is compiled with.
pub(super) fn keyring() -> Result<Keyring> {
    Keyring::new()
}

/// The key of [`packets`] as a site has it.
pub(super) fn native(keys: &Keyring) -> Result<String> {
    keys.native("native", NATIVE, "")
}

/// Each of them at a device of its own site.
pub(super) fn of_every_kind(stage: &mut Stage<'_>) -> Result<()> {
    let keys = keyring()?;
    let ssh = DoorText::new("ssh", &["tcp/22"], &OPENS).open_for("1h").close_sequence(&CLOSES);
    let turning = DoorText::new("turning", &["tcp/22"], &[]).open_for("10s").with(&rotation::line("native"));
    let site =
        Site::new(Backend::Iptables).door(ssh.with("spa = [\"native\"]")).door(turning).key(&native(&keys)?);
    let mut device = stage.guarding(stage.device()?, &site)?;
    device.switch_on()?;
    device.shows("interfaces up")?;
    let key = Key::of(stage, &device)?;
    opened_and_closed(stage, &device, CLIENT.into(), STRANGER.into())?;
    if has_v6(stage.options.board) {
        opened_and_closed(stage, &device, CLIENT6.into(), STRANGER6.into())?;
        packet_over_v6(stage, &device, &key)?;
    } else {
        stage.told("QEMU cannot do TCP over IPv6 on this board");
    }
    rotating(stage, &mut device, &key)
}

/// Shows who is out: all of them.
fn expect_out(device: &Device, sources: &[IpAddr]) -> Result<()> {
    sources.iter().try_for_each(|source| device.outside.expect_silence(*source))
}

/// The one address that knocked is let in, until it knocks the closing sequence.
fn opened_and_closed(stage: &Stage<'_>, device: &Device, source: IpAddr, stranger: IpAddr) -> Result<()> {
    let namespace = &device.outside.namespace;
    let of_other_family: IpAddr = if source.is_ipv4() { CLIENT6.into() } else { CLIENT.into() };
    expect_out(device, &[source, stranger, of_other_family])?;
    device.open_for(source, || knock::stock(namespace, appliance_for(source), &OPENS))?;
    expect_out(device, &[stranger, of_other_family])?;
    stage.told(&format!("a stock knock opened SSH for {source} alone"));
    device.closes_to(source, CLOSED_SOON, || knock::stock(namespace, appliance_for(source), &CLOSES))?;
    expect_out(device, &[source, stranger, of_other_family])?;
    stage.told("and the closing sequence closed it, an hour before its time");
    Ok(())
}

/// One sealed datagram over IPv6, once, and one that gives the grant back.
fn packet_over_v6(stage: &Stage<'_>, device: &Device, key: &Key) -> Result<()> {
    let (namespace, others) = (&device.outside.namespace, [STRANGER6.into(), CLIENT.into()]);
    let packet = key.asks("ssh", 1_000)?;
    packets::opens(device, CLIENT6, &packet)?;
    expect_out(device, &others)?;
    let back = key.closes("ssh", 1_001)?;
    device
        .closes_to(CLIENT6.into(), CLOSED_SOON, || send(namespace, appliance_for(CLIENT6.into()), &back))?;
    for source in [IpAddr::from(CLIENT6), CLIENT.into()] {
        ensure!(!packets::opens_now(device, source, &packet)?, "a packet has opened the door twice");
    }
    stage.told("a packet over IPv6 opened SSH for its source alone, once, and another closed it");
    Ok(())
}

/// Each rotating sequence opens once, also for who has seen it, and also after a power cut.
fn rotating(stage: &Stage<'_>, device: &mut Device, key: &Key) -> Result<()> {
    let sequence = |counter| rotation::sequence(NATIVE, key.device, "turning", counter);
    for counter in 1..=2 {
        turns(device, &sequence(counter)?)?;
        for used in 1..=counter {
            is_void(device, &sequence(used)?)?;
        }
    }
    device.switch_on()?;
    device.shows("interfaces up")?;
    // Somebody listens again.
    let namespace = &device.outside.namespace;
    device.open_for(CLIENT.into(), || knock::stock(namespace, appliance_for(CLIENT.into()), &OPENS))?;
    let close = || knock::stock(namespace, appliance_for(CLIENT.into()), &CLOSES);
    device.closes_to(CLIENT.into(), CLOSED_SOON, close)?;
    for used in 1..=2 {
        is_void(device, &sequence(used)?)?;
    }
    turns(device, &sequence(3)?)?;
    stage.told("three rotating sequences opened SSH once each; whoever repeats one, stays out, after a power cut, too");
    Ok(())
}

/// The sequence opens for the client alone, for ten seconds.
fn turns(device: &Device, knocks: &[Payload]) -> Result<()> {
    let namespace = &device.outside.namespace;
    device.open_for(CLIENT.into(), || {
        thread::sleep(FORGOTTEN);
        knock::stock(namespace, appliance_for(CLIENT.into()), knocks)
    })?;
    expect_out(device, &[STRANGER.into(), CLIENT6.into()])?;
    device.closes()
}

/// It was used: it opens nothing, for whoever knocks it.
fn is_void(device: &Device, knocks: &[Payload]) -> Result<()> {
    let link = attacks::link(device)?;
    let sender = FrameSender::open(&device.outside.namespace, "tap0")?;
    for source in [STRANGER, CLIENT] {
        thread::sleep(FORGOTTEN);
        for &knock in knocks {
            sender.send(&frame(&link, source.into(), appliance_for(source.into()), 40_000, knock))?;
            thread::sleep(Duration::from_millis(50));
        }
        // Whatever these knocks had opened would be open by now, for as long as an opened door is.
        let opened = wait_for("a used sequence to open", Duration::from_secs(4), || {
            device.outside.try_ssh(source).ok().filter(|answer| !answer.is_silent()).map(drop)
        });
        ensure!(opened.is_err(), "a rotating sequence has opened the door twice");
    }
    Ok(())
}

impl Device {
    /// Knocks until SSH opens for `source`.
    pub(super) fn open_for(&self, source: IpAddr, knock: impl Fn() -> Result<()>) -> Result<String> {
        wait_for("SSH to open to a knock", PATIENCE, || {
            knock().ok()?;
            self.opens_for(source, super::stage::KNOCK_AGAIN).ok()
        })
    }

    /// The same for the client.
    pub(super) fn open_with(&self, knock: impl Fn() -> Result<()>) -> Result<String> {
        self.open_for(CLIENT.into(), knock)
    }

    /// Asks until the door is closed to `source`, which must be soon.
    fn closes_to(&self, source: IpAddr, soon: Duration, ask: impl Fn() -> Result<()>) -> Result<()> {
        wait_for("the door to close when it was asked to", soon, || {
            ask().ok()?;
            self.outside.try_ssh(source).ok().filter(|answer| answer.is_silent()).map(drop)
        })
    }
}
