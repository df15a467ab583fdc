//! Queues through the engine: lanes, delays, times to live, batches, cancelling, in one process and over reopening.

mod common;

use std::time::{Duration, Instant};

use common::jobs::*;
use headwater_log::group::{JobId, OnDuplicate};
use headwater_log::log::Record;
use headwater_log::options::{Durability, OpenOptions};
use headwater_log::stream::Wait;
use headwater_log::{Engine, Error};

#[test]
fn the_highest_lane_first_and_in_order_within_one() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    let jobs = queue(&engine);
    for (n, priority) in [0u8, 9, 3, 0, 9, 3, 1].iter().enumerate() {
        let id = put(&jobs, Record::of(n.to_string().as_bytes()), *priority).unwrap();
        assert_eq!(id.lane, *priority);
    }
    engine.close().unwrap();
    let engine = open(dir.path());
    let jobs = engine.open_queue("jobs").unwrap();
    let first = claim(&jobs, 1);
    assert_eq!(values(&first), ["1"]);
    // One that comes later and is more urgent goes first.
    put(&jobs, Record::of(b"urgent"), 9).unwrap();
    put(&jobs, Record::of(b"soon"), 4).unwrap();
    assert_eq!(
        values(&claim(&jobs, 100)),
        ["4", "urgent", "soon", "2", "5", "6", "0", "3"]
    );
    assert!(matches!(
        put(&jobs, Record::of(b"x"), 10),
        Err(Error::Usage(_))
    ));
}

#[test]
fn what_is_delayed_is_never_early_and_holds_up_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    let jobs = queue(&engine);
    let at = |wait: Duration| Record {
        due_ns: Some(now_ns() + ns(wait)),
        ..Record::default()
    };
    let began = now_ns();
    let delays = [3_600_000u64, 150, 60, 250];
    for delay in delays {
        let text = delay.to_string();
        let record = Record {
            value: text.as_bytes(),
            ..at(delay as u32 * MS)
        };
        put(&jobs, record, 0).unwrap();
    }
    plain(&jobs, b"0");
    put(
        &jobs,
        Record {
            due_ns: Some(1),
            ..Record::of(b"past")
        },
        0,
    )
    .unwrap();
    let mut got = Vec::new();
    while got.len() < 5 {
        for (ticket, value) in claim(&jobs, 10) {
            let waited = now_ns() - began;
            let text = String::from_utf8(value).unwrap();
            let delay: i64 = text.parse().unwrap_or(0);
            assert!(waited >= delay * 1_000_000, "{text} after {waited} ns");
            assert!(
                waited < delay * 1_000_000 + 200_000_000,
                "{text} after {waited} ns"
            );
            got.push(text);
            jobs.source().ack(&[ticket]).unwrap();
        }
        std::thread::sleep(MS);
    }
    assert_eq!(got, ["0", "past", "60", "150", "250"]);
}

#[test]
fn a_time_to_live_counts_from_when_it_is_due() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    let jobs = queue(&engine);
    let short = Some(ns(100 * MS));
    let records = [
        Record {
            ttl_ns: short,
            ..Record::of(b"expires")
        },
        Record {
            ttl_ns: short,
            due_ns: Some(now_ns() + ns(100 * MS)),
            ..Record::of(b"delayed, expires")
        },
        // As if it had been due for long: it is due now, and lives from now on.
        Record {
            ttl_ns: Some(ns(3_600_000 * MS)),
            due_ns: Some(1),
            ..Record::of(b"past, stays")
        },
        Record {
            ttl_ns: short,
            due_ns: Some(now_ns() + ns(300 * MS)),
            ..Record::of(b"later, stays")
        },
    ];
    for record in records {
        put(&jobs, record, 0).unwrap();
    }
    std::thread::sleep(320 * MS);
    assert_eq!(values(&claim(&jobs, 10)), ["past, stays", "later, stays"]);
}

