//! Channels between processes: who hears what, and what the death of a publisher or subscriber does to the others.

mod common;

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};

use common::{hear, role, say, within, Other};
use headwater_log::channel::{Channel, Overflow, Publication, Subscription};
use headwater_log::options::OpenOptions;
use headwater_log::{Engine, Error};

fn open(dir: impl AsRef<Path>) -> Engine {
    Engine::open(&OpenOptions::new(dir.as_ref())).unwrap()
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

fn overflow(word: &str) -> Overflow {
    match word {
        "oldest" => Overflow::DropOldest,
        "newest" => Overflow::DropNewest,
        "block" => Overflow::Block,
        "error" => Overflow::Error,
        other => panic!("no policy {other}"),
    }
}

/// The next message's value, within 10 s.
fn next(engine: &Engine, sub: &mut Subscription) -> Vec<u8> {
    let end = soon(10_000);
    loop {
        let seen = engine.bell();
        sub.arm();
        if let Some(heard) = sub.next().unwrap() {
            return heard.value.to_vec();
        }
        assert!(Instant::now() < end, "nothing was heard");
        engine.wait_bell(seen, Some(end));
    }
}

fn rings(dir: &Path) -> usize {
    std::fs::read_dir(dir.join("run/ring")).unwrap().count()
}

/// Two counters in a file that outlives its writer: publishes begun and done.
struct Counters(memmap2::MmapMut);

impl Counters {
    fn at(path: &Path) -> Self {
        let file = std::fs::File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .unwrap();
        file.set_len(16).unwrap();
        // SAFETY: the file stays as long; both processes only copy whole words.
        Self(unsafe { memmap2::MmapMut::map_mut(&file) }.unwrap())
    }

    fn set(&mut self, at: usize, value: u64) {
        let word: *mut u64 = self.0.as_mut_ptr().cast();
        // SAFETY: two aligned words; nobody else writes.
        unsafe { word.add(at).write_volatile(value) };
    }

    fn get(&self, at: usize) -> u64 {
        let word: *const u64 = self.0.as_ptr().cast();
        // SAFETY: as above.
        unsafe { word.add(at).read_volatile() }
    }
}

/// What the other processes do; "role argument argument".
#[test]
fn child() {
    let Some((role, dir)) = role() else { return };
    let words: Vec<&str> = role.split(' ').collect();
    match *words.as_slice() {
        // Publishes numbers to a/NAME, counting in DIR/NAME.counters; dies at the kill point, if one is given.
        ["publish", name, count, kill] => {
            std::env::set_var("HEADWATER_KILL", kill);
            let mut counters = Counters::at(&Path::new(&dir).join(format!("{name}.counters")));
            let engine = open(&dir);
            let channel = engine.channel(&format!("a.{name}")).unwrap();
            say("ready");
            hear();
            for n in 0..count.parse::<u64>().unwrap() {
                let mut value = n.to_le_bytes().to_vec();
                value.resize(8 + n as usize % 300, n as u8);
                counters.set(0, n + 1);
                channel.publish(&body(&value), soon(20_000)).unwrap();
                counters.set(1, n + 1);
            }
            say("done");
            hear();
        }
        ["listen", name, buffer, policy, count] => {
            let engine = open(&dir);
            let mut sub = engine
                .subscribe(name, buffer.parse().unwrap(), overflow(policy))
                .unwrap();
            say("ready");
            for n in 0..count.parse::<u64>().unwrap() {
                assert_eq!(next(&engine, &mut sub), n.to_le_bytes());
            }
            say(&format!("heard {}", sub.dropped()));
            hear();
        }
        // Five subscriptions of several kinds; each must hear every number.
        ["five", count] => {
            let engine = open(&dir);
            let mut subs: Vec<_> = ["a.x", "a.*", "a.**", "*.x", "**"]
                .into_iter()
                .map(|name| engine.subscribe(name, 100_000, Overflow::Error).unwrap())
                .collect();
            say("ready");
            for sub in &mut subs {
                for n in 0..count.parse::<u64>().unwrap() {
                    assert_eq!(next(&engine, sub), n.to_le_bytes());
                }
                assert_eq!(sub.dropped(), 0);
            }
            say("heard");
            hear();
        }
        ["again", count] => {
            let engine = open(&dir);
            for n in 0..count.parse::<u64>().unwrap() {
                let policy = [Overflow::DropOldest, Overflow::Block][n as usize % 2];
                let mut sub = engine.subscribe("a.x", 4, policy).unwrap();
                // Every publish after the subscription is heard, so that one comes soon.
                next(&engine, &mut sub);
            }
            say("done");
            hear();
        }
        ["large", count] => {
            let engine = open(&dir);
            let mut sub = engine.subscribe("a.x", 2, Overflow::Block).unwrap();
            say("ready");
            for _ in 0..count.parse::<u64>().unwrap() {
                let value = next(&engine, &mut sub);
                let sum: u64 = value.iter().map(|b| u64::from(*b)).sum();
                say(&format!("{} {sum}", value.len()));
            }
        }
        ["subscribe", kill] => {
            std::env::set_var("HEADWATER_KILL", kill);
            let engine = open(&dir);
            let _sub = engine.subscribe("a.x", 2, Overflow::Block).unwrap();
            say("ready");
            hear();
        }
        ["fork"] => forker(&open(&dir), &dir),
        ref other => panic!("no role {other:?}"),
    }
}

/// The child of a fork is refused, and takes nothing from its parent.
fn forker(engine: &Engine, dir: &str) {
    let mut sub = engine.subscribe("a.x", 8, Overflow::Block).unwrap();
    let channel = engine.channel("a.x").unwrap();
    channel.publish(&body(b"before"), soon(100)).unwrap();
    // SAFETY: the child uses this crate only, which is made for it, and leaves by _exit.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        let refused = matches!(sub.next(), Err(Error::Forked { .. }))
            && matches!(
                channel.publish(&body(b"child"), soon(100)),
                Err(Error::Forked { .. })
            )
            && engine.subscribe("a.x", 8, Overflow::Block).is_err();
        sub.close();
        drop((sub, channel));
        let own = open(dir);
        let reached = own
            .channel("a.x")
            .unwrap()
            .publish(&body(b"own"), soon(100));
        let right = refused && reached.unwrap() == 1;
        own.close().unwrap();
        // SAFETY: ends the child without the parent's exit handlers.
        unsafe { libc::_exit(if right { 42 } else { 1 }) };
    }
    let mut status = 0;
    // SAFETY: our own child.
    assert_eq!(unsafe { libc::waitpid(pid, &mut status, 0) }, pid);
    assert_eq!(
        (libc::WIFEXITED(status), libc::WEXITSTATUS(status)),
        (true, 42)
    );
    assert_eq!(next(engine, &mut sub), b"before");
    assert_eq!(next(engine, &mut sub), b"own");
    assert_eq!(channel.publish(&body(b"after"), soon(100)).unwrap(), 1);
    assert_eq!(next(engine, &mut sub), b"after");
    engine.close().unwrap();
    say("right");
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
