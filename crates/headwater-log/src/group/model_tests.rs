//! The machine and its decisions against a small oracle, over random operations by several replicas (I6–I8 of the design).
//!
//! Over 500 lines: an oracle, and every operation that it is asked about.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use proptest::prelude::*;

use super::decide::{self, Feed, Head, Pick, Plan};
use super::entry::{Ended, Item, Writer};
use super::machine::{Machine, State};
use super::snapshot;
use crate::error::Result;
use crate::options::{GroupConfig, Ordering, RetryPolicy};
use crate::shared::Owner;

const SECOND: i64 = 1_000_000_000;

#[derive(Clone, Debug)]
enum Step {
    Put {
        lane: u8,
        key: u8,
        delay: u8,
        ttl: u8,
        gap: bool,
    },
    Claim {
        by: u8,
        max: u8,
    },
    Ack {
        which: usize,
    },
    Nack {
        which: usize,
        delay: u8,
        counted: bool,
    },
    Release {
        which: usize,
    },
    Die {
        by: u8,
    },
    Late {
        which: usize,
    },
    Cancel {
        which: usize,
    },
    Redrive,
    Pass {
        seconds: u8,
    },
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0u8..3, 0u8..5, 0u8..8, 0u8..12, any::<bool>())
            .prop_map(|(lane, key, delay, ttl, gap)| Step::Put { lane, key, delay: delay.saturating_sub(5), ttl, gap }),
        6 => (0u8..3, 1u8..5).prop_map(|(by, max)| Step::Claim { by, max }),
        5 => any::<usize>().prop_map(|which| Step::Ack { which }),
        2 => (any::<usize>(), 0u8..4, any::<bool>())
            .prop_map(|(which, delay, counted)| Step::Nack { which, delay, counted }),
        1 => any::<usize>().prop_map(|which| Step::Release { which }),
        1 => (0u8..3).prop_map(|by| Step::Die { by }),
        1 => any::<usize>().prop_map(|which| Step::Late { which }),
        1 => any::<usize>().prop_map(|which| Step::Cancel { which }),
        1 => Just(Step::Redrive),
        2 => (1u8..5).prop_map(|seconds| Step::Pass { seconds }),
        1 => Just(Step::Restart),
    ]
}

#[derive(Clone, Copy, Debug)]
struct Row {
    key: u64,
    due: Option<i64>,
    expires: Option<i64>,
}

#[derive(Default)]
struct Rows {
    lanes: BTreeMap<u8, BTreeMap<u64, Row>>,
}

fn head(seq: u64, row: &Row) -> Head {
    Head {
        seq,
        key: row.key,
        due: row.due,
        expires: row.expires,
    }
}

impl Feed for Rows {
    fn first(&mut self, _lane: u8) -> u64 {
        1
    }

    fn next(&mut self, lane: u8, from: u64) -> Result<Option<Head>> {
        Ok(self
            .lanes
            .get(&lane)
            .and_then(|rows| rows.range(from..).next())
            .map(|(seq, row)| head(*seq, row)))
    }

    fn get(&mut self, lane: u8, seq: u64, _note: u64) -> Result<Option<Head>> {
        Ok(self
            .lanes
            .get(&lane)
            .and_then(|rows| rows.get(&seq))
            .map(|row| head(seq, row)))
    }
}

#[derive(Clone, Copy, Debug)]
struct Hand {
    pick: Pick,
    claim: u64,
    by: u8,
}

/// What must be true, kept apart from the machine.
#[derive(Default)]
struct Oracle {
    acked: BTreeSet<(u8, u64)>,
    over: BTreeSet<(u8, u64)>,
    attempts: BTreeMap<(u8, u64), u32>,
    hands: Vec<Hand>,
    lost: Vec<Hand>,
}

struct World {
    ordering: Ordering,
    now: i64,
    rows: Rows,
    next: BTreeMap<u8, u64>,
    journal: Vec<(u64, i64, Vec<u8>)>,
    replicas: Vec<Machine>,
    oracle: Oracle,
}

fn owner(by: u8) -> Owner {
    Owner {
        session: 1,
        slot: u16::from(by),
        nonce: 77 + u64::from(by),
    }
}

fn same(a: &Machine, b: &Machine) {
    assert_eq!(a.counts, b.counts);
    assert_eq!(
        (a.acked, a.expired, a.applied, a.head, a.paused),
        (b.acked, b.expired, b.applied, b.head, b.paused)
    );
    assert_eq!(a.extra, b.extra);
    for (one, two) in a.lanes.iter().zip(&b.lanes) {
        assert_eq!(
            (one.cursor, one.made, one.turn),
            (two.cursor, two.made, two.turn)
        );
        assert_eq!(one.jobs, two.jobs);
        assert_eq!(one.busy, two.busy);
        assert_eq!(one.cancelled, two.cancelled);
    }
}

