//! What becomes of starts that do not last.
//!
//! Every start is counted in the journal of the config partition before anything of the configuration is
//! used, and the count is cleared once the daemon has run for [`HEALTHY_AFTER`] or was told to end. So
//! a configuration, or a fault, that ends the process or the machine again and again is seen by the next
//! start, whatever it is and wherever it struck. After [`SAFE_AFTER`] such starts in a row the gateway
//! is in *safe mode*: it keeps every port of its configuration shut and its accounts at the console, and
//! uses nothing else of it. After a while it tries the whole again; when that does not last either, the
//! next try comes after twice the time.

use postern_config::Site;
use postern_core::limits::{HEALTHY_AFTER, SAFE_AFTER, SAFE_DOUBLINGS_MAX};
use postern_core::time::Duration;

/// How the gateway starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// With its whole configuration.
    Whole,
    /// In safe mode.
    Safe {
        /// How long until the whole configuration is tried again.
        retry_after: Duration,
    },
}

/// How to start after so many starts in a row that did not last.
pub fn start_after(unclean: u32) -> Start {
    match unclean.checked_sub(SAFE_AFTER) {
        None => Start::Whole,
        Some(retries) => {
            let times = 1_u64 << retries.min(SAFE_DOUBLINGS_MAX);
            Start::Safe { retry_after: Duration::from_millis(HEALTHY_AFTER.millis() * times) }
        }
    }
}

/// Whether one more start must be counted: beyond this the count changes nothing, and a gateway that
/// cannot even run in safe mode does not wear its medium out.
pub const fn counts(unclean: u32) -> bool {
    unclean < SAFE_AFTER + SAFE_DOUBLINGS_MAX
}

/// What of `site` is used in safe mode: the same ports are kept shut by the same packet filter, the
/// accounts can log in, and nothing is listened to, so nothing opens.
pub fn shut(site: &Site) -> Box<Site> {
    let mut shut = Box::new(site.clone());
    shut.interfaces.clear();
    shut.keys.clear();
    shut.sequences.clear();
    shut.guards.clear();
    for door in &mut shut.doors {
        door.keys = 0;
        door.rotating = None;
    }
    shut
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn safe_mode_begins_with_the_third_and_its_pauses_double_up_to_hours() {
        assert!((0..3).all(|unclean| start_after(unclean) == Start::Whole));
        let secs = |unclean| match start_after(unclean) {
            Start::Safe { retry_after } => retry_after.millis() / 1000,
            Start::Whole => panic!("{unclean}"),
        };
        assert_eq!((3..8).map(secs).collect::<Vec<_>>(), [60, 120, 240, 480, 960]);
        assert_eq!((secs(11), secs(12), secs(u32::MAX)), (15_360, 15_360, 15_360));
        assert!(counts(0) && counts(10) && !counts(11) && !counts(u32::MAX));
    }
}
