//! Any frame on any link: no panic, and what was captured is all that may be missing.
//!
//! The first octet chooses the link type.

use std::net::IpAddr;

use postern_core::knock::{InterfaceIndex, Knock, Protocol, TcpFlags};
use postern_core::limits::FRAME_BYTES_MAX;
use postern_core::port::{Frame, LinkType};
use postern_core::wire::{self, Ignored};

const INTERFACE: InterfaceIndex = InterfaceIndex(3);

/// Reads the frame, then every shorter capture of it.
///
/// # Panics
/// When the parser breaks a promise.
pub fn run(bytes: &[u8]) {
    let Some((&choice, bytes)) = bytes.split_first() else { return };
    let link = LinkType::ALL[usize::from(choice) % LinkType::ALL.len()];
    let bytes = &bytes[..bytes.len().min(FRAME_BYTES_MAX)];
    let whole = parse(link, bytes);
    if let Ok(knock) = &whole {
        check_knock(knock);
    }
    // A cut capture hides what is cut and changes nothing else.
    for cut in 0..bytes.len() {
        let part = parse(link, &bytes[..cut]);
        // One octet of 0xff may begin two of PPP's forms.
        let misread = link == LinkType::Ppp && part.is_err();
        assert!(
            part == whole || part == Err(Ignored::TooShort) || misread,
            "cut at {cut} of {}: {part:?}, whole {whole:?}",
            bytes.len()
        );
    }
}

fn parse(link: LinkType, bytes: &[u8]) -> Result<Knock, Ignored> {
    wire::parse(&Frame { interface: INTERFACE, link, bytes })
}

fn check_knock(knock: &Knock) {
    assert_eq!(knock.interface, INTERFACE);
    assert_eq!(knock.source.is_ipv4(), knock.target.is_ipv4(), "{knock:?}");
    assert!(!knock.source.is_unspecified() && !knock.source.is_loopback(), "{knock:?}");
    assert!(!knock.source.is_multicast() && !knock.target.is_multicast(), "{knock:?}");
    if let IpAddr::V6(source) = knock.source {
        assert!(source.to_ipv4_mapped().is_none(), "{knock:?}");
    }
    if knock.step.protocol != Protocol::Tcp {
        assert_eq!(knock.flags, TcpFlags::NONE);
    }
}
