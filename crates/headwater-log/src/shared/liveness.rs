//! Whether the process of a slot is dead: proof, never a guess from time (engine.md §4).

use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustix::fs::FlockOperation;

use super::layout::slot_state;
use super::Shared;
use crate::error::{Error, Result};
use crate::options::limits;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Liveness {
    Alive,
    Dead,
}

/// Task flags of <linux/sched.h>: a thread with one of them never returns to user code.
const PF_EXITING: u64 = 0x4;
const PF_POSTCOREDUMP: u64 = 0x8;
const PF_DUMPCORE: u64 = 0x200;

/// This process's start, in clock ticks since boot: tells a reused process id apart.
pub fn own_start_time() -> u64 {
    start_time_and_flags("/proc/self/stat").map_or(0, |found| found.0)
}

pub fn own_pid_namespace() -> u64 {
    use std::os::unix::fs::MetadataExt;
    fs::metadata("/proc/self/ns/pid").map_or(0, |meta| meta.ino())
}

/// Fields 22 and 9 of proc_pid_stat(5). The name in field 2 may hold anything, so that one counts from its last `)`.
fn start_time_and_flags(path: impl AsRef<Path>) -> Option<(u64, u64)> {
    let text = fs::read_to_string(path).ok()?;
    let rest = &text[text.rfind(')')? + 2..];
    let fields: Vec<&str> = rest.split(' ').collect();
    // Field 3 is the first of the rest; a zombie is as gone as can be.
    let flags = if fields.first() == Some(&"Z") || fields.first() == Some(&"X") {
        PF_EXITING
    } else {
        fields.get(6)?.parse().ok()?
    };
    Some((fields.get(19)?.parse().ok()?, flags))
}

fn exiting(flags: u64) -> bool {
    flags & (PF_EXITING | PF_POSTCOREDUMP | PF_DUMPCORE) != 0
}

/// The tasks of a process, if every one of them is exiting.
fn all_exiting(pid: u32) -> Option<Vec<String>> {
    let mut tasks = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/task")).ok()? {
        let entry = entry.ok()?;
        if let Some((_, flags)) = start_time_and_flags(entry.path().join("stat")) {
            if !exiting(flags) {
                return None;
            }
            tasks.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    tasks.sort();
    Some(tasks)
}

impl Shared {
    /// Whether the process that took `slot` in this generation is gone for good.
    pub(crate) fn is_dead(&self, slot: u16, generation: u32) -> Liveness {
        if slot == self.me().slot || slot as usize >= limits::SLOTS {
            return Liveness::Alive;
        }
        let found = self.slot(slot);
        let state = found.state.load(Ordering::Acquire);
        if found.generation.load(Ordering::Acquire) & 0xFFFF != generation & 0xFFFF
            || state == slot_state::FREE
            || state == slot_state::DEAD
        {
            return Liveness::Dead;
        }
        let pid = found.pid.load(Ordering::Acquire);
        if found.pid_namespace.load(Ordering::Acquire) == own_pid_namespace()
            && Path::new("/proc/self/stat").exists()
        {
            let Some((start, flags)) = start_time_and_flags(format!("/proc/{pid}/stat")) else {
                return Liveness::Dead;
            };
            if start != found.start_time.load(Ordering::Acquire) {
                return Liveness::Dead;
            }
            if exiting(flags) {
                // Twice the same list, all exiting: no thread was made in between by one not yet looked at.
                let first = all_exiting(pid);
                std::thread::sleep(Duration::from_millis(1));
                if first.is_some() && first == all_exiting(pid) {
                    return Liveness::Dead;
                }
            }
            return Liveness::Alive;
        }
        // Another PID namespace: the kernel's release of the file lock is the proof.
        match self.probe_live(slot) {
            Some(true) => Liveness::Dead,
            _ => Liveness::Alive,
        }
    }

    /// Whether `live/<slot>` is unlocked, through a descriptor of its own.
    fn probe_live(&self, slot: u16) -> Option<bool> {
        let path = self.run.as_ref()?.join(format!("live/{slot}"));
        let file = File::open(path).ok()?;
        Some(rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared).is_ok())
    }

    /// Cleans up behind a dead process: its locks are repaired and released, its slot is freed, everyone looks again.
    /// One cleaner at a time; the kernel frees the file lock of one that dies, and the next begins anew.
    pub(crate) fn clean_slot(&self, slot: u16, generation: u32) -> Result<()> {
        let Some(run) = &self.run else { return Ok(()) };
        let path = run.join("recover");
        let gate = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(Error::io("open", &path))?;
        rustix::fs::flock(&gate, FlockOperation::LockExclusive)
            .map_err(|e| Error::io("lock", &path)(e.into()))?;
        let found = self.slot(slot);
        let current = found.generation.load(Ordering::Acquire);
        if current & 0xFFFF != generation & 0xFFFF
            || found.state.load(Ordering::Acquire) == slot_state::FREE
        {
            // Somebody was faster; a lock word of an older generation is still to be taken.
            return self.take_from_dead(slot, generation);
        }
        found.state.store(slot_state::DEAD, Ordering::Release);
        self.take_from_dead(slot, current)?;
        for page in self.pages().collect::<Vec<_>>() {
            self.page(page).waiting[slot as usize / 64]
                .fetch_and(!(1 << (slot % 64)), Ordering::SeqCst);
        }
        found.loop_armed.store(0, Ordering::SeqCst);
        found.sleepers.store(0, Ordering::SeqCst);
        found.leases.store(0, Ordering::Release);
        found.nonce.store(0, Ordering::Release);
        found.state.store(slot_state::FREE, Ordering::Release);
        self.ring_everyone();
        Ok(())
    }

    /// A wake may have been lost with the dead, and what it held may be had by others.
    pub(crate) fn ring_everyone(&self) {
        for number in 0..limits::SLOTS as u16 {
            if self.slot(number).state.load(Ordering::Acquire) == slot_state::LIVE {
                self.ring_slot(number);
            }
        }
    }

    /// Looks at every slot once; cleans up behind the dead. Returns how many there were.
    pub(crate) fn clean_dead_slots(&self) -> Result<usize> {
        let mut cleaned = 0;
        for number in 0..limits::SLOTS as u16 {
            let slot = self.slot(number);
            let state = slot.state.load(Ordering::Acquire);
            if state == slot_state::FREE || number == self.me().slot {
                continue;
            }
            let generation = slot.generation.load(Ordering::Acquire);
            if state == slot_state::DEAD || self.is_dead(number, generation) == Liveness::Dead {
                self.clean_slot(number, generation)?;
                cleaned += 1;
            }
        }
        Ok(cleaned)
    }

    /// Who a slot is, for errors and doctor.
    pub(crate) fn describe(&self, number: u16) -> String {
        let slot = self.slot(number);
        format!(
            "process {} ({})",
            slot.pid.load(Ordering::Acquire),
            slot_name(slot)
        )
    }
}

pub(crate) fn slot_name(slot: &super::layout::Slot) -> String {
    let bytes: Vec<u8> = slot
        .name
        .iter()
        .flat_map(|w| w.load(Ordering::Relaxed).to_le_bytes())
        .take_while(|b| *b != 0)
        .collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// `live/<slot>`, locked for as long as the process lives. None: it belongs to a living process.
pub(crate) fn lock_live(run: &Path, slot: u16) -> Result<Option<OwnedFd>> {
    let path = run.join(format!("live/{slot}"));
    let file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(Error::io("open", &path))?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file.into())),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(e) => Err(Error::io("lock", path)(e.into())),
    }
}
