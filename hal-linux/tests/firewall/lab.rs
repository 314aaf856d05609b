//! Two network namespaces of the test's own, joined by a cable: the gate on one end, clients with
//! two addresses on the other. Both vanish with their threads; the machine's own is not touched.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::process::Command;
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::sockopt::SendTimeout;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, setsockopt, socket,
};
use nix::sys::time::{TimeVal, TimeValLike};

/// How long anything that must happen may take. Spent only when a test fails.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// How long an answer that must not come is waited for.
const SILENCE_MILLIS: i64 = 250;

type Work = Box<dyn FnOnce() + Send>;

/// Both namespaces. The thread that holds it is in the gate's.
pub(crate) struct Lab {
    client: Sender<Work>,
}

/// A host behind the gate, on a network of its own. The gate is its way to everywhere.
pub(crate) struct HostBehind {
    work: Sender<Work>,
}

/// Addresses of the host behind the gate.
pub(crate) const BEHIND: [&str; 2] = ["192.168.10.5", "2001:db8:10::5"];

impl HostBehind {
    /// Runs `work` there.
    pub(crate) fn at<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        run_at(&self.work, work)
    }
}

/// A connection that is being made.
pub(crate) struct Connecting(TcpStream);

impl Connecting {
    /// Whether it was answered.
    pub(crate) fn is_up(&self) -> bool {
        self.0.peer_addr().is_ok()
    }
}

/// A family of addresses with those of the laboratory (RFC 2544, RFC 3849).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Net {
    pub(crate) gate: IpAddr,
    /// The client that knocks.
    pub(crate) friend: IpAddr,
    /// The client that does not.
    pub(crate) stranger: IpAddr,
}

/// IPv4 and IPv6.
pub(crate) fn nets() -> [Net; 2] {
    let net = |gate: &str, friend: &str, stranger: &str| Net {
        gate: gate.parse().unwrap(),
        friend: friend.parse().unwrap(),
        stranger: stranger.parse().unwrap(),
    };
    [net("198.18.0.1", "198.18.0.2", "198.18.0.3"), net("2001:db8::1", "2001:db8::2", "2001:db8::3")]
}

/// Runs `body` on a thread in a fresh laboratory.
pub(crate) fn in_lab(body: impl FnOnce(&Lab) + Send + 'static) {
    let gate = thread::spawn(move || {
        enter_fresh_namespace();
        let (client, work) = channel::<Work>();
        let (tell, told) = channel();
        let client_thread = thread::spawn(move || {
            enter_fresh_namespace();
            tell.send(nix::unistd::gettid()).unwrap();
            work.into_iter().for_each(|work| work());
        });
        let lab = Lab { client };
        ip(&format!("link add gate0 type veth peer name client0 netns {}", told.recv().unwrap()));
        address("gate0", &["198.18.0.1/24", "2001:db8::1/64"]);
        lab.at_client(|| {
            address("client0", &["198.18.0.2/24", "198.18.0.3/24", "2001:db8::2/64", "2001:db8::3/64"]);
        });
        body(&lab);
        drop(lab);
        client_thread.join().unwrap();
    });
    if let Err(panic) = gate.join() {
        std::panic::resume_unwind(panic);
    }
}

fn enter_fresh_namespace() {
    unshare(CloneFlags::CLONE_NEWNET)
        .expect("cannot make a network namespace: these tests must be run as root");
}

fn address(interface: &str, addresses: &[&str]) {
    ip("link set lo up");
    ip(&format!("link set {interface} up"));
    for address in addresses {
        let nodad = if address.contains(':') { "nodad" } else { "" };
        ip(&format!("address add {address} dev {interface} {nodad}"));
    }
}

/// Sets a value below `/proc/sys/net` in the thread's namespace.
fn switch(key: &str, value: &str) {
    std::fs::write(format!("/proc/sys/net/{key}"), value).unwrap();
}

fn ip(words: &str) {
    run(&format!("ip {words}"));
}

/// Runs a command of words separated by blanks, which must succeed, in the thread's namespace.
pub(crate) fn run(words: &str) -> String {
    let mut words = words.split_whitespace();
    let program = words.next().unwrap();
    let path = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"]
        .map(|directory| std::path::Path::new(directory).join(program))
        .into_iter()
        .find(|path| path.exists())
        .unwrap_or_else(|| panic!("{program} is not installed and needed by this test"));
    let output = Command::new(path).args(words).output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{program}: {stdout}{stderr}");
    stdout.into_owned()
}

