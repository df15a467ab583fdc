//! Sessions: who is present, and what the first and the last process of a directory do (engine.md §3).
//!
//! One rule opens every directory: nobody present ⇒ a new session, a new `run/`, and logs rebuilt lazily from their
//! segments, whatever happened before. A clean close only makes that cheap.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rustix::fs::FlockOperation;

use crate::error::{Error, Result};
use crate::fork::Held;
use crate::identity::{self, Identity};
use crate::options::OpenOptions;
use crate::shared::layout::{GROW, MAGIC, PAGE};
use crate::shared::Shared;

/// A directory that this process has entered.
pub(crate) struct Entered {
    pub identity: Identity,
    pub shared: Shared,
    pub presence: Held,
    pub last_unclean: u64,
    pub last_lossy: u64,
}

/// The content of the file `session`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Record {
    version: u64,
    session: u64,
    /// The last session that did not end cleanly; 0: none.
    last_unclean: u64,
    /// The last one after which the page cache may have been lost before everything was synced: an unclean one before
    /// another boot, or in a copied directory. 0: none.
    last_lossy: u64,
    clean: bool,
    device: u64,
    inode: u64,
    boot: [u64; 2],
}

const SECTOR: usize = 512;
const RECORD_MAGIC: u64 = u64::from_le_bytes(*b"HWSESS\x01\n");

impl Record {
    fn encode(&self) -> [u8; SECTOR] {
        let mut sector = [0u8; SECTOR];
        let words = [
            RECORD_MAGIC,
            self.version,
            self.session,
            self.last_unclean,
            u64::from(self.clean),
            self.device,
            self.inode,
            self.last_lossy,
            self.boot[0],
            self.boot[1],
        ];
        for (at, word) in words.iter().enumerate() {
            sector[at * 8..at * 8 + 8].copy_from_slice(&word.to_le_bytes());
        }
        let crc = identity::crc32c(&sector[..SECTOR - 4]);
        sector[SECTOR - 4..].copy_from_slice(&crc.to_le_bytes());
        sector
    }

    fn decode(sector: &[u8]) -> Option<Self> {
        let word = |at: usize| {
            sector[at * 8..at * 8 + 8]
                .try_into()
                .map(u64::from_le_bytes)
                .ok()
        };
        let crc = sector[SECTOR - 4..]
            .try_into()
            .map(u32::from_le_bytes)
            .ok()?;
        if word(0)? != RECORD_MAGIC || crc != identity::crc32c(&sector[..SECTOR - 4]) {
            return None;
        }
        Some(Self {
            version: word(1)?,
            session: word(2)?,
            last_unclean: word(3)?,
            clean: word(4)? == 1,
            device: word(5)?,
            inode: word(6)?,
            last_lossy: word(7)?,
            boot: [word(8)?, word(9)?],
        })
    }
}

/// The kernel's name for this boot; zero where it does not say.
fn boot_id() -> [u64; 2] {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
    let half = |range| {
        digits
            .get(range)
            .and_then(|part| u64::from_str_radix(part, 16).ok())
            .unwrap_or(0)
    };
    [half(0..16), half(16..32)]
}

/// Two sectors, written by turns: a torn write leaves the other.
struct SessionFile {
    path: PathBuf,
    file: fs::File,
}

impl SessionFile {
    fn open(dir: &Path) -> Result<Self> {
        use std::os::unix::fs::OpenOptionsExt;
        let path = dir.join("session");
        let file = fs::File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(Error::io("open", &path))?;
        Ok(Self { path, file })
    }

    /// The newest valid record, and whether all that was ever written is.
    fn read(&self) -> Result<(Option<Record>, bool)> {
        let mut bytes = Vec::new();
        let mut part = [0u8; 2 * SECTOR];
        let mut at = 0;
        while bytes.len() < part.len() {
            match self.file.read_at(&mut part, at) {
                Ok(0) => break,
                Ok(n) => {
                    bytes.extend_from_slice(&part[..n]);
                    at += n as u64;
                }
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => return Err(Error::io("read", &self.path)(e)),
            }
        }
        bytes.resize(2 * SECTOR, 0);
        let sectors: Vec<&[u8]> = bytes.chunks_exact(SECTOR).collect();
        let found: Vec<Record> = sectors
            .iter()
            .filter_map(|sector| Record::decode(sector))
            .collect();
        let newest = found.iter().copied().max_by_key(|record| record.version);
        // Versions take turns from the first one on: where one is missing, the newest may be.
        let whole = match newest {
            None => bytes.iter().all(|byte| *byte == 0),
            Some(newest) if newest.version == 1 => {
                found.len() == 2 || sectors[0].iter().all(|byte| *byte == 0)
            }
            Some(_) => found.len() == 2,
        };
        Ok((newest, whole))
    }

