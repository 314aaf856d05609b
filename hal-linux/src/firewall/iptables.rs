//! The gate of iptables, ip6tables and kernel IP sets.

use std::collections::BTreeSet;
use std::time::Duration;

use nix::libc;
use postern_core::knock::Transport;
use postern_core::network::Network;
use postern_core::port::{Firewall, FirewallCommand, FirewallError};
use postern_core::rule::{Reach, RuleSet};

use super::conntrack::{Connections, Whose};
use super::error::{IPSET_OPTIONS, NETWORK_SET_OPTIONS, firewall_error};
use super::ipset::IpSets;
use super::iptables_rules::{Names, Rules};
use super::program::Program;
use super::{
    Drift, ExemptInterfaces, Family, FirewallOptions, Grants, InstallError, Kind, Member, Verification,
};
use crate::netlink::NetlinkError;

/// Times an installation is tried when INPUT was changed by somebody else between reading it and
/// changing it.
const TRIES: u32 = 3;

/// iptables-nft frees the rules it deleted, and with them the sets they used, a little later.
const RELEASE_TRIES: u32 = 100;
const RELEASE_PAUSE: Duration = Duration::from_millis(20);

/// Which iptables is called.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IptablesVariant {
    /// What the machine calls `iptables`: the one that the site's other rules are made with.
    #[default]
    Installed,
    /// `iptables-legacy`.
    Legacy,
    /// `iptables-nft`.
    Nft,
}

impl IptablesVariant {
    const fn suffix(self) -> &'static str {
        match self {
            IptablesVariant::Installed => "",
            IptablesVariant::Legacy => "-legacy",
            IptablesVariant::Nft => "-nft",
        }
    }
}

/// The gate of iptables, ip6tables and kernel IP sets. Works on the network namespace it was made
/// in, and must install from the same.
#[derive(Debug)]
pub struct IptablesFirewall {
    options: FirewallOptions,
    variant: IptablesVariant,
    names: Box<Names>,
    sets: IpSets,
    connections: Connections,
    /// What becomes of grants at the next installation.
    grants: Grants,
    /// How wide grants of networks are.
    reach: Reach,
}

/// The programs of one family.
struct Tools {
    family: Family,
    iptables: Program,
    restore: Program,
}

impl IptablesFirewall {
    /// Makes the back end. Changes nothing yet and needs no privilege.
    ///
    /// # Errors
    /// [`InstallError::KernelLacks`] when the kernel has no netfilter netlink.
    pub fn new(options: FirewallOptions, variant: IptablesVariant) -> Result<Self, InstallError> {
        let sets = IpSets::open().map_err(while_doing("open a netlink socket to netfilter"))?;
        let connections = Connections::open().map_err(while_doing("open a netlink socket"))?;
        let names = Box::new(Names::new(&options));
        Ok(Self {
            names,
            options,
            variant,
            sets,
            connections,
            grants: Grants::Unknown,
            reach: Reach::SOURCE_ALONE,
        })
    }

    /// Other interfaces are exempt, from the next installation on.
    pub fn set_exempt_interfaces(&mut self, exempt: ExemptInterfaces) {
        self.options.exempt_interfaces = exempt;
    }

    /// Puts the gate up, or replaces it, atomically for each family. Protected ports are exchanged
    /// first, so that none is open for a moment; when the rules cannot be put in, they are
    /// exchanged back.
    ///
    /// The first time in a process all grants are withdrawn, as nobody accounts for them, unless
    /// they were adopted; later they stay.
    ///
    /// # Errors
    /// [`InstallError`] with the program's own words; the gate is as it was before.
    pub fn try_install(&mut self, rules: &RuleSet) -> Result<(), InstallError> {
        self.sets.shake_hands().map_err(while_doing("use IP sets"))?;
        self.connections.require_for(rules)?;
        let families = Family::of_this_kernel();
        let tools: Vec<Tools> =
            families.iter().map(|&family| self.tools(family)).collect::<Result<_, _>>()?;
        self.create_sets(families, rules)?;
        self.fill_next(rules)?;
        self.exchange_ports()?;
        let installed = tools.iter().try_for_each(|tools| self.install_rules(tools, rules));
        if installed.is_err() {
            // What was in force is in the other set now. This did work a moment ago.
            self.exchange_ports()?;
        }
        // What stays behind is in no rule, and the next installation empties it.
        if let Err(error) = self.drop_next() {
            log::warn!("{error}");
        }
        installed?;
        self.reach = rules.reach();
        self.withdraw_other_widths(families, rules)?;
        if self.grants != Grants::Own {
            self.connections.cut_everybodys(rules);
        }
        self.grants = Grants::Own;
        Ok(())
    }

