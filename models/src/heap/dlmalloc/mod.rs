//! dlmalloc 2.8.6: Doug Lea's allocator, address for address within its heap.
//!
//! # Models
//! Doug Lea, malloc.c, version 2.8.6 (2012), on 64 bits as it is built by default: contiguous `sbrk`, `mmap` for large blocks, no
//! footers, no locks. Functions are named where a rule is theirs. Options give the other builds.
//!
//! # Rules
//! Chunks. Sizes are multiples of 16, at least 32; 8 bytes of each are the allocator's (16 with `footers`). A block starts 16
//! bytes into its chunk and ends 8 bytes into the next one, whose first word belongs to it while it is in use.
//!
//! 1. Free chunks below 256 bytes are in a bin for each size, the newest first; larger ones in order of size (the trees), and the
//!    oldest first among equals. Two are in no bin: `dv`, the designated victim, which is what the last small split left;
//!    and `top`, which ends the newest segment.
//! 2. A small request (chunk below 256) takes a chunk of exactly its size. Otherwise, if it does not fit `dv`, it splits the
//!    next larger small chunk, or else the smallest tree chunk, and the rest is the new `dv` (`tmalloc_small`).
//! 3. A large request takes the smallest tree chunk that fits, unless `dv` fits as well or better; the rest goes to its bin
//!    (`tmalloc_large`).
//! 4. Then both try `dv`, then `top` (low part, never all of it), then the system. A rest below 32 bytes stays with the block.
//! 5. A freed chunk joins free neighbours at once. What joins `top` is top, what joins `dv` is dv; the rest goes to its bin
//!    (`dlfree`, `dispose_chunk`).
//! 6. `realloc` shrinks and grows in place where the chunk above is free and large enough; otherwise it is `malloc`, copy, `free`
//!    (`try_realloc_chunk`). `memalign` cuts its chunk out of one with room, and frees lead and tail (`internal_memalign`).
//!
//! What is asked of the kernel is on the page of `system`.
//!
//! # Invariants
//! Verified by `check`: chunks tile each segment but for the 80 bytes at its end, no two free ones touch, each is in the bin of its
//! size or is `dv` or `top`, and all marks are right.
//!
//! # Cost
//! `malloc` and `free` O(1) for small chunks, O(log sizes) for others. 40 bytes a chunk and 4 a 16-byte grain of live memory.
//!
//! # Left out
//! Independent arenas (`mspace`); memory that somebody else takes from the break between two calls. Simplified: a mapped aligned
//! block that `realloc` shrinks below its own offset is moved, where the original damages its heap.

mod system;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use self::system::{Mapped, Segment};
use super::tiling::{Bin, PieceId, Tiling};
use super::{
    HeapAllocator, HeapFreeError, HeapSetting, HeapStats, OutOfMemory, Piece, ReallocError, SystemMemory,
    show_ascending,
};
use crate::registry::{BadOptions, Model};
use crate::{Address, ThreadId, Violation, ensure, index};

const ALIGN: u64 = 16;
/// From the start of a chunk to its block.
const BLOCK_OFFSET: u64 = 16;
const CHUNK_BYTES_MIN: u64 = 32;
/// Chunks below it have a bin for each size.
const LARGE_BYTES_MIN: u64 = 256;
/// Bytes of the size word.
const WORD_BYTES: u64 = 8;

/// See the [module page](self) for the rules.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Dlmalloc {
    options: DlmallocOptions,
    tiling: Tiling,
    /// Free chunks of `16 * i` bytes.
    small: Vec<Bin>,
    /// Bit `i`: `small[i]` has a chunk.
    small_marks: u32,
    /// Free chunks from 256 bytes on, by size.
    trees: BTreeMap<u64, Bin>,
    dv: Option<PieceId>,
    top: Option<PieceId>,
    /// The oldest first; the newest one has the top.
    segments: Vec<Segment>,
    /// Blocks in mappings of their own, by address.
    mapped: BTreeMap<u64, Mapped>,
    mapped_usable: u64,
    /// Bytes of segments and mappings.
    held: u64,
    /// A top larger than this is trimmed.
    trim_check: u64,
    /// Frees of large chunks until unused segments are looked for.
    release_checks: u64,
    /// Whether the break is still asked to grow where it ended.
    is_contiguous: bool,
}

