//! Memory from the kernel: where mappings go, and how an alignment is reached (`_mi_os_alloc_aligned_offset`).

use serde::{Deserialize, Serialize};

use super::sizes::SEGMENT_BYTES;
use crate::heap::aligned_map::map_aligned;
use crate::heap::{Access, MapRequest, OutOfMemory, SystemMemory};
use crate::{Address, Coins};

/// Mappings are asked for from here on, and wrap at the other; the first lies at random in an area of 4 TiB.
const HINT_START: u64 = 2 << 40;
const HINT_AREA: u64 = 4 << 40;
const HINT_MAX: u64 = 30 << 40;
/// What is longer goes where the kernel likes.
const HINTED_BYTES_MAX: u64 = 1 << 30;

/// Where the next mapping is asked for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Places {
    coins: Coins,
    /// 0 before the first one.
    next: u64,
}

impl Places {
    pub fn new(coins: Coins) -> Places {
        Places { coins, next: 0 }
    }

    /// The place to ask for: right behind the last one (`_mi_os_get_aligned_hint`).
    fn hint(&mut self, bytes: u64, align: u64) -> Option<Address> {
        if align > SEGMENT_BYTES || bytes > HINTED_BYTES_MAX {
            return None;
        }
        if self.next == 0 || self.next > HINT_MAX {
            self.next = HINT_START + SEGMENT_BYTES * self.coins.below(HINT_AREA / SEGMENT_BYTES);
        }
        let hint = self.next;
        self.next += bytes.next_multiple_of(SEGMENT_BYTES);
        Some(Address(hint))
    }

    /// A number below `bound`, from the same coins.
    pub fn coin(&mut self, bound: u64) -> u64 {
        self.coins.below(bound)
    }

    /// Maps memory at a multiple of `align`.
    pub fn map(
        &mut self,
        bytes: u64,
        align: u64,
        access: Access,
        os: &mut dyn SystemMemory,
    ) -> Result<u64, OutOfMemory> {
        let hint = self.hint(bytes, align);
        map_aligned(&MapRequest { bytes, hint, access, no_reserve: true }, align, os)
    }
}