    /// Grants of networks that are as wide as the rules in force say are all there are.
    fn withdraw_other_widths(&mut self, families: &[Family], rules: &RuleSet) -> Result<(), InstallError> {
        for &family in families {
            let name = self.names.grants(family, Kind::Network);
            let Some(width) = family.width(rules) else {
                // What stays behind is in no rule, and the next installation withdraws it.
                if let Err(error) = destroy(&mut self.sets, name) {
                    log::warn!("{error}");
                }
                continue;
            };
            let members = self.sets.grants(name).map_err(while_doing("list the grants of networks"))?;
            for Member { source, port, .. } in members.iter().filter(|member| member.source.prefix != width) {
                let closed = self.sets.close_ports((name, Kind::Network), *source, &[*port]);
                closed.map_err(while_doing("withdraw a grant of a network of another width"))?;
            }
        }
        Ok(())
    }

    /// Takes away everything that Postern made, grants too. The protected ports are open
    /// afterwards, unless the site's own rules close them.
    ///
    /// # Errors
    /// [`InstallError`]; some of it may be gone. It can be called again.
    pub fn remove(&mut self) -> Result<(), InstallError> {
        self.sets.shake_hands().map_err(while_doing("use IP sets"))?;
        for &family in Family::of_this_kernel() {
            let tools = self.tools(family)?;
            let listing = tools.list()?;
            let nothing = RuleSet::empty();
            let rules = Rules::new(&self.names, &self.options, family, &nothing);
            if rules.behind().is_there(&listing) {
                tools.restore(&rules.behind().to_lead(&tools.list_nat()?))?;
            }
            if let Some(script) = rules.to_remove(&listing) {
                tools.restore(&script)?;
            }
        }
        for name in self.names.sets() {
            destroy(&mut self.sets, name)?;
        }
        self.grants = Grants::Unknown;
        Ok(())
    }

    /// The grants of a process before this one are kept by the first installation, to be accounted
    /// for: whoever calls this lists them then, and closes what it cannot account for. Grants for one
    /// connection are withdrawn all the same.
    pub fn adopt_grants(&mut self) {
        if self.grants == Grants::Unknown {
            self.grants = Grants::Adopted;
        }
    }

    /// What the kernel holds open now.
    ///
    /// # Errors
    /// [`InstallError::Kernel`] with [`FirewallError::Missing`] when there is no gate.
    pub fn grants(&mut self) -> Result<Vec<Member>, InstallError> {
        let mut members = Vec::new();
        for &family in Family::of_this_kernel() {
            for kind in [Kind::Address, Kind::Once, Kind::Network] {
                match self.sets.grants(self.names.grants(family, kind)) {
                    // There is none unless a door asks for it.
                    Err(NetlinkError::Refused(libc::ENOENT)) if kind == Kind::Network => {}
                    listed => members.extend(listed.map_err(while_doing("list the grants"))?),
                }
            }
        }
        Ok(members)
    }

    /// Reads the gate back and compares it with what `rules` want. Starts one process for each
    /// family, some milliseconds.
    ///
    /// # Errors
    /// [`InstallError`] when it cannot be read.
    pub fn verify(&mut self, rules: &RuleSet) -> Result<Verification, InstallError> {
        let mut verification = Verification::default();
        let mut lists = Vec::new();
        for &family in Family::of_this_kernel() {
            let tools = self.tools(family)?;
            let listing = tools.list_soon()?;
            let wanted = Rules::new(&self.names, &self.options, family, rules);
            wanted.verify(&listing, family, &mut verification);
            if wanted.behind().is_wanted() {
                wanted.behind().verify_lead(&tools.list_nat_soon()?, family, &mut verification);
            }
            let wide = family.width(rules).map(|_| Kind::Network);
            let kinds = [Kind::Address, Kind::Once].into_iter().chain(wide);
            lists.extend(kinds.map(|kind| self.names.grants(family, kind).to_owned()));
        }
        for name in lists {
            match self.sets.grants(&name) {
                Err(NetlinkError::Refused(libc::ENOENT)) => verification.note(Drift::SetMissing(name)),
                other => drop(other.map_err(while_doing("list the grants"))?),
            }
        }
        let (mut missing, mut surplus) = (0, 0);
        for (transport, name) in [(Transport::Tcp, &self.names.tcp), (Transport::Udp, &self.names.udp)] {
            match self.sets.ports(name) {
                Err(NetlinkError::Refused(libc::ENOENT)) => {
                    verification.note(Drift::SetMissing(name.clone()));
                }
                listed => {
                    let listed = listed.map_err(while_doing("list the protected ports"))?;
                    let listed: BTreeSet<u16> = listed.into_iter().collect();
                    let wanted: BTreeSet<u16> = ports_of(rules, transport).collect();
                    missing += wanted.difference(&listed).count();
                    surplus += listed.difference(&wanted).count();
                }
            }
        }
        verification.note_ports(missing, surplus);
        Ok(verification)
    }

