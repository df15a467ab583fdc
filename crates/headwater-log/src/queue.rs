//! Queues: jobs in lanes, one for each priority, and one group over them.

use crate::error::Result;
use crate::group::{JobId, OnDuplicate, Put, Source};
use crate::log::Record;
use crate::options::QueueConfig;

/// A queue. Cheap to clone.
#[derive(Clone)]
pub struct Queue {
    source: Source,
}

impl Queue {
    pub fn source(&self) -> &Source {
        &self.source
    }
    pub fn put(
        &self,
        _record: &Record<'_>,
        _priority: u8,
        _on_duplicate: OnDuplicate,
    ) -> Result<Put> {
        todo!()
    }
    /// Priorities lie beside the records. With `atomic` all or none; then all must have one priority.
    pub fn put_many(
        &self,
        _records: &[(Record<'_>, u8)],
        _on_duplicate: OnDuplicate,
        _atomic: bool,
    ) -> Result<Vec<Result<Put>>> {
        todo!()
    }
    pub fn wait_durable(&self, _put: &Put, _deadline: Option<std::time::Instant>) -> Result<()> {
        todo!()
    }
    pub fn cancel(&self, _id: JobId) -> Result<bool> {
        todo!()
    }
    pub fn purge(&self) -> Result<u64> {
        todo!()
    }
    pub fn config(&self) -> Result<QueueConfig> {
        todo!()
    }
    pub fn alter(&self, _config: &QueueConfig) -> Result<QueueConfig> {
        todo!()
    }
}
