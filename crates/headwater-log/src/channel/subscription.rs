//! The reader's side of a ring: copies the message at the head, then moves the head by compare-and-swap. What it copied
//! counts only if the swap succeeds.

use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::place::Mark;
use super::ring::{check, full, word, Ring, ABSENT, HEADER, UNIT};
use super::{Id, Overflow};
use crate::ctx::EngineCtx;
use crate::error::{Error, Result};
use crate::shared::lock::spinning_helps;

/// A message that was heard; lent until the next call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard<'a> {
    /// The channel's name where the subscription is to a pattern.
    pub name: Option<&'a str>,
    pub value: &'a [u8],
    pub key: Option<&'a [u8]>,
    pub headers: Option<&'a [u8]>,
    pub time_ns: i64,
    pub id: Id,
}

/// Spinning ends after so many times in vain, until messages come in a row again.
const VAIN: u32 = 3;

/// Hears a channel, or all of a pattern, until it is closed or dropped.
pub struct Subscription {
    ctx: Arc<EngineCtx>,
    ring: Ring,
    name: String,
    /// The tail as it was last seen: the publishers' line is looked at only when all below it was taken.
    tail: Mark,
    taken: u64,
    /// Dropped messages of which the reader was told by `SlowConsumer`.
    told: u64,
    /// Times it spun in vain, and messages taken since it found nothing.
    vain: u32,
    row: u32,
    /// Its last `dropped`, once it is closed.
    closed: Option<u64>,
    copy: Vec<u8>,
    /// What a test does between the copy and the swap.
    #[cfg(test)]
    pub(super) between: Option<Box<dyn FnMut() + Send>>,
}

/// Where the parts of the copied message begin and end.
struct Parts {
    value: usize,
    key: Option<usize>,
    headers: Option<usize>,
    name: usize,
}

impl Subscription {
    pub(crate) fn new(ctx: Arc<EngineCtx>, ring: Ring, name: String) -> Self {
        Self {
            ctx,
            ring,
            name,
            tail: Mark { off: 0, number: 0 },
            taken: 0,
            told: 0,
            vain: 0,
            row: 0,
            closed: None,
            copy: Vec::new(),
            #[cfg(test)]
            between: None,
        }
    }

