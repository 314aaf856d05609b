//! Site files for the scenarios.

use std::fmt::Write as _;

use crate::backend::Backend;
use crate::frame::Payload;

/// A door as it will stand in the site file.
#[derive(Clone, Debug)]
pub struct DoorText {
    name: String,
    ports: Vec<String>,
    open_for: String,
    sequence: Vec<Payload>,
    more: String,
}

impl DoorText {
    /// A door for `ports` (`tcp/22`) that opens for a minute.
    pub fn new(name: &str, ports: &[&str], sequence: &[Payload]) -> Self {
        Self {
            name: name.to_owned(),
            ports: ports.iter().map(|port| (*port).to_owned()).collect(),
            open_for: "60s".to_owned(),
            sequence: sequence.to_vec(),
            more: String::new(),
        }
    }

    /// Another time to stay open, such as `3s`.
    #[must_use]
    pub fn open_for(mut self, time: &str) -> Self {
        time.clone_into(&mut self.open_for);
        self
    }

    /// One more line of the door's table, such as `within = "2s"`.
    #[must_use]
    pub fn with(mut self, line: &str) -> Self {
        self.more.push_str(line);
        self.more.push('\n');
        self
    }

    /// A sequence that closes the door before its time.
    #[must_use]
    pub fn close_sequence(self, knocks: &[Payload]) -> Self {
        let line = format!("close_sequence = {}", list(knocks));
        self.with(&line)
    }
}

/// A site file.
#[derive(Clone, Debug)]
pub struct Site {
    backend: Backend,
    interfaces: Vec<String>,
    doors: Vec<DoorText>,
    keys: Vec<String>,
    /// The whole text, when somebody else wrote it.
    written: Option<String>,
}

impl Site {
    /// A gateway that watches `eth0` and has no door yet.
    pub fn new(backend: Backend) -> Self {
        let interfaces = vec!["eth0".to_owned()];
        Self { backend, interfaces, doors: Vec::new(), keys: Vec::new(), written: None }
    }

    /// A site file that a tool wrote; its firewall must be this one.
    pub fn written(backend: Backend, text: String) -> Self {
        Self { written: Some(text), ..Self::new(backend) }
    }

    /// Its firewall.
    pub fn backend(&self) -> Backend {
        self.backend
    }

    /// Other interfaces.
    #[must_use]
    pub fn interfaces(mut self, names: &[&str]) -> Self {
        self.interfaces = names.iter().map(|name| (*name).to_owned()).collect();
        self
    }

    /// One more door.
    #[must_use]
    pub fn door(mut self, door: DoorText) -> Self {
        self.doors.push(door);
        self
    }

    /// One more key: the lines of its table.
    #[must_use]
    pub fn key(mut self, lines: &str) -> Self {
        self.keys.push(lines.to_owned());
        self
    }

    /// The file's text.
    pub fn to_toml(&self) -> String {
        if let Some(text) = &self.written {
            return text.clone();
        }
        let mut text = format!(
            "schema = 1\n\n[gateway]\nname = \"laboratory\"\ninterfaces = {:?}\n\n[firewall]\nbackend = \"{}\"\n",
            self.interfaces, self.backend
        );
        for door in &self.doors {
            let DoorText { name, ports, open_for, sequence, more } = door;
            let _ =
                write!(text, "\n[[door]]\nname = \"{name}\"\nports = {ports:?}\nopen_for = \"{open_for}\"\n");
            // A door that only keys open has none.
            if !sequence.is_empty() {
                let _ = writeln!(text, "sequence = {}", list(sequence));
            }
            text.push_str(more);
        }
        for key in &self.keys {
            let _ = write!(text, "\n[[key]]\n{key}");
        }
        text
    }
}

fn list(knocks: &[Payload]) -> String {
    format!("{:?}", knocks.iter().map(ToString::to_string).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_site_is_written_as_people_write_it() {
        let knocks = [Payload::syn(7351), Payload::udp(24011), Payload::echo(83)];
        let door = DoorText::new("ssh", &["tcp/22"], &knocks).open_for("3s").with("within = \"2s\"");
        let text = Site::new(Backend::Nftables).door(door).to_toml();
        assert!(text.ends_with(
            "[firewall]\nbackend = \"nftables\"\n\n[[door]]\nname = \"ssh\"\nports = [\"tcp/22\"]\n\
             open_for = \"3s\"\nsequence = [\"tcp/7351\", \"udp/24011\", \"icmp/83\"]\nwithin = \"2s\"\n"
        ));
    }
}
