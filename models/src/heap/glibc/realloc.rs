//! Blocks that change their length (`_int_realloc`): in place where top, a free neighbour or the new chunk allow it.

use super::call::{Call, Taken};
use super::chunk::{Chunk, MIN_UNITS, Units, chunk_units};
use crate::heap::OutOfMemory;

/// Where a block is after its length has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Resized {
    /// Where it was.
    InPlace,
    /// In another chunk or mapping; the old chunk has been given back.
    Moved(Taken),
}

impl Call<'_> {
    /// Makes a live block's chunk hold `units`. The cache is not asked for a new one.
    pub(super) fn resize(&mut self, chunk: Chunk, units: u64) -> Result<Resized, OutOfMemory> {
        let wanted = chunk_units(units);
        if self.units(chunk) >= wanted || self.extend_into_neighbour(chunk, wanted) {
            self.cut_tail(chunk, wanted);
            return Ok(Resized::InPlace);
        }
        let taken = self.take(units)?;
        if taken == Taken::Chunk(chunk.above(self.units(chunk))) {
            let both = self.units(chunk) + self.units(chunk.above(self.units(chunk)));
            self.write_again(chunk).set_units(both);
            self.cut_tail(chunk, wanted);
            return Ok(Resized::InPlace);
        }
        self.copy(chunk, taken);
        self.write_again(chunk).clear_live();
        self.give(chunk, self.units(chunk));
        Ok(Resized::Moved(taken))
    }

    /// Joins the chunk with as much of top, or with the whole free chunk behind it, when that is enough.
    fn extend_into_neighbour(&mut self, chunk: Chunk, wanted: Units) -> bool {
        let units = self.units(chunk);
        let next = chunk.above(units);
        if next == self.arena.top {
            let both = units + self.arena.top_units();
            if both < wanted + MIN_UNITS {
                return false;
            }
            self.write_again(chunk).set_units(wanted);
            self.arena.top = chunk.above(wanted);
            self.set_header(self.arena.top, both - wanted);
            return true;
        }
        let Some(link) = self.link_of(next) else { return false };
        let both = units + self.arena.lists.free(link).units;
        if both < wanted {
            return false;
        }
        self.arena.lists.remove(link);
        self.write_again(chunk).set_units(both);
        true
    }

    /// Gives back what a chunk in use has more than it needs, if that makes a chunk.
    fn cut_tail(&mut self, chunk: Chunk, wanted: Units) {
        let units = self.units(chunk);
        if units - wanted < MIN_UNITS {
            self.mark_in_use(chunk, units);
            return;
        }
        let tail = chunk.above(wanted);
        self.write_again(chunk).set_units(wanted);
        self.set_header(tail, units - wanted);
        self.mark_in_use(tail, units - wanted);
        self.give(tail, units - wanted);
    }

    /// Copies all that a chunk's block could use.
    pub(super) fn copy(&mut self, from: Chunk, to: Taken) {
        let bytes = self.usable(from);
        match to {
            Taken::Chunk(chunk) => self.write_block(chunk, bytes),
            Taken::Mapped(at) => self.os.touch(at, bytes),
        }
    }
}
