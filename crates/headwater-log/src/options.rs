//! What can be asked of a directory and of the objects in it. The `Option` fields of the `*Config` types mean
//! "not given": as stored, else the default.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// When an append is acknowledged (docs/design/engine.md, "Promises").
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// In the page cache; the kernel writes it when it likes.
    Never,
    /// In the page cache, synced at the latest one interval later.
    Interval,
    /// After fdatasync.
    Always,
}

/// How to open a directory.
#[derive(Clone, Debug)]
pub struct OpenOptions {
    /// The directory; created when missing and `create`.
    pub path: PathBuf,
    pub create: bool,
    /// None: as stored, else `Interval`.
    pub durability: Option<Durability>,
    /// None: as stored, else 0.1 s.
    pub interval: Option<Duration>,
    /// How long opening may wait for another process that is opening or closing.
    pub connect_timeout: Duration,
    /// How long an operation may wait for a lock when its caller does not say.
    pub op_timeout: Duration,
    /// The largest record, bytes; at most `limits::RECORD_BYTES`.
    pub max_record_bytes: u64,
    /// A name for this process in `doctor` and errors.
    pub name: String,
    pub allow_network_fs: bool,
}

impl OpenOptions {
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            create: true,
            durability: None,
            interval: None,
            connect_timeout: Duration::from_secs(10),
            op_timeout: Duration::from_secs(30),
            max_record_bytes: limits::RECORD_BYTES,
            name: String::new(),
            allow_network_fs: false,
        }
    }
}

/// What a stream keeps; a limit that is None does not apply. `Some(Retention::default())` lifts all limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Retention {
    /// Seconds since the append.
    pub age: Option<f64>,
    /// Bytes of segments.
    pub bytes: Option<u64>,
    pub records: Option<u64>,
}

/// How a group or queue gives its messages out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ordering {
    #[default]
    None,
    /// One key's messages one at a time, in order.
    Key,
    /// One message at a time.
    Total,
}

impl Ordering {
    /// As it is written in declarations.
    pub fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Key => "key",
            Self::Total => "total",
        }
    }
}

/// The retry policy, stored, so that all workers obey one rule.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct RetryPolicy {
    /// Counts the first attempt; None: for ever.
    pub max_attempts: Option<u32>,
    /// Seconds before the second attempt.
    pub delay: f64,
    pub factor: f64,
    /// Seconds.
    pub max_delay: f64,
    /// The share of the delay by which it is spread, 0 to 1: `delay * (1 ± jitter)`.
    pub jitter: f64,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            max_attempts: Some(5),
            delay: 1.0,
            factor: 2.0,
            max_delay: 300.0,
            jitter: 0.1,
        }
    }
}

/// Where a new group begins.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GroupStart {
    Earliest,
    Latest,
    /// The first record at or above this position.
    Seq(u64),
    /// The first record, in position order, with an event time at or after this one (ns since 1970 UTC).
    Time(i64),
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StreamConfig {
    pub retention: Option<Retention>,
    /// The embedded engine has one partition; another number is a `Declaration` error at the binding.
    pub partitions: Option<u32>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GroupConfig {
    pub ordering: Option<Ordering>,
    /// Applies when the group is made, then never.
    pub start: Option<GroupStart>,
    /// Seconds; default 30.
    pub lease: Option<f64>,
    pub retry: Option<RetryPolicy>,
    /// Seconds; outer None: not given; inner None: no bound.
    pub max_hold: Option<Option<f64>>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct QueueConfig {
    pub group: GroupConfig,
    /// Seconds for which a unique key blocks; inner None: while the first is unfinished.
    pub unique_for: Option<Option<f64>>,
    /// Unfinished messages; inner None: no limit.
    pub max_length: Option<Option<u64>>,
}

/// Limits of the format.
pub mod limits {
    /// The largest record: value, key, headers and all.
    pub const RECORD_BYTES: u64 = 16 << 20;
    /// The largest atomic batch.
    pub const CHAIN_BYTES: u64 = 64 << 20;
    pub const KEY_BYTES: usize = 65_534;
    /// All of a record's TLVs, headers among them.
    pub const TLV_BYTES: usize = 32_760;
    /// A frame holds at most this many bytes of records, or one larger record.
    pub const FRAME_BYTES: usize = 256 << 10;
    pub const NAME_BYTES: usize = 200;
    /// Processes of one directory at a time.
    pub const SLOTS: usize = 1024;
}
