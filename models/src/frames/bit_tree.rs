//! A set of small numbers that names its lowest member in a few words.

use serde::{Deserialize, Serialize};

use crate::index;

/// Levels of 64 words under one: room for `64^7` numbers.
const LEVELS_MAX: usize = 7;

/// A set of numbers below a bound: one bit each, and above every 64 words a word that says which of them are not 0.
///
/// Each operation reads one word a level, and writes a level only when the one below became empty or stopped being so.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct BitTree {
    /// All levels, the members' own bits first, the one root word last.
    words: Vec<u64>,
    /// Where each level starts in `words`.
    level_start: [u64; LEVELS_MAX + 1],
    levels: u32,
    bound: u64,
    /// The lowest member; `u64::MAX` when there is none.
    lowest: u64,
}

impl BitTree {
    /// The numbers below `members`, of all below `bound`.
    pub(super) fn filled(bound: u64, members: u64) -> BitTree {
        let mut level_start = [0; LEVELS_MAX + 1];
        let (mut levels, mut width) = (0, bound.max(1));
        loop {
            width = width.div_ceil(64);
            level_start[levels + 1] = level_start[levels] + width;
            levels += 1;
            if width == 1 {
                break;
            }
        }
        let words = vec![0; index(level_start[levels])];
        let mut tree =
            BitTree { words, level_start, levels: u32::try_from(levels).expect("at most 7"), bound, lowest: 0 };
        tree.fill_up_to(members);
        tree.lowest = tree.search();
        tree
    }

    fn fill_up_to(&mut self, members: u64) {
        let mut left = members;
        for level in 0..self.depth() {
            let first = index(self.level_start[level]);
            let whole = index(left / 64);
            self.words[first..first + whole].fill(u64::MAX);
            if !left.is_multiple_of(64) {
                self.words[first + whole] = (1 << (left % 64)) - 1;
            }
            left = left.div_ceil(64);
        }
    }

    #[inline]
    pub(super) fn contains(&self, member: u64) -> bool {
        member < self.bound && self.words[index(member / 64)] >> (member % 64) & 1 == 1
    }

    #[inline]
    pub(super) fn insert(&mut self, member: u64) {
        self.lowest = self.lowest.min(member);
        let word = &mut self.words[index(member / 64)];
        let before = std::mem::replace(word, *word | bit(member));
        if before == 0 {
            self.insert_above(member / 64);
        }
    }

    fn insert_above(&mut self, member: u64) {
        let mut at = member;
        for level in 1..self.depth() {
            let word = &mut self.words[index(self.level_start[level] + at / 64)];
            let before = std::mem::replace(word, *word | bit(at));
            if before != 0 {
                return;
            }
            at /= 64;
        }
    }

    #[inline]
    pub(super) fn remove(&mut self, member: u64) {
        let word = &mut self.words[index(member / 64)];
        *word &= !bit(member);
        let left = *word;
        if left == 0 {
            self.remove_above(member / 64);
        }
        if member == self.lowest {
            // Most often the next lowest is in the same word, or in the same one a level up.
            self.lowest = if left == 0 {
                self.lowest_beyond(member)
            } else {
                member / 64 * 64 + u64::from(left.trailing_zeros())
            };
        }
    }

    /// The lowest member when none is left up to the end of this one's word.
    fn lowest_beyond(&self, member: u64) -> u64 {
        let mut at = member / 64;
        for level in 1..self.depth() {
            let word = self.words[index(self.level_start[level] + at / 64)];
            if word != 0 {
                return self.descend(level, at / 64 * 64 + u64::from(word.trailing_zeros())).unwrap_or(u64::MAX);
            }
            at /= 64;
        }
        u64::MAX
    }

    fn remove_above(&mut self, member: u64) {
        let mut at = member;
        for level in 1..self.depth() {
            let word = &mut self.words[index(self.level_start[level] + at / 64)];
            *word &= !bit(at);
            if *word != 0 {
                return;
            }
            at /= 64;
        }
    }

    /// The same, as `u64::MAX` when there is none.
    #[inline]
    pub(super) fn lowest(&self) -> u64 {
        self.lowest
    }

    /// The lowest member.
    #[inline]
    pub(super) fn first(&self) -> Option<u64> {
        (self.lowest != u64::MAX).then_some(self.lowest)
    }

    fn search(&self) -> u64 {
        self.descend(self.depth(), 0).unwrap_or(u64::MAX)
    }

