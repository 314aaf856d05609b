//! Copies of the layers that are broken in one way each: every one must be refused, by the check that is for it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use super::Yocto;
use super::bitbake::{DISTRO, Job};

/// A way to break the layers.
struct Case {
    name: &'static str,
    /// File, below `yocto-layer`.
    file: &'static str,
    /// This text, which must be there,
    from: &'static str,
    /// becomes that one.
    to: &'static str,
    /// Tasks that must be run to notice it.
    tasks: &'static [(&'static str, &'static str)],
    /// A part of what must be complained of.
    says: &'static str,
}

const RECIPE: &str = "meta-postern/recipes-postern/postern/postern_0.1.0.bb";
const BOOT: &str = "meta-postern-bsp/recipes-bsp/postern-boot/postern-boot_1.0.bb";
const GATEWAY: &str = "meta-postern-bsp/conf/machine/include/postern-gateway.inc";

const fn case(
    name: &'static str,
    file: &'static str,
    from: &'static str,
    to: &'static str,
    says: &'static str,
) -> Case {
    Case { name, file, from, to, tasks: &[], says }
}

/// Instead of a text: the whole line goes.
const NO_LINE: &str = "no line";

/// Refused while recipes are read or the graph is made.
const PARSED: [Case; 14] = [
    case(
        "a series that is not there",
        "meta-postern/conf/layer.conf",
        "\"scarthgap wrynose\"",
        "\"kirkstone\"",
        "not compatible",
    ),
    case(
        "a layer that is not there",
        "meta-postern-bsp/conf/layer.conf",
        "= \"core\"",
        "= \"core networking-layer\"",
        "networking-layer",
    ),
    case("an unknown class", RECIPE, "inherit cargo ", "inherit cargoo ", "cargoo"),
    case("a line without quotes", RECIPE, "SECTION = \"net\"", "SECTION = net", "unparsed line"),
    case(
        "an old override",
        RECIPE,
        "SYSTEMD_SERVICE:posternd",
        "SYSTEMD_SERVICE_posternd",
        "SYSTEMD_SERVICE:posternd is not set",
    ),
    case("an include that is not there", RECIPE, "${BPN}-crates.inc", "${BPN}-nothere.inc", "nothere.inc"),
    case(
        "a crate without a sum",
        super::crates::INCLUDE,
        "SRC_URI[anyhow-",
        "SRC_URI[anyhoww-",
        "no sha256sum for",
    ),
    case(
        "a value that cannot be had",
        RECIPE,
        "\"--package posternd --package postern --bins\"",
        "\"${@undefined_name()}\"",
        "undefined_name",
    ),
    case(
        "a package that nobody makes",
        RECIPE,
        "RDEPENDS:posternd = \"iptables",
        "RDEPENDS:posternd = \"iptabels",
        "iptabels",
    ),
    case(
        "a kickstart file that is not there",
        GATEWAY,
        "WKS_FILE = \"postern-ab.wks.in\"",
        "WKS_FILE = \"nothere.wks.in\"",
        "WKS_FILE nothere.wks.in is not found",
    ),
    case(
        "wrong Python",
        RECIPE,
        "BBCLASSEXTEND = \"native nativesdk\"",
        "python () {\n    x = = 1\n}",
        "SyntaxError",
    ),
    case(
        "an append to nothing",
        "meta-postern-distro/conf/distro/postern-appliance.conf",
        "DISTRO = \"postern-appliance\"",
        "DISTRO = \"postern\"",
        "an override",
    ),
    case(
        "a root file system that can be written",
        "meta-postern-distro/recipes-postern/images/postern-image.inc",
        "IMAGE_FEATURES += \"read-only-rootfs\"",
        "",
        "can be written",
    ),
    case("a script without an order", BOOT, "INITSCRIPT_PARAMS", "INITSCRIPT_PARAM", "INITSCRIPT_PARAMS"),
];

const fn run(case: Case, tasks: &'static [(&'static str, &'static str)]) -> Case {
    Case { tasks, ..case }
}

const FETCH: &[(&str, &str)] = &[("postern", "do_fetch")];
const INSTALL: &[(&str, &str)] = &[
    ("postern-storage", "do_fetch"),
    ("postern-storage", "do_unpack"),
    ("postern-storage", "do_install"),
    ("postern-storage", "do_package"),
];
const STORAGE: &str = "meta-postern-bsp/recipes-bsp/postern-storage/postern-storage_1.0.bb";
const BOOTED: &[(&str, &str)] = &[
    ("linux-yocto", "do_deploy"),
    ("postern-boot", "do_fetch"),
    ("postern-boot", "do_unpack"),
    ("postern-boot", "do_compile"),
];
const COMPILED: &[(&str, &str)] = &[
    ("postern-native", "do_fetch"),
    ("postern-native", "do_unpack"),
    ("postern-native", "do_configure"),
    ("postern-native", "do_compile"),
];

