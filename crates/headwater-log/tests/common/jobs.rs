//! Jobs put and claimed, for the tests of queues.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use headwater_log::group::{JobId, OnDuplicate, Ticket};
use headwater_log::log::Record;
use headwater_log::options::{OpenOptions, QueueConfig};
use headwater_log::queue::Queue;
use headwater_log::stream::Wait;
use headwater_log::{Engine, Error};

pub fn open(path: &Path) -> Engine {
    Engine::open(&OpenOptions::new(path)).unwrap()
}

pub fn queue(engine: &Engine) -> Queue {
    declare(engine, &QueueConfig::default())
}

pub fn declare(engine: &Engine, config: &QueueConfig) -> Queue {
    engine.declare_queue("jobs", config).unwrap().0
}

pub fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

pub fn now_ns() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_nanos() as i64
}

pub fn ns(time: Duration) -> i64 {
    time.as_nanos() as i64
}

pub const MS: Duration = Duration::from_millis(1);

pub fn put(queue: &Queue, record: Record<'_>, priority: u8) -> Result<JobId, Error> {
    queue
        .put(&record, priority, OnDuplicate::Return, Wait::Until(soon()))
        .map(|put| put.id)
}

pub fn plain(queue: &Queue, value: &[u8]) -> JobId {
    put(queue, Record::of(value), 0).unwrap()
}

pub fn unique<'a>(value: &'a [u8], key: &'a str) -> Record<'a> {
    Record {
        unique: Some(key.as_bytes()),
        ..Record::of(value)
    }
}

/// Everything that can be claimed now, with its ticket.
pub fn claim(queue: &Queue, max: usize) -> Vec<(Ticket, Vec<u8>)> {
    let mut found = Vec::new();
    queue
        .source()
        .claim(max, &mut |ticket, _, _, record| {
            found.push((ticket, record.value.to_vec()));
        })
        .unwrap();
    found
}

pub fn values(claimed: &[(Ticket, Vec<u8>)]) -> Vec<&str> {
    claimed
        .iter()
        .map(|(_, value)| std::str::from_utf8(value).unwrap())
        .collect()
}

pub fn ack(queue: &Queue, claimed: &[(Ticket, Vec<u8>)]) {
    let tickets: Vec<Ticket> = claimed.iter().map(|(ticket, _)| *ticket).collect();
    assert!(queue
        .source()
        .ack(&tickets)
        .unwrap()
        .iter()
        .all(|kept| *kept));
}

pub fn id(ticket: &Ticket) -> JobId {
    JobId {
        lane: ticket.lane,
        seq: ticket.seq,
    }
}
