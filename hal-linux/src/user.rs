//! Giving up the superuser.

use core::fmt;

use nix::errno::Errno;
use nix::unistd::{Gid, Uid, geteuid, getuid, setgroups, setresgid, setresuid};

use crate::accounts;

/// Why the process is still who it was.
#[derive(Debug, PartialEq, Eq)]
pub enum UserError {
    /// There is no such user.
    NoSuchUser(String),
    /// It is the superuser, who has nothing to give up.
    IsSuperuser(String),
    /// The system refused; only the superuser may become somebody else.
    Refused(String, Errno),
}

impl fmt::Display for UserError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            UserError::NoSuchUser(name) => {
                write!(f, "there is no user {name:?}: make one, e.g. `adduser --system {name}`")
            }
            UserError::IsSuperuser(name) => write!(f, "{name} is the superuser: name another user"),
            UserError::Refused(name, error) => {
                write!(f, "cannot become {name}: {error}; start the program as the superuser, or as {name}")
            }
        }
    }
}

impl std::error::Error for UserError {}

/// Whether the process acts as the superuser, or could again.
pub fn is_superuser() -> bool {
    geteuid().is_root() || getuid().is_root()
}

/// Becomes `name` with that user's groups, for ever: real, effective and saved ids are changed, so
/// capabilities go as well (capabilities(7), "Effect of user ID changes"). Nothing is done when the
/// process is that user already.
///
/// # Errors
/// [`UserError`]; the process must not go on then.
pub fn become_user(name: &str) -> Result<(), UserError> {
    let no_such = || UserError::NoSuchUser(name.to_owned());
    let account = accounts::user(name).ok_or_else(no_such)?;
    let (user, group) = (Uid::from_raw(account.user), Gid::from_raw(account.group));
    if user.is_root() {
        return Err(UserError::IsSuperuser(name.to_owned()));
    }
    if getuid() == user && geteuid() == user {
        return Ok(());
    }
    let refused = |error| UserError::Refused(name.to_owned(), error);
    let others = accounts::groups_of(name).into_iter().map(Gid::from_raw);
    let groups: Vec<Gid> = std::iter::once(group).chain(others).collect();
    setgroups(&groups).map_err(refused)?;
    setresgid(group, group, group).map_err(refused)?;
    setresuid(user, user, user).map_err(refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_must_be_such_a_user() {
        let nobody_of_that_name = become_user("no-such-user-of-postern");
        assert_eq!(nobody_of_that_name, Err(UserError::NoSuchUser("no-such-user-of-postern".to_owned())));
        assert_eq!(become_user("a\0b"), Err(UserError::NoSuchUser("a\0b".to_owned())));
    }

    #[test]
    fn the_superuser_is_nobody_to_become() {
        assert_eq!(become_user("root"), Err(UserError::IsSuperuser("root".to_owned())));
    }
}
