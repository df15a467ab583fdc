//! Streams through the engine: several openings, processes that are killed, waking, limits.

use std::process::{Child, Command};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use headwater_log::log::Record;
use headwater_log::options::{Durability, OpenOptions, Retention, StreamConfig};
use headwater_log::stream::{Conditions, ReadOptions, Start, Stream, Wait};
use headwater_log::{Engine, Error};

fn open(path: &std::path::Path) -> Engine {
    Engine::open(&OpenOptions::new(path)).unwrap()
}

fn soon() -> Wait {
    Wait::Until(Instant::now() + Duration::from_secs(20))
}

fn append(stream: &Stream, value: &[u8]) -> u64 {
    stream
        .append(&Record::of(value), &Conditions::default(), soon())
        .unwrap()
        .seq
}

fn everything() -> ReadOptions {
    ReadOptions {
        start: Start::Earliest,
        stop: None,
        follow: false,
        key: None,
        skip_trimmed: false,
    }
}

fn numbers(stream: &Stream) -> Vec<u64> {
    let mut reader = stream.reader(everything()).unwrap();
    let mut found = Vec::new();
    while let Some(record) = reader.next().unwrap() {
        found.push(u64::from_le_bytes(record.value[..8].try_into().unwrap()));
    }
    found
}

#[test]
fn a_stream_outlives_its_processes_and_is_listed() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    let (stream, before) = engine
        .declare_stream("orders", &StreamConfig::default())
        .unwrap();
    assert!(before.is_none());
    for n in 0..100u64 {
        append(&stream, &n.to_le_bytes());
    }
    engine.close().unwrap();
    let engine = open(dir.path());
    assert_eq!(engine.info().last_unclean, 0);
    let stream = engine.open_stream("orders").unwrap();
    assert_eq!(numbers(&stream), (0..100).collect::<Vec<_>>());
    assert_eq!(append(&stream, &100u64.to_le_bytes()), 101);
    let names: Vec<String> = engine
        .objects()
        .unwrap()
        .into_iter()
        .map(|info| info.name)
        .collect();
    assert_eq!(names, ["orders"]);
    engine.delete("stream", "orders").unwrap();
    assert!(engine.objects().unwrap().is_empty());
    assert!(matches!(
        stream.append(&Record::of(b"x"), &Conditions::default(), soon()),
        Err(Error::NotFound { .. })
    ));
    assert!(matches!(
        engine.open_stream("orders"),
        Err(Error::NotFound { .. })
    ));
    let (again, _) = engine
        .declare_stream("orders", &StreamConfig::default())
        .unwrap();
    assert_eq!(append(&again, b"12345678"), 1);
}

#[test]
fn always_means_that_the_tail_is_on_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::open(&OpenOptions {
        durability: Some(Durability::Always),
        ..OpenOptions::new(dir.path())
    })
    .unwrap();
    let (stream, _) = engine
        .declare_stream("orders", &StreamConfig::default())
        .unwrap();
    let done = stream
        .append(&Record::of(b"12345678"), &Conditions::default(), soon())
        .unwrap();
    // Nobody acts on what a power cut can undo.
    assert!(!stream.durable(done.end_lba));
    assert_eq!(numbers(&stream).len(), 0);
    stream.wait_durable(done.end_lba, None).unwrap();
    assert_eq!(numbers(&stream).len(), 1);
}

