//! What a board is.

use crate::{Architecture, Emulator, Kernel, Storage};

/// A product Postern runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Board {
    /// Its name on the command line: lower case, digits and hyphens.
    pub name: &'static str,
    /// What it is, for people.
    pub title: &'static str,
    /// What is known to work.
    pub evidence: Evidence,
    /// Processor.
    pub architecture: Architecture,
    /// Kernel.
    pub kernel: Kernel,
    /// Serial console.
    pub console: Console,
    /// Hardware watchdog.
    pub watchdog: Watchdog,
    /// Network interfaces, the one towards the internet first.
    pub interfaces: &'static [Interface],
    /// Medium, boot loader and partitions.
    pub storage: Storage,
    /// What may be used at most.
    pub budgets: Budgets,
    /// Octets of the ring the kernel captures into: as much as may arrive while the daemon is not
    /// scheduled. 2 MiB hold 8,000 minimal frames.
    pub capture_ring_bytes: u32,
    /// How the daemon competes for the processor.
    pub priorities: Priorities,
    /// A light that says whether the gate is up.
    pub led: Option<Led>,
    /// How to run it without hardware.
    pub emulator: Option<Emulator>,
}

/// What is known to work on a board. Nothing that did not run is called tested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// Every release boots and is attacked on it, in an emulator.
    EmulatedInEveryRelease,
    /// Written from the manuals; nobody has run it.
    Untested,
}

/// A serial console.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Console {
    /// Name below `/dev`.
    pub tty: &'static str,
    /// Bits a second.
    pub baud: u32,
}

/// A hardware watchdog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watchdog {
    /// Module of its driver, loaded before anything else.
    pub module: &'static str,
    /// Parameter of the module that sets its time-out in seconds.
    pub timeout_parameter: &'static str,
    /// Device.
    pub device: &'static str,
    /// What the driver says in `/sys/class/watchdog/*/identity`.
    pub identity: &'static str,
    /// Seconds without a pet until it resets the machine, in operation.
    pub timeout_s: u16,
    /// The same while the system starts, from the initramfs to the first healthy turn.
    pub boot_timeout_s: u16,
    /// The most the hardware can count, from its manual.
    pub hardware_max_s: u16,
    /// Whether it tells after a reset that it was the cause (`WDIOF_CARDRESET`).
    pub tells_cause: bool,
}

/// What an interface is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Towards the internet: hidden, and knocked at.
    Outside,
    /// Towards the plant: hidden, and knocked at as well unless the site exempts it.
    Inside,
}

/// A network interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its kernel name.
    pub name: &'static str,
    /// What it is for.
    pub role: Role,
}

/// What may be used at most. A build or a test over budget fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budgets {
    /// Octets of the file `posternd`, static and stripped.
    pub daemon_bytes: u32,
    /// Octets of all programs of Postern together.
    pub firmware_bytes: u32,
    /// KiB of resident memory of `posternd`.
    pub daemon_resident_kib: u32,
    /// Seconds from the kernel's start to "gate up", on the slowest machine that tests it.
    pub gate_up_s: u16,
}

/// Scheduling of the daemon (sched(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheduling {
    /// The usual one with a nice value, -20 to 19.
    Nice(i8),
    /// `SCHED_RR` with a priority, 1 to 99. Only where something else watches the processor: a
    /// daemon that spins starves everything below it until the watchdog bites.
    RoundRobin(u8),
}

/// How the daemon competes with the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Priorities {
    /// Processor.
    pub scheduling: Scheduling,
    /// `/proc/PID/oom_score_adj`, -1000 (never killed) to 1000.
    pub oom_score_adjust: i16,
}

/// A light of the kernel's LED class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Led {
    /// Folder below `/sys/class/leds`.
    pub name: &'static str,
}
