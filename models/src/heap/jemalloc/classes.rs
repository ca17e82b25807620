//! Size classes of blocks, and of page runs (`sz.h`, `sc.c`, `bin_info.c`).

use crate::index;

pub(super) const PAGE_BYTES: u64 = 4096;
/// Classes that are served from slabs.
pub(super) const SMALL_CLASSES: usize = 36;
/// Classes that a thread's cache keeps.
pub(super) const CACHED_CLASSES: usize = 41;
/// The largest small class and the smallest large one.
pub(super) const SMALL_BYTES_MAX: u64 = 14_336;
pub(super) const LARGE_BYTES_MIN: u64 = 16_384;
/// The largest class that a thread's cache keeps.
pub(super) const CACHED_BYTES_MAX: u64 = 32_768;
/// The largest class there is (`SC_LARGE_MAXCLASS`).
pub(super) const LARGE_BYTES_MAX: u64 = 0x7000_0000_0000_0000;
/// A large block's extent is longer by this, for its random place within the first page (`sz_large_pad`).
pub(super) const PAD_BYTES: u64 = PAGE_BYTES;
/// Page classes up to the largest extent there can be.
pub(super) const PAGE_CLASSES: usize = 200;

/// What one small class is like.
#[derive(Clone, Copy, Debug)]
pub(super) struct SmallClass {
    pub bytes: u64,
    /// Bytes of a slab: the fewest pages that the class divides.
    pub slab_bytes: u64,
    /// Regions of a slab.
    pub regions: u32,
    /// `offset * reciprocal >> 32` is the number of the region that an offset lies in.
    reciprocal: u64,
}

impl SmallClass {
    /// The region at an offset into a slab; `None` between two starts.
    #[inline]
    pub(super) fn region_at(&self, offset: u64) -> Option<u32> {
        let region = (offset * self.reciprocal) >> 32;
        (region * self.bytes == offset).then_some(low_half(region))
    }
}

/// All small classes.
pub(super) static SMALL: [SmallClass; SMALL_CLASSES] = SMALL_TABLE;
const SMALL_TABLE: [SmallClass; SMALL_CLASSES] = small_classes();

/// Number of the class by request, in steps of 8 bytes, up to a page.
static BY_EIGHT: [u8; 513] = by_eight();

const fn small_classes() -> [SmallClass; SMALL_CLASSES] {
    let mut classes = [SmallClass { bytes: 0, slab_bytes: 0, regions: 0, reciprocal: 0 }; SMALL_CLASSES];
    let (mut class, mut request) = (0, 1);
    while class < SMALL_CLASSES {
        let bytes = round_up(request);
        let mut slab_bytes = PAGE_BYTES;
        while !slab_bytes.is_multiple_of(bytes) {
            slab_bytes += PAGE_BYTES;
        }
        let regions = low_half(slab_bytes / bytes);
        classes[class] = SmallClass { bytes, slab_bytes, regions, reciprocal: (1 << 32) / bytes + 1 };
        request = bytes + 1;
        class += 1;
    }
    classes
}

const fn by_eight() -> [u8; 513] {
    let mut table = [0; 513];
    let (mut step, mut class) = (0, 0);
    while step < 513 {
        while SMALL_TABLE[class as usize].bytes < step as u64 * 8 {
            class += 1;
        }
        table[step] = class;
        step += 1;
    }
    table
}

#[expect(clippy::cast_possible_truncation, reason = "numbers of regions, at most 512")]
const fn low_half(number: u64) -> u32 {
    number as u32
}

/// The usable bytes of a block for a request of `bytes`, which is at most [`LARGE_BYTES_MAX`] (`sz_s2u`).
#[inline]
pub(super) const fn round_up(bytes: u64) -> u64 {
    if bytes <= 8 {
        return 8;
    }
    if bytes <= 128 {
        return (bytes + 15) & !15;
    }
    // Four classes for each doubling.
    let step = 1_u64 << ((2 * bytes - 1).ilog2() - 3);
    (bytes + step - 1) & !(step - 1)
}

/// The number of the class of a request that is at most [`CACHED_BYTES_MAX`].
#[inline]
pub(super) fn class_of(bytes: u64) -> usize {
    if bytes <= PAGE_BYTES {
        return BY_EIGHT[index(bytes.div_ceil(8))].into();
    }
    let doubling = (2 * bytes - 1).ilog2();
    let step = doubling - 3;
    let within = ((bytes - 1) >> step) & 3;
    // Classes up to 4096 are 29; four for each doubling from there on.
    29 + 4 * (index(doubling.into()) - 13) + index(within)
}

/// Bytes of a class that a thread's cache keeps.
#[cfg(test)]
pub(super) fn bytes_of_class(class: usize) -> u64 {
    match SMALL.get(class) {
        Some(small) => small.bytes,
        None => LARGE_BYTES_MIN + (class - SMALL_CLASSES) as u64 * PAGE_BYTES,
    }
}

