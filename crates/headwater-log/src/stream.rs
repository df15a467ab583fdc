//! Streams as users see them: conditions on an append, readers, limits.

use std::collections::VecDeque;
use std::sync::atomic::Ordering as Atomic;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use hashbrown::HashMap;

use crate::error::{Error, Result};
use crate::log::segment::LogKind;
use crate::log::writer_check;
use crate::log::{now_ns, Appended as LogAppended, Cursor, Log, LogGuard, Record, RecordRef};
use crate::options::{Retention, StreamConfig};

/// How long an append may take.
#[derive(Clone, Copy, Debug)]
pub enum Wait {
    /// Never sleeps, rolls or syncs: `WouldBlock` instead.
    Try,
    Until(Instant),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    Empty,
    Seq(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpectKey {
    Absent,
    Seq(u64),
}

/// What a batch without ids came to: the first `done` records have consecutive positions from `first_seq` (no gap lies inside).
#[derive(Debug)]
pub struct Run {
    pub first_seq: u64,
    pub done: usize,
    pub end_lba: u64,
    /// Why the others were not appended.
    pub error: Option<Error>,
}

impl Log {
    /// The writer's lock, for an append of these records.
    #[inline]
    pub(crate) fn acquire(&self, wait: Wait, records: &[Record<'_>]) -> Result<LogGuard<'_>> {
        match wait {
            Wait::Try => {
                let guard = self.try_lock()?.ok_or(Error::WouldBlock)?;
                if guard.fits(records)? {
                    Ok(guard)
                } else {
                    Err(Error::WouldBlock)
                }
            }
            Wait::Until(deadline) => self.lock(Some(deadline)),
        }
    }

    /// Appends records whose sizes were checked, in order. With `atomic` all or none; else a full disk may leave the first ones.
    pub(crate) fn append_run(
        &self,
        records: &[Record<'_>],
        atomic: bool,
        wait: Wait,
    ) -> Result<Run> {
        let mut guard = self.acquire(wait, records)?;
        let before = guard.ordinal();
        let error = guard.append(records, atomic).err();
        let done = (guard.ordinal() - before) as usize;
        Ok(Run {
            first_seq: guard.last_seq() + 1 - done as u64,
            done,
            end_lba: guard.tail(),
            error,
        })
    }
}

/// What must hold for an append to happen.
#[derive(Clone, Copy, Debug, Default)]
pub struct Conditions {
    /// The stream's last position.
    pub expect: Option<Expect>,
    /// The last position of the record's key.
    pub expect_key: Option<ExpectKey>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    pub seq: u64,
    /// The id was there already: nothing was appended, `seq` is the first one's.
    pub duplicate: bool,
    /// Durable once the stream is synced up to here.
    pub end_lba: u64,
}

/// Ids are remembered for so long, and at most so many of them.
pub const ID_WINDOW_NS: i64 = 600 * 1_000_000_000;
pub const ID_WINDOW: usize = 1_000_000;

pub(crate) type Print = (u64, u64);

/// 128 bits that stand for an id or key, in this process only.
pub(crate) fn print(bytes: &[u8]) -> Print {
    use std::hash::{BuildHasher, Hasher};
    let half = |seed: u64| {
        let mut hasher = foldhash::quality::FixedState::with_seed(seed).build_hasher();
        hasher.write(bytes);
        hasher.finish()
    };
    (half(0x6865_6164), half(0x7761_7465))
}

/// The ids of the window, replayed from the records: derived, never stored (docs/decisions/0201).
#[derive(Default)]
struct Ids {
    cursor: Option<Cursor>,
    seqs: HashMap<Print, u64, foldhash::fast::FixedState>,
    order: VecDeque<(i64, Print)>,
}

impl Ids {
    fn catch_up(&mut self, log: &Arc<Log>) -> Result<()> {
        if self.cursor.is_none() {
            self.cursor = Some(Cursor::new_to_tail(log, window_start(log)?));
        }
        let Some(cursor) = &mut self.cursor else {
            return Ok(());
        };
        while let Some(record) = cursor.next()? {
            if let Some(id) = record.id() {
                let print = print(id);
                if !self.seqs.contains_key(&print) {
                    self.seqs.insert(print, record.seq);
                    self.order.push_back((record.append_ns, print));
                }
            }
        }
        let oldest = now_ns() - ID_WINDOW_NS;
        while self
            .order
            .front()
            .is_some_and(|(when, _)| *when < oldest || self.order.len() > ID_WINDOW)
        {
            if let Some((_, print)) = self.order.pop_front() {
                self.seqs.remove(&print);
            }
        }
        Ok(())
    }
}

/// A position before which no record can be of the window any more.
fn window_start(log: &Arc<Log>) -> Result<u64> {
    let oldest = now_ns() - ID_WINDOW_NS;
    let mut start = log.first_seq();
    for base in log.segment_bases()? {
        if let Some(segment) = log.segment(base)? {
            if segment.header.created_ns < oldest {
                start = start.max(base);
            }
        }
    }
    Ok(start.max(log.seq_of_last(ID_WINDOW as u64)?))
}

/// The last position of each key, replayed likewise.
#[derive(Default)]
struct Keys {
    cursor: Option<Cursor>,
    seqs: HashMap<Print, u64, foldhash::fast::FixedState>,
}

impl Keys {
    fn last(&mut self, log: &Arc<Log>, key: &[u8]) -> Result<Option<u64>> {
        let cursor = self
            .cursor
            .get_or_insert_with(|| Cursor::new_to_tail(log, log.first_seq()));
        while let Some(record) = cursor.next()? {
            if let Some(key) = record.key {
                self.seqs.insert(print(key), record.seq);
            }
        }
        Ok(self.seqs.get(&print(key)).copied())
    }
}

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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    Earliest,
    /// Behind the last record.
    Latest,
    Seq(u64),
    After(u64),
    /// The first record, in the order of positions, with an event time at or after this one.
    Time(i64),
    /// The last so many.
    Last(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Not included.
    Seq(u64),
    /// Before the first record with an event time at or after this one.
    Time(i64),
    /// The tail as it is now.
    Tail,
}

#[derive(Clone, Debug)]
pub struct ReadOptions {
    pub start: Start,
    /// None: goes on for ever.
    pub stop: Option<Stop>,
    /// Also end at the tail as it is now.
    pub follow: bool,
    pub key: Option<Vec<u8>>,
    /// Goes on at the floor, where the start was trimmed away.
    pub skip_trimmed: bool,
}

/// Reads a stream in the order of positions.
pub struct Reader {
    cursor: Cursor,
    /// Below it are the records that are read; u64::MAX: no bound.
    end: u64,
    end_time: Option<i64>,
    key: Option<Vec<u8>>,
    skip_trimmed: bool,
    ended: bool,
    last: Option<u64>,
}

impl Reader {
    fn new(log: &Arc<Log>, options: ReadOptions) -> Result<Self> {
        let from = match options.start {
            Start::Earliest => log.first_seq(),
            Start::Latest => log.next_seq(),
            Start::Seq(seq) => seq,
            Start::After(seq) => seq + 1,
            Start::Time(time) => log.seq_at_time(time)?,
            Start::Last(n) => log.seq_of_last(n)?,
        };
        let tail = log.next_seq();
        let mut end = match options.stop {
            Some(Stop::Seq(seq)) => seq,
            Some(Stop::Tail) => tail,
            Some(Stop::Time(_)) | None => u64::MAX,
        };
        if !options.follow {
            end = end.min(tail);
        }
        let end_time = match options.stop {
            Some(Stop::Time(time)) => Some(time),
            _ => None,
        };
        Ok(Self {
            cursor: Cursor::new(log, from),
            end,
            end_time,
            key: options.key,
            skip_trimmed: options.skip_trimmed,
            ended: false,
            last: None,
        })
    }

    /// The next record; None: none now (`ended` tells whether there will be one).
    ///
    /// Errors: `Trimmed` once, then it goes on at the floor; `Corruption` once for each damaged place, likewise.
    #[inline]
    pub fn next(&mut self) -> Result<Option<RecordRef<'_>>> {
        if self.ended {
            return Ok(None);
        }
        let first = self.cursor.log().first_seq();
        let next = self.cursor.next_seq();
        if next < first {
            let what = self.cursor.log().what.clone();
            self.cursor.seek(first);
            // Records that were read already are no loss; neither is a bound that lies below the floor.
            if !self.skip_trimmed && next < self.end {
                return Err(Error::Trimmed {
                    what,
                    asked: next,
                    first,
                });
            }
        }
        // The loop hands a borrow of the cursor out of itself, which the borrow checker accepts only through a pointer.
        let cursor: *mut Cursor = &mut self.cursor;
        loop {
            // SAFETY: no other reference to the cursor is live; the record borrows self, as the signature says.
            let Some(record) = unsafe { &mut *cursor }.next()? else {
                if self.cursor.next_seq() >= self.end
                    || (self.end != u64::MAX && self.at_tail_end())
                {
                    self.ended = true;
                }
                return Ok(None);
            };
            if record.seq >= self.end || self.end_time.is_some_and(|end| record.time_ns() >= end) {
                self.ended = true;
                return Ok(None);
            }
            self.last = Some(record.seq);
            if self
                .key
                .as_ref()
                .is_none_or(|key| record.key == Some(key.as_slice()))
            {
                return Ok(Some(record));
            }
        }
    }

    /// Positions jump over gaps: nothing below `end` comes any more once the log has passed it.
    fn at_tail_end(&self) -> bool {
        let log = self.cursor.log();
        let state = log.state();
        log.next_seq() >= self.end && log.visible() >= state.tail.load(Atomic::Acquire)
    }

    /// Nothing will come any more.
    pub fn ended(&self) -> bool {
        self.ended
    }

    /// Where it looks next: at the beginning, its start.
    pub fn next_seq(&self) -> u64 {
        self.cursor.next_seq()
    }

    /// The last record that was looked at.
    pub fn position(&self) -> Option<u64> {
        self.last
    }

    pub fn arm(&self) {
        self.cursor.log().arm();
    }
}
