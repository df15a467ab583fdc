//! The journal's entries. One record of the journal holds the entries of one operation, which apply together or not at all.
//!
//! ```text
//! entry  = u8 tag, fields
//! items  = u8 flags (1: keys, 2: times), varint n, n × { u8 lane, varint zigzag(seq - previous seq), varint count,
//!          [u64 key], [i64 at] }
//! ```
//! Numbers are LEB128 varints unless a width is given (little-endian). Unknown tags are refused: an older program must not
//! guess what a newer one did.
//!
//! Over 500 lines: what writes each entry and what reads it stand side by side.

use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::shared::Owner;

pub(crate) mod tag {
    pub const CONFIG: u8 = 1;
    pub const LANE: u8 = 2;
    pub const CLAIM: u8 = 3;
    pub const ACK: u8 = 4;
    pub const NACK: u8 = 5;
    pub const RELEASE: u8 = 6;
    pub const EXPIRE: u8 = 7;
    pub const PARK: u8 = 8;
    pub const DELAY: u8 = 9;
    pub const SKIP: u8 = 10;
    pub const DEAD: u8 = 11;
    pub const REDRIVE: u8 = 12;
    pub const EDIT: u8 = 13;
    pub const PURGE: u8 = 14;
    pub const PURGE_DEAD: u8 = 15;
    pub const CANCEL: u8 = 16;
    pub const SEEK: u8 = 17;
    pub const TRIM: u8 = 18;
    pub const PAUSE: u8 = 19;
    pub const RESUME: u8 = 20;
}

const KEYS: u8 = 1;
const TIMES: u8 = 2;

/// Why a position was passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum SkipReason {
    /// Its time to live was over.
    Ttl = 1,
    /// Lost to a power cut, or in a hole.
    Gap = 2,
    /// Dropped by the stream's retention.
    Trimmed = 3,
    /// Cancelled before it was claimed.
    Cancelled = 4,
}

/// How an attempt that counts ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Ended {
    Error = 1,
    Expired = 2,
    Held = 3,
    Rejected = 4,
}

impl Ended {
    pub fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Error,
            2 => Self::Expired,
            3 => Self::Held,
            4 => Self::Rejected,
            _ => return None,
        })
    }

    pub fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Expired => "expired",
            Self::Held => "held",
            Self::Rejected => "rejected",
        }
    }
}

/// Jobs in an entry: `count` positions from `seq`; `key` and `at` are 0 where the list has none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Item {
    pub lane: u8,
    pub seq: u64,
    pub count: u64,
    pub key: u64,
    pub at: i64,
}

impl Item {
    pub fn one(lane: u8, seq: u64) -> Self {
        Self {
            lane,
            seq,
            count: 1,
            key: 0,
            at: 0,
        }
    }
}

/// One change of a group's state. Times are ns since 1970 UTC.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Entry<'a> {
    /// The configuration, JSON; the last one is in force.
    Config {
        json: &'a [u8],
    },
    /// The lane was made.
    Lane {
        lane: u8,
    },
    Claim {
        owner: Owner,
        items: Items<'a>,
    },
    Ack {
        items: Items<'a>,
    },
    /// `note`: the position of the error in the notes log, 0: none.
    Nack {
        lane: u8,
        seq: u64,
        due: i64,
        counted: bool,
        note: u64,
    },
    /// Given back; the attempt does not count.
    Release {
        items: Items<'a>,
    },
    Expire {
        how: Ended,
        items: Items<'a>,
    },
    /// Waiting for an earlier one of their key.
    Park {
        items: Items<'a>,
    },
    /// Not due before `at`.
    Delay {
        items: Items<'a>,
    },
    Skip {
        reason: SkipReason,
        items: Items<'a>,
    },
    /// `note`: the position of the copied record in the dead-letter log.
    Dead {
        lane: u8,
        seq: u64,
        how: Ended,
        note: u64,
    },
    Redrive {
        items: Items<'a>,
    },
    /// Later deliveries read the record at `note` of the dead-letter log.
    Edit {
        lane: u8,
        seq: u64,
        note: u64,
    },
    /// All that is not in hand, below the cursors given as items.
    Purge {
        items: Items<'a>,
    },
    /// The dead letters named.
    PurgeDead {
        items: Items<'a>,
    },
    Cancel {
        lane: u8,
        seq: u64,
    },
    /// Goes on at `seq`; forgets what was in hand.
    Seek {
        lane: u8,
        seq: u64,
    },
    /// The records before `seq` are gone.
    Trim {
        lane: u8,
        seq: u64,
    },
    Pause,
    Resume,
}

