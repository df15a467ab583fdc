//! The frames of one file, one behind the other: checksums, positions, records, clocks; and what lies behind the last one.

use super::index::Index;
use super::log::{Place, Walk, SHOWN};
use super::{Book, Level};
use crate::log::frame::{ctrl, flag, Frame, CTRL, DATA};

const HOUR_NS: i64 = 3_600_000_000_000;

/// More positions than a file can hold records: a jump.
const RECORDS: u64 = 1 << 31;

impl Book {
    /// Looks at all frames up to `end`, an address of the log; None: up to where they end by themselves.
    pub(super) fn frames(
        &mut self,
        walk: &mut Walk<'_>,
        place: &mut Place<'_>,
        index: &mut Index,
        end: Option<u64>,
        last: bool,
    ) {
        let size = place.header.file_size.min(place.bytes.len() as u64);
        let known = end.map(|end| {
            end.saturating_sub(place.header.base_lba)
                .min(place.header.file_size)
        });
        let limit = known.unwrap_or(size);
        while place.off < limit && place.rolled_to.is_none() {
            let off = place.off;
            if let Some(frame) = place
                .frame_at(off)
                .filter(|frame| frame.seq() == place.next_seq)
            {
                let frame_bytes = &place.bytes[off as usize..off as usize + frame.len()];
                let frame = Frame::trusted(frame_bytes);
                walk.promise = walk.promise.max(frame.synced().unwrap_or(0));
                self.frame(walk, place, index, &frame);
                place.off += frame.len() as u64;
                continue;
            }
            let next = place.next_frame(off + 8, limit.min(size));
            if known.is_none() && last && !self.damaged_end(walk, place, next) {
                // The log ends here.
                break;
            }
            self.damage(walk, place, next, known);
            match next {
                Some((at, seq)) => {
                    let lost = seq - place.next_seq;
                    place.ordinal = place
                        .ordinal
                        .map(|ordinal| ordinal + if lost < RECORDS { lost } else { 0 });
                    (place.off, place.next_seq) = (at, seq);
                }
                None => {
                    place.ordinal = None;
                    place.off = limit;
                    return;
                }
            }
        }
        self.behind(walk, place, last);
    }

    /// Whether bytes that are no frame, where nobody says how far the log goes, were one once. As recovery decides it.
    fn damaged_end(&self, walk: &Walk<'_>, place: &Place<'_>, next: Option<(u64, u64)>) -> bool {
        let survived = self.session.newest.is_some_and(|newest| {
            newest.last_lossy == 0 && newest.same_boot && self.session.own_file
        });
        walk.promise > place.header.base_lba + place.off
            || survived && (next.is_some() || place.word_at(place.off) != 0)
    }

    fn damage(
        &mut self,
        walk: &mut Walk<'_>,
        place: &Place<'_>,
        next: Option<(u64, u64)>,
        known: Option<u64>,
    ) {
        walk.damaged += 1;
        let lost = next.map_or(0, |(_, seq)| seq - place.next_seq);
        walk.lost += if lost < RECORDS { lost } else { 0 };
        if walk.damaged > SHOWN {
            return;
        }
        let first = place.next_seq;
        let what = match (next, lost) {
            (Some(_), 0) => "a frame without records is damaged; every record is readable".to_owned(),
            (Some(_), 1) => format!("the record at position {first} is damaged; all others are readable"),
            (Some(_), n) if n < RECORDS => format!("the records at positions {first} to {} are damaged; all others are readable", first + n - 1),
            (Some(_), _) => format!("the records from position {first} on, up to a jump, are damaged; all others are readable"),
            (None, _) => format!(
                "the records from position {first} on, up to the end of the {}, are damaged; all others are readable",
                if known.is_some_and(|known| known < place.header.file_size) { "log" } else { "file" }
            ),
        };
        self.note(Level::Error, format!("{}: {what}", walk.what))
            .at(place.path, Some(place.off))
            .advise("readers are told and go on behind it; look at the disk (dmesg, smartctl), and restore from a backup what is wanted");
    }

    fn frame(
        &mut self,
        walk: &mut Walk<'_>,
        place: &mut Place<'_>,
        index: &mut Index,
        frame: &Frame<'_>,
    ) {
        let inside = place
            .ordinal
            .map(|ordinal| ordinal - place.header.base_ordinal);
        index.meet(place.off, place.next_seq, place.max_time, inside);
        self.clock(walk, place, frame);
        match frame.class() {
            DATA => self.records(walk, place, frame),
            CTRL if frame.kind() == ctrl::ROLL => place.rolled_to = frame.word(0),
            CTRL if frame.kind() == ctrl::GAP => {
                place.next_seq = frame.word(1).unwrap_or(0).max(place.next_seq);
            }
            _ => {}
        }
    }

