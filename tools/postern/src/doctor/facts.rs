//! What can be seen of this machine. Nothing is judged here, but for what keeps it from being seen.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use postern_config::partition::Store;
use postern_config::{Backend, Site};
use postern_console::rpc::reply::SequenceHeard;
use postern_core::knock::ServicePort;
use postern_core::rule::RuleSet;
use postern_hal_linux::clock::WallTime;
use postern_hal_linux::partition::LinuxPartition;
use posternd::configuration::Configuration;

use super::daemon::{self, Daemon};
use super::finding::{Finding, Symptom};
use super::gate::{self, Gate};
use super::iptables::Rules;
use super::nft::{BaseChain, foreign_chains};
use super::sockets::{self, Listener};
use crate::finding::Severity;

/// Where the firewall's programs are, as the daemon looks for them.
const DIRECTORIES: [&str; 4] = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"];

/// Everything the checks judge.
pub(super) struct Facts {
    pub(super) is_root: bool,
    pub(super) site: Option<Box<Site>>,
    pub(super) rules: Option<RuleSet>,
    pub(super) factory: bool,
    /// Slots that do not count although something is there, and why.
    pub(super) slots_refused: Vec<(usize, &'static str)>,
    pub(super) interfaces: Vec<Interface>,
    pub(super) default_routes: Vec<String>,
    /// Whether this machine forwards IPv4 and IPv6.
    pub(super) forwards: [bool; 2],
    pub(super) listeners: Vec<Listener>,
    /// Programs of the back end that are missing.
    pub(super) programs_missing: Vec<String>,
    /// What `iptables --version` says.
    pub(super) iptables_version: String,
    /// Tables of the legacy iptables that are in use in this kernel.
    pub(super) legacy_tables: String,
    pub(super) iptables: [(&'static str, Rules); 2],
    pub(super) foreign_chains: Vec<BaseChain>,
    pub(super) nft_tables: String,
    pub(super) gate: Option<Gate>,
    pub(super) daemon: Daemon,
    /// How far anybody came in the sequences of the running daemon.
    pub(super) heard: Vec<SequenceHeard>,
    pub(super) has_syslog: bool,
    pub(super) year: u64,
    /// Whether the kernel says that a time source keeps its clock.
    pub(super) is_synchronised: bool,
    pub(super) watchdogs: Vec<Watchdog>,
}

/// An interface of this machine.
pub(super) struct Interface {
    pub(super) name: String,
    pub(super) is_up: bool,
    pub(super) addresses: Vec<IpAddr>,
}

/// A watchdog of this machine.
pub(super) struct Watchdog {
    pub(super) name: String,
    pub(super) is_running: bool,
}

/// Whether the store could be read, and what is in it.
struct StoreFacts {
    site: Option<Box<Site>>,
    rules: Option<RuleSet>,
    factory: bool,
    slots_refused: Vec<(usize, &'static str)>,
}

impl Facts {
    /// Looks at everything. Findings are about what could not be looked at.
    pub(super) fn gather(store: &Path, control: &Path) -> (Self, Vec<Finding>) {
        let mut findings = Vec::new();
        let is_root = nix::unistd::geteuid().is_root();
        let StoreFacts { site, rules, factory, slots_refused } = look_at_store(store, &mut findings);
        let backend = site.as_ref().map_or(Backend::Iptables, |site| site.backend);
        let gate = site.as_deref().zip(rules.as_ref()).filter(|_| is_root);
        let nft = output("nft", &["list", "ruleset"]);
        let (daemon, heard) = daemon::ask(control);
        let facts = Self {
            is_root,
            interfaces: interfaces(),
            default_routes: default_routes(),
            forwards: ["ipv4/ip_forward", "ipv6/conf/all/forwarding"]
                .map(|switch| read(&format!("/proc/sys/net/{switch}")).trim() != "0"),
            listeners: sockets::listeners(),
            programs_missing: programs_missing(backend),
            iptables_version: output("iptables", &["--version"]).trim().to_owned(),
            legacy_tables: read("/proc/net/ip_tables_names"),
            iptables: ["iptables", "ip6tables"]
                .map(|program| (program, Rules::parse(&output(program, &["-w", "-S"])))),
            foreign_chains: foreign_chains(&nft, "inet postern"),
            nft_tables: nft.lines().filter(|line| line.starts_with("table ")).collect::<Vec<_>>().join("; "),
            gate: gate.map(|(site, rules)| gate::look(site, rules)),
            daemon,
            heard,
            has_syslog: Path::new("/dev/log").exists(),
            year: year_now(),
            is_synchronised: WallTime::now().is_some_and(|wall| wall.synchronised),
            watchdogs: watchdogs(),
            site,
            rules,
            factory,
            slots_refused,
        };
        (facts, findings)
    }

    /// Protected ports of the gateway's own services.
    pub(super) fn own_ports(&self) -> impl Iterator<Item = ServicePort> + '_ {
        self.rules.iter().flat_map(|rules| {
            let led = |port: &ServicePort| {
                rules.doors().iter().any(|door| door.terms.behind.is_some() && door.ports.contains(port))
            };
            rules.protected_ports().iter().copied().filter(move |port| !led(port))
        })
    }

    /// Names of the interfaces knocks are awaited on.
    pub(super) fn watched(&self) -> Vec<&str> {
        self.site.iter().flat_map(|site| site.interfaces.iter()).map(|name| name.as_str()).collect()
    }
}

fn look_at_store(path: &Path, findings: &mut Vec<Finding>) -> StoreFacts {
    let nothing = StoreFacts { site: None, rules: None, factory: false, slots_refused: Vec::new() };
    let explains = &[Symptom::NoLog, Symptom::NotRecognised];
    let partition = match LinuxPartition::open_to_read(path) {
        Ok(partition) => partition,
        Err(error) => {
            let fix = "give --store the partition that posternd is started with, and run this as root";
            findings.push(Finding::new(
                Severity::Error,
                "store-unreadable",
                explains,
                error.to_string(),
                fix,
            ));
            return nothing;
        }
    };
    let Ok(store) = Store::open(partition) else {
        let message = format!("{} is too small to be a config partition", path.display());
        let fix = "make one with `postern compile SITE.toml -o STORE`";
        findings.push(Finding::new(Severity::Error, "store-too-small", explains, message, fix));
        return nothing;
    };
    let refusals = store.slots().iter().enumerate();
    let slots_refused = refusals.filter_map(|(index, slot)| Some((index, slot.refusal()?))).collect();
    let configuration = Configuration::choose(store, Box::<Site>::default());
    let rules = configuration.rules().ok();
    let factory = configuration.generation() == 0;
    let site = Some(Box::new(configuration.site().clone())).filter(|_| !factory);
    StoreFacts { site, rules, factory, slots_refused }
}

fn programs_missing(backend: Backend) -> Vec<String> {
    let programs: &[&str] = match backend {
        Backend::Iptables => &["iptables", "iptables-restore", "ip6tables", "ip6tables-restore"],
        Backend::Nftables => &["nft"],
    };
    programs.iter().filter(|program| find(program).is_none()).map(|&program| program.to_owned()).collect()
}

fn find(program: &str) -> Option<PathBuf> {
    DIRECTORIES.iter().map(|directory| Path::new(directory).join(program)).find(|path| path.is_file())
}

/// What a program says that only looks; empty when it is not there or fails.
fn output(program: &str, arguments: &[&str]) -> String {
    let Some(path) = find(program) else { return String::new() };
    let mut command = Command::new(path);
    let output = command.args(arguments).env_clear().stdin(Stdio::null()).output();
    let said = output.ok().filter(|output| output.status.success()).map(|output| output.stdout);
    String::from_utf8_lossy(&said.unwrap_or_default()).into_owned()
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

fn interfaces() -> Vec<Interface> {
    let mut found: Vec<Interface> = Vec::new();
    for entry in nix::ifaddrs::getifaddrs().into_iter().flatten() {
        let is_up = entry.flags.contains(nix::net::if_::InterfaceFlags::IFF_UP);
        let address = entry.address.and_then(|address| {
            let v4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
            v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))
        });
        match found.iter_mut().find(|known| known.name == entry.interface_name) {
            Some(known) => known.addresses.extend(address),
            None => found.push(Interface {
                name: entry.interface_name,
                is_up,
                addresses: address.into_iter().collect(),
            }),
        }
    }
    found
}

/// Interfaces with a default route of IPv4 (`/proc/net/route`) or IPv6 (`/proc/net/ipv6_route`).
fn default_routes() -> Vec<String> {
    let v4 = read("/proc/net/route");
    let v4 = v4.lines().skip(1).filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let is_default = words.get(1) == Some(&"00000000") && words.get(7) == Some(&"00000000");
        words.first().filter(|_| is_default).map(|name| (*name).to_owned())
    });
    let v6 = read("/proc/net/ipv6_route");
    let v6 = v6.lines().filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let is_default =
            words.first().is_some_and(|to| to.bytes().all(|b| b == b'0')) && words.get(1) == Some(&"00");
        words.last().filter(|name| is_default && **name != "lo").map(|name| (*name).to_owned())
    });
    let mut names: Vec<String> = v4.chain(v6).collect();
    names.sort_unstable();
    names.dedup();
    names
}

fn year_now() -> u64 {
    const SECONDS_OF_A_YEAR: u64 = 31_556_952;
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    1970 + since.map_or(0, |since| since.as_secs()) / SECONDS_OF_A_YEAR
}

fn watchdogs() -> Vec<Watchdog> {
    let entries = std::fs::read_dir("/sys/class/watchdog").into_iter().flatten().flatten();
    let watchdog = |entry: std::fs::DirEntry| {
        let state = std::fs::read_to_string(entry.path().join("state")).unwrap_or_default();
        Watchdog {
            name: entry.file_name().to_string_lossy().into_owned(),
            is_running: state.trim() == "active",
        }
    };
    entries.map(watchdog).collect()
}
