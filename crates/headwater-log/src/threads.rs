//! The two threads of a process that has a directory open (engine.md §4, "Threads"; docs/decisions/0101).
//!
//! `hw-engine` is quick: heart-beats, timers and, in one process of the directory, the janitor's look at who died. It
//! sleeps in `poll` on its own wake-up and on process descriptors, and costs nothing while nothing happens.
//! `hw-work` may wait for the disk: interval flushes, spare segments, retention. It starts with its first duty.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::fs::FlockOperation;

use crate::error::{Error, Result};
use crate::fork::Held;
use crate::shared::layout::slot_state;
use crate::shared::liveness::unpoisoned;
use crate::shared::{monotonic_ns, Shared};

/// Without any event a process looks around so often.
const GUARD: Duration = Duration::from_secs(2);
/// The janitor's ticks, while there is somebody to look after.
const JANITOR: Duration = Duration::from_millis(100);
/// The same while it is alone: how long a newcomer may be without somebody who looks after it.
const JANITOR_ALONE: Duration = Duration::from_millis(500);
/// A janitor whose last tick is older is stopped or gone: whoever sees it does its duties.
const JANITOR_LATE_NS: u64 = 2_000_000_000;
const BEAT: Duration = Duration::from_millis(250);

/// What a duty is told.
pub struct Tick {
    /// Whether this process does the directory's common duties now; they must bear being done by two.
    pub janitor: bool,
    pub now: Instant,
}

/// Names a duty, to end it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TickId(u64);

type Duty = Arc<dyn Fn(&Tick) + Send + Sync>;

/// One thread's list of duties, and when it has to run them next.
struct Line {
    duties: Mutex<Vec<(u64, Duty)>>,
    /// Monotonic ns; u64::MAX: no wish.
    next: AtomicU64,
    /// Until when the thread sleeps, monotonic ns; 0: it is awake.
    asleep: AtomicU64,
    wake: OwnedFd,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Line {
    fn new() -> Result<Self> {
        use rustix::event::{eventfd, EventfdFlags};
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|e| Error::io("make an eventfd for", "the engine's thread")(e.into()))?;
        Ok(Self {
            duties: Mutex::default(),
            next: AtomicU64::new(u64::MAX),
            asleep: AtomicU64::new(0),
            wake,
            thread: Mutex::default(),
        })
    }

    fn at(&self, at: u64) {
        self.next.fetch_min(at, Ordering::SeqCst);
        if at < self.asleep.load(Ordering::SeqCst) {
            self.kick();
        }
    }

    fn kick(&self) {
        self.asleep.store(0, Ordering::SeqCst);
        // A full counter means that the thread is being woken anyway.
        let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
    }

    fn run(&self, tick: &Tick) {
        let duties: Vec<Duty> = unpoisoned(&self.duties)
            .iter()
            .map(|(_, duty)| Arc::clone(duty))
            .collect();
        for duty in duties {
            // One duty's bug must not stop the heart of the process.
            let _ = catch_unwind(AssertUnwindSafe(|| duty(tick)));
        }
    }

    /// Sleeps until the wish, the limit, a kick, or one of `watched` turns readable. Returns which did.
    fn sleep(&self, limit: u64, watched: &[&OwnedFd]) -> Vec<usize> {
        self.asleep.store(limit, Ordering::SeqCst);
        let until = limit.min(self.next.load(Ordering::SeqCst));
        let left = until.saturating_sub(monotonic_ns());
        let mut fired = Vec::new();
        if left > 0 {
            let time = Timespec {
                tv_sec: (left / 1_000_000_000) as _,
                tv_nsec: (left % 1_000_000_000) as _,
            };
            let mut fds: Vec<PollFd<'_>> = std::iter::once(&self.wake)
                .chain(watched.iter().copied())
                .map(|fd| PollFd::new(fd, PollFlags::IN))
                .collect();
            if poll(&mut fds, Some(&time)).is_ok() {
                fired = (0..watched.len())
                    .filter(|at| !fds[at + 1].revents().is_empty())
                    .collect();
            }
        }
        self.asleep.store(0, Ordering::SeqCst);
        let mut count = [0u8; 8];
        let _ = rustix::io::read(&self.wake, &mut count);
        fired
    }
}

