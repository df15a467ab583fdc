//! Making a log durable: one process syncs for all that wait; a failed fsync is final (engine.md §8).

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::segment::TailNote;
use super::{monotonic_ns, Log};
use crate::error::{Error, Result};

impl Log {
    /// Whether everything below the address is on the disk.
    #[inline]
    pub fn durable(&self, end_lba: u64) -> bool {
        self.ctx.memory || self.state().synced.load(Ordering::Acquire) >= end_lba
    }

    pub(super) fn poisoned(&self) -> Error {
        let errno = self.state().poison.load(Ordering::Relaxed) as i32;
        Error::Durability {
            path: self.dir.clone(),
            what: format!(
                "an fsync failed ({}); nothing more is accepted",
                std::io::Error::from_raw_os_error(errno)
            ),
            last_synced: self.state().synced.load(Ordering::Relaxed),
        }
    }

    /// Waits until everything below `end_lba` is on the disk, syncing when nobody else does.
    ///
    /// Errors: `Durability` (final), `Timeout`.
    pub fn wait_durable(&self, end_lba: u64, deadline: Option<Instant>) -> Result<()> {
        let state = self.state();
        let shared = &self.ctx.shared;
        let mine = u32::from(shared.me().slot) + 1;
        let began = Instant::now();
        let patience = Duration::from_millis(20).max(Duration::from_nanos(
            state.last_sync_ns.load(Ordering::Relaxed) * 4,
        ));
        loop {
            if self.durable(end_lba) {
                return Ok(());
            }
            if state.poison.load(Ordering::Acquire) != 0 {
                return Err(self.poisoned());
            }
            if deadline.is_some_and(|at| at <= Instant::now()) {
                return Err(Error::Timeout {
                    what: format!("syncing {}", self.what),
                    maybe_sent: true,
                    holder: None,
                });
            }
            // Whoever sets the hint syncs for all; a leader that was stopped must not stop the others.
            let leads = state
                .sync_hint
                .compare_exchange(0, mine, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok();
            if leads || began.elapsed() > patience {
                // A leader that died would cost everybody this patience for ever.
                state.sync_hint.store(mine, Ordering::Release);
                let outcome = self.sync_now();
                state.sync_hint.store(0, Ordering::Release);
                self.ring();
                outcome?;
                continue;
            }
            let bell = shared.bell();
            self.arm();
            if !self.durable(end_lba) && state.sync_hint.load(Ordering::Acquire) != 0 {
                shared.wait_bell(bell, Some(Instant::now() + Duration::from_millis(5)));
            }
        }
    }

    /// Everything appended before this call is on the disk afterwards.
    pub fn flush(&self, deadline: Option<Instant>) -> Result<()> {
        self.wait_durable(self.state().tail.load(Ordering::Acquire), deadline)
    }

    /// fdatasync of what was appended since the last one.
    fn sync_now(&self) -> Result<()> {
        let state = self.state();
        // Cleared before the tail is read: what is appended from here on sets it again.
        state.dirty_since.swap(0, Ordering::SeqCst);
        let target = state.tail.load(Ordering::SeqCst);
        let synced = state.synced.load(Ordering::Acquire);
        let began = monotonic_ns();
        state.sync_begun.fetch_max(target, Ordering::AcqRel);
        if target > synced && !self.ctx.memory {
            if let Err(error) = self.sync_files(synced, target) {
                // The page may be another's by now.
                self.check_alive()?;
                self.dirty(monotonic_ns());
                let error = self.unsynced(error);
                self.ring();
                return Err(error);
            }
            state
                .last_sync_ns
                .store(monotonic_ns() - began, Ordering::Relaxed);
        }
        // A deleted object's page may be another's, of which nothing was synced.
        self.check_alive()?;
        state.synced.fetch_max(target, Ordering::AcqRel);
        // An appender that found the word set just before it was cleared did not set it again, and its tail may have come
        // too late for this sync: without this its record would wait for the next append.
        if state.tail.load(Ordering::SeqCst) > target
            && state.dirty_since.load(Ordering::SeqCst) == 0
        {
            self.dirty(monotonic_ns());
        }
        self.ring();
        Ok(())
    }

    /// A failed fsync is final; a file that could not be opened to be synced (no descriptor left) is not: nothing is lost, and the
    /// next one tries again.
    pub(super) fn unsynced(&self, error: Error) -> Error {
        match &error {
            Error::Io { op: "sync", .. } => self.poison(&error),
            Error::StorageFull { what, .. } if what == "sync" => self.poison(&error),
            _ => error,
        }
    }

    /// A failed fsync is final, on the disk too, so that no later session trusts what the kernel may have thrown away.
    pub(super) fn poison(&self, error: &Error) -> Error {
        let errno = match error {
            Error::Io { source, .. } => source.raw_os_error().unwrap_or(libc::EIO),
            _ => libc::EIO,
        };
        self.state().poison.store(errno as u32, Ordering::Release);
        let _ = self.ctx.storage.create(&self.dir.join("poisoned"), 1);
        self.poisoned()
    }

    fn sync_files(&self, from: u64, to: u64) -> Result<()> {
        let changes = self.state().dir_dirty.load(Ordering::Acquire);
        for base in self.segment_bases()? {
            let Some(segment) = self.segment(base)? else {
                continue;
            };
            if segment.end_lba() > from && segment.header.base_lba < to {
                let offset = |lba: u64| lba.saturating_sub(segment.header.base_lba) as usize;
                segment.map.let_go(offset(from), offset(to));
                self.ctx.storage.sync(&segment.file, &segment.path)?;
            }
        }
        if changes != 0 {
            self.ctx.storage.sync_dir(&self.dir)?;
            // Only now, and only if nothing was added: others that sync meanwhile must not believe the directory to be synced.
            let _ = self.state().dir_dirty.compare_exchange(
                changes,
                0,
                Ordering::AcqRel,
                Ordering::Relaxed,
            );
        }
        Ok(())
    }

    /// The first append behind a sync: has the flusher look at the log when the interval is over.
    #[cold]
    pub(super) fn dirty(&self, now_ns: u64) {
        self.state().dirty_since.store(now_ns, Ordering::Relaxed);
        if self.ctx.durability == crate::options::Durability::Interval && !self.ctx.memory {
            self.ctx
                .shared
                .work_at(now_ns + self.ctx.interval.as_nanos() as u64);
        }
    }

    /// Writes into the active segment's header how far the log is synced, durably.
    pub(super) fn promise_in_header(&self) -> Result<()> {
        let segment = {
            let _lock = self.lock(Some(Instant::now() + self.ctx.op_timeout))?;
            let state = self.state();
            let Some(segment) = self.segment(state.active_base.load(Ordering::Acquire))? else {
                return Ok(());
            };
            segment.set_promise(state.synced.load(Ordering::Acquire));
            segment
        };
        if self.ctx.memory {
            return Ok(());
        }
        self.ctx.storage.sync(&segment.file, &segment.path)
    }

    /// Writes into the active segment's header what a scan would find: the directory's last process does it at a clean close.
    pub fn write_tail_note(&self) -> Result<()> {
        self.flush(None)?;
        let state = self.state();
        let Some(segment) = self.segment(state.active_base.load(Ordering::Acquire))? else {
            return Ok(());
        };
        let tail = state.tail.load(Ordering::Acquire);
        segment.set_promise(tail);
        segment.set_tail_note(&TailNote {
            session: self.ctx.session,
            end_off: tail - segment.header.base_lba,
            next_seq: state.next_seq.load(Ordering::Acquire),
            last_seq: state.last_seq.load(Ordering::Acquire),
            ordinal: state.ordinal.load(Ordering::Acquire),
            max_time: state.max_time.load(Ordering::Acquire),
        });
        if self.ctx.memory {
            return Ok(());
        }
        self.ctx.storage.sync(&segment.file, &segment.path)
    }
}
