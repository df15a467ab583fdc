//! The records of a group's lanes: what a decision needs to know of them, read ahead of the lock and kept for a while.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};

use super::decide::{Feed, Head};
use super::machine::{Job, Machine};
use super::notes::{error_at, letter_at};
use super::source::DeadLetter;
use super::types::{ErrorNote, JobId, LANES};
use crate::error::Result;
use crate::log::{Cursor, Log, OwnedRecord, Peek, RecordRef, Spot};
use crate::object::fnv1a;
use crate::options::Ordering;

/// Heads kept of a lane: those ahead of the cursor, and behind it what may come again soon.
const KEPT: usize = 16_384;
/// A step that passes over more positions is a search, not a walk.
const FAR: u64 = 4096;

type Find = Box<dyn Fn(u8) -> Result<Option<Arc<Log>>> + Send + Sync>;

/// The logs that a group works on: a stream, or a queue's lane for each priority.
pub(crate) struct Lanes {
    logs: [OnceLock<Arc<Log>>; LANES],
    find: Find,
    /// Records may lie here that are not due yet.
    delays: bool,
}

impl Lanes {
    pub fn of_stream(log: Arc<Log>) -> Self {
        let mut lanes = Self::new(|_| Ok(None));
        lanes.delays = false;
        // The array was made one line above: nothing is there yet.
        let _ = lanes.logs[0].set(log);
        lanes
    }

    /// `find` opens a lane at its first use; None: it was not made yet.
    pub fn new(find: impl Fn(u8) -> Result<Option<Arc<Log>>> + Send + Sync + 'static) -> Self {
        Self {
            logs: Default::default(),
            find: Box::new(find),
            delays: true,
        }
    }

    pub fn delays(&self) -> bool {
        self.delays
    }

    pub fn lane(&self, number: u8) -> Result<Option<Arc<Log>>> {
        let place = &self.logs[number as usize];
        if let Some(log) = place.get() {
            return Ok(Some(Arc::clone(log)));
        }
        let found = (self.find)(number)?;
        if let Some(log) = found {
            return Ok(Some(Arc::clone(place.get_or_init(|| log))));
        }
        Ok(None)
    }

    /// The lane, if it is open in this process.
    #[inline]
    pub fn opened(&self, number: u8) -> Option<&Arc<Log>> {
        self.logs.get(number as usize)?.get()
    }

    /// The lanes that are open in this process.
    pub fn open(&self) -> impl Iterator<Item = (u8, &Arc<Log>)> {
        self.logs
            .iter()
            .enumerate()
            .filter_map(|(number, log)| Some((number as u8, log.get()?)))
    }
}

/// Stands for a key in the journal, for good; 0 is no key. Two keys with one hash wait for each other, no more.
#[inline]
pub(crate) fn key_hash(key: &[u8]) -> u64 {
    fnv1a(key).max(1)
}

fn head_of(record: &RecordRef<'_>, by_key: bool) -> Head {
    let due = record.due_ns();
    let key = match record.key {
        Some(key) if by_key => key_hash(key),
        _ => 0,
    };
    Head {
        seq: record.seq,
        key,
        due,
        expires: record
            .ttl_ns()
            .map(|ttl| due.unwrap_or(record.append_ns).saturating_add(ttl)),
    }
}

#[derive(Clone, Copy)]
struct Known {
    head: Head,
    spot: Spot,
}

/// One lane's heads.
struct Heads {
    log: Arc<Log>,
    cursor: Cursor,
    /// Every record in [from, where the cursor stands), ascending.
    list: VecDeque<Known>,
    from: u64,
    /// Where in the list the last answer was.
    at: usize,
    peek: Peek,
    /// For what is not in the list.
    older: Option<Cursor>,
}

impl Heads {
    fn new(log: &Arc<Log>, from: u64) -> Self {
        Self {
            log: Arc::clone(log),
            cursor: Cursor::new(log, from),
            list: VecDeque::new(),
            from,
            at: 0,
            peek: Peek::new(log),
            older: None,
        }
    }

    fn restart(&mut self, from: u64) {
        if from < self.from || from - self.cursor.next_seq().min(from) > FAR {
            self.cursor = Cursor::new(&self.log, from);
        } else {
            self.cursor.seek(from);
        }
        self.list.clear();
        self.from = from;
        self.at = 0;
    }

