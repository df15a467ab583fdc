//! One file of a log: a header page of independently written sectors, then frames from byte 4096; and its index beside it
//! (engine.md §2).

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use super::checksum::crc32c;
use super::header;
pub use super::header::{Header, Seal, TailNote, START};
use crate::ctx::EngineCtx;
use crate::error::{Error, Result};
use crate::storage::Map;

pub const SMALLEST: u64 = 64 << 10;
pub const LARGEST: u64 = 64 << 20;

/// An index entry stands before the first frame that lies so far behind the last entry's.
pub const INDEX_BYTES: u64 = 32 << 10;
pub const INDEX_RECORDS: u64 = 1024;
const INDEX_MAGIC: [u8; 8] = *b"HWIDX\x1a\r\n";
const INDEX_HEADER: usize = 64;
const INDEX_ENTRY: usize = 32;

/// What a log is for; the number is in the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum LogKind {
    Stream = 1,
    Journal = 2,
    Notes = 3,
}

impl LogKind {
    pub fn file_name(self, base_seq: u64) -> String {
        match self {
            Self::Stream => format!("{base_seq:020}.seg"),
            Self::Journal => format!("{base_seq:020}.jrn"),
            Self::Notes => format!("notes-{base_seq:020}.seg"),
        }
    }

    /// The base_seq that a file's name gives, if it is one of this kind.
    pub fn parse(self, name: &str) -> Option<u64> {
        let digits = match self {
            Self::Stream => name.strip_suffix(".seg")?,
            Self::Journal => name.strip_suffix(".jrn")?,
            Self::Notes => name.strip_prefix("notes-")?.strip_suffix(".seg")?,
        };
        (digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit()))
            .then(|| digits.parse().ok())?
    }

    pub fn of(number: u32) -> Option<Self> {
        [Self::Stream, Self::Journal, Self::Notes]
            .into_iter()
            .find(|kind| *kind as u32 == number)
    }
}

/// One entry: before the frame at `off`, so much had been written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexEntry {
    /// The frame's first seq.
    pub seq: u64,
    /// The greatest event time of all records before the frame.
    pub max_time: i64,
    pub off: u32,
    /// Records of this segment before the frame.
    pub ordinal: u32,
}

impl IndexEntry {
    fn encode(&self, seed: u32) -> [u8; INDEX_ENTRY] {
        let mut out = [0u8; INDEX_ENTRY];
        out[..8].copy_from_slice(&self.seq.to_le_bytes());
        out[8..16].copy_from_slice(&self.max_time.to_le_bytes());
        out[16..20].copy_from_slice(&self.off.to_le_bytes());
        out[20..24].copy_from_slice(&self.ordinal.to_le_bytes());
        let crc = crc32c(seed, &out[..28]);
        out[28..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    fn decode(bytes: &[u8; INDEX_ENTRY], seed: u32) -> Option<Self> {
        let short =
            |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap_or_default());
        let number =
            |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap_or_default());
        // An offset of zero is no frame's: an entry of zeros is none, whatever the seed.
        (short(16) >= START as u32 && crc32c(seed, &bytes[..28]) == short(28)).then(|| Self {
            seq: number(0),
            max_time: number(8) as i64,
            off: short(16),
            ordinal: short(20),
        })
    }
}

/// The entries of an index file, and the byte where one was cut short behind them, as a killed writer leaves it. Errors: the byte, and
/// what is wrong there.
#[allow(clippy::type_complexity)] // Two results of one look.
pub(crate) fn index_entries(
    bytes: &[u8],
    seed: u32,
    file_size: u64,
) -> std::result::Result<(Vec<IndexEntry>, Option<u64>), (u64, &'static str)> {
    if bytes.len() as u64 != index_len(file_size) {
        return Err((bytes.len() as u64, "its length is wrong"));
    }
    if bytes[..8] != INDEX_MAGIC || bytes[8..12] != seed.to_le_bytes() {
        return Err((0, "its header is not that of the segment"));
    }
    if let Some(at) = bytes[12..INDEX_HEADER].iter().position(|byte| *byte != 0) {
        return Err((12 + at as u64, "a byte of its header is not zero"));
    }
    let mut found = Vec::new();
    for (number, entry) in bytes[INDEX_HEADER..].chunks_exact(INDEX_ENTRY).enumerate() {
        let decoded = entry
            .try_into()
            .ok()
            .and_then(|entry| IndexEntry::decode(entry, seed));
        match decoded {
            Some(entry) => found.push(entry),
            None => {
                let at = INDEX_HEADER + number * INDEX_ENTRY;
                let blank = |bytes: &[u8]| bytes.iter().all(|byte| *byte == 0);
                if !blank(&bytes[at + INDEX_ENTRY..]) {
                    return Err((at as u64, "an entry's checksum"));
                }
                return Ok((found, (!blank(entry)).then_some(at as u64)));
            }
        }
    }
    Ok((found, None))
}

