//! What every log of a directory needs to know of it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::options::Durability;
use crate::shared::Shared;
use crate::storage::Storage;

/// Shared by all objects of one directory in one process.
pub struct EngineCtx {
    pub shared: Arc<Shared>,
    pub storage: Arc<dyn Storage>,
    /// The directory (in memory: a path that stands for it).
    pub root: PathBuf,
    pub uuid: [u8; 16],
    pub durability: Durability,
    pub interval: Duration,
    /// Rises with every session.
    pub session: u64,
    /// The last session that did not end cleanly; 0: none. A log's tail note counts iff it is of a later one.
    pub last_unclean: u64,
    /// The last session whose page cache may have been lost: another boot, or a copied directory. 0: none.
    pub last_lossy: u64,
    pub max_record_bytes: u64,
    /// How long an operation may wait for a lock when its caller does not say.
    pub op_timeout: Duration,
    pub memory: bool,
}
