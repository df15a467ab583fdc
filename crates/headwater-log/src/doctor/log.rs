//! The segments of one log: headers, seals, every frame's checksum, and that positions go on from frame to frame and file to file.

use std::path::Path;

use super::group::Replay;
use super::{Book, Level};
use crate::error::Error;
use crate::log::frame::{flag, parse_word, Frame};
use crate::log::header::{self, Header, Seal, TailNote, START};
use crate::log::heal::corrected;
use crate::log::LogKind;
use crate::meta::{Meta, FINISHED};
use crate::object::log_oid;

/// Of one log, so many damaged places are told one by one.
pub(super) const SHOWN: usize = 20;

/// One log, as far as it was looked at.
pub(super) struct Walk<'a> {
    pub what: &'a str,
    pub meta: &'a Meta,
    pub dir: &'a Path,
    pub kind: LogKind,
    pub oid: u64,
    /// Where it ends, if that is known: the tail of a log in use, or a note that counts.
    pub end_lba: Option<u64>,
    pub replay: Option<Replay>,
    pub files: usize,
    pub records: u64,
    pub lost: u64,
    pub damaged: usize,
    pub newest_ns: i64,
    pub clock_told: bool,
    /// What the file before says of the next one; None: it is gone, or could not be read to its end.
    pub follows: Option<Follows>,
    /// The greatest address that anything says was synced.
    pub promise: u64,
}

#[derive(Clone, Copy)]
pub(super) struct Follows {
    pub base_lba: u64,
    /// None behind damage.
    pub ordinal: Option<u64>,
    pub rolled_to: Option<u64>,
    pub next_seq: u64,
}

/// One file's bytes and where the look stands in them.
pub(super) struct Place<'a> {
    pub path: &'a Path,
    pub bytes: &'a [u8],
    pub header: Header,
    pub seed: u32,
    pub off: u64,
    pub next_seq: u64,
    /// Records of the log before this place; None behind damage.
    pub ordinal: Option<u64>,
    pub max_time: i64,
    pub last_seq: u64,
    pub rolled_to: Option<u64>,
}

impl Place<'_> {
    pub fn frame_at(&self, off: u64) -> Option<Frame<'_>> {
        let rest = self
            .bytes
            .get(off as usize..self.header.file_size as usize)?;
        let word = u32::from_le_bytes(rest.get(..4)?.try_into().ok()?);
        let (len, _) = parse_word(word, rest.len())?;
        let bytes = &rest[..len];
        if !Frame::plausible(bytes, 0) {
            return None;
        }
        Frame::check(bytes, word, self.seed).ok()
    }

    pub fn word_at(&self, off: u64) -> u32 {
        self.bytes
            .get(off as usize..off as usize + 4)
            .and_then(|bytes| bytes.try_into().ok())
            .map_or(0, u32::from_le_bytes)
    }

    /// The next whole frame behind `off`, before `end`, that counts by itself.
    pub fn next_frame(&self, off: u64, end: u64) -> Option<(u64, u64)> {
        (off..end).step_by(8).find_map(|at| {
            let frame = self.frame_at(at)?;
            let part = frame.flags() & (flag::CHAIN_PART | flag::TXN) != 0;
            (!part && frame.seq() >= self.next_seq).then(|| (at, frame.seq()))
        })
    }
}

