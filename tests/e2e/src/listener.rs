//! The service behind the gate: greets and echoes over TCP, echoes over UDP, IPv4 and IPv6.

use std::io::{Read, Write};
use std::net::{Ipv6Addr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::namespace::Namespace;

/// How soon a stopped listener notices.
const NOTICE: Duration = Duration::from_millis(20);

/// Threads of this process that serve in a namespace until this is dropped.
#[derive(Debug)]
pub struct Listener {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Listener {
    /// Serves these ports, each over TCP and UDP; ready when this returns.
    ///
    /// # Errors
    /// When a port is taken.
    pub fn start(namespace: &Namespace, ports: &[u16]) -> Result<Self> {
        let mut listener = Self { stop: Arc::default(), threads: Vec::new() };
        for &port in ports {
            // Bound to the IPv6 wildcard without IPV6_V6ONLY: serves both families (ipv6(7)).
            let tcp = namespace.enter(|| TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)));
            let tcp = tcp.with_context(|| format!("cannot listen on tcp/{port} in {}", namespace.name()))?;
            let udp = namespace.enter(|| UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port)));
            let udp = udp.with_context(|| format!("cannot listen on udp/{port} in {}", namespace.name()))?;
            tcp.set_nonblocking(true)?;
            udp.set_read_timeout(Some(NOTICE))?;
            let stop = listener.stop.clone();
            listener.threads.push(std::thread::spawn(move || accept(&tcp, port, &stop)));
            let stop = listener.stop.clone();
            listener.threads.push(std::thread::spawn(move || echo(&udp, &stop)));
        }
        Ok(listener)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn accept(listener: &TcpListener, port: u16, stop: &Arc<AtomicBool>) {
    while !stop.load(Ordering::Relaxed) {
        match listener.accept() {
            Ok((stream, _)) => {
                let stop = stop.clone();
                std::thread::spawn(move || serve(stream, port, &stop));
            }
            Err(_) => std::thread::sleep(NOTICE / 10),
        }
    }
}

/// Greets, then echoes until either side has enough.
fn serve(mut stream: TcpStream, port: u16, stop: &AtomicBool) {
    let ready = stream.set_nonblocking(false).and_then(|()| stream.set_read_timeout(Some(NOTICE)));
    if ready.is_err() || writeln!(stream, "hello from tcp/{port}").is_err() {
        return;
    }
    let mut buffer = [0; 4096];
    while !stop.load(Ordering::Relaxed) {
        match stream.read(&mut buffer) {
            Ok(0) => return,
            Ok(length) if stream.write_all(&buffer[..length]).is_err() => return,
            Ok(_) => {}
            Err(error) if is_timeout(&error) => {}
            Err(_) => return,
        }
    }
}

fn echo(socket: &UdpSocket, stop: &AtomicBool) {
    let mut buffer = [0; 2048];
    while !stop.load(Ordering::Relaxed) {
        if let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(&buffer[..length], from);
        }
    }
}

fn is_timeout(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)
}
