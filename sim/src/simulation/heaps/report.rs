//! What is said of heaps: levels in bytes, moments, means, ratios, classes of sizes. The terms are those of the
//! [module](super) above.

use std::collections::BTreeMap;

use framesim_models::Nanos;
use framesim_models::kernel::SystemCall;
use framesim_models::metrics::Ratio;
use serde::Serialize;

use super::classes::up_to;
use super::{HeapTally, Holdings, Means, Moment};

/// Bytes of one heap, or of several together, at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct HeapLevels {
    /// Asked for and not given back.
    pub live_bytes: u64,
    /// Usable bytes of the live blocks.
    pub usable_bytes: u64,
    /// What blocks can hold beyond what was asked for.
    pub rounding_bytes: u64,
    /// Headers and tables.
    pub overhead_bytes: u64,
    /// Free in caches.
    pub cached_bytes: u64,
    /// Free in slabs and spans that are in use for one size class.
    pub in_page_bytes: u64,
    /// Internal fragmentation: rounding, headers, caches, free in page.
    pub internal_bytes: u64,
    /// External fragmentation: the other free memory.
    pub external_bytes: u64,
    /// Taken from the kernel and not given back: live, internal and external together.
    pub held_bytes: u64,
    /// Address space of the processes, without their programs' images.
    pub mapped_bytes: u64,
    /// Of that, what has frames.
    pub resident_bytes: u64,
    /// Of that, what the kernel may take back.
    pub lazy_bytes: u64,
}

impl HeapLevels {
    pub(in crate::simulation) fn of(holdings: &Holdings, page_bytes: u64) -> HeapLevels {
        let Holdings { live, footprint, bound } = holdings;
        let rounding_bytes = live.usable.saturating_sub(live.asked);
        let internal_bytes = rounding_bytes + bound.overhead_bytes + bound.cached_bytes + bound.in_page_bytes;
        let rest = footprint.heap_bytes.saturating_sub(live.asked);
        HeapLevels {
            live_bytes: live.asked,
            usable_bytes: live.usable,
            rounding_bytes,
            internal_bytes,
            external_bytes: rest.saturating_sub(internal_bytes),
            overhead_bytes: bound.overhead_bytes,
            cached_bytes: bound.cached_bytes,
            in_page_bytes: bound.in_page_bytes,
            held_bytes: footprint.heap_bytes,
            mapped_bytes: footprint.mapped_pages * page_bytes,
            resident_bytes: footprint.resident_pages * page_bytes,
            lazy_bytes: footprint.lazy_pages * page_bytes,
        }
    }

    /// Internal fragmentation as a share of what is held; 0 when nothing is.
    #[must_use]
    pub fn internal_share(&self) -> Ratio {
        Ratio::share(self.internal_bytes, self.held_bytes)
    }

    /// External fragmentation as a share of what is held; 0 when nothing is.
    #[must_use]
    pub fn external_share(&self) -> Ratio {
        Ratio::share(self.external_bytes, self.held_bytes)
    }
}

/// The first moment at which something was most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct HeapMoment {
    /// When.
    pub time: Nanos,
    /// The levels then.
    #[serde(flatten)]
    pub levels: HeapLevels,
}

impl HeapMoment {
    fn of(moment: &Moment, page_bytes: u64) -> HeapMoment {
        HeapMoment { time: moment.time, levels: HeapLevels::of(&moment.holdings, page_bytes) }
    }
}

/// The process of a group that ever held most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct LargestProcess {
    /// How many processes of the group came before it.
    pub ordinal: u32,
    /// The moment at which it held most.
    #[serde(flatten)]
    pub moment: HeapMoment,
}

/// The four ratios of held to live memory of Johnstone and Wilson, "The memory fragmentation problem: solved?" (ISMM 1998), in
/// millionths rounded down; `None` where nothing was ever live.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct FootprintRatios {
    /// The mean over simulated time, as long as anything was live.
    pub mean_by_time_ppm: Option<u64>,
    /// The mean over calls: the ratio after each malloc, free and realloc weighs the same.
    pub mean_by_call_ppm: Option<u64>,
    /// At the moment of most live memory.
    pub at_most_live_ppm: Option<u64>,
    /// At the moment of most held memory.
    pub at_most_held_ppm: Option<u64>,
    /// Most held to most live, at whatever moments.
    pub of_maxima_ppm: Option<u64>,
}

/// Means in bytes, rounded down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct HeapMeans {
    /// Held, over simulated time from the start to now.
    pub held_by_time: u64,
    /// Held, over calls.
    pub held_by_call: u64,
    /// Resident, over simulated time.
    pub resident_by_time: u64,
    /// Resident, over calls.
    pub resident_by_call: u64,
}

