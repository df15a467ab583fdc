//! Channels within one process, over memory.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::ring::word;
use super::{Overflow, Publication, Subscription};
use crate::engine::Engine;
use crate::error::Error;
use crate::options::OpenOptions;

fn engine() -> Engine {
    Engine::memory(None, &OpenOptions::new("memory:")).unwrap()
}

fn body(value: &[u8]) -> Publication<'_> {
    Publication {
        value,
        ..Publication::default()
    }
}

fn soon(ms: u64) -> Instant {
    Instant::now() + Duration::from_millis(ms)
}

fn publish(engine: &Engine, name: &str, value: &[u8]) -> usize {
    let channel = engine.channel(name).unwrap();
    channel.publish(&body(value), soon(50)).unwrap()
}

/// All that waits.
fn heard(sub: &mut Subscription) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    while let Some(message) = sub.next().unwrap() {
        found.push(message.value.to_vec());
    }
    found
}

fn numbers(range: std::ops::Range<u32>) -> Vec<Vec<u8>> {
    range.map(|n| n.to_le_bytes().to_vec()).collect()
}

#[test]
fn who_listens_now_hears() {
    let engine = engine();
    assert_eq!(publish(&engine, "a", b"nobody"), 0);
    let mut sub = engine.subscribe("a", 8, Overflow::DropOldest).unwrap();
    let mut other = engine.subscribe("a", 8, Overflow::Block).unwrap();
    let mut elsewhere = engine.subscribe("a.b", 8, Overflow::Block).unwrap();
    assert_eq!(publish(&engine, "a", b"two"), 2);
    assert_eq!(heard(&mut sub), [b"two"]);
    assert_eq!(heard(&mut other), [b"two"]);
    assert!(heard(&mut elsewhere).is_empty());
    sub.close();
    assert!(sub.ended());
    assert_eq!(publish(&engine, "a", b"one"), 1);
    drop(other);
    assert_eq!(publish(&engine, "a", b"none"), 0);
    assert!(heard(&mut sub).is_empty());
}

#[test]
fn everything_said_of_a_message_arrives() {
    let engine = engine();
    let mut plain = engine.subscribe("a.b", 8, Overflow::Error).unwrap();
    let mut wild = engine.subscribe("*.b", 8, Overflow::Error).unwrap();
    let channel = engine.channel("a.b").unwrap();
    for (key, headers) in [
        (None, None),
        (Some(&b""[..]), Some(&b""[..])),
        (Some(&b"key"[..]), None),
        (None, Some(&b"headers"[..])),
        (Some(&b"key\0"[..]), Some(&[0xFF; 300][..])),
    ] {
        let sent = Publication {
            value: b"value",
            key,
            headers,
            time_ns: Some(-5),
        };
        assert_eq!(channel.publish(&sent, soon(50)).unwrap(), 2);
        let found = plain.next().unwrap().unwrap();
        assert_eq!(
            (found.name, found.value, found.key, found.headers),
            (None, &b"value"[..], key, headers)
        );
        assert_eq!(found.time_ns, -5);
        let id = found.id;
        let found = wild.next().unwrap().unwrap();
        assert_eq!(
            (found.name, found.value, found.key, found.headers),
            (Some("a.b"), &b"value"[..], key, headers)
        );
        assert_eq!(found.id, id);
    }
    channel.publish(&body(b""), soon(50)).unwrap();
    let found = plain.next().unwrap().unwrap();
    let now = crate::log::now_ns();
    assert!((now - found.time_ns).abs() < 5_000_000_000);
    assert_eq!((found.value, found.id.number), (&b""[..], 6));
}

