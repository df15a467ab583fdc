//! Waking up: one bell a process (a futex word in its slot) for threads, one FIFO for each event loop (engine.md §7).

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::layout::Slot;
use super::Shared;
use crate::error::{Error, Result};

/// Event loops of one process that can wait at a time.
pub const LOOPS: u32 = 32;

/// The FIFOs' descriptors: own ones by loop, others' by (slot, generation, loop).
#[derive(Default)]
pub struct Bells {
    taken: AtomicU32,
    others: Mutex<HashMap<(u16, u32, u32), Arc<OwnedFd>>>,
    /// In memory there is no directory for FIFOs, and all loops are this process's own.
    pipes: Mutex<HashMap<u32, Arc<OwnedFd>>>,
}

impl Shared {
    /// The bell's count: read it before looking at what one waits for.
    pub fn bell(&self) -> u32 {
        self.my_slot().bell.load(Ordering::SeqCst)
    }

    /// Sleeps until the bell is not `seen` (true), or the deadline is over.
    pub fn wait_bell(&self, seen: u32, deadline: Option<Instant>) -> bool {
        let slot = self.my_slot();
        slot.sleepers.fetch_add(1, Ordering::SeqCst);
        let rung = loop {
            if slot.bell.load(Ordering::SeqCst) != seen {
                break true;
            }
            let left = match deadline {
                None => None,
                Some(at) => {
                    let left = at.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        break false;
                    }
                    Some(left)
                }
            };
            futex_wait(&slot.bell, seen, left);
        };
        slot.sleepers.fetch_sub(1, Ordering::SeqCst);
        rung
    }

    /// Wakes every waiter of this process: a stop, a close, a timer.
    pub fn ring_self(&self) {
        self.ring_slot(self.me().slot);
    }

    pub(crate) fn ring_slot(&self, number: u16) {
        let slot = self.slot(number);
        slot.bell.fetch_add(1, Ordering::SeqCst);
        if slot.sleepers.load(Ordering::SeqCst) != 0 {
            futex_wake(&slot.bell, u32::MAX);
        }
        if slot.loop_armed.load(Ordering::SeqCst) != 0 {
            let mut loops = slot.loop_armed.swap(0, Ordering::SeqCst);
            while loops != 0 {
                let which = loops.trailing_zeros();
                loops &= loops - 1;
                self.ring_loop(number, slot, which);
            }
        }
    }

    fn ring_loop(&self, number: u16, slot: &Slot, which: u32) {
        let descriptor = if number == self.me().slot {
            self.bells
                .pipes
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .get(&which)
                .cloned()
        } else {
            let key = (number, slot.generation.load(Ordering::Acquire), which);
            let mut others = self
                .bells
                .others
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            if others.len() > 256 {
                others.clear();
            }
            match others.get(&key) {
                Some(found) => Some(Arc::clone(found)),
                None => self.open_fifo(number, which).ok().map(|fifo| {
                    let fifo = Arc::new(fifo);
                    others.insert(key, Arc::clone(&fifo));
                    fifo
                }),
            }
        };
        if let Some(descriptor) = descriptor {
            // A full pipe means that the loop is being woken anyway.
            let _ = rustix::io::write(&descriptor, b"!");
        }
    }

    fn fifo_path(&self, slot: u16, which: u32) -> Option<PathBuf> {
        self.run
            .as_ref()
            .map(|run| run.join(format!("bell/{slot}-{which}")))
    }

    fn open_fifo(&self, slot: u16, which: u32) -> Result<OwnedFd> {
        let path = self.fifo_path(slot, which).ok_or(Error::WouldBlock)?;
        use rustix::fs::{Mode, OFlags};
        // Both ends in one descriptor: opening never blocks, and writing never raises SIGPIPE.
        rustix::fs::open(
            &path,
            OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .map_err(|e| Error::io("open", path)(e.into()))
    }

    /// A bell for one event loop of this process.
    pub fn loop_bell(self: &Arc<Self>) -> Result<LoopBell> {
        let which = loop {
            let taken = self.bells.taken.load(Ordering::Acquire);
            let which = (!taken).trailing_zeros();
            if which >= LOOPS {
                return Err(Error::Usage(format!(
                    "{LOOPS} event loops wait on this directory already; close one"
                )));
            }
            if self
                .bells
                .taken
                .compare_exchange(
                    taken,
                    taken | 1 << which,
                    Ordering::AcqRel,
                    Ordering::Acquire,
                )
                .is_ok()
            {
                break which;
            }
        };
        let (read, write) = match self.fifo_path(self.me().slot, which) {
            Some(path) => {
                match rustix::fs::mknodat(
                    rustix::fs::CWD,
                    &path,
                    rustix::fs::FileType::Fifo,
                    rustix::fs::Mode::from_raw_mode(0o600),
                    0,
                ) {
                    Ok(()) | Err(rustix::io::Errno::EXIST) => {}
                    Err(e) => return Err(Error::io("make the FIFO", path)(e.into())),
                }
                let end = Arc::new(self.open_fifo(self.me().slot, which)?);
                (Arc::clone(&end), end)
            }
            None => {
                use rustix::pipe::{pipe_with, PipeFlags};
                let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)
                    .map_err(|e| Error::io("make a pipe for", &self.dir)(e.into()))?;
                (Arc::new(read), Arc::new(write))
            }
        };
        self.bells
            .pipes
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .insert(which, write);
        let bell = LoopBell {
            shared: Arc::clone(self),
            which,
            read,
        };
        bell.drain();
        Ok(bell)
    }
}

