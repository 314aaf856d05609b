//! BitBake, oelint-adv and kas from PyPI, in an environment of their own.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result};

use super::Yocto;
use crate::command;

/// Makes the environment, when it is not there or not what `ci/requirements.txt` says.
pub(super) fn prepare(yocto: &Yocto) -> Result<String> {
    let list = yocto.layers().join("ci/requirements.txt");
    let wanted = fs::read_to_string(&list).with_context(|| format!("cannot read {}", list.display()))?;
    let mark = yocto.folder.join("venv/requirements");
    if fs::read_to_string(&mark).is_ok_and(|text| text == wanted) {
        return Ok(said(&wanted));
    }
    let folder = yocto.folder.join("venv");
    let _ = fs::remove_dir_all(&folder);
    let mut make = Command::new("python3");
    command::output(make.args(["-m", "venv"]).arg(&folder))
        .context("no environment for Python; Debian's package python3-venv makes them")?;
    let mut install = Command::new(yocto.program("pip"));
    install.args(["install", "--quiet", "--disable-pip-version-check", "--no-deps", "-r"]).arg(&list);
    command::output(&mut install)?;
    fs::write(mark, &wanted)?;
    Ok(said(&wanted))
}

fn said(list: &str) -> String {
    let ours = ["bitbake-setup", "kas", "oelint_adv"];
    let lines = list.lines().filter(|line| ours.iter().any(|name| line.starts_with(&format!("{name}=="))));
    lines.collect::<Vec<_>>().join(", ").replace("==", " ")
}
