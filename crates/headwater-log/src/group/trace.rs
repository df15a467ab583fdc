//! One message's life in a group or queue: what the journal says of it, where it stands now, and why.

use super::core::Core;
use super::entry::{decode, Ended, Entry, Item, Items, SkipReason};
use super::lanes::Feeder;
use super::machine::{Job, Machine, State};
use super::notes::letter_at;
use super::source::Source;
use super::types::{ErrorNote, JobId};
use crate::error::{Error, Result};
use crate::log::{now_ns, Cursor, OwnedRecord};
use crate::options::Ordering;
use crate::shared::Owner;

/// One thing that happened to a message.
#[derive(Clone, Debug)]
pub struct Event {
    /// Ns since 1970 UTC.
    pub time_ns: i64,
    /// "stored", "delayed", "waiting behind its key", "delivered", "done", "failed", "given back", "expired", "held", "skipped", "dead",
    /// "redriven", "edited", "purged", "cancelled", "sought".
    pub what: &'static str,
    /// The process that it was delivered to.
    pub by: Option<String>,
    /// Which attempt, from 1; None: not known, since the journal does not go back that far.
    pub attempt: Option<u32>,
    /// Not before.
    pub due_ns: Option<i64>,
    pub error: Option<ErrorNote>,
    /// What else is to be said.
    pub note: String,
}

/// A message's life so far.
#[derive(Clone, Debug)]
pub struct Trace {
    pub id: JobId,
    /// As it lies in the log; None: it is not kept any more.
    pub record: Option<OwnedRecord>,
    /// "waiting" (nobody has come to it), "ready", "leased", "delayed", "parked", "dead", "done".
    pub state: &'static str,
    /// Deliveries that counted.
    pub attempts: u32,
    /// When it can be delivered (again).
    pub due_ns: Option<i64>,
    /// Who has it in hand.
    pub holder: Option<String>,
    /// Why it is still here, or how it left.
    pub why: String,
    pub events: Vec<Event>,
    /// The journal's first entry that is kept, where it does not go back to the group's beginning: what was before is not known.
    pub kept_from_ns: Option<i64>,
}

impl Source {
    /// What became of a message.
    ///
    /// Errors: `NotFound` where there is no such message, and nothing is known of one.
    pub fn trace(&self, id: JobId) -> Result<Trace> {
        self.core.trace(id)
    }
}

/// What one reading of the journal found.
struct Story {
    id: JobId,
    events: Vec<Event>,
    /// Relative to what it was where the journal begins.
    attempts: i64,
    /// The attempts of the events, relative too.
    counted: Vec<Option<i64>>,
    known: bool,
    in_hand: bool,
    dead: bool,
    finished: bool,
}

impl Story {
    fn is(&self, items: Items<'_>) -> Option<Item> {
        let JobId { lane, seq } = self.id;
        items
            .into_iter()
            .find(|item| item.lane == lane && (item.seq..item.seq + item.count).contains(&seq))
    }

    fn tell(&mut self, time_ns: i64, what: &'static str) -> &mut Event {
        self.events.push(Event {
            time_ns,
            what,
            by: None,
            attempt: None,
            due_ns: None,
            error: None,
            note: String::new(),
        });
        self.counted.push(None);
        let last = self.events.len() - 1;
        &mut self.events[last]
    }

    fn attempted(&mut self) {
        if let Some(last) = self.counted.last_mut() {
            *last = Some(self.attempts);
        }
    }

    fn finish(&mut self) {
        (self.finished, self.known, self.in_hand, self.dead) = (true, true, false, false);
    }

