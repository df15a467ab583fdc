//! Who gets what next: reads the records above the cursors, and says which entries to write. Changes no state.
//!
//! Lanes are strict, the highest first. Within one: what was given back or is due, then new records, in order of position;
//! a job past its first attempt takes at most every second claim while others wait.

use std::cmp::Reverse;

use super::entry::{Item, SkipReason, Writer};
use super::machine::{Job, Machine, Map, State, RETRYING};
use super::types::LANES;
use crate::error::{Error, Result};
use crate::options::{Ordering, RetryPolicy};
use crate::shared::Owner;

/// Jobs that may wait behind a busy key, in one group: beyond it nothing new is looked at until some of them are done.
pub const PARKED: u64 = 1_000_000;
/// Records looked at in one operation beside those handed out, so that the lock is not held for long.
const SCAN: usize = 4096;
/// A clock that went back by more than this was set, not slewed.
const STEP_NS: i64 = 2_000_000_000;

/// What a decision needs to know of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    pub seq: u64,
    /// 0: no key.
    pub key: u64,
    pub due: Option<i64>,
    /// When its time to live is over.
    pub expires: Option<i64>,
}

/// The records of the lanes.
pub trait Feed {
    /// The first position that is still kept.
    fn first(&mut self, lane: u8) -> u64;
    /// The first record at or above `from`.
    fn next(&mut self, lane: u8, from: u64) -> Result<Option<Head>>;
    /// The record of a job (where `note` is not 0, from the dead-letter log).
    fn get(&mut self, lane: u8, seq: u64, note: u64) -> Result<Option<Head>>;
}

/// A job that is to be handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pick {
    pub lane: u8,
    pub seq: u64,
    pub key: u64,
    pub attempt: u32,
    /// Where the dead-letter log has its record; 0: read the lane.
    pub note: u64,
}

/// What a claim comes to, before it is written.
#[derive(Default)]
pub struct Plan {
    pub picks: Vec<Pick>,
    parks: Vec<Item>,
    delays: Vec<Item>,
    skips: Vec<(SkipReason, Item)>,
    trims: Vec<(u8, u64)>,
    keys: Map<(u8, u64), ()>,
    /// Records were left unread: ask again.
    pub more: bool,
    /// Of a job's record.
    pub damaged: Option<Error>,
}

impl Plan {
    pub fn clear(&mut self) {
        self.picks.clear();
        self.parks.clear();
        self.delays.clear();
        self.skips.clear();
        self.trims.clear();
        self.keys.clear();
        self.more = false;
        self.damaged = None;
    }

    /// Writes the entries.
    pub fn write(&self, owner: &Owner, items: &mut Vec<Item>, writer: &mut Writer) {
        for (lane, seq) in &self.trims {
            writer.trim(*lane, *seq);
        }
        // Claims first: what is parked finds its key busy.
        items.clear();
        for pick in &self.picks {
            push_run(
                items,
                Item {
                    key: pick.key,
                    ..Item::one(pick.lane, pick.seq)
                },
            );
        }
        writer.claim(owner, items);
        for reason in [
            SkipReason::Ttl,
            SkipReason::Gap,
            SkipReason::Trimmed,
            SkipReason::Cancelled,
        ] {
            items.clear();
            for (_, item) in self.skips.iter().filter(|(found, _)| *found == reason) {
                push_run(items, *item);
            }
            writer.skip(reason, items);
        }
        writer.delay(&self.delays);
        writer.park(&self.parks);
    }
}

/// Adds a job to a list, as part of the run before it when it continues one.
#[inline]
pub fn push_run(items: &mut Vec<Item>, item: Item) {
    if item.key == 0 && item.at == 0 {
        if let Some(last) = items.last_mut() {
            if last.key == 0
                && last.at == 0
                && last.lane == item.lane
                && last.seq + last.count == item.seq
            {
                last.count += item.count;
                return;
            }
        }
    }
    items.push(item);
}

