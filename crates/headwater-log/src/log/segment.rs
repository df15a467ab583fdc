//! One file of a log: a header page of independently written sectors, then frames from byte 4096; and its index beside it
//! (engine.md §2).

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use super::checksum::crc32c;
use crate::ctx::EngineCtx;
use crate::error::{Error, Result};
use crate::storage::Map;

pub const MAGIC: [u8; 8] = *b"HWSEG\x1a\r\n";
pub const MAJOR: u16 = 1;
pub const MINOR: u16 = 0;
/// Frames begin here.
pub const START: u64 = 4096;
pub const SMALLEST: u64 = 64 << 10;
pub const LARGEST: u64 = 64 << 20;

const PROMISE: usize = 0x200;
const SEAL: usize = 0x400;
const NOTE: usize = 0x600;

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

/// The header's first sector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub uuid: [u8; 16],
    pub oid: u64,
    pub base_seq: u64,
    pub base_lba: u64,
    /// Records of the log before this file.
    pub base_ordinal: u64,
    pub base_max_time: i64,
    pub created_ns: i64,
    pub file_size: u64,
    pub kind: u32,
    pub generation: u32,
}

impl Header {
    /// Mixed into the checksum of every frame and index entry of the file.
    pub fn seed(&self) -> u32 {
        let mut bytes = [0u8; 36];
        bytes[..16].copy_from_slice(&self.uuid);
        bytes[16..24].copy_from_slice(&self.oid.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.base_seq.to_le_bytes());
        bytes[32..].copy_from_slice(&self.generation.to_le_bytes());
        crc32c(0, &bytes)
    }

    pub fn encode(&self) -> [u8; 512] {
        let mut out = [0u8; 512];
        out[..8].copy_from_slice(&MAGIC);
        out[0x08..0x0A].copy_from_slice(&MAJOR.to_le_bytes());
        out[0x0A..0x0C].copy_from_slice(&MINOR.to_le_bytes());
        out[0x0C..0x10].copy_from_slice(&(START as u32).to_le_bytes());
        out[0x20..0x30].copy_from_slice(&self.uuid);
        for (at, value) in [
            (0x30, self.oid),
            (0x38, self.base_seq),
            (0x40, self.base_lba),
            (0x48, self.base_ordinal),
            (0x50, self.base_max_time as u64),
            (0x58, self.created_ns as u64),
            (0x60, self.file_size),
        ] {
            out[at..at + 8].copy_from_slice(&value.to_le_bytes());
        }
        out[0x68..0x6C].copy_from_slice(&self.kind.to_le_bytes());
        out[0x6C..0x70].copy_from_slice(&self.generation.to_le_bytes());
        out[0x70..0x74].copy_from_slice(&self.seed().to_le_bytes());
        let crc = crc32c(0, &out[..0x1FC]);
        out[0x1FC..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// Errors: `Incompatible` for a newer format, `Corruption` for anything else that is not a header.
    pub fn decode(bytes: &[u8; 512], path: &Path) -> Result<Self> {
        let corrupt = |what: &str| Error::Corruption {
            file: path.to_owned(),
            offset: 0,
            what: what.to_owned(),
        };
        let number =
            |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap_or_default());
        let short =
            |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap_or_default());
        if bytes[..8] != MAGIC {
            return Err(corrupt("not a segment of headwater"));
        }
        if crc32c(0, &bytes[..0x1FC]) != short(0x1FC) {
            return Err(corrupt("the segment's header does not match its checksum"));
        }
        let major = u16::from_le_bytes([bytes[8], bytes[9]]);
        if major != MAJOR || number(0x10) != 0 {
            return Err(Error::Incompatible {
                path: path.to_owned(),
                found: format!("segment format {major}, features {:#x}", number(0x10)),
                supported: format!("segment format {MAJOR}, no features"),
            });
        }
        let mut uuid = [0u8; 16];
        uuid.copy_from_slice(&bytes[0x20..0x30]);
        let header = Self {
            uuid,
            oid: number(0x30),
            base_seq: number(0x38),
            base_lba: number(0x40),
            base_ordinal: number(0x48),
            base_max_time: number(0x50) as i64,
            created_ns: number(0x58) as i64,
            file_size: number(0x60),
            kind: short(0x68),
            generation: short(0x6C),
        };
        if header.seed() != short(0x70) || header.file_size < SMALLEST / 2 {
            return Err(corrupt("the segment's header contradicts itself"));
        }
        Ok(header)
    }
}

