//! A group's journal and snapshots: every entry decodes, and the entries lead to the state that the newest snapshot says.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{Book, Level};
use crate::group::machine::{Job, Machine};
use crate::group::snapshot;
use crate::log::RecordRef;
use crate::meta::Meta;

/// Applies the journal from an older snapshot, or from its beginning, and compares at the newest.
pub(super) struct Replay {
    /// The state so far; None: the journal begins behind what is known, or an entry could not be applied.
    machine: Option<Machine>,
    /// What the newest snapshot says, until it is reached.
    newest: Option<Machine>,
    /// Whether the entries led elsewhere.
    differs: Option<bool>,
    last: u64,
}

impl Replay {
    /// Takes one record of the journal; what is wrong with it, if anything.
    pub fn apply(&mut self, seq: u64, record: &RecordRef<'_>) -> Option<String> {
        self.last = seq;
        if let Err(error) = crate::group::entry::decode(record.value, |_| {}) {
            self.machine = None;
            return Some(error.to_string());
        }
        if let Some(machine) = self
            .machine
            .as_mut()
            .filter(|machine| machine.applied < seq)
        {
            // Just checked: only bytes that do not decode are refused.
            let _ = machine.apply(seq, record.append_ns, record.value);
            if self
                .newest
                .as_ref()
                .is_some_and(|newest| newest.applied == seq)
            {
                let newest = self.newest.take();
                self.differs = newest.map(|newest| !same(machine, &newest));
            }
        }
        None
    }
}

/// What two replicas of one group agree on.
fn same(a: &Machine, b: &Machine) -> bool {
    let jobs = |machine: &Machine, lane: usize| -> BTreeMap<u64, Job> {
        machine.lanes[lane]
            .jobs
            .iter()
            // Who holds it is a number in the replica's own list.
            .map(|(seq, job)| (*seq, Job { owner: 0, ..*job }))
            .collect()
    };
    a.paused == b.paused
        && a.acked == b.acked
        && a.counts == b.counts
        && (0..a.lanes.len()).all(|lane| {
            a.lanes[lane].cursor == b.lanes[lane].cursor
                && a.lanes[lane].cancelled == b.lanes[lane].cancelled
                && jobs(a, lane) == jobs(b, lane)
        })
}

impl Book {
    /// Where the replay of a journal begins.
    pub(super) fn replay(&mut self, dir: &Path, journal: &[(u64, PathBuf)]) -> Replay {
        let mut found: Vec<Machine> = Vec::new();
        for (n, path) in snapshot_files(&self.names(dir), dir) {
            let bytes = std::fs::read(&path).unwrap_or_default();
            found.extend(
                snapshot::decode(&bytes, &path)
                    .ok()
                    .filter(|machine| machine.applied == n),
            );
        }
        let newest = found.pop();
        let machine = match found.pop() {
            _ if journal.first().is_some_and(|(base, _)| *base == 1) => Some(Machine::default()),
            older => older,
        };
        Replay {
            machine,
            newest,
            differs: None,
            last: 0,
        }
    }

    pub(super) fn replayed(&mut self, dir: &Path, what: &str, replay: &Replay) {
        if replay.differs == Some(true) {
            self.note(
                Level::Error,
                format!("{what} leads to another state than the newest snapshot says"),
            )
            .at(dir, None)
            .advise("delete the newest snap- file when no process has the directory open: the state is then made from the journal");
        }
    }

    /// The snapshots of a group: whether they can be read.
    pub(super) fn snapshots(&mut self, dir: &Path, what: &str, meta: &Meta) {
        let files = snapshot_files(&self.names(dir), dir);
        let mut good = 0;
        for (n, path) in &files {
            let Some(bytes) = self.read(path) else {
                continue;
            };
            match snapshot::decode(&bytes, path) {
                Ok(machine) if machine.applied == *n => good += 1,
                found => {
                    let why = found.err().map_or_else(
                        || "it is of another position than its name says".to_owned(),
                        |_| "it is damaged".to_owned(),
                    );
                    self.note(
                        Level::Error,
                        format!("a snapshot of {what} cannot be used: {why}; the one before it, or the journal, is used instead"),
                    )
                    .at(path, Some(0))
                    .advise("delete it when no process has the directory open");
                }
            }
        }
        if good == 0 && meta.first_seq > 1 {
            self.note(
                Level::Error,
                format!("{what} has no snapshot that can be used, and its journal's beginning is gone: it cannot be opened"),
            )
            .at(dir, None)
            .advise("restore the group's directory from a backup; the messages themselves are not touched by this");
        }
    }
}

/// The snapshots in a directory, the oldest first.
fn snapshot_files(names: &[String], dir: &Path) -> Vec<(u64, PathBuf)> {
    let mut found: Vec<(u64, PathBuf)> = names
        .iter()
        .filter_map(|name| {
            let digits = name.strip_prefix("snap-")?;
            Some((digits.parse().ok()?, dir.join(name)))
        })
        .collect();
    found.sort();
    found
}
