//! What the tests of channels between processes have in common.
#![allow(dead_code)] // Each test binary uses its own part of it.

use std::path::Path;
use std::time::{Duration, Instant};

use headwater_log::channel::{Overflow, Publication, Subscription};
use headwater_log::options::OpenOptions;
use headwater_log::{Engine, Error};

use crate::common::{hear, say};

pub fn open(dir: impl AsRef<Path>) -> Engine {
    Engine::open(&OpenOptions::new(dir.as_ref())).unwrap()
}

pub fn body(value: &[u8]) -> Publication<'_> {
    Publication {
        value,
        ..Publication::default()
    }
}

pub fn soon(ms: u64) -> Instant {
    Instant::now() + Duration::from_millis(ms)
}

pub fn overflow(word: &str) -> Overflow {
    match word {
        "oldest" => Overflow::DropOldest,
        "newest" => Overflow::DropNewest,
        "block" => Overflow::Block,
        "error" => Overflow::Error,
        other => panic!("no policy {other}"),
    }
}

/// The next message's value, within 10 s.
pub fn next(engine: &Engine, sub: &mut Subscription) -> Vec<u8> {
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

pub fn rings(dir: &Path) -> usize {
    std::fs::read_dir(dir.join("run/ring")).unwrap().count()
}

/// Two counters in a file that outlives its writer: publishes begun and done.
pub struct Counters(memmap2::MmapMut);

impl Counters {
    pub fn at(path: &Path) -> Self {
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

    pub fn set(&mut self, at: usize, value: u64) {
        let word: *mut u64 = self.0.as_mut_ptr().cast();
        // SAFETY: two aligned words; nobody else writes.
        unsafe { word.add(at).write_volatile(value) };
    }

    pub fn get(&self, at: usize) -> u64 {
        let word: *const u64 = self.0.as_ptr().cast();
        // SAFETY: as above.
        unsafe { word.add(at).read_volatile() }
    }
}

/// What the other processes of the channels' tests do; "role argument argument".
pub fn play(role: &str, dir: &str) {
    let words: Vec<&str> = role.split(' ').collect();
    match *words.as_slice() {
        // Publishes numbers to a/NAME, counting in DIR/NAME.counters; dies at the kill point, if one is given.
        ["publish", name, count, kill] => {
            std::env::set_var("HEADWATER_KILL", kill);
            let mut counters = Counters::at(&Path::new(dir).join(format!("{name}.counters")));
            let engine = open(dir);
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
            let engine = open(dir);
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
            let engine = open(dir);
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
            let engine = open(dir);
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
            let engine = open(dir);
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
            let engine = open(dir);
            let _sub = engine.subscribe("a.x", 2, Overflow::Block).unwrap();
            say("ready");
            hear();
        }
        ["fork"] => forker(&open(dir), dir),
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
