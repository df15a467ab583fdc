//! For the unit tests of this crate: a context over a directory or memory without the session protocol, so that a "crash" is a
//! dropped context and the next session a new one.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::time::Duration;

use crate::ctx::{EngineCtx, Life};
use crate::log::{Log, LogKind};
use crate::object;
use crate::options::{limits, Durability};
use crate::shared::layout::{GROW, PAGE};
use crate::shared::Shared;
use crate::storage::{Disk, Memory, Storage};
use crate::stream::Stream;

pub struct Place {
    pub storage: Arc<dyn Storage>,
    pub root: std::path::PathBuf,
    pub session: u64,
    pub durability: Durability,
}

impl Place {
    pub fn memory() -> Self {
        let storage: Arc<dyn Storage> = Arc::new(Memory::default());
        Self {
            storage,
            root: "/memory".into(),
            session: 0,
            durability: Durability::Interval,
        }
    }

    pub fn disk(root: &Path) -> Self {
        Self {
            storage: Arc::new(Disk),
            root: root.to_owned(),
            session: 0,
            durability: Durability::Interval,
        }
    }

    /// A new session; `last_unclean` as the session file would say.
    pub fn open(&mut self, last_unclean: u64, last_lossy: u64) -> Arc<EngineCtx> {
        self.session += 1;
        let file = crate::shared::bell::anonymous_file("state").unwrap();
        file.set_len(GROW as u64 * PAGE as u64).unwrap();
        let mut shared = Shared::new(file, None, &self.root, self.session).unwrap();
        shared.head().n_pages.store(GROW, Ordering::Release);
        shared.take_slot("test").unwrap();
        Arc::new(EngineCtx {
            shared: Arc::new(shared),
            storage: Arc::clone(&self.storage),
            root: self.root.clone(),
            uuid: [5; 16],
            durability: self.durability,
            interval: Duration::from_millis(100),
            session: self.session,
            last_unclean,
            last_lossy,
            max_record_bytes: limits::RECORD_BYTES,
            op_timeout: Duration::from_secs(30),
            memory: false,
            life: Life::new(self.durability),
        })
    }
}

/// The stream "orders", made when it is not there.
pub fn stream(ctx: &Arc<EngineCtx>) -> Stream {
    let rel = match object::find(ctx, "s", "orders").unwrap() {
        Some((rel, _)) => rel,
        None => object::create(
            ctx,
            "s",
            "stream",
            "orders",
            &[LogKind::Stream],
            serde_json::json!({}),
        )
        .unwrap(),
    };
    let (_, meta) = object::find(ctx, "s", "orders").unwrap().unwrap();
    let log: Arc<Log> = object::open_log(ctx, &rel, &meta, LogKind::Stream).unwrap();
    Stream::new(log, rel, "orders".to_owned())
}
