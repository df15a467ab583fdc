//! Whether the process of a slot is dead: proof, never a guess from time (engine.md §4).

use std::fs;
use std::io;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use rustix::fs::FlockOperation;

use super::layout::{slot_state, Slot};
use super::Shared;
use crate::error::{Error, Result};
use crate::fork::Held;
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

/// Who this process is, as others will find it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Process {
    pub pid: u32,
    /// Clock ticks since boot: tells a reused process id apart. 0: /proc does not say.
    pub start_time: u64,
    /// 0: /proc does not say, or is that of another namespace.
    pub pid_namespace: u64,
}

impl Process {
    pub(crate) fn own() -> Self {
        use std::os::unix::fs::MetadataExt;
        let pid = std::process::id();
        // By number, not by `self`: a /proc of another PID namespace knows us under another one.
        match look(pid) {
            Look::Here { start_time, .. } => Self {
                pid,
                start_time,
                pid_namespace: fs::metadata("/proc/self/ns/pid").map_or(0, |meta| meta.ino()),
            },
            _ => Self {
                pid,
                start_time: 0,
                pid_namespace: 0,
            },
        }
    }
}

enum Look {
    /// No such process.
    Gone,
    /// There may be one, but /proc does not show it (hidepid, no /proc, no descriptor left).
    Hidden,
    Here {
        start_time: u64,
        flags: u64,
    },
}

fn look(pid: u32) -> Look {
    match fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(text) => parse_stat(&text).map_or(Look::Hidden, |(start_time, flags)| Look::Here {
            start_time,
            flags,
        }),
        // Only the kernel's own word counts as a proof: a read can fail for many reasons.
        Err(_) => match rustix::process::Pid::from_raw(pid as i32)
            .map(rustix::process::test_kill_process)
        {
            Some(Err(rustix::io::Errno::SRCH)) => Look::Gone,
            _ => Look::Hidden,
        },
    }
}

/// Fields 22 (start time) and 9 (flags) of proc_pid_stat(5). The name in field 2 may hold anything, so that one counts
/// from its last `)`.
fn parse_stat(text: &str) -> Option<(u64, u64)> {
    let rest = text.get(text.rfind(')')? + 2..)?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    // Field 3 is the first of the rest; a zombie is as gone as can be.
    let flags = match *fields.first()? {
        "Z" | "X" => PF_EXITING,
        _ => fields.get(6)?.parse().ok()?,
    };
    Some((fields.get(19)?.parse().ok()?, flags))
}

fn exiting(flags: u64) -> bool {
    flags & (PF_EXITING | PF_POSTCOREDUMP | PF_DUMPCORE) != 0
}

/// What /proc says of a slot's process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Runs {
    Yes,
    /// SIGSTOP, or a debugger.
    Stopped,
    Not,
}

/// None: it is of another PID namespace, or not to be seen.
pub(crate) fn runs(slot: &Slot) -> Option<Runs> {
    let namespace = slot.pid_namespace.load(Ordering::Acquire);
    if namespace == 0 || namespace != Process::own().pid_namespace {
        return None;
    }
    let pid = slot.pid.load(Ordering::Acquire);
    match look(pid) {
        Look::Gone => Some(Runs::Not),
        Look::Hidden => None,
        Look::Here { start_time, flags } => {
            let other = start_time != slot.start_time.load(Ordering::Acquire);
            if other || exiting(flags) && never_returns(pid) {
                return Some(Runs::Not);
            }
            let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let state = text
                .rfind(')')
                .and_then(|at| text[at + 1..].trim_start().chars().next());
            Some(match state {
                Some('T' | 't') => Runs::Stopped,
                _ => Runs::Yes,
            })
        }
    }
}

