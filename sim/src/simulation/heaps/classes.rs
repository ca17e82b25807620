//! Live blocks by the size that was asked for: now, and at the moment of most live memory.
//!
//! Classes are powers of two: up to 16 bytes, up to 32, and so on; the last one has all that is larger. Counts are kept for each
//! process, so that its end takes its blocks out again, and for each group.
//!
//! # Cost
//! A few additions a call. The counts at the moment of most live memory are not copied whenever live memory rises: as long as
//! few changes have come since, they are kept as a list and the moment can be moved; when it is full the counts are made once.

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

/// What a call did to a block.
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
    /// It has another size.
    Resized {
        /// Bytes that had been asked for.
        from: u64,
        /// Usable bytes it had.
        from_usable: u64,
        /// Bytes asked for.
        to: u64,
    },
}

/// Live blocks of one class, or a change of them: then the numbers wrap around.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Live {
    pub blocks: u64,
    pub asked: u64,
    pub usable: u64,
}

impl Live {
    #[inline]
    fn plus(self, other: Live) -> Live {
        Live {
            blocks: self.blocks.wrapping_add(other.blocks),
            asked: self.asked.wrapping_add(other.asked),
            usable: self.usable.wrapping_add(other.usable),
        }
    }

    #[inline]
    fn minus(self, other: Live) -> Live {
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
    changes: Vec<(u8, Live)>,
}

impl GroupClasses {
    /// Takes in what a call of a process did; `usable` is by how much its usable bytes changed, wrapping around.
    #[inline]
    pub fn change(&mut self, process: &mut ProcessClasses, change: BlockChange, usable: u64) {
        match change {
            BlockChange::Got { asked } => {
                self.got[class_of(asked)] += 1;
                self.apply(process, asked, Live { blocks: 1, asked, usable });
            }
            BlockChange::Freed { asked } => {
                let gone = Live { blocks: 1, asked, usable: usable.wrapping_neg() };
                self.apply(process, asked, Live::default().minus(gone));
            }
            BlockChange::Resized { from, from_usable, to } => {
                self.got[class_of(to)] += 1;
                let gone = Live { blocks: 1, asked: from, usable: from_usable };
                self.apply(process, from, Live::default().minus(gone));
                self.apply(process, to, Live { blocks: 1, asked: to, usable: usable.wrapping_add(from_usable) });
            }
        }
    }

    #[inline]
    fn apply(&mut self, process: &mut ProcessClasses, asked: u64, change: Live) {
        let class = class_of(asked);
        process.0[class] = process.0[class].plus(change);
        if self.is_near {
            self.remember(class, change);
        }
        self.now[class] = self.now[class].plus(change);
    }

    #[inline]
    fn remember(&mut self, class: usize, change: Live) {
        if self.changes.len() == CHANGES_KEPT {
            self.fix();
        } else {
            self.changes.push((u8::try_from(class).expect("fewer than 256 classes"), change));
        }
    }

    /// Makes the counts at the moment of most live memory, from now on apart from those of now.
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
        for &(class, change) in &self.changes {
            let class = &mut then[usize::from(class)];
            *class = class.minus(change);
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
                    group.change(&mut process, BlockChange::Got { asked }, asked + 8);
                } else {
                    let asked = live.swap_remove(nth.index(live.len()));
                    sum -= asked;
                    group.change(&mut process, BlockChange::Freed { asked }, (asked + 8).wrapping_neg());
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
