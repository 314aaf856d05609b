//! The gate of nftables.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use heapless::Vec as Bounded;
use nix::libc;
use postern_core::knock::{ServicePort, Transport};
use postern_core::limits::PORTS_PER_DOOR_MAX;
use postern_core::network::Network;
use postern_core::port::{Firewall, FirewallCommand, FirewallError};
use postern_core::rule::{Reach, RuleSet};

use super::conntrack::{Connections, Whose};
use super::error::{NFT_OPTIONS, firewall_error};
use super::nf_tables::{Element, ListedRule, NfTable};
use super::nftables_script::{self as script, Chain, Installation, LEAD, PROTECTED, SetName};
use super::program::Program;
use super::{
    Drift, ExemptInterfaces, Family, FirewallOptions, Grants, InstallError, Member, Verification, leadings,
};
use crate::netlink::NetlinkError;

/// Times an installation is tried when the table was changed by somebody else between reading it
/// and changing it.
const TRIES: u32 = 3;

/// The gate of nftables, both families in one table. Works on the network namespace it was made
/// in, and must install from the same.
#[derive(Debug)]
pub struct NftablesFirewall {
    options: FirewallOptions,
    table: NfTable,
    connections: Connections,
    /// What becomes of grants at the next installation.
    grants: Grants,
    /// How wide grants of networks are.
    reach: Reach,
    /// What the kernel made of the rules of each chain at the last installation.
    made: Vec<(&'static str, Vec<ListedRule>)>,
}

impl NftablesFirewall {
    /// Makes the back end. Changes nothing yet and needs no privilege.
    ///
    /// # Errors
    /// [`InstallError::KernelLacks`] when the kernel has no netfilter netlink.
    pub fn new(options: FirewallOptions) -> Result<Self, InstallError> {
        let table = NfTable::open(options.name.clone());
        let table = table.map_err(while_doing("open a netlink socket to netfilter"))?;
        let connections = Connections::open().map_err(while_doing("open a netlink socket"))?;
        let (grants, reach) = (Grants::Unknown, Reach::SOURCE_ALONE);
        Ok(Self { options, table, connections, grants, reach, made: Vec::new() })
    }

    /// Other interfaces are exempt, from the next installation on.
    pub fn set_exempt_interfaces(&mut self, exempt: ExemptInterfaces) {
        self.options.exempt_interfaces = exempt;
    }

    /// Puts the gate up, or replaces it, in one transaction.
    ///
    /// The first time in a process all grants are withdrawn, as nobody accounts for them, unless
    /// they were adopted; later they stay.
    ///
    /// # Errors
    /// [`InstallError`] with the program's own words; the gate is as it was before.
    pub fn try_install(&mut self, rules: &RuleSet) -> Result<(), InstallError> {
        self.table.shake_hands().map_err(while_doing("use nf_tables"))?;
        self.connections.require_for(rules)?;
        let nft = self.nft()?;
        let mut tries = 1;
        loop {
            let protected = self.protected()?.unwrap_or_default();
            let (leads, wide) = (self.leads()?, self.wide()?);
            let installation = Installation {
                options: &self.options,
                doors: rules,
                leads,
                wide: &wide,
                protected: &protected,
                kept: self.grants,
            };
            match nft.run(&["-f", "-"], &installation.to_script()) {
                Err(InstallError::ProgramFailed { .. })
                    if tries < TRIES
                        && (self.protected()?.unwrap_or_default() != protected || self.wide()? != wide) =>
                {
                    tries += 1;
                }
                other => {
                    other?;
                    self.reach = rules.reach();
                    if self.grants != Grants::Own {
                        self.connections.cut_everybodys(rules);
                    }
                    self.grants = Grants::Own;
                    self.read_what_was_made(rules);
                    return Ok(());
                }
            }
        }
    }

    /// So that a rule is known again by what it does. Without it, it is known by its comment.
    fn read_what_was_made(&mut self, rules: &RuleSet) {
        self.made.clear();
        for Chain { name, comments, .. } in script::chains(&self.options, rules) {
            let listed = self.table.rules(name).unwrap_or_default();
            if listed.iter().map(|rule| rule.comment.as_ref()).eq(comments.iter().map(Some)) {
                self.made.push((name, listed));
            }
        }
    }

