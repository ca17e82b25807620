//! What heaps hold and waste, counted as the run goes on.
//!
//! # Terms
//! All bytes that a heap has taken from the kernel and not given back (**held**) are one of these, at every moment:
//!
//! | part | is | counted by |
//! |---|---|---|
//! | **live** | what the program asked for and has not freed | the simulation |
//! | **rounding** | what its blocks can hold beyond that: usable - asked | both |
//! | **header** | headers, tables, what blocks cost beside their usable bytes | the heap: `overhead` |
//! | **cache** | free blocks in caches of threads and size classes | the heap: `cached` |
//! | **free in page** | free memory of a slab or span in use for one size class | the heap: `in_page` |
//! | **external** | all other free memory: free chunks, top, address space in reserve | the heap: the rest of `free` |
//!
//! Internal fragmentation is rounding, header, cache and free in page together.
//!
//! **Invariant.** `live + internal + external = held`, for each process at every step: asserted after every call in debug builds and by
//! [`Simulation::check`](super::Simulation::check), which holds it against the heap's pieces too.
//!
//! **Mapped**, **resident** and **lazily freed** are the kernel's numbers for the process, without its program's image: pages of
//! its address space (the stacks of threads among them), those with a frame, and those of them that the kernel may take back.
//!
//! # Cost
//! O(1) a call: some additions and one division.

mod classes;
mod report;

use framesim_models::heap::HeapStats;
use framesim_models::kernel::SystemCall;
use framesim_models::metrics::Ratio;
use framesim_models::{Nanos, Violation, ensure};
use serde::{Deserialize, Serialize};

pub(super) use classes::{BlockChange, ProcessClasses};
pub use report::{FootprintRatios, HeapLevels, HeapMeans, HeapMoment, HeapSummary, LargestProcess, SizeClass};

use classes::GroupClasses;

/// What a process holds, as counted after its last call; or what several of them hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Holdings {
    /// Live blocks.
    pub blocks: u64,
    /// Bytes asked for of live blocks.
    pub live_bytes: u64,
    /// Usable bytes of live blocks.
    pub usable_bytes: u64,
    /// Bytes the heap holds.
    pub heap_bytes: u64,
    /// Of them, headers and tables, caches, and free memory that is bound to a size class.
    pub overhead_bytes: u64,
    pub cached_bytes: u64,
    pub in_page_bytes: u64,
    pub mapped_pages: u64,
    pub resident_pages: u64,
    /// Lazily freed pages.
    pub lazy_pages: u64,
}

impl Holdings {
    /// Takes the difference of a part into the whole.
    #[inline]
    pub fn replace(&mut self, old: &Holdings, new: &Holdings) {
        let replaced = |whole: u64, old: u64, new: u64| whole.wrapping_add(new.wrapping_sub(old));
        self.blocks = replaced(self.blocks, old.blocks, new.blocks);
        self.live_bytes = replaced(self.live_bytes, old.live_bytes, new.live_bytes);
        self.usable_bytes = replaced(self.usable_bytes, old.usable_bytes, new.usable_bytes);
        self.heap_bytes = replaced(self.heap_bytes, old.heap_bytes, new.heap_bytes);
        self.overhead_bytes = replaced(self.overhead_bytes, old.overhead_bytes, new.overhead_bytes);
        self.cached_bytes = replaced(self.cached_bytes, old.cached_bytes, new.cached_bytes);
        self.in_page_bytes = replaced(self.in_page_bytes, old.in_page_bytes, new.in_page_bytes);
        self.mapped_pages = replaced(self.mapped_pages, old.mapped_pages, new.mapped_pages);
        self.resident_pages = replaced(self.resident_pages, old.resident_pages, new.resident_pages);
        self.lazy_pages = replaced(self.lazy_pages, old.lazy_pages, new.lazy_pages);
    }

    /// Takes in what the heap says.
    #[inline]
    pub fn take_stats(&mut self, stats: &HeapStats) {
        self.blocks = stats.blocks;
        self.usable_bytes = stats.usable;
        self.heap_bytes = stats.held;
        self.overhead_bytes = stats.overhead;
        self.cached_bytes = stats.cached;
        self.in_page_bytes = stats.in_page;
    }

    /// The identity of the module page, part by part, with what the heap itself says is free.
    ///
    /// # Errors
    /// What does not add up.
    pub fn check(&self, stats: &HeapStats) -> Result<(), Violation> {
        let levels = HeapLevels::of(self, 1);
        let (live, usable) = (self.live_bytes, self.usable_bytes);
        ensure(live <= usable, || format!("{live} bytes were asked for of blocks with {usable} usable bytes"))?;
        let bound = stats.cached + stats.in_page;
        let external = stats.free.checked_sub(bound);
        let external = external.ok_or_else(|| Violation(format!("{bound} bytes are cached or in pages: {stats:?}")))?;
        let parts = live + levels.internal_bytes + external;
        ensure(parts == stats.held, || format!("live, internal and external are {parts} bytes of {stats:?}"))?;
        let told = levels.external_bytes;
        ensure(told == external, || format!("{told} bytes are told to be external, {external} are"))
    }
}

