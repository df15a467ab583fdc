//! The groups of a stream: made, opened, listed and deleted by name.

use crate::catalog::STREAMS;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::group::core::Op;
use crate::group::lanes::Lanes;
use crate::group::Source;
use crate::log::{Log, LogKind};
use crate::meta::Meta;
use crate::object;
use crate::options::{GroupConfig, GroupStart};
use std::sync::Arc;

fn missing(what: &'static str, name: &str) -> Error {
    Error::NotFound {
        what,
        name: name.to_owned(),
    }
}

/// The position that a new group begins at.
fn first(log: &Arc<Log>, start: Option<GroupStart>) -> Result<u64> {
    Ok(match start.unwrap_or(GroupStart::Earliest) {
        GroupStart::Earliest => log.first_seq(),
        GroupStart::Latest => log.next_seq(),
        GroupStart::Seq(seq) => seq.max(1),
        GroupStart::Time(time) => log.seq_at_time(time)?,
    })
}

impl Engine {
    /// Where a stream's groups lie.
    fn groups_of(&self, stream: &str) -> Result<String> {
        self.check()?;
        crate::name::validate(stream)?;
        match object::find(self.ctx(), STREAMS, stream)? {
            Some((rel, _)) => Ok(format!("{rel}/g")),
            None => Err(missing("stream", stream)),
        }
    }

    fn group_at(&self, stream: &str, rel: &str, meta: &Meta) -> Result<Source> {
        let log = Arc::clone(self.open_stream(stream)?.log());
        let start = {
            let (log, config) = (Arc::clone(&log), meta.config.clone());
            move |op: &mut Op<'_>| {
                let config: GroupConfig = serde_json::from_value(config).unwrap_or_default();
                let json = serde_json::to_vec(&config).map_err(|e| Error::Usage(e.to_string()))?;
                op.writer.config(&json);
                op.writer.lane(0);
                op.writer.seek(0, first(&log, config.start)?);
                Ok(())
            }
        };
        let what = format!("group {} of stream {stream}", meta.name);
        let core = self
            .catalog()
            .core(rel, meta, &what, || Lanes::of_stream(log), start)?;
        Ok(Source::new(core))
    }

    /// Opens a group that is there.
    ///
    /// Errors: `NotFound`, `InvalidName`.
    pub fn open_group(&self, stream: &str, name: &str) -> Result<Source> {
        let parent = self.groups_of(stream)?;
        crate::name::validate(name)?;
        match object::find(self.ctx(), &parent, name)? {
            Some((rel, meta)) => self.group_at(stream, &rel, &meta),
            None => Err(missing("group", name)),
        }
    }

    /// Opens a group of a stream that is there, making the group if it is not. `start` applies then, once. The options that were
    /// stored before are returned, None for a new one.
    ///
    /// Errors: `NotFound` for the stream, `Declaration` for another ordering than the stored one.
    pub fn declare_group(
        &self,
        stream: &str,
        name: &str,
        config: &GroupConfig,
    ) -> Result<(Source, Option<GroupConfig>)> {
        let parent = self.groups_of(stream)?;
        crate::name::validate(name)?;
        let ctx = self.ctx();
        let mut made = false;
        let found = match object::find(ctx, &parent, name)? {
            Some(found) => found,
            None => {
                let _gate = ctx.setup()?;
                if object::find(ctx, &parent, name)?.is_none() {
                    let stored =
                        serde_json::to_value(config).map_err(|e| Error::Usage(e.to_string()))?;
                    let logs = [LogKind::Journal, LogKind::Notes];
                    object::create(ctx, &parent, "group", name, &logs, stored)?;
                    made = true;
                }
                object::find(ctx, &parent, name)?.ok_or_else(|| missing("group", name))?
            }
        };
        let source = self.group_at(stream, &found.0, &found.1)?;
        let before = if made {
            None
        } else {
            Some(source.alter(config)?)
        };
        Ok((source, before))
    }

    /// The names of a stream's groups.
    pub fn groups(&self, stream: &str) -> Result<Vec<String>> {
        let parent = self.groups_of(stream)?;
        let found = object::list(self.ctx(), &parent)?;
        Ok(found.into_iter().map(|(_, meta)| meta.name).collect())
    }

    /// Deletes a group with its progress and dead letters. Who has it open gets `NotFound` from now on.
    ///
    /// Errors: `NotFound`.
    pub fn delete_group(&self, stream: &str, name: &str) -> Result<()> {
        let parent = self.groups_of(stream)?;
        match object::find(self.ctx(), &parent, name)? {
            Some((rel, _)) => self.catalog().remove(&rel),
            None => Err(missing("group", name)),
        }
    }
}
