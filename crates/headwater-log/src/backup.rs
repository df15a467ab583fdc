//! A consistent copy of a directory while it is in use (engine.md §13).
//!
//! Groups are copied before their streams, so that no group knows of a record that the copy lacks: for each log the tail is noted,
//! and what lies below it never changes. The copy opens like a directory whose processes were all killed.

use std::fs::{self, File, OpenOptions as FileOptions};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::log::header::{self, START};
use crate::log::{Log, LogKind};
use crate::meta::Meta;
use crate::object;
use crate::options::OpenOptions;

/// What a copy came to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Copied {
    pub objects: u64,
    pub files: u64,
    /// Of messages and journals, without what was allocated and not used.
    pub bytes: u64,
}

/// The name of a copy until it is whole.
fn unfinished(out: &Path) -> PathBuf {
    let mut name = out.file_name().unwrap_or_default().to_owned();
    name.push(".unfinished");
    out.with_file_name(name)
}

/// Copies the directory `from` to `out`, which must not be there, or be an empty directory. Everything acknowledged before the
/// call is in the copy; of what comes meanwhile a part is, in its order.
///
/// The copy is made beside `out`, as `OUT.unfinished`, synced, and then renamed: whatever ends the call before that leaves no `out`.
/// A failure removes it.
///
/// Errors: `Usage` where `out` is in the way or inside the directory; `Connect`, `StorageFull`, `Io`; `Corruption` where the
/// metadata of an object cannot be read.
pub fn backup(from: &Path, out: &Path) -> Result<Copied> {
    let out = std::path::absolute(out).map_err(Error::io("find", out))?;
    let engine = Engine::open(&OpenOptions {
        create: false,
        name: "backup".to_owned(),
        ..OpenOptions::new(from)
    })?;
    free_place(&engine, &out)?;
    let made = unfinished(&out);
    let _alone = claim(&made)?;
    let copied = Copy {
        engine: &engine,
        root: made.clone(),
        copied: Copied::default(),
    }
    .all()
    .and_then(|copied| put_in_place(&made, &out).map(|()| copied));
    if copied.is_err() {
        // What went wrong is told; what is left is named as what it is.
        let _ = remove(&made);
    }
    copied
}

/// Makes the place of the copy, instead of one that was cut short; as long as the answer lives nobody else takes it.
fn claim(made: &Path) -> Result<File> {
    let locked = |path: &Path| {
        let dir = File::open(path).map_err(Error::io("open", path))?;
        rustix::fs::flock(&dir, rustix::fs::FlockOperation::NonBlockingLockExclusive).map_err(
            |_| {
                Error::Usage(format!(
                    "another backup is being written to {}",
                    path.display()
                ))
            },
        )?;
        Ok::<_, Error>(dir)
    };
    if made.exists() {
        let _left = locked(made)?;
        remove(made)?;
    }
    make_dir(made)?;
    locked(made)
}

/// Nothing is overwritten, and no copy is made into itself.
fn free_place(engine: &Engine, out: &Path) -> Result<()> {
    let shown = out.display();
    let parent = out
        .parent()
        .filter(|_| out.file_name().is_some())
        .ok_or_else(|| Error::Usage(format!("{shown} is no place for a backup")))?;
    let within = parent
        .canonicalize()
        .map_err(|e| Error::Usage(format!("{}: {e}", parent.display())))?;
    if within.starts_with(&engine.ctx().root) {
        return Err(Error::Usage(format!(
            "{shown} lies inside the directory that is to be copied"
        )));
    }
    let found = match fs::read_dir(out) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => 0,
        Err(e) => return Err(Error::Usage(format!("{shown} is in the way: {e}"))),
        Ok(entries) => entries.count(),
    };
    if found > 0 {
        return Err(Error::Usage(format!(
            "{shown} is not empty: a backup overwrites nothing"
        )));
    }
    Ok(())
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io("delete", path)(e)),
        _ => Ok(()),
    }
}

fn put_in_place(made: &Path, out: &Path) -> Result<()> {
    // An empty directory is replaced; a full one, made meanwhile, is refused by the kernel.
    fs::rename(made, out).map_err(Error::io("rename to", out))?;
    match out.parent() {
        Some(parent) => sync_dir(parent),
        None => Ok(()),
    }
}

fn sync_dir(path: &Path) -> Result<()> {
    File::open(path)
        .and_then(|dir| dir.sync_all())
        .map_err(Error::io("sync", path))
}

struct Copy<'a> {
    engine: &'a Engine,
    root: PathBuf,
    copied: Copied,
}

