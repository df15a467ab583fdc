//! One subscription's ring, as publishers see it: under its lock they copy a message and store the tail.
//!
//! Two words say everything, each a place and a number (`place::Mark`): `tail`, stored by publishers, and `head`, moved by
//! compare-and-swap alone: by the reader who took a message, or by a publisher who drops the oldest one. So every message is
//! either taken or dropped, and a reader whose swap succeeds knows that what it copied was not written over. All other words
//! are single counters or caches of these two. Whoever dies in between leaves bytes behind the tail, and nothing to repair.

use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

use super::place::{Mark, Place, Room, HOT};
use super::{Id, Overflow, Publication};
use crate::ctx::EngineCtx;
use crate::error::{Error, Result};
use crate::shared::layout::{page_kind, ObjectPage};
use crate::shared::Shared;
use crate::storage::Map;

/// Words of the page. Those of a line of 64 bytes are written by the same side.
pub(crate) mod word {
    /// The owner's slot, the policy, whether it hears several names: as `About::word` packs them.
    pub const ABOUT: usize = 0;
    /// Messages that may wait, and units that the file can ever have (upper half).
    pub const SIZE: usize = 1;
    /// Units that the file has.
    pub const HAVE: usize = 2;
    /// See `place::Room`.
    pub const TOP: usize = 3;
    pub const THIRD: usize = 4;
    /// Messages ever put; behind by the last one where a publisher died. The tail's number is right.
    pub const PUT: usize = 5;
    /// Messages refused (`DropNewest`), or since the reader was told last (`Error`).
    pub const REFUSED: usize = 6;
    /// The head as a publisher saw it last.
    pub const SEEN: usize = 7;
    // The next line is the reader's.
    pub const HEAD: usize = 8;
    /// 1: a publisher waits for room.
    pub const BLOCKED: usize = 9;
}

pub(crate) const UNIT: usize = 8;
/// 7 words: `units | check << 32`, number, time, publisher, its count, `value | key << 32`, `headers | name << 32` (lengths).
pub(crate) const HEADER: usize = 56;
/// In the place of a message's units: go on at the place that follows.
pub(crate) const SIGN: u32 = u32::MAX;
/// The length of a key or of headers that are not there.
pub(crate) const ABSENT: u32 = u32::MAX;

/// A message's check: that of this place and number, so that a leftover of an earlier lap is not taken for one.
#[inline]
pub(crate) fn check(mark: Mark) -> u32 {
    mark.number.wrapping_mul(0x9E37_79B1) ^ mark.off.rotate_left(16) ^ 0x4857_524E
}

/// The number of a mark in full, from one that is near.
#[inline]
pub(crate) fn full(near: u64, number: u32) -> u64 {
    near.wrapping_add_signed(i64::from(number.wrapping_sub(near as u32) as i32))
}

/// Whose ring it is, and how it behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct About {
    pub slot: u16,
    pub overflow: Overflow,
    /// Its messages carry the name of their channel.
    pub pattern: bool,
}

impl About {
    /// Never 0: that is an entry which is not written yet.
    pub fn word(self) -> u64 {
        u64::from(self.slot)
            | (self.overflow as u64) << 16
            | u64::from(self.pattern) << 24
            | 1 << 32
    }

    pub fn of(word: u64) -> Option<Self> {
        (word >> 32 == 1)
            .then(|| {
                Some(Self {
                    slot: word as u16,
                    overflow: Overflow::of(word >> 16 & 0xFF)?,
                    pattern: word >> 24 & 1 != 0,
                })
            })
            .flatten()
    }
}

/// A message with all that a ring stores of it.
pub(crate) struct Letter<'a> {
    pub body: Publication<'a>,
    pub name: &'a str,
    pub time_ns: i64,
    pub id: Id,
}

pub(crate) enum Put {
    Done,
    /// Dropped, and counted.
    Refused,
    Full,
    /// Nobody listens here any more.
    Gone,
}

/// A ring that this process has mapped.
pub(crate) struct Ring {
    pub shared: Arc<Shared>,
    pub page: u32,
    pub incarnation: u32,
    pub about: About,
    pub buffer: u32,
    limit: u32,
    file: File,
    path: PathBuf,
    pub map: Map,
    /// Bytes that the file is known to have: beyond them a map has nothing behind it.
    reach: AtomicU64,
}

