//! The bytes of frames and records (engine.md §2). Little-endian, everything a multiple of 8.
//!
//! ```text
//! +0  u32 word    bits 0–28 length, multiple of 8; 29–30 class 1 DATA 2 CTRL 3 PAD. Zero = end of log. STORED LAST, Release
//! +4  u32 crc     crc32c(seed ^ word, bytes[8..len))
//! +8  u64 seq     of the first record; CTRL: the next seq       +16 i64 append_ns
//! +24 u32 count(24) | type(8)     +28 u16 flags     +30 u16 ext length / 8
//! +32 TLVs, then records: u32 vlen | u16 klen | u16 x (bits 0–11 ext / 8; 12 tombstone) | TLVs | key | value | pad
//! ```
//! A TLV is `u16 type, u16 len, u32 small` and `len` bytes padded to 8.
//!
//! Over 500 lines: what writes these bytes and what reads them stand side by side.

use super::checksum::crc32c;

pub const HEADER: usize = 32;
pub const RECORD_HEADER: usize = 8;
/// A ROLL frame: header and its base_seq. So much room is always kept at a segment's end.
pub const ROLL_BYTES: usize = 48;

pub const DATA: u32 = 1;
pub const CTRL: u32 = 2;

pub mod flag {
    pub const CHAIN_START: u16 = 1;
    pub const CHAIN_PART: u16 = 2;
    pub const TXN: u16 = 4;
    pub const KEYED: u16 = 8;
    /// Flags that a reader must know.
    pub const KNOWN: u16 = CHAIN_START | CHAIN_PART | TXN | KEYED;
}

pub mod ctrl {
    pub const ROLL: u32 = 1;
    pub const GAP: u32 = 2;
}

/// Why positions were skipped: a GAP's third word.
pub mod gap_reason {
    /// A power cut may have taken records that had these positions.
    pub const LOST: u64 = 1;
    /// An empty segment had to be rolled.
    pub const EMPTY: u64 = 2;
    /// Records that had these positions are damaged, up to the end of the log.
    pub const DAMAGED: u64 = 3;
}

/// Frame TLVs.
pub mod frame_tlv {
    pub const SYNCED: u16 = 1;
    pub const CHAIN: u16 = 2;
    pub const TXN: u16 = 3;
}

/// Record TLVs.
pub mod tlv {
    pub const TIME: u16 = 1;
    pub const DUE: u16 = 2;
    pub const TTL: u16 = 3;
    pub const ID: u16 = 4;
    pub const HEADERS: u16 = 5;
    pub const PREV: u16 = 6;
    pub const SKIP: u16 = 7;
    pub const ORIGIN: u16 = 8;
    pub const UNIQUE: u16 = 9;
    /// From here on a type that is not known must not be ignored.
    pub const CRITICAL: u16 = 0x8000;
}

pub const fn pad(n: usize) -> usize {
    (n + 7) & !7
}

/// One record on its way in. Times are ns since 1970 UTC.
#[derive(Clone, Copy, Debug, Default)]
pub struct Record<'a> {
    pub value: &'a [u8],
    pub key: Option<&'a [u8]>,
    /// Event time; None: the time of the append.
    pub time_ns: Option<i64>,
    /// Encoded by the caller, opaque here.
    pub headers: Option<&'a [u8]>,
    pub id: Option<&'a [u8]>,
    pub due_ns: Option<i64>,
    /// From when it is due.
    pub ttl_ns: Option<i64>,
    pub unique: Option<&'a [u8]>,
}

impl<'a> Record<'a> {
    pub fn of(value: &'a [u8]) -> Self {
        Self {
            value,
            ..Self::default()
        }
    }

    #[inline]
    pub fn tlv_bytes(&self) -> usize {
        let word = |v: Option<i64>| if v.is_some() { 16 } else { 0 };
        let bytes = |v: Option<&[u8]>| v.map_or(0, |b| pad(8 + b.len()));
        word(self.time_ns)
            + word(self.due_ns)
            + word(self.ttl_ns)
            + bytes(self.id)
            + bytes(self.headers)
            + bytes(self.unique)
    }

