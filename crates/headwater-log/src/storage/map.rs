//! A shared mapping of a file, used through raw pointers: other processes write to it, so that no Rust reference to its bytes
//! may exist.

use std::fs::File;
use std::sync::atomic::AtomicU32;

/// Unmapped on drop.
pub struct Map {
    base: *mut u8,
    len: usize,
}

// SAFETY: a mapping has no thread affinity; every access goes through raw pointers under the log's protocol.
unsafe impl Send for Map {}
// SAFETY: as above.
unsafe impl Sync for Map {}

impl Map {
    pub fn new(file: &File, len: usize, writable: bool) -> std::io::Result<Self> {
        use rustix::mm::{mmap, MapFlags, ProtFlags};
        let protection = if writable {
            ProtFlags::READ | ProtFlags::WRITE
        } else {
            ProtFlags::READ
        };
        // SAFETY: a new mapping at an address of the kernel's choice.
        let base = unsafe {
            mmap(
                std::ptr::null_mut(),
                len,
                protection,
                MapFlags::SHARED,
                file,
                0,
            )
        }?;
        // A core dump of a worker must not hold everybody's messages.
        // SAFETY: the range was just mapped.
        let _ = unsafe { rustix::mm::madvise(base, len, rustix::mm::Advice::LinuxDontDump) };
        Ok(Self {
            base: base.cast(),
            len,
        })
    }

    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The address of byte `off`.
    #[inline]
    pub fn at(&self, off: usize) -> *mut u8 {
        assert!(off <= self.len);
        // SAFETY: within the mapping, or one past its end.
        unsafe { self.base.add(off) }
    }

    /// A word of the mapping; `off` is a multiple of 4.
    #[inline]
    pub fn word(&self, off: usize) -> &AtomicU32 {
        assert!(off % 4 == 0 && off + 4 <= self.len);
        // SAFETY: aligned (mappings begin at a page), in range, and only ever accessed atomically while it can change.
        unsafe { &*self.base.add(off).cast::<AtomicU32>() }
    }

    /// Unmaps the whole pages of a range, at one stroke; what was written to them stays in the page cache, and a later access maps
    /// them again. Before an fsync: the kernel would otherwise write-protect page by page, each with an interrupt to every CPU
    /// that runs this process (a quarter of the time of a busy writer, measured).
    pub fn let_go(&self, from: usize, to: usize) {
        let from = from.next_multiple_of(4096);
        let to = to.min(self.len) & !4095;
        if from < to {
            // SAFETY: in range, and of a shared file mapping, whose bytes this does not change.
            let _ = unsafe {
                rustix::mm::madvise(
                    self.base.add(from).cast(),
                    to - from,
                    rustix::mm::Advice::LinuxDontNeed,
                )
            };
        }
    }

    /// Faults pages in for writing, ahead of the writer; a hint.
    pub fn populate(&self, off: usize, len: usize) {
        let off = off & !4095;
        let len = len.min(self.len.saturating_sub(off));
        if len > 0 {
            // SAFETY: in range.
            let _ = unsafe {
                rustix::mm::madvise(
                    self.base.add(off).cast(),
                    len,
                    rustix::mm::Advice::LinuxPopulateWrite,
                )
            };
        }
    }

    /// Copies bytes out. They may be concurrently written only if the caller checks them afterwards (CRC).
    pub fn read(&self, off: usize, into: &mut [u8]) {
        assert!(off
            .checked_add(into.len())
            .is_some_and(|end| end <= self.len));
        // SAFETY: both ranges are valid; `into` is ours alone.
        unsafe { std::ptr::copy_nonoverlapping(self.base.add(off), into.as_mut_ptr(), into.len()) }
    }

    /// Copies bytes in; the caller holds whatever lock the bytes are written under.
    pub fn write(&self, off: usize, from: &[u8]) {
        assert!(off
            .checked_add(from.len())
            .is_some_and(|end| end <= self.len));
        // SAFETY: in range; exclusion is the caller's.
        unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), self.base.add(off), from.len()) }
    }

    pub fn zero(&self, off: usize, len: usize) {
        assert!(off.checked_add(len).is_some_and(|end| end <= self.len));
        // SAFETY: in range; exclusion is the caller's.
        unsafe { std::ptr::write_bytes(self.base.add(off), 0, len) }
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: mapped by `new` with this length.
        let _ = unsafe { rustix::mm::munmap(self.base.cast(), self.len) };
    }
}
