//! The embedded engine of headwater: streams, groups, queues and channels in a directory that any number of processes
//! share. Pure Rust; knows no Python. See docs/design/engine.md for the files and the protocol.

pub mod backup;
pub mod catalog;
pub mod channel;
pub mod ctx;
pub mod doctor;
pub mod engine;
pub mod error;
pub mod fail;
pub mod fork;
pub mod group;
pub(crate) mod identity;
pub mod log;
pub mod meta;
pub mod name;
pub mod object;
pub mod objects;
pub mod options;
pub mod queue;
pub(crate) mod session;
pub(crate) mod session_file;
pub mod shared;
pub mod storage;
pub mod stream;
#[cfg(test)]
pub(crate) mod testing;
pub mod threads;

pub use engine::{Engine, EngineInfo, ProcessInfo};
pub use error::{Error, Result};
pub use objects::ObjectInfo;
