//! Anonymous memory under the paths of a directory that does not exist: one memfd a file.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use super::{DirLock, Map, Storage};
use crate::error::{Error, Result};

#[derive(Default)]
struct Tree {
    files: BTreeMap<PathBuf, File>,
    dirs: BTreeSet<PathBuf>,
}

/// Gone with its last user.
#[derive(Default)]
pub struct Memory {
    tree: Mutex<Tree>,
}

impl Memory {
    fn with<T>(&self, work: impl FnOnce(&mut Tree) -> T) -> T {
        work(
            &mut self
                .tree
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner),
        )
    }
}

fn missing(op: &'static str, path: &Path) -> Error {
    Error::io(op, path)(io::ErrorKind::NotFound.into())
}

impl Storage for Memory {
    fn open(&self, path: &Path) -> Result<File> {
        self.with(|tree| {
            let file = tree.files.get(path).ok_or_else(|| missing("open", path))?;
            file.try_clone().map_err(Error::io("open", path))
        })
    }

    fn create(&self, path: &Path, len: u64) -> Result<File> {
        self.with(|tree| {
            if tree.files.contains_key(path) {
                return Err(Error::io("create", path)(
                    io::ErrorKind::AlreadyExists.into(),
                ));
            }
            let file = crate::shared::bell::anonymous_file("headwater")?;
            file.set_len(len).map_err(Error::io("allocate", path))?;
            let kept = file.try_clone().map_err(Error::io("create", path))?;
            tree.files.insert(path.to_owned(), kept);
            Ok(file)
        })
    }

    fn extend(&self, file: &File, path: &Path, len: u64) -> Result<()> {
        file.set_len(len).map_err(Error::io("allocate", path))
    }

    fn map(&self, file: &File, path: &Path, len: usize, writable: bool) -> Result<Map> {
        Map::new(file, len, writable).map_err(Error::io("map", path))
    }

    fn sync(&self, _file: &File, _path: &Path) -> Result<()> {
        Ok(())
    }

    fn sync_dir(&self, _path: &Path) -> Result<()> {
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        self.with(|tree| {
            if let Some(file) = tree.files.remove(from) {
                tree.files.insert(to.to_owned(), file);
                return Ok(());
            }
            if !tree.dirs.contains(from) {
                return Err(missing("rename", from));
            }
            let moved = |path: &Path| path.strip_prefix(from).ok().map(|rest| to.join(rest));
            let dirs: Vec<_> = tree
                .dirs
                .iter()
                .filter(|dir| dir.starts_with(from))
                .cloned()
                .collect();
            for dir in dirs {
                tree.dirs.remove(&dir);
                tree.dirs.extend(moved(&dir));
            }
            let files: Vec<_> = tree
                .files
                .keys()
                .filter(|file| file.starts_with(from))
                .cloned()
                .collect();
            for path in files {
                if let (Some(file), Some(new)) = (tree.files.remove(&path), moved(&path)) {
                    tree.files.insert(new, file);
                }
            }
            Ok(())
        })
    }

    fn rename_new(&self, from: &Path, to: &Path) -> Result<()> {
        if self.exists(to) {
            return Err(Error::io("rename to", to)(
                io::ErrorKind::AlreadyExists.into(),
            ));
        }
        self.rename(from, to)
    }

    fn unlink(&self, path: &Path) -> Result<bool> {
        Ok(self.with(|tree| tree.files.remove(path).is_some()))
    }

    fn exists(&self, path: &Path) -> bool {
        self.with(|tree| tree.files.contains_key(path) || tree.dirs.contains(path))
    }

    fn list(&self, dir: &Path) -> Result<Vec<String>> {
        Ok(self.with(|tree| {
            let paths = tree.files.keys().chain(tree.dirs.iter());
            let inside = paths.filter(|path| path.parent() == Some(dir));
            let mut names: Vec<String> = inside
                .filter_map(|path| path.file_name())
                .map(|name| name.to_string_lossy().into_owned())
                .collect();
            names.sort();
            names
        }))
    }

    fn make_dir(&self, path: &Path) -> Result<()> {
        self.with(|tree| tree.dirs.insert(path.to_owned()));
        Ok(())
    }

    fn remove_dir_all(&self, path: &Path) -> Result<()> {
        self.with(|tree| {
            tree.files.retain(|file, _| !file.starts_with(path));
            tree.dirs.retain(|dir| !dir.starts_with(path));
        });
        Ok(())
    }

    fn len(&self, file: &File, path: &Path) -> Result<u64> {
        file.metadata()
            .map(|meta| meta.len())
            .map_err(Error::io("look at", path))
    }

    fn lock_dir(&self, _path: &Path) -> Result<DirLock> {
        // One process: `Engine` already excludes its own threads.
        Ok(DirLock::new(None))
    }
}
