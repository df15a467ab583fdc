//! One append-only log: a stream, a queue's lane, a group's journal or its notes (engine.md §5, §6).

pub mod checksum;
pub mod cursor;
#[cfg(test)]
mod damage_tests;
mod find;
pub mod frame;
pub mod header;
pub(crate) mod heal;
#[cfg(test)]
mod model_tests;
pub mod quarantine;
mod recovery;
mod repair;
mod retention;
mod roll;
mod scan;
pub mod segment;
#[cfg(test)]
mod segments_tests;
mod sync;
#[cfg(test)]
mod tests;
mod writer;

use std::cell::UnsafeCell;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::ctx::EngineCtx;
use crate::error::{Error, Result};
use crate::meta::Meta;
use crate::options::Durability;
use crate::shared::layout::{page_kind, ObjectPage};
use crate::shared::PageLock;

pub use self::cursor::{Cursor, Peek, Spot};
pub use self::frame::{OwnedRecord, Record, RecordRef};
pub use self::segment::LogKind;
use self::segment::{Header, Segment, SMALLEST};
pub use self::writer::{check_record as writer_check, Appended, LogGuard};

pub(crate) fn now_ns() -> i64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    now.tv_sec * 1_000_000_000 + now.tv_nsec
}

pub(crate) fn monotonic_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

pub(crate) fn random_u64() -> u64 {
    let mut bytes = [0u8; 8];
    // The kernel's generator never fails for so few bytes once it is seeded, which it is before any program of ours runs.
    let _ = rustix::rand::getrandom(&mut bytes[..], rustix::rand::GetRandomFlags::empty());
    u64::from_le_bytes(bytes) | 1
}

#[derive(Default)]
struct Known {
    layout_gen: u32,
    listed: bool,
    /// base_seq and, once it was needed, the mapped file; ascending.
    list: Vec<(u64, Option<Arc<Segment>>)>,
}

/// Maps kept besides the active one's; an older one is mapped again when it is needed.
const KEPT_MAPS: usize = 16;

/// One per log and process; `Arc`ed.
pub struct Log {
    pub(crate) ctx: Arc<EngineCtx>,
    pub(crate) dir: PathBuf,
    pub(crate) kind: LogKind,
    pub(crate) page: u32,
    /// The page itself: looked up for each field, it is a fifth of an append.
    mapped: *const ObjectPage,
    pub(crate) oid: u64,
    /// For errors: "stream orders".
    pub(crate) what: String,
    incarnation: u32,
    known: Mutex<Known>,
    /// The segment that is written; only touched under the page's lock.
    active: UnsafeCell<Option<Arc<Segment>>>,
    meta: Mutex<Meta>,
    /// The page's count of changes to the metadata that `meta` is as new as.
    meta_seen: AtomicU64,
}

/// Word of the page: counts the changes of meta.bin in this session.
const META_CHANGES: usize = 2;

// SAFETY: `active` is only touched under the page's lock, which one thread of all processes holds at a time; what `mapped` points to
// has atomic fields alone.
unsafe impl Send for Log {}
// SAFETY: as above.
unsafe impl Sync for Log {}

