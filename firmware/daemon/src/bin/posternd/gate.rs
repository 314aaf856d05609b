//! The packet filter the site asks for.

use postern_config::{Backend, Site};
use postern_core::port::{Firewall, FirewallCommand, FirewallError};
use postern_core::rule::RuleSet;
use postern_hal_linux::firewall::{
    ExemptInterface, ExemptInterfaces, FirewallOptions, IptablesFirewall, IptablesVariant, Member,
    NftablesFirewall, Verification,
};
use posternd::adoption::Held;

/// One of the two back ends, and what it was made for.
pub(crate) struct Gate {
    adapter: Adapter,
    backend: Backend,
    exempt: ExemptInterfaces,
    missed: bool,
}

enum Adapter {
    Iptables(IptablesFirewall),
    Nftables(NftablesFirewall),
}

impl Gate {
    /// Makes the adapter; the machine is not touched yet.
    pub(crate) fn new(site: &Site) -> Result<Self, String> {
        let exempt = exempt_interfaces(site)?;
        let options = FirewallOptions { exempt_interfaces: exempt.clone(), ..FirewallOptions::default() };
        let adapter = match site.backend {
            Backend::Iptables => {
                IptablesFirewall::new(options, IptablesVariant::default()).map(Adapter::Iptables)
            }
            Backend::Nftables => NftablesFirewall::new(options).map(Adapter::Nftables),
        };
        let adapter = adapter.map_err(|error| error.to_string())?;
        Ok(Self { adapter, backend: site.backend, exempt, missed: false })
    }

    /// Takes away a gate of the other back end, which an earlier configuration or a start that failed has
    /// left behind: it knows none of the grants, and would shut out who was let in.
    pub(crate) fn remove_the_others(site: &Site) {
        let mut others = Box::new(site.clone());
        others.backend = match site.backend {
            Backend::Iptables => Backend::Nftables,
            Backend::Nftables => Backend::Iptables,
        };
        // A kernel without that back end has no gate of it.
        let Ok(mut gate) = Self::new(&others) else { return };
        if gate.held().is_ok() {
            log::warn!("a gate of the other back end stands here: taking it away");
            if let Err(error) = gate.remove() {
                log::error!("it still stands, and shuts out who is let in: {error}");
            }
        }
    }

    /// Whether this drives the back end that `site` wants.
    pub(crate) fn suits(&self, site: &Site) -> bool {
        self.backend == site.backend
    }

    /// Exchanges the gate where it stands for that of `site`, which it suits; grants stay.
    ///
    /// # Errors
    /// What to do about it; the gate is as it was before.
    pub(crate) fn exchange(&mut self, site: &Site, rules: &RuleSet) -> Result<(), String> {
        let before = core::mem::replace(&mut self.exempt, exempt_interfaces(site)?);
        self.tell_exempt();
        let installed = self.install(rules);
        if installed.is_err() {
            self.exempt = before;
            self.tell_exempt();
        }
        installed
    }

    fn tell_exempt(&mut self) {
        match &mut self.adapter {
            Adapter::Iptables(firewall) => firewall.set_exempt_interfaces(self.exempt.clone()),
            Adapter::Nftables(firewall) => firewall.set_exempt_interfaces(self.exempt.clone()),
        }
    }

    /// Puts the gate up, or replaces it; the reason of a failure says what to do.
    pub(crate) fn install(&mut self, rules: &RuleSet) -> Result<(), String> {
        let result = match &mut self.adapter {
            Adapter::Iptables(firewall) => firewall.try_install(rules),
            Adapter::Nftables(firewall) => firewall.try_install(rules),
        };
        result.map_err(|error| error.to_string())
    }

    /// Grants of a process before this one are kept by the next installation (see
    /// [`Gate::held`]), instead of withdrawn.
    pub(crate) fn adopt_grants(&mut self) {
        match &mut self.adapter {
            Adapter::Iptables(firewall) => firewall.adopt_grants(),
            Adapter::Nftables(firewall) => firewall.adopt_grants(),
        }
    }

    /// What the kernel holds open.
    pub(crate) fn held(&mut self) -> Result<Vec<Held>, String> {
        let members = match &mut self.adapter {
            Adapter::Iptables(firewall) => firewall.grants(),
            Adapter::Nftables(firewall) => firewall.grants(),
        };
        let held = |member: Member| Held {
            source: member.source,
            port: member.port,
            secs_left: member.remaining_secs,
        };
        members.map(|members| members.into_iter().map(held).collect()).map_err(|error| error.to_string())
    }

    /// Reads the gate back and compares it with what `rules` want.
    pub(crate) fn verify(&mut self, rules: &RuleSet) -> Result<Verification, String> {
        let result = match &mut self.adapter {
            Adapter::Iptables(firewall) => firewall.verify(rules),
            Adapter::Nftables(firewall) => firewall.verify(rules),
        };
        result.map_err(|error| error.to_string())
    }

    /// Whether a command missed something of the gate since the last call: somebody took it away.
    pub(crate) fn take_missed(&mut self) -> bool {
        core::mem::take(&mut self.missed)
    }

    /// Takes everything of Postern out of the packet filter.
    pub(crate) fn remove(&mut self) -> Result<(), String> {
        let result = match &mut self.adapter {
            Adapter::Iptables(firewall) => firewall.remove(),
            Adapter::Nftables(firewall) => firewall.remove(),
        };
        result.map_err(|error| error.to_string())
    }
}

impl Firewall for Gate {
    fn install(&mut self, rules: &RuleSet) -> Result<(), FirewallError> {
        match &mut self.adapter {
            Adapter::Iptables(firewall) => firewall.install(rules),
            Adapter::Nftables(firewall) => firewall.install(rules),
        }
    }

    fn execute(&mut self, command: &FirewallCommand) -> Result<(), FirewallError> {
        let done = match &mut self.adapter {
            Adapter::Iptables(firewall) => firewall.execute(command),
            Adapter::Nftables(firewall) => firewall.execute(command),
        };
        self.missed |= done == Err(FirewallError::Missing);
        done
    }
}

fn exempt_interfaces(site: &Site) -> Result<ExemptInterfaces, String> {
    let exempt = site.exempt_interfaces.iter().map(|name| {
        ExemptInterface::try_from(name.as_str())
            .map_err(|error| format!("exempt interface {name:?}: {error}"))
    });
    exempt.collect()
}
