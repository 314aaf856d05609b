//! Networks of our own. A test enters a network namespace without a name, which is gone with the
//! last thread and socket in it, however the test ends.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::libc;
use nix::sched::{CloneFlags, unshare};
use pcap::{Active, Capture, Direction};

/// Runs `test` in a thread in a new network namespace.
pub(crate) fn in_namespace(test: impl FnOnce() + Send + 'static) {
    let thread = std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).expect("these tests need root: they make network namespaces");
        test();
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// Runs `ip` with these words.
pub(crate) fn ip(words: &str) {
    let output = Command::new("ip")
        .args(words.split(' '))
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .output()
        .expect("ip (package iproute2) is there");
    assert!(output.status.success(), "ip {words}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Makes two ends of a cable, both up, silent but for what a test sends.
pub(crate) fn cable(near: &str, far: &str) {
    ip(&format!("link add {near} type veth peer name {far}"));
    for end in [near, far] {
        // No neighbour discovery, no multicast listener reports.
        std::fs::write(format!("/proc/sys/net/ipv6/conf/{end}/disable_ipv6"), "1").unwrap();
        ip(&format!("link set {end} up"));
    }
}

/// Sends frames into one end of a cable.
pub(crate) struct Sender(Capture<Active>);

impl Sender {
    pub(crate) fn new(interface: &str) -> Self {
        let capture = Capture::from_device(interface).unwrap().snaplen(64).buffer_size(65_536);
        Self(capture.open().unwrap())
    }

    pub(crate) fn send(&mut self, frame: &[u8]) {
        self.0.sendpacket(frame).unwrap();
    }
}

/// Sees everything that arrives on an interface, after the captures that were opened before it.
pub(crate) struct Witness(Capture<Active>);

impl Witness {
    pub(crate) fn new(interface: &str) -> Self {
        let capture = Capture::from_device(interface).unwrap().snaplen(64).immediate_mode(true);
        let capture = capture.buffer_size(8 * 1024 * 1024).open().unwrap();
        capture.direction(Direction::In).unwrap();
        Self(capture.setnonblock().unwrap())
    }

    /// Waits until `frames` more have arrived: the kernel may deliver them later than they are sent.
    pub(crate) fn wait_for(&mut self, frames: usize) {
        let start = Instant::now();
        let mut seen = 0;
        while seen < frames {
            seen += usize::from(self.0.next_packet().is_ok());
            assert!(start.elapsed() < Duration::from_secs(20), "{seen} of {frames} frames arrived");
        }
    }
}

/// A tun interface, on which the test is the wire.
pub(crate) struct Tun(File);

impl Tun {
    /// `hardware_type` is the `ARPHRD_*` that libpcap goes by; 65534 (none) is that of a plain tun.
    pub(crate) fn new(name: &str, hardware_type: libc::c_ulong) -> Self {
        const TUNSETIFF: libc::c_ulong = 0x4004_54ca;
        const TUNSETLINK: libc::c_ulong = 0x4004_54cd;
        const IFF_TUN_WITHOUT_HEADER: u16 = 0x1001;
        let file =
            OpenOptions::new().read(true).write(true).open("/dev/net/tun").expect("the kernel has tun");
        let mut request = [0_u8; 40]; // struct ifreq
        request[..name.len()].copy_from_slice(name.as_bytes());
        request[16..18].copy_from_slice(&IFF_TUN_WITHOUT_HEADER.to_ne_bytes());
        // SAFETY: the descriptor is open, and the request has the size of a `struct ifreq`.
        let made = unsafe { libc::ioctl(file.as_raw_fd(), TUNSETIFF as _, request.as_mut_ptr()) };
        assert_eq!(made, 0, "{}", std::io::Error::last_os_error());
        // SAFETY: the argument is a number.
        let typed = unsafe { libc::ioctl(file.as_raw_fd(), TUNSETLINK as _, hardware_type) };
        assert_eq!(typed, 0, "{}", std::io::Error::last_os_error());
        ip(&format!("link set {name} up"));
        Self(file)
    }

    pub(crate) fn send(&mut self, packet: &[u8]) {
        self.0.write_all(packet).unwrap();
    }
}

/// Takes every capability from this thread, but for nothing.
pub(crate) fn become_nobody() {
    const NOBODY: libc::c_long = 65_534;
    // SAFETY: numbers only; the bare system call changes this thread, not the others of the test.
    let result = unsafe { libc::syscall(libc::SYS_setresuid, NOBODY, NOBODY, NOBODY) };
    assert_eq!(result, 0);
}
