//! What there is in a directory: found, declared, listed, deleted.

use std::sync::Arc;

use crate::catalog::{Catalog, QUEUES, STREAMS};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::log::LogKind;
use crate::object;
use crate::options::StreamConfig;
use crate::stream::Stream;

/// One stored object.
#[derive(Clone, Debug, PartialEq)]
pub struct ObjectInfo {
    /// "stream", "queue" or "group".
    pub kind: String,
    pub name: String,
    /// A group's stream.
    pub parent: Option<String>,
    pub config: serde_json::Value,
}

impl Engine {
    pub(crate) fn catalog(&self) -> Arc<Catalog> {
        Catalog::of(self.ctx())
    }

    /// Opens a stream that is there.
    ///
    /// Errors: `NotFound`, `InvalidName`.
    pub fn open_stream(&self, name: &str) -> Result<Arc<Stream>> {
        self.check()?;
        crate::name::validate(name)?;
        match object::find(self.ctx(), STREAMS, name)? {
            Some((rel, meta)) => self.catalog().stream_at(&rel, &meta),
            None => Err(Error::NotFound {
                what: "stream",
                name: name.to_owned(),
            }),
        }
    }

    /// Opens a stream, making it if it is not there. The options that were stored before are returned, None for a new one.
    ///
    /// Errors: `InvalidName`, `StorageFull`.
    pub fn declare_stream(
        &self,
        name: &str,
        config: &StreamConfig,
    ) -> Result<(Arc<Stream>, Option<StreamConfig>)> {
        self.check()?;
        crate::name::validate(name)?;
        let ctx = self.ctx();
        let mut made = false;
        let found = match object::find(ctx, STREAMS, name)? {
            Some(found) => found,
            None => {
                let _gate = ctx.setup()?;
                match object::find(ctx, STREAMS, name)? {
                    Some(found) => found,
                    None => {
                        let stored = serde_json::to_value(config)
                            .map_err(|e| Error::Usage(e.to_string()))?;
                        object::create(ctx, STREAMS, "stream", name, &[LogKind::Stream], stored)?;
                        made = true;
                        object::find(ctx, STREAMS, name)?.ok_or_else(|| Error::NotFound {
                            what: "stream",
                            name: name.to_owned(),
                        })?
                    }
                }
            }
        };
        let stream = self.catalog().stream_at(&found.0, &found.1)?;
        let before = if made {
            None
        } else {
            Some(stream.alter(config)?)
        };
        Ok((stream, before))
    }

    /// What is stored, by kind and name.
    pub fn objects(&self) -> Result<Vec<ObjectInfo>> {
        self.check()?;
        let ctx = self.ctx();
        let mut found = Vec::new();
        for parent in [STREAMS, QUEUES] {
            for (rel, meta) in object::list(ctx, parent)? {
                if parent == STREAMS {
                    for (_, group) in object::list(ctx, &format!("{rel}/g"))? {
                        found.push(ObjectInfo {
                            kind: "group".to_owned(),
                            name: group.name,
                            parent: Some(meta.name.clone()),
                            config: group.config,
                        });
                    }
                }
                found.push(ObjectInfo {
                    kind: meta.kind,
                    name: meta.name,
                    parent: None,
                    config: meta.config,
                });
            }
        }
        Ok(found)
    }

    /// Deletes a "stream" or "queue" with everything in it. Who has it open gets `NotFound` from now on.
    ///
    /// Errors: `NotFound`.
    pub fn delete(&self, kind: &str, name: &str) -> Result<()> {
        self.check()?;
        crate::name::validate(name)?;
        let (parent, what) = if kind == "queue" {
            (QUEUES, "queue")
        } else {
            (STREAMS, "stream")
        };
        let Some((rel, _)) = object::find(self.ctx(), parent, name)? else {
            return Err(Error::NotFound {
                what,
                name: name.to_owned(),
            });
        };
        self.catalog().remove(&rel)
    }
}
