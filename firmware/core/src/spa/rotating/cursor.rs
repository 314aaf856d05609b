//! Which of a row of sequences were used: rotating ones, or the lines of a one-time list.
//!
//! The medium is told before a door opens: a sequence counts once, whatever happens. There is no lease
//! ahead as for packets: it would void sequences nobody used, and a client cannot know which.

use sha2::{Digest, Sha256};

use super::padded;
use crate::knock::{Protocol, Step};
use crate::rule::Name;
use crate::spa::key::{KeyTag, SubKey};

/// What the rotating sequences of `door` are called in the journal. `key` is the sub-key for rotation.
pub fn rotating_tag(key: &SubKey, door: &Name) -> KeyTag {
    // Knocks are derived from longer messages.
    KeyTag::cut(&key.hmac(&[&padded(door)]))
}

/// What the one-time list of `door` is called in the journal.
pub fn list_tag(door: &Name) -> KeyTag {
    let mut digest = Sha256::new();
    digest.update(b"postern-one-time-1 ");
    digest.update(padded(door));
    KeyTag::cut(&digest.finalize().into())
}

/// What the journal holds of a one-time list: how many lines of the door were ever used, and which was
/// the last. So a list goes on behind that line wherever it stands now: lines may be added behind it and
/// taken away before it. A list without it is a new one. Rises with every use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ListMark(u64);

/// Bits of the name of a line; the number of lines stands above them.
const LINE_BITS: u32 = 40;

impl ListMark {
    /// What the journal holds; 0 when no line was used.
    pub const fn restored(held: u64) -> Self {
        Self(held)
    }

    /// What the journal shall hold once `line` was used.
    #[must_use]
    pub fn after(self, line: &[Step]) -> Self {
        let used = (self.0 >> LINE_BITS).saturating_add(1).min(u64::MAX >> LINE_BITS);
        Self(used << LINE_BITS | line_name(line))
    }

    /// As the journal holds it.
    pub const fn number(self) -> u64 {
        self.0
    }

    /// The first of `lines` that was not used.
    pub fn next<'l>(self, lines: impl Iterator<Item = &'l [Step]>) -> u64 {
        if self.0 == 0 {
            return 0;
        }
        let last = self.0 & ((1 << LINE_BITS) - 1);
        // Of equal lines the last: none counts that may have been used.
        let behind = (1_u64..).zip(lines).filter(|(_, line)| line_name(line) == last).last();
        behind.map_or(0, |(next, _)| next)
    }
}

/// 40 bits that name a line.
fn line_name(line: &[Step]) -> u64 {
    let mut digest = Sha256::new();
    digest.update(b"postern-one-time-1 line");
    for step in line {
        let protocol = match step.protocol {
            Protocol::Tcp => 1,
            Protocol::Udp => 2,
            Protocol::Icmp => 4,
        };
        let [high, low] = step.value.to_be_bytes();
        digest.update([protocol, high, low]);
    }
    KeyTag::cut(&digest.finalize().into()).fingerprint() & ((1 << LINE_BITS) - 1)
}

/// Why a sequence does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CursorRefusal {
    /// It, or one behind it, was used.
    Used,
    /// It is not awaited yet.
    TooFar,
    /// The medium was not told yet.
    NotPersisted,
}

impl CursorRefusal {
    /// Short lower-case words for an audit line.
    pub const fn reason(self) -> &'static str {
        match self {
            CursorRefusal::Used => "sequence-used",
            CursorRefusal::TooFar => "sequence-too-far",
            CursorRefusal::NotPersisted => "sequence-not-persisted",
        }
    }
}

/// The next sequence of a row, and how many are awaited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    next: u64,
    /// What the medium holds; at least `next`.
    durable: u64,
    ahead: u64,
    end: u64,
}

impl Cursor {
    /// Of rotating sequences, of which the next `ahead` (at least one) are awaited. `durable` is what
    /// the medium holds: the lowest counter that was not used.
    pub const fn rotating(durable: u64, ahead: u8) -> Self {
        let ahead = if ahead == 0 { 1 } else { ahead as u64 };
        Self { next: durable, durable, ahead, end: u64::MAX }
    }

    /// Of a list of `length` sequences of which each counts once, in order.
    pub const fn list(durable: u64, length: u64) -> Self {
        let next = if durable < length { durable } else { length };
        Self { next, durable: next, ahead: 1, end: length }
    }

    /// Takes over what `before` used.
    pub const fn advance_to(&mut self, before: &Cursor) {
        if before.next > self.next {
            self.next = before.next;
        }
        self.persisted(before.durable);
    }