/// Looks until `look` is true.
pub(crate) fn wait_until(what: &str, mut look: impl FnMut() -> bool) {
    let started = Instant::now();
    while !look() {
        assert!(started.elapsed() < DEADLINE, "waited in vain: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Runs `work` on the thread that takes it.
fn run_at<T: Send + 'static>(thread: &Sender<Work>, work: impl FnOnce() -> T + Send + 'static) -> T {
    let (tell, told) = channel();
    thread.send(Box::new(move || drop(tell.send(work())))).unwrap();
    told.recv().expect("the work failed")
}

impl Lab {
    /// Runs `work` in the clients' namespace.
    pub(crate) fn at_client<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        run_at(&self.client, work)
    }

    /// A host behind the gate, which forwards from now on. Its namespace goes with its thread, which
    /// ends with what is returned. Clients know the way to it.
    pub(crate) fn host_behind(&self) -> HostBehind {
        let (work, takes) = channel::<Work>();
        let (tell, told) = channel();
        thread::spawn(move || {
            enter_fresh_namespace();
            switch("ipv6/conf/default/accept_dad", "0");
            tell.send(nix::unistd::gettid()).unwrap();
            takes.into_iter().for_each(|work| work());
        });
        // A router asks for neighbours from an address that would have to be proved its own first.
        switch("ipv6/conf/default/accept_dad", "0");
        ip(&format!("link add lan0 type veth peer name host0 netns {}", told.recv().unwrap()));
        address("lan0", &["192.168.10.1/24", "2001:db8:10::1/64"]);
        switch("ipv4/ip_forward", "1");
        switch("ipv6/conf/all/forwarding", "1");
        let host = HostBehind { work };
        host.at(|| {
            address("host0", &["192.168.10.5/24", "2001:db8:10::5/64"]);
            ip("route add default via 192.168.10.1");
            ip("-6 route add default via 2001:db8:10::1");
        });
        self.at_client(|| {
            ip("route add 192.168.10.0/24 via 198.18.0.1");
            ip("-6 route add 2001:db8:10::/64 via 2001:db8::1");
        });
        host
    }

    /// Connects from `source`; `None` when there is no answer.
    pub(crate) fn connect(&self, source: IpAddr, to: IpAddr, port: u16) -> Option<TcpStream> {
        self.connect_within(SILENCE_MILLIS, source, to, port)
    }

    /// Connects from `source`, by one attempt that must succeed, however busy the machine is.
    pub(crate) fn reach(&self, source: IpAddr, to: IpAddr, port: u16) -> TcpStream {
        let patience = i64::try_from(DEADLINE.as_millis()).unwrap();
        let connection = self.connect_within(patience, source, to, port);
        connection.unwrap_or_else(|| panic!("{source} is let in to {to} port {port}"))
    }

    fn connect_within(&self, millis: i64, source: IpAddr, to: IpAddr, port: u16) -> Option<TcpStream> {
        self.at_client(move || {
            let family = if to.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
            let fd = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
            setsockopt(&fd, SendTimeout, &TimeVal::milliseconds(millis)).unwrap();
            bind(fd.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(source, 0))).unwrap();
            let target = SockaddrStorage::from(SocketAddr::new(to, port));
            match connect(fd.as_raw_fd(), &target) {
                Ok(()) => Some(TcpStream::from(fd)),
                // The time is over: the gate is silent.
                Err(nix::errno::Errno::EINPROGRESS) => None,
                Err(errno) => panic!("{source} -> {to} port {port}: {errno}; the gate must be silent"),
            }
        })
    }

    /// Begins to connect from `source`, and lets the kernel try.
    pub(crate) fn connecting(&self, source: IpAddr, to: IpAddr, port: u16) -> Connecting {
        self.at_client(move || {
            let family = if to.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
            let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
            let fd = socket(family, SockType::Stream, flags, None).unwrap();
            bind(fd.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(source, 0))).unwrap();
            let begun = connect(fd.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(to, port)));
            assert_eq!(begun, Err(nix::errno::Errno::EINPROGRESS));
            Connecting(TcpStream::from(fd))
        })
    }

    /// Whether a TCP port answers `source`.
    pub(crate) fn answers(&self, source: IpAddr, to: IpAddr, port: u16) -> bool {
        self.connect(source, to, port).is_some()
    }

    /// Whether a datagram from `source` reaches `server`.
    pub(crate) fn datagram_arrives(&self, source: IpAddr, server: &UdpSocket) -> bool {
        let target = server.local_addr().unwrap();
        self.at_client(move || {
            UdpSocket::bind(SocketAddr::new(source, 0)).unwrap().send_to(b"?", target).unwrap();
        });
        // Across a cable of this kind it is there when it has been sent.
        server.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        server.recv_from(&mut [0; 8]).is_ok()
    }
}

/// A TCP service on `port` of the gate that sends back what it gets.
pub(crate) fn serve(address: IpAddr, port: u16) {
    let listener = TcpListener::bind(SocketAddr::new(address, port)).unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            thread::spawn(move || {
                let mut buffer = [0; 64];
                while let Ok(octets @ 1..) = stream.read(&mut buffer) {
                    if stream.write_all(&buffer[..octets]).is_err() {
                        return;
                    }
                }
            });
        }
    });
}

/// Whether the connection still carries octets both ways.
pub(crate) fn echoes(mut stream: &TcpStream) -> bool {
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut answer = [0; 4];
    stream.write_all(b"ping").is_ok() && stream.read_exact(&mut answer).is_ok() && answer == *b"ping"
}