/// The duties of a process for one directory.
pub(crate) struct Duties {
    quick: Line,
    slow: Line,
    ids: AtomicU64,
    stop: AtomicBool,
    beating: AtomicBool,
    beat_ns: AtomicU64,
}

impl Duties {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self {
            quick: Line::new()?,
            slow: Line::new()?,
            ids: AtomicU64::new(1),
            stop: AtomicBool::new(false),
            beating: AtomicBool::new(false),
            beat_ns: AtomicU64::new(BEAT.as_nanos() as u64),
        })
    }

    #[inline]
    pub(crate) fn start_beating(&self) {
        if !self.beating.load(Ordering::Relaxed) {
            self.wake_the_heart();
        }
    }

    #[cold]
    fn wake_the_heart(&self) {
        if !self.beating.swap(true, Ordering::SeqCst) {
            self.quick.at(0);
        }
    }

    pub(crate) fn beat_within(&self, every: Duration) {
        let ns = (every.as_nanos() as u64).max(1_000_000);
        if self.beat_ns.fetch_min(ns, Ordering::SeqCst) > ns {
            self.quick.at(0);
        }
    }
}

impl Shared {
    /// Adds a duty of hw-engine: quick, never waiting for a lock or the disk. Every process runs it at least each 2 s,
    /// the janitor each 100 ms, and at the times asked for by `tick_at`.
    pub fn on_tick(self: &Arc<Self>, duty: impl Fn(&Tick) + Send + Sync + 'static) -> TickId {
        let id = self.duties.ids.fetch_add(1, Ordering::Relaxed);
        unpoisoned(&self.duties.quick.duties).push((id, Arc::new(duty)));
        TickId(id)
    }

    /// Adds a duty of hw-work, which may wait for the disk. Run at least each 2 s, and at the times asked for by
    /// `work_at`.
    pub fn on_work(self: &Arc<Self>, duty: impl Fn(&Tick) + Send + Sync + 'static) -> TickId {
        let id = self.duties.ids.fetch_add(1, Ordering::Relaxed);
        unpoisoned(&self.duties.slow.duties).push((id, Arc::new(duty)));
        start(self, &self.duties.slow, "hw-work", work);
        TickId(id)
    }

    /// Ends a duty; it may be running once more at this moment.
    pub fn end_duty(&self, id: TickId) {
        for line in [&self.duties.quick, &self.duties.slow] {
            unpoisoned(&line.duties).retain(|(found, _)| *found != id.0);
        }
    }

    /// Has the quick duties run no later than then (monotonic ns); once.
    pub fn tick_at(&self, at_ns: u64) {
        self.duties.quick.at(at_ns);
    }

    /// Has hw-work's duties run no later than then (monotonic ns); once.
    pub fn work_at(&self, at_ns: u64) {
        self.duties.slow.at(at_ns);
    }

    pub(crate) fn start_threads(self: &Arc<Self>) {
        start(self, &self.duties.quick, "hw-engine", engine);
    }

    /// Ends both threads and waits for them; a second call does nothing.
    pub(crate) fn stop_threads(&self) {
        self.duties.stop.store(true, Ordering::SeqCst);
        for line in [&self.duties.quick, &self.duties.slow] {
            line.kick();
            let thread = unpoisoned(&line.thread).take();
            if let Some(thread) = thread {
                // A duty may drop the last handle itself.
                if thread.thread().id() != std::thread::current().id() {
                    let _ = thread.join();
                }
            }
            unpoisoned(&line.duties).clear();
        }
    }

