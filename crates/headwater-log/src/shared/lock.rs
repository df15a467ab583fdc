//! One writer an object: a futex word in its page. Never taken from a live owner; a time-out is no proof of death
//! (engine.md §4).

use std::sync::atomic::{compiler_fence, AtomicU32, Ordering};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use super::bell::{futex_wait, futex_wake};
use super::liveness::Liveness;
use super::Shared;
use crate::error::{Error, Result};

/// Word: bits 0–13 slot + 1, 14–29 low bits of the slot's generation, 31 waiters.
const WAITERS: u32 = 1 << 31;

fn word_of(slot: u16, generation: u32) -> u32 {
    (u32::from(slot) + 1) | (generation & 0xFFFF) << 14
}

fn slot_of(word: u32) -> (u16, u32) {
    (
        (word & 0x3FFF).wrapping_sub(1) as u16,
        (word & !WAITERS) >> 14 & 0xFFFF,
    )
}

/// Slot and generation of whoever holds a lock; for a word that is not zero.
pub(crate) fn owner_of(word: u32) -> (u16, u32) {
    slot_of(word)
}

/// Held until dropped. Inside: no Python, no system call but a roll.
pub struct PageLock<'a> {
    shared: &'a Shared,
    page: u32,
}

impl PageLock<'_> {
    pub fn page(&self) -> u32 {
        self.page
    }
}

impl Drop for PageLock<'_> {
    #[inline]
    fn drop(&mut self) {
        let word = &self.shared.page(self.page).lock;
        if std::thread::panicking() {
            // Whatever the section had begun is undone or finished like a dead owner's.
            let _ = self.shared.repair(self.page);
        }
        if word.swap(0, Ordering::Release) & WAITERS != 0 {
            futex_wake(word, 1);
        }
    }
}

impl Shared {
    fn word(&self) -> u32 {
        word_of(self.me().slot, self.generation())
    }