    /// Takes away everything that Postern made, grants too. The protected ports are open
    /// afterwards, unless the site's own rules close them.
    ///
    /// # Errors
    /// [`InstallError`]; nothing was changed then.
    pub fn remove(&mut self) -> Result<(), InstallError> {
        self.nft()?.run(&["-f", "-"], &script::removal(&self.options))?;
        self.grants = Grants::Unknown;
        self.made.clear();
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
        let fixed = script::sets(&RuleSet::empty());
        let wide = self.wide()?;
        for set in fixed.iter().map(SetName::as_str).chain(wide.iter().map(String::as_str)) {
            let elements = self.table.elements(set).map_err(while_doing("list the grants"))?;
            let width = script::width_of(set);
            members.extend(elements.iter().filter_map(|element| read_member(element, width)));
        }
        Ok(members)
    }

    /// Reads the gate back and compares it with what `rules` want. By netlink alone, no process is
    /// started. Rules are known again by their comments, their order, and by what the kernel made of them when they
    /// were installed.
    ///
    /// # Errors
    /// [`InstallError`] when it cannot be read.
    pub fn verify(&mut self, rules: &RuleSet) -> Result<Verification, InstallError> {
        let mut verification = Verification::default();
        for Chain { name: chain, hook, comments } in script::chains(&self.options, rules) {
            match self.table.hook(chain) {
                Err(NetlinkError::Refused(libc::ENOENT)) => {
                    verification.note(Drift::ChainMissing(None, chain.to_owned()));
                    continue;
                }
                found => {
                    let same_hook = found.map_err(while_doing("read a chain"))? == hook;
                    let found = self.table.rules(chain).map_err(while_doing("read the rules"))?;
                    let made = self.made.iter().find(|(name, _)| *name == chain);
                    let same_rules =
                        found.iter().map(|rule| rule.comment.as_ref()).eq(comments.iter().map(Some))
                            && made.is_none_or(|(_, made)| *made == found);
                    if !same_hook || !same_rules {
                        verification.note(Drift::ChainChanged(None, chain.to_owned()));
                    }
                }
            }
        }
        let unwanted = leadings(rules).next().is_none() && self.leads()?;
        if unwanted {
            verification.note(Drift::ChainChanged(None, LEAD.to_owned()));
        }
        for name in script::sets(rules) {
            match self.table.elements(&name) {
                Err(NetlinkError::Refused(libc::ENOENT)) => {
                    verification.note(Drift::SetMissing(name.as_str().to_owned()));
                }
                other => drop(other.map_err(while_doing("list the grants"))?),
            }
        }
        match self.protected()? {
            None => verification.note(Drift::SetMissing(PROTECTED.to_owned())),
            Some(listed) => {
                let wanted: BTreeSet<ServicePort> = rules.protected_ports().iter().copied().collect();
                let (missing, surplus) = (wanted.difference(&listed), listed.difference(&wanted));
                verification.note_ports(missing.count(), surplus.count());
            }
        }
        Ok(verification)
    }

    fn nft(&self) -> Result<Program, InstallError> {
        Program::find("nft", &self.options.program_directories)
    }

    /// Whether there are chains for doors that lead behind the gateway. Both come and go together.
    fn leads(&mut self) -> Result<bool, InstallError> {
        match self.table.hook(LEAD) {
            Err(NetlinkError::Refused(libc::ENOENT)) => Ok(false),
            found => found.map(|_| true).map_err(while_doing("read a chain")),
        }
    }

    /// The sets of grants to networks that are there now.
    fn wide(&mut self) -> Result<Vec<String>, InstallError> {
        match self.table.sets() {
            Err(NetlinkError::Refused(libc::ENOENT)) => Ok(Vec::new()),
            listed => {
                let mut listed = listed.map_err(while_doing("list the sets"))?;
                listed.retain(|name| script::width_of(name).is_some());
                Ok(listed)
            }
        }
    }

