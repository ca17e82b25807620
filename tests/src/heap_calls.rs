//! Random heap calls of one thread and of many, from a seed; shorter lists of them, and their text as a trace.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::ops::Range;

use framesim_models::{Coins, index};

use super::real_heap::{Asks, Call};

/// Sizes at which a rule of an allocator changes: the last three are large, and rarer.
pub type Edges = [u64; 10];

/// What the calls of a seed are like.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Threads that make calls.
    pub threads: u8,
    edges: Edges,
    sizes: Sizes,
    /// Of 100 calls that make a block, those with an alignment.
    aligned: u64,
    /// Threads end, all but the main one.
    has_ends: bool,
}

#[derive(Clone, Copy, Debug)]
enum Sizes {
    Tiny,
    Small,
    Mixed,
    Large,
    Huge,
    Edge,
}

/// Live bytes that the calls keep below: every page is really written.
const LIVE_BYTES_MAX: u64 = 128 << 20;

impl Plan {
    /// The plan of a seed.
    #[must_use]
    pub fn of(seed: u64, edges: &Edges) -> Plan {
        let sizes = [Sizes::Tiny, Sizes::Small, Sizes::Mixed, Sizes::Large, Sizes::Huge, Sizes::Edge];
        let threads = [1, 1, 2, 4, 20][index(seed / 6 % 5)];
        Plan {
            threads,
            edges: *edges,
            sizes: sizes[index(seed % 6)],
            aligned: [2, 20][index(seed / 30 % 2)],
            has_ends: (seed / 60).is_multiple_of(2),
        }
    }

    /// Fewer calls where each writes much.
    #[must_use]
    pub fn length(&self, calls: usize) -> usize {
        match self.sizes {
            Sizes::Tiny | Sizes::Small => 2 * calls,
            Sizes::Mixed => calls,
            Sizes::Large | Sizes::Edge => calls / 2,
            Sizes::Huge => calls / 10,
        }
    }

    /// The calls of a seed.
    #[must_use]
    pub fn calls(&self, seed: u64, count: usize) -> Vec<Call> {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        let mut source = Source { coins: Coins::from_key(key), live: Vec::new(), live_bytes: 0, next: 1 };
        let mut alive: Vec<u8> = (0..self.threads).collect();
        let (mut thread, mut calls) = (0, Vec::with_capacity(count));
        let mut grows = true;
        while calls.len() < count {
            if source.one_in(24) {
                thread = alive[source.below(alive.len() as u64)];
            }
            if source.one_in(700) {
                grows = !grows;
            }
            if self.has_ends && thread != 0 && source.one_in(2_000) {
                calls.push(Call { thread, asks: Asks::Exit });
                alive.retain(|&other| other != thread);
                thread = 0;
                continue;
            }
            calls.push(Call { thread, asks: source.ask(self, grows) });
        }
        calls
    }
}

struct Source {
    coins: Coins,
    /// Blocks that live: number and bytes.
    live: Vec<(u32, u64)>,
    live_bytes: u64,
    next: u32,
}

impl Source {
    fn below(&mut self, bound: u64) -> usize {
        index(self.coins.below(bound))
    }

    fn one_in(&mut self, times: u64) -> bool {
        self.coins.below(times) == 0
    }

    fn ask(&mut self, plan: &Plan, grows: bool) -> Asks {
        let frees = if self.live_bytes > LIVE_BYTES_MAX {
            90
        } else if grows {
            35
        } else {
            60
        };
        let dice = self.coins.below(100);
        if dice < frees && !self.live.is_empty() {
            return Asks::Free(self.take_one());
        }
        let bytes = self.bytes(plan);
        if dice >= 90 && !self.live.is_empty() {
            let old = self.take_one();
            let bytes = if self.one_in(200) { 0 } else { bytes };
            return Asks::Realloc(self.add(bytes), old, bytes);
        }
        if self.coins.below(100) < plan.aligned {
            let align = match self.coins.below(3) {
                0 => 1 << self.coins.below(17),
                1 => self.coins.below(9_000),
                _ => 1 << (4 + self.coins.below(6)),
            };
            return Asks::Aligned(self.add(bytes), align, bytes);
        }
        if self.one_in(8) {
            let count = 1 + self.coins.below(20);
            return Asks::Calloc(self.add(bytes / count * count), count, bytes / count);
        }
        Asks::Malloc(self.add(bytes), bytes)
    }