impl Book {
    /// One log of an object, all its files.
    pub(super) fn log(&mut self, dir: &Path, what: &str, meta: &Meta, kind: LogKind) {
        let oid = log_oid(meta.oid, kind);
        let files = self.segments(dir, kind);
        let named = match kind {
            LogKind::Stream => what.to_owned(),
            LogKind::Journal => format!("the journal of {what}"),
            LogKind::Notes => format!("the notes of {what}"),
        };
        let replay = (kind == LogKind::Journal).then(|| self.replay(dir, &files));
        let mut walk = Walk {
            what: &named,
            meta,
            dir,
            kind,
            oid,
            end_lba: self.presence.tails.get(&oid).copied(),
            replay,
            files: 0,
            records: 0,
            lost: 0,
            damaged: 0,
            newest_ns: i64::MIN,
            clock_told: false,
            follows: None,
            promise: 0,
        };
        if files.is_empty() && dir.exists() {
            self.note(Level::Error, format!("{named}: none of its files is there"))
                .at(dir, None)
                .advise("restore the directory from a backup; opened as it is, it goes on empty");
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        for (number, (base, path)) in files.iter().enumerate() {
            if !self.fill(path, &mut buffer) {
                walk.follows = None;
                continue;
            }
            let last = number + 1 == files.len();
            self.segment(&mut walk, *base, path, &buffer, last);
        }
        self.buffer = buffer;
        if let Some(replay) = walk.replay.take() {
            self.replayed(dir, &named, &replay);
        }
        let (records, files) = (walk.records, walk.files);
        self.looked.records += records;
        if walk.damaged > SHOWN {
            let more = walk.damaged - SHOWN;
            self.note(Level::Error, format!("{named}: {more} more damaged places"));
        }
        if walk.damaged == 0 {
            self.note(
                Level::Ok,
                format!("{named}: {records} records in {files} files, every checksum is right"),
            );
        } else {
            self.note(
                Level::Note,
                format!(
                    "{named}: {records} records in {files} files can be read; {} are damaged",
                    match walk.lost {
                        0 => "some".to_owned(),
                        n => n.to_string(),
                    }
                ),
            );
        }
    }

    /// Reads a file into the buffer. False: it is gone, or cannot be read.
    fn fill(&mut self, path: &Path, buffer: &mut Vec<u8>) -> bool {
        use std::io::Read;
        buffer.clear();
        match std::fs::File::open(path).and_then(|mut file| file.read_to_end(buffer)) {
            Ok(len) => {
                self.looked.files += 1;
                self.looked.bytes += len as u64;
                true
            }
            Err(error) => {
                self.unreadable(path, &error);
                false
            }
        }
    }

    fn segment(&mut self, walk: &mut Walk<'_>, base: u64, path: &Path, bytes: &[u8], last: bool) {
        walk.files += 1;
        let Some(header) = self.header(walk, base, path, bytes) else {
            walk.follows = None;
            return;
        };
        if walk.end_lba.is_some_and(|end| header.base_lba >= end) {
            // Made since the look began.
            return;
        }
        // Another may have been made since.
        let last = last
            || walk
                .end_lba
                .is_some_and(|end| end < header.base_lba + header.file_size);
        let seed = header.seed();
        let mut place = Place {
            path,
            bytes,
            header,
            seed,
            off: START,
            next_seq: header.base_seq,
            ordinal: Some(header.base_ordinal),
            max_time: header.base_max_time,
            last_seq: 0,
            rolled_to: None,
        };
        self.continuity(walk, &place);
        let note = self.sectors(walk, &place, last);
        let mut index = self.index(path, seed, header.file_size, last);
        let end = walk
            .end_lba
            .or(note.map(|note| header.base_lba + note.end_off));
        self.frames(walk, &mut place, &mut index, end, last);
        self.index_met(path, &index);
        self.seal(walk, &place);
        walk.follows = Some(Follows {
            base_lba: header.base_lba + header.file_size,
            ordinal: place.ordinal,
            rolled_to: place.rolled_to,
            next_seq: place.next_seq,
        });
    }

    /// The header, or what it must have been.
    fn header(&mut self, walk: &Walk<'_>, base: u64, path: &Path, bytes: &[u8]) -> Option<Header> {
        let what = walk.what;
        let Some(sector) = bytes.get(..512).and_then(|sector| sector.try_into().ok()) else {
            self.note(
                Level::Error,
                format!("{what}: the file is cut within its header; its records are gone, all other files are readable"),
            )
            .at(path, Some(bytes.len() as u64))
            .advise("restore it from a backup");
            return None;
        };
        let header = match Header::decode(sector, path) {
            Ok(header) => header,
            Err(Error::Incompatible { found, .. }) => {
                self.note(Level::Error, format!("{what}: {found}"))
                    .at(path, Some(8))
                    .advise("use the version of headwater that wrote it");
                return None;
            }
            Err(_) => {
                let right = corrected(sector).and_then(|right| Header::decode(&right, path).ok());
                let (said, advice) = match right {
                    Some(_) => (
                        "one bit of the header has flipped; all records are readable",
                        "the next opening puts it right",
                    ),
                    None => (
                        "the header is damaged; its records can be salvaged only",
                        "restore the file from a backup",
                    ),
                };
                let flipped = right.map_or(0, |right| {
                    let right = right.encode();
                    (0..512).find(|n| right[*n] != sector[*n]).unwrap_or(0)
                });
                self.note(Level::Error, format!("{what}: {said}"))
                    .at(path, Some(flipped as u64))
                    .advise(advice);
                // Whose file it is follows from its place: that is enough to look at the frames.
                right.unwrap_or(Header {
                    uuid: self.identity.as_ref().map_or([0; 16], |own| own.uuid),
                    oid: walk.oid,
                    base_seq: base,
                    base_lba: walk.follows.map_or(0, |before| before.base_lba),
                    base_ordinal: walk.follows.and_then(|before| before.ordinal).unwrap_or(0),
                    base_max_time: i64::MIN,
                    created_ns: 0,
                    file_size: bytes.len() as u64,
                    kind: walk.kind as u32,
                    generation: 0,
                })
            }
        };
        let own = self
            .identity
            .as_ref()
            .is_none_or(|own| own.uuid == header.uuid);
        if !own
            || header.oid != walk.oid
            || header.base_seq != base
            || header.kind != walk.kind as u32
        {
            self.note(
                Level::Error,
                format!(
                    "{what}: the file belongs to another {}",
                    if own {
                        "log"
                    } else {
                        "directory (or headwater.json is damaged)"
                    }
                ),
            )
            .at(path, Some(0x20))
            .advise("put it back where it came from");
            return None;
        }
        if header.file_size > bytes.len() as u64 {
            self.note(
                Level::Error,
                format!("{what}: the file is cut: it has {} of {} bytes; all before the cut is readable", bytes.len(), header.file_size),
            )
            .at(path, Some(bytes.len() as u64))
            .advise("restore it from a backup; opened as it is, what was cut off reads as damaged");
        }
        Some(header)
    }

    /// Whether this file is the one that the file before leads to.
    fn continuity(&mut self, walk: &mut Walk<'_>, place: &Place<'_>) {
        let header = &place.header;
        let Some(before) = walk.follows else {
            if walk.files == 1 && walk.kind == LogKind::Stream {
                let first = |meta: &Meta| meta.first(walk.kind);
                self.missing(walk, place, first(walk.meta));
            }
            return;
        };
        let Some(to) = before.rolled_to else {
            if before.next_seq != header.base_seq {
                self.missing(walk, place, before.next_seq);
            }
            return;
        };
        if to != header.base_seq {
            self.missing(walk, place, to);
        } else if header.base_lba != before.base_lba
            || before
                .ordinal
                .is_some_and(|ordinal| ordinal != header.base_ordinal)
        {
            self.note(
                Level::Error,
                format!("{}: the file does not go on from the one before it", walk.what),
            )
            .at(place.path, Some(0x40))
            .advise("an older copy of a file may have been put in its place: restore the whole directory");
        }
    }

    /// Files between `from` and this one are not there: deleted by whoever may, or lost.
    fn missing(&mut self, walk: &mut Walk<'_>, place: &Place<'_>, from: u64) {
        let to = place.header.base_seq;
        // As it is now: a process may have dropped them since.
        let meta = crate::meta::read(walk.dir).unwrap_or_else(|| walk.meta.clone());
        let dropped = meta.first(walk.kind) >= to
            || meta
                .holes
                .iter()
                .any(|hole| hole.reason == FINISHED && hole.from <= from && to <= hole.to);
        if to > from && !dropped {
            walk.damaged += 1;
            self.note(
                Level::Error,
                format!(
                    "{}: a file is missing: positions {from} to {}; all other files are readable",
                    walk.what,
                    to - 1
                ),
            )
            .at(&walk.dir.join(walk.kind.file_name(from)), None)
            .advise("restore it from a backup");
        }
    }

    /// The header page's other sectors, and that nothing is between them.
    fn sectors(&mut self, walk: &mut Walk<'_>, place: &Place<'_>, last: bool) -> Option<TailNote> {
        let bytes = place.bytes;
        let sector = |at: usize, len: usize| bytes.get(at..at + len).unwrap_or_default();
        let blank = |part: &[u8]| part.iter().all(|byte| *byte == 0);
        let promise = sector(header::PROMISE, header::PROMISE_BYTES);
        let seal = sector(header::SEAL, header::SEAL_BYTES);
        let note = sector(header::NOTE, header::NOTE_BYTES);
        let promised = promise.try_into().ok().and_then(header::decode_promise);
        walk.promise = walk.promise.max(promised.unwrap_or(0));
        let found = note
            .try_into()
            .ok()
            .and_then(|note| TailNote::decode(note, place.seed));
        let sealed = seal
            .try_into()
            .ok()
            .and_then(|seal| Seal::decode(seal, place.seed));
        for (at, part, known, name) in [
            (
                header::PROMISE,
                promise,
                promised.is_some(),
                "how far it is synced",
            ),
            (header::SEAL, seal, sealed.is_some(), "that it is complete"),
            (header::NOTE, note, found.is_some(), "where it ends"),
        ] {
            if !blank(part) && !known {
                self.note(
                    Level::Warning,
                    format!("{}: the header's note of {name} is damaged; no record is, and the next opening finds it out", walk.what),
                )
                .at(place.path, Some(at as u64));
            }
        }
        let ends = [
            (header::PROMISE + header::PROMISE_BYTES, header::SEAL),
            (header::SEAL + header::SEAL_BYTES, header::NOTE),
            (header::NOTE + header::NOTE_BYTES, START as usize),
        ];
        for (from, to) in ends {
            let part = bytes.get(from..to).unwrap_or_default();
            if let Some(at) = part.iter().position(|byte| *byte != 0) {
                self.note(
                    Level::Warning,
                    format!("{}: a byte that nobody writes is not zero; nothing depends on it, but the disk may be failing", walk.what),
                )
                .at(place.path, Some((from + at) as u64))
                .advise("look at the disk (smartctl), and take a backup");
            }
        }
        found.filter(|note| last && self.trusts(note))
    }

    /// Whether the next opening, or the one that is, takes the note's word.
    fn trusts(&self, note: &TailNote) -> bool {
        self.session.newest.is_some_and(|newest| {
            let ended_well = newest.clean && self.session.own_file;
            let unclean = if self.presence.in_use || ended_well {
                newest.last_unclean
            } else {
                newest.session
            };
            note.session > unclean
        })
    }

    fn seal(&mut self, walk: &Walk<'_>, place: &Place<'_>) {
        let seal = place
            .bytes
            .get(header::SEAL..header::SEAL + header::SEAL_BYTES)
            .and_then(|seal| seal.try_into().ok())
            .and_then(|seal| Seal::decode(seal, place.seed));
        let Some(seal) = seal else { return };
        let right = place.rolled_to.is_none_or(|_| {
            seal.end_off == place.off
                && place
                    .ordinal
                    .is_none_or(|ordinal| seal.records == ordinal - place.header.base_ordinal)
        });
        if !right {
            self.note(
                Level::Warning,
                format!(
                    "{}: the header says that the file is complete, and its frames say otherwise",
                    walk.what
                ),
            )
            .at(place.path, Some(header::SEAL as u64));
        }
    }
}
