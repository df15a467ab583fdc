//! The group as one process knows it: the newest snapshot, and what the journal says since.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering as Atomic;
use std::sync::Arc;

use super::core::{Core, Op};
use super::decide::{self, Plan};
use super::entry::{Item, Writer};
use super::lanes::{Feeder, Lanes};
use super::leases::{Holding, Watched};
use super::machine::{Machine, State};
use super::snapshot;
use super::types::LANES;
use crate::ctx::EngineCtx;
use crate::error::{Error, Result};
use crate::log::{Cursor, Log};
use crate::options::Retention;
use crate::storage::Storage;

/// A snapshot is taken after so many records of the journal, or so many bytes of it.
const SNAPSHOT_RECORDS: u64 = 1_000_000;
const SNAPSHOT_BYTES: u64 = 64 << 20;
/// Older journals are kept so long and so far, for whoever asks what became of a message.
const ARCHIVE: Retention = Retention {
    age: Some(7.0 * 86_400.0),
    bytes: Some(256 << 20),
    records: None,
};
/// So often a replica begins again that finds the journal behind its snapshot gone.
const RELOADS: usize = 5;
/// The word of the journal's page that holds the position of the newest snapshot.
const SNAPSHOT_WORD: usize = 8;
/// And the one that holds where the notes ended then.
const NOTED_WORD: usize = 9;

pub(super) struct Replica {
    pub machine: Machine,
    /// In the journal.
    cursor: Cursor,
    /// What it was begun from.
    loaded: Loaded,
    /// All that was there when it was opened is read: from here on the journal's positions have no gaps.
    live: bool,
    /// Up to where the journal was read.
    tail: u64,
    pub feed: Feeder,
    pub writer: Writer,
    pub items: Vec<Item>,
    pub plan: Plan,
    /// Deliveries of this process, as they are counted in its slot.
    pub held: u32,
    /// The lease that the heart beats for.
    pub beats_for: f64,
    pub holding: Holding,
    pub watched: Watched,
    pub ranks: [Option<Rank>; LANES],
    /// Records of the journal, and their bytes, behind the newest snapshot that this process knows of.
    records: u64,
    bytes: u64,
    /// What a claim met beside what it handed out.
    pub failed: Option<Error>,
    /// Why nothing can be decided any more: the journal cannot be read, or a change broke off.
    broken: Option<&'static str>,
}

/// How many records of a lane lay before its cursor, and what the machine counted then.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rank {
    rank: u64,
    passed: u64,
    jumps: u64,
}

/// A group's state at one moment.
pub(super) struct Now {
    n: u64,
    bytes: Vec<u8>,
    /// No note before it is wanted, by this state or by any later one.
    notes_floor: u64,
}

fn file_name(n: u64) -> String {
    format!("snap-{n:020}")
}

/// The positions of the snapshots in a group's directory, the newest first.
pub(crate) fn snapshots(storage: &dyn Storage, dir: &Path) -> Result<Vec<u64>> {
    let mut found: Vec<u64> = storage
        .list(dir)?
        .iter()
        .filter_map(|name| name.strip_prefix("snap-"))
        .filter(|digits| digits.len() == 20)
        .filter_map(|digits| digits.parse().ok())
        .collect();
    found.sort_unstable_by(|a, b| b.cmp(a));
    Ok(found)
}

fn load(storage: &dyn Storage, path: &Path) -> Result<Machine> {
    let file = storage.open(path)?;
    let len = storage.len(&file, path)? as usize;
    if len == 0 {
        return snapshot::decode(&[], path);
    }
    let map = storage.map(&file, path, len, false)?;
    // SAFETY: the map is `len` bytes long; a snapshot is never written to once it has its name.
    let bytes = unsafe { std::slice::from_raw_parts(map.at(0), len) };
    snapshot::decode(bytes, path)
}