/// A list of items inside a decoded entry, checked by `decode`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Items<'a> {
    flags: u8,
    left: u64,
    bytes: &'a [u8],
    previous: u64,
}

impl Iterator for Items<'_> {
    type Item = Item;

    #[inline]
    fn next(&mut self) -> Option<Item> {
        if self.left == 0 {
            return None;
        }
        self.left -= 1;
        let mut reader = Reader { bytes: self.bytes };
        let item = reader.item(self.flags, self.previous)?;
        self.bytes = reader.bytes;
        self.previous = item.seq;
        Some(item)
    }
}

/// Bounds-checked reading of what `Writer` wrote; None: the bytes end too early or make no sense.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a> {
    pub bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    #[inline]
    pub fn u8(&mut self) -> Option<u8> {
        let (first, rest) = self.bytes.split_first()?;
        self.bytes = rest;
        Some(*first)
    }

    #[inline]
    pub fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        if n > self.bytes.len() {
            return None;
        }
        let (taken, rest) = self.bytes.split_at(n);
        self.bytes = rest;
        Some(taken)
    }

    #[inline]
    pub fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }

    #[inline]
    pub fn i64(&mut self) -> Option<i64> {
        Some(self.u64()? as i64)
    }

    #[inline]
    pub fn varint(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..70).step_by(7) {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7F);
            if shift == 63 && bits > 1 {
                return None;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    pub fn blob(&mut self) -> Option<&'a [u8]> {
        let len = usize::try_from(self.varint()?).ok()?;
        self.take(len)
    }

    #[inline]
    fn lane(&mut self) -> Option<u8> {
        self.u8()
            .filter(|lane| (*lane as usize) < super::types::LANES)
    }

    #[inline]
    fn item(&mut self, flags: u8, previous: u64) -> Option<Item> {
        let lane = self.lane()?;
        let folded = self.varint()?;
        let delta = (folded >> 1) as i64 ^ -((folded & 1) as i64);
        let seq = previous.wrapping_add(delta as u64);
        let count = self.varint()?;
        // A run of positions ends below the largest number, and an entry names no absurd number of jobs.
        if count == 0 || count > 1 << 32 || seq.checked_add(count).is_none() {
            return None;
        }
        let key = if flags & KEYS != 0 { self.u64()? } else { 0 };
        let at = if flags & TIMES != 0 { self.i64()? } else { 0 };
        Some(Item {
            lane,
            seq,
            count,
            key,
            at,
        })
    }

    fn items(&mut self) -> Option<Items<'a>> {
        let flags = self.u8().filter(|flags| flags & !(KEYS | TIMES) == 0)?;
        let n = self.varint()?;
        let start = self.bytes;
        let mut previous = 0;
        for _ in 0..n {
            previous = self.item(flags, previous)?.seq;
        }
        let len = start.len() - self.bytes.len();
        Some(Items {
            flags,
            left: n,
            bytes: &start[..len],
            previous: 0,
        })
    }

    pub fn owner(&mut self) -> Option<Owner> {
        let session = self.varint()?;
        let slot = u16::try_from(self.varint()?).ok()?;
        let nonce = self.u64()?;
        Some(Owner {
            session,
            slot,
            nonce,
        })
    }

    fn entry(&mut self) -> Option<Entry<'a>> {
        Some(match self.u8()? {
            tag::CONFIG => Entry::Config { json: self.blob()? },
            tag::LANE => Entry::Lane { lane: self.lane()? },
            tag::CLAIM => Entry::Claim {
                owner: self.owner()?,
                items: self.items()?,
            },
            tag::ACK => Entry::Ack {
                items: self.items()?,
            },
            tag::NACK => Entry::Nack {
                lane: self.lane()?,
                seq: self.varint()?,
                due: self.i64()?,
                counted: self.u8()? != 0,
                note: self.varint()?,
            },
            tag::RELEASE => Entry::Release {
                items: self.items()?,
            },
            tag::EXPIRE => Entry::Expire {
                how: Ended::from_byte(self.u8()?)?,
                items: self.items()?,
            },
            tag::PARK => Entry::Park {
                items: self.items()?,
            },
            tag::DELAY => Entry::Delay {
                items: self.items()?,
            },
            tag::SKIP => Entry::Skip {
                reason: match self.u8()? {
                    1 => SkipReason::Ttl,
                    2 => SkipReason::Gap,
                    3 => SkipReason::Trimmed,
                    4 => SkipReason::Cancelled,
                    _ => return None,
                },
                items: self.items()?,
            },
            tag::DEAD => Entry::Dead {
                lane: self.lane()?,
                seq: self.varint()?,
                how: Ended::from_byte(self.u8()?)?,
                note: self.varint()?,
            },
            tag::REDRIVE => Entry::Redrive {
                items: self.items()?,
            },
            tag::EDIT => Entry::Edit {
                lane: self.lane()?,
                seq: self.varint()?,
                note: self.varint()?,
            },
            tag::PURGE => Entry::Purge {
                items: self.items()?,
            },
            tag::PURGE_DEAD => Entry::PurgeDead {
                items: self.items()?,
            },
            tag::CANCEL => Entry::Cancel {
                lane: self.lane()?,
                seq: self.varint()?,
            },
            tag::SEEK => Entry::Seek {
                lane: self.lane()?,
                seq: self.varint()?,
            },
            tag::TRIM => Entry::Trim {
                lane: self.lane()?,
                seq: self.varint()?,
            },
            tag::PAUSE => Entry::Pause,
            tag::RESUME => Entry::Resume,
            _ => return None,
        })
    }
}

