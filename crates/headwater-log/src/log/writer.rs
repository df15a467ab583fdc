//! Appending: commit by the first word of a frame, publish by the tail (engine.md §5).

use std::sync::atomic::{compiler_fence, Ordering};
use std::sync::Arc;

use super::frame::{self, flag, frame_ext, FrameHead, Record, HEADER, ROLL_BYTES};
use super::segment::{IndexEntry, Segment, INDEX_BYTES, INDEX_RECORDS, START};
use super::{monotonic_ns, now_ns, Log};
use crate::error::{Error, Result};
use crate::options::limits;
use crate::shared::layout::{intent_op, ObjectPage};
use crate::shared::PageLock;

/// Words of the page that the appender keeps for the index.
pub(crate) const INDEXED_OFF: usize = 0;
pub(crate) const INDEXED_ORDINAL: usize = 1;

/// What an append came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    pub first_seq: u64,
    pub last_seq: u64,
    /// Durable once the log is synced up to here.
    pub end_lba: u64,
    pub append_ns: i64,
}

/// The writer's lock of a log.
pub struct LogGuard<'a> {
    pub(super) log: &'a Log,
    /// None: the log is being recovered, and nobody else has it.
    _lock: Option<PageLock<'a>>,
    appended: bool,
}

impl Drop for LogGuard<'_> {
    #[inline]
    fn drop(&mut self) {
        if self.appended {
            self.log.ring();
        }
    }
}

/// The sizes that can be checked without a lock. Errors: `TooLarge`.
#[inline]
pub fn check_record(record: &Record<'_>, limit: u64) -> Result<()> {
    let tlvs = record.tlv_bytes();
    let key = record.key.map_or(0, <[u8]>::len);
    let size = (record.value.len() + key + tlvs) as u64;
    if size <= limit.min(limits::RECORD_BYTES)
        && key <= limits::KEY_BYTES
        && tlvs <= limits::TLV_BYTES
    {
        return Ok(());
    }
    Err(too_large(size, limit, key as u64, tlvs as u64))
}

#[cold]
fn too_large(size: u64, limit: u64, key: u64, tlvs: u64) -> Error {
    let limit = limit.min(limits::RECORD_BYTES);
    let (what, size, limit) = if size > limit {
        ("message", size, limit)
    } else if key > limits::KEY_BYTES as u64 {
        ("key", key, limits::KEY_BYTES as u64)
    } else {
        (
            "headers (with id and times)",
            tlvs,
            limits::TLV_BYTES as u64,
        )
    };
    Error::TooLarge { what, size, limit }
}

impl<'a> LogGuard<'a> {
    pub(super) fn new(log: &'a Log, lock: PageLock<'a>) -> Self {
        Self {
            log,
            _lock: Some(lock),
            appended: false,
        }
    }

    /// For recovery, which excludes every other user of the log.
    pub(super) fn alone(log: &'a Log) -> Self {
        Self {
            log,
            _lock: None,
            appended: false,
        }
    }

