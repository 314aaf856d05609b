//! `cargo xtask appliance`: the image of a board, built and run in QEMU.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::command::{self, as_root, bold, cargo_line};
use crate::cross;
use crate::image::{self, Content, Description, Purpose};
use crate::setup;
use crate::workspace::Workspace;

/// The site the appliance guards, with the keys of its client.
const SHOW: &str = "image/files/show";

/// The board that every test run boots.
const REFERENCE: &str = "qemu-arm64";

/// The scenarios that need an image of their own.
const NEED_FAULTS: [&str; 2] = ["stopped", "clock"];

/// What the appliance finds in `/data/network`: its addresses, as `outside` of the image tool has them, and
/// those of a network behind it, on the same wire.
const NETWORK: &str = "eth0 198.18.0.2/24
eth0 2001:db8:18::2/64
eth0 192.168.10.1/24
eth0 2001:db8:10::1/64
forward
";

/// How scenarios are called that need another release.
const NEEDS_NEXT: &str = "update";

/// How to run it.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Options {
    /// Which board; only those with an emulator.
    #[arg(long, default_value = REFERENCE)]
    board: String,
    /// Check it unattended: ends with 0 when a door has opened and closed.
    #[arg(long)]
    check: bool,
    /// With --check: which scenario; may be given several times. `--scenario help` lists them.
    #[arg(long, requires = "check")]
    scenario: Vec<String>,
    /// With --check: every scenario, the long ones as well.
    #[arg(long, requires = "check")]
    long: bool,
    /// With --check: how often power is cut where that is done at random.
    #[arg(long, requires = "check")]
    cuts: Option<u32>,
    /// With --check: write what was measured into this file.
    #[arg(long, requires = "check", value_name = "FILE")]
    figures: Option<PathBuf>,
    /// Without --check: the device is as from the factory, to be commissioned on its console.
    #[arg(long, conflicts_with = "check")]
    blank: bool,
}

/// Builds and runs it.
///
/// # Errors
/// When a step fails or a promise does not hold.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    println!(
        "A fresh machine downloads about 400 MB (compilers, QEMU, kernel) and builds for about 8 minutes on two \
         cores; the next time it takes about one.\n"
    );
    let mut runner = as_root(workspace.target.join("debug/postern-image"))?;
    setup::install(setup::IMAGE)?;
    let board = Description::ask(&options.board)?;
    let programs = image::firmware(workspace, &board, cross::OF_IMAGE)?;
    let folder = workspace.target.join("image").join(&options.board).join("site");
    let site = commission(&folder)?;
    let mut content = Content { data: Some(site.data), ..Content::default() };
    let image = image::make(workspace, &board, &programs, &content)?;
    let mut faulty = None;
    if options.long || options.scenario.iter().any(|name| NEED_FAULTS.contains(&name.as_str())) {
        content.purpose = Purpose::Faults;
        faulty = Some(image::make(workspace, &board, &programs, &content)?);
    }
    let mut next = None;
    let of_update = |name: &String| name.starts_with(NEEDS_NEXT);
    if options.check && (options.scenario.is_empty() || options.scenario.iter().any(of_update)) {
        content.purpose = Purpose::Next;
        next = Some(image::make(workspace, &board, &programs, &content)?.with_file_name("update.bin"));
    }
    command::run(&mut cargo_line("build --quiet --locked -p postern-image -p postern"))?;
    let what = if options.check { "check" } else { "run" };
    runner.args([what, "--board", &options.board, "--site"]).arg(site.site).arg("--image").arg(image);
    runner.arg("--key").arg(site.key);
    if options.check {
        runner.arg("--owner").arg(site.owner).arg("--tool").arg(workspace.target.join("debug/postern"));
    }
    if let Some(next) = next {
        runner.arg("--update").arg(next);
    }
    if let Some(faulty) = faulty {
        runner.arg("--faulty-image").arg(faulty);
    }
    if !options.blank {
        runner.arg("--store").arg(site.store);
    }
    for scenario in &options.scenario {
        runner.args(["--scenario", scenario]);
    }
    if options.long {
        runner.arg("--long");
    }
    if let Some(cuts) = options.cuts {
        runner.args(["--cuts", &cuts.to_string()]);
    }
    if let Some(path) = &options.figures {
        runner.arg("--figures").arg(path);
    }
    println!("\n{}", bold("Running the appliance"));
    command::run(&mut runner)
}

/// What every test run checks: the reference board, and the scenarios that are not long.
///
/// # Errors
/// As [`run`].
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    run(workspace, &Options { board: REFERENCE.to_owned(), check: true, ..Options::default() })
}

/// What an installer would bring.
struct Installer {
    /// Files of the data partition: the address, and who may log in.
    data: PathBuf,
    /// The private key for that.
    key: PathBuf,
    /// The key that signs updates.
    owner: PathBuf,
    /// The site.
    site: PathBuf,
    /// The same, compiled.
    store: PathBuf,
}

/// Makes it in `folder`.
fn commission(folder: &Path) -> Result<Installer> {
    let data = folder.join("data");
    let ssh = data.join("service/.ssh");
    fs::create_dir_all(&ssh).with_context(|| format!("cannot make {}", ssh.display()))?;
    let key = folder.join("key");
    if !key.exists() {
        let mut keygen = Command::new("ssh-keygen");
        command::output(keygen.args(["-q", "-t", "ed25519", "-N", "", "-C", "appliance", "-f"]).arg(&key))?;
    }
    fs::copy(key.with_extension("pub"), ssh.join("authorized_keys"))?;
    fs::write(data.join("network"), NETWORK)?;
    for name in ["site.toml", "fwknop.key", "fwknop.mac", "native.key"] {
        // Secrets that others may read are refused, also public ones.
        let copy = folder.join(name);
        fs::copy(Path::new(SHOW).join(name), &copy).with_context(|| format!("cannot copy {SHOW}/{name}"))?;
        fs::set_permissions(&copy, fs::Permissions::from_mode(0o600))?;
    }
    let (site, store) = (folder.join("site.toml"), folder.join("site.store"));
    let owner = own(folder, &site)?;
    let mut compile = cargo_line("run --quiet --locked -p postern -- compile");
    command::run(compile.arg(&site).arg("-o").arg(&store))?;
    Ok(Installer { data, key, owner, site, store })
}

/// Makes the owner's key, and names it in the site.
fn own(folder: &Path, site: &Path) -> Result<PathBuf> {
    let (key, line) = (folder.join("owner.key"), folder.join("owner.line"));
    if !key.exists() || !line.exists() {
        let _ = fs::remove_file(&key);
        let mut make = cargo_line("run --quiet --locked -p postern -- owner new -o");
        fs::write(&line, command::output(make.arg(&key))?)?;
    }
    let text = fs::read_to_string(site)?.replacen(
        "schema = 1\n",
        &("schema = 1\n".to_owned() + &fs::read_to_string(&line)?),
        1,
    );
    fs::write(site, text)?;
    Ok(key)
}
