//! The embedded engine of headwater: streams, groups, queues and channels in a directory that any number of processes
//! share. Pure Rust; knows no Python. See docs/design/engine.md for the files and the protocol.

pub mod error;
pub mod options;

pub use error::{Error, Result};
