//! What a workload file says, type by type. The RON schema is these structs and nothing else.
//!
//! **Invariant.** Every struct and enum refuses a field it does not know, and none is untagged or flattened: an error always
//! has its place. What one type alone can check is checked where it is read (`units`); what takes two, in `check`.

mod process;
mod units;

use std::collections::BTreeMap;

use framesim_models::frames::PolicyChoice;
use framesim_models::heap::HeapChoice;
use serde::{Deserialize, Serialize};

pub use process::{Arrive, Does, FreeBy, Group, Mix, OnRefusal, Pace, Phase, Recorded, Step, THREADS_MOST, Touch};
pub(crate) use units::group as grouped;
pub use units::{Bytes, Count, Positive, Share, Time, Weight};
pub(crate) use units::{SIZE_UNITS, TIME_UNITS, Units, parse_quantity, whole};

/// A whole run: the machine, the programs, the processes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Workload {
    /// What it shows, in one line.
    #[serde(default)]
    pub about: String,
    /// Where all random numbers come from, with the names of what draws them.
    #[serde(default = "first_seed", deserialize_with = "whole")]
    pub seed: u64,
    /// The computer.
    pub machine: Machine,
    /// Programs that groups of processes run, by name.
    #[serde(default, deserialize_with = "unique_keys")]
    pub programs: BTreeMap<String, Program>,
    /// Who runs, in groups.
    pub processes: Vec<Group>,
    /// When the run ends at the latest; without it, when all processes have ended.
    #[serde(default)]
    pub until: Option<Time>,
    /// What the run may cost; a workload that would cost more is refused before it runs.
    #[serde(default)]
    pub limits: Limits,
}

/// The simulated computer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    /// Physical memory, a whole number of pages.
    pub memory: Bytes,
    /// Bytes of a page and of a frame: a power of two.
    #[serde(default = "page")]
    pub page: Bytes,
    /// Processors.
    #[serde(default = "one_cpu", deserialize_with = "whole")]
    pub cpus: u32,
    /// How long a process keeps a processor while others are ready.
    #[serde(default = "quantum")]
    pub quantum: Time,
    /// Who hands out frames.
    pub frames: PolicyChoice,
    /// What the kernel itself takes.
    #[serde(default)]
    pub kernel: KernelMemory,
    /// How the frames of a process's regions are asked for.
    #[serde(default)]
    pub regions: Regions,
    /// When memory that was asked for gets frames.
    #[serde(default)]
    pub commit: Commit,
    /// What happens to a process that finds no frame.
    #[serde(default)]
    pub out_of_memory: OutOfMemoryRule,
    /// Lowest part of memory that is never handed out: firmware, the kernel's image.
    #[serde(default)]
    pub reserved: Bytes,
    /// Address ranges, first byte and end, that every process finds mapped: libraries. They take no frames.
    #[serde(default)]
    pub libraries: Vec<(u64, u64)>,
    /// Simulated time of each kind of work.
    #[serde(default)]
    pub costs: Costs,
}

impl Machine {
    /// Frames of the memory.
    #[must_use]
    pub fn frames_total(&self) -> u64 {
        self.memory.0 / self.page.0
    }
}

/// What the kernel itself takes from memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum KernelMemory {
    /// Nothing, as on a slide.
    FreeOfCharge,
    /// Frames of the same memory.
    Charged {
        /// Each process's stack in the kernel. Linux on x86-64 has 16 KiB (`THREAD_SIZE`).
        #[serde(default = "kernel_stack")]
        stack: Bytes,
        /// Whether page tables take frames.
        #[serde(default = "yes")]
        page_tables: bool,
        /// Whether kernel objects (task, address space, VMA) take frames, through a slab.
        #[serde(default = "yes")]
        objects: bool,
    },
}

impl Default for KernelMemory {
    fn default() -> KernelMemory {
        KernelMemory::Charged { stack: kernel_stack(), page_tables: true, objects: true }
    }
}

/// How the frames of a process's code, data and stack are asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Regions {
    /// Each region is one run of frames: the textbook's setting.
    Contiguous,
    /// Frame by frame.
    #[default]
    Paged,
}

/// When memory that was asked for gets frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Commit {
    /// At the first write to each page.
    #[default]
    OnTouch,
    /// At once.
    Eager,
}

/// What happens to a process that finds no frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum OutOfMemoryRule {
    /// Its request is refused.
    #[default]
    Fail,
    /// It waits, first come first served, until frames are freed.
    Wait,
    /// The process with the most resident memory is killed.
    Kill,
}

