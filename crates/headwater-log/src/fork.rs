//! What a fork's child must not keep: a file lock belongs to the open file, so that a child that kept the parent's
//! descriptors would hold the parent's locks after its death. The child closes them (it never unlocks: that would
//! unlock the parent's), and everything that the parent had opened answers `Forked` there (engine.md §13).

use std::cell::UnsafeCell;
use std::collections::HashMap;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};
use std::sync::Once;

use crate::error::{Error, Result};
use crate::shared::FORK_GENERATION;

struct Entry {
    /// -1: free.
    fd: AtomicI32,
    device: AtomicU64,
    inode: AtomicU64,
}

/// At most so many locked files at a time: five a directory, and one for each log that is being opened.
const ENTRIES: usize = 4096;
static TABLE: [Entry; ENTRIES] = [const {
    Entry {
        fd: AtomicI32::new(-1),
        device: AtomicU64::new(0),
        inode: AtomicU64::new(0),
    }
}; ENTRIES];

/// Held while a descriptor is between its making and its entry in the table, and by a fork.
static QUIET: AtomicBool = AtomicBool::new(false);
static INSTALLED: Once = Once::new();

fn enter_quiet() {
    while QUIET
        .compare_exchange_weak(false, true, Ordering::Acquire, Ordering::Relaxed)
        .is_err()
    {
        std::thread::yield_now();
    }
}

fn leave_quiet() {
    QUIET.store(false, Ordering::Release);
}

extern "C" fn before_fork() {
    enter_quiet();
}

extern "C" fn after_fork_in_parent() {
    leave_quiet();
}

/// Only async-signal-safe calls: other threads of the parent may have held any lock.
extern "C" fn after_fork_in_child() {
    FORK_GENERATION.fetch_add(1, Ordering::SeqCst);
    for entry in &TABLE {
        let fd = entry.fd.swap(-1, Ordering::Relaxed);
        if fd < 0 {
            continue;
        }
        // SAFETY: fstat fills `found` or fails; a zeroed stat is a valid one.
        unsafe {
            let mut found: libc::stat = std::mem::zeroed();
            if libc::fstat(fd, &mut found) == 0
                && found.st_dev as u64 == entry.device.load(Ordering::Relaxed)
                && found.st_ino as u64 == entry.inode.load(Ordering::Relaxed)
            {
                libc::close(fd);
            }
        }
    }
    leave_quiet();
}

/// Runs a short piece of work that no fork may cut in two, one at a time in the process.
fn quietly<T>(work: impl FnOnce() -> T) -> T {
    INSTALLED.call_once(|| {
        // SAFETY: the three handlers are async-signal-safe.
        unsafe {
            libc::pthread_atfork(
                Some(before_fork),
                Some(after_fork_in_parent),
                Some(after_fork_in_child),
            )
        };
    });
    struct Leave;
    impl Drop for Leave {
        fn drop(&mut self) {
            leave_quiet();
        }
    }
    enter_quiet();
    let _leave = Leave;
    work()
}

/// A descriptor that carries a file lock: closed on drop, and in a fork's child at once.
#[derive(Debug)]
pub struct Held {
    fd: RawFd,
    entry: usize,
    generation: u64,
}

impl Held {
    /// Opens a file that is to be locked; made when it is missing (mode 0600).
    pub fn open(path: &Path) -> Result<Self> {
        use rustix::fs::{Mode, OFlags};
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC;
        Self::register(path, || {
            rustix::fs::open(path, flags, Mode::from_raw_mode(0o600))
        })
    }

    /// Opens a file or directory that is there, for reading.
    pub fn open_read(path: &Path) -> Result<Self> {
        use rustix::fs::{Mode, OFlags};
        Self::register(path, || {
            rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        })
    }

    fn register(path: &Path, open: impl FnOnce() -> rustix::io::Result<OwnedFd>) -> Result<Self> {
        quietly(|| {
            let fd = open().map_err(|e| Error::io("open", path)(e.into()))?;
            let found = rustix::fs::fstat(&fd).map_err(|e| Error::io("look at", path)(e.into()))?;
            let entry = TABLE
                .iter()
                .position(|entry| entry.fd.load(Ordering::Relaxed) < 0)
                .ok_or_else(|| {
                    Error::Usage(format!("more than {ENTRIES} locked files in one process"))
                })?;
            TABLE[entry]
                .device
                .store(found.st_dev as u64, Ordering::Relaxed);
            TABLE[entry]
                .inode
                .store(found.st_ino as u64, Ordering::Relaxed);
            TABLE[entry].fd.store(fd.as_raw_fd(), Ordering::Release);
            Ok(Self {
                fd: fd.into_raw_fd(),
                entry,
                generation: FORK_GENERATION.load(Ordering::Relaxed),
            })
        })
    }
}

impl AsFd for Held {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: open until drop; in a fork's child it is closed, and using it fails or is prevented by `forked()`.
        unsafe { BorrowedFd::borrow_raw(self.fd) }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // In a child it was closed by the handler, and the number may be another file's by now.
        if self.generation != FORK_GENERATION.load(Ordering::Relaxed) {
            return;
        }
        quietly(|| {
            if self.generation == FORK_GENERATION.load(Ordering::Relaxed) {
                TABLE[self.entry].fd.store(-1, Ordering::Relaxed);
                // SAFETY: ours, and not used after.
                unsafe { libc::close(self.fd) };
            }
        });
    }
}

/// A map of the whole process that a fork's child can use: it is never locked at the moment of the fork.
pub(crate) struct Registry<K, V>(UnsafeCell<Option<HashMap<K, V>>>);

// SAFETY: only touched inside `quietly`, by one thread at a time.
unsafe impl<K: Send, V: Send> Sync for Registry<K, V> {}

impl<K: std::hash::Hash + Eq, V> Registry<K, V> {
    pub(crate) const fn new() -> Self {
        Self(UnsafeCell::new(None))
    }

    /// Short work on the map: no waiting and no dropping of anything that opens or closes files.
    pub(crate) fn with<T>(&self, work: impl FnOnce(&mut HashMap<K, V>) -> T) -> T {
        quietly(|| {
            // SAFETY: `quietly` lets one thread in at a time.
            let map = unsafe { &mut *self.0.get() };
            work(map.get_or_insert_with(HashMap::new))
        })
    }
}
