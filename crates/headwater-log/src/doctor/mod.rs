//! What is wrong with a directory, if anything: looked at while it is in use or not, read-only, needing no repair (engine.md §13).
//!
//! Every byte is read that anything depends on: each file's own checks, every frame's checksum, and whether files agree with one
//! another. What changes while one looks is no finding: a stream is read up to the tail that it had at the beginning, and a file
//! that is gone meanwhile was deleted by whoever may.

mod directory;
mod frames;
mod group;
mod index;
mod log;
mod object;
mod presence;
#[cfg(test)]
mod tests;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::error::{Error, Result};
use crate::identity::Identity;
use crate::session_file::{self, SessionLook};

pub use self::presence::{ProcessLook, Standing};
use presence::Presence;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Looked at, and as it should be.
    Ok,
    /// Worth knowing; nothing is wrong.
    Note,
    /// Something that may do harm, or has, and that costs no data now.
    Warning,
    /// Data is damaged or in danger.
    Error,
}

impl Level {
    pub fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

#[derive(Clone, Debug)]
pub struct Finding {
    pub level: Level,
    /// What was found, and what of it is still good.
    pub what: String,
    pub file: Option<PathBuf>,
    /// Byte of the file.
    pub offset: Option<u64>,
    /// What to do; empty: nothing.
    pub advice: String,
}

/// How much was looked at.
#[derive(Clone, Copy, Debug, Default)]
pub struct Looked {
    pub objects: u64,
    pub files: u64,
    pub bytes: u64,
    pub records: u64,
    pub seconds: f64,
}

#[derive(Clone, Debug)]
pub struct Report {
    pub path: PathBuf,
    /// In the order in which they were found.
    pub findings: Vec<Finding>,
    pub looked: Looked,
    /// Who has the directory open, or had it when it died.
    pub processes: Vec<ProcessLook>,
}

impl Report {
    pub fn worst(&self) -> Level {
        self.findings
            .iter()
            .map(|finding| finding.level)
            .max()
            .unwrap_or(Level::Ok)
    }
}

/// Looks at a directory. Nothing is written, made or locked for others.
///
/// Errors: `Connect` where there is no directory to look at, or it cannot be read.
pub fn check(path: &Path) -> Result<Report> {
    let began = Instant::now();
    let cannot = |why: String| Error::Connect {
        path: path.to_owned(),
        why,
    };
    let root = path.canonicalize().map_err(|e| cannot(e.to_string()))?;
    let names = fs::read_dir(&root).map_err(|e| cannot(e.to_string()))?;
    if names.count() == 0 {
        return Err(cannot("it is empty".to_owned()));
    }
    let mut book = Book::new(root);
    book.directory();
    book.session();
    book.presence();
    book.objects();
    book.looked.seconds = began.elapsed().as_secs_f64();
    Ok(Report {
        path: book.root,
        findings: book.findings,
        looked: book.looked,
        processes: book.presence.processes,
    })
}

/// The findings as they come, and what is known of the directory so far.
struct Book {
    root: PathBuf,
    findings: Vec<Finding>,
    looked: Looked,
    identity: Option<Identity>,
    session: SessionLook,
    presence: Presence,
    /// One segment at a time.
    buffer: Vec<u8>,
    now_ns: i64,
}

impl Book {
    fn new(root: PathBuf) -> Self {
        Self {
            findings: Vec::new(),
            looked: Looked::default(),
            identity: None,
            session: SessionLook::default(),
            presence: Presence::default(),
            buffer: Vec::new(),
            now_ns: crate::log::now_ns(),
            root,
        }
    }

    fn note(&mut self, level: Level, what: impl Into<String>) -> &mut Finding {
        self.findings.push(Finding {
            level,
            what: what.into(),
            file: None,
            offset: None,
            advice: String::new(),
        });
        let last = self.findings.len() - 1;
        &mut self.findings[last]
    }

    /// The file, unless it is gone meanwhile; what else keeps it from being read is a finding.
    fn read(&mut self, path: &Path) -> Option<Vec<u8>> {
        match fs::read(path) {
            Ok(bytes) => {
                self.looked.files += 1;
                self.looked.bytes += bytes.len() as u64;
                Some(bytes)
            }
            Err(error) => {
                self.unreadable(path, &error);
                None
            }
        }
    }

    fn unreadable(&mut self, path: &Path, error: &std::io::Error) {
        if error.kind() != std::io::ErrorKind::NotFound {
            self.note(Level::Error, format!("cannot be read: {error}"))
                .at(path, None)
                .advise("look at its owner and modes, and at the disk (dmesg, smartctl)");
        }
    }

    /// Names in a directory, sorted.
    fn names(&mut self, dir: &Path) -> Vec<String> {
        let listed = fs::read_dir(dir).and_then(|entries| {
            entries
                .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
                .collect::<std::io::Result<Vec<String>>>()
        });
        match listed {
            Ok(mut names) => {
                names.sort();
                names
            }
            Err(error) => {
                self.unreadable(dir, &error);
                Vec::new()
            }
        }
    }

    fn session(&mut self) {
        let path = self.root.join("session");
        self.session = match session_file::look(&self.root) {
            Ok(look) => look,
            Err(Error::Io { source, .. }) => {
                self.unreadable(&path, &source);
                return;
            }
            Err(_) => return,
        };
        self.looked.files += 1;
        let look = self.session;
        for sector in 0..2u64 {
            if look.damaged[sector as usize] {
                self.note(
                    Level::Error,
                    "one of the two copies of the session's number is damaged; the other is used, and the next opening takes this \
                     session for one that was not closed",
                )
                .at(&path, Some(sector * 512))
                .advise("nothing: the copy is written again by the next opening or closing");
            }
        }
        match look.newest {
            None if look.damaged == [false; 2] => {
                self.note(Level::Note, "no session yet").at(&path, None);
            }
            None => {}
            Some(newest) => {
                let ended = if newest.clean { "closed" } else { "not closed" };
                self.note(Level::Ok, format!("session {}, {ended}", newest.session));
            }
        }
        if look.newest.is_some() && !look.own_file {
            self.note(
                Level::Note,
                "this is a copy, or was restored: the next opening looks at all that was not synced, and positions jump",
            )
            .at(&path, None);
        }
    }
}

impl Finding {
    fn at(&mut self, file: &Path, offset: Option<u64>) -> &mut Self {
        self.file = Some(file.to_owned());
        self.offset = offset;
        self
    }

    fn advise(&mut self, advice: &str) -> &mut Self {
        advice.clone_into(&mut self.advice);
        self
    }
}
