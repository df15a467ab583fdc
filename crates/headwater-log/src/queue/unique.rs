//! Unique keys: who was the last to be put with one, and whether that still stands in the way.
//!
//! Derived from the records of the lanes, never stored, like a stream's ids (docs/decisions/0303). Only touched under the
//! group's lock, which makes looking and putting one step for all processes.

use std::sync::Arc;

use hashbrown::HashMap;

use crate::error::Result;
use crate::group::machine::{Machine, State};
use crate::group::{JobId, LANES};
use crate::log::{Cursor, Log};
use crate::stream::{print, Print};

/// Below so many keys nothing is thrown away.
const KEPT: usize = 1 << 16;

/// The latest job of a lane with a key.
#[derive(Clone, Copy)]
struct Latest {
    seq: u64,
    put_ns: i64,
    /// When its time to live is over; i64::MAX: never.
    expires_ns: i64,
}

#[derive(Default)]
struct Lane {
    cursor: Option<Cursor>,
    latest: HashMap<Print, Latest, foldhash::fast::FixedState>,
}

/// For how long a key is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Window {
    Unfinished,
    /// Ns from the put, whatever becomes of the job.
    For(i64),
}

#[derive(Default)]
pub(super) struct Uniques {
    lanes: [Lane; LANES],
    /// At so many keys those that no longer matter are looked for.
    look_at: usize,
}

impl Uniques {
    /// Reads what was put since the last time.
    pub fn catch_up(&mut self, lane: u8, log: &Arc<Log>) -> Result<()> {
        let lane = &mut self.lanes[lane as usize];
        let cursor = lane
            .cursor
            .get_or_insert_with(|| Cursor::new_to_tail(log, log.first_seq()));
        // What cannot be read cannot be done either, and is told to who would do it.
        while let Some((record, _)) = cursor.next_over()? {
            if let Some(key) = record.unique() {
                let due = record.due_ns().unwrap_or(record.append_ns);
                let latest = Latest {
                    seq: record.seq,
                    put_ns: record.append_ns,
                    expires_ns: record
                        .ttl_ns()
                        .map_or(i64::MAX, |ttl| due.saturating_add(ttl)),
                };
                lane.latest.insert(print(key), latest);
            }
        }
        Ok(())
    }

    /// The job that has the key now.
    pub fn taken(&self, key: &[u8], window: Window, now: i64, machine: &Machine) -> Option<JobId> {
        let print = print(key);
        (0..LANES as u8).find_map(|lane| {
            let latest = self.lanes[lane as usize].latest.get(&print)?;
            stands(latest, lane, window, now, machine).then_some(JobId {
                lane,
                seq: latest.seq,
            })
        })
    }

    /// Forgets keys that are free again, once there are many.
    pub fn shrink(&mut self, window: Window, now: i64, machine: &Machine) {
        let keys: usize = self.lanes.iter().map(|lane| lane.latest.len()).sum();
        if keys <= self.look_at.max(KEPT) {
            return;
        }
        for (number, lane) in self.lanes.iter_mut().enumerate() {
            lane.latest
                .retain(|_, latest| stands(latest, number as u8, window, now, machine));
        }
        let kept: usize = self.lanes.iter().map(|lane| lane.latest.len()).sum();
        self.look_at = kept * 2;
    }
}

fn stands(latest: &Latest, lane: u8, window: Window, now: i64, machine: &Machine) -> bool {
    match window {
        Window::For(ns) => now < latest.put_ns.saturating_add(ns),
        Window::Unfinished => {
            let state = &machine.lanes[lane as usize];
            let in_hand = match state.jobs.get(&latest.seq) {
                Some(job) if job.state == State::Dead => return false,
                Some(job) => job.state == State::Inflight,
                None if latest.seq < state.cursor || state.cancelled.contains(&latest.seq) => {
                    return false
                }
                None => false,
            };
            // Nobody may have looked at it since its time was over.
            in_hand || now < latest.expires_ns
        }
    }
}
