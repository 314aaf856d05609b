//! Reads `[[door]]`.

use std::net::IpAddr;

use postern_config::site::StoredRotating;
use postern_core::limits::{
    OPEN_FOR_MAX, PORTS_PER_DOOR_MAX, REORDER_MAX, ROTATING_KNOCKS_MAX, ROTATING_KNOCKS_MIN, STEPS_MAX,
    WITHIN_MAX, WITHIN_MIN,
};
use toml_edit::TableLike;

use super::{Reader, start};
use crate::site::rotating::{
    KNOCKS_DEFAULT, LOOK_AHEAD_DEFAULT, PORTS_DEFAULT, PROTOCOLS, PROTOCOLS_DEFAULT,
};
use crate::site::{
    At, DoorFile, FLAGS_DEFAULT, RotatingFile, SequenceFile, WITHIN_DEFAULT_MILLIS, notation, words,
};

impl Reader<'_> {
    pub(super) fn door(&mut self, table: &dyn TableLike, at: usize) -> Option<DoorFile> {
        let known = [
            "name",
            "ports",
            "open_for",
            "sequence",
            "within",
            "tcp_flags",
            "close_sequence",
            "reorder",
            "target",
            "interfaces",
            "allow",
            "one_time_sequences",
            "spa",
            "rotating",
            "forward",
            "one_shot",
            "cut_at_end",
            "prefix_v4",
            "prefix_v6",
        ];
        self.known_keys(table, "[[door]]", &known);
        let name = self.required_text(table, "name", "[[door]]", at).filter(|name| self.check_name(name));
        let ports = self.ports(table, at);
        let open_for_secs = self.open_for(table, at);
        let within =
            self.millis(table, "within", WITHIN_DEFAULT_MILLIS, WITHIN_MIN.millis(), WITHIN_MAX.millis());
        let reorder = self.millis(table, "reorder", 0, 0, REORDER_MAX.millis());
        let flags = self.parsed(table, "tcp_flags", words::flags).map_or(FLAGS_DEFAULT, |flags| flags.value);
        let target = self.parsed(table, "target", |text| {
            text.parse::<IpAddr>().map_err(|_| "an address is written 203.0.113.7 or 2001:db8::7".to_owned())
        });
        let prefix = ("limit", "a prefix has 1 bit to as many as an address", "24");
        let prefix_v4 = self.number(table, "prefix_v4", 1..=32, prefix);
        let prefix_v6 = self.number(table, "prefix_v6", 1..=128, prefix);
        Some(DoorFile {
            sequence: self.sequence(table, "sequence"),
            close_sequence: self.sequence(table, "close_sequence"),
            one_time_sequences: self.one_time_sequences(table),
            interfaces: self.interface_names(table, "interfaces").unwrap_or_default(),
            allow: self.texts(table, "allow").unwrap_or_default(),
            spa: self.texts(table, "spa").unwrap_or_default(),
            rotating: self.rotating(table),
            forward: self.parsed(table, "forward", notation::forward),
            one_shot: self.switch(table, "one_shot"),
            cut_at_end: self.switch(table, "cut_at_end"),
            prefix_v4: prefix_v4.unwrap_or(At::new(32, 0)),
            prefix_v6: prefix_v6.unwrap_or(At::new(128, 0)),
            name: name?,
            ports: ports?,
            open_for_secs: open_for_secs?,
            within_millis: within,
            reorder_millis: reorder,
            flags,
            target: target.map(|target| target.value),
        })
    }

    fn ports(&mut self, table: &dyn TableLike, at: usize) -> Option<Vec<At<postern_core::ServicePort>>> {
        let texts = self.texts(table, "ports");
        let Some(texts) = texts.filter(|texts| !texts.is_empty()) else {
            let at = table.get("ports").map_or(at, start);
            self.error(at, "missing", "the door protects no port", "say which: `ports = [\"tcp/22\"]`");
            return None;
        };
        if texts.len() > PORTS_PER_DOOR_MAX {
            let what = format!("a door has {PORTS_PER_DOOR_MAX} ports at most");
            self.error(texts[PORTS_PER_DOOR_MAX].offset, "limit", what, "make a second door of the rest");
        }
        Some(self.each(texts, words::service_port))
    }

    fn open_for(&mut self, table: &dyn TableLike, at: usize) -> Option<At<u32>> {
        if table.get("open_for").is_none() {
            self.error(
                at,
                "missing",
                "the door does not say how long it stays open",
                "add `open_for = \"30s\"`",
            );
            return None;
        }
        let millis = self.parsed(table, "open_for", words::millis)?;
        let secs = u32::try_from(millis.value / 1000).unwrap_or(u32::MAX);
        if millis.value % 1000 != 0 || secs == 0 || millis.value > OPEN_FOR_MAX.millis() {
            let what = "a door stays open for whole seconds, 1 s to 24 h: the kernel counts them";
            self.error(millis.offset, "open-for", what, "write `open_for = \"30s\"`");
            return None;
        }
        Some(At::new(secs, millis.offset))
    }

    fn sequence(&mut self, table: &dyn TableLike, key: &str) -> Option<SequenceFile> {
        let offset = table.get(key).map(start)?;
        let texts = self.texts(table, key)?;
        self.knocks(texts, offset)
    }

    fn knocks(&mut self, texts: Vec<At<String>>, offset: usize) -> Option<SequenceFile> {
        if texts.is_empty() || texts.len() > STEPS_MAX {
            let what = format!("a sequence has 1 to {STEPS_MAX} knocks, and this one {}", texts.len());
            self.error(offset, "limit", what, "four or five are plenty");
            return None;
        }
        let count = texts.len();
        let steps = self.each(texts, words::step);
        (steps.len() == count).then_some(SequenceFile { offset, steps })
    }

    fn one_time_sequences(&mut self, table: &dyn TableLike) -> Option<At<Vec<SequenceFile>>> {
        let key = "one_time_sequences";
        let item = table.get(key)?;
        let Some(lists) = item.as_array() else {
            self.error(
                start(item),
                "type",
                format!("`{key}` must be a list of sequences"),
                format!("write `{key} = [[\"tcp/7351\", \"udp/24011\"], [...]]`"),
            );
            return None;
        };
        let mut sequences = Vec::new();
        for list in lists {
            let offset = list.span().map_or(0, |span| span.start);
            let texts = self.texts_of(key, list.as_array(), offset)?;
            sequences.extend(self.knocks(texts, offset));
        }
        Some(At::new(sequences, start(item)))
    }

    /// `rotating = { key = "maria", knocks = 5, ports = "20000-29999" }`.
    fn rotating(&mut self, door: &dyn TableLike) -> Option<RotatingFile> {
        let table = self.table(door, "rotating")?;
        let at = door.get("rotating").map_or(0, start);
        let known = ["key", "knocks", "look_ahead", "protocols", "ports", "within"];
        self.known_keys(table, "`rotating`", &known);
        let key = self.required_text(table, "key", "`rotating`", at);
        let knocks = ("limit", "a rotating sequence has 3 to 8 knocks", "5");
        let bounds = ROTATING_KNOCKS_MIN..=ROTATING_KNOCKS_MAX;
        let knocks = self.number(table, "knocks", bounds, knocks).map_or(KNOCKS_DEFAULT, |at| at.value);
        let ahead = ("limit", "1 to 8 sequences are awaited at once", "3");
        let ahead = self.number(table, "look_ahead", 1..=8, ahead).map_or(LOOK_AHEAD_DEFAULT, |at| at.value);
        let protocols = self.texts(table, "protocols");
        let protocols = protocols.map(|texts| self.each(texts, protocol));
        let protocols =
            protocols.map_or(PROTOCOLS_DEFAULT, |bits| bits.iter().fold(0, |all, bit| all | bit.value));
        if protocols == 0 {
            self.error(at, "limit", "a rotating sequence needs a protocol", "write `protocols = [\"tcp\"]`");
        }
        let ports = self.parsed(table, "ports", notation::port_range).map_or(PORTS_DEFAULT, |at| at.value);
        let (least, most) = (WITHIN_MIN.millis(), WITHIN_MAX.millis());
        let within_millis = self.millis(table, "within", WITHIN_DEFAULT_MILLIS, least, most).value;
        let (first, last) = ports;
        let rest =
            StoredRotating { key: 0, knocks, look_ahead: ahead, protocols, first, last, within_millis };
        Some(RotatingFile { key: key?, rest })
    }
}

fn protocol(name: &str) -> Result<u8, String> {
    let position = PROTOCOLS.iter().position(|known| *known == name);
    position.map(|bit| 1 << bit).ok_or_else(|| "protocols are \"tcp\", \"udp\" and \"icmp\"".to_owned())
}
