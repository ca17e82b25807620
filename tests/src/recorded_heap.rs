//! A heap against recordings of the real one: which there are, and how they are played.
//!
//! `tests/data/heap` has what is small; longer recordings are read from `../shared` beside the repository where they are.

use std::io::Write;
use std::path::Path;

use framesim::conform::heap::{HeapCase, HeapVerdict, ReplaySetting, hold};
use framesim_models::heap::flat_memory::FlatMemory;
use framesim_models::heap::{HeapAllocator, HeapChoice, HeapRegistry, HeapSetting};
use framesim_models::{Address, Coins, ThreadId};

use crate::packed::{self, beside, text};

/// A heap and the recordings of the real one, by name.
#[derive(Clone, Copy, Debug)]
pub struct RecordedHeap {
    /// As in the registry and in the names of files.
    pub heap: &'static str,
    /// In the repository: one thread makes all calls.
    pub small: &'static [&'static str],
    /// The same, beside the repository.
    pub long: &'static [&'static str],
    /// In the repository: each thread makes its own calls.
    pub small_threads: &'static [&'static str],
    /// The same, beside the repository.
    pub long_threads: &'static [&'static str],
}

impl RecordedHeap {
    /// The heap with its default options.
    ///
    /// # Panics
    /// When no heap has that name.
    #[must_use]
    pub fn build(&self) -> Box<dyn HeapAllocator> {
        let setting = HeapSetting { coins: Coins::from_key([0; 32]) };
        let built = HeapRegistry::default().build(self.heap, &HeapChoice::named(self.heap), setting);
        built.expect("a heap of that name").expect("its default options")
    }

    /// Plays the small recordings of one thread.
    #[must_use]
    pub fn small(&self) -> Vec<HeapVerdict> {
        let data = packed::data().join("heap");
        let play = |name: &&str| self.one_thread(name, &data.join("traces"), &data.join("reference"));
        self.small.iter().map(play).collect()
    }

    /// Plays the long recordings of one thread; says so and plays none where they are not.
    #[must_use]
    pub fn long(&self) -> Vec<HeapVerdict> {
        let Some(beside) = beside() else { return self.skipped(self.long) };
        let play = |name: &&str| self.one_thread(name, &beside.join("traces/heap"), &beside.join("reference/heap"));
        self.long.iter().map(play).collect()
    }

    /// Plays the small recordings with threads.
    #[must_use]
    pub fn small_threads(&self) -> Vec<HeapVerdict> {
        let data = packed::data().join("heap");
        let play = |name: &&str| self.each_thread(name, &data.join("traces"), &data.join("threads"));
        self.small_threads.iter().map(play).collect()
    }

    /// Plays the long recordings with threads; says so and plays none where they are not.
    #[must_use]
    pub fn long_threads(&self) -> Vec<HeapVerdict> {
        let Some(beside) = beside() else { return self.skipped(self.long_threads) };
        let (traces, reference) = (beside.join("traces/heap"), beside.join("reference/heap-threads"));
        self.long_threads.iter().map(|name| self.each_thread(name, &traces, &reference)).collect()
    }

    /// Asks a fresh heap for each size of the recorded table; returns how many were equal.
    ///
    /// # Panics
    /// At the first size that the real one makes usable otherwise.
    #[must_use]
    pub fn equal_usable_sizes(&self) -> u64 {
        let table = text(&packed::data().join(format!("heap/reference/usable-{}.csv.zst", self.heap)));
        let (mut heap, mut memory) = (self.build(), FlatMemory::at(Address(0x5555_5555_9000)));
        let mut equal = 0;
        for line in table.lines().skip(1) {
            let (request, usable) = line.split_once(',').expect("request,usable");
            let bytes = request.parse().expect("a number");
            let at = heap.malloc(ThreadId(0), bytes, &mut memory).expect("memory without a limit");
            let ours = heap.usable_size(at).expect("a live block").to_string();
            assert_eq!(ours, usable, "usable bytes of a request of {bytes}");
            heap.free(ThreadId(0), at, &mut memory).expect("a live block");
            equal += 1;
        }
        equal
    }

    fn one_thread(&self, name: &str, traces: &Path, reference: &Path) -> HeapVerdict {
        let series = text(&reference.join(format!("{name}.{}.csv", self.heap)));
        self.play(name, traces, reference, Some(&series), &ReplaySetting::one_thread_with(self.heap))
    }

    fn each_thread(&self, name: &str, traces: &Path, reference: &Path) -> HeapVerdict {
        self.play(name, traces, reference, None, &ReplaySetting::threads_with(self.heap))
    }

    fn play(
        &self,
        name: &str,
        traces: &Path,
        reference: &Path,
        series: Option<&str>,
        setting: &ReplaySetting,
    ) -> HeapVerdict {
        let maps = reference.join(format!("{name}.{}.maps", self.heap));
        // mimalloc's places do not depend on what else is mapped: its recordings have no maps.
        let maps = (series.is_none() && maps.exists()).then(|| text(&maps));
        let case = HeapCase {
            name,
            trace: &text(&traces.join(format!("{name}.trace.zst"))),
            places: &text(&reference.join(format!("{name}.{}.addr.zst", self.heap))),
            series,
            maps: maps.as_deref(),
        };
        let mut heap = self.build();
        let verdict = hold(&case, self.heap, &mut *heap, setting).unwrap_or_else(|bad| panic!("{name}: {bad}"));
        heap.check().unwrap_or_else(|violation| panic!("{name}: {violation}"));
        assert!(verdict.blocks > 0, "{verdict}");
        assert!(verdict.series.as_ref().is_none_or(|series| series.rows > 100), "{verdict}");
        verdict
    }

    /// Says on the terminal that a test saw less than it could: `cargo test` hides what a passing test prints.
    fn skipped(&self, names: &[&str]) -> Vec<HeapVerdict> {
        let names = names.join(", ");
        let _ =
            writeln!(std::io::stderr(), "SKIPPED: {} on {names}: ../shared is not beside the repository", self.heap);
        Vec::new()
    }
}

/// Holds a verdict to places, usable sizes, and rows of live, break and mapped bytes that are all equal.
///
/// # Panics
/// At the first difference.
pub fn assert_same_places(verdict: &HeapVerdict) {
    assert!(verdict.differs.is_none(), "{verdict}");
    let differs = verdict.series.as_ref().and_then(|series| series.differs.as_ref());
    assert!(differs.is_none(), "{verdict}\n{differs:?}");
}

/// Holds resident bytes to a difference of at most so much, beside the constant of the first rows.
///
/// # Panics
/// At a larger difference.
pub fn assert_resident_within(verdict: &HeapVerdict, bytes: u64) {
    let Some(series) = &verdict.series else { return };
    assert!(series.resident_difference <= bytes, "{verdict}\n{:?}", series.resident_differs);
}

/// Holds the constant of resident bytes to one of these: library code that is read in by the first calls.
///
/// # Panics
/// At another one.
pub fn assert_resident_constant(verdict: &HeapVerdict, allowed: &[i64]) {
    let Some(series) = &verdict.series else { return };
    assert!(allowed.contains(&series.resident_constant), "{verdict}");
}
