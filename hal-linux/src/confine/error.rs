//! Why a process could not be confined.

use core::fmt;

use nix::errno::Errno;

use crate::user::UserError;

/// Why a process could not be confined. It must not go on.
#[derive(Debug, PartialEq, Eq)]
pub enum ConfineError {
    /// There is no such user.
    NoSuchUser(String),
    /// The user it is to become is none that it can be.
    User(UserError),
    /// The kernel has a measure and refuses it.
    Refused {
        /// What was tried, in words that follow "cannot".
        doing: &'static str,
        /// What the kernel said.
        errno: Errno,
    },
}

impl fmt::Display for ConfineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConfineError::NoSuchUser(name) => {
                write!(f, "there is no user {name:?}: make it, or leave --user out")
            }
            ConfineError::User(error) => error.fmt(f),
            ConfineError::Refused { doing, errno } => {
                write!(
                    f,
                    "cannot {doing}: {}; --no-confine runs without confinement, to look for the cause",
                    errno.desc()
                )
            }
        }
    }
}

impl std::error::Error for ConfineError {}

/// Names what was tried.
pub(super) const fn while_trying(doing: &'static str) -> impl Fn(Errno) -> ConfineError {
    move |errno| ConfineError::Refused { doing, errno }
}
