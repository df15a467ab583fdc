//! A segment's header page: sectors that are written independently, each with a check of its own (engine.md §2).

use std::path::Path;

use super::checksum::crc32c;
use super::segment::SMALLEST;
use crate::error::{Error, Result};

pub const MAGIC: [u8; 8] = *b"HWSEG\x1a\r\n";
pub const MAJOR: u16 = 1;
pub const MINOR: u16 = 0;
/// Frames begin here.
pub const START: u64 = 4096;

/// Where the sectors lie.
pub const PROMISE: usize = 0x200;
pub const SEAL: usize = 0x400;
pub const NOTE: usize = 0x600;
pub const PROMISE_BYTES: usize = 16;
pub const SEAL_BYTES: usize = 56;
pub const NOTE_BYTES: usize = 56;

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

    /// Whether the bytes are a header, of any version.
    pub(super) fn checks(bytes: &[u8; 512]) -> bool {
        let crc = u32::from_le_bytes([bytes[0x1FC], bytes[0x1FD], bytes[0x1FE], bytes[0x1FF]]);
        bytes[..8] == MAGIC && crc32c(0, &bytes[..0x1FC]) == crc
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
        if !Self::checks(bytes) {
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

impl TailNote {
    pub fn encode(&self, seed: u32) -> [u8; NOTE_BYTES] {
        let words = [
            self.session,
            self.end_off,
            self.next_seq,
            self.last_seq,
            self.ordinal,
            self.max_time as u64,
        ];
        encode(words, 0, seed)
    }

    /// None: zero, or damaged.
    pub fn decode(bytes: &[u8; NOTE_BYTES], seed: u32) -> Option<Self> {
        let [session, end_off, next_seq, last_seq, ordinal, max_time] = decode(bytes, seed)?;
        (session != 0 && end_off >= START && end_off % 8 == 0).then_some(Self {
            session,
            end_off,
            next_seq,
            last_seq,
            ordinal,
            max_time: max_time as i64,
        })
    }
}

/// What is known of a complete file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seal {
    pub end_off: u64,
    /// The log's last record so far.
    pub last_seq: u64,
    /// Records in this file.
    pub records: u64,
    pub max_append_ns: i64,
    pub max_time: i64,
}

impl Seal {
    pub fn encode(&self, seed: u32) -> [u8; SEAL_BYTES] {
        let words = [
            self.end_off,
            self.last_seq,
            self.records,
            self.max_append_ns as u64,
            self.max_time as u64,
            self.end_off - START,
        ];
        encode(words, 1, seed)
    }

    /// None: zero (the file is open), or damaged.
    pub fn decode(bytes: &[u8; SEAL_BYTES], seed: u32) -> Option<Self> {
        let [end_off, last_seq, records, max_append_ns, max_time, _] = decode(bytes, seed)?;
        (end_off >= START && end_off % 8 == 0).then_some(Self {
            end_off,
            last_seq,
            records,
            max_append_ns: max_append_ns as i64,
            max_time: max_time as i64,
        })
    }
}

/// Six words, a mark, and a checksum over all.
fn encode(words: [u64; 6], mark: u32, seed: u32) -> [u8; 56] {
    let mut bytes = [0u8; 56];
    for (n, word) in words.iter().enumerate() {
        bytes[n * 8..n * 8 + 8].copy_from_slice(&word.to_le_bytes());
    }
    bytes[48..52].copy_from_slice(&mark.to_le_bytes());
    let crc = crc32c(seed, &bytes[..52]);
    bytes[52..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

fn decode(bytes: &[u8; 56], seed: u32) -> Option<[u64; 6]> {
    let crc = u32::from_le_bytes(bytes[52..].try_into().ok()?);
    if crc32c(seed, &bytes[..52]) != crc {
        return None;
    }
    let mut words = [0u64; 6];
    for (word, bytes) in words.iter_mut().zip(bytes.chunks_exact(8)) {
        *word = u64::from_le_bytes(bytes.try_into().ok()?);
    }
    Some(words)
}

/// The address and its inverse: a torn or damaged pair counts for nothing.
pub fn encode_promise(lba: u64) -> [u8; PROMISE_BYTES] {
    let mut bytes = [0u8; PROMISE_BYTES];
    bytes[..8].copy_from_slice(&lba.to_le_bytes());
    bytes[8..].copy_from_slice(&(!lba).to_le_bytes());
    bytes
}

pub fn decode_promise(bytes: &[u8; PROMISE_BYTES]) -> Option<u64> {
    let (lba, inverse) = bytes.split_at(8);
    let lba = u64::from_le_bytes(lba.try_into().ok()?);
    (u64::from_le_bytes(inverse.try_into().ok()?) == !lba).then_some(lba)
}