/// What one look at a job or record came to.
enum Look {
    Picked,
    Passed,
    Stop,
}

/// Chooses up to `max` jobs at the time `now`.
pub fn claim(
    machine: &mut Machine,
    feed: &mut dyn Feed,
    now: i64,
    max: usize,
    plan: &mut Plan,
) -> Result<()> {
    plan.clear();
    if machine.paused || max == 0 {
        return Ok(());
    }
    promote(machine, now);
    for lane in 0..LANES as u8 {
        let made = machine.lanes[lane as usize].made;
        let first = if made { feed.first(lane) } else { 0 };
        if first > machine.lanes[lane as usize].cursor {
            plan.trims.push((lane, first));
        }
    }
    if machine.ordering == Ordering::Total {
        return total(machine, feed, now, plan);
    }
    let mut budget = SCAN + max;
    for lane in (0..LANES as u8).rev() {
        if machine.lanes[lane as usize].made {
            from_lane(machine, feed, now, max, lane, &mut budget, plan)?;
        }
        if plan.picks.len() >= max || budget == 0 {
            break;
        }
    }
    plan.more = budget == 0;
    Ok(())
}

fn from_lane(
    machine: &mut Machine,
    feed: &mut dyn Feed,
    now: i64,
    max: usize,
    lane: u8,
    budget: &mut usize,
    plan: &mut Plan,
) -> Result<()> {
    let mut cursor = machine.lanes[lane as usize].cursor;
    let mut turn = machine.lanes[lane as usize].turn;
    let mut dry = false;
    while plan.picks.len() < max && *budget > 0 {
        *budget -= 1;
        let again = peek(machine, lane, true, now);
        if let Some(seq) = again.filter(|_| !turn || dry) {
            take(machine, lane, true);
            if let Look::Picked = known(machine, feed, now, lane, seq, plan)? {
                turn = true;
            }
            continue;
        }
        if let Some(seq) = peek(machine, lane, false, now) {
            take(machine, lane, false);
            if let Look::Picked = known(machine, feed, now, lane, seq, plan)? {
                turn = false;
            }
            continue;
        }
        if !dry {
            match fresh(machine, feed, now, lane, &mut cursor, plan)? {
                Look::Picked => turn = false,
                Look::Passed => {}
                Look::Stop => dry = true,
            }
        } else if again.is_none() {
            break;
        }
    }
    Ok(())
}

/// One at a time: the head until it is done, then the next of the highest lane.
fn total(machine: &mut Machine, feed: &mut dyn Feed, now: i64, plan: &mut Plan) -> Result<()> {
    if let Some((lane, seq)) = machine.head {
        if machine.job(lane, seq).is_some_and(|job| takeable(job, now)) {
            known(machine, feed, now, lane, seq, plan)?;
        }
        return Ok(());
    }
    let mut budget = SCAN;
    for lane in (0..LANES as u8)
        .rev()
        .filter(|lane| machine.lanes[*lane as usize].made)
        .collect::<Vec<_>>()
    {
        let mut cursor = machine.lanes[lane as usize].cursor;
        while plan.picks.is_empty() && budget > 0 {
            budget -= 1;
            let again = peek(machine, lane, true, now);
            let early = peek(machine, lane, false, now);
            if let Some(seq) = [again, early].into_iter().flatten().min() {
                take(machine, lane, again == Some(seq));
                known(machine, feed, now, lane, seq, plan)?;
            } else if let Look::Stop = fresh(machine, feed, now, lane, &mut cursor, plan)? {
                break;
            }
        }
        if !plan.picks.is_empty() {
            return Ok(());
        }
    }
    plan.more = budget == 0;
    Ok(())
}

/// Whether a delayed job's time has come. A retry whose due time lies further ahead than when it was set is due: the clock
/// was set back meanwhile.
fn is_due(job: &Job, now: i64) -> bool {
    job.at as i64 <= now || (job.flags & RETRYING != 0 && now.saturating_add(STEP_NS) < job.since)
}

