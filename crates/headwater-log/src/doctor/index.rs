//! An index beside its segment: each entry must stand for the frame that it names.

use std::path::Path;

use super::{Book, Level};
use crate::log::segment::{index_entries, IndexEntry};

/// The entries of one file, in their order, as the frames come by.
#[derive(Default)]
pub(super) struct Index {
    entries: Vec<IndexEntry>,
    at: usize,
    wrong: Option<u64>,
}

impl Index {
    /// What is before the frame at `off`, if an entry is about it.
    pub fn meet(&mut self, off: u64, seq: u64, max_time: i64, ordinal: Option<u64>) {
        while let Some(entry) = self.entries.get(self.at) {
            if u64::from(entry.off) > off {
                return;
            }
            let right = u64::from(entry.off) == off
                && entry.seq == seq
                && ordinal.is_none_or(|ordinal| {
                    u64::from(entry.ordinal) == ordinal && entry.max_time == max_time
                });
            if !right {
                self.wrong = self.wrong.or(Some(self.at as u64));
            }
            self.at += 1;
        }
    }
}

impl Book {
    /// The index of a segment. None: it can't be used, which was told.
    pub(super) fn index(&mut self, segment: &Path, seed: u32, file_size: u64, last: bool) -> Index {
        let path = segment.with_extension("idx");
        if !path.exists() {
            // That of the file which is written is made by the next opening.
            if segment.exists() && !last {
                self.note(
                    Level::Note,
                    "a segment without its index: searches in it take longer",
                )
                .at(segment, None);
            }
            return Index::default();
        }
        let Some(bytes) = self.read(&path) else {
            return Index::default();
        };
        match index_entries(&bytes, seed, file_size) {
            Ok((entries, cut)) => {
                if let Some(offset) = cut {
                    self.cut_entry(&path, offset, last);
                }
                Index {
                    entries,
                    ..Index::default()
                }
            }
            Err((offset, why)) => {
                self.bad_index(&path, offset, why);
                Index::default()
            }
        }
    }

    pub(super) fn index_met(&mut self, segment: &Path, index: &Index) {
        if let Some(number) = index.wrong {
            let path = segment.with_extension("idx");
            let offset = 64 + 32 * number;
            self.bad_index(&path, offset, "an entry does not fit its frame");
        }
    }

    /// A writer that is at it, or was killed, leaves half an entry behind the others of the file that is written.
    fn cut_entry(&mut self, path: &Path, offset: u64, last: bool) {
        let closed = self
            .session
            .newest
            .is_some_and(|newest| newest.clean && self.session.own_file);
        if last && !closed {
            self.note(
                Level::Note,
                "an index entry was cut short; it is written again",
            )
            .at(path, Some(offset));
        } else {
            self.bad_index(path, offset, "its last entry's checksum");
        }
    }

    fn bad_index(&mut self, path: &Path, offset: u64, why: &str) {
        self.note(
            Level::Warning,
            format!("the index is damaged: {why}; no message is, but searches take longer or fail"),
        )
        .at(path, Some(offset))
        .advise("delete the file when no process has the directory open: another is made");
    }
}