/// What a workload can set.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DlmallocOptions {
    /// Memory is taken from the kernel in multiples of this; a page where it is not given, 64 KiB without `use_break`.
    pub granularity_bytes: Option<u64>,
    /// Whether the heap grows by the break, or by mappings alone.
    pub use_break: bool,
    /// Chunks of this size or more are mappings of their own; never without.
    pub mmap_threshold_bytes: Option<u64>,
    /// A larger top is trimmed; never without.
    pub trim_threshold_bytes: Option<u64>,
    /// Frees of large chunks between two searches for unused segments.
    pub release_rate: u64,
    /// Whether each chunk ends with a word that checks it.
    pub footers: bool,
}

impl Default for DlmallocOptions {
    fn default() -> DlmallocOptions {
        DlmallocOptions {
            granularity_bytes: None,
            use_break: true,
            mmap_threshold_bytes: Some(256 * 1024),
            trim_threshold_bytes: Some(2 * 1024 * 1024),
            release_rate: 4095,
            footers: false,
        }
    }
}

impl Model<dyn HeapAllocator> for Dlmalloc {
    const NAME: &'static str = "dlmalloc";
    const SUMMARY: &'static str = "Doug Lea's allocator, version 2.8.6, to the address";
    const RULES: &'static str = "\
A small request takes a free chunk of exactly its size, the newest first.
Else it splits the designated victim (what the last split left), else the
smallest chunk that fits, and the rest is the new victim. A large request
takes the smallest chunk that fits, the oldest first. Then the top is cut;
then the break rises. Freed chunks join free neighbours at once.
From 256 KiB on a block is a mapping of its own. A top over 2 MiB is trimmed.

    aaabbbccc......   three blocks, the top is free
    aaa...ccc......   free b: its bin has one chunk
    aaaddvccc......   malloc d, smaller: b is split, v is the victim
    aaaddeccc......   malloc e: the victim again, next to the last block";
    type Options = DlmallocOptions;

    fn build(_setting: HeapSetting, options: &DlmallocOptions) -> Result<Dlmalloc, BadOptions> {
        options.validate()?;
        Ok(Dlmalloc {
            options: *options,
            tiling: Tiling::new(ALIGN),
            small: vec![Bin::default(); index(LARGE_BYTES_MIN / ALIGN)],
            small_marks: 0,
            trees: BTreeMap::new(),
            dv: None,
            top: None,
            segments: Vec::new(),
            mapped: BTreeMap::new(),
            mapped_usable: 0,
            held: 0,
            trim_check: options.trim_threshold_bytes.unwrap_or(u64::MAX),
            release_checks: options.release_rate,
            is_contiguous: options.use_break,
        })
    }
}

impl DlmallocOptions {
    fn validate(&self) -> Result<(), BadOptions> {
        if let Some(bytes) = self.granularity_bytes.filter(|bytes| !bytes.is_power_of_two() || *bytes < 4096) {
            let allowed = "memory is taken in a power of two, at least 4096".to_owned();
            return Err(BadOptions { option: "granularity_bytes", found: bytes.to_string(), allowed });
        }
        if self.release_rate == 0 {
            let allowed = "segments are looked at after at least 1 free".to_owned();
            return Err(BadOptions { option: "release_rate", found: "0".to_owned(), allowed });
        }
        Ok(())
    }

    /// Bytes of a chunk that its block cannot use.
    fn overhead(&self) -> u64 {
        if self.footers { 2 * WORD_BYTES } else { WORD_BYTES }
    }

    /// Bytes of the chunk for a request (`request2size`).
    fn chunk_bytes(&self, bytes: u64) -> Result<u64, OutOfMemory> {
        let padded = bytes.checked_add(self.overhead()).and_then(|sum| sum.checked_next_multiple_of(ALIGN));
        Ok(padded.ok_or(OutOfMemory)?.max(CHUNK_BYTES_MIN))
    }
}

/// Where a freed chunk went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Settled {
    Dv,
    Top,
    SmallBin,
    Tree,
}

impl HeapAllocator for Dlmalloc {
    fn malloc(&mut self, _thread: ThreadId, bytes: u64, os: &mut dyn SystemMemory) -> Result<Address, OutOfMemory> {
        let chunk_bytes = self.options.chunk_bytes(bytes)?;
        self.allocate(chunk_bytes, os)
    }

    fn calloc(
        &mut self,
        thread: ThreadId,
        count: u64,
        bytes: u64,
        os: &mut dyn SystemMemory,
    ) -> Result<Address, OutOfMemory> {
        let bytes = count.checked_mul(bytes).ok_or(OutOfMemory)?;
        let at = self.malloc(thread, bytes, os)?;
        // Fresh mappings are zero already.
        if !self.mapped.contains_key(&at.0) {
            os.touch(at, bytes);
        }
        Ok(at)
    }

