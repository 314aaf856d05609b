//! A controller behind the gateway.

use anyhow::Result;

use crate::listener::Listener;
use crate::namespace::Namespace;
use crate::scene::Scene;

/// A controller on a network of its own, 192.168.10.5 and 2001:db8:10::5, with the gateway as its way to
/// everywhere. Others know no way to it.
#[derive(Debug)]
pub struct Controller {
    _service: Listener,
    _namespace: Namespace,
}

impl Controller {
    /// Puts it behind the gateway of `scene`, which forwards from now on, with services on `ports`.
    ///
    /// # Errors
    /// From the kernel.
    pub fn behind(scene: &Scene, ports: &[u16]) -> Result<Self> {
        let gateway = &scene.gateway.namespace;
        let namespace = scene.lab.namespace("controller")?;
        scene.lab.veth((gateway, "lan0"), (&namespace, "eth0"))?;
        gateway.ip("addr add 192.168.10.1/24 dev lan0")?;
        gateway.ip("addr add 2001:db8:10::1/64 dev lan0 nodad")?;
        gateway.set("ipv4/ip_forward", "1")?;
        gateway.set("ipv6/conf/all/forwarding", "1")?;
        Self::on(namespace, ports)
    }

    /// Makes `namespace` the controller, whose `eth0` is on a wire with the gateway's 192.168.10.1 and
    /// 2001:db8:10::1.
    ///
    /// # Errors
    /// From the kernel.
    pub fn on(namespace: Namespace, ports: &[u16]) -> Result<Self> {
        namespace.ip("addr add 192.168.10.5/24 dev eth0")?;
        namespace.ip("addr add 2001:db8:10::5/64 dev eth0 nodad")?;
        namespace.ip("route add default via 192.168.10.1")?;
        namespace.ip("-6 route add default via 2001:db8:10::1")?;
        let service = Listener::start(&namespace, ports)?;
        Ok(Self { _service: service, _namespace: namespace })
    }
}
