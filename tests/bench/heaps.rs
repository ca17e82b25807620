//! Heap allocators by themselves: calls a second of each registered heap on the same calls.
//!
//! `short` keeps 64 blocks of 16 to 511 bytes live (free lists of a few tens of pieces at most), `long` 20,000 of up to 2 KiB.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use framesim_models::heap::flat_memory::FlatMemory;
use framesim_models::heap::free_list::{FreeListOptions, Order, Policy};
use framesim_models::heap::{HeapAllocator, HeapChoice, HeapRegistry, HeapSetting};
use framesim_models::{Address, Coins, ThreadId, index};

/// Frees the block in the slot if one is there, else fills the slot with a block of so many bytes.
type Call = (usize, u64);

fn calls(slots: u64, bytes_max: u64, count: usize) -> Vec<Call> {
    let mut coins = Coins::from_key([3; 32]);
    (0..count).map(|_| (index(coins.below(slots)), 16 + coins.below(bytes_max - 16))).collect()
}

#[derive(Clone)]
struct Process {
    heap: Box<dyn HeapAllocator>,
    memory: FlatMemory,
    live: Vec<Option<Address>>,
}

impl Process {
    fn new(choice: &HeapChoice, slots: usize) -> Process {
        let setting = HeapSetting { coins: Coins::from_key([0; 32]) };
        let heap = HeapRegistry::default().build(choice.name(), choice, setting);
        let heap = heap.expect("a registered heap").expect("options that fit");
        Process { heap, memory: FlatMemory::at(Address(0x5555_5560_0000)), live: vec![None; slots] }
    }

    fn run(&mut self, calls: &[Call]) {
        for &(slot, bytes) in calls {
            match self.live[slot].take() {
                Some(at) => self.heap.free(ThreadId(0), at, &mut self.memory).expect("a live block"),
                None => self.live[slot] = self.heap.malloc(ThreadId(0), bytes, &mut self.memory).ok(),
            }
        }
    }
}

fn choices() -> Vec<(String, HeapChoice)> {
    let mut choices: Vec<_> =
        HeapChoice::NAMES.iter().map(|&name| (name.to_owned(), HeapChoice::named(name))).collect();
    for order in [Order::SizeUp, Order::SizeDown, Order::InsertFront, Order::InsertBack] {
        let options = FreeListOptions { order, ..FreeListOptions::default() };
        choices.push((format!("free_list, {order:?}"), HeapChoice::FreeList(options)));
    }
    for policy in [Policy::Best, Policy::Worst, Policy::Next] {
        let options = FreeListOptions { policy, ..FreeListOptions::default() };
        choices.push((format!("free_list, {policy:?}"), HeapChoice::FreeList(options)));
    }
    choices
}

fn bench(criterion: &mut Criterion) {
    for (set, slots, bytes_max) in [("short", 64, 512), ("long", 20_000, 2048)] {
        let mut group = criterion.benchmark_group(set);
        let calls = calls(slots, bytes_max, 100_000);
        group.throughput(Throughput::Elements(calls.len() as u64));
        group.sample_size(10);
        for (name, choice) in choices() {
            let mut warm = Process::new(&choice, index(slots));
            warm.run(&calls);
            group.bench_function(&name, |bencher| {
                bencher.iter_batched_ref(|| warm.clone(), |process| process.run(&calls), BatchSize::LargeInput);
            });
        }
        group.finish();
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
