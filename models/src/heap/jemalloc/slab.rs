//! Slabs: extents that are cut into regions of one small class (`arena.c`, `bin.c`).

use serde::{Deserialize, Serialize};

use super::classes::{PAGE_BYTES, SMALL, SmallClass};
use super::extent::{ExtentId, State, Store};
use super::page_map::On;
use crate::heap::SystemMemory;
use crate::index;

/// Words of a bitmap: a slab has at most 512 regions.
const WORDS: usize = 8;

/// A slab and its regions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Slab {
    pub base: u64,
    pub extent: ExtentId,
    /// Regions that are not handed out.
    pub free: u32,
    /// Number of the small class.
    pub class: u8,
    /// Regions that the program has.
    live: [u64; WORDS],
    /// Regions that are not handed out, neither to the program nor to a thread's cache.
    unused: [u64; WORDS],
}

impl Slab {
    #[inline]
    pub(super) fn class(&self) -> &'static SmallClass {
        &SMALL[usize::from(self.class)]
    }

    /// The region that starts at an address within the slab.
    #[inline]
    pub(super) fn region_at(&self, at: u64) -> Option<u32> {
        self.class().region_at(at - self.base)
    }

    #[inline]
    pub(super) fn address(&self, region: u32) -> u64 {
        self.base + u64::from(region) * self.class().bytes
    }

    #[inline]
    pub(super) fn is_live(&self, region: u32) -> bool {
        self.live[index(u64::from(region / 64))] >> (region % 64) & 1 == 1
    }

    /// The program has the region now.
    #[inline]
    pub(super) fn set_live(&mut self, region: u32) {
        self.live[index(u64::from(region / 64))] |= 1 << (region % 64);
    }

    /// The program has the region no more. Whether it had it.
    #[inline]
    pub(super) fn clear_live(&mut self, region: u32) -> bool {
        let word = &mut self.live[index(u64::from(region / 64))];
        let bit = 1 << (region % 64);
        let was_live = *word & bit != 0;
        *word &= !bit;
        was_live
    }

    pub(super) fn is_unused(&self, region: u32) -> bool {
        self.unused[index(u64::from(region / 64))] >> (region % 64) & 1 == 1
    }

    /// Hands out the lowest regions, at most `count`, and visits each.
    pub(super) fn take_lowest(&mut self, count: u32, mut visit: impl FnMut(u32)) {
        let mut left = count.min(self.free);
        self.free -= left;
        for (word, base) in self.unused.iter_mut().zip((0..).step_by(64)) {
            while *word != 0 && left > 0 {
                visit(base + word.trailing_zeros());
                *word &= *word - 1;
                left -= 1;
            }
            if left == 0 {
                break;
            }
        }
    }

    /// Takes a region back.
    pub(super) fn give(&mut self, region: u32) {
        self.unused[index(u64::from(region / 64))] |= 1 << (region % 64);
        self.free += 1;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.free == self.class().regions
    }
}

impl Store {
    /// Makes an extent a slab of a class.
    pub(super) fn make_slab(&mut self, extent: ExtentId, class: u8, os: &mut dyn SystemMemory) -> u32 {
        let mut unused = [0; WORDS];
        let regions = SMALL[usize::from(class)].regions;
        for region in 0..regions {
            unused[index(u64::from(region / 64))] |= 1 << (region % 64);
        }
        let base = self.extent(extent).base;
        self.slab_bytes += SMALL[usize::from(class)].slab_bytes;
        let slab = Slab { base, extent, free: regions, class, live: [0; WORDS], unused };
        let number = match self.spare_slabs.pop() {
            Some(number) => {
                self.slabs[index(number.into())] = slab;
                number
            }
            None => {
                self.slabs.push(slab);
                u32::try_from(self.slabs.len() - 1).expect("a heap has fewer than 2^31 slabs")
            }
        };
        self.extent_mut(extent).state = State::Slab(number);
        self.show_slab(extent, On::Slab(number), os);
        number
    }

    /// Makes an empty slab a mere extent, in no use.
    pub(super) fn unmake_slab(&mut self, number: u32, os: &mut dyn SystemMemory) -> ExtentId {
        let extent = self.slabs[index(number.into())].extent;
        self.spare_slabs.push(number);
        self.slab_bytes -= self.extent(extent).bytes;
        self.extent_mut(extent).state = State::Taken;
        self.show_slab(extent, On::Nothing, os);
        self.show_ends(extent, os);
        extent
    }

    fn show_slab(&mut self, extent: ExtentId, on: On, os: &mut dyn SystemMemory) {
        let extent = *self.extent(extent);
        for at in (extent.base..extent.end()).step_by(index(PAGE_BYTES)) {
            self.show(at, on, os);
        }
    }
}
