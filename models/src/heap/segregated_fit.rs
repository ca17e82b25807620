//! Segregated fit: a list of free pieces for each class of sizes.
//!
//! # Models
//! The array of lists that most heaps since the 1980s are built on: a request looks in the list of its own class, then in those
//! of larger ones. Sources: Wilson, Johnstone, Neely, Boles 1995, "Dynamic storage allocation: a survey and critical
//! review", section 3.5; Bryant and O'Hallaron, "Computer Systems", section 9.9.14.
//!
//! # Rules
//! Those of [`tagged`](super::tagged) (header, joining, growth, `realloc`), and:
//!
//! 1. Class `k` lists the free pieces of `2^k` to `2^(k+1) - 1` bytes, header included, the last freed first.
//! 2. A request takes the first piece of its class that fits (`first`) or the smallest one (`best`; on a tie the first in the
//!    list), else the same of the next larger class that has any.
//!
//! # Invariants
//! Verified by `check`: the pieces tile the heap, no two free ones touch, each free one is in the class of its size and a class
//! is marked exactly when its list is not empty.
//!
//! # Cost
//! `free` O(1). `malloc` O(1) but for the pieces of the request's own class, which are looked at one by one; the classes above
//! it are found in one word.
//!
//! # Left out
//! The heap never shrinks.

use serde::{Deserialize, Serialize};

use super::tagged::{PieceIndex, TaggedHeap};
use super::tiling::{Bin, PieceId, Tiling};
use super::{HeapAllocator, HeapSetting};
use crate::registry::{BadOptions, Model};
use crate::{Violation, ensure, index};

/// Classes for pieces of up to 2^64 - 1 bytes.
const CLASSES: u64 = 64;

/// See the [module page](self) for the rules.
pub type SegregatedFit = TaggedHeap<SizeClasses>;

/// Free pieces by class.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SizeClasses {
    fit: ClassFit,
    bins: Vec<Bin>,
    /// Bit `k`: class `k` has a piece.
    marks: u64,
}

/// What a workload can set.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SegregatedFitOptions {
    /// Which piece of a class serves a request.
    pub fit: ClassFit,
    /// Bytes the break rises by at least.
    pub growth_bytes: u64,
}

/// Which piece of a class serves a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClassFit {
    /// The first in the list that is large enough.
    First,
    /// The smallest that is; on a tie the first in the list.
    Best,
}

impl Default for SegregatedFitOptions {
    fn default() -> SegregatedFitOptions {
        SegregatedFitOptions { fit: ClassFit::First, growth_bytes: 64 * 1024 }
    }
}

impl Model<dyn HeapAllocator> for SegregatedFit {
    const NAME: &'static str = "segregated_fit";
    const SUMMARY: &'static str = "a list of free pieces for each class of sizes";
    const RULES: &'static str = "\
Free pieces of 2^k to 2^(k+1) - 1 bytes are in list k, the last freed first.
A request takes the first (or the best) piece that fits of its own class,
else of the next larger class that has one; the rest goes to its own class.
A freed piece joins the free ones it touches at once.

    request 48, with its header 64 bytes
    32..63    [32] [48]            too small, not looked at
    64..127   [112] [64]           first: 112, and 48 go back; best: 64
    128..255  (empty)
    256..511  [400]                only when no piece of 64..127 fits";
    type Options = SegregatedFitOptions;

    fn build(_setting: HeapSetting, options: &SegregatedFitOptions) -> Result<SegregatedFit, BadOptions> {
        let bins = vec![Bin::default(); index(CLASSES)];
        Ok(TaggedHeap::new(SizeClasses { fit: options.fit, bins, marks: 0 }, options.growth_bytes))
    }
}

impl PieceIndex for SizeClasses {
    /// Any piece of a larger class fits: only the request's own class is searched for one that does.
    fn search(&self, tiling: &Tiling, bytes: u64) -> (Option<PieceId>, u64) {
        let class = class_of(bytes);
        let (own, looked_at) = self.search_class(tiling, class, bytes);
        let larger = self.marks & (u64::MAX << class) & !(1 << class);
        if own.is_some() || larger == 0 {
            return (own, looked_at);
        }
        let (found, looked_at_there) = self.search_class(tiling, larger.trailing_zeros(), bytes);
        (found, looked_at + looked_at_there)
    }

    fn insert(&mut self, tiling: &mut Tiling, piece: PieceId) {
        let class = class_of(tiling.bytes(piece));
        tiling.push_first(&mut self.bins[index(class.into())], piece);
        self.marks |= 1 << class;
    }

    fn remove(&mut self, tiling: &mut Tiling, piece: PieceId) {
        let class = class_of(tiling.bytes(piece));
        let bin = &mut self.bins[index(class.into())];
        tiling.unlink(bin, piece);
        if bin.is_empty() {
            self.marks &= !(1 << class);
        }
    }

    fn for_each(&self, tiling: &Tiling, visit: &mut dyn FnMut(PieceId)) {
        self.bins.iter().flat_map(|&bin| tiling.in_list(bin)).for_each(visit);
    }

