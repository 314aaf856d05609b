//! Frames as they come off a raw IP link: enough of the headers for the parser.

use std::net::IpAddr;

use postern_core::knock::{Protocol, Step, TcpFlags};

/// The gateway's addresses.
pub const GATEWAY_V4: [u8; 4] = [203, 0, 113, 1];
/// See [`GATEWAY_V4`].
pub const GATEWAY_V6: [u8; 16] = [0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

/// A frame that is changed in place: building one costs no more than its header.
#[derive(Clone, Debug)]
pub struct FrameBytes {
    bytes: [u8; 80],
    length: usize,
}

impl FrameBytes {
    /// The packet that knocks `step` from `source`.
    pub fn new(source: IpAddr, step: Step, flags: TcpFlags) -> Self {
        let mut frame = Self { bytes: [0; 80], length: 0 };
        let payload = match step.protocol {
            Protocol::Tcp => 20,
            Protocol::Udp => 9,
            Protocol::Icmp => 8 + usize::from(step.value),
        };
        let at = frame.ip_header(source, step.protocol, payload);
        frame.transport(at, step, flags);
        frame
    }

    /// The octets, cut short like a capture.
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    fn ip_header(&mut self, source: IpAddr, protocol: Protocol, payload: usize) -> usize {
        match source {
            IpAddr::V4(source) => {
                let number = [6, 17, 1][protocol as usize];
                let total = (20 + payload) as u16;
                self.bytes[0] = 0x45;
                self.bytes[2..4].copy_from_slice(&total.to_be_bytes());
                self.bytes[8] = 64;
                self.bytes[9] = number;
                self.bytes[12..16].copy_from_slice(&source.octets());
                self.bytes[16..20].copy_from_slice(&GATEWAY_V4);
                20
            }
            IpAddr::V6(source) => {
                let number = [6, 17, 58][protocol as usize];
                self.bytes[0] = 0x60;
                self.bytes[4..6].copy_from_slice(&(payload as u16).to_be_bytes());
                self.bytes[6] = number;
                self.bytes[7] = 64;
                self.bytes[8..24].copy_from_slice(&source.octets());
                self.bytes[24..40].copy_from_slice(&GATEWAY_V6);
                40
            }
        }
    }

    fn transport(&mut self, at: usize, step: Step, flags: TcpFlags) {
        let v6 = at == 40;
        match step.protocol {
            Protocol::Tcp => {
                self.bytes[at + 2..at + 4].copy_from_slice(&step.value.to_be_bytes());
                self.bytes[at + 12] = 0x50;
                self.bytes[at + 13] = flags.bits();
                self.length = at + 20;
            }
            Protocol::Udp => {
                self.bytes[at + 2..at + 4].copy_from_slice(&step.value.to_be_bytes());
                self.bytes[at + 5] = 9;
                self.length = at + 9;
            }
            Protocol::Icmp => {
                self.bytes[at] = if v6 { 128 } else { 8 };
                self.length = at + 8;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use postern_core::port::{Frame, LinkType};

    #[test]
    fn frames_are_read_as_they_were_meant() {
        for source in [IpAddr::from([192, 0, 2, 9]), IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 9])] {
            for step in [Step::tcp(7351), Step::udp(24_011), Step::icmp(83), Step::icmp(1400)] {
                let bytes = FrameBytes::new(source, step, TcpFlags::SYN);
                let interface = postern_core::InterfaceIndex(0);
                let frame = Frame { interface, link: LinkType::RawIp, bytes: bytes.as_slice() };
                let knock = postern_core::wire::parse(&frame).expect("a knock");
                assert_eq!((knock.source, knock.step), (source, step));
            }
        }
    }
}
