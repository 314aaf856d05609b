//! Whether a configuration may be put in force.

use postern_config::secret::{Secret, StoredSecret};
use postern_config::site::StoredAccount;
use postern_config::{Role, Site, held};
use postern_console::rpc::request::NewAccount;
use postern_console::rpc::{InvalidConfig, Refusal};
use postern_console::scram::ITERATIONS_MIN;
use postern_core::rule::{RuleSet, is_name};
use postern_core::spa::key::DeviceId;

/// Proves that `site` can be run after `running`, and makes its rules.
///
/// # Errors
/// [`Refusal::Invalid`].
pub fn validate(site: &Site, running: &Site) -> Result<RuleSet, Refusal> {
    check(site, running).map_err(Refusal::Invalid)
}

fn check(site: &Site, running: &Site) -> Result<RuleSet, InvalidConfig> {
    if site.interfaces.is_empty() {
        return Err(InvalidConfig::Interfaces);
    }
    if !held::is_complete(site) {
        return Err(InvalidConfig::SecretNotHeld);
    }
    let has_admin = |site: &Site| site.accounts.iter().any(|account| account.role == Role::Admin);
    if has_admin(running) && !has_admin(site) {
        return Err(InvalidConfig::NoAdmin);
    }
    if !is_name(&site.name) || !accounts_are_well_formed(site) || !keys_are_well_formed(site) {
        return Err(InvalidConfig::Malformed);
    }
    // Whether keys can be honoured does not depend on the device.
    if site.spa_keys(DeviceId([0; 16]), |_| 0).is_err() {
        return Err(InvalidConfig::Malformed);
    }
    site.rules().map_err(|_| InvalidConfig::Rules)
}

/// Names, and a door for every bit.
fn keys_are_well_formed(site: &Site) -> bool {
    let beyond = u32::try_from(site.keys.len()).ok().and_then(|keys| u64::MAX.checked_shl(keys)).unwrap_or(0);
    let named = site.keys.iter().enumerate().all(|(position, key)| {
        let earlier = site.keys.get(..position).unwrap_or_default();
        let person = key.person.is_empty() || is_name(&key.person);
        is_name(&key.name) && person && earlier.iter().all(|other| other.name != key.name)
    });
    named && site.doors.iter().all(|door| door.keys & beyond == 0)
}

fn accounts_are_well_formed(site: &Site) -> bool {
    let printable = |octet: u8| octet == b'\n' || (b' '..=b'~').contains(&octet);
    let idle = (60..=3600).contains(&site.console.idle_lock_secs);
    let well_formed = site.accounts.iter().enumerate().all(|(position, account)| {
        let earlier = site.accounts.get(..position).unwrap_or_default();
        let is_key = |stored: &StoredSecret| stored.known().is_some_and(|secret| secret.expose().len() == 32);
        is_name(&account.name)
            && account.iterations >= ITERATIONS_MIN
            && is_key(&account.stored_key)
            && is_key(&account.server_key)
            && earlier.iter().all(|other| other.name != account.name)
    });
    idle && well_formed && site.console.banner.bytes().all(printable)
}

/// The account as it is stored.
pub(super) fn stored_account(account: &NewAccount, role: Role) -> Result<StoredAccount, Refusal> {
    if !is_name(&account.name) || account.iterations < ITERATIONS_MIN {
        return Err(Refusal::Malformed);
    }
    let secret =
        |octets: &[u8; 32]| Secret::new(octets).map(StoredSecret::Known).map_err(|_| Refusal::Malformed);
    Ok(StoredAccount {
        name: account.name.clone(),
        role,
        salt: account.salt,
        iterations: account.iterations,
        stored_key: secret(&account.stored_key)?,
        server_key: secret(&account.server_key)?,
    })
}