#[test]
fn sizes_up_to_the_limit_go_through_and_drop_nothing() {
    let engine = engine();
    let mut sub = engine.subscribe("a", 4, Overflow::Error).unwrap();
    let channel = engine.channel("a").unwrap();
    let limit = 16 << 20;
    for round in 0..3u8 {
        for size in [0, 1, 7, 8, 9, 100_000, 1 << 20, limit, 3] {
            let value: Vec<u8> = (0..size).map(|n| (n as u8).wrapping_add(round)).collect();
            assert_eq!(channel.publish(&body(&value), soon(50)).unwrap(), 1);
            assert!(sub.next().unwrap().unwrap().value == value, "{size}");
        }
    }
    let large = vec![0; limit + 1];
    assert!(matches!(
        channel.publish(&body(&large), soon(50)),
        Err(Error::TooLarge { what: "message", limit: l, .. }) if l == limit as u64
    ));
    let key = Publication {
        key: Some(&large[..70_000]),
        ..body(b"")
    };
    assert!(matches!(
        channel.publish(&key, soon(50)),
        Err(Error::TooLarge { what: "key", .. })
    ));
    assert_eq!((sub.waiting(), sub.dropped()), (0, 0));
}

#[test]
fn drop_oldest_keeps_the_newest() {
    let engine = engine();
    for buffer in [1, 2, 3, 16] {
        let mut sub = engine.subscribe("a", buffer, Overflow::DropOldest).unwrap();
        for n in numbers(0..100) {
            assert_eq!(publish(&engine, "a", &n), 1);
        }
        assert_eq!(
            (sub.waiting(), sub.dropped()),
            (buffer, 100 - buffer),
            "counted before the reader looks"
        );
        assert_eq!(heard(&mut sub), numbers(100 - buffer as u32..100));
        assert_eq!(sub.dropped(), 100 - buffer);
        sub.close();
        assert_eq!(sub.dropped(), 100 - buffer, "known after the end");
    }
}

#[test]
fn drop_newest_keeps_the_oldest() {
    let engine = engine();
    for buffer in [1, 2, 3, 16] {
        let mut sub = engine.subscribe("a", buffer, Overflow::DropNewest).unwrap();
        for (at, n) in numbers(0..100).iter().enumerate() {
            let reached = publish(&engine, "a", n);
            assert_eq!(reached, usize::from((at as u64) < buffer));
        }
        assert_eq!(sub.dropped(), 100 - buffer);
        assert_eq!(heard(&mut sub), numbers(0..buffer as u32));
        assert_eq!(publish(&engine, "a", b"new"), 1);
        assert_eq!(heard(&mut sub), [b"new"]);
        assert_eq!(sub.dropped(), 100 - buffer);
    }
}

#[test]
fn an_overrun_is_told_once_behind_what_came_before() {
    let engine = engine();
    let mut sub = engine.subscribe("a", 8, Overflow::Error).unwrap();
    for round in 1..=2 {
        for n in numbers(0..100) {
            publish(&engine, "a", &n);
        }
        for n in numbers(0..8) {
            assert_eq!(sub.next().unwrap().unwrap().value, n);
            // Room, but the reader does not know yet that something is missing.
            assert_eq!(publish(&engine, "a", b"later"), 0);
        }
        assert_eq!(sub.dropped(), round * 100);
        match sub.next() {
            Err(Error::SlowConsumer { dropped, .. }) => assert_eq!(dropped, 100),
            other => panic!("{other:?}"),
        }
        assert!(sub.next().unwrap().is_none());
        assert_eq!(publish(&engine, "a", b"after"), 1);
        assert_eq!(heard(&mut sub), [b"after"]);
        assert_eq!(sub.dropped(), round * 100);
    }
}