/// A moment of a group of processes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Moment {
    time: Nanos,
    holdings: Holdings,
}

/// What the heaps of a group hold together, and how that was over time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct HeapTally {
    now: Holdings,
    most_live: Moment,
    most_held: Moment,
    /// The most each level ever was, by itself.
    resident_pages_peak: u64,
    /// The process that ever held most, by its number in the group, at its moment of most held memory.
    largest: (u32, Moment),
    classes: GroupClasses,
    by_time: Means,
    by_call: Means,
    /// Held to live now, in millionths; `None` while nothing is live.
    ratio_ppm: Option<u64>,
    /// When the values of now began.
    since: Nanos,
    /// Processes that called their heap.
    processes: u64,
    /// System calls of processes that have ended, by kind.
    calls: [u64; SystemCall::ALL.len()],
}

/// Sums of values times weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Means {
    /// The weight since held or resident memory changed last, which most calls do not: not yet in their sums.
    steady: u64,
    weight: u128,
    held: u128,
    resident_pages: u128,
    /// While anything was live: the weight, and the sum of held to live in millionths.
    live_weight: u128,
    ratio_ppm: u128,
}

impl Means {
    #[inline]
    fn add(&mut self, weight: u64, ratio_ppm: Option<u64>) {
        self.steady += weight;
        if let Some(ratio) = ratio_ppm {
            self.live_weight += u128::from(weight);
            self.ratio_ppm += u128::from(ratio) * u128::from(weight);
        }
    }

    /// Takes the steady weight into all sums: the values are about to change, or to be told.
    #[inline]
    fn settle(&mut self, holdings: &Holdings) {
        let weight = u128::from(std::mem::take(&mut self.steady));
        self.weight += weight;
        self.held += weight * u128::from(holdings.heap_bytes);
        self.resident_pages += weight * u128::from(holdings.resident_pages);
    }
}

impl HeapTally {
    /// A process of the group called its heap for the first time.
    pub fn heap_made(&mut self) {
        self.processes += 1;
    }

    /// A call has changed what a process holds. `change` is what it did to a block.
    #[inline]
    pub fn called(
        &mut self,
        time: Nanos,
        before: &Holdings,
        after: &Holdings,
        blocks: Option<(&mut ProcessClasses, BlockChange)>,
        ordinal: u32,
    ) {
        self.pass_time(time);
        let is_call = blocks.is_some();
        if let Some((process, change)) = blocks {
            self.classes.change(process, change, after.usable_bytes.wrapping_sub(before.usable_bytes));
        }
        self.replace(before, after);
        if is_call {
            self.by_call.add(1, self.ratio_ppm);
        }
        if after.heap_bytes > self.largest.1.holdings.heap_bytes {
            self.largest = (ordinal, Moment { time, holdings: *after });
        }
    }

    /// A process ends, with all that it held.
    pub fn ended(&mut self, time: Nanos, held: &Holdings, blocks: Option<&ProcessClasses>, calls: &[u64]) {
        self.pass_time(time);
        if let Some(blocks) = blocks {
            self.classes.end(blocks);
        }
        self.replace(held, &Holdings::default());
        for (sum, calls) in self.calls.iter_mut().zip(calls) {
            *sum += calls;
        }
    }

    #[inline]
    fn pass_time(&mut self, time: Nanos) {
        let weight = time.0 - self.since.0;
        if weight > 0 {
            self.by_time.add(weight, self.ratio_ppm);
            self.since = time;
        }
    }

    #[inline]
    fn replace(&mut self, before: &Holdings, after: &Holdings) {
        if before.heap_bytes != after.heap_bytes || before.resident_pages != after.resident_pages {
            self.by_time.settle(&self.now);
            self.by_call.settle(&self.now);
        }
        self.now.replace(before, after);
        self.ratio_ppm = ratio_ppm(self.now.heap_bytes, self.now.live_bytes);
        self.resident_pages_peak = self.resident_pages_peak.max(self.now.resident_pages);
        if self.now.live_bytes > self.most_live.holdings.live_bytes {
            self.most_live = Moment { time: self.since, holdings: self.now };
            self.classes.is_most_live();
        }
        if self.now.heap_bytes > self.most_held.holdings.heap_bytes {
            self.most_held = Moment { time: self.since, holdings: self.now };
        }
    }

    /// Whether what is counted for the group is what its processes hold.
    pub fn check(&self, processes: &Holdings, blocks: &ProcessClasses) -> Result<(), Violation> {
        let counted = &self.now;
        ensure(counted == processes, || format!("processes of a group hold {processes:?}, counted are {counted:?}"))?;
        let is_counted = self.classes.is_now(blocks);
        ensure(is_counted, || format!("blocks by class are {blocks:?}, counted are {:?}", self.classes))
    }
}

/// Held to live in millionths, rounded down. A held of 2^44 bytes and more takes the long way.
#[inline]
fn ratio_ppm(held: u64, live: u64) -> Option<u64> {
    match held.checked_mul(1_000_000) {
        Some(scaled) => scaled.checked_div(live),
        None => Ratio::new(u128::from(held), u128::from(live)).map(Ratio::ppm),
    }
}
