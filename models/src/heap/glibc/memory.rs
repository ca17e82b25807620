//! The words that an arena keeps by place, and which of its pages were written.
//!
//! Most arenas write to nearly all of their pages: those words lie in one array, and a look at them costs one load. What is
//! written far above pages that never were is kept page by page, until more are written and the array reaches it. So the
//! words take memory for the pages that were written, and for at most three times as many that were not.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::chunk::{UNIT_BYTES, Word};
use super::region::FIRST_PLACE;
use crate::index;

/// Words of a page: 256 of them for 4 KiB, in two steps because serde knows no longer arrays.
type Page = [[Word; 16]; 16];
const PAGE_PLACES: u32 = 256;
const PAGE_BYTES: u64 = PAGE_PLACES as u64 * UNIT_BYTES;
const _: () = assert!(FIRST_PLACE.is_multiple_of(PAGE_PLACES), "a page of words is a page of memory");
/// The array holds at most this many pages for each one that was written.
const DENSE_PAGES_PER_WRITTEN: u32 = 4;

/// The words of one arena.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Memory {
    /// Words from the first place on; zeros where nothing was written.
    dense: Vec<Word>,
    /// Pages behind those.
    sparse: Sparse,
    /// All pages that were written, a bit for each.
    written: Vec<u64>,
    /// How many they are.
    pages_written: u32,
    /// Picks the number of a place within its page; 0 where the kernel's pages are shorter than a page of words: then it hears
    /// of every write.
    known_mask: u32,
}

impl Memory {
    /// No words.
    pub const fn new(page_bytes: u64) -> Memory {
        Memory {
            dense: Vec::new(),
            sparse: Sparse(BTreeMap::new()),
            written: Vec::new(),
            pages_written: 0,
            known_mask: if page_bytes < PAGE_BYTES { 0 } else { PAGE_PLACES - 1 },
        }
    }

    /// The word at a place; zero where nothing was written yet.
    #[inline]
    pub fn read(&self, place: u32) -> Word {
        match self.dense.get(index(place.into())) {
            Some(&word) => word,
            None => self.sparse.read(place),
        }
    }

    /// The word at a place.
    #[inline]
    pub fn at(&mut self, place: u32) -> &mut Word {
        match self.dense.get_mut(index(place.into())) {
            Some(word) => word,
            None => self.sparse.at(place),
        }
    }

    /// The word at a place, if it is in the array.
    #[inline(always)]
    pub fn in_array(&mut self, place: u32) -> Option<&mut Word> {
        self.dense.get_mut(index(place.into()))
    }

    /// The same, and the kernel knows of the next place if it knows of this one.
    #[inline(always)]
    pub fn near(&mut self, place: u32) -> Option<&mut Word> {
        if place & self.known_mask == self.known_mask {
            return None;
        }
        self.in_array(place)
    }

    /// Whether the kernel knows that the page of a place was written.
    #[inline]
    pub fn is_known(&self, place: u32) -> bool {
        self.is_written(place) && self.known_mask != 0
    }

    /// Whether the kernel knows that the page of a place was written, if it knows that of the place `below` it: by a look at
    /// the numbers alone.
    #[inline]
    pub const fn is_known_behind(&self, place: u32, below: u32) -> bool {
        place & self.known_mask >= below
    }

    /// Whether the page of a place was written.
    #[inline]
    pub fn is_written(&self, place: u32) -> bool {
        let (row, bit) = bit_of(page_of(place));
        self.written.get(row).is_some_and(|row| row >> bit & 1 != 0)
    }

    /// Makes the page of a place one that was written.
    pub fn add_page(&mut self, place: u32) {
        if self.is_written(place) {
            return;
        }
        let page = page_of(place);
        let (row, bit) = bit_of(page);
        if row >= self.written.len() {
            self.written.resize(row + 1, 0);
        }
        self.written[row] |= 1 << bit;
        self.pages_written += 1;
        let reach = DENSE_PAGES_PER_WRITTEN * self.pages_written;
        if page < reach {
            self.extend_dense(page);
        }
        if let Some((&last, _)) = self.sparse.0.range(..reach).next_back() {
            self.extend_dense(last);
        }
    }

    /// Lets the array end behind a page; it takes in what it reaches.
    fn extend_dense(&mut self, last: u32) {
        let first_place = |page: u32| index(u64::from(page * PAGE_PLACES));
        while let Some(entry) = self.sparse.0.first_entry()
            && *entry.key() <= last
        {
            let (page, words) = entry.remove_entry();
            self.dense.resize(first_place(page), Word::default());
            self.dense.extend_from_slice(words.as_flattened());
        }
        if self.dense.len() < first_place(last + 1) {
            self.dense.resize(first_place(last + 1), Word::default());
        }
    }