fn takeable(job: &Job, now: i64) -> bool {
    match job.state {
        State::Ready => true,
        State::Delayed => is_due(job, now),
        _ => false,
    }
}

/// Moves what has become due from the delayed heap to its lane's.
fn promote(machine: &mut Machine, now: i64) {
    if now.saturating_add(STEP_NS) < machine.latest {
        machine.latest = now;
        machine.rebuild_hints();
        let mut kept = std::mem::take(&mut machine.delayed).into_vec();
        kept.retain(|Reverse((_, seq, lane))| {
            let Some(job) = machine.lanes[*lane as usize].jobs.get(seq).copied() else {
                return false;
            };
            let due = is_due(&job, now);
            if due {
                machine.lanes[*lane as usize].hint(*seq, &job);
            }
            !due
        });
        machine.delayed = kept.into();
    }
    machine.latest = machine.latest.max(now);
    while let Some(Reverse((due, seq, lane))) = machine.delayed.peek().copied() {
        let state = &mut machine.lanes[lane as usize];
        let job = state
            .jobs
            .get(&seq)
            .filter(|job| job.state == State::Delayed && job.at as i64 == due)
            .copied();
        match job {
            Some(job) if is_due(&job, now) => {
                machine.delayed.pop();
                state.hint(seq, &job);
            }
            Some(_) => break,
            None => {
                machine.delayed.pop();
            }
        }
    }
}

/// When the next delayed job is due.
pub fn next_due(machine: &mut Machine) -> Option<i64> {
    while let Some(Reverse((due, seq, lane))) = machine.delayed.peek().copied() {
        if machine
            .job(lane, seq)
            .is_some_and(|job| job.state == State::Delayed && job.at as i64 == due)
        {
            return Some(due);
        }
        machine.delayed.pop();
    }
    None
}

/// The first valid hint of a lane's heap.
#[inline]
fn peek(machine: &mut Machine, lane: u8, again: bool, now: i64) -> Option<u64> {
    loop {
        let state = &machine.lanes[lane as usize];
        let heap = if again { &state.again } else { &state.fresh };
        let Reverse(seq) = *heap.peek()?;
        if let Some(job) = state
            .jobs
            .get(&seq)
            .filter(|job| (job.attempts > 0) == again)
        {
            if takeable(job, now) {
                return Some(seq);
            }
            if job.state == State::Delayed {
                let due = job.at as i64;
                machine.delayed.push(Reverse((due, seq, lane)));
            }
        }
        take(machine, lane, again);
    }
}

/// Takes the first hint out, and its doubles.
#[inline]
fn take(machine: &mut Machine, lane: u8, again: bool) {
    let state = &mut machine.lanes[lane as usize];
    let heap = if again {
        &mut state.again
    } else {
        &mut state.fresh
    };
    if let Some(taken) = heap.pop() {
        while heap.peek() == Some(&taken) {
            heap.pop();
        }
    }
}

/// A job below the cursor that can be taken.
fn known(
    machine: &Machine,
    feed: &mut dyn Feed,
    now: i64,
    lane: u8,
    seq: u64,
    plan: &mut Plan,
) -> Result<Look> {
    let Some(job) = machine.job(lane, seq).copied() else {
        return Ok(Look::Passed);
    };
    let note = machine.record_note(lane, seq, &job);
    let mut skip = |reason| plan.skips.push((reason, Item::one(lane, seq)));
    let head = match feed.get(lane, seq, note) {
        Ok(Some(head)) => head,
        Ok(None) => {
            let trimmed = usize::from(seq < feed.first(lane));
            skip([SkipReason::Gap, SkipReason::Trimmed][trimmed]);
            return Ok(Look::Passed);
        }
        // It is told once, and stands in nobody's way.
        Err(error @ Error::Corruption { .. }) => {
            skip(SkipReason::Gap);
            plan.damaged = Some(error);
            return Ok(Look::Passed);
        }
        Err(error) => return Err(error),
    };
    if head.expires.is_some_and(|at| at <= now) {
        skip(SkipReason::Ttl);
        return Ok(Look::Passed);
    }
    if machine.ordering == Ordering::Key && job.key != 0 {
        // Delayed at its put: it takes its place among those of its key only now.
        let first = job.state == State::Delayed && job.flags & RETRYING == 0;
        if first && is_busy(machine, lane, job.key, plan) {
            plan.parks.push(Item {
                key: job.key,
                ..Item::one(lane, seq)
            });
            return Ok(Look::Passed);
        }
        plan.keys.insert((lane, job.key), ());
    }
    plan.picks.push(Pick {
        lane,
        seq,
        key: job.key,
        attempt: job.attempts + 1,
        note,
    });
    Ok(Look::Picked)
}

