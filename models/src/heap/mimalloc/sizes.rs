//! Sizes: of requests, blocks, bins, pages and spans (mimalloc 2.0.9, `_mi_bin`, `_mi_os_good_alloc_size`, `mi_slice_bin8`).

pub(super) const SLICE_BYTES: u64 = 64 << 10;
pub(super) const SLICES: u32 = 512;
pub(super) const SEGMENT_BYTES: u64 = 32 << 20;
/// Requests up to here are served from the first page of a queue without further ado.
pub(super) const SMALL_REQUEST_MAX: u64 = 1024;
/// Blocks up to here lie in pages of one slice.
pub(super) const SMALL_BLOCK_MAX: u64 = 16 << 10;
/// Blocks up to here share a page of eight slices.
pub(super) const MEDIUM_BLOCK_MAX: u64 = 128 << 10;
/// Blocks up to here have a page in a common segment.
pub(super) const LARGE_BLOCK_MAX: u64 = 16 << 20;
/// Alignments up to here are reached within a block that is longer.
pub(super) const ALIGN_MAX: u64 = 16 << 20;
/// No request is longer: `PTRDIFF_MAX`.
pub(super) const REQUEST_MAX: u64 = i64::MAX.cast_unsigned();

const WORD_BYTES: u64 = 8;
const MEDIUM_PAGE_SLICES: u32 = 8;
/// The first block of pages with small blocks lies this far in.
const FIRST_BLOCK_OFFSET: u64 = 384;
const OFFSET_BLOCK_MAX: u64 = 1024;

/// Queues of pages of one heap.
pub(super) const BINS: usize = 75;
/// The queue of pages with one block each.
pub(super) const BIN_LARGE: u8 = 73;
/// The queue of pages without a free block.
pub(super) const BIN_FULL: u8 = 74;
/// Queues of free spans of one heap.
pub(super) const SPAN_BINS: usize = 36;

const _: () =
    assert!(block_bytes_of(bin_of(MEDIUM_BLOCK_MAX)) == MEDIUM_BLOCK_MAX && bin_of(MEDIUM_BLOCK_MAX) < BIN_LARGE);
const _: () = assert!((span_bin(SLICES) as usize) < SPAN_BINS);

/// The bin of a request of up to 128 KiB: words rounded to 16 bytes up to 64, then four bins for each doubling.
pub(super) const fn bin_of(bytes: u64) -> u8 {
    let words = bytes.div_ceil(WORD_BYTES);
    match words {
        0 | 1 => 1,
        2..=8 => low_byte((words + 1) & !1),
        _ => {
            let top = (words - 1).ilog2();
            low_byte(4 * top as u64 + ((words - 1) >> (top - 2)) % 4 - 3)
        }
    }
}

/// Bytes of the blocks of a bin: the longest request that has it.
pub(super) const fn block_bytes_of(bin: u8) -> u64 {
    let bin = bin as u64;
    if bin <= 8 {
        return bin * WORD_BYTES;
    }
    let (top, quarter) = (bin.div_ceil(4), (bin + 3) % 4);
    ((5 + quarter) << (top - 2)) * WORD_BYTES
}

/// The bins of requests that the fast way serves, by words.
pub(super) const SMALL_BINS: [u8; 129] = {
    let mut bins = [1; 129];
    let mut words = 0;
    while words < bins.len() {
        bins[words] = bin_of(words as u64 * WORD_BYTES);
        words += 1;
    }
    bins
};

/// Rounds a long request up: the granularity is about an eighth of it. `None` past the end of numbers.
pub(super) const fn good_bytes(bytes: u64) -> Option<u64> {
    let granularity = match bytes {
        0..0x8_0000 => 4 << 10,
        0x8_0000..0x20_0000 => 64 << 10,
        0x20_0000..0x80_0000 => 256 << 10,
        0x80_0000..0x200_0000 => 1 << 20,
        _ => 4 << 20,
    };
    bytes.checked_next_multiple_of(granularity)
}

/// Slices of a page for blocks of that many bytes, at most 16 MiB.
pub(super) const fn page_slices(block_bytes: u64) -> u32 {
    if block_bytes <= SMALL_BLOCK_MAX {
        1
    } else if block_bytes <= MEDIUM_BLOCK_MAX {
        MEDIUM_PAGE_SLICES
    } else if block_bytes <= MEDIUM_PAGE_SLICES as u64 * SLICE_BYTES {
        slices(block_bytes)
    } else {
        slices(block_bytes).next_multiple_of(MEDIUM_PAGE_SLICES)
    }
}

#[expect(clippy::cast_possible_truncation, reason = "at most 512, asserted")]
const fn slices(bytes: u64) -> u32 {
    let slices = bytes.div_ceil(SLICE_BYTES);
    assert!(slices <= SLICES as u64, "a page is no longer than a segment");
    slices as u32
}

/// Bytes from the start of a page to its first block.
pub(super) const fn first_block_offset(block_bytes: u64) -> u64 {
    if block_bytes <= OFFSET_BLOCK_MAX { FIRST_BLOCK_OFFSET } else { 0 }
}

/// The queue of free spans of that many slices: one each up to 7, then four for each doubling.
pub(super) const fn span_bin(slices: u32) -> u8 {
    if slices <= 1 {
        return low_byte(slices as u64);
    }
    let top = (slices - 1).ilog2();
    if top <= 2 {
        return low_byte(slices as u64);
    }
    low_byte((4 * top + ((slices - 1) >> (top - 2)) % 4 - 4) as u64)
}

#[expect(clippy::cast_possible_truncation, reason = "below 256, asserted")]
const fn low_byte(bin: u64) -> u8 {
    assert!(bin < 256, "there are fewer than 256 bins");
    bin as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_even_words_then_four_sizes_for_each_doubling() {
        let sizes = |range: std::ops::RangeInclusive<u8>| range.map(block_bytes_of).collect::<Vec<_>>();
        assert_eq!(sizes(8..=17), [64, 80, 96, 112, 128, 160, 192, 224, 256, 320]);
        for bytes in 0..=MEDIUM_BLOCK_MAX {
            let block = block_bytes_of(bin_of(bytes));
            assert!(block >= bytes && (bytes < 72 || (block - bytes) * 4 < bytes), "{bytes} in {block}");
            assert_eq!(bin_of(block), bin_of(bytes));
        }
    }

    #[test]
    fn spans_of_up_to_seven_slices_have_a_queue_each() {
        assert_eq!([1, 2, 7, 8, 9, 10, 11, 12, 16, 17, 511].map(span_bin), [1, 2, 7, 8, 8, 8, 9, 9, 11, 12, 31]);
    }
}
