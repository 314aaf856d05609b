//! The yardstick: a loop around libpcap that only counts.

use anyhow::Result;
use pcap::Capture;

/// Captures like the daemon (immediate mode, 256 octets, ring of 2 MiB) what `filter` lets through,
/// until it is killed.
///
/// # Errors
/// From libpcap.
pub fn run(interface: &str, filter: &str) -> Result<()> {
    let capture = Capture::from_device(interface)?.immediate_mode(true).promisc(false);
    let mut capture = capture.snaplen(256).buffer_size(2 * 1024 * 1024).open()?;
    capture.filter(filter, true)?;
    let mut octets = 0_u64;
    loop {
        octets = octets.wrapping_add(capture.next_packet()?.data.len() as u64);
        std::hint::black_box(octets);
    }
}
