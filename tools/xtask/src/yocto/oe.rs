//! The layers on OpenEmbedded-Core itself, where somebody has put a checkout: everything is parsed by its own classes and
//! QA, graphs are made, signatures computed, `yocto-check-layer` is run, and our recipe is compiled for the build machine
//! and for ARMv7 with tool chains that are there. Nothing is downloaded. `yocto-layer/RESULTS.md` says what came of it.

mod toolchain;
mod wic;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};

use super::bitbake::{DISTRO, LAYERS};
use super::{Yocto, crates, parse, source, venv};
use crate::command::{self, bold};

/// What is done there.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct OnOe {
    /// Only this part; may be given several times.
    #[arg(long, requires = "oe", value_name = "PART", value_parser = PARTS.map(|part| part.0))]
    part: Vec<String>,
    /// Who runs BitBake, which refuses to be root.
    #[arg(long, requires = "oe", value_name = "USER")]
    user: Option<String>,
    /// Folder for builds, which that user may read; its content is replaced.
    #[arg(long, requires = "oe", value_name = "FOLDER")]
    work: Option<PathBuf>,
    /// Folder with bin/cargo, bin/rustc and bin/rustdoc that can build for this machine and for armv7, and that the user
    /// may read [default: Debian's, as for the image].
    #[arg(long, requires = "oe", value_name = "FOLDER")]
    toolchain: Option<PathBuf>,
    /// Folder with a libpcap.a for ARMv7 [default: built from Debian's source, as for the image].
    #[arg(long, requires = "oe", value_name = "FOLDER")]
    libpcap: Option<PathBuf>,
}

/// A part: its name, and what does it.
type Part = (&'static str, fn(&Oe) -> Result<String>);

/// In the order in which they are worth it.
const PARTS: [Part; 9] = [
    ("parse", parse_all),
    ("graph", graph),
    ("wic", wic::check),
    ("native", native),
    ("armv7", armv7),
    ("signatures", signatures),
    ("dry-run", dry_run),
    ("check-layer", check_layers),
    ("sysvinit", sysvinit),
];

/// Checkouts, and who works on them.
struct Oe<'a> {
    core: PathBuf,
    bitbake: PathBuf,
    work: PathBuf,
    options: &'a OnOe,
    machines: Vec<String>,
    /// Compilers, when a part wants them.
    toolchain: Option<PathBuf>,
    /// Folder with a libpcap.a for ARMv7, when a part wants it.
    libpcap: Option<PathBuf>,
}

impl OnOe {
    fn wants(&self, name: &str) -> bool {
        self.part.is_empty() || self.part.iter().any(|part| part == name)
    }

    /// The folder `said` in the options, or else what `make` makes, when one of `parts` is to be done.
    fn folder(
        &self,
        said: Option<&PathBuf>,
        parts: &[&str],
        make: impl FnOnce() -> Result<PathBuf>,
    ) -> Result<Option<PathBuf>> {
        match said {
            Some(folder) => {
                Ok(Some(folder.canonicalize().with_context(|| format!("there is no {}", folder.display()))?))
            }
            None if parts.iter().any(|part| self.wants(part)) => Ok(Some(make()?)),
            None => Ok(None),
        }
    }
}