    fn tools(&self, family: Family) -> Result<Tools, InstallError> {
        let (base, suffix) = match family {
            Family::V4 => ("iptables", self.variant.suffix()),
            Family::V6 => ("ip6tables", self.variant.suffix()),
        };
        let directories = &self.options.program_directories;
        Ok(Tools {
            family,
            iptables: Program::find(&format!("{base}{suffix}"), directories)?,
            restore: Program::find(&format!("{base}{suffix}-restore"), directories)?,
        })
    }

    /// A kernel without sets of networks is asked for none unless a door needs it.
    fn create_sets(&mut self, families: &[Family], rules: &RuleSet) -> Result<(), InstallError> {
        for &family in families {
            let wide = family.width(rules).map(|_| Kind::Network);
            for kind in [Kind::Address, Kind::Once].into_iter().chain(wide) {
                let name = self.names.grants(family, kind);
                let created = self.sets.create_grants(name, family, kind, self.options.members_max);
                created.map_err(|error| match kind {
                    Kind::Address | Kind::Once => while_doing("create a set of grants (hash:ip,port)")(error),
                    Kind::Network => {
                        let doing = "create a set of grants of networks (hash:net,port; `prefix` of a door)";
                        InstallError::of_netlink(doing, NETWORK_SET_OPTIONS, error)
                    }
                })?;
                if self.grants.are_withdrawn(kind) {
                    self.sets.flush(name).map_err(while_doing("empty a set of grants"))?;
                }
            }
        }
        for name in [&self.names.tcp, &self.names.udp] {
            let created = self.sets.create_ports(name);
            created.map_err(while_doing("create the set of protected ports (bitmap:port)"))?;
        }
        Ok(())
    }

    fn fill_next(&mut self, rules: &RuleSet) -> Result<(), InstallError> {
        for (transport, name) in
            [(Transport::Tcp, &self.names.tcp_next), (Transport::Udp, &self.names.udp_next)]
        {
            // One that a killed process left behind may have members.
            let filled = self
                .sets
                .create_ports(name)
                .and_then(|()| self.sets.flush(name))
                .and_then(|()| self.sets.add_ports(name, ports_of(rules, transport)));
            filled.map_err(while_doing("fill the set of protected ports (bitmap:port)"))?;
        }
        Ok(())
    }

    /// Both or none: the kernel refuses to exchange a set that somebody is listing.
    fn exchange_ports(&mut self) -> Result<(), InstallError> {
        let Names { tcp, tcp_next, udp, udp_next, .. } = &*self.names;
        let failed = while_doing("exchange the set of protected ports");
        self.sets.swap(tcp, tcp_next).map_err(&failed)?;
        let exchanged = self.sets.swap(udp, udp_next);
        if exchanged.is_err() {
            self.sets.swap(tcp, tcp_next).map_err(&failed)?;
        }
        exchanged.map_err(failed)
    }

    fn drop_next(&mut self) -> Result<(), InstallError> {
        [&self.names.tcp_next, &self.names.udp_next]
            .into_iter()
            .try_for_each(|name| destroy(&mut self.sets, name))
    }

