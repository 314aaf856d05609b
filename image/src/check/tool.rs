//! The host tool at a gateway, over ssh through the door, as an administrator far away uses it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use postern_config::partition::PARTITION_BYTES_MIN;
use postern_e2e::process::{Background, Output, output, success};
use postern_image::outside::APPLIANCE;
use serde_json::Value;

use super::commissioning::{NAME, PASSWORD};
use super::stage::{Device, Stage};

/// What the tool needs on this side, in a folder of the device.
pub(super) fn prepare(stage: &Stage<'_>, device: &Device) -> Result<()> {
    let folder = device.directory();
    let password = folder.join("password");
    fs::write(&password, PASSWORD)?;
    fs::set_permissions(&password, fs::Permissions::from_mode(0o600))?;
    let programs = folder.join("bin");
    fs::create_dir_all(&programs)?;
    // What ~/.ssh/config says elsewhere.
    let key = stage.options.key.display();
    let script = format!(
        "#!/bin/sh\nexec /usr/bin/ssh -i {key} -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null \\\n    \
         -o BatchMode=yes -o ConnectTimeout=60 -o LogLevel=ERROR \"$@\"\n"
    );
    let ssh = programs.join("ssh");
    fs::write(&ssh, script)?;
    Ok(fs::set_permissions(&ssh, fs::Permissions::from_mode(0o755))?)
}

/// The tool with these words, at the gateway. The door is open.
fn at_gateway(stage: &Stage<'_>, device: &Device, words: &[&str]) -> Result<Command> {
    device.open(&stage.sequence)?;
    let folder = device.directory();
    let tool = stage.options.tool.to_str().context("the path of the tool is not UTF-8")?;
    let mut command = device.outside.namespace.command(tool)?;
    command.args(["--to", &format!("ssh:service@{APPLIANCE}"), "--account", NAME, "--timeout", "120"]);
    command.arg("--password-file").arg(folder.join("password")).args(words).arg("--json");
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{}:{path}", folder.join("bin").display()));
    Ok(command)
}

/// Runs it to its end, whatever that is.
pub(super) fn try_at(stage: &Stage<'_>, device: &Device, words: &[&str]) -> Result<Output> {
    output(&mut at_gateway(stage, device, words)?)
}

/// Runs it in the background.
pub(super) fn start_at(stage: &Stage<'_>, device: &Device, words: &[&str]) -> Result<Background> {
    Background::start("postern", &mut at_gateway(stage, device, words)?)
}

/// Runs it, and reads the object it prints.
pub(super) fn ask(stage: &Stage<'_>, device: &Device, words: &[&str]) -> Result<Value> {
    let said = try_at(stage, device, words)?;
    ensure!(said.status.success(), "{words:?}: {}{}", said.stdout, said.stderr);
    serde_json::from_str(&said.stdout).with_context(|| format!("not JSON: {}", said.stdout))
}

/// Runs it; it must be refused with this code.
pub(super) fn is_refused(stage: &Stage<'_>, device: &Device, words: &[&str], code: &str) -> Result<()> {
    let said = try_at(stage, device, words)?;
    let object: Value = serde_json::from_str(&said.stdout)
        .with_context(|| format!("not JSON: {}{}", said.stdout, said.stderr))?;
    ensure!(object["error"]["code"] == code, "{words:?} should be refused as {code}, but: {object:#}");
    Ok(())
}

/// Runs it on this side alone.
pub(super) fn here(stage: &Stage<'_>, words: &[&str]) -> Result<()> {
    success(Command::new(&stage.options.tool).args(words)).map(drop)
}

/// The id of the device, out of its config partition.
pub(super) fn device_id(stage: &Stage<'_>, device: &Device) -> Result<String> {
    let copy = device.directory().join("config.img");
    fs::write(&copy, device.medium.read("config", 0, PARTITION_BYTES_MIN)?)?;
    let target = format!("file:{}", copy.display());
    let said = success(Command::new(&stage.options.tool).args(["--to", &target, "status", "--json"]))?;
    let object: Value = serde_json::from_str(&said).with_context(|| format!("not JSON: {said}"))?;
    object["device"].as_str().map(str::to_owned).with_context(|| format!("no device id in {said}"))
}
