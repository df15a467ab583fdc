//! Deletions that are cut short or cannot be finished: the object is there with all that it held, or gone.

mod common;

use std::path::Path;
use std::time::{Duration, Instant};

use common::Other;
use headwater_log::log::Record;
use headwater_log::options::{GroupConfig, OpenOptions, StreamConfig};
use headwater_log::stream::{Conditions, ReadOptions, Start, Stream, Wait};
use headwater_log::{Engine, Error};

fn open(dir: &Path) -> Engine {
    let options = OpenOptions {
        op_timeout: Duration::from_millis(300),
        ..OpenOptions::new(dir)
    };
    Engine::open(&options).unwrap()
}

fn append(stream: &Stream) -> u64 {
    let wait = Wait::Until(Instant::now() + Duration::from_secs(10));
    let record = Record::of(b"order");
    stream
        .append(&record, &Conditions::default(), wait)
        .unwrap()
        .seq
}

fn count(stream: &Stream) -> usize {
    let everything = ReadOptions {
        start: Start::Earliest,
        stop: None,
        follow: false,
        key: None,
        skip_trimmed: false,
    };
    let mut reader = stream.reader(everything).unwrap();
    let mut found = 0;
    while reader.next().unwrap().is_some() {
        found += 1;
    }
    found
}

/// A stream with a group and three records of an earlier, clean session and three of this one.
fn six(dir: &Path) -> Engine {
    for clean in [true, false] {
        let engine = open(dir);
        let config = StreamConfig::default();
        let (stream, _) = engine.declare_stream("orders", &config).unwrap();
        let (group, _) = engine
            .declare_group("orders", "billing", &GroupConfig::default())
            .unwrap();
        for _ in 0..3 {
            append(&stream);
        }
        group.claim(1, &mut |_, _, _, _| {}).unwrap();
        if !clean {
            return engine;
        }
        drop((stream, group));
        engine.close().unwrap();
    }
    unreachable!("the second session stays open")
}

#[test]
fn child() {
    let Some((role, dir)) = common::role() else {
        return;
    };
    let words: Vec<&str> = role.split(' ').collect();
    if let Some(point) = words.get(1) {
        // SAFETY: nothing else runs yet.
        std::env::set_var("HEADWATER_KILL", point);
    }
    let engine = open(Path::new(&dir));
    match words[0] {
        "lock" => {
            let shared = engine.shared();
            let of_group = |page: &u32| shared.path_of(*page).contains("/g/");
            let pages: Vec<u32> = shared.pages().filter(of_group).collect();
            assert_eq!(pages.len(), 2, "a journal and its notes");
            let _locks: Vec<_> = pages
                .iter()
                .map(|page| shared.lock(*page, None).unwrap())
                .collect();
            common::say("locked");
            common::hear();
        }
        "delete" => engine.delete("stream", "orders").unwrap(),
        _ => drop(engine.declare_stream("another", &StreamConfig::default())),
    }
}

#[test]
fn what_cannot_be_deleted_stays_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let engine = six(dir.path());
    let mut other = Other::start("lock", dir.path());
    other.hear();
    let refused = engine.delete("stream", "orders").unwrap_err();
    assert!(matches!(refused, Error::Timeout { .. }), "{refused}");
    let stream = engine.open_stream("orders").unwrap();
    assert_eq!(count(&stream), 6);
    assert_eq!(append(&stream), 7);
    other.kill();
    engine.delete("stream", "orders").unwrap();
    let (stream, _) = engine
        .declare_stream("orders", &StreamConfig::default())
        .unwrap();
    assert_eq!(count(&stream), 0);
    assert_eq!(append(&stream), 1);
}

#[cfg(feature = "failpoints")]
#[test]
fn a_deletion_that_was_killed_was_done_or_not() {
    for (point, there) in [("remove:marked", true), ("remove:hidden", false)] {
        let dir = tempfile::tempdir().unwrap();
        let engine = six(dir.path());
        let mut other = Other::start(&format!("delete {point}:1"), dir.path());
        assert!(!other.wait().success(), "{point} was not come to");
        let (stream, before) = engine
            .declare_stream("orders", &StreamConfig::default())
            .unwrap();
        assert_eq!(before.is_some(), there, "{point}");
        assert_eq!(count(&stream), if there { 6 } else { 0 }, "{point}");
        assert_eq!(append(&stream), if there { 7 } else { 1 }, "{point}");
        drop(stream);
        let session = engine.info().session;
        engine.close().unwrap();
        let engine = open(dir.path());
        let unclean = engine.info().last_unclean;
        assert_ne!(unclean, session, "{point}: it ended cleanly");
        let stream = engine.open_stream("orders").unwrap();
        assert_eq!(count(&stream), if there { 7 } else { 1 }, "{point}");
    }
}

#[cfg(feature = "failpoints")]
#[test]
fn who_dies_while_taking_a_free_page_holds_up_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let engine = six(dir.path());
    engine.delete("stream", "orders").unwrap();
    let mut other = Other::start("another page:locked:1", dir.path());
    assert!(!other.wait().success(), "it did not take a free page");
    let began = Instant::now();
    for name in ["a", "b", "c", "d"] {
        let made = engine.declare_stream(name, &StreamConfig::default());
        assert_eq!(append(&made.unwrap().0), 1);
    }
    let took = began.elapsed();
    assert!(took < Duration::from_millis(900), "{took:?}");
}
