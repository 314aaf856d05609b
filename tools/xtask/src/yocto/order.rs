//! The order of start: shut, then the gate, then the network, then the console and the slot's confirmation. The
//! reference image has it in its inittab and scripts; here it must follow from the units and from the numbers of the
//! init scripts.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};

use super::Yocto;
use super::bitbake::{DISTRO, Job};
use super::build::Built;

/// A step, as the reference image's inittab calls its script, our unit, our init script with its recipe and package.
const STEPS: [(&str, &str, &str, &str, &str); 4] = [
    ("start", "postern-closed.service", "postern-closed", "postern", "postern-closed"),
    ("posternd", "posternd.service", "posternd", "postern", "posternd"),
    ("console", "postern-console@.service", "postern-console", "postern", "postern-console"),
    ("healthy", "postern-confirm.service", "postern-confirm", "postern-boot", "postern-boot"),
];

/// What networks wait for, with systemd.
const NETWORK: &str = "network-pre.target";

/// When interfaces come up with sysvinit: OE-Core's init-ifupdown is linked as S01 in the run levels behind S.
const NETWORKING: (char, u32) = ('2', 1);

pub(super) fn check(yocto: &Yocto) -> Result<String> {
    let image = of_image(yocto)?;
    // (before, after), of what the reference image keeps.
    let wanted = [
        ("start", "posternd"),
        ("start", "network"),
        ("posternd", "network"),
        ("posternd", "console"),
        ("posternd", "healthy"),
    ];
    for (before, after) in wanted {
        let place = |name: &str| {
            image.iter().position(|one| one == name).with_context(|| format!("no {name} in the inittab"))
        };
        ensure!(
            place(before)? < place(after)?,
            "the reference image does not start {before} before {after} any more"
        );
    }
    let edges = unit_edges(yocto)?;
    let numbers = numbers(yocto)?;
    for (before, after) in wanted {
        let unit = |name: &str| STEPS.iter().find(|step| step.0 == name).map_or(NETWORK, |step| step.1);
        ensure!(
            reaches(&edges, unit(before), unit(after)),
            "no order of the units says that {} comes before {}",
            unit(before),
            unit(after)
        );
        let number = |name: &str| numbers.get(name).copied().unwrap_or(NETWORKING);
        ensure!(
            number(before) < number(after),
            "with sysvinit {before} is started at {:?}, not before {after} at {:?}",
            number(before),
            number(after)
        );
    }
    network_waits(yocto)?;
    Ok(format!("{} pairs of steps are in the reference image's order with both init managers", wanted.len()))
}

/// Scripts in the order in which the reference image starts them.
fn of_image(yocto: &Yocto) -> Result<Vec<String>> {
    let inittab = yocto.read("image/files/root/etc/inittab")?;
    let names = inittab.lines().filter(|line| !line.starts_with('#'));
    Ok(names.filter_map(|line| line.rsplit_once("/etc/init.d/")).map(|(_, name)| name.to_owned()).collect())
}

/// For each unit those that come after it.
fn unit_edges(yocto: &Yocto) -> Result<BTreeMap<String, Vec<String>>> {
    let built = Built::open(yocto, "systemd");
    let mut edges: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (_, unit, _, recipe, _) in STEPS {
        let text = built.read(recipe, &format!("usr/lib/systemd/system/{unit}"))?;
        let listed = |name: &str| -> Vec<String> {
            let lists = super::agree::unit_values(&text, name);
            lists.iter().flat_map(|list| list.split_whitespace()).map(str::to_owned).collect()
        };
        edges.entry(unit.to_owned()).or_default().extend(listed("Before"));
        for before in listed("After") {
            edges.entry(before).or_default().push(unit.to_owned());
        }
    }
    Ok(edges)
}

fn reaches(edges: &BTreeMap<String, Vec<String>>, from: &str, to: &str) -> bool {
    let mut seen = vec![from.to_owned()];
    let mut index = 0;
    while let Some(unit) = seen.get(index).cloned() {
        if unit == to {
            return true;
        }
        for next in edges.get(&unit).into_iter().flatten() {
            if !seen.contains(next) {
                seen.push(next.clone());
            }
        }
        index += 1;
    }
    false
}

/// Run level and number at which each step is started with sysvinit; S comes first.
fn numbers(yocto: &Yocto) -> Result<BTreeMap<&'static str, (char, u32)>> {
    let mut job = Job::new(yocto, "order", "postern-qemuarm64", DISTRO, "sysvinit");
    job.variables = vec![
        (
            "postern",
            vec![
                "INITSCRIPT_PARAMS:postern-closed",
                "INITSCRIPT_PARAMS:posternd",
                "INITSCRIPT_PARAMS:postern-console",
            ],
        ),
        ("postern-boot", vec!["INITSCRIPT_PARAMS"]),
    ];
    let answer = job.run(yocto)?;
    let mut numbers = BTreeMap::new();
    for (step, _, _, recipe, package) in STEPS {
        let own = format!("INITSCRIPT_PARAMS:{package}");
        let parameters = [answer.variable(recipe, &own), answer.variable(recipe, "INITSCRIPT_PARAMS")];
        let parameters = parameters.into_iter().find(|text| !text.is_empty());
        let words: Vec<&str> =
            parameters.with_context(|| format!("no order of {package}"))?.split_whitespace().collect();
        let ["start", number, level, ..] = words[..] else {
            anyhow::bail!("{package} is not started: {words:?}");
        };
        // The first of the levels will do: a level without it has no network either.
        let level = level.replace('S', "0").chars().next().unwrap_or('9');
        numbers.insert(step, (level, number.parse().with_context(|| format!("{package}: {number}"))?));
    }
    Ok(numbers)
}

/// Networks wait for the gate only when somebody asks for the target they wait for; and with sysvinit the script must
/// not return before the gate is there.
fn network_waits(yocto: &Yocto) -> Result<()> {
    let built = Built::open(yocto, "systemd");
    for unit in ["postern-closed.service", "posternd.service"] {
        let text = built.read("postern", &format!("usr/lib/systemd/system/{unit}"))?;
        ensure!(
            super::agree::unit_values(&text, "Wants").iter().any(|list| list == NETWORK),
            "{unit} does not want {NETWORK}"
        );
        ensure!(text.contains("DefaultDependencies=no"), "{unit} would wait for the whole system");
    }
    let script = Built::open(yocto, "sysvinit").read("postern", "etc/init.d/posternd")?;
    ensure!(
        script.contains("until [ -S \"$CONTROL\" ]"),
        "the init script of posternd does not wait for the gate"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_is_followed_over_several_units() {
        let edges = |list: &[(&str, &str)]| {
            let mut edges: BTreeMap<String, Vec<String>> = BTreeMap::new();
            for (from, to) in list {
                edges.entry((*from).to_owned()).or_default().push((*to).to_owned());
            }
            edges
        };
        let some = edges(&[("a", "b"), ("b", "c"), ("c", "a")]);
        assert!(reaches(&some, "a", "c") && reaches(&some, "c", "b"));
        assert!(!reaches(&edges(&[("a", "b")]), "b", "a"));
    }
}