#[test]
fn a_job_is_cancelled_before_it_is_claimed_only() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    let jobs = queue(&engine);
    let due = Record {
        due_ns: Some(now_ns() + ns(50 * MS)),
        ..Record::of(b"delayed")
    };
    let (ready, kept, delayed) = (
        plain(&jobs, b"ready"),
        plain(&jobs, b"kept"),
        put(&jobs, due, 0).unwrap(),
    );
    assert!(jobs.cancel(ready).unwrap());
    assert!(!jobs.cancel(ready).unwrap());
    let held = claim(&jobs, 10);
    assert_eq!(values(&held), ["kept"]);
    assert_eq!(id(&held[0].0), kept);
    assert!(!jobs.cancel(kept).unwrap(), "in somebody's hands");
    assert!(jobs.cancel(delayed).unwrap(), "known to be delayed");
    ack(&jobs, &held);
    assert!(!jobs.cancel(kept).unwrap(), "done");
    for never in [
        JobId { lane: 0, seq: 99 },
        JobId { lane: 4, seq: 1 },
        JobId { lane: 0, seq: 0 },
    ] {
        assert!(matches!(jobs.cancel(never), Err(Error::NotFound { .. })));
    }
    std::thread::sleep(60 * MS);
    assert!(claim(&jobs, 10).is_empty());
}

#[test]
fn a_purge_finishes_all_but_what_is_in_hand() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    let jobs = queue(&engine);
    for n in 0..10 {
        put(&jobs, Record::of(b"x"), n % 3).unwrap();
    }
    let cancelled = plain(&jobs, b"cancelled");
    let held = claim(&jobs, 2);
    assert!(jobs.cancel(cancelled).unwrap());
    assert_eq!(jobs.purge().unwrap(), 8);
    assert!(claim(&jobs, 10).is_empty());
    ack(&jobs, &held);
    assert_eq!(jobs.purge().unwrap(), 0);
    let after = plain(&jobs, b"after");
    assert_eq!(id(&claim(&jobs, 10)[0].0), after);
}

#[test]
fn a_batch_has_an_outcome_for_each_and_an_atomic_one_for_all() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::open(&OpenOptions {
        max_record_bytes: 1000,
        ..OpenOptions::new(dir.path())
    })
    .unwrap();
    let jobs = queue(&engine);
    let large = vec![7u8; 2000];
    let records = [
        Record::of(b"a"),
        Record::of(&large),
        unique(b"u", "u"),
        Record::of(b"high"),
        unique(b"u again", "u"),
        Record::of(b"no such priority"),
    ];
    let done = jobs
        .put_many(
            &records,
            &[0, 0, 2, 9, 0, 10],
            OnDuplicate::Return,
            false,
            soon(),
        )
        .unwrap();
    assert!(matches!(done[1], Err(Error::TooLarge { .. })));
    assert!(matches!(done[5], Err(Error::Usage(_))));
    let put = |n: usize| *done[n].as_ref().unwrap();
    assert_eq!((put(0).id.lane, put(3).id.lane), (0, 9));
    assert_eq!(put(2).id, put(4).id);
    assert!(put(4).duplicate && !put(2).duplicate);
    assert_eq!(values(&claim(&jobs, 10)), ["high", "u", "a"]);

    let twice = [unique(b"1", "t"), unique(b"2", "t"), unique(b"3", "u")];
    let done = jobs
        .put_many(&twice, &[1; 3], OnDuplicate::Return, true, soon())
        .unwrap();
    let ids: Vec<JobId> = done.iter().map(|one| one.as_ref().unwrap().id).collect();
    assert_eq!(ids[0], ids[1]);
    assert_eq!(ids[2], put(2).id);
    assert_eq!(values(&claim(&jobs, 10)), ["1"]);
    for (records, priorities) in [
        (&[Record::of(b"x"), Record::of(b"y")], [0u8, 1]),
        (&[Record::of(b"x"), Record::of(&large)], [0, 0]),
    ] {
        assert!(jobs
            .put_many(records, &priorities, OnDuplicate::Return, true, soon())
            .is_err());
    }
    assert!(
        claim(&jobs, 10).is_empty(),
        "nothing of a refused batch is there"
    );
}

