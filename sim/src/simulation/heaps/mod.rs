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
//! O(1) a call: some additions and one division. What changes with every call is added up by differences; held, mapped and resident
//! memory only where they have changed. Header, cache and free in page are asked for at the moments of which they are told: until
//! then a process whose heap was called stands in a list of its group, at most [`UNTOLD_MOST`] of them.

mod classes;
mod report;

use framesim_models::heap::{HeapAllocator, HeapStats};
use framesim_models::kernel::SystemCall;
use framesim_models::metrics::Ratio;
use framesim_models::{Nanos, Violation, ensure};
use serde::{Deserialize, Serialize};

pub(super) use classes::{BlockChange, Live, ProcessClasses};
pub use report::{FootprintRatios, HeapLevels, HeapMeans, HeapMoment, HeapSummary, LargestProcess, SizeClass};

use super::process::ProcessId;
use classes::GroupClasses;

/// Processes of a group whose heaps were called and not yet asked for what they hold beside blocks.
const UNTOLD_MOST: usize = 64;

/// What a process holds, as counted after its last call; or what several of them hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Holdings {
    pub live: Live,
    pub footprint: Footprint,
    pub bound: Bound,
}

/// What most calls leave as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Footprint {
    /// Bytes the heap holds.
    pub heap_bytes: u64,
    pub mapped_pages: u64,
    pub resident_pages: u64,
    /// Lazily freed pages.
    pub lazy_pages: u64,
}

/// Of what a heap holds: headers and tables, caches, and free memory that is bound to a size class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Bound {
    pub overhead_bytes: u64,
    pub cached_bytes: u64,
    pub in_page_bytes: u64,
}

/// The whole once a part of it has changed.
#[inline]
fn replaced(whole: u64, old: u64, new: u64) -> u64 {
    whole.wrapping_add(new.wrapping_sub(old))
}

impl Footprint {
    /// Takes the difference of a part into the whole.
    pub fn replace(&mut self, old: &Footprint, new: &Footprint) {
        self.heap_bytes = replaced(self.heap_bytes, old.heap_bytes, new.heap_bytes);
        self.mapped_pages = replaced(self.mapped_pages, old.mapped_pages, new.mapped_pages);
        self.resident_pages = replaced(self.resident_pages, old.resident_pages, new.resident_pages);
        self.lazy_pages = replaced(self.lazy_pages, old.lazy_pages, new.lazy_pages);
    }
}

impl Bound {
    /// What the heap says.
    pub fn of(stats: &HeapStats) -> Bound {
        Bound { overhead_bytes: stats.overhead, cached_bytes: stats.cached, in_page_bytes: stats.in_page }
    }

    /// Takes the difference of a part into the whole.
    pub fn replace(&mut self, old: &Bound, new: &Bound) {
        self.overhead_bytes = replaced(self.overhead_bytes, old.overhead_bytes, new.overhead_bytes);
        self.cached_bytes = replaced(self.cached_bytes, old.cached_bytes, new.cached_bytes);
        self.in_page_bytes = replaced(self.in_page_bytes, old.in_page_bytes, new.in_page_bytes);
    }
}

impl Holdings {
    /// Adds those of a process.
    pub fn add(&mut self, other: &Holdings) {
        self.live = self.live.plus(other.live);
        self.footprint.replace(&Footprint::default(), &other.footprint);
        self.bound.replace(&Bound::default(), &other.bound);
    }

    /// The identity of the module page, part by part, with what the heap itself says; and that what is counted is what it says.
    ///
    /// # Errors
    /// What does not add up.
    pub fn check(&self, heap: &dyn HeapAllocator) -> Result<(), Violation> {
        let (stats, totals) = (heap.stats(), heap.totals());
        ensure(totals == stats.totals(), || format!("the heap's totals are {totals:?} of {stats:?}"))?;
        let counted = (self.live.blocks, self.live.usable, self.footprint.heap_bytes);
        let is_counted = counted == (stats.blocks, stats.usable, stats.held);
        ensure(is_counted, || format!("blocks, usable and held are counted as {counted:?} of {stats:?}"))?;
        let levels = HeapLevels::of(&Holdings { bound: Bound::of(&stats), ..*self }, 1);
        let (live, usable) = (self.live.asked, self.live.usable);
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
    /// Bound memory but of those that are untold: of them it is what they told last.
    now: Holdings,
    /// Processes whose bound memory may have changed since it was told. One that has ended since may be among them.
    untold: Vec<ProcessId>,
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

/// What a call did to what a process holds.
pub(super) struct Called<'a> {
    pub time: Nanos,
    /// By how much the live blocks changed, wrapping around.
    pub live: Live,
    /// What the process held otherwise, before and after, where that has changed.
    pub footprint: Option<(&'a Footprint, &'a Footprint)>,
    /// What it did to a block.
    pub block: Option<(&'a mut ProcessClasses, BlockChange)>,
    /// The block that it resized, as it was.
    pub resized: &'a Live,
}

/// Which moments a call has made: they are to be kept, once all bound memory is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Moments {
    most_live: bool,
    most_held: bool,
    largest: bool,
}

impl Moments {
    #[inline]
    pub fn are_any(self) -> bool {
        self != Moments::default()
    }
}

/// Sums of values times weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Means {
    /// The weight since held or resident memory changed last, which most calls do not: not yet in their sums. Of it, the
    /// weight while anything was live.
    steady: u64,
    steady_live: u64,
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
            self.steady_live += weight;
            self.ratio_ppm += u128::from(ratio) * u128::from(weight);
        }
    }

    /// Takes the steady weight into all sums: the values are about to change, or to be told.
    fn settle(&mut self, footprint: &Footprint) {
        let weight = u128::from(std::mem::take(&mut self.steady));
        self.weight += weight;
        self.held += weight * u128::from(footprint.heap_bytes);
        self.resident_pages += weight * u128::from(footprint.resident_pages);
        self.live_weight += u128::from(std::mem::take(&mut self.steady_live));
    }
}

