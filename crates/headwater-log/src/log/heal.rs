//! Segment files that cannot be opened as they are, and what recovery can make of them without guessing.

use std::sync::Arc;

use super::segment::{Header, Segment};
use super::Log;
use crate::error::{Error, Result};

pub(crate) const SECTOR: usize = 512;

impl Log {
    /// A segment whose file is cut, or in whose header one bit has flipped, as it was; None where that cannot be known.
    ///
    /// A cut file gets its length back: what was cut off reads as damage, all before it is there.
    pub(super) fn heal(&self, base: u64) -> Result<Option<Arc<Segment>>> {
        let path = self.dir.join(self.kind.file_name(base));
        let storage = &*self.ctx.storage;
        let file = storage.open(&path)?;
        let len = storage.len(&file, &path)?;
        if len < SECTOR as u64 {
            return Ok(None);
        }
        let map = storage.map(&file, &path, SECTOR, true)?;
        let mut found = [0u8; SECTOR];
        map.read(0, &mut found);
        let header = match Header::decode(&found, &path) {
            Ok(header) => header,
            Err(Error::Corruption { .. }) => match corrected(&found) {
                Some(right) => {
                    let header = Header::decode(&right, &path)?;
                    self.quarantine_bytes(base, 0, &found, "one bit of the header had flipped")?;
                    map.write(0, &right);
                    header
                }
                None => return Ok(None),
            },
            Err(error) => return Err(error),
        };
        if header.uuid != self.ctx.uuid || header.oid != self.oid || header.base_seq != base {
            return Ok(None);
        }
        if len < header.file_size {
            storage.extend(&file, &path, header.file_size)?;
        }
        if !self.ctx.memory {
            storage.sync(&file, &path)?;
        }
        drop(map);
        self.segment(base)
    }
}

/// The sector with the one bit flipped back that makes its checksum right: for sectors of this length no two bits do (CRC32C
/// tells up to five flipped bits apart there: Koopman, "32-Bit Cyclic Redundancy Codes for Internet Applications", 2002).
pub(crate) fn corrected(sector: &[u8; SECTOR]) -> Option<[u8; SECTOR]> {
    let mut tried = *sector;
    for bit in 0..SECTOR * 8 {
        tried[bit / 8] ^= 1 << (bit % 8);
        if Header::checks(&tried) {
            return Some(tried);
        }
        tried[bit / 8] ^= 1 << (bit % 8);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_flipped_bit_is_found_and_two_are_not_guessed() {
        let header = Header {
            uuid: [3; 16],
            oid: 7,
            base_seq: 1,
            base_lba: 0,
            base_ordinal: 0,
            base_max_time: i64::MIN,
            created_ns: 5,
            file_size: 65536,
            kind: 1,
            generation: 0,
        };
        let right = header.encode();
        for bit in 0..SECTOR * 8 {
            let mut damaged = right;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(corrected(&damaged), Some(right), "{bit}");
            damaged[(bit / 8 + 100) % SECTOR] ^= 2;
            assert_eq!(corrected(&damaged), None, "{bit}");
        }
    }
}
