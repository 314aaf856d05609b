//! Keys of clients: files the site is compiled with, and packets sealed with them.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::Result;
use postern_core::spa::key::{DeviceId, SpaKey};
use postern_core::spa::native::{PACKET_BYTES, Request, Sealer};

use crate::namespace::Namespace;

/// The port packets are awaited on when a site does not say otherwise.
pub const SPA_PORT: u16 = 62_201;

static KEYRINGS: AtomicU32 = AtomicU32::new(0);

/// A folder of secrets, removed when dropped.
#[derive(Debug)]
pub struct Keyring {
    folder: PathBuf,
}

impl Keyring {
    /// An empty folder.
    ///
    /// # Errors
    /// From the file system.
    pub fn new() -> Result<Self> {
        let number = KEYRINGS.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("pst-keys-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o700))?;
        Ok(Self { folder })
    }

    /// Where the file with this name is.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Writes a file that nobody else may read.
    ///
    /// # Errors
    /// From the file system.
    pub fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.path(name);
        std::fs::write(&path, text)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
        Ok(path)
    }

    /// The lines of a site's key, and its secret: 32 octets of `octet`. `more` are further lines.
    ///
    /// # Errors
    /// From the file system.
    pub fn native(&self, name: &str, octet: u8, more: &str) -> Result<String> {
        let path = self.write(&format!("{name}.key"), &base64(&[octet; 32]))?;
        Ok(format!("name = {name:?}\nsecret_file = {:?}\n{more}", path.display().to_string()))
    }
}

impl Drop for Keyring {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A packet that asks for `request`, by the key of 32 octets of `octet`, for `device`.
///
/// # Panics
/// When the request has no octets.
pub fn sealed(octet: u8, device: [u8; 16], request: &Request) -> [u8; PACKET_BYTES] {
    let sealer = Sealer::new(&SpaKey::new([octet; 32]), DeviceId(device));
    sealer.seal(request, &[octet; 24]).expect("a request that can be sealed")
}

/// Sends a datagram from `namespace` to the gateway's port.
///
/// # Errors
/// From the kernel.
pub fn send(namespace: &Namespace, gateway: IpAddr, octets: &[u8]) -> Result<()> {
    namespace.enter(|| {
        let any: SocketAddr = match gateway {
            IpAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
            IpAddr::V6(_) => ([0_u16; 8], 0).into(),
        };
        UdpSocket::bind(any)?.send_to(octets, (gateway, SPA_PORT))?;
        Ok(())
    })
}

/// RFC 4648, with padding.
pub fn base64(octets: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in octets.chunks(3) {
        let three =
            chunk.iter().enumerate().fold(0_u32, |sum, (at, &octet)| sum | u32::from(octet) << (16 - 8 * at));
        for at in 0..4 {
            let digit = usize::try_from(three >> (18 - 6 * at) & 63).unwrap_or(0);
            text.push(if at <= chunk.len() { char::from(ALPHABET[digit]) } else { '=' });
        }
    }
    text
}
