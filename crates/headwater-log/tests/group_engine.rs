//! Groups over an engine, in one process: what is handed out, settled and remembered.

use std::time::Duration;

use headwater_log::group::{ErrorNote, JobId, Nack, NackOutcome, SeekTo, Source, Ticket};
use headwater_log::log::Record;
use headwater_log::options::{
    Durability, GroupConfig, GroupStart, OpenOptions, Ordering, RetryPolicy, StreamConfig,
};
use headwater_log::stream::{Conditions, Stream, Wait};
use headwater_log::{Engine, Error};

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

fn memory() -> (Engine, std::sync::Arc<Stream>) {
    let engine = Engine::memory(None, &OpenOptions::new("memory:")).unwrap();
    let (stream, _) = engine
        .declare_stream("orders", &StreamConfig::default())
        .unwrap();
    (engine, stream)
}

fn retry(max_attempts: Option<u32>, delay: f64) -> GroupConfig {
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

fn failed(message: &str) -> Nack {
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

fn now_ns() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.unwrap().as_nanos() as i64
}

fn within<T>(what: &str, mut find: impl FnMut() -> Option<T>) -> T {
    let end = std::time::Instant::now() + Duration::from_secs(5);
    loop {
        if let Some(found) = find() {
            return found;
        }
        assert!(std::time::Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn some(got: Vec<Got>) -> Option<Vec<Got>> {
    (!got.is_empty()).then_some(got)
}

#[test]
fn a_failed_attempt_comes_again_after_its_backoff_and_its_history_is_told_when_it_is_dead() {
    let (engine, stream) = memory();
    let (group, _) = engine
        .declare_group("orders", "billing", &retry(Some(3), 0.05))
        .unwrap();
    append(&stream, Some("k"), "poison");
    let mut delays = Vec::new();
    for attempt in 1..=3 {
        let got = within("another attempt", || some(claim(&group, 1)));
        assert_eq!(got[0].attempt, attempt);
        let before = now_ns();
        match group
            .nack(got[0].ticket, &failed(&format!("boom {attempt}")))
            .unwrap()
        {
            NackOutcome::Retry { due_ns } => delays.push(due_ns - before),
            outcome => assert_eq!((attempt, outcome), (3, NackOutcome::Dead)),
        }
        assert_eq!(claim(&group, 1), vec![], "not before it is due");
    }
    // 0.05 s and 0.1 s, each give or take the half.
    assert!(
        delays[0] >= 25_000_000 && delays[0] <= 80_000_000,
        "{delays:?}"
    );
    assert!(
        delays[1] >= 50_000_000 && delays[1] <= 155_000_000,
        "{delays:?}"
    );
    let letters = group.dead_list(None, 10).unwrap();
    let letter = &letters[0];
    assert_eq!(letter.record.get().value, b"poison");
    assert_eq!(letter.record.get().key, Some(&b"k"[..]));
    assert_eq!(letter.reason, "error: ValueError: boom 3");
    assert_eq!(letter.error.as_ref().unwrap().traceback, "at boom 3");
    let said: Vec<(u32, String)> = letter
        .history
        .iter()
        .map(|past| (past.attempt, past.error.clone().unwrap().message))
        .collect();
    assert_eq!(
        said,
        [
            (1, "boom 1".to_owned()),
            (2, "boom 2".to_owned()),
            (3, "boom 3".to_owned())
        ]
    );
    let times: Vec<i64> = letter.history.iter().map(|past| past.time_ns).collect();
    assert!(times.is_sorted() && letter.died_ns >= times[2]);
    assert_eq!(
        group.dead_by_error().unwrap(),
        [("ValueError".to_owned(), 1)]
    );
    assert_eq!(group.lag().unwrap(), 0, "dead is finished");
}

#[test]
fn an_attempt_that_does_not_count_is_as_if_it_had_not_been() {
    let (engine, stream) = memory();
    let (group, _) = engine
        .declare_group("orders", "billing", &retry(Some(1), 0.0))
        .unwrap();
    append(&stream, None, "x");
    for _ in 0..5 {
        let got = claim(&group, 1);
        assert_eq!(got[0].attempt, 1);
        let nack = Nack {
            delay: Some(Duration::ZERO),
            ..Nack::default()
        };
        let outcome = group.nack(got[0].ticket, &nack).unwrap();
        assert!(matches!(outcome, NackOutcome::Retry { .. }));
    }
    let got = claim(&group, 1);
    assert_eq!(
        group.nack(got[0].ticket, &failed("last")).unwrap(),
        NackOutcome::Dead
    );
}

#[test]
fn dead_letters_are_paged_edited_sent_again_once_and_deleted() {
    let (engine, stream) = memory();
    let (group, _) = engine
        .declare_group("orders", "billing", &ordered(Ordering::Key))
        .unwrap();
    for n in 0..5 {
        append(&stream, Some(&format!("k{n}")), &n.to_string());
    }
    let got = claim(&group, 10);
    // They die in another order than they were appended in.
    for n in [3, 1, 4, 0, 2] {
        assert!(group
            .reject(got[n].ticket, &format!("no {}", n % 2), None)
            .unwrap());
    }
    let mut order = Vec::new();
    let mut after = None;
    loop {
        let page = group.dead_list(after, 2).unwrap();
        order.extend(page.iter().map(|letter| letter.id.seq - 1));
        match page.last() {
            Some(last) => after = Some(last.id),
            None => break,
        }
    }
    assert_eq!(order, [3, 1, 4, 0, 2]);
    let by_error = group.dead_by_error().unwrap();
    let expected = [
        ("rejected: no 0".to_owned(), 3),
        ("rejected: no 1".to_owned(), 2),
    ];
    assert_eq!(by_error, expected);
    let id = |n: usize| JobId {
        lane: 0,
        seq: got[n].ticket.seq,
    };
    let edited = Record {
        key: Some(b"k3"),
        ..Record::of(b"edited")
    };
    group.dead_edit(id(3), &edited).unwrap();
    let missing = JobId { lane: 0, seq: 77 };
    assert!(matches!(
        group.dead_edit(missing, &edited),
        Err(Error::NotFound { .. })
    ));
    let asked = [id(3), missing, id(0), id(3)];
    assert_eq!(group.dead_redrive(Some(&asked), None).unwrap(), 2);
    assert_eq!(group.dead_redrive(Some(&asked), None).unwrap(), 0);
    let again = claim(&group, 10);
    assert_eq!(values(&again), ["0", "edited"]);
    assert_eq!(again[1].ticket.seq, got[3].ticket.seq, "the id it had");
    assert!(again.iter().all(|got| got.attempt == 1));
    // One that dies again is told as it is now.
    assert!(group.reject(again[1].ticket, "still", None).unwrap());
    let letters = group.dead_list(None, 10).unwrap();
    assert_eq!(letters.last().unwrap().record.get().value, b"edited");
    assert_eq!(letters.len(), 4);
    // The page behind one that was sent again meanwhile goes on where it was.
    let first = letters[0].id;
    assert_eq!(group.dead_redrive(Some(&[first]), None).unwrap(), 1);
    assert_eq!(group.dead_list(Some(first), 10).unwrap().len(), 3);
    assert_eq!(group.dead_redrive(None, Some(1)).unwrap(), 1);
    assert_eq!(group.dead_purge().unwrap(), 2);
    assert_eq!(group.dead_purge().unwrap(), 0);
    assert_eq!(group.stats().unwrap().dead, 0);
}

#[test]
fn seeking_moves_the_group_and_takes_from_its_holders() {
    let (engine, stream) = memory();
    let (group, _) = engine
        .declare_group("orders", "billing", &ordered(Ordering::Key))
        .unwrap();
    for n in 0..10 {
        let record = Record {
            key: Some(b"k"),
            time_ns: Some(n * 1000),
            ..Record::of(n.to_string().leak().as_bytes())
        };
        let wait = Wait::Until(std::time::Instant::now() + Duration::from_secs(10));
        stream
            .append(&record, &Conditions::default(), wait)
            .unwrap();
    }
    let next = || {
        let got = claim(&group, 1);
        (group.lag().unwrap(), got[0].value.clone(), got[0].ticket)
    };
    let (lag, value, held) = next();
    assert_eq!((lag, value.as_str()), (10, "0"));
    for (to, left, first) in [
        (SeekTo::Seq(6), 5, "5"),
        (SeekTo::Time(2500), 7, "3"),
        (SeekTo::Earliest, 10, "0"),
    ] {
        group.seek(to).unwrap();
        let (lag, value, _) = next();
        assert_eq!((lag, value.as_str()), (left, first), "{to:?}");
    }
    assert!(!group.ack_one(held).unwrap(), "of before");
    group.seek(SeekTo::Latest).unwrap();
    assert_eq!(claim(&group, 1), vec![]);
    assert_eq!(group.lag().unwrap(), 0);
    append(&stream, None, "new");
    assert_eq!(values(&claim(&group, 5)), ["new"]);
}

#[test]
fn a_new_group_begins_where_it_was_told_once() {
    let (engine, stream) = memory();
    for n in 0..5 {
        append(&stream, None, &n.to_string());
    }
    let starting = |start| GroupConfig {
        start: Some(start),
        ..GroupConfig::default()
    };
    for (name, start, expected) in [
        ("all", GroupStart::Earliest, vec!["0", "1", "2", "3", "4"]),
        ("none", GroupStart::Latest, vec![]),
        ("some", GroupStart::Seq(4), vec!["3", "4"]),
    ] {
        let (group, before) = engine
            .declare_group("orders", name, &starting(start))
            .unwrap();
        assert_eq!(before, None);
        assert_eq!(values(&claim(&group, 10)), expected, "{name}");
    }
    let (again, before) = engine
        .declare_group("orders", "none", &starting(GroupStart::Earliest))
        .unwrap();
    assert_eq!(before.unwrap().start, Some(GroupStart::Latest));
    assert_eq!(claim(&again, 10), vec![], "a start applies when it is made");
    let mut names = engine.groups("orders").unwrap();
    names.sort();
    assert_eq!(names, ["all", "none", "some"]);
}

#[test]
fn the_last_explicit_option_wins_and_the_ordering_stays() {
    let (engine, _stream) = memory();
    let first = GroupConfig {
        ordering: Some(Ordering::Key),
        lease: Some(7.0),
        ..GroupConfig::default()
    };
    engine.declare_group("orders", "billing", &first).unwrap();
    let asked = GroupConfig {
        max_hold: Some(Some(60.0)),
        ..GroupConfig::default()
    };
    let (group, before) = engine.declare_group("orders", "billing", &asked).unwrap();
    assert_eq!(before, Some(first.clone()));
    let expected = GroupConfig {
        max_hold: Some(Some(60.0)),
        ..first
    };
    assert_eq!(group.config().unwrap(), expected);
    let error = engine
        .declare_group("orders", "billing", &ordered(Ordering::None))
        .err()
        .unwrap();
    assert!(
        matches!(&error, Error::Declaration { stored, asked, .. } if stored == "key" && asked == "none"),
        "{error}"
    );
    let wrong = GroupConfig {
        lease: Some(0.0),
        ..GroupConfig::default()
    };
    assert!(matches!(group.alter(&wrong), Err(Error::Usage(_))));
    assert_eq!(group.config().unwrap(), expected);
    let stored = engine.objects().unwrap();
    let stored = stored.iter().find(|object| object.kind == "group").unwrap();
    assert_eq!(stored.config["max_hold"], 60.0);
}

#[test]
fn what_is_held_for_too_long_comes_again_unless_it_is_extended() {
    let (engine, stream) = memory();
    let config = GroupConfig {
        max_hold: Some(Some(0.2)),
        ..retry(Some(2), 0.0)
    };
    let (group, _) = engine.declare_group("orders", "billing", &config).unwrap();
    append(&stream, None, "short");
    append(&stream, None, "long");
    let got = claim(&group, 2);
    let began = std::time::Instant::now();
    assert!(group
        .extend(got[1].ticket, Duration::from_millis(800))
        .unwrap());
    let again = within("it comes again", || some(claim(&group, 2)));
    assert!(began.elapsed() >= Duration::from_millis(190));
    assert_eq!((values(&again), again[0].attempt), (vec!["short"], 2));
    assert!(!group.ack_one(got[0].ticket).unwrap(), "fenced");
    assert!(!group.extend(got[0].ticket, Duration::from_secs(9)).unwrap());
    assert!(group.ack_one(again[0].ticket).unwrap());
    let later = within("the extended one", || some(claim(&group, 2)));
    assert_eq!(values(&later), ["long"]);
    assert!(began.elapsed() >= Duration::from_millis(780));
    // That was its last attempt.
    let letter = within("a dead letter", || group.dead_list(None, 1).unwrap().pop());
    assert!(letter.reason.starts_with("held"), "{}", letter.reason);
    assert_eq!(group.stats().unwrap().leased, 0);
}

#[test]
fn what_is_dropped_is_given_back_by_the_engine_and_wakes_who_waits() {
    let (engine, stream) = memory();
    let (group, _) = engine
        .declare_group("orders", "billing", &GroupConfig::default())
        .unwrap();
    append(&stream, None, "x");
    let got = claim(&group, 1);
    let seen = engine.bell();
    group.arm();
    assert_eq!(claim(&group, 1), vec![]);
    group.give_back_later(got[0].ticket);
    let soon = std::time::Instant::now() + Duration::from_secs(5);
    assert!(engine.wait_bell(seen, Some(soon)));
    let again = claim(&group, 1);
    assert_eq!((values(&again), again[0].attempt), (vec!["x"], 1));
    // Given back twice, or after it was settled: nothing happens.
    group.give_back_later(got[0].ticket);
    assert!(group.ack_one(again[0].ticket).unwrap());
    group.give_back_later(again[0].ticket);
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(group.lag().unwrap(), 0);
}

#[test]
fn records_that_the_stream_lost_are_passed_over() {
    let (engine, stream) = memory();
    let (group, _) = engine
        .declare_group("orders", "billing", &ordered(Ordering::Key))
        .unwrap();
    let value = "x".repeat(2000);
    for n in 0..200 {
        append(&stream, Some(&format!("k{}", n % 2)), &value);
    }
    // Two in hand, others parked behind them.
    let held = claim(&group, 50);
    assert_eq!(held.len(), 2);
    stream.trim(150).unwrap();
    assert!(
        group.lag().unwrap() >= 51,
        "gone ones count until somebody finds them gone"
    );
    assert!(group.ack_one(held[0].ticket).unwrap());
    assert!(group.ack_one(held[1].ticket).unwrap());
    let mut came = Vec::new();
    while let Some(got) = some(claim(&group, 50)) {
        for each in got {
            came.push(each.ticket.seq);
            assert!(group.ack_one(each.ticket).unwrap());
        }
    }
    came.sort_unstable();
    assert_eq!(came, (150..=200).collect::<Vec<u64>>());
    assert_eq!(group.lag().unwrap(), 0);
}

#[test]
fn in_total_order_the_head_holds_up_all_others() {
    let (engine, stream) = memory();
    let config = GroupConfig {
        ordering: Some(Ordering::Total),
        ..retry(Some(2), 0.02)
    };
    let (group, _) = engine.declare_group("orders", "billing", &config).unwrap();
    for n in 0..3 {
        append(&stream, None, &n.to_string());
    }
    let mut came = Vec::new();
    for attempt in [1, 2] {
        let got = within("the head", || some(claim(&group, 10)));
        assert_eq!(claim(&group, 10), vec![]);
        came.push((got[0].value.clone(), got[0].attempt));
        assert_eq!(got[0].attempt, attempt);
        group.nack(got[0].ticket, &failed("no")).unwrap();
    }
    for _ in 0..2 {
        let got = claim(&group, 10);
        came.push((got[0].value.clone(), got[0].attempt));
        assert!(group.ack_one(got[0].ticket).unwrap());
    }
    let expected = [("0", 1), ("0", 2), ("1", 1), ("2", 1)];
    assert!(came
        .iter()
        .zip(expected)
        .all(|((value, n), e)| (value.as_str(), *n) == e));
}

#[test]
fn who_has_a_deleted_group_open_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::open(&OpenOptions::new(dir.path())).unwrap();
    let (stream, _) = engine
        .declare_stream("orders", &StreamConfig::default())
        .unwrap();
    let (group, _) = engine
        .declare_group("orders", "billing", &GroupConfig::default())
        .unwrap();
    append(&stream, None, "x");
    let got = claim(&group, 1);
    engine.delete_group("orders", "billing").unwrap();
    assert!(matches!(
        group.ack_one(got[0].ticket),
        Err(Error::NotFound { .. })
    ));
    assert!(matches!(group.stats(), Err(Error::NotFound { .. })));
    assert!(matches!(
        engine.open_group("orders", "billing"),
        Err(Error::NotFound { .. })
    ));
    // A group made again begins again.
    let (again, before) = engine
        .declare_group("orders", "billing", &GroupConfig::default())
        .unwrap();
    assert_eq!(before, None);
    assert_eq!(values(&claim(&again, 10)), ["x"]);
    engine.delete("stream", "orders").unwrap();
    assert!(matches!(
        again.ack_one(got[0].ticket),
        Err(Error::NotFound { .. })
    ));
    engine.close().unwrap();
}

#[test]
fn in_an_always_directory_what_is_acked_is_synced() {
    let dir = tempfile::tempdir().unwrap();
    let options = OpenOptions {
        durability: Some(Durability::Always),
        ..OpenOptions::new(dir.path())
    };
    let engine = Engine::open(&options).unwrap();
    let (stream, _) = engine
        .declare_stream("orders", &StreamConfig::default())
        .unwrap();
    let (group, _) = engine
        .declare_group("orders", "billing", &retry(Some(1), 0.0))
        .unwrap();
    let seq = append(&stream, None, "x");
    assert_eq!(
        claim(&group, 1),
        vec![],
        "nobody acts on what is not synced"
    );
    let mark = stream.log().visible().max(u64::from(seq > 0));
    stream.log().flush(None).unwrap();
    assert!(stream.log().visible() >= mark);
    let got = claim(&group, 1);
    assert!(matches!(
        group.try_ack_one(got[0].ticket),
        Err(Error::WouldBlock)
    ));
    assert!(group.ack_one(got[0].ticket).unwrap());
    engine.close().unwrap();
}
