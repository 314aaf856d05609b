//! From power-on to a door that has opened and closed.

use anyhow::{Context, Result, ensure};
use postern_config::slots::Slot;
use postern_image::outside::{APPLIANCE, CLIENT, STRANGER};

use super::stage::{Device, Stage, uptime};

/// Closed before an interface is up, silent, open for who knocked and nobody else, closed again.
pub(super) fn opens_and_closes(stage: &mut Stage<'_>) -> Result<()> {
    let mut device = stage.commissioned()?;
    device.switch_on()?;
    stage.told("switched on");
    let closed = device.shows("postern: closed, no interface is up yet (lo )")?;
    stage.told(&closed);
    let gate_up = device.shows("postern: posternd: gate up")?;
    stage.told(&gate_up);
    stage.told(&device.shows("postern: interfaces up")?);
    expect_order(&device.machine()?.shown(), &["postern: closed", "gate up", "interfaces up"])?;
    stage.figure("shut, kernel's clock", uptime(&closed)?, "s", None)?;
    let most = f64::from(stage.options.board.budgets.gate_up_s);
    stage.figure("gate up, kernel's clock", uptime(&gate_up)?, "s", Some(most))?;

    device.outside.expect_silence(CLIENT)?;
    let sent: Vec<String> = device.outside.sent().into_iter().filter(|line| line.contains("IP ")).collect();
    ensure!(sent.is_empty(), "nobody knocked, but the appliance sent:\n{}", sent.join("\n"));
    stage.told("SSH says nothing; not one IPv4 packet has left the appliance since power-on");

    let greeting = device.open(&stage.sequence)?;
    stage.told(&format!("a stock knock opened SSH: {greeting}"));
    device.outside.expect_silence(STRANGER)?;
    stage.told("and for nobody else");
    figures(stage, &device)?;

    device.closes()?;
    stage.told("closed again by the kernel");
    device.is_healthy(Slot::A)?;
    stage.told("healthy, and its attempts are given back");
    Ok(())
}

/// Logs in and reads what every process takes.
fn figures(stage: &mut Stage<'_>, device: &Device) -> Result<()> {
    let key = stage.options.key.to_str().context("the path of the key is not UTF-8")?;
    let target = format!("service@{APPLIANCE}");
    let mut words = vec!["-i", key, "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"];
    words.extend(["-o", "BatchMode=yes", "-o", "ConnectTimeout=30", "-o", "LogLevel=ERROR", &target]);
    words.push("for p in /proc/[0-9]*; do sed -n 's/^Name:.//p; s/^VmRSS:[^0-9]*//p' $p/status; done");
    let said = device.outside.namespace.run("ssh", &words)?;
    stage.told("logged in with the key");
    let lines: Vec<&str> = said.lines().collect();
    let most = f64::from(stage.options.board.budgets.daemon_resident_kib);
    let mut seen = false;
    for pair in lines.windows(2) {
        let Some(resident) = pair[1].strip_suffix(" kB") else { continue };
        let resident = resident.parse().with_context(|| format!("`{resident}` KiB of {}", pair[0]))?;
        seen |= pair[0] == "posternd";
        // Names are cut after 15 octets (proc(5)). What reads this is there only now, as is its login.
        let budget = (pair[0] == "posternd").then_some(most);
        if pair[0] != "sed" {
            stage.figure(&format!("{}, resident", pair[0]), resident, "KiB", budget)?;
        }
    }
    ensure!(seen, "posternd is not among the processes:\n{said}");
    Ok(())
}

/// Checks that `texts` were shown in this order.
fn expect_order(shown: &str, texts: &[&str]) -> Result<()> {
    let mut rest = shown;
    for text in texts {
        let (_, behind) =
            rest.split_once(text).with_context(|| format!("`{text}` came too early, or never"))?;
        rest = behind;
    }
    Ok(())
}
