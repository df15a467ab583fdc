//! A group's state, and what each entry of the journal does to it.
//!
//! Below a lane's cursor every record is either in `jobs` or done, so that nothing is kept of what is finished. The heaps
//! are hints, checked against `jobs` when something is taken from them; all else changes only in `apply`.
//!
//! Over 500 lines: one state, and all that may change it.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

use hashbrown::HashMap;

use super::entry::{decode, Ended, Entry, Item, Items, SkipReason};
use super::types::LANES;
use crate::error::Result;
use crate::options::{GroupConfig, Ordering, RetryPolicy};
use crate::shared::Owner;

pub(crate) type Map<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

/// Attempts remembered of one job; of more, the oldest are forgotten.
pub const HISTORY: usize = 100;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    Ready = 0,
    Inflight = 1,
    Delayed = 2,
    Parked = 3,
    Dead = 4,
}

impl State {
    pub(crate) fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            0 => Self::Ready,
            1 => Self::Inflight,
            2 => Self::Delayed,
            3 => Self::Parked,
            4 => Self::Dead,
            _ => return None,
        })
    }
}

/// It waits for a retry (rather than for the time of its put), and holds its key meanwhile.
pub(crate) const RETRYING: u8 = 1;
/// There is an `Extra` of it.
pub(crate) const HAS_EXTRA: u8 = 2;

/// An unfinished record below the cursor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Job {
    /// Hash of lane and key, 0: none, or keys play no part.
    pub key: u64,
    /// Inflight: the claim. Delayed: when it is due. Dead: the note in the dead-letter log.
    pub at: u64,
    /// When it came into its state, ns since 1970.
    pub since: i64,
    pub attempts: u32,
    /// Inflight: index of its holder.
    pub owner: u16,
    pub state: State,
    pub flags: u8,
}

/// How one attempt ended; `note` is a position in the notes log, 0: none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    pub attempt: u32,
    pub at: i64,
    pub how: Ended,
    pub note: u64,
}

/// What few jobs have.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Extra {
    /// Where the dead-letter log has the record that is delivered instead of the lane's; 0: nowhere.
    pub record: u64,
    pub history: Vec<Attempt>,
}

/// The messages of one key: one is first, in hand or about to be; the others wait.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Busy {
    pub first: u64,
    pub parked: BTreeSet<u64>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Holder {
    pub owner: Owner,
    pub leased: u32,
}

#[derive(Clone, Debug, Default)]
pub struct Lane {
    /// A queue's lane 0 and a stream are there from the beginning, the others from their first use.
    pub made: bool,
    /// The next position that nothing is known of.
    pub cursor: u64,
    pub jobs: Map<u64, Job>,
    pub busy: Map<u64, Busy>,
    /// Positions at or above the cursor that shall be passed over.
    pub cancelled: BTreeSet<u64>,
    /// The last claim was of a job past its first attempt.
    pub turn: bool,
    /// Records passed one by one since this replica began, and jumps of the cursor: the rank of the cursor is known from
    /// them without counting (not part of the state).
    pub passed: u64,
    pub jumps: u64,
    pub(crate) fresh: BinaryHeap<Reverse<u64>>,
    pub(crate) again: BinaryHeap<Reverse<u64>>,
}

/// The state of one group.
#[derive(Clone, Debug)]
pub struct Machine {
    pub config: GroupConfig,
    pub ordering: Ordering,
    pub lanes: [Lane; LANES],
    pub holders: Vec<Holder>,
    pub extra: Map<(u8, u64), Extra>,
    /// Ordering `total`: the one job that may be worked on.
    pub head: Option<(u8, u64)>,
    pub paused: bool,
    pub counts: [u64; 5],
    pub acked: u64,
    pub expired: u64,
    /// The position in the journal up to which this is true.
    pub applied: u64,
    pub(crate) delayed: BinaryHeap<Reverse<(i64, u64, u8)>>,
    /// The latest time seen in a decision: a clock that was set back shows by it.
    pub(crate) latest: i64,
}

