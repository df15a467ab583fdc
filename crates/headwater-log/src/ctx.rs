//! What every part of the engine needs to know of the directory it works in.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::options::Durability;
use crate::session::{setup, Setup};
use crate::shared::liveness::unpoisoned;
use crate::shared::Shared;
use crate::storage::Storage;

/// Shared by all objects of one directory in one process.
pub struct EngineCtx {
    pub shared: Arc<Shared>,
    pub storage: Arc<dyn Storage>,
    /// The directory (in memory: a path that stands for it).
    pub root: PathBuf,
    pub uuid: [u8; 16],
    /// What the directory promises: as stored.
    pub durability: Durability,
    pub interval: Duration,
    /// Rises with every session.
    pub session: u64,
    /// The last session that did not end cleanly; 0: none. A log's tail note counts iff it is of a later one.
    pub last_unclean: u64,
    /// The last session whose page cache may have been lost: another boot, or a copied directory. 0: none.
    pub last_lossy: u64,
    pub max_record_bytes: u64,
    /// How long an operation may wait for a lock when its caller does not say.
    pub op_timeout: Duration,
    pub memory: bool,
    pub(crate) life: Life,
}

/// What the parts are told.
#[derive(Clone, Copy, Debug)]
pub enum Event {
    /// Make everything acknowledged so far as durable as can be, by the deadline.
    Flush(Option<Instant>),
    /// This process is about to leave: flush what it made dirty, give back what it holds. Locks still work.
    Leaving,
    /// Nobody else is present, and nobody can come: sync every log of the session, write tail notes. An error leaves the
    /// session unclean.
    Last,
}

type Listener = Arc<dyn Fn(Event) -> Result<()> + Send + Sync>;

/// The parts of a context that change.
pub(crate) struct Life {
    acks: AtomicU8,
    closed: AtomicBool,
    listeners: Mutex<Vec<Listener>>,
    parts: Mutex<HashMap<TypeId, Arc<dyn Any + Send + Sync>>>,
    gate: Mutex<()>,
}

impl Life {
    pub(crate) fn new(acks: Durability) -> Self {
        Self {
            acks: AtomicU8::new(acks as u8),
            closed: AtomicBool::new(false),
            listeners: Mutex::default(),
            parts: Mutex::default(),
            gate: Mutex::default(),
        }
    }
}

/// The gate for creating and deleting, for as long as it lives.
#[allow(dead_code)] // Held, never read.
pub enum Gate<'a> {
    Disk(Setup),
    Memory(MutexGuard<'a, ()>),
}

impl EngineCtx {
    /// Errors: `Closed`; `Forked` in a child of the process that opened the directory.
    #[inline]
    pub fn check(&self) -> Result<()> {
        if self.life.closed.load(Ordering::Relaxed) || self.shared.forked() {
            return Err(self.unusable());
        }
        Ok(())
    }

    #[cold]
    fn unusable(&self) -> Error {
        if self.shared.forked() {
            Error::Forked {
                what: "this connection",
            }
        } else {
            Error::Closed(self.root.display().to_string())
        }
    }

    /// What this process's own appends wait for: at least what the directory promises, more when it was asked for.
    pub fn acks(&self) -> Durability {
        match self.life.acks.load(Ordering::Relaxed) {
            0 => Durability::Never,
            1 => Durability::Interval,
            _ => Durability::Always,
        }
    }

    pub(crate) fn strengthen(&self, asked: Option<Durability>) {
        if let Some(asked) = asked {
            self.life.acks.fetch_max(asked as u8, Ordering::Relaxed);
        }
    }

    pub(crate) fn set_closed(&self) {
        self.life.closed.store(true, Ordering::SeqCst);
    }

    /// The gate for creating and deleting objects and for handing out pages.
    ///
    /// Errors: `Timeout` with the holder.
    pub fn setup(&self) -> Result<Gate<'_>> {
        if self.memory {
            return Ok(Gate::Memory(unpoisoned(&self.life.gate)));
        }
        setup(&self.root, self.op_timeout, &self.shared.name()).map(Gate::Disk)
    }

    /// Adds one who is told of flushes and of the end. It must not own the context (a `Weak` will do).
    pub fn listen(&self, listener: impl Fn(Event) -> Result<()> + Send + Sync + 'static) {
        unpoisoned(&self.life.listeners).push(Arc::new(listener));
    }

    /// Tells everybody; all are told, the first error is returned.
    pub(crate) fn tell(&self, event: Event) -> Result<()> {
        let listeners = unpoisoned(&self.life.listeners).clone();
        let mut outcome = Ok(());
        for listener in listeners {
            let told = listener(event);
            if outcome.is_ok() {
                outcome = told;
            }
        }
        outcome
    }

    /// The one `T` of this directory in this process: a part's own state, made at first use.
    pub fn part<T: Any + Send + Sync>(&self, make: impl FnOnce() -> T) -> Arc<T> {
        let mut parts = unpoisoned(&self.life.parts);
        let found = parts
            .entry(TypeId::of::<T>())
            .or_insert_with(|| Arc::new(make()));
        match Arc::clone(found).downcast::<T>() {
            Ok(part) => part,
            Err(_) => unreachable!("the map is keyed by type"),
        }
    }

    /// Forgets the parts: they may hold what holds the context.
    pub(crate) fn clear(&self) {
        let parts = std::mem::take(&mut *unpoisoned(&self.life.parts));
        let listeners = std::mem::take(&mut *unpoisoned(&self.life.listeners));
        drop((parts, listeners));
    }
}