    /// Forgets the pages from `place`, the first of a page, to the end.
    pub fn forget_from(&mut self, place: u32) {
        let page = page_of(place);
        self.dense.truncate(index(place.into()));
        self.sparse.0.split_off(&page);
        let (row, bit) = bit_of(page);
        self.written.truncate(row + 1);
        if let Some(last) = self.written.get_mut(row) {
            *last &= (1 << bit) - 1;
        }
        self.pages_written = self.written.iter().map(|row| row.count_ones()).sum();
    }

    /// Whether the kernel knows that all of a range was written; only short ranges are looked at.
    pub fn is_range_known(&self, from: u32, to: u32) -> bool {
        const LOOKED_AT: u32 = 4;
        let (first, last) = (page_of(from), page_of(to));
        last - first < LOOKED_AT && (first..=last).all(|page| self.is_known(page * PAGE_PLACES))
    }
}

/// Pages of words by number.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Sparse(BTreeMap<u32, Box<Page>>);

impl Sparse {
    #[cold]
    fn read(&self, place: u32) -> Word {
        self.0.get(&page_of(place)).map_or(Word::default(), |page| page.as_flattened()[column_of(place)])
    }

    #[cold]
    fn at(&mut self, place: u32) -> &mut Word {
        &mut self.0.entry(page_of(place)).or_default().as_flattened_mut()[column_of(place)]
    }
}

const fn page_of(place: u32) -> u32 {
    place / PAGE_PLACES
}

const fn column_of(place: u32) -> usize {
    (place % PAGE_PLACES) as usize
}

/// Where the bit of a page is: its row, and its number in there.
const fn bit_of(page: u32) -> (usize, u32) {
    ((page / u64::BITS) as usize, page % u64::BITS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_pages_shorter_than_a_page_of_words_nothing_is_known() {
        let mut memory = Memory::new(1024);
        memory.add_page(300);
        assert!(memory.is_written(300) && !memory.is_known(300) && memory.near(300).is_none());
    }

    #[test]
    fn a_page_of_words_is_written_or_reads_as_zeros() {
        let mut memory = Memory::new(4096);
        assert!(memory.near(300).is_none());
        memory.add_page(300);
        memory.at(300).0 = 7;
        assert_eq!(memory.read(300), Word(7));
        assert!(memory.is_known(511) && !memory.is_known(512));
        assert!(memory.near(510).is_some() && memory.near(511).is_none());
        memory.forget_from(256);
        assert_eq!(memory.read(300), Word(0));
        assert!(!memory.is_known(300));
    }

    /// The pages that were written, `#`, and others, `.`; `|` is where the array ends.
    fn draw(memory: &Memory, pages: u32) -> String {
        let mark = |page| if memory.is_written(page * PAGE_PLACES) { '#' } else { '.' };
        let dense = u32::try_from(memory.dense.len()).expect("few") / PAGE_PLACES;
        (0..dense).map(mark).chain(['|']).chain((dense..pages).map(mark)).collect()
    }

    #[test]
    fn the_array_reaches_a_page_once_a_quarter_of_those_below_are_written() {
        let mut memory = Memory::new(4096);
        let mut write = |page: u32| {
            memory.add_page(page * PAGE_PLACES);
            memory.at(page * PAGE_PLACES + 3).0 = page;
            draw(&memory, 14)
        };
        let pictures = [1, 13, 8, 2, 12].map(&mut write);
        assert_eq!(
            pictures,
            [".#|............", ".#|...........#", ".#......#|....#", ".##.....#....#|", ".##.....#...##|"]
        );
        assert_eq!([1, 13, 8, 2, 12, 4].map(|page| memory.read(page * PAGE_PLACES + 3).0), [1, 13, 8, 2, 12, 0]);
    }

    #[test]
    fn a_page_32_gib_above_takes_the_memory_of_a_page() {
        let mut memory = Memory::new(4096);
        let far = (1 << 31) - 1;
        memory.add_page(far);
        memory.at(far).0 = 5;
        assert_eq!([far, far - 1, 1 << 30].map(|place| memory.read(place).0), [5, 0, 0]);
        assert_eq!((memory.dense.len(), memory.sparse.0.len()), (0, 1));
        memory.forget_from(1 << 30);
        assert_eq!((memory.read(far), memory.sparse.0.len(), memory.pages_written), (Word(0), 0, 0));
    }
}
