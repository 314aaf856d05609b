//! A scan that finds nothing, and clients that get in with one datagram: the stock fwknop client and our own.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use postern_e2e::process::success;
use postern_image::outside::{APPLIANCE, CLIENT, STRANGER};

use super::stage::{Device, Stage};
use super::tool;

/// Every TCP port is scanned; then one datagram opens the door for who sent it.
pub(super) fn scanned_and_opened(stage: &mut Stage<'_>) -> Result<()> {
    let mut device = stage.commissioned()?;
    device.switch_on()?;
    device.shows("interfaces up")?;
    let (stranger, target) = (STRANGER.to_string(), APPLIANCE.to_string());
    let fast =
        ["-n", "-Pn", "-sS", "-p1-65535", "--max-retries", "0", "--min-rate", "4000", "-T5", "-oG", "-"];
    let words: Vec<&str> =
        fast.into_iter().chain(["-e", "tap0", "-S", stranger.as_str(), target.as_str()]).collect();
    let said = device.outside.namespace.run("nmap", &words)?;
    ensure!(!said.contains("/open/") && !said.contains("/closed/"), "nmap found something:\n{said}");
    device.outside.expect_silence(STRANGER)?;
    device.outside.expect_silence(CLIENT)?;
    stage.told("65535 ports scanned: nothing answers");

    let file = device.directory().join("fwknoprc");
    fs::write(&file, stanza(&stage.options.site)?)?;
    let mut client = device.outside.namespace.command("fwknop")?;
    client.arg("--rc-file").arg(&file).args(["-n", "gate", "--no-save-args"]);
    success(&mut client)?;
    let greeting = device.opens()?;
    stage.told(&format!("the stock fwknop client opened SSH: {greeting}"));
    device.outside.expect_silence(STRANGER)?;
    device.closes()?;
    stage.told("for nobody else, and closed again");
    native(stage, &device)
}

/// `postern knock`, with a profile as a person has one.
fn native(stage: &Stage<'_>, device: &Device) -> Result<()> {
    let key = device.directory().join("native.key");
    fs::copy(stage.options.site.with_file_name("native.key"), &key)?;
    let profiles = device.directory().join("clients.toml");
    let id = tool::device_id(stage, device)?;
    fs::write(
        &profiles,
        format!(
            "schema = 1\n\n[[profile]]\nname = \"gate\"\ngateway = \"{APPLIANCE}\"\ndoor = \"ssh\"\n\
             device = \"{id}\"\nkey_file = \"native.key\"\nprobe = \"tcp/22\"\n"
        ),
    )?;
    for file in [&key, &profiles] {
        fs::set_permissions(file, fs::Permissions::from_mode(0o600))?;
    }
    let program = stage.options.tool.to_str().context("the path of the tool is not UTF-8")?;
    let mut knock = device.outside.namespace.command(program)?;
    knock.args(["knock", "gate", "--probe", "--timeout", "5000", "--json", "--profiles"]).arg(&profiles);
    // Where it keeps its counters.
    let said = success(knock.env("XDG_STATE_HOME", device.directory()))?;
    ensure!(said.contains("\"outcome\": \"opened\""), "`postern knock` says:\n{said}");
    device.outside.expect_silence(STRANGER)?;
    device.closes()?;
    stage.told("`postern knock` opened SSH with one datagram, for nobody else, and it closed again");
    Ok(())
}

/// What the client wants to know; the keys lie beside the site.
fn stanza(site: &Path) -> Result<String> {
    let key = |name: &str| {
        let path = site.with_file_name(name);
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        anyhow::Ok(text.trim().to_owned())
    };
    Ok(format!(
        "[gate]\nSPA_SERVER {APPLIANCE}\nALLOW_IP {CLIENT}\nACCESS tcp/22\nKEY_BASE64 {}\nHMAC_KEY_BASE64 {}\n\
         USE_HMAC Y\nHMAC_DIGEST_TYPE sha256\n",
        key("fwknop.key")?,
        key("fwknop.mac")?
    ))
}
