//! Private heaps: each thread has a heap of its own, and what it frees becomes its own. The contrast to `hoard`.
//!
//! # Models
//! "Pure private heaps" as Berger et al. call them (Hoard, ASPLOS 2000, section 2): STL's allocator, Cilk 4.1. A program in which one thread
//! allocates and another frees holds ever more memory: what is freed stays with the thread that does not need it.
//!
//! # Rules
//! 1. Classes are powers of two from 16 bytes to 32 KiB. Each thread has a list of free blocks for each class, last in, first out.
//! 2. A request takes the first block of the thread's list; else one is cut from the thread's region, in address order.
//! 3. A region has 64 KiB and is mapped when the last one is used up; it never goes back.
//! 4. A freed block goes to the list of the thread that frees it, whosever it was.
//! 5. Longer requests, and alignments beyond a page, are mappings of their own, in whole pages, and go back when they are freed.
//! 6. The lists and the region of a thread that ends stay, for a thread of the same number.
//! 7. `realloc` stays in place while the class is the same, else it moves.
//!
//! # Invariants
//! Verified by `check`: every block that was cut is live or on one list, of its own class; the counts are those of a walk.
//!
//! # Cost
//! O(1); 4 bytes for each 16 bytes of regions in use.
//!
//! # Left out
//! Everything that would bound what it holds.

use serde::{Deserialize, Serialize};

use super::aligned_map::map_aligned;
use super::block_map::BlockMap;
use super::{
    HeapAllocator, HeapFreeError, HeapSetting, HeapStats, MapRequest, OutOfMemory, Piece, PieceKind, ReallocError,
    SystemMemory,
};
use crate::registry::{BadOptions, Model};
use crate::{Address, ThreadId, Violation, ensure, index};

const SMALLEST_BYTES: u64 = 16;
const CLASSES: usize = 12;
const BLOCK_BYTES_MAX: u64 = SMALLEST_BYTES << (CLASSES - 1);
const REGION_BYTES: u64 = 64 << 10;
/// In `blocks`: the class of a block, and whether it is live.
const LIVE: u64 = 1 << 8;

/// See the [module page](self) for the rules.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PrivateHeaps {
    threads: Vec<Private>,
    /// Blocks of regions: [`LIVE`] or not, and the class.
    blocks: BlockMap,
    /// Starts of regions, in the order they came.
    regions: Vec<u64>,
    /// Blocks in mappings of their own: bytes.
    mapped: BlockMap,
    mapped_bytes: u64,
    live_blocks: u64,
    live_bytes: u64,
    /// Bytes of blocks that were cut.
    cut_bytes: u64,
}

/// The heap of one thread.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Private {
    /// By class, the next one last.
    free: Vec<Vec<u64>>,
    /// What is left of its region.
    next: u64,
    end: u64,
}

impl Private {
    fn empty() -> Private {
        Private { free: vec![Vec::new(); CLASSES], next: 0, end: 0 }
    }
}

/// None.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PrivateHeapsOptions {}

/// The class of a request; none where it is mapped.
fn class_of(bytes: u64) -> Option<usize> {
    let bytes = bytes.max(SMALLEST_BYTES).checked_next_power_of_two()?;
    (bytes <= BLOCK_BYTES_MAX).then(|| index((bytes / SMALLEST_BYTES).ilog2().into()))
}

const fn bytes_of(class: usize) -> u64 {
    SMALLEST_BYTES << class
}

impl Model<dyn HeapAllocator> for PrivateHeaps {
    const NAME: &'static str = "private_heaps";
    const SUMMARY: &'static str = "a heap for each thread, and nothing between them";
    const RULES: &'static str = "\
Each thread has lists of free blocks, one for each power of two, and regions
of 64 KiB that it cuts blocks from.
A freed block goes to the list of the thread that frees it. Where one thread
allocates and another frees, the first asks for ever more memory.";
    type Options = PrivateHeapsOptions;

    fn build(_setting: HeapSetting, _options: &PrivateHeapsOptions) -> Result<PrivateHeaps, BadOptions> {
        Ok(PrivateHeaps {
            threads: Vec::new(),
            blocks: BlockMap::new(SMALLEST_BYTES),
            regions: Vec::new(),
            mapped: BlockMap::new(1),
            mapped_bytes: 0,
            live_blocks: 0,
            live_bytes: 0,
            cut_bytes: 0,
        })
    }
}

impl HeapAllocator for PrivateHeaps {
    fn malloc(&mut self, thread: ThreadId, bytes: u64, os: &mut dyn SystemMemory) -> Result<Address, OutOfMemory> {
        let Some(class) = class_of(bytes) else { return self.map(bytes, os.page_bytes(), os) };
        let private = self.private(thread);
        let at = match private.free[class].pop() {
            Some(at) => {
                self.blocks.set(at, LIVE + class as u64);
                at
            }
            None => self.cut(thread, class, os)?,
        };
        self.live_blocks += 1;
        self.live_bytes += bytes_of(class);
        Ok(Address(at))
    }

