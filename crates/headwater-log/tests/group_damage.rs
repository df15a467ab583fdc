//! A damaged record is told once, and stands in nobody's way.

mod common;

use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use common::groups::{append, retry, within};
use common::Other;
use headwater_log::group::{Nack, Source};
use headwater_log::options::{OpenOptions, StreamConfig};
use headwater_log::{Engine, Error};

fn open(dir: &Path) -> (Engine, Source) {
    let engine = Engine::open(&OpenOptions::new(dir)).unwrap();
    let config = StreamConfig::default();
    engine.declare_stream("orders", &config).unwrap();
    let (group, _) = engine
        .declare_group("orders", "billing", &retry(Some(2), 0.0))
        .unwrap();
    (engine, group)
}

fn fill(engine: &Engine) {
    let stream = engine.open_stream("orders").unwrap();
    for value in ["first", "victim", "third"] {
        append(&stream, None, value);
    }
}

/// Flips a bit of the victim, wherever the stream has it.
fn damage(dir: &Path) {
    let stream = std::fs::read_dir(dir.join("s")).unwrap().next().unwrap();
    let path = stream.unwrap().path().join("00000000000000000001.seg");
    let bytes = std::fs::read(&path).unwrap();
    let at = bytes.windows(6).position(|six| six == b"victim").unwrap();
    let file = std::fs::File::options().write(true).open(path).unwrap();
    file.write_all_at(&[bytes[at] ^ 4], at as u64).unwrap();
}

/// What comes, in order, and how often damage was told.
fn all(group: &Source) -> (Vec<String>, usize) {
    let (mut found, mut told) = (Vec::new(), 0);
    within("the others come", || {
        let got = group.claim(10, &mut |_, _, _, record| {
            found.push(String::from_utf8(record.value.to_vec()).unwrap());
        });
        match got {
            Err(Error::Corruption { .. }) => told += 1,
            got => drop(got.unwrap()),
        }
        (found.len() >= 2).then_some(())
    });
    for _ in 0..5 {
        match group.claim(10, &mut |_, _, _, _| panic!("more than there is")) {
            Err(Error::Corruption { .. }) => told += 1,
            got => assert_eq!(got.unwrap(), 0),
        }
    }
    (found, told)
}

#[test]
fn child() {
    let Some((_, dir)) = common::role() else {
        return;
    };
    let (engine, group) = open(Path::new(&dir));
    fill(&engine);
    for attempt in 1..=2 {
        let mut tickets = Vec::new();
        group
            .claim(10, &mut |ticket, _, _, _| tickets.push(ticket))
            .unwrap();
        assert_eq!(tickets.len(), 3);
        for ticket in tickets.iter().filter(|_| attempt == 1) {
            let again = Nack {
                delay: Some(Duration::ZERO),
                counted: true,
                error: None,
            };
            group.nack(*ticket, &again).unwrap();
        }
    }
    common::say("held");
    common::hear();
}

#[test]
fn one_that_is_to_be_tried_again() {
    let dir = tempfile::tempdir().unwrap();
    let (engine, group) = open(dir.path());
    fill(&engine);
    assert_eq!(group.claim(10, &mut |_, _, _, _| {}).unwrap(), 3);
    drop(group);
    engine.close().unwrap();
    damage(dir.path());
    let (_engine, group) = open(dir.path());
    let (found, told) = all(&group);
    assert_eq!(found, ["first", "third"]);
    assert!((1..=2).contains(&told), "{told}");
    assert_eq!(group.stats().unwrap().leased, 2);
}

#[test]
fn one_that_dies_of_its_last_attempt() {
    let dir = tempfile::tempdir().unwrap();
    let mut other = Other::start("hold", dir.path());
    other.hear();
    other.kill();
    damage(dir.path());
    let (_engine, group) = open(dir.path());
    within("the dead one's leases end", || {
        let none = group.claim(10, &mut |_, _, _, _| panic!("it was the last"));
        matches!(none, Ok(0)).then_some(())
    });
    let dead = group.dead_list(None, 10).unwrap();
    let values: Vec<&[u8]> = dead.iter().map(|d| d.record.get().value).collect();
    assert_eq!(values, [&b"first"[..], b"", b"third"]);
    assert!(dead.iter().all(|letter| letter.history.len() == 2));
}
