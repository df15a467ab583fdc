//! Reading a segment's frames in their order, as recovery and repair do: up to the first bytes that are no frame, and what lies
//! behind those.

use std::sync::atomic::Ordering;

use super::cursor::valid_frame_at;
use super::frame::{ctrl, flag, Frame, CTRL, DATA};
use super::segment::{IndexEntry, Segment, INDEX_BYTES, INDEX_RECORDS, START};

/// More positions than a segment can hold records: a greater distance is a jump.
const RECORDS: u64 = 1 << 31;

/// What is known behind the last valid frame of a scan.
#[derive(Clone, Copy, Debug)]
pub(super) struct State {
    pub off: u64,
    pub next_seq: u64,
    /// 0: no record was met.
    pub last_seq: u64,
    pub ordinal: u64,
    pub max_time: i64,
    /// The greatest SYNCED that a frame carried.
    pub promised: u64,
    /// The next file's first position, and where the ROLL frame begins.
    pub rolled: Option<(u64, u64)>,
    pub indexed_off: u64,
    pub indexed_ordinal: u64,
}

impl State {
    pub fn start(segment: &Segment) -> Self {
        let header = &segment.header;
        Self {
            off: START,
            next_seq: header.base_seq,
            last_seq: 0,
            ordinal: header.base_ordinal,
            max_time: header.base_max_time,
            promised: 0,
            rolled: None,
            indexed_off: START,
            indexed_ordinal: header.base_ordinal,
        }
    }

    /// At an index entry, of which everything is known but the last record.
    pub fn at(segment: &Segment, entry: &IndexEntry) -> Self {
        let ordinal = segment.header.base_ordinal + u64::from(entry.ordinal);
        Self {
            off: u64::from(entry.off),
            next_seq: entry.seq,
            ordinal,
            max_time: entry.max_time,
            indexed_off: u64::from(entry.off),
            indexed_ordinal: ordinal,
            ..Self::start(segment)
        }
    }

    /// Goes on at a frame behind bytes that are none: the positions between were records, unless there are too many.
    pub fn step_over(&mut self, off: u64, seq: u64) {
        let lost = seq.saturating_sub(self.next_seq);
        self.ordinal += if lost < RECORDS { lost } else { 0 };
        (self.off, self.next_seq) = (off, seq);
    }

    /// Reads frames on, up to the first that is not valid, a ROLL, or `end`; completes the index.
    pub fn scan(&mut self, segment: &Segment, end: u64) {
        let end = end.min(segment.header.file_size);
        while self.off < end && self.rolled.is_none() {
            let Some(frame) = frame_at(segment, self.off) else {
                return;
            };
            if frame.seq() != self.next_seq {
                return;
            }
            match frame.class() {
                DATA => {
                    // No transaction of this version has a redo log: such a frame was never committed.
                    if frame.flags() & flag::TXN != 0
                        || frame.flags() & flag::CHAIN_START != 0
                            && chain_end(segment, self.off, &frame).is_none()
                    {
                        return;
                    }
                    self.account(segment, &frame);
                }
                CTRL if frame.kind() == ctrl::ROLL => {
                    self.rolled = frame.word(0).map(|to| (to, self.off));
                }
                CTRL if frame.kind() == ctrl::GAP => {
                    self.next_seq = frame.word(1).unwrap_or(0).max(self.next_seq);
                }
                _ => {}
            }
            self.promised = self.promised.max(frame.synced().unwrap_or(0));
            self.off += frame.len() as u64;
        }
    }