/// A segment that is mapped. The map stays valid when the file is deleted.
pub struct Segment {
    pub header: Header,
    pub seed: u32,
    pub path: PathBuf,
    pub map: Map,
    pub file: File,
    index: Option<Map>,
    /// Entries known to be valid; others may have added more since.
    indexed: AtomicU32,
}

fn index_len(file_size: u64) -> u64 {
    (INDEX_HEADER as u64 + (file_size / INDEX_BYTES * 2 + 16) * INDEX_ENTRY as u64)
        .next_multiple_of(4096)
}

impl Segment {
    /// Makes a segment under a private name and gives it its own at the end, so that nobody sees half a header.
    pub fn create(ctx: &EngineCtx, dir: &Path, kind: LogKind, header: Header) -> Result<Self> {
        let name = kind.file_name(header.base_seq);
        let private = dir.join(format!(".{name}.{:x}", ctx.shared.me().nonce));
        let path = dir.join(&name);
        ctx.storage.unlink(&private)?;
        let file = ctx.storage.create(&private, header.file_size)?;
        let made = (|| {
            let map = ctx
                .storage
                .map(&file, &path, header.file_size as usize, true)?;
            map.write(0, &header.encode());
            // A file of this name is there only when a roll was cut short before anything was written into it.
            ctx.storage.unlink(&path)?;
            ctx.storage.rename_new(&private, &path)?;
            Ok(map)
        })();
        let map = match made {
            Ok(map) => map,
            Err(error) => {
                ctx.storage.unlink(&private)?;
                return Err(error);
            }
        };
        let seed = header.seed();
        let mut segment = Self {
            header,
            seed,
            path,
            map,
            file,
            index: None,
            indexed: AtomicU32::new(0),
        };
        segment.open_index(ctx, true);
        Ok(segment)
    }

    /// Errors: `Corruption`, `Incompatible` by its header; `Io`.
    pub fn open(ctx: &EngineCtx, path: &Path) -> Result<Self> {
        let file = ctx.storage.open(path)?;
        let len = ctx.storage.len(&file, path)?;
        let corrupt = |what: String| Error::Corruption {
            file: path.to_owned(),
            offset: len,
            what,
        };
        if len < START {
            return Err(corrupt(format!("the segment has only {len} bytes")));
        }
        let map = ctx.storage.map(&file, path, len as usize, true)?;
        let mut bytes = [0u8; 512];
        map.read(0, &mut bytes);
        let header = Header::decode(&bytes, path)?;
        if header.uuid != ctx.uuid {
            return Err(corrupt(
                "the segment belongs to another directory".to_owned(),
            ));
        }
        if header.file_size > len {
            return Err(corrupt(format!(
                "the segment is cut: {len} of {} bytes",
                header.file_size
            )));
        }
        let seed = header.seed();
        let mut segment = Self {
            header,
            seed,
            path: path.to_owned(),
            map,
            file,
            index: None,
            indexed: AtomicU32::new(0),
        };
        segment.open_index(ctx, false);
        Ok(segment)
    }

    fn index_path(&self) -> PathBuf {
        self.path.with_extension("idx")
    }

    /// An index that can't be had only makes searches slower.
    fn open_index(&mut self, ctx: &EngineCtx, fresh: bool) {
        let path = self.index_path();
        let len = index_len(self.header.file_size);
        let mut head = [0u8; 16];
        head[..8].copy_from_slice(&INDEX_MAGIC);
        head[8..12].copy_from_slice(&self.seed.to_le_bytes());
        if !fresh {
            if let Ok(file) = ctx.storage.open(&path) {
                if ctx
                    .storage
                    .len(&file, &path)
                    .is_ok_and(|found| found == len)
                {
                    if let Ok(map) = ctx.storage.map(&file, &path, len as usize, true) {
                        let mut found = [0u8; 16];
                        map.read(0, &mut found);
                        if found == head {
                            self.index = Some(map);
                            return;
                        }
                    }
                }
            }
        }
        let _ = ctx.storage.unlink(&path);
        if let Ok(file) = ctx.storage.create(&path, len) {
            if let Ok(map) = ctx.storage.map(&file, &path, len as usize, true) {
                map.write(0, &head);
                self.index = Some(map);
            }
        }
    }