    fn write(&self, record: Record) -> Result<()> {
        let meta = self
            .file
            .metadata()
            .map_err(Error::io("look at", &self.path))?;
        let record = Record {
            device: meta.dev(),
            inode: meta.ino(),
            boot: boot_id(),
            ..record
        };
        let at = record.version % 2 * SECTOR as u64;
        self.file
            .write_all_at(&record.encode(), at)
            .and_then(|()| self.file.sync_all())
            .map_err(Error::io("write", &self.path))
    }

    /// Whether the record was written to this very file, not to one that this was copied or restored from.
    fn is_of(&self, record: &Record) -> Result<bool> {
        let meta = self
            .file
            .metadata()
            .map_err(Error::io("look at", &self.path))?;
        Ok(record.device == meta.dev() && record.inode == meta.ino())
    }
}

/// What doctor sees of the file `session`.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SessionLook {
    pub newest: Option<SessionEnd>,
    /// By sector.
    pub damaged: [bool; 2],
    /// The file is the one that was written to, no copy.
    pub own_file: bool,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct SessionEnd {
    pub session: u64,
    pub last_unclean: u64,
    pub last_lossy: u64,
    pub clean: bool,
    pub same_boot: bool,
}

/// Reads the file `session` without making or changing anything.
pub(crate) fn look(dir: &Path) -> Result<SessionLook> {
    let path = dir.join("session");
    let file = fs::File::open(&path).map_err(Error::io("open", &path))?;
    let file = SessionFile { path, file };
    let (newest, whole) = file.read()?;
    let mut bytes = [0u8; 2 * SECTOR];
    let _ = file.file.read_at(&mut bytes, 0);
    let wrong = |n: usize| Record::decode(&bytes[n * SECTOR..(n + 1) * SECTOR]).is_none();
    Ok(SessionLook {
        damaged: [!whole && wrong(0), !whole && wrong(1)],
        own_file: newest.is_some_and(|newest| file.is_of(&newest).unwrap_or(false)),
        newest: newest.map(|newest| SessionEnd {
            session: newest.session,
            last_unclean: newest.last_unclean,
            last_lossy: newest.last_lossy,
            clean: newest.clean,
            same_boot: newest.boot == boot_id(),
        }),
    })
}

/// The gate for entering, leaving, creating, deleting and growing; its bytes name the holder. Released on drop.
pub struct Setup(#[allow(dead_code)] /* closing it releases the lock */ Held);

/// Waits for the gate by polling: the lock of a process that dies is released by the kernel.
///
/// Errors: `Timeout` with the holder.
pub(crate) fn setup(dir: &Path, within: Duration, name: &str) -> Result<Setup> {
    let path = dir.join("SETUP");
    let deadline = Instant::now() + within;
    let gate = Held::open(&path)?;
    if !wait_flock(&gate, &path, deadline)? {
        let holder = fs::read_to_string(&path).unwrap_or_default();
        return Err(Error::Timeout {
            what: format!("waiting for {}", path.display()),
            maybe_sent: false,
            holder: Some(holder.trim().to_owned()).filter(|text| !text.is_empty()),
        });
    }
    let text = format!("process {} ({name})\n", std::process::id());
    // For people only: whether it can be written changes nothing.
    let _ = rustix::fs::ftruncate(&gate, 0);
    let _ = rustix::io::pwrite(&gate, text.as_bytes(), 0);
    Ok(Setup(gate))
}

/// An exclusive file lock, by polling; false when the deadline passed.
pub(crate) fn wait_flock(file: &Held, path: &Path, deadline: Instant) -> Result<bool> {
    let mut pause = Duration::from_micros(200);
    loop {
        match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(true),
            Err(rustix::io::Errno::WOULDBLOCK | rustix::io::Errno::INTR) => {}
            Err(e) => return Err(Error::io("lock", path)(e.into())),
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(false);
        }
        std::thread::sleep(pause.min(left));
        pause = (pause * 2).min(Duration::from_millis(10));
    }
}

