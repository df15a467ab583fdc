//! Attempts that fail, are held for too long, or were the last: retries and dead letters.

mod common;

use std::time::Duration;

use common::groups::{append, claim, failed, memory, now_ns, ordered, retry, some, values, within};
use headwater_log::group::{ErrorNote, JobId, Nack, NackOutcome};
use headwater_log::log::Record;
use headwater_log::options::{GroupConfig, Ordering};
use headwater_log::Error;

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
fn a_message_dies_however_much_was_said_of_it() {
    let (engine, stream) = memory();
    let (group, _) = engine
        .declare_group("orders", "billing", &retry(Some(30), 0.0))
        .unwrap();
    append(&stream, None, "poison");
    // In JSON six times as long.
    let long = "\u{1}".repeat(256 << 10);
    let nack = Nack {
        delay: Some(Duration::ZERO),
        counted: true,
        error: Some(ErrorNote {
            kind: "ValueError".to_owned(),
            message: long.clone(),
            traceback: long,
        }),
    };
    for attempt in 1..=30 {
        let got = within("it comes again", || some(claim(&group, 1)));
        assert_eq!(got[0].attempt, attempt);
        let outcome = group.nack(got[0].ticket, &nack).unwrap();
        assert_eq!(outcome == NackOutcome::Dead, attempt == 30);
    }
    let dead = group.dead_list(None, 1).unwrap();
    assert_eq!(dead[0].history.len(), 30);
    let told = |n: usize| dead[0].history[n].error.is_some();
    assert!(told(29) && told(25) && !told(0), "the newest are told");
}
