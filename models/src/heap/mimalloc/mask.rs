//! Sets of the slices of a segment (`mi_commit_mask_t`).

use serde::{Deserialize, Serialize};

use super::sizes::SLICES;
use crate::index;

/// A bit for each slice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mask([u64; 8]);

impl Mask {
    /// Every slice.
    pub const FULL: Mask = Mask([u64::MAX; 8]);

    /// The slices `from..to`.
    pub fn range(from: u32, to: u32) -> Mask {
        let mut mask = Mask::default();
        for (word, low) in mask.0.iter_mut().zip((0..SLICES).step_by(64)) {
            let below = |slice: u32| (1_u64 << slice.clamp(low, low + 63).wrapping_sub(low)).wrapping_sub(1);
            let upto = if to >= low + 64 { u64::MAX } else { below(to) };
            *word = if from >= low + 64 { 0 } else { upto & !below(from) };
        }
        mask
    }

    pub fn is_empty(&self) -> bool {
        self.0 == [0; 8]
    }

    pub fn and(&self, other: &Mask) -> Mask {
        Mask(std::array::from_fn(|word| self.0[word] & other.0[word]))
    }

    pub fn insert(&mut self, other: &Mask) {
        for (word, more) in self.0.iter_mut().zip(other.0) {
            *word |= more;
        }
    }

    pub fn remove(&mut self, other: &Mask) {
        for (word, less) in self.0.iter_mut().zip(other.0) {
            *word &= !less;
        }
    }

    /// Whether every slice of `other` is in this one.
    pub fn contains(&self, other: &Mask) -> bool {
        self.and(other) == *other
    }

    fn has(&self, slice: u32) -> bool {
        self.0[index(u64::from(slice / 64))] >> (slice % 64) & 1 == 1
    }

    /// Runs of neighbouring slices, ascending: first, and one behind the last.
    pub fn runs(&self) -> impl Iterator<Item = (u32, u32)> {
        let mut next = 0;
        std::iter::from_fn(move || {
            let from = (next..SLICES).find(|&slice| self.has(slice))?;
            let to = (from..SLICES).find(|&slice| !self.has(slice)).unwrap_or(SLICES);
            next = to;
            Some((from, to))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_one_run_wherever_it_starts_and_ends() {
        for from in (0..SLICES).step_by(7).chain([63, 64, 65, 127, 128]) {
            for to in [from + 1, from + 63, from + 64, from + 65, SLICES].into_iter().filter(|&to| to <= SLICES) {
                assert_eq!(Mask::range(from, to).runs().collect::<Vec<_>>(), [(from, to)]);
            }
            assert!(Mask::range(from, from).is_empty());
        }
        assert_eq!(Mask::range(0, SLICES), Mask::FULL);
    }

    #[test]
    fn removing_the_middle_leaves_two_runs() {
        let mut mask = Mask::range(10, 200);
        mask.remove(&Mask::range(60, 70));
        assert_eq!(mask.runs().collect::<Vec<_>>(), [(10, 60), (70, 200)]);
        assert!(!mask.contains(&Mask::range(50, 61)) && mask.contains(&Mask::range(70, 200)));
    }
}
