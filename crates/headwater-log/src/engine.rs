//! The engine of one directory: opened once a process, however many handles there are.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::catalog::Catalog;
use crate::ctx::{EngineCtx, Event, Life};
use crate::error::{Error, Result};
use crate::fork::{Held, Registry};
use crate::identity::{prepare, Identity};
use crate::options::{Durability, OpenOptions};
use crate::session;
use crate::shared::layout::{slot_state, GROW, PAGE};
use crate::shared::liveness::{slot_name, unpoisoned};
use crate::shared::{LoopBell, Shared, FORK_GENERATION};
use crate::storage::{Disk, Memory};

/// One opening of a directory. Clones are the same opening: closing one closes all of them, and leaves other openings
/// of the directory in this process as they are.
#[derive(Clone)]
pub struct Engine {
    handle: Arc<Handle>,
}

struct Handle {
    inner: Arc<Inner>,
    closed: AtomicBool,
}

/// The directory in this process.
struct Inner {
    ctx: Arc<EngineCtx>,
    identity: Identity,
    /// None in memory, and once left.
    presence: Mutex<Option<Held>>,
    openings: AtomicUsize,
    /// Where the next opening finds this one; None for anonymous memory.
    place: Option<Arc<Place>>,
}

type Place = Mutex<Option<Arc<Inner>>>;

#[derive(PartialEq, Eq, Hash)]
enum Key {
    Directory { fork: u64, device: u64, inode: u64 },
    Memory { fork: u64, name: String },
}

static REGISTRY: Registry<Key, Arc<Place>> = Registry::new();

/// What `Engine::info` tells.
#[derive(Clone, Debug)]
pub struct EngineInfo {
    pub path: PathBuf,
    pub uuid: [u8; 16],
    pub session: u64,
    /// The last session that did not end cleanly; 0: none.
    pub last_unclean: u64,
    pub durability: Durability,
    /// What this process's own appends wait for.
    pub acks: Durability,
    pub interval: Duration,
    pub memory: bool,
    pub slot: u16,
}

/// One process that has the directory open.
#[derive(Clone, Debug)]
pub struct ProcessInfo {
    pub slot: u16,
    pub pid: u32,
    pub name: String,
    /// "live", "closing", "dead" (to be cleaned up), "detached" (its lock file was closed behind our back).
    pub state: &'static str,
    /// Deliveries in hand.
    pub leases: u32,
    pub beat: u64,
    pub janitor: bool,
    pub own: bool,
}

impl Engine {
    /// Opens a directory; makes it when it is missing and `options.create`.
    ///
    /// Errors: `Connect`, `Incompatible`, `Usage` (a weaker durability than stored), `StorageFull`.
    pub fn open(options: &OpenOptions) -> Result<Self> {
        use std::os::unix::fs::MetadataExt;
        let path = std::path::absolute(&options.path).map_err(|e| Error::Connect {
            path: options.path.clone(),
            why: e.to_string(),
        })?;
        prepare(&path, options)?;
        let root = path.canonicalize().map_err(Error::io("open", &path))?;
        let meta = std::fs::metadata(&root).map_err(Error::io("look at", &root))?;
        let key = Key::Directory {
            fork: FORK_GENERATION.load(Ordering::SeqCst),
            device: meta.dev(),
            inode: meta.ino(),
        };
        Self::at(key, options, |place| {
            let entered = session::enter(options, &root)?;
            Ok(Inner::new(
                entered.shared,
                Some(entered.presence),
                entered.identity,
                (entered.last_unclean, entered.last_lossy),
                &root,
                options,
                Some(place),
            ))
        })
    }

    /// The same engine over anonymous memory of this process. Openings of one name share it, and it is gone with the
    /// last of them; without a name it is the caller's alone.
    pub fn memory(name: Option<&str>, options: &OpenOptions) -> Result<Self> {
        let Some(name) = name else {
            return Ok(Self::handle(Arc::new(memory("", options, None)?)));
        };
        let key = Key::Memory {
            fork: FORK_GENERATION.load(Ordering::SeqCst),
            name: name.to_owned(),
        };
        Self::at(key, options, |place| memory(name, options, Some(place)))
    }

