//! Groups: who works on what, over a stream or over the lanes of a queue (engine.md §9).
//!
//! The state of a group is a deterministic machine. Each process replays it from the group's journal; it changes only by
//! entries of the journal, which are appended under the journal's lock.
//!
//! - `entry`: the journal's entries and their bytes;
//! - `machine`: the state, and what each entry does to it;
//! - `decide`: who gets what next, given a state, the time and the records;
//! - `snapshot`: the state as bytes, so that a journal needn't be replayed from its beginning.

pub(crate) mod core;
mod dead;
pub mod decide;
pub mod entry;
pub(crate) mod lanes;
pub(crate) mod leases;
pub mod machine;
pub(crate) mod notes;
mod of_stream;
mod progress;
pub(crate) mod replica;
mod settle;
pub mod snapshot;
pub mod source;
pub mod trace;
pub mod types;

pub use source::{DeadLetter, Source};
pub use trace::{Event, Trace};
pub use types::*;

#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod replica_tests;
