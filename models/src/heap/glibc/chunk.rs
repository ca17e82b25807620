//! Chunks: where they start, how long they are, and the two words in front of each.

use serde::{Deserialize, Serialize};

use crate::heap::OutOfMemory;

/// Chunks start at multiples of this many bytes and are whole multiples of it long (`MALLOC_ALIGNMENT`).
pub(super) const UNIT_BYTES: u64 = 16;
/// Bytes between a chunk's start and the address its user gets: the two words of the header.
pub(super) const HEADER_BYTES: u64 = 16;
/// A block may use its chunk's bytes but for this many: the next chunk's first word is lent to it.
pub(super) const LOST_BYTES: u64 = 8;

/// Lengths in units of 16 bytes, as all sizes inside an arena are kept.
pub(super) type Units = u32;

/// The smallest chunk, 32 bytes (`MINSIZE`).
pub(super) const MIN_UNITS: Units = 2;
/// The longest chunk that the thread cache takes, 1040 bytes.
pub(super) const CACHED_UNITS: Units = 65;
/// The longest chunk of a fast bin, 128 bytes (`global_max_fast`).
pub(super) const FAST_UNITS: Units = 8;
/// Chunks shorter than this, 1024 bytes, have a bin for each size (`in_smallbin_range`).
pub(super) const LARGE_UNITS: Units = 64;
/// Longer than any chunk can be: 16 GiB.
pub(super) const MAX_UNITS: Units = 1 << 30;

/// A place in an arena, counted in units; see [`super::region`] for its address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Chunk(pub u32);

impl Chunk {
    /// No chunk: the first page of places is nowhere.
    pub const NONE: Chunk = Chunk(0);

    pub const fn is_none(self) -> bool {
        self.0 == 0
    }

    /// The place `units` above. Places are below 2^31 and chunks are shorter: nothing wraps.
    #[inline(always)]
    pub const fn above(self, units: Units) -> Chunk {
        Chunk(self.0.wrapping_add(units))
    }

    /// The place `units` below.
    #[inline(always)]
    pub const fn below(self, units: Units) -> Chunk {
        Chunk(self.0.wrapping_sub(units))
    }
}

/// What is kept for one place: 4 bytes for each 16 of the heap.
///
/// A chunk's first word is its header: length and flags. A free chunk that is in a list has its
/// [`Link`](super::bins::Link) behind that, and in its last word, where the chunk above finds it. Links are below 2^31, so none
/// looks like the header of a live block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Word(pub u32);

/// The program holds the block. Ours: the real one has no such flag and trusts the program.
const LIVE: u32 = 1 << 31;
/// The chunk before is in use (`PREV_INUSE`).
const BEFORE_IN_USE: u32 = 1;

impl Word {
    /// The header of a chunk that is no live block, the one before it in use.
    pub const fn header(units: Units) -> Word {
        Word(units << 1 | BEFORE_IN_USE)
    }

    pub const fn units(self) -> Units {
        (self.0 & !LIVE) >> 1
    }

    pub const fn before_in_use(self) -> bool {
        self.0 & BEFORE_IN_USE != 0
    }

    pub const fn is_live(self) -> bool {
        self.0 & LIVE != 0
    }

    pub const fn set_live(&mut self) {
        self.0 |= LIVE;
    }

    pub const fn clear_live(&mut self) {
        self.0 &= !LIVE;
    }

    pub const fn set_units(&mut self, units: Units) {
        self.0 = self.0 & (LIVE | BEFORE_IN_USE) | units << 1;
    }

    pub const fn set_before_in_use(&mut self, in_use: bool) {
        self.0 = self.0 & !BEFORE_IN_USE | in_use as u32;
    }
}

/// Units of the chunk that a request of `bytes` needs (`checked_request2size`).
pub(super) fn units_of_request(bytes: u64) -> Result<u64, OutOfMemory> {
    if bytes > i64::MAX.unsigned_abs() {
        return Err(OutOfMemory);
    }
    Ok(((bytes + LOST_BYTES).div_ceil(UNIT_BYTES)).max(u64::from(MIN_UNITS)))
}

/// A length that may be longer than any chunk, as a chunk's: then no chunk is long enough.
pub(super) fn chunk_units(units: u64) -> Units {
    Units::try_from(units).unwrap_or(MAX_UNITS).min(MAX_UNITS)
}

/// Bytes of a chunk.
pub(super) const fn bytes_of(units: Units) -> u64 {
    units as u64 * UNIT_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_gets_eight_bytes_more_in_steps_of_sixteen() {
        let bytes = |request| units_of_request(request).map(|units| units * UNIT_BYTES);
        assert_eq!(bytes(0), Ok(32));
        assert_eq!(bytes(24), Ok(32));
        assert_eq!(bytes(25), Ok(48));
        assert_eq!(bytes(1032), Ok(1040));
        assert_eq!(bytes(1 << 63), Err(OutOfMemory));
    }

    #[test]
    fn a_header_keeps_its_flags_when_its_length_changes() {
        let mut header = Word::header(5);
        header.set_live();
        header.set_units(MAX_UNITS - 1);
        assert!(header.is_live() && header.before_in_use());
        assert_eq!(header.units(), MAX_UNITS - 1);
        header.clear_live();
        assert_eq!(header, Word::header(MAX_UNITS - 1));
        header.set_before_in_use(false);
        assert!(!header.before_in_use() && header.units() == MAX_UNITS - 1);
    }
}
