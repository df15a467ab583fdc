//! What an append may ask for, and what it comes to.

use std::time::Instant;

use crate::error::{Error, Result};
use crate::log::{Log, LogGuard, Record};

/// How long an append may take.
#[derive(Clone, Copy, Debug)]
pub enum Wait {
    /// Never sleeps, rolls or syncs: `WouldBlock` instead.
    Try,
    Until(Instant),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    Empty,
    Seq(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpectKey {
    Absent,
    Seq(u64),
}

/// What a batch without ids came to: the first `done` records have consecutive positions from `first_seq` (no gap lies inside).
#[derive(Debug)]
pub struct Run {
    pub first_seq: u64,
    pub done: usize,
    pub end_lba: u64,
    /// Why the others were not appended.
    pub error: Option<Error>,
}

impl Log {
    /// The writer's lock, for an append of these records.
    #[inline]
    pub(crate) fn acquire(&self, wait: Wait, records: &[Record<'_>]) -> Result<LogGuard<'_>> {
        match wait {
            Wait::Try => {
                let guard = self.try_lock()?.ok_or(Error::WouldBlock)?;
                if guard.fits(records)? {
                    Ok(guard)
                } else {
                    Err(Error::WouldBlock)
                }
            }
            Wait::Until(deadline) => self.lock(Some(deadline)),
        }
    }

    /// Appends records whose sizes were checked, in order. With `atomic` all or none; else a full disk may leave the first ones.
    pub(crate) fn append_run(
        &self,
        records: &[Record<'_>],
        atomic: bool,
        wait: Wait,
    ) -> Result<Run> {
        let mut guard = self.acquire(wait, records)?;
        let before = guard.ordinal();
        let error = guard.append(records, atomic).err();
        let done = (guard.ordinal() - before) as usize;
        Ok(Run {
            first_seq: guard.last_seq() + 1 - done as u64,
            done,
            end_lba: guard.tail(),
            error,
        })
    }
}

/// What must hold for an append to happen.
#[derive(Clone, Copy, Debug, Default)]
pub struct Conditions {
    /// The stream's last position.
    pub expect: Option<Expect>,
    /// The last position of the record's key.
    pub expect_key: Option<ExpectKey>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    pub seq: u64,
    /// The id was there already: nothing was appended, `seq` is the first one's.
    pub duplicate: bool,
    /// Durable once the stream is synced up to here.
    pub end_lba: u64,
}