    fn check(&self, tiling: &Tiling) -> Result<(), Violation> {
        for (class, &bin) in (0..).zip(&self.bins) {
            let marked = self.marks >> class & 1 == 1;
            ensure(marked != bin.is_empty(), || format!("the mark of class {class} is {marked}"))?;
            for bytes in tiling.in_list(bin).map(|piece| tiling.bytes(piece)) {
                ensure(class_of(bytes) == class, || format!("a free piece of {bytes} bytes is in class {class}"))?;
            }
        }
        Ok(())
    }
}

impl SizeClasses {
    fn search_class(&self, tiling: &Tiling, class: u32, bytes: u64) -> (Option<PieceId>, u64) {
        let mut best: Option<(u64, PieceId)> = None;
        let mut looked_at = 0;
        for piece in tiling.in_list(self.bins[index(class.into())]) {
            looked_at += 1;
            let has = tiling.bytes(piece);
            if has < bytes || best.is_some_and(|(best, _)| has >= best) {
                continue;
            }
            best = Some((has, piece));
            if self.fit == ClassFit::First || has == bytes {
                break;
            }
        }
        (best.map(|(_, piece)| piece), looked_at)
    }
}

fn class_of(bytes: u64) -> u32 {
    bytes.ilog2()
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;
    use crate::heap::drawing::Drawn;

    /// One character for 16 bytes. Free: 32 bytes at a, 144 at b, 80 at c, 64 at d, freed in that order.
    fn holes(fit: ClassFit) -> Drawn<SegregatedFit> {
        let options = SegregatedFitOptions { fit, growth_bytes: 4096 };
        let mut drawn = Drawn::new(&options, 16);
        for (name, bytes) in [('a', 16), ('b', 128), ('c', 64), ('d', 48)] {
            drawn.malloc(name, bytes);
            drawn.malloc('x', 16);
        }
        drawn.free("abcd");
        drawn
    }

    #[test]
    fn a_request_takes_the_last_freed_piece_of_its_class_that_fits() {
        let mut drawn = holes(ClassFit::First);
        let before = drawn.draw();
        drawn.malloc('m', 50);
        assert_snapshot!(format!("{before}\n{}", drawn.draw()), @"
        ..Hx.........Hx.....Hx....Hx... and 3648 free
        ..Hx.........HxHmmmmHx....Hx... and 3648 free
        ");
        assert_eq!(drawn.heap.last_search(), 2, "64 bytes at d are too few for 80, then c");
    }

    #[test]
    fn the_first_piece_that_fits_is_taken_though_a_later_one_fits_exactly() {
        let mut drawn = holes(ClassFit::First);
        drawn.malloc('m', 64);
        drawn.free("m");
        drawn.malloc('n', 48);
        assert_snapshot!(drawn.draw(), @"..Hx.........HxHnnnnHx....Hx... and 3648 free");
    }

    #[test]
    fn best_looks_at_the_whole_class() {
        let mut drawn = holes(ClassFit::Best);
        drawn.malloc('m', 32);
        assert_snapshot!(drawn.draw(), @"..Hx.........Hx.....HxHmmmHx... and 3648 free");
        assert_eq!(drawn.heap.last_search(), 3, "32 bytes at a are too few for 48; then d and c");
    }

    #[test]
    fn a_larger_class_serves_what_the_own_one_cannot_and_the_rest_changes_class() {
        let mut drawn = holes(ClassFit::First);
        drawn.malloc('m', 96);
        assert_snapshot!(format!("{}\n{}", drawn.draw(), drawn.free_pieces()), @"
        ..HxHmmmmmm..Hx.....Hx....Hx... and 3648 free
        176+32 0+32 352+64 240+80 448+3648
        ");
    }

    #[test]
    fn a_freed_piece_joins_both_neighbours_and_goes_to_the_class_of_all() {
        let mut drawn = Drawn::<SegregatedFit>::new(&SegregatedFitOptions::default(), 16);
        drawn.malloc_all("abcx", 16);
        drawn.free("ac");
        let before = drawn.draw();
        drawn.free("b");
        assert_snapshot!(format!("{before}\n{}", drawn.draw()), @"
        ..Hb..Hx... and 65408 free
        ......Hx... and 65408 free
        ");
    }

    #[test]
    fn an_aligned_block_leaves_its_lead_free() {
        let mut drawn = Drawn::<SegregatedFit>::new(&SegregatedFitOptions::default(), 16);
        drawn.malloc('a', 16);
        drawn.aligned('m', 256, 32);
        assert_snapshot!(drawn.draw(), @"Ha.............Hmm... and 65248 free");
    }

    #[test]
    fn realloc_grows_into_the_free_piece_above_and_moves_when_that_is_too_small() {
        let mut drawn = Drawn::<SegregatedFit>::new(&SegregatedFitOptions::default(), 16);
        drawn.malloc_all("abc", 48);
        drawn.free("b");
        drawn.realloc('a', 64);
        let grown = drawn.draw();
        drawn.realloc('a', 256);
        assert_snapshot!(format!("{grown}\n{}", drawn.draw()), @"
        Haaaa...Hccc... and 65344 free
        ........HcccHaaaaaaaaaaaaaaaa... and 65072 free
        ");
    }
}