    #[inline]
    pub(super) fn state(&self) -> &'a ObjectPage {
        self.log.state()
    }

    /// Nobody is rung for what was appended so far.
    #[inline]
    pub fn quiet(&mut self) {
        self.appended = false;
    }

    pub fn log(&self) -> &'a Log {
        self.log
    }

    /// The segment that is written.
    #[inline]
    pub(super) fn active(&self) -> Result<&'a Arc<Segment>> {
        let base = self.state().active_base.load(Ordering::Relaxed);
        // SAFETY: the lock is held, so that no other thread touches the cell; the reference is used under the lock only.
        let cell = unsafe { &mut *self.log.active.get() };
        if cell
            .as_ref()
            .is_none_or(|segment| segment.header.base_seq != base)
        {
            let segment = match self.log.segment(base)? {
                Some(segment) => segment,
                None => self.log.open_segment(base)?,
            };
            *cell = Some(segment);
        }
        cell.as_ref().ok_or(Error::WouldBlock)
    }

    /// Whether so many bytes fit the active segment, so that an append would not roll.
    #[inline]
    pub fn fits(&self, records: &[Record<'_>]) -> Result<bool> {
        let bytes: usize = records.iter().map(Record::encoded).sum();
        let segment = self.active()?;
        let off = self.state().tail.load(Ordering::Relaxed) - segment.header.base_lba;
        let frames = bytes / limits::FRAME_BYTES + 1;
        Ok(off + (bytes + frames * (HEADER + 32) + ROLL_BYTES) as u64 <= segment.header.file_size)
    }

    /// Appends records in their order; with `atomic` all of them or none become visible, else a failure leaves the first ones.
    /// The sizes were checked by `check_record`.
    ///
    /// Errors: `StorageFull`, `Durability`, `TooLarge` for an atomic batch over the limit of chains.
    #[inline]
    pub fn append(&mut self, records: &[Record<'_>], atomic: bool) -> Result<Appended> {
        let state = self.state();
        if state.poison.load(Ordering::Relaxed) != 0 {
            return Err(self.log.poisoned());
        }
        let append_ns = now_ns();
        if records.is_empty() {
            return Ok(Appended {
                first_seq: self.next_seq(),
                last_seq: self.last_seq(),
                end_lba: self.tail(),
                append_ns,
            });
        }
        let outcome = if records.len() == 1 {
            self.append_frame(records, records[0].encoded(), append_ns)
        } else {
            self.append_frames(records, atomic, append_ns)
        };
        // Also where only the first ones of a batch found room: they are there, and have to be synced and told of.
        self.appended = true;
        if state.dirty_since.load(Ordering::Relaxed) == 0 {
            self.log.dirty(monotonic_ns());
        }
        outcome?;
        let last_seq = state.last_seq.load(Ordering::Relaxed);
        Ok(Appended {
            // A gap may lie before the first one, never between them.
            first_seq: last_seq + 1 - records.len() as u64,
            last_seq,
            end_lba: state.tail.load(Ordering::Relaxed),
            append_ns,
        })
    }

    #[cold]
    fn append_frames(
        &mut self,
        records: &[Record<'_>],
        atomic: bool,
        append_ns: i64,
    ) -> Result<()> {
        let mut frames: Vec<(usize, usize, usize)> = Vec::new(); // first record, behind the last, bytes
        let (mut begin, mut bytes) = (0, 0);
        for (n, record) in records.iter().enumerate() {
            let size = record.encoded();
            if n > begin && bytes + size > limits::FRAME_BYTES {
                frames.push((begin, n, bytes));
                (begin, bytes) = (n, 0);
            }
            bytes += size;
        }
        frames.push((begin, records.len(), bytes));
        if frames.len() == 1 || !atomic {
            for (begin, end, bytes) in frames {
                if end > begin {
                    self.append_frame(&records[begin..end], bytes, append_ns)?;
                }
            }
            return Ok(());
        }
        self.append_chain(records, &frames, append_ns)
    }

    #[inline]
    fn append_frame(&mut self, records: &[Record<'_>], bytes: usize, append_ns: i64) -> Result<()> {
        let state = self.state();
        let synced = self.new_promise();
        let len = HEADER + frame_ext(synced, None) + bytes;
        let mut segment = self.active()?;
        let mut off = state.tail.load(Ordering::Relaxed) - segment.header.base_lba;
        if off + (len + ROLL_BYTES) as u64 > segment.header.file_size {
            self.roll(len)?;
            segment = self.active()?;
            off = START;
        }
        let lba = segment.header.base_lba + off;
        self.intend(intent_op::APPEND, lba, len as u64);
        let seq = state.next_seq.load(Ordering::Relaxed);
        let head = FrameHead {
            seq,
            append_ns,
            count: records.len() as u32,
            kind: 0,
            flags: 0,
        };
        // SAFETY: the lock is held, and [off, off + len) lies in the segment behind its last frame.
        let word = unsafe {
            frame::write_data(
                segment.map.at(off as usize),
                len,
                segment.seed,
                head,
                synced,
                None,
                records,
            )
        };
        compiler_fence(Ordering::SeqCst);
        crate::fail::kp("append:body");
        segment
            .map
            .word(off as usize)
            .store(word, Ordering::Release);
        crate::fail::kp("append:commit");
        self.note(segment, off, seq, records, append_ns);
        self.publish(lba + len as u64, synced);
        Ok(())
    }

    fn append_chain(
        &mut self,
        records: &[Record<'_>],
        frames: &[(usize, usize, usize)],
        append_ns: i64,
    ) -> Result<()> {
        let state = self.state();
        let synced = self.new_promise();
        let lens: Vec<usize> = frames
            .iter()
            .enumerate()
            .map(|(n, (_, _, bytes))| {
                HEADER
                    + bytes
                    + if n == 0 {
                        frame_ext(synced, Some(0))
                    } else {
                        0
                    }
            })
            .collect();
        let total: usize = lens.iter().sum();
        if total as u64 > limits::CHAIN_BYTES {
            return Err(Error::TooLarge {
                what: "atomic batch",
                size: total as u64,
                limit: limits::CHAIN_BYTES,
            });
        }
        let mut segment = self.active()?;
        let mut off = state.tail.load(Ordering::Relaxed) - segment.header.base_lba;
        if off + (total + ROLL_BYTES) as u64 > segment.header.file_size {
            self.roll(total)?;
            segment = self.active()?;
            off = START;
        }
        let lba = segment.header.base_lba + off;
        self.intend(intent_op::APPEND, lba, total as u64);
        let seq = state.next_seq.load(Ordering::Relaxed);
        let (mut at, mut first_word) = (off, 0);
        for (n, ((begin, end, _), len)) in frames.iter().zip(&lens).enumerate() {
            let head = FrameHead {
                seq: seq + *begin as u64,
                append_ns,
                count: (end - begin) as u32,
                kind: 0,
                flags: if n == 0 {
                    flag::CHAIN_START
                } else {
                    flag::CHAIN_PART
                },
            };
            let (synced, chain) = if n == 0 {
                (synced, Some(total as u64))
            } else {
                (None, None)
            };
            let part = &records[*begin..*end];
            // SAFETY: as in `append_frame`; the whole chain fits the segment.
            let word = unsafe {
                frame::write_data(
                    segment.map.at(at as usize),
                    *len,
                    segment.seed,
                    head,
                    synced,
                    chain,
                    part,
                )
            };
            if n == 0 {
                first_word = word;
            } else {
                segment.map.word(at as usize).store(word, Ordering::Relaxed);
            }
            crate::fail::kp("chain:part");
            at += *len as u64;
        }
        compiler_fence(Ordering::SeqCst);
        // The first word commits all of them.
        segment
            .map
            .word(off as usize)
            .store(first_word, Ordering::Release);
        crate::fail::kp("chain:commit");
        self.note(segment, off, seq, records, append_ns);
        self.publish(lba + total as u64, synced);
        Ok(())
    }

    /// The synced address, when it has grown since a frame last carried it.
    #[inline]
    fn new_promise(&self) -> Option<u64> {
        let state = self.state();
        let synced = state.synced.load(Ordering::Relaxed);
        (synced != state.promised.load(Ordering::Relaxed)).then_some(synced)
    }

    #[inline]
    pub(super) fn intend(&self, op: u32, lba: u64, len: u64) {
        let state = self.state();
        state.intent_lba.store(lba, Ordering::Relaxed);
        state.intent_len.store(len, Ordering::Relaxed);
        state.intent_op.store(op, Ordering::Relaxed);
        compiler_fence(Ordering::SeqCst);
    }

    /// The caches and the index, after the commit.
    #[inline]
    fn note(&self, segment: &Segment, off: u64, seq: u64, records: &[Record<'_>], append_ns: i64) {
        let state = self.state();
        let before = state.max_time.load(Ordering::Relaxed);
        let ordinal = state.ordinal.load(Ordering::Relaxed);
        let newest = records
            .iter()
            .map(|record| record.time_ns.unwrap_or(append_ns))
            .max()
            .unwrap_or(before);
        let last_off = state.words[INDEXED_OFF].load(Ordering::Relaxed);
        let last_ordinal = state.words[INDEXED_ORDINAL].load(Ordering::Relaxed);
        if off.saturating_sub(last_off) >= INDEX_BYTES
            || ordinal.saturating_sub(last_ordinal) >= INDEX_RECORDS
        {
            segment.add_entry(&IndexEntry {
                seq,
                max_time: before,
                off: off as u32,
                ordinal: (ordinal - segment.header.base_ordinal) as u32,
            });
            state.words[INDEXED_OFF].store(off, Ordering::Relaxed);
            state.words[INDEXED_ORDINAL].store(ordinal, Ordering::Relaxed);
        }
        let count = records.len() as u64;
        state.next_seq.store(seq + count, Ordering::Relaxed);
        state.last_seq.store(seq + count - 1, Ordering::Relaxed);
        state.ordinal.store(ordinal + count, Ordering::Relaxed);
        state.max_time.store(before.max(newest), Ordering::Relaxed);
    }

    #[inline]
    pub(super) fn publish(&self, tail: u64, promise: Option<u64>) {
        let state = self.state();
        if let Some(synced) = promise {
            state.promised.store(synced, Ordering::Relaxed);
        }
        state.tail.store(tail, Ordering::Release);
        compiler_fence(Ordering::SeqCst);
        state.intent_op.store(intent_op::NONE, Ordering::Relaxed);
        crate::fail::kp("append:publish");
    }

    pub fn last_seq(&self) -> u64 {
        self.state().last_seq.load(Ordering::Relaxed)
    }

    pub fn next_seq(&self) -> u64 {
        self.state().next_seq.load(Ordering::Relaxed)
    }

    /// Records ever appended.
    pub fn ordinal(&self) -> u64 {
        self.state().ordinal.load(Ordering::Relaxed)
    }

    pub fn tail(&self) -> u64 {
        self.state().tail.load(Ordering::Relaxed)
    }
}
