//! Forgetting: whole segments from the front, never the active one.

use std::sync::atomic::Ordering;

use super::{now_ns, Log};
use crate::error::Result;
use crate::meta::{Hole, FINISHED};
use crate::options::Retention;

/// So many holes are noted at most: they must fit the metadata's slot.
const HOLES: usize = 24;

impl Log {
    /// Deletes every segment that ends at or before `before`. Returns the first position that is kept then.
    ///
    /// Positions from there on stay readable; a reader that holds a deleted segment's map goes on with it.
    pub fn trim(&self, before: u64) -> Result<u64> {
        let bases = self.segment_bases()?;
        let doomed: Vec<u64> = bases
            .windows(2)
            .filter(|pair| pair[1] <= before)
            .map(|pair| pair[0])
            .collect();
        let first = bases
            .get(doomed.len())
            .copied()
            .unwrap_or(1)
            .max(self.first_seq());
        // A floor inside the first kept segment is honoured too, though its bytes stay until the segment goes.
        let first = first.max(before.min(self.next_seq()));
        if first > self.meta().first(self.kind) {
            // The floor is durable before any file goes: a crash in between leaves files that nobody reads.
            self.update_meta(|meta| {
                meta.raise_first(self.kind, first);
                meta.holes
                    .retain(|hole| hole.reason != FINISHED || hole.to > first);
                Ok(())
            })?;
            self.state().first_seq.fetch_max(first, Ordering::AcqRel);
        }
        if doomed.is_empty() {
            return Ok(first);
        }
        self.unlink_segments(&doomed)?;
        Ok(first)
    }

    fn unlink_segments(&self, doomed: &[u64]) -> Result<()> {
        for base in doomed {
            let path = self.dir.join(self.kind.file_name(*base));
            self.ctx.storage.unlink(&path)?;
            self.ctx.storage.unlink(&path.with_extension("idx"))?;
            self.forget_segment(*base);
        }
        let state = self.state();
        state.dir_dirty.fetch_add(1, Ordering::Release);
        state.layout_gen.fetch_add(1, Ordering::AcqRel);
        Ok(())
    }

    /// Deletes segments that nobody wants any more, wherever they lie. `finished`: their first positions and those of the
    /// segments behind them, ascending.
    pub fn drop_finished(&self, finished: &[(u64, u64)]) -> Result<()> {
        let bases = self.segment_bases()?;
        let middle = {
            let front = finished
                .iter()
                .zip(&bases)
                .take_while(|((base, _), first)| base == *first)
                .count();
            if front > 0 {
                self.trim(finished[front - 1].1)?;
            }
            &finished[front..]
        };
        if middle.is_empty() {
            return Ok(());
        }
        // Recovery reads from the promise on, and must not come upon the hole: it is on the disk before the hole is.
        self.flush(None)?;
        self.promise_in_header()?;
        let mut doomed = Vec::new();
        self.update_meta(|meta| {
            for (from, to) in middle {
                let before = meta.holes.clone();
                add_hole(&mut meta.holes, *from, *to);
                if meta.holes.len() > HOLES {
                    meta.holes = before;
                    break;
                }
                doomed.push(*from);
            }
            Ok(())
        })?;
        self.unlink_segments(&doomed)
    }

    /// Whether all between these positions was done with and deleted.
    pub(super) fn was_finished(&self, from: u64, to: u64) -> Result<bool> {
        let meta = self.reload_meta()?;
        let mut finished = meta.holes.iter().filter(|hole| hole.reason == FINISHED);
        Ok(finished.any(|hole| hole.from <= from && to <= hole.to))
    }

    /// Applies a stream's limits; `floor`: nothing at or above it may go.
    pub fn retain(&self, limits: &Retention, floor: u64) -> Result<()> {
        let bases = self.segment_bases()?;
        let now = now_ns();
        let mut bytes = self.bytes()?;
        let ordinal = self.ordinal();
        let mut before = 0;
        for pair in bases.windows(2) {
            let (Some(segment), Some(next)) = (self.segment(pair[0])?, self.segment(pair[1])?)
            else {
                continue;
            };
            let old = limits.age.is_some_and(|age| {
                let newest = segment
                    .seal()
                    .map_or(next.header.created_ns, |seal| seal.max_append_ns);
                (now - newest) as f64 > age * 1e9
            });
            let large = limits.bytes.is_some_and(|limit| bytes > limit);
            let many = limits
                .records
                .is_some_and(|limit| ordinal.saturating_sub(next.header.base_ordinal) >= limit);
            if !(old || large || many) || pair[1] > floor {
                break;
            }
            bytes -= segment.header.file_size;
            before = pair[1];
        }
        if before != 0 {
            self.trim(before)?;
        }
        Ok(())
    }
}

/// Notes that [from, to) was finished, as part of the holes beside it.
fn add_hole(holes: &mut Vec<Hole>, from: u64, to: u64) {
    let (mut from, mut to) = (from, to);
    holes.retain(|hole| {
        let touches = hole.reason == FINISHED && hole.from <= to && from <= hole.to;
        if touches {
            from = from.min(hole.from);
            to = to.max(hole.to);
        }
        !touches
    });
    let reason = FINISHED.to_owned();
    holes.push(Hole { from, to, reason });
    holes.sort_by_key(|hole| hole.from);
}
