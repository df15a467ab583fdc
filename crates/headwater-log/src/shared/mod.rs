//! The state shared by the processes of a directory: the mapped state file, and this process's slot in it.

pub mod bell;
pub mod layout;
pub mod liveness;
pub mod lock;

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{fence, AtomicI32, AtomicPtr, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock};

use crate::error::{Error, Result};
use crate::options::limits;

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
    pub(crate) live_file: Option<OwnedFd>,
    repairer: OnceLock<Repairer>,
    pub(crate) bells: bell::Bells,
    pub(crate) lease_count: AtomicI32,
    pub(crate) fork_generation: u64,
}

/// Raised in a forked child: whatever was opened before it is the parent's.
pub static FORK_GENERATION: AtomicU64 = AtomicU64::new(0);

impl Shared {
    /// Maps the state file. `slot` must have been taken by `session::enter` for this process.
    pub(crate) fn new(
        file: File,
        run: Option<PathBuf>,
        dir: &Path,
        me: Owner,
        generation: u32,
        live_file: Option<OwnedFd>,
    ) -> Result<Self> {
        let shared = Self {
            file,
            run,
            dir: dir.to_owned(),
            chunks: Box::new([const { AtomicPtr::new(std::ptr::null_mut()) }; CHUNKS]),
            grow: Mutex::new(()),
            me,
            generation,
            live_file,
            repairer: OnceLock::new(),
            bells: bell::Bells::default(),
            lease_count: AtomicI32::new(0),
            fork_generation: FORK_GENERATION.load(Ordering::Relaxed),
        };
        shared.chunk(0)?;
        Ok(shared)
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
        let no = free.unwrap_or(FIRST_OBJECT + objects);
        if (no / GROW) as usize >= CHUNKS {
            return Err(Error::Usage(format!(
                "{} holds too many objects",
                self.dir.display()
            )));
        }
        self.ensure_pages(no + 1)?;
        self.chunk((no / GROW) as usize)?;
        let page = self.page(no);
        let incarnation = page.incarnation.load(Ordering::Relaxed).wrapping_add(1);
        // SAFETY: nobody else uses a page without an oid, and the caller excludes other creators.
        unsafe { std::ptr::write_bytes(self.at(no), 0, PAGE) };
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
        let objects = self.head().n_objects.load(Ordering::Acquire);
        (FIRST_OBJECT..FIRST_OBJECT + objects).filter(|no| {
            self.chunk((no / GROW) as usize).is_ok()
                && self.page(*no).oid.load(Ordering::Acquire) != 0
        })
    }

    pub fn set_repairer(&self, repairer: Repairer) {
        // A second call would be a second Engine over one Shared, which `engine.rs` never makes.
        let _ = self.repairer.set(repairer);
    }

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
    pub fn hold_leases(&self, n: i32) {
        let before = self.lease_count.fetch_add(n, Ordering::AcqRel);
        let now = before + n;
        let slot = self.my_slot();
        slot.leases.store(now.max(0) as u32, Ordering::Release);
        if before <= 0 && now > 0 {
            slot.beat.fetch_add(1, Ordering::AcqRel);
        }
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