    fn entry(&self, n: usize) -> Option<IndexEntry> {
        let index = self.index.as_ref()?;
        let at = INDEX_HEADER + n * INDEX_ENTRY;
        if at + INDEX_ENTRY > index.len() {
            return None;
        }
        let mut bytes = [0u8; INDEX_ENTRY];
        index.read(at, &mut bytes);
        IndexEntry::decode(&bytes, self.seed)
    }

    /// How many valid entries there are.
    fn entries(&self) -> usize {
        let mut n = self.indexed.load(Ordering::Relaxed) as usize;
        while self.entry(n).is_some() {
            n += 1;
        }
        self.indexed.store(n as u32, Ordering::Relaxed);
        n
    }

    /// The last entry that satisfies `before` (monotone: true up to some entry, then false).
    pub fn search(&self, before: impl Fn(&IndexEntry) -> bool) -> Option<IndexEntry> {
        let (mut low, mut high) = (0, self.entries());
        while low < high {
            let middle = (low + high) / 2;
            if self.entry(middle).is_some_and(|entry| before(&entry)) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low.checked_sub(1).and_then(|n| self.entry(n))
    }

    pub fn last_entry(&self) -> Option<IndexEntry> {
        self.entries().checked_sub(1).and_then(|n| self.entry(n))
    }

    /// Adds an entry behind the last; the caller holds the log's lock.
    pub fn add_entry(&self, entry: &IndexEntry) {
        let n = self.entries();
        if let Some(index) = &self.index {
            let at = INDEX_HEADER + n * INDEX_ENTRY;
            if at + INDEX_ENTRY <= index.len() {
                index.write(at, &entry.encode(self.seed));
            }
        }
    }

    /// Forgets the entries at or behind a byte offset (they describe what recovery took away), and whatever lies behind them:
    /// pages of an index reach the disk in any order, and an old entry must not come to light once the ones before it are there.
    pub fn cut_index(&self, off: u64) {
        let Some(index) = &self.index else { return };
        self.indexed.store(0, Ordering::Relaxed);
        let kept = (0..self.entries())
            .take_while(|n| {
                self.entry(*n)
                    .is_some_and(|entry| u64::from(entry.off) < off)
            })
            .count();
        let from = INDEX_HEADER + kept * INDEX_ENTRY;
        index.zero(from, index.len().saturating_sub(from));
        self.indexed.store(0, Ordering::Relaxed);
    }

    #[cfg(test)]
    pub(super) fn lose_first_entry(&self) {
        if let Some(index) = &self.index {
            index.zero(INDEX_HEADER, INDEX_ENTRY);
        }
        self.indexed.store(0, Ordering::Relaxed);
    }

    pub fn end_lba(&self) -> u64 {
        self.header.base_lba + self.header.file_size
    }

    fn sector<const N: usize>(&self, at: usize) -> [u8; N] {
        let mut bytes = [0u8; N];
        self.map.read(at, &mut bytes);
        bytes
    }

    /// The promise in the header: everything below this address was synced once.
    pub fn promise(&self) -> u64 {
        header::decode_promise(&self.sector(header::PROMISE)).unwrap_or(0)
    }

    pub fn set_promise(&self, lba: u64) {
        self.map
            .write(header::PROMISE, &header::encode_promise(lba));
    }

    /// Marks the file as complete.
    pub fn set_seal(&self, seal: &Seal) {
        self.map.write(header::SEAL, &seal.encode(self.seed));
    }

    /// It is not complete after all: the file that it led to is gone.
    pub fn unseal(&self) {
        self.map.zero(header::SEAL, header::SEAL_BYTES);
    }

    pub fn seal(&self) -> Option<Seal> {
        Seal::decode(&self.sector(header::SEAL), self.seed)
    }

    pub fn tail_note(&self) -> Option<TailNote> {
        TailNote::decode(&self.sector(header::NOTE), self.seed)
            .filter(|note| note.end_off <= self.header.file_size)
    }

    pub fn set_tail_note(&self, note: &TailNote) {
        self.map.write(header::NOTE, &note.encode(self.seed));
    }
}