#[test]
fn the_interval_s_flusher_syncs_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    let (stream, _) = engine
        .declare_stream("orders", &StreamConfig::default())
        .unwrap();
    let until = Instant::now() + Duration::from_secs(10);
    for n in 0..3u64 {
        append(&stream, &n.to_le_bytes());
        while !stream.info().unwrap().synced {
            assert!(Instant::now() < until);
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

#[test]
fn a_limit_on_bytes_is_kept_while_a_reader_reads() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    let retention = Some(Retention {
        bytes: Some(1 << 20),
        ..Retention::default()
    });
    let (stream, _) = engine
        .declare_stream(
            "orders",
            &StreamConfig {
                retention,
                partitions: None,
            },
        )
        .unwrap();
    append(&stream, &[0u8; 1000]);
    let mut reader = stream
        .reader(ReadOptions {
            follow: true,
            skip_trimmed: true,
            ..everything()
        })
        .unwrap();
    assert!(reader.next().unwrap().is_some());
    for n in 0..20_000u64 {
        append(&stream, &n.to_le_bytes().repeat(100));
    }
    let until = Instant::now() + Duration::from_secs(20);
    let info = loop {
        let info = stream.info().unwrap();
        // The limit, and the segment that is written.
        if info.bytes <= (1 << 20) + (1 << 18) {
            break info;
        }
        assert!(Instant::now() < until, "{info:?}");
        std::thread::sleep(Duration::from_millis(50));
    };
    let mut last = 1;
    while let Some(record) = reader.next().unwrap() {
        assert!(record.seq > last);
        last = record.seq;
    }
    assert_eq!(last, info.last_seq);
}

const CHILD: &str = "HEADWATER_TEST_CHILD_DIR";

/// Not a test of its own: the process that `sigkill_loop` kills. It prints each number after its append was acknowledged.
#[test]
fn child_writer() {
    let Ok(dir) = std::env::var(CHILD) else {
        return;
    };
    use std::io::Write;
    let engine = open(dir.as_ref());
    let (stream, _) = engine
        .declare_stream("orders", &StreamConfig::default())
        .unwrap();
    let base = u64::from(std::process::id()) << 32;
    let mut acked = std::fs::File::create(format!("{dir}.{}", std::process::id())).unwrap();
    for n in 0u64.. {
        let number = base + n;
        let mut value = number.to_le_bytes().to_vec();
        value.resize(8 + (n as usize * 37) % 600, n as u8);
        if n % 50 == 49 {
            let records: Vec<Record<'_>> = vec![Record::of(&value); 3];
            for done in stream.append_many(&records, true, soon()).unwrap() {
                done.unwrap();
            }
        } else {
            append(&stream, &value);
        }
        acked.write_all(&number.to_le_bytes()).unwrap();
    }
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn nothing_acknowledged_is_lost_when_writers_are_killed() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let kills: u32 = std::env::var("HEADWATER_KILLS").map_or(40, |n| n.parse().unwrap());
    let start = || {
        let exe = std::env::current_exe().unwrap();
        let mut command = Command::new(exe);
        command
            .args(["--exact", "child_writer", "--nocapture"])
            .env(CHILD, &data)
            .stdout(std::process::Stdio::null());
        Killed(command.spawn().unwrap())
    };
    // The survivor keeps the session open half of the time, so that both the repair of locks and the recovery of sessions run.
    let mut survivor = None;
    let mut children = vec![start(), start()];
    for round in 0..kills {
        std::thread::sleep(Duration::from_millis(20 + u64::from(round * 7919 % 60)));
        if round % 10 == 0 {
            survivor = if survivor.is_none() {
                Some(open(&data))
            } else {
                None
            };
        }
        let victim = round as usize % children.len();
        children[victim] = start();
        if round % 10 == 9 {
            // All at once: nobody is left to repair anything.
            drop(std::mem::take(&mut children));
            children = vec![start(), start()];
        }
    }
    drop(children);
    drop(survivor);
    let engine = open(&data);
    let stream = engine.open_stream("orders").unwrap();
    let mut reader = stream.reader(everything()).unwrap();
    let mut found = std::collections::HashMap::new();
    let mut last = 0;
    while let Some(record) = reader.next().unwrap() {
        assert!(record.seq > last);
        last = record.seq;
        *found
            .entry(u64::from_le_bytes(record.value[..8].try_into().unwrap()))
            .or_insert(0u32) += 1;
    }
    let mut acknowledged = 0;
    for entry in std::fs::read_dir(dir.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            for number in std::fs::read(path).unwrap().chunks_exact(8) {
                let number = u64::from_le_bytes(number.try_into().unwrap());
                let times = if (number & 0xFFFF_FFFF) % 50 == 49 {
                    3
                } else {
                    1
                };
                assert_eq!(
                    found.get(&number),
                    Some(&times),
                    "{number:x} was acknowledged"
                );
                acknowledged += 1;
            }
        }
    }
    for (number, times) in &found {
        let whole = if (number & 0xFFFF_FFFF) % 50 == 49 {
            3
        } else {
            1
        };
        assert_eq!(*times, whole, "{number:x}: a batch is whole or not there");
    }
    assert!(acknowledged > 100, "{acknowledged}");
    assert!(
        !std::fs::exists(data.join("quarantine")).unwrap(),
        "a kill is no damage"
    );
}

#[test]
fn a_waiting_reader_is_woken_by_another_process() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let engine = open(&data);
    let (stream, _) = engine
        .declare_stream("orders", &StreamConfig::default())
        .unwrap();
    let mut reader = stream
        .reader(ReadOptions {
            follow: true,
            ..everything()
        })
        .unwrap();
    let exe = std::env::current_exe().unwrap();
    let _child = Killed(
        Command::new(exe)
            .args(["--exact", "child_writer", "--nocapture"])
            .env(CHILD, &data)
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap(),
    );
    let until = Instant::now() + Duration::from_secs(20);
    for _ in 0..200 {
        loop {
            if reader.next().unwrap().is_some() {
                break;
            }
            let bell = engine.bell();
            reader.arm();
            if reader.next().unwrap().is_some() {
                break;
            }
            assert!(engine.wait_bell(bell, Some(until)), "never woken");
        }
    }
}

#[test]
fn a_rank_is_exact_while_others_append() {
    let engine = Engine::memory(None, &OpenOptions::new("memory:")).unwrap();
    let config = StreamConfig::default();
    let (stream, _) = engine.declare_stream("orders", &config).unwrap();
    let published = AtomicU64::new(append(&stream, b"first"));
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for _ in 0..100_000 {
                published.store(append(&stream, b"more"), Ordering::Release);
            }
        });
        while !writer.is_finished() {
            let last = published.load(Ordering::Acquire);
            // Positions without a gap: so many lie before it.
            assert_eq!(stream.log().rank(last + 1).unwrap(), last);
        }
    });
}
