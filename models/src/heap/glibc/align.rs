//! Aligned blocks (`_int_memalign`): a longer chunk is taken, and what is not needed on both sides is given back.

use super::call::{Call, Taken};
use super::chunk::{Chunk, MIN_UNITS, UNIT_BYTES, Units, bytes_of, chunk_units, units_of_request};
use crate::heap::OutOfMemory;

/// The alignment that is used for a wish above 16: a power of two, at least a chunk's length. `None` past half of all
/// addresses.
pub(super) fn effective_alignment(wish: u64) -> Option<u64> {
    const LARGEST: u64 = 1 << 63;
    (wish <= LARGEST).then(|| wish.max(bytes_of(MIN_UNITS)).next_power_of_two())
}

impl Call<'_> {
    /// A chunk for a request of `bytes` whose user's address is a multiple of `align`.
    pub(super) fn take_aligned(&mut self, align: u64, bytes: u64) -> Result<Taken, OutOfMemory> {
        let units = units_of_request(bytes)?;
        let padded = bytes_to_search(units * UNIT_BYTES, align)?;
        match self.take(units_of_request(padded)?)? {
            Taken::Mapped(at) => Ok(Taken::Mapped(self.mapped.align(at, align, self.os))),
            Taken::Chunk(chunk) => {
                let chunk = self.give_lead(chunk, align);
                self.give_tail(chunk, chunk_units(units));
                Ok(Taken::Chunk(chunk))
            }
        }
    }

    /// Gives back what lies before the first aligned address that leaves room for a chunk; returns the rest.
    fn give_lead(&mut self, chunk: Chunk, align: u64) -> Chunk {
        let at = self.user_address(chunk).0;
        let mut aligned = at.next_multiple_of(align);
        if aligned == at {
            return chunk;
        }
        if aligned - at < bytes_of(MIN_UNITS) {
            aligned += align;
        }
        let lead = chunk_units((aligned - at) / UNIT_BYTES);
        let units = self.units(chunk) - lead;
        let rest = chunk.above(lead);
        self.set_header(rest, units);
        self.mark_in_use(rest, units);
        self.write_again(chunk).set_units(lead);
        self.give(chunk, lead);
        rest
    }

    fn give_tail(&mut self, chunk: Chunk, units: Units) {
        let found = self.units(chunk);
        if found <= units + MIN_UNITS {
            return;
        }
        let tail = chunk.above(units);
        self.set_header(tail, found - units);
        self.write_again(chunk).set_units(units);
        self.give(tail, found - units);
    }
}

/// The request that surely holds an aligned chunk: room for the alignment, and for a chunk before it.
fn bytes_to_search(chunk_bytes: u64, align: u64) -> Result<u64, OutOfMemory> {
    let room = align.checked_add(bytes_of(MIN_UNITS)).ok_or(OutOfMemory)?;
    chunk_bytes.checked_add(room).ok_or(OutOfMemory)
}