    /// Bytes in a frame.
    #[inline]
    pub fn encoded(&self) -> usize {
        // A key's absence and an empty key differ: see `NO_KEY`.
        RECORD_HEADER + self.tlv_bytes() + pad(self.key.map_or(0, <[u8]>::len) + self.value.len())
    }
}

/// klen of a record without a key.
const NO_KEY: u16 = u16::MAX;

/// Writes records behind one another into raw memory that the caller has checked to be long enough.
pub struct Writer {
    at: *mut u8,
}

impl Writer {
    /// # Safety
    /// Everything written must fit behind `at`, which nobody else writes.
    pub unsafe fn new(at: *mut u8) -> Self {
        Self { at }
    }

    #[inline]
    unsafe fn put<const N: usize>(&mut self, bytes: [u8; N]) {
        std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.at, N);
        self.at = self.at.add(N);
    }

    #[inline]
    unsafe fn slice(&mut self, bytes: &[u8]) {
        std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.at, bytes.len());
        self.at = self.at.add(bytes.len());
    }

    #[inline]
    unsafe fn zeros(&mut self, n: usize) {
        std::ptr::write_bytes(self.at, 0, n);
        self.at = self.at.add(n);
    }

    unsafe fn tlv(&mut self, kind: u16, bytes: &[u8]) {
        // The small field holds the upper part of lengths above 64 KiB, which the limits exclude: zero.
        self.put((u64::from(kind) | (bytes.len() as u64) << 16).to_le_bytes());
        self.slice(bytes);
        self.zeros(pad(bytes.len()) - bytes.len());
    }

    #[inline]
    unsafe fn record(&mut self, record: &Record<'_>) {
        let key = record.key.unwrap_or_default();
        let klen = record.key.map_or(NO_KEY, |key| key.len() as u16);
        let ext = record.tlv_bytes();
        let head = record.value.len() as u64 | u64::from(klen) << 32 | ((ext / 8) as u64) << 48;
        self.put(head.to_le_bytes());
        if ext != 0 {
            for (kind, value) in [
                (tlv::TIME, record.time_ns),
                (tlv::DUE, record.due_ns),
                (tlv::TTL, record.ttl_ns),
            ] {
                if let Some(value) = value {
                    self.tlv(kind, &value.to_le_bytes());
                }
            }
            for (kind, value) in [
                (tlv::ID, record.id),
                (tlv::HEADERS, record.headers),
                (tlv::UNIQUE, record.unique),
            ] {
                if let Some(value) = value {
                    self.tlv(kind, value);
                }
            }
        }
        self.slice(key);
        self.slice(record.value);
        let len = key.len() + record.value.len();
        self.zeros(pad(len) - len);
    }
}

/// What goes into a frame's header.
#[derive(Clone, Copy, Debug, Default)]
pub struct FrameHead {
    pub seq: u64,
    pub append_ns: i64,
    pub count: u32,
    pub kind: u32,
    pub flags: u16,
}

