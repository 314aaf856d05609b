//! The daemon that BitBake has built, as its unit and its init script start it: see `yocto-layer/ci/under_unit.py` and
//! `yocto-layer/ci/under_init.sh`. As root, in namespaces of their own.

use std::path::PathBuf;

use anyhow::{Context, Result};

use super::Yocto;
use super::build::Built;
use crate::command::{self, as_root};

/// Starts it with the capabilities that its unit leaves it.
pub(super) fn under_unit(yocto: &Yocto) -> Result<String> {
    let built = Built::open(yocto, "systemd");
    let mut start = as_root("unshare").context("the daemon is started as its unit would")?;
    start.args(["--net", "python3"]).arg(yocto.layers().join("ci/under_unit.py"));
    start.arg(built.image("postern").join("usr/lib/systemd/system/posternd.service"));
    start.arg(built.image("postern").join("usr/sbin/posternd")).arg(factory(yocto));
    Ok(command::output(&mut start)?.trim().to_owned())
}

/// Runs the scripts: shut, gate, the daemon killed and back, ended, still shut.
pub(super) fn under_init(yocto: &Yocto) -> Result<String> {
    let mut start = as_root("unshare").context("the init scripts are run")?;
    start.args(["--net", "--mount", "--pid", "--fork", "sh"]).arg(yocto.layers().join("ci/under_init.sh"));
    start.arg(Built::open(yocto, "sysvinit").image("postern")).arg(factory(yocto));
    let said = command::output(&mut start)?;
    Ok(said.lines().last().unwrap_or_default().to_owned())
}

fn factory(yocto: &Yocto) -> PathBuf {
    Built::open(yocto, "systemd").image("postern-factory-config").join("usr/share/postern/factory.profile")
}
