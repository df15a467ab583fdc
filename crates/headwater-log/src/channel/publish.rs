//! Publishing: one lock, one copy and one store for each who listens; nothing at all where nobody does.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::registry::Channels;
use super::ring::{word, Letter, Put, Ring};
use super::{Id, Publication};
use crate::ctx::EngineCtx;
use crate::error::{Error, Result};
use crate::log::now_ns;
use crate::options::limits;
use crate::shared::liveness::unpoisoned;
use crate::shared::lock::spinning_helps;

/// Looks at a lock that another publisher holds, before the call counts as one that has to wait.
const TRIES: u32 = 200;

/// A channel as its publishers see it.
pub struct Channel {
    ctx: Arc<EngineCtx>,
    channels: Arc<Channels>,
    name: Arc<str>,
    state: Mutex<State>,
}

struct State {
    /// The generation of the registry that `rings` is of; None: never looked.
    generation: Option<u64>,
    rings: Arc<[Arc<Ring>]>,
    id: Id,
}

/// What a publish came to at once.
pub enum Sent {
    /// The number of subscriptions reached.
    Done(usize),
    /// Some subscriptions have to be waited for.
    Pending(Pending),
}

impl Channel {
    pub(super) fn new(ctx: Arc<EngineCtx>, name: &str) -> Result<Self> {
        let publisher = u64::from_le_bytes(crate::identity::random()?);
        Ok(Self {
            channels: Channels::of(&ctx),
            ctx,
            name: name.into(),
            state: Mutex::new(State {
                generation: None,
                rings: Arc::new([]),
                id: Id {
                    publisher,
                    number: 0,
                },
            }),
        })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Hands a message to whoever listens now, without waiting for anybody.
    ///
    /// Errors: `TooLarge`, `Closed`, `Forked`; then nothing was sent.
    #[inline]
    pub fn try_publish(&self, body: &Publication<'_>) -> Result<Sent> {
        self.ctx.check()?;
        self.check_size(body)?;
        let mut state = unpoisoned(&self.state);
        if state.generation != Some(self.ctx.shared.listeners()) {
            let (generation, rings) = self.channels.route(&self.ctx, &self.name)?;
            (state.generation, state.rings) = (Some(generation), rings);
        }
        if state.rings.is_empty() {
            return Ok(Sent::Done(0));
        }
        state.id.number += 1;
        let letter = Letter {
            body: *body,
            name: &self.name,
            time_ns: body.time_ns.unwrap_or_else(now_ns),
            id: state.id,
        };
        let mut reached = 0;
        let mut rest = Vec::new();
        for ring in &*state.rings {
            match put(ring, &letter) {
                Put::Done => reached += 1,
                Put::Refused | Put::Gone => {}
                Put::Full => rest.push(Arc::clone(ring)),
            }
        }
        if rest.is_empty() {
            return Ok(Sent::Done(reached));
        }
        Ok(Sent::Pending(Pending::new(
            Arc::clone(&self.ctx),
            Arc::clone(&self.name),
            &letter,
            rest,
            reached,
        )))
    }

    /// Hands a message to whoever listens now; waits for room where a subscription asks for it (`Overflow::Block`).
    /// Returns the number of subscriptions reached.
    ///
    /// Errors: as `try_publish`; `Timeout` naming the subscriber that was waited for: all others were reached.
    pub fn publish(&self, body: &Publication<'_>, deadline: Instant) -> Result<usize> {
        match self.try_publish(body)? {
            Sent::Done(reached) => Ok(reached),
            Sent::Pending(pending) => pending.finish(deadline),
        }
    }

    #[inline]
    fn check_size(&self, body: &Publication<'_>) -> Result<()> {
        let (key, headers) = (
            body.key.map_or(0, <[u8]>::len),
            body.headers.map_or(0, <[u8]>::len),
        );
        let size = (body.value.len() + key + headers) as u64;
        let limit = self.ctx.max_record_bytes.min(limits::RECORD_BYTES);
        if size > limit || key > limits::KEY_BYTES || headers > limits::TLV_BYTES {
            return Err(too_large(size, limit, key, headers));
        }
        Ok(())
    }
}

#[cold]
fn too_large(size: u64, limit: u64, key: usize, headers: usize) -> Error {
    let (what, size, limit) = if size > limit {
        ("message", size, limit)
    } else if key > limits::KEY_BYTES {
        ("key", key as u64, limits::KEY_BYTES as u64)
    } else {
        ("headers", headers as u64, limits::TLV_BYTES as u64)
    };
    Error::TooLarge { what, size, limit }
}

/// Puts a letter in if the lock can be had now; `Full` where not.
#[inline]
fn put(ring: &Ring, letter: &Letter<'_>) -> Put {
    for _ in 0..TRIES {
        if let Some(lock) = ring.shared.try_lock(ring.page) {
            let put = ring.put(letter);
            drop(lock);
            if matches!(put, Put::Done) {
                ring.shared.ring(ring.page);
            }
            return put;
        }
        std::hint::spin_loop();
    }
    Put::Full
}

/// A message on its way to subscriptions that have no room for it yet.
pub struct Pending {
    ctx: Arc<EngineCtx>,
    name: Arc<str>,
    value: Box<[u8]>,
    key: Option<Box<[u8]>>,
    headers: Option<Box<[u8]>>,
    time_ns: i64,
    id: Id,
    rest: Vec<Arc<Ring>>,
    reached: usize,
    looks: u32,
}

impl Pending {
    fn new(
        ctx: Arc<EngineCtx>,
        name: Arc<str>,
        letter: &Letter<'_>,
        rest: Vec<Arc<Ring>>,
        reached: usize,
    ) -> Self {
        let body = &letter.body;
        Self {
            ctx,
            name,
            value: body.value.into(),
            key: body.key.map(Into::into),
            headers: body.headers.map(Into::into),
            time_ns: letter.time_ns,
            id: letter.id,
            rest,
            reached,
            looks: 0,
        }
    }