impl World {
    fn new(ordering: Ordering) -> Self {
        let mut world = Self {
            ordering,
            now: 1000 * SECOND,
            rows: Rows::default(),
            next: BTreeMap::new(),
            journal: Vec::new(),
            replicas: vec![Machine::default(); 3],
            oracle: Oracle::default(),
        };
        let config = GroupConfig {
            ordering: Some(ordering),
            retry: Some(RetryPolicy {
                max_attempts: Some(3),
                ..RetryPolicy::default()
            }),
            ..GroupConfig::default()
        };
        let mut writer = Writer::default();
        writer.config(&serde_json::to_vec(&config).unwrap());
        for lane in 0..3 {
            writer.lane(lane);
            writer.seek(lane, 1);
        }
        world.append(writer);
        world
    }

    fn append(&mut self, writer: Writer) -> u64 {
        let seq = self.journal.last().map_or(1, |(seq, _, _)| seq + 1);
        self.journal.push((seq, self.now, writer.bytes));
        seq
    }

    fn caught_up(&mut self, by: usize) -> &mut Machine {
        let applied = self.replicas[by].applied;
        for (seq, at, bytes) in self.journal.iter().filter(|(seq, _, _)| *seq > applied) {
            self.replicas[by].apply(*seq, *at, bytes).unwrap();
        }
        &mut self.replicas[by]
    }

    fn claim(&mut self, by: u8, max: usize) {
        self.caught_up(by as usize);
        let mut plan = Plan::default();
        decide::claim(
            &mut self.replicas[by as usize],
            &mut self.rows,
            self.now,
            max,
            &mut plan,
        )
        .unwrap();
        assert!(plan.picks.len() <= max);
        let (mut writer, mut items) = (Writer::default(), Vec::new());
        plan.write(&owner(by), &mut items, &mut writer);
        if writer.is_empty() {
            return;
        }
        let claim = self.append(writer);
        self.caught_up(by as usize);
        for pick in plan.picks {
            self.handed(Hand { pick, claim, by });
        }
    }

    /// A job is handed out: all that must hold then.
    fn handed(&mut self, hand: Hand) {
        let place = (hand.pick.lane, hand.pick.seq);
        let row = self.rows.lanes[&place.0][&place.1];
        assert!(
            !self.oracle.acked.contains(&place),
            "acked, and given out again"
        );
        assert!(
            !self.oracle.over.contains(&place),
            "finished, and given out again"
        );
        assert!(
            !self
                .oracle
                .hands
                .iter()
                .any(|other| (other.pick.lane, other.pick.seq) == place),
            "given out twice at a time"
        );
        assert!(
            row.due.is_none_or(|due| due <= self.now),
            "before it is due"
        );
        assert!(
            row.expires.is_none_or(|at| at > self.now),
            "after its time to live"
        );
        let before = self
            .oracle
            .attempts
            .insert(place, hand.pick.attempt)
            .unwrap_or(0);
        assert!(
            hand.pick.attempt >= before,
            "attempts fell from {before} to {}",
            hand.pick.attempt
        );
        match self.ordering {
            Ordering::None => {}
            Ordering::Total => assert!(self.oracle.hands.is_empty(), "one at a time"),
            Ordering::Key => {
                let others = self.oracle.hands.iter().filter(|other| {
                    other.pick.lane == place.0
                        && row.key != 0
                        && self.rows.lanes[&place.0][&other.pick.seq].key == row.key
                });
                assert_eq!(others.count(), 0, "two of one key at a time");
                if row.key != 0 && row.due.is_none() {
                    // Nothing earlier of the key may be open, but what was not due when it was passed, and dead letters that
                    // were sent again.
                    for (seq, other) in self.rows.lanes[&place.0].range(..place.1) {
                        let earlier = (place.0, *seq);
                        if other.key != row.key
                            || other.due.is_some()
                            || self.oracle.acked.contains(&earlier)
                        {
                            continue;
                        }
                        let open = self.replicas[hand.by as usize]
                            .job(place.0, *seq)
                            .is_some_and(|job| job.state != State::Dead && job.flags & 2 == 0);
                        assert!(
                            !open,
                            "{seq} of the same key is open, and {} was started",
                            place.1
                        );
                    }
                }
            }
        }
        self.oracle.hands.push(hand);
    }

    fn hand(&self, which: usize) -> Option<usize> {
        (!self.oracle.hands.is_empty()).then(|| which % self.oracle.hands.len())
    }

