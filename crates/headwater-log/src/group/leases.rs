//! When a claim ends without its holder's word: its process is dead, or stands still for longer than the lease, or holds a
//! message for longer than `max_hold` (engine.md §9). No deadline is stored: each process counts by its own clock.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use hashbrown::HashMap;

use super::core::{Core, Op, Patience};
use super::decide::expired;
use super::entry::Ended;
use super::machine::{Job, Machine};
use super::notes::Death;
use super::replica::Replica;
use super::types::Ticket;
use crate::error::{Error, Result};
use crate::log::monotonic_ns;
use crate::options::Durability;
use crate::shared::{Owner, Shared};

/// Dead letters that one operation writes at most: each is copied under the lock.
const BURIED: usize = 100;
/// No heart stands still that beat within this time, however short the lease is: an owner beats each 0.25 s until it has heard of
/// a shorter lease, and a busy machine lets it come late.
const STILL_NS: u64 = 750_000_000;
/// How long the engine's thread waits for a lock before it tries again.
const SHORT: Duration = Duration::from_millis(3);

/// How long an owner's heart has stood still, as this process has seen it.
#[derive(Clone, Copy, Debug)]
struct Still {
    beat: u64,
    still_ns: u64,
    looked: u64,
}

/// The other holders, watched.
#[derive(Debug, Default)]
pub(super) struct Watched {
    owners: HashMap<Owner, Still>,
    /// Not asked for earlier again, monotonic ns.
    next: u64,
}

impl Watched {
    /// Whether an owner has stood still for `lease_ns`. Between two looks no more than `step_ns` is counted: who was stopped
    /// itself knows nothing of the time between.
    fn stands_still(
        &mut self,
        owner: &Owner,
        beat: u64,
        now: u64,
        lease_ns: u64,
        step_ns: u64,
    ) -> bool {
        let fresh = Still {
            beat,
            still_ns: 0,
            looked: now,
        };
        let still = self.owners.entry(*owner).or_insert(fresh);
        if still.beat != beat {
            *still = fresh;
            return false;
        }
        still.still_ns += (now - still.looked).min(step_ns);
        still.looked = now;
        still.still_ns >= lease_ns
    }
}

/// How long this process has held its own deliveries, by its monotonic clock; only kept where `max_hold` is set.
#[derive(Debug, Default)]
pub(super) struct Holding {
    /// When each claim was made, ascending.
    claims: VecDeque<(u64, u64)>,
    extended: HashMap<Ticket, u64>,
    /// Nothing can be over before.
    next: u64,
}

impl Holding {
    pub fn claimed(&mut self, claim: u64, now: u64) {
        self.claims.push_back((claim, now));
    }

    pub fn extend(&mut self, ticket: Ticket, until: u64) {
        let place = self.extended.entry(ticket).or_default();
        *place = (*place).max(until);
    }

    fn since(&self, claim: u64) -> Option<u64> {
        let place = self
            .claims
            .binary_search_by_key(&claim, |(claim, _)| *claim)
            .ok()?;
        Some(self.claims[place].1)
    }

    /// Those of `jobs` that are held for too long. What is not in hand any more is forgotten.
    fn over(&mut self, jobs: &[(u8, u64, Job)], now: u64, bound: u64) -> Vec<(u8, u64, Job)> {
        let oldest = jobs.iter().map(|(_, _, job)| job.at).min();
        while self
            .claims
            .front()
            .is_some_and(|(claim, _)| oldest.is_none_or(|oldest| *claim < oldest))
        {
            self.claims.pop_front();
        }
        let mut over = Vec::new();
        self.next = now.saturating_add(bound);
        let mut extended = HashMap::new();
        for (lane, seq, job) in jobs {
            // A claim from before `max_hold` was set counts from now on.
            let since = match self.since(job.at) {
                Some(since) => since,
                None => {
                    let place = self.claims.partition_point(|(claim, _)| *claim < job.at);
                    self.claims.insert(place, (job.at, now));
                    now
                }
            };
            let ticket = Ticket {
                claim: job.at,
                lane: *lane,
                seq: *seq,
            };
            let mut until = since.saturating_add(bound);
            if let Some(later) = self.extended.get(&ticket) {
                extended.insert(ticket, *later);
                until = until.max(*later);
            }
            if until <= now {
                over.push((*lane, *seq, *job));
            } else {
                self.next = self.next.min(until);
            }
        }
        self.extended = extended;
        over
    }
}

