//! All access to the files of logs goes through this trait, so that a test can be the disk that fails, and `memory:` can
//! be the same engine over anonymous memory.

pub mod disk;
pub mod map;
pub mod memory;

use std::fs::File;
use std::path::Path;

use crate::error::Result;
use crate::fork::Held;

pub use disk::Disk;
pub use map::Map;
pub use memory::Memory;

/// Files by path. A path is always below the engine's root.
pub trait Storage: Send + Sync {
    /// An existing file, for reading and writing.
    fn open(&self, path: &Path) -> Result<File>;
    /// A new file of `len` zero bytes that are allocated: a store into its map never fails. Errors: `StorageFull`;
    /// `Io` with `AlreadyExists`.
    fn create(&self, path: &Path, len: u64) -> Result<File>;
    /// Makes a file longer, with zeros that are allocated. Errors: `StorageFull`.
    fn extend(&self, file: &File, path: &Path, len: u64) -> Result<()>;
    /// Maps the first `len` bytes, shared; `writable` maps also for writing.
    fn map(&self, file: &File, path: &Path, len: usize, writable: bool) -> Result<Map>;
    /// fdatasync.
    fn sync(&self, file: &File, path: &Path) -> Result<()>;
    fn sync_dir(&self, path: &Path) -> Result<()>;
    /// Replaces whatever is at `to`.
    fn rename(&self, from: &Path, to: &Path) -> Result<()>;
    /// Errors: `Io` with `AlreadyExists` when `to` is there.
    fn rename_new(&self, from: &Path, to: &Path) -> Result<()>;
    /// True when there was such a file.
    fn unlink(&self, path: &Path) -> Result<bool>;
    fn exists(&self, path: &Path) -> bool;
    /// File and directory names in a directory; empty when it is not there.
    fn list(&self, dir: &Path) -> Result<Vec<String>>;
    fn make_dir(&self, path: &Path) -> Result<()>;
    fn remove_dir_all(&self, path: &Path) -> Result<()>;
    /// Whole small files (headwater.json, meta.bin parts are written in place through `open`).
    fn len(&self, file: &File, path: &Path) -> Result<u64>;
    /// An exclusive advisory lock on a directory for as long as the guard lives (a log's first use in a session).
    fn lock_dir(&self, path: &Path) -> Result<DirLock>;
}

/// Released on drop.
pub struct DirLock(
    #[allow(dead_code)] /* held, never read: closing it releases the lock */ Option<Held>,
);

impl DirLock {
    pub(crate) fn new(file: Option<Held>) -> Self {
        Self(file)
    }
}
