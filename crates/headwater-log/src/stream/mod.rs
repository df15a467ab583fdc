//! Streams as users see them: conditions on an append, readers, limits.

mod derived;
mod reader;
mod run;

use std::sync::atomic::Ordering as Atomic;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use hashbrown::HashMap;

use crate::error::{Error, Result};
use crate::log::segment::LogKind;
use crate::log::writer_check;
use crate::log::{Appended as LogAppended, Log, LogGuard, Record};
use crate::options::{Retention, StreamConfig};

pub(crate) use self::derived::{print, Print};
use self::derived::{Ids, Keys};
pub use self::derived::{ID_WINDOW, ID_WINDOW_NS};
pub use self::reader::{ReadOptions, Reader, Start, Stop};
pub use self::run::{Appended, Conditions, Expect, ExpectKey, Run, Wait};

/// One per stream and process.
pub struct Stream {
    pub(crate) log: Arc<Log>,
    pub(crate) rel: String,
    pub(crate) name: String,
    ids: Mutex<Ids>,
    keys: Mutex<Keys>,
}

/// What a stream is made of.
#[derive(Clone, Debug, PartialEq)]
pub struct StreamInfo {
    pub first_seq: u64,
    /// 0: no record yet.
    pub last_seq: u64,
    pub next_seq: u64,
    /// Kept records.
    pub records: u64,
    /// Records ever appended.
    pub appended_total: u64,
    /// Bytes of files.
    pub bytes: u64,
    pub segments: usize,
    /// Event times, ns since 1970 UTC.
    pub first_time_ns: Option<i64>,
    pub last_time_ns: Option<i64>,
    /// Positions that recovery found unreadable.
    pub holes: Vec<(u64, u64)>,
    pub synced: bool,
}

