//! The two things the `pcap` crate's safe interface has no way to do, and nothing else:
//!
//! - activating a capture whose device libpcap takes only with a warning. `Capture::open` treats
//!   warnings as errors, and libpcap warns about every device type it has no name for, as the raw IP
//!   interfaces of Qualcomm modems (`ARPHRD_RAWIP`), although it captures them well in cooked mode.
//!   It also hides the status, which tells a missing privilege from a missing interface;
//! - attaching a kernel filter that libpcap's compiler did not make. libpcap never learns of it, so
//!   it cannot fall back to filtering in user space either.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::os::fd::{AsFd, AsRawFd};
use std::ptr::NonNull;

use nix::errno::Errno;
use nix::libc::{self, sock_fprog};
use pcap::{Active, Capture};

use crate::bpf::Program;

// SAFETY: the signatures are those of pcap(3PCAP); the `pcap` crate links the library.
unsafe extern "C" {
    fn pcap_create(source: *const c_char, errbuf: *mut c_char) -> *mut c_void;
    fn pcap_set_snaplen(handle: *mut c_void, octets: c_int) -> c_int;
    fn pcap_set_promisc(handle: *mut c_void, on: c_int) -> c_int;
    fn pcap_set_immediate_mode(handle: *mut c_void, on: c_int) -> c_int;
    fn pcap_set_buffer_size(handle: *mut c_void, octets: c_int) -> c_int;
    fn pcap_activate(handle: *mut c_void) -> c_int;
    fn pcap_geterr(handle: *mut c_void) -> *const c_char;
    fn pcap_close(handle: *mut c_void);
}

/// `PCAP_ERRBUF_SIZE` in `<pcap/pcap.h>`.
const ERROR_TEXT_BYTES: usize = 256;

/// How a capture is set up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    /// Octets kept of each frame.
    pub(super) frame_octets: c_int,
    /// Octets of the ring shared with the kernel.
    pub(super) ring_octets: c_int,
}

/// Why libpcap did not open an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ActivateError {
    NoSuchInterface,
    InterfaceDown,
    NoPrivilege,
    Other(String),
}

impl ActivateError {
    /// From the status of `pcap_activate` (pcap_activate(3PCAP)).
    fn from_status(status: c_int, text: impl FnOnce() -> String) -> Self {
        const PCAP_ERROR_NO_SUCH_DEVICE: c_int = -5;
        const PCAP_ERROR_PERM_DENIED: c_int = -8;
        const PCAP_ERROR_IFACE_NOT_UP: c_int = -9;
        match status {
            PCAP_ERROR_NO_SUCH_DEVICE => ActivateError::NoSuchInterface,
            PCAP_ERROR_PERM_DENIED => ActivateError::NoPrivilege,
            PCAP_ERROR_IFACE_NOT_UP => ActivateError::InterfaceDown,
            _ => ActivateError::Other(text()),
        }
    }
}

/// A handle that is closed unless it is handed on.
struct Inactive(NonNull<c_void>);

impl Drop for Inactive {
    fn drop(&mut self) {
        // SAFETY: `Inactive` owns the handle and nobody has closed it.
        unsafe { pcap_close(self.0.as_ptr()) }
    }
}

impl Inactive {
    fn new(interface: &str) -> Result<Self, ActivateError> {
        let name = CString::new(interface).map_err(|_| ActivateError::NoSuchInterface)?;
        let mut error: [c_char; ERROR_TEXT_BYTES] = [0; ERROR_TEXT_BYTES];
        // SAFETY: `name` is a terminated string and `error` has the size pcap_create(3PCAP) asks
        // for; both outlive the call.
        let handle = unsafe { pcap_create(name.as_ptr(), error.as_mut_ptr()) };
        // SAFETY: libpcap terminates the text, and it was all zero before.
        let text = || unsafe { CStr::from_ptr(error.as_ptr()) }.to_string_lossy().into_owned();
        NonNull::new(handle).map(Inactive).ok_or_else(|| ActivateError::Other(text()))
    }

    fn set_up(&self, settings: Settings) {
        let handle = self.0.as_ptr();
        // SAFETY: the handle is valid and not yet activated, which is all these calls need and the
        // only reason for which they may fail (pcap_set_snaplen(3PCAP)).
        unsafe {
            pcap_set_snaplen(handle, settings.frame_octets);
            pcap_set_promisc(handle, 0);
            pcap_set_immediate_mode(handle, 1);
            pcap_set_buffer_size(handle, settings.ring_octets);
        }
    }

    fn activate(self) -> Result<Capture<Active>, ActivateError> {
        // SAFETY: the handle is valid and not yet activated.
        let status = unsafe { pcap_activate(self.0.as_ptr()) };
        if status < 0 {
            // SAFETY: the handle is valid; its error text is terminated and copied at once.
            let text =
                || unsafe { CStr::from_ptr(pcap_geterr(self.0.as_ptr())) }.to_string_lossy().into_owned();
            return Err(ActivateError::from_status(status, text));
        }
        // Status above 0 is a warning: the handle is active.
        let handle = self.0.cast();
        std::mem::forget(self);
        // The crate takes ownership of an activated handle and closes it in the end.
        Ok(Capture::<Active>::from(handle))
    }
}

/// Opens an interface: immediate mode, not promiscuous, no filter yet.
pub(super) fn open(interface: &str, settings: Settings) -> Result<Capture<Active>, ActivateError> {
    let inactive = Inactive::new(interface)?;
    inactive.set_up(settings);
    inactive.activate()
}

/// Puts `program` in the place of the socket's filter, at once for every packet from now on.
pub(super) fn attach(socket: &impl AsFd, program: &Program) -> Result<(), Errno> {
    let instructions = program.instructions();
    let filter = sock_fprog {
        len: u16::try_from(instructions.len()).map_err(|_| Errno::EINVAL)?,
        // The kernel only reads; the C structure has no `const`.
        filter: instructions.as_ptr().cast_mut(),
    };
    let length = u32::try_from(size_of::<sock_fprog>()).map_err(|_| Errno::EINVAL)?;
    // SAFETY: the option value is a `sock_fprog` of the length given, which points to
    // `filter.len` instructions; both live until the call returns, and the kernel copies them.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const filter).cast(),
            length,
        )
    };
    Errno::result(result).map(drop)
}
