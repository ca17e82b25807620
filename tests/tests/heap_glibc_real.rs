//! The `glibc` heap against this machine's own malloc, where that is glibc 2.36: random calls of one thread and of many.
//!
//! `cargo test` makes 100,000 calls; `cargo test --release --test heap_glibc_real -- --ignored --nocapture` makes 10 million.
//! What differs is made as short as possible and printed as a heap trace.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::Write as _;

use framesim::conform::heap::ReplaySetting;
use framesim_models::heap::{HeapAllocator, HeapChoice, HeapRegistry, HeapSetting};
use framesim_models::{Coins, ThreadId, index};
use framesim_tests::real_heap::{Answer, Asks, Call, RealHeap, play_model};

const VERSION: &str = "2.36";

#[test]
fn a_hundred_thousand_random_calls_are_answered_as_by_the_real_one() {
    fuzz(0, 5_000, 100_000);
}

#[test]
#[ignore = "takes minutes"]
fn ten_million_random_calls_are_answered_as_by_the_real_one() {
    fuzz(1_000, 30_000, 10_000_000);
}

#[test]
fn an_arena_of_several_heaps_is_the_real_one() {
    let folder = tempfile::tempdir().expect("a folder for temporary files");
    let Ok(real) = RealHeap::build(folder.path(), VERSION) else { return };
    // What is left of a full heap goes into the cache (100,000), or keeps its own chunk (90,000).
    for bytes in [100_000, 90_000] {
        let blocks = 1..=1_500;
        let by = |thread, asks| Call { thread, asks };
        let mut calls: Vec<Call> = blocks.clone().map(|id| by(1, Asks::Malloc(id, bytes))).collect();
        calls.extend(blocks.clone().rev().take(400).map(|id| by(1, Asks::Free(id))));
        calls.extend((2_001..2_100).map(|id| by(1, Asks::Malloc(id, 20_000))));
        calls.extend(blocks.rev().skip(400).map(|id| by(0, Asks::Free(id))));
        calls.push(by(1, Asks::Malloc(2_500, 3_000)));
        calls.push(by(1, Asks::Exit));
        calls.push(by(2, Asks::Malloc(2_501, 5_000)));
        assert_eq!(differs(&real, &calls, 3), None, "blocks of {bytes}");
    }
}

/// Plays seeds from `first` on, each about `calls` long, until `total` calls were made.
fn fuzz(first: u64, calls: usize, total: usize) {
    let folder = tempfile::tempdir().expect("a folder for temporary files");
    let real = match RealHeap::build(folder.path(), VERSION) {
        Ok(real) => real,
        Err(why) => {
            let _ = writeln!(std::io::stderr(), "SKIPPED: calls to the real malloc: {why}");
            return;
        }
    };
    let mut made = 0;
    for seed in first.. {
        if made >= total {
            break;
        }
        let plan = Plan::of(seed);
        let trace = plan.calls(seed, plan.length(calls));
        made += trace.len();
        if let Some(difference) = differs(&real, &trace, plan.threads) {
            let shortest = shrink(&real, trace, plan.threads);
            let last = differs(&real, &shortest, plan.threads).unwrap_or(difference);
            panic!("seed {seed}, {plan:?}: {last}\n{}", as_trace(&shortest));
        }
    }
    let _ = writeln!(std::io::stderr(), "{made} calls equal to those of glibc {VERSION}");
}

/// What the calls of a seed are like.
#[derive(Clone, Copy, Debug)]
struct Plan {
    threads: u8,
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
    fn of(seed: u64) -> Plan {
        let sizes = [Sizes::Tiny, Sizes::Small, Sizes::Mixed, Sizes::Large, Sizes::Huge, Sizes::Edge];
        let threads = [1, 1, 2, 4, 20][index(seed / 6 % 5)];
        Plan {
            threads,
            sizes: sizes[index(seed % 6)],
            aligned: [2, 20][index(seed / 30 % 2)],
            has_ends: (seed / 60).is_multiple_of(2),
        }
    }

    /// Fewer calls where each writes much.
    fn length(&self, calls: usize) -> usize {
        match self.sizes {
            Sizes::Tiny | Sizes::Small => 2 * calls,
            Sizes::Mixed => calls,
            Sizes::Large | Sizes::Edge => calls / 2,
            Sizes::Huge => calls / 10,
        }
    }

