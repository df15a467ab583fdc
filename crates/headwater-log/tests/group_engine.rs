//! Groups over an engine, in one process: what is handed out, settled and remembered.

use std::time::Duration;

use headwater_log::group::{Source, Ticket};
use headwater_log::log::Record;
use headwater_log::options::{GroupConfig, OpenOptions, Ordering, StreamConfig};
use headwater_log::stream::{Conditions, Stream, Wait};
use headwater_log::Engine;

/// What a claim handed out.
#[derive(Clone, Debug, PartialEq)]
struct Got {
    ticket: Ticket,
    attempt: u32,
    key: Option<String>,
    value: String,
}

fn claim(source: &Source, max: usize) -> Vec<Got> {
    let mut got = Vec::new();
    let n = source
        .claim(max, &mut |ticket, attempt, _, record| {
            got.push(Got {
                ticket,
                attempt,
                key: record
                    .key
                    .map(|key| String::from_utf8(key.to_vec()).unwrap()),
                value: String::from_utf8(record.value.to_vec()).unwrap(),
            });
        })
        .unwrap();
    assert_eq!(n, got.len());
    got
}

fn values(got: &[Got]) -> Vec<&str> {
    got.iter().map(|got| got.value.as_str()).collect()
}

fn append(stream: &Stream, key: Option<&str>, value: &str) -> u64 {
    let record = Record {
        key: key.map(str::as_bytes),
        ..Record::of(value.as_bytes())
    };
    let wait = Wait::Until(std::time::Instant::now() + Duration::from_secs(10));
    stream
        .append(&record, &Conditions::default(), wait)
        .unwrap()
        .seq
}

fn ordered(ordering: Ordering) -> GroupConfig {
    GroupConfig {
        ordering: Some(ordering),
        ..GroupConfig::default()
    }
}

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
