//! Groups over an engine, in one process: what is handed out, in which order, and how they are steered.

mod common;

use std::time::Duration;

use common::groups::{append, claim, memory, ordered, retry, some, values, within};
use headwater_log::group::{SeekTo, Ticket};
use headwater_log::log::Record;
use headwater_log::options::{
    Durability, GroupConfig, GroupStart, OpenOptions, Ordering, StreamConfig,
};
use headwater_log::stream::{Conditions, Wait};
use headwater_log::{Engine, Error};

#[test]
fn what_is_claimed_is_claimed_once_and_what_is_acked_never_comes_again() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::open(&OpenOptions::new(dir.path())).unwrap();
    let (stream, _) = engine
        .declare_stream("orders", &StreamConfig::default())
        .unwrap();
    let (group, before) = engine
        .declare_group("orders", "billing", &ordered(Ordering::None))
        .unwrap();
    assert_eq!(before, None);
    assert_eq!(claim(&group, 10), vec![]);
    for n in 0..5 {
        append(&stream, None, &n.to_string());
    }
    let first = claim(&group, 2);
    assert_eq!(values(&first), ["0", "1"]);
    let rest = claim(&group, 10);
    assert_eq!(values(&rest), ["2", "3", "4"]);
    assert_eq!(claim(&group, 10), vec![]);
    let tickets: Vec<Ticket> = first.iter().chain(&rest).map(|got| got.ticket).collect();
    assert_eq!(group.ack(&tickets).unwrap(), vec![true; 5]);
    assert_eq!(
        group.ack(&tickets[..1]).unwrap(),
        vec![false],
        "done already"
    );
    drop(group);
    engine.close().unwrap();
    let engine = Engine::open(&OpenOptions::new(dir.path())).unwrap();
    let group = engine.open_group("orders", "billing").unwrap();
    assert_eq!(claim(&group, 10), vec![], "a new session knows it");
}

#[test]
fn one_key_comes_one_at_a_time_in_order() {
    let engine = Engine::memory(None, &OpenOptions::new("memory:")).unwrap();
    let (stream, _) = engine
        .declare_stream("orders", &StreamConfig::default())
        .unwrap();
    let (group, _) = engine
        .declare_group("orders", "billing", &ordered(Ordering::Key))
        .unwrap();
    for n in 0..6 {
        append(&stream, Some(["a", "b"][n % 2]), &n.to_string());
    }
    let got = claim(&group, 10);
    assert_eq!(values(&got), ["0", "1"], "one of each key");
    assert_eq!(claim(&group, 10), vec![]);
    assert!(group.ack(&[got[0].ticket]).unwrap()[0]);
    let next = claim(&group, 10);
    assert_eq!(values(&next), ["2"], "the next of a, not of b");
}

#[test]
fn seeking_moves_the_group_and_takes_from_its_holders() {
    let (engine, stream) = memory();
    let (group, _) = engine
        .declare_group("orders", "billing", &ordered(Ordering::Key))
        .unwrap();
    for n in 0..10 {
        let record = Record {
            key: Some(b"k"),
            time_ns: Some(n * 1000),
            ..Record::of(n.to_string().leak().as_bytes())
        };
        let wait = Wait::Until(std::time::Instant::now() + Duration::from_secs(10));
        stream
            .append(&record, &Conditions::default(), wait)
            .unwrap();
    }
    let next = || {
        let got = claim(&group, 1);
        (group.lag().unwrap(), got[0].value.clone(), got[0].ticket)
    };
    let (lag, value, held) = next();
    assert_eq!((lag, value.as_str()), (10, "0"));
    for (to, left, first) in [
        (SeekTo::Seq(6), 5, "5"),
        (SeekTo::Time(2500), 7, "3"),
        (SeekTo::Earliest, 10, "0"),
    ] {
        group.seek(to).unwrap();
        let (lag, value, _) = next();
        assert_eq!((lag, value.as_str()), (left, first), "{to:?}");
    }
    assert!(!group.ack_one(held).unwrap(), "of before");
    group.seek(SeekTo::Latest).unwrap();
    assert_eq!(claim(&group, 1), vec![]);
    assert_eq!(group.lag().unwrap(), 0);
    append(&stream, None, "new");
    assert_eq!(values(&claim(&group, 5)), ["new"]);
}

