//! The state shared by the processes of a directory: the mapped state file, and this process's slot in it.

pub mod bell;
pub mod layout;
pub mod liveness;
pub mod lock;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{fence, AtomicBool, AtomicPtr, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::fork::Held;
use crate::options::limits;
use crate::threads::Duties;

pub use self::bell::LoopBell;
use self::layout::{Head, ObjectPage, Slot, FIRST_OBJECT, GROW, PAGE, PATH_BYTES};
pub use self::lock::PageLock;

/// Chunks of GROW pages that can be mapped: 262,144 objects.
const CHUNKS: usize = 256;

/// A process of a directory, for as long as it has it open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Owner {
    pub session: u64,
    pub slot: u16,
    pub nonce: u64,
}

type Repairer = Box<dyn Fn(u32) -> Result<()> + Send + Sync>;

/// One a process and directory.
pub struct Shared {
    pub(crate) file: File,
    /// DIR/run, or None in memory.
    pub(crate) run: Option<PathBuf>,
    pub(crate) dir: PathBuf,
    chunks: Box<[AtomicPtr<u8>; CHUNKS]>,
    grow: Mutex<()>,
    me: Owner,
    generation: u32,
    process: liveness::Process,
    live_file: Mutex<Option<Held>>,
    /// Set when the slot is given up: a lock taken in its name would look like a dead one's.
    locked_out: AtomicBool,
    repairer: OnceLock<Repairer>,
    pub(crate) bells: bell::Bells,
    pub(crate) duties: Duties,
    fork_generation: u64,
}

/// CLOCK_MONOTONIC, ns: the clock of every duration in the state file. One for all processes of a kernel.
#[inline]
pub fn monotonic_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// Raised in a forked child: whatever was opened before it is the parent's.
pub static FORK_GENERATION: AtomicU64 = AtomicU64::new(0);

impl Shared {
    /// Maps the state file. Nothing but `head` may be used before `take_slot`.
    pub(crate) fn new(file: File, run: Option<PathBuf>, dir: &Path, session: u64) -> Result<Self> {
        let shared = Self {
            file,
            run,
            dir: dir.to_owned(),
            chunks: Box::new([const { AtomicPtr::new(std::ptr::null_mut()) }; CHUNKS]),
            grow: Mutex::new(()),
            me: Owner {
                session,
                slot: 0,
                nonce: 0,
            },
            generation: 0,
            process: liveness::Process::own(),
            live_file: Mutex::new(None),
            locked_out: AtomicBool::new(false),
            repairer: OnceLock::new(),
            bells: bell::Bells::default(),
            duties: Duties::new()?,
            fork_generation: FORK_GENERATION.load(Ordering::Relaxed),
        };
        shared.chunk(0)?;
        Ok(shared)
    }

    /// Takes a free slot for this process. The caller holds SETUP, or is alone (memory).
    ///
    /// Errors: `Connect` when 1,024 processes have the directory open.
    pub(crate) fn take_slot(&mut self, name: &str) -> Result<()> {
        use layout::slot_state::{FREE, INIT, LIVE};
        let nonce = u64::from_le_bytes(crate::identity::random()?) | 1;
        for number in 0..limits::SLOTS as u16 {
            let slot = self.slot(number);
            if slot.state.load(Ordering::Acquire) != FREE {
                continue;
            }
            let live = match &self.run {
                None => None,
                Some(run) => match liveness::lock_live(run, number)? {
                    None => continue,
                    held => held,
                },
            };
            let before = slot.generation.load(Ordering::Acquire);
            let generation = if before == 0 {
                self.me.session as u32
            } else {
                before.wrapping_add(1)
            };
            slot.pid.store(self.process.pid, Ordering::Relaxed);
            slot.start_time
                .store(self.process.start_time, Ordering::Relaxed);
            slot.pid_namespace
                .store(self.process.pid_namespace, Ordering::Relaxed);
            slot.generation.store(generation, Ordering::Release);
            slot.state.store(INIT, Ordering::Release);
            let mut text = [0u8; 24];
            for (to, from) in text.iter_mut().zip(name.bytes()) {
                *to = from;
            }
            for (word, bytes) in slot.name.iter().zip(text.chunks_exact(8)) {
                let mut eight = [0u8; 8];
                eight.copy_from_slice(bytes);
                word.store(u64::from_le_bytes(eight), Ordering::Relaxed);
            }
            slot.sleepers.store(0, Ordering::Relaxed);
            slot.loop_armed.store(0, Ordering::Relaxed);
            slot.leases.store(0, Ordering::Relaxed);
            slot.nonce.store(nonce, Ordering::Release);
            slot.state.store(LIVE, Ordering::Release);
            self.head()
                .slots_used
                .fetch_max(u32::from(number) + 1, Ordering::AcqRel);
            self.me.slot = number;
            self.me.nonce = nonce;
            self.generation = generation;
            *liveness::unpoisoned(&self.live_file) = live;
            return Ok(());
        }
        Err(Error::Connect {
            path: self.dir.clone(),
            why: format!("{} processes have it open already", limits::SLOTS),
        })
    }

