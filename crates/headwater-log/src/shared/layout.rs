//! The mapped state file `run/state`: 4-KiB pages, the page number is the lock's id (engine.md §2).
//!
//! Everything here is volatile: the file is made anew by the first process of a session, and every word but `tail` can be
//! derived again from the frames of the logs.

use std::sync::atomic::{AtomicI64, AtomicU16, AtomicU32, AtomicU64};

pub const PAGE: usize = 4096;
pub const MAGIC: u64 = u64::from_le_bytes(*b"HWSTATE\x01");
/// Pages 1 to 32 hold 1,024 slots of 128 bytes.
pub const SLOT_PAGES: u32 = 32;
pub const FIRST_OBJECT: u32 = 1 + SLOT_PAGES;
/// The file grows by so many pages; it is mapped in chunks of this size, which never move.
pub const GROW: u32 = 1024;
pub const PATH_BYTES: usize = 1024;

/// Page 0.
#[repr(C)]
pub struct Head {
    pub magic: AtomicU64,
    pub session: AtomicU64,
    pub uuid: [AtomicU64; 2],
    /// Pages that exist.
    pub n_pages: AtomicU32,
    /// Object pages handed out so far (the next free one is FIRST_OBJECT + this).
    pub n_objects: AtomicU32,
    /// One above the highest slot ever taken in this session: what a scan of the slots looks at.
    pub slots_used: AtomicU32,
    _line0: [u8; 20],
    // Line 1: written by the janitor.
    /// Monotonic ns of its last tick.
    pub last_tick: AtomicU64,
    /// Its slot + 1; 0: nobody yet.
    pub janitor: AtomicU32,
    _line1: [u8; 52],
    // Line 2: read by every publish.
    /// Rises with every subscription that begins or ends.
    pub channels: AtomicU64,
    _line2: [u8; 56],
}

pub mod slot_state {
    pub const FREE: u32 = 0;
    pub const INIT: u32 = 1;
    pub const LIVE: u32 = 2;
    pub const CLOSING: u32 = 3;
    pub const DEAD: u32 = 4;
}

/// One process's place.
#[repr(C)]
pub struct Slot {
    // Line A: who.
    pub generation: AtomicU32,
    pub state: AtomicU32,
    pub nonce: AtomicU64,
    pub pid: AtomicU32,
    _pad: AtomicU32,
    /// Clock ticks since boot, from /proc/PID/stat.
    pub start_time: AtomicU64,
    pub pid_namespace: AtomicU64,
    pub name: [AtomicU64; 3],
    // Line B: its bell and its heart.
    /// A futex word: everyone in the process who waits, waits on it.
    pub bell: AtomicU32,
    /// Threads asleep on the bell.
    pub sleepers: AtomicU32,
    /// One bit for each event loop that wants a byte in its FIFO.
    pub loop_armed: AtomicU32,
    /// Deliveries in hand: while not 0 the heart beats.
    pub leases: AtomicU32,
    pub beat: AtomicU64,
    _rest: [AtomicU64; 5],
}

/// What a page is the lock and the state of.
pub mod page_kind {
    pub const LOG: u32 = 1;
    pub const REGISTRY: u32 = 2;
    pub const RING: u32 = 3;
}

pub mod intent_op {
    pub const NONE: u32 = 0;
    pub const APPEND: u32 = 1;
    pub const ROLL: u32 = 2;
}

/// A stream, lane, journal or notes log in use (or the channels' registry). Words that are written together share a line.
#[repr(C)]
pub struct ObjectPage {
    // Line 0: identity, read by everybody, written once.
    pub oid: AtomicU64,
    pub kind: AtomicU32,
    pub incarnation: AtomicU32,
    /// 1 once the log was recovered in this session.
    pub ready: AtomicU32,
    pub deleted: AtomicU32,
    /// Changes with every roll, trim and compaction: cached maps are dropped.
    pub layout_gen: AtomicU32,
    /// errno of a failed fsync; final.
    pub poison: AtomicU32,
    _p0: [AtomicU64; 4],
    // Line 1: the lock, and what its owner was doing.
    pub lock: AtomicU32,
    pub intent_op: AtomicU32,
    pub intent_lba: AtomicU64,
    pub intent_len: AtomicU64,
    pub lock_thread: AtomicU32,
    _p1a: AtomicU32,
    /// Monotonic ns.
    pub lock_since: AtomicU64,
    _p1: [AtomicU64; 3],
    // Line 2: the one authoritative word, and who waits for it.
    pub tail: AtomicU64,
    /// Bit i: some bit of waiting[i] is set.
    pub wait_summary: AtomicU16,
    _p2a: [AtomicU16; 3],
    _p2: [AtomicU64; 6],
    // Lines 3, 4: a bit for each slot whose process waits.
    pub waiting: [AtomicU64; 16],
    // Line 5: caches of the writer.
    pub next_seq: AtomicU64,
    pub last_seq: AtomicU64,
    /// Records ever appended.
    pub ordinal: AtomicU64,
    /// The greatest event time.
    pub max_time: AtomicI64,
    /// The synced_lba that the last frame carries.
    pub promised: AtomicU64,
    /// The active segment's base_seq.
    pub active_base: AtomicU64,
    pub first_seq: AtomicU64,
    pub bytes_since_roll: AtomicU64,
    // Line 6: syncing.
    pub synced: AtomicU64,
    pub sync_begun: AtomicU64,
    /// Slot + 1 of the process that syncs.
    pub sync_hint: AtomicU32,
    pub dir_dirty: AtomicU32,
    pub last_sync_ns: AtomicU64,
    /// Monotonic ns of the first append behind `synced`; 0: clean.
    pub dirty_since: AtomicU64,
    _p6: [AtomicU64; 3],
    // Line 7: a group's words, written under its lock.
    pub floor_seq: AtomicU64,
    pub next_due: AtomicI64,
    pub done: AtomicU64,
    pub ready_jobs: AtomicU64,
    pub delayed: AtomicU64,
    pub leased: AtomicU64,
    pub dead: AtomicU64,
    pub paused: AtomicU64,
    // Line 8 and on: free words for the page's owner part (counters), then the path.
    pub words: [AtomicU64; 16],
    /// The object's directory relative to DIR, UTF-8, ended by a zero: so that any process can open it for repair.
    pub path: [AtomicU64; PATH_BYTES / 8],
}

const _: () = assert!(std::mem::size_of::<Slot>() == 128);
const _: () = assert!(std::mem::size_of::<ObjectPage>() <= PAGE);
const _: () = assert!(std::mem::size_of::<Head>() <= PAGE);
const _: () = assert!(std::mem::offset_of!(Head, last_tick) == 64);
const _: () = assert!(std::mem::offset_of!(Head, channels) == 128);
const _: () = assert!(std::mem::offset_of!(ObjectPage, words) == 512);
const _: () = assert!(std::mem::offset_of!(ObjectPage, lock) == 64);
const _: () = assert!(std::mem::offset_of!(ObjectPage, tail) == 128);
const _: () = assert!(std::mem::offset_of!(ObjectPage, next_seq) == 320);
const _: () = assert!(std::mem::offset_of!(ObjectPage, synced) == 384);
