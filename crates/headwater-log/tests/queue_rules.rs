//! What a queue's options ask of a put: unique keys, a greatest length; and what is stored of them.

mod common;

use common::jobs::*;
use headwater_log::group::OnDuplicate;
use headwater_log::log::Record;
use headwater_log::options::{GroupConfig, Ordering, QueueConfig};
use headwater_log::queue::Queue;
use headwater_log::stream::Wait;
use headwater_log::Error;

#[test]
fn a_unique_key_is_taken_while_its_job_is_unfinished() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    let jobs = queue(&engine);
    let first = put(&jobs, unique(b"1", "u"), 0).unwrap();
    let again = |jobs: &Queue, priority| put(jobs, unique(b"x", "u"), priority).unwrap();
    assert_eq!(again(&jobs, 0), first);
    assert_eq!(again(&jobs, 5), first, "whatever the priority");
    assert_ne!(put(&jobs, unique(b"other", "v"), 0).unwrap(), first);
    let raised = jobs.put(
        &unique(b"x", "u"),
        0,
        OnDuplicate::Raise,
        Wait::Until(soon()),
    );
    assert!(matches!(raised, Err(Error::Duplicate { first: id }) if id == first.to_string()));
    let held = claim(&jobs, 10);
    assert_eq!(values(&held), ["1", "other"]);
    assert_eq!(again(&jobs, 0), first, "leased");
    ack(&jobs, &held);
    let second = again(&jobs, 5);
    assert_ne!(second, first, "done");
    assert_eq!(second.lane, 5);
    assert_eq!(again(&jobs, 0), second, "in another lane than before");
    assert!(jobs.cancel(second).unwrap());
    let third = again(&jobs, 0);
    assert_ne!(third, second, "cancelled");
    engine.close().unwrap();

    // The index is made anew from the records.
    let engine = open(dir.path());
    let jobs = engine.open_queue("jobs").unwrap();
    assert_eq!(again(&jobs, 0), third);
    let held = claim(&jobs, 10);
    assert_eq!(held.len(), 1);
    ack(&jobs, &held);
    assert_ne!(again(&jobs, 0), third);
}

#[test]
fn a_key_whose_job_has_expired_is_free_also_when_nobody_has_looked() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    let jobs = queue(&engine);
    let record = Record {
        ttl_ns: Some(ns(50 * MS)),
        ..unique(b"x", "u")
    };
    let first = put(&jobs, record, 0).unwrap();
    assert_eq!(put(&jobs, unique(b"x", "u"), 0).unwrap(), first);
    std::thread::sleep(60 * MS);
    assert_ne!(put(&jobs, unique(b"x", "u"), 0).unwrap(), first);
}

#[test]
fn with_a_window_a_key_is_taken_for_its_time_whatever_becomes_of_the_job() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    let config = QueueConfig {
        unique_for: Some(Some(0.4)),
        ..QueueConfig::default()
    };
    let jobs = declare(&engine, &config);
    let first = put(&jobs, unique(b"x", "u"), 0).unwrap();
    let held = claim(&jobs, 1);
    ack(&jobs, &held);
    assert_eq!(put(&jobs, unique(b"x", "u"), 0).unwrap(), first);
    engine.close().unwrap();
    let engine = open(dir.path());
    let jobs = engine.open_queue("jobs").unwrap();
    assert_eq!(put(&jobs, unique(b"x", "u"), 0).unwrap(), first);
    std::thread::sleep(420 * MS);
    assert_ne!(put(&jobs, unique(b"x", "u"), 0).unwrap(), first);
}

#[test]
fn a_full_queue_says_so_and_takes_more_once_some_are_done() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    let config = QueueConfig {
        max_length: Some(Some(5)),
        ..QueueConfig::default()
    };
    let jobs = declare(&engine, &config);
    for n in 0..5 {
        put(&jobs, Record::of(b"x"), n % 2).unwrap();
    }
    let full = |jobs: &Queue| {
        matches!(
            put(jobs, Record::of(b"x"), 0),
            Err(Error::Full { limit: 5, .. })
        )
    };
    assert!(full(&jobs));
    let held = claim(&jobs, 2);
    assert!(full(&jobs), "who is in hand counts");
    ack(&jobs, &held);
    let records = [Record::of(b"x"); 3];
    let all = jobs.put_many(&records, &[0; 3], OnDuplicate::Return, true, soon());
    assert!(matches!(all, Err(Error::Full { .. })), "all or none");
    let each = jobs
        .put_many(&records, &[0, 7, 0], OnDuplicate::Return, false, soon())
        .unwrap();
    assert!(each[0].is_ok() && each[1].is_ok());
    assert!(matches!(each[2], Err(Error::Full { .. })));
    engine.close().unwrap();
    let engine = open(dir.path());
    let jobs = engine.open_queue("jobs").unwrap();
    assert!(full(&jobs), "also after reopening");
    assert_eq!(jobs.purge().unwrap(), 5);
    plain(&jobs, b"fits");
}

#[test]
fn options_are_as_stored_unless_they_are_given() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    let asked = QueueConfig {
        group: GroupConfig {
            ordering: Some(Ordering::Key),
            lease: Some(7.0),
            ..GroupConfig::default()
        },
        unique_for: Some(Some(60.0)),
        max_length: Some(Some(2)),
    };
    let (jobs, before) = engine.declare_queue("jobs", &asked).unwrap();
    assert!(before.is_none());
    assert_eq!(jobs.config().unwrap(), asked);
    plain(&jobs, b"x");
    plain(&jobs, b"x");
    // Nothing given changes nothing; another process that had it open obeys what is given.
    let other = open(dir.path());
    let (same, before) = other
        .declare_queue("jobs", &QueueConfig::default())
        .unwrap();
    assert_eq!(before.unwrap(), asked);
    assert!(matches!(
        put(&same, Record::of(b"x"), 0),
        Err(Error::Full { .. })
    ));
    let more = QueueConfig {
        unique_for: Some(None),
        max_length: Some(Some(3)),
        ..QueueConfig::default()
    };
    let before = same.alter(&more).unwrap();
    assert_eq!(before, asked);
    plain(&jobs, b"fits");
    assert!(matches!(
        put(&jobs, Record::of(b"x"), 0),
        Err(Error::Full { limit: 3, .. })
    ));
    let config = jobs.config().unwrap();
    assert_eq!(config.group, asked.group);
    assert_eq!(config.unique_for.flatten(), None);
    assert_eq!(config.max_length, Some(Some(3)));
    // The ordering never changes.
    let total = QueueConfig {
        group: GroupConfig {
            ordering: Some(Ordering::Total),
            ..GroupConfig::default()
        },
        ..QueueConfig::default()
    };
    assert!(matches!(
        engine.declare_queue("jobs", &total),
        Err(Error::Declaration { .. })
    ));
    // An unlimited queue takes the short way again.
    jobs.alter(&QueueConfig {
        max_length: Some(None),
        ..QueueConfig::default()
    })
    .unwrap();
    assert!(jobs
        .put(&Record::of(b"x"), 0, OnDuplicate::Return, Wait::Try)
        .is_ok());
    drop((jobs, same, engine, other));
    let engine = open(dir.path());
    let listed = engine.objects().unwrap();
    assert_eq!(listed[0].kind, "queue");
    assert_eq!(listed[0].config["group"]["lease"], 7.0);
    assert_eq!(
        engine.open_queue("jobs").unwrap().config().unwrap().group,
        asked.group
    );
}