impl Replica {
    /// Holders whose process is gone.
    fn dead_owners(&self, shared: &Shared) -> Vec<Owner> {
        let me = shared.me();
        self.machine
            .holders
            .iter()
            .filter(|holder| holder.leased > 0 && holder.owner != me)
            .filter(|holder| !shared.owner_live(&holder.owner))
            .map(|holder| holder.owner)
            .collect()
    }
}

impl Op<'_> {
    /// Ends the leases of these jobs, as many as one operation may. True: all of them.
    fn expire(&mut self, jobs: &[(u8, u64, Job)], how: Ended) -> Result<bool> {
        let (again, dead) = expired(self.machine, jobs);
        self.writer.expire(how, &again);
        for (lane, seq, job) in dead.iter().take(BURIED) {
            self.bury(*lane, *seq, job, &Death::expired(how))?;
        }
        Ok(dead.len() <= BURIED)
    }
}

/// From one look at the hearts to the next.
fn step_ns(machine: &Machine) -> u64 {
    ((machine.lease() * 1e9) as u64 / 8).clamp(5_000_000, 250_000_000)
}

impl Core {
    /// Ends the leases of dead processes, whoever sees it first.
    #[inline]
    pub(super) fn expire_the_dead(&self, replica: &mut Replica, patience: Patience) -> Result<()> {
        let me = self.ctx.shared.me();
        let suspicious = replica.machine.holders.iter().any(|holder| {
            holder.leased > 0 && holder.owner != me && !self.ctx.shared.owner_live(&holder.owner)
        });
        if suspicious {
            for owner in replica.dead_owners(&self.ctx.shared) {
                self.expire_owner(replica, patience, &owner)?;
            }
        }
        Ok(())
    }

    #[cold]
    fn expire_owner(&self, replica: &mut Replica, patience: Patience, owner: &Owner) -> Result<()> {
        loop {
            let (all, _) = self.run(replica, patience, |op| {
                let jobs = op.machine.in_hand_of(owner);
                op.expire(&jobs, Ended::Expired)
            })?;
            if all {
                return Ok(());
            }
        }
    }

    /// A duty of the engine's thread: gives back what was dropped, ends what is over, and asks to be called again in time.
    pub(crate) fn tick(&self) {
        let shared = &self.ctx.shared;
        let patience = Patience::Until(Instant::now() + SHORT);
        let outcome = self.replica(Patience::None).and_then(|mut replica| {
            self.release_dropped(&mut replica, patience)?;
            replica.catch_up(&self.journal)?;
            self.count_leases(&mut replica, &shared.me());
            self.expire_the_dead(&mut replica, patience)?;
            self.expire_the_still(&mut replica, patience)?;
            self.expire_the_held(&mut replica, patience)
        });
        // Whoever works with the group now is quick. What fails for another reason fails for its users too, who are told.
        if matches!(outcome, Err(Error::WouldBlock | Error::Timeout { .. })) {
            shared.tick_at(monotonic_ns() + 2_000_000);
        }
    }

    /// Nothing is left to claim: who holds something is watched from soon on, not from when the next tick comes by itself.
    #[inline]
    pub(super) fn watch_soon(&self, replica: &mut Replica) {
        let (shared, me) = (&self.ctx.shared, self.ctx.shared.me());
        let mut holders = replica.machine.holders.iter();
        if replica.watched.owners.is_empty()
            && holders.any(|holder| holder.leased > 0 && holder.owner != me)
        {
            let now = monotonic_ns();
            if now >= replica.watched.next {
                replica.watched.next = now + step_ns(&replica.machine);
                shared.tick_at(replica.watched.next);
            }
        }
    }

    fn expire_the_still(&self, replica: &mut Replica, patience: Patience) -> Result<()> {
        let shared = &self.ctx.shared;
        let (now, me) = (monotonic_ns(), shared.me());
        let lease_ns = (replica.machine.lease() * 1e9) as u64;
        let step = step_ns(&replica.machine);
        let mut over = Vec::new();
        let Replica {
            machine, watched, ..
        } = replica;
        let others: Vec<Owner> = machine
            .holders
            .iter()
            .filter(|holder| holder.leased > 0 && holder.owner != me)
            .map(|holder| holder.owner)
            .collect();
        watched.owners.retain(|owner, _| others.contains(owner));
        for owner in &others {
            if let Some(beat) = shared.beat(owner) {
                if watched.stands_still(owner, beat, now, lease_ns.max(STILL_NS), 4 * step) {
                    over.push(*owner);
                }
            }
        }
        if !others.is_empty() {
            shared.tick_at(now + step);
        }
        for owner in over {
            self.expire_owner(replica, patience, &owner)?;
        }
        Ok(())
    }