    fn aligned_alloc(
        &mut self,
        thread: ThreadId,
        align: u64,
        bytes: u64,
        os: &mut dyn SystemMemory,
    ) -> Result<Address, OutOfMemory> {
        if align <= ALIGN {
            return self.malloc(thread, bytes, os);
        }
        let align = align.checked_next_power_of_two().ok_or(OutOfMemory)?.max(CHUNK_BYTES_MIN);
        let chunk_bytes = self.options.chunk_bytes(bytes)?;
        let slack = align.checked_add(CHUNK_BYTES_MIN - self.options.overhead()).ok_or(OutOfMemory)?;
        let request = chunk_bytes.checked_add(slack).ok_or(OutOfMemory)?;
        let roomy = self.options.chunk_bytes(request)?;
        let at = self.allocate(roomy, os)?;
        Ok(self.align_block(at, align, chunk_bytes, os))
    }

    fn realloc(
        &mut self,
        thread: ThreadId,
        at: Address,
        bytes: u64,
        os: &mut dyn SystemMemory,
    ) -> Result<Option<Address>, ReallocError> {
        let old_usable = self.usable_size(at).ok_or(HeapFreeError(at))?;
        let chunk_bytes = self.options.chunk_bytes(bytes)?;
        let kept = match self.tiling.find(at.0) {
            Some(chunk) => self.resize(chunk, chunk_bytes).then_some(at),
            None => self.resize_mapped(at, chunk_bytes, os),
        };
        if kept.is_some() {
            return Ok(kept);
        }
        let moved = self.malloc(thread, bytes, os)?;
        os.touch(moved, old_usable.min(bytes));
        self.free(thread, at, os)?;
        Ok(Some(moved))
    }

    fn free(&mut self, _thread: ThreadId, at: Address, os: &mut dyn SystemMemory) -> Result<(), HeapFreeError> {
        let Some(chunk) = self.tiling.make_free(at.0) else {
            return self.free_mapped(at, os);
        };
        match self.settle(chunk) {
            Settled::Top if self.top_bytes() > self.trim_check => self.trim(os),
            Settled::Tree => self.count_down_release(os),
            _ => {}
        }
        Ok(())
    }

    fn usable_size(&self, at: Address) -> Option<u64> {
        let in_chunk = self.tiling.find(at.0).map(|chunk| self.tiling.bytes(chunk) - self.options.overhead());
        in_chunk.or_else(|| self.mapped.get(&at.0).map(|mapped| mapped.usable(at)))
    }

    fn stats(&self) -> HeapStats {
        let in_chunks = self.tiling.live_bytes() - self.tiling.live_blocks() * self.options.overhead();
        let (usable, free) = (in_chunks + self.mapped_usable, self.tiling.free_bytes());
        let blocks = self.tiling.live_blocks() + self.mapped.len() as u64;
        HeapStats { blocks, usable, overhead: self.held - usable - free, free, cached: 0, in_page: 0, held: self.held }
    }

    fn for_each_free(&self, visit: &mut dyn FnMut(Address, u64)) {
        let binned = self.small.iter().chain(self.trees.values()).flat_map(|&bin| self.tiling.in_list(bin));
        for chunk in binned.chain(self.dv).chain(self.top) {
            // From its size word to that of the next chunk: the word before may be of a live block.
            visit(Address(self.tiling.start(chunk) + WORD_BYTES), self.tiling.bytes(chunk));
        }
    }

    fn for_each_piece(&self, visit: &mut dyn FnMut(Piece)) {
        let mut pieces = Vec::new();
        self.collect_chunks(&mut pieces);
        self.collect_mapped(&mut pieces);
        show_ascending(pieces, visit);
    }

    fn check(&self) -> Result<(), Violation> {
        self.tiling.check(|_, _| false)?;
        let mut listed = self.dv_bytes() + self.top_bytes();
        for (step, &bin) in (0_u64..).zip(&self.small) {
            let marked = self.small_marks >> step & 1 == 1;
            ensure(marked != bin.is_empty(), || format!("the mark of bin {} is {marked}", step * ALIGN))?;
            listed += self.check_bin(bin, step * ALIGN)?;
        }
        for (&bytes, &bin) in &self.trees {
            ensure(bytes >= LARGE_BYTES_MIN && !bin.is_empty(), || format!("a tree has no chunk of {bytes} bytes"))?;
            listed += self.check_bin(bin, bytes)?;
        }
        let free = self.tiling.free_bytes();
        ensure(listed == free, || format!("{listed} bytes in bins, dv and top; {free} are free"))?;
        self.check_segments()
    }
}

