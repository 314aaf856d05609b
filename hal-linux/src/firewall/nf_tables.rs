//! The netlink protocol of nf_tables (`linux/netfilter/nf_tables.h`), as far as elements of sets
//! are changed and the table is read back.

use nix::libc;

use super::{LISTING_BYTES, ObjectName};
use crate::netlink::{
    Attribute, Encoder, Header, Message, NetlinkError, NetlinkSocket, Subsystem, Window, flags,
};

/// Octets of the longest batch: three messages of eight elements of 64 with names and headers.
const BATCH_BYTES: usize = 2560;

/// Octets of the longest answer but for listings: an error with the message that caused it.
const ANSWER_BYTES: usize = 1024;

/// Octets of the longest key: an IPv6 address, a transport and a port.
pub(super) const KEY_BYTES_MAX: usize = 24;

/// Times a listing that was changed while it was made is begun again.
const LISTING_TRIES: usize = 10;

/// `NFPROTO_INET`: one table for both families.
const INET: u8 = 1;

/// Messages (`NFT_MSG_*`, `NFNL_MSG_BATCH_*`).
mod kind {
    pub(super) const BATCH_BEGIN: u8 = 0;
    pub(super) const BATCH_END: u8 = 1;
    pub(super) const GET_CHAIN: u8 = 4;
    pub(super) const GET_RULE: u8 = 7;
    pub(super) const GET_SET: u8 = 10;
    pub(super) const NEW_ELEMENT: u8 = 12;
    pub(super) const GET_ELEMENT: u8 = 13;
    pub(super) const DELETE_ELEMENT: u8 = 14;
    pub(super) const GET_GENERATION: u8 = 16;
}

/// Attributes (`NFTA_*`).
mod attr {
    pub(super) const LIST_ELEMENT: u16 = 1;
    pub(super) const ELEMENTS_TABLE: u16 = 1;
    pub(super) const ELEMENTS_SET: u16 = 2;
    pub(super) const ELEMENTS: u16 = 3;
    pub(super) const ELEMENT_KEY: u16 = 1;
    pub(super) const ELEMENT_TIMEOUT: u16 = 4;
    pub(super) const ELEMENT_EXPIRATION: u16 = 5;
    pub(super) const DATA_VALUE: u16 = 1;
    pub(super) const SET_TABLE: u16 = 1;
    pub(super) const SET_NAME: u16 = 2;
    pub(super) const CHAIN_TABLE: u16 = 1;
    pub(super) const CHAIN_NAME: u16 = 3;
    pub(super) const CHAIN_HOOK: u16 = 4;
    pub(super) const CHAIN_POLICY: u16 = 5;
    pub(super) const CHAIN_TYPE: u16 = 7;
    pub(super) const HOOK_NUMBER: u16 = 1;
    pub(super) const HOOK_PRIORITY: u16 = 2;
    pub(super) const RULE_TABLE: u16 = 1;
    pub(super) const RULE_CHAIN: u16 = 2;
    pub(super) const RULE_EXPRESSIONS: u16 = 4;
    pub(super) const RULE_USER_DATA: u16 = 7;
}

/// The first kind of user data of a rule: its comment (libnftnl, `NFTNL_UDATA_RULE_COMMENT`).
const USER_DATA_COMMENT: u8 = 0;

/// A rule as the kernel lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ListedRule {
    /// `None` for a rule without.
    pub(super) comment: Option<String>,
    /// What it does: `NFTA_RULE_EXPRESSIONS`, octet for octet (linux/netfilter/nf_tables.h).
    expressions: Vec<u8>,
}

/// A key of a set and the milliseconds its element shall live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Element {
    octets: [u8; KEY_BYTES_MAX],
    length: usize,
    /// Milliseconds it shall live; for a listing, those left. `None`: for ever.
    pub(super) millis: Option<u64>,
}

impl Element {
    /// Parts of a concatenated key, each padded to four octets, as nf_tables wants them.
    pub(super) fn of_parts(parts: &[&[u8]], millis: Option<u64>) -> Self {
        let mut element = Self { octets: [0; KEY_BYTES_MAX], length: 0, millis };
        for part in parts {
            let end = element.length + part.len().next_multiple_of(4);
            let place = element.octets.get_mut(element.length..element.length + part.len());
            if let (Some(place), true) = (place, end <= KEY_BYTES_MAX) {
                place.copy_from_slice(part);
                element.length = end;
            }
        }
        element
    }

    /// The key.
    pub(super) fn key(&self) -> &[u8] {
        self.octets.get(..self.length).unwrap_or_default()
    }
}

/// Where a base chain is hooked in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hook {
    /// `NF_INET_*`; 1 is input.
    pub(super) number: u32,
    /// Lower is earlier.
    pub(super) priority: i32,
    /// `NF_ACCEPT` is 1.
    pub(super) policy: u32,
    /// Whether it is of type `filter`.
    pub(super) is_filter: bool,
}

