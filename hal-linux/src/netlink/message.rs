//! Messages: `struct nlmsghdr`, `struct nfgenmsg`, attributes.

use super::attribute::{Attributes, HEADER_BYTES, NESTED};

/// Octets of `struct nlmsghdr`.
const MESSAGE_HEADER_BYTES: usize = 16;

/// Octets of `struct nfgenmsg`, which every message of netfilter has behind it.
const FAMILY_HEADER_BYTES: usize = 4;

/// Part of netfilter a message is for (`NFNL_SUBSYS_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subsystem {
    /// Begin and end of a batch.
    Batch = 0,
    /// Connection tracking.
    Connections = 1,
    /// IP sets.
    IpSet = 6,
    /// nf_tables.
    NfTables = 10,
}

/// Flags of a message (`NLM_F_*`).
pub(crate) mod flags {
    /// Every message to the kernel.
    pub(crate) const REQUEST: u16 = 0x001;
    /// Say also that it was done.
    pub(crate) const ACK: u16 = 0x004;
    /// A listing that changed while it was made; read it again.
    pub(crate) const DUMP_INTERRUPTED: u16 = 0x010;
    /// List all (`NLM_F_ROOT | NLM_F_MATCH`).
    pub(crate) const DUMP: u16 = 0x300;
    /// Create it. What exists is updated or left: nothing here asks that it must not (`NLM_F_EXCL`).
    pub(crate) const CREATE: u16 = 0x400;
}

/// What stands before the attributes of a message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header {
    /// Part of netfilter.
    pub(crate) subsystem: Subsystem,
    /// Number of the message in that part.
    pub(crate) kind: u8,
    /// [`flags`]; `REQUEST` is always set.
    pub(crate) flags: u16,
    /// Comes back in the answer.
    pub(crate) sequence: u32,
    /// `NFPROTO_*`.
    pub(crate) family: u8,
    /// Subsystem of a batch, else 0.
    pub(crate) resource: u16,
}

/// The buffer was too small; nothing must be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooLong;

/// Writes messages one behind the other.
#[derive(Debug)]
pub(crate) struct Encoder<'b> {
    buffer: &'b mut [u8],
    length: usize,
    fits: bool,
}

impl<'b> Encoder<'b> {
    /// Writes to the beginning of `buffer`.
    pub(crate) const fn new(buffer: &'b mut [u8]) -> Self {
        Self { buffer, length: 0, fits: true }
    }

    /// A whole message to netfilter with the attributes that `content` writes.
    pub(crate) fn message(&mut self, header: Header, content: impl FnOnce(&mut Self)) {
        let kind = (header.subsystem as u16) << 8 | u16::from(header.kind);
        let kind = if header.subsystem == Subsystem::Batch { 0x10 | kind } else { kind };
        let [high, low] = header.resource.to_be_bytes();
        self.framed(kind, header.flags, header.sequence, &[header.family, 0, high, low], content);
    }

    /// A whole message with a fixed part, `head`, and the attributes that `content` writes.
    pub(crate) fn framed(
        &mut self,
        kind: u16,
        flags: u16,
        sequence: u32,
        head: &[u8],
        content: impl FnOnce(&mut Self),
    ) {
        let start = self.length;
        self.push(&[0; 4]);
        self.push(&kind.to_ne_bytes());
        self.push(&(flags | flags::REQUEST).to_ne_bytes());
        self.push(&sequence.to_ne_bytes());
        self.push(&[0; 4]);
        self.push(head);
        content(self);
        let length = u32::try_from(self.length - start).unwrap_or(u32::MAX);
        self.patch(start, &length.to_ne_bytes());
    }

    /// An attribute with this payload.
    pub(crate) fn attribute(&mut self, kind: u16, payload: &[u8]) {
        let Ok(length) = u16::try_from(HEADER_BYTES + payload.len()) else {
            self.fits = false;
            return;
        };
        self.push(&length.to_ne_bytes());
        self.push(&kind.to_ne_bytes());
        self.push(payload);
        self.pad();
    }

    /// An attribute with a text and its terminating zero.
    pub(crate) fn text(&mut self, kind: u16, text: &str) {
        self.nest_raw(kind, |encoder| {
            encoder.push(text.as_bytes());
            encoder.push(&[0]);
        });
    }

    /// An attribute made of the attributes that `content` writes.
    pub(crate) fn nest(&mut self, kind: u16, content: impl FnOnce(&mut Self)) {
        self.nest_raw(kind | NESTED, content);
    }

    fn nest_raw(&mut self, kind: u16, content: impl FnOnce(&mut Self)) {
        let start = self.length;
        self.push(&[0; 2]);
        self.push(&kind.to_ne_bytes());
        content(self);
        match u16::try_from(self.length - start) {
            Ok(length) => self.patch(start, &length.to_ne_bytes()),
            Err(_) => self.fits = false,
        }
        self.pad();
    }

    /// Attributes as the kernel wrote them.
    pub(crate) fn raw(&mut self, attributes: &[u8]) {
        self.push(attributes);
    }

