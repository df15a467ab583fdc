//! What all handles of a group in one process share: its journal, its replica, and the one way to change it.

use std::sync::{Arc, Mutex, MutexGuard, TryLockError};
use std::time::Instant;

use super::decide::{self, Plan};
use super::entry::{Item, Writer};
use super::lanes::{Feeder, Lanes};
use super::machine::{Machine, State};
use super::replica::Replica;
use super::types::Ticket;
use crate::ctx::EngineCtx;
use crate::error::{Error, Result};
use crate::log::{now_ns, Log, LogGuard, LogKind, Record};
use crate::meta::Meta;
use crate::options::{Durability, Ordering};
use crate::shared::liveness::unpoisoned;
use crate::shared::Owner;

/// One per group and process.
pub(crate) struct Core {
    pub ctx: Arc<EngineCtx>,
    /// For errors: "group billing".
    pub what: String,
    pub journal: Arc<Log>,
    pub notes: Arc<Log>,
    pub lanes: Arc<Lanes>,
    replica: Mutex<Replica>,
    /// Dropped unsettled: the engine's thread gives them back.
    pub(super) dropped: Mutex<Vec<Ticket>>,
}

/// What a decision works with, under the group's lock. Nothing in `machine` may be changed but by entries.
pub(crate) struct Op<'a> {
    pub machine: &'a mut Machine,
    pub writer: &'a mut Writer,
    pub feed: &'a mut Feeder,
    pub items: &'a mut Vec<Item>,
    pub plan: &'a mut Plan,
    pub core: &'a Core,
    pub me: Owner,
    /// Ns since 1970 UTC.
    pub now: i64,
}

/// What was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Written {
    /// Its position in the journal.
    pub seq: u64,
    pub end_lba: u64,
}

/// Looks at a lock that is held, before one gives up.
const SPINS: u32 = 100;

/// How long an operation may take.
#[derive(Clone, Copy, Debug)]
pub(super) enum Patience {
    /// `WouldBlock` rather than sleep.
    None,
    Until(Instant),
}