/// Calls `each` with the entries of one journal record. Errors: `Corruption` when the bytes are not entries; then none of
/// the record was handed out.
pub fn decode<'a>(record: &'a [u8], mut each: impl FnMut(Entry<'a>)) -> Result<()> {
    let mut check = Reader { bytes: record };
    while !check.bytes.is_empty() {
        if check.entry().is_none() {
            return Err(Error::Corruption {
                file: PathBuf::from("journal"),
                offset: (record.len() - check.bytes.len()) as u64,
                what: "a record that is no journal entry, or one of a newer version".to_owned(),
            });
        }
    }
    let mut reader = Reader { bytes: record };
    while !reader.bytes.is_empty() {
        if let Some(entry) = reader.entry() {
            each(entry);
        }
    }
    Ok(())
}

/// Collects the entries of one operation.
#[derive(Default)]
pub struct Writer {
    pub bytes: Vec<u8>,
}

impl Writer {
    pub fn clear(&mut self) {
        self.bytes.clear();
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    #[inline]
    pub(crate) fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }

    pub(crate) fn blob(&mut self, bytes: &[u8]) {
        self.varint(bytes.len() as u64);
        self.bytes.extend_from_slice(bytes);
    }

    pub(crate) fn owner(&mut self, owner: &Owner) {
        self.varint(owner.session);
        self.varint(u64::from(owner.slot));
        self.bytes.extend_from_slice(&owner.nonce.to_le_bytes());
    }

    fn items(&mut self, items: &[Item]) {
        let mut flags = 0;
        for item in items {
            flags |= if item.key != 0 { KEYS } else { 0 } | if item.at != 0 { TIMES } else { 0 };
        }
        self.bytes.push(flags);
        self.varint(items.len() as u64);
        let mut previous = 0u64;
        for item in items {
            self.bytes.push(item.lane);
            let delta = item.seq.wrapping_sub(previous) as i64;
            self.varint(((delta << 1) ^ (delta >> 63)) as u64);
            self.varint(item.count);
            if flags & KEYS != 0 {
                self.bytes.extend_from_slice(&item.key.to_le_bytes());
            }
            if flags & TIMES != 0 {
                self.bytes.extend_from_slice(&item.at.to_le_bytes());
            }
            previous = item.seq;
        }
    }

    fn listed(&mut self, tag: u8, items: &[Item]) {
        if !items.is_empty() {
            self.bytes.push(tag);
            self.items(items);
        }
    }

    fn job(&mut self, tag: u8, lane: u8, seq: u64) {
        self.bytes.extend_from_slice(&[tag, lane]);
        self.varint(seq);
    }

    pub fn config(&mut self, json: &[u8]) {
        self.bytes.push(tag::CONFIG);
        self.blob(json);
    }

    pub fn lane(&mut self, lane: u8) {
        self.bytes.extend_from_slice(&[tag::LANE, lane]);
    }

    pub fn claim(&mut self, owner: &Owner, items: &[Item]) {
        if !items.is_empty() {
            self.bytes.push(tag::CLAIM);
            self.owner(owner);
            self.items(items);
        }
    }

    pub fn ack(&mut self, items: &[Item]) {
        self.listed(tag::ACK, items);
    }