/// The usable bytes of a block of `bytes` on a multiple of `align`; `None` past the largest class (`sz_sa2u`).
pub(super) fn round_up_aligned(bytes: u64, align: u64) -> Option<u64> {
    if align > LARGE_BYTES_MAX || bytes > LARGE_BYTES_MAX {
        return None;
    }
    if bytes <= SMALL_BYTES_MAX && align <= PAGE_BYTES {
        let usable = round_up(bytes.next_multiple_of(align));
        if usable <= SMALL_BYTES_MAX {
            return Some(usable);
        }
    }
    Some(round_up(bytes.max(LARGE_BYTES_MIN)))
}

/// The first page class of at least `bytes` (`sz_psz2ind`).
pub(super) fn page_class(bytes: u64) -> usize {
    if bytes <= 4 * PAGE_BYTES {
        return index(bytes.div_ceil(PAGE_BYTES).saturating_sub(1));
    }
    let doubling = (2 * bytes - 1).ilog2();
    let within = ((bytes - 1) >> (doubling - 3)) & 3;
    index(u64::from(doubling - 14) * 4 + within)
}

/// Bytes of a page class (`sz_pind2sz`).
pub(super) const fn page_class_bytes(class: usize) -> u64 {
    let (group, within) = (class / 4, class as u64 % 4);
    if group == 0 {
        return (within + 1) * PAGE_BYTES;
    }
    let step = PAGE_BYTES << (group - 1);
    (4 + within + 1) * step
}

/// The heap's size for an extent: the longest large extent that fits in it (`sz_psz_quantize_floor`).
pub(super) fn quantize_floor(bytes: u64) -> u64 {
    match page_class(bytes - PAD_BYTES + 1) {
        0 => bytes,
        class => page_class_bytes(class - 1) + PAD_BYTES,
    }
}

/// From which size on every extent holds `bytes` (`sz_psz_quantize_ceil`).
pub(super) fn quantize_ceil(bytes: u64) -> u64 {
    let floor = quantize_floor(bytes);
    if floor == bytes {
        return floor;
    }
    page_class_bytes(page_class(floor - PAD_BYTES + 1)) + PAD_BYTES
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;

    #[test]
    fn the_small_classes_and_their_slabs() {
        let table: Vec<_> =
            SMALL.iter().map(|class| format!("{}:{}x{}", class.bytes, class.slab_bytes >> 12, class.regions)).collect();
        // Bytes of a region : pages of a slab x its regions.
        assert_snapshot!(table.join(" "), @"8:1x512 16:1x256 32:1x128 48:3x256 64:1x64 80:5x256 96:3x128 112:7x256 128:1x32 160:5x128 192:3x64 224:7x128 256:1x16 320:5x64 384:3x32 448:7x64 512:1x8 640:5x32 768:3x16 896:7x32 1024:1x4 1280:5x16 1536:3x8 1792:7x16 2048:1x2 2560:5x8 3072:3x4 3584:7x8 4096:1x1 5120:5x4 6144:3x2 7168:7x4 8192:2x1 10240:5x2 12288:3x1 14336:7x2");
    }

    #[test]
    fn the_number_of_a_class_is_its_place_in_order() {
        let mut next = 0;
        for bytes in 0..=CACHED_BYTES_MAX {
            let class = class_of(bytes);
            assert_eq!(bytes_of_class(class), round_up(bytes), "{bytes}");
            assert!(class == next || class + 1 == next, "{bytes}: class {class}");
            next = class + 1;
        }
        assert_eq!(next, CACHED_CLASSES);
    }

    #[test]
    fn a_region_is_found_by_its_start_alone() {
        for class in &SMALL {
            for offset in 0..class.slab_bytes {
                let expected = offset.is_multiple_of(class.bytes).then_some(low_half(offset / class.bytes));
                assert_eq!(class.region_at(offset), expected, "{} in slabs of {}", offset, class.bytes);
            }
        }
    }

    #[test]
    fn page_classes_are_the_multiples_of_a_page_to_16_kib_then_four_for_each_doubling() {
        let pages: Vec<_> = (0..16).map(|class| page_class_bytes(class) >> 12).collect();
        assert_eq!(pages, [1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32]);
        for class in 0..130 {
            let bytes = page_class_bytes(class);
            assert_eq!((page_class(bytes), page_class(bytes + 1), page_class(bytes - 4095)), (class, class + 1, class));
        }
    }

    #[test]
    fn an_extent_counts_as_the_longest_large_one_that_fits() {
        let floors: Vec<_> = (1..=16).map(|pages| quantize_floor(pages << 12) >> 12).collect();
        assert_eq!(floors, [1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 11, 11, 13, 13, 15, 15]);
        let ceilings: Vec<_> = (1..=16).map(|pages| quantize_ceil(pages << 12) >> 12).collect();
        assert_eq!(ceilings, [1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 11, 13, 13, 15, 15, 17]);
    }
}
