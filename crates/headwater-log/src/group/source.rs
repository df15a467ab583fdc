//! A group or a queue's work, as a consumer sees it.

use std::sync::Arc;
use std::time::Duration;

use super::core::Core;
use super::decide::{self, push_run};
use super::entry::{Item, SkipReason};
use super::types::{AttemptNote, ErrorNote, JobId, Nack, NackOutcome, SeekTo, SourceStats, Ticket};
use crate::error::Result;
use crate::log::{now_ns, OwnedRecord, Record, RecordRef};
use crate::options::GroupConfig;

/// A group, or the work of a queue. Cheap to clone; all clones in a process share one replica.
#[derive(Clone)]
pub struct Source {
    pub(crate) core: Arc<Core>,
}

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
    pub(crate) fn new(core: Arc<Core>) -> Self {
        Self { core }
    }

    /// Claims up to `max` messages for this process, and calls `each` with the ticket, the attempt, the nominal end of the lease
    /// (ns since 1970 UTC) and the record.
    ///
    /// Errors: `Timeout`, `StorageFull`, `Corruption` once for a damaged place of the stream.
    pub fn claim(
        &self,
        max: usize,
        each: &mut dyn FnMut(Ticket, u32, i64, &RecordRef<'_>),
    ) -> Result<usize> {
        let core = &*self.core;
        let patience = core.patience();
        let mut replica = core.replica(patience)?;
        replica.catch_up(&core.journal)?;
        let mut claimed = 0;
        loop {
            let replica = &mut *replica;
            replica.feed.fill(&replica.machine, max.clamp(32, 2048))?;
            if max == 0 || !replica.may_claim(now_ns())? {
                return Ok(0);
            }
            let (until, written) = core.run(replica, patience, |op| {
                decide::claim(op.machine, op.feed, op.now, max, op.plan)?;
                op.plan.write(&op.me, op.items, op.writer);
                Ok(op.now.saturating_add((op.machine.lease() * 1e9) as i64))
            })?;
            let claim = written.map_or(0, |written| written.seq);
            let mut lost = Vec::new();
            for pick in &replica.plan.picks {
                let ticket = Ticket {
                    claim,
                    lane: pick.lane,
                    seq: pick.seq,
                };
                let hand_out = |record: &RecordRef<'_>| each(ticket, pick.attempt, until, record);
                match replica
                    .feed
                    .record(pick.lane, pick.seq, pick.note, hand_out)?
                {
                    Some(()) => claimed += 1,
                    None => push_run(&mut lost, Item::one(pick.lane, pick.seq)),
                }
            }
            let more = replica.plan.more && replica.plan.picks.is_empty();
            if !lost.is_empty() {
                // Dropped by the stream's retention between the decision and now.
                core.run(replica, patience, |op| {
                    op.writer.skip(SkipReason::Trimmed, &lost);
                    Ok(())
                })?;
            } else if !more {
                return Ok(claimed);
            }
            if claimed > 0 {
                return Ok(claimed);
            }
        }
    }

    /// Asks to be rung when there may be something to claim. Look again afterwards, before sleeping.
    pub fn arm(&self) {
        self.core.arm();
    }
    pub fn next_due_ns(&self) -> Option<i64> {
        todo!()
    }
    /// Acknowledges: once it returns, they never come again. False where the lease was over, so that nothing changed.
    pub fn ack(&self, tickets: &[Ticket]) -> Result<Vec<bool>> {
        self.core.operate_durably(|op| {
            op.items.clear();
            let mut kept = Vec::with_capacity(tickets.len());
            for ticket in tickets {
                let holds = op
                    .machine
                    .holds(ticket.lane, ticket.seq, ticket.claim)
                    .is_some();
                if holds {
                    push_run(op.items, Item::one(ticket.lane, ticket.seq));
                }
                kept.push(holds);
            }
            op.writer.ack(op.items);
            Ok(kept)
        })
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