    /// Tries again; never sleeps. The number of subscriptions reached, once all were.
    ///
    /// Errors: `Closed`, `Forked`.
    pub fn poll(&mut self) -> Result<Option<usize>> {
        self.ctx.check()?;
        let letter = Letter {
            body: Publication {
                value: &self.value,
                key: self.key.as_deref(),
                headers: self.headers.as_deref(),
                time_ns: None,
            },
            name: &self.name,
            time_ns: self.time_ns,
            id: self.id,
        };
        let reached = &mut self.reached;
        self.rest.retain(|ring| match put(ring, &letter) {
            Put::Done => {
                *reached += 1;
                false
            }
            Put::Refused | Put::Gone => false,
            Put::Full => true,
        });
        Ok(self.rest.is_empty().then_some(self.reached))
    }

    /// Asks to be rung when there is room; poll again before sleeping.
    pub fn arm(&self) {
        for ring in &self.rest {
            // In one order with the head: see `Subscription::make_room`.
            ring.word(word::BLOCKED).store(1, Ordering::SeqCst);
            ring.shared.arm(ring.page);
        }
    }

    /// How long to sleep at most before the next `poll`, rung or not: a reader that takes a few messages and stops does not
    /// ring, and a lock is given back without a ring. Looks after the readers besides: whether they are still alive.
    pub fn pause(&mut self) -> Duration {
        self.looks += 1;
        if self.looks % 8 == 0 {
            for ring in &self.rest {
                // The janitor's work, in case that it is late. What fails is done by whoever looks next.
                let _ = self.ctx.shared.clean_if_dead(ring.about.slot);
            }
        }
        Duration::from_millis(u64::from(self.looks).clamp(1, 20))
    }

    /// Looks for room in a busy loop: true when there may be some.
    pub fn spin(&self, limit: Duration) -> bool {
        if !spinning_helps() {
            return false;
        }
        let end = Instant::now() + limit;
        loop {
            for _ in 0..32 {
                std::hint::spin_loop();
                if self.rest.iter().any(|ring| ring.has_room()) {
                    return true;
                }
            }
            if Instant::now() >= end {
                return false;
            }
        }
    }

    /// Why it did not come to an end.
    pub fn timeout(&self) -> Error {
        let slot = self.rest.first().map(|ring| ring.about.slot);
        Error::Timeout {
            what: format!(
                "waiting for room at {} of {}",
                self.subscribers(),
                self.name
            ),
            maybe_sent: self.reached > 0,
            holder: slot.map(|slot| self.ctx.shared.describe(slot)),
        }
    }

    fn subscribers(&self) -> String {
        match self.rest.len() {
            1 => "a subscriber".to_owned(),
            n => format!("{n} subscribers"),
        }
    }

    /// Sleeps until all were reached.
    ///
    /// Errors: `Timeout`, as `Channel::publish`; `Closed`, `Forked`.
    pub fn finish(mut self, deadline: Instant) -> Result<usize> {
        loop {
            let seen = self.ctx.shared.bell();
            self.arm();
            if let Some(reached) = self.poll()? {
                return Ok(reached);
            }
            let now = Instant::now();
            if now >= deadline {
                return Err(self.timeout());
            }
            if !self.spin(Duration::from_micros(20)) {
                let until = deadline.min(now + self.pause());
                self.ctx.shared.wait_bell(seen, Some(until));
            }
        }
    }
}