#[test]
fn a_new_group_begins_where_it_was_told_once() {
    let (engine, stream) = memory();
    for n in 0..5 {
        append(&stream, None, &n.to_string());
    }
    let starting = |start| GroupConfig {
        start: Some(start),
        ..GroupConfig::default()
    };
    for (name, start, expected) in [
        ("all", GroupStart::Earliest, vec!["0", "1", "2", "3", "4"]),
        ("none", GroupStart::Latest, vec![]),
        ("some", GroupStart::Seq(4), vec!["3", "4"]),
    ] {
        let (group, before) = engine
            .declare_group("orders", name, &starting(start))
            .unwrap();
        assert_eq!(before, None);
        assert_eq!(values(&claim(&group, 10)), expected, "{name}");
    }
    let (again, before) = engine
        .declare_group("orders", "none", &starting(GroupStart::Earliest))
        .unwrap();
    assert_eq!(before.unwrap().start, Some(GroupStart::Latest));
    assert_eq!(claim(&again, 10), vec![], "a start applies when it is made");
    let mut names = engine.groups("orders").unwrap();
    names.sort();
    assert_eq!(names, ["all", "none", "some"]);
}

#[test]
fn the_last_explicit_option_wins_and_the_ordering_stays() {
    let (engine, _stream) = memory();
    let first = GroupConfig {
        ordering: Some(Ordering::Key),
        lease: Some(7.0),
        ..GroupConfig::default()
    };
    engine.declare_group("orders", "billing", &first).unwrap();
    let asked = GroupConfig {
        max_hold: Some(Some(60.0)),
        ..GroupConfig::default()
    };
    let (group, before) = engine.declare_group("orders", "billing", &asked).unwrap();
    assert_eq!(before, Some(first.clone()));
    let expected = GroupConfig {
        max_hold: Some(Some(60.0)),
        ..first
    };
    assert_eq!(group.config().unwrap(), expected);
    let error = engine
        .declare_group("orders", "billing", &ordered(Ordering::None))
        .err()
        .unwrap();
    assert!(
        matches!(&error, Error::Declaration { stored, asked, .. } if stored == "key" && asked == "none"),
        "{error}"
    );
    let wrong = GroupConfig {
        lease: Some(0.0),
        ..GroupConfig::default()
    };
    assert!(matches!(group.alter(&wrong), Err(Error::Usage(_))));
    assert_eq!(group.config().unwrap(), expected);
    let stored = engine.objects().unwrap();
    let stored = stored.iter().find(|object| object.kind == "group").unwrap();
    assert_eq!(stored.config["max_hold"], 60.0);
}

#[test]
fn what_is_dropped_is_given_back_by_the_engine_and_wakes_who_waits() {
    let (engine, stream) = memory();
    let (group, _) = engine
        .declare_group("orders", "billing", &GroupConfig::default())
        .unwrap();
    append(&stream, None, "x");
    let got = claim(&group, 1);
    let seen = engine.bell();
    group.arm();
    assert_eq!(claim(&group, 1), vec![]);
    group.give_back_later(got[0].ticket);
    let soon = std::time::Instant::now() + Duration::from_secs(5);
    assert!(engine.wait_bell(seen, Some(soon)));
    let again = claim(&group, 1);
    assert_eq!((values(&again), again[0].attempt), (vec!["x"], 1));
    // Given back twice, or after it was settled: nothing happens.
    group.give_back_later(got[0].ticket);
    assert!(group.ack_one(again[0].ticket).unwrap());
    group.give_back_later(again[0].ticket);
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(group.lag().unwrap(), 0);
}

