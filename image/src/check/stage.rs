//! What scenarios have in common: a machine on a fresh copy of the image, a clock, figures.

use std::fmt::Write as _;
use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use postern::memory::Memory;
use postern_board::{Board, Firmware};
use postern_config::partition::{PARTITION_BYTES_MIN, Store};
use postern_config::slots::{ATTEMPTS, Choice, Slot};
use postern_core::limits::SAFE_AFTER;
use postern_e2e::probe::Answer;
use postern_e2e::process::wait_for;
use postern_e2e::{Lab, Namespace, Site};
use postern_image::machine::{Machine, Medium};
use postern_image::outside::{self, CLIENT, Outside};
use postern_image::person::Person;

use super::{Options, tool};

/// Longest wait for anything: emulated, on a machine that may be ten times too busy.
pub(super) const PATIENCE: Duration = Duration::from_secs(600);

/// How long a knock may take to open the door before it is knocked again.
pub(super) const KNOCK_AGAIN: Duration = Duration::from_secs(8);

/// Where the script of a faulty image looks, in octets of the environment's partition.
const FAULT_OFFSET: u64 = 768 * 1024;

/// Whether a boot loader starts the board in QEMU.
pub(super) fn has_loader(board: &Board) -> bool {
    matches!(board.emulator.map(|emulator| emulator.firmware), Some(Firmware::Loader(_)))
}

/// Whether TCP over IPv6 works on the board in QEMU, whose Fast Ethernet controller (imx_fec) fills in
/// checksums of IPv4 alone.
pub(super) fn has_v6(board: &Board) -> bool {
    board.emulator.is_some_and(|emulator| emulator.network_device.is_some())
}

/// The run.
pub(super) struct Stage<'o> {
    pub(super) options: &'o Options,
    /// The knocks that open the door.
    pub(super) sequence: Vec<String>,
    started: Instant,
    figures: Vec<[String; 3]>,
}

impl<'o> Stage<'o> {
    pub(super) fn new(options: &'o Options) -> Result<Self> {
        let site = fs::read_to_string(&options.site)
            .with_context(|| format!("cannot read {}", options.site.display()))?;
        let sequence = outside::sequence(&site)?;
        Ok(Self { options, sequence, started: Instant::now(), figures: Vec::new() })
    }

    /// Says what has happened, and when.
    pub(super) fn told(&self, what: &str) {
        println!("{:>7.1} s  {what}", self.started.elapsed().as_secs_f64());
    }

    /// Keeps a figure; `most` is its budget.
    ///
    /// # Errors
    /// When it is over its budget.
    pub(super) fn figure(&mut self, name: &str, value: f64, unit: &str, most: Option<f64>) -> Result<()> {
        let spelled = |value: f64| {
            if value.fract() == 0.0 { format!("{value:.0} {unit}") } else { format!("{value:.1} {unit}") }
        };
        self.figures.push([name.to_owned(), spelled(value), most.map(spelled).unwrap_or_default()]);
        let within = most.is_none_or(|most| value <= most);
        ensure!(within, "{name}: {} is over the budget", spelled(value));
        Ok(())
    }

    /// A device as from the factory, not switched on yet.
    pub(super) fn device(&self) -> Result<Device> {
        self.device_with(&self.options.image)
    }

    fn device_with(&self, image: &Path) -> Result<Device> {
        let lab = Lab::new()?;
        let outside = Outside::new(&lab)?;
        let medium = Medium::copy(image, lab.directory(), self.options.board)?;
        Ok(Device { machine: None, medium, outside, lab })
    }

    /// A device that was commissioned: its config partition holds the site.
    pub(super) fn commissioned(&self) -> Result<Device> {
        self.with_site(self.device()?)
    }

    /// A device that breaks itself when it is up: `fault` says how.
    pub(super) fn faulty(&self, fault: &str) -> Result<Device> {
        let image = self.options.faulty_image.as_ref().context("this needs --faulty-image")?;
        let device = self.device_with(image)?;
        device.medium.write("environment", FAULT_OFFSET, fault.as_bytes())?;
        Ok(device)
    }

    /// The device, commissioned with a site of its own.
    pub(super) fn guarding(&self, device: Device, site: &Site) -> Result<Device> {
        let (text, store) = (device.directory().join("own.toml"), device.directory().join("own.store"));
        fs::write(&text, site.to_toml())?;
        let [text, made] = [&text, &store].map(|path| path.to_str().context("not UTF-8"));
        tool::here(self, &["compile", text?, "-o", made?])?;
        with_store(device, &store)
    }

    /// The device, commissioned with the site of the run.
    pub(super) fn with_site(&self, device: Device) -> Result<Device> {
        with_store(device, &self.options.store)
    }

    /// Ends the run: shows the figures, and writes them down when that was asked for.
    pub(super) fn end(self) -> Result<()> {
        if self.figures.is_empty() {
            return Ok(());
        }
        let board = self.options.board.name;
        let mut text = format!("| {board} | measured | budget |\n| --- | --- | --- |\n");
        for [name, value, most] in &self.figures {
            writeln!(text, "| {name} | {value} | {most} |")?;
        }
        println!("\n{text}");
        match &self.options.figures {
            Some(path) => fs::write(path, text).with_context(|| format!("cannot write {}", path.display())),
            None => Ok(()),
        }
    }
}