    /// The counters that are awaited, from the first to before the second.
    pub const fn awaited(&self) -> (u64, u64) {
        let end = self.next.saturating_add(self.ahead);
        (self.next, if end < self.end { end } else { self.end })
    }

    /// Whether nothing is left.
    pub const fn is_exhausted(&self) -> bool {
        self.next >= self.end
    }

    /// Whether the sequence `counter` counts, and what the medium must be told before it does.
    ///
    /// # Errors
    /// Why not; never [`CursorRefusal::NotPersisted`].
    pub const fn check(&self, counter: u64) -> Result<u64, CursorRefusal> {
        let (first, behind_last) = self.awaited();
        if counter < first {
            return Err(CursorRefusal::Used);
        }
        if counter >= behind_last {
            return Err(CursorRefusal::TooFar);
        }
        Ok(counter + 1)
    }

    /// The medium holds `next`. A lower one than before changes nothing.
    pub const fn persisted(&mut self, next: u64) {
        if next > self.durable {
            self.durable = next;
        }
    }

    /// Uses the sequence `counter` up, and all before it. Only then may the door open.
    ///
    /// # Errors
    /// Why not; nothing changes then.
    pub const fn consume(&mut self, counter: u64) -> Result<(), CursorRefusal> {
        match self.check(counter) {
            Ok(next) if next <= self.durable => {
                self.next = next;
                Ok(())
            }
            Ok(_) => Err(CursorRefusal::NotPersisted),
            Err(refusal) => Err(refusal),
        }
    }
}

