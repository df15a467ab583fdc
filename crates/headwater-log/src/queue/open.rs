//! Queues by name, and their options.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};

use super::lanes;
use super::unique::Window;
use super::{Inner, Queue};
use crate::catalog::{Catalog, QUEUES};
use crate::ctx::EngineCtx;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::group::core::Op;
use crate::group::Source;
use crate::log::{Log, LogKind};
use crate::meta::Meta;
use crate::object;
use crate::options::QueueConfig;
use crate::shared::liveness::unpoisoned;

/// The one group of a queue.
const GROUP: &str = "main";
/// No limit, no window.
const NONE: u64 = u64::MAX;
const UNFINISHED: i64 = -1;

/// The stored options that a put obeys, as they were last read.
pub(super) struct Rules {
    /// The log's count of changes to its metadata that they are as new as.
    seen: AtomicU64,
    max_length: AtomicU64,
    window_ns: AtomicI64,
}

impl Rules {
    fn new() -> Self {
        Self {
            seen: AtomicU64::new(u64::MAX),
            max_length: AtomicU64::new(NONE),
            window_ns: AtomicI64::new(UNFINISHED),
        }
    }
}

impl Queue {
    #[inline]
    fn rules(&self) -> Result<&Rules> {
        let rules = &self.inner.rules;
        if rules.seen.load(Ordering::Acquire) != self.inner.first.meta_changes() {
            self.read_rules()?;
        }
        Ok(rules)
    }

    #[cold]
    fn read_rules(&self) -> Result<()> {
        let rules = &self.inner.rules;
        let changes = self.inner.first.meta_changes();
        let stored = self.stored()?;
        let length = stored.max_length.flatten().unwrap_or(NONE);
        let window = stored
            .unique_for
            .flatten()
            .map_or(UNFINISHED, |seconds| (seconds.max(0.0) * 1e9) as i64);
        rules.max_length.store(length, Ordering::Relaxed);
        rules.window_ns.store(window, Ordering::Relaxed);
        rules.seen.store(changes, Ordering::Release);
        Ok(())
    }

    #[inline]
    pub(super) fn max_length(&self) -> Result<Option<u64>> {
        let limit = self.rules()?.max_length.load(Ordering::Relaxed);
        Ok((limit != NONE).then_some(limit))
    }

    pub(super) fn window(&self) -> Result<Window> {
        Ok(match self.rules()?.window_ns.load(Ordering::Relaxed) {
            UNFINISHED => Window::Unfinished,
            ns => Window::For(ns),
        })
    }

    /// The options in the queue's metadata. Those of its group are in the journal, and here only to be looked at.
    fn stored(&self) -> Result<QueueConfig> {
        self.inner.first.check_alive()?;
        let meta = self.inner.first.reload_meta()?;
        read_config(&self.inner.first, meta.config)
    }

    /// What is stored.
    pub fn config(&self) -> Result<QueueConfig> {
        Ok(QueueConfig {
            group: self.inner.source.config()?,
            ..self.stored()?
        })
    }

    /// Stores what is given explicitly, but the ordering, which never changes; returns the options before.
    pub fn alter(&self, asked: &QueueConfig) -> Result<QueueConfig> {
        let before = QueueConfig {
            group: self.inner.source.alter(&asked.group)?,
            ..self.stored()?
        };
        let after = QueueConfig {
            group: self.inner.source.config()?,
            unique_for: asked.unique_for.or(before.unique_for),
            max_length: asked.max_length.or(before.max_length),
        };
        if after != before {
            self.inner.first.update_meta(|meta| {
                meta.config =
                    serde_json::to_value(&after).map_err(|e| Error::Usage(e.to_string()))?;
                Ok(())
            })?;
        }
        Ok(before)
    }
}

fn read_config(log: &Log, config: serde_json::Value) -> Result<QueueConfig> {
    serde_json::from_value(config).map_err(|e| Error::Corruption {
        file: log.dir.join("meta.bin"),
        offset: 0,
        what: format!("the stored options: {e}"),
    })
}

/// The queues that are open in this process.
struct Queues {
    ctx: Weak<EngineCtx>,
    open: Mutex<HashMap<String, Queue>>,
}

impl Queues {
    fn of(ctx: &Arc<EngineCtx>) -> Arc<Self> {
        let mut fresh = false;
        let queues = ctx.part(|| {
            fresh = true;
            Self {
                ctx: Arc::downgrade(ctx),
                open: Mutex::default(),
            }
        });
        if fresh {
            let me = Arc::downgrade(&queues);
            ctx.shared.on_work(move |_| {
                if let Some(queues) = me.upgrade() {
                    queues.retain();
                }
            });
        }
        queues
    }

