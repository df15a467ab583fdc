//! What is true after the death of whoever held a log's lock (engine.md §5): a killed append is invisible or complete, a killed
//! roll is finished or was never begun.

use std::sync::atomic::Ordering;
use std::sync::Arc;

use super::frame::{self, ctrl, ROLL_BYTES};
use super::scan::{behind, frame_at, State};
use super::segment::{Segment, START};
use super::writer::{INDEXED_OFF, INDEXED_ORDINAL};
use super::{now_ns, Log};
use crate::error::Result;
use crate::shared::layout::intent_op;

impl Log {
    /// After the death of the lock's owner; the caller holds the lock.
    pub fn repair(&self) -> Result<()> {
        let page = self.state();
        let op = page.intent_op.load(Ordering::Acquire);
        if op == intent_op::NONE {
            return Ok(());
        }
        let segment = self.known_segment(page.active_base.load(Ordering::Acquire))?;
        let base_lba = segment.header.base_lba;
        // A roll that died after it had named the new file, before its tail: there is nothing in it yet.
        let tail = page.tail.load(Ordering::Acquire).max(base_lba + START) - base_lba;
        let mut state = self.state_at(&segment, tail);
        state.scan(&segment, u64::MAX);
        state.last_seq = state.last_seq.max(page.last_seq.load(Ordering::Relaxed));
        if op == intent_op::ROLL {
            self.finish_roll(&segment, &mut state)?;
            // Whichever of its stores the dead one came to.
            page.dir_dirty.fetch_add(1, Ordering::Release);
            page.layout_gen.fetch_add(1, Ordering::AcqRel);
        }
        match state.rolled {
            Some((next, _)) => {
                let fresh = self.known_segment(next)?;
                let mut begun = State::start(&fresh);
                begun.scan(&fresh, u64::MAX);
                begun.last_seq = begun.last_seq.max(state.last_seq);
                self.store(&fresh, &begun);
            }
            None => {
                let end = page.intent_lba.load(Ordering::Acquire)
                    + page.intent_len.load(Ordering::Acquire);
                let until = end.saturating_sub(base_lba).max(state.off) + 8;
                let until = until.min(segment.header.file_size);
                segment
                    .map
                    .zero(state.off as usize, (until - state.off) as usize);
                self.store(&segment, &state);
            }
        }
        page.intent_op.store(intent_op::NONE, Ordering::Release);
        Ok(())
    }

    fn known_segment(&self, base: u64) -> Result<Arc<Segment>> {
        match self.segment(base)? {
            Some(segment) => Ok(segment),
            None => self.open_segment(base),
        }
    }

    /// What is known at the tail: all below it was published, so that damage there is stepped over and nothing behind it is given
    /// up. From the last index entry on, since the caches may be those of before or after the append that was cut short.
    fn state_at(&self, segment: &Segment, tail: u64) -> State {
        let entry = segment.search(|entry| u64::from(entry.off) <= tail);
        let mut state =
            entry.map_or_else(|| State::start(segment), |entry| State::at(segment, &entry));
        loop {
            state.scan(segment, tail);
            if state.off >= tail || state.rolled.is_some() {
                return state;
            }
            match behind(segment, &state).resume {
                Some((off, seq)) if off < tail => state.step_over(off, seq),
                _ => {
                    // Damaged up to the tail: what stands at it, or else the caches, which no commit has made old then.
                    let cached = || self.state().next_seq.load(Ordering::Relaxed);
                    let seq = frame_at(segment, tail).map_or_else(cached, |frame| frame.seq());
                    state.step_over(tail, seq);
                    return state;
                }
            }
        }
    }

    /// A roll whose file is there, whole and under its own name, only lacks the frame that leads to it.
    fn finish_roll(&self, segment: &Segment, state: &mut State) -> Result<()> {
        let path = self.dir.join(self.kind.file_name(state.next_seq));
        if state.rolled.is_none()
            && state.next_seq != segment.header.base_seq
            && self.ctx.storage.exists(&path)
        {
            let next = self.open_segment(state.next_seq)?;
            if next.header.base_lba == segment.end_lba() {
                self.link(segment, state);
            }
        }
        Ok(())
    }

    /// Writes the ROLL that leads from `segment`, whose frames end at `state`, to the file of the next position.
    pub(super) fn link(&self, segment: &Segment, state: &mut State) {
        let off = state.off as usize;
        debug_assert!(off + ROLL_BYTES <= segment.header.file_size as usize);
        // SAFETY: nobody else writes (the lock is held, or the log is being recovered), and ROLL_BYTES are always kept free.
        let (word, len) = unsafe {
            frame::write_ctrl(
                segment.map.at(off),
                segment.seed,
                ctrl::ROLL,
                state.next_seq,
                now_ns(),
                &[state.next_seq],
            )
        };
        segment.map.word(off).store(word, Ordering::Release);
        state.rolled = Some((state.next_seq, state.off));
        state.off += len as u64;
    }

    /// The caches and the tail, as a scan found them.
    pub(super) fn store(&self, segment: &Segment, state: &State) {
        let page = self.state();
        page.active_base
            .store(segment.header.base_seq, Ordering::Relaxed);
        page.next_seq.store(state.next_seq, Ordering::Relaxed);
        page.ordinal.store(state.ordinal, Ordering::Relaxed);
        page.max_time.store(state.max_time, Ordering::Relaxed);
        if state.last_seq != 0 {
            page.last_seq.store(state.last_seq, Ordering::Relaxed);
        }
        page.words[INDEXED_OFF].store(state.indexed_off, Ordering::Relaxed);
        page.words[INDEXED_ORDINAL].store(state.indexed_ordinal, Ordering::Relaxed);
        page.tail
            .store(segment.header.base_lba + state.off, Ordering::Release);
    }
}