    fn aligned_alloc(
        &mut self,
        thread: ThreadId,
        align: u64,
        bytes: u64,
        os: &mut dyn SystemMemory,
    ) -> Result<Address, OutOfMemory> {
        let align = align.checked_next_power_of_two().ok_or(OutOfMemory)?;
        // Blocks are multiples of their size: a longer one is aligned well enough.
        match class_of(bytes.max(align)) {
            Some(_) if align <= BLOCK_BYTES_MAX => self.malloc(thread, bytes.max(align), os),
            _ => self.map(bytes, align.max(os.page_bytes()), os),
        }
    }

    fn realloc(
        &mut self,
        thread: ThreadId,
        at: Address,
        bytes: u64,
        os: &mut dyn SystemMemory,
    ) -> Result<Option<Address>, ReallocError> {
        let usable = self.usable_size(at).ok_or(HeapFreeError(at))?;
        if class_of(bytes).is_some_and(|class| bytes_of(class) == usable) {
            return Ok(Some(at));
        }
        let to = self.malloc(thread, bytes, os)?;
        os.touch(to, usable.min(bytes));
        self.free(thread, at, os)?;
        Ok(Some(to))
    }

    fn free(&mut self, thread: ThreadId, at: Address, os: &mut dyn SystemMemory) -> Result<(), HeapFreeError> {
        if let Some(bytes) = self.mapped.remove(at.0) {
            self.mapped_bytes -= bytes;
            os.munmap(at, bytes);
            return Ok(());
        }
        let block = self.blocks.get(at.0).filter(|&block| block >= LIVE).ok_or(HeapFreeError(at))?;
        let class = index(block - LIVE);
        self.blocks.set(at.0, class as u64);
        self.live_blocks -= 1;
        self.live_bytes -= bytes_of(class);
        os.touch(at, 8);
        self.private(thread).free[class].push(at.0);
        Ok(())
    }

    fn usable_size(&self, at: Address) -> Option<u64> {
        let of_region = self.blocks.get(at.0).filter(|&block| block >= LIVE).map(|block| bytes_of(index(block - LIVE)));
        of_region.or_else(|| self.mapped.get(at.0))
    }

    fn stats(&self) -> HeapStats {
        let held = self.regions.len() as u64 * REGION_BYTES + self.mapped_bytes;
        let usable = self.live_bytes + self.mapped_bytes;
        HeapStats {
            blocks: self.live_blocks + self.mapped.len(),
            usable,
            overhead: 0,
            free: held - usable,
            cached: self.cut_bytes - self.live_bytes,
            in_page: 0,
            held,
        }
    }

    fn for_each_free(&self, visit: &mut dyn FnMut(Address, u64)) {
        self.for_each_piece(&mut |piece| {
            if matches!(piece.kind, PieceKind::Free | PieceKind::Cached) {
                visit(piece.at, piece.bytes);
            }
        });
    }

    fn for_each_piece(&self, visit: &mut dyn FnMut(Piece)) {
        let mut regions = self.regions.clone();
        regions.sort_unstable();
        let blocks: Vec<(u64, u64)> = self.blocks.iter().collect();
        let mut mapped = self.mapped.iter().peekable();
        let piece = |at, bytes, kind| Piece { at: Address(at), bytes, kind };
        for region in regions {
            while let Some((at, usable)) = mapped.next_if(|&(at, _)| at < region) {
                visit(piece(at, usable, PieceKind::Live { usable }));
            }
            let mut reached = region;
            let first = blocks.partition_point(|&(at, _)| at < region);
            for &(at, block) in blocks[first..].iter().take_while(|&&(at, _)| at < region + REGION_BYTES) {
                if at > reached {
                    visit(piece(reached, at - reached, PieceKind::Free));
                }
                let usable = bytes_of(index(block % LIVE));
                visit(piece(at, usable, if block >= LIVE { PieceKind::Live { usable } } else { PieceKind::Cached }));
                reached = at + usable;
            }
            if reached < region + REGION_BYTES {
                visit(piece(reached, region + REGION_BYTES - reached, PieceKind::Free));
            }
        }
        mapped.for_each(|(at, usable)| visit(piece(at, usable, PieceKind::Live { usable })));
    }

