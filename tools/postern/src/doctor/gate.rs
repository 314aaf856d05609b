//! The gate as it stands, and whether this machine could put one up at all.

use nix::sched::{CloneFlags, unshare};
use postern_config::{Backend, Site};
use postern_core::rule::RuleSet;
use postern_hal_linux::firewall::{
    Drift, ExemptInterface, FirewallOptions, InstallError, IptablesFirewall, IptablesVariant,
    NftablesFirewall, Verification,
};

/// What is known of the gate.
pub(super) struct Gate {
    /// What differs from what the store asks for, or why that cannot be told.
    pub(super) drifts: Result<Vec<Drift>, InstallError>,
    /// Whether the same gate can be put up in a network namespace of its own, which is gone
    /// afterwards: shows what the kernel lacks without touching anything. `None`: no namespace.
    pub(super) trial: Option<Result<(), InstallError>>,
}

/// Reads the gate back, and puts one up where it does not matter.
pub(super) fn look(site: &Site, rules: &RuleSet) -> Gate {
    let drifts = verify(site, rules).map(|verification| verification.drifts().to_vec());
    // A namespace belongs to a thread; it is gone with the last one in it.
    let attempt = || unshare(CloneFlags::CLONE_NEWNET).ok().map(|()| install(site, rules));
    let trial = std::thread::scope(|scope| scope.spawn(attempt).join().ok().flatten());
    Gate { drifts, trial }
}

fn options(site: &Site) -> FirewallOptions {
    let exempt = site.exempt_interfaces.iter();
    let exempt_interfaces = exempt.filter_map(|name| ExemptInterface::try_from(name.as_str()).ok()).collect();
    FirewallOptions { exempt_interfaces, ..FirewallOptions::default() }
}

fn verify(site: &Site, rules: &RuleSet) -> Result<Verification, InstallError> {
    match site.backend {
        Backend::Iptables => IptablesFirewall::new(options(site), IptablesVariant::default())?.verify(rules),
        Backend::Nftables => NftablesFirewall::new(options(site))?.verify(rules),
    }
}

fn install(site: &Site, rules: &RuleSet) -> Result<(), InstallError> {
    match site.backend {
        Backend::Iptables => {
            IptablesFirewall::new(options(site), IptablesVariant::default())?.try_install(rules)
        }
        Backend::Nftables => NftablesFirewall::new(options(site))?.try_install(rules),
    }
}