    /// Gives the slot back, unless a thread of this process still holds a lock in its name: then it stays ours, and is
    /// cleaned up behind the process.
    pub(crate) fn give_up_slot(&self) {
        self.locked_out.store(true, Ordering::SeqCst);
        let deadline = Instant::now() + Duration::from_secs(1);
        while self.holds_a_lock() {
            if Instant::now() > deadline {
                // The file lock stays too: without it the slot would pass for a dead one's.
                std::mem::forget(liveness::unpoisoned(&self.live_file).take());
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        self.retire_rings_of(self.me.slot);
        let slot = self.my_slot();
        for page in self.pages() {
            self.page(page).waiting[self.me.slot as usize / 64]
                .fetch_and(!(1 << (self.me.slot % 64)), Ordering::SeqCst);
        }
        slot.leases.store(0, Ordering::Release);
        slot.loop_armed.store(0, Ordering::SeqCst);
        slot.nonce.store(0, Ordering::Release);
        slot.state
            .store(layout::slot_state::FREE, Ordering::Release);
        // Claims of this process are free from now on.
        self.ring_everyone();
        drop(liveness::unpoisoned(&self.live_file).take());
    }

    /// Whether this is the only slot that is not free. Under SETUP.
    pub(crate) fn is_only_live(&self) -> bool {
        self.slots().all(|number| {
            number == self.me.slot
                || self.slot(number).state.load(Ordering::Acquire) == layout::slot_state::FREE
        })
    }

    /// The numbers of all slots that were ever used in this session.
    pub(crate) fn slots(&self) -> impl Iterator<Item = u16> {
        let used = self.head().slots_used.load(Ordering::Acquire) as usize;
        (0..used.min(limits::SLOTS)).map(|number| number as u16)
    }

    pub(crate) fn name(&self) -> String {
        liveness::slot_name(self.my_slot())
    }

    /// This process.
    pub fn me(&self) -> Owner {
        self.me
    }

    /// Whether this process is a fork's child of the one that opened the directory.
    #[inline]
    pub fn forked(&self) -> bool {
        self.fork_generation != FORK_GENERATION.load(Ordering::Relaxed)
    }

    fn chunk(&self, number: usize) -> Result<*mut u8> {
        let found = self.chunks[number].load(Ordering::Acquire);
        if !found.is_null() {
            return Ok(found);
        }
        let _guard = self
            .grow
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let found = self.chunks[number].load(Ordering::Acquire);
        if !found.is_null() {
            return Ok(found);
        }
        let bytes = GROW as usize * PAGE;
        // SAFETY: a new shared mapping of a file that is at least this long (`ensure_pages`), never unmapped but by drop.
        let map = unsafe {
            rustix::mm::mmap(
                std::ptr::null_mut(),
                bytes,
                rustix::mm::ProtFlags::READ | rustix::mm::ProtFlags::WRITE,
                rustix::mm::MapFlags::SHARED,
                &self.file,
                (number * bytes) as u64,
            )
        }
        .map_err(|e| Error::io("map", self.dir.join("run/state"))(e.into()))?;
        self.chunks[number].store(map.cast(), Ordering::Release);
        Ok(map.cast())
    }

    #[inline]
    fn at(&self, page: u32) -> *mut u8 {
        let base = self.chunks[(page / GROW) as usize].load(Ordering::Acquire);
        debug_assert!(!base.is_null(), "page {page} is not mapped");
        // SAFETY: page numbers come from `page_for`, which maps the chunk first.
        unsafe { base.add((page % GROW) as usize * PAGE) }
    }

    pub(crate) fn head(&self) -> &Head {
        // SAFETY: page 0 is mapped by `new`; all fields are atomics.
        unsafe { &*self.at(0).cast() }
    }

    /// The page of an object; `no` must come from `page_for`.
    #[inline]
    pub fn page(&self, no: u32) -> &ObjectPage {
        // SAFETY: as in `at`; all fields are atomics, and the mapping lives as long as self.
        unsafe { &*self.at(no).cast() }
    }

    pub fn slot(&self, no: u16) -> &Slot {
        debug_assert!((no as usize) < limits::SLOTS);
        // SAFETY: slots lie in pages 1 to 32, which `new` mapped.
        unsafe { &*self.at(1).add(no as usize * 128).cast() }
    }

    pub fn my_slot(&self) -> &Slot {
        self.slot(self.me.slot)
    }

    pub(crate) fn generation(&self) -> u32 {
        self.generation
    }

    /// The page of the object `oid`; a new one is given to it when it has none. The caller holds SETUP, or is alone.
    pub fn page_for(&self, oid: u64, kind: u32, path: &str) -> Result<u32> {
        assert!(
            path.len() < PATH_BYTES,
            "an object's path is bounded by the length of names"
        );
        let head = self.head();
        let objects = head.n_objects.load(Ordering::Acquire);
        let mut free = None;
        for no in FIRST_OBJECT..FIRST_OBJECT + objects {
            self.chunk((no / GROW) as usize)?;
            let page = self.page(no);
            let found = page.oid.load(Ordering::Acquire);
            if found == oid {
                return Ok(no);
            }
            if found == 0 && free.is_none() {
                free = Some(no);
            }
        }
        // Somebody may still be about to learn that a deleted object is gone: its page is written under its lock.
        let free = free.and_then(|no| {
            let soon = Instant::now() + Duration::from_secs(1);
            self.lock(no, Some(soon)).ok().map(|lock| (no, lock))
        });
        let no = free.as_ref().map_or(FIRST_OBJECT + objects, |(no, _)| *no);
        if (no / GROW) as usize >= CHUNKS {
            return Err(Error::Usage(format!(
                "{} holds too many objects",
                self.dir.display()
            )));
        }
        self.ensure_pages(no + 1)?;
        self.chunk((no / GROW) as usize)?;
        let page = self.page(no);
        crate::fail::kp("page:locked");
        let incarnation = page.incarnation.load(Ordering::Relaxed).wrapping_add(1);
        let lock_at = std::mem::offset_of!(ObjectPage, lock);
        // SAFETY: nobody else uses a page without an oid, and the caller excludes other creators; the lock word in the
        // middle stays as it is.
        unsafe {
            std::ptr::write_bytes(self.at(no), 0, lock_at);
            std::ptr::write_bytes(self.at(no).add(lock_at + 4), 0, PAGE - lock_at - 4);
        }
        page.incarnation.store(incarnation, Ordering::Relaxed);
        page.kind.store(kind, Ordering::Relaxed);
        // SAFETY: the path field is PATH_BYTES long and was zeroed, so that a shorter path ends by a zero.
        unsafe {
            std::ptr::copy_nonoverlapping(
                path.as_ptr(),
                page.path.as_ptr().cast_mut().cast(),
                path.len(),
            )
        };
        page.oid.store(oid, Ordering::Release);
        if free.is_none() {
            head.n_objects.store(objects + 1, Ordering::Release);
        }
        Ok(no)
    }

    fn ensure_pages(&self, wanted: u32) -> Result<()> {
        let head = self.head();
        let have = head.n_pages.load(Ordering::Acquire);
        if wanted <= have {
            return Ok(());
        }
        let pages = wanted.div_ceil(GROW) * GROW;
        let path = || self.dir.join("run/state");
        let len = u64::from(pages) * PAGE as u64;
        rustix::fs::ftruncate(&self.file, len).map_err(|e| Error::io("grow", path())(e.into()))?;
        // Allocated now, so that no store into the map can fail later.
        rustix::fs::fallocate(&self.file, rustix::fs::FallocateFlags::empty(), 0, len)
            .map_err(|e| Error::io("allocate", path())(e.into()))?;
        head.n_pages.store(pages, Ordering::Release);
        Ok(())
    }

    /// The directory of a page's object, relative to DIR.
    pub fn path_of(&self, no: u32) -> String {
        let page = self.page(no);
        let bytes: Vec<u8> = page
            .path
            .iter()
            .flat_map(|word| word.load(Ordering::Relaxed).to_le_bytes())
            .take_while(|byte| *byte != 0)
            .collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Makes the page free: its object was deleted, and nobody may act on it any more.
    pub fn release_page(&self, no: u32) {
        let page = self.page(no);
        page.deleted.store(1, Ordering::Release);
        page.oid.store(0, Ordering::Release);
    }

    /// All pages with an object.
    pub fn pages(&self) -> impl Iterator<Item = u32> + '_ {
        self.used_pages()
            .filter(|no| self.page(*no).oid.load(Ordering::Acquire) != 0)
    }

    /// The same and those that are free again: somebody may be giving one to a new object, under its lock.
    pub(crate) fn used_pages(&self) -> impl Iterator<Item = u32> + '_ {
        let objects = self.head().n_objects.load(Ordering::Acquire);
        (FIRST_OBJECT..FIRST_OBJECT + objects).filter(|no| self.chunk((no / GROW) as usize).is_ok())
    }

    pub fn set_repairer(&self, repairer: Repairer) {
        // A second call would be a second Engine over one Shared, which `engine.rs` never makes.
        let _ = self.repairer.set(repairer);
    }

    /// Finishes or undoes what the owner of the page's lock was doing. The caller holds the lock.
    pub(crate) fn repair(&self, page: u32) -> Result<()> {
        self.repairer.get().map_or(Ok(()), |repair| repair(page))
    }

    /// Whether the owner's process still has the directory open, by its slot alone (no system call).
    pub fn owner_live(&self, owner: &Owner) -> bool {
        if owner.session != self.me.session || owner.slot as usize >= limits::SLOTS {
            return false;
        }
        let slot = self.slot(owner.slot);
        let state = slot.state.load(Ordering::Acquire);
        (state == layout::slot_state::LIVE || state == layout::slot_state::CLOSING)
            && slot.nonce.load(Ordering::Acquire) == owner.nonce
    }

    /// The owner's heart-beat, or None when it is gone.
    pub fn beat(&self, owner: &Owner) -> Option<u64> {
        self.owner_live(owner)
            .then(|| self.slot(owner.slot).beat.load(Ordering::Acquire))
    }

    /// Adds to the deliveries that this process holds; its heart beats while there are any.
    #[inline]
    pub fn hold_leases(&self, n: i32) {
        self.my_slot().leases.fetch_add(n as u32, Ordering::AcqRel);
        if n > 0 {
            self.duties.start_beating();
        }
    }

    /// Asks for a heart-beat at least so often while leases are held (the least of all that were asked for).
    pub fn beat_within(&self, every: Duration) {
        self.duties.beat_within(every);
    }

    /// Asks to be rung when the object changes. The caller looks again afterwards, before it sleeps.
    pub fn arm(&self, no: u32) {
        let page = self.page(no);
        let slot = self.me.slot as usize;
        page.waiting[slot / 64].fetch_or(1 << (slot % 64), Ordering::SeqCst);
        page.wait_summary
            .fetch_or(1 << (slot / 64), Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }

    /// Wakes whoever armed the object. After the change was stored.
    #[inline]
    pub fn ring(&self, no: u32) {
        fence(Ordering::SeqCst);
        if self.page(no).wait_summary.load(Ordering::Relaxed) != 0 {
            self.ring_all(no);
        }
    }

    #[cold]
    fn ring_all(&self, no: u32) {
        let page = self.page(no);
        let mut groups = page.wait_summary.swap(0, Ordering::SeqCst);
        while groups != 0 {
            let group = groups.trailing_zeros() as usize;
            groups &= groups - 1;
            let mut slots = page.waiting[group].swap(0, Ordering::SeqCst);
            while slots != 0 {
                let slot = group * 64 + slots.trailing_zeros() as usize;
                slots &= slots - 1;
                self.ring_slot(slot as u16);
            }
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        for chunk in self.chunks.iter() {
            let map = chunk.load(Ordering::Acquire);
            if !map.is_null() {
                // SAFETY: mapped by `chunk` with this length; no reference into it outlives self.
                let _ = unsafe { rustix::mm::munmap(map.cast(), GROW as usize * PAGE) };
            }
        }
    }
}
