//! Records by position, rank and time. Damaged places are stepped over; what was probably lost in them counts in ranks.

use std::sync::atomic::Ordering;
use std::sync::Arc;

use super::cursor::Cursor;
use super::Log;
use crate::error::{Error, Result};
use crate::shared::layout::intent_op;

impl Log {
    /// One record by its position. None: it is not there (any more).
    ///
    /// Errors: `Corruption` where it may have been in a damaged place.
    pub fn read_at(self: &Arc<Self>, seq: u64) -> Result<Option<super::OwnedRecord>> {
        let mut cursor = Cursor::new(self, seq);
        let mut outcome = Ok(None);
        loop {
            match cursor.next() {
                Ok(Some(record)) if record.seq == seq => return Ok(Some(record.to_owned())),
                Ok(_) => return outcome,
                Err(error @ Error::Corruption { .. }) => outcome = Err(error),
                Err(error) => return Err(error),
            }
        }
    }

    /// The first record that can be read at or above a position.
    pub fn read_from(self: &Arc<Self>, seq: u64) -> Result<Option<super::OwnedRecord>> {
        let mut cursor = Cursor::new(self, seq);
        Ok(cursor.next_over()?.map(|(record, _)| record.to_owned()))
    }

    /// How many records were ever appended before the position `seq`.
    pub fn rank(self: &Arc<Self>, seq: u64) -> Result<u64> {
        let page = self.state();
        let tail = page.tail.load(Ordering::Acquire);
        let (last, ordinal) = (self.last_seq(), self.ordinal());
        // They are of one moment only where nobody appends.
        let quiet = page.intent_op.load(Ordering::Acquire) == intent_op::NONE
            && page.tail.load(Ordering::Acquire) == tail;
        if seq > last && quiet {
            return Ok(ordinal);
        }
        let Some(segment) = self.segment_of(seq)? else {
            return Ok(self.ordinal());
        };
        if seq < segment.header.base_seq {
            return Ok(segment.header.base_ordinal);
        }
        let entry = segment.search(|entry| entry.seq <= seq);
        let mut ordinal =
            segment.header.base_ordinal + entry.map_or(0, |entry| u64::from(entry.ordinal));
        let mut cursor = Cursor::new(
            self,
            entry.map_or(segment.header.base_seq, |entry| entry.seq),
        );
        while let Some((record, lost)) = cursor.next_over()? {
            if record.seq >= seq {
                ordinal += lost.saturating_sub(record.seq - seq);
                break;
            }
            ordinal += lost + 1;
        }
        Ok(ordinal)
    }

    /// The position of the record with this rank (see `rank`), or the next position where there is none.
    pub fn seq_of_rank(self: &Arc<Self>, rank: u64) -> Result<u64> {
        if rank >= self.ordinal() {
            return Ok(self.next_seq());
        }
        for base in self.segment_bases()?.into_iter().rev() {
            let Some(segment) = self.segment(base)? else {
                continue;
            };
            if segment.header.base_ordinal > rank {
                continue;
            }
            let inside = rank - segment.header.base_ordinal;
            let entry = segment.search(|entry| u64::from(entry.ordinal) <= inside);
            let mut left = inside - entry.map_or(0, |entry| u64::from(entry.ordinal));
            let mut cursor = Cursor::new(self, entry.map_or(base, |entry| entry.seq));
            while let Some((record, lost)) = cursor.next_over()? {
                if left <= lost {
                    return Ok(record.seq - lost + left);
                }
                left -= lost + 1;
            }
            return Ok(self.next_seq());
        }
        Ok(self.first_seq())
    }

    /// The first of the last `n` records.
    pub fn seq_of_last(self: &Arc<Self>, n: u64) -> Result<u64> {
        let first = self.rank(self.first_seq())?;
        self.seq_of_rank(self.ordinal().saturating_sub(n).max(first))
    }

    /// The first record, in the order of positions, with an event time at or after `time_ns`; else the next position.
    pub fn seq_at_time(self: &Arc<Self>, time_ns: i64) -> Result<u64> {
        let mut cursor = Cursor::new(self, self.first_seq());
        cursor.seek_time(time_ns)?;
        let first = self.first_seq();
        while let Some((record, _)) = cursor.next_over()? {
            if record.seq >= first && record.time_ns() >= time_ns {
                return Ok(record.seq);
            }
        }
        Ok(self.next_seq())
    }
}
