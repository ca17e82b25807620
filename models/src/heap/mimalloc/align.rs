//! Blocks at a multiple of an alignment (`mi_heap_malloc_zero_aligned_at`).

use super::Mimalloc;
use super::page::{LIVE_INSIDE, NONE};
use super::sizes::{ALIGN_MAX, REQUEST_MAX, SMALL_REQUEST_MAX, bin_of};
use crate::heap::{OutOfMemory, SystemMemory};
use crate::{Address, ThreadId};

/// Blocks whose size is a multiple of it have it, up to this: so far the real one relies on where pages start.
const GUARANTEED_ALIGN_MAX: u64 = 128;

/// Whether the real one takes any block of that size to be aligned: beyond 128 bytes it is wrong in that.
const fn is_taken_as_aligned(align: u64, bytes: u64) -> bool {
    bytes <= SMALL_REQUEST_MAX && (bytes == 0 || bytes.is_power_of_two()) && bytes >= align
}

/// The alignment that a block really gets.
pub(super) const fn alignment_given(align: u64, bytes: u64) -> u64 {
    if is_taken_as_aligned(align, bytes) && align > GUARANTEED_ALIGN_MAX { GUARANTEED_ALIGN_MAX } else { align }
}

impl Mimalloc {
    pub(super) fn malloc_aligned(
        &mut self,
        thread: ThreadId,
        align: u64,
        bytes: u64,
        os: &mut dyn SystemMemory,
    ) -> Result<Address, OutOfMemory> {
        if align != 0 && !align.is_power_of_two() {
            return Err(OutOfMemory);
        }
        if is_taken_as_aligned(align, bytes) {
            return self.take(thread, bytes, os);
        }
        if align == 0 || bytes > REQUEST_MAX {
            return Err(OutOfMemory);
        }
        let is_aligned = |at: Address| at.0.is_multiple_of(align);
        if bytes <= SMALL_REQUEST_MAX && align <= bytes && self.next_free(thread, bytes).is_some_and(is_aligned) {
            return self.take(thread, bytes, os);
        }
        if align <= bytes && bytes <= GUARANTEED_ALIGN_MAX && bytes.is_multiple_of(align) {
            return self.take(thread, bytes, os);
        }
        if align > ALIGN_MAX {
            // A page of its own, also for a small request.
            let page = self.take_page(thread, bytes.max(SMALL_REQUEST_MAX + 1), align, os)?;
            return Ok(self.take_inside(page, align));
        }
        let roomy = bytes + align - 1;
        let page = match self.ready_page(thread, roomy) {
            Some(page) => page,
            None => self.take_page(thread, roomy, 0, os)?,
        };
        Ok(self.take_inside(page, align))
    }

    /// The block that a small request would get without further ado.
    fn next_free(&self, thread: ThreadId, bytes: u64) -> Option<Address> {
        let first = self.queues.first(thread.0, bin_of(bytes));
        if first == NONE {
            return None;
        }
        let page = self.page_ref(first);
        (usize::from(page.free) < page.links.len()).then(|| page.address(page.free))
    }

    /// Takes a block of the page and hands it out from its first multiple of `align` on.
    fn take_inside(&mut self, id: u32, align: u64) -> Address {
        let block = self.page(id).free;
        let at = self.hand_out(id);
        let aligned = Address(at.0.next_multiple_of(align));
        if aligned != at {
            let inside = aligned.0 - at.0;
            self.page(id).links[usize::from(block)] = LIVE_INSIDE;
            self.inside.insert(aligned.0, inside);
            self.counts.usable -= inside;
            self.counts.skipped += inside;
        }
        aligned
    }
}