    /// The opened one at this place, or a new one. Only other openings of the same place wait.
    fn at(
        key: Key,
        options: &OpenOptions,
        open: impl FnOnce(Arc<Place>) -> Result<Inner>,
    ) -> Result<Self> {
        let place = REGISTRY.with(|map| Arc::clone(map.entry(key).or_default()));
        let mut found = unpoisoned(&place);
        if let Some(inner) = &*found {
            inner.identity.check(options)?;
            inner.ctx.strengthen(options.durability);
            inner.openings.fetch_add(1, Ordering::Relaxed);
            return Ok(Self::handle(Arc::clone(inner)));
        }
        let inner = Arc::new(open(Arc::clone(&place))?);
        *found = Some(Arc::clone(&inner));
        drop(found);
        Ok(Self::handle(inner))
    }

    fn handle(inner: Arc<Inner>) -> Self {
        Self {
            handle: Arc::new(Handle {
                inner,
                closed: AtomicBool::new(false),
            }),
        }
    }

    /// What the parts of the engine work with.
    pub fn ctx(&self) -> &Arc<EngineCtx> {
        &self.handle.inner.ctx
    }

    pub fn shared(&self) -> &Arc<Shared> {
        &self.ctx().shared
    }

    /// Errors: `Closed`, `Forked`.
    #[inline]
    pub fn check(&self) -> Result<()> {
        if self.handle.closed.load(Ordering::Relaxed) {
            return Err(Error::Closed(self.ctx().root.display().to_string()));
        }
        self.ctx().check()
    }

    /// Flushes what this process made dirty, gives back what it holds, and leaves the directory with the last opening.
    /// A second call does nothing.
    pub fn close(&self) -> Result<()> {
        self.handle.close()
    }

    pub fn is_closed(&self) -> bool {
        self.check().is_err()
    }

    /// A barrier: everything acknowledged before is now as durable as this directory can make it, in every mode.
    pub fn flush(&self, deadline: Option<Instant>) -> Result<()> {
        self.check()?;
        self.ctx().tell(Event::Flush(deadline))
    }

    pub fn info(&self) -> EngineInfo {
        let ctx = self.ctx();
        EngineInfo {
            path: ctx.root.clone(),
            uuid: ctx.uuid,
            session: ctx.session,
            last_unclean: ctx.last_unclean,
            durability: ctx.durability,
            acks: ctx.acks(),
            interval: ctx.interval,
            memory: ctx.memory,
            slot: ctx.shared.me().slot,
        }
    }

    /// The processes that have the directory open, by slot.
    pub fn processes(&self) -> Result<Vec<ProcessInfo>> {
        self.check()?;
        let shared = self.shared();
        let janitor = shared.head().janitor.load(Ordering::Acquire);
        let mut found = Vec::new();
        for number in shared.slots() {
            let slot = shared.slot(number);
            let own = number == shared.me().slot;
            let state = match slot.state.load(Ordering::Acquire) {
                slot_state::FREE => continue,
                slot_state::DEAD => "dead",
                slot_state::CLOSING => "closing",
                _ if !own && shared.live_is_free(number) == Some(true) => "detached",
                _ => "live",
            };
            found.push(ProcessInfo {
                slot: number,
                pid: slot.pid.load(Ordering::Acquire),
                name: slot_name(slot),
                state,
                leases: slot.leases.load(Ordering::Acquire),
                beat: slot.beat.load(Ordering::Acquire),
                janitor: u32::from(number) + 1 == janitor || shared.run.is_none(),
                own,
            });
        }
        Ok(found)
    }

    /// The bell's count: read before looking at what one waits for.
    pub fn bell(&self) -> u32 {
        self.shared().bell()
    }

