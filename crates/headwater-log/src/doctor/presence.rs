//! Who has the directory open, what they hold, and how far each log is written: from the state file, read as it lies there.

use std::collections::HashMap;
use std::fs::File;
use std::mem::offset_of;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustix::fs::FlockOperation;

use super::{Book, Level};
use crate::fork::Held;
use crate::options::limits;
use crate::shared::layout::{slot_state, Head, ObjectPage, Slot, FIRST_OBJECT, MAGIC, PAGE};
use crate::shared::liveness::{self, slot_name};
use crate::shared::lock;
use crate::storage::Map;

/// A lock that is the same one over so many looks is held by somebody who does not go on.
const LOOKS: u32 = 10;
const BETWEEN: Duration = Duration::from_millis(20);

/// How a process that has the directory open is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    Live,
    /// SIGSTOP, or a debugger.
    Stopped,
    /// Its lock file was closed behind the engine's back.
    Detached,
    /// It ended without closing.
    Dead,
}

impl Standing {
    pub fn word(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Stopped => "stopped",
            Self::Detached => "detached",
            Self::Dead => "dead",
        }
    }
}

#[derive(Clone, Debug)]
pub struct ProcessLook {
    pub slot: u16,
    pub pid: u32,
    pub name: String,
    pub standing: Standing,
    /// Deliveries in hand.
    pub leases: u32,
    /// Does the directory's common duties.
    pub janitor: bool,
}

impl ProcessLook {
    fn shown(&self) -> String {
        match self.name.as_str() {
            "" => format!("process {}", self.pid),
            name => format!("process {} ({name})", self.pid),
        }
    }
}

#[derive(Default)]
pub(super) struct Presence {
    pub processes: Vec<ProcessLook>,
    /// At least one process lives.
    pub in_use: bool,
    /// Of each log that is in use, by oid: up to which address it is written.
    pub tails: HashMap<u64, u64>,
}

/// The state file, mapped for reading. Its words change as one looks.
struct StateFile {
    map: Map,
    pages: u32,
}

impl StateFile {
    /// None: it is not there, cut, or not one.
    fn open(book: &Book) -> Option<Self> {
        let file = File::open(book.root.join("run/state")).ok()?;
        let len = file.metadata().ok()?.len();
        let pages = u32::try_from(len / PAGE as u64).ok()?;
        if pages <= FIRST_OBJECT {
            return None;
        }
        let map = Map::new(&file, pages as usize * PAGE, false).ok()?;
        let state = Self { map, pages };
        (state.head().magic.load(Ordering::Acquire) == MAGIC).then_some(state)
    }

    fn head(&self) -> &Head {
        // SAFETY: the map is longer than the head, aligned, and every field is an atomic.
        unsafe { &*self.map.at(0).cast() }
    }

    fn slot(&self, number: usize) -> &Slot {
        // SAFETY: slots lie in pages 1 to 32, which the map has; fields are atomics.
        unsafe { &*self.map.at(PAGE + number * 128).cast() }
    }

    fn page(&self, number: u32) -> &ObjectPage {
        // SAFETY: below `pages`, checked by the caller; fields are atomics.
        unsafe { &*self.map.at(number as usize * PAGE).cast() }
    }

    fn objects(&self) -> impl Iterator<Item = (u32, &ObjectPage)> {
        let made = self.head().n_objects.load(Ordering::Acquire);
        let end = FIRST_OBJECT.saturating_add(made).min(self.pages);
        (FIRST_OBJECT..end)
            .map(|number| (number, self.page(number)))
            .filter(|(_, page)| page.oid.load(Ordering::Acquire) != 0)
    }

