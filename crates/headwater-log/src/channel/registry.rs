//! Who listens: the ring pages of the state file, and a generation that rises with every change, so that publishers look
//! through them once a generation, and not at all otherwise.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use super::pattern;
use super::place::{Mark, HOT};
use super::publish::Channel;
use super::ring::{file_name, word, About, Ring};
use super::{Overflow, Subscription};
use crate::ctx::EngineCtx;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::shared::layout::page_kind;
use crate::shared::liveness::unpoisoned;
use crate::shared::Shared;

/// Before the pattern in a page's path: no object's directory begins so.
const PREFIX: &str = "channel/";
/// Messages that a subscription may let wait.
pub const BUFFER: u64 = 1 << 24;
/// A ring can take so many bytes, or a KiB for each message that may wait, up to a GiB.
const LEAST: u64 = 64 << 20;
const MOST: u64 = 1 << 30;

impl Shared {
    /// Rises with every subscription that begins or ends.
    #[inline]
    pub(crate) fn listeners(&self) -> u64 {
        self.head().channels.load(Ordering::SeqCst)
    }

    /// The rings of living subscriptions: page and incarnation.
    fn rings(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        self.pages().filter_map(|no| {
            let page = self.page(no);
            let incarnation = page.incarnation.load(Ordering::Acquire);
            (page.kind.load(Ordering::Acquire) == page_kind::RING
                && page.ready.load(Ordering::Acquire) != 0
                && page.deleted.load(Ordering::Acquire) == 0)
                .then_some((no, incarnation))
        })
    }

    /// Ends a subscription: no publisher puts anything into its ring from now on, and those that wait for room look again.
    pub(crate) fn retire_ring(&self, no: u32, incarnation: u32) {
        let page = self.page(no);
        if page.incarnation.load(Ordering::SeqCst) != incarnation
            || page.deleted.swap(1, Ordering::SeqCst) != 0
        {
            return;
        }
        self.head().channels.fetch_add(1, Ordering::SeqCst);
        self.ring(no);
        self.release_page(no);
    }

    /// Ends all subscriptions of a slot whose process is gone, or going.
    pub(crate) fn retire_rings_of(&self, slot: u16) {
        let all: Vec<u32> = self.pages().collect();
        for no in all {
            let page = self.page(no);
            if page.kind.load(Ordering::Acquire) != page_kind::RING {
                continue;
            }
            let about = About::of(page.words[word::ABOUT].load(Ordering::Acquire));
            if about.is_some_and(|about| about.slot == slot) {
                let incarnation = page.incarnation.load(Ordering::Acquire);
                self.retire_ring(no, incarnation);
                if let Some(run) = &self.run {
                    let path = run.join("ring").join(file_name(no, incarnation));
                    // Who still has it mapped keeps it until then; its directory goes with the session.
                    let _ = std::fs::remove_file(path);
                }
            }
        }
    }
}

/// One subscription as publishers find it.
struct Listener {
    incarnation: u32,
    pattern: String,
    ring: Arc<Ring>,
}

#[derive(Default)]
struct Known {
    /// What `listeners` was before the look; None: never looked.
    generation: Option<u64>,
    listeners: HashMap<u32, Listener>,
}

/// The channels of a directory in this process.
#[derive(Default)]
pub(crate) struct Channels {
    known: Mutex<Known>,
}

impl Channels {
    pub fn of(ctx: &EngineCtx) -> Arc<Self> {
        ctx.part(Self::default)
    }

    /// The rings of all who hear a channel, and the generation for which that is so.
    pub fn route(&self, ctx: &EngineCtx, name: &str) -> Result<(u64, Arc<[Arc<Ring>]>)> {
        let mut known = unpoisoned(&self.known);
        let generation = ctx.shared.listeners();
        if known.generation != Some(generation) {
            known.look(ctx)?;
            known.generation = Some(generation);
        }
        let mut rings: Vec<_> = known
            .listeners
            .values()
            .filter(|listener| pattern::matches(&listener.pattern, name))
            .map(|listener| Arc::clone(&listener.ring))
            .collect();
        // One order for all publishers.
        rings.sort_by_key(|ring| ring.page);
        Ok((generation, rings.into()))
    }
}