    fn entry(&mut self, core: &Core, feed: &mut Feeder, now: i64, entry: Entry<'_>) -> Result<()> {
        let JobId { lane, seq } = self.id;
        let mine = |l: u8, s: u64| l == lane && s == seq;
        match entry {
            Entry::Claim { owner, items } if self.is(items).is_some() => {
                self.attempts += 1;
                self.tell(now, "delivered").by = Some(core.named(&owner));
                self.attempted();
                (self.known, self.in_hand, self.finished) = (true, true, false);
            }
            Entry::Ack { items } if self.is(items).is_some() => {
                self.tell(now, "done");
                self.attempted();
                self.finish();
            }
            Entry::Nack {
                lane,
                seq,
                due,
                counted,
                note,
            } if mine(lane, seq) => {
                let what = if counted || note != 0 {
                    "failed"
                } else {
                    "given back"
                };
                let error = feed.error(note)?;
                let event = self.tell(now, what);
                (event.error, event.due_ns) = (error, Some(due));
                self.attempted();
                self.attempts -= i64::from(!counted);
                self.in_hand = false;
            }
            Entry::Release { items } if self.is(items).is_some() => {
                self.tell(now, "given back");
                self.attempted();
                self.attempts -= 1;
                self.in_hand = false;
            }
            Entry::Expire { how, items } if self.is(items).is_some() => {
                let (what, note) = match how {
                    Ended::Held => ("held", "for longer than max_hold"),
                    _ => ("expired", "its process ended, or stood still for the lease"),
                };
                note.clone_into(&mut self.tell(now, what).note);
                self.attempted();
                self.in_hand = false;
            }
            Entry::Park { items } if self.is(items).is_some() => {
                self.tell(now, "waiting behind its key");
                self.known = true;
            }
            Entry::Delay { items } => {
                if let Some(item) = self.is(items) {
                    self.tell(now, "delayed").due_ns = Some(item.at);
                    self.known = true;
                }
            }
            Entry::Skip { reason, items } if self.is(items).is_some() => {
                let note = match reason {
                    SkipReason::Ttl => "its time to live was over",
                    SkipReason::Gap => "its record is damaged, or was lost to a power cut",
                    SkipReason::Trimmed => "the stream's retention had dropped its record",
                    SkipReason::Cancelled => "it was cancelled",
                };
                note.clone_into(&mut self.tell(now, "skipped").note);
                self.finish();
            }
            Entry::Dead {
                lane,
                seq,
                how,
                note,
            } if mine(lane, seq) => {
                let details = letter_at(&core.notes, &mut None, note)?.map(|(_, details)| details);
                let (reason, error) = details.map_or_else(
                    || (how.word().to_owned(), None),
                    |details| (details.reason, details.error),
                );
                let event = self.tell(now, "dead");
                (event.note, event.error) = (reason, error);
                self.attempted();
                (self.known, self.dead, self.in_hand) = (true, true, false);
            }
            Entry::Redrive { items } if self.is(items).is_some() => {
                self.tell(now, "redriven");
                (self.attempts, self.dead) = (0, false);
            }
            Entry::Edit { lane, seq, .. } if mine(lane, seq) => {
                self.tell(now, "edited");
            }
            Entry::Purge { items } => {
                let below = items
                    .into_iter()
                    .any(|item| item.lane == lane && seq < item.seq);
                if (below || self.known) && !(self.in_hand || self.dead || self.finished) {
                    self.tell(now, "purged");
                    self.finish();
                }
            }
            Entry::PurgeDead { items } if self.is(items).is_some() => {
                "as a dead letter".clone_into(&mut self.tell(now, "purged").note);
                self.finish();
            }
            Entry::Cancel { lane, seq } if mine(lane, seq) => {
                self.tell(now, "cancelled");
                if self.known && !self.in_hand {
                    self.finish();
                }
            }
            Entry::Seek { lane: l, seq: to } if l == lane && (self.known || seq >= to) => {
                let comes = seq >= to;
                if !self.dead || comes {
                    let note = if comes { "it comes (again)" } else { "past it" };
                    note.clone_into(&mut self.tell(now, "sought").note);
                    (self.attempts, self.known, self.in_hand) = (0, false, false);
                    (self.dead, self.finished) = (false, !comes);
                }
            }
            Entry::Trim { lane: l, seq: to } if l == lane && seq < to && !self.known => {
                "the stream's retention had dropped its record"
                    .clone_into(&mut self.tell(now, "skipped").note);
                self.finish();
            }
            _ => {}
        }
        Ok(())
    }
}

