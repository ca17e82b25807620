//! Size classes, computed once from the rules (`SizeMap::Init`).

/// Bytes of a page of the allocator, two of the machine's.
pub(super) const PAGE_BYTES: u64 = 1 << PAGE_SHIFT;
pub(super) const PAGE_SHIFT: u32 = 13;
/// Longer requests get whole pages (`kMaxSize`).
pub(super) const SMALL_MAX: u64 = 256 << 10;
/// Sizes below are multiples of 8, from here on of 128: a table with these two steps finds every class.
const FINE_MAX: u64 = 1024;
const TABLE_ENTRIES: usize = 2169;
const CLASSES_MAX: usize = 128;
/// Division by a class's size is a multiplication and a shift by so much, exact for every offset in a span.
const RECIPROCAL_SHIFT: u32 = 40;
/// Bytes that move between a thread and the central list at once, as far as the limits of a batch allow.
const MOVED_BYTES: u64 = 64 << 10;
const BATCH_MAX: u64 = 32;

/// One class: objects of one size, in spans of one length. The class of number 0 is none: it has no objects.
#[derive(Clone, Copy, Debug)]
pub(super) struct Class {
    /// Bytes of an object.
    pub bytes: u64,
    /// Pages of a span.
    pub pages: u64,
    /// Objects that move at once between a thread and the central list.
    pub batch: u32,
    /// Objects of a span.
    pub objects: u32,
    reciprocal: u64,
}

impl Class {
    const NONE: Class = Class { bytes: 0, pages: 0, batch: 0, objects: 0, reciprocal: 0 };

    const fn new(bytes: u64) -> Class {
        let batch = batch_of(bytes);
        let pages = pages_of(bytes, batch);
        let reciprocal = (1_u64 << RECIPROCAL_SHIFT).div_ceil(bytes);
        Class { bytes, pages, batch: low_half(batch), objects: low_half(pages * PAGE_BYTES / bytes), reciprocal }
    }

    /// The number of the object of a span that has the byte at `offset`, which lies in the span.
    #[inline]
    pub const fn object_at(&self, offset: u64) -> u32 {
        low_half((offset * self.reciprocal) >> RECIPROCAL_SHIFT)
    }
}

/// All classes, and the table that finds them.
pub(super) struct Classes {
    classes: [Class; CLASSES_MAX],
    count: u8,
    of_size: [u8; TABLE_ENTRIES],
}

/// The classes of every heap: they depend on nothing.
pub(super) static CLASSES: Classes = Classes::compute();

impl Classes {
    /// The class of a request of at most [`SMALL_MAX`] bytes.
    #[inline]
    pub const fn of(&self, bytes: u64) -> u8 {
        self.of_size[entry(bytes)]
    }

    /// What is known of a class.
    #[inline]
    pub const fn get(&self, class: u8) -> &Class {
        &self.classes[class as usize]
    }

    /// Classes, number 0 included.
    pub const fn count(&self) -> u8 {
        self.count
    }

    const fn compute() -> Classes {
        let mut classes = [Class::NONE; CLASSES_MAX];
        let mut count = 1;
        let mut bytes = 8;
        while bytes <= SMALL_MAX {
            let class = Class::new(bytes);
            let before = &classes[count - 1];
            if before.pages == class.pages && before.objects == class.objects {
                classes[count - 1] = class;
            } else {
                classes[count] = class;
                count += 1;
            }
            bytes += alignment_of(bytes);
        }
        let mut of_size = [0; TABLE_ENTRIES];
        let (mut class, mut from) = (1, 0);
        while class < count {
            let last = entry(classes[class].bytes);
            while from <= last {
                of_size[from] = low_byte(class as u64);
                from += 1;
            }
            class += 1;
        }
        Classes { classes, count: low_byte(count as u64), of_size }
    }
}

/// Where the table says which class a size has (`ClassIndex`).
const fn entry(bytes: u64) -> usize {
    let entry = if bytes <= FINE_MAX { bytes.div_ceil(8) } else { (bytes - FINE_MAX).div_ceil(128) + FINE_MAX / 8 };
    low_half(entry) as usize
}

/// Steps between the sizes of classes (`AlignmentForSize`).
const fn alignment_of(bytes: u64) -> u64 {
    match bytes {
        0..16 => 8,
        16..128 => 16,
        _ if bytes.ilog2() >= PAGE_SHIFT + 3 => PAGE_BYTES,
        _ => 1 << (bytes.ilog2() - 3),
    }
}

/// Objects that move at once (`NumMoveSize`).
const fn batch_of(bytes: u64) -> u64 {
    match MOVED_BYTES / bytes {
        0..2 => 2,
        BATCH_MAX.. => BATCH_MAX,
        batch => batch,
    }
}

/// Pages of a span: at most an eighth is lost at its end, and it holds a quarter of a batch.
const fn pages_of(bytes: u64, batch: u64) -> u64 {
    let mut span = 0;
    loop {
        span += PAGE_BYTES;
        while span % bytes > span / 8 {
            span += PAGE_BYTES;
        }
        if span / bytes >= batch / 4 {
            return span / PAGE_BYTES;
        }
    }
}

const fn low_half(number: u64) -> u32 {
    let bytes = number.to_le_bytes();
    u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

const fn low_byte(number: u64) -> u8 {
    number.to_le_bytes()[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> impl Iterator<Item = &'static Class> {
        (1..CLASSES.count()).map(|class| CLASSES.get(class))
    }

    #[test]
    fn every_size_has_the_smallest_class_that_holds_it() {
        for bytes in 0..=SMALL_MAX {
            let class = CLASSES.of(bytes);
            assert!(CLASSES.get(class).bytes >= bytes, "{bytes} bytes");
            assert!(class == 1 || CLASSES.get(class - 1).bytes < bytes, "{bytes} bytes");
        }
    }

    #[test]
    fn the_object_of_every_byte_of_a_span_is_that_of_a_division() {
        for class in all() {
            for offset in 0..class.pages * PAGE_BYTES {
                assert_eq!(u64::from(class.object_at(offset)), offset / class.bytes, "{class:?} at {offset}");
            }
        }
    }

    #[test]
    fn sizes_up_to_a_page_keep_the_alignment_they_are_multiples_of() {
        for align in (4..=PAGE_SHIFT).map(|power| 1_u64 << power) {
            for bytes in (1..=PAGE_BYTES / align).map(|times| times * align) {
                assert_eq!(CLASSES.get(CLASSES.of(bytes)).bytes % align, 0, "{bytes} bytes on {align}");
            }
        }
    }

    #[test]
    fn a_slot_names_every_object_of_a_span() {
        assert!(all().all(|class| class.objects <= 1024 && class.objects >= 1 && class.batch >= 2));
        let last = all().last().map(|class| (class.bytes, class.pages, class.batch));
        assert_eq!(last, Some((SMALL_MAX, 32, 2)));
    }
}