    fn stopping(&self) -> bool {
        self.duties.stop.load(Ordering::SeqCst)
    }

    /// Does the janitor's part if it is ours, or if the janitor is late.
    fn is_janitor_late(&self) -> bool {
        let last = self.head().last_tick.load(Ordering::Acquire);
        monotonic_ns().saturating_sub(last) > JANITOR_LATE_NS
    }
}

fn start(shared: &Arc<Shared>, line: &Line, name: &str, body: fn(&Arc<Shared>)) {
    let mut thread = unpoisoned(&line.thread);
    if thread.is_none() && !shared.stopping() {
        let shared = Arc::clone(shared);
        // No signal of the program may be handled on a thread of ours.
        let made = without_signals(|| {
            std::thread::Builder::new()
                .name(name.to_owned())
                .spawn(move || body(&shared))
        });
        // Without threads (a limit of the system) everything but renewal and interval flushes still works.
        *thread = made.ok();
    }
}

fn without_signals<T>(work: impl FnOnce() -> T) -> T {
    // SAFETY: plain calls on local signal sets.
    unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        let mut before: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &all, &mut before);
        let result = work();
        libc::pthread_sigmask(libc::SIG_SETMASK, &before, std::ptr::null_mut());
        result
    }
}

fn work(shared: &Arc<Shared>) {
    let line = &shared.duties.slow;
    while !shared.stopping() {
        line.next.store(u64::MAX, Ordering::SeqCst);
        line.run(&Tick {
            janitor: shared.run.is_none()
                || shared.head().janitor.load(Ordering::Acquire) == u32::from(shared.me().slot) + 1
                || shared.is_janitor_late(),
            now: Instant::now(),
        });
        line.sleep(monotonic_ns() + GUARD.as_nanos() as u64, &[]);
    }
}

/// What hw-engine knows of the other processes.
struct Watch {
    /// The file `run/janitor`; locked: this process is the janitor. None in memory.
    role: Option<Held>,
    janitor: bool,
    /// By slot: the generation, and a descriptor that turns readable when the process ends.
    processes: HashMap<u16, (u32, OwnedFd)>,
    /// Generations that ended but are not cleaned up yet: their descriptors would wake us again and again.
    ended: HashMap<u16, u32>,
    last_look: Instant,
}

fn engine(shared: &Arc<Shared>) {
    let line = &shared.duties.quick;
    let mut watch = Watch {
        role: shared
            .run
            .as_ref()
            .and_then(|run| Held::open(&run.join("janitor")).ok()),
        janitor: shared.run.is_none(),
        processes: HashMap::new(),
        ended: HashMap::new(),
        last_look: Instant::now() - GUARD,
    };
    let mut idle_beats = 0u32;
    let mut fired: Vec<u16> = Vec::new();
    while !shared.stopping() {
        line.next.store(u64::MAX, Ordering::SeqCst);
        let beat_ns = beat(shared, &mut idle_beats);
        watch.take_role(shared);
        let acting = watch.janitor || shared.is_janitor_late();
        if acting && shared.run.is_some() {
            watch.look_after(shared, &fired);
        }
        line.run(&Tick {
            janitor: acting,
            now: Instant::now(),
        });
        watch.follow(shared, acting);
        let guard = match watch.janitor && shared.run.is_some() {
            false => GUARD,
            true if shared.is_only_live() => JANITOR_ALONE,
            true => JANITOR,
        };
        let limit = monotonic_ns() + (guard.as_nanos() as u64).min(beat_ns);
        let (slots, fds): (Vec<u16>, Vec<&OwnedFd>) = watch
            .processes
            .iter()
            .map(|(slot, (_, fd))| (*slot, fd))
            .unzip();
        let ready = line.sleep(limit, &fds);
        fired = ready.into_iter().map(|at| slots[at]).collect();
        for slot in &fired {
            if let Some((generation, _)) = watch.processes.remove(slot) {
                watch.ended.insert(*slot, generation);
            }
        }
    }
    if watch.janitor && watch.role.is_some() {
        shared.head().janitor.store(0, Ordering::Release);
    }
}

