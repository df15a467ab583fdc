//! The real file system.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{FallocateFlags, FlockOperation, RenameFlags};

use super::{DirLock, Map, Storage};
use crate::error::{Error, Result};
use crate::fork::Held;

pub struct Disk;

impl Storage for Disk {
    fn open(&self, path: &Path) -> Result<File> {
        File::options()
            .read(true)
            .write(true)
            .open(path)
            .map_err(Error::io("open", path))
    }

    fn create(&self, path: &Path, len: u64) -> Result<File> {
        let file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .map_err(Error::io("create", path))?;
        match rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, len) {
            Ok(()) => Ok(file),
            Err(e) => {
                // An empty file of ours would be taken for a foreign one later.
                let _ = fs::remove_file(path);
                Err(Error::io("allocate", path)(e.into()))
            }
        }
    }

    fn extend(&self, file: &File, path: &Path, len: u64) -> Result<()> {
        rustix::fs::fallocate(file, FallocateFlags::empty(), 0, len)
            .map_err(|e| Error::io("allocate", path)(e.into()))
    }

    fn map(&self, file: &File, path: &Path, len: usize, writable: bool) -> Result<Map> {
        Map::new(file, len, writable).map_err(Error::io("map", path))
    }

    fn sync(&self, file: &File, path: &Path) -> Result<()> {
        file.sync_data().map_err(Error::io("sync", path))
    }

    fn sync_dir(&self, path: &Path) -> Result<()> {
        File::open(path)
            .map_err(Error::io("open", path))?
            .sync_all()
            .map_err(Error::io("sync", path))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        fs::rename(from, to).map_err(Error::io("rename to", to))
    }

    fn rename_new(&self, from: &Path, to: &Path) -> Result<()> {
        use rustix::fs::CWD;
        rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE)
            .map_err(|e| Error::io("rename to", to)(e.into()))
    }

    fn unlink(&self, path: &Path) -> Result<bool> {
        match fs::remove_file(path) {
            Ok(()) => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(Error::io("delete", path)(e)),
        }
    }

    fn exists(&self, path: &Path) -> bool {
        path.exists()
    }

    fn list(&self, dir: &Path) -> Result<Vec<String>> {
        let entries = match fs::read_dir(dir) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(Error::io("list", dir)(e)),
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(Error::io("list", dir))?;
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        Ok(names)
    }

    fn make_dir(&self, path: &Path) -> Result<()> {
        match fs::DirBuilder::new().mode(0o700).create(path) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
            other => other.map_err(Error::io("create", path)),
        }
    }

    fn remove_dir_all(&self, path: &Path) -> Result<()> {
        match fs::remove_dir_all(path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::io("delete", path)(e)),
            _ => Ok(()),
        }
    }

    fn len(&self, file: &File, path: &Path) -> Result<u64> {
        file.metadata()
            .map(|meta| meta.len())
            .map_err(Error::io("look at", path))
    }

    fn lock_dir(&self, path: &Path) -> Result<DirLock> {
        let file = Held::open_read(path)?;
        rustix::fs::flock(&file, FlockOperation::LockExclusive)
            .map_err(|e| Error::io("lock", path)(e.into()))?;
        Ok(DirLock::new(Some(file)))
    }
}