/// Speaks to the kernel about one table. Of the network namespace it was opened in.
#[derive(Debug)]
pub(super) struct NfTable {
    socket: NetlinkSocket,
    table: ObjectName,
}

impl NfTable {
    /// Opens the way to the kernel. Nothing is asked yet.
    pub(super) fn open(table: ObjectName) -> Result<Self, NetlinkError> {
        Ok(Self { socket: NetlinkSocket::to_netfilter().map_err(NetlinkError::NotSent)?, table })
    }

    /// Shows whether the kernel has nf_tables at all and whether this process may use it.
    pub(super) fn shake_hands(&mut self) -> Result<(), NetlinkError> {
        let nothing = |_: &mut Encoder<'_>, _: &str| {};
        match self.list(kind::GET_GENERATION, flags::ACK, nothing, &mut (), |_, ()| {}) {
            // There is no such subsystem (nfnetlink_rcv_msg).
            Err(NetlinkError::Refused(libc::EINVAL)) => Err(NetlinkError::Refused(libc::EPROTONOSUPPORT)),
            other => other,
        }
    }

    /// Adds elements, all or none. One that is there gets the new time-out.
    ///
    /// Kernels before 6.12 leave an element as it is when it is added again. So each is added (it
    /// exists then, whether or not it did before), deleted (which cannot fail therefore) and added
    /// again, in one transaction: no packet sees the set without it.
    pub(super) fn put(&mut self, set: &str, elements: &[Element]) -> Result<(), NetlinkError> {
        const STEPS: [u8; 3] = [kind::NEW_ELEMENT, kind::DELETE_ELEMENT, kind::NEW_ELEMENT];
        self.batch(&STEPS, set, elements)
    }

    /// Deletes elements. One that is gone is no error.
    ///
    /// Each is added first, so that deleting it cannot fail: a transaction that is rolled back
    /// makes the caller wait for 20 ms in the kernel, and ends of grants come in crowds.
    pub(super) fn delete(&mut self, set: &str, elements: &[Element]) -> Result<(), NetlinkError> {
        const STEPS: [u8; 2] = [kind::NEW_ELEMENT, kind::DELETE_ELEMENT];
        match self.batch(&STEPS, set, elements) {
            // A full set refuses one that it does not have: those that it has are found one by one.
            Err(NetlinkError::Refused(libc::ENFILE)) => elements.iter().try_for_each(|element| {
                match self.batch(&STEPS, set, std::slice::from_ref(element)) {
                    Err(NetlinkError::Refused(libc::ENFILE)) => Ok(()),
                    other => other,
                }
            }),
            other => other,
        }
    }

    /// One transaction: a message for each of `steps`, all with the same elements.
    fn batch(&mut self, steps: &[u8], set: &str, elements: &[Element]) -> Result<(), NetlinkError> {
        match self.batch_once(steps, set, elements) {
            // Either the set is not there, or the time of an element that was there was over
            // between its adding and its deleting. It is gone then, and the second time differs.
            Err(NetlinkError::Refused(libc::ENOENT)) => self.batch_once(steps, set, elements),
            other => other,
        }
    }

    fn batch_once(&mut self, steps: &[u8], set: &str, elements: &[Element]) -> Result<(), NetlinkError> {
        let (mut request, mut answer) = ([0; BATCH_BYTES], [0; ANSWER_BYTES]);
        let messages = u32::try_from(steps.len() + 2).unwrap_or(u32::MAX);
        let window = self.socket.window(messages);
        let mut encoder = Encoder::new(&mut request);
        let limit = |kind, sequence| Header {
            subsystem: Subsystem::Batch,
            kind,
            flags: 0,
            sequence,
            family: 0,
            resource: Subsystem::NfTables as u16,
        };
        encoder.message(limit(kind::BATCH_BEGIN, window.first), |_| {});
        for (position, &step) in (1..).zip(steps) {
            let create = if step == kind::NEW_ELEMENT { flags::CREATE } else { 0 };
            // Errors are answered anyway, success by the last.
            let ack = if position + 2 == messages { flags::ACK } else { 0 };
            let header = self.header(step, create | ack, window, position);
            encoder.message(header, |message| {
                message.text(attr::ELEMENTS_TABLE, self.table.as_str());
                message.text(attr::ELEMENTS_SET, set);
                let timed = step == kind::NEW_ELEMENT;
                message.nest(attr::ELEMENTS, |list| write_elements(list, elements, timed));
            });
        }
        encoder.message(limit(kind::BATCH_END, window.at(messages - 1)), |_| {});
        self.socket.exchange(encoder.finish()?, window, &mut answer, |_| {})
    }

