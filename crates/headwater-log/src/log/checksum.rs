//! CRC32C (Castagnoli, RFC 3720 appendix B.4), seeded, so that a frame of another file is never taken for one of this.

use crc_fast::{CrcAlgorithm, Digest};

/// Below this many bytes one chain of `crc32` instructions beats setting up the folding of `crc-fast`.
const INLINE_BYTES: usize = 256;

/// The checksum of `data`, its register beginning at `!seed`.
#[inline]
pub fn crc32c(seed: u32, data: &[u8]) -> u32 {
    #[cfg(target_arch = "x86_64")]
    if data.len() <= INLINE_BYTES && std::is_x86_feature_detected!("sse4.2") {
        // SAFETY: the instruction set was just checked.
        return unsafe { short_sse(seed, data) };
    }
    let mut digest = Digest::new_with_init_state(CrcAlgorithm::Crc32Iscsi, u64::from(!seed));
    digest.update(data);
    digest.finalize() as u32
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "sse4.2")]
#[inline]
unsafe fn short_sse(seed: u32, data: &[u8]) -> u32 {
    use std::arch::x86_64::{_mm_crc32_u64, _mm_crc32_u8};
    let mut state = u64::from(!seed);
    let mut words = data.chunks_exact(8);
    for word in &mut words {
        state = _mm_crc32_u64(
            state,
            u64::from_le_bytes(word.try_into().unwrap_or_default()),
        );
    }
    let mut state = state as u32;
    for byte in words.remainder() {
        state = _mm_crc32_u8(state, *byte);
    }
    !state
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_value_of_the_catalogue_comes_out() {
        // CRC-32/ISCSI: check="123456789" → 0xe3069283 (seed 0: the register begins at all ones).
        assert_eq!(crc32c(0, b"123456789"), 0xe306_9283);
    }

    #[test]
    fn both_ways_agree_at_every_length() {
        let data: Vec<u8> = (0..2000u32).map(|n| (n * 7 + n / 256) as u8).collect();
        for len in 0..600 {
            let mut digest =
                Digest::new_with_init_state(CrcAlgorithm::Crc32Iscsi, u64::from(!77u32));
            digest.update(&data[..len]);
            assert_eq!(crc32c(77, &data[..len]), digest.finalize() as u32, "{len}");
        }
    }
}