#[test]
fn block_holds_the_publisher_until_its_time_is_over() {
    let engine = engine();
    let mut sub = engine.subscribe("a", 2, Overflow::Block).unwrap();
    let mut other = engine.subscribe("a", 8, Overflow::Block).unwrap();
    let channel = engine.channel("a").unwrap();
    for n in numbers(0..2) {
        assert_eq!(channel.publish(&body(&n), soon(0)).unwrap(), 2);
    }
    let began = Instant::now();
    match channel.publish(&body(b"no room"), soon(60)) {
        Err(Error::Timeout {
            maybe_sent, holder, ..
        }) => {
            assert!(maybe_sent, "the other one has it");
            assert!(holder.unwrap().contains(&std::process::id().to_string()));
        }
        other => panic!("{other:?}"),
    }
    let waited = began.elapsed();
    assert!(
        waited >= Duration::from_millis(60) && waited < Duration::from_millis(160),
        "{waited:?}"
    );
    assert_eq!(heard(&mut other).len(), 3);
    let publisher = std::thread::spawn(move || channel.publish(&body(b"late"), soon(5_000)));
    std::thread::sleep(Duration::from_millis(50));
    let mut all = heard(&mut sub);
    assert_eq!(publisher.join().unwrap().unwrap(), 2);
    all.append(&mut heard(&mut sub));
    assert_eq!(all[..2], numbers(0..2));
    assert_eq!(all[2..], [b"late"]);
    assert_eq!((sub.dropped(), other.dropped()), (0, 0));
}

#[test]
fn a_publisher_is_let_go_when_its_subscriber_ends() {
    let engine = engine();
    let sub = engine.subscribe("a", 1, Overflow::Block).unwrap();
    assert_eq!(publish(&engine, "a", b"x"), 1);
    let channel = engine.channel("a").unwrap();
    let publisher = std::thread::spawn(move || {
        let began = Instant::now();
        let reached = channel.publish(&body(b"y"), soon(10_000)).unwrap();
        (reached, began.elapsed())
    });
    std::thread::sleep(Duration::from_millis(100));
    drop(sub);
    let (reached, waited) = publisher.join().unwrap();
    assert_eq!(reached, 0);
    assert!(waited < Duration::from_millis(400), "{waited:?}");
}

#[test]
fn a_sleeper_is_rung() {
    let engine = engine();
    let mut sub = engine.subscribe("a", 8, Overflow::DropOldest).unwrap();
    let other = engine.clone();
    let publisher = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(50));
        publish(&other, "a", b"x")
    });
    let seen = engine.bell();
    sub.arm();
    assert!(sub.next().unwrap().is_none());
    assert!(engine.wait_bell(seen, Some(soon(5_000))));
    assert_eq!(heard(&mut sub), [b"x"]);
    assert_eq!(publisher.join().unwrap(), 1);
}

#[test]
fn spinning_finds_what_comes_and_gives_up_what_does_not() {
    let engine = engine();
    let mut sub = engine.subscribe("a", 8, Overflow::DropOldest).unwrap();
    publish(&engine, "a", b"x");
    let helps = crate::shared::lock::spinning_helps();
    assert_eq!(sub.spin(Duration::from_millis(1)), helps);
    assert_eq!(heard(&mut sub), [b"x"]);
    for _ in 0..3 {
        assert!(!sub.spin(Duration::from_micros(10)));
    }
    let began = Instant::now();
    assert!(!sub.spin(Duration::from_secs(5)));
    assert!(began.elapsed() < Duration::from_secs(1));
    for _ in 0..2 {
        publish(&engine, "a", b"x");
    }
    assert_eq!(heard(&mut sub).len(), 2);
    publish(&engine, "a", b"x");
    assert_eq!(sub.spin(Duration::from_secs(5)), helps, "they come again");
}