/// Runs the parts that are wanted.
pub(super) fn run(yocto: &Yocto, folder: &Path, options: &OnOe) -> Result<()> {
    venv::prepare(yocto)?;
    crates::check(yocto)?;
    source::snapshot(yocto)?;
    let folder = folder.canonicalize().with_context(|| format!("there is no {}", folder.display()))?;
    let work = options.work.clone().unwrap_or_else(|| yocto.folder.join("oe"));
    fs::create_dir_all(&work)?;
    let work = work.canonicalize()?;
    let toolchain = options.folder(options.toolchain.as_ref(), &["native", "armv7"], || {
        toolchain::compilers(yocto.workspace, &work)
    })?;
    let libpcap = options
        .folder(options.libpcap.as_ref(), &["armv7"], || toolchain::libpcap(yocto.workspace, &work))?;
    let oe = Oe {
        // Without links: BitBake masks files by their real path.
        core: folder.join("openembedded-core").canonicalize().context("no openembedded-core there")?,
        bitbake: folder.join("bitbake").canonicalize().context("no bitbake there")?,
        work,
        options,
        machines: parse::machines(yocto)?,
        toolchain,
        libpcap,
    };
    ensure!(oe.core.join("oe-init-build-env").exists(), "there is no {}", oe.core.display());
    ensure!(oe.bitbake.join("bin/bitbake").exists(), "there is no {}", oe.bitbake.display());
    ensure!(
        options.user.is_some() || !command::is_root(),
        "BitBake refuses to be root: name a user with --user, and a folder that is his with --work"
    );
    oe.prepare(yocto)?;
    println!("{}", oe.versions()?);
    let mut failed = Vec::new();
    for (name, part) in PARTS {
        if !options.wants(name) {
            continue;
        }
        let begun = Instant::now();
        let (mark, said) = match part(&oe) {
            Ok(said) => ("ok  ", said),
            Err(error) => {
                failed.push(name);
                ("FAIL", format!("{error:#}"))
            }
        };
        println!("{mark} {name:<12} {said} ({:.0} s)", begun.elapsed().as_secs_f64());
    }
    ensure!(failed.is_empty(), "failed on OpenEmbedded-Core: {}", failed.join(", "));
    println!("{}", bold("The layers are in order there."));
    Ok(())
}

impl Oe<'_> {
    /// Copies layers, source and crates to where the user may read them.
    fn prepare(&self, yocto: &Yocto) -> Result<()> {
        for (from, name) in
            [(source::repository(yocto), "source.git"), (source::downloads(yocto), "downloads")]
        {
            let to = self.work.join(name);
            let _ = fs::remove_dir_all(&to);
            command::output(Command::new("cp").arg("-r").arg(from).arg(to))?;
        }
        let layers = self.work.join("layers");
        let _ = fs::remove_dir_all(&layers);
        fs::create_dir_all(&layers)?;
        for layer in LAYERS {
            command::output(Command::new("cp").arg("-r").arg(yocto.layers().join(layer)).arg(&layers))?;
        }
        if let Some(user) = &self.options.user {
            command::output(Command::new("chown").arg("-R").arg(user).arg(&self.work))?;
        }
        Ok(())
    }

    fn versions(&self) -> Result<String> {
        let of = |folder: &Path| {
            let mut git = Command::new("git");
            git.args(["-c", "safe.directory=*", "-C"]).arg(folder).args(["describe", "--tags", "--always"]);
            command::output(&mut git)
        };
        Ok(format!("openembedded-core {}, bitbake {}", of(&self.core)?.trim(), of(&self.bitbake)?.trim()))
    }

    /// A build folder with its configuration.
    fn build(&self, name: &str, machine: &str, more: &[String]) -> Result<PathBuf> {
        let build = self.work.join(name);
        let conf = build.join("conf");
        fs::create_dir_all(&conf)?;
        let layers: Vec<String> =
            LAYERS.iter().map(|name| self.work.join("layers").join(name).display().to_string()).collect();
        let layers = format!(
            "POKY_BBLAYERS_CONF_VERSION = \"2\"\nBBPATH = \"${{TOPDIR}}\"\nBBFILES ?= \"\"\nBBLAYERS = \"{}/meta {}\"\n",
            self.core.display(),
            layers.join(" ")
        );
        fs::write(conf.join("bblayers.conf"), layers)?;
        let work = self.work.display();
        let mut lines = vec![
            format!("MACHINE ?= \"{machine}\""),
            format!("DISTRO ?= \"{DISTRO}\""),
            format!("DL_DIR = \"{work}/downloads\""),
            format!("SSTATE_DIR = \"{work}/sstate\""),
            format!("POSTERN_GIT = \"git://{work}/source.git;protocol=file;usehead=1;nobranch=1\""),
        ];
        lines.extend(SETTINGS.map(str::to_owned));
        lines.extend(more.iter().cloned());
        fs::write(conf.join("local.conf"), lines.join("\n") + "\n")?;
        if let Some(user) = &self.options.user {
            command::output(Command::new("chown").arg("-R").arg(user).arg(&build))?;
        }
        Ok(build)
    }

    /// Runs a line of the shell in a build folder, as the user. Its output goes to a file and is returned.
    fn shell(&self, build: &Path, line: &str) -> Result<String> {
        let script = format!(
            ". {}/oe-init-build-env {} {} >/dev/null && {line}",
            self.core.display(),
            build.display(),
            self.bitbake.display()
        );
        let mut shell = match &self.options.user {
            Some(user) => {
                let mut runuser = Command::new("runuser");
                runuser.args(["-u", user, "--", "env", "-i"]);
                runuser
            }
            None => {
                let mut env = Command::new("env");
                env.arg("-i");
                env
            }
        };
        let tools = self.toolchain.as_ref().map(|folder| format!("{}/bin:", folder.display()));
        let path = format!("PATH={}/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", tools.unwrap_or_default());
        let home = format!("HOME={}", self.work.join("home").display());
        shell.args(["LANG=en_US.UTF-8", "LC_ALL=en_US.UTF-8", &home, &path, "bash", "-c", &script]);
        let output = shell.stdin(Stdio::null()).output().context("cannot start a shell")?;
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        let log = build.join("said");
        fs::write(&log, &said)?;
        let complaints: Vec<&str> =
            said.lines().filter(|line| line.starts_with("ERROR") || line.starts_with("WARNING")).collect();
        if !output.status.success() || !complaints.is_empty() {
            let end: Vec<&str> = said.lines().rev().take(12).collect();
            let end: Vec<&str> = end.into_iter().rev().collect();
            bail!(
                "`{line}` ({}), see {}:\n{}\n{}",
                output.status,
                log.display(),
                complaints.join("\n"),
                end.join("\n")
            );
        }
        Ok(said)
    }
}