impl Stream {
    pub(crate) fn new(log: Arc<Log>, rel: String, name: String) -> Self {
        debug_assert!(log.kind == LogKind::Stream);
        Self {
            log,
            rel,
            name,
            ids: Mutex::default(),
            keys: Mutex::default(),
        }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn log(&self) -> &Arc<Log> {
        &self.log
    }

    /// Appends one record.
    ///
    /// Errors: `TooLarge`, `Conflict`, `StorageFull`, `Durability`, `Timeout`, `WouldBlock` (only with `Wait::Try`).
    #[inline]
    pub fn append(
        &self,
        record: &Record<'_>,
        conditions: &Conditions,
        wait: Wait,
    ) -> Result<Appended> {
        writer_check(record, self.log.ctx.max_record_bytes)?;
        let mut guard = self.log.acquire(wait, std::slice::from_ref(record))?;
        if let Some(seq) = self.admit(&guard, record, conditions)? {
            return Ok(Appended {
                seq,
                duplicate: true,
                end_lba: guard.tail(),
            });
        }
        let LogAppended {
            last_seq, end_lba, ..
        } = guard.append(std::slice::from_ref(record), false)?;
        Ok(Appended {
            seq: last_seq,
            duplicate: false,
            end_lba,
        })
    }

    /// The first position of the record's id, if it was seen; refuses what the conditions refuse.
    #[inline]
    fn admit(
        &self,
        guard: &LogGuard<'_>,
        record: &Record<'_>,
        conditions: &Conditions,
    ) -> Result<Option<u64>> {
        if record.id.is_none() && conditions.expect.is_none() && conditions.expect_key.is_none() {
            return Ok(None);
        }
        self.admit_slow(guard, record, conditions)
    }

    #[cold]
    fn admit_slow(
        &self,
        guard: &LogGuard<'_>,
        record: &Record<'_>,
        conditions: &Conditions,
    ) -> Result<Option<u64>> {
        if let Some(id) = record.id {
            let mut ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
            ids.catch_up(&self.log)?;
            if let Some(seq) = ids.seqs.get(&print(id)) {
                return Ok(Some(*seq));
            }
        }
        let conflict = |actual: Option<u64>| Error::Conflict {
            what: self.log.what.clone(),
            actual,
        };
        if let Some(expect) = conditions.expect {
            let last = (guard.ordinal() != 0).then(|| guard.last_seq());
            let wanted = match expect {
                Expect::Empty => None,
                Expect::Seq(seq) => Some(seq),
            };
            if last != wanted {
                return Err(conflict(last));
            }
        }
        if let Some(expect) = conditions.expect_key {
            let Some(key) = record.key else {
                return Err(Error::Usage("expect_key= needs a key".to_owned()));
            };
            let last = self
                .keys
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .last(&self.log, key)?;
            let wanted = match expect {
                ExpectKey::Absent => None,
                ExpectKey::Seq(seq) => Some(seq),
            };
            if last != wanted {
                return Err(conflict(last));
            }
        }
        Ok(None)
    }

    /// Appends records without ids, in order; nothing is allocated. With `atomic` all or none; else a full disk may leave the
    /// first ones.
    ///
    /// Errors, before anything was appended: `TooLarge`, `Usage` for a record with an id, `Timeout`, `WouldBlock`.
    pub fn append_run(&self, records: &[Record<'_>], atomic: bool, wait: Wait) -> Result<Run> {
        for record in records {
            writer_check(record, self.log.ctx.max_record_bytes)?;
            if record.id.is_some() {
                return Err(Error::Usage(
                    "a record with an id is appended by append_many".to_owned(),
                ));
            }
        }
        self.log.append_run(records, atomic, wait)
    }

    /// Appends in order. With `atomic` all or none; else what could not be appended has an error of its own, and so has
    /// everything behind a full disk.
    pub fn append_many(
        &self,
        records: &[Record<'_>],
        atomic: bool,
        wait: Wait,
    ) -> Result<Vec<Result<Appended>>> {
        let mut outcomes: Vec<Result<Appended>> = Vec::with_capacity(records.len());
        let mut bad = false;
        for record in records {
            let checked = writer_check(record, self.log.ctx.max_record_bytes);
            bad |= checked.is_err();
            outcomes.push(checked.map(|()| Appended {
                seq: 0,
                duplicate: false,
                end_lba: 0,
            }));
        }
        if atomic && bad {
            return Err(outcomes
                .into_iter()
                .find_map(std::result::Result::err)
                .unwrap_or(Error::WouldBlock));
        }
        if records.is_empty() {
            return Ok(outcomes);
        }
        let mut guard = self.log.acquire(wait, records)?;
        if !bad && records.iter().all(|record| record.id.is_none()) {
            return self.append_plain(&mut guard, records, atomic);
        }
        self.append_checked(&mut guard, records, outcomes, atomic)
    }

    fn append_plain(
        &self,
        guard: &mut LogGuard<'_>,
        records: &[Record<'_>],
        atomic: bool,
    ) -> Result<Vec<Result<Appended>>> {
        let before = guard.ordinal();
        let outcome = guard.append(records, atomic);
        let end_lba = guard.tail();
        let done = match &outcome {
            Ok(_) => records.len() as u64,
            Err(_) if atomic => return outcome.map(|_| Vec::new()),
            Err(_) => guard.ordinal() - before,
        };
        let first = guard.last_seq() + 1 - done;
        let mut outcomes: Vec<Result<Appended>> = (0..done)
            .map(|n| {
                Ok(Appended {
                    seq: first + n,
                    duplicate: false,
                    end_lba,
                })
            })
            .collect();
        if let Err(error) = outcome {
            let text = error.to_string();
            outcomes.push(Err(error));
            while outcomes.len() < records.len() {
                outcomes.push(Err(Error::StorageFull {
                    path: self.log.dir.clone(),
                    what: text.clone(),
                }));
            }
        }
        Ok(outcomes)
    }

    fn append_checked(
        &self,
        guard: &mut LogGuard<'_>,
        records: &[Record<'_>],
        mut outcomes: Vec<Result<Appended>>,
        atomic: bool,
    ) -> Result<Vec<Result<Appended>>> {
        let plain = Conditions::default();
        if !atomic {
            for (record, outcome) in records.iter().zip(&mut outcomes) {
                if outcome.is_ok() {
                    *outcome = match self.admit(guard, record, &plain) {
                        Ok(Some(seq)) => Ok(Appended {
                            seq,
                            duplicate: true,
                            end_lba: guard.tail(),
                        }),
                        Ok(None) => guard
                            .append(std::slice::from_ref(record), false)
                            .map(|done| Appended {
                                seq: done.last_seq,
                                duplicate: false,
                                end_lba: done.end_lba,
                            }),
                        Err(error) => Err(error),
                    };
                }
            }
            return Ok(outcomes);
        }
        // An id that stands twice in one batch is appended once, too.
        let mut fresh: Vec<Record<'_>> = Vec::with_capacity(records.len());
        let mut places: Vec<std::result::Result<usize, u64>> = Vec::with_capacity(records.len());
        let mut inside: HashMap<&[u8], usize> = HashMap::new();
        for record in records {
            if let Some(seq) = self.admit(guard, record, &plain)? {
                places.push(Err(seq));
            } else if let Some(place) = record.id.and_then(|id| inside.get(id)) {
                places.push(Ok(*place));
            } else {
                if let Some(id) = record.id {
                    inside.insert(id, fresh.len());
                }
                places.push(Ok(fresh.len()));
                fresh.push(*record);
            }
        }
        let first = if fresh.is_empty() {
            0
        } else {
            guard.append(&fresh, true)?.first_seq
        };
        let end_lba = guard.tail();
        let mut used = vec![false; fresh.len()];
        Ok(places
            .into_iter()
            .map(|place| {
                Ok(match place {
                    Err(seq) => Appended {
                        seq,
                        duplicate: true,
                        end_lba,
                    },
                    Ok(n) => Appended {
                        seq: first + n as u64,
                        duplicate: std::mem::replace(&mut used[n], true),
                        end_lba,
                    },
                })
            })
            .collect())
    }

    pub fn durable(&self, end_lba: u64) -> bool {
        self.log.durable(end_lba)
    }

    pub fn wait_durable(&self, end_lba: u64, deadline: Option<Instant>) -> Result<()> {
        self.log.wait_durable(end_lba, deadline)
    }

    pub fn arm(&self) {
        self.log.arm();
    }

    pub fn info(&self) -> Result<StreamInfo> {
        self.log.check_alive()?;
        let log = &self.log;
        let (first_seq, last_seq) = (log.first_seq(), log.last_seq());
        let records = log.ordinal() - log.rank(first_seq)?;
        // What is damaged is left out: it is told to readers, and by doctor.
        let first = log.read_from(first_seq)?;
        let last = match last_seq {
            0 => None,
            _ => log.read_from(last_seq)?,
        };
        let time = |record: crate::log::OwnedRecord| record.get().time_ns();
        let (first_time_ns, last_time_ns) = (first.map(time), last.map(time));
        let state = log.state();
        Ok(StreamInfo {
            first_seq,
            last_seq,
            next_seq: log.next_seq(),
            records,
            appended_total: log.ordinal(),
            bytes: log.bytes()?,
            segments: log.segment_bases()?.len(),
            first_time_ns,
            last_time_ns,
            holes: log
                .reload_meta()?
                .holes
                .iter()
                .map(|hole| (hole.from, hole.to))
                .collect(),
            synced: state.synced.load(Atomic::Acquire) >= state.tail.load(Atomic::Acquire),
        })
    }

    /// Forgets everything before a position.
    pub fn trim(&self, before: u64) -> Result<u64> {
        self.log.check_alive()?;
        self.log.trim(before)
    }

    pub fn config(&self) -> Result<StreamConfig> {
        let meta = self.log.reload_meta()?;
        serde_json::from_value(meta.config).map_err(|e| Error::Corruption {
            file: self.log.dir.join("meta.bin"),
            offset: 0,
            what: format!("the stored options: {e}"),
        })
    }

    /// Stores what is given explicitly; returns the options before.
    pub fn alter(&self, asked: &StreamConfig) -> Result<StreamConfig> {
        let before = self.config()?;
        let mut after = before.clone();
        if asked.retention.is_some() {
            after.retention = asked.retention;
        }
        if after != before {
            self.log.update_meta(|meta| {
                meta.config =
                    serde_json::to_value(&after).map_err(|e| Error::Usage(e.to_string()))?;
                Ok(())
            })?;
        }
        Ok(before)
    }

    /// Applies the stored limits (the janitor's duty).
    pub fn retain(&self) -> Result<()> {
        if let Some(limits) = self.config()?.retention {
            if limits != Retention::default() {
                self.log.retain(&limits, u64::MAX)?;
            }
        }
        Ok(())
    }

    /// Errors: `Trimmed` at the first read, when the start lies below the floor.
    pub fn reader(&self, options: ReadOptions) -> Result<Reader> {
        self.log.check_alive()?;
        Reader::new(&self.log, options)
    }
}
