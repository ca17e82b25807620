//! Where an arena's chunks lie: ranges of addresses, and the words the allocator keeps in them.
//!
//! Places of one arena are dense: each region's places follow those of the region before, so a place fits 31 bits and
//! finds its words by two steps into arrays. The words are kept by pages, and a page of words exists from the first time
//! the allocator writes there: it also tells which pages the kernel need not hear of again.

use serde::{Deserialize, Serialize};

use super::chunk::{Chunk, UNIT_BYTES, Units, Words};
use crate::{Address, index};

/// Places below this one hold the list heads.
pub(super) const FIRST_PLACE: u32 = 256;
/// Places of one arena: 32 GiB of them.
const PLACES: u64 = 1 << 31;
/// A page of words never stands for more than this much memory.
const LONGEST_PAGE_BYTES: u64 = 4096;

/// A contiguous range of an arena's memory.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Region {
    /// The place of its first unit.
    pub first: Chunk,
    pub start: u64,
    /// Bytes at its start that hold no chunks.
    pub table_bytes: u64,
    /// Bytes that can be used now.
    pub bytes: u64,
    /// Bytes that were usable at some time: those of an arena's heap stay writable when it shrinks.
    pub most_bytes: u64,
    /// It ends at the program break, or did when the break last moved.
    pub at_break: bool,
}

impl Region {
    pub const fn end(&self) -> u64 {
        self.start + self.bytes
    }

    /// The address of a place in it.
    pub const fn address(&self, place: Chunk) -> u64 {
        self.start + (place.0 - self.first.0) as u64 * UNIT_BYTES
    }

    /// The place at an address in it.
    pub fn place(&self, address: u64) -> Chunk {
        let units = (address - self.start) / UNIT_BYTES;
        self.first.above(Units::try_from(units).expect("a region has at most 2^31 places"))
    }
}

/// The words of one arena, by place.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Memory {
    /// Pages of words; one without words was never written by the allocator.
    pages: Vec<Box<[Words]>>,
    /// log2 of the places of a page.
    page_shift: u32,
}

impl Memory {
    /// No words but those of the list heads.
    pub fn new(page_bytes: u64) -> Memory {
        let places = (page_bytes.clamp(UNIT_BYTES, LONGEST_PAGE_BYTES) / UNIT_BYTES).next_power_of_two();
        let mut memory = Memory { pages: Vec::new(), page_shift: places.trailing_zeros() };
        for page in 0..FIRST_PLACE >> memory.page_shift {
            memory.add_page(page << memory.page_shift);
        }
        memory
    }

    /// The words at a place; zeros where nothing was written yet.
    #[inline]
    pub fn read(&self, place: u32) -> Words {
        let page = self.pages.get(index(u64::from(place >> self.page_shift)));
        page.and_then(|words| words.get(self.slot(place))).copied().unwrap_or_default()
    }

    /// The words at a place, if its page was written before.
    #[inline]
    pub fn written(&mut self, place: u32) -> Option<&mut Words> {
        let slot = self.slot(place);
        self.pages.get_mut(index(u64::from(place >> self.page_shift)))?.get_mut(slot)
    }

    /// Whether the page of a place was written before.
    #[inline]
    pub fn is_written(&self, place: u32) -> bool {
        self.pages.get(index(u64::from(place >> self.page_shift))).is_some_and(|words| !words.is_empty())
    }

    /// Makes the page of a place one that was written.
    pub fn add_page(&mut self, place: u32) {
        let page = index(u64::from(place >> self.page_shift));
        if page >= self.pages.len() {
            self.pages.resize_with(page + 1, Box::default);
        }
        if self.pages[page].is_empty() {
            self.pages[page] = vec![Words::default(); 1 << self.page_shift].into_boxed_slice();
        }
    }

    /// Forgets the pages from `place`, the first of a page, to the end.
    pub fn forget_from(&mut self, place: u32) {
        self.pages.truncate(index(u64::from(place >> self.page_shift)));
    }

    /// Whether a place in each page of a range shows that the range was written; only short ranges are looked at.
    pub fn is_range_written(&self, from: u32, to: u32) -> bool {
        const LOOKED_AT: u32 = 4;
        let (first, last) = (from >> self.page_shift, to >> self.page_shift);
        last - first < LOOKED_AT && (first..=last).all(|page| self.is_written(page << self.page_shift))
    }