/// The tasks of a process, if every one of them is exiting.
fn all_exiting(pid: u32) -> Option<Vec<String>> {
    let mut tasks = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/task")).ok()? {
        let entry = entry.ok()?;
        match fs::read_to_string(entry.path().join("stat")) {
            Ok(text) if exiting(parse_stat(&text)?.1) => {
                tasks.push(entry.file_name().to_string_lossy().into_owned());
            }
            // Gone since the directory was read.
            Err(e)
                if e.kind() == io::ErrorKind::NotFound || e.raw_os_error() == Some(libc::ESRCH) => {
            }
            _ => return None,
        }
    }
    tasks.sort();
    Some(tasks)
}

/// Whether the process maps the state file; None when /proc does not say. The inode alone is compared: the device
/// number in maps is not that of stat on every file system.
fn maps_inode(pid: u32, inode: u64) -> Option<bool> {
    let text = fs::read_to_string(format!("/proc/{pid}/maps")).ok()?;
    let wanted = inode.to_string();
    Some(
        text.lines()
            .any(|line| line.split_ascii_whitespace().nth(4) == Some(&wanted)),
    )
}

impl Shared {
    /// Whether the process that took `slot` in this generation is gone for good. Never so for one's own slot.
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
        let namespace = found.pid_namespace.load(Ordering::Acquire);
        if namespace != 0 && namespace == self.process.pid_namespace {
            match look(pid) {
                Look::Gone => return Liveness::Dead,
                Look::Here { start_time, flags } => {
                    return if start_time != found.start_time.load(Ordering::Acquire)
                        || exiting(flags) && never_returns(pid)
                        || self.has_execed(slot, pid)
                    {
                        Liveness::Dead
                    } else {
                        Liveness::Alive
                    };
                }
                Look::Hidden => {}
            }
        }
        // Another PID namespace, or nothing to be seen: the kernel's release of the file lock is the proof.
        match self.live_is_free(slot) {
            Some(true) => Liveness::Dead,
            _ => Liveness::Alive,
        }
    }

    /// A living process whose file lock is gone, and which no longer maps the state file, has become another program.
    /// (One that still maps it is detached: somebody closed our descriptor. It is reported, never stolen from.)
    fn has_execed(&self, slot: u16, pid: u32) -> bool {
        self.live_is_free(slot) == Some(true)
            && rustix::fs::fstat(&self.file)
                .is_ok_and(|stat| maps_inode(pid, stat.st_ino) == Some(false))
    }

    /// Whether `live/<slot>` is unlocked, by a descriptor of its own.
    pub(crate) fn live_is_free(&self, slot: u16) -> Option<bool> {
        let path = self.run.as_ref()?.join(format!("live/{slot}"));
        let file = Held::open_read(&path).ok()?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared) {
            Ok(()) => Some(true),
            Err(rustix::io::Errno::WOULDBLOCK) => Some(false),
            Err(_) => None,
        }
    }

    /// Cleans up behind a dead process: its locks are repaired and released, its slot is freed, everyone looks again.
    /// One cleaner at a time; the kernel frees the file lock of one that dies, and the next begins anew. False: another
    /// one was busy until the deadline (None: does not wait).
    pub(crate) fn clean_slot(
        &self,
        slot: u16,
        generation: u32,
        deadline: Option<Instant>,
    ) -> Result<bool> {
        let Some(run) = &self.run else {
            return Ok(false);
        };
        let path = run.join("recover");
        let gate = Held::open(&path)?;
        // Short: the caller of a lock looks again whether it is still needed.
        let soon = Instant::now() + Duration::from_millis(20);
        let until = deadline.map_or_else(Instant::now, |at| at.min(soon));
        if !crate::session::wait_flock(&gate, &path, until)? {
            return Ok(false);
        }
        let found = self.slot(slot);
        let current = found.generation.load(Ordering::Acquire);
        let state = found.state.load(Ordering::Acquire);
        if current & 0xFFFF != generation & 0xFFFF || state == slot_state::FREE {
            // Somebody was faster; a lock word of the older generation is still to be taken.
            self.take_from_dead(slot, generation)?;
            return Ok(true);
        }
        if state != slot_state::DEAD
            && found
                .state
                .compare_exchange(state, slot_state::DEAD, Ordering::AcqRel, Ordering::Relaxed)
                .is_err()
        {
            return Ok(false);
        }
        self.take_from_dead(slot, current)?;
        self.retire_rings_of(slot);
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
        Ok(true)
    }

    /// A wake may have been lost with the dead, and what it held may be had by others.
    pub(crate) fn ring_everyone(&self) {
        for number in self.slots() {
            if self.slot(number).state.load(Ordering::Acquire) == slot_state::LIVE {
                self.ring_slot(number);
            }
        }
    }

    /// Looks at every slot once; cleans up behind the dead. Returns how many there were.
    pub(crate) fn clean_dead_slots(&self) -> Result<usize> {
        let mut cleaned = 0;
        for number in self.slots() {
            cleaned += usize::from(self.clean_if_dead(number)?);
        }
        Ok(cleaned)
    }

    pub(crate) fn clean_if_dead(&self, number: u16) -> Result<bool> {
        let slot = self.slot(number);
        if slot.state.load(Ordering::Acquire) == slot_state::FREE || number == self.me().slot {
            return Ok(false);
        }
        let generation = slot.generation.load(Ordering::Acquire);
        if self.is_dead(number, generation) == Liveness::Alive {
            return Ok(false);
        }
        self.clean_slot(
            number,
            generation,
            Some(Instant::now() + Duration::from_millis(20)),
        )
    }

    /// Who a slot is, for errors and doctor.
    pub(crate) fn describe(&self, number: u16) -> String {
        let slot = self.slot(number);
        let pid = slot.pid.load(Ordering::Acquire);
        match slot_name(slot).as_str() {
            "" => format!("process {pid}"),
            name => format!("process {pid} ({name})"),
        }
    }

    /// Whether a slot's process can be watched and named in this PID namespace.
    pub(crate) fn same_namespace(&self, slot: &Slot) -> bool {
        let namespace = slot.pid_namespace.load(Ordering::Acquire);
        namespace != 0 && namespace == self.process.pid_namespace
    }
}

