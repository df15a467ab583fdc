//! A group's state as bytes: what `snap-<n>` holds, so that its journal needn't be replayed from the beginning.
//!
//! ```text
//! magic "HWSNAP\x01\n" | u64 n, the journal's position up to which it is true | body | u32 crc32c of all before
//! ```
//! The hints and the busy keys are not in it: they follow from the jobs.

use std::path::Path;

use super::entry::{Ended, Reader, Writer};
use super::machine::{Attempt, Extra, Holder, Job, Machine, State, RETRYING};
use super::types::LANES;
use crate::error::{Error, Result};
use crate::log::checksum::crc32c;
use crate::options::Ordering;

const MAGIC: &[u8; 8] = b"HWSNAP\x01\n";

/// The state as bytes.
pub fn encode(machine: &Machine) -> Vec<u8> {
    let mut out = Writer::default();
    out.bytes.extend_from_slice(MAGIC);
    out.bytes.extend_from_slice(&machine.applied.to_le_bytes());
    // A configuration is plain data: it always has a JSON form.
    out.blob(&serde_json::to_vec(&machine.config).unwrap_or_default());
    out.bytes.push(u8::from(machine.paused));
    out.varint(machine.acked);
    out.varint(machine.expired);
    match machine.head {
        Some((lane, seq)) => {
            out.bytes.push(lane);
            out.varint(seq);
        }
        None => out.bytes.push(u8::MAX),
    }
    out.varint(machine.holders.len() as u64);
    for holder in &machine.holders {
        out.owner(&holder.owner);
    }
    for lane in &machine.lanes {
        out.bytes
            .push(u8::from(lane.made) | u8::from(lane.turn) << 1);
        out.varint(lane.cursor);
        out.varint(lane.cancelled.len() as u64);
        for seq in &lane.cancelled {
            out.varint(*seq);
        }
        out.varint(lane.jobs.len() as u64);
        for (seq, job) in &lane.jobs {
            out.varint(*seq);
            out.bytes.extend_from_slice(&[job.state as u8, job.flags]);
            out.bytes.extend_from_slice(&job.key.to_le_bytes());
            out.bytes.extend_from_slice(&job.at.to_le_bytes());
            out.bytes.extend_from_slice(&job.since.to_le_bytes());
            out.varint(u64::from(job.attempts));
            out.varint(u64::from(job.owner));
        }
    }
    out.varint(machine.extra.len() as u64);
    for ((lane, seq), extra) in &machine.extra {
        out.bytes.push(*lane);
        out.varint(*seq);
        out.varint(extra.record);
        out.varint(extra.history.len() as u64);
        for attempt in &extra.history {
            out.varint(u64::from(attempt.attempt));
            out.bytes.extend_from_slice(&attempt.at.to_le_bytes());
            out.bytes.push(attempt.how as u8);
            out.varint(attempt.note);
        }
    }
    let crc = crc32c(0, &out.bytes);
    out.bytes.extend_from_slice(&crc.to_le_bytes());
    out.bytes
}

/// The state back. Errors: `Corruption`.
pub fn decode(bytes: &[u8], file: &Path) -> Result<Machine> {
    checked(bytes)
        .and_then(body)
        .ok_or_else(|| Error::Corruption {
            file: file.to_owned(),
            offset: 0,
            what: "not a snapshot of a group, or a damaged one".to_owned(),
        })
}

fn checked(bytes: &[u8]) -> Option<&[u8]> {
    let (body, crc) = bytes.split_at_checked(bytes.len().checked_sub(4)?)?;
    (crc32c(0, body).to_le_bytes() == crc).then(|| body.strip_prefix(MAGIC))?
}

fn body(bytes: &[u8]) -> Option<Machine> {
    let mut machine = Machine::default();
    let mut from = Reader { bytes };
    machine.applied = from.u64()?;
    machine.config = serde_json::from_slice(from.blob()?).ok()?;
    machine.ordering = machine.config.ordering.unwrap_or_default();
    machine.paused = from.u8()? != 0;
    machine.acked = from.varint()?;
    machine.expired = from.varint()?;
    machine.head = match from.u8()? {
        u8::MAX => None,
        lane if (lane as usize) < LANES => Some((lane, from.varint()?)),
        _ => return None,
    };
    for _ in 0..from.varint()? {
        machine.holders.push(Holder {
            owner: from.owner()?,
            leased: 0,
        });
    }
    for lane in 0..LANES {
        read_lane(&mut from, &mut machine, lane)?;
    }
    for _ in 0..from.varint()? {
        let place = (from.u8()?, from.varint()?);
        let mut extra = Extra {
            record: from.varint()?,
            history: Vec::new(),
        };
        for _ in 0..from.varint()? {
            extra.history.push(Attempt {
                attempt: u32::try_from(from.varint()?).ok()?,
                at: from.i64()?,
                how: Ended::from_byte(from.u8()?)?,
                note: from.varint()?,
            });
        }
        machine.extra.insert(place, extra);
    }
    machine.rebuild_hints();
    from.bytes.is_empty().then_some(machine)
}

fn read_lane(from: &mut Reader<'_>, machine: &mut Machine, number: usize) -> Option<()> {
    let flags = from.u8()?;
    let by_key = machine.ordering == Ordering::Key;
    let lane = &mut machine.lanes[number];
    lane.made = flags & 1 != 0;
    lane.turn = flags & 2 != 0;
    lane.cursor = from.varint()?;
    for _ in 0..from.varint()? {
        lane.cancelled.insert(from.varint()?);
    }
    let n = from.varint()?;
    // 30 bytes a job at least: a wrong count must not allocate more than the file could hold.
    lane.jobs
        .reserve(usize::try_from(n).ok()?.min(from.bytes.len() / 30));
    for _ in 0..n {
        let seq = from.varint()?;
        let state = State::from_byte(from.u8()?)?;
        let flags = from.u8()?;
        let job = Job {
            state,
            flags,
            key: from.u64()?,
            at: from.u64()?,
            since: from.i64()?,
            attempts: u32::try_from(from.varint()?).ok()?,
            owner: u16::try_from(from.varint()?).ok()?,
        };
        machine.counts[state as usize] += 1;
        if state == State::Inflight {
            machine.holders.get_mut(job.owner as usize)?.leased += 1;
        }
        if by_key && job.key != 0 {
            let first = match state {
                State::Ready | State::Inflight => true,
                State::Delayed => flags & RETRYING != 0,
                State::Parked | State::Dead => false,
            };
            if first {
                lane.busy.entry(job.key).or_default().first = seq;
            } else if state == State::Parked {
                lane.busy.entry(job.key).or_default().parked.insert(seq);
            }
        }
        lane.jobs.insert(seq, job);
    }
    Some(())
}
