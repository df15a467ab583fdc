//! The objects of a directory as this process has them open: found by name, opened once, flushed and closed together.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, Weak};
use std::time::Instant;

use crate::ctx::{EngineCtx, Event};
use crate::error::{Error, Result};
use crate::group::core::{Core, Op};
use crate::group::lanes::Lanes;
use crate::log::{monotonic_ns, Log, LogKind};
use crate::meta::Meta;
use crate::object;
use crate::options::Durability;
use crate::shared::layout::page_kind;
use crate::shared::liveness::unpoisoned;
use crate::stream::Stream;

/// Where streams and queues lie.
pub(crate) const STREAMS: &str = "s";
pub(crate) const QUEUES: &str = "q";

/// The part of a context that knows its open logs.
pub struct Catalog {
    ctx: Weak<EngineCtx>,
    logs: Mutex<HashMap<(String, u32), Arc<Log>>>,
    streams: Mutex<HashMap<String, Arc<Stream>>>,
    cores: Mutex<HashMap<String, Arc<Core>>>,
    /// One replica a group and process: held while one is opened.
    opening: Mutex<()>,
}

impl Catalog {
    /// The one of this directory in this process.
    pub(crate) fn of(ctx: &Arc<EngineCtx>) -> Arc<Self> {
        let mut fresh = false;
        let catalog = ctx.part(|| {
            fresh = true;
            Self {
                ctx: Arc::downgrade(ctx),
                logs: Mutex::default(),
                streams: Mutex::default(),
                cores: Mutex::default(),
                opening: Mutex::default(),
            }
        });
        if fresh {
            catalog.install(ctx);
        }
        catalog
    }

    fn install(self: &Arc<Self>, ctx: &Arc<EngineCtx>) {
        let weak = Arc::downgrade(ctx);
        ctx.shared
            .set_repairer(Box::new(move |page| match weak.upgrade() {
                Some(ctx) => Catalog::of(&ctx).repair(&ctx, page),
                None => Ok(()),
            }));
        let me = Arc::downgrade(self);
        ctx.listen(move |event| match me.upgrade() {
            Some(catalog) => catalog.told(event),
            None => Ok(()),
        });
        let me = Arc::downgrade(self);
        ctx.shared.on_work(move |tick| {
            if let Some(catalog) = me.upgrade() {
                catalog.flush_overdue();
                if tick.janitor {
                    catalog.flush_orphans();
                }
                catalog.forget_deleted();
                catalog.retain();
                for core in catalog.open_cores() {
                    // What cannot be written now is tried again at the next look.
                    let _ = core.tend();
                }
            }
        });
        let me = Arc::downgrade(self);
        ctx.shared.on_tick(move |_| {
            if let Some(catalog) = me.upgrade() {
                catalog.open_cores().iter().for_each(|core| core.tick());
            }
        });
    }

    fn ctx(&self) -> Result<Arc<EngineCtx>> {
        self.ctx
            .upgrade()
            .ok_or_else(|| Error::Closed("the directory".to_owned()))
    }

    /// A log of an object, opened at its first use in this process.
    pub(crate) fn log(&self, rel: &str, meta: &Meta, kind: LogKind) -> Result<Arc<Log>> {
        let ctx = self.ctx()?;
        let key = (rel.to_owned(), kind as u32);
        if let Some(log) = unpoisoned(&self.logs).get(&key) {
            if log.oid == object::log_oid(meta.oid, kind) && log.check_alive().is_ok() {
                return Ok(Arc::clone(log));
            }
        }
        let page = {
            let _gate = ctx.setup()?;
            let oid = object::log_oid(meta.oid, kind);
            let page = ctx.shared.page_for(oid, Log::page_kind(kind), rel)?;
            // Marked, and its files are still here: whoever was about to delete it has died, since the gate is ours.
            let deleted = &ctx.shared.page(page).deleted;
            if deleted.load(Ordering::Acquire) != 0 && ctx.storage.exists(&ctx.root.join(rel)) {
                deleted.store(0, Ordering::Release);
            }
            page
        };
        let log = Log::open(&ctx, rel, kind, page, object::log_oid(meta.oid, kind))?;
        unpoisoned(&self.logs).insert(key, Arc::clone(&log));
        Ok(log)
    }

