//! Putting jobs in.

use std::sync::Arc;
use std::time::Instant;

use hashbrown::HashMap;

use super::Queue;
use crate::error::{Error, Result};
use crate::group::machine::Machine;
use crate::group::{JobId, OnDuplicate, Put, LANES};
use crate::log::{now_ns, writer_check, Log, Record};
use crate::shared::liveness::unpoisoned;
use crate::stream::{Run, Wait};

impl Queue {
    /// Stores one job.
    ///
    /// Errors: `TooLarge`, `Full`, `Duplicate` (only with `OnDuplicate::Raise`), `StorageFull`, `Durability`, `Timeout`, `WouldBlock`
    /// (only with `Wait::Try`): nothing was put.
    #[inline]
    pub fn put(
        &self,
        record: &Record<'_>,
        priority: u8,
        on_duplicate: OnDuplicate,
        wait: Wait,
    ) -> Result<Put> {
        writer_check(record, self.inner.ctx.max_record_bytes)?;
        if record.unique.is_none() && record.due_ns.is_none() && self.max_length()?.is_none() {
            return self.append(record, priority, wait);
        }
        self.put_with(record, priority, on_duplicate, wait)
    }

    #[inline]
    fn append(&self, record: &Record<'_>, priority: u8, wait: Wait) -> Result<Put> {
        let lane = self.lane(priority, wait)?;
        let mut guard = lane.acquire(wait, std::slice::from_ref(record))?;
        let done = guard.append(std::slice::from_ref(record), false)?;
        Ok(Put {
            id: JobId {
                lane: priority,
                seq: done.last_seq,
            },
            duplicate: false,
            end_lba: done.end_lba,
        })
    }

    #[cold]
    fn put_with(
        &self,
        record: &Record<'_>,
        priority: u8,
        on_duplicate: OnDuplicate,
        wait: Wait,
    ) -> Result<Put> {
        let record = not_before_now(record);
        if record.unique.is_none() && self.max_length()?.is_none() {
            return self.append(&record, priority, wait);
        }
        let Wait::Until(deadline) = wait else {
            return Err(Error::WouldBlock);
        };
        let lane = self.lane(priority, wait)?;
        self.open_lanes()?;
        self.core().operate(Some(deadline), |op| {
            self.admitted(lane, &record, priority, on_duplicate, op.machine, deadline)
        })
    }

    /// Looks and puts, under the group's lock.
    fn admitted(
        &self,
        lane: &Arc<Log>,
        record: &Record<'_>,
        priority: u8,
        on_duplicate: OnDuplicate,
        machine: &Machine,
        deadline: Instant,
    ) -> Result<Put> {
        if let Some(first) = self.first_with(record, machine)? {
            return self.duplicate(first, on_duplicate);
        }
        self.room(machine, 1)?;
        let done = lane
            .lock(Some(deadline))?
            .append(std::slice::from_ref(record), false)?;
        Ok(Put {
            id: JobId {
                lane: priority,
                seq: done.last_seq,
            },
            duplicate: false,
            end_lba: done.end_lba,
        })
    }

    fn duplicate(&self, first: JobId, on_duplicate: OnDuplicate) -> Result<Put> {
        match on_duplicate {
            OnDuplicate::Return => Ok(Put {
                id: first,
                duplicate: true,
                // Whoever put it may not have waited for the disk yet.
                end_lba: self.lanes().opened(first.lane).map_or(0, |lane| {
                    lane.state().tail.load(std::sync::atomic::Ordering::Acquire)
                }),
            }),
            OnDuplicate::Raise => Err(Error::Duplicate {
                first: first.to_string(),
            }),
        }
    }

    /// The job that has the record's unique key. Under the group's lock.
    fn first_with(&self, record: &Record<'_>, machine: &Machine) -> Result<Option<JobId>> {
        let Some(key) = record.unique else {
            return Ok(None);
        };
        let window = self.window()?;
        let now = now_ns();
        let mut uniques = unpoisoned(&self.inner.uniques);
        for lane in 0..LANES as u8 {
            if machine.lanes[lane as usize].made {
                if let Some(log) = self.lanes().lane(lane)? {
                    uniques.catch_up(lane, &log)?;
                }
            }
        }
        uniques.shrink(window, now, machine);
        Ok(uniques.taken(key, window, now, machine))
    }

