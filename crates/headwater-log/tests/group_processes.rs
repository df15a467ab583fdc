//! Groups of several processes: who dies, who is stopped, who comes late, and what the others get then.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use common::crew::{
    acked, claim, config, declared, fill, listen, numbers, opened, wait, Story, NOW,
};
use common::{hear, role, say, within, Other};
use headwater_log::group::{Nack, NackOutcome, Ticket};
use headwater_log::options::{Durability, OpenOptions, Ordering, RetryPolicy};
use headwater_log::Engine;

/// What the other processes do: the role's first word, then its arguments.
#[test]
fn child() {
    let Some((role, dir)) = role() else { return };
    let words: Vec<&str> = role.split(' ').collect();
    if words[0] == "killed" {
        // Before any other thread runs.
        std::env::set_var("HEADWATER_KILL", words[1]);
    }
    let (engine, group) = opened(&dir);
    match words[0] {
        "hold" => {
            let got = wait(
                &engine,
                &group,
                words[1].parse().unwrap(),
                Duration::from_secs(20),
            );
            say(&format!("{}", got.len()));
            match hear().as_str() {
                "ack" => say(&format!("{}", acked(&group, &got))),
                "close" => engine.close().unwrap(),
                "release" => {
                    let tickets: Vec<Ticket> = got.iter().map(|got| got.ticket).collect();
                    group.release(&tickets).unwrap();
                    say("released");
                    // Its leaving would ring everybody.
                    hear();
                }
                "retry" => {
                    let nack = Nack {
                        delay: Some(Duration::from_millis(200)),
                        counted: true,
                        error: None,
                    };
                    let outcome = group.nack(got[0].ticket, &nack).unwrap();
                    assert!(matches!(outcome, NackOutcome::Retry { .. }));
                    say("given back");
                    hear();
                }
                _ => {}
            }
        }
        "resume" => {
            say("ready");
            hear();
            group.resume().unwrap();
            hear();
        }
        "wait" => {
            say("ready");
            let got = wait(&engine, &group, 1, Duration::from_secs(20));
            say(&format!("{} {}", got[0].number, got[0].attempt));
            hear();
        }
        "work" | "killed" => {
            say("ready");
            let pause = match words[..] {
                ["work", ms] => Duration::from_millis(ms.parse().unwrap()),
                _ => Duration::ZERO,
            };
            loop {
                let got = wait(&engine, &group, 4, Duration::from_millis(200));
                for each in &got {
                    say(&format!("got {} {}", each.number, each.attempt));
                }
                for each in &got {
                    std::thread::sleep(pause);
                    say(&format!("acking {}", each.number));
                    if group.ack_one(each.ticket).unwrap() {
                        say(&format!("acked {}", each.number));
                    } else {
                        say(&format!("lost {}", each.number));
                    }
                }
                if got.is_empty() {
                    say("idle");
                }
            }
        }
        other => panic!("{other}"),
    }
}

#[test]
fn what_a_killed_process_held_comes_at_once_and_counts() {
    let dir = tempfile::tempdir().unwrap();
    let (engine, group) = declared(dir.path(), &config(Ordering::None, 30.0, NOW));
    fill(&engine, 3, 3);
    let mut other = Other::start("hold 3", dir.path());
    assert_eq!(other.hear(), "3");
    assert_eq!(numbers(&claim(&group, 10)), [] as [u64; 0]);
    let began = Instant::now();
    other.kill();
    let got = wait(&engine, &group, 10, Duration::from_secs(5));
    assert!(
        began.elapsed() < Duration::from_secs(2),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(numbers(&got), [0, 1, 2]);
    assert!(got.iter().all(|got| got.attempt == 2));
    assert!(acked(&group, &got));
    assert_eq!(group.lag().unwrap(), 0);
}

#[test]
fn a_process_that_leaves_gives_back_at_once_and_nothing_counts() {
    let dir = tempfile::tempdir().unwrap();
    let (engine, group) = declared(dir.path(), &config(Ordering::None, 30.0, NOW));
    fill(&engine, 2, 2);
    let mut other = Other::start("hold 2", dir.path());
    assert_eq!(other.hear(), "2");
    other.say("close");
    let got = wait(&engine, &group, 10, Duration::from_secs(5));
    assert_eq!(numbers(&got), [0, 1]);
    assert!(got.iter().all(|got| got.attempt == 1));
    assert!(other.wait().success());
}

#[test]
fn a_stopped_process_loses_its_lease_and_its_late_ack_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (engine, group) = declared(dir.path(), &config(Ordering::Key, 0.6, NOW));
    fill(&engine, 2, 1);
    let mut other = Other::start("hold 1", dir.path());
    assert_eq!(other.hear(), "1");
    other.signal(libc::SIGSTOP);
    let began = Instant::now();
    let got = wait(&engine, &group, 10, Duration::from_secs(5));
    let took = began.elapsed();
    assert_eq!(numbers(&got), [0], "the first of its key, not the second");
    assert_eq!(got[0].attempt, 2);
    assert!(
        took > Duration::from_millis(450) && took < Duration::from_millis(1600),
        "{took:?}"
    );
    other.signal(libc::SIGCONT);
    other.say("ack");
    assert_eq!(other.hear(), "false");
    assert_eq!(group.stats().unwrap().leased, 1, "it is still ours");
    assert!(acked(&group, &got));
    assert_eq!(numbers(&claim(&group, 10)), [1]);
}

