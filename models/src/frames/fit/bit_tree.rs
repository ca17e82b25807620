//! A set of small numbers: bits, and above them bits that say which words are not empty.

use crate::index;

/// Numbers below a bound; the nearest member on either side of a number is found in O(log64 bound).
#[derive(Clone, Debug)]
pub(super) struct BitTree {
    /// `levels[0]` has a bit for each number, the next one a bit for each word of it, up to a single word.
    levels: Vec<Vec<u64>>,
}

impl BitTree {
    /// The empty set of numbers below `bound`.
    pub(super) fn new(bound: u64) -> BitTree {
        let mut levels = Vec::new();
        let mut bits = bound;
        loop {
            bits = bits.div_ceil(64).max(1);
            levels.push(vec![0; index(bits)]);
            if bits == 1 {
                return BitTree { levels };
            }
        }
    }

    pub(super) fn insert(&mut self, number: u64) {
        let mut number = number;
        for level in &mut self.levels {
            let word = &mut level[index(number / 64)];
            let was_empty = *word == 0;
            *word |= 1 << (number % 64);
            if !was_empty {
                return;
            }
            number /= 64;
        }
    }

    pub(super) fn remove(&mut self, number: u64) {
        let mut number = number;
        for level in &mut self.levels {
            let word = &mut level[index(number / 64)];
            *word &= !(1 << (number % 64));
            if *word != 0 {
                return;
            }
            number /= 64;
        }
    }

    pub(super) fn contains(&self, number: u64) -> bool {
        self.levels[0].get(index(number / 64)).is_some_and(|word| word >> (number % 64) & 1 == 1)
    }

    /// The least member that is not below `number`.
    pub(super) fn at_or_above(&self, number: u64) -> Option<u64> {
        let mut number = number;
        for (height, level) in self.levels.iter().enumerate() {
            let word = level.get(index(number / 64))?;
            let found = word & from_bit(number % 64);
            if found != 0 {
                return Some(self.lowest_under(height, number / 64 * 64 + u64::from(found.trailing_zeros())));
            }
            number = number / 64 + 1;
        }
        None
    }

    /// The greatest member that is below `number`.
    pub(super) fn below(&self, number: u64) -> Option<u64> {
        let mut number = number;
        for (height, level) in self.levels.iter().enumerate() {
            let last = number.checked_sub(1)?;
            let found = level[index(last / 64)] & up_to_bit(last % 64);
            if found != 0 {
                return Some(self.highest_under(height, last / 64 * 64 + u64::from(found.ilog2())));
            }
            number = last / 64;
        }
        None
    }

    fn lowest_under(&self, height: usize, number: u64) -> u64 {
        let words = self.levels[..height].iter().rev();
        words.fold(number, |at, level| at * 64 + u64::from(level[index(at)].trailing_zeros()))
    }

    fn highest_under(&self, height: usize, number: u64) -> u64 {
        let words = self.levels[..height].iter().rev();
        words.fold(number, |at, level| at * 64 + u64::from(level[index(at)].ilog2()))
    }

    pub(super) fn bytes(&self) -> u64 {
        self.levels.iter().map(|level| level.len() as u64 * 8).sum()
    }
}

/// Bits `bit` and above.
pub(super) const fn from_bit(bit: u64) -> u64 {
    u64::MAX << bit
}

/// Bits `bit` and below.
pub(super) const fn up_to_bit(bit: u64) -> u64 {
    u64::MAX >> (63 - bit)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn neighbours_are_those_of_a_sorted_set(
            bound in 1_u64..20_000,
            steps in prop::collection::vec((any::<u64>(), any::<bool>(), any::<u64>()), 1..200),
        ) {
            let (mut tree, mut set) = (BitTree::new(bound), BTreeSet::new());
            for (number, insert, asked) in steps {
                let (number, asked) = (number % bound, asked % (bound + 1));
                if insert {
                    tree.insert(number);
                    set.insert(number);
                } else {
                    tree.remove(number);
                    set.remove(&number);
                }
                prop_assert_eq!(tree.contains(asked), set.contains(&asked));
                prop_assert_eq!(tree.at_or_above(asked), set.range(asked..).next().copied());
                prop_assert_eq!(tree.below(asked), set.range(..asked).next_back().copied());
            }
        }
    }
}