    /// The name or pattern that it hears.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The next message; None: none now.
    ///
    /// Errors: `SlowConsumer` once for each time it was overrun (`Overflow::Error`), behind the messages from before;
    /// `Corruption` where the ring holds what no publisher wrote (the message is dropped and counted); `Forked`.
    #[inline]
    pub fn next(&mut self) -> Result<Option<Heard<'_>>> {
        if self.closed.is_some() || self.ctx.check().is_err() {
            return self.unusable();
        }
        let parts = loop {
            let head = Mark::of(self.ring.word(word::HEAD).load(Ordering::Acquire));
            if head.until(self.tail) as i32 <= 0 {
                self.tail = Mark::of(self.ring.state().tail.load(Ordering::Acquire));
                if head.number == self.tail.number {
                    return self.nothing();
                }
            }
            let Some((off, units)) = self.ring.size_at(head) else {
                self.broken(head)?;
                continue;
            };
            let len = units as usize * UNIT;
            if self.copy.len() < len {
                self.copy.resize(len, 0);
            }
            self.ring
                .map
                .read(off as usize * UNIT, &mut self.copy[..len]);
            #[cfg(test)]
            if let Some(between) = &mut self.between {
                between();
            }
            if self.ring.move_head(head, head.next(off + units)) {
                if self.ring.about.overflow == Overflow::Block {
                    self.make_room(head);
                }
                self.taken += 1;
                self.row += 1;
                match parts(&self.copy[..len], Mark { off, ..head }) {
                    Some(parts) => break parts,
                    None => {
                        self.taken -= 1;
                        return Err(self.corrupt(off));
                    }
                }
            }
        };
        Ok(Some(self.heard(&parts)))
    }

    fn heard(&self, parts: &Parts) -> Heard<'_> {
        let field = |at: usize| {
            let mut eight = [0u8; 8];
            eight.copy_from_slice(&self.copy[at * 8..at * 8 + 8]);
            u64::from_le_bytes(eight)
        };
        let mut at = HEADER;
        let mut take = |len: usize| {
            let part = &self.copy[at..at + len];
            at += len;
            part
        };
        let value = take(parts.value);
        let key = parts.key.map(&mut take);
        let headers = parts.headers.map(&mut take);
        let name = take(parts.name);
        Heard {
            // A publisher's name is UTF-8; what is not was not written by one.
            name: (parts.name != 0).then(|| std::str::from_utf8(name).unwrap_or_default()),
            value,
            key,
            headers,
            time_ns: field(2) as i64,
            id: Id {
                publisher: field(3),
                number: field(4),
            },
        }
    }

    #[cold]
    fn unusable(&self) -> Result<Option<Heard<'_>>> {
        match self.ctx.check() {
            Err(error @ Error::Forked { .. }) => Err(error),
            _ => Ok(None),
        }
    }

    fn nothing(&mut self) -> Result<Option<Heard<'_>>> {
        if self.row > 1 {
            self.vain = 0;
        }
        self.row = 0;
        let refused = self.ring.word(word::REFUSED);
        if self.ring.about.overflow == Overflow::Error && refused.load(Ordering::SeqCst) != 0 {
            // While the count is not 0 no message is put, so that all from before were taken.
            let dropped = refused.swap(0, Ordering::SeqCst);
            self.told += dropped;
            return Err(Error::SlowConsumer {
                what: self.name.clone(),
                dropped,
            });
        }
        Ok(None)
    }

    /// A publisher that waits is woken when half of the buffer is free: one wake for many messages. (It looks by itself
    /// now and then, so that a reader that stops before is no trap.)
    #[inline]
    fn make_room(&self, head: Mark) {
        let blocked = self.ring.word(word::BLOCKED);
        if blocked.load(Ordering::SeqCst) != 0
            && head.until(self.tail) <= self.ring.buffer / 2 + 1
            && blocked.swap(0, Ordering::SeqCst) != 0
        {
            self.ring.shared.ring(self.ring.page);
        }
    }

    /// No message at the head: either a publisher dropped it just now, or something wrote into the ring that does not
    /// belong there. Then all that waits is given up.
    #[cold]
    fn broken(&self, head: Mark) -> Result<()> {
        let tail = Mark::of(self.ring.state().tail.load(Ordering::Acquire));
        if !self.ring.move_head(head, tail) {
            return Ok(());
        }
        Err(self.corrupt(head.off))
    }

    #[cold]
    fn corrupt(&self, off: u32) -> Error {
        Error::Corruption {
            file: self.ring.path().clone(),
            offset: u64::from(off) * UNIT as u64,
            what: format!("no message of {} is there; it is dropped", self.name),
        }
    }

    /// Messages that it did not get: put and dropped again, or refused. Exact, whoever was killed meanwhile.
    pub fn dropped(&self) -> u64 {
        if let Some(dropped) = self.closed {
            return dropped;
        }
        let put = |tail: Mark| {
            full(
                self.ring.word(word::PUT).load(Ordering::Relaxed),
                tail.number,
            )
        };
        let (mut head, mut tail);
        // Both of one moment: nobody moved the head in between.
        loop {
            head = self.ring.word(word::HEAD).load(Ordering::SeqCst);
            tail = Mark::of(self.ring.state().tail.load(Ordering::SeqCst));
            if self.ring.word(word::HEAD).load(Ordering::SeqCst) == head {
                break;
            }
        }
        let waiting = u64::from(Mark::of(head).until(tail));
        let refused = self.ring.word(word::REFUSED).load(Ordering::SeqCst);
        (put(tail) - waiting - self.taken) + self.told + refused
    }

    /// Messages that wait to be taken.
    pub fn waiting(&self) -> u64 {
        if self.closed.is_some() {
            return 0;
        }
        let head = Mark::of(self.ring.word(word::HEAD).load(Ordering::SeqCst));
        let tail = Mark::of(self.ring.state().tail.load(Ordering::SeqCst));
        u64::from(head.until(tail))
    }

    /// Asks to be rung when there is a message; look again before sleeping.
    pub fn arm(&self) {
        if self.closed.is_none() {
            self.ring.shared.arm(self.ring.page);
        }
    }

    /// Looks for a message in a busy loop: true as soon as there is one. Gives up at once where that was in vain lately.
    pub fn spin(&mut self, limit: Duration) -> bool {
        if self.vain >= VAIN || self.closed.is_some() || !spinning_helps() {
            return false;
        }
        let end = Instant::now() + limit;
        // Each look takes the line away from the publisher who is about to store the tail: rather a few messages at a look.
        let mut pauses = 4;
        loop {
            for _ in 0..pauses {
                std::hint::spin_loop();
            }
            pauses = (pauses * 2).min(32);
            let tail = Mark::of(self.ring.state().tail.load(Ordering::Relaxed));
            if tail.number != self.tail.number {
                return true;
            }
            if Instant::now() >= end {
                self.vain += 1;
                return false;
            }
        }
    }

    /// Nothing will ever come again: it was closed, or its connection was.
    pub fn ended(&self) -> bool {
        self.closed.is_some() || self.ctx.check().is_err()
    }

    /// Ends it: nobody publishes to it any more, and who waits for room goes on. A second call does nothing.
    pub fn close(&mut self) {
        if self.closed.is_some() {
            return;
        }
        if self.ctx.check().is_err() {
            // A fork's child, or a process that has left the directory, and its rings with it.
            self.closed = Some(0);
            return;
        }
        self.closed = Some(self.dropped());
        self.ctx
            .shared
            .retire_ring(self.ring.page, self.ring.incarnation);
        // Its directory goes with the session, if this fails.
        let _ = self.ctx.storage.unlink(self.ring.path());
    }
}

#[cfg(test)]
impl Subscription {
    pub(super) fn page(&self) -> u32 {
        self.ring.page
    }

    /// Writes into the message at the head.
    pub(super) fn overwrite(&self, at: usize, garbage: u32) {
        let head = Mark::of(self.ring.word(word::HEAD).load(Ordering::SeqCst));
        self.ring
            .map
            .word(head.off as usize * UNIT + at)
            .store(garbage, Ordering::SeqCst);
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.close();
    }
}

/// The parts of a copied message; None where it is none of this place and number.
fn parts(bytes: &[u8], mark: Mark) -> Option<Parts> {
    let field = |at: usize| -> Option<(u32, u32)> {
        let word = u64::from_le_bytes(bytes.get(at * 8..at * 8 + 8)?.try_into().ok()?);
        Some((word as u32, (word >> 32) as u32))
    };
    let (units, found) = field(0)?;
    let (value, key) = field(5)?;
    let (headers, name) = field(6)?;
    let len = |part: u32| if part == ABSENT { 0 } else { part as usize };
    let sum = HEADER + value as usize + len(key) + len(headers) + name as usize;
    let right = found == check(mark)
        && field(1)?.0 == mark.number
        && units as usize * UNIT == bytes.len()
        && sum.div_ceil(UNIT) == units as usize;
    right.then_some(Parts {
        value: value as usize,
        key: (key != ABSENT).then_some(key as usize),
        headers: (headers != ABSENT).then_some(headers as usize),
        name: name as usize,
    })
}
