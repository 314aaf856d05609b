//! The user a process becomes.

use std::fs::{OpenOptions, Permissions};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, fchown};

use nix::errno::Errno;
use nix::sys::prctl::{set_dumpable, set_keepcaps};
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};

use super::error::{ConfineError, while_trying};
use crate::accounts;
use crate::user::become_user;

/// Lock of all iptables programs of the legacy kind (`XT_LOCK_NAME` of iptables).
const LOCK_OF_IPTABLES: &str = "/run/xtables.lock";

/// A user and its first group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Account {
    user: Uid,
    group: Gid,
}

impl Account {
    /// By name or number. A number that no user has is its own group.
    pub(super) fn find(text: &str) -> Result<Self, ConfineError> {
        let known = match text.parse() {
            Ok(number) => {
                accounts::user_with(number).unwrap_or(accounts::Account { user: number, group: number })
            }
            Err(_) => accounts::user(text).ok_or_else(|| ConfineError::NoSuchUser(text.to_owned()))?,
        };
        Ok(Self { user: Uid::from_raw(known.user), group: Gid::from_raw(known.group) })
    }

    pub(super) fn group(self) -> u32 {
        self.group.as_raw()
    }
}

/// Whom a process becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Become<'a> {
    /// It stays who it is. The superuser leaves his groups.
    NobodyElse,
    /// This one, without supplementary groups; permitted capabilities stay for now.
    Account(Account),
    /// The one of this name, with its groups and without capabilities.
    Named(&'a str),
}

impl Become<'_> {
    pub(super) fn carry_out(self) -> Result<(), ConfineError> {
        match self {
            Become::NobodyElse => match setgroups(&[]) {
                // Started as somebody else already, by a supervisor: his groups are its affair.
                Ok(()) | Err(Errno::EPERM) => Ok(()),
                Err(errno) => Err(while_trying(LEAVE_GROUPS)(errno)),
            },
            Become::Account(account) => become_account(account),
            Become::Named(name) => become_user(name).map_err(ConfineError::User),
        }
    }
}

const LEAVE_GROUPS: &str = "drop the supplementary groups";

fn become_account(account: Account) -> Result<(), ConfineError> {
    setgroups(&[]).map_err(while_trying(LEAVE_GROUPS))?;
    set_keepcaps(true).map_err(while_trying("keep capabilities over the change of user"))?;
    setresgid(account.group, account.group, account.group).map_err(while_trying("change the group"))?;
    setresuid(account.user, account.user, account.user).map_err(while_trying("change the user"))
}

/// Keeps others of the same user from reading this process's memory, and core files from being
/// written (`PR_SET_DUMPABLE`, prctl(2)).
pub(super) fn hide_memory() -> Result<(), ConfineError> {
    set_dumpable(false).map_err(while_trying("hide the memory of the process"))
}

/// Lets members of `group` take the lock of iptables, which belongs to the superuser: it is made
/// when it is not there yet, and readable for the group, which is all flock(2) needs.
///
/// # Errors
/// [`ConfineError::Refused`].
pub fn prepare_lock_of_iptables(group: u32) -> Result<(), ConfineError> {
    let refused = |error: std::io::Error| {
        let errno = Errno::from_raw(error.raw_os_error().unwrap_or_default());
        while_trying("share the lock of iptables, /run/xtables.lock")(errno)
    };
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(false).mode(0o600).open(LOCK_OF_IPTABLES);
    let file = file.map_err(refused)?;
    fchown(&file, None, Some(group)).map_err(refused)?;
    file.set_permissions(Permissions::from_mode(0o640)).map_err(refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_by_name_and_by_number() {
        let root = Account { user: Uid::from_raw(0), group: Gid::from_raw(0) };
        assert_eq!(Account::find("root"), Ok(root));
        assert_eq!(Account::find("0"), Ok(root));
        let stranger = Account::find("3999999999").unwrap();
        assert_eq!((stranger.user.as_raw(), stranger.group()), (3_999_999_999, 3_999_999_999));
        let missing = Account::find("nobody-here").unwrap_err();
        assert_eq!(missing, ConfineError::NoSuchUser("nobody-here".into()));
    }
}
