//! What is true after a death, and after a session that did not end cleanly (engine.md §5).

use std::sync::atomic::Ordering;
use std::sync::Arc;

use super::cursor::valid_frame_at;
use super::frame::{self, ctrl, gap_reason, Frame, CTRL, DATA, ROLL_BYTES};
use super::segment::{IndexEntry, Segment, INDEX_BYTES, INDEX_RECORDS, START};
use super::writer::{INDEXED_OFF, INDEXED_ORDINAL};
use super::{now_ns, Log};
use crate::error::{Error, Result};
use crate::meta::Hole;
use crate::shared::layout::intent_op;

/// Positions jump by more than this after what a power cut may have taken.
const JUMP: u64 = 1 << 32;

/// What is known behind the last valid frame of a scan.
#[derive(Clone, Copy, Debug)]
struct State {
    off: u64,
    next_seq: u64,
    last_seq: u64,
    ordinal: u64,
    max_time: i64,
    /// The greatest SYNCED that a frame carried.
    promised: u64,
    rolled_to: Option<u64>,
    indexed_off: u64,
    indexed_ordinal: u64,
}

impl State {
    fn start(segment: &Segment) -> Self {
        let header = &segment.header;
        Self {
            off: START,
            next_seq: header.base_seq,
            last_seq: 0,
            ordinal: header.base_ordinal,
            max_time: header.base_max_time,
            promised: 0,
            rolled_to: None,
            indexed_off: START,
            indexed_ordinal: header.base_ordinal,
        }
    }
}

impl Log {
    /// Reads frames from `state` on, up to the first that is not valid (or begins at `end`), and completes the index.
    fn scan(&self, segment: &Segment, mut state: State, end: u64) -> State {
        while state.off < end && state.rolled_to.is_none() {
            let room = (segment.header.file_size - state.off) as usize;
            if room < frame::HEADER {
                break;
            }
            let word = segment.map.word(state.off as usize).load(Ordering::Acquire);
            let Some((len, class)) = frame::parse_word(word, room) else {
                break;
            };
            // SAFETY: in the map; what is wrong with the bytes the checksum tells.
            let bytes =
                unsafe { std::slice::from_raw_parts(segment.map.at(state.off as usize), len) };
            let Ok(frame) = Frame::check(bytes, word, segment.seed) else {
                break;
            };
            if frame.seq() != state.next_seq {
                break;
            }
            match class {
                DATA => {
                    if frame.flags() & frame::flag::TXN != 0 {
                        // No transaction of this version has a redo log: such a frame was never committed.
                        break;
                    }
                    if frame.flags() & frame::flag::CHAIN_START != 0
                        && !self.chain_complete(segment, state.off, frame.chain().unwrap_or(0))
                    {
                        break;
                    }
                    self.account(segment, &mut state, &frame);
                }
                CTRL if frame.kind() == ctrl::ROLL => state.rolled_to = frame.word(0),
                CTRL if frame.kind() == ctrl::GAP => {
                    state.next_seq = frame.word(1).unwrap_or(state.next_seq).max(state.next_seq);
                }
                _ => {}
            }
            state.promised = state.promised.max(frame.synced().unwrap_or(0));
            state.off += len as u64;
        }
        state
    }

    fn account(&self, segment: &Segment, state: &mut State, frame: &Frame<'_>) {
        if state.off - state.indexed_off >= INDEX_BYTES
            || state.ordinal - state.indexed_ordinal >= INDEX_RECORDS
        {
            let off = state.off;
            if segment
                .last_entry()
                .is_none_or(|entry| u64::from(entry.off) < off)
            {
                segment.add_entry(&IndexEntry {
                    seq: state.next_seq,
                    max_time: state.max_time,
                    off: off as u32,
                    ordinal: (state.ordinal - segment.header.base_ordinal) as u32,
                });
            }
            (state.indexed_off, state.indexed_ordinal) = (state.off, state.ordinal);
        }
        let (mut at, mut seq) = (frame.body(), frame.seq());
        for _ in 0..frame.count() {
            let Some((record, next)) = frame.record_at(at, seq) else {
                break;
            };
            state.max_time = state.max_time.max(record.time_ns());
            (at, seq) = (next, seq + 1);
        }
        let count = u64::from(frame.count());
        state.next_seq += count;
        state.ordinal += count;
        if count > 0 {
            state.last_seq = state.next_seq - 1;
        }
    }

