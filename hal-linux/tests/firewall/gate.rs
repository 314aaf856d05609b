//! Every back end behind one face.

use heapless::Vec as Bounded;
use postern_core::Duration;
use postern_core::grant::GrantId;
use postern_core::knock::{InterfaceSet, ServicePort};
use postern_core::network::Network;
use postern_core::port::{Firewall, FirewallCommand, FirewallError};
use postern_core::rule::{Behind, Door, Name, Reach, RuleSet, RuleSetBuilder, Terms};
use postern_hal_linux::firewall::{
    FirewallOptions, InstallError, IptablesFirewall, IptablesVariant, Member, NftablesFirewall, Verification,
};

/// What is tested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Backend {
    IptablesNft,
    IptablesLegacy,
    Nftables,
}

impl Backend {
    pub(crate) fn gate(self) -> Gate {
        self.gate_with(FirewallOptions::default())
    }

    pub(crate) fn gate_with(self, options: FirewallOptions) -> Gate {
        let iptables = |variant| Gate::Iptables(IptablesFirewall::new(options.clone(), variant).unwrap());
        match self {
            Backend::IptablesNft => iptables(IptablesVariant::Nft),
            Backend::IptablesLegacy => iptables(IptablesVariant::Legacy),
            Backend::Nftables => Gate::Nftables(NftablesFirewall::new(options).unwrap()),
        }
    }

    /// `iptables-nft`, `iptables-legacy`, `nft`, and the same for IPv6.
    pub(crate) fn programs(self) -> &'static [&'static str] {
        match self {
            Backend::IptablesNft => &["iptables-nft", "ip6tables-nft"],
            Backend::IptablesLegacy => &["iptables-legacy", "ip6tables-legacy"],
            Backend::Nftables => &["nft"],
        }
    }
}

/// A back end.
pub(crate) enum Gate {
    Iptables(IptablesFirewall),
    Nftables(NftablesFirewall),
}

impl Gate {
    pub(crate) fn try_install(&mut self, rules: &RuleSet) -> Result<(), InstallError> {
        match self {
            Gate::Iptables(firewall) => firewall.try_install(rules),
            Gate::Nftables(firewall) => firewall.try_install(rules),
        }
    }

    pub(crate) fn install(&mut self, rules: &RuleSet) {
        self.try_install(rules).unwrap_or_else(|error| panic!("{error}"));
    }

    pub(crate) fn adopt_grants(&mut self) {
        match self {
            Gate::Iptables(firewall) => firewall.adopt_grants(),
            Gate::Nftables(firewall) => firewall.adopt_grants(),
        }
    }

    pub(crate) fn remove(&mut self) {
        match self {
            Gate::Iptables(firewall) => firewall.remove(),
            Gate::Nftables(firewall) => firewall.remove(),
        }
        .unwrap_or_else(|error| panic!("{error}"));
    }

    pub(crate) fn try_grants(&mut self) -> Result<Vec<Member>, InstallError> {
        match self {
            Gate::Iptables(firewall) => firewall.grants(),
            Gate::Nftables(firewall) => firewall.grants(),
        }
    }

    pub(crate) fn grants(&mut self) -> Vec<Member> {
        self.try_grants().unwrap_or_else(|error| panic!("{error}"))
    }

    pub(crate) fn verify(&mut self, rules: &RuleSet) -> Verification {
        match self {
            Gate::Iptables(firewall) => firewall.verify(rules),
            Gate::Nftables(firewall) => firewall.verify(rules),
        }
        .unwrap_or_else(|error| panic!("{error}"))
    }

    pub(crate) fn execute(&mut self, command: &FirewallCommand) -> Result<(), FirewallError> {
        match self {
            Gate::Iptables(firewall) => firewall.execute(command),
            Gate::Nftables(firewall) => firewall.execute(command),
        }
    }

    pub(crate) fn open(
        &mut self,
        source: impl Into<Network>,
        ports: &[ServicePort],
        secs: u32,
    ) -> Result<(), FirewallError> {
        self.execute(&open(source, ports, secs))
    }

    pub(crate) fn close(
        &mut self,
        source: impl Into<Network>,
        ports: &[ServicePort],
    ) -> Result<(), FirewallError> {
        self.execute(&close(source, ports, false))
    }

