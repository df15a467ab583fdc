//! Snapshots and the journal behind them: whatever is deleted or damaged, the same answers or an error.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::core::Core;
use super::lanes::Lanes;
use super::replica::snapshots;
use super::types::{ErrorNote, Nack, SourceStats, Ticket};
use super::Source;
use crate::engine::Engine;
use crate::error::Error;
use crate::log::Record;
use crate::options::{GroupConfig, OpenOptions, Ordering, RetryPolicy, StreamConfig};
use crate::storage::Disk;
use crate::stream::Wait;

/// All that one can ask of it: its counts, its dead letters with what was said, and the attempts and positions that would come next.
type Answers = (SourceStats, Vec<(u64, String)>, Vec<(u32, u64)>);
type Damage = fn(&Path);

struct World {
    engine: Engine,
    group: Source,
    dir: PathBuf,
}

impl World {
    fn open(dir: &Path) -> Self {
        Self::try_open(dir).unwrap()
    }

    fn try_open(dir: &Path) -> crate::error::Result<Self> {
        let engine = Engine::open(&OpenOptions::new(dir))?;
        engine.declare_stream("orders", &StreamConfig::default())?;
        let config = GroupConfig {
            ordering: Some(Ordering::Key),
            retry: Some(RetryPolicy {
                max_attempts: Some(2),
                delay: 0.0,
                ..RetryPolicy::default()
            }),
            ..GroupConfig::default()
        };
        let (group, _) = engine.declare_group("orders", "billing", &config)?;
        Ok(Self {
            dir: group.core.journal.dir.clone(),
            engine,
            group,
        })
    }

    fn append(&self, from: u64, to: u64) {
        let stream = self.engine.open_stream("orders").unwrap();
        for n in from..to {
            let (key, value) = (format!("k{}", n % 10), n.to_string());
            let record = Record {
                key: Some(key.as_bytes()),
                ..Record::of(value.as_bytes())
            };
            let wait = Wait::Until(Instant::now() + Duration::from_secs(20));
            stream.append(&record, &Default::default(), wait).unwrap();
        }
    }

    fn claim(&self, max: usize) -> Vec<(Ticket, u64)> {
        let mut got = Vec::new();
        self.group
            .claim(max, &mut |ticket, _, _, record| {
                let number = std::str::from_utf8(record.value).unwrap().parse().unwrap();
                got.push((ticket, number));
            })
            .unwrap();
        got
    }

    /// Of each ten: the first fails and dies, two stay in hand, the others are acked; so often as there are records.
    fn work(&self, rounds: u64) {
        for _ in 0..rounds {
            let got = self.claim(10);
            for (place, (ticket, _)) in got.iter().enumerate() {
                let error = Some(ErrorNote {
                    kind: "ValueError".to_owned(),
                    message: format!("no {}", ticket.seq),
                    ..ErrorNote::default()
                });
                match place {
                    0 => assert!(self.group.reject(*ticket, "bad", error.as_ref()).unwrap()),
                    1 => drop(
                        self.group
                            .nack(
                                *ticket,
                                &Nack {
                                    error,
                                    counted: true,
                                    ..Nack::default()
                                },
                            )
                            .unwrap(),
                    ),
                    2 => {}
                    _ => assert!(self.group.ack_one(*ticket).unwrap()),
                }
            }
            let held: Vec<Ticket> = got.get(2).map(|(ticket, _)| *ticket).into_iter().collect();
            self.group.release(&held).unwrap();
        }
    }

    fn answers(&self) -> Answers {
        let stats = SourceStats {
            oldest_age_ns: None,
            ..self.group.stats().unwrap()
        };
        let letters = self.group.dead_list(None, 10_000).unwrap();
        let letters = letters
            .iter()
            .map(|letter| {
                let said = letter.error.as_ref().map(|error| error.message.clone());
                (letter.id.seq, said.unwrap_or_default())
            })
            .collect();
        let mut next = Vec::new();
        let mut tickets = Vec::new();
        self.group
            .claim(50, &mut |ticket, attempt, _, _| {
                next.push((attempt, ticket.seq));
                tickets.push(ticket);
            })
            .unwrap();
        self.group.release(&tickets).unwrap();
        (stats, letters, next)
    }

    fn snapshots(&self) -> Vec<PathBuf> {
        snapshots(&Disk, &self.dir)
            .unwrap()
            .iter()
            .map(|n| self.dir.join(format!("snap-{n:020}")))
            .collect()
    }
}

fn flip(path: &Path, at: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    let at = at % bytes.len();
    bytes[at] ^= 0x10;
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn without_the_newest_snapshot_the_answers_are_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::open(dir.path());
    world.append(0, 300);
    world.work(5);
    world.group.core.take_snapshot().unwrap();
    world.work(5);
    world.group.core.take_snapshot().unwrap();
    world.work(5);
    let expected = world.answers();
    assert!(expected.0.dead >= 10 && !expected.2.is_empty());
    let damage: [(&str, Damage); 6] = [
        ("untouched", |_| {}),
        ("a flipped bit", |path| flip(path, 77)),
        ("cut", |path| {
            std::fs::write(path, &std::fs::read(path).unwrap()[..40]).unwrap()
        }),
        ("empty", |path| std::fs::write(path, b"").unwrap()),
        ("foreign", |path| {
            std::fs::write(path, [0xAB; 5000]).unwrap()
        }),
        ("deleted", |path| std::fs::remove_file(path).unwrap()),
    ];
    let mut world = world;
    for (what, damage) in damage {
        let newest = world.snapshots()[0].clone();
        assert_eq!(world.snapshots().len(), 2, "two are kept");
        let kept = std::fs::read(&newest).unwrap();
        world.engine.close().unwrap();
        damage(&newest);
        world = World::open(dir.path());
        assert_eq!(world.answers(), expected, "{what}");
        world.engine.close().unwrap();
        std::fs::write(&newest, kept).unwrap();
        world = World::open(dir.path());
    }
}

