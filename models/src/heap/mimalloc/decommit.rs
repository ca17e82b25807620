//! Freed slices that wait to be given back to the kernel, each segment with a clock of its own
//! (`mi_segment_perhaps_decommit`, `mi_segment_delayed_decommit`, `mi_segment_commitx`).

use serde::{Deserialize, Serialize};

use super::mask::Mask;
use super::sizes::{SLICE_BYTES, SLICES};
use super::{MimallocOptions, segments::Segment};
use crate::Address;
use crate::heap::{Access, Advice, OutOfMemory, SystemMemory};

/// Memory is committed in runs of this many slices, wherever one of them is needed: 1 MiB.
const COMMIT_SLICES: u32 = 16;

/// What of a segment is committed, and what of that waits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Commitment {
    pub committed: Mask,
    /// Freed and not yet given back; all of it is committed.
    pub waiting: Mask,
    /// When it is given back, in milliseconds; 0 where nothing has been noted since the last time.
    pub expire_ms: u64,
}

impl Commitment {
    pub fn of_all() -> Commitment {
        Commitment { committed: Mask::FULL, waiting: Mask::default(), expire_ms: 0 }
    }

    pub fn of_none() -> Commitment {
        Commitment { committed: Mask::default(), waiting: Mask::default(), expire_ms: 0 }
    }
}

impl Segment {
    /// Notes that the slices `from..to` are free.
    pub fn note_freed(
        &mut self,
        from: u32,
        to: u32,
        now_ms: u64,
        options: &MimallocOptions,
        os: &mut dyn SystemMemory,
    ) {
        if self.is_huge || !options.allow_decommit {
            return;
        }
        let freed = Mask::range(from, to);
        if options.decommit_delay_ms == 0 {
            return self.decommit(&freed, os);
        }
        let commitment = &mut self.commitment;
        commitment.waiting.insert(&freed.and(&commitment.committed));
        let expire_ms = &mut commitment.expire_ms;
        if *expire_ms == 0 {
            *expire_ms = now_ms + options.decommit_delay_ms;
        } else if *expire_ms > now_ms {
            *expire_ms += options.decommit_extend_delay_ms;
        } else if *expire_ms + options.decommit_extend_delay_ms > now_ms {
            *expire_ms = now_ms + options.decommit_extend_delay_ms;
        } else {
            self.decommit_waiting(os);
        }
    }

    /// Gives back what waits, if its time has come.
    pub fn decommit_expired(&mut self, now_ms: u64, os: &mut dyn SystemMemory) {
        if now_ms >= self.commitment.expire_ms {
            self.decommit_waiting(os);
        }
    }

    pub fn decommit_waiting(&mut self, os: &mut dyn SystemMemory) {
        if self.commitment.waiting.is_empty() {
            return;
        }
        self.commitment.expire_ms = 0;
        let waiting = std::mem::take(&mut self.commitment.waiting);
        self.decommit(&waiting, os);
    }

    /// Gives back all of it, header and all.
    pub fn decommit_whole(&mut self, os: &mut dyn SystemMemory) {
        let committed = self.commitment.committed;
        self.commitment.waiting = Mask::default();
        self.decommit(&committed, os);
    }

    fn decommit(&mut self, slices: &Mask, os: &mut dyn SystemMemory) {
        for (from, to) in slices.runs() {
            let run = Mask::range(from, to);
            if !self.commitment.committed.and(&run).is_empty() {
                os.madvise(self.slice_address(from), u64::from(to - from) * SLICE_BYTES, Advice::DontNeed);
                self.commitment.committed.remove(&run);
            }
        }
    }

    /// Makes the slices `from..to` usable; with them goes the rest of each MiB they lie in, and none of that waits any longer.
    pub fn commit(
        &mut self,
        from: u32,
        to: u32,
        now_ms: u64,
        options: &MimallocOptions,
        os: &mut dyn SystemMemory,
    ) -> Result<(), OutOfMemory> {
        let low = (from / COMMIT_SLICES * COMMIT_SLICES).max(1);
        let high = to.next_multiple_of(COMMIT_SLICES).min(SLICES);
        let mask = Mask::range(low, high);
        if !self.commitment.committed.contains(&mask) {
            let bytes = u64::from(high - low) * SLICE_BYTES;
            os.mprotect(self.slice_address(low), bytes, Access::ReadWrite)?;
            self.commitment.committed.insert(&mask);
        }
        if !self.commitment.waiting.and(&mask).is_empty() {
            self.commitment.expire_ms = now_ms + options.decommit_delay_ms;
            self.commitment.waiting.remove(&mask);
        }
        Ok(())
    }

    pub fn slice_address(&self, slice: u32) -> Address {
        Address(self.start + u64::from(slice) * SLICE_BYTES)
    }
}
