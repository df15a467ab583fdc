//! `meta.bin`: what an object is, beside its data. Two slots; the older is overwritten, the highest valid one counts, so that
//! a crash in the middle of a change leaves the state before it.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::log::checksum::crc32c;
use crate::log::LogKind;
use crate::storage::{Map, Storage};

pub(crate) const SLOT: usize = 4096;
const MAGIC: [u8; 8] = *b"HWMETA\r\n";
pub(crate) const FILE: &str = "meta.bin";

/// Why a hole is there: all records in it were done with. Any other reason is damage.
pub const FINISHED: &str = "finished";

/// A range of positions that recovery found unreadable, or that were trimmed from the middle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hole {
    pub from: u64,
    pub to: u64,
    pub reason: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Meta {
    pub oid: u64,
    /// "stream", "queue", "lane" or "group".
    pub kind: String,
    /// The full name; the directory's name is only a slug of it.
    pub name: String,
    pub config: serde_json::Value,
    /// The first position kept.
    pub first_seq: u64,
    /// The same of a group's notes, which lie beside its journal.
    #[serde(default = "one")]
    pub first_note: u64,
    #[serde(default)]
    pub holes: Vec<Hole>,
    #[serde(skip)]
    pub(crate) generation: u64,
}

fn one() -> u64 {
    1
}

impl Meta {
    /// The first position that a log of the object keeps.
    pub fn first(&self, kind: LogKind) -> u64 {
        match kind {
            LogKind::Notes => self.first_note,
            LogKind::Stream | LogKind::Journal => self.first_seq,
        }
    }

    /// Nothing below it is kept any more.
    pub fn raise_first(&mut self, kind: LogKind, to: u64) {
        let first = match kind {
            LogKind::Notes => &mut self.first_note,
            LogKind::Stream | LogKind::Journal => &mut self.first_seq,
        };
        *first = (*first).max(to);
    }

    pub fn new(oid: u64, kind: &str, name: &str, config: serde_json::Value) -> Self {
        Self {
            oid,
            kind: kind.to_owned(),
            name: name.to_owned(),
            config,
            first_seq: 1,
            first_note: 1,
            holes: Vec::new(),
            generation: 0,
        }
    }

    /// The same for a file of its own.
    pub(crate) fn fresh(&self) -> Self {
        Self {
            generation: 0,
            ..self.clone()
        }
    }

    /// Reads the newest valid slot of `dir/meta.bin`.
    ///
    /// Errors: `NotFound` where there is no file, `Corruption` where neither slot is valid.
    pub fn load(storage: &dyn Storage, dir: &Path) -> Result<Self> {
        let path = dir.join(FILE);
        let file = storage.open(&path)?;
        // Behind the end of a file there is nothing to be read, but a signal.
        let slots = (storage.len(&file, &path)? as usize / SLOT).min(2);
        if slots == 0 {
            return Err(Error::Corruption {
                file: path,
                offset: 0,
                what: "the metadata is cut off".to_owned(),
            });
        }
        let map = storage.map(&file, &path, slots * SLOT, false)?;
        let mut best: Option<Self> = None;
        for number in 0..slots {
            let mut bytes = vec![0u8; SLOT];
            map.read(number * SLOT, &mut bytes);
            if let Some(found) = decode(&bytes) {
                if best
                    .as_ref()
                    .is_none_or(|best| best.generation < found.generation)
                {
                    best = Some(found);
                }
            }
        }
        best.ok_or(Error::Corruption {
            file: path,
            offset: 0,
            what: "neither copy of the metadata is valid".to_owned(),
        })
    }

    /// Writes the slot that is older, and syncs it.
    pub fn store(&mut self, storage: &dyn Storage, dir: &Path) -> Result<()> {
        let path = dir.join(FILE);
        let file = if storage.exists(&path) {
            storage.open(&path)?
        } else {
            storage.create(&path, 2 * SLOT as u64)?
        };
        if storage.len(&file, &path)? < 2 * SLOT as u64 {
            storage.extend(&file, &path, 2 * SLOT as u64)?;
        }
        let map = storage.map(&file, &path, 2 * SLOT, true)?;
        if self.generation == 0 {
            // Both from the beginning, so that damage to one costs nothing.
            self.write(&map)?;
        }
        self.write(&map)?;
        storage.sync(&file, &path)
    }

    fn write(&mut self, map: &Map) -> Result<()> {
        self.generation += 1;
        let json = serde_json::to_vec(self)
            .map_err(|e| Error::Usage(format!("metadata of {}: {e}", self.name)))?;
        if json.len() > SLOT - 32 {
            return Err(Error::Usage(format!(
                "the options of {} have {} bytes; they must fit {}",
                self.name,
                json.len(),
                SLOT - 32
            )));
        }
        let mut bytes = vec![0u8; SLOT];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..16].copy_from_slice(&self.generation.to_le_bytes());
        bytes[16..20].copy_from_slice(&(json.len() as u32).to_le_bytes());
        bytes[24..24 + json.len()].copy_from_slice(&json);
        let crc = crc32c(0, &bytes[..SLOT - 4]);
        bytes[SLOT - 4..].copy_from_slice(&crc.to_le_bytes());
        map.write((self.generation % 2) as usize * SLOT, &bytes);
        Ok(())
    }
}

/// What a slot says. None: nothing was ever written to it, or it is damaged.
pub(crate) fn decode(bytes: &[u8]) -> Option<Meta> {
    let crc = u32::from_le_bytes(bytes[SLOT - 4..].try_into().ok()?);
    if bytes[..8] != MAGIC || crc32c(0, &bytes[..SLOT - 4]) != crc {
        return None;
    }
    let len = u32::from_le_bytes(bytes[16..20].try_into().ok()?) as usize;
    let mut meta: Meta = serde_json::from_slice(bytes.get(24..24 + len)?).ok()?;
    meta.generation = u64::from_le_bytes(bytes[8..16].try_into().ok()?);
    Some(meta)
}

/// The metadata of a directory as it is now, for whoever only looks.
pub(crate) fn read(dir: &Path) -> Option<Meta> {
    let bytes = std::fs::read(dir.join(FILE)).ok()?;
    bytes
        .chunks_exact(SLOT)
        .filter_map(decode)
        .max_by_key(|meta| meta.generation)
}