fn with_store(device: Device, store: &Path) -> Result<Device> {
    let content = fs::read(store).with_context(|| format!("cannot read {}", store.display()))?;
    device.medium.write("config", 0, &content)?;
    Ok(device)
}

/// A gateway on its wire. Dropped in this order: the machine is switched off first.
pub(super) struct Device {
    machine: Option<Machine>,
    pub(super) medium: Medium,
    pub(super) outside: Outside,
    lab: Lab,
}

impl Device {
    /// Switches it on; a machine that runs loses its power first.
    pub(super) fn switch_on(&mut self) -> Result<()> {
        self.machine = None;
        self.machine = Some(Machine::start(&self.medium, &self.lab, &self.outside.namespace)?);
        Ok(())
    }

    /// Cuts the power.
    pub(super) fn cut(&mut self) {
        self.machine = None;
    }

    /// The machine, which must be on.
    pub(super) fn machine(&mut self) -> Result<&mut Machine> {
        self.machine.as_mut().context("the machine is off")
    }

    /// Waits until the console shows a line with `text`.
    pub(super) fn shows(&mut self, text: &str) -> Result<String> {
        self.machine()?.wait_for(text, PATIENCE)
    }

    /// Waits until the console has shown `text` so many `times`.
    pub(super) fn shows_times(&mut self, text: &str, times: usize) -> Result<()> {
        let machine = self.machine()?;
        let seen = wait_for(text, PATIENCE, || (machine.times_shown(text) >= times).then_some(()));
        seen.with_context(|| format!("the console shows:\n{}", machine.last_shown()))
    }

    /// Waits until `slot` runs and has its attempts back.
    pub(super) fn is_healthy(&mut self, slot: Slot) -> Result<()> {
        // Before the start has counted, they are all there, too.
        self.shows("interfaces up")?;
        let medium = &self.medium;
        let healthy = |choice: &Choice| (choice.slot, choice.left, choice.trial) == (slot, ATTEMPTS, false);
        wait_for("the slot to be healthy", PATIENCE, || medium.choice().ok().filter(healthy).map(drop))
    }

    /// What its config partition holds.
    pub(super) fn config(&self) -> Result<Store<Memory>> {
        let octets = self.medium.read("config", 0, PARTITION_BYTES_MIN)?;
        Store::open(Memory(octets)).map_err(|error| anyhow!("no config partition: {error:?}"))
    }

    /// Waits until power may be cut twice: after three starts in a row that did not last, the gateway would
    /// start in safe mode, and keep its doors shut.
    pub(super) fn may_be_cut(&self) -> Result<()> {
        wait_for("the start to have lasted", PATIENCE, || {
            self.config().ok().filter(|store| store.journal().unclean_boots + 1 < SAFE_AFTER).map(drop)
        })
    }

    /// Somebody at its serial console.
    pub(super) fn person(&mut self) -> Result<Person> {
        Person::at(self.machine()?, PATIENCE)
    }

    /// Files of this device, gone with it.
    pub(super) fn directory(&self) -> &Path {
        self.lab.directory()
    }

    /// Knocks with the stock client until SSH opens, and returns its greeting. A knock that comes before
    /// the interface is watched is lost, as it would be for anybody.
    pub(super) fn open(&self, sequence: &[String]) -> Result<String> {
        wait_for("SSH to open to a knock", PATIENCE, || {
            self.outside.knock(sequence).ok()?;
            self.opens_within(KNOCK_AGAIN).ok()
        })
    }

    /// Waits until SSH opens for the client, and returns its greeting.
    pub(super) fn opens(&self) -> Result<String> {
        self.opens_within(PATIENCE)
    }

    fn opens_within(&self, patience: Duration) -> Result<String> {
        self.opens_for(CLIENT, patience)
    }

    /// Waits until SSH opens for `source`, and returns its greeting.
    pub(super) fn opens_for(&self, source: impl Into<IpAddr>, patience: Duration) -> Result<String> {
        let source = source.into();
        wait_for("SSH to open", patience, || match self.outside.try_ssh(source) {
            Ok(Answer::Open(greeting)) => Some(greeting),
            _ => None,
        })
    }

    /// Waits until the door has closed again.
    pub(super) fn closes(&self) -> Result<()> {
        self.closes_for(CLIENT)
    }

    /// The same, as `source` sees it.
    pub(super) fn closes_for(&self, source: impl Into<IpAddr>) -> Result<()> {
        let source = source.into();
        wait_for("the door to close", PATIENCE, || {
            self.outside.try_ssh(source).ok().filter(Answer::is_silent).map(drop)
        })
    }

    /// A second machine on the wire, seen by the appliance alone: clients do not hear it.
    pub(super) fn neighbour(&self, role: &str) -> Result<Namespace> {
        let namespace = self.lab.namespace(role)?;
        let outside = &self.outside.namespace;
        outside.ip("link add link tap0 name behind type macvlan mode bridge")?;
        outside.ip(&format!("link set behind netns {} name eth0", namespace.name()))?;
        namespace.ip("link set eth0 up")?;
        Ok(namespace)
    }
}

/// The seconds at the end of a line that the system said: `... at 4.61 s`.
pub(super) fn uptime(line: &str) -> Result<f64> {
    let number = line.trim_end().strip_suffix(" s").and_then(|rest| rest.rsplit(' ').next());
    let number = number.and_then(|number| number.parse().ok());
    number.with_context(|| format!("`{line}` does not end with a time"))
}
