//! The daemon that BitBake has built, as its unit starts it: see `yocto-layer/ci/under_unit.py`.

use anyhow::{Context, Result};

use super::Yocto;
use super::build::Built;
use crate::command::{self, as_root};

/// Starts it, as root in a network namespace of its own.
pub(super) fn check(yocto: &Yocto) -> Result<String> {
    let built = Built::open(yocto, "systemd");
    let factory = built.image("postern-factory-config").join("usr/share/postern/factory.profile");
    let mut start = as_root("unshare").context("the daemon is started as its unit would")?;
    start.args(["--net", "python3"]).arg(yocto.layers().join("ci/under_unit.py"));
    start.arg(built.image("postern").join("usr/lib/systemd/system/posternd.service"));
    start.arg(built.image("postern").join("usr/sbin/posternd")).arg(factory);
    Ok(command::output(&mut start)?.trim().to_owned())
}