/// Lets the heart beat while leases are held. Returns the time to the next beat, ns.
fn beat(shared: &Shared, idle: &mut u32) -> u64 {
    if !shared.duties.beating.load(Ordering::SeqCst) {
        return u64::MAX;
    }
    let slot = shared.my_slot();
    slot.beat.fetch_add(1, Ordering::AcqRel);
    if slot.leases.load(Ordering::Acquire) as i32 > 0 {
        *idle = 0;
    } else {
        *idle += 1;
        // A consumer that takes one message after the other shall not wake us for each.
        if *idle > 8 {
            *idle = 0;
            shared.duties.beating.store(false, Ordering::SeqCst);
            if slot.leases.load(Ordering::SeqCst) as i32 <= 0 {
                return u64::MAX;
            }
            shared.duties.beating.store(true, Ordering::SeqCst);
        }
    }
    shared.duties.beat_ns.load(Ordering::Relaxed)
}

impl Watch {
    /// The role is free when its holder died or left: the kernel says so by the lock.
    fn take_role(&mut self, shared: &Shared) {
        if let (false, Some(role)) = (self.janitor, &self.role) {
            if rustix::fs::flock(role, FlockOperation::NonBlockingLockExclusive).is_ok() {
                self.janitor = true;
                let head = shared.head();
                head.janitor
                    .store(u32::from(shared.me().slot) + 1, Ordering::Release);
                head.last_tick.store(monotonic_ns(), Ordering::Release);
            }
        }
    }

    /// Cleans up behind those whose descriptors fired, and now and then looks at everybody.
    fn look_after(&mut self, shared: &Shared, fired: &[u16]) {
        shared
            .head()
            .last_tick
            .store(monotonic_ns(), Ordering::Release);
        let everybody = self.last_look.elapsed() >= Duration::from_secs(1);
        if everybody {
            self.last_look = Instant::now();
        }
        for number in shared.slots() {
            let slot = shared.slot(number);
            let watched = self.processes.contains_key(&number)
                && slot.state.load(Ordering::Acquire) == slot_state::LIVE;
            // What cannot be repaired now is tried again with the next tick, and by whoever needs it.
            if (everybody || !watched || fired.contains(&number))
                && shared.clean_if_dead(number).is_ok_and(|cleaned| cleaned)
            {
                // It may have left something that is not synced yet.
                shared.work_at(0);
            }
        }
    }

    /// Watches everybody as the janitor, else the janitor alone.
    fn follow(&mut self, shared: &Shared, acting: bool) {
        let janitor = shared.head().janitor.load(Ordering::Acquire);
        let wanted = |number: u16| {
            number != shared.me().slot
                && (acting || u32::from(number) + 1 == janitor)
                && shared.slot(number).state.load(Ordering::Acquire) == slot_state::LIVE
        };
        self.processes.retain(|number, (generation, _)| {
            wanted(*number)
                && shared.slot(*number).generation.load(Ordering::Acquire) == *generation
        });
        if shared.run.is_none() {
            return;
        }
        for number in shared.slots() {
            let slot = shared.slot(number);
            if !wanted(number)
                || self.processes.contains_key(&number)
                || !shared.same_namespace(slot)
            {
                continue;
            }
            let generation = slot.generation.load(Ordering::Acquire);
            if self.ended.get(&number) == Some(&generation) {
                continue;
            }
            let pid = slot.pid.load(Ordering::Acquire) as i32;
            let opened = rustix::process::Pid::from_raw(pid).and_then(|pid| {
                rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).ok()
            });
            // A descriptor of a later process with the same number never fires for ours; the regular look finds it.
            if let Some(fd) = opened {
                self.processes.insert(number, (generation, fd));
            }
        }
    }
}
