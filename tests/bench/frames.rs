//! Frame allocators: ns for each request, and the time a memory of 1 TiB takes to start.
//!
//! The mix: memory is filled to 90 % with blocks of random size, then shrinks to 50 % and grows to 90 % in turn; what is
//! freed is a random live block. Sizes are `2^k` frames, `k` from 0 to 9, each half as likely as the one below; or single
//! frames. The row `harness` is the mix without an allocator: take it off the others.
//!
//! `cargo bench -p framesim-bench --bench frames [-- FILTER]`

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use framesim_models::frames::{FrameAllocator, FrameRequest, FrameRun, FrameSetting, PolicyChoice, PolicyRegistry};
use framesim_models::{Coins, index};

#[derive(Clone, Copy, PartialEq)]
enum Sizes {
    Geometric,
    One,
}

fn build(name: &str, frames: u64) -> Box<dyn FrameAllocator> {
    let setting = FrameSetting { frames, coins: Coins::from_key([1; 32]) };
    let policy = PolicyRegistry::default().build(name, &PolicyChoice::named(name), setting);
    policy.expect("the policy is registered").expect("its defaults are good")
}

/// Requests and frees of one memory; goes on for ever.
struct Mix {
    policy: Option<Box<dyn FrameAllocator>>,
    sizes: Sizes,
    coins: Coins,
    live: Vec<FrameRun>,
    live_frames: u64,
    frames: u64,
    grows: bool,
}

impl Mix {
    fn new(policy: Option<Box<dyn FrameAllocator>>, frames: u64, sizes: Sizes) -> Mix {
        let coins = Coins::from_key([2; 32]);
        let mut mix = Mix { policy, sizes, coins, live: Vec::new(), live_frames: 0, frames, grows: true };
        while mix.live_frames < frames / 10 * 9 {
            mix.take();
        }
        // Holes of all ages: one whole swing.
        for _ in 0..4 * mix.live.len().min(2_000_000) {
            mix.step();
        }
        mix
    }

    fn step(&mut self) {
        self.grows = match self.live_frames {
            many if many >= self.frames / 10 * 9 => false,
            few if few <= self.frames / 2 => true,
            _ => self.grows,
        };
        // Five of eight steps go the way memory is going.
        if (self.coins.next_u64() % 8 < 5) == self.grows { self.take() } else { self.give() }
    }

    fn take(&mut self) {
        let order = match self.sizes {
            Sizes::One => 0,
            Sizes::Geometric => (self.coins.next_u64() | 1 << 9).trailing_zeros(),
        };
        let frames = 1 << order;
        let given = match &mut self.policy {
            Some(policy) => policy.allocate(&FrameRequest::frames(frames)),
            None => Ok(FrameRun::new(self.live_frames, frames)),
        };
        if let Ok(run) = given {
            self.live.push(run);
            self.live_frames += run.frames;
        } else {
            self.give();
        }
    }

    fn give(&mut self) {
        let at = index(self.coins.below(self.live.len() as u64));
        let run = self.live.swap_remove(at);
        self.live_frames -= run.frames;
        if let Some(policy) = &mut self.policy {
            policy.free(run).expect("it is live");
        }
    }
}

fn mixes(c: &mut Criterion) {
    let settings = [(20, Sizes::Geometric), (20, Sizes::One), (26, Sizes::Geometric)];
    for (order, sizes) in settings {
        let kind = if sizes == Sizes::One { "single frames" } else { "orders 0-9" };
        let mut group = c.benchmark_group(format!("2^{order} frames, {kind}"));
        group.sample_size(10).warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_millis(800));
        for name in ["harness"].iter().chain(PolicyChoice::NAMES) {
            if *name == "free_stack" && sizes != Sizes::One {
                continue;
            }
            // Built only when the filter asks for the row, then kept: memory of this size takes a while to fill.
            let mut mix = None;
            group.bench_function(*name, |bencher| {
                let frames = 1 << order;
                let policy = (*name != "harness").then(|| build(name, frames));
                let mix = mix.get_or_insert_with(|| Mix::new(policy, frames, sizes));
                bencher.iter(|| mix.step());
            });
        }
    }
}

fn start(c: &mut Criterion) {
    let mut group = c.benchmark_group("start of 2^28 frames");
    group.sample_size(10).warm_up_time(Duration::from_millis(100)).measurement_time(Duration::from_millis(300));
    for name in PolicyChoice::NAMES {
        group.bench_function(*name, |bencher| bencher.iter(|| black_box(build(name, 1 << 28))));
    }
}

criterion_group!(benches, start, mixes);
criterion_main!(benches);
