//! Counting as the run goes on: a few additions an event, nothing that is proportional to anything.

use framesim_models::frames::FrameAllocator;
use framesim_models::kernel::{FrameMap, Kernel, Region, SystemCall};
use framesim_models::{Nanos, Violation, ensure};
use serde::{Deserialize, Serialize};

use super::costs::Spent;
use super::happened::{Cause, KINDS, Kind};
use super::heaps::{Bound, Footprint, Holdings, Live};
use super::summary::{
    Calls, Failures, Levels, Order, ProcessCounts, ProcessorCounts, RegionFrames, ThreadCounts, Waits, Worst,
};

/// Running counts of a simulation.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Tally {
    pub(super) events: u64,
    page_bytes: u64,
    /// Frames that are not reserved.
    pub(super) frames_to_hand_out: u64,
    /// Live blocks of all heaps.
    live_blocks: u64,
    /// Of all processes, their images included.
    footprint: Footprint,
    pub(super) now: Levels,
    pub(super) peak: Levels,
    pub(super) worst: Option<Worst>,
    /// External fragmentation of `worst`, in thousandths.
    worst_share: u64,
    /// The most frames each region had.
    region_peaks: [u64; Region::ALL.len()],
    /// Services by [`Kind`].
    services: [u64; KINDS],
    mallocs_by_kernel: u64,
    pub(super) failures: Failures,
    pub(super) waits: Waits,
    pub(super) processes: ProcessCounts,
    pub(super) threads: ThreadCounts,
    pub(super) processors: ProcessorCounts,
}

/// What gets a block, or may get another one.
const GETTING: [Kind; 4] = [Kind::Malloc, Kind::Calloc, Kind::AlignedAlloc, Kind::Realloc];

/// Orders of Linux on x86-64: `MAX_PAGE_ORDER` is 10.
const TOP_ORDER: u32 = 10;

impl Tally {
    pub(super) fn new(kernel: &Kernel) -> Tally {
        let frames = kernel.allocator();
        let free = frames.free_frames();
        let now = Levels {
            free_frames: free,
            longest_run: frames.largest_request(),
            longest_together: frames.largest_together(),
            holes: frames.holes(),
            ..Levels::default()
        };
        let region_peaks = Region::ALL.map(|region| kernel.frame_map().taken_for(region));
        Tally {
            events: 0,
            page_bytes: kernel.settings().page_bytes,
            frames_to_hand_out: free,
            live_blocks: 0,
            footprint: Footprint::default(),
            now,
            peak: now,
            worst: None,
            worst_share: 0,
            region_peaks,
            services: [0; KINDS],
            mallocs_by_kernel: 0,
            failures: Failures::default(),
            waits: Waits::default(),
            processes: ProcessCounts::default(),
            threads: ThreadCounts::default(),
            processors: ProcessorCounts::default(),
        }
    }

    /// What all processes hold together, of which `bound` is not counted here.
    pub(super) fn holdings(&self, bound: Bound) -> Holdings {
        let live = Live { blocks: self.live_blocks, asked: self.now.live_bytes, usable: self.now.usable_bytes };
        Holdings { live, footprint: self.footprint, bound }
    }

    /// Live blocks of all heaps.
    #[inline]
    pub(super) fn live_blocks(&self) -> u64 {
        self.live_blocks
    }

    /// The number of the next event.
    #[inline]
    pub(super) fn next_event(&mut self) -> u64 {
        self.events += 1;
        self.events
    }

    /// A service of that kind took so long.
    #[inline]
    pub(super) fn count_service(&mut self, kind: Kind, cost: Nanos, spent: &Spent, switched: bool) {
        self.processors.busy.0 = self.processors.busy.0.saturating_add(cost.0);
        self.processors.context_switches += u64::from(switched);
        self.services[kind as usize] += 1;
        if spent.system_calls > 0 && GETTING.contains(&kind) {
            self.mallocs_by_kernel += 1;
        }
    }

    /// Live blocks came and went: by how much they changed, wrapping around.
    #[inline]
    pub(super) fn live_changed(&mut self, difference: Live) {
        self.live_blocks = self.live_blocks.wrapping_add(difference.blocks);
        self.now.live_bytes = self.now.live_bytes.wrapping_add(difference.asked);
        self.now.usable_bytes = self.now.usable_bytes.wrapping_add(difference.usable);
        self.peak.live_bytes = self.peak.live_bytes.max(self.now.live_bytes);
        self.peak.usable_bytes = self.peak.usable_bytes.max(self.now.usable_bytes);
    }

    /// A process holds other memory than before.
    #[cold]
    pub(super) fn footprint_changed(&mut self, before: &Footprint, after: &Footprint) {
        self.footprint.replace(before, after);
        self.now.heap_bytes = self.footprint.heap_bytes;
        self.now.mapped_bytes = self.footprint.mapped_pages * self.page_bytes;
        self.now.lazy_bytes = self.footprint.lazy_pages * self.page_bytes;
        self.peak.include_bytes(&self.now);
    }

    /// Images of processes came or went.
    pub(super) fn pages_mapped(&mut self, came: u64, went: u64) {
        self.footprint.mapped_pages = self.footprint.mapped_pages + came - went;
        self.now.mapped_bytes = self.footprint.mapped_pages * self.page_bytes;
        self.peak.include(&self.now);
    }