/// What an event loop watches: `fd` turns readable when an armed object was rung.
pub struct LoopBell {
    shared: Arc<Shared>,
    which: u32,
    read: Arc<OwnedFd>,
}

impl LoopBell {
    pub fn fd(&self) -> RawFd {
        self.read.as_raw_fd()
    }

    /// From now on a ring makes `fd` readable, once. Look at what is waited for after this call.
    pub fn arm(&self) {
        self.shared
            .my_slot()
            .loop_armed
            .fetch_or(1 << self.which, Ordering::SeqCst);
        std::sync::atomic::fence(Ordering::SeqCst);
    }

    /// Takes what rang.
    pub fn drain(&self) {
        let mut bytes = [0u8; 64];
        while matches!(rustix::io::read(&self.read, &mut bytes), Ok(n) if n == bytes.len()) {}
    }
}

impl Drop for LoopBell {
    fn drop(&mut self) {
        if self.shared.forked() {
            return;
        }
        self.shared
            .my_slot()
            .loop_armed
            .fetch_and(!(1 << self.which), Ordering::SeqCst);
        self.shared
            .bells
            .pipes
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .remove(&self.which);
        self.shared
            .bells
            .taken
            .fetch_and(!(1 << self.which), Ordering::AcqRel);
    }
}

/// Sleeps while the word is `expected`; returns after a wake, a signal, a change or the time.
pub fn futex_wait(word: &AtomicU32, expected: u32, left: Option<Duration>) {
    let time = left.map(|left| libc::timespec {
        tv_sec: left.as_secs().min(1 << 30) as libc::time_t,
        tv_nsec: libc::c_long::from(left.subsec_nanos()),
    });
    let time_ptr = time.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: the word lives in a shared mapping or in memory of this process for the call; the kernel only reads it.
    unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAIT,
            expected,
            time_ptr,
            0,
            0,
        )
    };
}

/// Wakes up to `number` sleepers of the word.
pub fn futex_wake(word: &AtomicU32, number: u32) {
    // SAFETY: as above; FUTEX_WAKE only compares the address.
    unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAKE,
            number.min(i32::MAX as u32),
            0,
            0,
            0,
        )
    };
}

/// Memory behind the futex words of `memory:` engines, which have no file in a directory.
pub fn anonymous_file(name: &str) -> Result<File> {
    rustix::fs::memfd_create(name, rustix::fs::MemfdFlags::CLOEXEC)
        .map(File::from)
        .map_err(|e| Error::io("create anonymous memory", name)(e.into()))
}