/// Writes a DATA frame of `len` bytes at `at`, all but its first word, which it returns: storing it is the commit.
///
/// # Safety
/// `len` bytes from `at` must be writable, zero in their first word, and written by nobody else.
pub unsafe fn write_data(
    at: *mut u8,
    len: usize,
    seed: u32,
    head: FrameHead,
    synced: Option<u64>,
    chain: Option<u64>,
    records: &[Record<'_>],
) -> u32 {
    let word = len as u32 | DATA << 29;
    let ext = frame_ext(synced, chain);
    let mut out = Writer::new(at.add(8));
    out.put(head.seq.to_le_bytes());
    out.put(head.append_ns.to_le_bytes());
    let line = u64::from(head.count & 0xFF_FFFF)
        | u64::from(head.kind) << 24
        | u64::from(head.flags) << 32
        | ((ext / 8) as u64) << 48;
    out.put(line.to_le_bytes());
    if let Some(lba) = synced {
        out.tlv(frame_tlv::SYNCED, &lba.to_le_bytes());
    }
    if let Some(bytes) = chain {
        out.tlv(frame_tlv::CHAIN, &bytes.to_le_bytes());
    }
    for record in records {
        out.record(record);
    }
    debug_assert_eq!(out.at as usize - at as usize, len);
    finish(at, len, seed, word)
}

/// As `write_data`, for a control frame of `words` after the header.
///
/// # Safety
/// As for `write_data`, with `HEADER + 8 * words.len()` bytes.
pub unsafe fn write_ctrl(
    at: *mut u8,
    seed: u32,
    kind: u32,
    seq: u64,
    append_ns: i64,
    words: &[u64],
) -> (u32, usize) {
    let len = HEADER + 8 * words.len();
    let word = len as u32 | CTRL << 29;
    let mut out = Writer::new(at.add(8));
    out.put(seq.to_le_bytes());
    out.put(append_ns.to_le_bytes());
    out.put((u64::from(kind) << 24).to_le_bytes());
    for value in words {
        out.put(value.to_le_bytes());
    }
    (finish(at, len, seed, word), len)
}

unsafe fn finish(at: *mut u8, len: usize, seed: u32, word: u32) -> u32 {
    let crc = crc32c(seed ^ word, std::slice::from_raw_parts(at.add(8), len - 8));
    at.add(4).cast::<u32>().write(crc.to_le());
    word
}

/// The bytes of a frame's own TLVs.
#[inline]
pub fn frame_ext(synced: Option<u64>, chain: Option<u64>) -> usize {
    16 * (usize::from(synced.is_some()) + usize::from(chain.is_some()))
}

/// A frame that was read and whose checksum is right. `bytes` is the whole of it.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    bytes: &'a [u8],
}

#[inline]
fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(bytes[at..at + 2].try_into().unwrap_or_default())
}

#[inline]
fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap_or_default())
}

#[inline]
fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap_or_default())
}

/// The length and class that a first word names, if it can be one of a frame with so much room.
#[inline]
pub fn parse_word(word: u32, room: usize) -> Option<(usize, u32)> {
    let len = (word & 0x1FFF_FFFF) as usize;
    let class = word >> 29;
    ((1..=3).contains(&class) && len % 8 == 0 && len >= HEADER && len <= room)
        .then_some((len, class))
}

impl<'a> Frame<'a> {
    /// Checks `bytes` (exactly the length that `word` names) against its checksum and its own structure.
    pub fn check(bytes: &'a [u8], word: u32, seed: u32) -> Result<Self, &'static str> {
        if crc32c(seed ^ word, &bytes[8..]) != u32_at(bytes, 4) {
            return Err("checksum");
        }
        let frame = Self { bytes };
        if frame.flags() & !flag::KNOWN != 0 {
            return Err("a flag of a newer format");
        }
        if HEADER + frame.ext_bytes() > bytes.len() {
            return Err("extension length");
        }
        Ok(frame)
    }

    /// Whether bytes that a length was found for may be a frame at or above `least`: without their checksum.
    #[inline]
    pub(crate) fn plausible(bytes: &[u8], least: u64) -> bool {
        let frame = Frame { bytes };
        frame.flags() & !flag::KNOWN == 0
            && HEADER + frame.ext_bytes() <= bytes.len()
            && frame.seq() >= least
    }

    /// A frame that was checked before, from the same bytes.
    #[inline]
    pub(crate) fn trusted(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    pub fn class(&self) -> u32 {
        u32_at(self.bytes, 0) >> 29
    }

    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub fn seq(&self) -> u64 {
        u64_at(self.bytes, 8)
    }

    pub fn append_ns(&self) -> i64 {
        u64_at(self.bytes, 16) as i64
    }

    /// Records of a DATA frame.
    pub fn count(&self) -> u32 {
        u32_at(self.bytes, 24) & 0xFF_FFFF
    }

    /// Of a CTRL frame: ROLL or GAP.
    pub fn kind(&self) -> u32 {
        u32_at(self.bytes, 24) >> 24
    }

    pub fn flags(&self) -> u16 {
        u16_at(self.bytes, 28)
    }

    fn ext_bytes(&self) -> usize {
        u16_at(self.bytes, 30) as usize * 8
    }

    fn own_tlv(&self, wanted: u16) -> Option<u64> {
        let ext = &self.bytes[HEADER..HEADER + self.ext_bytes()];
        Tlvs(ext)
            .find(|(kind, data)| *kind == wanted && data.len() == 8)
            .map(|(_, data)| u64_at(data, 0))
    }

    /// What the writer knew to be synced: data below it that does not check is corrupt, not lost.
    pub fn synced(&self) -> Option<u64> {
        self.own_tlv(frame_tlv::SYNCED)
    }

    /// Bytes of the chain that begins here.
    pub fn chain(&self) -> Option<u64> {
        self.own_tlv(frame_tlv::CHAIN)
    }

    /// The words behind a control frame's header.
    pub fn word(&self, n: usize) -> Option<u64> {
        let at = HEADER + 8 * n;
        (at + 8 <= self.bytes.len()).then(|| u64_at(self.bytes, at))
    }

    /// Where the records begin.
    pub fn body(&self) -> usize {
        HEADER + self.ext_bytes()
    }

    /// The record at byte `at` of the frame, and where the next begins. None: the structure is broken, in spite of a right
    /// checksum.
    #[inline]
    pub fn record_at(&self, at: usize, seq: u64) -> Option<(RecordRef<'a>, usize)> {
        let bytes = self.bytes;
        let head = u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?);
        let vlen = (head & 0xFFFF_FFFF) as usize;
        let klen = (head >> 32) as u16;
        let ext = ((head >> 48) & 0xFFF) as usize * 8;
        let key_at = at + 8 + ext;
        let key_len = if klen == NO_KEY { 0 } else { klen as usize };
        let value_at = key_at + key_len;
        let end = value_at + vlen;
        if end > bytes.len() {
            return None;
        }
        Some((
            RecordRef {
                seq,
                append_ns: self.append_ns(),
                tlvs: &bytes[at + 8..key_at],
                key: (klen != NO_KEY).then(|| &bytes[key_at..value_at]),
                value: &bytes[value_at..end],
            },
            key_at + pad(key_len + vlen),
        ))
    }
}

struct Tlvs<'a>(&'a [u8]);

