//! A log's first use in a session: what its segments hold, whatever happened before (engine.md §5).
//!
//! A frame that does not check is *damage* where it must have been whole once: below what was promised to be synced, and anywhere
//! when the page cache survived, unless its first word is zero. Damage stays where it is, so that readers come upon it, and what is
//! behind it stays readable. Anything else that does not check was never durable: the log ends before it.

use std::sync::atomic::Ordering;
use std::sync::Arc;

use super::frame::{gap_reason, ROLL_BYTES};
use super::scan::{behind, committed, State};
use super::segment::{Header, Segment, TailNote, SMALLEST, START};
use super::writer::LogGuard;
use super::{now_ns, Log};
use crate::error::{Error, Result};
use crate::meta::Hole;

/// Positions jump by more than this after what a power cut may have taken.
const JUMP: u64 = 1 << 32;

/// So many damaged places are noted at most: they must fit the metadata's slot.
const HOLES: usize = 16;

impl Log {
    /// The log's first use in a session; the caller excludes every other process from it.
    pub(super) fn recover(&self) -> Result<()> {
        let meta = self.meta();
        let page = self.state();
        page.first_seq
            .store(meta.first(self.kind), Ordering::Relaxed);
        page.max_time.store(i64::MIN, Ordering::Relaxed);
        self.remove_leftovers()?;
        let segments = self.open_all()?;
        let Some(newest) = segments.last() else {
            return self.restart_empty(meta.first(self.kind));
        };
        match newest.tail_note() {
            Some(note) if note.session > self.ctx.last_unclean => {
                self.trust(newest, &note);
                Ok(())
            }
            _ => Recovery::new(self, segments).run(),
        }
    }

    /// Nothing was written since the note.
    fn trust(&self, newest: &Segment, note: &TailNote) {
        let state = newest
            .last_entry()
            .map_or_else(|| State::start(newest), |entry| State::at(newest, &entry));
        self.store(
            newest,
            &State {
                off: note.end_off,
                next_seq: note.next_seq,
                last_seq: note.last_seq,
                ordinal: note.ordinal,
                max_time: note.max_time,
                ..state
            },
        );
        self.all_synced();
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

    /// Every segment that is one. The others go to quarantine, unless there is nothing else: then nothing is changed, since what
    /// is wrong may be with the directory and not with them.
    fn open_all(&self) -> Result<Vec<Arc<Segment>>> {
        let (mut good, mut bad) = (Vec::new(), Vec::new());
        for base in self.segment_bases()? {
            match self.segment(base) {
                Ok(Some(segment)) => good.push(segment),
                Ok(None) => {}
                Err(error @ Error::Corruption { .. }) => match self.heal(base)? {
                    Some(segment) => good.push(segment),
                    None => bad.push((base, error)),
                },
                Err(error) => return Err(error),
            }
        }
        if good.is_empty() {
            return bad.into_iter().next().map_or(Ok(good), |(_, e)| Err(e));
        }
        for (base, error) in bad {
            self.quarantine_file(base, &error.to_string())?;
            let next = good
                .iter()
                .map(|segment| segment.header.base_seq)
                .find(|next| *next > base);
            if let Some(next) = next {
                self.note_hole(base, next, &self.kind.file_name(base), 0)?;
            }
        }
        Ok(good)
    }

    /// All segments are gone: the log goes on behind anything that it can have given out.
    fn restart_empty(&self, first: u64) -> Result<()> {
        let next = first.next_multiple_of(JUMP) + (JUMP << 16);
        let header = Header {
            uuid: self.ctx.uuid,
            oid: self.oid,
            base_seq: next,
            base_lba: 0,
            base_ordinal: 0,
            base_max_time: i64::MIN,
            created_ns: now_ns(),
            file_size: SMALLEST,
            kind: self.kind as u32,
            generation: 0,
        };
        self.note_hole(first, next, "every segment", 0)?;
        let segment = Arc::new(Segment::create(&self.ctx, &self.dir, self.kind, header)?);
        self.learn_segment(&segment);
        self.store(&segment, &State::start(&segment));
        self.sync_recovered(&[segment])?;
        self.all_synced();
        Ok(())
    }

    /// Notes positions that are not there any more, for people and for whoever asks `info`; readers find out by themselves.
    fn note_hole(&self, from: u64, to: u64, file: &str, off: u64) -> Result<()> {
        if to <= from {
            return Ok(());
        }
        self.update_meta_alone(|meta| {
            let known = meta
                .holes
                .iter()
                .any(|hole| hole.from <= from && to <= hole.to);
            let damaged = meta
                .holes
                .iter()
                .filter(|hole| hole.reason != crate::meta::FINISHED);
            if !known && damaged.count() < HOLES {
                let reason = format!("{file} is damaged at byte {off}");
                meta.holes.push(Hole { from, to, reason });
            }
            Ok(())
        })
    }

    fn sync_recovered(&self, segments: &[Arc<Segment>]) -> Result<()> {
        if self.ctx.memory {
            return Ok(());
        }
        let synced = segments
            .iter()
            .try_for_each(|segment| self.ctx.storage.sync(&segment.file, &segment.path))
            .and_then(|()| self.ctx.storage.sync_dir(&self.dir));
        synced.map_err(|error| self.unsynced(error))
    }

    fn all_synced(&self) {
        let page = self.state();
        let tail = page.tail.load(Ordering::Relaxed);
        page.synced.store(tail, Ordering::Release);
        page.promised.store(tail, Ordering::Relaxed);
    }

    /// Positions that may have been given out are never given out again; the jump is durable before the first of the new ones.
    fn jump(&self, to: u64, reason: u64) -> Result<()> {
        // Without the page's lock: nobody else has the log yet, and the lock of one who died here could be repaired by nobody.
        LogGuard::alone(self).gap(to, reason)?;
        self.flush(None)
    }
}

/// What one file came to.
enum Stop {
    /// Reading goes on with the next file.
    Next,
    /// The log ends here. `damaged`: there were more records once.
    End { damaged: bool },
}

struct Recovery<'a> {
    log: &'a Log,
    segments: Vec<Arc<Segment>>,
    /// Below it everything was synced once.
    promise: u64,
    /// The page cache of a session in which the log was written may have been lost.
    lossy: bool,
    last_seq: u64,
    /// The first file that is read: all before it lies below the promise.
    first: usize,
}

