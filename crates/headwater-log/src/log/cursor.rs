//! Reading without a lock: below the visible tail frames never change (engine.md §6).

use std::sync::atomic::Ordering;
use std::sync::Arc;

use super::frame::{self, ctrl, Frame, RecordRef, CTRL, DATA};
use super::segment::{LogKind, Segment, START};
use super::Log;
use crate::error::{Error, Result};

/// The frame whose records are being handed out.
#[derive(Clone, Copy)]
struct Current {
    off: usize,
    len: usize,
    /// Byte of the next record in the frame, its seq, and how many are left.
    at: usize,
    seq: u64,
    left: u32,
}

/// A place in a log. Cheap to keep; it maps the segment it stands in.
pub struct Cursor {
    log: Arc<Log>,
    segment: Option<Arc<Segment>>,
    /// Of the next frame in the segment.
    off: u64,
    current: Option<Current>,
    /// Records below it are passed over.
    from: u64,
    /// The seq of the next record, as far as is known.
    next: u64,
    /// Reads up to the tail, durable or not: for whoever holds the log's lock.
    to_tail: bool,
    /// Frame and byte in it of the last record that was handed out.
    last: (u32, u32),
}

/// Where a record lies that was read once: it can be read again without a search or a checksum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spot {
    base: u64,
    off: u32,
    at: u32,
}

/// Reads records again by their spots.
pub struct Peek {
    log: Arc<Log>,
    segment: Option<Arc<Segment>>,
}

impl Peek {
    pub fn new(log: &Arc<Log>) -> Self {
        Self {
            log: Arc::clone(log),
            segment: None,
        }
    }

    /// The record at a spot that a cursor of this log gave for `seq`. None: its segment is gone.
    #[inline]
    pub fn read(&mut self, spot: Spot, seq: u64) -> Result<Option<RecordRef<'_>>> {
        if self
            .segment
            .as_ref()
            .is_none_or(|segment| segment.header.base_seq != spot.base)
        {
            self.segment = self.log.segment(spot.base)?;
        }
        let Some(segment) = &self.segment else {
            return Ok(None);
        };
        let off = spot.off as usize;
        let room = (segment.header.file_size as usize).saturating_sub(off);
        let word = segment.map.word(off).load(Ordering::Acquire);
        let Some((len, DATA)) = frame::parse_word(word, room) else {
            return Ok(None);
        };
        // SAFETY: a committed frame, in the map, which `segment` keeps for as long as self is borrowed.
        let bytes = unsafe { std::slice::from_raw_parts(segment.map.at(off), len) };
        Ok(Frame::trusted(bytes)
            .record_at(spot.at as usize, seq)
            .map(|(record, _)| record))
    }
}

impl Cursor {
    /// Begins at the first kept record at or above `from`.
    pub fn new(log: &Arc<Log>, from: u64) -> Self {
        Self {
            log: Arc::clone(log),
            segment: None,
            off: START,
            current: None,
            from,
            next: from,
            to_tail: false,
            last: (0, 0),
        }
    }

    /// As `new`, but reading up to the tail even where readers are bounded by what is synced.
    pub fn new_to_tail(log: &Arc<Log>, from: u64) -> Self {
        Self {
            to_tail: true,
            ..Self::new(log, from)
        }
    }

    #[inline]
    fn limit(&self) -> u64 {
        if self.to_tail {
            self.log.state().tail.load(Ordering::Acquire)
        } else {
            self.log.visible()
        }
    }

    pub fn log(&self) -> &Arc<Log> {
        &self.log
    }

    /// Continues at the first kept record at or above `from`.
    pub fn seek(&mut self, from: u64) {
        // A step forward inside the frame or segment at hand needs no search.
        if from < self.next || self.segment.is_none() {
            self.segment = None;
            self.current = None;
        }
        self.from = from;
        self.next = self.next.max(from);
        if self.segment.is_none() {
            self.next = from;
        }
    }

    /// Steps over what the caller itself has just appended at the cursor's place, and need not read. A place in a later segment is
    /// come to by reading.
    #[inline]
    pub(crate) fn pass(&mut self, end_lba: u64, next: u64) {
        if let (Some(segment), None) = (&self.segment, &self.current) {
            let here = segment.header.base_lba + self.off;
            if end_lba > here && end_lba <= segment.end_lba() {
                self.off = end_lba - segment.header.base_lba;
                self.next = next;
                self.from = next;
            }
        }
    }

    /// Where the record lies that `next` handed out last.
    #[inline]
    pub fn spot(&self) -> Spot {
        Spot {
            base: self
                .segment
                .as_ref()
                .map_or(0, |segment| segment.header.base_seq),
            off: self.last.0,
            at: self.last.1,
        }
    }

    /// Whether there is something to read that was not there when `next` found nothing.
    #[inline]
    pub fn is_behind(&self) -> bool {
        self.segment
            .as_ref()
            .is_some_and(|segment| segment.header.base_lba + self.off < self.limit())
    }