#[test]
fn a_deleted_queue_is_gone_and_a_new_one_of_its_name_is_empty() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    let jobs = queue(&engine);
    put(&jobs, unique(b"x", "u"), 3).unwrap();
    plain(&jobs, b"y");
    // Lane 0 is the queue's own log.
    let found = dir
        .path()
        .join("q")
        .read_dir()
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    assert!(found.join("l3").exists() && !found.join("l0").exists());
    assert_eq!(engine.objects().unwrap().len(), 1);
    engine.delete("queue", "jobs").unwrap();
    for outcome in [
        put(&jobs, Record::of(b"x"), 0),
        put(&jobs, Record::of(b"x"), 3),
        put(&jobs, Record::of(b"x"), 5),
        put(&jobs, unique(b"x", "u"), 0),
    ] {
        assert!(
            matches!(outcome, Err(Error::NotFound { .. })),
            "{outcome:?}"
        );
    }
    assert!(matches!(
        engine.open_queue("jobs"),
        Err(Error::NotFound { .. })
    ));
    let jobs = queue(&engine);
    assert!(claim(&jobs, 10).is_empty());
    let fresh = put(&jobs, unique(b"x", "u"), 3).unwrap();
    assert_eq!(fresh, JobId { lane: 3, seq: 1 });
    assert_eq!(values(&claim(&jobs, 10)), ["x"]);
}

#[test]
fn in_memory_it_is_the_same() {
    let engine = Engine::memory(None, &OpenOptions::new("memory:")).unwrap();
    let jobs = queue(&engine);
    put(&jobs, unique(b"low", "u"), 0).unwrap();
    put(&jobs, unique(b"x", "u"), 0).unwrap();
    put(&jobs, Record::of(b"high"), 9).unwrap();
    let held = claim(&jobs, 10);
    assert_eq!(values(&held), ["high", "low"]);
    ack(&jobs, &held);
}

#[test]
fn always_means_that_the_job_is_on_the_disk_before_anybody_does_it() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::open(&OpenOptions {
        durability: Some(Durability::Always),
        ..OpenOptions::new(dir.path())
    })
    .unwrap();
    let jobs = queue(&engine);
    let wait = || Wait::Until(soon());
    let done = jobs
        .put(&unique(b"x", "u"), 4, OnDuplicate::Return, wait())
        .unwrap();
    assert!(!jobs.durable(&done));
    assert!(claim(&jobs, 10).is_empty());
    // Whoever is told of the first one is told of something that may still be lost, and waits for it too.
    let again = jobs
        .put(&unique(b"x", "u"), 0, OnDuplicate::Return, wait())
        .unwrap();
    assert!(again.duplicate && !jobs.durable(&again));
    jobs.wait_durable(&again, Some(soon())).unwrap();
    assert!(jobs.durable(&done));
    let held = claim(&jobs, 10);
    assert_eq!(values(&held), ["x"]);
    ack(&jobs, &held);
}

#[test]
fn in_memory_too_who_waits_hears_of_a_job_in_a_lane_that_is_new() {
    let engine = Engine::memory(None, &OpenOptions::new("memory:")).unwrap();
    let queue = queue(&engine);
    let waiting = std::thread::spawn({
        let (engine, queue) = (engine.clone(), queue.clone());
        move || loop {
            let bell = engine.bell();
            queue.source().arm();
            if !claim(&queue, 1).is_empty() {
                return;
            }
            let deadline = Instant::now() + Duration::from_secs(10);
            assert!(engine.wait_bell(bell, Some(deadline)), "nobody rang");
        }
    });
    std::thread::sleep(50 * MS);
    let began = Instant::now();
    put(&queue, Record::of(b"urgent"), 7).unwrap();
    waiting.join().unwrap();
    assert!(began.elapsed() < Duration::from_secs(5));
}