impl Core {
    /// A process, as people know it.
    fn named(&self, owner: &Owner) -> String {
        if self.ctx.shared.owner_live(owner) {
            self.ctx.shared.describe(owner.slot)
        } else {
            "a process that has ended".to_owned()
        }
    }

    fn trace(&self, id: JobId) -> Result<Trace> {
        let first = self.journal.first_seq();
        let mut story = Story {
            id,
            events: Vec::new(),
            attempts: 0,
            counted: Vec::new(),
            known: false,
            in_hand: false,
            dead: false,
            finished: false,
        };
        let (record, unknown) = self.stored(id)?;
        self.look(|machine, feed| {
            if let Some(record) = &record {
                story.tell(record.append_ns, "stored");
            }
            let mut kept_from = None;
            let mut cursor = Cursor::new_to_tail(&self.journal, first);
            while let Some(entry) = cursor.next()? {
                let now = entry.append_ns;
                kept_from = kept_from.or(Some(now));
                let mut outcome = Ok(());
                decode(entry.value, |entry| {
                    let told = story.entry(self, feed, now, entry);
                    if outcome.is_ok() {
                        outcome = told;
                    }
                })?;
                outcome?;
            }
            let lane = &machine.lanes[id.lane as usize];
            let job = lane.jobs.get(&id.seq).copied();
            let nothing = job.is_none() && story.events.is_empty();
            if let Some(why) = unknown.filter(|_| nothing && id.seq >= lane.cursor) {
                return Err(Error::NotFound {
                    what: why,
                    name: id.to_string(),
                });
            }
            let complete = first <= 1;
            // Where the journal begins later, what was counted before follows from what is counted now.
            let before = match &job {
                _ if complete => Some(0),
                Some(job) => Some(i64::from(job.attempts) - story.attempts),
                None => None,
            };
            for (event, counted) in story.events.iter_mut().zip(&story.counted) {
                event.attempt = before
                    .zip(*counted)
                    .and_then(|(before, counted)| u32::try_from(before + counted).ok());
            }
            let now = now_ns();
            let (state, why, due_ns, holder) = match &job {
                Some(job) => self.standing(machine, id, job, now),
                None => self.elsewhere(machine, id, record.as_ref(), &story, now)?,
            };
            Ok(Trace {
                id,
                attempts: job.map_or(story.attempts.max(0) as u32, |job| job.attempts),
                record,
                state,
                due_ns,
                holder,
                why,
                events: story.events,
                kept_from_ns: kept_from.filter(|_| !complete),
            })
        })
    }

    /// The record in the log, or what it is that is not there.
    fn stored(&self, id: JobId) -> Result<(Option<OwnedRecord>, Option<&'static str>)> {
        let Some(log) = self.lanes.lane(id.lane)? else {
            return Ok((
                None,
                Some("message (nothing was ever put with that priority)"),
            ));
        };
        let record = match log.read_at(id.seq) {
            Err(Error::Corruption { .. }) => return Ok((None, None)),
            found => found?,
        };
        let unknown = match &record {
            Some(_) => None,
            None if id.seq >= log.next_seq() => Some("message yet at position"),
            None => Some("message at position"),
        };
        Ok((record, unknown))
    }