    fn slot(&self, place: u32) -> usize {
        index(u64::from(place & ((1 << self.page_shift) - 1)))
    }
}

/// The regions of one arena, in the order of their places: the last one alone holds top and can grow.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Regions(Vec<Region>);

impl Regions {
    /// Adds `bytes` at `start` behind all others; `None` when the arena has no places left.
    pub fn add(&mut self, start: u64, bytes: u64, table_bytes: u64, at_break: bool) -> Option<Region> {
        let used = self.0.last().map_or(FIRST_PLACE, |last| last.place(last.end()).0);
        // The same place within a page of words as within the page of memory.
        let aligned = used.next_multiple_of(FIRST_PLACE);
        let offset = start % (u64::from(FIRST_PLACE) * UNIT_BYTES) / UNIT_BYTES;
        let first = u64::from(aligned) + offset;
        if first + bytes / UNIT_BYTES >= PLACES {
            return None;
        }
        let first = Chunk(u32::try_from(first).expect("below 2^31"));
        let region = Region { first, start, table_bytes, bytes, most_bytes: bytes, at_break };
        self.0.push(region);
        Some(region)
    }

    pub fn last(&self) -> Option<&Region> {
        self.0.last()
    }

    /// The last region and the one before it.
    pub fn last_two(&self) -> Option<(Region, Region)> {
        match self.0[..] {
            [.., before, last] => Some((before, last)),
            _ => None,
        }
    }

    /// Drops the last region; the one before it is the last then.
    pub fn drop_last(&mut self) -> Option<Region> {
        self.0.pop()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Region> {
        self.0.iter()
    }

    /// Whether the last region can have `bytes` in all.
    pub fn can_hold(&self, bytes: u64) -> bool {
        self.0.last().is_some_and(|last| u64::from(last.first.0) + bytes / UNIT_BYTES < PLACES)
    }

    /// Gives the last region another length.
    pub fn resize_last(&mut self, bytes: u64) {
        let last = self.0.last_mut().expect("an arena that grows has a region");
        last.bytes = bytes;
        last.most_bytes = last.most_bytes.max(bytes);
    }

    /// The address of a place.
    #[inline]
    pub fn address(&self, place: Chunk) -> Address {
        let region = match &self.0[..] {
            [only] => only,
            many => &many[many.partition_point(|region| region.first <= place) - 1],
        };
        Address(region.address(place))
    }

    /// The place at an address, if it is one of this arena.
    #[inline]
    pub fn place(&self, address: u64) -> Option<Chunk> {
        let region = self.0.iter().find(|region| address.wrapping_sub(region.start) < region.bytes)?;
        address.is_multiple_of(UNIT_BYTES).then(|| region.place(address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_of_a_second_region_follow_those_of_the_first() {
        let mut regions = Regions::default();
        regions.add(0x1000_0000, 0x3000, 0, true);
        regions.add(0x7000_0000, 0x2000, 0, false);
        let places = [0x1000_0000, 0x1000_2ff0, 0x7000_0000].map(|address| regions.place(address).expect("inside"));
        assert_eq!(places, [Chunk(256), Chunk(1023), Chunk(1024)]);
        assert_eq!(places.map(|place| regions.address(place).0), [0x1000_0000, 0x1000_2ff0, 0x7000_0000]);
        assert_eq!(regions.place(0x1000_3000), None);
        assert_eq!(regions.place(0x1000_0008), None);
    }

    #[test]
    fn an_arena_has_at_most_32_gib() {
        let mut regions = Regions::default();
        assert!(regions.add(0x1000_0000, 31 << 30, 0, true).is_some());
        assert!(regions.add(0x90_0000_0000, 2 << 30, 0, false).is_none());
    }

    #[test]
    fn a_page_of_words_is_written_or_reads_as_zeros() {
        let mut memory = Memory::new(4096);
        assert!(memory.written(300).is_none());
        memory.add_page(300);
        memory.written(300).expect("just added").high = 7;
        assert_eq!(memory.read(300).high, 7);
        assert!(memory.is_written(511) && !memory.is_written(512));
        memory.forget_from(256);
        assert_eq!(memory.read(300), Words::default());
    }
}
