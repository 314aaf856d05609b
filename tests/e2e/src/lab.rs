//! The laboratory: namespaces, the switch between them, and their removal.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, Once, PoisonError};

use anyhow::{Context, Result, ensure};

use crate::frame::Mac;
use crate::host::Host;
use crate::namespace::{HANDLES, Namespace};
use crate::process::Background;
use crate::{process, tool};

/// Prefix of every namespace and directory.
const PREFIX: &str = "pst-";

/// Laboratories of this process so far.
static COUNT: AtomicU32 = AtomicU32::new(0);
/// Interfaces of this process so far: makes link-layer addresses unique.
static MACS: AtomicU32 = AtomicU32::new(1);
static SWEEP: Once = Once::new();

/// Network namespaces and a directory, all removed when this is dropped, also on a panic.
///
/// Declare it before whatever lives in it, so that it is dropped last.
#[derive(Debug)]
pub struct Lab {
    name: String,
    directory: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    namespaces: Vec<Namespace>,
    switch: Option<Namespace>,
    hosts: Vec<Host>,
}

impl Lab {
    /// An empty laboratory.
    ///
    /// # Errors
    /// When we are not root or a program every scenario needs is missing.
    pub fn new() -> Result<Self> {
        tool::require_root()?;
        tool::require(&["ip", "iptables", "ip6tables", "ipset", "nft", "tcpdump"])?;
        SWEEP.call_once(sweep);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}{}-{number}", std::process::id());
        let directory = std::env::temp_dir().join(&name);
        std::fs::create_dir_all(&directory)
            .with_context(|| format!("cannot make {}", directory.display()))?;
        Ok(Self { name, directory, state: Mutex::default() })
    }

    /// A directory for files, removed with the laboratory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// A new namespace with only the loopback interface, which is up.
    ///
    /// # Errors
    /// When the kernel or `ip` refuses.
    pub fn namespace(&self, role: &str) -> Result<Namespace> {
        let namespace = Namespace::new(&format!("{}-{role}", self.name));
        let mut command = Command::new(tool::path("ip")?);
        process::success(command.args(["netns", "add", namespace.name()]))?;
        self.lock().namespaces.push(namespace.clone());
        // No duplicate address detection, no router solicitation: nothing waits, and nothing is
        // said that no test asked for. Sources may be forged, so no reverse path filter.
        for family in ["all", "default"] {
            for (key, value) in [("accept_dad", "0"), ("dad_transmits", "0"), ("router_solicitations", "0")] {
                namespace.set(&format!("ipv6/conf/{family}/{key}"), value)?;
            }
            namespace.set(&format!("ipv4/conf/{family}/rp_filter"), "0")?;
        }
        namespace.ip("link set lo up")?;
        Ok(namespace)
    }

    /// Joins two namespaces with a veth pair; both ends are up. Returns their link-layer addresses.
    ///
    /// # Errors
    /// When the kernel or `ip` refuses, say because a name is taken.
    pub fn veth(&self, a: (&Namespace, &str), b: (&Namespace, &str)) -> Result<(Mac, Mac)> {
        let (mac_a, mac_b) = (next_mac(), next_mac());
        a.0.ip(&format!(
            "link add {} address {mac_a} type veth peer name {} address {mac_b} netns {}",
            a.1,
            b.1,
            b.0.name()
        ))?;
        a.0.ip(&format!("link set {} up", a.1))?;
        b.0.ip(&format!("link set {} up", b.1))?;
        Ok((mac_a, mac_b))
    }

    /// Gives `namespace` an interface on the switch. Returns its link-layer address.
    ///
    /// # Errors
    /// As [`Lab::veth`].
    pub fn attach(&self, namespace: &Namespace, interface: &str) -> Result<Mac> {
        let switch = self.switch()?;
        let port = format!("port{}", MACS.load(Ordering::Relaxed));
        let (mac, _) = self.veth((namespace, interface), (&switch, &port))?;
        switch.ip(&format!("link set {port} master br0"))?;
        Ok(mac)
    }

    /// A host on the switch with one IPv4 and one IPv6 address on `eth0`. Neighbours of all hosts
    /// are known to each other for good: forged sources cause no ARP or neighbour discovery, and
    /// nobody says anything of his own accord.
    ///
    /// # Errors
    /// As [`Lab::veth`].
    pub fn host(&self, role: &str) -> Result<Host> {
        let namespace = self.namespace(role)?;
        let mac = self.attach(&namespace, "eth0")?;
        let number = u8::try_from(self.lock().hosts.len() + 1).context("too many hosts")?;
        let host = Host::new(namespace, mac, number);
        self.settle(&host)?;
        self.lock().hosts.push(host.clone());
        Ok(host)
    }

    /// Joins two hosts with an interface more each, both called `interface`, that have addresses
    /// `198.51.100.1` (the first host's) and `198.51.100.2` (RFC 5737).
    ///
    /// # Errors
    /// As [`Lab::veth`].
    pub fn second_link(&self, a: &Host, b: &Host, interface: &str) -> Result<[Ipv4Addr; 2]> {
        self.veth((&a.namespace, interface), (&b.namespace, interface))?;
        number_second_link(a, b, interface)
    }

    /// The same without a link layer: a tun device at each end, raw IP between them, as over a
    /// modem. Lives as long as what it returns.
    ///
    /// # Errors
    /// When the kernel has no tun devices or `socat` is missing.
    pub fn raw_ip_link(
        &self,
        a: &Host,
        b: &Host,
        interface: &str,
    ) -> Result<([Ipv4Addr; 2], [Background; 2])> {
        ensure!(
            Path::new("/dev/net/tun").exists(),
            "the kernel has no tun devices (CONFIG_TUN, /dev/net/tun)"
        );
        let pipe = self.directory.join(format!("{interface}.socket"));
        // Of a link that there was before.
        let _ = std::fs::remove_file(&pipe);
        let device = format!("TUN,tun-name={interface},tun-type=tun,iff-no-pi,iff-up");
        // Sequential packets keep the boundaries of what they carry.
        let listen = format!("UNIX-LISTEN:{},type=5", pipe.display());
        let listening = a.namespace.start("socat", &[&device, &listen])?;
        process::wait_until("socat to listen", || pipe.exists().then_some(()))?;
        let connect = format!("UNIX-CONNECT:{},type=5", pipe.display());
        let connected = b.namespace.start("socat", &[&device, &connect])?;
        for host in [a, b] {
            let there = || {
                host.namespace.ip(&format!("link show {interface} up")).ok().filter(|shown| !shown.is_empty())
            };
            process::wait_until("the tun device", there)?;
        }
        Ok((number_second_link(a, b, interface)?, [listening, connected]))
    }

    /// Makes the interface of a host anew, with its old addresses but another interface index, as a
    /// modem that was unplugged and comes back would.
    ///
    /// # Errors
    /// As [`Lab::veth`].
    pub fn replug(&self, host: &Host) -> Result<()> {
        let _ = host.namespace.ip("link del eth0");
        self.attach(&host.namespace, "eth0")?;
        host.namespace.ip(&format!("link set eth0 down address {}", host.mac))?;
        host.namespace.ip("link set eth0 up")?;
        self.settle(host)
    }

    /// Addresses of `host`, and its neighbours in both directions.
    fn settle(&self, host: &Host) -> Result<()> {
        host.namespace.ip_batch(&format!(
            "addr add {}/16 dev eth0\naddr add {}/64 dev eth0 nodad\n",
            host.v4, host.v6
        ))?;
        for other in self.lock().hosts.iter().filter(|other| other.mac != host.mac) {
            host.namespace.ip_batch(&other.neighbour_lines())?;
            other.namespace.ip_batch(&host.neighbour_lines())?;
        }
        Ok(())
    }

    /// The switch, made when it is first needed.
    fn switch(&self) -> Result<Namespace> {
        if let Some(switch) = &self.lock().switch {
            return Ok(switch.clone());
        }
        let switch = self.namespace("switch")?;
        switch.ip("link add br0 type bridge").context("the kernel has no bridges (CONFIG_BRIDGE)")?;
        switch.ip("link set br0 up")?;
        self.lock().switch = Some(switch.clone());
        Ok(switch)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let namespaces = std::mem::take(&mut self.lock().namespaces);
        for namespace in namespaces {
            remove(namespace.name());
        }
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn number_second_link(a: &Host, b: &Host, interface: &str) -> Result<[Ipv4Addr; 2]> {
    let addresses = [1, 2].map(|last| Ipv4Addr::new(198, 51, 100, last));
    for (host, address) in [a, b].into_iter().zip(addresses) {
        host.namespace.ip(&format!("addr add {address}/24 dev {interface}"))?;
    }
    Ok(addresses)
}

/// A locally administered address nobody else in this process has.
fn next_mac() -> Mac {
    let [.., b, c, d] = MACS.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    Mac([0x02, 0x50, 0x53, b, c, d])
}

/// Ends what still runs in a namespace of ours, by process id, and removes it.
fn remove(name: &str) {
    let Ok(ip) = tool::path("ip") else { return };
    let inside = process::output(Command::new(&ip).args(["netns", "pids", name]));
    for pid in inside.iter().flat_map(|output| output.stdout.split_whitespace()).flat_map(str::parse::<i32>) {
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
    }
    let _ = process::output(Command::new(&ip).args(["netns", "del", name]));
}

/// Removes namespaces and directories of runs whose process is gone.
pub fn sweep() {
    for namespace in left_behind(Path::new(HANDLES)) {
        remove(&namespace);
    }
    let temporary = std::env::temp_dir();
    for entry in left_behind(&temporary) {
        let _ = std::fs::remove_dir_all(temporary.join(entry));
    }
}

fn left_behind(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names
        .filter(|name| {
            let pid = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
            let pid = pid.and_then(|pid| pid.parse::<u32>().ok());
            pid.is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists())
        })
        .collect()
}