impl<'a> Iterator for Tlvs<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.len() < 8 {
            return None;
        }
        let (kind, len) = (u16_at(self.0, 0), u16_at(self.0, 2) as usize);
        let data = self.0.get(8..8 + len)?;
        self.0 = self.0.get(pad(8 + len)..).unwrap_or_default();
        Some((kind, data))
    }
}

/// A record as it lies in the log.
#[derive(Clone, Copy, Debug)]
pub struct RecordRef<'a> {
    pub seq: u64,
    pub append_ns: i64,
    tlvs: &'a [u8],
    pub key: Option<&'a [u8]>,
    pub value: &'a [u8],
}

impl<'a> RecordRef<'a> {
    fn find(&self, wanted: u16) -> Option<&'a [u8]> {
        Tlvs(self.tlvs)
            .find(|(kind, _)| *kind == wanted)
            .map(|(_, data)| data)
    }

    fn number(&self, wanted: u16) -> Option<i64> {
        if self.tlvs.is_empty() {
            return None;
        }
        self.find(wanted)
            .filter(|data| data.len() == 8)
            .map(|data| u64_at(data, 0) as i64)
    }

    /// Event time, ns since 1970 UTC.
    #[inline]
    pub fn time_ns(&self) -> i64 {
        self.number(tlv::TIME).unwrap_or(self.append_ns)
    }

    pub fn due_ns(&self) -> Option<i64> {
        self.number(tlv::DUE)
    }

    pub fn ttl_ns(&self) -> Option<i64> {
        self.number(tlv::TTL)
    }

    pub fn id(&self) -> Option<&'a [u8]> {
        self.find(tlv::ID)
    }

    pub fn headers(&self) -> Option<&'a [u8]> {
        self.find(tlv::HEADERS)
    }

    pub fn unique(&self) -> Option<&'a [u8]> {
        self.find(tlv::UNIQUE)
    }

    /// A field that must not be ignored, and that this version does not know.
    pub(crate) fn unknown(&self) -> Option<u16> {
        Tlvs(self.tlvs)
            .map(|(kind, _)| kind)
            .find(|kind| *kind >= tlv::CRITICAL)
    }

    pub fn to_owned(&self) -> OwnedRecord {
        OwnedRecord {
            seq: self.seq,
            append_ns: self.append_ns,
            tlvs: self.tlvs.into(),
            key: self.key.map(Into::into),
            value: self.value.into(),
        }
    }

    /// The same content to append again elsewhere.
    pub fn as_record(&self) -> Record<'a> {
        Record {
            value: self.value,
            key: self.key,
            time_ns: Some(self.time_ns()),
            headers: self.headers(),
            id: self.id(),
            due_ns: self.due_ns(),
            ttl_ns: self.ttl_ns(),
            unique: self.unique(),
        }
    }
}

