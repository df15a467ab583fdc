//! What the death of a publisher or subscriber does to the others: nothing, and every count stays exact.

#[path = "common/channels.rs"]
mod channels;
mod common;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use channels::{body, next, open, play, rings, soon, Counters};
use common::{role, within, Other};
use headwater_log::channel::{Overflow, Subscription};
use headwater_log::Error;

#[test]
fn child() {
    if let Some((role, dir)) = role() {
        play(&role, &dir);
    }
}

#[test]
fn a_dead_subscriber_lets_its_publisher_go() {
    let tmp = tempfile::tempdir().unwrap();
    let engine = open(tmp.path());
    let channel = engine.channel("a.x").unwrap();
    for _ in 0..5 {
        let mut other = Other::start("listen a.x 1 block 0", tmp.path());
        assert_eq!(other.hear(), "ready");
        assert_eq!(other.hear(), "heard 0");
        assert_eq!(channel.publish(&body(b"x"), soon(100)).unwrap(), 1);
        let waited = std::thread::scope(|scope| {
            let publisher = scope.spawn(|| {
                let reached = channel.publish(&body(b"y"), soon(20_000)).unwrap();
                (reached, Instant::now())
            });
            std::thread::sleep(Duration::from_millis(60));
            let killed = Instant::now();
            other.kill();
            let (reached, end) = publisher.join().unwrap();
            assert_eq!(reached, 0);
            end - killed
        });
        assert!(waited < Duration::from_secs(1), "{waited:?}");
        assert_eq!(channel.publish(&body(b"x"), soon(0)).unwrap(), 0);
        within(Duration::from_secs(1), "its ring is gone", || {
            rings(tmp.path()) == 0
        });
    }
}

/// Publishers that die: what was heard and what was dropped is together what they sent.
fn reconcile(policy: Overflow, buffer: u64, kills: &[&str]) {
    const SURVIVOR: u64 = 4000;
    let tmp = tempfile::tempdir().unwrap();
    let engine = open(tmp.path());
    let mut sub = engine.subscribe("a.*", buffer, policy).unwrap();
    let names: Vec<String> = (0..=kills.len()).map(|n| format!("p{n}")).collect();
    let mut others: Vec<Other> = names
        .iter()
        .enumerate()
        .map(|(n, name)| {
            let (count, kill) = match n {
                0 => (SURVIVOR, "none:1"),
                n => (1_000_000, kills[n - 1]),
            };
            Other::start(&format!("publish {name} {count} {kill}"), tmp.path())
        })
        .collect();
    for other in &mut others {
        assert_eq!(other.hear(), "ready");
    }
    for other in &mut others {
        other.say("go");
    }
    let began = Instant::now();
    let (mut heard, mut told, mut last) = (0, 0, HashMap::<String, u64>::new());
    let mut take = |sub: &mut Subscription| match sub.next() {
        Ok(Some(message)) => {
            heard += 1;
            let number = u64::from_le_bytes(message.value[..8].try_into().unwrap());
            assert_eq!(message.value.len(), 8 + number as usize % 300);
            assert!(message.value[8..].iter().all(|b| *b == number as u8));
            let before = last.insert(message.name.unwrap().to_owned(), number);
            assert!(before < Some(number), "in each publisher's order");
            if policy == Overflow::Block {
                assert_eq!(number, before.map_or(0, |before| before + 1));
            }
            true
        }
        Ok(None) => false,
        Err(Error::SlowConsumer { dropped, .. }) => {
            told += dropped;
            true
        }
        Err(error) => panic!("{error}"),
    };
    // Some are killed from outside, at any instruction.
    let mut alive: Vec<(usize, &mut Other)> = Vec::new();
    for (n, other) in others.iter_mut().enumerate() {
        if n > 0 {
            alive.push((n, other));
        }
    }
    let counters =
        |name: &str, at| Counters::at(&tmp.path().join(format!("{name}.counters"))).get(at);
    let mut turn = 0u32;
    while counters("p0", 1) < SURVIVOR || !alive.is_empty() {
        turn += 1;
        assert!(began.elapsed() < Duration::from_secs(60), "somebody hangs");
        if !take(&mut sub) || turn % 64 == 0 {
            std::thread::sleep(Duration::from_micros(200));
        }
        if turn % 256 == 0 {
            let due = began.elapsed().as_millis() as usize;
            alive.retain_mut(|(n, other)| {
                let random = kills[*n - 1] == "outside:1";
                if random && due > 40 * *n {
                    other.kill();
                    return false;
                }
                random || !other.ended()
            });
        }
    }
    while take(&mut sub) {}
    let done: u64 = names.iter().map(|name| counters(name, 1)).sum();
    let begun: u64 = names.iter().map(|name| counters(name, 0)).sum();
    let sum = heard + sub.dropped();
    assert!(
        done <= sum && sum <= begun,
        "{done} <= {heard} + {} <= {begun}",
        sub.dropped()
    );
    assert!(begun - done <= kills.len() as u64);
    match policy {
        Overflow::Block => assert_eq!(sub.dropped(), 0),
        Overflow::Error => assert_eq!(sub.dropped(), told),
        _ => {}
    }
    drop(sub);
    assert_eq!(rings(tmp.path()), 0);
}