    /// What was written.
    ///
    /// # Errors
    /// [`TooLong`] when the buffer or an attribute's length was exceeded.
    pub(crate) fn finish(self) -> Result<&'b [u8], TooLong> {
        match self.buffer.get(..self.length) {
            Some(octets) if self.fits => Ok(octets),
            _ => Err(TooLong),
        }
    }

    fn push(&mut self, octets: &[u8]) {
        let end = self.length + octets.len();
        match self.buffer.get_mut(self.length..end) {
            Some(place) => {
                place.copy_from_slice(octets);
                self.length = end;
            }
            None => self.fits = false,
        }
    }

    fn pad(&mut self) {
        let missing = self.length.next_multiple_of(4) - self.length;
        self.push([0; 3].get(..missing).unwrap_or_default());
    }

    fn patch(&mut self, start: usize, octets: &[u8]) {
        if let Some(place) = self.buffer.get_mut(start..start + octets.len()) {
            place.copy_from_slice(octets);
        }
    }
}

/// A message from the kernel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Message<'a> {
    /// Subsystem in the upper octet and number in the lower; below 16 a control message.
    pub(crate) kind: u16,
    /// [`flags`].
    pub(crate) flags: u16,
    /// Of the message it answers.
    pub(crate) sequence: u32,
    /// Everything behind `struct nlmsghdr`.
    pub(crate) payload: &'a [u8],
}

impl<'a> Message<'a> {
    /// Attributes behind `struct nfgenmsg`.
    pub(crate) fn attributes(self) -> Attributes<'a> {
        Attributes::new(self.payload.get(FAMILY_HEADER_BYTES..).unwrap_or_default())
    }
}

/// Messages of one datagram. What is cut short or malformed ends the list.
#[derive(Debug)]
pub(crate) struct Messages<'a>(pub(crate) &'a [u8]);

impl<'a> Iterator for Messages<'a> {
    type Item = Message<'a>;

    fn next(&mut self) -> Option<Message<'a>> {
        let octets = self.0;
        let length = usize::try_from(u32::from_ne_bytes(*octets.first_chunk()?)).ok()?;
        let kind = u16::from_ne_bytes(*octets.get(4..)?.first_chunk()?);
        let flags = u16::from_ne_bytes(*octets.get(6..)?.first_chunk()?);
        let sequence = u32::from_ne_bytes(*octets.get(8..)?.first_chunk()?);
        let payload = octets.get(MESSAGE_HEADER_BYTES..length)?;
        self.0 = octets.get(length.checked_next_multiple_of(4)?..).unwrap_or_default();
        Some(Message { kind, flags, sequence, payload })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::NET_BYTE_ORDER;

    const HEADER: Header = Header {
        subsystem: Subsystem::IpSet,
        kind: 9,
        flags: flags::ACK,
        sequence: 7,
        family: 2,
        resource: 0,
    };

    fn write(encoder: &mut Encoder<'_>) {
        encoder.text(2, "POSTERN");
        encoder.nest(7, |data| data.attribute(4 | NET_BYTE_ORDER, &22u16.to_be_bytes()));
    }

    #[test]
    fn what_is_written_is_read_back() {
        let mut buffer = [0xaa; 128];
        let mut encoder = Encoder::new(&mut buffer);
        encoder.message(HEADER, write);
        encoder.message(Header { sequence: 8, ..HEADER }, |_| {});
        let octets = encoder.finish().unwrap();
        let messages: Vec<_> = Messages(octets).collect();
        assert_eq!(messages.len(), 2);
        let first = messages[0];
        assert_eq!((first.kind, first.flags, first.sequence), (0x0609, 0x005, 7));
        assert_eq!(first.payload[..4], [2, 0, 0, 0]);
        assert_eq!(first.attributes().find(2).unwrap().text(), b"POSTERN");
        assert_eq!(first.attributes().find(7).unwrap().nested().find(4).unwrap().be16(), Some(22));
        assert_eq!(messages[1].sequence, 8);
        assert!(messages[1].attributes().next().is_none());
    }

    #[test]
    fn no_room_is_an_error_and_not_a_shorter_message() {
        for room in 0..52 {
            let mut buffer = [0; 128];
            let mut encoder = Encoder::new(&mut buffer[..room]);
            encoder.message(HEADER, write);
            let fits = encoder.finish().is_ok();
            assert_eq!(fits, room >= 44, "{room}");
        }
    }

    #[test]
    fn nothing_the_kernel_could_send_panics() {
        let mut buffer = [0; 128];
        let mut encoder = Encoder::new(&mut buffer);
        encoder.message(HEADER, write);
        let length = encoder.finish().unwrap().len();
        for cut in 0..=length {
            for place in 0..cut {
                for value in [0, 1, 3, 4, 5, 0x7f, 0xff] {
                    let mut octets = buffer;
                    octets[place] = value;
                    for message in Messages(&octets[..cut]) {
                        for attribute in message.attributes() {
                            let _ = (attribute.octet(), attribute.be16(), attribute.be32(), attribute.be64());
                            let _ = (attribute.text(), attribute.nested().count());
                        }
                    }
                }
            }
        }
    }
}
