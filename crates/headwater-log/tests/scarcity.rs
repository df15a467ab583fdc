//! A process that has no file descriptor left, no room on the disk or little time: what it cannot do it says, and nothing is lost
//! or given up by it.

mod common;

use std::collections::BTreeSet;
use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

use common::groups::failed;
use common::Other;
use headwater_log::group::{Source, Ticket};
use headwater_log::log::Record;
use headwater_log::options::{Durability, GroupConfig, OpenOptions, StreamConfig};
use headwater_log::stream::{Conditions, Stream, Wait};
use headwater_log::{Engine, Error};

fn open(dir: &Path) -> (Engine, std::sync::Arc<Stream>, Source) {
    let options = OpenOptions {
        // Nobody syncs but whoever says so.
        durability: Some(Durability::Never),
        ..OpenOptions::new(dir)
    };
    let engine = Engine::open(&options).unwrap();
    let config = StreamConfig::default();
    let (stream, _) = engine.declare_stream("orders", &config).unwrap();
    let (group, _) = engine
        .declare_group("orders", "billing", &GroupConfig::default())
        .unwrap();
    (engine, stream, group)
}

fn append(stream: &Stream, from: u64, to: u64) {
    for n in from..to {
        let mut value = [0; 1000];
        value[..8].copy_from_slice(&n.to_le_bytes());
        let wait = Wait::Until(Instant::now() + Duration::from_secs(10));
        stream
            .append(&Record::of(&value), &Conditions::default(), wait)
            .unwrap();
    }
}

fn claim(group: &Source, max: usize) -> Result<Vec<(Ticket, u64)>, Error> {
    let mut got = Vec::new();
    group.claim(max, &mut |ticket, _, _, record| {
        let mut number = [0; 8];
        number.copy_from_slice(&record.value[..8]);
        got.push((ticket, u64::from_le_bytes(number)));
    })?;
    Ok(got)
}

/// Takes every descriptor that this process can have.
fn take_all() -> Vec<File> {
    let limit = libc::rlimit {
        rlim_cur: 256,
        rlim_max: 256,
    };
    // SAFETY: a valid limit, of a process that ends after this test.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) }, 0);
    std::iter::from_fn(|| File::open("/dev/null").ok()).collect()
}

fn no_descriptor(error: &Error) -> bool {
    matches!(error, Error::Io { source, .. } if source.raw_os_error() == Some(libc::EMFILE))
}

fn no_file_may_grow(beyond: u64) {
    let limit = libc::rlimit {
        rlim_cur: beyond,
        rlim_max: libc::RLIM_INFINITY,
    };
    // SAFETY: a valid limit; the signal is ignored so that the calls fail instead.
    unsafe {
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
        assert_eq!(libc::setrlimit(libc::RLIMIT_FSIZE, &limit), 0);
    }
}