impl Core {
    /// Opens the group whose directory has these logs. `start` writes its first entries, where it is new.
    pub fn open(
        ctx: &Arc<EngineCtx>,
        what: String,
        journal: Arc<Log>,
        notes: Arc<Log>,
        lanes: Lanes,
        start: impl FnOnce(&mut Op<'_>) -> Result<()>,
    ) -> Result<Arc<Self>> {
        let lanes = Arc::new(lanes);
        let replica = Replica::open(ctx, &journal, &notes, &lanes)?;
        let core = Self {
            ctx: Arc::clone(ctx),
            what,
            journal,
            notes,
            lanes,
            replica: Mutex::new(replica),
            dropped: Mutex::default(),
        };
        core.operate(core.soon(), |op| {
            if op.machine.applied == 0 {
                start(op)?;
            }
            Ok(())
        })?;
        Ok(Arc::new(core))
    }

    /// Whether it is the living object that this metadata is of.
    pub fn is_of(&self, meta: &Meta) -> bool {
        self.journal.oid == crate::object::log_oid(meta.oid, LogKind::Journal)
            && self.journal.check_alive().is_ok()
    }

    pub(super) fn patience(&self) -> Patience {
        Patience::Until(Instant::now() + self.ctx.op_timeout)
    }

    pub fn soon(&self) -> Option<Instant> {
        Some(Instant::now() + self.ctx.op_timeout)
    }

    /// Errors: `Closed`, `Forked`, `NotFound` once it was deleted.
    #[inline]
    pub fn check(&self) -> Result<()> {
        self.ctx.check()?;
        self.journal.check_alive()
    }

    /// Decides something and writes it down: `work` sees the newest state, under the group's lock, and its entries become one record
    /// of the journal, which applies whole or not at all. Where it fails, nothing has changed. `deadline` None: op_timeout from now.
    pub fn operate<T>(
        &self,
        deadline: Option<Instant>,
        work: impl FnOnce(&mut Op<'_>) -> Result<T>,
    ) -> Result<T> {
        let patience = deadline.map_or_else(|| self.patience(), Patience::Until);
        let mut replica = self.replica(patience)?;
        let (answer, _) = self.run(&mut replica, patience, work)?;
        Ok(answer)
    }

    /// As `operate`; returns when what was written is as safe as this process's acknowledgements must be.
    pub fn operate_durably<T>(&self, work: impl FnOnce(&mut Op<'_>) -> Result<T>) -> Result<T> {
        let deadline = Instant::now() + self.ctx.op_timeout;
        let patience = Patience::Until(deadline);
        let (answer, written) = {
            let mut replica = self.replica(patience)?;
            self.run(&mut replica, patience, work)?
        };
        self.wait_durable(written, Some(deadline))?;
        Ok(answer)
    }

    /// As `operate_durably`, or `WouldBlock` where that would sleep or wait for the disk; then nothing has changed.
    #[inline]
    pub fn operate_at_once<T>(&self, work: impl FnOnce(&mut Op<'_>) -> Result<T>) -> Result<T> {
        if self.ctx.acks() == Durability::Always {
            return Err(Error::WouldBlock);
        }
        let mut replica = self.replica(Patience::None)?;
        let (answer, _) = self.run(&mut replica, Patience::None, work)?;
        Ok(answer)
    }

    /// After an fsync, where this process's acknowledgements wait for one.
    #[inline]
    pub(super) fn wait_durable(
        &self,
        written: Option<Written>,
        deadline: Option<Instant>,
    ) -> Result<()> {
        match written {
            Some(written) if self.ctx.acks() == Durability::Always => {
                // What an entry names must not be lost while the entry is not.
                self.notes.flush(deadline)?;
                self.journal.wait_durable(written.end_lba, deadline)
            }
            _ => Ok(()),
        }
    }

    /// Looks at the state as it is now, without the group's lock.
    pub fn look<T>(&self, work: impl FnOnce(&mut Machine, &mut Feeder) -> Result<T>) -> Result<T> {
        let mut replica = self.replica(Patience::Until(Instant::now()))?;
        replica.catch_up(&self.journal)?;
        let Replica { machine, feed, .. } = &mut *replica;
        work(machine, feed)
    }

    /// Looks at the state as this process knows it, reading nothing.
    pub fn peek<T>(&self, work: impl FnOnce(&Machine) -> T) -> Result<T> {
        let replica = self.replica(Patience::Until(Instant::now()))?;
        Ok(work(&replica.machine))
    }

    #[inline]
    pub(super) fn replica(&self, patience: Patience) -> Result<MutexGuard<'_, Replica>> {
        // Before the mutex: in a fork's child it may be locked for ever.
        self.check()?;
        match patience {
            Patience::Until(_) => Ok(unpoisoned(&self.replica)),
            Patience::None => match self.replica.try_lock() {
                Ok(replica) => Ok(replica),
                Err(TryLockError::Poisoned(replica)) => Ok(replica.into_inner()),
                Err(TryLockError::WouldBlock) => Err(Error::WouldBlock),
            },
        }
    }

    #[inline]
    fn lock(&self, patience: Patience) -> Result<LogGuard<'_>> {
        match patience {
            Patience::Until(deadline) => self.journal.lock(Some(deadline)),
            Patience::None => {
                // Whoever has it is about to let go: a moment's spinning is cheaper than a sleep elsewhere.
                for _ in 0..SPINS {
                    if let Some(guard) = self.journal.try_lock()? {
                        return Ok(guard);
                    }
                    std::hint::spin_loop();
                }
                Err(Error::WouldBlock)
            }
        }
    }

    /// The one operation: reads the journal outside the lock; locks; applies the rest; decides; appends one record; applies it.
    #[inline]
    pub(super) fn run<T>(
        &self,
        replica: &mut Replica,
        patience: Patience,
        work: impl FnOnce(&mut Op<'_>) -> Result<T>,
    ) -> Result<(T, Option<Written>)> {
        replica.catch_up(&self.journal)?;
        let mut guard = self.lock(patience)?;
        replica.catch_up(&self.journal)?;
        replica.writer.clear();
        let me = self.ctx.shared.me();
        let mut op = Op {
            machine: &mut replica.machine,
            writer: &mut replica.writer,
            feed: &mut replica.feed,
            items: &mut replica.items,
            plan: &mut replica.plan,
            core: self,
            me,
            now: now_ns(),
        };
        let answer = match work(&mut op) {
            Ok(answer) if replica.writer.is_empty() => return Ok((answer, None)),
            Ok(answer) => answer,
            Err(error) => {
                // A decision takes hints that stand for jobs; what is not written has them still waiting.
                replica.machine.rebuild_hints();
                return Err(error);
            }
        };
        let before = Claimable::of(&mut replica.machine);
        let record = Record::of(&replica.writer.bytes);
        let done = match guard.append(std::slice::from_ref(&record), true) {
            Ok(done) => done,
            Err(error) => {
                replica.machine.rebuild_hints();
                return Err(error);
            }
        };
        replica.apply_own(done.last_seq, done.append_ns, done.end_lba)?;
        if !before.grew(&mut replica.machine) {
            guard.quiet();
        }
        drop(guard);
        self.count_leases(replica, &me);
        self.mind_snapshot(replica);
        Ok((
            answer,
            Some(Written {
                seq: done.last_seq,
                end_lba: done.end_lba,
            }),
        ))
    }

    /// The slot says how many deliveries this process holds: while there are any, its heart beats.
    #[inline]
    pub(super) fn count_leases(&self, replica: &mut Replica, me: &Owner) {
        let held = replica.machine.leased_by(me);
        if held != replica.held {
            self.ctx
                .shared
                .hold_leases(held.wrapping_sub(replica.held) as i32);
            replica.held = held;
        }
    }

    /// After its deletion: nothing of it is in hand any more, and the heart need not beat for it.
    pub fn forget(&self) {
        let held = std::mem::take(&mut unpoisoned(&self.replica).held);
        if held != 0 {
            self.ctx.shared.hold_leases((held as i32).wrapping_neg());
        }
    }

    /// Asks to be rung when there may be something to claim.
    pub fn arm(&self) {
        self.journal.arm();
        for (_, log) in self.lanes.open() {
            log.arm();
        }
    }
}

/// What others wait for: they are rung only when there is more of it.
struct Claimable {
    ready: u64,
    due: Option<i64>,
    paused: bool,
    head: bool,
    parked: u64,
    /// Jumps of the cursors, and lanes: who waits is not armed on a new one.
    jumps: u64,
}

impl Claimable {
    fn of(machine: &mut Machine) -> Self {
        Self {
            ready: machine.count(State::Ready),
            due: decide::next_due(machine),
            paused: machine.paused,
            head: machine.head.is_some(),
            parked: machine.count(State::Parked),
            jumps: machine
                .lanes
                .iter()
                .map(|lane| lane.jumps + u64::from(lane.made))
                .sum(),
        }
    }

    fn grew(&self, machine: &mut Machine) -> bool {
        let now = Self::of(machine);
        now.ready > self.ready
            || now
                .due
                .is_some_and(|due| self.due.is_none_or(|before| due < before))
            || self.paused && !now.paused
            || machine.ordering == Ordering::Total && self.head && !now.head
            || self.parked >= decide::PARKED && now.parked < self.parked
            || now.jumps != self.jumps
    }
}
