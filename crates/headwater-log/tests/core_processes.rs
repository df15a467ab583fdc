//! Several processes in one directory: locks, deaths, stops, wakes, forks, sessions.

mod common;

use std::path::Path;
use std::time::{Duration, Instant};

use common::{hear, role, say, within, Other};
use headwater_log::options::OpenOptions;
use headwater_log::{Engine, Error};

/// A page that is no log: nothing of it needs repair.
fn page(engine: &Engine) -> u32 {
    let gate = engine.ctx().setup().unwrap();
    let page = engine.shared().page_for(7, 99, "none").unwrap();
    drop(gate);
    page
}

fn open(dir: impl AsRef<Path>) -> Engine {
    let mut options = OpenOptions::new(dir.as_ref());
    options.name = "tester".to_owned();
    Engine::open(&options).unwrap()
}

fn soon(ms: u64) -> Option<Instant> {
    Some(Instant::now() + Duration::from_millis(ms))
}

/// What the other processes do.
#[test]
fn child() {
    let Some((role, dir)) = role() else { return };
    if role == "exec" {
        let engine = open(&dir);
        std::mem::forget(engine);
        use std::os::unix::process::CommandExt;
        say("opened");
        panic!(
            "{}",
            std::process::Command::new("/bin/sleep").arg("60").exec()
        );
    }
    let engine = open(&dir);
    let page = page(&engine);
    match role.as_str() {
        "open" => {
            say("opened");
            assert_eq!(hear(), "close");
            engine.close().unwrap();
        }
        "hold" => {
            let lock = engine.shared().lock(page, None).unwrap();
            say("locked");
            assert_eq!(hear(), "release");
            drop(lock);
            say("released");
            hear();
        }
        "wait" => {
            let seen = engine.bell();
            engine.shared().arm(page);
            say("armed");
            assert!(engine.wait_bell(seen, soon(10_000)));
            say("rung");
        }
        "poll" => {
            let bell = engine.loop_bell().unwrap();
            bell.arm();
            engine.shared().arm(page);
            say("armed");
            let mut fd = libc::pollfd {
                fd: bell.fd(),
                events: libc::POLLIN,
                revents: 0,
            };
            // SAFETY: one valid pollfd.
            assert_eq!(unsafe { libc::poll(&mut fd, 1, 10_000) }, 1);
            bell.drain();
            // SAFETY: as above.
            assert_eq!(unsafe { libc::poll(&mut fd, 1, 0) }, 0);
            say("rung");
        }
        "count" => {
            // Adds to a counter beside the lock, without any atomic add: only exclusion makes the sum right.
            say("ready");
            hear();
            for _ in 0..20_000 {
                let lock = engine.shared().lock(page, None).unwrap();
                let counter = &engine.shared().page(page).words[0];
                let value = counter.load(std::sync::atomic::Ordering::Relaxed);
                counter.store(value + 1, std::sync::atomic::Ordering::Relaxed);
                drop(lock);
            }
            say("done");
        }
        "lease" => {
            engine.shared().hold_leases(1);
            say("held");
            hear();
        }
        "idle" => {
            let used = || {
                // SAFETY: a zeroed rusage is valid, and getrusage fills it.
                let usage = unsafe {
                    let mut usage: libc::rusage = std::mem::zeroed();
                    libc::getrusage(libc::RUSAGE_SELF, &mut usage);
                    usage
                };
                (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1_000_000
                    + (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) as i64
            };
            let before = used();
            std::thread::sleep(Duration::from_secs(3));
            say(&format!("{}", used() - before));
        }
        "fork" => forker(&engine, page, &dir),
        "orphan" => {
            // SAFETY: the child only writes, sleeps and exits.
            if unsafe { libc::fork() } == 0 {
                // Said by the child: before it runs, it has what the kernel gave it of its parent's.
                say("forked");
                std::thread::sleep(Duration::from_secs(5));
                // SAFETY: ends the child without the parent's exit handlers.
                unsafe { libc::_exit(0) };
            }
            hear();
        }
        other => panic!("no role {other}"),
    }
}

/// The parent's engine is refused in the child, which opens its own; the parent's goes on.
fn forker(engine: &Engine, page: u32, dir: &str) {
    let held = engine.shared().lock(page, None).unwrap();
    // SAFETY: the child uses this crate only, which is made for it, and leaves by _exit.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        let refused = matches!(engine.check(), Err(Error::Forked { .. }))
            && matches!(
                engine.shared().lock(page, soon(50)),
                Err(Error::Forked { .. })
            )
            && engine.close().is_ok();
        let own = open(dir);
        let separate = own.info().slot != engine.info().slot
            && own.info().session == engine.info().session
            // The parent's lock is the parent's.
            && matches!(own.shared().lock(page, soon(50)), Err(Error::Timeout { .. }));
        own.close().unwrap();
        // SAFETY: as in `child`.
        unsafe { libc::_exit(if refused && separate { 42 } else { 1 }) };
    }
    let mut status = 0;
    // SAFETY: our own child.
    assert_eq!(unsafe { libc::waitpid(pid, &mut status, 0) }, pid);
    assert!(libc::WIFEXITED(status));
    assert_eq!(libc::WEXITSTATUS(status), 42);
    drop(held);
    drop(engine.shared().lock(page, soon(50)).unwrap());
    assert_eq!(engine.processes().unwrap().len(), 1);
    engine.close().unwrap();
    say("right");
}

