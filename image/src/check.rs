//! `postern-image check`: the image in QEMU, from power-on to a door that has opened and closed.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use postern_board::{Architecture, Board, Firmware};
use postern_e2e::Lab;
use postern_e2e::process::wait_for;
use postern_image::environment::{ATTEMPTS, Choice, Slot};
use postern_image::machine::{Machine, Medium};
use postern_image::outside::{self, APPLIANCE, CLIENT, Outside, STRANGER};

/// Longest wait for anything: emulated, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(180);

/// What to check.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Name of the board.
    #[arg(long, value_parser = crate::board)]
    board: &'static Board,
    /// The image.
    #[arg(long)]
    image: PathBuf,
    /// The site whose store is in the image.
    #[arg(long)]
    site: PathBuf,
    /// Private key that may log in.
    #[arg(long)]
    key: PathBuf,
    /// Damage one slot and see it come up on the other, instead.
    #[arg(long)]
    fall_back: bool,
    /// Hang the processor and see the hardware watchdog reset the machine, instead.
    #[arg(long, conflicts_with = "fall_back")]
    hang: bool,
}

/// Checks it.
///
/// # Errors
/// At the first promise that does not hold.
pub(crate) fn run(options: &Options) -> Result<()> {
    let started = Instant::now();
    let told = |what: &str| println!("{:>7.1} s  {what}", started.elapsed().as_secs_f64());
    if options.hang {
        return is_reset(options, &told);
    }
    if options.fall_back {
        let firmware = options.board.emulator.map(|emulator| emulator.firmware);
        ensure!(
            matches!(firmware, Some(Firmware::Loader(_))),
            "{} has no boot loader in QEMU that could fall back",
            options.board.name
        );
        for (what, partition, offset) in
            [("kernel", Slot::A.kernel(), 4_000_000), ("root file system", Slot::A.root(), 4096 * 7)]
        {
            falls_back(options, what, partition, offset, &told)?;
        }
        return Ok(());
    }
    opens_and_closes(options, &told)
}

fn opens_and_closes(options: &Options, told: &dyn Fn(&str)) -> Result<()> {
    let sequence = outside::sequence(&std::fs::read_to_string(&options.site)?)?;
    let lab = Lab::new()?;
    let outside = Outside::new(&lab)?;
    let medium = Medium::copy(&options.image, lab.directory(), options.board)?;
    let mut machine = Machine::start(&medium, &lab, &outside.namespace)?;
    told("switched on");
    let closed = machine.wait_for("postern: closed, no interface is up yet (lo )", PATIENCE)?;
    told(&closed);
    told(&machine.wait_for("postern: posternd: gate up", PATIENCE)?);
    told(&machine.wait_for("postern: interfaces up", PATIENCE)?);
    expect_order(&machine.shown(), &["postern: closed", "gate up", "interfaces up"])?;

    outside.expect_silence(CLIENT)?;
    let sent = outside.sent().into_iter().filter(|line| line.contains("IP ")).collect::<Vec<_>>();
    ensure!(sent.is_empty(), "nobody knocked, but the appliance sent:\n{}", sent.join("\n"));
    told("SSH says nothing; not one IPv4 packet has left the appliance since power-on");

    outside.knock(&sequence)?;
    let greeting = wait_for("SSH to open", PATIENCE, || match outside.try_ssh(CLIENT) {
        Ok(postern_e2e::probe::Answer::Open(greeting)) => Some(greeting),
        _ => None,
    })?;
    told(&format!("a stock knock opened SSH: {greeting}"));
    outside.expect_silence(STRANGER)?;
    told("and for nobody else");
    figures(options, &outside, told)?;

    wait_for("the door to close", PATIENCE, || {
        outside.try_ssh(CLIENT).ok().filter(|answer| answer.is_silent())
    })?;
    told("closed again by the kernel");
    told(&machine.wait_for("slot A is healthy", PATIENCE)?);
    let expected = Choice { slot: Slot::A, left: ATTEMPTS };
    let choice = || medium.choice().ok().filter(|choice| *choice == expected);
    wait_for("the attempts to be given back", PATIENCE, choice)?;
    Ok(())
}