    /// The ports that are protected now; `None` when there is no set of them.
    fn protected(&mut self) -> Result<Option<BTreeSet<ServicePort>>, InstallError> {
        match self.table.elements(PROTECTED) {
            Err(NetlinkError::Refused(libc::ENOENT)) => Ok(None),
            listed => {
                let listed = listed.map_err(while_doing("list the protected ports"))?;
                Ok(Some(listed.iter().filter_map(|element| read_port(element.key())).collect()))
            }
        }
    }
}

impl Firewall for NftablesFirewall {
    fn install(&mut self, rules: &RuleSet) -> Result<(), FirewallError> {
        self.try_install(rules).map_err(|error| {
            log::error!("{error}");
            error.to_firewall_error()
        })
    }

    fn execute(&mut self, command: &FirewallCommand) -> Result<(), FirewallError> {
        let mut elements: Bounded<Element, PORTS_PER_DOOR_MAX> = Bounded::new();
        let done = match command {
            FirewallCommand::Open { source, ports, once, .. } if !ports.is_empty() => {
                if !self.reach.holds(*source) {
                    return Err(FirewallError::Missing);
                }
                let millis = |secs: u32| Some(u64::from(secs.max(1)) * 1000);
                elements.extend(ports.iter().map(|&(port, secs)| member(*source, port, millis(secs))));
                self.table.put(&set_of(*source, *once)?, &elements)
            }
            FirewallCommand::Close { source, ports, cut, once, .. } if !ports.is_empty() => {
                let set = set_of(*source, *once)?;
                elements.extend(ports.iter().map(|&port| member(*source, port, Some(1000))));
                // Those of another width went with their set.
                let held = self.reach.holds(*source);
                let closed = if held { self.table.delete(&set, &elements) } else { Ok(()) };
                let cut = if *cut { self.connections.cut(Whose::Of(*source), ports) } else { Ok(()) };
                closed.and(cut)
            }
            FirewallCommand::Open { .. } | FirewallCommand::Close { .. } => Ok(()),
        };
        done.map_err(firewall_error)
    }
}

/// The set that holds grants to `source`.
fn set_of(source: Network, once: bool) -> Result<SetName, FirewallError> {
    Ok(script::set_of(Family::of_source(source.address)?, source, once))
}

fn member(source: Network, port: ServicePort, millis: Option<u64>) -> Element {
    let transport = [port.transport.number()];
    let port = port.port.to_be_bytes();
    match source.address {
        IpAddr::V4(v4) => Element::of_parts(&[&v4.octets(), &transport, &port], millis),
        IpAddr::V6(v6) => Element::of_parts(&[&v6.octets(), &transport, &port], millis),
    }
}

/// The last two parts of a key: transport and port, each in four octets.
fn read_port(key: &[u8]) -> Option<ServicePort> {
    let &[number, _, _, _, high, low, ..] = key.last_chunk::<8>()?;
    let transport = match number {
        6 => Transport::Tcp,
        17 => Transport::Udp,
        _ => return None,
    };
    Some(ServicePort { transport, port: u16::from_be_bytes([high, low]) })
}

/// A member of a set of addresses, or of networks of `width` bits.
fn read_member(element: &Element, width: Option<u8>) -> Option<Member> {
    let key = element.key();
    let port = read_port(key)?;
    let address = key.get(..key.len().checked_sub(8)?)?;
    let address: IpAddr = match (<[u8; 4]>::try_from(address), <[u8; 16]>::try_from(address)) {
        (Ok(v4), _) => Ipv4Addr::from(v4).into(),
        (_, Ok(v6)) => Ipv6Addr::from(v6).into(),
        _ => return None,
    };
    let source = width.map_or(Network::host(address), |prefix| Network { address, prefix });
    let secs = |millis: u64| u32::try_from(millis.div_ceil(1000)).unwrap_or(u32::MAX);
    Some(Member { source, port, remaining_secs: element.millis.map(secs) })
}

fn while_doing(doing: &'static str) -> impl Fn(NetlinkError) -> InstallError {
    move |error| InstallError::of_netlink(doing, NFT_OPTIONS, error)
}
