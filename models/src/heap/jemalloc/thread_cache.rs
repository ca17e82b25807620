//! A thread's stacks of free blocks, one for each class up to 32 KiB (`cache_bin.h`, `tcache.c`).

use serde::{Deserialize, Serialize};

use super::classes::{CACHED_CLASSES, SMALL};
use super::extent::ExtentId;

/// Blocks of a small class that a stack holds: twice the regions of a slab within these.
const SMALL_CAPACITY: std::ops::RangeInclusive<u32> = 20..=200;
/// Blocks of a large class that a stack holds.
const LARGE_CAPACITY: u32 = 20;

/// A block in a stack: a region of a slab, or the extent of a large block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Item {
    /// A slab's number, or an extent's.
    pub owner: u32,
    pub region: u32,
}

/// One class's stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stack {
    /// Its place among the items.
    start: u32,
    /// Blocks in it.
    pub count: u32,
    /// Fewest blocks in it since the collector looked.
    pub low: u32,
    pub capacity: u32,
    /// A refill brings `capacity >> shift` blocks.
    pub shift: u8,
    /// It was refilled since the collector looked.
    pub is_refilled: bool,
}

/// All stacks of a thread.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Cache {
    pub stacks: Vec<Stack>,
    /// Of stack after stack, the bottom first.
    items: Vec<Item>,
    /// The class that the collector looks at next.
    pub next_class: u8,
    /// The extent that the real one keeps the stacks in.
    pub extent: ExtentId,
}

impl Cache {
    pub(super) fn new(extent: ExtentId) -> Cache {
        let mut start = 0;
        let stack = |class| {
            let capacity = capacity(class);
            start += capacity;
            Stack { start: start - capacity, count: 0, low: 0, capacity, shift: 1, is_refilled: false }
        };
        let stacks: Vec<Stack> = (0..CACHED_CLASSES).map(stack).collect();
        Cache { stacks, items: vec![Item::default(); start as usize], next_class: 0, extent }
    }

    /// The block that was put in last.
    #[inline]
    pub(super) fn pop(&mut self, class: usize) -> Option<Item> {
        let stack = &mut self.stacks[class];
        stack.count = stack.count.checked_sub(1)?;
        stack.low = stack.low.min(stack.count);
        Some(self.items[(stack.start + stack.count) as usize])
    }

    /// Puts a block in, if there is room.
    #[inline]
    pub(super) fn push(&mut self, class: usize, item: Item) -> bool {
        let stack = &mut self.stacks[class];
        if stack.count == stack.capacity {
            return false;
        }
        self.items[(stack.start + stack.count) as usize] = item;
        stack.count += 1;
        true
    }

    /// Fills an empty stack; the first one is going to be popped first.
    pub(super) fn fill(&mut self, class: usize, items: &[Item]) {
        let stack = &mut self.stacks[class];
        assert!(stack.count == 0 && items.len() <= stack.capacity as usize, "a refill of a stack that is not empty");
        stack.count = u32::try_from(items.len()).expect("no more than its capacity");
        let places = &mut self.items[stack.start as usize..][..items.len()];
        for (place, &item) in places.iter_mut().zip(items.iter().rev()) {
            *place = item;
        }
    }

    /// Takes out all but the `keep` blocks that were put in last: of those, the last ones first.
    pub(super) fn take_oldest(&mut self, class: usize, keep: u32, taken: &mut Vec<Item>) {
        let stack = &mut self.stacks[class];
        let (start, count) = (stack.start as usize, stack.count as usize);
        let gone = count - keep as usize;
        taken.extend(self.items[start..start + gone].iter().rev());
        self.items.copy_within(start + gone..start + count, start);
        stack.count = keep;
        stack.low = stack.low.min(keep);
    }

    /// The blocks of a class.
    pub(super) fn items(&self, class: usize) -> &[Item] {
        let stack = &self.stacks[class];
        &self.items[stack.start as usize..][..stack.count as usize]
    }
}

/// Blocks of a class that a stack holds.
fn capacity(class: usize) -> u32 {
    match SMALL.get(class) {
        Some(small) => (2 * small.regions).clamp(*SMALL_CAPACITY.start(), *SMALL_CAPACITY.end()),
        None => LARGE_CAPACITY,
    }
}