    fn expire_the_held(&self, replica: &mut Replica, patience: Patience) -> Result<()> {
        let Some(bound) = replica.machine.max_hold() else {
            return Ok(());
        };
        let shared = &self.ctx.shared;
        let (now, me) = (monotonic_ns(), shared.me());
        if now < replica.holding.next || replica.machine.leased_by(&me) == 0 {
            return Ok(());
        }
        let jobs = replica.machine.in_hand_of(&me);
        let over = replica.holding.over(&jobs, now, (bound * 1e9) as u64);
        shared.tick_at(replica.holding.next);
        if !over.is_empty() {
            self.run(replica, patience, |op| {
                let still: Vec<_> = over
                    .iter()
                    .filter(|(lane, seq, job)| op.machine.holds(*lane, *seq, job.at).is_some())
                    .copied()
                    .collect();
                op.expire(&still, Ended::Held)
            })?;
            // Dead letters beyond what one operation may write are next.
            replica.holding.next = 0;
            shared.tick_at(now + 1_000_000);
        }
        Ok(())
    }

    /// After a claim: its heart beats often enough for this lease, and what is held for too long is seen in time.
    #[inline]
    pub(super) fn note_claim(&self, replica: &mut Replica, claim: u64) {
        let lease = replica.machine.lease();
        if lease < replica.beats_for {
            replica.beats_for = lease;
            self.beat_for_lease(lease);
        }
        if self.ctx.durability == Durability::Always {
            // Nobody waits for it, and nobody else would sync it.
            let soon = monotonic_ns() + self.ctx.interval.as_nanos() as u64;
            self.ctx.shared.work_at(soon);
        }
        if let Some(bound) = replica.machine.max_hold() {
            let now = monotonic_ns();
            replica.holding.claimed(claim, now);
            let until = now.saturating_add((bound * 1e9) as u64);
            replica.holding.next = replica.holding.next.min(until);
            self.ctx.shared.tick_at(until);
        }
    }

    /// The heart must beat several times within the lease that the others count.
    fn beat_for_lease(&self, lease: f64) {
        let often = Duration::from_secs_f64((lease / 8.0).clamp(0.001, 0.25));
        self.ctx.shared.beat_within(often);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWNER: Owner = Owner {
        session: 1,
        slot: 3,
        nonce: 5,
    };

    #[test]
    fn a_heart_that_stands_still_is_seen_after_the_lease() {
        let mut watched = Watched::default();
        let mut now = 1000;
        assert!(!watched.stands_still(&OWNER, 7, now, 100, 20));
        for _ in 0..9 {
            now += 10;
            assert!(!watched.stands_still(&OWNER, 7, now, 100, 20));
        }
        assert!(watched.stands_still(&OWNER, 7, now + 10, 100, 20));
        assert!(
            !watched.stands_still(&OWNER, 8, now + 20, 100, 20),
            "it beats again"
        );
    }

    #[test]
    fn the_time_in_which_the_observer_was_stopped_does_not_count() {
        let mut watched = Watched::default();
        assert!(!watched.stands_still(&OWNER, 7, 0, 100, 20));
        assert!(!watched.stands_still(&OWNER, 7, 1_000_000, 100, 20));
    }

    #[test]
    fn what_is_held_for_too_long_is_found_by_the_time_of_its_claim() {
        let mut holding = Holding::default();
        holding.claimed(10, 100);
        holding.claimed(20, 150);
        let job = |claim| {
            let mut job = Job::new(0, super::super::machine::State::Inflight, 0);
            job.at = claim;
            job
        };
        let jobs = [(0, 1, job(10)), (0, 2, job(20))];
        assert_eq!(holding.over(&jobs, 160, 100), vec![]);
        assert_eq!(holding.next, 200);
        let ticket = Ticket {
            claim: 20,
            lane: 0,
            seq: 2,
        };
        holding.extend(ticket, 400);
        assert_eq!(holding.over(&jobs, 260, 100), vec![(0, 1, job(10))]);
        assert_eq!(holding.over(&jobs[1..], 500, 100), vec![(0, 2, job(20))]);
        assert_eq!(holding.over(&jobs, 500, u64::MAX), vec![], "for ever");
    }
}
