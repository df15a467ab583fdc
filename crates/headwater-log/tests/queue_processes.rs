//! Queues of several processes: races, kills, wakes, full disks, and what is left on the disk.

mod common;

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use common::{hear, role, say, within, Other};
use headwater_log::group::{OnDuplicate, Put, Ticket};
use headwater_log::log::Record;
use headwater_log::options::{OpenOptions, QueueConfig};
use headwater_log::queue::Queue;
use headwater_log::stream::Wait;
use headwater_log::{Engine, Error};

fn open(dir: impl AsRef<Path>) -> (Engine, Queue) {
    declared(dir, &QueueConfig::default())
}

fn declared(dir: impl AsRef<Path>, config: &QueueConfig) -> (Engine, Queue) {
    let engine = Engine::open(&OpenOptions::new(dir.as_ref())).unwrap();
    let queue = match engine.open_queue("jobs") {
        Ok(queue) => queue,
        Err(_) => engine.declare_queue("jobs", config).unwrap().0,
    };
    (engine, queue)
}

fn put(queue: &Queue, record: &Record<'_>, priority: u8) -> Result<Put, Error> {
    let soon = Instant::now() + Duration::from_secs(20);
    queue.put(record, priority, OnDuplicate::Return, Wait::Until(soon))
}

/// Claims and finishes all there is; their values.
fn drain(queue: &Queue) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    loop {
        let (mut tickets, before) = (Vec::<Ticket>::new(), all.len());
        queue
            .source()
            .claim(500, &mut |ticket, _, _, record| {
                tickets.push(ticket);
                all.push(record.value.to_vec());
            })
            .unwrap();
        if all.len() == before {
            return all;
        }
        assert!(queue
            .source()
            .ack(&tickets)
            .unwrap()
            .iter()
            .all(|kept| *kept));
    }
}

fn number(value: &[u8]) -> u64 {
    u64::from_le_bytes(value[..8].try_into().unwrap())
}

/// What the other processes do: the role's first word, then its arguments.
#[test]
fn child() {
    let Some((role, dir)) = role() else { return };
    let words: Vec<&str> = role.split(' ').collect();
    if words[0] == "killed" {
        // Before any other thread runs.
        std::env::set_var("HEADWATER_KILL", words[1]);
    }
    let (_engine, queue) = open(&dir);
    match words[0] {
        "unique" => {
            say("ready");
            hear();
            let mut first = 0;
            for n in 0..500u64 {
                let key = n.to_string();
                let value = n.to_le_bytes();
                let record = Record {
                    unique: Some(key.as_bytes()),
                    ..Record::of(&value)
                };
                first += u64::from(!put(&queue, &record, (n % 3) as u8).unwrap().duplicate);
            }
            say(&first.to_string());
        }
        "fill" => {
            say("ready");
            hear();
            let accepted = (0..300u32)
                .filter(|n| match put(&queue, &Record::of(b"x"), (n % 2) as u8) {
                    Ok(_) => true,
                    Err(Error::Full { .. }) => false,
                    Err(error) => panic!("{error}"),
                })
                .count();
            say(&accepted.to_string());
        }
        "lanes" => {
            let base: u64 = words[1].parse().unwrap();
            say("ready");
            hear();
            for n in 0..200u64 {
                let value = (base + n).to_le_bytes();
                put(&queue, &Record::of(&value), (n % 10) as u8).unwrap();
            }
            say("done");
            hear();
        }
        "put" => put_for_ever(&dir, &queue),
        "killed" => {
            say("ready");
            for n in 0..100_000u64 {
                let key = (n / 2).to_string();
                let value = n.to_le_bytes();
                let record = Record {
                    unique: (n % 3 == 0).then_some(key.as_bytes()),
                    ..Record::of(&value)
                };
                put(&queue, &record, (n % 4) as u8).unwrap();
            }
            panic!("not killed");
        }
        "full" => {
            // No file may grow: what is allocated is all there is.
            let limit = libc::rlimit {
                rlim_cur: 4096,
                rlim_max: libc::RLIM_INFINITY,
            };
            // SAFETY: a valid rlimit; the signal is ignored so that the calls fail instead.
            unsafe {
                libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
                assert_eq!(libc::setrlimit(libc::RLIMIT_FSIZE, &limit), 0);
            }
            let mut accepted = 0u64;
            let refused = loop {
                match put(&queue, &Record::of(&accepted.to_le_bytes()), 0) {
                    Ok(_) => accepted += 1,
                    Err(error) => break error,
                }
            };
            assert!(matches!(refused, Error::StorageFull { .. }), "{refused}");
            let batch = [Record::of(&[7; 4000]); 20];
            let soon = Instant::now() + Duration::from_secs(20);
            let done = queue
                .put_many(&batch, &[0; 20], OnDuplicate::Return, false, soon)
                .unwrap();
            assert!(done
                .iter()
                .all(|one| matches!(one, Err(Error::StorageFull { .. }))));
            assert!(matches!(
                put(&queue, &Record::of(b"x"), 5),
                Err(Error::StorageFull { .. })
            ));
            say(&accepted.to_string());
            hear();
        }
        other => panic!("{other}"),
    }
}