#[test]
fn without_any_snapshot_the_journal_tells_all_or_it_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::open(dir.path());
    // More than one segment of the journal.
    world.append(0, 3000);
    world.work(280);
    world.group.core.take_snapshot().unwrap();
    world.work(3);
    let expected = world.answers();
    let [only] = &world.snapshots()[..] else {
        panic!("one snapshot");
    };
    let only = only.clone();
    world.engine.close().unwrap();
    flip(&only, 1000);
    let world = World::open(dir.path());
    assert_eq!(world.answers(), expected);
    let core = &world.group.core;
    assert!(core.journal.segment_bases().unwrap().len() > 2);
    core.journal
        .trim(core.journal.segment_bases().unwrap()[1])
        .unwrap();
    world.engine.close().unwrap();
    let error = World::try_open(dir.path()).err().unwrap();
    assert!(matches!(error, Error::Corruption { .. }), "{error}");
}

/// A second replica of the same group, as another process has it.
fn another(world: &World) -> Arc<Core> {
    let core = &world.group.core;
    let log = core.lanes.lane(0).unwrap().unwrap();
    Core::open(
        &core.ctx,
        "another".to_owned(),
        Arc::clone(&core.journal),
        Arc::clone(&core.notes),
        Lanes::of_stream(log),
        |_| Ok(()),
    )
    .unwrap()
}

#[test]
fn a_replica_that_was_left_behind_begins_again() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::open(dir.path());
    world.append(0, 3000);
    world.work(1);
    let behind = Source::new(another(&world));
    assert_eq!(behind.lag().unwrap(), world.group.lag().unwrap());
    world.work(280);
    let core = &world.group.core;
    core.take_snapshot().unwrap();
    // As if the journals of days had been let go of meanwhile.
    let last = *core.journal.segment_bases().unwrap().last().unwrap();
    assert!(last > 1);
    core.journal.trim(last).unwrap();
    world.work(1);
    let stats = |source: &Source| SourceStats {
        oldest_age_ns: None,
        ..source.stats().unwrap()
    };
    assert_eq!(stats(&behind), stats(&world.group));
    assert_eq!(
        behind.dead_list(None, 9999).unwrap().len(),
        world.group.dead_list(None, 9999).unwrap().len()
    );
}

#[test]
fn a_damaged_journal_is_an_error_every_time() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::open(dir.path());
    world.append(0, 100);
    world.work(3);
    let base = world.group.core.journal.segment_bases().unwrap()[0];
    let path = world.dir.join(format!("{base:020}.jrn"));
    // In the first frames, well below the tail.
    flip(&path, 4096 + 200);
    let core = &world.group.core;
    let log = core.lanes.lane(0).unwrap().unwrap();
    let opened = Core::open(
        &core.ctx,
        "another".to_owned(),
        Arc::clone(&core.journal),
        Arc::clone(&core.notes),
        Lanes::of_stream(log),
        |_| Ok(()),
    );
    assert!(matches!(opened.err(), Some(Error::Corruption { .. })));
    // Who has read it goes on.
    world.work(1);
}

#[test]
fn notes_that_nothing_names_are_let_go_of_and_the_others_stay() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::open(dir.path());
    world.append(0, 2000);
    let core = &world.group.core;
    world.work(100);
    let letters = world.group.dead_list(None, 9999).unwrap();
    assert!(letters.len() >= 100);
    assert_eq!(world.group.dead_purge().unwrap(), letters.len());
    core.take_snapshot().unwrap();
    // Only those of jobs that are still to be tried again are kept.
    let first = core.notes.first_seq();
    assert!(first > 1);
    world.work(5);
    core.take_snapshot().unwrap();
    let (_, letters, _) = world.answers();
    world.engine.close().unwrap();
    let world = World::open(dir.path());
    assert_eq!(world.answers().1, letters);
    assert!(world.group.core.notes.first_seq() >= first);
    assert_eq!(world.group.core.journal.first_seq(), 1);
}

#[test]
fn a_note_that_is_younger_than_the_snapshot_is_kept_also_where_its_entry_comes_later() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::open(dir.path());
    let core = &world.group.core;
    world.append(0, 30);
    let got = world.claim(10);
    let now = core.state_now().unwrap();
    let long = "x".repeat(200 << 10);
    let error = ErrorNote {
        kind: "ValueError".to_owned(),
        message: long,
        ..ErrorNote::default()
    };
    for (ticket, _) in &got {
        assert!(world.group.reject(*ticket, "bad", Some(&error)).unwrap());
    }
    assert!(core.notes.segment_bases().unwrap().len() > 2);
    core.keep_snapshot(now).unwrap();
    let dead = world.group.dead_list(None, 100).unwrap();
    assert_eq!(dead.len(), 10);
    assert!(dead.iter().all(|letter| letter.error.is_some()));
}