#[test]
fn a_dead_owners_lock_is_taken_at_once() {
    let tmp = tempfile::tempdir().unwrap();
    let engine = open(tmp.path());
    let page = page(&engine);
    let mut worst = Duration::ZERO;
    for _ in 0..10 {
        let mut other = Other::start("hold", tmp.path());
        assert_eq!(other.hear(), "locked");
        assert!(engine.shared().try_lock(page).is_none());
        other.signal(libc::SIGKILL);
        let began = Instant::now();
        drop(engine.shared().lock(page, soon(5_000)).unwrap());
        worst = worst.max(began.elapsed());
    }
    assert!(worst < Duration::from_millis(500), "{worst:?}");
    within(Duration::from_secs(2), "the slots are freed", || {
        engine.processes().unwrap().len() == 1
    });
    // Two slots were enough for eleven processes.
    assert!(engine.processes().unwrap()[0].slot < 2);
}

#[test]
fn a_stopped_owner_is_waited_for_and_named() {
    let tmp = tempfile::tempdir().unwrap();
    let engine = open(tmp.path());
    let page = page(&engine);
    let mut other = Other::start("hold", tmp.path());
    assert_eq!(other.hear(), "locked");
    other.signal(libc::SIGSTOP);
    let began = Instant::now();
    match engine.shared().lock(page, soon(1_000)) {
        Err(Error::Timeout { holder, .. }) => {
            let holder = holder.unwrap();
            assert!(holder.contains(&other.pid().to_string()), "{holder}");
            assert!(holder.contains("tester"), "{holder}");
        }
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("stolen from a living process"),
    }
    let waited = began.elapsed();
    assert!(
        waited >= Duration::from_millis(1_000) && waited < Duration::from_millis(1_300),
        "{waited:?}"
    );
    other.signal(libc::SIGCONT);
    other.say("release");
    assert_eq!(other.hear(), "released");
    drop(engine.shared().lock(page, soon(1_000)).unwrap());
}

#[test]
fn a_lock_excludes() {
    let tmp = tempfile::tempdir().unwrap();
    let engine = open(tmp.path());
    let page = page(&engine);
    let mut others: Vec<Other> = (0..3).map(|_| Other::start("count", tmp.path())).collect();
    for other in &mut others {
        assert_eq!(other.hear(), "ready");
    }
    for other in &mut others {
        other.say("go");
    }
    for other in &mut others {
        assert_eq!(other.hear(), "done");
    }
    let counter = &engine.shared().page(page).words[0];
    assert_eq!(counter.load(std::sync::atomic::Ordering::Relaxed), 60_000);
}

#[test]
fn a_ring_wakes_threads_and_event_loops_of_other_processes() {
    let tmp = tempfile::tempdir().unwrap();
    let engine = open(tmp.path());
    let page = page(&engine);
    let mut sleeper = Other::start("wait", tmp.path());
    let mut poller = Other::start("poll", tmp.path());
    assert_eq!(sleeper.hear(), "armed");
    assert_eq!(poller.hear(), "armed");
    engine.shared().ring(page);
    assert_eq!(sleeper.hear(), "rung");
    assert_eq!(poller.hear(), "rung");
    assert_eq!(
        engine
            .shared()
            .page(page)
            .wait_summary
            .load(std::sync::atomic::Ordering::Relaxed),
        0
    );
}

#[test]
fn a_waiter_is_rung_when_a_process_dies() {
    let tmp = tempfile::tempdir().unwrap();
    let engine = open(tmp.path());
    let mut other = Other::start("open", tmp.path());
    assert_eq!(other.hear(), "opened");
    let seen = engine.bell();
    other.signal(libc::SIGKILL);
    assert!(engine.wait_bell(seen, soon(2_000)));
}