/// Refused by a task.
const RUN: [Case; 9] = [
    run(
        case("a wrong sum", super::crates::INCLUDE, "SRC_URI[anyhow-1.", "SRC_URI[anyhow-1.", "hecksum"),
        FETCH,
    ),
    run(case("a file that is not there", RECIPE, "file://keep ", "file://nothere ", "nothere"), FETCH),
    run(
        case(
            "a crate that is not listed",
            super::crates::INCLUDE,
            "    crate://crates.io/clap/",
            NO_LINE,
            "clap",
        ),
        COMPILED,
    ),
    run(
        case(
            "another licence",
            RECIPE,
            "3b83ef96387f14655fc854ddc3c6bd57",
            "00000000000000000000000000000000",
            "LIC_FILES_CHKSUM",
        ),
        COMPILED,
    ),
    run(
        case("a shell that is no shell", STORAGE, "install -d -m 0755 ${D}/data", "if [ x", "do_install"),
        INSTALL,
    ),
    run(
        case(
            "a unit that is not installed",
            STORAGE,
            "SYSTEMD_SERVICE:${PN} = \"postern-storage",
            "SYSTEMD_SERVICE:${PN} = \"storage",
            "is not installed",
        ),
        INSTALL,
    ),
    run(
        case("a file in no package", STORAGE, "    ${libexecdir}/postern \\\n", "", "in no package"),
        INSTALL,
    ),
    run(
        case(
            "a boot script that changed",
            "meta-postern-bsp/recipes-bsp/postern-boot/files/boot.cmd",
            "setenv kernel kernel-b",
            "setenv image kernel-b",
            "does not fit",
        ),
        BOOTED,
    ),
    run(
        case(
            "a place that nothing is put in",
            "meta-postern-bsp/recipes-bsp/postern-boot/files/boot.cmd",
            "sleep 1",
            "sleep @SECONDS@",
            "nothing was put in",
        ),
        BOOTED,
    ),
];

pub(super) fn check(yocto: &Yocto) -> Result<String> {
    let control = job(yocto, "control", &yocto.layers());
    control.run(yocto).context("the layers as they are")?;
    for case in PARSED.iter().chain(&RUN) {
        let folder = yocto.folder.join("broken");
        let _ = fs::remove_dir_all(&folder);
        copy(&yocto.layers(), &folder)?;
        let text = yocto.read(&format!("yocto-layer/{}", case.file))?;
        fs::write(folder.join(case.file), damage(&text, case)?)?;
        let mut job = job(yocto, "broken", &folder);
        job.tasks = case.tasks.to_vec();
        let _ = fs::remove_dir_all(job.build(yocto));
        if !case.tasks.is_empty() {
            // BitBake takes what has a wrong sum out of the folder of downloads.
            super::source::gather(yocto)?;
        }
        let complaints = job.try_run(yocto)?.complaints().join("\n");
        ensure!(!complaints.is_empty(), "nothing was noticed: {}", case.name);
        ensure!(complaints.contains(case.says), "{} is refused for another reason:\n{complaints}", case.name);
    }
    Ok(format!("{} ways to break a layer, each refused for its reason", PARSED.len() + RUN.len()))
}

/// The text with the fault in it.
fn damage(text: &str, case: &Case) -> Result<String> {
    let Some(place) = text.find(case.from) else {
        bail!("{} has no `{}` any more, to be broken for: {}", case.file, case.from, case.name);
    };
    if case.to == NO_LINE {
        let lines = text.lines().filter(|line| !line.contains(case.from));
        return Ok(lines.map(|line| format!("{line}\n")).collect());
    }
    if case.from != case.to {
        return Ok(text.replacen(case.from, case.to, 1));
    }
    // The sum behind it gets another first digit.
    let (head, rest) = text.split_at(place);
    let (key, sum) = rest.split_once("= \"").context("no sum behind it")?;
    let digit = if sum.starts_with('0') { '1' } else { '0' };
    Ok(format!("{head}{key}= \"{digit}{}", sum.get(1..).unwrap_or_default()))
}

/// The image's graph; nothing is built.
fn job(yocto: &Yocto, name: &str, layers: &Path) -> Job {
    let mut job = Job::new(yocto, name, "postern-qemuarm64", DISTRO, "systemd");
    job.layers = layers.to_path_buf();
    job.graphs = vec!["postern-image".to_owned()];
    job
}

fn copy(from: &Path, to: &PathBuf) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