    fn put(&mut self, lane: u8, row: Row, gap: bool) {
        let next = self.next.entry(lane).or_insert(1);
        let seq = *next + if gap { 1 << 32 } else { 0 };
        *next = seq + 1;
        self.rows.lanes.entry(lane).or_default().insert(seq, row);
    }

    fn run(&mut self, step: &Step) {
        let policy = RetryPolicy {
            max_attempts: Some(3),
            ..RetryPolicy::default()
        };
        match *step {
            Step::Put {
                lane,
                key,
                delay,
                ttl,
                gap,
            } => {
                let due = (delay > 0).then(|| self.now + i64::from(delay) * SECOND);
                let expires =
                    (ttl > 8).then(|| due.unwrap_or(self.now) + i64::from(ttl - 8) * SECOND);
                self.put(
                    lane,
                    Row {
                        key: u64::from(key),
                        due,
                        expires,
                    },
                    gap,
                );
            }
            Step::Claim { by, max } => self.claim(by, max as usize),
            Step::Ack { which } => {
                let Some(index) = self.hand(which) else {
                    return;
                };
                let hand = self.oracle.hands.swap_remove(index);
                let machine = self.caught_up(hand.by as usize);
                assert!(machine
                    .holds(hand.pick.lane, hand.pick.seq, hand.claim)
                    .is_some());
                let mut writer = Writer::default();
                writer.ack(&[Item::one(hand.pick.lane, hand.pick.seq)]);
                self.append(writer);
                self.oracle.acked.insert((hand.pick.lane, hand.pick.seq));
            }
            Step::Nack {
                which,
                delay,
                counted,
            } => {
                let Some(index) = self.hand(which) else {
                    return;
                };
                let hand = self.oracle.hands.swap_remove(index);
                self.caught_up(hand.by as usize);
                let mut writer = Writer::default();
                if counted && decide::is_last(&policy, hand.pick.attempt) {
                    writer.dead(hand.pick.lane, hand.pick.seq, Ended::Error, 9);
                } else {
                    let due = self.now + i64::from(delay) * SECOND;
                    writer.nack(hand.pick.lane, hand.pick.seq, due, counted, 0);
                }
                self.append(writer);
            }
            Step::Release { which } => {
                let Some(index) = self.hand(which) else {
                    return;
                };
                let hand = self.oracle.hands.swap_remove(index);
                let mut writer = Writer::default();
                writer.release(&[Item::one(hand.pick.lane, hand.pick.seq)]);
                self.append(writer);
            }
            Step::Die { by } => {
                let survivor = ((by + 1) % 3) as usize;
                let machine = self.caught_up(survivor);
                let jobs = machine.in_hand_of(&owner(by));
                let (again, dead) = decide::expired(machine, &jobs);
                let mut writer = Writer::default();
                writer.expire(Ended::Expired, &again);
                for (lane, seq, _) in dead {
                    writer.dead(lane, seq, Ended::Expired, 9);
                }
                if !writer.is_empty() {
                    self.append(writer);
                }
                let (lost, kept) = self.oracle.hands.drain(..).partition(|hand| hand.by == by);
                self.oracle.hands = kept;
                self.oracle.lost.extend::<Vec<Hand>>(lost);
            }
            Step::Late { which } => {
                if self.oracle.lost.is_empty() {
                    return;
                }
                let hand = self.oracle.lost[which % self.oracle.lost.len()];
                let machine = self.caught_up(hand.by as usize);
                assert!(
                    machine
                        .holds(hand.pick.lane, hand.pick.seq, hand.claim)
                        .is_none(),
                    "a late ack is fenced"
                );
            }
            Step::Cancel { which } => {
                let all: Vec<(u8, u64)> = self
                    .rows
                    .lanes
                    .iter()
                    .flat_map(|(lane, rows)| rows.keys().map(|seq| (*lane, *seq)))
                    .collect();
                if all.is_empty() {
                    return;
                }
                let (lane, seq) = all[which % all.len()];
                let machine = self.caught_up(0);
                let waiting = machine
                    .job(lane, seq)
                    .is_some_and(|job| !matches!(job.state, State::Inflight | State::Dead));
                if seq >= machine.lanes[lane as usize].cursor || waiting {
                    let mut writer = Writer::default();
                    writer.cancel(lane, seq);
                    self.append(writer);
                    self.oracle.over.insert((lane, seq));
                }
            }
            Step::Redrive => {
                let machine = self.caught_up(1);
                let mut items = Vec::new();
                for (lane, state) in machine.lanes.iter().enumerate() {
                    for (seq, job) in &state.jobs {
                        if job.state == State::Dead {
                            items.push(Item::one(lane as u8, *seq));
                        }
                    }
                }
                for item in &items {
                    self.oracle.attempts.remove(&(item.lane, item.seq));
                }
                let mut writer = Writer::default();
                writer.redrive(&items);
                if !writer.is_empty() {
                    self.append(writer);
                }
            }
            Step::Pass { seconds } => self.now += i64::from(seconds) * SECOND,
            Step::Restart => {
                self.caught_up(2);
                let bytes = snapshot::encode(&self.replicas[2]);
                let loaded = snapshot::decode(&bytes, Path::new("snap")).unwrap();
                same(&loaded, &self.replicas[2]);
                // From here on this replica is snapshot and tail, the others all of the journal.
                self.replicas[2] = loaded;
            }
        }
    }

