//! Where Postern behaves otherwise than knockd with the same doors.
//!
//! `KNOCKD_DIFFERENCES.md` explains each at length; the differential test holds both programs to
//! it.

use super::conf::Options;
use super::door::Doors;
use super::report::{Place, WHOLE_FILE, note, warning};
use crate::finding::Finding;

/// One difference: its code, and what to know about it.
#[derive(Debug)]
pub struct Difference {
    /// Code of the finding; heading in `KNOCKD_DIFFERENCES.md`.
    pub code: &'static str,
    /// What differs.
    pub message: &'static str,
    /// What to do about it; empty if nothing.
    pub suggestion: &'static str,
}

/// Differences that hold for every imported door.
pub const ALWAYS: [Difference; 10] = [
    Difference {
        code: "wrong-port",
        message: "a wrong port between the knocks does not end an attempt, as it does in knockd",
        suggestion: "",
    },
    Difference {
        code: "guard-ports",
        message: "ports near those of a sequence are watched too: a source that touches one opens nothing for the \
                  time of the sequence, so that no scan opens a door",
        suggestion: "Clients that send only the sequence notice nothing.",
    },
    Difference {
        code: "repeated-knock",
        message: "a knock that is sent twice does no harm; in knockd it ends the attempt",
        suggestion: "Retransmissions and impatient users need no care any more.",
    },
    Difference {
        code: "several-attempts",
        message: "users behind one address, or one user at two doors, do not disturb each other, as they do in knockd",
        suggestion: "",
    },
    Difference {
        code: "strangers",
        message: "the end of one attempt never touches those of other addresses; knockd may forget all of them",
        suggestion: "",
    },
    Difference {
        code: "time-counting",
        message: "knockd compares whole seconds of the wall clock and may give up almost one second early; \
                  Postern counts milliseconds of a clock that cannot be set",
        suggestion: "",
    },
    Difference {
        code: "kernel-closes",
        message: "the kernel closes the door after `open_for`, whatever happens to the daemon; knockd needs its \
                  sleeping child to live",
        suggestion: "Established connections go on until they end.",
    },
    Difference {
        code: "own-gate",
        message: "Postern drops the ports of its doors for everybody who has not knocked, before your own rules; \
                  knockd trusted your rules to do that",
        suggestion: "Remove the DROP rules you made for knockd. With back end nftables your own rules must let the \
                     ports pass.",
    },
    Difference {
        code: "source-only",
        message: "a door opens for the address that knocked and for nobody else, on IPv4 and IPv6 alike",
        suggestion: "For IPv6 knockers knockd runs Start_Command_6, or the IPv4 command, which fails.",
    },
    Difference {
        code: "no-shell",
        message: "no command is run: what the commands open was read from their text, and the rest of them is gone",
        suggestion: "Let what else should happen follow from the audit line of each opening.",
    },
];

/// Knocks are taken on every address of the machine.
pub const ANY_LOCAL_ADDRESS: Difference = Difference {
    code: "any-local-address",
    message: "without Target knockd takes knocks to the addresses its interface had when it started; Postern takes \
              knocks to any address that arrive on the interface",
    suggestion: "Set `target` on a door if it matters, say on a router.",
};

/// No name of an interface was given.
pub const INTERFACE_DEFAULT: Difference = Difference {
    code: "interface-default",
    message: "no Interface is named; knockd then listens on eth0, or on the one of its option -i",
    suggestion: "Look into KNOCKD_OPTS (/etc/default/knockd) and correct `interfaces`.",
};

/// knockd's log.
pub const LOG_LINES: Difference = Difference {
    code: "log-lines",
    message: "Postern writes audit records (syslog, RFC 5424) instead of knockd's log lines; there is no log file",
    suggestion: "Change what reads `OPEN SESAME` (fail2ban, logwatch) to the record GRANT.",
};

/// knockd's pid file.
pub const PID_FILE: Difference = Difference {
    code: "pid-file",
    message: "posternd runs in the foreground and writes no pid file",
    suggestion: "Let the service manager follow it.",
};

/// `TCPFlags` was left out.
pub const OPENING_SYN_ONLY: Difference = Difference {
    code: "opening-syn-only",
    message: "without TCPFlags knockd takes any TCP segment for a knock; Postern the opening SYN only",
    suggestion: "The stock knock client sends just that. For other clients set `tcp_flags` on the door.",
};

/// The sequence is one a scan may open.
pub const SCAN_CHECK: Difference = Difference {
    code: "scan-check",
    message: "knockd takes this sequence, `postern check` refuses it",
    suggestion: "Choose another one (`postern new-sequence`), or uncomment `allow` in the site file to keep it.",
};

/// The time of a door is not bounded in knockd.conf.
pub const DOOR_BOUNDED: Difference = Difference {
    code: "door-bounded",
    message: "knockd leaves the door open until something closes it; Postern bounds every door, here to one hour",
    suggestion: "Set `open_for` to the time a visit takes. Established connections go on after it.",
};

/// Used one-time sequences are kept account of elsewhere.
pub const ONE_TIME: Difference = Difference {
    code: "one-time-journal",
    message: "knockd marks used sequences in its file; Postern keeps account in its journal, and the site file never changes",
    suggestion: "Nothing to do. A line counts once, in the order of the list; when few are left, add others at the end.",
};

impl Difference {
    pub(super) fn finding(&self, place: Place) -> Finding {
        note(place, self.code, self.message, self.suggestion)
    }

    pub(super) fn warning(&self, place: Place) -> Finding {
        warning(place, self.code, self.message, self.suggestion)
    }
}

/// The differences that apply to this file, about the file as a whole where no line is at their
/// origin.
pub(super) fn of(options: &Options<'_>, doors: &Doors<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    if !doors.doors.is_empty() {
        findings.extend(ALWAYS.iter().map(|difference| difference.finding(WHOLE_FILE)));
    }
    if doors.doors.iter().any(|door| door.target.is_none()) {
        findings.push(ANY_LOCAL_ADDRESS.finding(WHOLE_FILE));
    }
    if options.interface.is_none() {
        findings.push(INTERFACE_DEFAULT.warning(WHOLE_FILE));
    }
    let log = options.syslog.or(options.log_file.map(|file| file.place));
    findings.extend(log.map(|place| LOG_LINES.finding(place)));
    findings.extend(options.pid_file.map(|file| PID_FILE.finding(file.place)));
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_documented() {
        let document = include_str!("../../KNOCKD_DIFFERENCES.md");
        let others = [
            ANY_LOCAL_ADDRESS,
            INTERFACE_DEFAULT,
            LOG_LINES,
            PID_FILE,
            OPENING_SYN_ONLY,
            DOOR_BOUNDED,
            ONE_TIME,
            SCAN_CHECK,
        ];
        for difference in ALWAYS.iter().chain(&others) {
            let heading = format!("\n## {}\n", difference.code);
            assert!(document.contains(&heading), "{} is not documented", difference.code);
        }
    }
}