pub(crate) fn path_of(ctx: &EngineCtx, page: u32, incarnation: u32) -> PathBuf {
    ctx.root.join("run/ring").join(file_name(page, incarnation))
}

pub(crate) fn file_name(page: u32, incarnation: u32) -> String {
    format!("{page}-{incarnation}")
}

impl Ring {
    /// A new ring for a page that was just handed out; the caller holds the gate. Nobody finds it before `ready`.
    pub fn create(
        ctx: &EngineCtx,
        page: u32,
        about: About,
        buffer: u32,
        limit: u32,
    ) -> Result<Self> {
        let state = ctx.shared.page(page);
        let words = &state.words;
        words[word::ABOUT].store(about.word(), Ordering::Relaxed);
        let size = u64::from(buffer) | u64::from(limit) << 32;
        words[word::SIZE].store(size, Ordering::Relaxed);
        words[word::HAVE].store(u64::from(HOT), Ordering::Relaxed);
        let incarnation = state.incarnation.load(Ordering::Relaxed);
        let path = path_of(ctx, page, incarnation);
        let file = ctx.storage.create(&path, HOT as u64 * UNIT as u64)?;
        Self::map(ctx, page, incarnation, about, buffer, limit, file, path)
    }

    /// The ring of a page, if it is there.
    pub fn open(ctx: &EngineCtx, page: u32, incarnation: u32) -> Result<Option<Self>> {
        let state = ctx.shared.page(page);
        let words = &state.words;
        let about = About::of(words[word::ABOUT].load(Ordering::Relaxed));
        let size = words[word::SIZE].load(Ordering::Relaxed);
        let (buffer, limit) = (size as u32, (size >> 32) as u32);
        let path = path_of(ctx, page, incarnation);
        let file = match ctx.storage.open(&path) {
            Ok(file) => file,
            // Its owner left in this moment.
            Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                return Ok(None)
            }
            Err(error) => return Err(error),
        };
        match about {
            Some(about) if limit >= HOT => {
                Self::map(ctx, page, incarnation, about, buffer, limit, file, path).map(Some)
            }
            _ => Ok(None),
        }
    }

    #[allow(clippy::too_many_arguments)] // the fields
    fn map(
        ctx: &EngineCtx,
        page: u32,
        incarnation: u32,
        about: About,
        buffer: u32,
        limit: u32,
        file: File,
        path: PathBuf,
    ) -> Result<Self> {
        let map = ctx.storage.map(&file, &path, limit as usize * UNIT, true)?;
        let ring = Self {
            shared: Arc::clone(&ctx.shared),
            page,
            incarnation,
            about,
            buffer,
            limit,
            file,
            path,
            map,
            reach: AtomicU64::new(0),
        };
        Ok(ring)
    }

    #[inline]
    pub fn state(&self) -> &ObjectPage {
        self.shared.page(self.page)
    }

    #[inline]
    pub fn word(&self, at: usize) -> &AtomicU64 {
        &self.state().words[at]
    }

    pub fn path(&self) -> &PathBuf {
        &self.path
    }

    /// Whether its owner still listens.
    #[inline]
    pub fn is_there(&self) -> bool {
        let state = self.state();
        state.deleted.load(Ordering::Relaxed) == 0
            && state.incarnation.load(Ordering::Relaxed) == self.incarnation
            && state.kind.load(Ordering::Relaxed) == page_kind::RING
    }

    /// Whether the file has these units: a word that says so is not believed, since a store beyond the end is fatal.
    #[inline]
    pub fn reaches(&self, units: u64) -> bool {
        let bytes = units * UNIT as u64;
        bytes <= self.reach.load(Ordering::Relaxed) || self.look_how_far(bytes)
    }

    #[cold]
    fn look_how_far(&self, bytes: u64) -> bool {
        if bytes > u64::from(self.limit) * UNIT as u64 {
            return false;
        }
        let len = rustix::fs::fstat(&self.file).map_or(0, |stat| stat.st_size as u64);
        self.reach
            .store(len.min(self.map.len() as u64), Ordering::Relaxed);
        bytes <= len
    }

    /// Makes the file longer. The one system call under a ring's lock, as rare as the reader is slow.
    #[cold]
    fn grow(&self, units: u32) -> bool {
        let have = self.word(word::HAVE).load(Ordering::Relaxed) as u32;
        let wanted = units.max(have.saturating_mul(2)).min(self.limit);
        let bytes = u64::from(wanted) * UNIT as u64;
        // Allocated, so that no store into the map can fail.
        let grown =
            rustix::fs::fallocate(&self.file, rustix::fs::FallocateFlags::empty(), 0, bytes);
        if grown.is_err() {
            return false;
        }
        self.word(word::HAVE)
            .store(u64::from(wanted), Ordering::Relaxed);
        true
    }

    /// Puts a message in. The caller holds the page's lock, and rings it after `Done`.
    #[inline]
    pub fn put(&self, letter: &Letter<'_>) -> Put {
        if !self.is_there() {
            return Put::Gone;
        }
        let state = self.state();
        if self.about.overflow == Overflow::Error && self.overrun(false) {
            return Put::Refused;
        }
        let name = if self.about.pattern { letter.name } else { "" };
        let body = &letter.body;
        let len = HEADER
            + body.value.len()
            + body.key.map_or(0, <[u8]>::len)
            + body.headers.map_or(0, <[u8]>::len)
            + name.len();
        let units = len.div_ceil(UNIT) as u32;
        let tail = Mark::of(state.tail.load(Ordering::Relaxed));
        let Some(at) = self.room(tail, units) else {
            return self.full();
        };
        if !self.reaches(u64::from(at) + u64::from(units)) {
            return self.full();
        }
        let number = full(self.word(word::PUT).load(Ordering::Relaxed), tail.number);
        let mark = Mark { off: at, ..tail };
        let opt = |part: Option<&[u8]>| u64::from(part.map_or(ABSENT, |part| part.len() as u32));
        let header: [u64; HEADER / 8] = [
            u64::from(units) | u64::from(check(mark)) << 32,
            number,
            letter.time_ns as u64,
            letter.id.publisher,
            letter.id.number,
            body.value.len() as u64 | opt(body.key) << 32,
            opt(body.headers) | (name.len() as u64) << 32,
        ];
        let mut off = at as usize * UNIT;
        // SAFETY: [off, off + len) was found free by `room`, lies in the file (`reaches`), and is ours under the lock.
        unsafe {
            std::ptr::copy_nonoverlapping(header.as_ptr().cast::<u8>(), self.map.at(off), HEADER);
        }
        off += HEADER;
        for part in [
            body.value,
            body.key.unwrap_or_default(),
            body.headers.unwrap_or_default(),
            name.as_bytes(),
        ] {
            if !part.is_empty() {
                self.map.write(off, part);
                off += part.len();
            }
        }
        crate::fail::kp("ring.copied");
        state
            .tail
            .store(tail.next(at + units).word(), Ordering::Release);
        crate::fail::kp("ring.put");
        self.word(word::PUT).store(number + 1, Ordering::Relaxed);
        Put::Done
    }

    /// Where `units` fit; drops the oldest where that is the policy.
    #[inline]
    fn room(&self, tail: Mark, units: u32) -> Option<u32> {
        let known = |at: usize| self.word(at).load(Ordering::Relaxed);
        let mut room = Room {
            head: Mark::of(known(word::SEEN)),
            tail,
            top: known(word::TOP) as u32,
            third: Mark::of(known(word::THIRD)),
            have: (known(word::HAVE) as u32).min(self.limit),
            limit: self.limit,
        };
        let mut fresh = false;
        let mut stuck = false;
        loop {
            let waiting = room.head.until(tail);
            let found = if waiting < self.buffer {
                room.place(units, fresh)
            } else if fresh {
                Place::Full
            } else {
                Place::Look
            };
            match found {
                Place::At(at) => return Some(at),
                Place::Look => {
                    room.head = self.look();
                    fresh = true;
                    if !room.is_three() {
                        // An old number would be between head and tail again, 2^32 messages later.
                        room.third = room.head;
                        self.word(word::THIRD)
                            .store(room.third.word(), Ordering::Relaxed);
                    }
                }
                Place::Reset => {
                    let begin = Mark {
                        off: 0,
                        ..room.head
                    };
                    // Nothing waits, so that no reader moves it.
                    if !self.move_head(room.head, begin) {
                        return None;
                    }
                    self.word(word::SEEN).store(begin.word(), Ordering::Relaxed);
                    return Some(0);
                }
                Place::Jump(to) => return self.sign(tail, to).then_some(to),
                Place::Grow(end) if !stuck => {
                    stuck = !self.grow(end);
                    room.have = known(word::HAVE) as u32;
                }
                Place::Grow(_) | Place::Full => {
                    if self.about.overflow != Overflow::DropOldest || waiting == 0 {
                        return None;
                    }
                    room.head = self.drop_oldest(room.head, tail);
                }
            }
        }
    }

    /// Leads from the tail to another place, and notes which piece begins there.
    fn sign(&self, tail: Mark, to: u32) -> bool {
        if !self.reaches(u64::from(tail.off) + 1) {
            return false;
        }
        let off = tail.off as usize * UNIT;
        self.map.word(off + 4).store(to, Ordering::Relaxed);
        self.map.word(off).store(SIGN, Ordering::Relaxed);
        if to == 0 {
            self.word(word::TOP)
                .store(u64::from(tail.off) + 1, Ordering::Relaxed);
        } else {
            let third = Mark { off: to, ..tail };
            self.word(word::THIRD)
                .store(third.word(), Ordering::Relaxed);
        }
        true
    }

    /// The head as it is now.
    fn look(&self) -> Mark {
        let head = self.word(word::HEAD).load(Ordering::SeqCst);
        self.word(word::SEEN).store(head, Ordering::Relaxed);
        Mark::of(head)
    }

    pub fn move_head(&self, from: Mark, to: Mark) -> bool {
        // In one order with BLOCKED: see `Subscription::next` and `Pending::arm`.
        self.word(word::HEAD)
            .compare_exchange(from.word(), to.word(), Ordering::SeqCst, Ordering::Relaxed)
            .is_ok()
    }

    #[cold]
    fn drop_oldest(&self, head: Mark, tail: Mark) -> Mark {
        let to = match self.size_at(head) {
            Some((off, units)) => head.next(off + units),
            // Bytes that no publisher wrote: everything that waits is lost.
            None => tail,
        };
        self.move_head(head, to);
        crate::fail::kp("ring.dropped");
        self.look()
    }

    /// The message at a mark: its place (another one, where a sign leads there) and its units.
    #[inline]
    pub fn size_at(&self, mark: Mark) -> Option<(u32, u32)> {
        let mut off = mark.off;
        for _ in 0..2 {
            if !self.reaches(u64::from(off) + 1) {
                return None;
            }
            let at = off as usize * UNIT;
            let units = self.map.word(at).load(Ordering::Relaxed);
            if units != SIGN {
                let fits = units as usize >= HEADER / UNIT
                    && self.reaches(u64::from(off) + u64::from(units));
                return fits.then_some((off, units));
            }
            off = self.map.word(at + 4).load(Ordering::Relaxed);
        }
        None
    }

    #[cold]
    fn full(&self) -> Put {
        match self.about.overflow {
            Overflow::Block => Put::Full,
            Overflow::Error => {
                self.overrun(true);
                Put::Refused
            }
            Overflow::DropNewest | Overflow::DropOldest => {
                self.word(word::REFUSED).fetch_add(1, Ordering::SeqCst);
                Put::Refused
            }
        }
    }

    /// `Error`: counts the message if the ring was overrun before, or is now. The reader takes the count away at any time.
    fn overrun(&self, now: bool) -> bool {
        let refused = self.word(word::REFUSED);
        refused
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |count| {
                (now || count != 0).then_some(count + 1)
            })
            .is_ok()
    }

    /// Whether a message would find room by count; for a publisher that spins.
    pub fn has_room(&self) -> bool {
        let head = Mark::of(self.word(word::HEAD).load(Ordering::SeqCst));
        let tail = Mark::of(self.state().tail.load(Ordering::Relaxed));
        head.until(tail) <= self.buffer / 2 || !self.is_there()
    }
}
