//! Stopgap until the netlink adapters are in: drives `ipset`, `iptables-restore` and `nft`.

use std::io::Write;
use std::process::{Command, Stdio};

use postern_config::{Backend, Site};
use postern_core::knock::ServicePort;
use postern_core::port::{Firewall, FirewallCommand, FirewallError};
use postern_core::rule::RuleSet;

pub(crate) struct Gate {
    backend: Backend,
    exempt: Vec<String>,
}

fn run(program: &str, args: &[&str], input: &str) -> Result<String, String> {
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("cannot run {program}: {error}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output().map_err(|error| error.to_string())?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(format!(
            "{program}: {}",
            String::from_utf8_lossy(&output.stderr).lines().next().unwrap_or("failed")
        ))
    }
}

impl Gate {
    pub(crate) fn new(site: &Site) -> Self {
        let exempt = site.exempt_interfaces.iter().map(|name| name.as_str().to_owned()).collect();
        Self { backend: site.backend, exempt }
    }

    pub(crate) fn suits(&self, site: &Site) -> bool {
        let exempt: Vec<String> =
            site.exempt_interfaces.iter().map(|name| name.as_str().to_owned()).collect();
        self.backend == site.backend && self.exempt == exempt
    }

    pub(crate) fn remove(&mut self) -> Result<(), String> {
        Ok(())
    }

    pub(crate) fn install(&mut self, rules: &RuleSet) -> Result<(), String> {
        match self.backend {
            Backend::Iptables => self.install_iptables(rules),
            Backend::Nftables => self.install_nft(rules),
        }
    }

    fn install_iptables(&self, rules: &RuleSet) -> Result<(), String> {
        let mut sets = String::from(
            "create pst-open4 hash:ip,port timeout 30\ncreate pst-open6 hash:ip,port family inet6 timeout 30\ncreate pst-tcp bitmap:port range 0-65535\ncreate pst-udp bitmap:port range 0-65535\nflush pst-tcp\nflush pst-udp\n",
        );
        for port in rules.protected_ports() {
            sets.push_str(&format!("add pst-{} {}\n", port.transport.name(), port.port));
        }
        run("/usr/sbin/ipset", &["-exist", "restore"], &sets)?;
        for (family, set) in [("ip", "pst-open4"), ("ip6", "pst-open6")] {
            let listed = run(&format!("/usr/sbin/{family}tables"), &["-S", "INPUT"], "")?;
            let mut text = String::from(
                "*filter\n:POSTERN - [0:0]\n:POSTERN-GATE - [0:0]\n-A POSTERN -i lo -j RETURN\n",
            );
            for name in &self.exempt {
                text.push_str(&format!("-A POSTERN -i {name} -j RETURN\n"));
            }
            text.push_str(&format!(
                "-A POSTERN -p tcp -m set --match-set pst-tcp dst -j POSTERN-GATE\n-A POSTERN -p udp -m set --match-set pst-udp dst -j POSTERN-GATE\n-A POSTERN-GATE -m set --match-set {set} src,dst -j ACCEPT\n-A POSTERN-GATE -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT\n-A POSTERN-GATE -j DROP\n",
            ));
            if !listed.contains("-j POSTERN") {
                text.push_str("-I INPUT 1 -j POSTERN\n");
            }
            text.push_str("COMMIT\n");
            run(&format!("/usr/sbin/{family}tables-restore"), &["--noflush", "-w"], &text)?;
        }
        Ok(())
    }

    fn install_nft(&self, rules: &RuleSet) -> Result<(), String> {
        let mut text = String::from(
            "add table inet postern\nadd set inet postern open4 { type ipv4_addr . inet_proto . inet_service; flags timeout; }\nadd set inet postern open6 { type ipv6_addr . inet_proto . inet_service; flags timeout; }\nadd set inet postern protected { type inet_proto . inet_service; }\nflush set inet postern protected\nadd chain inet postern input { type filter hook input priority -10; policy accept; }\nadd chain inet postern gate\nflush chain inet postern input\nflush chain inet postern gate\nadd rule inet postern input iifname lo return\nadd rule inet postern input meta l4proto . th dport @protected jump gate\nadd rule inet postern gate ip saddr . meta l4proto . th dport @open4 return\nadd rule inet postern gate ip6 saddr . meta l4proto . th dport @open6 return\nadd rule inet postern gate ct state established,related return\nadd rule inet postern gate drop\n",
        );
        for port in rules.protected_ports() {
            text.push_str(&format!(
                "add element inet postern protected {{ {} . {} }}\n",
                port.transport.name(),
                port.port
            ));
        }
        run("/usr/sbin/nft", &["-f", "-"], &text).map(|_| ())
    }

    fn change(
        &self,
        source: std::net::IpAddr,
        port: ServicePort,
        secs: Option<u32>,
    ) -> Result<String, String> {
        let v6 = source.is_ipv6();
        match self.backend {
            Backend::Iptables => {
                let set = if v6 { "pst-open6" } else { "pst-open4" };
                let line = match secs {
                    Some(secs) => {
                        format!("add {set} {source},{}:{} timeout {secs}\n", port.transport.name(), port.port)
                    }
                    None => format!("del {set} {source},{}:{}\n", port.transport.name(), port.port),
                };
                run("/usr/sbin/ipset", &["-exist", "restore"], &line)
            }
            Backend::Nftables => {
                let set = if v6 { "open6" } else { "open4" };
                let element = format!("{source} . {} . {}", port.transport.name(), port.port);
                let _ = run(
                    "/usr/sbin/nft",
                    &["delete", "element", "inet", "postern", set, &format!("{{ {element} }}")],
                    "",
                );
                match secs {
                    Some(secs) => run(
                        "/usr/sbin/nft",
                        &[
                            "add",
                            "element",
                            "inet",
                            "postern",
                            set,
                            &format!("{{ {element} timeout {secs}s }}"),
                        ],
                        "",
                    ),
                    None => Ok(String::new()),
                }
            }
        }
    }
}

impl Firewall for Gate {
    fn install(&mut self, rules: &RuleSet) -> Result<(), FirewallError> {
        Gate::install(self, rules).map_err(|_| FirewallError::Other(0))
    }

    fn execute(&mut self, command: &FirewallCommand) -> Result<(), FirewallError> {
        match command {
            FirewallCommand::Open { source, ports, .. } => {
                for &(port, secs) in ports {
                    self.change(*source, port, Some(secs)).map_err(|_| FirewallError::Other(1))?;
                }
            }
            FirewallCommand::Close { source, ports, .. } => {
                for &port in ports {
                    self.change(*source, port, None).map_err(|_| FirewallError::Other(1))?;
                }
            }
        }
        Ok(())
    }
}