/// True when no other process has the directory open. The caller holds SETUP, and no descriptor of LOCK.
fn alone(dir: &Path) -> Result<bool> {
    let path = dir.join("LOCK");
    // A fresh descriptor each time: converting a lock drops it first, and a failed conversion loses it.
    let file = Held::open(&path)?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
        Err(e) => Err(Error::io("lock", path)(e.into())),
    }
}

/// Opens the directory for this process: makes it when asked, joins its session or begins a new one, takes a slot.
pub(crate) fn enter(options: &OpenOptions, dir: &Path) -> Result<Entered> {
    let setup = setup(dir, options.connect_timeout, &options.name).map_err(|e| match e {
        Error::Timeout { holder, .. } => Error::Connect {
            path: dir.to_owned(),
            why: format!(
                "{} was opening or closing it for {:.1} s",
                holder.unwrap_or_else(|| "another process".to_owned()),
                options.connect_timeout.as_secs_f64()
            ),
        },
        other => other,
    })?;
    let identity = Identity::load_or_create(dir, options)?;
    let sessions = SessionFile::open(dir)?;
    let (found, whole) = sessions.read()?;
    let run = dir.join("run");
    let record = if alone(dir)? {
        let begun = begin(&sessions, found, whole)?;
        make_run(&run, begun.session, &identity)?;
        begun
    } else {
        found.ok_or_else(|| Error::Connect {
            path: dir.to_owned(),
            why: "its file `session` is damaged while other processes use it; stop them, then open it again"
                .to_owned(),
        })?
    };
    let session = record.session;
    let presence = {
        let path = dir.join("LOCK");
        let file = Held::open(&path)?;
        rustix::fs::flock(&file, FlockOperation::LockShared)
            .map_err(|e| Error::io("lock", &path)(e.into()))?;
        file
    };
    let state = run.join("state");
    let file = fs::File::options()
        .read(true)
        .write(true)
        .open(&state)
        .map_err(|e| Error::Connect {
            path: dir.to_owned(),
            why: format!("other processes use it, but its run/state cannot be opened: {e}"),
        })?;
    let len = file.metadata().map_err(Error::io("look at", &state))?.len();
    if len < u64::from(GROW) * PAGE as u64 {
        return Err(Error::Connect {
            path: dir.to_owned(),
            why: format!(
                "its run/state has only {len} bytes; stop all its processes, then open it again"
            ),
        });
    }
    let mut shared = Shared::new(file, Some(run), dir, session)?;
    let head = shared.head();
    if head.magic.load(Ordering::Acquire) != MAGIC
        || head.session.load(Ordering::Acquire) != session
    {
        return Err(Error::Connect {
            path: dir.to_owned(),
            why: "its run/state is not of the session that is open; stop all its processes, then open it again"
                .to_owned(),
        });
    }
    shared.take_slot(&options.name)?;
    drop(setup);
    Ok(Entered {
        identity,
        shared,
        presence,
        last_unclean: record.last_unclean,
        last_lossy: record.last_lossy,
    })
}

/// The next session's record, written and synced: from here on the directory counts as not cleanly closed.
fn begin(sessions: &SessionFile, found: Option<Record>, whole: bool) -> Result<Record> {
    let next = match found {
        None if whole => Record {
            version: 1,
            session: 1,
            ..Record::default()
        },
        None => {
            // Both copies are damaged: any number above all that there can have been, and nothing is trusted.
            let now = std::time::SystemTime::now()
                .duration_since(std::time::UNIX_EPOCH)
                .map_or(1 << 40, |since| since.as_millis() as u64);
            Record {
                version: 1 << 32,
                session: now,
                last_unclean: now - 1,
                last_lossy: now - 1,
                ..Record::default()
            }
        }
        Some(last) => {
            let same = sessions.is_of(&last)?;
            // The damaged copy may have been of one session more, which did not end cleanly for all we know.
            let newest = last.session + u64::from(!whole);
            let last_unclean = if last.clean && same && whole {
                last.last_unclean
            } else {
                newest
            };
            // The clean end of a session says nothing of a log that only an earlier, unclean one had written to.
            let survived = same && last.boot == boot_id() && last.boot != [0; 2];
            Record {
                version: last.version + 1,
                session: newest + 1,
                last_unclean,
                last_lossy: if survived {
                    last.last_lossy
                } else {
                    last_unclean
                },
                ..Record::default()
            }
        }
    };
    sessions.write(next)?;
    Ok(next)
}