    pub fn nack(&mut self, lane: u8, seq: u64, due: i64, counted: bool, note: u64) {
        self.job(tag::NACK, lane, seq);
        self.bytes.extend_from_slice(&due.to_le_bytes());
        self.bytes.push(u8::from(counted));
        self.varint(note);
    }

    pub fn release(&mut self, items: &[Item]) {
        self.listed(tag::RELEASE, items);
    }

    pub fn expire(&mut self, how: Ended, items: &[Item]) {
        if !items.is_empty() {
            self.bytes.extend_from_slice(&[tag::EXPIRE, how as u8]);
            self.items(items);
        }
    }

    pub fn park(&mut self, items: &[Item]) {
        self.listed(tag::PARK, items);
    }

    pub fn delay(&mut self, items: &[Item]) {
        self.listed(tag::DELAY, items);
    }

    pub fn skip(&mut self, reason: SkipReason, items: &[Item]) {
        if !items.is_empty() {
            self.bytes.extend_from_slice(&[tag::SKIP, reason as u8]);
            self.items(items);
        }
    }

    pub fn dead(&mut self, lane: u8, seq: u64, how: Ended, note: u64) {
        self.job(tag::DEAD, lane, seq);
        self.bytes.push(how as u8);
        self.varint(note);
    }

    pub fn redrive(&mut self, items: &[Item]) {
        self.listed(tag::REDRIVE, items);
    }

    pub fn edit(&mut self, lane: u8, seq: u64, note: u64) {
        self.job(tag::EDIT, lane, seq);
        self.varint(note);
    }

    pub fn purge(&mut self, cursors: &[Item]) {
        self.listed(tag::PURGE, cursors);
    }

    pub fn purge_dead(&mut self, items: &[Item]) {
        self.listed(tag::PURGE_DEAD, items);
    }

    pub fn cancel(&mut self, lane: u8, seq: u64) {
        self.job(tag::CANCEL, lane, seq);
    }

    pub fn seek(&mut self, lane: u8, seq: u64) {
        self.job(tag::SEEK, lane, seq);
    }

    pub fn trim(&mut self, lane: u8, seq: u64) {
        self.job(tag::TRIM, lane, seq);
    }

    pub fn pause(&mut self, paused: bool) {
        self.bytes
            .push(if paused { tag::PAUSE } else { tag::RESUME });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn items() -> impl Strategy<Value = Vec<Item>> {
        proptest::collection::vec(
            (
                0u8..10,
                0u64..u64::MAX / 2,
                1u64..100,
                any::<u64>(),
                any::<i64>(),
            )
                .prop_map(|(lane, seq, count, key, at)| Item {
                    lane,
                    seq,
                    count,
                    key,
                    at,
                }),
            1..20,
        )
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(list in items(), session: u64, slot: u16, nonce: u64, due: i64, note: u64, json: Vec<u8>) {
            let owner = Owner { session, slot, nonce };
            let mut writer = Writer::default();
            writer.claim(&owner, &list);
            writer.nack(3, note, due, true, note);
            writer.config(&json);
            writer.skip(SkipReason::Gap, &list);
            writer.pause(true);
            let mut seen = 0;
            decode(&writer.bytes, |entry| {
                seen += 1;
                match entry {
                    Entry::Claim { owner: found, items } => {
                        assert_eq!(found, owner);
                        assert_eq!(items.collect::<Vec<_>>(), list);
                    }
                    Entry::Nack { lane, seq, due: at, counted, note: n } => {
                        assert_eq!((lane, seq, at, counted, n), (3, note, due, true, note));
                    }
                    Entry::Config { json: found } => assert_eq!(found, json),
                    Entry::Skip { reason, items } => {
                        assert_eq!(reason, SkipReason::Gap);
                        assert_eq!(items.count(), list.len());
                    }
                    Entry::Pause => {}
                    other => panic!("{other:?}"),
                }
            }).unwrap();
            prop_assert_eq!(seen, 5);
        }

        #[test]
        fn any_bytes_are_entries_or_an_error(bytes: Vec<u8>) {
            let _ = decode(&bytes, |entry| if let Entry::Claim { items, .. } = entry { let _ = items.count(); });
        }

        #[test]
        fn a_cut_record_is_refused(list in items(), cut in 1usize..50) {
            let mut writer = Writer::default();
            writer.ack(&list);
            let cut = cut.min(writer.bytes.len() - 1);
            writer.bytes.truncate(writer.bytes.len() - cut);
            prop_assert!(decode(&writer.bytes, |_| panic!("handed out")).is_err());
        }
    }
}
