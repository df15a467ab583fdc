//! What a writer does besides records: the next segment, and positions that are skipped (engine.md §5).

use std::sync::atomic::{compiler_fence, Ordering};
use std::sync::Arc;

use super::frame::{self, gap_reason, HEADER, ROLL_BYTES};
use super::segment::{Header, Seal, Segment, LARGEST, SMALLEST, START};
use super::writer::{LogGuard, INDEXED_OFF, INDEXED_ORDINAL};
use super::{now_ns, Log};
use crate::error::{Error, Result};
use crate::shared::layout::intent_op;

impl LogGuard<'_> {
    /// Starts a new segment in which `len` bytes of frames fit.
    #[cold]
    pub(super) fn roll(&mut self, len: usize) -> Result<()> {
        let state = self.state();
        let old = Arc::clone(self.active()?);
        let next_seq = state.next_seq.load(Ordering::Relaxed);
        if next_seq == old.header.base_seq {
            // Two segments of one base would be two files of one name, and whoever has the first mapped would never see the
            // second: what is too big for an empty segment costs a position.
            self.gap(next_seq + 1, gap_reason::EMPTY)?;
        }
        let tail = state.tail.load(Ordering::Relaxed);
        let next_seq = state.next_seq.load(Ordering::Relaxed);
        self.intend(intent_op::ROLL, tail, 0);
        let least = (START + len as u64 + ROLL_BYTES as u64).next_multiple_of(4096);
        let mut size = (old.header.file_size * 2)
            .min(self.log.largest_segment())
            .max(least);
        let max_time = state.max_time.load(Ordering::Relaxed);
        let segment = loop {
            let header = Header {
                base_seq: next_seq,
                base_lba: old.end_lba(),
                base_ordinal: state.ordinal.load(Ordering::Relaxed),
                base_max_time: max_time,
                created_ns: now_ns(),
                file_size: size,
                ..old.header
            };
            match Segment::create(&self.log.ctx, &self.log.dir, self.log.kind, header) {
                Ok(segment) => break segment,
                // Perhaps a smaller one still fits the disk.
                Err(Error::StorageFull { .. }) if size > least => size = (size / 2).max(least),
                Err(error) => {
                    self.intend(intent_op::NONE, 0, 0);
                    return Err(error);
                }
            }
        };
        segment.set_promise(state.synced.load(Ordering::Relaxed));
        crate::fail::kp("roll:created");
        let off = tail - old.header.base_lba;
        // SAFETY: the lock is held, and ROLL_BYTES are always kept free at a segment's end.
        let (word, roll_len) = unsafe {
            frame::write_ctrl(
                old.map.at(off as usize),
                old.seed,
                frame::ctrl::ROLL,
                next_seq,
                now_ns(),
                &[next_seq],
            )
        };
        compiler_fence(Ordering::SeqCst);
        old.map.word(off as usize).store(word, Ordering::Release);
        crate::fail::kp("roll:linked");
        let records = state.ordinal.load(Ordering::Relaxed) - old.header.base_ordinal;
        old.set_seal(&Seal {
            end_off: off + roll_len as u64,
            last_seq: state.last_seq.load(Ordering::Relaxed),
            records,
            max_append_ns: now_ns(),
            max_time,
        });
        let segment = Arc::new(segment);
        self.log.learn_segment(&segment);
        state.words[INDEXED_OFF].store(START, Ordering::Relaxed);
        state.words[INDEXED_ORDINAL].store(segment.header.base_ordinal, Ordering::Relaxed);
        state.active_base.store(next_seq, Ordering::Relaxed);
        state.dir_dirty.fetch_add(1, Ordering::Relaxed);
        state.layout_gen.fetch_add(1, Ordering::AcqRel);
        self.publish(segment.header.base_lba + START, None);
        // SAFETY: the lock is held.
        unsafe { *self.log.active.get() = Some(segment) };
        Ok(())
    }

    /// Positions up to `to` are skipped for good: after what a power cut may have taken, none may be given out again.
    pub(super) fn gap(&mut self, to: u64, reason: u64) -> Result<()> {
        let state = self.state();
        let mut segment = self.active()?;
        let mut off = state.tail.load(Ordering::Relaxed) - segment.header.base_lba;
        let len = HEADER + 24;
        if off + (len + ROLL_BYTES) as u64 > segment.header.file_size {
            self.roll(len)?;
            segment = self.active()?;
            off = START;
        }
        let lba = segment.header.base_lba + off;
        let from = state.next_seq.load(Ordering::Relaxed);
        self.intend(intent_op::APPEND, lba, len as u64);
        // SAFETY: as in `append_frame`.
        let (word, len) = unsafe {
            frame::write_ctrl(
                segment.map.at(off as usize),
                segment.seed,
                frame::ctrl::GAP,
                from,
                now_ns(),
                &[from, to, reason],
            )
        };
        compiler_fence(Ordering::SeqCst);
        segment
            .map
            .word(off as usize)
            .store(word, Ordering::Release);
        state.next_seq.store(to, Ordering::Relaxed);
        self.publish(lba + len as u64, None);
        Ok(())
    }
}

impl Log {
    /// The size beyond which a segment does not grow. Whole segments are forgotten, never the one that is written: with a limit
    /// on bytes they stay so small that what is kept beyond the limit is a part of it.
    fn largest_segment(&self) -> u64 {
        let limit = self.reload_meta().ok().and_then(|meta| {
            let limit = meta.config.get("retention")?.get("bytes")?.as_u64()?;
            Some((limit / 4) & !4095)
        });
        limit.map_or(LARGEST, |limit| limit.clamp(SMALLEST, LARGEST))
    }
}