    fn path(page: &ObjectPage) -> String {
        let bytes: Vec<u8> = page
            .path
            .iter()
            .flat_map(|word| word.load(Ordering::Relaxed).to_le_bytes())
            .take_while(|byte| *byte != 0)
            .collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

const _: () = assert!(offset_of!(Head, magic) == 0);

impl Book {
    pub(super) fn presence(&mut self) {
        let Some(state) = StateFile::open(self) else {
            self.note(Level::Ok, "no process has it open");
            return;
        };
        self.processes(&state);
        let in_use = self
            .presence
            .processes
            .iter()
            .any(|process| process.standing != Standing::Dead);
        self.presence.in_use = in_use;
        if !in_use {
            self.note(Level::Ok, "no process has it open");
            if self.session.newest.is_some_and(|newest| !newest.clean) {
                self.note(
                    Level::Note,
                    "its last processes were killed: the next opening looks at what was not synced; nothing needs to be done",
                );
            }
            return;
        }
        if self
            .session
            .newest
            .is_some_and(|newest| newest.session != state.head().session.load(Ordering::Acquire))
        {
            let path = self.root.join("run/state");
            self.note(
                Level::Error,
                "it is of another session than the file `session` says",
            )
            .at(&path, None)
            .advise("stop all processes that use the directory, then open it again");
        }
        for (_, page) in state.objects() {
            if page.ready.load(Ordering::Acquire) != 0 {
                let tail = page.tail.load(Ordering::Acquire);
                let oid = page.oid.load(Ordering::Acquire);
                self.presence.tails.insert(oid, tail);
            }
        }
        self.locks(&state);
    }

    fn processes(&mut self, state: &StateFile) {
        let head = state.head();
        let janitor = head.janitor.load(Ordering::Acquire);
        let used = head.slots_used.load(Ordering::Acquire) as usize;
        for number in 0..used.min(limits::SLOTS) {
            let slot = state.slot(number);
            if slot.state.load(Ordering::Acquire) == slot_state::FREE {
                continue;
            }
            let process = ProcessLook {
                slot: number as u16,
                pid: slot.pid.load(Ordering::Acquire),
                name: slot_name(slot),
                standing: self.standing(number, slot),
                leases: slot.leases.load(Ordering::Acquire),
                janitor: number as u32 + 1 == janitor,
            };
            let (level, what) = match process.standing {
                Standing::Live => (Level::Ok, "has it open"),
                Standing::Stopped => (
                    Level::Warning,
                    "has it open, and is stopped: what it holds nobody else gets",
                ),
                Standing::Detached => (
                    Level::Warning,
                    "has it open, but something closed the engine's files in it: its death may be noticed late",
                ),
                Standing::Dead => (
                    Level::Note,
                    "was killed: what it held is freed by whoever needs it",
                ),
            };
            let what = format!("{} {what}", process.shown());
            let advice = match process.standing {
                Standing::Stopped => "continue it (kill -CONT) or end it",
                Standing::Detached => {
                    "do not close descriptors that the program has not opened (os.closerange)"
                }
                _ => "",
            };
            self.note(level, what).advise(advice);
            self.presence.processes.push(process);
        }
    }

    fn standing(&self, number: usize, slot: &Slot) -> Standing {
        if slot.state.load(Ordering::Acquire) == slot_state::DEAD {
            return Standing::Dead;
        }
        // The lock of a living process; looked at by a descriptor of its own, for reading.
        let unlocked = Held::open_read(&self.root.join(format!("run/live/{number}")))
            .ok()
            .and_then(|file| {
                match rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared) {
                    Ok(()) => Some(true),
                    Err(rustix::io::Errno::WOULDBLOCK) => Some(false),
                    Err(_) => None,
                }
            });
        match liveness::runs(slot) {
            Some(liveness::Runs::Not) => Standing::Dead,
            Some(_) if unlocked == Some(true) => Standing::Detached,
            Some(liveness::Runs::Stopped) => Standing::Stopped,
            None if unlocked == Some(true) => Standing::Dead,
            _ => Standing::Live,
        }
    }

    /// Locks that are held for longer than any operation takes.
    fn locks(&mut self, state: &StateFile) {
        let look = || -> HashMap<u32, (u32, u64)> {
            state
                .objects()
                .map(|(number, page)| {
                    let word = page.lock.load(Ordering::Acquire);
                    (number, (word, page.tail.load(Ordering::Acquire)))
                })
                .filter(|(_, (word, _))| *word != 0)
                .collect()
        };
        let mut held = look();
        for _ in 0..LOOKS {
            if held.is_empty() {
                return;
            }
            std::thread::sleep(BETWEEN);
            let now = look();
            // The bit that says that others wait may come and go.
            held.retain(|number, (word, tail)| {
                now.get(number)
                    .is_some_and(|(w, t)| lock::owner_of(*w) == lock::owner_of(*word) && t == tail)
            });
        }
        for (number, (word, _)) in held {
            let (slot, _) = lock::owner_of(word);
            let holder = self
                .presence
                .processes
                .iter()
                .find(|process| process.slot == slot)
                .map_or_else(|| format!("slot {slot}"), ProcessLook::shown);
            let path = self.root.join(StateFile::path(state.page(number)));
            let ms = (BETWEEN * LOOKS).as_millis();
            self.note(
                Level::Warning,
                format!("its lock is held by {holder}, for {ms} ms at least"),
            )
            .at(&path, None)
            .advise("if that process is stopped or hangs, continue or end it; the lock of a dead one is taken by whoever needs it");
        }
    }
}