#[test]
fn many_publishers_and_readers_at_once_lose_nothing() {
    const PUBLISHERS: u32 = 4;
    const EACH: u32 = 3000;
    let engine = engine();
    let subs: Vec<_> = [
        (64, Overflow::Block),
        (5, Overflow::DropOldest),
        (5, Overflow::DropNewest),
    ]
    .into_iter()
    .map(|(buffer, overflow)| engine.subscribe("a.*", buffer, overflow).unwrap())
    .collect();
    std::thread::scope(|scope| {
        let readers: Vec<_> = subs
            .into_iter()
            .map(|mut sub| {
                let engine = engine.clone();
                scope.spawn(move || {
                    let mut last: HashMap<String, u32> = HashMap::new();
                    let mut taken = 0;
                    let all = u64::from(PUBLISHERS * EACH);
                    while taken + sub.dropped() < all || sub.waiting() > 0 {
                        let seen = engine.bell();
                        sub.arm();
                        if let Some(message) = sub.next().unwrap() {
                            taken += 1;
                            let name = message.name.unwrap().to_owned();
                            let number = u32::from_le_bytes(message.value[..4].try_into().unwrap());
                            assert!(message.value[4..].iter().all(|b| *b == number as u8));
                            assert_eq!(message.value.len(), 4 + (number as usize * 37) % 2000);
                            let before = last.insert(name, number + 1).unwrap_or(0);
                            assert!(before <= number, "in each publisher's order");
                        } else if taken + sub.dropped() < all {
                            engine.wait_bell(seen, Some(soon(1000)));
                        }
                    }
                    (taken, sub.dropped())
                })
            })
            .collect();
        for n in 0..PUBLISHERS {
            let channel = engine.channel(&format!("a.{n}")).unwrap();
            scope.spawn(move || {
                for number in 0..EACH {
                    let mut value = number.to_le_bytes().to_vec();
                    value.resize(4 + (number as usize * 37) % 2000, number as u8);
                    channel.publish(&body(&value), soon(20_000)).unwrap();
                }
            });
        }
        let found: Vec<_> = readers.into_iter().map(|r| r.join().unwrap()).collect();
        let all = u64::from(PUBLISHERS * EACH);
        assert_eq!(found[0], (all, 0));
        assert!(found.iter().all(|(taken, dropped)| taken + dropped == all));
    });
}

#[test]
fn a_deep_backlog_reaches_as_far_as_it_must_and_then_goes_back() {
    let engine = engine();
    let mut sub = engine.subscribe("a", 100_000, Overflow::Error).unwrap();
    let channel = engine.channel("a").unwrap();
    let value = vec![7; 1000];
    for _ in 0..2 {
        for _ in 0..20_000 {
            assert_eq!(channel.publish(&body(&value), soon(50)).unwrap(), 1);
        }
        assert_eq!(heard(&mut sub).len(), 20_000);
    }
    // Nothing waits: the beginning again.
    for _ in 0..1000 {
        channel.publish(&body(&value), soon(50)).unwrap();
        assert_eq!(sub.next().unwrap().unwrap().value, value);
    }
    let page = sub.page();
    let tail = engine.shared().page(page).tail.load(Ordering::Relaxed) >> 32;
    assert!(tail * 8 < 256 << 10, "{tail}");
    // More than the ring can ever take: as full as by count.
    let large = vec![1; 10 << 20];
    let mut sent = 0;
    while channel.publish(&body(&large), soon(50)).unwrap() == 1 {
        sent += 1;
    }
    assert!((5..=10).contains(&sent), "{sent}");
    for _ in 0..sent {
        assert!(sub.next().unwrap().unwrap().value == large);
    }
    assert!(matches!(
        sub.next(),
        Err(Error::SlowConsumer { dropped: 1, .. })
    ));
}

#[test]
fn counts_are_right_after_a_death_between_any_two_stores() {
    let engine = engine();
    let mut sub = engine.subscribe("a", 4, Overflow::DropOldest).unwrap();
    for n in numbers(0..6) {
        publish(&engine, "a", &n);
    }
    let words = &engine.shared().page(sub.page()).words;
    // After the tail, before the count that follows it.
    words[word::PUT].fetch_sub(1, Ordering::SeqCst);
    assert_eq!(sub.dropped(), 2);
    publish(&engine, "a", b"next");
    assert_eq!(
        (sub.dropped(), words[word::PUT].load(Ordering::SeqCst)),
        (3, 7)
    );
    // After the head was moved back to 0 in an empty ring, before the tail followed.
    heard(&mut sub);
    let head = words[word::HEAD].load(Ordering::SeqCst);
    words[word::HEAD].store(head & 0xFFFF_FFFF, Ordering::SeqCst);
    publish(&engine, "a", b"again");
    assert_eq!(heard(&mut sub), [b"again"]);
    assert_eq!(sub.dropped(), 3);
}