    fn install_rules(&self, tools: &Tools, doors: &RuleSet) -> Result<(), InstallError> {
        let rules = Rules::new(&self.names, &self.options, tools.family, doors);
        let behind = rules.behind();
        if !behind.is_wanted() {
            // What led somewhere leads nowhere before the mark of it is gone.
            if behind.is_there(&tools.list()?) {
                repeatedly(|| tools.list_nat(), |nat| tools.restore(&behind.to_lead(nat)))?;
            }
            return repeatedly(|| tools.list(), |listing| tools.restore(&rules.to_install(listing)));
        }
        // A kernel without the table is noticed before anything is changed.
        tools.list_nat()?;
        repeatedly(|| tools.list(), |listing| tools.restore(&rules.to_install(listing)))?;
        repeatedly(|| tools.list_nat(), |nat| tools.restore(&behind.to_lead(nat)))
    }
}

impl Tools {
    fn list(&self) -> Result<String, InstallError> {
        self.iptables.run(&["-w", "-S"], "")
    }

    /// Does not wait for another program's lock, nor long for anything: who only looks does not hold up
    /// packets, and looks again soon.
    fn list_soon(&self) -> Result<String, InstallError> {
        self.iptables.look(&["-S"])
    }

    /// The same of the table nat.
    fn list_nat_soon(&self) -> Result<String, InstallError> {
        self.iptables.look(&["-t", "nat", "-S"])
    }

    fn list_nat(&self) -> Result<String, InstallError> {
        self.iptables.run(&["-w", "-t", "nat", "-S"], "")
    }

    fn restore(&self, script: &str) -> Result<(), InstallError> {
        self.restore.run(&["--noflush", "-w"], script).map(drop)
    }
}

/// Changes what was listed; again, when somebody else changed it in between.
fn repeatedly(
    list: impl Fn() -> Result<String, InstallError>,
    change: impl Fn(&str) -> Result<(), InstallError>,
) -> Result<(), InstallError> {
    let mut tries = 1;
    loop {
        let listing = list()?;
        match change(&listing) {
            Err(InstallError::ProgramFailed { .. }) if tries < TRIES && list()? != listing => tries += 1,
            other => return other,
        }
    }
}

impl Firewall for IptablesFirewall {
    fn install(&mut self, rules: &RuleSet) -> Result<(), FirewallError> {
        self.try_install(rules).map_err(|error| {
            log::error!("{error}");
            error.to_firewall_error()
        })
    }

    fn execute(&mut self, command: &FirewallCommand) -> Result<(), FirewallError> {
        let done = match command {
            FirewallCommand::Open { source, ports, once, .. } if !ports.is_empty() => {
                if !self.reach.holds(*source) {
                    return Err(FirewallError::Missing);
                }
                self.sets.open_ports(set_of(&self.names, *source, *once)?, *source, ports)
            }
            FirewallCommand::Close { source, ports, cut, once, .. } if !ports.is_empty() => {
                let set = set_of(&self.names, *source, *once)?;
                // Those of another width were withdrawn when the rules of that width were replaced.
                let held = self.reach.holds(*source);
                let closed = if held { self.sets.close_ports(set, *source, ports) } else { Ok(()) };
                let cut = if *cut { self.connections.cut(Whose::Of(*source), ports) } else { Ok(()) };
                closed.and(cut)
            }
            FirewallCommand::Open { .. } | FirewallCommand::Close { .. } => Ok(()),
        };
        done.map_err(firewall_error)
    }
}

/// The set that holds grants to `source`.
fn set_of(names: &Names, source: Network, once: bool) -> Result<(&str, Kind), FirewallError> {
    let kind = Kind::of(source, once);
    Ok((names.grants(Family::of_source(source.address)?, kind), kind))
}

fn ports_of(rules: &RuleSet, transport: Transport) -> impl Iterator<Item = u16> {
    let ports = rules.protected_ports().iter();
    ports.filter(move |port| port.transport == transport).map(|port| port.port)
}

fn destroy(sets: &mut IpSets, name: &str) -> Result<(), InstallError> {
    let mut tries = 1;
    loop {
        match sets.destroy(name) {
            Ok(()) | Err(NetlinkError::Refused(libc::ENOENT)) => return Ok(()),
            Err(error) if firewall_error(error) == FirewallError::Busy && tries < RELEASE_TRIES => {
                tries += 1;
                std::thread::sleep(RELEASE_PAUSE);
            }
            Err(error) => return Err(while_doing("remove an IP set")(error)),
        }
    }
}

fn while_doing(doing: &'static str) -> impl Fn(NetlinkError) -> InstallError {
    move |error| InstallError::of_netlink(doing, IPSET_OPTIONS, error)
}