    fn records(&mut self, walk: &mut Walk<'_>, place: &mut Place<'_>, frame: &Frame<'_>) {
        if frame.flags() & flag::CHAIN_START != 0 && !whole_chain(place, frame) {
            self.note(
                Level::Error,
                format!(
                    "{}: a batch is not whole; its records are readable",
                    walk.what
                ),
            )
            .at(place.path, Some(place.off));
        }
        let (mut at, mut seq) = (frame.body(), frame.seq());
        for _ in 0..frame.count() {
            let found = frame.record_at(at, seq);
            let wrong = match &found {
                None => Some("its lengths are impossible".to_owned()),
                Some((record, _)) => match record.unknown() {
                    Some(kind) => Some(format!("it has the field {kind:#06x} of a newer version")),
                    None => walk
                        .replay
                        .as_mut()
                        .and_then(|replay| replay.apply(seq, record)),
                },
            };
            if let Some(wrong) = wrong {
                walk.damaged += 1;
                if walk.damaged <= SHOWN {
                    self.note(
                        Level::Error,
                        format!("{}: the record at position {seq} is right by its checksum, but {wrong}", walk.what),
                    )
                    .at(place.path, Some(place.off + at as u64));
                }
            }
            let Some((record, next)) = found else { break };
            place.max_time = place.max_time.max(record.time_ns());
            (at, seq) = (next, seq + 1);
        }
        let count = u64::from(frame.count());
        walk.records += count;
        place.next_seq += count;
        place.ordinal = place.ordinal.map(|ordinal| ordinal + count);
        if count > 0 {
            place.last_seq = place.next_seq - 1;
        }
    }

    fn clock(&mut self, walk: &mut Walk<'_>, place: &Place<'_>, frame: &Frame<'_>) {
        let now = frame.append_ns();
        if !walk.clock_told {
            let back = walk.newest_ns.saturating_sub(now);
            let said = if back > HOUR_NS {
                Some(format!(
                    "the clock had been set back by {} s when position {} was appended",
                    back / 1_000_000_000,
                    place.next_seq
                ))
            } else if now.saturating_sub(self.now_ns) > HOUR_NS {
                Some(format!(
                    "position {} was appended by a clock that is ahead of this one",
                    place.next_seq
                ))
            } else {
                None
            };
            if let Some(said) = said {
                walk.clock_told = true;
                self.note(Level::Warning, format!("{}: {said}", walk.what))
                    .at(place.path, Some(place.off))
                    .advise("retention by age, delays and times to live go by the clock: synchronise it");
            }
        }
        walk.newest_ns = walk.newest_ns.max(now);
    }

    /// Behind a file's last frame there is nothing.
    fn behind(&mut self, walk: &Walk<'_>, place: &Place<'_>, last: bool) {
        // A log in use is written to as we look; and what a killed append had begun is no finding.
        if self.presence.in_use && last {
            return;
        }
        let rest = place.bytes.get(place.off as usize..).unwrap_or_default();
        let Some(at) = rest.iter().position(|byte| *byte != 0) else {
            return;
        };
        let unclean =
            self.session.newest.is_none_or(|newest| !newest.clean) || !self.session.own_file;
        if last && unclean {
            self.note(
                Level::Note,
                format!(
                    "{}: an append was cut short here; the next opening clears it away",
                    walk.what
                ),
            )
            .at(place.path, Some(place.off + at as u64));
        } else {
            self.note(
                Level::Warning,
                format!("{}: a byte behind the last frame is not zero; no record is damaged, but the disk may be failing", walk.what),
            )
            .at(place.path, Some(place.off + at as u64))
            .advise("look at the disk (smartctl), and take a backup");
        }
    }
}

/// Whether the frames of a chain are all there, and end where it says.
fn whole_chain(place: &Place<'_>, first: &Frame<'_>) -> bool {
    let Some(end) = first.chain().and_then(|bytes| place.off.checked_add(bytes)) else {
        return false;
    };
    let mut at = place.off;
    while at < end {
        match place.frame_at(at) {
            Some(frame) => at += frame.len() as u64,
            None => return false,
        }
    }
    at == end
}
