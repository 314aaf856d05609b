//! Why an interface cannot be captured, with what to do about it.

use std::fmt;

use nix::errno::Errno;
use postern_core::limits::{INTERFACE_NAME_BYTES_MAX, INTERFACES_MAX};

use super::InterfaceName;
use super::filter::FilterError;

/// Why a capture was not opened or its filter not replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CaptureOpenError {
    /// No interface is configured.
    NoInterface,
    /// More than [`INTERFACES_MAX`] interfaces are configured.
    TooManyInterfaces,
    /// A configured name is empty, too long, or has a character no interface name has.
    BadName,
    /// There is no such interface now. [`super::LinuxCapture`] waits for it instead of failing.
    NoSuchInterface(InterfaceName),
    /// The interface is down. [`super::LinuxCapture`] waits for it instead of failing.
    InterfaceDown(InterfaceName),
    /// The process may not capture.
    NoPrivilege(InterfaceName),
    /// libpcap reports a link type (`DLT_*`) that cannot be parsed.
    UnsupportedLink(InterfaceName, i32),
    /// The kernel refused the filter program.
    FilterRefused(InterfaceName, Errno),
    /// No filter program can be made of the rules.
    Filter(FilterError),
    /// Anything else, in libpcap's words.
    Other(InterfaceName, String),
}

impl CaptureOpenError {
    /// Whether it is worth another try later with nothing changed but the machine.
    pub(super) const fn is_absence(&self) -> bool {
        matches!(self, CaptureOpenError::NoSuchInterface(_) | CaptureOpenError::InterfaceDown(_))
    }
}

impl From<FilterError> for CaptureOpenError {
    fn from(error: FilterError) -> Self {
        CaptureOpenError::Filter(error)
    }
}

impl fmt::Display for CaptureOpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CaptureOpenError::NoInterface => {
                write!(f, "no interface to capture on: name at least one in `interfaces`")
            }
            CaptureOpenError::TooManyInterfaces => {
                write!(f, "more than {INTERFACES_MAX} interfaces: name fewer, or the interface \"any\"")
            }
            CaptureOpenError::BadName => {
                write!(
                    f,
                    "an interface name has 1 to {INTERFACE_NAME_BYTES_MAX} octets without space and slash"
                )
            }
            CaptureOpenError::NoSuchInterface(name) => {
                write!(f, "{name}: no such interface: check the name with `ip link`")
            }
            CaptureOpenError::InterfaceDown(name) => {
                write!(f, "{name}: interface is down: `ip link set {name} up`")
            }
            CaptureOpenError::NoPrivilege(name) => write!(
                f,
                "{name}: not permitted to capture: run as root or with the capability CAP_NET_RAW \
                 (systemd: AmbientCapabilities=CAP_NET_RAW)"
            ),
            CaptureOpenError::UnsupportedLink(name, dlt) => write!(
                f,
                "{name}: link type {dlt} (DLT_*) is not supported: capture on the IP interface above it, \
                 or on the interface \"any\""
            ),
            CaptureOpenError::FilterRefused(name, Errno::ENOMEM) => write!(
                f,
                "{name}: the kernel has no room for the packet filter: raise net.core.optmem_max \
                 (`sysctl net.core.optmem_max=131072`) or use fewer doors"
            ),
            CaptureOpenError::FilterRefused(name, errno) => {
                write!(f, "{name}: the kernel refused the packet filter: {errno}")
            }
            CaptureOpenError::Filter(error) => write!(f, "{error}"),
            CaptureOpenError::Other(name, text) => write!(f, "{name}: cannot capture: {text}"),
        }
    }
}

impl std::error::Error for CaptureOpenError {}