#[test]
fn a_living_process_keeps_what_it_holds_for_many_leases() {
    let dir = tempfile::tempdir().unwrap();
    let (engine, group) = declared(dir.path(), &config(Ordering::None, 0.2, NOW));
    fill(&engine, 1, 1);
    let mut other = Other::start("hold 1", dir.path());
    assert_eq!(other.hear(), "1");
    let got = wait(&engine, &group, 10, Duration::from_millis(1500));
    assert_eq!(numbers(&got), [] as [u64; 0]);
    other.say("ack");
    assert_eq!(other.hear(), "true");
    assert_eq!(group.lag().unwrap(), 0);
}

#[test]
fn who_sleeps_is_woken_by_what_others_give_back() {
    let dir = tempfile::tempdir().unwrap();
    // Where nothing is ever synced: a sync rings too.
    let never = OpenOptions {
        durability: Some(Durability::Never),
        ..OpenOptions::new(dir.path())
    };
    Engine::open(&never).unwrap().close().unwrap();
    let (engine, group) = declared(dir.path(), &config(Ordering::None, 30.0, NOW));
    for (what, least) in [("release", 0), ("retry", 180)] {
        fill(&engine, 1, 1);
        let mut holder = Other::start("hold 1", dir.path());
        assert_eq!(holder.hear(), "1");
        let mut sleeper = Other::start("wait", dir.path());
        assert_eq!(sleeper.hear(), "ready");
        // Until it sleeps: its process has asked to be rung.
        std::thread::sleep(Duration::from_millis(100));
        let began = Instant::now();
        holder.say(what);
        holder.hear();
        let attempt = if what == "retry" { 2 } else { 1 };
        assert_eq!(sleeper.hear(), format!("0 {attempt}"));
        let took = began.elapsed();
        assert!(
            took >= Duration::from_millis(least) && took < Duration::from_millis(1000),
            "{what}: {took:?}"
        );
        drop(sleeper);
        let got = wait(&engine, &group, 1, Duration::from_secs(5));
        assert!(acked(&group, &got));
    }
    fill(&engine, 1, 1);
    group.pause().unwrap();
    let mut resumer = Other::start("resume", dir.path());
    assert_eq!(resumer.hear(), "ready");
    let end = Instant::now() + Duration::from_millis(300);
    while Instant::now() < end {
        assert_eq!(numbers(&claim(&group, 1)), [] as [u64; 0]);
        std::thread::sleep(Duration::from_millis(20));
    }
    resumer.say("now");
    let got = wait(&engine, &group, 1, Duration::from_secs(5));
    assert_eq!(numbers(&got), [0]);
}

#[test]
fn a_message_that_kills_its_processes_becomes_a_dead_letter_that_outlives_its_record() {
    let dir = tempfile::tempdir().unwrap();
    let retry = RetryPolicy {
        max_attempts: Some(2),
        ..NOW
    };
    let (engine, group) = declared(dir.path(), &config(Ordering::None, 30.0, retry));
    fill(&engine, 1, 1);
    for _ in 0..2 {
        let mut victim = Other::start("hold 1", dir.path());
        assert_eq!(victim.hear(), "1");
        victim.kill();
    }
    // Nobody claims: it is seen all the same.
    within(Duration::from_secs(5), "a dead letter", || {
        group.stats().unwrap().dead == 1
    });
    let stream = engine.open_stream("orders").unwrap();
    stream.trim(stream.info().unwrap().next_seq).unwrap();
    let letters = group.dead_list(None, 10).unwrap();
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].record.get().value, b"0");
    assert!(letters[0].reason.starts_with("expired"));
    let attempts: Vec<u32> = letters[0].history.iter().map(|past| past.attempt).collect();
    assert_eq!(attempts, [1, 2]);
    assert_eq!(group.dead_redrive(None, None).unwrap(), 1);
    assert_eq!(group.dead_redrive(None, None).unwrap(), 0);
    let got = claim(&group, 10);
    assert_eq!((numbers(&got), got[0].attempt), (vec![0], 1));
}