    /// A job that is not finished, below the cursor.
    fn standing(
        &self,
        machine: &Machine,
        id: JobId,
        job: &Job,
        now: i64,
    ) -> (&'static str, String, Option<i64>, Option<String>) {
        let since = |ns: i64| format!("{:.1} s", (now - ns).max(0) as f64 / 1e9);
        match job.state {
            State::Inflight => {
                let owner = machine.holders.get(job.owner as usize).map(|h| h.owner);
                let name = owner.map_or_else(|| "nobody".to_owned(), |owner| self.named(&owner));
                let why = if owner.is_some_and(|owner| self.ctx.shared.owner_live(&owner)) {
                    format!(
                        "{name} has had it in hand for {}; its lease of {} s is renewed while that process lives and runs",
                        since(job.since),
                        machine.lease()
                    )
                } else {
                    "its process has ended: the next consumer that looks gets it".to_owned()
                };
                ("leased", why, None, Some(name))
            }
            State::Delayed => {
                let due = job.at as i64;
                let why = if due > now {
                    let wait = (due - now) as f64 / 1e9;
                    match job.attempts {
                        0 => format!("it was put with a delay, and is due in {wait:.1} s"),
                        n => format!("attempt {n} failed; the next is due in {wait:.1} s"),
                    }
                } else {
                    self.waits(machine, id, "it is due")
                };
                ("delayed", why, Some(due), None)
            }
            State::Parked => {
                let busy = machine.lanes[id.lane as usize].busy.get(&job.key);
                let ahead = busy.map_or_else(
                    || "an earlier one".to_owned(),
                    |busy| format!("position {}", busy.first),
                );
                let why = format!("{ahead} of the same key comes first, and is not done");
                ("parked", why, None, None)
            }
            State::Dead => {
                let why = format!(
                    "it died {} ago, and stays until it is redriven or purged (headwater dead)",
                    since(job.since)
                );
                ("dead", why, None, None)
            }
            State::Ready => (
                "ready",
                self.waits(
                    machine,
                    id,
                    &format!("it has been ready for {}", since(job.since)),
                ),
                None,
                None,
            ),
        }
    }

    /// Why something that can be delivered is not.
    fn waits(&self, machine: &Machine, id: JobId, but: &str) -> String {
        if machine.paused {
            return format!("{but}, but the group is paused (headwater group … resume)");
        }
        match machine.head {
            Some((lane, seq))
                if machine.ordering == Ordering::Total && (lane, seq) != (id.lane, id.seq) =>
            {
                format!("{but}, but ordering is total: position {seq} comes first")
            }
            _ => format!("{but}, and goes to the next consumer that comes to it"),
        }
    }

    /// A message that the machine does not list: not come to yet, or finished.
    fn elsewhere(
        &self,
        machine: &Machine,
        id: JobId,
        record: Option<&OwnedRecord>,
        story: &Story,
        now: i64,
    ) -> Result<(&'static str, String, Option<i64>, Option<String>)> {
        let lane = &machine.lanes[id.lane as usize];
        if id.seq < lane.cursor || story.finished {
            let why = match story.events.iter().rev().find(|event| event.what != "stored") {
                Some(last) if story.finished => match last.note.as_str() {
                    "" => format!("it is {}", last.what),
                    note => format!("it is {}: {note}", last.what),
                },
                _ if self.journal.first_seq() <= 1 => "it lies before the group's start".to_owned(),
                _ => "it is finished, or lies before the group's start; the journal does not go back that far".to_owned(),
            };
            return Ok(("done", why, None, None));
        }
        if lane.cancelled.contains(&id.seq) {
            return Ok(("done", "it was cancelled".to_owned(), None, None));
        }
        let due = record.and_then(|record| record.get().due_ns());
        if let Some(due) = due.filter(|due| *due > now) {
            let wait = (due - now) as f64 / 1e9;
            let why = format!("it was put with a delay, and is due in {wait:.1} s");
            return Ok(("waiting", why, Some(due), None));
        }
        let ahead = match self.lanes.lane(id.lane)? {
            Some(log) => log.rank(id.seq)?.saturating_sub(log.rank(lane.cursor)?),
            None => 0,
        };
        let but = match ahead {
            0 => "nobody has come to it yet".to_owned(),
            n => format!("nobody has come to it yet: {n} are before it"),
        };
        Ok(("waiting", self.waits(machine, id, &but), due, None))
    }
}
