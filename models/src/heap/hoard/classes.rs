//! Size classes of both presets, and sizes of large objects.

use serde::{Deserialize, Serialize};

use crate::index;

/// Every block is a multiple of it, and aligned to it.
pub(super) const ALIGN_BYTES: u64 = 16;

/// Classes ascending, and the class of each request.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Classes {
    bytes: Vec<u64>,
    /// By request, in units of [`ALIGN_BYTES`].
    by_units: Vec<u8>,
}

impl Classes {
    /// Powers of 1.2 from 16 bytes to `limit`, rounded up to 16, duplicates dropped.
    pub fn powers_of_1_2(limit: u64) -> Classes {
        let powers = powers(ALIGN_BYTES).map(|bytes| bytes.next_multiple_of(ALIGN_BYTES));
        let mut bytes: Vec<u64> = powers.take_while(|&bytes| bytes < limit).chain([limit]).collect();
        bytes.dedup();
        Classes::of(bytes)
    }

    /// Steps of 16 bytes to 128, then four classes for each doubling.
    pub fn four_each_doubling(limit: u64) -> Classes {
        let steps = (1..=8).map(|step| step * ALIGN_BYTES);
        let quarters = (0..).flat_map(|power| (5..=8).map(move |quarters| (quarters * 32) << power));
        Classes::of(steps.chain(quarters).take_while(|&bytes| bytes < limit).chain([limit]).collect())
    }

    fn of(bytes: Vec<u64>) -> Classes {
        let last = *bytes.last().expect("the limit is a class");
        let class = |units: u64| bytes.partition_point(|&class| class < units * ALIGN_BYTES);
        let small = |class: usize| u8::try_from(class).expect("there are fewer than 256 classes");
        let by_units = (0..=last / ALIGN_BYTES).map(|units| small(class(units))).collect();
        Classes { bytes, by_units }
    }

    /// Classes.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Bytes of each block of a class.
    pub fn bytes(&self, class: u8) -> u64 {
        self.bytes[usize::from(class)]
    }

    /// The class of a request; none where it is large.
    #[inline]
    pub fn of_request(&self, bytes: u64) -> Option<u8> {
        self.by_units.get(index(bytes.div_ceil(ALIGN_BYTES))).copied()
    }
}

/// A large request rounded up to a power of 1.2 times `from`, and to pages.
pub(super) fn large_class(bytes: u64, from: u64, page_bytes: u64) -> Option<u64> {
    powers(from).find(|&power| power >= bytes)?.checked_next_multiple_of(page_bytes)
}

/// `first`, 1.2 times that, and so on, each rounded up to a byte, while they fit.
fn powers(first: u64) -> impl Iterator<Item = u64> {
    const FRACTION: u32 = 32;
    let next = |&power: &u128| Some(power * 6 / 5);
    let whole = |power: u128| u64::try_from(power.div_ceil(1 << FRACTION)).ok();
    std::iter::successors(Some(u128::from(first) << FRACTION), next).map_while(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_wastes_at_most_a_sixth_but_for_rounding_to_16() {
        let classes = Classes::powers_of_1_2(4096);
        assert_eq!(classes.bytes[..9], [16, 32, 48, 64, 80, 96, 112, 128, 144]);
        for bytes in 1..=4096 {
            let class = classes.of_request(bytes).expect("not large");
            let given = classes.bytes(class);
            assert!(given >= bytes && given < bytes * 6 / 5 + 17, "{bytes} in {given}");
            assert!(class == 0 || classes.bytes(class - 1) < bytes, "{bytes} fits a smaller class");
        }
        assert_eq!(classes.of_request(4097), None);
    }

    #[test]
    fn later_classes_are_four_for_each_doubling() {
        let classes = Classes::four_each_doubling(32 << 10);
        assert_eq!(classes.bytes[6..14], [112, 128, 160, 192, 224, 256, 320, 384]);
        assert_eq!((classes.len(), classes.bytes(39)), (40, 32 << 10));
    }
}