/// One worker after the other is killed with something in hand. Their stories, put together: every key in order, nothing twice
/// after its ack.
#[test]
fn keys_stay_in_order_over_kills() {
    let dir = tempfile::tempdir().unwrap();
    let (engine, group) = declared(dir.path(), &config(Ordering::Key, 5.0, NOW));
    let (count, keys) = (400, 7);
    fill(&engine, count, keys);
    let mut story = Story::default();
    for limit in [3, 9, 14, 22, 31, 8, 5, 17] {
        let mut worker = Other::start("work 1", dir.path());
        let mut left = limit;
        loop {
            let said = worker.hear();
            story.lines.push(said.clone());
            left -= i32::from(said.starts_with("got"));
            if left <= 0 || group.lag().unwrap() == 0 {
                break;
            }
        }
        worker.kill();
        story.rest(&mut worker);
    }
    let mut last = Other::start("work", dir.path());
    within(Duration::from_secs(10), "all done", || {
        group.lag().unwrap() == 0
    });
    last.kill();
    story.rest(&mut last);
    let (mut first, mut seen) = (BTreeMap::<u64, Vec<u64>>::new(), BTreeSet::new());
    for number in story.of("got") {
        if seen.insert(number) {
            first.entry(number % keys).or_default().push(number);
        }
    }
    for (key, numbers) in first {
        let expected: Vec<u64> = (0..count).filter(|n| n % keys == key).collect();
        assert!(numbers == expected, "key {key} out of order");
    }
    let mut over = BTreeSet::new();
    for line in &story.lines {
        if let Some(number) = line.strip_prefix("acked ") {
            assert!(over.insert(number.to_owned()), "acked twice: {number}");
        } else if let Some(rest) = line.strip_prefix("got ") {
            let number = rest.split(' ').next().unwrap();
            assert!(!over.contains(number), "came again after its ack: {number}");
        }
    }
}

/// A kill at each point of an append to the journal: the claim or ack is done or not, and the state is the same for everybody.
#[cfg(feature = "failpoints")]
#[test]
fn a_kill_inside_any_append_leaves_a_whole_state() {
    for point in [
        "append:body",
        "append:commit",
        "append:publish",
        "roll:created",
        "roll:linked",
    ] {
        let dir = tempfile::tempdir().unwrap();
        let (engine, group) = declared(dir.path(), &config(Ordering::Key, 5.0, NOW));
        let count = if point.starts_with("roll") { 1500 } else { 60 };
        fill(&engine, count, 7);
        let mut story = Story::default();
        let hits: &[u32] = if point.starts_with("roll") {
            &[1]
        } else {
            &[1, 2, 3, 4, 7, 20]
        };
        for hit in hits {
            let mut worker = Other::start(&format!("killed {point}:{hit}"), dir.path());
            story.rest(&mut worker);
            assert!(!worker.wait().success(), "{point}:{hit} was not come to");
        }
        let over: BTreeSet<u64> = story.of("acked").into_iter().collect();
        let maybe: BTreeSet<u64> = story.of("acking").into_iter().collect();
        let mut rest = BTreeSet::new();
        loop {
            let got = wait(&engine, &group, 50, Duration::from_millis(300));
            if got.is_empty() {
                break;
            }
            for each in &got {
                assert!(
                    !over.contains(&each.number),
                    "{point}: acked {}",
                    each.number
                );
                assert!(rest.insert(each.number), "{point}: twice {}", each.number);
            }
            assert!(acked(&group, &got));
        }
        for number in 0..count {
            assert!(
                rest.contains(&number) || maybe.contains(&number),
                "{point}: {number} is lost"
            );
        }
        assert_eq!(group.lag().unwrap(), 0);
        let stats = group.stats().unwrap();
        assert_eq!(stats.acked_total, count, "{point}");
    }
}

/// Three workers share a group; each message is acked once.
#[test]
fn a_group_is_shared_by_its_processes() {
    let dir = tempfile::tempdir().unwrap();
    let (engine, group) = declared(dir.path(), &config(Ordering::Key, 5.0, NOW));
    let count = 2000;
    fill(&engine, count, 50);
    let mut workers: Vec<Other> = (0..3).map(|_| Other::start("work", dir.path())).collect();
    let done = std::sync::atomic::AtomicU64::new(0);
    let stories: Vec<Story> = std::thread::scope(|scope| {
        let listeners: Vec<_> = workers
            .iter_mut()
            .map(|worker| scope.spawn(|| listen(worker, &done, count)))
            .collect();
        listeners
            .into_iter()
            .map(|listener| listener.join().unwrap())
            .collect()
    });
    assert_eq!(group.lag().unwrap(), 0);
    let mut all: Vec<u64> = stories.iter().flat_map(|story| story.of("acked")).collect();
    all.sort_unstable();
    let each_once = all.len() as u64 == count && all.iter().zip(0..).all(|(got, n)| *got == n);
    assert!(each_once, "{} acked of {count}", all.len());
    assert!(stories.iter().all(|story| story.of("lost").is_empty()));
}