    /// A lower bound of the next record's seq.
    pub fn next_seq(&self) -> u64 {
        self.next
    }

    fn find_start(&mut self) -> Result<bool> {
        let Some(segment) = self.log.segment_of(self.from)? else {
            return Ok(false);
        };
        let from = self.from;
        self.off = segment
            .search(|entry| entry.seq <= from)
            .map_or(START, |entry| u64::from(entry.off));
        let (before, base) = (self.next, segment.header.base_seq);
        self.next = self.next.max(base);
        self.segment = Some(segment);
        // What is asked for should lie in files that are not there any more.
        if self.log.kind == LogKind::Stream && before >= self.log.first_seq() {
            self.check_next(before)?;
        }
        Ok(true)
    }

    /// Begins at the last index entry before which all event times are below `time_ns`: what is asked for lies behind it.
    pub fn seek_time(&mut self, time_ns: i64) -> Result<()> {
        self.current = None;
        self.segment = None;
        for base in self.log.segment_bases()?.into_iter().rev() {
            let Some(segment) = self.log.segment(base)? else {
                continue;
            };
            if segment.header.base_max_time < time_ns || base == self.log.first_seq() {
                self.from = base;
                self.next = base;
                self.off = segment
                    .search(|entry| entry.max_time < time_ns)
                    .map_or(START, |entry| u64::from(entry.off));
                self.segment = Some(segment);
                return Ok(());
            }
        }
        self.from = self.log.first_seq();
        Ok(())
    }

    /// Loads the next DATA frame. False: nothing more below the visible tail.
    ///
    /// After `Corruption` the cursor stands behind the damage.
    #[inline]
    fn load_frame(&mut self) -> Result<bool> {
        loop {
            if self.segment.is_none() && !self.find_start()? {
                return Ok(false);
            }
            let Some(segment) = &self.segment else {
                return Ok(false);
            };
            let limit = self.limit();
            let lba = segment.header.base_lba + self.off;
            if lba >= limit {
                return Ok(false);
            }
            let room = (segment.header.file_size.saturating_sub(self.off)) as usize;
            if room < 4 {
                if !self.next_segment()? {
                    return Ok(false);
                }
                continue;
            }
            let off = self.off as usize;
            let word = segment.map.word(off).load(Ordering::Acquire);
            let Some((len, class)) = frame::parse_word(word, room) else {
                return Err(self.damaged("a frame's length is impossible"));
            };
            if lba + len as u64 > limit {
                // Tails and synced addresses lie between frames.
                return Err(self.damaged("a frame's length is impossible"));
            }
            // SAFETY: committed frames do not change, and [off, off + len) lies in the map, which `segment` keeps.
            let bytes = unsafe { std::slice::from_raw_parts(segment.map.at(off), len) };
            let frame = match Frame::check(bytes, word, segment.seed) {
                Ok(frame) => frame,
                Err(why) => return Err(self.damaged(why)),
            };
            self.off += len as u64;
            match class {
                DATA => {
                    let (seq, count) = (frame.seq(), frame.count());
                    if count == 0 || seq + u64::from(count) <= self.from {
                        self.next = seq + u64::from(count);
                        continue;
                    }
                    self.current = Some(Current {
                        off,
                        len,
                        at: frame.body(),
                        seq,
                        left: count,
                    });
                    return Ok(true);
                }
                CTRL if frame.kind() == ctrl::ROLL => {
                    let to = frame.word(0).unwrap_or(0);
                    let next = self.next_segment();
                    if !matches!(next, Ok(true)) {
                        // Not to be seen yet, or not to be opened: here again at the next call.
                        self.off -= len as u64;
                        return next;
                    }
                    self.check_next(to)?;
                }
                CTRL if frame.kind() == ctrl::GAP => {
                    self.next = self.next.max(frame.word(1).unwrap_or(0));
                }
                _ => {}
            }
        }
    }

    fn next_segment(&mut self) -> Result<bool> {
        let Some(segment) = &self.segment else {
            return Ok(false);
        };
        let base = segment.header.base_seq;
        match self.log.segment_after(base)? {
            Some(next) => {
                self.next = self.next.max(next.header.base_seq);
                self.segment = Some(next);
                self.off = START;
                Ok(true)
            }
            None => Ok(false),
        }
    }

    /// Says so when the file that a ROLL leads to is not there, though nobody has trimmed or finished it.
    fn check_next(&self, to: u64) -> Result<()> {
        let base = self.segment.as_ref().map_or(0, |next| next.header.base_seq);
        if base <= to || base <= self.log.first_seq() || self.log.was_finished(to, base)? {
            return Ok(());
        }
        Err(Error::Corruption {
            file: self.log.dir.join(self.log.kind.file_name(to)),
            offset: 0,
            what: "the segment is missing".to_owned(),
        })
    }