#[test]
fn records_that_the_stream_lost_are_passed_over() {
    let (engine, stream) = memory();
    let (group, _) = engine
        .declare_group("orders", "billing", &ordered(Ordering::Key))
        .unwrap();
    let value = "x".repeat(2000);
    for n in 0..200 {
        append(&stream, Some(&format!("k{}", n % 2)), &value);
    }
    // Two in hand, others parked behind them.
    let held = claim(&group, 50);
    assert_eq!(held.len(), 2);
    stream.trim(150).unwrap();
    assert!(
        group.lag().unwrap() >= 51,
        "gone ones count until somebody finds them gone"
    );
    assert!(group.ack_one(held[0].ticket).unwrap());
    assert!(group.ack_one(held[1].ticket).unwrap());
    let mut came = Vec::new();
    while let Some(got) = some(claim(&group, 50)) {
        for each in got {
            came.push(each.ticket.seq);
            assert!(group.ack_one(each.ticket).unwrap());
        }
    }
    came.sort_unstable();
    assert_eq!(came, (150..=200).collect::<Vec<u64>>());
    assert_eq!(group.lag().unwrap(), 0);
}

#[test]
fn who_has_a_deleted_group_open_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::open(&OpenOptions::new(dir.path())).unwrap();
    let (stream, _) = engine
        .declare_stream("orders", &StreamConfig::default())
        .unwrap();
    let (group, _) = engine
        .declare_group("orders", "billing", &GroupConfig::default())
        .unwrap();
    append(&stream, None, "x");
    let got = claim(&group, 1);
    engine.delete_group("orders", "billing").unwrap();
    assert!(matches!(
        group.ack_one(got[0].ticket),
        Err(Error::NotFound { .. })
    ));
    assert!(matches!(group.stats(), Err(Error::NotFound { .. })));
    assert!(matches!(
        engine.open_group("orders", "billing"),
        Err(Error::NotFound { .. })
    ));
    // A group made again begins again.
    let (again, before) = engine
        .declare_group("orders", "billing", &GroupConfig::default())
        .unwrap();
    assert_eq!(before, None);
    assert_eq!(values(&claim(&again, 10)), ["x"]);
    engine.delete("stream", "orders").unwrap();
    assert!(matches!(
        again.ack_one(got[0].ticket),
        Err(Error::NotFound { .. })
    ));
    engine.close().unwrap();
}

#[test]
fn in_an_always_directory_what_is_acked_is_synced() {
    let dir = tempfile::tempdir().unwrap();
    let options = OpenOptions {
        durability: Some(Durability::Always),
        ..OpenOptions::new(dir.path())
    };
    let engine = Engine::open(&options).unwrap();
    let (stream, _) = engine
        .declare_stream("orders", &StreamConfig::default())
        .unwrap();
    let (group, _) = engine
        .declare_group("orders", "billing", &retry(Some(1), 0.0))
        .unwrap();
    let seq = append(&stream, None, "x");
    assert_eq!(
        claim(&group, 1),
        vec![],
        "nobody acts on what is not synced"
    );
    let mark = stream.log().visible().max(u64::from(seq > 0));
    stream.log().flush(None).unwrap();
    assert!(stream.log().visible() >= mark);
    let got = claim(&group, 1);
    assert!(matches!(
        group.try_ack_one(got[0].ticket),
        Err(Error::WouldBlock)
    ));
    assert!(group.ack_one(got[0].ticket).unwrap());
    engine.close().unwrap();
}

#[test]
fn the_heart_does_not_beat_for_what_was_deleted() {
    let (engine, stream) = memory();
    let leases = || engine.processes().unwrap()[0].leases;
    for n in 0..2 {
        let (group, _) = engine
            .declare_group("orders", "billing", &GroupConfig::default())
            .unwrap();
        append(&stream, None, "a");
        assert_eq!(claim(&group, 10).len(), n + 1);
        assert_eq!(leases(), n as u32 + 1);
        engine.delete_group("orders", "billing").unwrap();
        within("it is forgotten", || (leases() == 0).then_some(()));
    }
}