/// The counter of a client's attempt number `tries`, counted from 0 since `base`: the counter behind
/// the last that is known to have opened the door.
///
/// A client is not answered. When nothing opens it cannot know whether its knocks were lost or counted,
/// so it first goes up as far as the gateway looks ahead, then sweeps from there, each time one further.
/// Wherever the gateway stands, the next sweep meets it.
pub const fn attempt(base: u64, tries: u32, ahead: u8) -> u64 {
    let ahead = if ahead == 0 { 1 } else { ahead as u64 };
    let tries = tries as u64;
    if tries < ahead {
        return base.saturating_add(tries);
    }
    let mut rest = tries - ahead;
    let mut sweep = 2;
    while rest >= sweep {
        rest -= sweep;
        sweep += 1;
    }
    base.saturating_add(ahead - 1).saturating_add(rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spa::key::{DeviceId, KeyUse, SpaKey};
    use std::collections::BTreeSet;

    struct Random(u64);

    impl Random {
        fn draw(&mut self, below: u64) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            (self.0 >> 11) % below
        }
    }

    #[test]
    fn each_counts_once_and_takes_those_before_with_it() {
        let mut cursor = Cursor::rotating(5, 3);
        assert_eq!(cursor.awaited(), (5, 8));
        assert_eq!(cursor.check(4), Err(CursorRefusal::Used));
        assert_eq!(cursor.check(8), Err(CursorRefusal::TooFar));
        assert_eq!(cursor.check(6), Ok(7));
        assert_eq!(cursor.consume(6), Err(CursorRefusal::NotPersisted));
        cursor.persisted(7);
        assert_eq!(cursor.consume(6), Ok(()));
        assert_eq!(cursor.consume(6), Err(CursorRefusal::Used));
        assert_eq!(cursor.consume(5), Err(CursorRefusal::Used));
        assert_eq!(cursor.awaited(), (7, 10));
    }

    #[test]
    fn a_list_ends() {
        let mut cursor = Cursor::list(0, 2);
        assert_eq!(cursor.check(1), Err(CursorRefusal::TooFar), "line by line");
        for line in 0..2 {
            cursor.persisted(line + 1);
            assert_eq!(cursor.consume(line), Ok(()));
        }
        assert!(cursor.is_exhausted());
        assert_eq!(cursor.awaited(), (2, 2));
        assert_eq!(cursor.check(2), Err(CursorRefusal::TooFar));
        assert!(Cursor::list(9, 2).is_exhausted(), "the list became shorter");
    }

    #[test]
    fn the_end_of_all_numbers() {
        let mut cursor = Cursor::rotating(u64::MAX - 1, 8);
        assert_eq!(cursor.awaited(), (u64::MAX - 1, u64::MAX));
        cursor.persisted(u64::MAX);
        assert_eq!(cursor.consume(u64::MAX - 1), Ok(()));
        assert!(cursor.is_exhausted());
    }

    #[test]
    fn rows_have_names_of_their_own() {
        let key = |number| SpaKey::new([number; 32]).derive(KeyUse::Rotation, DeviceId([1; 16]));
        let door = |name: &str| Name::try_from(name).unwrap();
        let tags = BTreeSet::from([
            rotating_tag(&key(1), &door("ssh")),
            rotating_tag(&key(2), &door("ssh")),
            rotating_tag(&key(1), &door("ssh2")),
            list_tag(&door("ssh")),
            list_tag(&door("ssh2")),
        ]);
        assert_eq!(tags.len(), 5);
        assert_eq!(KeyTag([1, 0, 0, 0, 0, 0, 0, 2]).fingerprint(), 2 << 56 | 1);
    }

    #[test]
    fn a_list_goes_on_behind_its_last_line_wherever_that_stands() {
        let lines: std::vec::Vec<[Step; 2]> =
            (1..=6).map(|number| [Step::tcp(number), Step::udp(number)]).collect();
        let next = |mark: ListMark, range: core::ops::Range<usize>| {
            mark.next(lines[range].iter().map(<[Step; 2]>::as_slice))
        };
        let mut mark = ListMark::restored(0);
        assert_eq!(next(mark, 0..6), 0);
        for (used, line) in (1..).zip(&lines[..4]) {
            let before = mark.number();
            mark = mark.after(line);
            assert!(mark.number() > before, "the journal never goes back");
            assert_eq!(next(mark, 0..6), used);
            assert_eq!(ListMark::restored(mark.number()), mark);
        }
        assert_eq!(next(mark, 0..4), 4, "nothing left");
        assert_eq!(next(mark, 2..6), 2, "some of the used lines were taken away");
        assert_eq!(next(mark, 3..6), 1);
        assert_eq!(next(mark, 4..6), 0, "all of them were");
        let twice = [lines[3], lines[4], lines[3]];
        assert_eq!(mark.next(twice.iter().map(<[Step; 2]>::as_slice)), 3, "it may have been used");
        // A list of other lines begins anew, and the journal goes on.
        let other = mark.after(&lines[5]);
        assert!(other.number() > mark.number());
        let full = ListMark::restored(u64::MAX);
        assert_eq!(full.after(&lines[0]).number() >> 40, u64::MAX >> 40, "no overflow");
    }

    #[test]
    fn attempts_go_up_and_then_sweep() {
        let counters: std::vec::Vec<u64> = (0..12).map(|tries| attempt(10, tries, 3)).collect();
        assert_eq!(counters, [10, 11, 12, 12, 13, 12, 13, 14, 12, 13, 14, 15]);
    }

    /// Power cuts at every write, knocks lost, doors that opened without the client's noticing, an
    /// eavesdropper who repeats everything: no counter opens twice, the client always gets in.
    #[test]
    fn a_hundred_thousand_reboots() {
        let mut random = Random(88_172_645_463_325_252);
        let mut reboots = 0;
        for ahead in 1..=8 {
            let (mut durable, mut base) = (0, 0);
            let mut cursor = Cursor::rotating(0, ahead);
            let mut opened = BTreeSet::new();
            let mut sniffed = std::vec::Vec::new();
            while reboots < u64::from(ahead) * 12_500 {
                let troubled = random.draw(20);
                let mut tries = 0;
                loop {
                    let counter = attempt(base, tries, ahead);
                    let honest = u64::from(tries) >= troubled;
                    tries += 1;
                    assert!(tries < 300, "locked out: {cursor:?}, client at {counter}");
                    sniffed.push(counter);
                    let replayed = sniffed[usize::try_from(random.draw(sniffed.len() as u64)).unwrap()];
                    let lost = !honest && random.draw(2) == 0;
                    let mut in_ = false;
                    for arrived in [(!lost).then_some(counter), random.draw(2).eq(&0).then_some(replayed)] {
                        let Some(arrived) = arrived else { continue };
                        let Ok(next) = cursor.check(arrived) else { continue };
                        let cut = if honest { 2 } else { random.draw(4) };
                        if cut > 0 {
                            durable = next;
                        }
                        if cut < 2 {
                            reboots += 1;
                            cursor = Cursor::rotating(durable, ahead);
                            continue;
                        }
                        cursor.persisted(next);
                        cursor.consume(arrived).unwrap();
                        assert!(opened.insert(arrived), "{arrived} opened twice");
                        in_ |= arrived == counter && (honest || random.draw(2) == 0);
                    }
                    if in_ {
                        base = counter + 1;
                        break;
                    }
                }
            }
        }
    }
}
