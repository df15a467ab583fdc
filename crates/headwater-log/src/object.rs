//! Objects in their directories: `s/` streams, `q/` queues, `g/` groups inside them (engine.md §2).

use std::path::Path;
use std::sync::Arc;

use crate::ctx::EngineCtx;
use crate::error::{Error, Result};
use crate::log::{random_u64, Log, LogKind};
use crate::meta::Meta;

/// A directory's name for an object: readable, short, and told apart by a hash of the full name, which meta.bin holds.
pub fn dir_name(name: &str) -> String {
    let slug: String = name
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || c == '.' || c == '_' {
                c.to_ascii_lowercase()
            } else {
                '-'
            }
        })
        .take(40)
        .collect();
    format!(
        "{}-{:08x}",
        slug.trim_start_matches('.'),
        fnv1a(name.as_bytes()) as u32
    )
}

/// FNV-1a, 64 bits (draft-eastlake-fnv): stable, since it is part of names on the disk. Folded to 32 by the caller.
pub fn fnv1a(bytes: &[u8]) -> u64 {
    let hash = bytes.iter().fold(0xCBF2_9CE4_8422_2325u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01B3)
    });
    hash ^ hash >> 32
}

/// Makes an object's directory whole under a private name, then gives it its own: nobody sees half of one. The caller holds
/// SETUP.
///
/// parent: relative to the root ("s", "q", "s/orders-1a2b3c4d/g"). kinds: the logs in it. Returns the path relative to the root.
///
/// Errors: `Usage` where another name has the same hash.
pub fn create(
    ctx: &EngineCtx,
    parent: &str,
    kind: &str,
    name: &str,
    kinds: &[LogKind],
    config: serde_json::Value,
) -> Result<String> {
    create_as(ctx, parent, &dir_name(name), kind, name, kinds, config)
}

/// The same where the directory's name does not follow from the object's: a queue's lanes.
pub fn create_as(
    ctx: &EngineCtx,
    parent: &str,
    dir: &str,
    kind: &str,
    name: &str,
    kinds: &[LogKind],
    config: serde_json::Value,
) -> Result<String> {
    let rel = format!("{parent}/{dir}");
    let path = ctx.root.join(&rel);
    let storage = &*ctx.storage;
    let parent_path = ctx.root.join(parent);
    if !storage.exists(&parent_path) {
        storage.make_dir(&parent_path)?;
        if let Some(above) = parent_path.parent() {
            storage.sync_dir(above)?;
        }
    }
    if storage.exists(&path) {
        return Err(Error::Usage(format!(
            "{} is in the way: the directory of {kind} {name} exists already",
            path.display()
        )));
    }
    let private = parent_path.join(format!(".new-{:x}", random_u64()));
    storage.make_dir(&private)?;
    let made = (|| {
        let oid = random_u64();
        Meta::new(oid, kind, name, config).store(storage, &private)?;
        for log in kinds {
            Log::create_files(ctx, &private, *log, log_oid(oid, *log))?;
        }
        storage.sync_dir(&private)?;
        storage.rename(&private, &path)?;
        storage.sync_dir(&parent_path)
    })();
    if let Err(error) = made {
        storage.remove_dir_all(&private)?;
        return Err(error);
    }
    Ok(rel)
}

/// Each log of an object has an identity of its own, derived from the object's.
pub fn log_oid(oid: u64, kind: LogKind) -> u64 {
    oid.rotate_left(kind as u32 - 1) ^ (kind as u64 - 1).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

/// The object of this name, if it is there: its relative path and metadata.
pub fn find(ctx: &EngineCtx, parent: &str, name: &str) -> Result<Option<(String, Meta)>> {
    let rel = format!("{parent}/{}", dir_name(name));
    let path = ctx.root.join(&rel);
    if !ctx.storage.exists(&path) {
        return Ok(None);
    }
    let meta = Meta::load(&*ctx.storage, &path)?;
    if meta.name != name {
        return Err(Error::Usage(format!(
            "the names {name:?} and {:?} have the same directory {}; choose another name",
            meta.name,
            path.display()
        )));
    }
    Ok(Some((rel, meta)))
}

/// All objects below `parent`: relative path and metadata. What can't be read is left out (doctor tells).
pub fn list(ctx: &EngineCtx, parent: &str) -> Result<Vec<(String, Meta)>> {
    let mut found = Vec::new();
    for name in ctx.storage.list(&ctx.root.join(parent))? {
        let rel = format!("{parent}/{name}");
        if !name.starts_with('.') {
            if let Ok(meta) = Meta::load(&*ctx.storage, &ctx.root.join(&rel)) {
                found.push((rel, meta));
            }
        }
    }
    Ok(found)
}

/// The directories of all objects below `parent`, relative to the root, also of those that can't be read.
pub fn names(ctx: &EngineCtx, parent: &str) -> Result<Vec<String>> {
    let names = ctx.storage.list(&ctx.root.join(parent))?;
    Ok(names
        .into_iter()
        .filter(|name| !name.starts_with('.'))
        .map(|name| format!("{parent}/{name}"))
        .filter(|rel| ctx.root.join(rel).is_dir())
        .collect())
}

/// Opens one log of an object; the page is found or made. `setup` is held by the caller where the page may be new.
pub fn open_log(ctx: &Arc<EngineCtx>, rel: &str, meta: &Meta, kind: LogKind) -> Result<Arc<Log>> {
    let oid = log_oid(meta.oid, kind);
    let page = ctx.shared.page_for(oid, Log::page_kind(kind), rel)?;
    Log::open(ctx, rel, kind, page, oid)
}

/// The log behind a page, for repair after a death: opened by the path that the page holds.
pub fn open_by_page(ctx: &Arc<EngineCtx>, page: u32) -> Result<Option<Arc<Log>>> {
    use std::sync::atomic::Ordering;
    let state = ctx.shared.page(page);
    let number = state.kind.load(Ordering::Acquire);
    let Some(kind) =
        LogKind::of(number >> 8).filter(|_| number & 0xFF == crate::shared::layout::page_kind::LOG)
    else {
        return Ok(None);
    };
    if state.deleted.load(Ordering::Acquire) != 0 {
        return Ok(None);
    }
    let rel = ctx.shared.path_of(page);
    if !Path::new(&ctx.root.join(&rel)).exists() && !ctx.memory {
        return Ok(None);
    }
    Log::open(ctx, &rel, kind, page, state.oid.load(Ordering::Acquire)).map(Some)
}
