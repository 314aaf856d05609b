//! A board in QEMU, on a copy of its image, with its outside network in a namespace.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use postern_board::{Architecture, Board, Emulator, Firmware};
use postern_e2e::process::{Background, wait_for};
use postern_e2e::{Lab, Namespace};

use crate::debugger::{Debugger, Fault};
use crate::layout::Layout;
use crate::{boot, program};
use postern_config::slots::{Choice, SECOND_OFFSET, Slot};

/// A medium a machine starts from: a copy of an image that tests may damage.
#[derive(Debug)]
pub struct Medium {
    path: PathBuf,
    board: &'static Board,
    layout: Layout,
}

impl Medium {
    /// Copies `image` into `folder`.
    ///
    /// # Errors
    /// When it cannot be copied.
    pub fn copy(image: &Path, folder: &Path, board: &'static Board) -> Result<Self> {
        let path = folder.join("flash.img");
        program::run(program::command("cp").arg("--sparse=always").arg(image).arg(&path))?;
        Ok(Self { path, board, layout: Layout::of(board) })
    }

    /// Octets of a partition, from `offset` in it.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read(&self, partition: &str, offset: u64, octets: usize) -> Result<Vec<u8>> {
        use std::os::unix::fs::FileExt as _;
        let place = self.layout.partition(partition)?;
        let mut content = vec![0; octets];
        fs::File::open(&self.path)?.read_exact_at(&mut content, place.offset + offset)?;
        Ok(content)
    }

    /// Overwrites octets of a partition, from `offset` in it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, partition: &str, offset: u64, content: &[u8]) -> Result<()> {
        use std::os::unix::fs::FileExt as _;
        let place = self.layout.partition(partition)?;
        let file = fs::File::options().write(true).open(&self.path)?;
        Ok(file.write_all_at(content, place.offset + offset)?)
    }

    /// What the boot script would find.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn choice(&self) -> Result<Choice> {
        let bytes = usize::try_from(self.layout.partition("environment")?.bytes)?;
        Ok(Choice::of_partition(&self.read("environment", 0, bytes)?))
    }

    /// Does what the boot script does before it starts the kernel, and returns the slot.
    fn choose(&self) -> Result<Slot> {
        let next = self.choice()?.next();
        for offset in [0, SECOND_OFFSET] {
            self.write("environment", offset, &next.copy())?;
        }
        Ok(next.slot)
    }

    /// Takes kernel, initramfs and device tree of `slot` out of the image, into `folder`.
    fn extract(&self, slot: Slot, folder: &Path) -> Result<Vec<PathBuf>> {
        let fit = folder.join("slot.fit");
        let bytes = usize::try_from(self.layout.partition(slot.kernel())?.bytes)?;
        fs::write(&fit, self.read(slot.kernel(), 0, bytes)?)?;
        let parts = ["kernel", "ramdisk", "fdt"];
        let wanted = if self.board.kernel.device_tree.is_some() { 3 } else { 2 };
        let mut paths = Vec::new();
        for (position, part) in parts.iter().take(wanted).enumerate() {
            let path = folder.join(part);
            let mut extract = program::command("dumpimage");
            extract.args(["-T", "flat_dt", "-p", &position.to_string(), "-o"]).arg(&path).arg(&fit);
            program::run(&mut extract)?;
            paths.push(path);
        }
        fs::remove_file(fit)?;
        Ok(paths)
    }
}

/// A running machine. It is switched off, without warning, when this is dropped.
#[derive(Debug)]
pub struct Machine {
    qemu: Background,
    architecture: Architecture,
    /// Everything the serial console shows.
    pub log: PathBuf,
    /// Unix socket of the serial console.
    pub console: PathBuf,
    /// Unix socket of QEMU's debugger.
    debugger: PathBuf,
}

impl Machine {
    /// Switches it on. `outside` is the namespace with the tap device `tap0`.
    ///
    /// # Errors
    /// When the board has no emulator or QEMU does not start.
    pub fn start(medium: &Medium, lab: &Lab, outside: &Namespace) -> Result<Self> {
        let board = medium.board;
        let Some(emulator) = &board.emulator else {
            bail!("{} has no emulator: it is described, and untested", board.name)
        };
        let folder = lab.directory();
        let (log, console) = (folder.join("console.log"), folder.join("console.socket"));
        let _ = fs::remove_file(&log);
        let mut command = switched_on(medium, emulator, folder, outside)?;
        command.arg("-chardev").arg(format!(
            "socket,id=console,server=on,wait=off,path={},logfile={}",
            console.display(),
            log.display()
        ));
        command.args(["-serial", "chardev:console"]);
        let debugger = folder.join("debugger.socket");
        let _ = fs::remove_file(&debugger);
        command.arg("-gdb").arg(format!("unix:{},server=on,wait=off", debugger.display()));
        let qemu = Background::start(emulator.program, &mut command)?;
        Ok(Self { qemu, architecture: board.architecture, log, console, debugger })
    }

    /// Everything the serial console has shown since it was switched on.
    pub fn shown(&self) -> String {
        shown(&self.log)
    }

