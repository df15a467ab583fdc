//! What needs the engine's inside: snapshots, and locks that are held.

use std::path::Path;
use std::time::{Duration, Instant};

use super::{check, Finding, Level};
use crate::group::snapshot;
use crate::group::{Nack, Source, Ticket};
use crate::log::Record;
use crate::options::{GroupConfig, OpenOptions, StreamConfig};
use crate::stream::{Conditions, Wait};
use crate::Engine;

fn open(dir: &Path) -> Engine {
    let mut options = OpenOptions::new(dir);
    options.name = "tester".to_owned();
    Engine::open(&options).unwrap()
}

/// Appends some, settles most of them one way or another.
fn work(engine: &Engine, group: &Source) {
    let stream = engine.open_stream("orders").unwrap();
    let soon = || Wait::Until(Instant::now() + Duration::from_secs(10));
    for n in 0..100u8 {
        let record = Record {
            value: &[n; 30],
            key: Some(&[n % 7]),
            ..Record::default()
        };
        stream
            .append(&record, &Conditions::default(), soon())
            .unwrap();
    }
    let mut tickets: Vec<Ticket> = Vec::new();
    group
        .claim(80, &mut |ticket, _, _, _| tickets.push(ticket))
        .unwrap();
    let (done, rest) = tickets.split_at(tickets.len() / 2);
    group.ack(done).unwrap();
    for (n, ticket) in rest.iter().enumerate() {
        match n % 3 {
            0 => {
                group.reject(*ticket, "no use", None).unwrap();
            }
            1 => {
                group.nack(*ticket, &Nack::default()).unwrap();
            }
            _ => {}
        }
    }
}

fn wrong(dir: &Path) -> Vec<Finding> {
    let report = check(dir).unwrap();
    report
        .findings
        .into_iter()
        .filter(|finding| finding.level >= Level::Warning)
        .collect()
}

fn newest_snapshot(dir: &Path) -> std::path::PathBuf {
    let group = std::fs::read_dir(dir.join("s")).unwrap().next().unwrap();
    let group = std::fs::read_dir(group.unwrap().path().join("g"))
        .unwrap()
        .next();
    let mut found: Vec<_> = std::fs::read_dir(group.unwrap().unwrap().path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_string_lossy().contains("snap-"))
        .collect();
    found.sort();
    found.pop().unwrap()
}

#[test]
fn snapshots_are_held_against_the_journal() {
    let tmp = tempfile::tempdir().unwrap();
    let engine = open(tmp.path());
    engine
        .declare_stream("orders", &StreamConfig::default())
        .unwrap();
    let (group, _) = engine
        .declare_group("orders", "billing", &GroupConfig::default())
        .unwrap();
    for _ in 0..3 {
        work(&engine, &group);
        group.core.take_snapshot().unwrap();
        work(&engine, &group);
        assert!(wrong(tmp.path()).is_empty(), "{:?}", wrong(tmp.path()));
    }
    drop(group);
    engine.close().unwrap();
    assert!(wrong(tmp.path()).is_empty(), "{:?}", wrong(tmp.path()));
    let path = newest_snapshot(tmp.path());
    let right = std::fs::read(&path).unwrap();
    // As it could be of a machine that went another way.
    let mut machine = snapshot::decode(&right, &path).unwrap();
    machine.acked += 1;
    std::fs::write(&path, snapshot::encode(&machine)).unwrap();
    let found = wrong(tmp.path());
    assert!(
        found.len() == 1 && found[0].what.contains("another state"),
        "{found:?}"
    );
    // And as a failing disk leaves it.
    let mut damaged = right;
    damaged[20] ^= 1;
    std::fs::write(&path, damaged).unwrap();
    let found = wrong(tmp.path());
    assert!(
        found.len() == 1 && found[0].file.as_ref() == Some(&path),
        "{found:?}"
    );
}

#[test]
fn a_lock_that_is_held_is_told_with_its_holder() {
    let tmp = tempfile::tempdir().unwrap();
    let engine = open(tmp.path());
    let (stream, _) = engine
        .declare_stream("orders", &StreamConfig::default())
        .unwrap();
    let lock = stream.log().lock(None).unwrap();
    let found = wrong(tmp.path());
    drop(lock);
    assert!(
        found.len() == 1
            && found[0].what.contains("lock is held")
            && found[0].what.contains(&std::process::id().to_string())
            && found[0].what.contains("tester"),
        "{found:?}"
    );
    assert!(wrong(tmp.path()).is_empty());
}