    /// The lock if it is free now.
    #[inline]
    pub fn try_lock(&self, page: u32) -> Option<PageLock<'_>> {
        let word = &self.page(page).lock;
        word.compare_exchange(0, self.word(), Ordering::SeqCst, Ordering::Relaxed)
            .ok()?;
        let lock = PageLock { shared: self, page };
        compiler_fence(Ordering::SeqCst);
        self.usable().then_some(lock)
    }

    /// False once the slot was given up or this is a fork's child: no lock may carry the slot's name any more. Looked at
    /// after the word was taken, in one order with `give_up_slot`, which looks at the words after it locked out.
    #[inline]
    fn usable(&self) -> bool {
        !self.locked_out.load(Ordering::SeqCst) && !self.forked()
    }

    /// Whether some thread of this process holds a lock.
    pub(crate) fn holds_a_lock(&self) -> bool {
        let mine = self.word();
        self.used_pages()
            .any(|no| self.page(no).lock.load(Ordering::SeqCst) & !WAITERS == mine)
    }

    /// Waits for the lock; after the death of its owner, repairs and takes it.
    ///
    /// Errors: `Timeout` with the holder after the deadline; whatever the repair finds.
    pub fn lock(&self, page: u32, deadline: Option<Instant>) -> Result<PageLock<'_>> {
        if let Some(lock) = self.try_lock(page) {
            return Ok(lock);
        }
        let word = &self.page(page).lock;
        let until = Instant::now() + spin_time();
        while Instant::now() < until {
            std::hint::spin_loop();
            if word.load(Ordering::Relaxed) == 0 {
                if let Some(lock) = self.try_lock(page) {
                    return Ok(lock);
                }
            }
        }
        self.lock_slow(word, page, deadline)
    }

    #[cold]
    fn lock_slow(
        &self,
        word: &AtomicU32,
        page: u32,
        deadline: Option<Instant>,
    ) -> Result<PageLock<'_>> {
        let mut pause = Duration::from_millis(2);
        loop {
            if self.forked() {
                return Err(Error::Forked {
                    what: "this connection",
                });
            }
            if self.locked_out.load(Ordering::SeqCst) {
                return Err(Error::Closed(self.dir.display().to_string()));
            }
            let seen = word.load(Ordering::Relaxed);
            if seen == 0 {
                // Others may sleep here: whoever was woken keeps the bit, so that its release wakes the next.
                if word
                    .compare_exchange(
                        0,
                        self.word() | WAITERS,
                        Ordering::SeqCst,
                        Ordering::Relaxed,
                    )
                    .is_ok()
                {
                    let lock = PageLock { shared: self, page };
                    if self.usable() {
                        return Ok(lock);
                    }
                }
                continue;
            }
            if seen & WAITERS == 0
                && word
                    .compare_exchange(seen, seen | WAITERS, Ordering::Relaxed, Ordering::Relaxed)
                    .is_err()
            {
                continue;
            }
            let seen = seen | WAITERS;
            let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return Err(self.lock_timeout(page, seen));
            }
            futex_wait(word, seen, Some(left.map_or(pause, |left| left.min(pause))));
            if word.load(Ordering::Relaxed) == seen {
                pause = (pause * 2).min(Duration::from_millis(10));
                let (slot, generation) = slot_of(seen);
                if self.is_dead(slot, generation) == Liveness::Dead {
                    let cleaned = self.clean_slot(slot, generation, deadline);
                    // What cannot be repaired elsewhere is not ours to tell.
                    if word.load(Ordering::Relaxed) & !WAITERS == seen & !WAITERS {
                        cleaned?;
                    }
                }
            }
        }
    }

    fn lock_timeout(&self, page: u32, seen: u32) -> Error {
        let (slot, _) = slot_of(seen);
        Error::Timeout {
            what: format!("waiting for the lock of {}", self.path_of(page)),
            maybe_sent: false,
            holder: Some(self.describe(slot)),
        }
    }

    /// Takes every lock that a dead slot's word holds, repairs what it guards and releases it. The caller holds
    /// run/recover.
    pub(crate) fn take_from_dead(&self, slot: u16, generation: u32) -> Result<()> {
        let dead = word_of(slot, generation);
        let mut outcome = Ok(());
        for page in self.used_pages().collect::<Vec<_>>() {
            let word = &self.page(page).lock;
            loop {
                let seen = word.load(Ordering::Acquire);
                if seen & !WAITERS != dead {
                    break;
                }
                if word
                    .compare_exchange(
                        seen,
                        self.word() | seen & WAITERS,
                        Ordering::Acquire,
                        Ordering::Relaxed,
                    )
                    .is_err()
                {
                    continue;
                }
                // A free page guards nothing.
                let free = self.page(page).oid.load(Ordering::Acquire) == 0;
                let repaired = if free { Ok(()) } else { self.repair(page) };
                if repaired.is_err() {
                    // Still the dead one's: nobody may use what is not repaired, and the next contender tries again. The
                    // others are none the worse for it.
                    word.store(dead | WAITERS, Ordering::Release);
                    futex_wake(word, i32::MAX as u32);
                    outcome = outcome.and(repaired);
                    break;
                }
                drop(PageLock { shared: self, page });
                break;
            }
        }
        outcome
    }
}

fn spin_time() -> Duration {
    Duration::from_micros(if spinning_helps() { 2 } else { 0 })
}

/// Where whoever is waited for runs on another processor.
pub(crate) fn spinning_helps() -> bool {
    static SEVERAL: OnceLock<bool> = OnceLock::new();
    *SEVERAL.get_or_init(|| std::thread::available_parallelism().is_ok_and(|n| n.get() > 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_names_its_slot_and_generation() {
        for slot in [0u16, 1, 1023] {
            for generation in [0u32, 1, 0xFFFF, 0x1_0001] {
                let word = word_of(slot, generation);
                assert_eq!(slot_of(word), (slot, generation & 0xFFFF));
                assert_eq!(slot_of(word | WAITERS).0, slot);
            }
        }
    }
}
