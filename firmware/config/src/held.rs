//! Secrets that stay on the gateway: labels go out, and come back in their place.
//!
//! A label is an HMAC-SHA-256 of the secret under a key of the device, cut to eight octets: whoever
//! sees a label can neither guess the secret from it nor use the label on another gateway.

use hmac::{Hmac, Mac};
use sha2::Sha256;

use crate::key::StoredKeyKind;
use crate::secret::{Secret, StoredSecret};
use crate::site::Site;

/// A label that belongs to no secret this gateway holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotHeld {
    /// The label.
    pub label: [u8; 8],
}

/// The label of `secret` on the device with this key.
pub fn label(device_key: &[u8; 32], secret: &Secret) -> [u8; 8] {
    // HMAC takes a key of any length; the error cannot be.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(device_key) else { return [0; 8] };
    mac.update(b"postern held secret v1");
    mac.update(secret.expose());
    let [a, b, c, d, e, f, g, h, ..] = <[u8; 32]>::from(mac.finalize().into_bytes());
    [a, b, c, d, e, f, g, h]
}

/// Puts labels in the place of all secrets.
pub fn hide(site: &mut Site, device_key: &[u8; 32]) {
    for_each_secret(site, &mut |stored| {
        if let StoredSecret::Known(secret) = stored {
            *stored = StoredSecret::Held(label(device_key, secret));
        }
    });
}

/// Puts the secrets of `holder` in the place of labels.
///
/// # Errors
/// [`NotHeld`], the first one; `site` must then not be used.
pub fn restore(site: &mut Site, holder: &Site, device_key: &[u8; 32]) -> Result<(), NotHeld> {
    let mut missing = None;
    for_each_secret(site, &mut |stored| {
        if let StoredSecret::Held(wanted) = *stored {
            match find(holder, wanted, device_key) {
                Some(secret) => *stored = StoredSecret::Known(secret.clone()),
                None => missing = missing.or(Some(NotHeld { label: wanted })),
            }
        }
    });
    missing.map_or(Ok(()), Err)
}

/// Whether every secret is here.
pub fn is_complete(site: &Site) -> bool {
    secrets(site).all(|stored| stored.known().is_some())
}

fn find<'s>(holder: &'s Site, wanted: [u8; 8], device_key: &[u8; 32]) -> Option<&'s Secret> {
    secrets(holder).filter_map(StoredSecret::known).find(|secret| label(device_key, secret) == wanted)
}

fn secrets(site: &Site) -> impl Iterator<Item = &StoredSecret> {
    let accounts = site.accounts.iter().flat_map(|account| [&account.stored_key, &account.server_key]);
    let keys = site.keys.iter().flat_map(|key| match &key.kind {
        StoredKeyKind::Native { secret } => [Some(secret), None],
        StoredKeyKind::Fwknop { encryption, hmac, .. } => [Some(encryption), Some(hmac)],
    });
    accounts.chain(keys.flatten())
}

/// Calls `change` with every secret of a site.
pub fn for_each_secret(site: &mut Site, change: &mut impl FnMut(&mut StoredSecret)) {
    for account in &mut site.accounts {
        change(&mut account.stored_key);
        change(&mut account.server_key);
    }
    for key in &mut site.keys {
        match &mut key.kind {
            StoredKeyKind::Native { secret } => change(secret),
            StoredKeyKind::Fwknop { encryption, hmac, .. } => {
                change(encryption);
                change(hmac);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site::{Role, StoredAccount};
    use std::boxed::Box;

    const DEVICE: [u8; 32] = [1; 32];

    fn site() -> Box<Site> {
        let mut site = Box::<Site>::default();
        let known = |octet| StoredSecret::Known(Secret::new(&[octet; 32]).unwrap());
        let account = StoredAccount {
            name: "maria".try_into().unwrap(),
            role: Role::Admin,
            salt: [3; 16],
            iterations: 4096,
            stored_key: known(4),
            server_key: known(5),
        };
        site.accounts.push(account).unwrap();
        site
    }

    #[test]
    fn what_goes_out_comes_back() {
        let (holder, mut out) = (site(), site());
        hide(&mut out, &DEVICE);
        assert!(!is_complete(&out));
        assert_ne!(out.accounts[0].stored_key, out.accounts[0].server_key, "labels differ");
        restore(&mut out, &holder, &DEVICE).unwrap();
        assert_eq!(out, holder);
        assert!(is_complete(&out));
    }

    #[test]
    fn a_label_of_another_device_or_of_nothing_is_refused() {
        let mut out = site();
        hide(&mut out, &[2; 32]);
        let StoredSecret::Held(label) = out.accounts[0].stored_key else { panic!("hidden") };
        assert_eq!(restore(&mut out.clone(), &site(), &DEVICE), Err(NotHeld { label }));
        assert!(restore(&mut out, &Site::default(), &[2; 32]).is_err());
    }
}