impl Default for Machine {
    fn default() -> Self {
        let mut machine = Self {
            config: GroupConfig::default(),
            ordering: Ordering::None,
            lanes: Default::default(),
            holders: Vec::new(),
            extra: Map::default(),
            head: None,
            paused: false,
            counts: [0; 5],
            acked: 0,
            expired: 0,
            applied: 0,
            delayed: BinaryHeap::new(),
            latest: i64::MIN,
        };
        machine.lanes[0].made = true;
        machine
    }
}

impl Machine {
    pub fn retry(&self) -> RetryPolicy {
        self.config.retry.unwrap_or_default()
    }

    pub fn lease(&self) -> f64 {
        self.config.lease.unwrap_or(30.0)
    }

    pub fn max_hold(&self) -> Option<f64> {
        self.config.max_hold.flatten()
    }

    #[inline]
    pub fn job(&self, lane: u8, seq: u64) -> Option<&Job> {
        self.lanes[lane as usize].jobs.get(&seq)
    }

    pub fn count(&self, state: State) -> u64 {
        self.counts[state as usize]
    }

    /// Unfinished jobs below the cursors, dead ones aside.
    pub fn open_jobs(&self) -> u64 {
        self.counts.iter().sum::<u64>() - self.count(State::Dead)
    }

    /// Whether this job is in hand under that claim.
    #[inline]
    pub fn holds(&self, lane: u8, seq: u64, claim: u64) -> Option<&Job> {
        self.job(lane, seq)
            .filter(|job| job.state == State::Inflight && job.at == claim)
    }

    pub fn leased_by(&self, owner: &Owner) -> u32 {
        self.holders
            .iter()
            .find(|holder| holder.owner == *owner)
            .map_or(0, |holder| holder.leased)
    }

    /// Everything that one owner has in hand.
    pub fn in_hand_of(&self, owner: &Owner) -> Vec<(u8, u64, Job)> {
        let Some(index) = self
            .holders
            .iter()
            .position(|holder| holder.owner == *owner)
        else {
            return Vec::new();
        };
        let mut found = Vec::new();
        for (lane, state) in self.lanes.iter().enumerate() {
            found.extend(
                state
                    .jobs
                    .iter()
                    .filter(|(_, job)| job.state == State::Inflight && job.owner as usize == index)
                    .map(|(seq, job)| (lane as u8, *seq, *job)),
            );
        }
        found.sort_unstable_by_key(|(lane, seq, _)| (*lane, *seq));
        found
    }