    fn account(&mut self, segment: &Segment, frame: &Frame<'_>) {
        if self.off - self.indexed_off >= INDEX_BYTES
            || self.ordinal.saturating_sub(self.indexed_ordinal) >= INDEX_RECORDS
        {
            let off = self.off;
            if segment
                .last_entry()
                .is_none_or(|entry| u64::from(entry.off) < off)
            {
                segment.add_entry(&IndexEntry {
                    seq: self.next_seq,
                    max_time: self.max_time,
                    off: off as u32,
                    ordinal: (self.ordinal - segment.header.base_ordinal) as u32,
                });
            }
            (self.indexed_off, self.indexed_ordinal) = (self.off, self.ordinal);
        }
        let (mut at, mut seq) = (frame.body(), frame.seq());
        for _ in 0..frame.count() {
            let Some((record, next)) = frame.record_at(at, seq) else {
                break;
            };
            self.max_time = self.max_time.max(record.time_ns());
            (at, seq) = (next, seq + 1);
        }
        let count = u64::from(frame.count());
        self.next_seq += count;
        self.ordinal += count;
        if count > 0 {
            self.last_seq = self.next_seq - 1;
        }
    }
}

/// The frame at `off`, if its bytes are one.
pub(super) fn frame_at(segment: &Segment, off: u64) -> Option<Frame<'_>> {
    let len = valid_frame_at(segment, off, 0)?;
    // SAFETY: in the map, and just checked.
    let bytes = unsafe { std::slice::from_raw_parts(segment.map.at(off as usize), len) };
    Some(Frame::trusted(bytes))
}

/// Where a chain ends, if it is whole.
fn chain_end(segment: &Segment, off: u64, first: &Frame<'_>) -> Option<u64> {
    let end = off.checked_add(first.chain()?)?;
    let mut at = off;
    while at < end {
        at += valid_frame_at(segment, at, 0)? as u64;
    }
    (at == end).then_some(end)
}

/// What is found behind bytes that are no frame.
pub(super) struct Behind {
    /// The first frame that counts by itself: its offset and seq.
    pub resume: Option<(u64, u64)>,
    /// The greatest SYNCED that a frame carries.
    pub promised: u64,
    /// Behind the last byte that is not zero, a multiple of 8.
    pub used: u64,
}

/// Searches the rest of a file. Parts of a chain whose beginning is not there do not count: they are of a batch that was never
/// committed, or of a damaged one, which is gone as a whole.
pub(super) fn behind(segment: &Segment, state: &State) -> Behind {
    let size = segment.header.file_size;
    let mut found = Behind {
        resume: None,
        promised: 0,
        used: state.off,
    };
    let mut off = state.off;
    while off + 4 <= size {
        if off % 4096 == 0 && all_zero(segment, off) {
            off += 4096;
            continue;
        }
        let frame = frame_at(segment, off).filter(|frame| frame.seq() >= state.next_seq);
        let Some(frame) = frame else {
            if !zero_word(segment, off) {
                found.used = off + 8;
            }
            off += 8;
            continue;
        };
        let flags = frame.flags();
        let chain = (flags & flag::CHAIN_START != 0).then(|| chain_end(segment, off, &frame));
        if flags & (flag::TXN | flag::CHAIN_PART) == 0 && chain != Some(None) {
            found.resume = found.resume.or(Some((off, frame.seq())));
        }
        found.promised = found.promised.max(frame.synced().unwrap_or(0));
        off = chain.flatten().unwrap_or(off + frame.len() as u64);
        found.used = off;
    }
    found
}

fn zero_word(segment: &Segment, off: u64) -> bool {
    let mut bytes = [0u8; 8];
    let len = (segment.header.file_size - off).min(8) as usize;
    segment.map.read(off as usize, &mut bytes[..len]);
    bytes == [0; 8]
}

fn all_zero(segment: &Segment, off: u64) -> bool {
    if off + 4096 > segment.header.file_size {
        return false;
    }
    let mut bytes = [0u8; 4096];
    segment.map.read(off as usize, &mut bytes);
    bytes.iter().all(|byte| *byte == 0)
}

/// Whether a frame was committed at `off`, whatever became of it since: its first word is stored last.
pub(super) fn committed(segment: &Segment, off: u64) -> bool {
    off + 4 <= segment.header.file_size
        && segment.map.word(off as usize).load(Ordering::Acquire) != 0
}