/// Live blocks of one class of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct SizeClass {
    /// The largest request of the class; `None` for the last one.
    pub up_to: Option<u64>,
    /// Blocks ever got.
    pub got: u64,
    /// At the moment of most live memory: live blocks, what was asked for, what is usable.
    pub blocks: u64,
    /// Bytes asked for.
    pub live_bytes: u64,
    /// Usable bytes.
    pub usable_bytes: u64,
}

/// The heaps of one group of processes, together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HeapSummary {
    /// The group.
    pub group: String,
    /// Its heap.
    pub heap: String,
    /// Its processes that called their heaps.
    pub processes: u64,
    /// Now.
    pub now: HeapLevels,
    /// When most was live.
    pub most_live: HeapMoment,
    /// When most was held.
    pub most_held: HeapMoment,
    /// Resident bytes at most.
    pub resident_peak_bytes: u64,
    /// The process that ever held most.
    pub largest: LargestProcess,
    /// Means.
    pub means: HeapMeans,
    /// Held to live.
    pub held_to_live: FootprintRatios,
    /// System calls of the group's processes, by name.
    pub system_calls: BTreeMap<&'static str, u64>,
    /// Classes of requests that ever had a block.
    pub classes: Vec<SizeClass>,
}

impl HeapTally {
    /// What is said of a group called `group`, whose live processes hold `now` and have made `calls`; `None` when none ever called
    /// its heap.
    pub(in crate::simulation) fn summary(
        &self,
        (group, heap): (&str, &str),
        time: Nanos,
        page_bytes: u64,
        (now, calls): (&Holdings, &[u64]),
    ) -> Option<HeapSummary> {
        if self.processes == 0 {
            return None;
        }
        let (mut by_time, mut by_call) = (self.by_time, self.by_call);
        by_time.add(time.0.saturating_sub(self.since.0), self.ratio_ppm);
        by_time.settle(&self.now.footprint);
        by_call.settle(&self.now.footprint);
        let (ordinal, moment) = &self.largest;
        let kinds = SystemCall::ALL.iter().zip(self.calls.iter().zip(calls));
        Some(HeapSummary {
            group: group.to_owned(),
            heap: heap.to_owned(),
            processes: self.processes,
            now: HeapLevels::of(now, page_bytes),
            most_live: HeapMoment::of(&self.most_live, page_bytes),
            most_held: HeapMoment::of(&self.most_held, page_bytes),
            resident_peak_bytes: self.resident_pages_peak * page_bytes,
            largest: LargestProcess { ordinal: *ordinal, moment: HeapMoment::of(moment, page_bytes) },
            means: HeapMeans {
                held_by_time: mean(by_time.held, by_time.weight),
                held_by_call: mean(by_call.held, by_call.weight),
                resident_by_time: mean(by_time.resident_pages * u128::from(page_bytes), by_time.weight),
                resident_by_call: mean(by_call.resident_pages * u128::from(page_bytes), by_call.weight),
            },
            held_to_live: self.ratios(&by_time, &by_call),
            system_calls: kinds.map(|(kind, (ended, alive))| (kind.name(), ended + alive)).collect(),
            classes: self.size_classes(),
        })
    }

    fn ratios(&self, by_time: &Means, by_call: &Means) -> FootprintRatios {
        let (live, held) = (&self.most_live.holdings, &self.most_held.holdings);
        let mean_ratio = |means: &Means| (means.live_weight > 0).then(|| mean(means.ratio_ppm, means.live_weight));
        FootprintRatios {
            mean_by_time_ppm: mean_ratio(by_time),
            mean_by_call_ppm: mean_ratio(by_call),
            at_most_live_ppm: super::ratio_ppm(live.footprint.heap_bytes, live.live.asked),
            at_most_held_ppm: super::ratio_ppm(held.footprint.heap_bytes, held.live.asked),
            of_maxima_ppm: super::ratio_ppm(held.footprint.heap_bytes, live.live.asked),
        }
    }

    fn size_classes(&self) -> Vec<SizeClass> {
        let then = self.classes.at_most_live();
        let used = self.classes.got.iter().zip(then).enumerate().filter(|(_, (got, _))| **got > 0);
        let shown = used.map(|(class, (&got, live))| SizeClass {
            up_to: up_to(class),
            got,
            blocks: live.blocks,
            live_bytes: live.asked,
            usable_bytes: live.usable,
        });
        shown.collect()
    }
}

fn mean(sum: u128, weight: u128) -> u64 {
    u64::try_from(sum.checked_div(weight).unwrap_or(0)).unwrap_or(u64::MAX)
}