    /// The elements of a set.
    pub(super) fn elements(&mut self, set: &str) -> Result<Vec<Element>, NetlinkError> {
        let mut elements = Vec::new();
        let content = |message: &mut Encoder<'_>, table: &str| {
            message.text(attr::ELEMENTS_TABLE, table);
            message.text(attr::ELEMENTS_SET, set);
        };
        self.list(kind::GET_ELEMENT, flags::DUMP, content, &mut elements, |message, elements| {
            let list = message.attributes().find_or_empty(attr::ELEMENTS).nested();
            elements.extend(list.filter_map(read_element));
        })?;
        Ok(elements)
    }

    /// The names of all sets.
    pub(super) fn sets(&mut self) -> Result<Vec<String>, NetlinkError> {
        let mut names = Vec::new();
        let content = |message: &mut Encoder<'_>, table: &str| message.text(attr::SET_TABLE, table);
        self.list(kind::GET_SET, flags::DUMP, content, &mut names, |message, names| {
            let name = message.attributes().find(attr::SET_NAME).map(Attribute::text);
            names.extend(name.map(|name| String::from_utf8_lossy(name).into_owned()));
        })?;
        Ok(names)
    }

    /// A chain's rules, in order.
    pub(super) fn rules(&mut self, chain: &str) -> Result<Vec<ListedRule>, NetlinkError> {
        let mut rules = Vec::new();
        let content = |message: &mut Encoder<'_>, table: &str| {
            message.text(attr::RULE_TABLE, table);
            message.text(attr::RULE_CHAIN, chain);
        };
        self.list(kind::GET_RULE, flags::DUMP, content, &mut rules, |message, rules| {
            let expressions = message.attributes().find_or_empty(attr::RULE_EXPRESSIONS).payload.to_vec();
            rules.push(ListedRule { comment: read_comment(message), expressions });
        })?;
        Ok(rules)
    }

    /// Where a chain is hooked in; `None` for one that is only jumped to.
    pub(super) fn hook(&mut self, chain: &str) -> Result<Option<Hook>, NetlinkError> {
        let mut hook = None;
        let content = |message: &mut Encoder<'_>, table: &str| {
            message.text(attr::CHAIN_TABLE, table);
            message.text(attr::CHAIN_NAME, chain);
        };
        self.list(kind::GET_CHAIN, flags::ACK, content, &mut hook, |message, hook| {
            *hook = read_hook(message);
        })?;
        Ok(hook)
    }

    fn list<T: Default>(
        &mut self,
        kind: u8,
        flags: u16,
        content: impl Fn(&mut Encoder<'_>, &str),
        found: &mut T,
        each: impl Fn(Message<'_>, &mut T),
    ) -> Result<(), NetlinkError> {
        let (mut request, mut answer) = ([0; ANSWER_BYTES], vec![0; LISTING_BYTES]);
        for _ in 0..LISTING_TRIES {
            *found = T::default();
            let window = self.socket.window(1);
            let mut encoder = Encoder::new(&mut request);
            let header = self.header(kind, flags, window, 0);
            encoder.message(header, |message| content(message, self.table.as_str()));
            let octets = encoder.finish()?;
            match self.socket.exchange(octets, window, &mut answer, |message| each(message, found)) {
                Err(NetlinkError::Interrupted) => {}
                other => return other,
            }
        }
        Err(NetlinkError::Interrupted)
    }

    fn header(&self, kind: u8, flags: u16, window: Window, position: u32) -> Header {
        let sequence = window.at(position);
        Header { subsystem: Subsystem::NfTables, kind, flags, sequence, family: INET, resource: 0 }
    }
}

fn write_elements(list: &mut Encoder<'_>, elements: &[Element], timed: bool) {
    for element in elements {
        list.nest(attr::LIST_ELEMENT, |encoder| {
            encoder.nest(attr::ELEMENT_KEY, |key| key.attribute(attr::DATA_VALUE, element.key()));
            if let (Some(millis), true) = (element.millis, timed) {
                encoder.attribute(attr::ELEMENT_TIMEOUT, &millis.to_be_bytes());
            }
        });
    }
}

fn read_element(element: Attribute<'_>) -> Option<Element> {
    let element = element.nested();
    let key = element.find(attr::ELEMENT_KEY)?.nested().find(attr::DATA_VALUE)?.payload;
    let millis = element.find(attr::ELEMENT_EXPIRATION).and_then(Attribute::be64);
    Some(Element::of_parts(&[key], millis))
}

fn read_comment(message: Message<'_>) -> Option<String> {
    let user_data = message.attributes().find(attr::RULE_USER_DATA)?.payload;
    // Type, length, octets with a terminating zero; the comment is the first.
    let (&[kind, length], rest) = user_data.split_first_chunk()?;
    let text = rest.get(..usize::from(length))?.strip_suffix(&[0])?;
    (kind == USER_DATA_COMMENT).then(|| String::from_utf8_lossy(text).into_owned())
}

fn read_hook(message: Message<'_>) -> Option<Hook> {
    let attributes = message.attributes();
    let hook = attributes.find(attr::CHAIN_HOOK)?.nested();
    Some(Hook {
        number: hook.find(attr::HOOK_NUMBER)?.be32()?,
        priority: hook.find(attr::HOOK_PRIORITY)?.be32()? as i32,
        policy: attributes.find(attr::CHAIN_POLICY)?.be32()?,
        is_filter: attributes.find(attr::CHAIN_TYPE)?.text() == b"filter",
    })
}