    /// Reads one more. False: there is none yet.
    fn read(&mut self, by_key: bool) -> Result<bool> {
        let Some(record) = self.cursor.next()? else {
            return Ok(false);
        };
        let head = head_of(&record, by_key);
        let spot = self.cursor.spot();
        if self.list.len() >= KEPT && self.at > KEPT / 2 {
            if let Some(first) = self.list.pop_front() {
                self.from = first.head.seq + 1;
                self.at -= 1;
            }
        }
        self.list.push_back(Known { head, spot });
        Ok(true)
    }

    /// Finds the first one at or above `from`, reading on where it must. Sets `at` to it.
    fn next(&mut self, from: u64, by_key: bool) -> Result<Option<Head>> {
        if from < self.from {
            self.restart(from);
        }
        // The usual call asks for what is behind the last answer.
        let behind = self.at == 0
            || self
                .list
                .get(self.at - 1)
                .is_some_and(|known| known.head.seq < from);
        if !behind {
            self.at = self.list.partition_point(|known| known.head.seq < from);
        }
        loop {
            match self.list.get(self.at) {
                Some(known) if known.head.seq >= from => return Ok(Some(known.head)),
                // Others may have taken much meanwhile.
                Some(_) if self.list.back().is_none_or(|last| last.head.seq < from) => {
                    self.at = self.list.len();
                }
                Some(_) => self.at += 1,
                None => {
                    if from.saturating_sub(self.cursor.next_seq()) > FAR {
                        self.restart(from);
                    }
                    if !self.read(by_key)? {
                        return Ok(None);
                    }
                }
            }
        }
    }

    /// Has `ahead` heads from `from` on in the list, where there are so many.
    fn fill(&mut self, from: u64, ahead: usize, by_key: bool) -> Result<()> {
        if self.next(from, by_key)?.is_none() {
            return Ok(());
        }
        while self.list.len() - self.at < ahead && self.read(by_key)? {}
        Ok(())
    }

    /// Whether a record at this position would be in the list.
    #[inline]
    fn has_read(&self, seq: u64) -> bool {
        seq >= self.from && seq < self.cursor.next_seq()
    }

    fn known(&self, seq: u64) -> Option<Known> {
        let guess = self.list.get(self.at).filter(|k| k.head.seq == seq);
        if let Some(known) = guess {
            return Some(*known);
        }
        let place = self
            .list
            .binary_search_by_key(&seq, |known| known.head.seq)
            .ok()?;
        self.list.get(place).copied()
    }

    /// Calls `each` with the record, if it is still there.
    fn record<T>(&mut self, seq: u64, each: impl FnOnce(&RecordRef<'_>) -> T) -> Result<Option<T>> {
        if seq < self.log.first_seq() {
            return Ok(None);
        }
        if self.has_read(seq) {
            let Some(known) = self.known(seq) else {
                return Ok(None);
            };
            return Ok(self.peek.read(known.spot, seq)?.as_ref().map(each));
        }
        let found = at(&mut self.older, seq, || Cursor::new(&self.log, seq))?;
        Ok(found.as_ref().map(each))
    }
}

/// What the decisions of one process read.
pub(crate) struct Feeder {
    lanes: Arc<Lanes>,
    notes: Arc<Log>,
    heads: [Option<Box<Heads>>; LANES],
    note_cursor: Option<Cursor>,
    by_key: bool,
}

impl Feeder {
    pub fn new(lanes: &Arc<Lanes>, notes: &Arc<Log>) -> Self {
        Self {
            lanes: Arc::clone(lanes),
            notes: Arc::clone(notes),
            heads: Default::default(),
            note_cursor: None,
            by_key: false,
        }
    }

    fn lane(&mut self, lane: u8, from: u64) -> Result<Option<&mut Heads>> {
        let place = &mut self.heads[lane as usize];
        if place.is_none() {
            if let Some(log) = self.lanes.lane(lane)? {
                // Whoever waits now armed what was there before: the first look at a lane that is new comes after this.
                log.arm();
                *place = Some(Box::new(Heads::new(&log, from)));
            }
        }
        Ok(place.as_deref_mut())
    }

    /// Reads ahead of the cursors, before the lock is taken.
    pub fn fill(&mut self, machine: &Machine, ahead: usize) -> Result<()> {
        let by_key = machine.ordering == Ordering::Key;
        if by_key != self.by_key {
            self.heads = Default::default();
            self.by_key = by_key;
        }
        for (number, state) in machine.lanes.iter().enumerate() {
            if state.made {
                if let Some(heads) = self.lane(number as u8, state.cursor)? {
                    heads.fill(state.cursor, ahead, by_key)?;
                }
            }
        }
        Ok(())
    }