fn guard<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Log {
    /// Makes the files of a new log in `dir`, which exists. The object's metadata is the caller's.
    pub fn create_files(ctx: &EngineCtx, dir: &Path, kind: LogKind, oid: u64) -> Result<()> {
        let header = Header {
            uuid: ctx.uuid,
            oid,
            base_seq: 1,
            base_lba: 0,
            base_ordinal: 0,
            base_max_time: i64::MIN,
            created_ns: now_ns(),
            file_size: SMALLEST,
            kind: kind as u32,
            generation: 0,
        };
        let segment = Segment::create(ctx, dir, kind, header)?;
        if !ctx.memory {
            ctx.storage.sync(&segment.file, &segment.path)?;
        }
        Ok(())
    }

    /// Opens a log; the first process that does so in a session recovers it. `rel` is the directory relative to the root.
    ///
    /// Errors: `NotFound`, `Corruption`, `Durability` where an fsync failed once.
    pub fn open(
        ctx: &Arc<EngineCtx>,
        rel: &str,
        kind: LogKind,
        page: u32,
        oid: u64,
    ) -> Result<Arc<Self>> {
        let dir = ctx.root.join(rel);
        let meta = Meta::load(&*ctx.storage, &dir)?;
        let log = Self {
            ctx: Arc::clone(ctx),
            what: format!("{} {}", meta.kind, meta.name),
            dir,
            kind,
            page,
            mapped: ctx.shared.page(page),
            oid,
            incarnation: ctx.shared.page(page).incarnation.load(Ordering::Acquire),
            known: Mutex::default(),
            active: UnsafeCell::new(None),
            meta: Mutex::new(meta),
            meta_seen: AtomicU64::new(u64::MAX),
        };
        if log.state().ready.load(Ordering::Acquire) == 0 {
            let _first = ctx.storage.lock_dir(&log.dir)?;
            if log.state().ready.load(Ordering::Acquire) == 0 {
                log.recover()?;
                log.state().ready.store(1, Ordering::Release);
            }
        }
        if ctx.storage.exists(&log.dir.join("poisoned")) {
            log.state()
                .poison
                .store(libc::EIO as u32, Ordering::Release);
        }
        Ok(Arc::new(log))
    }

    /// What a page number must be asked for with: `Shared::page_for(oid, log_page_kind(kind), rel)`.
    pub fn page_kind(kind: LogKind) -> u32 {
        page_kind::LOG | (kind as u32) << 8
    }

    #[inline]
    pub fn state(&self) -> &ObjectPage {
        // SAFETY: taken from the shared state that `ctx` keeps, whose maps stay where they are until it is dropped.
        unsafe { &*self.mapped }
    }

    /// Errors: `NotFound` once the object was deleted (its page may already be another's).
    #[inline]
    pub fn check_alive(&self) -> Result<()> {
        let state = self.state();
        if state.deleted.load(Ordering::Relaxed) != 0
            || state.incarnation.load(Ordering::Relaxed) != self.incarnation
            || state.oid.load(Ordering::Relaxed) != self.oid
        {
            return Err(Error::NotFound {
                what: "object (it was deleted)",
                name: self.what.clone(),
            });
        }
        Ok(())
    }

    /// Waits for the writer's lock.
    pub fn lock(&self, deadline: Option<Instant>) -> Result<LogGuard<'_>> {
        let lock = self.ctx.shared.lock(self.page, deadline)?;
        self.guarded(lock)
    }

    /// The writer's lock, if it is free now.
    #[inline]
    pub fn try_lock(&self) -> Result<Option<LogGuard<'_>>> {
        match self.ctx.shared.try_lock(self.page) {
            Some(lock) => self.guarded(lock).map(Some),
            None => Ok(None),
        }
    }

    #[inline]
    fn guarded<'a>(&'a self, lock: PageLock<'a>) -> Result<LogGuard<'a>> {
        self.check_alive()?;
        Ok(LogGuard::new(self, lock))
    }

    /// Bytes below this address may be read: the tail, or in an `always` directory what is synced, so that nobody acts on what a
    /// power cut can undo.
    #[inline]
    pub fn visible(&self) -> u64 {
        let state = self.state();
        let tail = state.tail.load(Ordering::Acquire);
        if self.ctx.durability == Durability::Always {
            tail.min(state.synced.load(Ordering::Acquire))
        } else {
            tail
        }
    }

    /// The last record's position; 0: none yet.
    pub fn last_seq(&self) -> u64 {
        self.state().last_seq.load(Ordering::Acquire)
    }

    /// The position of the next record, unless a crash comes between.
    pub fn next_seq(&self) -> u64 {
        self.state().next_seq.load(Ordering::Acquire)
    }

    /// The first position that is kept.
    pub fn first_seq(&self) -> u64 {
        self.state().first_seq.load(Ordering::Acquire)
    }

    /// Records ever appended.
    pub fn ordinal(&self) -> u64 {
        self.state().ordinal.load(Ordering::Acquire)
    }

    pub fn arm(&self) {
        self.ctx.shared.arm(self.page);
    }

    #[inline]
    pub fn ring(&self) {
        self.ctx.shared.ring(self.page);
    }

    pub fn meta(&self) -> Meta {
        guard(&self.meta).clone()
    }

    /// Changes the stored metadata, under the directory's lock and from what is stored now.
    pub fn update_meta<T>(&self, change: impl FnOnce(&mut Meta) -> Result<T>) -> Result<T> {
        let _alone = self.ctx.storage.lock_dir(&self.dir)?;
        self.update_meta_alone(change)
    }

    /// The same for whoever holds the directory's lock.
    fn update_meta_alone<T>(&self, change: impl FnOnce(&mut Meta) -> Result<T>) -> Result<T> {
        let mut cached = guard(&self.meta);
        let mut meta = Meta::load(&*self.ctx.storage, &self.dir)?;
        let before = meta.clone();
        let answer = change(&mut meta)?;
        if meta != before {
            meta.store(&*self.ctx.storage, &self.dir)?;
        }
        *cached = meta;
        self.state().words[META_CHANGES].fetch_add(1, Ordering::AcqRel);
        Ok(answer)
    }

    /// Changes with every change of the stored metadata in this session.
    #[inline]
    pub(crate) fn meta_changes(&self) -> u64 {
        self.state().words[META_CHANGES].load(Ordering::Acquire)
    }

    /// The metadata as it is stored now (another process may have changed it).
    pub fn reload_meta(&self) -> Result<Meta> {
        let changes = self.meta_changes();
        if self.meta_seen.load(Ordering::Acquire) == changes {
            return Ok(self.meta());
        }
        let meta = Meta::load(&*self.ctx.storage, &self.dir)?;
        guard(&self.meta).clone_from(&meta);
        self.meta_seen.store(changes, Ordering::Release);
        Ok(meta)
    }

    // --- segments

    fn refresh(&self, known: &mut Known) -> Result<()> {
        let layout_gen = self.state().layout_gen.load(Ordering::Acquire);
        if known.listed && known.layout_gen == layout_gen {
            return Ok(());
        }
        let names = self.ctx.storage.list(&self.dir)?;
        let mut bases: Vec<u64> = names
            .iter()
            .filter_map(|name| self.kind.parse(name))
            .collect();
        bases.sort_unstable();
        let mut old = std::mem::take(&mut known.list);
        known.list = bases
            .into_iter()
            .map(|base| {
                let kept = old
                    .iter_mut()
                    .find(|(found, _)| *found == base)
                    .and_then(|(_, segment)| segment.take());
                (base, kept)
            })
            .collect();
        known.layout_gen = layout_gen;
        known.listed = true;
        Ok(())
    }

    /// The base positions of all segments, ascending.
    pub fn segment_bases(&self) -> Result<Vec<u64>> {
        let mut known = guard(&self.known);
        self.refresh(&mut known)?;
        Ok(known.list.iter().map(|(base, _)| *base).collect())
    }

    fn open_segment(&self, base: u64) -> Result<Arc<Segment>> {
        let segment = Segment::open(&self.ctx, &self.dir.join(self.kind.file_name(base)))?;
        if segment.header.oid != self.oid || segment.header.base_seq != base {
            return Err(Error::Corruption {
                file: segment.path,
                offset: 0,
                what: "the segment belongs to another log".to_owned(),
            });
        }
        Ok(Arc::new(segment))
    }

    /// The mapped segment that begins at `base`. None: it is gone.
    pub(crate) fn segment(&self, base: u64) -> Result<Option<Arc<Segment>>> {
        let mut known = guard(&self.known);
        self.refresh(&mut known)?;
        let Ok(place) = known.list.binary_search_by_key(&base, |(found, _)| *found) else {
            return Ok(None);
        };
        if let Some(segment) = &known.list[place].1 {
            return Ok(Some(Arc::clone(segment)));
        }
        let segment = match self.open_segment(base) {
            Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                return Ok(None)
            }
            found => found?,
        };
        let mapped = known
            .list
            .iter()
            .filter(|(_, segment)| segment.is_some())
            .count();
        if mapped >= KEPT_MAPS {
            if let Some((_, oldest)) = known.list.iter_mut().find(|(_, segment)| segment.is_some())
            {
                *oldest = None;
            }
        }
        known.list[place].1 = Some(Arc::clone(&segment));
        Ok(Some(segment))
    }

    /// The segment that holds `seq`, or the first one when it lies before all.
    pub(crate) fn segment_of(&self, seq: u64) -> Result<Option<Arc<Segment>>> {
        loop {
            let bases = self.segment_bases()?;
            let place = bases.partition_point(|base| *base <= seq).saturating_sub(1);
            let Some(base) = bases.get(place) else {
                return Ok(None);
            };
            if let Some(segment) = self.segment(*base)? {
                return Ok(Some(segment));
            }
            // Deleted between the listing and the opening: look again.
            guard(&self.known).listed = false;
        }
    }

    /// The segment behind the one that begins at `base`.
    pub(crate) fn segment_after(&self, base: u64) -> Result<Option<Arc<Segment>>> {
        loop {
            let bases = self.segment_bases()?;
            let Some(next) = bases.get(bases.partition_point(|found| *found <= base)) else {
                return Ok(None);
            };
            if let Some(segment) = self.segment(*next)? {
                return Ok(Some(segment));
            }
            // As in `segment_of`.
            guard(&self.known).listed = false;
        }
    }

    fn forget_segment(&self, base: u64) {
        guard(&self.known).list.retain(|(found, _)| *found != base);
    }

    fn learn_segment(&self, segment: &Arc<Segment>) {
        let mut known = guard(&self.known);
        let base = segment.header.base_seq;
        match known.list.binary_search_by_key(&base, |(found, _)| *found) {
            Ok(place) => known.list[place].1 = Some(Arc::clone(segment)),
            Err(place) => known.list.insert(place, (base, Some(Arc::clone(segment)))),
        }
    }

    /// Total bytes of the segments.
    pub fn bytes(&self) -> Result<u64> {
        let mut total = 0;
        for base in self.segment_bases()? {
            if let Some(segment) = self.segment(base)? {
                total += segment.header.file_size;
            }
        }
        Ok(total)
    }

    pub(crate) fn corrupt(&self, segment: &Segment, off: u64, what: &str) -> Error {
        Error::Corruption {
            file: segment.path.clone(),
            offset: off,
            what: what.to_owned(),
        }
    }
}