impl Dlmalloc {
    fn allocate(&mut self, chunk_bytes: u64, os: &mut dyn SystemMemory) -> Result<Address, OutOfMemory> {
        match self.take(chunk_bytes) {
            Some(chunk) => Ok(self.hand_out(chunk, os)),
            None => self.allocate_from_system(chunk_bytes, os),
        }
    }

    /// A chunk of that size out of what the heap holds, in no bin (rules 2 to 4).
    fn take(&mut self, bytes: u64) -> Option<PieceId> {
        let found = if bytes < LARGE_BYTES_MIN { self.take_small(bytes) } else { self.take_large(bytes) };
        found.or_else(|| self.take_from_dv(bytes)).or_else(|| self.take_from_top(bytes))
    }

    fn take_small(&mut self, bytes: u64) -> Option<PieceId> {
        if let Some(exact) = self.small[index(bytes / ALIGN)].first() {
            self.remove_free(exact);
            return Some(exact);
        }
        if bytes <= self.dv_bytes() {
            return None;
        }
        let larger = self.small_marks & (u32::MAX << (bytes / ALIGN));
        let bin = match larger {
            0 => self.trees.first_key_value().map(|(_, &bin)| bin)?,
            marks => self.small[index(marks.trailing_zeros().into())],
        };
        let chunk = bin.first()?;
        self.remove_free(chunk);
        if let Some(rest) = self.split_rest(chunk, bytes)
            && let Some(old) = self.dv.replace(rest)
        {
            self.insert_free(old);
        }
        Some(chunk)
    }

    fn take_large(&mut self, bytes: u64) -> Option<PieceId> {
        let (&best, bin) = self.trees.range(bytes..).next()?;
        let dv = self.dv_bytes();
        if dv >= bytes && dv <= best {
            return None;
        }
        let chunk = bin.first()?;
        self.remove_free(chunk);
        if let Some(rest) = self.split_rest(chunk, bytes) {
            self.insert_free(rest);
        }
        Some(chunk)
    }

    fn take_from_dv(&mut self, bytes: u64) -> Option<PieceId> {
        let dv = self.dv.filter(|&dv| bytes <= self.tiling.bytes(dv))?;
        self.dv = self.split_rest(dv, bytes);
        Some(dv)
    }

    fn take_from_top(&mut self, bytes: u64) -> Option<PieceId> {
        let top = self.top.filter(|&top| bytes < self.tiling.bytes(top))?;
        self.top = Some(self.tiling.split(top, bytes));
        Some(top)
    }

    /// Cuts what a chunk has beyond `bytes` bytes off, if a chunk can live there.
    fn split_rest(&mut self, chunk: PieceId, bytes: u64) -> Option<PieceId> {
        let is_worth = self.tiling.bytes(chunk) - bytes >= CHUNK_BYTES_MIN;
        is_worth.then(|| self.tiling.split(chunk, bytes))
    }

    /// Makes a chunk live. Its size word is written, and that of the rest behind it.
    fn hand_out(&mut self, chunk: PieceId, os: &mut dyn SystemMemory) -> Address {
        let start = self.tiling.start(chunk);
        self.tiling.make_live(chunk, start + BLOCK_OFFSET);
        os.touch(Address(start + WORD_BYTES), WORD_BYTES);
        os.touch(Address(self.tiling.end(chunk) + WORD_BYTES), WORD_BYTES);
        Address(start + BLOCK_OFFSET)
    }

    /// Joins a free chunk that is in no bin with its free neighbours, and puts it where it belongs (rule 5).
    fn settle(&mut self, freed: PieceId) -> Settled {
        let mut chunk = freed;
        if let Some(below) = self.tiling.free_below(chunk) {
            let is_dv = self.dv == Some(below);
            if !is_dv {
                self.remove_free(below);
            }
            self.tiling.join_above(below, chunk);
            chunk = below;
            if is_dv && self.tiling.free_above(chunk).is_none() {
                return Settled::Dv;
            }
        }
        let is_dv = self.dv == Some(chunk);
        match self.tiling.free_above(chunk) {
            Some(above) if self.top == Some(above) => {
                self.tiling.join_above(chunk, above);
                self.top = Some(chunk);
                self.dv = self.dv.filter(|_| !is_dv);
                return Settled::Top;
            }
            Some(above) if self.dv == Some(above) => {
                self.tiling.join_above(chunk, above);
                self.dv = Some(chunk);
                return Settled::Dv;
            }
            Some(above) => {
                self.remove_free(above);
                self.tiling.join_above(chunk, above);
            }
            None => {}
        }
        if is_dv { Settled::Dv } else { self.insert_free(chunk) }
    }

