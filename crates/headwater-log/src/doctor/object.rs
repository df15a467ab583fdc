//! Objects: streams, queues with their lanes, groups; the metadata of each, and what lies in their directories.

use std::path::{Path, PathBuf};

use super::{Book, Level};
use crate::log::LogKind;
use crate::meta::{self, Meta, FINISHED, SLOT};
use crate::object::dir_name;

impl Book {
    pub(super) fn objects(&mut self) {
        for (parent, kind) in [("s", "stream"), ("q", "queue")] {
            let dir = self.root.join(parent);
            if dir.exists() {
                self.parent(&dir, kind, "");
            }
        }
    }

    /// A directory of objects of one kind. of: whose groups they are.
    fn parent(&mut self, dir: &Path, kind: &str, of: &str) {
        for name in self.names(dir) {
            let path = dir.join(&name);
            if name.starts_with(".new-") || name.starts_with(".gone-") {
                self.note(
                    Level::Note,
                    "half of an object that was being made or deleted; nothing reads it",
                )
                .at(&path, None)
                .advise("delete it when no process has the directory open");
            } else if path.is_dir() {
                self.object(&path, kind, of);
            } else if path.exists() {
                self.foreign_file(&path);
            }
        }
    }

    fn foreign_file(&mut self, path: &Path) {
        self.note(Level::Warning, "not headwater's")
            .at(path, None)
            .advise("move it elsewhere");
    }

    fn object(&mut self, dir: &Path, kind: &str, of: &str) {
        let Some(meta) = self.meta(dir, kind) else {
            return;
        };
        self.looked.objects += 1;
        let what = format!("{kind} {}{of}", meta.name);
        self.poisoned(dir, &what);
        let logs: &[LogKind] = match kind {
            "group" => &[LogKind::Journal, LogKind::Notes],
            _ => &[LogKind::Stream],
        };
        let mut inside: Vec<String> = Vec::new();
        for name in self.names(dir) {
            let path = dir.join(&name);
            let segment = logs
                .iter()
                .any(|log| log.parse(&name.replace(".idx", extension(*log))).is_some());
            match name.as_str() {
                "meta.bin" | "poisoned" => {}
                _ if segment => {}
                "g" if kind != "group" => self.parent(&path, "group", &format!(" of {what}")),
                _ if kind == "queue" && is_lane(&name) => inside.push(name),
                _ if kind == "group" && name.starts_with("snap-") => {}
                _ if name.starts_with('.') => {
                    self.note(
                        Level::Note,
                        "left over from a write that was cut short, or being written now",
                    )
                    .at(&path, None);
                }
                _ if path.exists() => self.foreign_file(&path),
                _ => {}
            }
        }
        for log in logs {
            self.log(dir, &what, &meta, *log);
        }
        if kind == "group" {
            self.snapshots(dir, &what, &meta);
        }
        for lane in inside {
            self.object(&dir.join(lane), "lane", "");
        }
    }

    /// An fsync failed once: final.
    fn poisoned(&mut self, dir: &Path, what: &str) {
        let path = dir.join("poisoned");
        if path.exists() {
            self.note(
                Level::Error,
                format!("an fsync of {what} failed: what was not synced then may be lost, and nothing more is accepted; all that is stored can be read"),
            )
            .at(&path, None)
            .advise("look at the disk (dmesg, smartctl); then take a backup and go on in it, or delete this file to go on here");
        }
    }

    /// The metadata, from whichever copy is right.
    fn meta(&mut self, dir: &Path, kind: &str) -> Option<Meta> {
        let path = dir.join(meta::FILE);
        if !path.exists() {
            if dir.exists() {
                self.note(
                    Level::Error,
                    format!("a {kind}'s directory without its meta.bin: it cannot be opened; its files are untouched"),
                )
                .at(&path, None)
                .advise("restore meta.bin from a backup");
            }
            return None;
        }
        let mut bytes = self.read(&path)?;
        let cut = bytes.len() < 2 * SLOT;
        bytes.resize(2 * SLOT, 0);
        let found: Vec<Option<Meta>> = bytes.chunks_exact(SLOT).map(meta::decode).collect();
        let newest = found
            .iter()
            .flatten()
            .max_by_key(|meta| meta.generation)
            .cloned();
        for (number, copy) in found.iter().enumerate() {
            let offset = (number * SLOT) as u64;
            let unused = newest.as_ref().is_some_and(|meta| meta.generation == 1)
                && bytes[offset as usize..offset as usize + SLOT] == [0; SLOT];
            if copy.is_none() && !unused {
                let (what, advice) = match &newest {
                    Some(_) => (
                        format!("one of the two copies of a {kind}'s metadata is damaged; the other is used, which may be the older"),
                        "compare the options with what they should be (headwater ls, group); the next change writes the copy again",
                    ),
                    None => (
                        format!("both copies of a {kind}'s metadata are damaged: it cannot be opened; its files are untouched"),
                        "restore meta.bin from a backup",
                    ),
                };
                self.note(Level::Error, what)
                    .at(&path, Some(offset))
                    .advise(advice);
            }
        }
        if cut {
            self.note(Level::Error, "the file is cut")
                .at(&path, Some(SLOT as u64));
        }
        let newest = newest?;
        let named = dir
            .file_name()
            .map(|name| name.to_string_lossy().into_owned());
        if kind != "lane" && named != Some(dir_name(&newest.name)) || newest.kind != kind {
            self.note(
                Level::Error,
                format!(
                    "the metadata is that of the {} {:?}, whose directory would be {}",
                    newest.kind,
                    newest.name,
                    dir_name(&newest.name)
                ),
            )
            .at(&path, None)
            .advise("somebody moved or copied the directory: put it back where it was");
        }
        for hole in newest.holes.iter().filter(|hole| hole.reason != FINISHED) {
            self.note(
                Level::Warning,
                format!(
                    "{kind} {}: the positions {} to {} were lost: {}; all others are readable",
                    newest.name,
                    hole.from,
                    hole.to - 1,
                    hole.reason
                ),
            )
            .at(&path, None);
        }
        Some(newest)
    }

    /// The files of one log, by their first positions.
    pub(super) fn segments(&mut self, dir: &Path, kind: LogKind) -> Vec<(u64, PathBuf)> {
        let names = self.names(dir);
        let mut found: Vec<(u64, PathBuf)> = names
            .iter()
            .filter_map(|name| Some((kind.parse(name)?, dir.join(name))))
            .collect();
        found.sort();
        for name in &names {
            let path = dir.join(name.replace(".idx", extension(kind)));
            if name.ends_with(".idx")
                && kind.parse(&name.replace(".idx", extension(kind))).is_some()
                && !path.exists()
                && dir.join(name).exists()
            {
                self.note(Level::Note, "the index of a file that is gone")
                    .at(&dir.join(name), None)
                    .advise("delete it when no process has the directory open");
            }
        }
        found
    }
}

fn extension(kind: LogKind) -> &'static str {
    match kind {
        LogKind::Journal => ".jrn",
        LogKind::Stream | LogKind::Notes => ".seg",
    }
}

fn is_lane(name: &str) -> bool {
    name.len() == 2 && name.starts_with('l') && name.as_bytes()[1].is_ascii_digit() && name != "l0"
}