/// Every thread is exiting, twice the same ones: none was made in between by one that was not yet looked at.
fn never_returns(pid: u32) -> bool {
    let first = all_exiting(pid);
    std::thread::sleep(Duration::from_millis(1));
    first.is_some() && first == all_exiting(pid)
}

pub(crate) fn slot_name(slot: &Slot) -> String {
    let bytes: Vec<u8> = slot
        .name
        .iter()
        .flat_map(|word| word.load(Ordering::Relaxed).to_le_bytes())
        .take_while(|byte| *byte != 0)
        .collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// `live/<slot>`, locked for as long as the process lives. None: it belongs to a living process.
pub(crate) fn lock_live(run: &Path, slot: u16) -> Result<Option<Held>> {
    let path = run.join(format!("live/{slot}"));
    let file = Held::open(&path)?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(e) => Err(Error::io("lock", path)(e.into())),
    }
}

/// A mutex whose holder cannot leave it half-changed: a panic elsewhere does not matter.
pub(crate) fn unpoisoned<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_line_is_read_past_any_name() {
        let line = "42 (a) b (c)) S 1 42 42 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 98765 1 1";
        assert_eq!(parse_stat(line), Some((98765, 4_194_560)));
        let zombie = line.replace(" S ", " Z ");
        assert!(exiting(parse_stat(&zombie).unwrap().1));
        assert_eq!(parse_stat("42 (a"), None);
    }

    #[test]
    fn this_process_is_here() {
        let own = Process::own();
        assert!(own.start_time > 0 && own.pid_namespace > 0);
        assert!(
            matches!(look(own.pid), Look::Here { start_time, .. } if start_time == own.start_time)
        );
        assert!(matches!(look(0x3FFF_FFFF), Look::Gone));
    }
}