/// Puts, and notes in a file what was acknowledged: number and whether a key was its own.
fn put_for_ever(dir: &str, queue: &Queue) {
    use std::io::Write;
    let base = u64::from(std::process::id()) << 32;
    let mut acked = std::fs::File::create(format!("{dir}.{}", std::process::id())).unwrap();
    for n in 0u64.. {
        let mut value = (base + n).to_le_bytes().to_vec();
        value.resize(8 + (n as usize * 37) % 500, n as u8);
        let key = value[..8].to_vec();
        let mut record = Record::of(&value);
        if n % 5 == 1 {
            record.unique = Some(&key);
        }
        if n % 7 == 2 {
            record.due_ns = Some(1);
        }
        let done = put(queue, &record, [0, 0, 0, 9, 4][n as usize % 5]).unwrap();
        if n % 5 == 1 {
            let again = put(queue, &record, 2).unwrap();
            assert!(!done.duplicate && again.duplicate && again.id == done.id);
        }
        acked.write_all(&(base + n).to_le_bytes()).unwrap();
    }
}

#[test]
fn of_many_processes_that_put_a_unique_job_one_is_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let (_engine, queue) = open(dir.path());
    let mut others: Vec<Other> = (0..3).map(|_| Other::start("unique", dir.path())).collect();
    others
        .iter_mut()
        .for_each(|other| assert_eq!(other.hear(), "ready"));
    others.iter_mut().for_each(|other| other.say("go"));
    let first: u64 = others
        .iter_mut()
        .map(|other| other.hear().parse::<u64>().unwrap())
        .sum();
    assert_eq!(first, 500);
    let mut found: Vec<u64> = drain(&queue).iter().map(|value| number(value)).collect();
    found.sort_unstable();
    assert_eq!(found, (0..500).collect::<Vec<_>>());
}

#[test]
fn processes_that_race_for_a_full_queue_never_put_more_than_fit() {
    let dir = tempfile::tempdir().unwrap();
    let config = QueueConfig {
        max_length: Some(Some(100)),
        ..QueueConfig::default()
    };
    let (_engine, queue) = declared(dir.path(), &config);
    for _ in 0..2 {
        let mut others: Vec<Other> = (0..3).map(|_| Other::start("fill", dir.path())).collect();
        others
            .iter_mut()
            .for_each(|other| assert_eq!(other.hear(), "ready"));
        others.iter_mut().for_each(|other| other.say("go"));
        let accepted: u64 = others
            .iter_mut()
            .map(|other| other.hear().parse::<u64>().unwrap())
            .sum();
        assert_eq!(accepted, 100);
        assert_eq!(drain(&queue).len(), 100);
    }
}