    /// Steps behind bytes that are no frame, and says so.
    #[cold]
    fn damaged(&mut self, why: &str) -> Error {
        let Some(segment) = self.segment.clone() else {
            return Error::WouldBlock;
        };
        let error = self.log.corrupt(&segment, self.off, why);
        self.current = None;
        let limit = self
            .limit()
            .saturating_sub(segment.header.base_lba)
            .min(segment.header.file_size);
        let mut off = self.off + 8;
        while off + 32 <= limit {
            if valid_frame_at(&segment, off, self.next).is_some() {
                self.off = off;
                return error;
            }
            off += 8;
        }
        self.off = limit;
        if limit == segment.header.file_size || self.limit() > segment.end_lba() {
            // Nothing readable is left in this file; a failure to go on shows at the next call.
            if matches!(self.next_segment(), Ok(false)) {
                self.off = segment.header.file_size;
            }
        }
        error
    }

    /// The next record, or None where there is none yet.
    ///
    /// Errors: `Corruption` once for each damaged place; the next call goes on behind it.
    #[inline]
    pub fn next(&mut self) -> Result<Option<RecordRef<'_>>> {
        loop {
            if self.current.is_none() && !self.load_frame()? {
                return Ok(None);
            }
            let (Some(current), Some(segment)) = (&mut self.current, &self.segment) else {
                return Ok(None);
            };
            // SAFETY: the frame was checked by `load_frame`; the map lives as long as `segment`, which self keeps.
            let bytes =
                unsafe { std::slice::from_raw_parts(segment.map.at(current.off), current.len) };
            let frame = Frame::trusted(bytes);
            let Some((record, next)) = frame.record_at(current.at, current.seq) else {
                return Err(self.damaged("a record's lengths are impossible"));
            };
            self.last = (current.off as u32, current.at as u32);
            current.at = next;
            current.seq += 1;
            current.left -= 1;
            self.next = current.seq;
            if current.left == 0 {
                self.current = None;
            }
            if record.seq >= self.from {
                // SAFETY: as above; the borrow of self keeps the map from being dropped while the record is used.
                return Ok(Some(unsafe {
                    std::mem::transmute::<RecordRef<'_>, RecordRef<'_>>(record)
                }));
            }
        }
    }
}

/// A whole valid DATA or CTRL frame at `off` whose seq is not below `least`; its length.
pub(super) fn valid_frame_at(segment: &Segment, off: u64, least: u64) -> Option<usize> {
    let room = segment.header.file_size.checked_sub(off)? as usize;
    if room < 32 {
        return None;
    }
    let word = segment.map.word(off as usize).load(Ordering::Acquire);
    let (len, _) = frame::parse_word(word, room)?;
    // SAFETY: in the map; bytes that are being written by another process fail the check.
    let bytes = unsafe { std::slice::from_raw_parts(segment.map.at(off as usize), len) };
    // First what costs nothing: where frames are searched for, any bytes may look like the length of one.
    let plausible = Frame::plausible(bytes, least);
    (plausible && Frame::check(bytes, word, segment.seed).is_ok()).then_some(len)
}

/// More positions than a file can hold records: a greater distance is a jump, not damage.
const RECORDS: u64 = 1 << 31;

impl Cursor {
    /// As `next`, over damaged places: the record, and how many were probably lost in front of it.
    pub(crate) fn next_over(&mut self) -> Result<Option<(RecordRef<'_>, u64)>> {
        let mut damaged = None;
        // The loop hands a borrow of itself out, which the borrow checker accepts only through a pointer.
        let me: *mut Self = self;
        loop {
            let (before, place) = (self.next, self.place());
            // SAFETY: no other reference is live; the record borrows self, as the signature says.
            match unsafe { &mut *me }.next() {
                Ok(found) => {
                    return Ok(found.map(|record| {
                        let lost = damaged.map_or(0, |from| record.seq.saturating_sub(from));
                        (record, if lost < RECORDS { lost } else { 0 })
                    }));
                }
                Err(Error::Corruption { .. }) if self.place() != place => {
                    damaged = damaged.or(Some(before));
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The record at `seq`, over damaged places in front of it. Errors: `Corruption` where it is damaged itself.
    pub(crate) fn get(&mut self, seq: u64) -> Result<Option<RecordRef<'_>>> {
        self.seek(seq);
        let mut damaged = None;
        // As above.
        let me: *mut Self = self;
        loop {
            let place = self.place();
            // SAFETY: as above.
            match unsafe { &mut *me }.next() {
                Ok(Some(record)) if record.seq == seq => return Ok(Some(record)),
                Ok(_) => return damaged.map_or(Ok(None), Err),
                Err(error @ Error::Corruption { .. }) if self.place() != place => {
                    damaged = Some(error);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Changes with every step: where it does not, the next one would fail likewise.
    fn place(&self) -> (u64, u64) {
        let base = self.segment.as_ref().map_or(0, |s| s.header.base_seq);
        (base, self.off)
    }
}
