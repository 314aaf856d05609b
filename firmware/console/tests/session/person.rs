//! Somebody at the line: types, reads, waits.

use postern_config::site::{StoredDoor, StoredPort};
use postern_config::{Role, Site, guards};
use postern_console::session::Session;
use postern_core::time::{Duration, Instant};

use crate::gateway::Gateway;

pub(crate) const PASSWORD: &str = "correct horse battery";

/// A session, its gateway, and all that was ever shown.
pub(crate) struct Desk {
    pub(crate) session: Box<Session>,
    pub(crate) gateway: Gateway,
    pub(crate) now: Instant,
    shown: Vec<u8>,
}

/// A site with one door.
pub(crate) fn site() -> Box<Site> {
    let mut site = Box::<Site>::default();
    site.name = "pump-17".try_into().unwrap();
    site.interfaces.push("wwan0".try_into().unwrap()).unwrap();
    let mut door = StoredDoor::plain("ssh".try_into().unwrap(), 30);
    door.ports.push(StoredPort::Tcp(22)).unwrap();
    site.doors.push(door).unwrap();
    guards::renew(&mut site);
    site
}

impl Desk {
    pub(crate) fn new() -> Self {
        let now = Instant::from_millis(10_000);
        let session = Box::new(Session::new([5; 32], now));
        let mut desk = Self { session, gateway: Gateway::new(site()), now, shown: Vec::new() };
        desk.session.daemon_found(now);
        desk.settle();
        desk
    }

    /// Lets everything happen that needs no key and no time.
    pub(crate) fn settle(&mut self) {
        loop {
            let mut moved = false;
            while let Some(octet) = self.session.take_output() {
                self.shown.push(octet);
                moved = true;
            }
            if self.session.wants_to_compute() {
                self.session.compute(self.now);
                moved = true;
            }
            let frame = self.session.frame().to_vec();
            if !frame.is_empty() {
                self.session.sent(frame.len());
                for octet in self.gateway.hear(&frame) {
                    self.session.daemon(octet, self.now);
                }
                moved = true;
            }
            if !moved {
                return;
            }
        }
    }

    /// Types, and lets happen what follows after each key.
    pub(crate) fn type_in(&mut self, keys: &str) -> &mut Self {
        for octet in keys.bytes() {
            self.session.key(octet, self.now);
            self.settle();
        }
        self
    }

    /// Time passes.
    pub(crate) fn pass(&mut self, secs: u64) -> &mut Self {
        self.now = self.now + Duration::from_secs(secs);
        self.session.tick(self.now);
        self.settle();
        self
    }

    /// What a printer would have shown since the last time: backspaces take letters back.
    pub(crate) fn read(&mut self) -> String {
        let (mut text, mut line, mut column) = (String::new(), Vec::new(), 0_usize);
        for octet in std::mem::take(&mut self.shown) {
            match octet {
                8 => column = column.saturating_sub(1),
                b'\r' => column = 0,
                b'\n' => {
                    text.push_str(String::from_utf8(std::mem::take(&mut line)).unwrap().trim_end());
                    text.push('\n');
                }
                7 => {}
                octet => {
                    line.resize(line.len().max(column + 1), b' ');
                    line[column] = octet;
                    column += 1;
                }
            }
        }
        line.truncate(column);
        text.push_str(std::str::from_utf8(&line).unwrap());
        text
    }

    /// Makes the first account and logs out.
    pub(crate) fn enrolled() -> Self {
        let mut desk = Self::new();
        desk.type_in("maria\r").type_in(&format!("{PASSWORD}\r{PASSWORD}\r"));
        desk.type_in("logout\r").read();
        desk
    }

    /// Logs in as well.
    pub(crate) fn logged_in() -> Self {
        Self::logged_in_as(Role::Admin)
    }

    pub(crate) fn logged_in_as(role: Role) -> Self {
        let mut desk = Self::enrolled();
        desk.gateway.role = role;
        desk.type_in("\rmaria\r").type_in(&format!("{PASSWORD}\r"));
        desk.read();
        desk
    }
}