#[cfg(feature = "failpoints")]
const KILLS: [&str; 4] = [
    "ring.copied:900",
    "ring.put:1500",
    "ring.dropped:1200",
    "outside:1",
];
#[cfg(not(feature = "failpoints"))]
const KILLS: [&str; 4] = ["outside:1"; 4];

#[test]
fn publishers_that_die_leave_exact_counts_drop_oldest() {
    for buffer in [1, 7, 200] {
        reconcile(Overflow::DropOldest, buffer, &KILLS);
    }
}

#[test]
fn publishers_that_die_leave_exact_counts_drop_newest() {
    let kills = [KILLS[0], KILLS[1], "outside:1"];
    for buffer in [1, 7, 200] {
        reconcile(Overflow::DropNewest, buffer, &kills);
    }
}

#[test]
fn publishers_that_die_leave_exact_counts_error() {
    let kills = [KILLS[0], KILLS[1], "outside:1"];
    for buffer in [1, 7, 200] {
        reconcile(Overflow::Error, buffer, &kills);
    }
}

#[test]
fn publishers_that_die_leave_exact_counts_block() {
    let kills = [KILLS[0], KILLS[1], "outside:1"];
    for buffer in [1, 7, 200] {
        reconcile(Overflow::Block, buffer, &kills);
    }
}

#[test]
fn subscribers_that_die_slow_nobody() {
    let tmp = tempfile::tempdir().unwrap();
    let engine = open(tmp.path());
    let channel = engine.channel("a.x").unwrap();
    let mut mine = engine.subscribe("a.x", 1_000_000, Overflow::Error).unwrap();
    let (mut sent, mut worst) = (0u64, Duration::ZERO);
    let mut publish = |n: u64| {
        for _ in 0..n {
            let began = Instant::now();
            channel
                .publish(&body(&sent.to_le_bytes()), soon(10_000))
                .unwrap();
            worst = worst.max(began.elapsed());
            sent += 1;
        }
    };
    for round in 0..12u64 {
        let policy = ["oldest", "newest", "block", "error"][round as usize % 4];
        let mut other = Other::start(&format!("listen ** 8 {policy} 0"), tmp.path());
        assert_eq!(other.hear(), "ready");
        publish(if policy == "block" { 8 } else { 500 });
        std::thread::scope(|scope| {
            let killer = scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(5 * round));
                other.kill();
            });
            publish(500);
            killer.join().unwrap();
        });
    }
    assert!(worst < Duration::from_secs(1), "{worst:?}");
    for n in 0..sent {
        assert_eq!(next(&engine, &mut mine), n.to_le_bytes());
    }
    assert_eq!(mine.dropped(), 0);
    within(Duration::from_secs(1), "their rings are gone", || {
        rings(tmp.path()) == 1
    });
    assert!(engine.shared().pages().count() <= 2);
}

#[cfg(feature = "failpoints")]
#[test]
fn a_death_in_the_middle_of_subscribing_is_cleaned_up() {
    let tmp = tempfile::tempdir().unwrap();
    let engine = open(tmp.path());
    for kill in ["channel.entry:1", "channel.file:1"] {
        let mut other = Other::start(&format!("subscribe {kill}"), tmp.path());
        assert!(!other.wait().success());
        within(Duration::from_secs(1), "the slot is freed", || {
            engine.processes().unwrap().len() == 1
        });
        let mut sub = engine.subscribe("a.x", 2, Overflow::Block).unwrap();
        assert_eq!(
            engine
                .channel("a.x")
                .unwrap()
                .publish(&body(b"x"), soon(100))
                .unwrap(),
            1
        );
        assert_eq!(next(&engine, &mut sub), b"x");
        drop(sub);
        assert_eq!((rings(tmp.path()), engine.shared().pages().count()), (0, 0));
    }
}
