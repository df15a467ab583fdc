//! A group or a queue's work, as a consumer sees it.

use std::time::Duration;

use super::types::{AttemptNote, ErrorNote, JobId, Nack, NackOutcome, SeekTo, SourceStats, Ticket};
use crate::error::Result;
use crate::log::{OwnedRecord, Record, RecordRef};
use crate::options::GroupConfig;

/// A group, or the work of a queue. Cheap to clone; all clones in a process share one replica.
#[derive(Clone)]
pub struct Source {}

/// A message that will not be tried again by itself.
#[derive(Clone, Debug)]
pub struct DeadLetter {
    pub id: JobId,
    /// As it was, or as it was edited.
    pub record: OwnedRecord,
    /// "error", "expired", "held" or "rejected", and what was said of it.
    pub reason: String,
    pub error: Option<ErrorNote>,
    pub history: Vec<AttemptNote>,
    /// Ns since 1970 UTC.
    pub died_ns: i64,
}

impl Source {
    pub fn claim(
        &self,
        _max: usize,
        _each: &mut dyn FnMut(Ticket, u32, i64, &RecordRef<'_>),
    ) -> Result<usize> {
        todo!()
    }
    pub fn arm(&self) {
        todo!()
    }
    pub fn next_due_ns(&self) -> Option<i64> {
        todo!()
    }
    pub fn ack(&self, _tickets: &[Ticket]) -> Result<Vec<bool>> {
        todo!()
    }
    pub fn nack(&self, _ticket: Ticket, _nack: &Nack) -> Result<NackOutcome> {
        todo!()
    }
    pub fn reject(
        &self,
        _ticket: Ticket,
        _reason: &str,
        _error: Option<&ErrorNote>,
    ) -> Result<bool> {
        todo!()
    }
    pub fn release(&self, _tickets: &[Ticket]) -> Result<()> {
        todo!()
    }
    pub fn give_back_later(&self, _ticket: Ticket) {
        todo!()
    }
    pub fn extend(&self, _ticket: Ticket, _by: Duration) -> Result<bool> {
        todo!()
    }
    pub fn stats(&self) -> Result<SourceStats> {
        todo!()
    }
    pub fn lag(&self) -> Result<u64> {
        todo!()
    }
    pub fn seek(&self, _to: SeekTo) -> Result<()> {
        todo!()
    }
    pub fn pause(&self) -> Result<()> {
        todo!()
    }
    pub fn resume(&self) -> Result<()> {
        todo!()
    }
    pub fn config(&self) -> Result<GroupConfig> {
        todo!()
    }
    /// Returns what was stored before.
    pub fn alter(&self, _config: &GroupConfig) -> Result<GroupConfig> {
        todo!()
    }
    pub fn dead_list(&self, _after: Option<JobId>, _max: usize) -> Result<Vec<DeadLetter>> {
        todo!()
    }
    pub fn dead_by_error(&self) -> Result<Vec<(String, u64)>> {
        todo!()
    }
    pub fn dead_redrive(&self, _ids: Option<&[JobId]>, _max: Option<usize>) -> Result<usize> {
        todo!()
    }
    pub fn dead_edit(&self, _id: JobId, _record: &Record<'_>) -> Result<()> {
        todo!()
    }
    pub fn dead_purge(&self) -> Result<usize> {
        todo!()
    }
    /// Gives back what this process holds, before it closes the directory.
    pub fn give_back_all(&self) -> Result<()> {
        todo!()
    }
}