    /// The lowest member that is at least `from`.
    pub(super) fn first_from(&self, from: u64) -> Option<u64> {
        let mut at = from;
        for level in 0..self.depth() {
            if at / 64 >= self.level_start[level + 1] - self.level_start[level] {
                return None;
            }
            let word = self.words[index(self.level_start[level] + at / 64)] & (u64::MAX << (at % 64));
            if word != 0 {
                return self.descend(level, at / 64 * 64 + u64::from(word.trailing_zeros()));
            }
            at = at / 64 + 1;
        }
        None
    }

    /// The highest member that is less than `bound`.
    pub(super) fn last_below(&self, bound: u64) -> Option<u64> {
        let mut at = bound.min(self.bound);
        for level in 0..self.depth() {
            let last = at.checked_sub(1)?;
            let word = self.words[index(self.level_start[level] + last / 64)] & (u64::MAX >> (63 - last % 64));
            if word != 0 {
                return Some(self.descend_last(level, last / 64 * 64 + u64::from(word.ilog2())));
            }
            at = last / 64;
        }
        None
    }

    /// Bytes it occupies.
    pub(super) fn bytes(&self) -> u64 {
        self.words.len() as u64 * 8
    }

    /// All members, counted one by one.
    pub(super) fn len(&self) -> u64 {
        self.words[..index(self.level_start[1])].iter().map(|word| u64::from(word.count_ones())).sum()
    }

    /// Whether the lowest member is the one that is known.
    pub(super) fn knows_its_lowest(&self) -> bool {
        self.lowest == self.search()
    }

    /// The first level whose words do not say what the level below holds.
    pub(super) fn broken_level(&self) -> Option<usize> {
        (1..self.depth()).find(|&level| {
            let below = self.level_words(level - 1);
            let bits = self.level_words(level).iter().flat_map(|word| (0..64).map(move |bit| word >> bit & 1 == 1));
            !below
                .iter()
                .map(|word| *word != 0)
                .chain(std::iter::repeat(false))
                .zip(bits)
                .all(|(below, bit)| below == bit)
        })
    }

    /// The lowest member under bit `at` of a level; of the whole tree from above its root.
    #[inline]
    fn descend(&self, level: usize, at: u64) -> Option<u64> {
        let mut at = at;
        for below in (0..level).rev() {
            let word = self.words[index(self.level_start[below] + at)];
            if word == 0 {
                return None;
            }
            at = at * 64 + u64::from(word.trailing_zeros());
        }
        Some(at)
    }

    /// The highest member under bit `at` of a level.
    fn descend_last(&self, level: usize, at: u64) -> u64 {
        let words = (0..level).rev().map(|below| &self.words[index(self.level_start[below])..]);
        words.fold(at, |at, words| at * 64 + u64::from(words[index(at)].ilog2()))
    }

    fn level_words(&self, level: usize) -> &[u64] {
        &self.words[index(self.level_start[level])..index(self.level_start[level + 1])]
    }

    #[inline]
    fn depth(&self) -> usize {
        index(u64::from(self.levels))
    }
}

#[inline]
fn bit(member: u64) -> u64 {
    1 << (member % 64)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::Coins;

    #[test]
    fn answers_like_a_set_at_every_width_of_the_top_level() {
        let mut coins = Coins::from_key([3; 32]);
        for bound in [1, 63, 64, 65, 4_096, 4_097, 300_000] {
            let mut tree = BitTree::filled(bound, 0);
            let mut set = BTreeSet::new();
            for _ in 0..2_000 {
                let member = coins.below(bound);
                if coins.below(3) == 0 {
                    tree.remove(member);
                    set.remove(&member);
                } else {
                    tree.insert(member);
                    set.insert(member);
                }
                let from = coins.below(bound + 100);
                assert_eq!(tree.lowest(), set.first().copied().unwrap_or(u64::MAX));
                assert_eq!(tree.first_from(from), set.range(from..).next().copied(), "from {from} of {bound}");
                assert_eq!(tree.last_below(from), set.range(..from).next_back().copied(), "below {from} of {bound}");
                assert_eq!(tree.contains(from), set.contains(&from));
            }
            assert_eq!((tree.len(), tree.broken_level()), (set.len() as u64, None));
        }
    }

    #[test]
    fn starts_with_as_many_members_as_asked_for() {
        for (bound, members) in [(1, 1), (64, 64), (100, 65), (5_000, 4_096), (5_000, 0)] {
            let tree = BitTree::filled(bound, members);
            assert_eq!((tree.len(), tree.broken_level()), (members, None));
            assert_eq!(tree.first_from(members), None);
        }
    }
}
