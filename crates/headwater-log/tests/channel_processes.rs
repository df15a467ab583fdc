//! Channels between processes: who hears what.

#[path = "common/channels.rs"]
mod channels;
mod common;

use std::time::{Duration, Instant};

use channels::{body, next, open, play, rings, soon};
use common::{role, within, Other};
use headwater_log::channel::Overflow;
use headwater_log::Error;

#[test]
fn child() {
    if let Some((role, dir)) = role() {
        play(&role, &dir);
    }
}

#[test]
fn a_subscription_hears_other_processes_from_its_return() {
    let tmp = tempfile::tempdir().unwrap();
    let engine = open(tmp.path());
    let channel = engine.channel("a.x").unwrap();
    let publish = |n: u64| {
        channel
            .publish(&body(&n.to_le_bytes()), soon(5_000))
            .unwrap()
    };
    assert_eq!(publish(0), 0);
    let mut other = Other::start("listen a.x 16 block 5000", tmp.path());
    assert_eq!(other.hear(), "ready");
    for n in 0..5000 {
        assert_eq!(publish(n), 1);
    }
    assert_eq!(other.hear(), "heard 0");
    other.say("end");
    assert!(other.wait().success());
    assert_eq!(publish(0), 0);
    assert_eq!(rings(tmp.path()), 0);
}

#[test]
fn twenty_subscriptions_hear_everything() {
    let tmp = tempfile::tempdir().unwrap();
    let engine = open(tmp.path());
    let mut others: Vec<Other> = (0..4)
        .map(|_| Other::start("five 2000", tmp.path()))
        .collect();
    for other in &mut others {
        assert_eq!(other.hear(), "ready");
    }
    let channel = engine.channel("a.x").unwrap();
    for n in 0..2000u64 {
        assert_eq!(
            channel
                .publish(&body(&n.to_le_bytes()), soon(5_000))
                .unwrap(),
            20
        );
    }
    assert_eq!(
        engine
            .channel("b")
            .unwrap()
            .publish(&body(b""), soon(100))
            .unwrap(),
        4
    );
    for other in &mut others {
        assert_eq!(other.hear(), "heard");
    }
}

#[test]
fn subscribing_again_and_again_leaves_nothing_behind() {
    let tmp = tempfile::tempdir().unwrap();
    let engine = open(tmp.path());
    let channel = engine.channel("a.x").unwrap();
    let mut others: Vec<Other> = (0..2)
        .map(|_| Other::start("again 300", tmp.path()))
        .collect();
    let pages = || engine.shared().pages().count();
    let (done, mut most) = (std::sync::atomic::AtomicBool::new(false), 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for other in &mut others {
                assert_eq!(other.hear(), "done");
            }
            done.store(true, std::sync::atomic::Ordering::SeqCst);
        });
        while !done.load(std::sync::atomic::Ordering::SeqCst) {
            assert!(channel.publish(&body(b"x"), soon(5_000)).unwrap() <= 2);
            most = most.max(pages());
        }
    });
    assert!(most <= 2, "{most}");
    assert_eq!((rings(tmp.path()), pages()), (0, 0));
}

#[test]
fn large_messages_go_through() {
    let tmp = tempfile::tempdir().unwrap();
    let engine = open(tmp.path());
    let mut other = Other::start("large 10", tmp.path());
    assert_eq!(other.hear(), "ready");
    let channel = engine.channel("a.x").unwrap();
    for round in 0..2u8 {
        for size in [0usize, 1, 1 << 20, 16 << 20, 100] {
            let value: Vec<u8> = (0..size).map(|n| (n >> 7) as u8 ^ round).collect();
            assert_eq!(channel.publish(&body(&value), soon(10_000)).unwrap(), 1);
            let sum: u64 = value.iter().map(|b| u64::from(*b)).sum();
            assert_eq!(other.hear(), format!("{size} {sum}"));
        }
    }
}

#[test]
fn a_forks_child_takes_nothing_from_its_parent() {
    let tmp = tempfile::tempdir().unwrap();
    let mut other = Other::start("fork", tmp.path());
    assert_eq!(other.hear(), "right");
    assert!(other.wait().success());
}

#[test]
fn a_stopped_subscriber_holds_only_who_waits_for_it_and_is_named() {
    let tmp = tempfile::tempdir().unwrap();
    let engine = open(tmp.path());
    let channel = engine.channel("a.x").unwrap();
    let mut other = Other::start("listen a.x 1 block 0", tmp.path());
    let mut slow = Other::start("listen a.* 1 oldest 0", tmp.path());
    assert_eq!(other.hear(), "ready");
    assert_eq!(slow.hear(), "ready");
    let mut mine = engine.subscribe("a.x", 100, Overflow::Error).unwrap();
    assert_eq!(channel.publish(&body(b"0"), soon(100)).unwrap(), 3);
    other.signal(libc::SIGSTOP);
    slow.signal(libc::SIGSTOP);
    let began = Instant::now();
    match channel.publish(&body(b"1"), soon(300)) {
        Err(Error::Timeout {
            holder, maybe_sent, ..
        }) => {
            assert!(maybe_sent);
            assert!(holder.unwrap().contains(&other.pid().to_string()));
        }
        other => panic!("{other:?}"),
    }
    let waited = began.elapsed();
    assert!(
        waited >= Duration::from_millis(300) && waited < Duration::from_millis(500),
        "{waited:?}"
    );
    assert_eq!(next(&engine, &mut mine), b"0");
    assert_eq!(next(&engine, &mut mine), b"1");
    other.kill();
    within(Duration::from_secs(1), "nobody is waited for", || {
        channel
            .publish(&body(b"2"), soon(0))
            .is_ok_and(|reached| reached == 2)
    });
    slow.signal(libc::SIGCONT);
}