    /// A process has started.
    pub(super) fn process_started(&mut self) {
        self.processes.started += 1;
        self.now.processes += 1;
        self.now.threads += 1;
        self.peak.include(&self.now);
    }

    /// A process has started a thread beside its main one.
    pub(super) fn thread_started(&mut self) {
        self.threads.started += 1;
        self.now.threads += 1;
        self.peak.include(&self.now);
    }

    /// A thread beside the main one has ended.
    pub(super) fn thread_ended(&mut self) {
        self.threads.ended += 1;
        self.now.threads -= 1;
    }

    /// A process has ended, by itself or not, and with it so many threads beside its main one.
    pub(super) fn process_ended(&mut self, threads: u32) {
        self.now.processes -= 1;
        self.now.threads -= 1 + u64::from(threads);
        self.processes.exited += 1;
    }

    /// One of those that ended was killed.
    pub(super) fn process_killed(&mut self) {
        self.processes.exited -= 1;
        self.processes.killed += 1;
    }

    /// Frames have changed hands.
    pub(super) fn frames_changed(&mut self, now: Nanos, kernel: &Kernel) {
        let frames = kernel.allocator();
        self.now.free_frames = frames.free_frames();
        self.now.longest_run = frames.largest_request();
        self.now.longest_together = frames.largest_together();
        self.now.holes = frames.holes();
        self.now.resident_bytes = resident_frames(kernel.frame_map()) * self.page_bytes;
        self.peak.include(&self.now);
        self.raise_region_peaks(kernel);
        let together = self.now.longest_together;
        let share = share(together - self.now.longest_run.min(together), together);
        if share > self.worst_share {
            self.worst_share = share;
            self.worst = Some(Worst { time: now, levels: self.now, orders: orders(frames) });
        }
    }

    fn raise_region_peaks(&mut self, kernel: &Kernel) {
        for change in kernel.frame_changes() {
            let region = change.owner.region;
            let peak = &mut self.region_peaks[region as usize];
            *peak = (*peak).max(kernel.frame_map().taken_for(region));
        }
    }

    /// Frames by region: those that ever had any.
    pub(super) fn regions(&self, kernel: &Kernel) -> Vec<RegionFrames> {
        let map = kernel.frame_map();
        let frames = |region| RegionFrames {
            region,
            now: map.taken_for(region),
            peak: self.region_peaks[region as usize].max(map.taken_for(region)),
        };
        Region::ALL.map(frames).into_iter().filter(|frames| frames.peak > 0).collect()
    }

    /// Who did the work.
    pub(super) fn calls(&self, kernel: &Kernel) -> Calls {
        let counts = kernel.counts();
        let served = |kind: Kind| self.services[kind as usize];
        Calls {
            mallocs: GETTING.iter().map(|&kind| served(kind)).sum(),
            mallocs_by_kernel: self.mallocs_by_kernel,
            reallocs: served(Kind::Realloc),
            frees: served(Kind::Free) + served(Kind::LifeOver),
            system_calls: SystemCall::ALL.map(|call| (call.name(), counts.calls_of(call))).into_iter().collect(),
            faults: counts.faults,
            zeroed_pages: counts.zeroed,
            reclaimed_pages: counts.reclaimed,
            frames_moved: counts.moved(),
        }
    }

    /// The levels are what is there: `holdings` are those of all processes together.
    pub(super) fn check(&self, holdings: &Holdings, kernel: &Kernel) -> Result<(), Violation> {
        let counted = self.holdings(holdings.bound);
        ensure(*holdings == counted, || format!("processes hold {holdings:?}, counted are {counted:?}"))?;
        let free = kernel.allocator().free_frames();
        ensure(free == self.now.free_frames, || format!("{free} frames are free, counted are {}", self.now.free_frames))
    }
}

/// A share in thousandths, rounded down. Frames have fewer than 33 bits.
fn share(part: u64, whole: u64) -> u64 {
    (part * 1_000).checked_div(whole).unwrap_or(0)
}

/// Frames behind address space.
fn resident_frames(map: &FrameMap) -> u64 {
    [Region::Code, Region::Data, Region::Stack, Region::Heap, Region::Mmap]
        .map(|region| map.taken_for(region))
        .iter()
        .sum()
}

/// Free blocks and indices of each order.
pub(super) fn orders(frames: &dyn FrameAllocator) -> Vec<Order> {
    let top = frames.total_frames().max(1).ilog2().min(TOP_ORDER);
    let blocks = frames.free_blocks(top);
    let order = |order| Order {
        order,
        free_blocks: blocks.of_order(order),
        unusable_free_index: blocks.unusable_free_index(order),
        fragmentation_index: blocks.fragmentation_index(order),
    };
    (0..=top).map(order).collect()
}

impl Waits {
    pub(super) fn begin(&mut self, cause: Cause) {
        self.waiting += 1;
        self.waiting_peak = self.waiting_peak.max(self.waiting);
        match cause {
            Cause::Fragmentation => self.fragmentation += 1,
            _ => self.shortage += 1,
        }
    }

    pub(super) fn end(&mut self, waited: Nanos) {
        self.waiting -= 1;
        self.ended += 1;
        self.total.0 = self.total.0.saturating_add(waited.0);
        self.longest = self.longest.max(waited);
    }

    /// One that waited was killed.
    pub(super) fn give_up(&mut self) {
        self.waiting -= 1;
    }
}