#[test]
fn what_no_publisher_wrote_is_an_error_and_no_crash() {
    let engine = engine();
    for (at, garbage) in [
        (0usize, 3u32),
        (0, 0x7FFF_FFFF),
        (4, 1),
        (40, 1 << 30),
        (48, 9),
    ] {
        let mut sub = engine.subscribe("a", 4, Overflow::DropNewest).unwrap();
        publish(&engine, "a", b"a message");
        sub.overwrite(at, garbage);
        assert!(matches!(sub.next(), Err(Error::Corruption { .. })), "{at}");
        assert_eq!((sub.waiting(), sub.dropped()), (0, 1));
        publish(&engine, "a", b"good");
        assert_eq!(heard(&mut sub), [b"good"]);
    }
    for at in [word::HEAD, word::SEEN, word::HAVE, word::PUT, word::REFUSED] {
        for overflow in [Overflow::DropOldest, Overflow::DropNewest, Overflow::Error] {
            let mut sub = engine.subscribe("a", 4, overflow).unwrap();
            engine.shared().page(sub.page()).words[at]
                .store(0xFFFF_FFF0_1234_5678, Ordering::SeqCst);
            for _ in 0..10 {
                publish(&engine, "a", b"x");
            }
            for _ in 0..20 {
                let _ = sub.next();
            }
        }
    }
}

#[test]
fn a_time_of_its_own_and_bad_arguments() {
    let engine = engine();
    for buffer in [0, (1 << 24) + 1] {
        assert!(matches!(
            engine.subscribe("a", buffer, Overflow::Block),
            Err(Error::Usage(_))
        ));
    }
    for bad in ["", "a..b", "a.*b"] {
        assert!(matches!(
            engine.subscribe(bad, 1, Overflow::Block),
            Err(Error::InvalidName { .. })
        ));
    }
    assert!(matches!(
        engine.channel("a.*"),
        Err(Error::InvalidName { .. })
    ));
    let channel = engine.channel("a").unwrap();
    let mut sub = engine.subscribe("a", 1, Overflow::Block).unwrap();
    engine.close().unwrap();
    assert!(matches!(
        channel.publish(&body(b"x"), soon(0)),
        Err(Error::Closed(_))
    ));
    assert!(sub.ended() && sub.next().unwrap().is_none());
    sub.close();
}

#[test]
fn a_message_is_taken_or_dropped_never_both() {
    let engine = engine();
    let channel = engine.channel("a").unwrap();
    let mut sub = engine.subscribe("a", 2, Overflow::DropOldest).unwrap();
    // While the reader copies the first one, publishers drop it, and the second, and write where they were.
    for lap in 1..=1000u64 {
        for value in [1u8, 2] {
            channel.publish(&body(&[value; 300]), soon(0)).unwrap();
        }
        let other = engine.channel("a").unwrap();
        let mut left = 2u8;
        sub.between = Some(Box::new(move || {
            if left > 0 {
                other.publish(&body(&[5 - left; 300]), soon(0)).unwrap();
                left -= 1;
            }
        }));
        assert_eq!(sub.next().unwrap().unwrap().value, [3; 300]);
        sub.between = None;
        assert_eq!(sub.next().unwrap().unwrap().value, [4; 300]);
        assert!(sub.next().unwrap().is_none());
        assert_eq!(sub.dropped(), 2 * lap);
    }
}