#[test]
fn lanes_are_made_once_whoever_is_first() {
    let dir = tempfile::tempdir().unwrap();
    let (_engine, queue) = open(dir.path());
    let mut others: Vec<Other> = (0..3u64)
        .map(|n| Other::start(&format!("lanes {}", n * 1000), dir.path()))
        .collect();
    others
        .iter_mut()
        .for_each(|other| assert_eq!(other.hear(), "ready"));
    others.iter_mut().for_each(|other| other.say("go"));
    others
        .iter_mut()
        .for_each(|other| assert_eq!(other.hear(), "done"));
    let mut found: Vec<u64> = drain(&queue).iter().map(|value| number(value)).collect();
    // Ten lanes, the highest first; and each process's own in order within one.
    let lane = |n: u64| n % 1000 % 10;
    assert!(found.windows(2).all(|pair| lane(pair[0]) >= lane(pair[1])));
    for base in 0..3 {
        for number in 0..10 {
            let own: Vec<u64> = found
                .iter()
                .copied()
                .filter(|n| n / 1000 == base && lane(*n) == number)
                .collect();
            assert!(own.is_sorted() && own.len() == 20);
        }
    }
    found.sort_unstable();
    found.dedup();
    assert_eq!(found.len(), 600);
}

#[test]
fn a_waiting_consumer_hears_of_a_job_also_in_a_lane_that_is_new() {
    let dir = tempfile::tempdir().unwrap();
    let (engine, queue) = open(dir.path());
    let mut other = Other::start("lanes 0", dir.path());
    assert_eq!(other.hear(), "ready");
    let until = Instant::now() + Duration::from_secs(20);
    let mut found = 0;
    other.say("go");
    while found < 200 {
        let bell = engine.bell();
        queue.source().arm();
        let more = drain(&queue).len();
        found += more;
        if more == 0 {
            assert!(engine.wait_bell(bell, Some(until)), "never woken");
        }
    }
}

/// Every acknowledged job is there once, and no key twice.
fn check_all(dir: &Path, queue: &Queue) -> usize {
    let mut found = HashMap::new();
    for value in drain(queue) {
        *found.entry(number(&value)).or_insert(0u32) += 1;
    }
    assert!(found.values().all(|times| *times == 1), "a job came twice");
    let mut acknowledged = 0;
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            for bytes in std::fs::read(path).unwrap().chunks_exact(8) {
                assert!(
                    found.contains_key(&number(bytes)),
                    "{:x} was acknowledged",
                    number(bytes)
                );
                acknowledged += 1;
            }
        }
    }
    acknowledged
}

#[test]
fn nothing_acknowledged_is_lost_when_putters_are_killed() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let kills: u32 = std::env::var("HEADWATER_KILLS").map_or(30, |n| n.parse().unwrap());
    let start = || Other::start("put", &data);
    // The survivor keeps the session open half of the time, so that both the repair of locks and the recovery of sessions run.
    let mut survivor = None;
    let mut putters = vec![start(), start()];
    for round in 0..kills {
        std::thread::sleep(Duration::from_millis(40 + u64::from(round * 7919 % 60)));
        if round % 10 == 0 {
            survivor = if survivor.is_none() {
                Some(open(&data))
            } else {
                None
            };
        }
        putters[round as usize % 2] = start();
        if round % 10 == 9 {
            // All at once: nobody is left to repair anything.
            drop(std::mem::take(&mut putters));
            putters = vec![start(), start()];
        }
    }
    drop(putters);
    drop(survivor);
    let (_engine, queue) = open(&data);
    let acknowledged = check_all(dir.path(), &queue);
    assert!(acknowledged > 100, "{acknowledged}");
    assert!(
        !std::fs::exists(data.join("quarantine")).unwrap(),
        "a kill is no damage"
    );
}

#[cfg(feature = "failpoints")]
#[test]
fn a_putter_killed_at_any_point_leaves_a_queue_that_goes_on() {
    for alone in [true, false] {
        for point in [
            "append:body",
            "append:commit",
            "append:publish",
            "roll:created",
            "roll:linked",
            "lane:made",
        ] {
            for nth in [1, 2, 3] {
                let dir = tempfile::tempdir().unwrap();
                let there = open(dir.path());
                let kept = if alone { None } else { Some(there) };
                let mut other = Other::start(&format!("killed {point}:{nth}"), dir.path());
                other.wait();
                drop(kept);
                let (_engine, queue) = open(dir.path());
                for priority in 0..10 {
                    let value = (1_000_000 + u64::from(priority)).to_le_bytes();
                    let key = format!("new {priority}");
                    let record = Record {
                        unique: Some(key.as_bytes()),
                        ..Record::of(&value)
                    };
                    put(&queue, &record, priority).unwrap();
                }
                let found: Vec<u64> = drain(&queue).iter().map(|value| number(value)).collect();
                let new = found.iter().filter(|n| **n >= 1_000_000).count();
                assert_eq!(new, 10, "{point}:{nth}");
                // The others are the first ones, without a hole, in their lanes.
                let mut old: Vec<u64> = found.into_iter().filter(|n| *n < 1_000_000).collect();
                old.sort_unstable();
                let expected: Vec<u64> = (0..old.len() as u64).collect();
                assert_eq!(old, expected, "{point}:{nth}");
            }
        }
    }
}