    fn calls(&self, seed: u64, count: usize) -> Vec<Call> {
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
        let bytes = self.bytes(plan.sizes);
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

    fn bytes(&mut self, sizes: Sizes) -> u64 {
        match sizes {
            Sizes::Tiny => self.coins.below(200),
            Sizes::Small => self.coins.below(1_400),
            Sizes::Mixed => self.up_to(18),
            Sizes::Large => self.up_to(23),
            Sizes::Huge if self.one_in(4) => (1 << 20) * self.coins.below(48) + self.coins.below(65_536),
            Sizes::Huge => self.up_to(21),
            Sizes::Edge => self.near_an_edge(),
        }
    }

    /// Each power of two below `1 << power` is as likely as the next.
    fn up_to(&mut self, power: u64) -> u64 {
        let ceiling = 1 << (4 + self.coins.below(power - 3));
        self.coins.below(ceiling)
    }

    /// Sizes at which a rule changes.
    fn near_an_edge(&mut self) -> u64 {
        let edges = [128, 1_024, 1_040, 4_096, 65_536, 131_072, 262_144, 2 << 20, 4 << 20, 32 << 20];
        let edge = if self.one_in(10) { edges[self.below(10)] } else { edges[self.below(7)] };
        (edge + self.coins.below(96)).saturating_sub(64)
    }
}

fn glibc() -> Box<dyn HeapAllocator> {
    let setting = HeapSetting { coins: Coins::from_key([0; 32]) };
    let built = HeapRegistry::default().build("glibc", &HeapChoice::named("glibc"), setting);
    built.expect("a heap of that name").expect("its default options")
}

/// The first difference between the real malloc and the model, as a sentence.
fn differs(real: &RealHeap, calls: &[Call], threads: u8) -> Option<String> {
    let real = real.play(calls, threads).expect("the real malloc can be called");
    let mut heap = glibc();
    let mut space = ReplaySetting::threads().space_with(&real.maps).expect("mappings of a process");
    for _ in 1..threads {
        // What pthread_create asks for.
        heap.calloc(ThreadId(0), 17, 16, &mut space).expect("memory for a first block");
    }
    let before = (space.mapped_pages() * 4096, space.resident_pages() * 4096);
    let answers = play_model(&mut *heap, &mut space, calls);
    if let Err(violation) = heap.check() {
        return Some(format!("the model breaks its own rules: {violation}"));
    }
    let mut library_bytes = 0;
    for (nth, (real_answer, model)) in real.answers.iter().zip(&answers).enumerate() {
        let place = |answer: &Answer| (answer.at, answer.usable, answer.brk);
        if place(real_answer) != place(model) {
            return Some(format!("call {}: real {real_answer:x?}, model {model:x?}", nth + 1));
        }
        if model.mapped == 0 {
            continue;
        }
        let (mapped, model_mapped) = (real_answer.mapped - real.before.mapped, model.mapped - before.0);
        if mapped != model_mapped {
            return Some(format!("call {}: {mapped} bytes more mapped, model {model_mapped}", nth + 1));
        }
        let more = (real_answer.resident - real.before.resident).wrapping_sub(model.resident - before.1);
        if library_bytes == 0 {
            library_bytes = more;
        }
        // Stacks of threads are resident too; of one thread it is the library's code alone.
        if threads == 1 && more != library_bytes {
            return Some(format!("call {}: {} bytes more resident than in the model", nth + 1, more.cast_signed()));
        }
    }
    None
}

/// A shorter list of calls that differs too: what lies behind the difference goes first, then pieces, long ones first.
fn shrink(real: &RealHeap, mut calls: Vec<Call>, threads: u8) -> Vec<Call> {
    let mut piece = calls.len() / 2;
    let mut trials = 400;
    while piece > 0 && trials > 0 {
        let mut from = calls.len();
        while from > 0 && trials > 0 {
            from = from.saturating_sub(piece);
            let shorter = without(&calls, from..(from + piece).min(calls.len()));
            trials -= 1;
            if differs(real, &shorter, threads).is_some() {
                calls = shorter;
            }
        }
        piece /= 2;
    }
    calls
}

/// The calls without some, and without those that name a block that no other call makes then.
fn without(calls: &[Call], cut: std::ops::Range<usize>) -> Vec<Call> {
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

fn as_trace(calls: &[Call]) -> String {
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
            Asks::Exit => writeln!(text, "# thread {} ends", call.thread),
        };
    }
    text
}
