//! How a delivery ends: acknowledged, tried again, dead, or given back. Each is fenced by its ticket: once its claim is over,
//! nothing changes.

use std::time::{Duration, Instant};

use super::core::{Core, Op, Patience};
use super::decide::{backoff_ns, is_last, push_run};
use super::entry::{Ended, Item};
use super::machine::Job;
use super::notes::Death;
use super::replica::Replica;
use super::source::Source;
use super::types::{ErrorNote, Nack, NackOutcome, Ticket};
use crate::error::Result;
use crate::log::{monotonic_ns, random_u64};
use crate::shared::liveness::unpoisoned;

impl Op<'_> {
    /// The job, where it is in hand under this ticket.
    #[inline]
    pub fn held(&self, ticket: &Ticket) -> Option<Job> {
        self.machine
            .holds(ticket.lane, ticket.seq, ticket.claim)
            .copied()
    }

    /// Gathers those that are still in hand.
    fn gather(&mut self, tickets: &[Ticket], mut each: impl FnMut(bool)) {
        self.items.clear();
        for ticket in tickets {
            let held = self.held(ticket).is_some();
            if held {
                push_run(self.items, Item::one(ticket.lane, ticket.seq));
            }
            each(held);
        }
    }
}

fn ns(time: Duration) -> i64 {
    i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)
}

impl Source {
    /// Acknowledges: once it returns, they never come again. False where the lease was over, so that nothing changed.
    pub fn ack(&self, tickets: &[Ticket]) -> Result<Vec<bool>> {
        let mut kept = Vec::with_capacity(tickets.len());
        self.core.operate_durably(|op| {
            op.gather(tickets, |held| kept.push(held));
            op.writer.ack(op.items);
            Ok(())
        })?;
        Ok(kept)
    }

    /// Acknowledges one.
    pub fn ack_one(&self, ticket: Ticket) -> Result<bool> {
        self.core.operate_durably(|op| Ok(acked(op, &ticket)))
    }

    /// The same, or `WouldBlock` where that would sleep, roll the journal or wait for the disk.
    #[inline]
    pub fn try_ack_one(&self, ticket: Ticket) -> Result<bool> {
        self.core.operate_at_once(|op| Ok(acked(op, &ticket)))
    }

    /// Ends a failed attempt: it comes again, or was the last.
    pub fn nack(&self, ticket: Ticket, nack: &Nack) -> Result<NackOutcome> {
        let error = nack.error.as_ref().map(ErrorNote::kept);
        let random = random_u64() as f64 / (u64::MAX as f64 + 1.0);
        self.core.operate_durably(|op| {
            let Some(job) = op.held(&ticket) else {
                return Ok(NackOutcome::LeaseLost);
            };
            let (lane, seq) = (ticket.lane, ticket.seq);
            let policy = op.machine.retry();
            if nack.counted && is_last(&policy, job.attempts) {
                let death = Death {
                    how: Ended::Error,
                    said: "",
                    error: error.as_ref(),
                };
                op.bury(lane, seq, &job, &death)?;
                return Ok(NackOutcome::Dead);
            }
            let delay = match nack.delay {
                Some(delay) => ns(delay),
                None => backoff_ns(&policy, job.attempts, random),
            };
            let note = match &error {
                Some(error) => op.note_error(error)?,
                None => 0,
            };
            let due_ns = op.now.saturating_add(delay);
            op.writer.nack(lane, seq, due_ns, nack.counted, note);
            Ok(NackOutcome::Retry { due_ns })
        })
    }

    /// Makes it a dead letter at once. False: the lease was over.
    pub fn reject(&self, ticket: Ticket, reason: &str, error: Option<&ErrorNote>) -> Result<bool> {
        let error = error.map(ErrorNote::kept);
        self.core.operate_durably(|op| {
            let Some(job) = op.held(&ticket) else {
                return Ok(false);
            };
            let death = Death {
                how: Ended::Rejected,
                said: reason,
                error: error.as_ref(),
            };
            op.bury(ticket.lane, ticket.seq, &job, &death)?;
            Ok(true)
        })
    }

    /// Gives back without counting the attempt; what is not in hand any more is passed over.
    pub fn release(&self, tickets: &[Ticket]) -> Result<()> {
        let core = &*self.core;
        let mut replica = core.replica(core.patience())?;
        core.release(&mut replica, core.patience(), tickets)
    }

    /// The same by the engine's own thread, soon: for destructors. Takes no lock that is shared with other processes.
    pub fn give_back_later(&self, ticket: Ticket) {
        if self.core.ctx.shared.forked() {
            return;
        }
        unpoisoned(&self.core.dropped).push(ticket);
        self.core.ctx.shared.tick_at(0);
    }

    /// Keeps it at least so much longer, where the group's `max_hold` bounds that. False: the lease was over.
    pub fn extend(&self, ticket: Ticket, by: Duration) -> Result<bool> {
        let core = &*self.core;
        let mut replica = core.replica(core.patience())?;
        replica.catch_up(&core.journal)?;
        if replica
            .machine
            .holds(ticket.lane, ticket.seq, ticket.claim)
            .is_none()
        {
            return Ok(false);
        }
        let until = monotonic_ns().saturating_add(ns(by) as u64);
        replica.holding.extend(ticket, until);
        Ok(true)
    }

    /// Gives back all that this process holds, before it closes the directory.
    pub fn give_back_all(&self) -> Result<()> {
        self.core.give_back_all()
    }
}

#[inline]
fn acked(op: &mut Op<'_>, ticket: &Ticket) -> bool {
    if op.held(ticket).is_none() {
        return false;
    }
    op.writer.ack(&[Item::one(ticket.lane, ticket.seq)]);
    true
}

impl Core {
    fn release(&self, replica: &mut Replica, patience: Patience, tickets: &[Ticket]) -> Result<()> {
        self.run(replica, patience, |op| {
            op.gather(tickets, |_| {});
            op.writer.release(op.items);
            Ok(())
        })
        .map(drop)
    }

    /// What was dropped unsettled since the last time. On an error it stays to be given back.
    pub(super) fn release_dropped(&self, replica: &mut Replica, patience: Patience) -> Result<()> {
        let tickets = std::mem::take(&mut *unpoisoned(&self.dropped));
        if tickets.is_empty() {
            return Ok(());
        }
        let outcome = self.release(replica, patience, &tickets);
        if outcome.is_err() {
            unpoisoned(&self.dropped).extend(tickets);
        }
        outcome
    }

    pub fn give_back_all(&self) -> Result<()> {
        let me = self.ctx.shared.me();
        let deadline = Instant::now() + Duration::from_secs(1).min(self.ctx.op_timeout);
        self.operate(Some(deadline), |op| {
            op.items.clear();
            for (lane, seq, _) in op.machine.in_hand_of(&me) {
                push_run(op.items, Item::one(lane, seq));
            }
            op.writer.release(op.items);
            Ok(())
        })
    }
}
