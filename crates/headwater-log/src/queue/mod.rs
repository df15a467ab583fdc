//! Queues: jobs in lanes, one for each priority, and one group over them (engine.md §9).
//!
//! A put that asks for nothing special is one append to its lane and touches no group. What depends on other jobs (a unique
//! key, the length of the queue) is looked at and put under the group's lock.
//!
//! - `open`: queues by name, and their options;
//! - `lanes`: the logs of the priorities;
//! - `put`: jobs go in;
//! - `length`: how many are unfinished;
//! - `unique`: who has a unique key;
//! - `finished`: what is done with is deleted.

mod finished;
mod lanes;
mod length;
mod open;
mod put;
mod unique;

use std::sync::{Arc, Mutex};
use std::time::Instant;

use self::length::Length;
use self::open::Rules;
use self::unique::Uniques;
use crate::ctx::EngineCtx;
use crate::error::{Error, Result};
use crate::group::core::{Core, Op};
use crate::group::decide::Feed;
use crate::group::entry::Item;
use crate::group::machine::{Machine, State};
use crate::group::{JobId, Put, Source, LANES};
use crate::log::Log;
use crate::shared::liveness::unpoisoned;

/// A queue. Cheap to clone; all clones in a process share its indexes.
#[derive(Clone)]
pub struct Queue {
    inner: Arc<Inner>,
}

/// One per queue and process.
struct Inner {
    ctx: Arc<EngineCtx>,
    rel: String,
    name: String,
    /// Lane 0.
    first: Arc<Log>,
    source: Source,
    rules: Rules,
    uniques: Mutex<Uniques>,
    length: Mutex<Length>,
}

impl Queue {
    pub fn source(&self) -> &Source {
        &self.inner.source
    }

    pub fn name(&self) -> &str {
        &self.inner.name
    }

    #[inline]
    fn core(&self) -> &Core {
        &self.inner.source.core
    }

    fn unfinished(&self, machine: &Machine) -> Result<u64> {
        unpoisoned(&self.inner.length).unfinished(self.core(), machine)
    }

    /// Whether what was put is on the disk.
    #[inline]
    pub fn durable(&self, put: &Put) -> bool {
        self.lanes()
            .opened(put.id.lane)
            .is_none_or(|lane| lane.durable(put.end_lba))
    }

    /// Waits until it is.
    ///
    /// Errors: `Durability` (final), `Timeout`.
    pub fn wait_durable(&self, put: &Put, deadline: Option<Instant>) -> Result<()> {
        match self.lanes().opened(put.id.lane) {
            Some(lane) => lane.wait_durable(put.end_lba, deadline),
            None => Ok(()),
        }
    }

    /// Takes a job back. False: it is finished, dead, or in somebody's hands, who is not interrupted.
    ///
    /// Errors: `NotFound` where there never was such a job.
    pub fn cancel(&self, id: JobId) -> Result<bool> {
        self.open_lanes()?;
        self.core().operate_durably(|op| {
            let Some(open) = is_open(op, id)? else {
                return Err(Error::NotFound {
                    what: "job",
                    name: id.to_string(),
                });
            };
            if open {
                op.writer.cancel(id.lane, id.seq);
            }
            Ok(open)
        })
    }

    /// Finishes every job that is not in somebody's hands, but the dead ones; returns how many. Nothing is deleted by it at once.
    pub fn purge(&self) -> Result<u64> {
        self.open_lanes()?;
        self.core().operate_durably(|op| {
            let leased = op.machine.count(State::Inflight);
            let open = self.unfinished(op.machine)?;
            let mut cursors = Vec::with_capacity(LANES);
            for lane in 0..LANES as u8 {
                if op.machine.lanes[lane as usize].made {
                    if let Some(log) = op.core.lanes.lane(lane)? {
                        cursors.push(Item::one(lane, log.next_seq()));
                    }
                }
            }
            op.writer.purge(&cursors);
            Ok(open - leased)
        })
    }
}

/// Whether a job waits to be done; None: there never was one.
fn is_open(op: &mut Op<'_>, id: JobId) -> Result<Option<bool>> {
    let lane = id.lane as usize;
    if lane >= LANES || !op.machine.lanes[lane].made || id.seq == 0 {
        return Ok(None);
    }
    if id.seq < op.machine.lanes[lane].cursor {
        let job = op.machine.job(id.lane, id.seq);
        return Ok(Some(job.is_some_and(|job| {
            !matches!(job.state, State::Inflight | State::Dead)
        })));
    }
    // Above the cursor lies all that was put since; a position that a crash jumped over is nobody's.
    let there = op
        .feed
        .next(id.lane, id.seq)?
        .is_some_and(|head| head.seq == id.seq);
    Ok(there.then(|| !op.machine.lanes[lane].cancelled.contains(&id.seq)))
}