    fn retain(&self) {
        let open: Vec<Queue> = {
            let mut open = unpoisoned(&self.open);
            open.retain(|_, queue| queue.inner.first.check_alive().is_ok());
            open.values().cloned().collect()
        };
        for queue in open {
            // A segment that cannot go now goes at the next look.
            let _ = queue.retain();
        }
    }

    fn at(&self, rel: &str, meta: &Meta) -> Result<Queue> {
        let ctx = self
            .ctx
            .upgrade()
            .ok_or_else(|| Error::Closed("the directory".to_owned()))?;
        let first = Catalog::of(&ctx).log(rel, meta, LogKind::Stream)?;
        let mut open = unpoisoned(&self.open);
        if let Some(queue) = open.get(&meta.name) {
            if Arc::ptr_eq(&queue.inner.first, &first) {
                return Ok(queue.clone());
            }
        }
        let source = open_group(&ctx, rel, meta, &first)?;
        let queue = Queue {
            inner: Arc::new(Inner {
                ctx,
                rel: rel.to_owned(),
                name: meta.name.clone(),
                first,
                source,
                rules: Rules::new(),
                uniques: Mutex::default(),
                length: Mutex::default(),
            }),
        };
        open.insert(meta.name.clone(), queue.clone());
        Ok(queue)
    }
}

/// The queue's group; whoever made the queue may have died before it made that, too.
fn open_group(ctx: &Arc<EngineCtx>, rel: &str, meta: &Meta, first: &Arc<Log>) -> Result<Source> {
    let parent = format!("{rel}/g");
    let kinds = [LogKind::Journal, LogKind::Notes];
    let (group, group_meta) = match object::find(ctx, &parent, GROUP)? {
        Some(found) => found,
        None => {
            let _gate = ctx.setup()?;
            first.check_alive()?;
            if object::find(ctx, &parent, GROUP)?.is_none() {
                object::create(
                    ctx,
                    &parent,
                    "group",
                    GROUP,
                    &kinds,
                    serde_json::Value::Null,
                )?;
            }
            object::find(ctx, &parent, GROUP)?.ok_or_else(|| Error::NotFound {
                what: "group",
                name: meta.name.clone(),
            })?
        }
    };
    // The group may be of a new queue of this name.
    first.check_alive()?;
    let config = read_config(first, meta.config.clone())?.group;
    let core = Catalog::of(ctx).core(
        &group,
        &group_meta,
        &format!("queue {}", meta.name),
        || lanes::of_queue(ctx, rel, Arc::clone(first)),
        |op: &mut Op<'_>| {
            let json = serde_json::to_vec(&config).map_err(|e| Error::Usage(e.to_string()))?;
            op.writer.config(&json);
            Ok(())
        },
    )?;
    // Lane 0 is there from the beginning, the others once they were said to be made.
    core.lanes.lane(0)?;
    Ok(Source::new(core))
}

impl Engine {
    /// Opens a queue that is there.
    ///
    /// Errors: `NotFound`, `InvalidName`.
    pub fn open_queue(&self, name: &str) -> Result<Queue> {
        self.check()?;
        crate::name::validate(name)?;
        match object::find(self.ctx(), QUEUES, name)? {
            Some((rel, meta)) => Queues::of(self.ctx()).at(&rel, &meta),
            None => Err(not_found(name)),
        }
    }

    /// Opens a queue, making it if it is not there. The options that were stored before are returned, None for a new one; of a queue
    /// that was there the ordering stays as it is.
    ///
    /// Errors: `InvalidName`, `StorageFull`.
    pub fn declare_queue(
        &self,
        name: &str,
        config: &QueueConfig,
    ) -> Result<(Queue, Option<QueueConfig>)> {
        self.check()?;
        crate::name::validate(name)?;
        let ctx = self.ctx();
        let mut made = false;
        if object::find(ctx, QUEUES, name)?.is_none() {
            let _gate = ctx.setup()?;
            if object::find(ctx, QUEUES, name)?.is_none() {
                let stored =
                    serde_json::to_value(config).map_err(|e| Error::Usage(e.to_string()))?;
                object::create(ctx, QUEUES, "queue", name, &[LogKind::Stream], stored)?;
                made = true;
            }
        }
        let (rel, meta) = object::find(ctx, QUEUES, name)?.ok_or_else(|| not_found(name))?;
        let queue = Queues::of(ctx).at(&rel, &meta)?;
        let before = if made {
            None
        } else {
            Some(queue.alter(config)?)
        };
        Ok((queue, before))
    }
}

fn not_found(name: &str) -> Error {
    Error::NotFound {
        what: "queue",
        name: name.to_owned(),
    }
}
