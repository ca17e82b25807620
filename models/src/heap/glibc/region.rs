//! Where an arena's chunks lie: ranges of addresses, and the words the allocator keeps in them.
//!
//! Places of one arena are dense: each region's places follow those of the region before, so a place fits 31 bits and
//! finds its words by two steps into arrays. The words are kept by pages, and a page of words exists from the first time
//! the allocator writes there: it also tells which pages the kernel need not hear of again.

use serde::{Deserialize, Serialize};

use super::chunk::{Chunk, UNIT_BYTES, Units, Words};
use crate::Address;

/// Places below this one hold the list heads.
pub(super) const FIRST_PLACE: u32 = 256;
/// Places of one arena: 32 GiB of them.
const PLACES: u64 = 1 << 31;

/// A contiguous range of an arena's memory.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
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

    const fn holds(&self, address: u64) -> bool {
        address.wrapping_sub(self.start) < self.bytes
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

/// Words of a page: 256 of them for 4 KiB, in two steps because serde knows no longer arrays.
type Page = [[Words; 16]; 16];
const PAGE_PLACES: u32 = 256;
const PAGE_BYTES: u64 = PAGE_PLACES as u64 * UNIT_BYTES;
const _: () = assert!(FIRST_PLACE.is_multiple_of(PAGE_PLACES), "list heads share no page with chunks");

/// The words of one arena, by place.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Memory {
    /// Pages of words; none where the allocator never wrote.
    pages: Vec<Option<Box<Page>>>,
    /// The kernel's pages are shorter than a page of words: then it hears of every write.
    has_short_pages: bool,
}

impl Memory {
    /// No words but those of the list heads.
    pub fn new(page_bytes: u64) -> Memory {
        let mut memory = Memory { pages: Vec::new(), has_short_pages: page_bytes < PAGE_BYTES };
        (0..FIRST_PLACE).step_by(PAGE_PLACES as usize).for_each(|place| memory.add_page(place));
        memory
    }

    /// The words at a place; zeros where nothing was written yet.
    #[inline]
    pub fn read(&self, place: u32) -> Words {
        match self.pages.get(page_of(place)) {
            Some(Some(page)) => page[row_of(place)][column_of(place)],
            _ => Words::default(),
        }
    }

    /// The words at a place whose page was written before.
    #[inline]
    pub fn at(&mut self, place: u32) -> &mut Words {
        let page = self.pages.get_mut(page_of(place)).and_then(Option::as_mut);
        &mut page.expect("the allocator wrote to this page before")[row_of(place)][column_of(place)]
    }

    /// The words at a place, if its page was written before.
    #[inline]
    pub fn get(&mut self, place: u32) -> Option<&mut Words> {
        let page = self.pages.get_mut(page_of(place)).and_then(Option::as_mut)?;
        Some(&mut page[row_of(place)][column_of(place)])
    }

    /// Whether the kernel knows that the page of a place was written.
    #[inline]
    pub fn is_known(&self, place: u32) -> bool {
        !self.has_short_pages && matches!(self.pages.get(page_of(place)), Some(Some(_)))
    }

    /// Whether the kernel knows of the place behind one that it knows of, by a look at the numbers alone.
    #[inline]
    pub fn knows_next(&self, place: u32) -> bool {
        !self.has_short_pages && place % PAGE_PLACES != PAGE_PLACES - 1
    }

    /// Makes the page of a place one that was written.
    pub fn add_page(&mut self, place: u32) {
        let page = page_of(place);
        if page >= self.pages.len() {
            self.pages.resize_with(page + 1, || None);
        }
        self.pages[page].get_or_insert_default();
    }

    /// Forgets the pages from `place`, the first of a page, to the end.
    pub fn forget_from(&mut self, place: u32) {
        self.pages.truncate(page_of(place));
    }

    /// Whether the kernel knows that all of a range was written; only short ranges are looked at.
    pub fn is_range_known(&self, from: u32, to: u32) -> bool {
        const LOOKED_AT: u32 = 4;
        let (first, last) = (from / PAGE_PLACES, to / PAGE_PLACES);
        last - first < LOOKED_AT && (first..=last).all(|page| self.is_known(page * PAGE_PLACES))
    }
}