impl Copy<'_> {
    fn all(mut self) -> Result<Copied> {
        for parent in ["s", "q"] {
            let list = object::names(self.engine.ctx(), parent)?;
            if !list.is_empty() {
                make_dir(&self.root.join(parent))?;
            }
            for rel in list {
                self.object(&rel)?;
            }
            if self.root.join(parent).exists() {
                sync_dir(&self.root.join(parent))?;
            }
        }
        // Last: without it nothing takes the copy for a directory. The session file makes it one that was not closed.
        for name in ["session", "headwater.json"] {
            self.whole(name)?;
        }
        sync_dir(&self.root)?;
        Ok(self.copied)
    }

    /// An object with all that is in it; one that is deleted meanwhile is left out.
    fn object(&mut self, rel: &str) -> Result<()> {
        let before = self.copied;
        match self.object_now(rel) {
            Err(error) if is_gone(&error) || !self.source(rel).exists() => {
                self.copied = before;
                remove(&self.root.join(rel))
            }
            outcome => outcome,
        }
    }

    fn source(&self, rel: &str) -> PathBuf {
        self.engine.ctx().root.join(rel)
    }

    fn object_now(&mut self, rel: &str) -> Result<()> {
        let ctx = Arc::clone(self.engine.ctx());
        make_dir(&self.root.join(rel))?;
        let groups = object::names(&ctx, &format!("{rel}/g"))?;
        if !groups.is_empty() {
            make_dir(&self.root.join(rel).join("g"))?;
        }
        for group in groups {
            self.group(&group)?;
        }
        // A queue's other priorities, which are as much its records as its own.
        for lane in (1..10).map(|number| format!("{rel}/l{number}")) {
            if self.source(&lane).exists() {
                make_dir(&self.root.join(&lane))?;
                self.log(&lane, LogKind::Stream)?;
                self.finish(&lane)?;
            }
        }
        self.log(rel, LogKind::Stream)?;
        self.finish(rel)
    }

    /// The snapshots first: what they say, the journal must have. The journal before the notes: a note that no entry names is ignored,
    /// an entry without its note is a loss.
    fn group(&mut self, rel: &str) -> Result<()> {
        loop {
            make_dir(&self.root.join(rel))?;
            let snapshots = self.snapshots(rel)?;
            self.log(rel, LogKind::Journal)?;
            // Two newer ones would have let the journal go that the newest copied one needs.
            if snapshots.is_empty() || snapshots.iter().any(|name| self.source(name).exists()) {
                break;
            }
            remove(&self.root.join(rel))?;
        }
        self.log(rel, LogKind::Notes)?;
        self.finish(rel)
    }

    fn snapshots(&mut self, rel: &str) -> Result<Vec<String>> {
        let mut copied = Vec::new();
        for name in self.engine.ctx().storage.list(&self.source(rel))? {
            let name = format!("{rel}/{name}");
            if name.contains("/snap-") {
                match self.whole(&name) {
                    Ok(()) => copied.push(name),
                    Err(error) if is_gone(&error) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(copied)
    }

    fn finish(&mut self, rel: &str) -> Result<()> {
        sync_dir(&self.root.join(rel))?;
        self.copied.objects += 1;
        Ok(())
    }

    /// One log up to its tail of now. The metadata is read last: its floor may then lie above files that were copied, never below
    /// ones that are gone.
    fn log(&mut self, rel: &str, kind: LogKind) -> Result<()> {
        let ctx = Arc::clone(self.engine.ctx());
        loop {
            let meta = Meta::load(&*ctx.storage, &self.source(rel))?;
            let log = self.engine.catalog().log(rel, &meta, kind)?;
            let tail = {
                let lock = log.lock(Some(Instant::now() + ctx.op_timeout))?;
                lock.tail()
            };
            if self.segments(rel, kind, &log, tail)? {
                let meta = Meta::load(&*ctx.storage, &self.source(rel))?;
                return self.meta(rel, &meta);
            }
        }
    }

    /// False: a file went while it was to be copied.
    fn segments(&mut self, rel: &str, kind: LogKind, log: &Arc<Log>, tail: u64) -> Result<bool> {
        let before = self.copied;
        let mut written: Vec<PathBuf> = Vec::new();
        for base in log.segment_bases()? {
            let name = kind.file_name(base);
            let to = self.root.join(rel).join(&name);
            let Some(segment) = log.segment(base)? else {
                self.copied = before;
                for path in written.iter().filter(|path| path.exists()) {
                    fs::remove_file(path).map_err(Error::io("delete", path))?;
                }
                return Ok(false);
            };
            if segment.header.base_lba >= tail {
                break;
            }
            let end = (tail - segment.header.base_lba).min(segment.header.file_size);
            let active = end < segment.header.file_size;
            // The descriptor is of the file as it was opened, whatever becomes of its name.
            self.segment(&segment.file, &to, segment.header.file_size, end, tail)?;
            if !active {
                // It would be made again; but nothing reads a complete file just for that.
                let index = format!(
                    "{rel}/{}",
                    name.replace(".seg", ".idx").replace(".jrn", ".idx")
                );
                match self.whole(&index) {
                    Err(error) if is_gone(&error) => {}
                    outcome => outcome?,
                }
                written.push(to.with_extension("idx"));
            }
            written.push(to);
        }
        Ok(true)
    }

    /// Where the log ends in the file it will be written to, so that all of it is allocated and nothing behind the end is in it.
    fn segment(&mut self, from: &File, to: &Path, size: u64, end: u64, tail: u64) -> Result<()> {
        let active = end < size;
        let cannot = |e| Error::io("write", to)(e);
        let file = create(to)?;
        if active || rustix::fs::ioctl_ficlone(&file, from).is_err() {
            rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, size)
                .map_err(|e| Error::io("allocate", to)(e.into()))?;
            copy_range(from, &file, end).map_err(cannot)?;
        }
        // What the copy promises to have is what it has, and its end is where its frames end.
        let mut promise = [0u8; header::PROMISE_BYTES];
        file.read_exact_at(&mut promise, header::PROMISE as u64)
            .map_err(cannot)?;
        let promise = header::decode_promise(&promise).unwrap_or(0).min(tail);
        let zeros = [0u8; header::NOTE_BYTES];
        file.write_all_at(&header::encode_promise(promise), header::PROMISE as u64)
            .and_then(|()| file.write_all_at(&zeros, header::NOTE as u64))
            .and_then(|()| match active {
                true => file.write_all_at(&zeros[..header::SEAL_BYTES], header::SEAL as u64),
                false => Ok(()),
            })
            .and_then(|()| file.sync_all())
            .map_err(cannot)?;
        self.copied.files += 1;
        self.copied.bytes += end.saturating_sub(START);
        Ok(())
    }

    fn meta(&mut self, rel: &str, meta: &Meta) -> Result<()> {
        let dir = self.root.join(rel);
        let path = dir.join(crate::meta::FILE);
        if path.exists() {
            fs::remove_file(&path).map_err(Error::io("replace", &path))?;
        }
        meta.fresh().store(&*self.engine.ctx().storage, &dir)
    }

    /// A small file as it is.
    fn whole(&mut self, rel: &str) -> Result<()> {
        let (from, to) = (self.source(rel), self.root.join(rel));
        let bytes = fs::read(&from).map_err(Error::io("read", &from))?;
        let file = create(&to)?;
        file.write_all_at(&bytes, 0)
            .and_then(|()| file.sync_all())
            .map_err(Error::io("write", &to))?;
        self.copied.files += 1;
        self.copied.bytes += bytes.len() as u64;
        Ok(())
    }
}

fn is_gone(error: &Error) -> bool {
    match error {
        Error::NotFound { .. } => true,
        Error::Io { source, .. } => source.kind() == std::io::ErrorKind::NotFound,
        _ => false,
    }
}

fn make_dir(path: &Path) -> Result<()> {
    fs::DirBuilder::new()
        .mode(0o700)
        .create(path)
        .map_err(Error::io("create", path))
}

fn create(path: &Path) -> Result<File> {
    FileOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(Error::io("create", path))
}

/// The first `len` bytes, by the kernel where it can.
fn copy_range(from: &File, to: &File, len: u64) -> std::io::Result<()> {
    let (mut at_from, mut at_to) = (0, 0);
    while at_from < len {
        let left = usize::try_from(len - at_from).unwrap_or(usize::MAX);
        match rustix::fs::copy_file_range(from, Some(&mut at_from), to, Some(&mut at_to), left) {
            Ok(0) => break,
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => break,
        }
    }
    let mut buffer = vec![0u8; 1 << 20];
    while at_from < len {
        let part = buffer.len().min((len - at_from) as usize);
        from.read_exact_at(&mut buffer[..part], at_from)?;
        to.write_all_at(&buffer[..part], at_from)?;
        at_from += part as u64;
    }
    Ok(())
}
