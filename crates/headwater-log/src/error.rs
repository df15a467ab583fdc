//! Every way in which the engine can refuse or fail, one variant each; the Python binding maps them one to one.

use std::path::PathBuf;

/// What an engine call came to.
pub type Result<T> = std::result::Result<T, Error>;

/// An engine error. Each message says what happened, to what, and where it helps what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The call would have to sleep, roll a segment or wait for the disk, and was asked not to.
    #[error("the call would block")]
    WouldBlock,
    /// A wrong argument.
    #[error("{0}")]
    Usage(String),
    /// A name that the grammar of names refuses.
    #[error("{name:?} is not a valid name: {why}")]
    InvalidName { name: String, why: &'static str },
    /// A connection or object used on the other side of a fork.
    #[error("{what} belongs to the parent process; open the directory again after the fork")]
    Forked { what: &'static str },
    /// A declared option contradicts the stored one.
    #[error("{what} is stored as {stored}, and cannot be changed to {asked}")]
    Declaration {
        what: String,
        stored: String,
        asked: String,
    },
    /// The directory could not be opened.
    #[error("cannot open {}: {why}", path.display())]
    Connect { path: PathBuf, why: String },
    /// Not ours, or a newer format.
    #[error("{} is not usable: found {found}, supported is {supported}", path.display())]
    Incompatible {
        path: PathBuf,
        found: String,
        supported: String,
    },
    /// A time-out; `holder` names who held the lock, when known.
    #[error("{what} did not finish in time{}", holder.as_ref().map(|h| format!(" (held by {h})")).unwrap_or_default())]
    Timeout {
        what: String,
        maybe_sent: bool,
        holder: Option<String>,
    },
    /// The connection was closed.
    #[error("{0} is closed")]
    Closed(String),
    /// No such object, job or dead letter.
    #[error("there is no {what} {name:?}")]
    NotFound { what: &'static str, name: String },
    /// `expect` or `expect_key` did not hold; `actual` is the position that is there (None: empty or absent).
    #[error("the expected position was not the last one of {what}: found {}", actual.map_or("none".to_owned(), |a| a.to_string()))]
    Conflict { what: String, actual: Option<u64> },
    /// A unique job is unfinished.
    #[error("an unfinished job with the same unique key is there: {first}")]
    Duplicate { first: String },
    /// A position below the retention floor.
    #[error("position {asked} of {what} has been trimmed; the first one kept is {first}")]
    Trimmed {
        what: String,
        asked: u64,
        first: u64,
    },
    /// A record or batch above its limit, bytes.
    #[error("{what} has {size} bytes; the limit is {limit}")]
    TooLarge {
        what: &'static str,
        size: u64,
        limit: u64,
    },
    /// A queue at its `max_length`.
    #[error("{what} is full: {limit} messages are unfinished")]
    Full { what: String, limit: u64 },
    /// A subscription with `overflow="error"` was overrun.
    #[error("the subscriber of {what} was too slow; {dropped} messages were dropped")]
    SlowConsumer { what: String, dropped: u64 },
    /// The lease of a delivery is over; nothing was changed.
    #[error("the lease of {what} was lost")]
    LeaseLost { what: String },
    /// The disk is full.
    #[error("no space left for {}: {what}; nothing acknowledged is lost, free space and try again", path.display())]
    StorageFull { path: PathBuf, what: String },
    /// A failed fsync: final.
    #[error("{}: {what}; what was appended after {last_synced} may be lost; see headwater doctor", path.display())]
    Durability {
        path: PathBuf,
        what: String,
        last_synced: u64,
    },
    /// Bytes that are not what was written.
    #[error("{} is corrupt at byte {offset}: {what}; see headwater doctor", file.display())]
    Corruption {
        file: PathBuf,
        offset: u64,
        what: String,
    },
    /// Any other failure of the file system.
    #[error("{op} {}: {source}", path.display())]
    Io {
        op: &'static str,
        path: PathBuf,
        source: std::io::Error,
    },
}

impl Error {
    /// A helper for `map_err` on file operations; a full disk becomes `StorageFull`.
    pub fn io(op: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| match source.raw_os_error() {
            Some(libc::ENOSPC | libc::EDQUOT | libc::EFBIG) => Self::StorageFull {
                path,
                what: op.to_owned(),
            },
            _ => Self::Io { op, path, source },
        }
    }
}