const fn page_of(place: u32) -> usize {
    (place / PAGE_PLACES) as usize
}

const fn row_of(place: u32) -> usize {
    (place / 16 % 16) as usize
}

const fn column_of(place: u32) -> usize {
    (place % 16) as usize
}

/// The regions of one arena, in the order of their places: the last one alone holds top and can grow.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Regions {
    /// Most arenas have one only; it is empty before there is any.
    first: Region,
    others: Vec<Region>,
}

impl Regions {
    /// Adds `bytes` at `start` behind all others; `None` when the arena has no places left.
    pub fn add(&mut self, start: u64, bytes: u64, table_bytes: u64, at_break: bool) -> Option<Region> {
        let used = self.last().map_or(FIRST_PLACE, |last| last.place(last.end()).0);
        // The same place within a page of words as within the page of memory.
        let aligned = used.next_multiple_of(FIRST_PLACE);
        let offset = start % (u64::from(FIRST_PLACE) * UNIT_BYTES) / UNIT_BYTES;
        let first = u64::from(aligned) + offset;
        if first + bytes / UNIT_BYTES >= PLACES {
            return None;
        }
        let first = Chunk(u32::try_from(first).expect("below 2^31"));
        let region = Region { first, start, table_bytes, bytes, most_bytes: bytes, at_break };
        match self.first.bytes {
            0 => self.first = region,
            _ => self.others.push(region),
        }
        Some(region)
    }

    pub fn first(&self) -> Option<&Region> {
        (self.first.bytes > 0).then_some(&self.first)
    }

    pub fn last(&self) -> Option<&Region> {
        self.others.last().or_else(|| self.first())
    }

    /// The last region and the one before it.
    pub fn last_two(&self) -> Option<(Region, Region)> {
        match self.others[..] {
            [.., before, last] => Some((before, last)),
            [last] => Some((self.first, last)),
            [] => None,
        }
    }

    /// Drops the last region; the one before it is the last then. The first one stays.
    pub fn drop_last(&mut self) {
        self.others.pop();
    }

    pub fn iter(&self) -> impl Iterator<Item = &Region> {
        self.first().into_iter().chain(&self.others)
    }

    /// Whether the last region can have `bytes` in all.
    pub fn can_hold(&self, bytes: u64) -> bool {
        self.last().is_some_and(|last| u64::from(last.first.0) + bytes / UNIT_BYTES < PLACES)
    }

    /// Gives the last region another length.
    pub fn resize_last(&mut self, bytes: u64) {
        let last = self.others.last_mut().unwrap_or(&mut self.first);
        last.bytes = bytes;
        last.most_bytes = last.most_bytes.max(bytes);
    }

    /// The address of a place.
    #[inline]
    pub fn address(&self, place: Chunk) -> Address {
        if self.others.is_empty() {
            return Address(self.first.address(place));
        }
        match self.others.partition_point(|region| region.first <= place) {
            0 => Address(self.first.address(place)),
            above => Address(self.others[above - 1].address(place)),
        }
    }

    /// The place at an address, if it is one of this arena.
    #[inline]
    pub fn place(&self, address: u64) -> Option<Chunk> {
        if !address.is_multiple_of(UNIT_BYTES) {
            return None;
        }
        if self.first.holds(address) {
            return Some(self.first.place(address));
        }
        self.others.iter().find(|region| region.holds(address)).map(|region| region.place(address))
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
    fn of_pages_shorter_than_a_page_of_words_nothing_is_known() {
        let mut memory = Memory::new(1024);
        memory.add_page(300);
        assert!(!memory.is_known(300) && !memory.knows_next(300));
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
        assert!(memory.get(300).is_none());
        memory.add_page(300);
        memory.at(300).high = 7;
        assert_eq!(memory.read(300).high, 7);
        assert!(memory.is_known(511) && !memory.is_known(512));
        assert!(memory.knows_next(510) && !memory.knows_next(511));
        memory.forget_from(256);
        assert_eq!(memory.read(300), Words::default());
    }
}
