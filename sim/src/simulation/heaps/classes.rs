//! Live blocks by the size that was asked for: now, and at the moment of most live memory.
//!
//! Classes are powers of two: up to 16 bytes, up to 32, and so on; the last one has all that is larger. Counts are kept for each
//! process, so that its end takes its blocks out again, and for each group.
//!
//! # Cost
//! A few additions a call. The counts at the moment of most live memory are not copied whenever live memory rises: as long as
//! few changes have come since, they are kept as a list and the moment can be moved; when it is full the counts are made once.

use framesim_models::index;
use serde::{Deserialize, Serialize};

/// Classes of sizes.
pub(super) const CLASSES: usize = 32;
/// Bytes of the largest request in the first class.
const FIRST_CLASS_BYTES: u64 = 16;
/// Changes that are kept as a list.
const CHANGES_KEPT: usize = 64;

/// The class of a request.
#[inline]
pub(super) fn class_of(asked: u64) -> usize {
    let above_first = asked.saturating_sub(1) / FIRST_CLASS_BYTES;
    let class = u64::BITS - above_first.leading_zeros();
    (class as usize).min(CLASSES - 1)
}

/// The largest request of a class; `None` for the last, which has no largest.
pub(super) fn up_to(class: usize) -> Option<u64> {
    (class < CLASSES - 1).then(|| FIRST_CLASS_BYTES << class)
}

/// What a call did to a block; two words, so that it stays in registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::simulation) enum BlockChange {
    /// It is new.
    Got {
        /// Bytes asked for.
        asked: u64,
    },
    /// It is no more.
    Freed {
        /// Bytes that had been asked for.
        asked: u64,
    },
    /// It has another size. What it was is told apart.
    Resized {
        /// Bytes asked for.
        asked: u64,
    },
}

impl BlockChange {
    /// By how many live blocks are more, wrapping around.
    #[inline]
    pub fn blocks(self) -> u64 {
        match self {
            BlockChange::Got { .. } => 1,
            BlockChange::Freed { .. } => 1_u64.wrapping_neg(),
            BlockChange::Resized { .. } => 0,
        }
    }
}

/// Live blocks, of one class or of all, or a change of them: then the numbers wrap around.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::simulation) struct Live {
    pub blocks: u64,
    /// Bytes asked for.
    pub asked: u64,
    pub usable: u64,
}

impl Live {
    #[inline]
    pub fn change(&mut self, blocks: u64, asked: u64, usable: u64) {
        self.blocks = self.blocks.wrapping_add(blocks);
        self.asked = self.asked.wrapping_add(asked);
        self.usable = self.usable.wrapping_add(usable);
    }

    #[inline]
    pub fn plus(self, other: Live) -> Live {
        Live {
            blocks: self.blocks.wrapping_add(other.blocks),
            asked: self.asked.wrapping_add(other.asked),
            usable: self.usable.wrapping_add(other.usable),
        }
    }

    #[inline]
    pub fn minus(self, other: Live) -> Live {
        Live {
            blocks: self.blocks.wrapping_sub(other.blocks),
            asked: self.asked.wrapping_sub(other.asked),
            usable: self.usable.wrapping_sub(other.usable),
        }
    }
}

/// Live blocks by class.
pub(super) type ByClass = [Live; CLASSES];

/// Live blocks of one process, by class.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::simulation) struct ProcessClasses(ByClass);

/// A change of a class. Four whole words, which are written one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Change {
    class: u64,
    live: Live,
}

/// Live blocks of a group of processes, by class.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct GroupClasses {
    /// Blocks ever got.
    pub got: [u64; CLASSES],
    now: ByClass,
    /// At the moment of most live memory, unless `changes` tell.
    at_most: ByClass,
    /// Whether the counts at that moment are those of now without `changes`.
    is_near: bool,
    changes: Vec<Change>,
}

impl GroupClasses {
    /// Takes in what a call of a process did; `usable` is by how much its usable bytes changed, wrapping around, and `resized`
    /// the block that was resized, as it was.
    #[inline]
    pub fn change(&mut self, process: &mut ProcessClasses, change: BlockChange, usable: u64, resized: &Live) {
        match change {
            BlockChange::Got { asked } => {
                self.got[class_of(asked)] += 1;
                self.apply(process, class_of(asked), (1, asked, usable));
            }
            BlockChange::Freed { asked } => {
                self.apply(process, class_of(asked), (1_u64.wrapping_neg(), asked.wrapping_neg(), usable));
            }
            BlockChange::Resized { asked } => self.resize(process, asked, usable, resized),
        }
    }