    /// A chain counts whole or not at all.
    fn chain_complete(&self, segment: &Segment, off: u64, bytes: u64) -> bool {
        let end = off.saturating_add(bytes);
        if bytes == 0 || end > segment.header.file_size {
            return false;
        }
        let mut at = off;
        while at < end {
            let Some(len) = valid_frame_at(segment, at, 0) else {
                return false;
            };
            at += len as u64;
        }
        at == end
    }

    fn store(&self, segment: &Segment, state: &State) {
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

    /// After the death of the lock's owner; the caller holds the lock. A killed append is invisible or complete afterwards.
    pub fn repair(&self) -> Result<()> {
        let page = self.state();
        let op = page.intent_op.load(Ordering::Acquire);
        if op == intent_op::NONE {
            return Ok(());
        }
        let intent_end =
            page.intent_lba.load(Ordering::Acquire) + page.intent_len.load(Ordering::Acquire);
        let base = page.active_base.load(Ordering::Acquire);
        let segment = match self.segment(base)? {
            Some(segment) => segment,
            None => self.open_segment(base)?,
        };
        // If the ROLL frame stands, the roll is finished here. A dead roller that made the next file and no more leaves it to be deleted:
        // what still fits goes into the old one, and then its name is wrong.
        let state = self.scan(&segment, State::start(&segment), segment.header.file_size);
        let mut last = if state.last_seq == 0 {
            page.last_seq.load(Ordering::Relaxed)
        } else {
            state.last_seq
        };
        if let Some(next) = state.rolled_to {
            page.layout_gen.fetch_add(1, Ordering::AcqRel);
            page.dir_dirty.store(1, Ordering::Relaxed);
            let fresh = match self.segment(next)? {
                Some(fresh) => fresh,
                None => self.open_segment(next)?,
            };
            let mut begun = self.scan(&fresh, State::start(&fresh), fresh.header.file_size);
            begun.last_seq = begun.last_seq.max(last);
            self.store(&fresh, &begun);
        } else {
            let from = state.off;
            let until = (intent_end.saturating_sub(segment.header.base_lba)).max(from) + 8;
            let until = until.min(segment.header.file_size);
            segment.map.zero(from as usize, (until - from) as usize);
            if op == intent_op::ROLL {
                self.remove_unlinked(base)?;
            }
            last = last.max(state.last_seq);
            self.store(
                &segment,
                &State {
                    last_seq: last,
                    ..state
                },
            );
        }
        page.intent_op.store(intent_op::NONE, Ordering::Release);
        Ok(())
    }

    /// Deletes the file of a roll that was cut short.
    fn remove_unlinked(&self, active: u64) -> Result<()> {
        for name in self.ctx.storage.list(&self.dir)? {
            if let Some(base) = self.kind.parse(&name).filter(|base| *base > active) {
                let path = self.dir.join(name);
                self.ctx.storage.unlink(&path)?;
                self.ctx.storage.unlink(&path.with_extension("idx"))?;
                self.forget_segment(base);
            }
        }
        Ok(())
    }

    /// The log's first use in a session; the caller excludes every other process from it.
    pub(super) fn recover(&self) -> Result<()> {
        let meta = self.meta();
        let page = self.state();
        page.first_seq
            .store(meta.first(self.kind), Ordering::Relaxed);
        page.max_time.store(i64::MIN, Ordering::Relaxed);
        self.remove_leftovers()?;
        let bases = self.segment_bases()?;
        let mut segments = Vec::new();
        for base in &bases {
            match self.segment(*base) {
                Ok(Some(segment)) => segments.push(segment),
                Ok(None) => {}
                Err(Error::Corruption { .. }) => {
                    self.quarantine_file(*base, "the segment's header is not valid")?
                }
                Err(error) => return Err(error),
            }
        }
        let Some(newest) = segments.last().cloned() else {
            return self.restart_empty(meta.first(self.kind));
        };
        if let Some(note) = newest
            .tail_note()
            .filter(|note| note.session > self.ctx.last_unclean)
        {
            let entry = newest.last_entry();
            let base = newest.header.base_ordinal;
            let state = State {
                off: note.end_off,
                next_seq: note.next_seq,
                last_seq: note.last_seq,
                ordinal: note.ordinal,
                max_time: note.max_time,
                promised: 0,
                rolled_to: None,
                indexed_off: entry.map_or(START, |entry| u64::from(entry.off)),
                indexed_ordinal: entry.map_or(base, |entry| base + u64::from(entry.ordinal)),
            };
            self.store(&newest, &state);
            self.all_synced();
            return Ok(());
        }
        self.recover_unclean(&segments)?;
        if self.ctx.last_lossy != 0 {
            self.jump()?;
        }
        Ok(())
    }

    /// Private names of segments that were never finished.
    fn remove_leftovers(&self) -> Result<()> {
        for name in self.ctx.storage.list(&self.dir)? {
            if name.starts_with('.') && (name.contains(".seg.") || name.contains(".jrn.")) {
                self.ctx.storage.unlink(&self.dir.join(name))?;
            }
        }
        Ok(())
    }

    /// All segments are gone or unreadable: the log goes on behind what it ever gave out.
    fn restart_empty(&self, first_seq: u64) -> Result<()> {
        let next = first_seq.next_multiple_of(JUMP) + JUMP;
        let header = super::segment::Header {
            uuid: self.ctx.uuid,
            oid: self.oid,
            base_seq: next,
            base_lba: 0,
            base_ordinal: 0,
            base_max_time: i64::MIN,
            created_ns: now_ns(),
            file_size: super::segment::SMALLEST,
            kind: self.kind as u32,
            generation: 0,
        };
        let segment = Arc::new(Segment::create(&self.ctx, &self.dir, self.kind, header)?);
        self.learn_segment(&segment);
        self.store(&segment, &State::start(&segment));
        Ok(())
    }

    fn recover_unclean(&self, segments: &[Arc<Segment>]) -> Result<()> {
        // Below the promise everything was synced once; it is not read again.
        let mut promise = segments
            .iter()
            .map(|segment| segment.promise())
            .max()
            .unwrap_or(0);
        let first = segments
            .partition_point(|segment| segment.end_lba() <= promise)
            .min(segments.len() - 1);
        let mut last_seq = segments[first].header.base_seq.saturating_sub(1);
        let mut number = first;
        loop {
            let segment = &segments[number];
            if number == first {
                segment.cut_index(START);
            }
            let mut state = self.scan(segment, State::start(segment), segment.header.file_size);
            promise = promise.max(state.promised);
            last_seq = last_seq.max(state.last_seq);
            let next = segments.get(number + 1);
            if let (Some(to), Some(next)) = (state.rolled_to, next) {
                let base = next.header.base_seq;
                // What lay between may have been done with and deleted.
                if to == base || self.was_finished(to, base) {
                    number += 1;
                    continue;
                }
            }
            if let (None, Some(next)) = (state.rolled_to, next) {
                if self.finish_roll(segment, &state, next)? {
                    number += 1;
                    continue;
                }
            }
            // The scan ended at something that is no frame: the end, a loss, or damage.
            let damage = self.what_follows(segment, &state, &segments[number + 1..], promise)?;
            match damage {
                After::Nothing => {
                    for later in &segments[number + 1..] {
                        self.quarantine_file(
                            later.header.base_seq,
                            "it follows what a crash took away",
                        )?;
                    }
                    segment.cut_index(state.off);
                    if state.last_seq == 0 {
                        state.last_seq = last_seq;
                    }
                    self.finish_at(segment, &state)?;
                    return Ok(());
                }
                After::Hole {
                    resume: Some((off, seq)),
                } => {
                    self.note_hole(segment, state.off, off, state.next_seq, seq)?;
                    let resumed = State {
                        off,
                        next_seq: seq,
                        ..state
                    };
                    let resumed = self.scan_over_holes(segment, resumed, &mut promise)?;
                    last_seq = last_seq.max(resumed.last_seq);
                    if number + 1 < segments.len() {
                        number += 1;
                        continue;
                    }
                    let last_seq = if resumed.last_seq == 0 {
                        last_seq
                    } else {
                        resumed.last_seq
                    };
                    self.finish_at(
                        segment,
                        &State {
                            last_seq,
                            ..resumed
                        },
                    )?;
                    return Ok(());
                }
                After::Hole { resume: None } => {
                    let next_seq = next.map_or(state.next_seq, |next| next.header.base_seq);
                    self.note_hole(
                        segment,
                        state.off,
                        segment.header.file_size,
                        state.next_seq,
                        next_seq,
                    )?;
                    if next.is_some() {
                        number += 1;
                        continue;
                    }
                    let mut state = state;
                    if state.last_seq == 0 {
                        state.last_seq = last_seq;
                    }
                    self.finish_at(segment, &state)?;
                    return Ok(());
                }
            }
        }
    }

    fn scan_over_holes(
        &self,
        segment: &Segment,
        mut state: State,
        promise: &mut u64,
    ) -> Result<State> {
        loop {
            state = self.scan(segment, state, segment.header.file_size);
            *promise = (*promise).max(state.promised);
            if state.rolled_to.is_some() {
                return Ok(state);
            }
            match self.what_follows(segment, &state, &[], *promise)? {
                After::Hole {
                    resume: Some((off, seq)),
                } => {
                    self.note_hole(segment, state.off, off, state.next_seq, seq)?;
                    state = State {
                        off,
                        next_seq: seq,
                        ..state
                    };
                }
                _ => return Ok(state),
            }
        }
    }

    /// What lies behind the first bytes that are no frame.
    fn what_follows(
        &self,
        segment: &Segment,
        state: &State,
        later: &[Arc<Segment>],
        promise: u64,
    ) -> Result<After> {
        let invalid = segment.header.base_lba + state.off;
        let mut found = None;
        let mut promised = promise;
        let mut off = state.off;
        while off + frame::HEADER as u64 <= segment.header.file_size {
            if let Some(len) = valid_frame_at(segment, off, state.next_seq) {
                // SAFETY: just checked.
                let bytes =
                    unsafe { std::slice::from_raw_parts(segment.map.at(off as usize), len) };
                let frame = Frame::trusted(bytes);
                if self.was_committed(segment, off, &frame) {
                    found = found.or(Some((off, frame.seq())));
                    promised = promised.max(frame.synced().unwrap_or(0));
                }
                off += len as u64;
            } else {
                off += 8;
            }
        }
        for segment in later {
            promised = promised.max(segment.promise());
        }
        // In a session whose page cache survived nothing can be lost: what does not check was damaged.
        let survived = self.ctx.last_lossy == 0 && (found.is_some() || !later.is_empty());
        if promised > invalid || survived {
            return Ok(After::Hole { resume: found });
        }
        Ok(After::Nothing)
    }

    /// The next file was made, and the link to it was not: nothing lies between them, and the log goes on there. False: it is not so.
    fn finish_roll(&self, segment: &Segment, state: &State, next: &Segment) -> Result<bool> {
        let left = segment.header.file_size - state.off;
        if next.header.base_seq != state.next_seq
            || next.header.base_lba != segment.end_lba()
            || left < ROLL_BYTES as u64
        {
            return Ok(false);
        }
        let off = state.off as usize;
        segment.map.zero(off, left as usize);
        // SAFETY: nobody else has the log, and there is room up to the end of the file.
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
        segment.seal(
            state.off + len as u64,
            state.last_seq,
            state.ordinal - segment.header.base_ordinal,
            now_ns(),
            state.max_time,
        );
        if !self.ctx.memory {
            self.ctx.storage.sync(&segment.file, &segment.path)?;
        }
        Ok(true)
    }

    /// Whether a valid frame shows that the log once went on here. The parts of a chain are whole before its first word
    /// commits them, and a chain that is not whole is not there at all.
    fn was_committed(&self, segment: &Segment, off: u64, frame: &Frame<'_>) -> bool {
        let flags = frame.flags();
        if flags & (frame::flag::TXN | frame::flag::CHAIN_PART) != 0 {
            return false;
        }
        flags & frame::flag::CHAIN_START == 0
            || self.chain_complete(segment, off, frame.chain().unwrap_or(0))
    }

    fn note_hole(
        &self,
        segment: &Segment,
        from_off: u64,
        to_off: u64,
        from: u64,
        to: u64,
    ) -> Result<()> {
        self.quarantine_range(segment, from_off, to_off, "damaged")?;
        if to > from {
            self.update_meta(|meta| {
                let hole = Hole {
                    from,
                    to,
                    reason: format!("{} is damaged at byte {from_off}", segment.path.display()),
                };
                if !meta.holes.contains(&hole) && meta.holes.len() < 16 {
                    meta.holes.push(hole);
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    /// The log ends here: zero what follows in the file, and make it durable before anything is built on it.
    fn finish_at(&self, segment: &Arc<Segment>, state: &State) -> Result<()> {
        let off = state.off as usize;
        let rest = segment.header.file_size as usize - off;
        let mut tail = vec![0u8; rest.min(1 << 20)];
        let mut dirty = false;
        let mut at = 0;
        while at < rest {
            let part = tail.len().min(rest - at);
            segment.map.read(off + at, &mut tail[..part]);
            if tail[..part].iter().any(|byte| *byte != 0) {
                dirty = true;
                break;
            }
            at += part;
        }
        if dirty {
            self.quarantine_range(
                segment,
                state.off,
                segment.header.file_size,
                "behind the last whole frame",
            )?;
            segment.map.zero(off, rest);
        }
        self.store(segment, state);
        if !self.ctx.memory {
            self.ctx.storage.sync(&segment.file, &segment.path)?;
            self.ctx.storage.sync_dir(&self.dir)?;
        }
        self.all_synced();
        Ok(())
    }

    fn all_synced(&self) {
        let page = self.state();
        let tail = page.tail.load(Ordering::Relaxed);
        page.synced.store(tail, Ordering::Release);
        page.promised.store(tail, Ordering::Relaxed);
    }

    /// Positions that a power cut may have taken are never given out again; the jump is durable before the first of the new ones.
    fn jump(&self) -> Result<()> {
        let mut guard = self.lock(None)?;
        let to = (guard.next_seq() + JUMP).next_multiple_of(JUMP);
        guard.gap(to, gap_reason::LOST)?;
        drop(guard);
        self.flush(None)
    }

    fn quarantine_dir(&self) -> Result<std::path::PathBuf> {
        let dir = self.ctx.root.join("quarantine");
        self.ctx.storage.make_dir(&dir)?;
        Ok(dir)
    }

    fn quarantine_name(&self, base: u64, what: &str) -> String {
        format!(
            "{:016x}-{}-{what}-{}",
            self.oid,
            self.kind.file_name(base),
            now_ns()
        )
    }

    fn quarantine_file(&self, base: u64, why: &str) -> Result<()> {
        let path = self.dir.join(self.kind.file_name(base));
        let to = self
            .quarantine_dir()?
            .join(self.quarantine_name(base, "whole"));
        self.ctx.storage.rename(&path, &to)?;
        self.ctx.storage.unlink(&path.with_extension("idx"))?;
        self.write_note(&to, base, 0, why)?;
        self.forget_segment(base);
        Ok(())
    }

    /// Copies a range of a segment to `quarantine/`, up to its last byte that is not zero.
    fn quarantine_range(&self, segment: &Segment, from: u64, to: u64, why: &str) -> Result<()> {
        let mut bytes = vec![0u8; (to - from) as usize];
        segment.map.read(from as usize, &mut bytes);
        let len = bytes
            .iter()
            .rposition(|byte| *byte != 0)
            .map_or(0, |last| last + 1);
        if len == 0 {
            return Ok(());
        }
        let path = self
            .quarantine_dir()?
            .join(self.quarantine_name(segment.header.base_seq, &from.to_string()));
        let file = self.ctx.storage.create(&path, len as u64)?;
        let map = self.ctx.storage.map(&file, &path, len, true)?;
        map.write(0, &bytes[..len]);
        self.ctx.storage.sync(&file, &path)?;
        self.write_note(&path, segment.header.base_seq, from, why)
    }

    fn write_note(&self, path: &std::path::Path, base: u64, off: u64, why: &str) -> Result<()> {
        let note = serde_json::json!({
            "object": self.what, "directory": self.dir, "segment": base, "offset": off, "why": why, "time_ns": now_ns(),
        });
        let text = note.to_string();
        let path = path.with_extension(format!("{}.json", now_ns()));
        let file = self.ctx.storage.create(&path, text.len() as u64)?;
        let map = self.ctx.storage.map(&file, &path, text.len(), true)?;
        map.write(0, text.as_bytes());
        self.ctx.storage.sync(&file, &path)
    }
}

/// What a scan finds behind the first invalid bytes.
enum After {
    /// The end of the log (what else is there was never durable).
    Nothing,
    /// Damage: what follows was promised to be durable. Reading goes on at the offset and seq, or in the next file.
    Hole { resume: Option<(u64, u64)> },
}
