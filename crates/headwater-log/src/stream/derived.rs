//! What an append may ask about earlier ones: the ids of the window, the last position of a key. Replayed from the records.

use std::collections::VecDeque;
use std::sync::Arc;

use hashbrown::HashMap;

use crate::error::Result;
use crate::log::{now_ns, Cursor, Log};

/// Ids are remembered for so long, and at most so many of them.
pub const ID_WINDOW_NS: i64 = 600 * 1_000_000_000;
pub const ID_WINDOW: usize = 1_000_000;

pub(crate) type Print = (u64, u64);

/// 128 bits that stand for an id or key, in this process only.
pub(crate) fn print(bytes: &[u8]) -> Print {
    use std::hash::{BuildHasher, Hasher};
    let half = |seed: u64| {
        let mut hasher = foldhash::quality::FixedState::with_seed(seed).build_hasher();
        hasher.write(bytes);
        hasher.finish()
    };
    (half(0x6865_6164), half(0x7761_7465))
}

/// The ids of the window, replayed from the records: derived, never stored (docs/decisions/0201).
#[derive(Default)]
pub(super) struct Ids {
    cursor: Option<Cursor>,
    pub seqs: HashMap<Print, u64, foldhash::fast::FixedState>,
    pub order: VecDeque<(i64, Print)>,
}

impl Ids {
    pub fn catch_up(&mut self, log: &Arc<Log>) -> Result<()> {
        if self.cursor.is_none() {
            self.cursor = Some(Cursor::new_to_tail(log, window_start(log)?));
        }
        let Some(cursor) = &mut self.cursor else {
            return Ok(());
        };
        while let Some((record, _)) = cursor.next_over()? {
            if let Some(id) = record.id() {
                let print = print(id);
                if !self.seqs.contains_key(&print) {
                    self.seqs.insert(print, record.seq);
                    self.order.push_back((record.append_ns, print));
                }
            }
        }
        let oldest = now_ns() - ID_WINDOW_NS;
        while self
            .order
            .front()
            .is_some_and(|(when, _)| *when < oldest || self.order.len() > ID_WINDOW)
        {
            if let Some((_, print)) = self.order.pop_front() {
                self.seqs.remove(&print);
            }
        }
        Ok(())
    }
}

/// A position before which no record can be of the window any more.
fn window_start(log: &Arc<Log>) -> Result<u64> {
    let oldest = now_ns() - ID_WINDOW_NS;
    let mut start = log.first_seq();
    for base in log.segment_bases()? {
        if let Some(segment) = log.segment(base)? {
            if segment.header.created_ns < oldest {
                start = start.max(base);
            }
        }
    }
    Ok(start.max(log.seq_of_last(ID_WINDOW as u64)?))
}

/// The last position of each key, replayed likewise.
#[derive(Default)]
pub(super) struct Keys {
    cursor: Option<Cursor>,
    seqs: HashMap<Print, u64, foldhash::fast::FixedState>,
}

impl Keys {
    pub fn last(&mut self, log: &Arc<Log>, key: &[u8]) -> Result<Option<u64>> {
        let cursor = self
            .cursor
            .get_or_insert_with(|| Cursor::new_to_tail(log, log.first_seq()));
        while let Some((record, _)) = cursor.next_over()? {
            if let Some(key) = record.key {
                self.seqs.insert(print(key), record.seq);
            }
        }
        Ok(self.seqs.get(&print(key)).copied())
    }
}