#[test]
fn child() {
    let Some((role, dir)) = common::role() else {
        return;
    };
    let (engine, stream, group) = open(Path::new(&dir));
    match role.as_str() {
        "sync" => {
            append(&stream, 0, 100);
            let taken = take_all();
            let soon = || Some(Instant::now() + Duration::from_secs(5));
            let error = engine.flush(soon()).unwrap_err();
            assert!(no_descriptor(&error), "{error}");
            append(&stream, 100, 110);
            drop(taken);
            engine.flush(soon()).unwrap();
            assert!(stream.info().unwrap().synced);
        }
        "claim" => {
            append(&stream, 0, 100);
            let mut found: BTreeSet<u64> = BTreeSet::new();
            let mut add = |got: Vec<(Ticket, u64)>| {
                for (_, number) in got {
                    assert!(found.insert(number), "{number} came twice");
                }
                found.len()
            };
            add(claim(&group, 50).unwrap());
            add(claim(&group, 1).unwrap());
            // From here on its list of files is old.
            append(&stream, 100, 300);
            let taken = take_all();
            let error = loop {
                match claim(&group, 1) {
                    Ok(got) => assert!(add(got) < 100, "it needed no descriptor"),
                    Err(error) => break error,
                }
            };
            assert!(no_descriptor(&error), "{error}");
            drop(taken);
            common::within(Duration::from_secs(5), "all of them", || {
                add(claim(&group, 1000).unwrap_or_default()) == 300
            });
        }
        "full" => {
            append(&stream, 0, 4000);
            let mut held = Vec::new();
            while held.len() < 4000 {
                held.extend(claim(&group, 1000).unwrap());
            }
            no_file_may_grow(4096);
            let mut acked = 0;
            let refused = loop {
                match group.ack_one(held[acked].0) {
                    Ok(kept) => assert!(kept),
                    Err(error) => break error,
                }
                acked += 1;
            };
            assert!(matches!(refused, Error::StorageFull { .. }), "{refused}");
            no_file_may_grow(libc::RLIM_INFINITY);
            // Space is back: the one that was refused is still in hand.
            assert!(group.ack_one(held[acked].0).unwrap());
            common::say(&held[acked].1.to_string());
            common::hear();
        }
        "hang" => {
            let config = GroupConfig {
                lease: Some(1.0),
                ..GroupConfig::default()
            };
            group.alter(&config).unwrap();
            append(&stream, 0, 1);
            claim(&group, 1).unwrap();
            common::say("held");
            common::hear();
        }
        "wait" => {
            common::say("here");
            while claim(&group, 1).unwrap().is_empty() {
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        "shorter" => {
            let config = GroupConfig {
                lease: Some(0.05),
                ..GroupConfig::default()
            };
            group.alter(&config).unwrap();
            let until = Instant::now() + Duration::from_millis(1500);
            while Instant::now() < until {
                assert!(claim(&group, 1).unwrap().is_empty(), "it was stolen");
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        _ => {
            claim(&group, 1).unwrap();
            let taken = take_all();
            common::say("ready");
            common::hear();
            let error = claim(&group, 1).unwrap_err();
            assert!(no_descriptor(&error), "{error}");
            drop(taken);
            assert_eq!(claim(&group, 1).unwrap().len(), 1);
        }
    }
    common::say("done");
}

#[test]
fn a_file_that_cannot_be_opened_to_be_synced_is_no_failed_sync() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(Other::start("sync", dir.path()).hear(), "done");
}

#[test]
fn a_record_that_cannot_be_read_now_comes_again() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(Other::start("claim", dir.path()).hear(), "done");
}

#[test]
fn a_journal_that_cannot_be_read_now_is_read_later() {
    let dir = tempfile::tempdir().unwrap();
    let (_engine, stream, group) = open(dir.path());
    append(&stream, 0, 10);
    let mut other = Other::start("follow", dir.path());
    other.hear();
    // Enough for the journal to go on in another file.
    for _ in 0..1500 {
        for (ticket, _) in claim(&group, 1).unwrap() {
            group.nack(ticket, &failed_at_once()).unwrap();
        }
    }
    other.say("go on");
    assert_eq!(other.hear(), "done");
}

fn failed_at_once() -> headwater_log::group::Nack {
    headwater_log::group::Nack {
        delay: Some(Duration::ZERO),
        counted: false,
        ..failed("not yet")
    }
}

#[test]
fn an_ack_that_finds_no_room_is_refused_and_its_message_comes_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut other = Other::start("full", dir.path());
    let last: u64 = other.hear().parse().unwrap();
    assert!(last > 100, "{last}");
    other.kill();
    let (_engine, _stream, group) = open(dir.path());
    let mut found = BTreeSet::new();
    while found.len() < 3999 - last as usize {
        found.extend(claim(&group, 1000).unwrap().into_iter().map(|got| got.1));
    }
    assert_eq!(found, (last + 1..4000).collect());
    assert!(claim(&group, 1).unwrap().is_empty());
}

#[test]
fn a_lease_that_is_made_shorter_takes_nothing_from_who_is_alive() {
    let dir = tempfile::tempdir().unwrap();
    let (_engine, stream, group) = open(dir.path());
    append(&stream, 0, 1);
    let got = claim(&group, 1).unwrap();
    let mut other = Other::start("shorter", dir.path());
    assert_eq!(other.hear(), "done");
    assert!(group.ack_one(got[0].0).unwrap());
}

#[test]
fn who_hangs_is_watched_from_the_first_look() {
    let dir = tempfile::tempdir().unwrap();
    // The janitor does not know of the group.
    let _engine = Engine::open(&OpenOptions {
        durability: Some(Durability::Never),
        ..OpenOptions::new(dir.path())
    });
    let mut holder = Other::start("hang", dir.path());
    holder.hear();
    let mut waiting = Other::start("wait", dir.path());
    waiting.hear();
    holder.signal(libc::SIGSTOP);
    let began = Instant::now();
    assert_eq!(waiting.hear(), "done");
    let took = began.elapsed();
    let within = Duration::from_millis(900)..Duration::from_millis(2000);
    assert!(within.contains(&took), "{took:?}");
}
