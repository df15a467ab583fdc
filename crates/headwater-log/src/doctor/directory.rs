//! The directory itself: what it says it is, who may read it, what lies in it that is not ours, how much room is left.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::{Book, Level};
use crate::identity::{self, Identity};
use crate::log::quarantine::QUARANTINE;

/// What belongs in a directory.
const OURS: [&str; 12] = [
    "headwater.json",
    "session",
    "LOCK",
    "SETUP",
    "reserve",
    "run",
    "s",
    "q",
    "t",
    "e",
    "txn",
    QUARANTINE,
];

/// Two of the largest segments: below that a roll may find no room.
const LITTLE: u64 = 128 << 20;

/// So many notes of the quarantine are shown one by one.
const SHOWN: usize = 20;

impl Book {
    pub(super) fn directory(&mut self) {
        self.manifest();
        self.foreign();
        self.modes();
        self.room();
        self.quarantine();
    }

    fn manifest(&mut self) {
        let path = self.root.join("headwater.json");
        if !path.exists() {
            self.note(
                Level::Error,
                "there is no headwater.json: not a directory of headwater's, or one whose first file is gone",
            )
            .at(&path, None)
            .advise("restore headwater.json from a backup; without it the directory is refused, and nothing in it is changed");
            return;
        }
        let Some(bytes) = self.read(&path) else {
            return;
        };
        match Identity::parse(&self.root, &bytes) {
            Ok(identity) => {
                let uuid: String = identity.uuid.iter().map(|b| format!("{b:02x}")).collect();
                self.note(
                    Level::Ok,
                    format!(
                        "format {}.{}, durability {}, uuid {uuid}",
                        identity::MAJOR,
                        identity::MINOR,
                        identity::word(identity.durability)
                    ),
                );
                self.identity = Some(identity);
            }
            Err(error) => {
                self.note(Level::Error, error.to_string())
                    .at(&path, None)
                    .advise(
                        "a newer version of headwater may have made it; if it is damaged, restore this file from a backup",
                    );
            }
        }
    }

    fn foreign(&mut self) {
        let root = self.root.clone();
        for name in self.names(&root) {
            if OURS.contains(&name.as_str()) {
                continue;
            }
            let path = root.join(&name);
            if name == "headwater.json.tmp" || name.ends_with(".tmp") {
                self.note(Level::Note, "left over from a write that was cut short")
                    .at(&path, None);
            } else {
                self.note(Level::Warning, "not headwater's")
                    .at(&path, None)
                    .advise(
                        "move it elsewhere: nothing but headwater should write into the directory",
                    );
            }
        }
    }

    /// Others could read or change messages.
    fn modes(&mut self) {
        let mut wide: Vec<(PathBuf, u32)> = Vec::new();
        let root = self.root.clone();
        self.walk(&root, &mut wide);
        // The directory itself may be somebody's, made before: all in it is private, and others only see that it is there.
        if let [(path, mode)] = &wide[..] {
            if *path == root && mode & 0o022 == 0 {
                let what = format!(
                    "others may look into it: its mode is {mode:04o}; what is in it is private"
                );
                self.note(Level::Note, what).at(&root, None);
                return;
            }
        }
        if let Some((first, mode)) = wide.first().cloned() {
            let more = match wide.len() {
                1 => String::new(),
                n => format!(", and {} more", n - 1),
            };
            self.note(
                Level::Warning,
                format!("others may use it: its mode is {mode:04o}{more}"),
            )
            .at(&first, None)
            .advise("chmod -R go= the directory, unless another user shall have it");
        }
    }

    fn walk(&self, path: &Path, wide: &mut Vec<(PathBuf, u32)>) {
        let Ok(meta) = fs::symlink_metadata(path) else {
            return;
        };
        let mode = meta.permissions().mode() & 0o7777;
        if mode & 0o077 != 0 && !meta.file_type().is_symlink() {
            wide.push((path.to_owned(), mode));
        }
        if meta.is_dir() {
            for entry in fs::read_dir(path).into_iter().flatten().flatten() {
                self.walk(&entry.path(), wide);
            }
        }
    }

    fn room(&mut self) {
        let Ok(found) = rustix::fs::statvfs(&self.root) else {
            return;
        };
        let free = found.f_bavail.saturating_mul(found.f_frsize);
        let root = self.root.clone();
        if free < LITTLE {
            self.note(
                Level::Warning,
                format!("only {} MiB are free on its disk", free >> 20),
            )
            .at(&root, None)
            .advise("free space, or set a retention: appends are refused when it is full, and what is stored stays");
        } else {
            self.note(Level::Ok, format!("{} MiB are free", free >> 20));
        }
        if let Some(name) = identity::shared_fs(&root) {
            self.note(Level::Error, format!("it lies on {name}"))
                .at(&root, None)
                .advise("use a local disk: locks and maps of several machines do not meet there");
        }
        if let Some(name) = identity::copying_fs(&root) {
            self.note(
                Level::Note,
                format!("it lies on {name}, which takes new room for every write: a full disk may be noticed late"),
            )
            .at(&root, None);
        }
    }

    fn quarantine(&mut self) {
        let dir = self.root.join(QUARANTINE);
        if !dir.exists() {
            return;
        }
        let names = self.names(&dir);
        let notes: Vec<&String> = names
            .iter()
            .filter(|name| name.ends_with(".json"))
            .collect();
        for name in notes.iter().take(SHOWN) {
            let path = dir.join(name);
            let Some(bytes) = self.read(&path) else {
                continue;
            };
            let said: serde_json::Value = serde_json::from_slice(&bytes).unwrap_or_default();
            let text = |key: &str| said[key].as_str().unwrap_or("?").to_owned();
            let what = format!(
                "recovery kept aside what was in {} of {} from byte {} on: {}",
                text("segment"),
                text("object"),
                said["offset"],
                text("why")
            );
            self.note(Level::Warning, what)
                .at(&path.with_extension(""), None)
                .advise(
                    "look at it if records are missing; delete it when it is not wanted any more",
                );
        }
        if notes.len() > SHOWN {
            self.note(Level::Warning, format!("and {} more", notes.len() - SHOWN))
                .at(&dir, None);
        }
    }
}