/// Where a replica begins.
#[derive(Clone, Copy, Debug)]
struct Loaded {
    /// The snapshot's position; 0: none.
    snapshot: u64,
    /// The first segment of the journal, before the snapshot was looked for.
    first: u64,
}

impl Loaded {
    /// Whether the journal still is what it was then, behind the snapshot.
    fn holds(&self, journal: &Log) -> Result<bool> {
        let first = first_of(journal)?;
        Ok(first <= self.snapshot + 1 || first == self.first)
    }
}

fn first_of(journal: &Log) -> Result<u64> {
    Ok(journal.segment_bases()?.first().copied().unwrap_or(1))
}

/// The state of the newest snapshot that can be read and that the journal goes on from; else an empty one.
fn newest(ctx: &EngineCtx, journal: &Log) -> Result<(Machine, Loaded)> {
    let first = first_of(journal)?;
    let empty = journal.ordinal() == 0;
    let goes_on = |n: u64| n < journal.next_seq() && (first <= n + 1 || empty);
    let mut damaged = None;
    for n in snapshots(&*ctx.storage, &journal.dir)? {
        let path = journal.dir.join(file_name(n));
        match load(&*ctx.storage, &path) {
            Ok(machine) if machine.applied == n && goes_on(n) => {
                return Ok((machine, Loaded { snapshot: n, first }))
            }
            Ok(_) | Err(Error::Corruption { .. }) => damaged = Some(path),
            // Replaced by a newer one since the directory was read.
            Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    if first == 1 || empty {
        let loaded = Loaded { snapshot: 0, first };
        return Ok((Machine::default(), loaded));
    }
    Err(Error::Corruption {
        file: damaged.unwrap_or_else(|| journal.dir.clone()),
        offset: 0,
        what: "the group has no snapshot that can be read, and no journal from its beginning"
            .to_owned(),
    })
}

impl Replica {
    pub fn open(
        ctx: &EngineCtx,
        journal: &Arc<Log>,
        notes: &Arc<Log>,
        lanes: &Arc<Lanes>,
    ) -> Result<Self> {
        let (machine, loaded) = newest(ctx, journal)?;
        Ok(Self {
            cursor: Cursor::new_to_tail(journal, machine.applied + 1),
            loaded,
            live: false,
            tail: 0,
            feed: Feeder::new(lanes, notes),
            writer: Writer::default(),
            items: Vec::new(),
            plan: Plan::default(),
            held: 0,
            beats_for: f64::INFINITY,
            holding: Holding::default(),
            watched: Watched::default(),
            ranks: [None; LANES],
            records: 0,
            bytes: 0,
            failed: None,
            broken: None,
            machine,
        })
    }

    /// Applies what others have written.
    #[inline]
    pub fn catch_up(&mut self, journal: &Log) -> Result<()> {
        let tail = journal.state().tail.load(Atomic::Acquire);
        if tail == self.tail && self.broken.is_none() {
            return Ok(());
        }
        self.read_journal(journal, tail)
    }

    fn read_journal(&mut self, journal: &Log, tail: u64) -> Result<()> {
        if let Some(why) = self.broken {
            return Err(self.unusable(why));
        }
        for _ in 0..RELOADS {
            if self.read_on()? && (self.live || self.loaded.holds(journal)?) {
                self.live = true;
                self.tail = tail;
                return Ok(());
            }
            self.reload()?;
        }
        Err(self.unusable("its journal was let go of faster than it could be read"))
    }

    /// Applies what the journal has. False: it was let go of before it was read, by processes that went on meanwhile.
    fn read_on(&mut self) -> Result<bool> {
        loop {
            let record = match self.cursor.next() {
                Ok(Some(record)) => record,
                Ok(None) => return Ok(true),
                Err(error) => {
                    // Anything else (no descriptor left) may be over at the next look.
                    if matches!(error, Error::Corruption { .. }) {
                        self.broken = Some("a record of its journal is damaged");
                    }
                    return Err(error);
                }
            };
            let applied = self.machine.applied;
            if record.seq <= applied {
                continue;
            }
            if self.live && record.seq != applied + 1 {
                return Ok(false);
            }
            self.broken = Some("a change of its state broke off");
            self.machine
                .apply(record.seq, record.append_ns, record.value)?;
            self.broken = None;
            self.records += 1;
            self.bytes += record.value.len() as u64;
        }
    }

    /// Begins again from the newest snapshot.
    #[cold]
    fn reload(&mut self) -> Result<()> {
        let journal = Arc::clone(self.cursor.log());
        let (mut machine, loaded) = newest(&journal.ctx, &journal)?;
        for (lane, before) in machine.lanes.iter_mut().zip(&self.machine.lanes) {
            // What was passed is counted anew: nobody may go on with what he knew of it.
            lane.jumps += before.jumps + 1;
        }
        (self.machine, self.loaded) = (machine, loaded);
        self.cursor = Cursor::new_to_tail(&journal, self.machine.applied + 1);
        self.live = false;
        self.ranks = [None; LANES];
        Ok(())
    }

    #[cold]
    fn unusable(&self, why: &str) -> Error {
        Error::Corruption {
            file: self.cursor.log().dir.clone(),
            offset: 0,
            what: format!("the group cannot go on: {why}"),
        }
    }

    /// Applies what this process has just written: the writer's bytes.
    #[inline]
    pub fn apply_own(&mut self, seq: u64, append_ns: i64, end_lba: u64) -> Result<()> {
        self.broken = Some("a change of its state broke off");
        self.machine.apply(seq, append_ns, &self.writer.bytes)?;
        self.broken = None;
        self.records += 1;
        self.bytes += self.writer.bytes.len() as u64;
        self.cursor.pass(end_lba, seq + 1);
        self.tail = end_lba;
        Ok(())
    }

    /// Whether a claim may find something; a look without the group's lock.
    pub fn may_claim(&mut self, now: i64) -> Result<bool> {
        let machine = &mut self.machine;
        if machine.paused {
            return Ok(false);
        }
        let due = decide::next_due(machine).is_some_and(|due| due <= now);
        if due || machine.count(State::Ready) > 0 || machine.has_hints() {
            return Ok(true);
        }
        self.feed.is_ahead(&self.machine)
    }

    /// How many records of a lane lie before its cursor; counted once, then known from what was passed since.
    pub fn rank(&mut self, lane: u8, log: &Arc<Log>) -> Result<u64> {
        let state = &self.machine.lanes[lane as usize];
        let known = &mut self.ranks[lane as usize];
        let first = log.first_seq();
        if let Some(known) = known.filter(|known| known.jumps == state.jumps) {
            if first <= state.cursor {
                return Ok(known.rank + (state.passed - known.passed));
            }
        }
        let rank = log.rank(state.cursor.max(first))?;
        *known = (first <= state.cursor).then_some(Rank {
            rank,
            passed: state.passed,
            jumps: state.jumps,
        });
        Ok(rank)
    }

    /// Records that are not finished: those above the cursors, and those below that are not done and not dead.
    pub fn unfinished(&mut self, lanes: &Lanes) -> Result<u64> {
        let mut open = self.machine.open_jobs();
        for number in 0..LANES as u8 {
            if !self.machine.lanes[number as usize].made {
                continue;
            }
            if let Some(log) = lanes.lane(number)? {
                let rank = self.rank(number, &log)?;
                // After the cursor: the tail only grows.
                let above = log.ordinal().saturating_sub(rank);
                let cancelled = self.machine.lanes[number as usize].cancelled.len() as u64;
                open += above.saturating_sub(cancelled);
            }
        }
        Ok(open)
    }

    fn wants_snapshot(&self) -> bool {
        self.records >= SNAPSHOT_RECORDS || self.bytes >= SNAPSHOT_BYTES
    }
}

impl Core {
    /// After a change: has hw-work take a snapshot when it is time.
    #[inline]
    pub(super) fn mind_snapshot(&self, replica: &Replica) {
        if replica.wants_snapshot() {
            self.ctx.shared.work_at(0);
        }
    }

    /// A duty of hw-work: takes a snapshot, when it is time and nobody else has.
    pub(crate) fn tend(&self) -> Result<()> {
        let words = &self.journal.state().words;
        let noted = self.notes.state().tail.load(Atomic::Acquire);
        // The notes of a session are counted from its first look.
        let _ = words[NOTED_WORD].compare_exchange(0, noted, Atomic::AcqRel, Atomic::Acquire);
        let many_notes =
            noted - words[NOTED_WORD].load(Atomic::Acquire).min(noted) >= SNAPSHOT_BYTES;
        {
            let mut replica = self.replica(self.patience())?;
            if !replica.wants_snapshot() && !many_notes {
                return Ok(());
            }
            replica.catch_up(&self.journal)?;
            let newest = words[SNAPSHOT_WORD].load(Atomic::Acquire);
            let applied = replica.machine.applied;
            if !many_notes && newest != 0 && applied.saturating_sub(newest) < SNAPSHOT_RECORDS / 2 {
                replica.records = applied.saturating_sub(newest);
                replica.bytes = 0;
                return Ok(());
            }
        }
        self.take_snapshot()
    }

    /// Writes the state as it is now, and lets go of what is older than the snapshot before it.
    pub(crate) fn take_snapshot(&self) -> Result<()> {
        let state = self.state_now()?;
        self.keep_snapshot(state)
    }

    pub(super) fn state_now(&self) -> Result<Now> {
        let mut replica = self.replica(self.patience())?;
        // Under the group's lock nobody is between a note and the entry that names it: what is not noted yet lies behind.
        let noted = |op: &mut Op<'_>| Ok(op.core.notes.next_seq());
        let (noted, _) = self.run(&mut replica, self.patience(), noted)?;
        (replica.records, replica.bytes) = (0, 0);
        let machine = &replica.machine;
        Ok(Now {
            n: machine.applied,
            bytes: snapshot::encode(machine),
            notes_floor: machine.notes_floor().min(noted),
        })
    }

    pub(super) fn keep_snapshot(&self, state: Now) -> Result<()> {
        let Now {
            n,
            bytes,
            notes_floor,
        } = state;
        let (storage, dir) = (&*self.ctx.storage, &self.journal.dir);
        let kept = {
            let _alone = storage.lock_dir(dir)?;
            // What it says must not be younger than the journal is on the disk.
            self.notes.flush(self.soon())?;
            self.journal.flush(self.soon())?;
            write(storage, dir, n, &bytes)?;
            let mut kept = snapshots(storage, dir)?;
            for old in kept.drain(kept.len().min(2)..) {
                storage.unlink(&dir.join(file_name(old)))?;
            }
            kept
        };
        let words = &self.journal.state().words;
        words[SNAPSHOT_WORD].fetch_max(n, Atomic::AcqRel);
        words[NOTED_WORD].store(
            self.notes.state().tail.load(Atomic::Acquire),
            Atomic::Release,
        );
        if let [_, second] = kept[..] {
            self.journal.retain(&ARCHIVE, second + 1)?;
        }
        self.notes.trim(notes_floor)?;
        Ok(())
    }
}

fn write(storage: &dyn Storage, dir: &Path, n: u64, bytes: &[u8]) -> Result<()> {
    let path: PathBuf = dir.join(file_name(n));
    let private = dir.join(".snap");
    storage.unlink(&private)?;
    let file = storage.create(&private, bytes.len() as u64)?;
    let map = storage.map(&file, &private, bytes.len(), true)?;
    // SAFETY: the map is as long as `bytes`, and nobody else knows the file.
    unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), map.at(0), bytes.len()) };
    storage.sync(&file, &private)?;
    storage.rename(&private, &path)?;
    storage.sync_dir(dir)
}
