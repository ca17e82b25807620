//! TLSF: two-level segregated fit, in constant time.
//!
//! # Models
//! The allocator of real-time systems: `malloc` and `free` take the same few steps whatever the heap looks like. Source: Masmano,
//! Ripoll, Crespo, Real 2004, "TLSF: a new dynamic memory allocator for real-time systems" (ECRTS 2004).
//!
//! # Rules
//! Those of [`tagged`](super::tagged) (header, joining, growth, `realloc`), and:
//!
//! 1. Free pieces are in lists by size: the first level is the power of two, the second divides it into `2^second_level_bits` lists of
//!    equal width. Below `16 * 2^second_level_bits` bytes each multiple of 16 has its own list.
//! 2. A request is rounded up to the first size of a list, so that any piece there fits (good fit); the first piece of the
//!    first list from there on that has one is taken. Lists are found by two bitmaps; no list is ever walked.
//! 3. The last freed piece of a list is taken first.
//! 4. Memory that is new serves the request it was fetched for, also where rule 2 would pass it over.
//!
//! # Invariants
//! Verified by `check`: the pieces tile the heap, no two free ones touch, each is in the list of its size, and both bitmaps
//! are right.
//!
//! # Cost
//! `malloc` and `free` O(1): one piece is looked at.
//!
//! # Left out
//! Pools that a program adds itself: memory comes from the break alone, and never goes back.

use serde::{Deserialize, Serialize};

use super::tagged::{ALIGN, PieceIndex, TaggedHeap};
use super::tiling::{Bin, PieceId, Tiling};
use super::{HeapAllocator, HeapSetting};
use crate::registry::{BadOptions, Model};
use crate::{Violation, ensure, index};

/// See the [module page](self) for the rules.
pub type Tlsf = TaggedHeap<TwoLevels>;

/// Free pieces by two levels of size.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TwoLevels {
    second_level_bits: u32,
    /// Lists, a first level's beside each other.
    bins: Vec<Bin>,
    /// Bit `f`: first level `f` has a piece.
    first_marks: u64,
    /// Of each first level, bit `s`: list `s` has a piece.
    second_marks: Vec<u64>,
}

/// What a workload can set.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TlsfOptions {
    /// Each power of two is divided into 2 to so many lists, 1 to 6.
    pub second_level_bits: u32,
    /// Bytes the break rises by at least.
    pub growth_bytes: u64,
}

impl Default for TlsfOptions {
    fn default() -> TlsfOptions {
        TlsfOptions { second_level_bits: 4, growth_bytes: 64 * 1024 }
    }
}

impl Model<dyn HeapAllocator> for Tlsf {
    const NAME: &'static str = "tlsf";
    const SUMMARY: &'static str = "two-level segregated fit: every call in constant time";
    const RULES: &'static str = "\
Free pieces are in lists by power of two, each divided into 16 lists of
equal width. A request is rounded up to the first size of a list, and the
first piece of the first list that has one is taken: two bitmaps find it,
no list is walked. A freed piece joins the free ones it touches at once.

    request 600, with its header 624: lists are 32 bytes wide from 512 on
    608..639   [608]        not looked at: not all of its pieces fit
    640..671   (empty)      the request was rounded up to 640
    672..703   [688] [672]  688 is taken, 64 go back";
    type Options = TlsfOptions;

    fn build(_setting: HeapSetting, options: &TlsfOptions) -> Result<Tlsf, BadOptions> {
        let bits = options.second_level_bits;
        if !(1..=6).contains(&bits) {
            let allowed = "a power of two is divided into 2 to 64 lists, 1 to 6 bits".to_owned();
            return Err(BadOptions { option: "second_level_bits", found: bits.to_string(), allowed });
        }
        Ok(TaggedHeap::new(TwoLevels::new(bits), options.growth_bytes))
    }
}

/// First and second level of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct List {
    first: u32,
    second: u32,
}

impl PieceIndex for TwoLevels {
    fn search(&self, tiling: &Tiling, bytes: u64) -> (Option<PieceId>, u64) {
        let found = self.list_that_fits(bytes).and_then(|list| self.bins[self.place(list)].first());
        debug_assert!(found.is_none_or(|piece| tiling.bytes(piece) >= bytes), "a good fit fits");
        (found, found.map_or(0, |_| 1))
    }

    fn insert(&mut self, tiling: &mut Tiling, piece: PieceId) {
        let list = self.list_of(tiling.bytes(piece));
        let place = self.place(list);
        tiling.push_first(&mut self.bins[place], piece);
        self.first_marks |= 1 << list.first;
        self.second_marks[index(list.first.into())] |= 1 << list.second;
    }

    fn remove(&mut self, tiling: &mut Tiling, piece: PieceId) {
        let list = self.list_of(tiling.bytes(piece));
        let place = self.place(list);
        tiling.unlink(&mut self.bins[place], piece);
        if self.bins[place].is_empty() {
            let seconds = &mut self.second_marks[index(list.first.into())];
            *seconds &= !(1 << list.second);
            if *seconds == 0 {
                self.first_marks &= !(1 << list.first);
            }
        }
    }

    fn for_each(&self, tiling: &Tiling, visit: &mut dyn FnMut(PieceId)) {
        self.bins.iter().flat_map(|&bin| tiling.in_list(bin)).for_each(visit);
    }

    fn check(&self, tiling: &Tiling) -> Result<(), Violation> {
        for (first, &seconds) in (0..).zip(&self.second_marks) {
            let marked = self.first_marks >> first & 1 == 1;
            ensure(marked == (seconds != 0), || format!("the mark of first level {first} is {marked}"))?;
            for second in 0..1 << self.second_level_bits {
                self.check_list(tiling, List { first, second }, seconds >> second & 1 == 1)?;
            }
        }
        Ok(())
    }
}