/// Lines of local.conf: no network, no servers, nothing downloaded.
const SETTINGS: [&str; 9] = [
    "CONF_VERSION = \"2\"",
    "BB_NO_NETWORK = \"1\"",
    "CONNECTIVITY_CHECK_URIS = \"\"",
    "BB_HASHSERVE = \"\"",
    "BB_SIGNATURE_HANDLER = \"OEBasicHash\"",
    "INHERIT:remove = \"uninative\"",
    "BB_NUMBER_THREADS = \"2\"",
    "BB_NUMBER_PARSE_THREADS = \"2\"",
    "PARALLEL_MAKE = \"-j 2\"",
];

/// The line in which BitBake sums up what it has parsed.
fn summary(said: &str) -> String {
    let line = said.lines().find(|line| line.starts_with("Parsing of ") || line.contains("targets,"));
    line.unwrap_or("no summary").trim().to_owned()
}

fn parse_all(oe: &Oe) -> Result<String> {
    let mut said = Vec::new();
    for machine in &oe.machines {
        let build = oe.build(&format!("build-{machine}"), machine, &[])?;
        said.push(format!("{machine}: {}", summary(&oe.shell(&build, "bitbake -p")?)));
    }
    Ok(said.join("; "))
}

fn sysvinit(oe: &Oe) -> Result<String> {
    let machine = "postern-qemuarm64";
    let build = oe.build("build-sysvinit", machine, &["INIT_MANAGER = \"sysvinit\"".to_owned()])?;
    oe.shell(&build, "bitbake -g postern-image")?;
    graph_of(&build)
}

fn graph(oe: &Oe) -> Result<String> {
    let mut said = Vec::new();
    for machine in &oe.machines {
        let build = oe.build(&format!("build-{machine}"), machine, &[])?;
        oe.shell(&build, "bitbake -g postern-image && bitbake -e postern >environment.txt")?;
        said.push(format!("{machine}: {}", graph_of(&build)?));
    }
    Ok(said.join("; "))
}

/// How many recipes and tasks are in the graph, and that ours are.
fn graph_of(build: &Path) -> Result<String> {
    let text = fs::read_to_string(build.join("task-depends.dot")).context("BitBake has made no graph")?;
    let nodes = text.lines().filter(|line| line.contains("[label=")).count();
    let recipes = fs::read_to_string(build.join("pn-buildlist"))?;
    let recipes: Vec<&str> = recipes.lines().collect();
    for wanted in [
        "postern",
        "postern-native",
        "postern-boot",
        "postern-storage",
        "postern-factory-config",
        "libpcap",
        "iptables",
    ] {
        ensure!(recipes.contains(&wanted), "postern-image does not build {wanted}");
    }
    Ok(format!("postern-image has {} recipes and {nodes} tasks", recipes.len()))
}