impl Known {
    fn look(&mut self, ctx: &EngineCtx) -> Result<()> {
        let shared = &ctx.shared;
        let found: HashMap<u32, u32> = shared.rings().collect();
        self.listeners
            .retain(|no, listener| found.get(no) == Some(&listener.incarnation));
        for (no, incarnation) in found {
            if self.listeners.contains_key(&no) {
                continue;
            }
            let path = shared.path_of(no);
            let Some(ring) = Ring::open(ctx, no, incarnation)? else {
                continue;
            };
            // What was read belongs together if the page is still the same one's; if not, the generation has risen.
            if shared.page(no).incarnation.load(Ordering::SeqCst) != incarnation {
                continue;
            }
            if let Some(pattern) = path.strip_prefix(PREFIX) {
                let listener = Listener {
                    incarnation,
                    pattern: pattern.to_owned(),
                    ring: Arc::new(ring),
                };
                self.listeners.insert(no, listener);
            }
        }
        Ok(())
    }
}

impl Engine {
    /// A channel to publish to; stored nowhere.
    ///
    /// Errors: `InvalidName`, also for a pattern.
    pub fn channel(&self, name: &str) -> Result<Channel> {
        self.check()?;
        crate::name::validate(name)?;
        Channel::new(Arc::clone(self.ctx()), name)
    }

    /// Listens to a channel, or to all of a pattern (`*`: exactly one word, `**` last: one or more). Every publish that
    /// begins after the return is heard.
    ///
    /// buffer: messages that may wait, 1 to 2^24. Together they may have 64 MiB, or a KiB each if that is more (to 1 GiB).
    ///
    /// Errors: `InvalidName`, `Usage` (buffer), `StorageFull`, `Timeout` with whom it waited for.
    pub fn subscribe(
        &self,
        pattern: &str,
        buffer: u64,
        overflow: Overflow,
    ) -> Result<Subscription> {
        self.check()?;
        pattern::validate(pattern)?;
        if !(1..=BUFFER).contains(&buffer) {
            return Err(Error::Usage(format!(
                "a subscription's buffer holds 1 to {BUFFER} messages, not {buffer}"
            )));
        }
        let ctx = self.ctx();
        let shared = &ctx.shared;
        let limit = (buffer << 10).clamp(LEAST, MOST) / 8;
        let about = About {
            slot: shared.me().slot,
            overflow,
            pattern: pattern::is_pattern(pattern),
        };
        let gate = ctx.setup()?;
        // Entries are made under the gate alone: one that is not ready now is of a process that died in the middle.
        for no in shared.pages().collect::<Vec<_>>() {
            let page = shared.page(no);
            if page.kind.load(Ordering::Acquire) == page_kind::RING
                && page.ready.load(Ordering::Acquire) == 0
            {
                shared.release_page(no);
            }
        }
        let path = format!("{PREFIX}{pattern}");
        let no = shared.page_for(crate::log::random_u64(), page_kind::RING, &path)?;
        crate::fail::kp("channel.entry");
        let page = shared.page(no);
        page.tail
            .store(Mark { off: 0, number: 0 }.word(), Ordering::Relaxed);
        let ring = match Ring::create(ctx, no, about, buffer as u32, limit as u32) {
            Ok(ring) => ring,
            Err(error) => {
                shared.release_page(no);
                return Err(error);
            }
        };
        crate::fail::kp("channel.file");
        page.ready.store(1, Ordering::SeqCst);
        shared.head().channels.fetch_add(1, Ordering::SeqCst);
        drop(gate);
        debug_assert!(limit >= u64::from(HOT));
        Ok(Subscription::new(Arc::clone(ctx), ring, pattern.to_owned()))
    }
}
