//! Every recipe for every machine, distribution and init manager, and the task graphs of the images.

use std::fs;

use anyhow::{Context, Result, ensure};

use super::Yocto;
use super::bitbake::{DISTRO, Job};

/// Init managers of the distribution.
const INITS: [&str; 2] = ["systemd", "sysvinit"];

/// Series of OpenEmbedded-Core that the layers say they fit.
const SERIES: [&str; 2] = ["wrynose", "scarthgap"];

/// What is built for a machine.
const TARGETS: [&str; 5] =
    ["postern-image", "postern-image-dev", "postern-bundle", "postern-swu", "postern-image-verified"];

/// Recipes that an image cannot do without.
const OF_IMAGE: [&str; 6] = [
    "postern",
    "postern-boot",
    "postern-factory-config",
    "postern-native",
    "postern-storage",
    "packagegroup-postern",
];

/// Names of the machines of a layer.
pub(super) fn machines(yocto: &Yocto) -> Result<Vec<String>> {
    let folder = yocto.layers().join("meta-postern-bsp/conf/machine");
    let entries = fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut names = Vec::new();
    for entry in entries {
        let name = entry?.file_name().to_string_lossy().into_owned();
        names.extend(name.strip_suffix(".conf").map(str::to_owned));
    }
    names.sort();
    Ok(names)
}

pub(super) fn check(yocto: &Yocto) -> Result<String> {
    let machines = machines(yocto)?;
    ensure!(!machines.is_empty(), "there is no machine");
    let (mut recipes, mut tasks) = (0, 0);
    for machine in &machines {
        for init in INITS {
            for series in SERIES {
                let name = format!("parse-{machine}-{init}-{series}");
                let mut job = Job::new(yocto, &name, machine, DISTRO, init);
                job.settings.push(format!("STUB_SERIES = \"{series}\""));
                job.graphs = TARGETS.map(str::to_owned).to_vec();
                let answer = job.run(yocto)?;
                ensure!(answer.skipped() == 0, "{name}: {} recipes were left out", answer.skipped());
                let (found, number) = answer.graph("postern-image")?;
                for recipe in OF_IMAGE {
                    ensure!(found.contains(&recipe), "{name}: postern-image does not build {recipe}");
                }
                recipes = answer.parsed();
                tasks = number;
            }
        }
    }
    product(yocto)?;
    Ok(format!(
        "{recipes} recipes for {} machines, {} init managers, {} series, without a warning; graph of postern-image: \
         {tasks} tasks; the software layer alone in another product",
        machines.len(),
        INITS.len(),
        SERIES.len()
    ))
}

/// The software layer alone, on a machine and in a distribution that know nothing of it; and the other two on a machine
/// that is none of theirs: nothing of them may get into its kernel, boot loader or system.
fn product(yocto: &Yocto) -> Result<()> {
    for init in INITS {
        let mut job = Job::new(yocto, &format!("parse-product-{init}"), "qemuarm64", "product", init);
        job.ours = vec!["meta-postern"];
        job.neighbours = false;
        job.graphs = vec!["packagegroup-postern".to_owned()];
        job.run(yocto)?;
    }
    let mut job = Job::new(yocto, "parse-guards", "qemuarm64", "product", "systemd");
    let appended = [
        "base-passwd",
        "dropbear",
        "libubootenv",
        "linux-raspberrypi",
        "linux-yocto",
        "systemd-conf",
        "u-boot",
    ];
    job.variables = appended.iter().map(|recipe| (*recipe, vec!["SRC_URI", "do_install"])).collect();
    let answer = job.run(yocto)?;
    for recipe in appended {
        for variable in ["SRC_URI", "do_install"] {
            let value = answer.variable(recipe, variable);
            ensure!(
                !value.contains("postern") && !value.contains("fw_env") && !value.contains("users:/d"),
                "{variable} of {recipe} is changed on a machine that is none of ours: guard the append\n{value}"
            );
        }
    }
    // Where it is wanted, it must be there.
    let mut job = Job::new(yocto, "parse-appends", "postern-qemuarm64", DISTRO, "systemd");
    job.variables = appended.iter().map(|recipe| (*recipe, vec!["SRC_URI", "do_install"])).collect();
    let answer = job.run(yocto)?;
    for (recipe, variable, text) in [
        ("base-passwd", "do_install", "users:/d"),
        ("libubootenv", "SRC_URI", "fw_env.config"),
        ("linux-raspberrypi", "SRC_URI", "postern-netfilter.cfg"),
        ("linux-yocto", "SRC_URI", "postern-watchdog.cfg"),
        ("systemd-conf", "SRC_URI", "postern-watchdog.conf"),
        ("u-boot", "SRC_URI", "postern.cfg"),
    ] {
        ensure!(answer.variable(recipe, variable).contains(text), "{variable} of {recipe} has no {text}");
    }
    Ok(())
}
