//! The groups of a stream: made, opened, listed and deleted by name.

use std::sync::Arc;

use super::core::Op;
use super::lanes::Lanes;
use super::source::Source;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::log::{Log, LogKind};
use crate::meta::Meta;
use crate::object;
use crate::options::{GroupConfig, GroupStart};
use crate::stream::Stream;

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
    /// A stream, and where its groups lie.
    fn groups_of(&self, stream: &str) -> Result<(Arc<Stream>, String)> {
        let stream = self.open_stream(stream)?;
        let place = format!("{}/g", stream.rel);
        Ok((stream, place))
    }

    fn group_at(&self, stream: &Stream, rel: &str, meta: &Meta) -> Result<Source> {
        let log = Arc::clone(stream.log());
        // The group may be of a new stream of this name.
        log.check_alive()?;
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
        let what = format!("group {} of stream {}", meta.name, stream.name());
        let core = self
            .catalog()
            .core(rel, meta, &what, || Lanes::of_stream(log), start)?;
        Ok(Source::new(core))
    }

    /// Opens a group that is there.
    ///
    /// Errors: `NotFound`, `InvalidName`.
    pub fn open_group(&self, stream: &str, name: &str) -> Result<Source> {
        let (stream, parent) = self.groups_of(stream)?;
        crate::name::validate(name)?;
        match object::find(self.ctx(), &parent, name)? {
            Some((rel, meta)) => self.group_at(&stream, &rel, &meta),
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
        let (stream, parent) = self.groups_of(stream)?;
        crate::name::validate(name)?;
        super::progress::checked(config)?;
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
        let source = self.group_at(&stream, &found.0, &found.1)?;
        let before = if made {
            None
        } else {
            Some(source.alter(config)?)
        };
        Ok((source, before))
    }

    /// The names of a stream's groups.
    pub fn groups(&self, stream: &str) -> Result<Vec<String>> {
        let (_, parent) = self.groups_of(stream)?;
        let found = object::list(self.ctx(), &parent)?;
        Ok(found.into_iter().map(|(_, meta)| meta.name).collect())
    }

    /// Deletes a group with its progress and dead letters. Who has it open gets `NotFound` from now on.
    ///
    /// Errors: `NotFound`.
    pub fn delete_group(&self, stream: &str, name: &str) -> Result<()> {
        let (_, parent) = self.groups_of(stream)?;
        match object::find(self.ctx(), &parent, name)? {
            Some((rel, _)) => self.catalog().remove(&rel),
            None => Err(missing("group", name)),
        }
    }
}
