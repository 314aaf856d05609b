//! `postern-image check`: the image in QEMU, unattended; each scenario proves a promise.

mod attacks;
mod behind;
mod clients;
mod clock;
mod commissioning;
mod door;
mod knocks;
mod leases;
mod packets;
mod power;
mod slots;
mod stage;
mod tool;
mod update;
mod watchdog;

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::ValueEnum;
use postern_board::Board;

use stage::Stage;

/// What to check.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Name of the board.
    #[arg(long, value_parser = crate::board)]
    board: &'static Board,
    /// The image.
    #[arg(long)]
    image: PathBuf,
    /// The same, made to be broken by scenarios that need it: `build --faults`.
    #[arg(long)]
    faulty_image: Option<PathBuf>,
    /// The site the gateway guards.
    #[arg(long)]
    site: PathBuf,
    /// Its store, as `postern compile` made it.
    #[arg(long)]
    store: PathBuf,
    /// Private key that may log in.
    #[arg(long)]
    key: PathBuf,
    /// The owner's private key, named in the site.
    #[arg(long)]
    owner: PathBuf,
    /// The program `postern`.
    #[arg(long)]
    tool: PathBuf,
    /// The next release as an update, not signed: for the scenarios of updates.
    #[arg(long)]
    update: Option<PathBuf>,
    /// Which; may be given several times. Without it, those that every test run has.
    #[arg(long, value_enum)]
    scenario: Vec<Scenario>,
    /// All of them, the long ones as well.
    #[arg(long, conflicts_with = "scenario")]
    long: bool,
    /// How often power is cut where that is done at random.
    #[arg(long, default_value_t = 10)]
    cuts: u32,
    /// Writes what was measured into this file.
    #[arg(long)]
    figures: Option<PathBuf>,
}

/// A promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Scenario {
    /// From power-on to a door that opened and closed.
    Door,
    /// A scan of every port finds nothing; the stock fwknop client gets in.
    Clients,
    /// Scans in every order, and floods of forged first knocks: they open nothing and keep nobody out.
    Attacks,
    /// IPv6, closing sequences, rotating sequences, packets over IPv6.
    Knocks,
    /// Doors lead to a controller behind the appliance.
    Behind,
    /// A device without a configuration gets one on its serial console; a trial does not outlive a
    /// power cut.
    Commissioning,
    /// The processor hangs: the hardware watchdog resets the machine, and it comes back shut.
    Hang,
    /// The daemon is stopped, as by a debugger: the same.
    Stopped,
    /// The kernel stumbles: the same.
    Panic,
    /// The wall clock jumps by years while a door is open: nothing changes.
    Clock,
    /// The kernel of a slot is damaged: the machine comes up on the other.
    BrokenKernel,
    /// The root file system of a slot is damaged: the same.
    BrokenRoot,
    /// A slot never becomes healthy: the same.
    Sick,
    /// Neither kernel is whole, then one: nothing that is damaged is started, and what is whole is.
    NoSlotLeft,
    /// Power is cut at random while configurations are committed.
    Cuts,
    /// Power is cut while counters of a key are leased: no packet counts twice.
    Leases,
    /// Another release is brought over ssh: what is forged or older is refused, a cut in the middle does no
    /// harm, what is proved runs on trial, stands when it is confirmed, and can be gone back from.
    Update,
    /// Power is cut at random while an update is brought, proved and tried.
    UpdateCuts,
    /// An update that never becomes healthy, and one that nobody confirms: the release before comes back.
    UpdateSick,
}

impl Scenario {
    /// Those of every test run, in order.
    const SHORT: &[Scenario] = &[
        Scenario::Door,
        Scenario::Clients,
        Scenario::Commissioning,
        Scenario::Hang,
        Scenario::BrokenKernel,
        Scenario::Update,
    ];

    fn run(self, stage: &mut Stage<'_>) -> Result<()> {
        match self {
            Scenario::Door => door::opens_and_closes(stage),
            Scenario::Clients => clients::scanned_and_opened(stage),
            Scenario::Attacks => attacks::scanned_and_flooded(stage),
            Scenario::Knocks => knocks::of_every_kind(stage),
            Scenario::Behind => behind::led_to_a_controller(stage),
            Scenario::Commissioning => commissioning::from_the_first_login(stage),
            Scenario::Hang => watchdog::resets_a_hanging_processor(stage),
            Scenario::Stopped => watchdog::resets_when_the_daemon_is_stopped(stage),
            Scenario::Panic => watchdog::restarts_after_a_panic(stage),
            Scenario::Clock => clock::jumps_while_a_door_is_open(stage),
            Scenario::BrokenKernel => slots::broken_kernel(stage),
            Scenario::BrokenRoot => slots::broken_root(stage),
            Scenario::Sick => slots::never_healthy(stage),
            Scenario::NoSlotLeft => slots::none_left(stage),
            Scenario::Cuts => power::cut_while_committing(stage),
            Scenario::Leases => leases::cut_while_leasing(stage),
            Scenario::Update => update::brought_and_confirmed(stage),
            Scenario::UpdateCuts => update::cut_while_it_goes_on(stage),
            Scenario::UpdateSick => update::taken_back(stage),
        }
    }

    /// Whether the board can show it in QEMU.
    fn is_possible(self, board: &Board) -> bool {
        match self {
            // A boot loader has to choose.
            Scenario::BrokenKernel | Scenario::BrokenRoot | Scenario::Sick | Scenario::NoSlotLeft => {
                stage::has_loader(board)
            }
            Scenario::Update | Scenario::UpdateCuts | Scenario::UpdateSick => stage::has_loader(board),
            _ => true,
        }
    }
}

/// Checks it.
///
/// # Errors
/// At the first promise that does not hold.
pub(crate) fn run(options: &Options) -> Result<()> {
    let chosen = match options {
        Options { long: true, .. } => Scenario::value_variants(),
        Options { scenario, .. } if scenario.is_empty() => Scenario::SHORT,
        Options { scenario, .. } => scenario,
    };
    let mut stage = Stage::new(options)?;
    for scenario in chosen {
        let name = scenario.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
        if !scenario.is_possible(options.board) {
            println!("\n{name}: {} has no boot loader in QEMU", options.board.name);
            continue;
        }
        println!("\n{name}");
        scenario.run(&mut stage).with_context(|| format!("scenario {name}"))?;
    }
    stage.end()
}
