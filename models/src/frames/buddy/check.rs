//! The check of a buddy system: a walk over its blocks, held against what it counted as it went.

use super::{Block, Buddy, ORDERS};
use crate::{Violation, ensure};

impl Buddy {
    /// The invariants of the [policy](super), by a walk over the blocks.
    pub(super) fn check_tiling(&self) -> Result<(), Violation> {
        let mut tally = Tally::new();
        let mut start = 0;
        while start < self.frames {
            let block = self.block_from(start);
            self.check_block(block, &mut tally)?;
            start = block.end();
        }
        tally.compare(self)
    }

    /// Whether `block` is a free block of its order.
    fn is_free_block(&self, block: Block) -> bool {
        block.end() <= self.frames
            && self.map.starts_at(block.start)
            && self.map.free_at(block.start)
            && self.block_from(block.start) == block
    }

    fn check_block(&self, block: Block, tally: &mut Tally) -> Result<(), Violation> {
        ensure(self.map.starts_at(block.start), || format!("no block starts at frame {}", block.start))?;
        let inside = self.marks_inside(block);
        ensure(inside == 0, || format!("{inside} blocks start inside block {}", block.run()))?;
        let free = self.map.free_at(block.start);
        if free {
            ensure(block.order == self.top_order || !self.is_free_block(block.buddy()), || {
                format!("free block {} is not merged with its buddy", block.run())
            })?;
            let place = block.place();
            ensure(self.sets[block.at()].places.contains(place), || {
                format!("free block {} is not in the set of order {}", block.run(), block.order)
            })?;
        }
        tally.add(block, free);
        Ok(())
    }

    /// Starts of blocks in `block` after its own.
    fn marks_inside(&self, block: Block) -> u32 {
        let (first, last) = (block.start / 64, (block.end() - 1) / 64);
        let marks_in = |place: u64| {
            let word = self.map.load(place);
            let from = block.start.max(place * 64) % 64;
            let below = block.end().min(place * 64 + 64) - place * 64;
            let own = u64::MAX << from & (u64::MAX >> (64 - below));
            ((word.starts | word.free) & own).count_ones()
        };
        (first..=last).map(marks_in).sum::<u32>() - 1
    }
}

/// What `check` counts on its walk, to be held against what the policy counted as it went.
#[derive(Debug)]
struct Tally {
    free_frames: u64,
    holes: u64,
    last_was_free: bool,
    blocks: [u64; ORDERS],
    places: [u64; ORDERS],
    last_place: [Option<u64>; ORDERS],
}

impl Tally {
    fn new() -> Tally {
        Tally {
            free_frames: 0,
            holes: 0,
            last_was_free: false,
            blocks: [0; ORDERS],
            places: [0; ORDERS],
            last_place: [None; ORDERS],
        }
    }

    fn add(&mut self, block: Block, free: bool) {
        if free {
            let place = Some(block.place());
            self.free_frames += block.frames();
            self.holes += u64::from(!self.last_was_free);
            self.blocks[block.at()] += 1;
            self.places[block.at()] += u64::from(self.last_place[block.at()] != place);
            self.last_place[block.at()] = place;
        }
        self.last_was_free = free;
    }

    fn compare(&self, buddy: &Buddy) -> Result<(), Violation> {
        let equal = |what: &str, kept: u64, counted: u64| {
            ensure(kept == counted, || format!("{what}: {kept} kept, {counted} counted"))
        };
        equal("free frames", buddy.free_frames, self.free_frames)?;
        equal("holes", buddy.holes, self.holes)?;
        for (order, set) in buddy.sets.iter().enumerate() {
            equal(&format!("free blocks of order {order}"), set.blocks, self.blocks[order])?;
            equal(&format!("places of order {order}"), set.places.len(), self.places[order])?;
            equal(
                &format!("order {order} in the mask"),
                buddy.orders_with_free >> order & 1,
                u64::from(set.blocks > 0),
            )?;
            ensure(set.places.knows_its_lowest(), || format!("the lowest place of order {order} is another one"))?;
            ensure(set.places.broken_level().is_none(), || format!("the set of order {order} is not one tree"))?;
        }
        Ok(())
    }
}
