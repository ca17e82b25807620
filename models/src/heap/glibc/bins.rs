//! The lists of free chunks of one arena: fast bins, the unsorted list, small and large bins.
//!
//! Lists are circular and linked both ways through the chunks' own words. A list's head is a place below
//! [`FIRST_PLACE`](super::region::FIRST_PLACE) that is linked like a chunk, so no end of a list is a special case. The
//! "new end" of a list is the next of its head; the "old end" is the one before its head.

use super::call::Call;
use super::chunk::{Chunk, LARGE_UNITS, Units, Words};

/// The bin of chunks that were freed or cut off and not sorted yet.
pub(super) const UNSORTED: u32 = 1;
/// The last large bin: 512 KiB and more.
pub(super) const LAST_BIN: u32 = 126;

/// The bin for chunks of this length (`bin_index`). Longer chunks never have a lower bin.
pub(super) const fn bin_of(units: Units) -> u32 {
    if units < LARGE_UNITS {
        return units;
    }
    // The bins get wider in steps; the first step that reaches far enough is taken.
    if units >> 2 <= 48 {
        48 + (units >> 2)
    } else if units >> 5 <= 20 {
        91 + (units >> 5)
    } else if units >> 8 <= 10 {
        110 + (units >> 8)
    } else if units >> 11 <= 4 {
        119 + (units >> 11)
    } else if units >> 14 <= 2 {
        124 + (units >> 14)
    } else {
        LAST_BIN
    }
}

/// The head of a bin, as a place whose links are those of a chunk.
pub(super) const fn head_of(bin: u32) -> Chunk {
    Chunk(bin)
}

/// Bins that may hold chunks. A bit is set when a chunk goes in, and cleared when the bin is found empty.
#[derive(Clone, Copy, Debug, Default, serde::Serialize, serde::Deserialize)]
pub(super) struct BinMap(u128);

impl BinMap {
    pub const fn set(&mut self, bin: u32) {
        self.0 |= 1 << bin;
    }

    pub const fn clear(&mut self, bin: u32) {
        self.0 &= !(1 << bin);
    }

    /// The lowest bin from `bin` on that may hold chunks.
    pub const fn first_from(self, bin: u32) -> Option<u32> {
        let left = self.0 >> bin << bin;
        if bin > LAST_BIN || left == 0 { None } else { Some(left.trailing_zeros()) }
    }
}