    fn add(&mut self, bytes: u64) -> u32 {
        let id = self.next;
        self.next += 1;
        self.live.push((id, bytes));
        self.live_bytes += bytes;
        id
    }

    /// Takes out a live block: often one of the newest.
    fn take_one(&mut self) -> u32 {
        let count = self.live.len() as u64;
        let nth = if self.one_in(3) { self.below(count) } else { index(count - 1 - self.coins.below(count.min(12))) };
        let (id, bytes) = self.live.swap_remove(nth);
        self.live_bytes -= bytes;
        id
    }

    fn bytes(&mut self, plan: &Plan) -> u64 {
        match plan.sizes {
            Sizes::Tiny => self.coins.below(200),
            Sizes::Small => self.coins.below(1_400),
            Sizes::Mixed => self.up_to(18),
            Sizes::Large => self.up_to(23),
            Sizes::Huge if self.one_in(4) => (1 << 20) * self.coins.below(48) + self.coins.below(65_536),
            Sizes::Huge => self.up_to(21),
            Sizes::Edge => self.near_an_edge(&plan.edges),
        }
    }

    /// Each power of two below `1 << power` is as likely as the next.
    fn up_to(&mut self, power: u64) -> u64 {
        let ceiling = 1 << (4 + self.coins.below(power - 3));
        self.coins.below(ceiling)
    }

    fn near_an_edge(&mut self, edges: &Edges) -> u64 {
        let edge = if self.one_in(10) { edges[self.below(10)] } else { edges[self.below(7)] };
        (edge + self.coins.below(96)).saturating_sub(64)
    }
}

/// The calls without some, and without those that name a block that no other call makes then.
#[must_use]
pub fn without(calls: &[Call], cut: Range<usize>) -> Vec<Call> {
    let mut live = BTreeSet::new();
    let mut kept = Vec::new();
    for (nth, &call) in calls.iter().enumerate() {
        let is_possible = match call.asks {
            Asks::Free(id) | Asks::Realloc(_, id, _) => live.contains(&id),
            _ => true,
        };
        if cut.contains(&nth) || !is_possible {
            continue;
        }
        match call.asks {
            Asks::Malloc(id, _) | Asks::Calloc(id, ..) | Asks::Aligned(id, ..) => {
                live.insert(id);
            }
            Asks::Realloc(id, old, _) => {
                live.remove(&old);
                live.insert(id);
            }
            Asks::Free(id) => {
                live.remove(&id);
            }
            Asks::Exit => {}
        }
        kept.push(call);
    }
    kept
}

/// The calls as a heap trace.
#[must_use]
pub fn as_trace(calls: &[Call]) -> String {
    let mut text = String::from("# heap trace v1\n");
    let mut thread = None;
    for call in calls {
        if thread.replace(call.thread) != Some(call.thread) {
            let _ = writeln!(text, "t {}", call.thread);
        }
        let _ = match call.asks {
            Asks::Malloc(id, bytes) => writeln!(text, "m 0 {id} {bytes}"),
            Asks::Calloc(id, count, bytes) => writeln!(text, "c 0 {id} {count} {bytes}"),
            Asks::Realloc(id, old, bytes) => writeln!(text, "r 0 {id} {old} {bytes}"),
            Asks::Aligned(id, align, bytes) => writeln!(text, "a 0 {id} {align} {bytes}"),
            Asks::Free(id) => writeln!(text, "f 0 {id}"),
            Asks::Exit => writeln!(text, "x 0"),
        };
    }
    text
}