impl<'a> Recovery<'a> {
    fn new(log: &'a Log, segments: Vec<Arc<Segment>>) -> Self {
        let promise = segments.iter().map(|segment| segment.promise()).max();
        let promise = promise.unwrap_or(0);
        let first = segments
            .partition_point(|segment| segment.end_lba() <= promise)
            .min(segments.len() - 1);
        let before = first.checked_sub(1).and_then(|n| segments[n].seal());
        let last_lossy = log.ctx.last_lossy;
        // A clean end since then: whatever the lost page cache took was noticed before it.
        let whole = |segment: &Arc<Segment>| {
            segment
                .tail_note()
                .is_some_and(|note| note.session > last_lossy)
        };
        Self {
            log,
            promise,
            lossy: last_lossy != 0 && !segments.iter().any(whole),
            last_seq: before.map_or(segments[first].header.base_seq.saturating_sub(1), |seal| {
                seal.last_seq
            }),
            first,
            segments,
        }
    }

    fn run(mut self) -> Result<()> {
        let mut number = self.first;
        loop {
            let segment = Arc::clone(&self.segments[number]);
            segment.cut_index(START);
            let mut state = State::start(&segment);
            match self.read(number, &segment, &mut state)? {
                Stop::Next => number += 1,
                Stop::End { damaged } => return self.finish(number, &segment, state, damaged),
            }
        }
    }