fn signatures(oe: &Oe) -> Result<String> {
    let build = oe.build("build-postern-qemuarm64", "postern-qemuarm64", &[])?;
    oe.shell(&build, "bitbake -S none postern")?;
    Ok("of postern and everything it needs".to_owned())
}

fn dry_run(oe: &Oe) -> Result<String> {
    let build = oe.build("build-postern-qemuarm64", "postern-qemuarm64", &[])?;
    let said = oe.shell(&build, "bitbake -n postern-image")?;
    let line = said.lines().rev().find(|line| line.contains("Tasks Summary"));
    Ok(line.context("BitBake does not sum up")?.to_owned())
}

fn check_layers(oe: &Oe) -> Result<String> {
    let mut said = Vec::new();
    for layer in LAYERS {
        // The layer that is checked must not be there already.
        let build =
            oe.build(&format!("check-{layer}"), "qemuarm64", &["DISTRO = \"nodistro\"".to_owned()])?;
        let core = format!(
            "POKY_BBLAYERS_CONF_VERSION = \"2\"\nBBPATH = \"${{TOPDIR}}\"\nBBFILES ?= \"\"\nBBLAYERS = \"{}/meta\"\n",
            oe.core.display()
        );
        fs::write(build.join("conf/bblayers.conf"), core)?;
        let layers = oe.work.join("layers");
        let more = match layer {
            "meta-postern-bsp" => format!(" --machines {}", oe.machines.join(" ")),
            "meta-postern-distro" => format!(" --dependency {}", layers.join("meta-postern").display()),
            _ => String::new(),
        };
        let line =
            format!("yocto-check-layer {}{more} --output-log check.log 2>&1", layers.join(layer).display());
        let result = oe.shell(&build, &line);
        let text = result.with_context(|| layer.to_owned())?;
        let ran = text.lines().find(|line| line.contains("Ran ")).unwrap_or_default();
        ensure!(text.contains(&format!("{layer} ... PASS")), "{layer}: {text}");
        said.push(format!("{layer}: PASS, {}", ran.trim_start_matches("INFO: ")));
    }
    Ok(said.join("; "))
}

/// What OpenEmbedded-Core would build first and is taken from the machine instead.
const ASSUMED: &str = "cargo-native rust-native python3-native quilt-native xz-native zstd-native unzip-native \
    systemd-systemctl-native shadow-native pkgconfig-native";

fn native(oe: &Oe) -> Result<String> {
    let settings = [
        "PATCHTOOL = \"patch\"".to_owned(),
        format!("ASSUME_PROVIDED += \"{ASSUMED}\""),
        "HOSTTOOLS += \"cargo rustc rustdoc\"".to_owned(),
        mask(oe),
    ];
    let build = oe.build("build-native", "postern-qemuarm64", &settings)?;
    oe.shell(&build, "bitbake -c install postern-native")?;
    let program = find(&build, "*/image/*usr/bin/postern")?;
    let said = command::output(Command::new(&program).arg("--version"))?;
    Ok(format!("the host's tool says {}", said.trim()))
}

/// Leaves out most of OpenEmbedded-Core: seconds instead of minutes.
fn mask(oe: &Oe) -> String {
    let left_out = "bsp|connectivity|devtools|extended|gnome|graphics|kernel|multimedia|rt|sato|support";
    let folder = oe.core.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    format!(
        "BBMASK += \"/{folder}/meta/recipes-({left_out})/ /meta-postern-bsp/recipes- /meta-postern-distro/recipes-\"\n\
         BBFILE_PATTERN_IGNORE_EMPTY_postern-bsp = \"1\"\nBBFILE_PATTERN_IGNORE_EMPTY_postern-distro = \"1\""
    )
}