    /// Sleeps until the bell is not `seen` (true) or the deadline is over.
    pub fn wait_bell(&self, seen: u32, deadline: Option<Instant>) -> bool {
        self.shared().wait_bell(seen, deadline)
    }

    /// Wakes every waiter of this process.
    pub fn ring_self(&self) {
        self.shared().ring_self();
    }

    /// A bell for one event loop.
    pub fn loop_bell(&self) -> Result<LoopBell> {
        self.check()?;
        self.shared().loop_bell()
    }
}

impl Handle {
    fn close(&self) -> Result<()> {
        if self.inner.ctx.shared.forked() || self.closed.swap(true, Ordering::SeqCst) {
            return Ok(());
        }
        self.inner.close_one()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // Whoever wants to hear of errors calls `close`.
        let _ = self.close();
    }
}

impl Inner {
    fn new(
        shared: Shared,
        presence: Option<Held>,
        identity: Identity,
        (last_unclean, last_lossy): (u64, u64),
        root: &Path,
        options: &OpenOptions,
        place: Option<Arc<Place>>,
    ) -> Self {
        let shared = Arc::new(shared);
        let memory = presence.is_none();
        let ctx = Arc::new(EngineCtx {
            uuid: identity.uuid,
            durability: identity.durability,
            interval: options
                .interval
                .map_or(identity.interval, |asked| asked.min(identity.interval)),
            session: shared.me().session,
            last_unclean,
            last_lossy,
            max_record_bytes: options.max_record_bytes,
            op_timeout: options.op_timeout,
            root: root.to_owned(),
            storage: if memory {
                Arc::new(Memory::default())
            } else {
                Arc::new(Disk)
            },
            memory,
            life: Life::new(
                identity
                    .durability
                    .max(options.durability.unwrap_or(identity.durability)),
            ),
            shared,
        });
        // First of all who can repair: a lock may be taken from the dead by the first tick.
        Catalog::of(&ctx);
        ctx.shared.start_threads();
        Self {
            ctx,
            identity,
            presence: Mutex::new(presence),
            openings: AtomicUsize::new(1),
            place,
        }
    }

    /// Ends one opening; the last one leaves the directory. A new opening waits until that is done.
    fn close_one(&self) -> Result<()> {
        let mut place = self.place.as_ref().map(|place| unpoisoned(place));
        if self.openings.fetch_sub(1, Ordering::AcqRel) > 1 {
            // The waiters of this handle look again, and find it closed.
            self.ctx.shared.ring_self();
            return Ok(());
        }
        let kept = place.as_mut().and_then(|found| found.take());
        let outcome = self.leave();
        drop(place);
        drop(kept);
        outcome
    }

    fn leave(&self) -> Result<()> {
        let ctx = &self.ctx;
        let flushed = ctx.tell(Event::Leaving);
        ctx.set_closed();
        ctx.shared.ring_self();
        ctx.shared.stop_threads();
        let presence = unpoisoned(&self.presence).take();
        let left = match presence {
            Some(presence) => session::leave(&ctx.shared, presence, || ctx.tell(Event::Last)),
            None => Ok(()),
        };
        ctx.clear();
        flushed.and(left)
    }
}

fn memory(name: &str, options: &OpenOptions, place: Option<Arc<Place>>) -> Result<Inner> {
    let root = PathBuf::from(format!("memory:{name}"));
    let identity = Identity::new(options)?;
    let file = crate::shared::bell::anonymous_file("headwater-state")?;
    file.set_len(u64::from(GROW) * PAGE as u64)
        .map_err(Error::io("allocate", &root))?;
    session::init_state(&file, &root, 1, &identity)?;
    let mut shared = Shared::new(file, None, &root, 1)?;
    shared.take_slot(&options.name)?;
    Ok(Inner::new(
        shared,
        None,
        identity,
        (0, 0),
        &root,
        options,
        place,
    ))
}
