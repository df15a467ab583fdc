//! The logs of a queue's priorities: lane 0 is the queue's own, the others are made at their first use.

use std::sync::Arc;

use super::Queue;
use crate::catalog::Catalog;
use crate::ctx::EngineCtx;
use crate::error::{Error, Result};
use crate::group::lanes::Lanes;
use crate::group::LANES;
use crate::log::{Log, LogKind};
use crate::meta::Meta;
use crate::object;
use crate::stream::Wait;

fn dir(number: u8) -> String {
    format!("l{number}")
}

/// The lanes of the queue at `rel`, as its group looks for them.
pub(super) fn of_queue(ctx: &Arc<EngineCtx>, rel: &str, first: Arc<Log>) -> Lanes {
    let (ctx, rel) = (Arc::clone(ctx), rel.to_owned());
    Lanes::new(move |number| {
        if number == 0 {
            return Ok(Some(Arc::clone(&first)));
        }
        let rel = format!("{rel}/{}", dir(number));
        if !ctx.storage.exists(&ctx.root.join(&rel)) {
            return Ok(None);
        }
        let meta = Meta::load(&*ctx.storage, &ctx.root.join(&rel))?;
        Catalog::of(&ctx)
            .log(&rel, &meta, LogKind::Stream)
            .map(Some)
    })
}

impl Queue {
    /// The log of a priority; it is made where there is none yet.
    #[inline]
    pub(super) fn lane(&self, priority: u8, wait: Wait) -> Result<&Arc<Log>> {
        match self.lanes().opened(priority) {
            Some(log) => Ok(log),
            None => self.open_lane(priority, wait),
        }
    }

    #[inline]
    pub(super) fn lanes(&self) -> &Lanes {
        &self.core().lanes
    }

    /// Opens the lanes that others have made. That reads files, and is done before the group's lock is taken.
    pub(super) fn open_lanes(&self) -> Result<()> {
        let made = self
            .core()
            .look(|machine, _| Ok(machine.lanes.each_ref().map(|lane| lane.made)))?;
        for (number, made) in made.into_iter().enumerate() {
            if made {
                self.lanes().lane(number as u8)?;
            }
        }
        Ok(())
    }

    #[cold]
    fn open_lane(&self, priority: u8, wait: Wait) -> Result<&Arc<Log>> {
        if priority as usize >= LANES {
            return Err(Error::Usage(format!(
                "a priority is a number from 0 to 9, not {priority}"
            )));
        }
        let Wait::Until(deadline) = wait else {
            return Err(Error::WouldBlock);
        };
        let (ctx, core) = (&self.inner.ctx, self.core());
        let rel = format!("{}/{}", self.inner.rel, dir(priority));
        if !ctx.storage.exists(&ctx.root.join(&rel)) {
            let _gate = ctx.setup()?;
            core.check()?;
            if !ctx.storage.exists(&ctx.root.join(&rel)) {
                object::create_as(
                    ctx,
                    &self.inner.rel,
                    &dir(priority),
                    "lane",
                    &format!("{}/{priority}", self.inner.name),
                    &[LogKind::Stream],
                    serde_json::Value::Null,
                )?;
            }
        }
        crate::fail::kp("lane:made");
        // Whoever made the directory may have died before it said so.
        core.operate(Some(deadline), |op| {
            if !op.machine.lanes[priority as usize].made {
                op.writer.lane(priority);
            }
            Ok(())
        })?;
        // A job must not outlive the entry without which nobody looks for it.
        core.journal.flush(Some(deadline))?;
        self.lanes().lane(priority)?;
        self.lanes().opened(priority).ok_or(Error::NotFound {
            what: "lane",
            name: rel,
        })
    }
}
