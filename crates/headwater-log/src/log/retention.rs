//! Forgetting: whole segments from the front, never the active one.

use std::sync::atomic::Ordering;

use super::{now_ns, Log};
use crate::error::Result;
use crate::options::Retention;

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
        if first > self.meta().first_seq {
            // The floor is durable before any file goes: a crash in between leaves files that nobody reads.
            self.update_meta(|meta| {
                meta.first_seq = meta.first_seq.max(first);
                Ok(())
            })?;
            self.state().first_seq.fetch_max(first, Ordering::AcqRel);
        }
        if doomed.is_empty() {
            return Ok(first);
        }
        for base in doomed {
            let path = self.dir.join(self.kind.file_name(base));
            self.ctx.storage.unlink(&path)?;
            self.ctx.storage.unlink(&path.with_extension("idx"))?;
            self.forget_segment(base);
        }
        let state = self.state();
        state.dir_dirty.store(1, Ordering::Release);
        state.layout_gen.fetch_add(1, Ordering::AcqRel);
        Ok(first)
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
                    .sealed()
                    .map_or(next.header.created_ns, |(_, newest)| newest);
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