    fn check(&self) -> Result<(), Violation> {
        self.blocks.check()?;
        self.mapped.check()?;
        let of_blocks =
            |live: bool| self.blocks.iter().map(|(_, block)| block).filter(move |&block| (block >= LIVE) == live);
        let bytes = |live| of_blocks(live).map(|block| bytes_of(index(block % LIVE))).sum::<u64>();
        ensure((bytes(true), bytes(true) + bytes(false)) == (self.live_bytes, self.cut_bytes), || {
            format!("{} live and {} cut bytes counted", self.live_bytes, self.cut_bytes)
        })?;
        let mut listed = 0;
        for (class, &at) in self
            .threads
            .iter()
            .flat_map(|private| private.free.iter().enumerate())
            .flat_map(|(class, free)| free.iter().map(move |at| (class, at)))
        {
            ensure(self.blocks.get(at) == Some(class as u64), || format!("block {at:#x} is free in class {class}"))?;
            listed += 1;
        }
        let free = of_blocks(false).count();
        ensure(listed == free, || format!("{listed} blocks on lists, {free} free"))
    }
}

impl PrivateHeaps {
    fn private(&mut self, thread: ThreadId) -> &mut Private {
        let thread = index(thread.0.into());
        if self.threads.len() <= thread {
            self.threads.resize_with(thread + 1, Private::empty);
        }
        &mut self.threads[thread]
    }

    /// Cuts a block from the thread's region, at a multiple of its size; what is skipped becomes smaller blocks of the thread.
    fn cut(&mut self, thread: ThreadId, class: usize, os: &mut dyn SystemMemory) -> Result<u64, OutOfMemory> {
        let bytes = bytes_of(class);
        let Private { next, end, .. } = *self.private(thread);
        let at = next.next_multiple_of(bytes);
        if next != 0 && at + bytes <= end {
            self.fill(thread, next, at);
            self.private(thread).next = at + bytes;
            return Ok(self.note_cut(at, class));
        }
        let region = map_aligned(&MapRequest::anywhere(REGION_BYTES), REGION_BYTES, os)?;
        self.regions.push(region);
        self.fill(thread, next, end);
        let private = self.private(thread);
        (private.next, private.end) = (region + bytes, region + REGION_BYTES);
        Ok(self.note_cut(region, class))
    }

    fn note_cut(&mut self, at: u64, class: usize) -> u64 {
        self.cut_bytes += bytes_of(class);
        self.blocks.insert(at, LIVE + class as u64);
        at
    }

    /// Free blocks of the thread, each as long as its address and the end allow.
    fn fill(&mut self, thread: ThreadId, mut from: u64, to: u64) {
        while from < to {
            let classes = (0..CLASSES).rev();
            let fits = |&class: &usize| from.is_multiple_of(bytes_of(class)) && from + bytes_of(class) <= to;
            let class = classes.into_iter().find(fits).expect("regions are whole multiples of the smallest block");
            self.cut_bytes += bytes_of(class);
            self.blocks.insert(from, class as u64);
            self.private(thread).free[class].push(from);
            from += bytes_of(class);
        }
    }

    fn map(&mut self, bytes: u64, align: u64, os: &mut dyn SystemMemory) -> Result<Address, OutOfMemory> {
        let bytes = bytes.max(1).checked_next_multiple_of(os.page_bytes()).ok_or(OutOfMemory)?;
        let at = map_aligned(&MapRequest::anywhere(bytes), align, os)?;
        self.mapped.insert(at, bytes);
        self.mapped_bytes += bytes;
        Ok(Address(at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Coins;
    use crate::heap::flat_memory::FlatMemory;

    fn private_heaps() -> (PrivateHeaps, FlatMemory) {
        let setting = HeapSetting { coins: Coins::from_key([0; 32]) };
        let heap = PrivateHeaps::build(setting, &PrivateHeapsOptions::default()).unwrap();
        (heap, FlatMemory::at(Address(0x1_0000)))
    }

    #[test]
    fn a_block_belongs_to_the_thread_that_freed_it() {
        let (mut heap, mut memory) = private_heaps();
        let first = heap.malloc(ThreadId(0), 100, &mut memory).unwrap();
        heap.free(ThreadId(1), first, &mut memory).unwrap();
        assert_ne!(heap.malloc(ThreadId(0), 100, &mut memory), Ok(first));
        assert_eq!(heap.malloc(ThreadId(1), 100, &mut memory), Ok(first));
        heap.check().unwrap();
    }

    #[test]
    fn what_is_left_of_a_region_becomes_small_blocks() {
        let (mut heap, mut memory) = private_heaps();
        heap.malloc(ThreadId(0), 16, &mut memory).unwrap();
        heap.malloc(ThreadId(0), 128, &mut memory).unwrap();
        // From 16 to 128: blocks of 16, 32 and 64 bytes, free.
        assert_eq!(heap.stats().cached, 112);
        heap.check().unwrap();
        assert_eq!(heap.stats().held, REGION_BYTES);
        for _ in 0..3 {
            heap.malloc(ThreadId(0), 30_000, &mut memory).unwrap();
        }
        // The first one is the second half of the first region.
        assert_eq!(heap.stats().held, 2 * REGION_BYTES);
        heap.check().unwrap();
    }
}
