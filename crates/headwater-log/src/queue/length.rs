//! How many jobs of a queue are unfinished.

use crate::error::Result;
use crate::group::core::Core;
use crate::group::machine::{self, Machine};
use crate::group::LANES;
use crate::log::Log;

/// How many records lie before a lane's cursor: counted once, then known from what the replica passed.
#[derive(Clone, Copy, Default)]
struct Rank {
    known: bool,
    rank: u64,
    passed: u64,
    jumps: u64,
}

impl Rank {
    fn of_cursor(&mut self, lane: &machine::Lane, log: &std::sync::Arc<Log>) -> Result<u64> {
        if !self.known || self.jumps != lane.jumps || lane.passed < self.passed {
            *self = Self {
                known: true,
                rank: log.rank(lane.cursor)?,
                passed: lane.passed,
                jumps: lane.jumps,
            };
        }
        Ok(self.rank + (lane.passed - self.passed))
    }
}

#[derive(Default)]
pub(super) struct Length {
    ranks: [Rank; LANES],
}

impl Length {
    /// Jobs that are ready, delayed, leased or waiting for a retry; exact under the group's and the lanes' locks.
    pub fn unfinished(&mut self, core: &Core, machine: &Machine) -> Result<u64> {
        let mut open = machine.open_jobs();
        for (number, lane) in machine
            .lanes
            .iter()
            .enumerate()
            .filter(|(_, lane)| lane.made)
        {
            if let Some(log) = core.lanes.lane(number as u8)? {
                let passed = self.ranks[number].of_cursor(lane, &log)?;
                open += log.ordinal().saturating_sub(passed);
                open -= (lane.cancelled.len() as u64).min(open);
            }
        }
        Ok(open)
    }
}
