//! Our recipes through BitBake's own tasks: fetched, unpacked, compiled with `--frozen`, installed, split into packages.
//!
//! What is compiled is unoptimised: the release build is that of the image and of `--oe`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::Yocto;
use super::bitbake::{DISTRO, Job};

/// Tasks of a recipe that is compiled.
const ALL: [&str; 6] = ["do_fetch", "do_unpack", "do_configure", "do_compile", "do_install", "do_package"];

/// The machine that is built for.
const MACHINE: &str = "postern-qemuarm64";

/// Everything, with systemd.
pub(super) fn systemd(yocto: &Yocto) -> Result<String> {
    let job = job(yocto, "systemd");
    let answer = job.run(yocto)?;
    let built = Built::open(yocto, "systemd");
    let version = |path: PathBuf| crate::command::output(std::process::Command::new(path).arg("--version"));
    for path in
        ["posternd/usr/sbin/posternd", "postern-console/usr/sbin/postern-console", "postern/usr/bin/postern"]
    {
        let (package, program) = path.split_once('/').unwrap_or_default();
        ensure!(built.packages("postern")?.contains_key(package), "there is no package {package}");
        let said = version(built.image("postern").join(program))?;
        ensure!(said.contains(env!("CARGO_PKG_VERSION")), "{program} calls itself {said}");
    }
    Ok(format!(
        "fetched in {:.1} s, unpacked in {:.1} s, compiled in {:.1} s (the host's variant {:.1} s); factory profile made by it; \
         FIT image, boot script, environment; packages split",
        answer.seconds("postern", "do_fetch"),
        answer.seconds("postern", "do_unpack"),
        answer.seconds("postern", "do_compile"),
        answer.seconds("postern-native", "do_compile"),
    ))
}

/// Everything that differs with sysvinit; the programs are there already.
pub(super) fn sysvinit(yocto: &Yocto) -> Result<String> {
    job(yocto, "sysvinit").run(yocto)?;
    Ok("installed and split".to_owned())
}

fn job(yocto: &Yocto, init: &str) -> Job {
    let mut job = Job::new(yocto, &format!("build-{init}"), MACHINE, DISTRO, init);
    let of = |recipe| ALL.map(|task| (recipe, task));
    // With sysvinit the sources and the programs are those of the build with systemd.
    job.settings.push(format!("STUB_SOURCES = \"{}\"", yocto.folder.join("sources").display()));
    let again = ["do_configure", "do_install", "do_package"];
    job.tasks.extend(of("postern").into_iter().filter(|(_, task)| init == "systemd" || again.contains(task)));
    if init == "systemd" {
        // The host's variant compiles the same files, which are unpacked already.
        job.tasks.extend(["do_configure", "do_compile", "do_install"].map(|task| ("postern-native", task)));
        job.tasks.extend(of("postern-factory-config"));
        job.tasks.extend(of("systemd-conf"));
    }
    job.tasks.push(("linux-yocto", "do_deploy"));
    job.tasks.extend(of("postern-boot"));
    job.tasks.push(("postern-boot", "do_deploy"));
    job.tasks.extend(of("postern-storage"));
    for recipe in ["dropbear", "base-passwd"] {
        job.tasks.extend(of(recipe));
    }
    job
}

/// What was built.
#[derive(Debug)]
pub(super) struct Built {
    work: PathBuf,
}

/// Files of a package with their modes.
pub(super) type Package = BTreeMap<String, String>;

impl Built {
    /// With the init manager `init`.
    pub(super) fn open(yocto: &Yocto, init: &str) -> Self {
        Self { work: yocto.folder.join("build").join(format!("build-{init}")).join("tmp") }
    }

    /// Where a recipe was installed.
    pub(super) fn image(&self, recipe: &str) -> PathBuf {
        self.work.join("work").join(recipe).join("image")
    }

    /// Where files for images are.
    pub(super) fn deployed(&self) -> PathBuf {
        self.work.join("deploy/images").join(MACHINE)
    }

    /// Text of an installed file.
    ///
    /// # Errors
    /// When it is not there.
    pub(super) fn read(&self, recipe: &str, path: &str) -> Result<String> {
        let file = self.image(recipe).join(path.trim_start_matches('/'));
        fs::read_to_string(&file).with_context(|| format!("{recipe} has not installed {path}"))
    }

    /// The packages of a recipe.
    ///
    /// # Errors
    /// When they cannot be read.
    pub(super) fn packages(&self, recipe: &str) -> Result<BTreeMap<String, Package>> {
        let path = self.work.join("work").join(recipe).join("packages.json");
        let text = fs::read_to_string(&path).with_context(|| format!("no packages of {recipe}"))?;
        serde_json::from_str(&text).with_context(|| format!("cannot read {}", path.display()))
    }

    /// Every file below `folder` of what a recipe has installed.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) fn files(&self, recipe: &str, folder: &str) -> Result<Vec<PathBuf>> {
        let folder = self.image(recipe).join(folder);
        let mut files = Vec::new();
        collect(&folder, &mut files)?;
        files.sort();
        Ok(files)
    }
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let Ok(entries) = fs::read_dir(folder) else { return Ok(()) };
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}
