//! A queue that is worked off stays small on the disk: segments whose jobs are all done with are deleted, also in the middle.

use super::unique::Window;
use super::Queue;
use crate::error::Result;
use crate::group::machine::Machine;
use crate::log::{now_ns, Log};

impl Queue {
    /// Deletes what this process knows to be done with. Every process of the queue does it: what one has deleted, another does not
    /// find.
    pub(super) fn retain(&self) -> Result<()> {
        let core = self.core();
        for (lane, log) in core.lanes.open() {
            let mut spans = spans(log)?;
            if spans.is_empty() {
                continue;
            }
            core.peek(|machine| keep_finished(machine, lane, &mut spans))?;
            if let Window::For(ns) = self.window()? {
                // A key is taken for its time also when its job is done, and is known from the record alone.
                let oldest = now_ns().saturating_sub(ns);
                spans.retain(|(base, _)| newest(log, *base).is_some_and(|newest| newest < oldest));
            }
            if !spans.is_empty() {
                // What says that they are done with must not be lost where they are.
                core.notes.flush(None)?;
                core.journal.flush(None)?;
                log.drop_finished(&spans)?;
            }
        }
        Ok(())
    }
}

/// The segments behind which there is another one: where they begin, and where the next does.
fn spans(log: &Log) -> Result<Vec<(u64, u64)>> {
    let bases = log.segment_bases()?;
    Ok(bases.windows(2).map(|pair| (pair[0], pair[1])).collect())
}

/// When the last record of a segment was put.
fn newest(log: &Log, base: u64) -> Option<i64> {
    let segment = log.segment(base).ok()??;
    segment.seal().map(|seal| seal.max_append_ns)
}

/// Leaves those none of whose records is wanted any more. Once that is so it stays so: who is dead is read from the notes.
fn keep_finished(machine: &Machine, lane: u8, spans: &mut Vec<(u64, u64)>) {
    let cursor = machine.lanes[lane as usize].cursor;
    spans.retain(|(_, end)| *end <= cursor);
    let mut wanted = vec![false; spans.len()];
    if !spans.is_empty() {
        for seq in machine.wanted(lane) {
            // What lies behind all of these, or in a segment that is gone, is in none.
            let place = spans.partition_point(|(base, _)| *base <= seq);
            if place > 0 && seq < spans[place - 1].1 {
                wanted[place - 1] = true;
            }
        }
    }
    let mut at = 0;
    spans.retain(|_| {
        at += 1;
        !wanted[at - 1]
    });
}