fn armv7(oe: &Oe) -> Result<String> {
    let libpcap = oe.libpcap.as_ref().context("there is no libpcap.a for ARMv7")?;
    let gnu = "arm-linux-gnueabihf";
    let tools = ["gcc", "ar", "ld", "strip", "objcopy", "objdump", "nm", "readelf", "ranlib", "as"];
    let tools: Vec<String> = tools.iter().map(|tool| format!("{gnu}-{tool}")).collect();
    let of = |name: &str, value: &str| format!("{name}:pn-postern:class-target = \"{value}\"");
    let triple = "armv7-unknown-linux-gnueabihf";
    let settings = [
        "PATCHTOOL = \"patch\"".to_owned(),
        format!(
            "ASSUME_PROVIDED += \"{ASSUMED} gcc-cross-arm virtual/cross-cc virtual/cross-binutils virtual/compilerlibs \
             virtual/libc libstd-rs shadow shadow-sysroot base-passwd base-files rpm-native dwarfsrcfiles-native \
             pseudo-native elfutils-native opkg-utils-native binutils-cross-arm virtual/fakeroot-native ptest-runner \
             patch-replacement-native libpcap iptables netbase virtual/arm-postern-linux-gnueabi-gcc virtual/arm-postern-linux-gnueabi-binutils \
             virtual/arm-postern-linux-gnueabi-compilerlibs\""
        ),
        // The kernel is left out as well.
        format!("ASSUME_PROVIDED += \"{}\"", modules(oe)?.join(" ")),
        format!("HOSTTOOLS += \"cargo rustc rustdoc {}\"", tools.join(" ")),
        of("CC", &format!("{gnu}-gcc")),
        of("CCLD", &format!("{gnu}-gcc")),
        of("AR", &format!("{gnu}-ar")),
        of("LDFLAGS", "-Wl,-z,relro,-z,now"),
        of("CFLAGS", "-O2"),
        of("RUST_HOST_SYS", triple),
        of("RUST_TARGET_SYS", triple),
        of("LIBPCAP_LIBDIR", &libpcap.display().to_string()),
        // Optimised, but not across crates: that takes many minutes more and shows nothing more.
        "export CARGO_PROFILE_RELEASE_LTO = \"off\"".to_owned(),
        "export CARGO_PROFILE_RELEASE_CODEGEN_UNITS = \"16\"".to_owned(),
        "FAKEROOTCMD = \"/usr/bin/fakeroot\"".to_owned(),
        "FAKEROOT = \"/usr/bin/fakeroot\"".to_owned(),
        "INHERIT:remove = \"create-spdx vex\"".to_owned(),
        "INHIBIT_PACKAGE_STRIP = \"1\"".to_owned(),
        "INHIBIT_PACKAGE_DEBUG_SPLIT = \"1\"".to_owned(),
        mask(oe),
    ];
    let build = oe.build("build-armv7", "postern-qemuarm", &settings)?;
    // Installing wants pseudo-native, which is downloaded; Debian's fakeroot does not stand in for it.
    oe.shell(&build, "bitbake -c compile postern")?;
    let program = find(&build, "*/release/posternd")?;
    let said = command::output(Command::new("file").arg("--brief").arg(&program))?;
    ensure!(said.contains("ELF 32-bit LSB") && said.contains("ARM"), "posternd is {said}");
    let octets = fs::metadata(&program)?.len();
    Ok(format!(
        "posternd: {octets} octets, not stripped; {}",
        said.split(", BuildID").next().unwrap_or_default().trim()
    ))
}

/// The kernel's modules that the recipe recommends.
fn modules(oe: &Oe) -> Result<Vec<String>> {
    let folder = oe.work.join("layers/meta-postern/recipes-postern/postern");
    let recipe = fs::read_dir(&folder)?.filter_map(Result::ok).map(|entry| entry.path());
    let recipe = recipe.into_iter().find(|path| path.extension().is_some_and(|end| end == "bb"));
    let text = fs::read_to_string(recipe.context("there is no recipe")?)?;
    Ok(text.split_whitespace().filter(|word| word.starts_with("kernel-module-")).map(str::to_owned).collect())
}

/// A file below a build folder.
fn find(folder: &Path, path: &str) -> Result<PathBuf> {
    let said = command::output(Command::new("find").arg(folder).args(["-path", path, "-type", "f"]))?;
    let first = said.lines().next().with_context(|| format!("there is no {path}"))?;
    Ok(PathBuf::from(first))
}