/// What a clean close leaves, so that the next session need not scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TailNote {
    pub session: u64,
    pub end_off: u64,
    pub next_seq: u64,
    pub last_seq: u64,
    /// Records of the log up to here.
    pub ordinal: u64,
    pub max_time: i64,
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

    /// Forgets the entries at or behind a byte offset (they describe what recovery took away).
    pub fn cut_index(&self, off: u64) {
        let Some(index) = &self.index else { return };
        self.indexed.store(0, Ordering::Relaxed);
        let n = self.entries();
        for number in (0..n).rev() {
            if self
                .entry(number)
                .is_some_and(|entry| u64::from(entry.off) < off)
            {
                break;
            }
            index.zero(INDEX_HEADER + number * INDEX_ENTRY, INDEX_ENTRY);
        }
        self.indexed.store(0, Ordering::Relaxed);
    }

    pub fn end_lba(&self) -> u64 {
        self.header.base_lba + self.header.file_size
    }

    /// The promise in the header: everything below this address was synced once.
    pub fn promise(&self) -> u64 {
        let mut bytes = [0u8; 16];
        self.map.read(PROMISE, &mut bytes);
        let (lba, inverse) = bytes.split_at(8);
        let lba = u64::from_le_bytes(lba.try_into().unwrap_or_default());
        if u64::from_le_bytes(inverse.try_into().unwrap_or_default()) == !lba {
            lba
        } else {
            0
        }
    }

    pub fn set_promise(&self, lba: u64) {
        let mut bytes = [0u8; 16];
        bytes[..8].copy_from_slice(&lba.to_le_bytes());
        bytes[8..].copy_from_slice(&(!lba).to_le_bytes());
        self.map.write(PROMISE, &bytes);
    }

    /// Marks the file as complete: end, last seq, records, newest append, bytes.
    pub fn seal(
        &self,
        end_off: u64,
        last_seq: u64,
        records: u64,
        max_append_ns: i64,
        max_time: i64,
    ) {
        let mut bytes = [0u8; 56];
        for (n, value) in [
            end_off,
            last_seq,
            records,
            max_append_ns as u64,
            max_time as u64,
            end_off - START,
        ]
        .iter()
        .enumerate()
        {
            bytes[n * 8..n * 8 + 8].copy_from_slice(&value.to_le_bytes());
        }
        bytes[48..52].copy_from_slice(&1u32.to_le_bytes());
        let crc = crc32c(self.seed, &bytes[..52]);
        bytes[52..].copy_from_slice(&crc.to_le_bytes());
        self.map.write(SEAL, &bytes);
    }

    /// End offset and newest append time of a sealed segment.
    pub fn sealed(&self) -> Option<(u64, i64)> {
        let mut bytes = [0u8; 56];
        self.map.read(SEAL, &mut bytes);
        let crc = u32::from_le_bytes(bytes[52..].try_into().unwrap_or_default());
        let number =
            |n: usize| u64::from_le_bytes(bytes[n * 8..n * 8 + 8].try_into().unwrap_or_default());
        (number(0) != 0 && crc32c(self.seed, &bytes[..52]) == crc)
            .then(|| (number(0), number(3) as i64))
    }

    pub fn tail_note(&self) -> Option<TailNote> {
        let mut bytes = [0u8; 56];
        self.map.read(NOTE, &mut bytes);
        let number =
            |n: usize| u64::from_le_bytes(bytes[n * 8..n * 8 + 8].try_into().unwrap_or_default());
        let crc = u32::from_le_bytes(bytes[52..].try_into().unwrap_or_default());
        (number(0) != 0 && crc32c(self.seed, &bytes[..52]) == crc).then(|| TailNote {
            session: number(0),
            end_off: number(1),
            next_seq: number(2),
            last_seq: number(3),
            ordinal: number(4),
            max_time: number(5) as i64,
        })
    }

    pub fn set_tail_note(&self, note: &TailNote) {
        let mut bytes = [0u8; 56];
        let values = [
            note.session,
            note.end_off,
            note.next_seq,
            note.last_seq,
            note.ordinal,
            note.max_time as u64,
        ];
        for (n, value) in values.iter().enumerate() {
            bytes[n * 8..n * 8 + 8].copy_from_slice(&value.to_le_bytes());
        }
        let crc = crc32c(self.seed, &bytes[..52]);
        bytes[52..].copy_from_slice(&crc.to_le_bytes());
        self.map.write(NOTE, &bytes);
    }
}