impl TwoLevels {
    fn new(second_level_bits: u32) -> TwoLevels {
        // The first of them holds all sizes below `16 * 2^bits`, the others one power of two each, up to 2^63.
        let first_levels = 64 - ALIGN.ilog2() - second_level_bits + 1;
        TwoLevels {
            second_level_bits,
            bins: vec![Bin::default(); index(u64::from(first_levels) << second_level_bits)],
            first_marks: 0,
            second_marks: vec![0; index(first_levels.into())],
        }
    }

    /// The list of pieces of `bytes` bytes.
    fn list_of(&self, bytes: u64) -> List {
        let bits = self.second_level_bits;
        let small = ALIGN << bits;
        if bytes < small {
            return List { first: 0, second: low_bits(bytes / ALIGN) };
        }
        let power = bytes.ilog2();
        let step = (bytes >> (power - bits)) - (1 << bits);
        List { first: power - small.ilog2() + 1, second: low_bits(step) }
    }

    /// The first list with a piece of which all pieces have at least `bytes` bytes.
    fn list_that_fits(&self, bytes: u64) -> Option<List> {
        let width = match bytes.ilog2().checked_sub(self.second_level_bits) {
            Some(shift) if bytes >= ALIGN << self.second_level_bits => 1 << shift,
            _ => ALIGN,
        };
        let List { first, second } = self.list_of(bytes.checked_add(width - 1)?);
        let here = self.second_marks[index(first.into())] & (u64::MAX << second);
        if here != 0 {
            return Some(List { first, second: here.trailing_zeros() });
        }
        let above = self.first_marks & (u64::MAX << first) & !(1 << first);
        if above == 0 {
            return None;
        }
        let first = above.trailing_zeros();
        Some(List { first, second: self.second_marks[index(first.into())].trailing_zeros() })
    }

    fn place(&self, list: List) -> usize {
        index((u64::from(list.first) << self.second_level_bits) + u64::from(list.second))
    }

    fn check_list(&self, tiling: &Tiling, list: List, marked: bool) -> Result<(), Violation> {
        let bin = self.bins[self.place(list)];
        ensure(marked != bin.is_empty(), || format!("the mark of {list:?} is {marked}"))?;
        for bytes in tiling.in_list(bin).map(|piece| tiling.bytes(piece)) {
            ensure(self.list_of(bytes) == list, || format!("a free piece of {bytes} bytes is in {list:?}"))?;
        }
        Ok(())
    }
}

/// A number of a second level: below 64.
fn low_bits(second: u64) -> u32 {
    u32::try_from(second).expect("a first level has at most 64 lists")
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;
    use crate::heap::drawing::Drawn;

    fn tlsf() -> Drawn<Tlsf> {
        Drawn::new(&TlsfOptions { second_level_bits: 2, growth_bytes: 4096 }, 16)
    }

    #[test]
    fn lists_are_of_equal_width_within_a_power_of_two() {
        let levels = TwoLevels::new(2);
        let mut lines = Vec::new();
        let mut last = None;
        for bytes in (16..600).step_by(16) {
            let list = levels.list_of(bytes);
            if last != Some(list) {
                lines.push(format!("{bytes}: {}.{}", list.first, list.second));
            }
            last = Some(list);
        }
        assert_snapshot!(lines.join(", "), @"16: 0.1, 32: 0.2, 48: 0.3, 64: 1.0, 80: 1.1, 96: 1.2, 112: 1.3, 128: 2.0, 160: 2.1, 192: 2.2, 224: 2.3, 256: 3.0, 320: 3.1, 384: 3.2, 448: 3.3, 512: 4.0");
        let largest = levels.list_of(u64::MAX);
        assert_eq!(levels.place(largest), levels.bins.len() - 1);
    }

    #[test]
    fn a_piece_of_the_requests_own_list_is_passed_over_even_if_it_fits() {
        let mut drawn = tlsf();
        // Pieces of 96 and 144 bytes: below 128 a list is 16 bytes wide and all of its pieces fit; from 128 on it is 32 wide,
        // and 144 is rounded up to 160.
        for (name, bytes) in [('a', 80), ('x', 16), ('b', 128), ('y', 16)] {
            drawn.malloc(name, bytes);
        }
        drawn.free("ab");
        drawn.malloc('a', 80);
        drawn.malloc('b', 128);
        assert_snapshot!(drawn.draw(), @"HaaaaaHx.........HyHbbbbbbbb... and 3648 free");
    }

    #[test]
    fn looks_at_one_piece_however_many_are_free() {
        let mut drawn = tlsf();
        let names: String = ('A'..='z').collect();
        for name in names.chars() {
            drawn.malloc(name, 40);
            drawn.malloc('\u{e9}', 16);
        }
        drawn.free(&names);
        drawn.malloc('m', 33);
        assert_eq!(drawn.heap.last_search(), 1);
    }

    #[test]
    fn with_nothing_live_the_heap_is_one_piece() {
        let mut drawn = tlsf();
        drawn.malloc_all("abcdef", 300);
        drawn.free("bdface");
        assert_snapshot!(drawn.free_pieces(), @"0+4096");
    }

    #[test]
    fn refuses_more_lists_than_a_word_can_mark() {
        let setting = HeapSetting { coins: crate::Coins::from_key([0; 32]) };
        let options = TlsfOptions { second_level_bits: 7, ..TlsfOptions::default() };
        assert_snapshot!(Tlsf::build(setting, &options).unwrap_err(), @"`second_level_bits` is 7; a power of two is divided into 2 to 64 lists, 1 to 6 bits");
    }
}
