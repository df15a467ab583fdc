//! What callers of a group or queue see.

use std::time::Duration;

pub use crate::shared::Owner;

/// Lanes of a queue: one for each priority.
pub const LANES: usize = 10;

/// What fences a delivery: an acknowledgement with the ticket of an ended claim changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket {
    /// The position in the journal of the claim that handed it out.
    pub claim: u64,
    pub lane: u8,
    pub seq: u64,
}

/// A job of a queue: its lane is its priority.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct JobId {
    pub lane: u8,
    pub seq: u64,
}

impl std::fmt::Display for JobId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.lane, self.seq)
    }
}

impl std::str::FromStr for JobId {
    type Err = crate::Error;

    fn from_str(text: &str) -> crate::Result<Self> {
        let parsed = || {
            let (lane, seq) = text.split_once('-')?;
            let lane: u8 = lane.parse().ok().filter(|lane| (*lane as usize) < LANES)?;
            Some(Self {
                lane,
                seq: seq.parse().ok()?,
            })
        };
        parsed().ok_or_else(|| crate::Error::Usage(format!("{text:?} is not the id of a job")))
    }
}

/// Why an attempt failed.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ErrorNote {
    /// The name of the exception's class.
    pub kind: String,
    pub message: String,
    #[serde(default)]
    pub traceback: String,
}

/// How to settle a delivery that failed.
#[derive(Clone, Debug, Default)]
pub struct Nack {
    /// Until the next attempt; None: by the stored retry policy.
    pub delay: Option<Duration>,
    /// Whether the attempt counts towards the limit.
    pub counted: bool,
    pub error: Option<ErrorNote>,
}

/// What became of a delivery that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NackOutcome {
    /// It comes again, not before `due_ns` (ns since 1970 UTC).
    Retry { due_ns: i64 },
    /// That was its last attempt.
    Dead,
    /// The lease was over; nothing was changed.
    LeaseLost,
}

/// The counts of a group or queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SourceStats {
    /// Could be claimed now, or wait behind another message of their key.
    pub ready: u64,
    /// Not yet due: delayed at the put, or waiting for a retry.
    pub delayed: u64,
    pub leased: u64,
    pub dead: u64,
    /// Of the oldest unfinished message, since its append.
    pub oldest_age_ns: Option<i64>,
    /// Of the oldest claim in hand.
    pub oldest_lease_ns: Option<i64>,
    pub put_total: u64,
    pub acked_total: u64,
    /// Passed over because their time to live was over.
    pub expired_total: u64,
    pub paused: bool,
}

/// Where to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeekTo {
    Earliest,
    Latest,
    Seq(u64),
    /// The first record, in position order, with an event time at or after this (ns since 1970 UTC).
    Time(i64),
}

/// One attempt in the history of a dead letter.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct AttemptNote {
    pub attempt: u32,
    /// When it ended, ns since 1970 UTC.
    pub time_ns: i64,
    /// "error", "expired", "held" (longer than max_hold) or "rejected".
    pub outcome: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorNote>,
}

/// What to do with a put whose unique key is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnDuplicate {
    /// The id of the first is the answer.
    #[default]
    Return,
    /// `Error::Duplicate`.
    Raise,
}

/// What a put came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Put {
    pub id: JobId,
    /// An unfinished job with this unique key was there; nothing was put.
    pub duplicate: bool,
    /// What must be synced before an `always` directory acknowledges.
    pub end_lba: u64,
}
