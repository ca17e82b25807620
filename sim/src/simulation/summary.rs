//! What a run comes to, in integers: levels and their peaks, fragmentation, failures, and who did the work.

use std::collections::BTreeMap;

use framesim_models::Nanos;
use framesim_models::kernel::Region;
use framesim_models::metrics::{self, Ratio};
use serde::{Deserialize, Serialize};

use super::happened::{Cause, Refusal};

/// What a run comes to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Simulated time, from the start to the last event or the workload's `until`.
    pub time: Nanos,
    /// Why the run stands where it stands.
    pub state: RunState,
    /// Events.
    pub events: u64,
    /// Frames of the machine.
    pub frames: u64,
    /// Bytes of a frame.
    pub page_bytes: u64,
    /// Where each level is now.
    pub now: Levels,
    /// The highest each level ever was; of free frames and the longest free run the lowest.
    pub peak: Levels,
    /// When external fragmentation was worst.
    pub worst: Option<Worst>,
    /// Free blocks and the indices of Linux for each order, now.
    pub orders: Vec<Order>,
    /// Frames by what they are used for, now and when they were most.
    pub regions: Vec<RegionFrames>,
    /// Who did the work.
    pub calls: Calls,
    /// Requests that were refused.
    pub failures: Failures,
    /// Waiting for memory.
    pub waits: Waits,
    /// Processes that came and went.
    pub processes: ProcessCounts,
    /// Threads beside the main ones.
    pub threads: ThreadCounts,
    /// What the processors did.
    pub processors: ProcessorCounts,
}

/// Why a run stands where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// There is more to come.
    Going,
    /// All processes have ended.
    Done,
    /// The workload's `until` was reached.
    TimeOver,
    /// Every process that is left waits for memory that nobody will free.
    Stuck,
}

/// Levels of the whole machine at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Levels {
    /// Bytes that programs asked for and have not given back.
    pub live_bytes: u64,
    /// Bytes of their blocks that programs could use: `live_bytes` and what rounding adds.
    pub usable_bytes: u64,
    /// Bytes that heaps hold.
    pub heap_bytes: u64,
    /// Bytes of address space.
    pub mapped_bytes: u64,
    /// Bytes of frames that back address space.
    pub resident_bytes: u64,
    /// Of them, bytes that the kernel may take back at any time.
    pub lazy_bytes: u64,
    /// Free frames.
    pub free_frames: u64,
    /// Frames of the longest free run (of the largest free block for buddy).
    pub longest_run: u64,
    /// Frames of the largest request that would succeed if all free frames lay together.
    pub longest_together: u64,
    /// Free runs.
    pub holes: u64,
    /// Processes alive.
    pub processes: u64,
    /// Their threads, the main ones included.
    pub threads: u64,
}

impl Levels {
    /// What scattering costs: 1 - the largest request that would succeed, to the largest that would if all free frames lay
    /// together. For a policy without blocks: the part of free memory outside the longest free run.
    #[must_use]
    pub fn external_fragmentation(&self) -> Ratio {
        metrics::external_fragmentation(self.longest_run, self.longest_together)
    }

    /// The part of the blocks' bytes that nobody asked for.
    #[must_use]
    pub fn internal_fragmentation(&self) -> Ratio {
        metrics::internal_fragmentation(self.live_bytes, self.usable_bytes)
    }

    /// Raises each level to that of `now`, and lowers those of which the low is what hurts.
    #[inline]
    pub(super) fn include(&mut self, now: &Levels) {
        self.include_bytes(now);
        self.free_frames = self.free_frames.min(now.free_frames);
        self.longest_run = self.longest_run.min(now.longest_run);
        self.longest_together = self.longest_together.min(now.longest_together);
        self.holes = self.holes.max(now.holes);
        self.processes = self.processes.max(now.processes);
        self.threads = self.threads.max(now.threads);
    }

