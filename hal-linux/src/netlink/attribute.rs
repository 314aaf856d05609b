//! Reading attributes: a length, a kind and a payload, padded to four octets (netlink(7)).

/// Bit of an attribute's kind: the payload is in network byte order (`NLA_F_NET_BYTEORDER`).
pub(crate) const NET_BYTE_ORDER: u16 = 1 << 14;

/// Bit of an attribute's kind: the payload is a list of attributes (`NLA_F_NESTED`).
pub(super) const NESTED: u16 = 1 << 15;

/// Octets of length and kind.
pub(super) const HEADER_BYTES: usize = 4;

/// One attribute.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attribute<'a> {
    /// What it is, without the bits for nesting and byte order.
    pub(crate) kind: u16,
    /// Its octets, without padding.
    pub(crate) payload: &'a [u8],
}

impl<'a> Attribute<'a> {
    /// The attributes inside it.
    pub(crate) const fn nested(self) -> Attributes<'a> {
        Attributes::new(self.payload)
    }

    /// An octet.
    pub(crate) fn octet(self) -> Option<u8> {
        self.payload.first().copied()
    }

    /// 16 bits in network byte order.
    pub(crate) fn be16(self) -> Option<u16> {
        self.payload.first_chunk().copied().map(u16::from_be_bytes)
    }

    /// 32 bits in network byte order.
    pub(crate) fn be32(self) -> Option<u32> {
        self.payload.first_chunk().copied().map(u32::from_be_bytes)
    }

    /// 64 bits in network byte order.
    pub(crate) fn be64(self) -> Option<u64> {
        self.payload.first_chunk().copied().map(u64::from_be_bytes)
    }

    /// Octets up to the terminating zero.
    pub(crate) fn text(self) -> &'a [u8] {
        self.payload.split(|&octet| octet == 0).next().unwrap_or_default()
    }
}

/// Attributes one after another. What is cut short or malformed ends the list.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attributes<'a>(&'a [u8]);

impl<'a> Attributes<'a> {
    /// The attributes in `octets`.
    pub(crate) const fn new(octets: &'a [u8]) -> Self {
        Self(octets)
    }

    /// The first attribute of this kind.
    pub(crate) fn find(mut self, kind: u16) -> Option<Attribute<'a>> {
        self.by_ref().find(|attribute| attribute.kind == kind)
    }

    /// The first attribute of this kind, or one that is empty.
    pub(crate) fn find_or_empty(self, kind: u16) -> Attribute<'a> {
        self.find(kind).unwrap_or(Attribute { kind, payload: &[] })
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Attribute<'a>;

    fn next(&mut self) -> Option<Attribute<'a>> {
        let octets = self.0;
        let length = usize::from(u16::from_ne_bytes(*octets.first_chunk()?));
        let kind = u16::from_ne_bytes(*octets.get(2..)?.first_chunk()?);
        let payload = octets.get(HEADER_BYTES..length)?;
        self.0 = octets.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(Attribute { kind: kind & !(NESTED | NET_BYTE_ORDER), payload })
    }
}
