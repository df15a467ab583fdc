//! Sessions: who is present, and what the first and the last process of a directory do (engine.md §3).
//!
//! One rule opens every directory: nobody present ⇒ a new session, a new `run/`, and logs rebuilt lazily from their
//! segments, whatever happened before. A clean close only makes that cheap.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rustix::fs::FlockOperation;

use crate::error::{Error, Result};
use crate::fork::Held;
use crate::identity::Identity;
use crate::options::OpenOptions;
use crate::session_file::{begin, Record, SessionFile};
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
