//! Heap models against the real library on this machine: random calls, and the shortest list of them that differs.

use std::io::Write as _;

use framesim::conform::heap::{Places, ReplaySetting};
use framesim_models::Coins;
use framesim_models::heap::{HeapAllocator, HeapChoice, HeapRegistry, HeapSetting};

use super::heap_calls::{Edges, Plan, as_trace, without};
use super::real_heap::{Answer, Call, RealHeap, RealRun, play_model};

/// A model and the real library it is held against.
#[derive(Debug)]
pub struct Fuzz {
    /// The library.
    pub real: RealHeap,
    /// The model, with the options that the library runs with.
    pub model: HeapChoice,
    /// What surrounds both.
    pub setting: ReplaySetting,
    /// Sizes at which its rules change.
    pub edges: Edges,
    /// Resident bytes may differ by so much: pages of the library's tables that the model does not follow.
    pub resident_tolerance: u64,
}

impl Fuzz {
    /// Plays seeds from `first` on, each about `calls` long, until `total` calls were made.
    ///
    /// # Panics
    /// When a call differs, with the shortest list of calls that shows it, as a trace.
    pub fn run(&self, first: u64, calls: usize, total: usize) {
        let mut made = 0;
        for seed in first.. {
            if made >= total {
                break;
            }
            let plan = Plan::of(seed, &self.edges);
            let trace = plan.calls(seed, plan.length(calls));
            made += trace.len();
            if let Some(difference) = self.differs(&trace, plan.threads) {
                let shortest = self.shrink(trace, plan.threads);
                let last = self.differs(&shortest, plan.threads).unwrap_or(difference);
                panic!("seed {seed}, {plan:?}: {last}\n{}", as_trace(&shortest));
            }
        }
        let _ = writeln!(std::io::stderr(), "{made} calls of {} equal to those of the real one", self.model.name());
    }

    /// The first difference between the real library and the model, as a sentence.
    ///
    /// # Panics
    /// When the real library cannot be called, or the setting does not fit it.
    #[must_use]
    pub fn differs(&self, calls: &[Call], threads: u8) -> Option<String> {
        let real = self.real.play(calls, threads).expect("the real library can be called");
        let mut heap = self.heap();
        let space = self.setting.started(&mut *heap, threads, &real.maps);
        let mut space = space.expect("mappings of a process");
        let before = (space.mapped_pages() * 4096, space.resident_pages() * 4096);
        let answers = play_model(&mut *heap, &mut space, calls);
        if let Err(violation) = heap.check() {
            return Some(format!("the model breaks its own rules: {violation}"));
        }
        let is_random = self.setting.places == Places::FromFirst;
        // What goes by time differs in what is resident, and so does what starts at random.
        let looks = if is_random { Looks::FromFirst } else { Looks::of(threads) };
        self.first_difference(&real, &answers, before, looks)
    }

    fn heap(&self) -> Box<dyn HeapAllocator> {
        let setting = HeapSetting { coins: Coins::from_key([0; 32]) };
        let built = HeapRegistry::default().build(self.model.name(), &self.model, setting);
        built.expect("a heap of that name").expect("options that fit")
    }

    /// A shorter list of calls that differs too: what lies behind the difference goes first, then pieces, long ones first.
    fn shrink(&self, mut calls: Vec<Call>, threads: u8) -> Vec<Call> {
        let mut piece = calls.len() / 2;
        let mut trials = 400;
        while piece > 0 && trials > 0 {
            let mut from = calls.len();
            while from > 0 && trials > 0 {
                from = from.saturating_sub(piece);
                let shorter = without(&calls, from..(from + piece).min(calls.len()));
                trials -= 1;
                if self.differs(&shorter, threads).is_some() {
                    calls = shorter;
                }
            }
            piece /= 2;
        }
        calls
    }

    /// `before`: mapped and resident bytes of the model before the first call.
    fn first_difference(&self, real: &RealRun, model: &[Answer], before: (u64, u64), looks: Looks) -> Option<String> {
        let mut library_bytes = 0;
        let (real_origin, origin) = (looks.origin(&real.answers), looks.origin(model));
        for (nth, (real_answer, model)) in real.answers.iter().zip(model).enumerate() {
            let place = |answer: &Answer, origin: u64| {
                let from_origin = (answer.at != 0).then(|| answer.at.wrapping_sub(origin));
                let from_origin = from_origin.map(|from| if self.is_by_page(answer) { from & !0xfff } else { from });
                (from_origin, answer.usable, answer.brk)
            };
            if place(real_answer, real_origin) != place(model, origin) {
                return Some(format!("call {}: real {real_answer:x?}, model {model:x?}", nth + 1));
            }
            if model.mapped == 0 {
                continue;
            }
            let (mapped, model_mapped) = (real_answer.mapped - real.before.mapped, model.mapped - before.0);
            if mapped != model_mapped {
                return Some(format!("call {}: {mapped} bytes more mapped, model {model_mapped}", nth + 1));
            }
            let more =
                (real_answer.resident - real.before.resident).wrapping_sub(model.resident - before.1).cast_signed();
            if library_bytes == 0 {
                library_bytes = more;
            }
            // Of one thread it is the library's code alone.
            if looks == Looks::All && more.abs_diff(library_bytes) > self.resident_tolerance {
                return Some(format!("call {}: {} bytes more resident than in the model", nth + 1, more));
            }
        }
        None
    }

    /// Whether the page of a block is all that is compared of its place.
    fn is_by_page(&self, answer: &Answer) -> bool {
        self.setting.random_within_page_from.is_some_and(|from| answer.usable >= from)
    }
}

/// What is compared besides usable sizes, break and mapped bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Looks {
    /// Addresses and, of one thread, resident bytes. The stacks of threads are resident too.
    All,
    /// Addresses.
    Places,
    /// Places from the first block on.
    FromFirst,
}

impl Looks {
    fn of(threads: u8) -> Looks {
        if threads == 1 { Looks::All } else { Looks::Places }
    }

    /// The address that places are counted from.
    fn origin(self, answers: &[Answer]) -> u64 {
        let first = answers.iter().find(|answer| answer.at != 0).map_or(0, |answer| answer.at);
        if self == Looks::FromFirst { first } else { 0 }
    }
}
