//! Where a group stands, and how it is steered.

use super::core::Core;
use super::machine::State;
use super::source::Source;
use super::types::{SeekTo, SourceStats, LANES};
use crate::error::{Error, Result};
use crate::log::{now_ns, Cursor};
use crate::options::GroupConfig;

/// Errors: `Usage` for times that make no sense.
pub(crate) fn checked(config: &GroupConfig) -> Result<()> {
    let positive = |value: f64| value.is_finite() && value > 0.0;
    if config.lease.is_some_and(|lease| !positive(lease)) {
        return Err(Error::Usage(
            "a lease is a number of seconds above 0".to_owned(),
        ));
    }
    if config
        .max_hold
        .flatten()
        .is_some_and(|hold| !positive(hold))
    {
        return Err(Error::Usage(
            "max_hold is a number of seconds above 0".to_owned(),
        ));
    }
    Ok(())
}

impl Source {
    /// The counts, as they are now.
    pub fn stats(&self) -> Result<SourceStats> {
        let core = &*self.core;
        let mut replica = core.replica(core.patience())?;
        replica.catch_up(&core.journal)?;
        let unfinished = replica.unfinished(&core.lanes)?;
        let machine = &replica.machine;
        let now = now_ns();
        let mut stats = SourceStats {
            leased: machine.count(State::Inflight),
            dead: machine.count(State::Dead),
            acked_total: machine.acked,
            expired_total: machine.expired,
            paused: machine.paused,
            ..SourceStats::default()
        };
        let mut above = Vec::new();
        for number in 0..LANES as u8 {
            let lane = &machine.lanes[number as usize];
            let Some(log) = core.lanes.lane(number)?.filter(|_| lane.made) else {
                continue;
            };
            stats.put_total += log.ordinal();
            let mut oldest = lane.cursor;
            for (seq, job) in &lane.jobs {
                match job.state {
                    State::Dead => continue,
                    State::Inflight => {
                        let held = (now - job.since).max(0);
                        stats.oldest_lease_ns = stats.oldest_lease_ns.max(Some(held));
                    }
                    State::Delayed if job.at as i64 > now => stats.delayed += 1,
                    _ => {}
                }
                oldest = oldest.min(*seq);
            }
            above.push((log, lane.cursor, oldest));
        }
        // The others may go on while the records are read.
        drop(replica);
        for (log, cursor, oldest) in above {
            if let Some(first) = Cursor::new(&log, oldest).next()? {
                let age = (now - first.append_ns).max(0);
                stats.oldest_age_ns = stats.oldest_age_ns.max(Some(age));
            }
            if core.lanes.delays() {
                // What was put with a delay and was not come to yet; a stream has none.
                let mut records = Cursor::new(&log, cursor);
                while let Some(record) = records.next()? {
                    stats.delayed += u64::from(record.due_ns().is_some_and(|due| due > now));
                }
            }
        }
        stats.ready = unfinished.saturating_sub(stats.leased + stats.delayed);
        Ok(stats)
    }

    /// Records that are not finished: neither acknowledged, dead nor passed over.
    pub fn lag(&self) -> Result<u64> {
        let core = &*self.core;
        let mut replica = core.replica(core.patience())?;
        replica.catch_up(&core.journal)?;
        replica.unfinished(&core.lanes)
    }

    /// Goes on there, whatever was done before. What is in hand is lost to its holders.
    pub fn seek(&self, to: SeekTo) -> Result<()> {
        let core = &*self.core;
        let mut times = [0u64; LANES];
        if let SeekTo::Time(time) = to {
            for (number, seq) in times.iter_mut().enumerate() {
                if let Some(log) = core.lanes.lane(number as u8)? {
                    *seq = log.seq_at_time(time)?;
                }
            }
        }
        core.operate_durably(|op| {
            for (number, time) in times.iter().enumerate() {
                let number = number as u8;
                let Some(log) = core.lanes.lane(number)? else {
                    continue;
                };
                let seq = match to {
                    SeekTo::Earliest => log.first_seq(),
                    SeekTo::Latest => log.next_seq(),
                    SeekTo::Seq(seq) => seq.max(1),
                    SeekTo::Time(_) => *time,
                };
                op.writer.seek(number, seq);
            }
            Ok(())
        })
    }

    /// Nothing is handed out any more, to anybody, until `resume`.
    pub fn pause(&self) -> Result<()> {
        self.core.set_paused(true)
    }

    pub fn resume(&self) -> Result<()> {
        self.core.set_paused(false)
    }

    /// What is stored; `None` where nothing was ever given.
    pub fn config(&self) -> Result<GroupConfig> {
        self.core.look(|machine, _| Ok(machine.config.clone()))
    }

    /// Stores what is given explicitly. Returns what was stored before.
    ///
    /// Errors: `Declaration` for another ordering than the stored one.
    pub fn alter(&self, config: &GroupConfig) -> Result<GroupConfig> {
        checked(config)?;
        let core = &*self.core;
        let (before, after) = core.operate_durably(|op| {
            let before = op.machine.config.clone();
            let stored = before.ordering.unwrap_or_default();
            if let Some(asked) = config.ordering.filter(|asked| *asked != stored) {
                return Err(Error::Declaration {
                    what: format!("the ordering of {}", core.what),
                    stored: stored.word().to_owned(),
                    asked: asked.word().to_owned(),
                });
            }
            let after = GroupConfig {
                lease: config.lease.or(before.lease),
                retry: config.retry.or(before.retry),
                max_hold: config.max_hold.or(before.max_hold),
                ..before.clone()
            };
            if after != before {
                let json = serde_json::to_vec(&after).map_err(|e| Error::Usage(e.to_string()))?;
                op.writer.config(&json);
            }
            Ok((before, after))
        })?;
        if after != before {
            // For whoever lists objects without opening them.
            core.journal.update_meta(|meta| {
                meta.config =
                    serde_json::to_value(&after).map_err(|e| Error::Usage(e.to_string()))?;
                Ok(())
            })?;
        }
        Ok(before)
    }
}

impl Core {
    fn set_paused(&self, paused: bool) -> Result<()> {
        self.operate_durably(|op| {
            if op.machine.paused != paused {
                op.writer.pause(paused);
            }
            Ok(())
        })
    }
}
