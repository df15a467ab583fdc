//! The group's notes log: why attempts failed, and what became dead letters, with a copy of the record.
//!
//! An error is one record: JSON of `ErrorNote`. A dead letter is two that are committed together: the message as it was, and
//! behind it JSON of `Details`. The journal names a note by its position; a note that no entry names is ignored.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::core::Op;
use super::entry::Ended;
use super::lanes::note_at;
use super::machine::{Job, HAS_EXTRA};
use super::types::{AttemptNote, ErrorNote};
use crate::error::{Error, Result};
use crate::log::{Cursor, Log, OwnedRecord, Record};

/// Of an error's message and of its traceback so many bytes are kept.
const TEXT: usize = 256 << 10;

/// Of the errors of all attempts of a dead letter about so much, the newest first: it must fit beside the message what may be
/// committed together.
const HISTORY_TEXT: usize = 4 << 20;

/// What is noted of a dead letter beside its record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Details {
    pub reason: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorNote>,
    pub history: Vec<AttemptNote>,
    /// Ns since 1970 UTC.
    pub died_ns: i64,
    /// When the message was appended.
    pub append_ns: i64,
}

fn cut(text: &str) -> String {
    let mut end = text.len().min(TEXT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

/// What is damaged is not there: it must not keep a message from dying.
fn readable<T>(found: Result<Option<T>>) -> Result<Option<T>> {
    match found {
        Err(Error::Corruption { .. }) => Ok(None),
        found => found,
    }
}

impl ErrorNote {
    fn len(&self) -> usize {
        self.kind.len() + self.message.len() + self.traceback.len()
    }

    /// What is kept of it.
    pub(crate) fn kept(&self) -> Self {
        Self {
            kind: cut(&self.kind),
            message: cut(&self.message),
            traceback: cut(&self.traceback),
        }
    }

    fn said(&self) -> String {
        match self.message.as_str() {
            "" => self.kind.clone(),
            message => format!("{}: {message}", self.kind),
        }
    }
}

fn json<T: Serialize>(value: &T) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|e| Error::Usage(e.to_string()))
}

/// Why a message died.
pub(crate) struct Death<'a> {
    pub how: Ended,
    /// What was said of it by whoever rejected it.
    pub said: &'a str,
    pub error: Option<&'a ErrorNote>,
}

impl Death<'_> {
    pub fn expired(how: Ended) -> Self {
        Self {
            how,
            said: "",
            error: None,
        }
    }

    fn reason(&self) -> String {
        let said = match (self.said, self.error, self.how) {
            ("", Some(error), _) => error.said(),
            ("", None, Ended::Expired) => "its consumer's process ended or stood still".to_owned(),
            ("", None, Ended::Held) => "held for longer than max_hold".to_owned(),
            (said, ..) => said.to_owned(),
        };
        match said.as_str() {
            "" => self.how.word().to_owned(),
            said => format!("{}: {said}", self.how.word()),
        }
    }
}

impl Op<'_> {
    /// Notes why an attempt failed. Returns where.
    pub fn note_error(&mut self, error: &ErrorNote) -> Result<u64> {
        let bytes = json(error)?;
        let mut guard = self.core.notes.lock(self.core.soon())?;
        let done = guard.append(&[Record::of(&bytes)], true)?;
        Ok(done.first_seq)
    }

    /// Makes a job a dead letter: notes its record and its history, then writes the entry that names the note.
    pub fn bury(&mut self, lane: u8, seq: u64, job: &Job, death: &Death<'_>) -> Result<()> {
        let mut history = Vec::new();
        if job.flags & HAS_EXTRA != 0 {
            let past = self.machine.extra.get(&(lane, seq));
            let mut left = HISTORY_TEXT;
            let past = past.map(|extra| extra.history.clone());
            for attempt in past.unwrap_or_default().into_iter().rev() {
                let error = match left {
                    0 => None,
                    _ => readable(self.feed.error(attempt.note))?,
                };
                left = left.saturating_sub(error.as_ref().map_or(0, ErrorNote::len));
                history.push(AttemptNote {
                    attempt: attempt.attempt,
                    time_ns: attempt.at,
                    outcome: attempt.how.word().to_owned(),
                    error,
                });
            }
            history.reverse();
        }
        history.push(AttemptNote {
            attempt: job.attempts,
            time_ns: self.now,
            outcome: death.how.word().to_owned(),
            error: death.error.cloned(),
        });
        let from = self.machine.record_note(lane, seq, job);
        let record = self
            .feed
            .record(lane, seq, from, |record| record.to_owned());
        let record = readable(record)?;
        let details = json(&Details {
            reason: death.reason(),
            error: death.error.cloned(),
            history,
            died_ns: self.now,
            append_ns: record.as_ref().map_or(self.now, |r| r.append_ns),
        })?;
        // A record that is damaged, or that the stream's retention has dropped meanwhile, leaves an empty message with its history.
        let copy = match &record {
            Some(record) => copy_of(record),
            None => Record::of(b""),
        };
        let note = {
            let mut guard = self.core.notes.lock(self.core.soon())?;
            guard.append(&[copy, Record::of(&details)], true)?.first_seq
        };
        self.writer.dead(lane, seq, death.how, note);
        Ok(())
    }
}

/// The message without what governed its first life: it is due, and its time to live is over already.
fn copy_of(record: &OwnedRecord) -> Record<'_> {
    Record {
        due_ns: None,
        ttl_ns: None,
        ..record.get().as_record()
    }
}

/// The noted error. None: there is none, or a power cut took it.
pub(crate) fn error_at(
    notes: &Arc<Log>,
    cursor: &mut Option<Cursor>,
    note: u64,
) -> Result<Option<ErrorNote>> {
    if note == 0 {
        return Ok(None);
    }
    let record = note_at(notes, cursor, note)?;
    Ok(record.and_then(|record| serde_json::from_slice(record.value).ok()))
}

/// A dead letter's record and details. None: a power cut took them.
pub(crate) fn letter_at(
    notes: &Arc<Log>,
    cursor: &mut Option<Cursor>,
    note: u64,
) -> Result<Option<(OwnedRecord, Details)>> {
    let Some(record) = note_at(notes, cursor, note)?.map(|record| record.to_owned()) else {
        return Ok(None);
    };
    let details = note_at(notes, cursor, note + 1)?;
    Ok(details
        .and_then(|details| serde_json::from_slice(details.value).ok())
        .map(|details| (record, details)))
}
