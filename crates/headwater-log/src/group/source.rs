//! A group or a queue's work, as a consumer sees it.

use std::sync::Arc;

use super::core::{Core, Patience};
use super::decide::{self, push_run};
use super::entry::{Item, SkipReason};
use super::types::{AttemptNote, ErrorNote, JobId, Ticket};
use crate::error::{Error, Result};
use crate::log::{now_ns, OwnedRecord, RecordRef};
use crate::shared::liveness::unpoisoned;

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
        self.claim_with(self.core.patience(), max, each)
    }

    /// The same, or `WouldBlock` where that would sleep.
    pub fn try_claim(
        &self,
        max: usize,
        each: &mut dyn FnMut(Ticket, u32, i64, &RecordRef<'_>),
    ) -> Result<usize> {
        self.claim_with(Patience::None, max, each)
    }

    fn claim_with(
        &self,
        patience: Patience,
        max: usize,
        each: &mut dyn FnMut(Ticket, u32, i64, &RecordRef<'_>),
    ) -> Result<usize> {
        let core = &*self.core;
        let mut replica = core.replica(patience)?;
        let replica = &mut *replica;
        if let Some(error) = replica.failed.take() {
            return Err(error);
        }
        replica.catch_up(&core.journal)?;
        core.expire_the_dead(replica, patience)?;
        loop {
            replica.feed.fill(&replica.machine, max.clamp(32, 2048))?;
            if max == 0 || !replica.may_claim(now_ns())? {
                core.watch_soon(replica);
                return Ok(0);
            }
            let (until, written) = core.run(replica, patience, |op| {
                decide::claim(op.machine, op.feed, op.now, max, op.plan)?;
                op.plan.write(&op.me, op.items, op.writer);
                Ok(op.now.saturating_add((op.machine.lease() * 1e9) as i64))
            })?;
            if let Some(error) = replica.plan.damaged.take() {
                replica.failed.get_or_insert(error);
            }
            if replica.plan.picks.is_empty() {
                if let Some(error) = replica.failed.take() {
                    return Err(error);
                }
                // What was passed over may have stood in the way of others.
                if replica.plan.more || written.is_some() {
                    continue;
                }
                core.watch_soon(replica);
                return Ok(0);
            }
            let claim = written.map_or(0, |written| written.seq);
            core.note_claim(replica, claim);
            let (mut claimed, mut failed) = (0, None);
            let (mut lost, mut damaged) = (Vec::new(), Vec::new());
            let (mut gone, mut unread) = (Vec::new(), Vec::new());
            for pick in &replica.plan.picks {
                let ticket = Ticket {
                    claim,
                    lane: pick.lane,
                    seq: pick.seq,
                };
                let hand_out = |record: &RecordRef<'_>| each(ticket, pick.attempt, until, record);
                match replica
                    .feed
                    .record(pick.lane, pick.seq, pick.note, hand_out)
                {
                    Ok(Some(())) => claimed += 1,
                    Ok(None) => {
                        push_run(&mut lost, Item::one(pick.lane, pick.seq));
                        gone.push(ticket);
                    }
                    Err(error) => {
                        if let Error::Corruption { .. } = error {
                            push_run(&mut damaged, Item::one(pick.lane, pick.seq));
                            gone.push(ticket);
                        } else {
                            // It could not be read now (no descriptor left): it comes again.
                            unread.push(ticket);
                        }
                        failed = Some(error);
                    }
                }
            }
            if !lost.is_empty() || !damaged.is_empty() {
                // Dropped by the stream's retention between the decision and now, or unreadable: nobody can have it.
                let skipped = core.run(replica, core.patience(), |op| {
                    op.writer.skip(SkipReason::Trimmed, &lost);
                    op.writer.skip(SkipReason::Gap, &damaged);
                    Ok(())
                });
                if let Err(error) = skipped {
                    unread.append(&mut gone);
                    failed.get_or_insert(error);
                }
            }
            if !unread.is_empty() {
                // By the engine's thread: what was handed out beside them stays with the caller, whatever becomes of this.
                unpoisoned(&core.dropped).append(&mut unread);
                core.ctx.shared.tick_at(0);
            }
            match failed {
                // What was handed out with it is the caller's; the failure is told at the next call.
                Some(error) if claimed > 0 => replica.failed = Some(error),
                Some(error) => return Err(error),
                None => {}
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
    /// When a message becomes due that nobody was woken for yet, ns since 1970 UTC.
    pub fn next_due_ns(&self) -> Option<i64> {
        self.core
            .look(|machine, _| Ok(decide::next_due(machine).filter(|_| !machine.paused)))
            .ok()
            .flatten()
    }
}
