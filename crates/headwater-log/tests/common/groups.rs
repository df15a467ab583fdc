//! A group in one process, as tests use it.

use std::time::Duration;

use headwater_log::group::{ErrorNote, Nack, Source, Ticket};
use headwater_log::log::Record;
use headwater_log::options::{GroupConfig, OpenOptions, Ordering, RetryPolicy, StreamConfig};
use headwater_log::stream::{Conditions, Stream, Wait};
use headwater_log::Engine;

/// What a claim handed out.
#[derive(Clone, Debug, PartialEq)]
pub struct Got {
    pub ticket: Ticket,
    pub attempt: u32,
    pub key: Option<String>,
    pub value: String,
}

pub fn claim(source: &Source, max: usize) -> Vec<Got> {
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

pub fn values(got: &[Got]) -> Vec<&str> {
    got.iter().map(|got| got.value.as_str()).collect()
}

pub fn append(stream: &Stream, key: Option<&str>, value: &str) -> u64 {
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

pub fn ordered(ordering: Ordering) -> GroupConfig {
    GroupConfig {
        ordering: Some(ordering),
        ..GroupConfig::default()
    }
}

pub fn memory() -> (Engine, std::sync::Arc<Stream>) {
    let engine = Engine::memory(None, &OpenOptions::new("memory:")).unwrap();
    let (stream, _) = engine
        .declare_stream("orders", &StreamConfig::default())
        .unwrap();
    (engine, stream)
}

pub fn retry(max_attempts: Option<u32>, delay: f64) -> GroupConfig {
    GroupConfig {
        retry: Some(RetryPolicy {
            max_attempts,
            delay,
            factor: 2.0,
            max_delay: 10.0,
            jitter: 0.5,
        }),
        ..GroupConfig::default()
    }
}

pub fn failed(message: &str) -> Nack {
    Nack {
        delay: None,
        counted: true,
        error: Some(ErrorNote {
            kind: "ValueError".to_owned(),
            message: message.to_owned(),
            traceback: format!("at {message}"),
        }),
    }
}

pub fn now_ns() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.unwrap().as_nanos() as i64
}

pub fn within<T>(what: &str, mut find: impl FnMut() -> Option<T>) -> T {
    let end = std::time::Instant::now() + Duration::from_secs(5);
    loop {
        if let Some(found) = find() {
            return found;
        }
        assert!(std::time::Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

pub fn some(got: Vec<Got>) -> Option<Vec<Got>> {
    (!got.is_empty()).then_some(got)
}