#[test]
fn the_last_to_leave_makes_the_session_clean() {
    let tmp = tempfile::tempdir().unwrap();
    let engine = open(tmp.path());
    let mut other = Other::start("open", tmp.path());
    assert_eq!(other.hear(), "opened");
    engine.close().unwrap();
    other.say("close");
    assert!(other.wait().success());
    let engine = open(tmp.path());
    assert_eq!((engine.info().session, engine.info().last_unclean), (2, 0));

    // One that was killed does not spoil it: who leaves last cleans up behind it.
    let mut other = Other::start("open", tmp.path());
    assert_eq!(other.hear(), "opened");
    assert_eq!(engine.processes().unwrap().len(), 2);
    other.kill();
    engine.close().unwrap();
    let engine = open(tmp.path());
    assert_eq!((engine.info().session, engine.info().last_unclean), (3, 0));
}

#[test]
fn a_session_whose_last_process_was_killed_is_unclean() {
    let tmp = tempfile::tempdir().unwrap();
    let mut other = Other::start("hold", tmp.path());
    assert_eq!(other.hear(), "locked");
    other.kill();
    let engine = open(tmp.path());
    let info = engine.info();
    assert_eq!((info.session, info.last_unclean), (2, 1));
    drop(engine.shared().lock(page(&engine), soon(100)).unwrap());
}

#[test]
fn a_process_that_became_another_program_is_gone() {
    let tmp = tempfile::tempdir().unwrap();
    let engine = open(tmp.path());
    let mut other = Other::start("exec", tmp.path());
    assert_eq!(other.hear(), "opened");
    within(Duration::from_secs(3), "the slot is freed", || {
        engine.processes().unwrap().len() == 1
    });
}

#[test]
fn another_process_takes_the_janitors_place() {
    let tmp = tempfile::tempdir().unwrap();
    let mut first = Other::start("open", tmp.path());
    assert_eq!(first.hear(), "opened");
    let engine = open(tmp.path());
    let janitor = || {
        let processes = engine.processes().unwrap();
        processes.into_iter().find(|p| p.janitor).map(|p| p.pid)
    };
    within(Duration::from_secs(1), "the first is janitor", || {
        janitor() == Some(first.pid())
    });
    first.signal(libc::SIGKILL);
    within(Duration::from_millis(500), "the second is janitor", || {
        janitor() == Some(std::process::id())
    });
    within(
        Duration::from_millis(500),
        "the first is cleaned up",
        || engine.processes().unwrap().len() == 1,
    );
}

#[test]
fn a_heart_beats_while_leases_are_held() {
    let tmp = tempfile::tempdir().unwrap();
    let engine = open(tmp.path());
    let mut other = Other::start("lease", tmp.path());
    assert_eq!(other.hear(), "held");
    let beat = || {
        let processes = engine.processes().unwrap();
        let other = processes.into_iter().find(|p| !p.own).unwrap();
        assert_eq!(other.leases, 1);
        other.beat
    };
    let before = beat();
    within(Duration::from_secs(2), "the beat goes on", || {
        beat() > before + 2
    });
    other.signal(libc::SIGSTOP);
    std::thread::sleep(Duration::from_millis(100));
    let before = beat();
    std::thread::sleep(Duration::from_millis(600));
    assert_eq!(beat(), before);
    other.signal(libc::SIGCONT);
    within(Duration::from_secs(2), "the beat goes on", || {
        beat() > before
    });
}

#[test]
fn an_idle_process_costs_nothing() {
    let tmp = tempfile::tempdir().unwrap();
    let _engine = open(tmp.path());
    let mut other = Other::start("idle", tmp.path());
    let micros: u64 = other.hear().parse().unwrap();
    assert!(micros < 15_000, "{micros} µs of 3 s");
}

#[test]
fn a_forks_child_is_refused_and_opens_its_own() {
    let tmp = tempfile::tempdir().unwrap();
    let mut other = Other::start("fork", tmp.path());
    assert_eq!(other.hear(), "right");
    assert!(other.wait().success());
    let engine = open(tmp.path());
    assert_eq!((engine.info().session, engine.info().last_unclean), (2, 0));
}

#[test]
fn a_forks_child_keeps_nothing_of_its_parents_presence() {
    let tmp = tempfile::tempdir().unwrap();
    let mut other = Other::start("orphan", tmp.path());
    assert_eq!(other.hear(), "forked");
    other.kill();
    let engine = open(tmp.path());
    let info = engine.info();
    assert_eq!((info.session, info.last_unclean), (2, 1));
}
