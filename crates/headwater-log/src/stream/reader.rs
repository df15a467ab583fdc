//! Reading a stream from any place.

use std::sync::atomic::Ordering as Atomic;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::log::{Cursor, Log, RecordRef};
use crate::shared::lock::spinning_helps;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    Earliest,
    /// Behind the last record.
    Latest,
    Seq(u64),
    After(u64),
    /// The first record, in the order of positions, with an event time at or after this one.
    Time(i64),
    /// The last so many.
    Last(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Not included.
    Seq(u64),
    /// Before the first record with an event time at or after this one.
    Time(i64),
    /// The tail as it is now.
    Tail,
}

#[derive(Clone, Debug)]
pub struct ReadOptions {
    pub start: Start,
    /// None: goes on for ever.
    pub stop: Option<Stop>,
    /// Also end at the tail as it is now.
    pub follow: bool,
    pub key: Option<Vec<u8>>,
    /// Goes on at the floor, where the start was trimmed away.
    pub skip_trimmed: bool,
}

/// Reads a stream in the order of positions.
pub struct Reader {
    cursor: Cursor,
    /// Below it are the records that are read; u64::MAX: no bound.
    end: u64,
    end_time: Option<i64>,
    key: Option<Vec<u8>>,
    skip_trimmed: bool,
    ended: bool,
    last: Option<u64>,
    /// Times it spun in vain, one after the other, and how often it does not try now.
    vain: u32,
    passes: u32,
}

/// After so many times in vain it tries once in 2^10.
const VAIN: u32 = 10;
/// About a microsecond.
const PAUSES: u32 = 24;

impl Reader {
    pub(super) fn new(log: &Arc<Log>, options: ReadOptions) -> Result<Self> {
        let from = match options.start {
            Start::Earliest => log.first_seq(),
            Start::Latest => log.next_seq(),
            Start::Seq(seq) => seq,
            Start::After(seq) => seq + 1,
            Start::Time(time) => log.seq_at_time(time)?,
            Start::Last(n) => log.seq_of_last(n)?,
        };
        let tail = log.next_seq();
        let mut end = match options.stop {
            Some(Stop::Seq(seq)) => seq,
            Some(Stop::Tail) => tail,
            Some(Stop::Time(_)) | None => u64::MAX,
        };
        if !options.follow {
            end = end.min(tail);
        }
        let end_time = match options.stop {
            Some(Stop::Time(time)) => Some(time),
            _ => None,
        };
        Ok(Self {
            cursor: Cursor::new(log, from),
            end,
            end_time,
            key: options.key,
            skip_trimmed: options.skip_trimmed,
            ended: false,
            last: None,
            vain: 0,
            passes: 0,
        })
    }

    /// The next record; None: none now (`ended` tells whether there will be one).
    ///
    /// Errors: `Trimmed` once, then it goes on at the floor; `Corruption` once for each damaged place, likewise.
    #[inline]
    pub fn next(&mut self) -> Result<Option<RecordRef<'_>>> {
        if self.ended {
            return Ok(None);
        }
        let first = self.cursor.log().first_seq();
        let next = self.cursor.next_seq();
        if next < first {
            let what = self.cursor.log().what.clone();
            self.cursor.seek(first);
            // Records that were read already are no loss; neither is a bound that lies below the floor.
            if !self.skip_trimmed && next < self.end {
                return Err(Error::Trimmed {
                    what,
                    asked: next,
                    first,
                });
            }
        }
        // The loop hands a borrow of the cursor out of itself, which the borrow checker accepts only through a pointer.
        let cursor: *mut Cursor = &mut self.cursor;
        loop {
            // SAFETY: no other reference to the cursor is live; the record borrows self, as the signature says.
            let Some(record) = unsafe { &mut *cursor }.next()? else {
                if self.cursor.next_seq() >= self.end
                    || (self.end != u64::MAX && self.at_tail_end())
                {
                    self.ended = true;
                }
                return Ok(None);
            };
            if record.seq >= self.end || self.end_time.is_some_and(|end| record.time_ns() >= end) {
                self.ended = true;
                return Ok(None);
            }
            self.last = Some(record.seq);
            if self
                .key
                .as_ref()
                .is_none_or(|key| record.key == Some(key.as_slice()))
            {
                return Ok(Some(record));
            }
        }
    }

    /// Waits for a record in a busy loop: true as soon as there is something to read. Where that was in vain it is tried more and more
    /// rarely: the next record may be long in coming, or its writer waits for the processor on which this spins.
    ///
    /// A writer that appends one record after the other would else wake a reader for each few of them, by a system call.
    pub fn spin(&mut self, limit: Duration) -> bool {
        if self.passes > 0 || self.ended || !spinning_helps() {
            self.passes = self.passes.saturating_sub(1);
            return false;
        }
        let end = Instant::now() + limit;
        loop {
            // Each look takes the tail's line away from the writer: rather a few records at a look.
            for _ in 0..PAUSES {
                std::hint::spin_loop();
            }
            if self.cursor.is_behind() {
                self.vain = 0;
                return true;
            }
            if Instant::now() >= end {
                self.vain = (self.vain + 1).min(VAIN);
                self.passes = 1 << self.vain;
                return false;
            }
        }
    }

    /// Positions jump over gaps: nothing below `end` comes any more once the log has passed it.
    fn at_tail_end(&self) -> bool {
        let log = self.cursor.log();
        let state = log.state();
        log.next_seq() >= self.end && log.visible() >= state.tail.load(Atomic::Acquire)
    }

    /// Nothing will come any more.
    pub fn ended(&self) -> bool {
        self.ended
    }

    /// Where it looks next: at the beginning, its start.
    pub fn next_seq(&self) -> u64 {
        self.cursor.next_seq()
    }

    /// The last record that was looked at.
    pub fn position(&self) -> Option<u64> {
        self.last
    }

    pub fn arm(&self) {
        self.cursor.log().arm();
    }
}