    /// Whether there is something above a lane's cursor.
    pub fn is_ahead(&mut self, machine: &Machine) -> Result<bool> {
        for (number, state) in machine.lanes.iter().enumerate() {
            if state.made && self.next(number as u8, state.cursor)?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Calls `each` with a job's record, which has the job's position wherever it lies. None: it is gone.
    pub fn record<T>(
        &mut self,
        lane: u8,
        seq: u64,
        note: u64,
        each: impl FnOnce(&RecordRef<'_>) -> T,
    ) -> Result<Option<T>> {
        if note != 0 {
            if let Some(mut record) = note_at(&self.notes, &mut self.note_cursor, note)? {
                record.seq = seq;
                return Ok(Some(each(&record)));
            }
        }
        match self.lane(lane, seq)? {
            Some(heads) => heads.record(seq, each),
            None => Ok(None),
        }
    }
}

impl Feeder {
    /// A noted error.
    pub fn error(&mut self, note: u64) -> Result<Option<ErrorNote>> {
        error_at(&self.notes, &mut self.note_cursor, note)
    }

    /// A dead letter: as it was, or as it was edited (`edited`: where that lies, 0: nowhere). What a power cut took of the notes is
    /// made up from the lane's record.
    pub fn letter(&mut self, id: JobId, job: &Job, edited: u64) -> Result<DeadLetter> {
        let noted = letter_at(&self.notes, &mut self.note_cursor, job.at)?;
        let edited = match edited {
            0 => None,
            note => note_at(&self.notes, &mut self.note_cursor, note)?.map(|r| r.to_owned()),
        };
        let (copied, details) = noted.unzip();
        let mut record = match edited.or(copied) {
            Some(record) => record,
            None => match self.record(id.lane, id.seq, 0, |record| record.to_owned())? {
                Some(record) => record,
                None => OwnedRecord::empty(id.seq, job.since),
            },
        };
        record.seq = id.seq;
        Ok(match details {
            Some(details) => DeadLetter {
                id,
                record,
                reason: details.reason,
                error: details.error,
                history: details.history,
                died_ns: details.died_ns,
            },
            None => DeadLetter {
                id,
                record,
                reason: "unknown: what was noted of it is lost".to_owned(),
                error: None,
                history: Vec::new(),
                died_ns: job.since,
            },
        })
    }
}

/// The record at `seq`, by a cursor that is kept: a step to what lies near behind the last one is a walk.
fn at(
    cursor: &mut Option<Cursor>,
    seq: u64,
    anew: impl FnOnce() -> Cursor,
) -> Result<Option<RecordRef<'_>>> {
    let near = cursor
        .as_ref()
        .is_some_and(|cursor| seq >= cursor.next_seq() && seq - cursor.next_seq() < FAR);
    if !near {
        *cursor = None;
    }
    cursor.get_or_insert_with(anew).get(seq)
}

/// A record of the notes log. Unsynced ones are read too: the entry that names it may be as young.
pub(crate) fn note_at<'a>(
    notes: &Arc<Log>,
    cursor: &'a mut Option<Cursor>,
    note: u64,
) -> Result<Option<RecordRef<'a>>> {
    at(cursor, note, || Cursor::new_to_tail(notes, note))
}

impl Feed for Feeder {
    fn first(&mut self, lane: u8) -> u64 {
        match self.lanes.lane(lane) {
            Ok(Some(log)) => log.first_seq(),
            _ => 0,
        }
    }

    #[inline]
    fn next(&mut self, lane: u8, from: u64) -> Result<Option<Head>> {
        let by_key = self.by_key;
        match self.lane(lane, from)? {
            Some(heads) => heads.next(from, by_key),
            None => Ok(None),
        }
    }

    fn get(&mut self, lane: u8, seq: u64, note: u64) -> Result<Option<Head>> {
        let by_key = self.by_key;
        if note == 0 {
            if let Some(heads) = self.lane(lane, seq)? {
                if heads.has_read(seq) && seq >= heads.log.first_seq() {
                    return Ok(heads.known(seq).map(|known| known.head));
                }
            }
        }
        self.record(lane, seq, note, |record| head_of(record, by_key))
    }
}
