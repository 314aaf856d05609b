//! A device without a configuration gets one on its serial console.

use anyhow::{Result, ensure};
use postern_image::outside::{self, CLIENT};
use postern_image::person::Person;

use super::stage::Stage;

/// Who commissions it.
pub(super) const NAME: &str = "maria";
/// With which password.
pub(super) const PASSWORD: &str = "correct horse battery";

/// From the first login to a door that opens; a trial does not outlive a power cut.
pub(super) fn from_the_first_login(stage: &mut Stage<'_>) -> Result<()> {
    let mut device = stage.device()?;
    device.switch_on()?;
    device.shows("interfaces up")?;
    device.outside.expect_silence(CLIENT)?;
    stage.told("up without a configuration, silent");
    let mut person = device.person()?;
    person.enrols(NAME, PASSWORD)?;
    stage.told("the first account is made");
    enters_site(&mut person, &stage.sequence)?;
    person.asks("commit confirm 5m", "in force on trial")?;
    stage.told("a configuration is on trial");
    device.open(&stage.sequence)?;
    person.asks("confirm", "stands.")?;
    stage.told("its door has opened: confirmed");
    device.closes()?;

    person.asks("set door ssh open-for 45s", "> ")?;
    person.asks("commit confirm 10m", "in force on trial")?;
    device.switch_on()?;
    stage.told("a change on trial, and power is cut");
    device.shows("interfaces up")?;
    let mut person = device.person()?;
    person.logs_in(NAME, PASSWORD)?;
    let running = person.asks("show running", "ssh sequence ")?;
    ensure!(running.contains("open-for 10s"), "the trial outlived a power cut:\n{running}");
    stage.told("logged in: what was confirmed is in force");
    person.asks("reboot", "The gateway restarts.")?;
    device.shows_times("interfaces up", 2)?;
    stage.told("restarted on command");
    Ok(())
}

/// Types the site of the appliance.
fn enters_site(person: &mut Person, sequence: &[String]) -> Result<()> {
    let knocks: Vec<String> = sequence.iter().map(|knock| outside::as_in_site(knock)).collect();
    let lines = [
        "set gateway name appliance".to_owned(),
        "set gateway interfaces eth0".to_owned(),
        "set firewall backend iptables".to_owned(),
        "set door ssh ports tcp/22".to_owned(),
        "set door ssh open-for 10s".to_owned(),
        format!("set door ssh sequence {}", knocks.join(" ")),
    ];
    for line in lines {
        person.asks(&line, "> ")?;
    }
    let said = person.asks("check", "> ")?;
    ensure!(said.contains("It could run"), "the console says of the site:\n{said}");
    Ok(())
}
