//! A group that several processes share, as tests use it.

use std::path::Path;
use std::time::{Duration, Instant};

use super::Other;
use headwater_log::group::{Source, Ticket};
use headwater_log::log::Record;
use headwater_log::options::{GroupConfig, OpenOptions, Ordering, RetryPolicy, StreamConfig};
use headwater_log::stream::Wait;
use headwater_log::Engine;

pub const NOW: RetryPolicy = RetryPolicy {
    max_attempts: None,
    delay: 0.0,
    factor: 1.0,
    max_delay: 0.0,
    jitter: 0.0,
};

pub fn config(ordering: Ordering, lease: f64, retry: RetryPolicy) -> GroupConfig {
    GroupConfig {
        ordering: Some(ordering),
        lease: Some(lease),
        retry: Some(retry),
        ..GroupConfig::default()
    }
}

pub fn declared(dir: impl AsRef<Path>, config: &GroupConfig) -> (Engine, Source) {
    let engine = Engine::open(&OpenOptions::new(dir.as_ref())).unwrap();
    engine
        .declare_stream("orders", &StreamConfig::default())
        .unwrap();
    let (group, _) = engine.declare_group("orders", "billing", config).unwrap();
    (engine, group)
}

pub fn opened(dir: impl AsRef<Path>) -> (Engine, Source) {
    let engine = Engine::open(&OpenOptions::new(dir.as_ref())).unwrap();
    let group = engine.open_group("orders", "billing").unwrap();
    (engine, group)
}

/// Records whose values are their numbers; the key of number n is k(n % keys).
pub fn fill(engine: &Engine, count: u64, keys: u64) {
    let stream = engine.open_stream("orders").unwrap();
    for n in 0..count {
        let (key, value) = (format!("k{}", n % keys), n.to_string());
        let record = Record {
            key: Some(key.as_bytes()),
            ..Record::of(value.as_bytes())
        };
        let wait = Wait::Until(Instant::now() + Duration::from_secs(20));
        stream.append(&record, &Default::default(), wait).unwrap();
    }
}

#[derive(Clone, Debug)]
pub struct Got {
    pub ticket: Ticket,
    pub attempt: u32,
    pub number: u64,
}

pub fn claim(group: &Source, max: usize) -> Vec<Got> {
    let mut got = Vec::new();
    group
        .claim(max, &mut |ticket, attempt, _, record| {
            got.push(Got {
                ticket,
                attempt,
                number: std::str::from_utf8(record.value).unwrap().parse().unwrap(),
            });
        })
        .unwrap();
    got
}

/// Waits as a consumer does: asleep on the bell.
pub fn wait(engine: &Engine, group: &Source, max: usize, patience: Duration) -> Vec<Got> {
    let end = Instant::now() + patience;
    loop {
        let seen = engine.bell();
        group.arm();
        let got = claim(group, max);
        if !got.is_empty() || Instant::now() >= end {
            return got;
        }
        let due = group.next_due_ns().map(|due| {
            let now = std::time::SystemTime::now()
                .duration_since(std::time::UNIX_EPOCH)
                .unwrap()
                .as_nanos() as i64;
            Instant::now() + Duration::from_nanos((due - now).max(100_000) as u64)
        });
        engine.wait_bell(seen, Some(due.map_or(end, |due| due.min(end))));
    }
}

pub fn numbers(got: &[Got]) -> Vec<u64> {
    got.iter().map(|got| got.number).collect()
}

pub fn acked(group: &Source, got: &[Got]) -> bool {
    let tickets: Vec<Ticket> = got.iter().map(|got| got.ticket).collect();
    group.ack(&tickets).unwrap().iter().all(|kept| *kept)
}

/// What a worker has said until it was killed or idle.
#[derive(Default)]
pub struct Story {
    pub lines: Vec<String>,
}

impl Story {
    /// All that it says until its end.
    pub fn rest(&mut self, worker: &mut Other) {
        while let Some(said) = worker.rest() {
            self.lines.push(said);
        }
    }

    pub fn of(&self, word: &str) -> Vec<u64> {
        self.lines
            .iter()
            .filter_map(|line| line.strip_prefix(word)?.strip_prefix(' '))
            .map(|rest| rest.split(' ').next().unwrap().parse().unwrap())
            .collect()
    }
}

/// What a worker says until all are done; it says at least that it is idle, again and again.
pub fn listen(worker: &mut Other, done: &std::sync::atomic::AtomicU64, count: u64) -> Story {
    use std::sync::atomic::Ordering::SeqCst;
    let end = Instant::now() + Duration::from_secs(30);
    let mut story = Story::default();
    while done.load(SeqCst) < count {
        assert!(
            Instant::now() < end,
            "{} acked of {count}",
            done.load(SeqCst)
        );
        let said = worker.hear();
        done.fetch_add(u64::from(said.starts_with("acked ")), SeqCst);
        story.lines.push(said);
    }
    story
}