    /// Errors: `Full` where so many more would be above the limit. Under the group's lock.
    fn room(&self, machine: &Machine, more: u64) -> Result<()> {
        match self.max_length()? {
            Some(limit) if self.unfinished(machine)? + more > limit => Err(Error::Full {
                what: format!("queue {}", self.name()),
                limit,
            }),
            _ => Ok(()),
        }
    }

    /// Puts jobs that ask for nothing special, all of one priority; nothing is allocated. With `atomic` all or none, else a full disk
    /// may leave the first ones.
    ///
    /// Errors, before anything was put: `TooLarge`, `Timeout`; `WouldBlock` with `Wait::Try`, and for jobs that need `put_many`.
    pub fn put_run(
        &self,
        records: &[Record<'_>],
        priority: u8,
        atomic: bool,
        wait: Wait,
    ) -> Result<Run> {
        for record in records {
            writer_check(record, self.inner.ctx.max_record_bytes)?;
            if record.unique.is_some() || record.due_ns.is_some() {
                return Err(Error::WouldBlock);
            }
        }
        if self.max_length()?.is_some() {
            return Err(Error::WouldBlock);
        }
        self.lane(priority, wait)?.append_run(records, atomic, wait)
    }

    /// Puts jobs in order; their priorities lie beside them. With `atomic` all or none, and all must have one priority; else each
    /// has an outcome of its own.
    pub fn put_many(
        &self,
        records: &[Record<'_>],
        priorities: &[u8],
        on_duplicate: OnDuplicate,
        atomic: bool,
        deadline: Instant,
    ) -> Result<Vec<Result<Put>>> {
        debug_assert_eq!(records.len(), priorities.len());
        let limit = self.inner.ctx.max_record_bytes;
        let records: Vec<Record<'_>> = records.iter().map(not_before_now).collect();
        if atomic {
            let Some(priority) = priorities.first() else {
                return Ok(Vec::new());
            };
            if priorities.iter().any(|other| other != priority) {
                return Err(Error::Usage(
                    "the jobs of an atomic batch have one priority: all or none can only be said of one lane".to_owned(),
                ));
            }
            for record in &records {
                writer_check(record, limit)?;
            }
            return self.put_all(&records, *priority, on_duplicate, deadline);
        }
        let mut outcomes: Vec<Option<Result<Put>>> = records
            .iter()
            .zip(priorities)
            .map(|(record, priority)| {
                writer_check(record, limit)
                    .and_then(|()| self.lane(*priority, Wait::Until(deadline)))
                    .err()
                    .map(Err)
            })
            .collect();
        if self.max_length()?.is_none() && records.iter().all(|record| record.unique.is_none()) {
            // The highest first, so that nobody takes a lower one of the batch before it.
            for lane in (0..LANES as u8).rev() {
                self.put_lane(&records, priorities, lane, deadline, &mut outcomes);
            }
        } else {
            self.open_lanes()?;
            self.core().operate(Some(deadline), |op| {
                for ((record, priority), outcome) in
                    records.iter().zip(priorities).zip(&mut outcomes)
                {
                    if outcome.is_none() {
                        let lane = self.lane(*priority, Wait::Until(deadline));
                        *outcome = Some(lane.and_then(|lane| {
                            self.admitted(
                                lane,
                                record,
                                *priority,
                                on_duplicate,
                                op.machine,
                                deadline,
                            )
                        }));
                    }
                }
                Ok(())
            })?;
        }
        Ok(outcomes
            .into_iter()
            .map(|outcome| outcome.unwrap_or(Err(Error::WouldBlock)))
            .collect())
    }

    /// Puts those of a batch that belong to one lane.
    fn put_lane(
        &self,
        records: &[Record<'_>],
        priorities: &[u8],
        number: u8,
        deadline: Instant,
        outcomes: &mut [Option<Result<Put>>],
    ) {
        let mine: Vec<usize> = (0..records.len())
            .filter(|n| priorities[*n] == number && outcomes[*n].is_none())
            .collect();
        if mine.is_empty() {
            return;
        }
        let part: Vec<Record<'_>> = mine.iter().map(|n| records[*n]).collect();
        let wait = Wait::Until(deadline);
        let run = self
            .lane(number, wait)
            .and_then(|lane| lane.append_run(&part, false, wait));
        let (first, done, end_lba, error) = match run {
            Ok(run) => (run.first_seq, run.done, run.end_lba, run.error),
            Err(error) => (0, 0, 0, Some(error)),
        };
        for (n, at) in mine.iter().enumerate() {
            outcomes[*at] = Some(match &error {
                Some(error) if n >= done => Err(again(error)),
                _ => Ok(Put {
                    id: JobId {
                        lane: number,
                        seq: first + n as u64,
                    },
                    duplicate: false,
                    end_lba,
                }),
            });
        }
    }

    /// All or none, in one lane.
    fn put_all(
        &self,
        records: &[Record<'_>],
        priority: u8,
        on_duplicate: OnDuplicate,
        deadline: Instant,
    ) -> Result<Vec<Result<Put>>> {
        let wait = Wait::Until(deadline);
        let lane = self.lane(priority, wait)?;
        let answer = |seq: u64, duplicate: bool, end_lba: u64| {
            let id = JobId {
                lane: priority,
                seq,
            };
            Ok(Put {
                id,
                duplicate,
                end_lba,
            })
        };
        if self.max_length()?.is_none() && records.iter().all(|record| record.unique.is_none()) {
            let run = lane.append_run(records, true, wait)?;
            if let Some(error) = run.error {
                return Err(error);
            }
            return Ok((0..records.len() as u64)
                .map(|n| answer(run.first_seq + n, false, run.end_lba))
                .collect());
        }
        self.open_lanes()?;
        self.core().operate(Some(deadline), |op| {
            // A key that stands twice in one batch is put once, too.
            let mut inside: HashMap<&[u8], usize> = HashMap::new();
            let mut fresh: Vec<Record<'_>> = Vec::with_capacity(records.len());
            let mut places: Vec<std::result::Result<usize, Put>> =
                Vec::with_capacity(records.len());
            for record in records {
                if let Some(first) = self.first_with(record, op.machine)? {
                    places.push(Err(self.duplicate(first, on_duplicate)?));
                } else if let Some(place) = record.unique.and_then(|key| inside.get(key)) {
                    places.push(Ok(*place));
                } else {
                    if let Some(key) = record.unique {
                        inside.insert(key, fresh.len());
                    }
                    places.push(Ok(fresh.len()));
                    fresh.push(*record);
                }
            }
            self.room(op.machine, fresh.len() as u64)?;
            let run = lane.append_run(&fresh, true, wait)?;
            if let Some(error) = run.error {
                return Err(error);
            }
            let mut seen = vec![false; fresh.len()];
            Ok(places
                .into_iter()
                .map(|place| match place {
                    Err(put) => Ok(put),
                    Ok(n) => answer(
                        run.first_seq + n as u64,
                        std::mem::replace(&mut seen[n], true),
                        run.end_lba,
                    ),
                })
                .collect())
        })
    }
}

/// A due time that is over is none: a time to live counts from the put then.
fn not_before_now<'a>(record: &Record<'a>) -> Record<'a> {
    let mut record = *record;
    if record.due_ns.is_some_and(|due| due <= now_ns()) {
        record.due_ns = None;
    }
    record
}

/// The same failure for the next of a batch.
fn again(error: &Error) -> Error {
    match error {
        Error::StorageFull { path, what } => Error::StorageFull {
            path: path.clone(),
            what: what.clone(),
        },
        Error::Durability {
            path,
            what,
            last_synced,
        } => Error::Durability {
            path: path.clone(),
            what: what.clone(),
            last_synced: *last_synced,
        },
        Error::Timeout {
            what,
            maybe_sent,
            holder,
        } => Error::Timeout {
            what: what.clone(),
            maybe_sent: *maybe_sent,
            holder: holder.clone(),
        },
        other => Error::Usage(other.to_string()),
    }
}