/// Simulated time of each kind of work.
///
/// The defaults are the order of magnitude of a server of the 2020s at 3 GHz, not a measurement of one: they keep the
/// proportions between the levels right. Where a default comes from is said at each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Costs {
    /// A malloc that the heap serves alone. 20 ns: the fast path of tcmalloc takes about 20 cycles warm and more with
    /// cache misses (Kanev, Xi, Wei and Brooks 2017, "Mallacc").
    pub malloc: Time,
    /// A free that stays in the heap. 15 ns: same source, slightly cheaper.
    pub free: Time,
    /// Entering and leaving the kernel. 100 ns: `lat_syscall null` of lmbench (McVoy and Staelin 1996) gives 50 to 200 ns.
    pub system_call: Time,
    /// A page fault without the page's zeroing. 500 ns: `lat_pagefault` of lmbench gives 250 to 1000 ns.
    pub fault: Time,
    /// Zeroing one page of 4 KiB (other sizes in proportion). 100 ns: 40 GB a second.
    pub zero_page: Time,
    /// Switching a processor to another process. 1.5 us: `lat_ctx` of lmbench gives 1 to 2 us.
    pub context_switch: Time,
    /// Making a process. 100 us: `lat_proc fork` of lmbench gives 50 to 200 us.
    pub spawn: Time,
    /// Ending one. 50 us: `lat_proc exit`, of the same order.
    pub exit: Time,
    /// Making a thread, beside its system calls and faults. 15 us: starting and ending 100,000 threads took 2 seconds
    /// when NPTL was new (Drepper and Molnar 2003, "The Native POSIX Thread Library for Linux").
    pub thread_start: Time,
    /// Ending one. 5 us: what is left of these 20.
    pub thread_end: Time,
}

impl Default for Costs {
    fn default() -> Costs {
        Costs {
            malloc: Time(20),
            free: Time(15),
            system_call: Time(100),
            fault: Time(500),
            zero_page: Time(100),
            context_switch: Time(1_500),
            spawn: Time(100_000),
            exit: Time(50_000),
            thread_start: Time(15_000),
            thread_end: Time(5_000),
        }
    }
}

/// A program: what each process that runs it starts with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Program {
    /// Instructions.
    pub code: Bytes,
    /// Static data.
    pub data: Bytes,
    /// Stack, written to its end.
    pub stack: Bytes,
    /// Addresses of each further thread's stack, of which two pages are written (`ulimit -s`).
    pub thread_stack: Bytes,
    /// The user-level allocator.
    pub heap: HeapChoice,
    /// Whether processes of the program share one copy of the code.
    pub share_code: bool,
}

impl Default for Program {
    /// A program of no size, on the textbook's heap: what a group without a program runs.
    fn default() -> Program {
        Program {
            code: Bytes(0),
            data: Bytes(0),
            stack: Bytes(0),
            thread_stack: Bytes(8 << 20),
            heap: HeapChoice::named("free_list"),
            share_code: false,
        }
    }
}

/// What a run may cost at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Events.
    #[serde(deserialize_with = "whole")]
    pub events: u64,
    /// Processes alive at once, each thread of them counted.
    #[serde(deserialize_with = "whole")]
    pub processes: u64,
    /// Blocks of all heaps that are live at once.
    #[serde(deserialize_with = "whole")]
    pub live_blocks: u64,
    /// Memory of the simulator itself, as far as blocks, processes and frames go ([`Limits::simulator_bytes`]).
    pub memory: Bytes,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { events: 100_000_000_000, processes: 10_000_000, live_blocks: 200_000_000, memory: Bytes(8 << 30) }
    }
}

impl Limits {
    /// Bytes that the simulator needs at least: 32 for a block that is live, 160 for a process or thread, one for eight
    /// frames of a bitmap.
    #[must_use]
    pub fn simulator_bytes(frames: u128, live_blocks: u128, processes: u128) -> u128 {
        let blocks = live_blocks.saturating_mul(32);
        (frames / 8).saturating_add(blocks).saturating_add(processes.saturating_mul(160))
    }
}

const fn first_seed() -> u64 {
    1
}

const fn page() -> Bytes {
    Bytes(4096)
}

const fn one_cpu() -> u32 {
    1
}

/// One tick of a Linux kernel with 250 ticks a second, the setting of most distributions.
const fn quantum() -> Time {
    Time(4_000_000)
}

const fn kernel_stack() -> Bytes {
    Bytes(16 * 1024)
}

const fn yes() -> bool {
    true
}

/// A map that refuses a key it has seen: RON alone lets the last one win.
pub(crate) fn unique_keys<'de, D: serde::Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, T>, D::Error> {
    struct UniqueKeys<T>(std::marker::PhantomData<T>);

    impl<'de, T: Deserialize<'de>> serde::de::Visitor<'de> for UniqueKeys<T> {
        type Value = BTreeMap<String, T>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a map such as {\"name\": (..)}")
        }

        fn visit_map<A: serde::de::MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
            let mut map = BTreeMap::new();
            while let Some(key) = entries.next_key::<String>()? {
                if map.contains_key(&key) {
                    return Err(serde::de::Error::custom(format!("`{key}` is there twice")));
                }
                let value = entries.next_value()?;
                map.insert(key, value);
            }
            Ok(map)
        }
    }

    deserializer.deserialize_map(UniqueKeys(std::marker::PhantomData))
}
