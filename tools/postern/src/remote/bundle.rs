//! A configuration in one file: TOML with a head of comments that says whose it is and proves that
//! nothing was lost.
//!
//! ```text
//! # postern bundle 1
//! # gateway pump-station-17
//! # device 00112233445566778899aabbccddeeff
//! # generation 41
//! # digest SHA-256 of everything behind the empty line, in hexadecimal
//!
//! schema = 1
//! ...
//! ```
//!
//! Secrets are labels: they mean something to the gateway they came from and to nobody else.

use postern_console::rpc::reply::Status;
use sha2::{Digest, Sha256};

use super::failure::{Failure, Outcome};
use crate::site::notation::{digits, hex, unhex};

/// A configuration with where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle {
    /// Name of the gateway.
    pub gateway: String,
    /// Its device id.
    pub device: [u8; 16],
    /// The generation.
    pub generation: u64,
    /// The site file.
    pub text: String,
}

impl Bundle {
    /// Of what a gateway runs.
    pub fn of(status: &Status, generation: u64, text: String) -> Self {
        Self { gateway: status.gateway.as_str().to_owned(), device: status.device, generation, text }
    }

    /// SHA-256 of the site file.
    pub fn digest(&self) -> [u8; 32] {
        Sha256::digest(&self.text).into()
    }

    /// The file.
    pub fn write(&self) -> String {
        let Self { gateway, generation, text, .. } = self;
        let (device, digest) = (hex(&self.device), hex(&self.digest()));
        format!(
            "# postern bundle 1\n# gateway {gateway}\n# device {device}\n# generation {generation}\n\
             # digest {digest}\n\n{text}"
        )
    }

    /// Reads the file.
    ///
    /// # Errors
    /// [`Failure::Mismatch`] when something was lost or changed.
    pub fn read(file: &str) -> Outcome<Self> {
        let not_one =
            || Failure::Mismatch("it is no bundle: `config export` and `backup` make them".to_owned());
        let (head, text) = file.split_once("\n\n").ok_or_else(not_one)?;
        let mut lines = head.lines();
        let mut next = |key: &str| lines.next()?.strip_prefix("# ")?.strip_prefix(key)?.strip_prefix(' ');
        if next("postern bundle") != Some("1") {
            return Err(not_one());
        }
        let bundle = (|| {
            let gateway = next("gateway")?.to_owned();
            let device = unhex(next("device")?)?.try_into().ok()?;
            let generation = digits(next("generation")?)?;
            let digest = next("digest")?;
            Some((Self { gateway, device, generation, text: text.to_owned() }, digest))
        })();
        let (bundle, digest) = bundle.ok_or_else(not_one)?;
        if hex(&bundle.digest()) != digest {
            return Err(Failure::Mismatch(
                "its digest does not fit: something was lost or changed".to_owned(),
            ));
        }
        Ok(bundle)
    }
}

/// First line of what `config get` writes.
pub fn generation_line(gateway: &str, generation: u64) -> String {
    format!("# Generation {generation} of {gateway}\n")
}

/// The generation a site file was made from, if it says so.
pub fn generation_of(text: &str) -> Option<u64> {
    let line = text.lines().next()?.strip_prefix("# Generation ")?;
    digits(line.split(' ').next()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_is_whole_or_refused() {
        let bundle = Bundle {
            gateway: "g".into(),
            device: [7; 16],
            generation: 41,
            text: "schema = 1\n\n[gateway]\n".into(),
        };
        let file = bundle.write();
        assert_eq!(Bundle::read(&file), Ok(bundle));
        for cut in 0..file.len() {
            assert!(Bundle::read(&file[..cut]).is_err(), "cut at {cut}");
        }
        assert!(Bundle::read(&file.replace("[gateway]", "[gatewax]")).is_err());
        assert_eq!(generation_of(&generation_line("g", 41)), Some(41));
        assert_eq!(generation_of("schema = 1"), None);
    }
}
