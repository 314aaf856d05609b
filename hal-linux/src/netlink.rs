//! A small netlink transport, to netfilter and to the routes: messages are encoded into a buffer of the caller's, sent by one
//! system call, and their answers read back. Nothing here allocates.
//!
//! Layout of messages and attributes: netlink(7), `linux/netlink.h`, `linux/netfilter/nfnetlink.h`.

mod attribute;
mod message;
mod socket;

pub(crate) use attribute::{Attribute, Attributes, NET_BYTE_ORDER};
pub(crate) use message::{Encoder, Header, Message, Messages, Subsystem, flags};
pub(crate) use socket::{NetlinkError, NetlinkSocket, Window};
