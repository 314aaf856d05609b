//! Which gateway is meant.

use std::path::PathBuf;
use std::str::FromStr;

/// Speed of a serial line when none is named.
pub const BAUD_DEFAULT: u32 = 115_200;

/// Control socket of a gateway that is reached by ssh, when none is named.
pub const SOCKET_DEFAULT: &str = "/run/postern/control";

/// Which gateway is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// `unix:PATH`: the control socket of a daemon on this machine.
    Unix(PathBuf),
    /// `serial:DEV[@BAUD]`: a serial line with a console at its other end.
    Serial {
        /// The line.
        device: PathBuf,
        /// Its speed.
        baud: u32,
    },
    /// `ssh:[USER@]HOST[:SOCKET]`: the control socket of a daemon on another machine.
    Ssh {
        /// What ssh is told.
        host: String,
        /// The socket there.
        socket: String,
    },
    /// `file:IMG`: an image of a config partition, or the partition itself, while no daemon runs.
    File(PathBuf),
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected =
            || "a target is unix:PATH, serial:DEV[@BAUD], ssh:[USER@]HOST[:SOCKET] or file:IMG".to_owned();
        let (kind, rest) = text.split_once(':').ok_or_else(expected)?;
        if rest.is_empty() {
            return Err(expected());
        }
        match kind {
            "unix" => Ok(Target::Unix(rest.into())),
            "file" => Ok(Target::File(rest.into())),
            "serial" => {
                let (device, baud) = match rest.rsplit_once('@') {
                    None => (rest, BAUD_DEFAULT),
                    Some((device, baud)) => {
                        (device, baud.parse().map_err(|_| format!("{baud:?} is no speed of a line"))?)
                    }
                };
                Ok(Target::Serial { device: device.into(), baud })
            }
            "ssh" => ssh(rest).ok_or_else(expected),
            _ => Err(expected()),
        }
    }
}

/// `[USER@]HOST[:SOCKET]`; the address of an IPv6 host stands in brackets.
fn ssh(rest: &str) -> Option<Target> {
    let after_host = rest.find(']').unwrap_or(0);
    let (host, socket) = match rest.get(after_host..)?.find(':') {
        None => (rest, SOCKET_DEFAULT),
        Some(colon) => (rest.get(..after_host + colon)?, rest.get(after_host + colon + 1..)?),
    };
    let host = host.replace(['[', ']'], "");
    // ssh would take a dash for an option, and the far shell reads the socket's name.
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "/._-".contains(letter);
    let fits =
        !host.is_empty() && !host.starts_with('-') && socket.starts_with('/') && socket.chars().all(plain);
    fits.then(|| Target::Ssh { host, socket: socket.to_owned() })
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Target::Unix(path) => write!(f, "unix:{}", path.display()),
            Target::Serial { device, baud } => write!(f, "serial:{}@{baud}", device.display()),
            Target::Ssh { host, socket } => write!(f, "ssh:{host}:{socket}"),
            Target::File(path) => write!(f, "file:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_target() {
        let read = |text: &str| text.parse::<Target>();
        assert_eq!(read("unix:/run/postern/control"), Ok(Target::Unix("/run/postern/control".into())));
        let line = |baud| Ok(Target::Serial { device: "/dev/ttyUSB0".into(), baud });
        assert_eq!(read("serial:/dev/ttyUSB0"), line(115_200));
        assert_eq!(read("serial:/dev/ttyUSB0@9600"), line(9600));
        let ssh = |host: &str, socket: &str| Ok(Target::Ssh { host: host.into(), socket: socket.into() });
        assert_eq!(read("ssh:root@gw.example"), ssh("root@gw.example", SOCKET_DEFAULT));
        assert_eq!(read("ssh:gw:/tmp/c"), ssh("gw", "/tmp/c"));
        assert_eq!(read("ssh:root@[2001:db8::7]:/tmp/c"), ssh("root@2001:db8::7", "/tmp/c"));
        assert_eq!(read("file:site.img"), Ok(Target::File("site.img".into())));
    }

    #[test]
    fn what_a_shell_or_ssh_would_misread_is_refused() {
        for wrong in [
            "",
            "unix",
            "unix:",
            "tcp:1.2.3.4",
            "serial:/dev/ttyS0@fast",
            "ssh:-oProxyCommand=x",
            "ssh:gw:/tmp/c;reboot",
            "ssh:gw:relative",
            "ssh:gw:/tmp/$(x)",
        ] {
            assert!(wrong.parse::<Target>().is_err(), "{wrong}");
        }
    }
}