    /// Waits until the console shows a line with `text`, and returns the line.
    ///
    /// # Errors
    /// When it does not within `patience`, or the machine ends first. Shows the last lines.
    pub fn wait_for(&mut self, text: &str, patience: Duration) -> Result<String> {
        let mut ended = None;
        let found = wait_for(text, patience, || {
            ended = self.qemu.ended().ok().flatten();
            let shown = self.shown();
            let line = shown.lines().find(|line| line.contains(text)).map(str::to_owned);
            if line.is_none() && ended.is_some() { Some(None) } else { line.map(Some) }
        });
        found.ok().flatten().with_context(|| {
            let said = self.qemu.stderr().all().join("\n");
            let state = ended.map_or("it runs".to_owned(), |status| format!("it ended with {status}"));
            format!(
                "the console did not show `{text}` within {} s ({state})\n{}\n{said}",
                patience.as_secs(),
                self.last_shown()
            )
        })
    }

    /// The last lines of [`Machine::shown`], for messages.
    pub fn last_shown(&self) -> String {
        let shown = self.shown();
        let lines: Vec<&str> = shown.lines().filter(|line| !line.is_empty()).collect();
        lines.iter().rev().take(25).rev().copied().collect::<Vec<_>>().join("\n")
    }

    /// Makes the processor spin with interrupts off: nothing of the system runs any more, and only a
    /// reset ends it.
    ///
    /// # Errors
    /// When the debugger does not answer.
    pub fn hang(&self) -> Result<()> {
        Debugger::connect(&self.debugger, self.architecture)?.inject(Fault::Hang)
    }

    /// Makes the kernel stumble over an instruction that does not exist.
    ///
    /// # Errors
    /// When the debugger does not answer.
    pub fn panic(&self) -> Result<()> {
        Debugger::connect(&self.debugger, self.architecture)?.inject(Fault::Panic)
    }

    /// How often the console has shown `text`.
    pub fn times_shown(&self, text: &str) -> usize {
        self.shown().matches(text).count()
    }

    /// Process id of QEMU.
    pub fn pid(&self) -> u32 {
        self.qemu.pid()
    }
}

/// What a log of a console shows.
pub(crate) fn shown(log: &Path) -> String {
    String::from_utf8_lossy(&fs::read(log).unwrap_or_default()).replace('\r', "")
}

/// Runs a machine with its serial console on our terminal until somebody switches it off.
///
/// # Errors
/// When the board has no emulator or QEMU does not start.
pub fn run_in_terminal(medium: &Medium, lab: &Lab, outside: &Namespace) -> Result<()> {
    let Some(emulator) = &medium.board.emulator else { bail!("{} has no emulator", medium.board.name) };
    let mut command = switched_on(medium, emulator, lab.directory(), outside)?;
    command.args(["-chardev", "stdio,id=console,signal=off,mux=on", "-serial", "chardev:console"]);
    let status = command.status().with_context(|| format!("cannot start {}", emulator.program))?;
    anyhow::ensure!(status.success(), "{} ended with {status}", emulator.program);
    Ok(())
}

/// QEMU with everything but a serial console.
fn switched_on(medium: &Medium, emulator: &Emulator, folder: &Path, outside: &Namespace) -> Result<Command> {
    let board = medium.board;
    let mut command = outside.command(emulator.program)?;
    command.args(arguments(emulator)).arg("-drive").arg(format!(
        "if={},id=flash,format=raw,file={}",
        emulator.drive_interface,
        medium.path.display()
    ));
    if emulator.firmware == Firmware::KernelOfSlot {
        let slot = medium.choose()?;
        let parts = medium.extract(slot, folder)?;
        for (option, part) in ["-kernel", "-initrd", "-dtb"].into_iter().zip(&parts) {
            command.arg(option).arg(part);
        }
        command.arg("-append").arg(format!("{} postern.slot={}", boot::arguments(board), slot.letter()));
    }
    Ok(command)
}

/// What does not depend on the medium.
fn arguments(emulator: &Emulator) -> Vec<String> {
    let tap = "ifname=tap0,script=no,downscript=no";
    let mut words = vec!["-machine".to_owned(), emulator.machine.to_owned()];
    words.extend(["-m".to_owned(), emulator.memory_mib.to_string()]);
    if let Some(processor) = emulator.processor {
        words.extend(["-cpu".to_owned(), processor.to_owned()]);
    }
    for word in ["-display", "none", "-monitor", "none", "-no-user-config", "-action", "watchdog=reset"] {
        words.push(word.to_owned());
    }
    words.extend(emulator.disk.iter().chain(emulator.devices).map(|word| (*word).to_owned()));
    match emulator.network_device {
        Some(model) => {
            words.extend(["-netdev".to_owned(), format!("tap,id=outside,{tap}")]);
            words.extend(["-device".to_owned(), model.to_owned()]);
        }
        None => words.extend(["-nic".to_owned(), format!("tap,{tap}")]),
    }
    if let Firmware::Loader(path) = emulator.firmware {
        words.extend(["-nodefaults".to_owned(), "-bios".to_owned(), path.to_owned()]);
    }
    words
}
