//! Processes: when they come, what they do.

use serde::{Deserialize, Serialize};

use super::units::{whole, whole_option};
use super::{Bytes, Count, Positive, Share, Time};
use crate::laws::Law;

/// Processes that are alike.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// Its name; random numbers are drawn under it.
    pub name: String,
    /// The program it runs; without one, an empty one.
    #[serde(default)]
    pub program: Option<String>,
    /// Processes that start at each arrival.
    #[serde(default = "one", deserialize_with = "whole")]
    pub count: u64,
    /// When its processes start.
    #[serde(default)]
    pub arrive: Arrive,
    /// How long each lives at most.
    #[serde(default)]
    pub live: Option<Law<Time>>,
    /// What each does.
    pub does: Does,
    /// What a process does when a request is refused.
    #[serde(default)]
    pub on_refusal: OnRefusal,
}

const fn one() -> u64 {
    1
}

const fn one_thread() -> u32 {
    1
}

/// When the processes of a group start.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Arrive {
    /// At one time.
    At(Time),
    /// At each of these times.
    AtEach(Vec<Time>),
    /// At even distances.
    Every {
        /// Time between two arrivals.
        gap: Time,
        /// The first one.
        #[serde(default)]
        from: Time,
        /// Arrivals.
        #[serde(default, deserialize_with = "whole_option")]
        count: Option<u64>,
        /// No arrival after this.
        #[serde(default)]
        until: Option<Time>,
    },
    /// At random, independent of each other.
    Poisson {
        /// Mean arrivals a second.
        per_second: Positive,
        /// No arrival before this.
        #[serde(default)]
        from: Time,
        /// Arrivals.
        #[serde(default, deserialize_with = "whole_option")]
        count: Option<u64>,
        /// No arrival after this.
        #[serde(default)]
        until: Option<Time>,
    },
    /// When another process spawns one.
    Spawned,
}

impl Default for Arrive {
    fn default() -> Arrive {
        Arrive::At(Time(0))
    }
}

/// What a process does when a request is refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum OnRefusal {
    /// It goes on without what it asked for.
    #[default]
    GoOn,
    /// It ends.
    Exit,
}

/// Three ways to say what a process does.
#[expect(clippy::large_enum_variant, reason = "a workload has a few of them")]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Does {
    /// Step by step, with names.
    Script(Vec<Step>),
    /// At random, by laws.
    Mix(Mix),
    /// What a real program was recorded to do.
    Trace(Recorded),
}

/// One step of a script. A name is bound by the step that makes something; binding it again leaves the old thing behind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Step {
    /// Takes a run of contiguous frames from the kernel: name, frames.
    Take(String, Count),
    /// Gives it back.
    Give(String),
    /// A block of the heap: name, bytes.
    Malloc(String, Bytes),
    /// A zeroed block: name, count, bytes of each.
    Calloc(String, Count, Bytes),
    /// A block at a multiple: name, alignment, bytes.
    Aligned(String, Bytes, Bytes),
    /// Resizes a block, or makes one where the name has none: name, bytes.
    Realloc(String, Bytes),
    /// Gives a block back.
    Free(String),
    /// Writes to all of a block or a mapping.
    Touch(String),
    /// Maps memory: name, bytes.
    Mmap(String, Bytes),
    /// Unmaps it.
    Munmap(String),
    /// Gives a mapping's frames back and keeps its addresses.
    Dontneed(String),
    /// Starts a process of a group that arrives `spawned`.
    Spawn(String),
    /// Does nothing for a time.
    Sleep(Time),
    /// The steps after this one are this thread's; a script starts as thread 0. A thread starts when its first step comes.
    Thread(Count),
    /// This thread ends; the steps after are thread 0's.
    EndThread(Count),
    /// Does steps again and again: times, steps.
    Repeat(Count, Vec<Step>),
    /// Ends the process; so does the end of the script.
    Exit,
}

/// Blocks at random: a call every `gap`, of a `size`, freed after a `life`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mix {
    /// Time between two calls.
    pub gap: Law<Time>,
    /// Bytes of a block.
    pub size: Law<Bytes>,
    /// Time until a block is freed; without it, blocks stay until the process ends.
    #[serde(default)]
    pub life: Option<Law<Time>>,
    /// What is written of a new block, at once.
    #[serde(default)]
    pub touch: Touch,
    /// Threads of the process; each draws calls of its own by these laws.
    #[serde(default = "one_thread", deserialize_with = "whole")]
    pub threads: u32,
    /// Which of the threads frees a block when its life is over.
    #[serde(default)]
    pub free_by: FreeBy,
    /// How long each thread but the main one lives; then another takes its place. Without it, as long as it has calls.
    #[serde(default)]
    pub thread_life: Option<Law<Time>>,
    /// Calls of each thread, then it ends; the process ends with its last thread.
    #[serde(default, deserialize_with = "whole_option")]
    pub calls: Option<u64>,
    /// A thread ends when the gaps it drew add up to this.
    #[serde(default)]
    pub until: Option<Time>,
    /// Times in which other laws hold: one after the other, then the first again.
    #[serde(default)]
    pub phases: Vec<Phase>,
}

/// The most threads of a process.
pub const THREADS_MOST: u32 = 4096;

/// Which thread of a process frees a block. Of one that has ended or not started yet, the main thread does its part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum FreeBy {
    /// The one that got it.
    #[default]
    Owner,
    /// The one after it, after the last one the first: blocks go round.
    Next,
    /// Any, each equally likely.
    Random,
    /// Producers and consumers: the last so many threads get nothing and free what the others got, each producer's
    /// blocks the same consumer.
    Consumers(Count),
}

impl FreeBy {
    /// Threads, the last ones of a process, that get no blocks.
    #[must_use]
    pub fn consumers(self) -> u64 {
        match self {
            FreeBy::Consumers(count) => count.0,
            _ => 0,
        }
    }
}

/// A time in a mix in which other laws hold. What it does not say is as in the mix.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Phase {
    /// How long, by the gaps drawn in it.
    pub lasts: Time,
    /// Time between two calls.
    #[serde(default)]
    pub gap: Option<Law<Time>>,
    /// Bytes of a block.
    #[serde(default)]
    pub size: Option<Law<Bytes>>,
    /// Time until a block is freed.
    #[serde(default)]
    pub life: Option<Law<Time>>,
    /// What is written of a new block.
    #[serde(default)]
    pub touch: Option<Touch>,
}

/// What a program writes of a new block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Touch {
    /// All of it.
    #[default]
    All,
    /// Nothing.
    None,
    /// A part, from the start: `share(0.25)`.
    Share(Share),
}

impl Touch {
    /// Bytes written of a block of `bytes`.
    #[must_use]
    pub fn of(self, bytes: u64) -> u64 {
        match self {
            Touch::All => bytes,
            Touch::None => 0,
            Touch::Share(share) => share.of(bytes),
        }
    }
}

/// A recorded trace.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recorded {
    /// The file, from the folder of the workload: a heap trace (plain, zstd or gzip) or a malloc-lab `.rep`.
    pub file: String,
    /// Time between two calls.
    #[serde(default)]
    pub pace: Pace,
    /// What is written of a new block, at once: recordings do not say.
    #[serde(default)]
    pub touch: Touch,
    /// Whether one thread makes all calls, whatever the recording says.
    #[serde(default)]
    pub one_thread: bool,
}

/// Time between two recorded calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Pace {
    /// As recorded.
    #[default]
    Recorded,
    /// Always the same.
    Every(Time),
}