impl Call<'_> {
    /// The next of a list: towards the old end.
    pub(super) fn next(&self, chunk: Chunk) -> Chunk {
        Chunk(self.read(chunk.above(1)).low)
    }

    /// The one before in a list: towards the new end.
    pub(super) fn previous(&self, chunk: Chunk) -> Chunk {
        Chunk(self.read(chunk.above(1)).high)
    }

    /// The newest chunk of a bin.
    pub(super) fn newest(&self, bin: u32) -> Option<Chunk> {
        let chunk = self.next(head_of(bin));
        (chunk != head_of(bin)).then_some(chunk)
    }

    /// The oldest chunk of a bin; of a large bin, the shortest.
    pub(super) fn oldest(&self, bin: u32) -> Option<Chunk> {
        let chunk = self.previous(head_of(bin));
        (chunk != head_of(bin)).then_some(chunk)
    }

    /// Links a free chunk at the new end of the unsorted list.
    pub(super) fn push_unsorted(&mut self, chunk: Chunk) {
        let head = head_of(UNSORTED);
        self.link_between(head, chunk, self.next(head));
        if self.units(chunk) >= LARGE_UNITS {
            self.set_longer_shorter(chunk, Chunk::NONE, Chunk::NONE);
        }
    }

    /// Sorts a chunk, unlinked now, into its small or large bin.
    pub(super) fn push_sorted(&mut self, chunk: Chunk) {
        let units = self.units(chunk);
        let bin = bin_of(units);
        self.arena.bins.set(bin);
        let head = head_of(bin);
        if units < LARGE_UNITS {
            self.link_between(head, chunk, self.next(head));
        } else {
            self.push_large(head, chunk, units);
        }
    }

    /// A large bin falls by length. The first chunk of each length is on a second list, which skips the others.
    fn push_large(&mut self, head: Chunk, chunk: Chunk, units: Units) {
        let longest = self.next(head);
        if longest == head {
            self.set_longer_shorter(chunk, chunk, chunk);
            self.link_between(head, chunk, head);
        } else if units < self.units(self.previous(head)) {
            self.skip_link_before(longest, chunk);
            self.link_between(self.previous(head), chunk, head);
        } else {
            let mut at = longest;
            while units < self.units(at) {
                at = self.shorter(at);
                *self.searched += 1;
            }
            if units == self.units(at) {
                // Second of its length: so the skip list stays as it is.
                at = self.next(at);
            } else {
                self.skip_link_before(at, chunk);
            }
            self.link_between(self.previous(at), chunk, at);
        }
    }

    /// The chunk of a large bin to use for `units`: the shortest length that is enough, and of several of that length the
    /// second, so that the skip list stays as it is.
    pub(super) fn best_in_large(&mut self, bin: u32, units: Units) -> Option<Chunk> {
        let longest = self.newest(bin)?;
        if self.units(longest) < units {
            return None;
        }
        let mut at = self.longer(longest);
        while self.units(at) < units {
            at = self.longer(at);
            *self.searched += 1;
        }
        let second = self.next(at);
        let has_second = second != head_of(bin) && self.units(second) == self.units(at);
        Some(if has_second { second } else { at })
    }

    /// The oldest chunk of the lowest bin from `bin` on that holds any.
    pub(super) fn oldest_from(&mut self, mut bin: u32) -> Option<Chunk> {
        loop {
            bin = self.arena.bins.first_from(bin)?;
            *self.searched += 1;
            match self.oldest(bin) {
                Some(chunk) => return Some(chunk),
                None => self.arena.bins.clear(bin),
            }
        }
    }

    /// Takes a chunk out of whatever list it is in (`unlink_chunk`).
    pub(super) fn unlink(&mut self, chunk: Chunk) {
        let next = self.next(chunk);
        self.unlink_plain(chunk);
        if self.units(chunk) >= LARGE_UNITS && !self.shorter(chunk).is_none() {
            self.skip_unlink(chunk, next);
        }
    }

    /// Takes a chunk that is on no skip list out of its list.
    pub(super) fn unlink_plain(&mut self, chunk: Chunk) {
        let Words { low: next, high: previous } = self.read(chunk.above(1));
        self.write_again(Chunk(next + 1)).high = previous;
        self.write_again(Chunk(previous + 1)).low = next;
    }

    fn link_between(&mut self, before: Chunk, chunk: Chunk, after: Chunk) {
        *self.write(chunk.above(1)) = Words { low: after.0, high: before.0 };
        self.write_again(after.above(1)).high = chunk.0;
        self.write_again(before.above(1)).low = chunk.0;
    }

    /// The next shorter length on the skip list; from the shortest, the longest. None for a chunk that is not on it.
    pub(super) fn shorter(&self, chunk: Chunk) -> Chunk {
        Chunk(self.read(chunk.above(2)).low)
    }

    /// The next longer length on the skip list; from the longest, the shortest.
    fn longer(&self, chunk: Chunk) -> Chunk {
        Chunk(self.read(chunk.above(2)).high)
    }

    fn set_longer_shorter(&mut self, chunk: Chunk, longer: Chunk, shorter: Chunk) {
        *self.write(chunk.above(2)) = Words { low: shorter.0, high: longer.0 };
    }

    /// Puts a chunk on the skip list, on the longer side of `at`.
    fn skip_link_before(&mut self, at: Chunk, chunk: Chunk) {
        let longer = self.longer(at);
        self.set_longer_shorter(chunk, longer, at);
        self.write_again(at.above(2)).high = chunk.0;
        self.write_again(longer.above(2)).low = chunk.0;
    }

    /// Takes a chunk off the skip list; the next chunk of its length, if there is one, takes its place.
    fn skip_unlink(&mut self, chunk: Chunk, next: Chunk) {
        let (longer, shorter) = (self.longer(chunk), self.shorter(chunk));
        // The words two behind a list head are the links of the next head, never zero: a head is no heir.
        let has_heir = self.shorter(next).is_none();
        match (has_heir, shorter == chunk) {
            (true, true) => self.set_longer_shorter(next, next, next),
            (true, false) => {
                self.set_longer_shorter(next, longer, shorter);
                self.write_again(shorter.above(2)).high = next.0;
                self.write_again(longer.above(2)).low = next.0;
            }
            (false, _) => {
                self.write_again(shorter.above(2)).high = longer.0;
                self.write_again(longer.above(2)).low = shorter.0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_rise_with_length_and_meet_at_the_steps() {
        let bin = |bytes: u32| bin_of(bytes / 16);
        assert_eq!([bin(32), bin(1008), bin(1024), bin(1072), bin(1088)], [2, 63, 64, 64, 65]);
        // Bin 120 is reached by the third and by the fourth step.
        assert_eq!([bin(40_944), bin(40_960), bin(65_520), bin(65_536)], [119, 120, 120, 121]);
        assert_eq!([bin(524_272), bin(524_288), bin(1 << 31)], [125, 126, 126]);
        assert!((2..1 << 17).all(|units| bin_of(units) <= bin_of(units + 1)));
    }

    #[test]
    fn the_bin_map_finds_the_lowest_bit_from_a_bin_on() {
        let mut map = BinMap::default();
        map.set(3);
        map.set(126);
        assert_eq!([map.first_from(2), map.first_from(3), map.first_from(4)], [Some(3), Some(3), Some(126)]);
        map.clear(126);
        assert_eq!([map.first_from(4), map.first_from(127)], [None, None]);
    }
}