/// A new `run/`. Only called when nobody is present.
fn make_run(run: &Path, session: u64, identity: &Identity) -> Result<()> {
    match fs::remove_dir_all(run) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            return Err(Error::io("delete", run)(e));
        }
        _ => {}
    }
    for part in ["", "live", "bell", "ring"] {
        let path = run.join(part);
        fs::DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .map_err(Error::io("create", &path))?;
    }
    let path = run.join("state");
    let len = u64::from(GROW) * PAGE as u64;
    let file = crate::storage::Storage::create(&crate::storage::Disk, &path, len)?;
    init_state(&file, &path, session, identity)
}

/// Page 0; its first word last.
pub(crate) fn init_state(
    file: &fs::File,
    path: &Path,
    session: u64,
    identity: &Identity,
) -> Result<()> {
    let mut head = [0u8; 40];
    head[8..16].copy_from_slice(&session.to_le_bytes());
    head[16..32].copy_from_slice(&identity.uuid);
    head[32..36].copy_from_slice(&GROW.to_le_bytes());
    file.write_all_at(&head, 0)
        .and_then(|()| file.write_all_at(&MAGIC.to_le_bytes(), 0))
        .map_err(Error::io("write", path))
}

/// Leaves the directory. The last one to go calls `finish` (sync every log, write tail notes), and if that succeeds the
/// session counts as clean. Every step may be skipped: what is not done here costs the next opening a scan.
pub(crate) fn leave(
    shared: &Shared,
    presence: Held,
    finish: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let dir = shared.dir.clone();
    let gate = setup(&dir, Duration::from_secs(1), &shared.name());
    drop(presence);
    let mut outcome = Ok(());
    if gate.is_ok() && alone(&dir)? {
        // Nobody can enter while we hold SETUP. The dead of this session may have left locks behind.
        outcome = shared.clean_dead_slots().and_then(|_| finish());
        if outcome.is_ok() && shared.is_only_live() {
            let sessions = SessionFile::open(&dir)?;
            if let (Some(last), _) = sessions.read()? {
                if last.session == shared.me().session {
                    sessions.write(Record {
                        version: last.version + 1,
                        clean: true,
                        ..last
                    })?;
                }
            }
        }
    }
    shared.give_up_slot();
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(version: u64) -> Record {
        Record {
            version,
            session: version * 10,
            clean: version % 2 == 0,
            ..Record::default()
        }
    }

    #[test]
    fn the_session_file_survives_a_torn_write() {
        let dir = tempfile::tempdir().unwrap();
        let file = SessionFile::open(dir.path()).unwrap();
        assert_eq!(file.read().unwrap(), (None, true));
        for version in 1..=4 {
            file.write(record(version)).unwrap();
            let (found, whole) = file.read().unwrap();
            let found = found.unwrap();
            assert_eq!((found.session, whole), (version * 10, true));
            assert!(file.is_of(&found).unwrap());
        }
        // Tear the newest: version 4 lies in the first sector.
        file.file.write_all_at(&[0xFF; 100], 40).unwrap();
        let (found, whole) = file.read().unwrap();
        assert_eq!((found.unwrap().session, whole), (30, false));
        // Session 31 may have been, and may not have ended cleanly.
        let next = begin(&file, found, whole).unwrap();
        assert_eq!((next.session, next.last_unclean), (32, 31));
        assert!(file.read().unwrap().1);
        file.file.write_all_at(&[0xFF; 100], 40).unwrap();
        file.file.write_all_at(&[0xFF; 100], 552).unwrap();
        assert_eq!(file.read().unwrap(), (None, false));
    }

    #[test]
    fn a_copied_directory_is_not_trusted() {
        let dir = tempfile::tempdir().unwrap();
        let file = SessionFile::open(dir.path()).unwrap();
        file.write(record(1)).unwrap();
        file.write(record(2)).unwrap();
        fs::copy(&file.path, dir.path().join("copy")).unwrap();
        fs::rename(dir.path().join("copy"), &file.path).unwrap();
        let copy = SessionFile::open(dir.path()).unwrap();
        let (found, whole) = copy.read().unwrap();
        let next = begin(&copy, found, whole).unwrap();
        assert_eq!(
            (next.session, next.last_unclean, next.last_lossy),
            (21, 20, 20)
        );
    }
}