    /// The group in the directory `rel`, opened at its first use in this process. `lanes` says what it works on; `start` writes its
    /// first entries, where it is new.
    pub(crate) fn core(
        &self,
        rel: &str,
        meta: &Meta,
        what: &str,
        lanes: impl FnOnce() -> Lanes,
        start: impl FnOnce(&mut Op<'_>) -> Result<()>,
    ) -> Result<Arc<Core>> {
        let known = || {
            unpoisoned(&self.cores)
                .get(rel)
                .filter(|core| core.is_of(meta))
                .cloned()
        };
        if let Some(core) = known() {
            return Ok(core);
        }
        let _alone = unpoisoned(&self.opening);
        if let Some(core) = known() {
            return Ok(core);
        }
        let core = Core::open(
            &self.ctx()?,
            what.to_owned(),
            self.log(rel, meta, LogKind::Journal)?,
            self.log(rel, meta, LogKind::Notes)?,
            lanes(),
            start,
        )?;
        let before = unpoisoned(&self.cores).insert(rel.to_owned(), Arc::clone(&core));
        if let Some(deleted) = before {
            deleted.forget();
        }
        Ok(core)
    }

    /// Lets go of what was deleted, here or by another process.
    fn forget_deleted(&self) {
        let mut deleted = Vec::new();
        unpoisoned(&self.cores).retain(|_, core| {
            let alive = core.journal.check_alive().is_ok();
            if !alive {
                deleted.push(Arc::clone(core));
            }
            alive
        });
        deleted.iter().for_each(|core| core.forget());
        unpoisoned(&self.streams).retain(|_, stream| stream.log().check_alive().is_ok());
        unpoisoned(&self.logs).retain(|_, log| log.check_alive().is_ok());
    }

    /// The groups that are open here.
    pub(crate) fn open_cores(&self) -> Vec<Arc<Core>> {
        unpoisoned(&self.cores)
            .values()
            .filter(|core| core.check().is_ok())
            .cloned()
            .collect()
    }

    /// The logs that are open here.
    pub(crate) fn open_logs(&self) -> Vec<Arc<Log>> {
        unpoisoned(&self.logs)
            .values()
            .filter(|log| log.check_alive().is_ok())
            .cloned()
            .collect()
    }

    /// The lock's owner died in the middle of something; the caller holds the lock.
    fn repair(&self, ctx: &Arc<EngineCtx>, page: u32) -> Result<()> {
        let known = unpoisoned(&self.logs)
            .values()
            .find(|log| log.page == page && log.check_alive().is_ok())
            .cloned();
        let log = match known {
            Some(log) => Some(log),
            None => object::open_by_page(ctx, page)?,
        };
        log.map_or(Ok(()), |log| log.repair())
    }

    fn told(&self, event: Event) -> Result<()> {
        match event {
            Event::Flush(deadline) => self.each(|log| log.flush(deadline)),
            Event::Leaving => {
                for core in self.open_cores() {
                    // What is not given back comes again as what a dead process held.
                    let _ = core.give_back_all();
                }
                self.each(|log| log.flush(None))
            }
            Event::Last => self.last(),
        }
    }

    fn each(&self, work: impl Fn(&Log) -> Result<()>) -> Result<()> {
        let mut outcome = Ok(());
        for log in self.open_logs() {
            let done = work(&log);
            if outcome.is_ok() {
                outcome = done;
            }
        }
        outcome
    }

    /// Every log of the session gets its tail note, also those that only others had open.
    fn last(&self) -> Result<()> {
        let ctx = self.ctx()?;
        for page in ctx.shared.pages().collect::<Vec<_>>() {
            let state = ctx.shared.page(page);
            if state.kind.load(Ordering::Acquire) & 0xFF == page_kind::LOG
                && state.ready.load(Ordering::Acquire) != 0
            {
                let known = unpoisoned(&self.logs)
                    .values()
                    .find(|log| log.page == page)
                    .cloned();
                let log = match known {
                    Some(log) => Some(log),
                    None => object::open_by_page(&ctx, page)?,
                };
                if let Some(log) = log.filter(|log| log.check_alive().is_ok()) {
                    log.write_tail_note()?;
                }
            }
        }
        Ok(())
    }

    /// The interval's promise: nothing stays unsynced for longer.
    fn flush_overdue(&self) {
        let Ok(ctx) = self.ctx() else { return };
        if ctx.durability == Durability::Never || ctx.memory {
            return;
        }
        let interval = ctx.interval.as_nanos() as u64;
        for log in self.open_logs() {
            let state = log.state();
            let mut since = state.dirty_since.load(Ordering::Acquire);
            if since == 0 {
                if state.tail.load(Ordering::Acquire) <= state.synced.load(Ordering::Acquire) {
                    continue;
                }
                // An append that saw the mark in the moment in which a sync took it away left none of its own.
                since = monotonic_ns();
                state.dirty_since.store(since, Ordering::Release);
            }
            let due = since + interval;
            if monotonic_ns() + 1_000_000 >= due {
                // What fails is told to every append and flush from now on (poison).
                let _ = log.flush(Some(Instant::now() + ctx.op_timeout));
            } else {
                ctx.shared.work_at(due);
            }
        }
    }

    /// What a process wrote that died before it could sync it: the janitor keeps its promise.
    fn flush_orphans(&self) {
        let Ok(ctx) = self.ctx() else { return };
        if ctx.durability == Durability::Never || ctx.memory {
            return;
        }
        // Whoever is alive syncs after one interval; three say that nobody will.
        let late = ctx.interval.as_nanos() as u64 * 3;
        for page in ctx.shared.pages().collect::<Vec<_>>() {
            let state = ctx.shared.page(page);
            let since = state.dirty_since.load(Ordering::Acquire);
            if since == 0
                || state.kind.load(Ordering::Acquire) & 0xFF != page_kind::LOG
                || state.ready.load(Ordering::Acquire) == 0
            {
                continue;
            }
            if monotonic_ns() < since + late {
                ctx.shared.work_at(since + late);
            } else if let Ok(Some(log)) = object::open_by_page(&ctx, page) {
                // As in `flush_overdue`.
                let _ = log.flush(Some(Instant::now() + ctx.op_timeout));
            }
        }
    }

    /// Applies the limits of the streams that are open here. Every process does it: what one has deleted, another does not find.
    fn retain(&self) {
        let streams: Vec<Arc<Stream>> = unpoisoned(&self.streams).values().cloned().collect();
        for stream in streams
            .iter()
            .filter(|stream| stream.log().check_alive().is_ok())
        {
            // A segment that cannot go now goes at the next look.
            let _ = stream.retain();
        }
    }

    pub(crate) fn stream_at(&self, rel: &str, meta: &Meta) -> Result<Arc<Stream>> {
        let log = self.log(rel, meta, LogKind::Stream)?;
        let mut streams = unpoisoned(&self.streams);
        if let Some(stream) = streams.get(&meta.name) {
            if Arc::ptr_eq(stream.log(), &log) {
                return Ok(Arc::clone(stream));
            }
        }
        let stream = Arc::new(Stream::new(log, rel.to_owned(), meta.name.clone()));
        streams.insert(meta.name.clone(), Arc::clone(&stream));
        Ok(stream)
    }

    /// Deletes an object's directory and frees the pages of all logs in it.
    pub(crate) fn remove(&self, rel: &str) -> Result<()> {
        let ctx = self.ctx()?;
        let _gate = ctx.setup()?;
        let inside = format!("{rel}/");
        let of_it = |page: &u32| {
            let path = ctx.shared.path_of(*page);
            path == rel || path.starts_with(&inside)
        };
        let pages: Vec<u32> = ctx.shared.pages().filter(of_it).collect();
        let mark = |page: u32, deleted| {
            ctx.shared
                .page(page)
                .deleted
                .store(deleted, Ordering::Release);
        };
        // Out of sight before any page is let go: where the files stay, a page that is gone would be made anew from what they
        // said at the beginning of the session. A crash in between leaves a private name that the next creation ignores.
        let path = ctx.root.join(rel);
        let gone = path.with_file_name(format!(".gone-{:x}", crate::log::random_u64()));
        let hidden = pages
            .iter()
            .try_for_each(|page| {
                // Under the log's lock: no append is in the middle of anything.
                let soon = Instant::now() + ctx.op_timeout;
                let _lock = ctx.shared.lock(*page, Some(soon))?;
                mark(*page, 1);
                Ok(())
            })
            .and_then(|()| {
                crate::fail::kp("remove:marked");
                ctx.storage.rename(&path, &gone)
            });
        if let Err(error) = hidden {
            pages.iter().for_each(|page| mark(*page, 0));
            return Err(error);
        }
        crate::fail::kp("remove:hidden");
        for page in pages {
            ctx.shared.ring(page);
            ctx.shared.release_page(page);
        }
        unpoisoned(&self.logs).retain(|(path, _), _| path != rel && !path.starts_with(&inside));
        // What is left of it in this process, and in others.
        ctx.shared.work_at(0);
        if let Some(parent) = path.parent() {
            ctx.storage.sync_dir(parent)?;
        }
        ctx.storage.remove_dir_all(&gone)
    }
}