    #[inline(never)]
    fn resize(&mut self, process: &mut ProcessClasses, asked: u64, usable: u64, resized: &Live) {
        self.got[class_of(asked)] += 1;
        let gone = Live::default().minus(*resized);
        self.apply(process, class_of(resized.asked), (gone.blocks, gone.asked, gone.usable));
        self.apply(process, class_of(asked), (1, asked, usable.wrapping_add(resized.usable)));
    }

    /// Takes in a change of a class: blocks, bytes asked for, usable bytes. Numbers by themselves: as a [`Live`] they would go
    /// through memory.
    #[inline]
    fn apply(&mut self, process: &mut ProcessClasses, class: usize, (blocks, asked, usable): (u64, u64, u64)) {
        process.0[class].change(blocks, asked, usable);
        self.now[class].change(blocks, asked, usable);
        if self.is_near {
            self.changes.push(Change { class: class as u64, live: Live { blocks, asked, usable } });
            if self.changes.len() > CHANGES_KEPT {
                self.fix();
            }
        }
    }

    /// Makes the counts at the moment of most live memory, from now on apart from those of now.
    #[inline(never)]
    fn fix(&mut self) {
        if self.is_near {
            self.at_most = self.at_most_live();
            self.is_near = false;
            self.changes.clear();
        }
    }

    /// Live memory is as much as it never was.
    #[inline]
    pub fn is_most_live(&mut self) {
        self.is_near = true;
        self.changes.clear();
    }

    /// Counts at the moment of most live memory.
    pub fn at_most_live(&self) -> ByClass {
        if !self.is_near {
            return self.at_most;
        }
        let mut then = self.now;
        for change in &self.changes {
            let class = &mut then[index(change.class)];
            *class = class.minus(change.live);
        }
        then
    }

    /// A process ends, and its blocks with it.
    pub fn end(&mut self, process: &ProcessClasses) {
        self.fix();
        for (class, gone) in self.now.iter_mut().zip(&process.0) {
            *class = class.minus(*gone);
        }
    }

    /// Whether the counts of now are these.
    pub fn is_now(&self, sum: &ProcessClasses) -> bool {
        self.now == sum.0
    }
}

impl ProcessClasses {
    /// Adds the counts to others.
    pub fn add_to(&self, sum: &mut ProcessClasses) {
        for (sum, own) in sum.0.iter_mut().zip(&self.0) {
            *sum = sum.plus(*own);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_class_ends_with_a_power_of_two() {
        assert_eq!([0, 1, 16, 17, 32, 33].map(class_of), [0, 0, 0, 1, 1, 2]);
        assert_eq!((up_to(0), up_to(1), class_of(1 << 34), class_of(u64::MAX)), (Some(16), Some(32), 30, 31));
        assert_eq!((up_to(30), up_to(31)), (Some(1 << 34), None));
    }

    proptest! {
        #[test]
        fn the_counts_of_the_highest_moment_are_those_that_were(
            steps in prop::collection::vec((any::<bool>(), 1_u64..2_000, any::<prop::sample::Index>()), 1..400),
        ) {
            let (mut group, mut process) = (GroupClasses::default(), ProcessClasses::default());
            let (mut live, mut sum, mut most) = (Vec::new(), 0_u64, 0);
            let mut then = ByClass::default();
            for (gets, asked, nth) in steps {
                if gets || live.is_empty() {
                    live.push(asked);
                    sum += asked;
                    group.change(&mut process, BlockChange::Got { asked }, asked + 8, &Live::default());
                } else {
                    let asked = live.swap_remove(nth.index(live.len()));
                    sum -= asked;
                    group.change(&mut process, BlockChange::Freed { asked }, (asked + 8).wrapping_neg(), &Live::default());
                }
                if sum > most {
                    most = sum;
                    then = group.now;
                    group.is_most_live();
                }
                prop_assert_eq!(group.at_most_live(), then);
            }
            let mut own = ProcessClasses::default();
            process.add_to(&mut own);
            prop_assert!(group.is_now(&own));
            group.end(&process);
            prop_assert_eq!(group.now, ByClass::default());
            prop_assert_eq!(group.at_most_live(), then);
        }
    }
}