/// Logs in and reads what every process takes.
fn figures(options: &Options, outside: &Outside, told: &dyn Fn(&str)) -> Result<()> {
    let key = options.key.to_str().context("the path of the key is not UTF-8")?;
    let target = format!("service@{APPLIANCE}");
    let mut words = vec!["-i", key, "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"];
    words.extend(["-o", "BatchMode=yes", "-o", "ConnectTimeout=30", "-o", "LogLevel=ERROR", &target]);
    words.push("for p in /proc/[0-9]*; do sed -n 's/^Name:.//p; s/^VmRSS:[^0-9]*//p' $p/status; done; free");
    let said = outside.namespace.run("ssh", &words)?;
    told("logged in with the key; resident memory of every process:");
    let mut daemon = None;
    let lines: Vec<&str> = said.lines().collect();
    for pair in lines.windows(2).filter(|pair| pair[1].ends_with(" kB")) {
        println!("             {:<16}{:>10}", pair[0], pair[1]);
        if pair[0] == "posternd" {
            daemon = pair[1].split(' ').next().and_then(|number| number.parse::<u32>().ok());
        }
    }
    let resident = daemon.context("posternd is not among the processes")?;
    let most = options.board.budgets.daemon_resident_kib;
    ensure!(resident <= most, "posternd has {resident} KiB resident, its budget is {most}");
    Ok(())
}

fn falls_back(
    options: &Options,
    what: &str,
    partition: &str,
    offset: u64,
    told: &dyn Fn(&str),
) -> Result<()> {
    let lab = Lab::new()?;
    let outside = Outside::new(&lab)?;
    let medium = Medium::copy(&options.image, lab.directory(), options.board)?;
    let damaged: Vec<u8> = medium.read(partition, offset, 4096)?.iter().map(|octet| !octet).collect();
    medium.write(partition, offset, &damaged)?;
    let mut machine = Machine::start(&medium, &lab, &outside.namespace)?;
    told(&format!("{what} of slot A damaged, switched on"));
    machine.wait_for("did not become healthy, taking the other", PATIENCE)?;
    machine.wait_for("postern: posternd: gate up", PATIENCE)?;
    told(&machine.wait_for("slot B is healthy", PATIENCE)?);
    outside.expect_silence(CLIENT)
}

/// The processor spins with interrupts off; the watchdog must reset it, and it must come back shut.
fn is_reset(options: &Options, told: &dyn Fn(&str)) -> Result<()> {
    ensure!(
        options.board.architecture == Architecture::Aarch64,
        "hanging is written for 64-bit processors; {} is not one",
        options.board.name
    );
    let lab = Lab::new()?;
    let outside = Outside::new(&lab)?;
    let medium = Medium::copy(&options.image, lab.directory(), options.board)?;
    let mut machine = Machine::start(&medium, &lab, &outside.namespace)?;
    machine.wait_for("is healthy", PATIENCE)?;
    told("up; now its processor hangs");
    let hung = Instant::now();
    machine.hang()?;
    let came_back = || (machine.times_shown("postern: closed") == 2).then_some(());
    wait_for("the watchdog to reset the machine", PATIENCE, came_back)?;
    let away = hung.elapsed().as_secs_f64();
    told(&format!(
        "reset, and closed again {away:.1} s later (time-out {} s)",
        options.board.watchdog.timeout_s
    ));
    if options.board.watchdog.tells_cause {
        told(&machine.wait_for("the watchdog has reset this machine", PATIENCE)?);
    }
    wait_for("the gate", PATIENCE, || (machine.times_shown("gate up") == 2).then_some(()))?;
    outside.expect_silence(CLIENT)?;
    told("gate up, silent");
    Ok(())
}

/// Checks that `texts` were shown in this order.
fn expect_order(shown: &str, texts: &[&str]) -> Result<()> {
    let mut rest = shown;
    for text in texts {
        let (_, behind) =
            rest.split_once(text).with_context(|| format!("`{text}` came too early, or never"))?;
        rest = behind;
    }
    Ok(())
}