    /// Opens for one connection.
    pub(crate) fn open_once(
        &mut self,
        source: impl Into<Network>,
        ports: &[ServicePort],
        secs: u32,
    ) -> Result<(), FirewallError> {
        let (source, ports) = (source.into(), ports.iter().map(|&port| (port, secs)).collect());
        self.execute(&FirewallCommand::Open { grant: GrantId::from_raw(1), source, ports, once: true })
    }

    /// Takes back what was opened for one connection.
    pub(crate) fn close_once(
        &mut self,
        source: impl Into<Network>,
        ports: &[ServicePort],
    ) -> Result<(), FirewallError> {
        let (source, ports) = (source.into(), Bounded::from_slice(ports).unwrap());
        let grant = GrantId::from_raw(1);
        self.execute(&FirewallCommand::Close { grant, source, ports, cut: false, once: true })
    }

    /// Closes and takes the connections with it.
    pub(crate) fn cut(
        &mut self,
        source: impl Into<Network>,
        ports: &[ServicePort],
    ) -> Result<(), FirewallError> {
        self.execute(&close(source, ports, true))
    }
}

pub(crate) fn open(source: impl Into<Network>, ports: &[ServicePort], secs: u32) -> FirewallCommand {
    let (source, ports) = (source.into(), ports.iter().map(|&port| (port, secs)).collect());
    FirewallCommand::Open { grant: GrantId::from_raw(1), source, ports, once: false }
}

fn close(source: impl Into<Network>, ports: &[ServicePort], cut: bool) -> FirewallCommand {
    let (source, ports) = (source.into(), Bounded::from_slice(ports).unwrap());
    FirewallCommand::Close { grant: GrantId::from_raw(1), source, ports, cut, once: false }
}

/// The same doors, whose grants take the connections with them.
pub(crate) fn cutting(rules: &RuleSet) -> RuleSet {
    let mut builder = RuleSetBuilder::new();
    for door in rules.doors() {
        builder.door(Door { terms: Terms { cut_at_end: true, ..door.terms }, ..door.clone() }).unwrap();
    }
    builder.build().unwrap()
}

/// The same doors, whose grants cover more than one address.
pub(crate) fn wide(rules: &RuleSet, reach: Reach) -> RuleSet {
    let mut builder = RuleSetBuilder::new();
    for door in rules.doors() {
        builder.door(Door { terms: Terms { reach, ..door.terms }, ..door.clone() }).unwrap();
    }
    builder.build().unwrap()
}

/// A door for each list of ports.
pub(crate) fn rules(doors: &[&[ServicePort]]) -> RuleSet {
    let mut builder = RuleSetBuilder::new();
    for (number, ports) in doors.iter().enumerate() {
        let door = Door {
            name: Name::try_from(format!("door-{number}").as_str()).unwrap(),
            ports: Bounded::from_slice(ports).unwrap(),
            open_for: Duration::from_secs(30),
            target: None,
            interfaces: InterfaceSet::ALL,
            terms: Terms::PLAIN,
        };
        builder.door(door).unwrap();
    }
    builder.build().unwrap()
}

/// A door of each port to the service of a host behind the gateway.
pub(crate) fn rules_behind(doors: &[(ServicePort, &str, u16)]) -> RuleSet {
    let mut builder = RuleSetBuilder::new();
    for (number, &(port, host, host_port)) in doors.iter().enumerate() {
        let behind = Some(Behind { host: host.parse().unwrap(), port: host_port });
        let door = Door {
            name: Name::try_from(format!("behind-{number}").as_str()).unwrap(),
            ports: Bounded::from_slice(&[port]).unwrap(),
            open_for: Duration::from_secs(30),
            target: None,
            interfaces: InterfaceSet::ALL,
            terms: Terms { behind, ..Terms::PLAIN },
        };
        builder.door(door).unwrap();
    }
    builder.build().unwrap()
}

/// Makes each named `fn scenario(backend: Backend)` a test for every back end.
#[macro_export]
macro_rules! every_back_end {
    ($($scenario:ident),+ $(,)?) => {
        mod iptables_nft {
            $(#[test] fn $scenario() { super::$scenario($crate::gate::Backend::IptablesNft) })+
        }
        mod iptables_legacy {
            $(#[test] fn $scenario() { super::$scenario($crate::gate::Backend::IptablesLegacy) })+
        }
        mod nftables {
            $(#[test] fn $scenario() { super::$scenario($crate::gate::Backend::Nftables) })+
        }
    };
}