    /// Everybody dies, and one that is left works off all there is: every job that is neither acked, cancelled, dead nor
    /// expired comes.
    fn drain(&mut self) {
        for by in 0..3 {
            self.run(&Step::Die { by });
        }
        let mut idle = 0;
        while idle < 3 {
            let before = self.oracle.hands.len();
            self.claim(0, 100);
            if self.oracle.hands.len() == before {
                idle += 1;
                self.now += 400 * SECOND;
            } else {
                idle = 0;
            }
            while !self.oracle.hands.is_empty() {
                self.run(&Step::Ack { which: 0 });
            }
        }
        let expired_from = self.now;
        let machine = self.caught_up(0).clone();
        for (lane, rows) in &self.rows.lanes {
            for (seq, row) in rows {
                let place = (*lane, *seq);
                let done = self.oracle.acked.contains(&place)
                    || self.oracle.over.contains(&place)
                    || row.expires.is_some_and(|at| at <= expired_from)
                    || machine
                        .job(*lane, *seq)
                        .is_some_and(|job| job.state == State::Dead);
                assert!(
                    done,
                    "{place:?} {row:?} never came: {:?}",
                    machine.job(*lane, *seq)
                );
            }
        }
        assert_eq!(machine.acked as usize, self.oracle.acked.len());
        for by in 1..3 {
            let other = self.caught_up(by).clone();
            same(&machine, &other);
        }
    }
}

fn check(ordering: Ordering, steps: &[Step]) {
    let mut world = World::new(ordering);
    for step in steps {
        world.run(step);
    }
    world.drain();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn without_order(steps in proptest::collection::vec(step(), 1..120)) {
        check(Ordering::None, &steps);
    }

    #[test]
    fn by_key(steps in proptest::collection::vec(step(), 1..120)) {
        check(Ordering::Key, &steps);
    }

    #[test]
    fn total(steps in proptest::collection::vec(step(), 1..120)) {
        check(Ordering::Total, &steps);
    }

    #[test]
    fn a_snapshot_is_read_or_refused(cut in any::<usize>(), flip in any::<usize>(), steps in proptest::collection::vec(step(), 1..30)) {
        let mut world = World::new(Ordering::Key);
        for step in &steps {
            world.run(step);
        }
        let bytes = snapshot::encode(world.caught_up(0));
        prop_assert!(snapshot::decode(&bytes[..cut % bytes.len()], Path::new("snap")).is_err());
        let mut flipped = bytes.clone();
        flipped[flip % bytes.len()] ^= 1 << (flip % 8);
        prop_assert!(snapshot::decode(&flipped, Path::new("snap")).is_err());
    }
}

/// 100 messages that fail at every attempt do not hold up new ones by more than half (conformance 20).
#[test]
fn retries_take_at_most_every_second_claim() {
    let mut world = World::new(Ordering::None);
    for _ in 0..100 {
        world.put(
            0,
            Row {
                key: 0,
                due: None,
                expires: None,
            },
            false,
        );
    }
    world.claim(0, 100);
    while !world.oracle.hands.is_empty() {
        world.run(&Step::Nack {
            which: 0,
            delay: 0,
            counted: false,
        });
        let place = *world.oracle.attempts.keys().next().unwrap();
        world.oracle.attempts.remove(&place);
    }
    // Not counted: back to no attempts, so they are as new ones. Count them now.
    world.oracle.attempts.clear();
    world.claim(0, 100);
    while !world.oracle.hands.is_empty() {
        world.run(&Step::Nack {
            which: 0,
            delay: 0,
            counted: true,
        });
    }
    for _ in 0..100 {
        world.put(
            0,
            Row {
                key: 0,
                due: None,
                expires: None,
            },
            false,
        );
    }
    world.claim(1, 100);
    let new = world
        .oracle
        .hands
        .iter()
        .filter(|hand| hand.pick.seq > 100)
        .count();
    assert_eq!(new, 50);
}