    /// The positions below a lane's cursor whose records are still wanted there, in no order. A dead letter's is not: the notes have it.
    pub fn wanted(&self, lane: u8) -> impl Iterator<Item = u64> + '_ {
        self.lanes[lane as usize]
            .jobs
            .iter()
            .filter(move |(seq, job)| {
                job.state != State::Dead
                    && !(job.flags & HAS_EXTRA != 0
                        && self
                            .extra
                            .get(&(lane, **seq))
                            .is_some_and(|extra| extra.record != 0))
            })
            .map(|(seq, _)| *seq)
    }

    /// The first position of a lane whose record is still wanted: below it nothing needs to be kept.
    pub fn floor(&self, lane: u8) -> u64 {
        self.wanted(lane)
            .fold(self.lanes[lane as usize].cursor, u64::min)
    }

    /// The first position of the notes log that is still wanted.
    pub fn notes_floor(&self) -> u64 {
        let mut floor = u64::MAX;
        for extra in self.extra.values() {
            let noted = extra.history.iter().map(|attempt| attempt.note);
            for note in noted.chain([extra.record]).filter(|note| *note != 0) {
                floor = floor.min(note);
            }
        }
        for job in self.lanes.iter().flat_map(|lane| lane.jobs.values()) {
            if job.state == State::Dead {
                floor = floor.min(job.at);
            }
        }
        floor
    }

    /// Where a job's record is read: in the dead-letter log when this is not 0.
    pub fn record_note(&self, lane: u8, seq: u64, job: &Job) -> u64 {
        if job.flags & HAS_EXTRA == 0 {
            return 0;
        }
        self.extra.get(&(lane, seq)).map_or(0, |extra| extra.record)
    }

    /// Applies one record of the journal: `seq` is its position, `now` its time.
    pub fn apply(&mut self, seq: u64, now: i64, record: &[u8]) -> Result<()> {
        decode(record, |entry| self.entry(seq, now, entry))?;
        self.applied = seq;
        Ok(())
    }

    fn entry(&mut self, position: u64, now: i64, entry: Entry<'_>) {
        match entry {
            Entry::Config { json } => self.set_config(json),
            Entry::Lane { lane } => self.lanes[lane as usize].made = true,
            Entry::Claim { owner, items } => self.claim(position, now, owner, items),
            Entry::Ack { items } => each(items, |lane, seq, _| {
                if self.finish(lane, seq) {
                    self.acked += 1;
                }
            }),
            Entry::Nack {
                lane,
                seq,
                due,
                counted,
                note,
            } => self.nack(now, lane, seq, due, counted, note),
            Entry::Release { items } => each(items, |lane, seq, _| self.release(now, lane, seq)),
            Entry::Expire { how, items } => {
                each(items, |lane, seq, _| self.expire(now, lane, seq, how))
            }
            Entry::Park { items } => {
                each(items, |lane, seq, item| self.park(now, lane, seq, item.key))
            }
            Entry::Delay { items } => each(items, |lane, seq, item| {
                self.pass(lane, seq);
                let job = Job {
                    at: item.at as u64,
                    ..Job::new(item.key, State::Delayed, now)
                };
                self.insert(lane, seq, job);
            }),
            Entry::Skip { reason, items } => each(items, |lane, seq, _| {
                if self.job(lane, seq).is_none() {
                    self.pass(lane, seq);
                } else {
                    self.finish(lane, seq);
                }
                self.expired += u64::from(reason == SkipReason::Ttl);
            }),
            Entry::Dead {
                lane, seq, note, ..
            } => self.die(now, lane, seq, note),
            Entry::Redrive { items } => each(items, |lane, seq, _| self.redrive(now, lane, seq)),
            Entry::Edit { lane, seq, note } => self.edit(lane, seq, note),
            Entry::Purge { items } => items.for_each(|item| self.purge(item.lane, item.seq)),
            Entry::PurgeDead { items } => each(items, |lane, seq, _| {
                if self
                    .job(lane, seq)
                    .is_some_and(|job| job.state == State::Dead)
                {
                    self.remove(lane, seq);
                }
            }),
            Entry::Cancel { lane, seq } => {
                if seq >= self.lanes[lane as usize].cursor {
                    self.lanes[lane as usize].cancelled.insert(seq);
                } else if self
                    .job(lane, seq)
                    .is_some_and(|job| job.state != State::Inflight)
                {
                    self.finish(lane, seq);
                }
            }
            Entry::Seek { lane, seq } => self.seek(lane, seq),
            Entry::Trim { lane, seq } => {
                let state = &mut self.lanes[lane as usize];
                if seq > state.cursor {
                    state.jumps += 1;
                    state.set_cursor(seq);
                }
            }
            Entry::Pause => self.paused = true,
            Entry::Resume => self.paused = false,
        }
    }

    /// A configuration that cannot be read leaves the one before in force.
    fn set_config(&mut self, json: &[u8]) {
        if let Ok(config) = serde_json::from_slice::<GroupConfig>(json) {
            self.ordering = config.ordering.unwrap_or_default();
            self.config = config;
        }
    }

    /// A record above the cursor becomes known.
    #[inline]
    fn pass(&mut self, lane: u8, seq: u64) {
        let state = &mut self.lanes[lane as usize];
        state.passed += 1;
        if seq >= state.cursor {
            state.set_cursor(seq + 1);
        }
    }

    #[inline]
    fn insert(&mut self, lane: u8, seq: u64, job: Job) {
        self.counts[job.state as usize] += 1;
        if job.state == State::Inflight {
            self.holders[job.owner as usize].leased += 1;
        }
        self.hint(lane, seq, &job);
        if let Some(old) = self.lanes[lane as usize].jobs.insert(seq, job) {
            self.uncount(&old);
        }
    }

    fn uncount(&mut self, job: &Job) {
        self.counts[job.state as usize] -= 1;
        if job.state == State::Inflight {
            self.holders[job.owner as usize].leased -= 1;
        }
    }

    #[inline]
    fn remove(&mut self, lane: u8, seq: u64) -> Option<Job> {
        let job = self.lanes[lane as usize].jobs.remove(&seq)?;
        self.uncount(&job);
        if job.flags & HAS_EXTRA != 0 {
            self.extra.remove(&(lane, seq));
        }
        Some(job)
    }

    /// Puts a job into another state.
    fn change(&mut self, lane: u8, seq: u64, change: impl FnOnce(&mut Job)) {
        let Some(job) = self.lanes[lane as usize].jobs.get_mut(&seq) else {
            return;
        };
        let old = *job;
        change(job);
        let job = *job;
        self.uncount(&old);
        self.counts[job.state as usize] += 1;
        if job.state == State::Inflight {
            self.holders[job.owner as usize].leased += 1;
        }
        self.hint(lane, seq, &job);
    }

    /// The heaps learn of a job that can be taken, now or later.
    #[inline]
    fn hint(&mut self, lane: u8, seq: u64, job: &Job) {
        match job.state {
            State::Ready => self.lanes[lane as usize].hint(seq, job),
            State::Delayed => self.delayed.push(Reverse((job.at as i64, seq, lane))),
            _ => return,
        }
        // A replica that never claims never takes its stale hints out.
        let state = &self.lanes[lane as usize];
        let hints = state.fresh.len() + state.again.len() + self.delayed.len();
        if hints as u64 > 4 * (self.count(State::Ready) + self.count(State::Delayed)) + 4096 {
            self.rebuild_hints();
        }
    }

    /// Whether some lane may have a job that can be taken, or that came due.
    pub(crate) fn has_hints(&self) -> bool {
        self.lanes
            .iter()
            .any(|lane| !lane.fresh.is_empty() || !lane.again.is_empty())
    }

    /// Makes the heaps anew from the jobs.
    pub(crate) fn rebuild_hints(&mut self) {
        self.delayed.clear();
        for (number, lane) in self.lanes.iter_mut().enumerate() {
            lane.fresh.clear();
            lane.again.clear();
            let Lane {
                jobs, fresh, again, ..
            } = lane;
            for (seq, job) in jobs.iter() {
                match job.state {
                    State::Ready if job.attempts == 0 => fresh.push(Reverse(*seq)),
                    State::Ready => again.push(Reverse(*seq)),
                    State::Delayed => {
                        self.delayed
                            .push(Reverse((job.at as i64, *seq, number as u8)))
                    }
                    _ => {}
                }
            }
        }
    }

    fn holder(&mut self, owner: Owner) -> u16 {
        if let Some(index) = self.holders.iter().position(|holder| holder.owner == owner) {
            return index as u16;
        }
        let new = Holder { owner, leased: 0 };
        match self
            .holders
            .iter_mut()
            .enumerate()
            .find(|(_, holder)| holder.leased == 0)
        {
            Some((index, free)) => {
                *free = new;
                index as u16
            }
            None => {
                self.holders.push(new);
                (self.holders.len() - 1) as u16
            }
        }
    }

    fn claim(&mut self, claim: u64, now: i64, owner: Owner, items: Items<'_>) {
        let holder = self.holder(owner);
        for item in items {
            for seq in item.seq..item.seq + item.count {
                let state = &mut self.lanes[item.lane as usize];
                let (attempts, key) = if let Some(job) = state.jobs.get_mut(&seq) {
                    let attempts = job.attempts + 1;
                    let key = job.key;
                    self.change(item.lane, seq, |job| {
                        job.state = State::Inflight;
                        job.at = claim;
                        job.since = now;
                        job.attempts = attempts;
                        job.owner = holder;
                        job.flags &= !RETRYING;
                    });
                    (attempts, key)
                } else {
                    self.pass(item.lane, seq);
                    let job = Job {
                        at: claim,
                        attempts: 1,
                        owner: holder,
                        ..Job::new(item.key, State::Inflight, now)
                    };
                    self.insert(item.lane, seq, job);
                    (1, item.key)
                };
                let state = &mut self.lanes[item.lane as usize];
                state.turn = attempts > 1;
                match self.ordering {
                    Ordering::Key if key != 0 => {
                        state.busy.entry(key).or_default().first = seq;
                    }
                    Ordering::Total => self.head = Some((item.lane, seq)),
                    _ => {}
                }
            }
        }
    }

    /// The job is over; the next of its key may come. False: it was not there.
    #[inline]
    fn finish(&mut self, lane: u8, seq: u64) -> bool {
        let Some(job) = self.remove(lane, seq) else {
            return false;
        };
        self.let_go(lane, seq, job.key);
        true
    }

    /// The job no longer stands in the way of others.
    #[inline]
    fn let_go(&mut self, lane: u8, seq: u64, key: u64) {
        if self.head == Some((lane, seq)) {
            self.head = None;
        }
        if key == 0 {
            return;
        }
        let state = &mut self.lanes[lane as usize];
        let Some(busy) = state.busy.get_mut(&key) else {
            return;
        };
        if busy.first != seq {
            busy.parked.remove(&seq);
            return;
        }
        match busy.parked.pop_first() {
            Some(next) => {
                busy.first = next;
                self.change(lane, next, |job| job.state = State::Ready);
            }
            None => {
                state.busy.remove(&key);
            }
        }
    }

    fn history(&mut self, lane: u8, seq: u64, attempt: Attempt) {
        let Some(job) = self.lanes[lane as usize].jobs.get_mut(&seq) else {
            return;
        };
        job.flags |= HAS_EXTRA;
        let history = &mut self.extra.entry((lane, seq)).or_default().history;
        if history.len() >= HISTORY {
            history.remove(0);
        }
        history.push(attempt);
    }

    fn nack(&mut self, now: i64, lane: u8, seq: u64, due: i64, counted: bool, note: u64) {
        let Some(job) = self
            .job(lane, seq)
            .filter(|job| job.state == State::Inflight)
            .copied()
        else {
            return;
        };
        if counted || note != 0 {
            self.history(
                lane,
                seq,
                Attempt {
                    attempt: job.attempts,
                    at: now,
                    how: Ended::Error,
                    note,
                },
            );
        }
        self.change(lane, seq, |job| {
            job.state = State::Delayed;
            job.at = due as u64;
            job.since = now;
            job.flags |= RETRYING;
            job.attempts -= u32::from(!counted && job.attempts > 0);
        });
    }

    fn release(&mut self, now: i64, lane: u8, seq: u64) {
        if self
            .job(lane, seq)
            .is_none_or(|job| job.state != State::Inflight)
        {
            return;
        }
        self.change(lane, seq, |job| {
            job.state = State::Ready;
            job.since = now;
            job.attempts = job.attempts.saturating_sub(1);
        });
    }

    fn expire(&mut self, now: i64, lane: u8, seq: u64, how: Ended) {
        let Some(job) = self
            .job(lane, seq)
            .filter(|job| job.state == State::Inflight)
            .copied()
        else {
            return;
        };
        self.history(
            lane,
            seq,
            Attempt {
                attempt: job.attempts,
                at: now,
                how,
                note: 0,
            },
        );
        self.change(lane, seq, |job| {
            job.state = State::Ready;
            job.since = now;
        });
    }

    /// A record, or a delayed job that is due, whose key is busy.
    fn park(&mut self, now: i64, lane: u8, seq: u64, key: u64) {
        if self.job(lane, seq).is_none() {
            self.pass(lane, seq);
        }
        let busy = self.lanes[lane as usize]
            .busy
            .entry(key)
            .or_insert_with(|| Busy {
                first: seq,
                ..Busy::default()
            });
        let state = if busy.first == seq {
            State::Ready
        } else {
            State::Parked
        };
        if state == State::Parked {
            busy.parked.insert(seq);
        }
        self.insert(lane, seq, Job::new(key, state, now));
    }

    fn die(&mut self, now: i64, lane: u8, seq: u64, note: u64) {
        let Some(job) = self
            .job(lane, seq)
            .filter(|job| job.state != State::Dead)
            .copied()
        else {
            return;
        };
        // Its history is in the note; only where an edited record lies is still needed.
        let edited = job.flags & HAS_EXTRA != 0
            && self.extra.get_mut(&(lane, seq)).is_some_and(|extra| {
                extra.history = Vec::new();
                extra.record != 0
            });
        if !edited {
            self.extra.remove(&(lane, seq));
        }
        self.change(lane, seq, |job| {
            job.state = State::Dead;
            job.at = note;
            job.since = now;
            job.flags = if edited { HAS_EXTRA } else { 0 };
        });
        self.let_go(lane, seq, job.key);
    }

    fn redrive(&mut self, now: i64, lane: u8, seq: u64) {
        let Some(job) = self
            .job(lane, seq)
            .filter(|job| job.state == State::Dead)
            .copied()
        else {
            return;
        };
        // From here on the record is read from the copy: the lane need not keep it for this.
        let extra = self.extra.entry((lane, seq)).or_default();
        if extra.record == 0 {
            extra.record = job.at;
        }
        let mut state = State::Ready;
        if job.key != 0 && self.ordering == Ordering::Key {
            let busy = self.lanes[lane as usize]
                .busy
                .entry(job.key)
                .or_insert_with(|| Busy {
                    first: seq,
                    ..Busy::default()
                });
            if busy.first != seq {
                busy.parked.insert(seq);
                state = State::Parked;
            }
        }
        self.change(lane, seq, |job| {
            job.state = state;
            job.since = now;
            job.attempts = 0;
            job.flags |= HAS_EXTRA;
        });
    }

    fn edit(&mut self, lane: u8, seq: u64, note: u64) {
        let Some(job) = self.lanes[lane as usize].jobs.get_mut(&seq) else {
            return;
        };
        job.flags |= HAS_EXTRA;
        self.extra.entry((lane, seq)).or_default().record = note;
    }

    /// Whatever is below `cursor` and neither in hand nor dead is finished.
    fn purge(&mut self, lane: u8, cursor: u64) {
        let state = &mut self.lanes[lane as usize];
        state.jumps += 1;
        if cursor > state.cursor {
            state.set_cursor(cursor);
        }
        let gone: Vec<u64> = state
            .jobs
            .iter()
            .filter(|(_, job)| !matches!(job.state, State::Inflight | State::Dead))
            .map(|(seq, _)| *seq)
            .collect();
        for busy in state.busy.values_mut() {
            busy.parked.clear();
        }
        for seq in gone {
            self.finish(lane, seq);
        }
    }

    /// Dead letters below `seq` stay; what is at or above it comes (again).
    fn seek(&mut self, lane: u8, seq: u64) {
        let gone: Vec<u64> = self.lanes[lane as usize]
            .jobs
            .iter()
            .filter(|(at, job)| job.state != State::Dead || **at >= seq)
            .map(|(at, _)| *at)
            .collect();
        for at in gone {
            self.remove(lane, at);
        }
        let state = &mut self.lanes[lane as usize];
        state.busy.clear();
        state.cancelled.clear();
        state.turn = false;
        state.jumps += 1;
        state.cursor = seq;
        if self.head.is_some_and(|(head, _)| head == lane) {
            self.head = None;
        }
    }
}

impl Job {
    pub(crate) fn new(key: u64, state: State, since: i64) -> Self {
        Self {
            key,
            at: 0,
            since,
            attempts: 0,
            owner: 0,
            state,
            flags: 0,
        }
    }
}

impl Lane {
    #[inline]
    pub(crate) fn set_cursor(&mut self, cursor: u64) {
        self.cursor = cursor;
        while self.cancelled.first().is_some_and(|first| *first < cursor) {
            self.cancelled.pop_first();
        }
    }

    pub(crate) fn hint(&mut self, seq: u64, job: &Job) {
        if job.attempts == 0 {
            &mut self.fresh
        } else {
            &mut self.again
        }
        .push(Reverse(seq));
    }
}

/// Calls `each` for every position of the items.
#[inline]
fn each(items: Items<'_>, mut each: impl FnMut(u8, u64, &Item)) {
    for item in items {
        for seq in item.seq..item.seq + item.count {
            each(item.lane, seq, &item);
        }
    }
}
