//! Dead letters: listed, edited, sent again, deleted.

use std::collections::{BTreeMap, HashSet};

use super::core::Op;
use super::entry::Item;
use super::machine::{Job, Machine, State};
use super::replica::Replica;
use super::source::{DeadLetter, Source};
use super::types::JobId;
use crate::error::{Error, Result};
use crate::log::Record;

/// Entries for so many dead letters become one record of the journal.
const AT_ONCE: usize = 10_000;

fn jobs_of(machine: &Machine) -> Vec<(JobId, Job)> {
    let mut found = Vec::new();
    for (lane, state) in machine.lanes.iter().enumerate() {
        let dead = |(_, job): &(&u64, &Job)| job.state == State::Dead;
        found.extend(state.jobs.iter().filter(dead).map(|(seq, job)| {
            let id = JobId {
                lane: lane as u8,
                seq: *seq,
            };
            (id, *job)
        }));
    }
    // Notes are written in the order of the deaths.
    found.sort_unstable_by_key(|(id, job)| (job.at, *id));
    found
}

fn missing(id: JobId) -> Error {
    Error::NotFound {
        what: "dead letter",
        name: id.to_string(),
    }
}

fn is_dead(op: &Op<'_>, id: JobId) -> bool {
    op.machine
        .job(id.lane, id.seq)
        .is_some_and(|job| job.state == State::Dead)
}

impl Source {
    /// Dead letters in the order of their death, behind the one named `after`; at most `max`.
    pub fn dead_list(&self, after: Option<JobId>, max: usize) -> Result<Vec<DeadLetter>> {
        let core = &*self.core;
        let mut replica = core.replica(core.patience())?;
        replica.catch_up(&core.journal)?;
        let Replica { machine, feed, .. } = &mut *replica;
        // One that was sent again since then is still known by the copy that it is read from.
        let behind = after.and_then(|id| {
            let job = machine.job(id.lane, id.seq)?;
            match job.state {
                State::Dead => Some(job.at),
                _ => Some(machine.record_note(id.lane, id.seq, job)),
            }
        });
        let jobs = jobs_of(machine);
        let from = behind.map_or(0, |note| jobs.partition_point(|(_, job)| job.at <= note));
        let mut letters = Vec::new();
        for (id, job) in jobs.iter().skip(from).take(max) {
            letters.push(feed.letter(*id, job, machine.record_note(id.lane, id.seq, job))?);
        }
        Ok(letters)
    }

    /// How many there are by the kind of the last error, or the reason where no handler raised.
    pub fn dead_by_error(&self) -> Result<Vec<(String, u64)>> {
        let mut counts: BTreeMap<String, u64> = BTreeMap::new();
        for letter in self.dead_list(None, usize::MAX)? {
            let why = letter.error.map_or(letter.reason, |error| error.kind);
            *counts.entry(why).or_default() += 1;
        }
        Ok(counts.into_iter().collect())
    }

    /// Sends dead letters again, each once, with attempts from 1: those named, else all in the order of their death; at most
    /// `max`. Ids that are not dead are passed over. Returns how many.
    pub fn dead_redrive(&self, ids: Option<&[JobId]>, max: Option<usize>) -> Result<usize> {
        let max = max.unwrap_or(usize::MAX);
        self.each_dead(ids, max, |op, items| op.writer.redrive(items))
    }

    /// Another record for a dead letter; it is delivered once it is sent again.
    ///
    /// Errors: `NotFound` where it is not dead.
    pub fn dead_edit(&self, id: JobId, record: &Record<'_>) -> Result<()> {
        crate::log::writer_check(record, self.core.ctx.max_record_bytes)?;
        self.core.operate_durably(|op| {
            if !is_dead(op, id) {
                return Err(missing(id));
            }
            let note = {
                let mut guard = op.core.notes.lock(op.core.soon())?;
                guard.append(std::slice::from_ref(record), true)?.first_seq
            };
            op.writer.edit(id.lane, id.seq, note);
            Ok(())
        })
    }

    /// Deletes all dead letters. Returns how many.
    pub fn dead_purge(&self) -> Result<usize> {
        self.each_dead(None, usize::MAX, |op, items| op.writer.purge_dead(items))
    }

    fn each_dead(
        &self,
        ids: Option<&[JobId]>,
        max: usize,
        write: impl Fn(&mut Op<'_>, &[Item]),
    ) -> Result<usize> {
        let chosen: Vec<JobId> = match ids {
            Some(ids) => ids.to_vec(),
            None => self
                .core
                .look(|machine, _| Ok(jobs_of(machine).into_iter().map(|(id, _)| id).collect()))?,
        };
        let mut done = 0;
        for some in chosen.chunks(AT_ONCE) {
            done += self.core.operate_durably(|op| {
                let mut items: Vec<Item> = Vec::new();
                let mut named = HashSet::new();
                for id in some {
                    if done + items.len() < max && is_dead(op, *id) && named.insert(*id) {
                        items.push(Item::one(id.lane, id.seq));
                    }
                }
                write(op, &items);
                Ok(items.len())
            })?;
        }
        Ok(done)
    }
}