fn is_busy(machine: &Machine, lane: u8, key: u64, plan: &Plan) -> bool {
    machine.lanes[lane as usize].busy.contains_key(&key) || plan.keys.contains_key(&(lane, key))
}

/// The next record above the cursor.
fn fresh(
    machine: &Machine,
    feed: &mut dyn Feed,
    now: i64,
    lane: u8,
    cursor: &mut u64,
    plan: &mut Plan,
) -> Result<Look> {
    let Some(head) = feed.next(lane, *cursor)? else {
        return Ok(Look::Stop);
    };
    let state = &machine.lanes[lane as usize];
    let key = if machine.ordering == Ordering::Key {
        head.key
    } else {
        0
    };
    let item = Item::one(lane, head.seq);
    if state.cancelled.contains(&head.seq) {
        plan.skips.push((SkipReason::Cancelled, item));
    } else if let Some(due) = head.due.filter(|due| *due > now) {
        plan.delays.push(Item {
            key,
            at: due,
            ..item
        });
    } else if head.expires.is_some_and(|at| at <= now) {
        plan.skips.push((SkipReason::Ttl, item));
    } else if key != 0 && is_busy(machine, lane, key, plan) {
        if machine.count(State::Parked) + plan.parks.len() as u64 >= PARKED {
            return Ok(Look::Stop);
        }
        plan.parks.push(Item { key, ..item });
    } else {
        if key != 0 {
            plan.keys.insert((lane, key), ());
        }
        plan.picks.push(Pick {
            lane,
            seq: head.seq,
            key,
            attempt: 1,
            note: 0,
        });
        *cursor = head.seq + 1;
        return Ok(Look::Picked);
    }
    *cursor = head.seq + 1;
    Ok(Look::Passed)
}

/// The delay before the next attempt, ns: `delay * factor^(attempt - 1)`, at most `max_delay`, spread by the jitter.
/// `random` is uniform in [0, 1).
pub fn backoff_ns(policy: &RetryPolicy, attempt: u32, random: f64) -> i64 {
    let grown = policy.delay
        * policy
            .factor
            .powi(attempt.saturating_sub(1).min(1_000) as i32);
    let seconds = grown.min(policy.max_delay) * (1.0 + policy.jitter * (2.0 * random - 1.0));
    // A NaN or negative product (0 × infinity, odd policies) is no delay; the cast saturates.
    (seconds.max(0.0) * 1e9) as i64
}

/// Whether an attempt was the last.
pub fn is_last(policy: &RetryPolicy, attempt: u32) -> bool {
    policy.max_attempts.is_some_and(|max| attempt >= max)
}

/// Parts jobs whose lease ended by itself: those that come again, and those for which that was the last attempt.
pub fn expired(machine: &Machine, jobs: &[(u8, u64, Job)]) -> (Vec<Item>, Vec<(u8, u64, Job)>) {
    let policy = machine.retry();
    let mut again = Vec::new();
    let mut dead = Vec::new();
    for (lane, seq, job) in jobs {
        if is_last(&policy, job.attempts) {
            dead.push((*lane, *seq, *job));
        } else {
            push_run(&mut again, Item::one(*lane, *seq));
        }
    }
    (again, dead)
}