impl HeapTally {
    /// A process of the group called its heap for the first time.
    pub fn heap_made(&mut self) {
        self.processes += 1;
    }

    /// A call has changed what a process holds. Moments that this makes are for [`HeapTally::keep`].
    #[inline]
    pub fn called(&mut self, called: Called<'_>) -> Moments {
        self.pass_time(called.time);
        let is_call = called.block.is_some();
        if let Some((process, change)) = called.block {
            self.classes.change(process, change, called.live.usable, called.resized);
        }
        let mut moments = Moments::default();
        if let Some((before, after)) = called.footprint {
            self.replace_footprint(before, after);
            moments.most_held = self.now.footprint.heap_bytes > self.most_held.holdings.footprint.heap_bytes;
            moments.largest = after.heap_bytes > self.largest.1.holdings.footprint.heap_bytes;
        }
        self.now.live.change(called.live.blocks, called.live.asked, called.live.usable);
        self.ratio_ppm = ratio_ppm(self.now.footprint.heap_bytes, self.now.live.asked);
        if is_call {
            self.by_call.add(1, self.ratio_ppm);
        }
        moments.most_live = self.now.live.asked > self.most_live.holdings.live.asked;
        moments
    }

    /// Whether the list of those that are untold is as long as it may get.
    #[inline]
    pub fn note_untold(&mut self, process: ProcessId) -> bool {
        self.untold.push(process);
        self.untold.len() >= UNTOLD_MOST
    }

    /// Those that are untold; from now on there are none.
    pub fn take_untold(&mut self) -> Vec<ProcessId> {
        std::mem::take(&mut self.untold)
    }

    /// Gives the list back, for its memory.
    pub fn untold_was(&mut self, mut list: Vec<ProcessId>) {
        list.clear();
        self.untold = list;
    }

    /// A process tells what of its heap is bound.
    pub fn tell(&mut self, before: &Bound, after: &Bound) {
        self.now.bound.replace(before, after);
    }

    /// Keeps the moments that a call of the `ordinal`-th process has made; all bound memory is told.
    pub fn keep(&mut self, moments: Moments, process: &Holdings, ordinal: u32) {
        let moment = |holdings: &Holdings| Moment { time: self.since, holdings: *holdings };
        if moments.largest {
            self.largest = (ordinal, moment(process));
        }
        let now = moment(&self.now);
        if moments.most_held {
            self.most_held = now;
        }
        if moments.most_live {
            self.most_live = now;
            self.classes.is_most_live();
        }
    }

    /// A process ends, with all that it held.
    pub fn ended(&mut self, time: Nanos, held: &Holdings, blocks: Option<&ProcessClasses>, calls: &[u64]) {
        self.pass_time(time);
        if let Some(blocks) = blocks {
            self.classes.end(blocks);
        }
        self.replace_footprint(&held.footprint, &Footprint::default());
        self.now.live = self.now.live.minus(held.live);
        self.now.bound.replace(&held.bound, &Bound::default());
        self.ratio_ppm = ratio_ppm(self.now.footprint.heap_bytes, self.now.live.asked);
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

    #[cold]
    fn replace_footprint(&mut self, before: &Footprint, after: &Footprint) {
        self.by_time.settle(&self.now.footprint);
        self.by_call.settle(&self.now.footprint);
        self.now.footprint.replace(before, after);
        self.resident_pages_peak = self.resident_pages_peak.max(self.now.footprint.resident_pages);
    }

    /// What the processes hold together, once all bound memory is told.
    pub fn now(&self) -> &Holdings {
        &self.now
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