/// A record copied out of the log.
#[derive(Clone, Debug)]
pub struct OwnedRecord {
    pub seq: u64,
    pub append_ns: i64,
    tlvs: Box<[u8]>,
    key: Option<Box<[u8]>>,
    value: Box<[u8]>,
}

impl OwnedRecord {
    /// Stands for a record that is gone.
    pub(crate) fn empty(seq: u64, append_ns: i64) -> Self {
        Self {
            seq,
            append_ns,
            tlvs: Box::default(),
            key: None,
            value: Box::default(),
        }
    }

    pub fn get(&self) -> RecordRef<'_> {
        RecordRef {
            seq: self.seq,
            append_ns: self.append_ns,
            tlvs: &self.tlvs,
            key: self.key.as_deref(),
            value: &self.value,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Made = (
        Vec<u8>,
        Option<Vec<u8>>,
        Option<i64>,
        Option<Vec<u8>>,
        Option<Vec<u8>>,
        Option<i64>,
    );

    fn made() -> impl Strategy<Value = Made> {
        let bytes = || prop::collection::vec(any::<u8>(), 0..300);
        let short = || prop::option::of(prop::collection::vec(any::<u8>(), 0..40));
        (
            bytes(),
            short(),
            any::<Option<i64>>(),
            short(),
            short(),
            any::<Option<i64>>(),
        )
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(all in prop::collection::vec(made(), 1..20), synced: Option<u64>, chain: Option<u64>, seed: u32) {
            let records: Vec<Record<'_>> = all.iter().map(|(value, key, time, headers, id, due)| Record {
                value, key: key.as_deref(), time_ns: *time, headers: headers.as_deref(), id: id.as_deref(), due_ns: *due,
                ttl_ns: None, unique: None,
            }).collect();
            let len = HEADER + frame_ext(synced, chain) + records.iter().map(Record::encoded).sum::<usize>();
            let mut room = vec![0u64; len / 8];
            let at = room.as_mut_ptr().cast::<u8>();
            let head = FrameHead { seq: 9, append_ns: 5, count: records.len() as u32, kind: 0, flags: 0 };
            let bytes = unsafe {
                let word = write_data(at, len, seed, head, synced, chain, &records);
                at.cast::<u32>().write(word);
                std::slice::from_raw_parts(at, len)
            };
            let frame = Frame::check(bytes, u32_at(bytes, 0), seed).unwrap();
            prop_assert_eq!((frame.synced(), frame.chain(), frame.count() as usize), (synced, chain, records.len()));
            let mut at = frame.body();
            for (n, record) in records.iter().enumerate() {
                let (found, next) = frame.record_at(at, 9 + n as u64).unwrap();
                prop_assert_eq!(found.value, record.value);
                prop_assert_eq!(found.key, record.key);
                prop_assert_eq!(found.time_ns(), record.time_ns.unwrap_or(5));
                prop_assert_eq!(found.headers(), record.headers);
                prop_assert_eq!(found.id(), record.id);
                prop_assert_eq!(found.due_ns(), record.due_ns);
                at = next;
            }
            prop_assert_eq!(at, len);
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 32..400), seed: u32) {
            let len = bytes.len() & !7;
            let frame = Frame { bytes: &bytes[..len] };
            let _ = Frame::check(&bytes[..len], 7, seed);
            if HEADER + frame.ext_bytes() <= len {
                let _ = (frame.synced(), frame.chain(), frame.word(3));
                let mut at = frame.body();
                while let Some((record, next)) = frame.record_at(at, 1) {
                    let _ = (record.time_ns(), record.id(), record.headers(), record.unique());
                    if next <= at { break; }
                    at = next;
                }
            }
        }
    }
}