    /// The same for levels that do not depend on frames.
    #[inline]
    pub(super) fn include_bytes(&mut self, now: &Levels) {
        self.live_bytes = self.live_bytes.max(now.live_bytes);
        self.usable_bytes = self.usable_bytes.max(now.usable_bytes);
        self.heap_bytes = self.heap_bytes.max(now.heap_bytes);
        self.mapped_bytes = self.mapped_bytes.max(now.mapped_bytes);
        self.resident_bytes = self.resident_bytes.max(now.resident_bytes);
        self.lazy_bytes = self.lazy_bytes.max(now.lazy_bytes);
    }
}

/// The first moment at which external fragmentation was as high as it ever got, in steps of a thousandth.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Worst {
    /// When.
    pub time: Nanos,
    /// The levels then.
    pub levels: Levels,
    /// Free blocks and the indices of Linux then.
    pub orders: Vec<Order>,
}

/// One order of free blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Blocks of `2^order` frames.
    pub order: u32,
    /// How many are free.
    pub free_blocks: u64,
    /// Thousandths of free memory that cannot serve a request of this order.
    pub unusable_free_index: u64,
    /// Why a request of this order would fail: towards 0 for want of memory, towards 1000 because it is scattered; -1000 when it
    /// would succeed.
    pub fragmentation_index: i64,
}

/// Frames used for one thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegionFrames {
    /// What for.
    pub region: Region,
    /// Frames now.
    pub now: u64,
    /// The most there were.
    pub peak: u64,
}

/// Who did the work.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Calls {
    /// Blocks asked for: malloc, calloc, aligned and growing or shrinking realloc.
    pub mallocs: u64,
    /// Of them, those that made a system call.
    pub mallocs_by_kernel: u64,
    /// Of the mallocs, reallocs.
    pub reallocs: u64,
    /// Blocks given back.
    pub frees: u64,
    /// System calls by name.
    pub system_calls: BTreeMap<&'static str, u64>,
    /// Page faults.
    pub faults: u64,
    /// Pages that were zeroed.
    pub zeroed_pages: u64,
    /// Lazily freed pages that the kernel took because memory was short.
    pub reclaimed_pages: u64,
    /// Frames handed out and taken back.
    pub frames_moved: u64,
}

/// Requests that were refused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failures {
    /// All of them.
    pub total: u64,
    /// Of those, for want of frames.
    pub shortage: u64,
    /// Because the free frames were scattered.
    pub fragmentation: u64,
    /// Because no memory, or no block of the policy, is that large.
    pub too_large: u64,
    /// Because the address space or a limit did not allow it.
    pub address_space: u64,
    /// By what the memory was for.
    pub regions: BTreeMap<Region, u64>,
    /// The first one.
    pub first: Option<(Nanos, Refusal)>,
}

impl Failures {
    pub(super) fn count(&mut self, now: Nanos, refusal: Refusal) {
        self.total += 1;
        *match refusal.cause {
            Cause::Shortage => &mut self.shortage,
            Cause::Fragmentation => &mut self.fragmentation,
            Cause::TooLarge => &mut self.too_large,
            Cause::AddressSpace => &mut self.address_space,
        } += 1;
        *self.regions.entry(refusal.region).or_default() += 1;
        self.first.get_or_insert((now, refusal));
    }
}

/// Waiting for memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waits {
    /// Requests that waited and went on.
    pub ended: u64,
    /// How long they waited together.
    pub total: Nanos,
    /// The longest of these waits.
    pub longest: Nanos,
    /// Processes that wait now.
    pub waiting: u64,
    /// The most that waited at once.
    pub waiting_peak: u64,
    /// Because of a shortage, at first.
    pub shortage: u64,
    /// Because of fragmentation, at first.
    pub fragmentation: u64,
}

/// Processes that came and went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessCounts {
    /// Arrivals and spawns.
    pub arrived: u64,
    /// Of those, processes that got their memory and started.
    pub started: u64,
    /// Processes that ended by themselves.
    pub exited: u64,
    /// Processes that the kernel ended because memory was short.
    pub killed: u64,
}

/// Threads beside the main ones that came and went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThreadCounts {
    /// Threads that were started.
    pub started: u64,
    /// Of them, those that ended before their process.
    pub ended: u64,
}

/// What the processors did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessorCounts {
    /// Time they worked, together.
    pub busy: Nanos,
    /// Switches from one process to another.
    pub context_switches: u64,
}