#[test]
fn a_full_disk_refuses_what_it_cannot_keep_and_keeps_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let (engine, queue) = open(dir.path());
    let mut other = Other::start("full", dir.path());
    let accepted: u64 = other.hear().parse().unwrap();
    assert!(accepted > 100, "{accepted}");
    let found: Vec<u64> = drain(&queue).iter().map(|value| number(value)).collect();
    assert_eq!(found, (0..accepted).collect::<Vec<_>>());
    // Space is back.
    put(&queue, &Record::of(&accepted.to_le_bytes()), 5).unwrap();
    put(&queue, &Record::of(&accepted.to_le_bytes()), 0).unwrap();
    assert_eq!(drain(&queue).len(), 2);
    drop((queue, engine, other));
    let (_engine, queue) = open(dir.path());
    assert!(drain(&queue).is_empty());
}

fn bytes_in(dir: &Path) -> u64 {
    std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            // A segment may be deleted while we look.
            entry.metadata().map_or(0, |meta| meta.len())
        })
        .sum()
}

#[test]
fn a_queue_that_is_worked_off_stays_small_on_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let (engine, queue) = open(dir.path());
    let lane = dir
        .path()
        .join("q/")
        .read_dir()
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let value = [7u8; 1000];
    let later = SystemTime::now() + Duration::from_secs(3600);
    let key = b"waits";
    let waits = put(
        &queue,
        &Record {
            due_ns: Some(later.duration_since(UNIX_EPOCH).unwrap().as_nanos() as i64),
            unique: Some(key),
            ..Record::of(&value)
        },
        0,
    )
    .unwrap();
    let batch = [Record::of(&value); 100];
    let soon = || Wait::Until(Instant::now() + Duration::from_secs(20));
    let mut done = 0;
    for _ in 0..300 {
        queue.put_run(&batch, 0, false, soon()).unwrap();
        done += drain(&queue).len();
    }
    assert_eq!(done, 30_000);
    // 30 MB went through; the first segment waits with its job, and one is being written.
    let last = std::fs::read_dir(&lane)
        .unwrap()
        .filter(|entry| {
            entry
                .as_ref()
                .unwrap()
                .path()
                .extension()
                .is_some_and(|e| e == "seg")
        })
        .map(|entry| entry.unwrap().metadata().unwrap().len())
        .max()
        .unwrap();
    within(Duration::from_secs(15), "finished segments go", || {
        bytes_in(&lane) < last + (1 << 20)
    });
    assert!(engine.objects().is_ok());
    drop((queue, engine));

    // A session that knows nothing of it: the job still waits, and its key is taken.
    let (engine, queue) = open(dir.path());
    let again = Record {
        unique: Some(key),
        ..Record::of(&value)
    };
    assert_eq!(put(&queue, &again, 0).unwrap().id, waits.id);
    put(&queue, &Record::of(b"now_____"), 0).unwrap();
    assert_eq!(drain(&queue).len(), 1);
    assert!(queue.cancel(waits.id).unwrap());
    within(
        Duration::from_secs(15),
        "the first segment goes too",
        || !lane.join("00000000000000000001.seg").exists(),
    );
    drop((queue, engine));
    let (_engine, queue) = open(dir.path());
    assert!(drain(&queue).is_empty());
    assert!(!put(&queue, &again, 0).unwrap().duplicate);
    assert_eq!(drain(&queue).len(), 1);
}