    /// Frees what a live chunk has beyond `bytes` bytes, without trimming (`dispose_chunk`).
    fn dispose_rest(&mut self, chunk: PieceId, bytes: u64) {
        if let Some(rest) = self.split_rest(chunk, bytes) {
            self.settle(rest);
        }
    }

    /// Makes a live chunk as large as asked where it is; whether that could be (rule 6).
    fn resize(&mut self, chunk: PieceId, bytes: u64) -> bool {
        let old_bytes = self.tiling.bytes(chunk);
        if bytes <= old_bytes {
            self.dispose_rest(chunk, bytes);
            return true;
        }
        let Some(above) = self.tiling.free_above(chunk) else { return false };
        let joined = old_bytes + self.tiling.bytes(above);
        if self.top == Some(above) {
            if joined <= bytes {
                return false;
            }
            self.tiling.join_above(chunk, above);
            self.top = Some(self.tiling.split(chunk, bytes));
            return true;
        }
        if joined < bytes {
            return false;
        }
        if self.dv == Some(above) {
            self.tiling.join_above(chunk, above);
            self.dv = self.split_rest(chunk, bytes);
        } else {
            self.remove_free(above);
            self.tiling.join_above(chunk, above);
            self.dispose_rest(chunk, bytes);
        }
        true
    }

    /// Moves a block up to a multiple of `align` within its chunk and gives lead and tail back.
    fn align_block(&mut self, at: Address, align: u64, chunk_bytes: u64, os: &mut dyn SystemMemory) -> Address {
        let aligned = match at.0.next_multiple_of(align) {
            aligned if aligned == at.0 || aligned - at.0 >= CHUNK_BYTES_MIN => aligned,
            near => near + align,
        };
        os.touch(Address(aligned - BLOCK_OFFSET), BLOCK_OFFSET);
        let Some(chunk) = self.tiling.find(at.0) else {
            return self.move_mapped(at, Address(aligned));
        };
        let mut block = chunk;
        if aligned > at.0 {
            self.tiling.make_free(at.0);
            block = self.tiling.split(chunk, aligned - at.0);
            self.tiling.make_live(block, aligned);
            self.settle(chunk);
        }
        if self.tiling.bytes(block) > chunk_bytes + CHUNK_BYTES_MIN {
            self.dispose_rest(block, chunk_bytes);
        }
        Address(aligned)
    }

    fn insert_free(&mut self, chunk: PieceId) -> Settled {
        let bytes = self.tiling.bytes(chunk);
        if bytes < LARGE_BYTES_MIN {
            self.tiling.push_first(&mut self.small[index(bytes / ALIGN)], chunk);
            self.small_marks |= 1 << (bytes / ALIGN);
            Settled::SmallBin
        } else {
            self.tiling.push_last(self.trees.entry(bytes).or_default(), chunk);
            Settled::Tree
        }
    }

    fn remove_free(&mut self, chunk: PieceId) {
        let bytes = self.tiling.bytes(chunk);
        if bytes < LARGE_BYTES_MIN {
            let bin = &mut self.small[index(bytes / ALIGN)];
            self.tiling.unlink(bin, chunk);
            if bin.is_empty() {
                self.small_marks &= !(1 << (bytes / ALIGN));
            }
            return;
        }
        let bin = self.trees.get_mut(&bytes).expect("a free chunk is in the tree of its size");
        self.tiling.unlink(bin, chunk);
        if bin.is_empty() {
            self.trees.remove(&bytes);
        }
    }

    fn dv_bytes(&self) -> u64 {
        self.dv.map_or(0, |dv| self.tiling.bytes(dv))
    }

    fn top_bytes(&self) -> u64 {
        self.top.map_or(0, |top| self.tiling.bytes(top))
    }

    fn check_bin(&self, bin: Bin, bytes: u64) -> Result<u64, Violation> {
        let mut sum = 0;
        for chunk in self.tiling.in_list(bin) {
            let found = self.tiling.bytes(chunk);
            ensure(found == bytes, || format!("a chunk of {found} bytes is in the bin for {bytes}"))?;
            sum += bytes;
        }
        Ok(sum)
    }
}

#[cfg(test)]
mod tests;