    /// Reads one file, over damaged places.
    fn read(&mut self, number: usize, segment: &Segment, state: &mut State) -> Result<Stop> {
        loop {
            state.scan(segment, u64::MAX);
            self.promise = self.promise.max(state.promised);
            self.last_seq = self.last_seq.max(state.last_seq);
            self.drop_stale(number, state.next_seq)?;
            let next = self.segments.get(number + 1).cloned();
            if let Some((to, at)) = state.rolled {
                return match next {
                    Some(next) => {
                        self.hole(segment, at, to, next.header.base_seq)?;
                        Ok(Stop::Next)
                    }
                    None => Ok(self.back_from_roll(segment, state, to, at)),
                };
            }
            if next
                .as_ref()
                .is_some_and(|next| continues(segment, state, next))
            {
                let end = segment.header.file_size;
                if self.lossy || committed(segment, state.off) {
                    let why = "where the way to the next file should stand";
                    self.log.quarantine_range(segment, state.off, end, why)?;
                }
                segment
                    .map
                    .zero(state.off as usize, (end - state.off) as usize);
                self.log.link(segment, state);
                return Ok(Stop::Next);
            }
            let behind = behind(segment, state);
            self.promise = self.promise.max(behind.promised);
            let damaged = self.promise > segment.header.base_lba + state.off
                || !self.lossy
                    && (behind.resume.is_some() || next.is_some() || committed(segment, state.off));
            if !damaged {
                return Ok(Stop::End { damaged });
            }
            let from = state.off;
            match (behind.resume, next) {
                (Some((off, seq)), _) => {
                    self.log.quarantine_range(segment, from, off, "damaged")?;
                    self.hole(segment, from, state.next_seq, seq)?;
                    state.step_over(off, seq);
                }
                (None, next) => {
                    let end = self.end_of_damage(segment, behind.used);
                    self.log.quarantine_range(segment, from, end, "damaged")?;
                    if let Some(next) = next {
                        self.hole(segment, from, state.next_seq, next.header.base_seq)?;
                        return Ok(Stop::Next);
                    }
                    self.hole(segment, from, state.next_seq, target(state.next_seq))?;
                    state.off = end.min(segment.header.file_size - ROLL_BYTES as u64);
                    return Ok(Stop::End { damaged });
                }
            }
        }
    }

    /// Files that begin at a position which an earlier one holds: the leftovers of a roll that was begun anew.
    fn drop_stale(&mut self, number: usize, next_seq: u64) -> Result<()> {
        while let Some(next) = self.segments.get(number + 1) {
            if next.header.base_seq >= next_seq {
                break;
            }
            let why = "it begins at a position that an earlier file holds";
            self.log.quarantine_file(next.header.base_seq, why)?;
            self.segments.remove(number + 1);
        }
        Ok(())
    }

    /// The file that the ROLL leads to is gone, so that the log goes on here.
    fn back_from_roll(&self, segment: &Segment, state: &mut State, to: u64, at: u64) -> Stop {
        segment.unseal();
        segment.map.zero(at as usize, (state.off - at) as usize);
        (state.off, state.next_seq, state.rolled) = (at, to, None);
        // Where nothing of it was promised, it was never durable.
        let damaged = !self.lossy || self.promise > segment.end_lba();
        Stop::End { damaged }
    }

    /// Up to where bytes may have been records: what was promised, and what is not zero.
    fn end_of_damage(&self, segment: &Segment, used: u64) -> u64 {
        if self.promise >= segment.end_lba() {
            return used;
        }
        used.max(self.promise.saturating_sub(segment.header.base_lba))
            .next_multiple_of(8)
    }

    fn hole(&self, segment: &Segment, off: u64, from: u64, to: u64) -> Result<()> {
        let file = self.log.kind.file_name(segment.header.base_seq);
        self.log.note_hole(from, to, &file, off)
    }

    /// The log ends here: zero what follows, and make it durable before anything is built on it.
    fn finish(
        mut self,
        number: usize,
        segment: &Arc<Segment>,
        mut state: State,
        damaged: bool,
    ) -> Result<()> {
        let log = self.log;
        for later in self.segments.drain(number + 1..) {
            log.quarantine_file(later.header.base_seq, "it follows what a crash took away")?;
        }
        let (off, size) = (state.off, segment.header.file_size);
        // Where the page cache survived it is an append that was killed before its commit: nothing that was ever there.
        if self.lossy || damaged {
            log.quarantine_range(segment, off, size, "behind the last whole frame")?;
        }
        segment.map.zero(off as usize, (size - off) as usize);
        segment.cut_index(off);
        if state.last_seq == 0 {
            state.last_seq = self.last_seq;
        }
        log.store(segment, &state);
        log.sync_recovered(&self.segments[self.first..])?;
        log.all_synced();
        segment.set_promise(segment.header.base_lba + off);
        if damaged {
            log.jump(target(state.next_seq), gap_reason::DAMAGED)
        } else if self.lossy {
            log.jump(target(state.next_seq), gap_reason::LOST)
        } else {
            Ok(())
        }
    }
}

/// Behind everything that can have been given out.
fn target(next_seq: u64) -> u64 {
    (next_seq + JUMP).next_multiple_of(JUMP)
}

/// Whether only the frame that leads to the next file is missing.
fn continues(segment: &Segment, state: &State, next: &Segment) -> bool {
    next.header.base_seq == state.next_seq
        && next.header.base_lba == segment.end_lba()
        && state.off + ROLL_BYTES as u64 <= segment.header.file_size
}
