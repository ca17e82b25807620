//! Programs that theory says are hard for an allocator, as scripts of takes and gives.

use std::collections::BTreeMap;

use framesim_models::Coins;
use framesim_models::frames::buddy::BuddyOptions;
use framesim_models::frames::{FrameAllocator, FrameRequest, FrameRun, FrameSetting, PolicyChoice, PolicyRegistry};

/// One request of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A run of `frames` frames, called `id` from now on.
    Take {
        /// Its name; never used twice in a script.
        id: u64,
        /// Frames asked for.
        frames: u64,
    },
    /// The run of that name is given back.
    Give {
        /// Its name.
        id: u64,
    },
}

/// A memory and the runs a program has in it.
#[derive(Clone)]
pub struct Machine {
    /// The policy under test.
    pub memory: Box<dyn FrameAllocator>,
    /// Live runs by name.
    pub live: BTreeMap<u64, FrameRun>,
    /// Frames in live runs now.
    pub live_frames: u64,
    /// The most frames that were live at once.
    pub peak: u64,
    /// The first frame above all that were ever used.
    pub high_water: u64,
    /// Frames of the largest run that was ever placed.
    pub largest: u64,
    /// Requests refused.
    pub refused: u64,
    /// What was done so far.
    pub steps: Vec<Step>,
}

impl Machine {
    /// `frames` free frames under the policy called `name`, a buddy's blocks as large as memory.
    ///
    /// # Panics
    /// When no policy has that name.
    #[must_use]
    pub fn new(name: &str, frames: u64) -> Machine {
        let choice = match name {
            "buddy" => PolicyChoice::Buddy(BuddyOptions { max_order: 40 }),
            name => PolicyChoice::named(name),
        };
        let setting = FrameSetting { frames, coins: Coins::from_key([9; 32]) };
        let built = PolicyRegistry::default().build(name, &choice, setting);
        Machine {
            memory: built.expect("a policy of this crate").expect("options that fit"),
            live: BTreeMap::new(),
            live_frames: 0,
            peak: 0,
            high_water: 0,
            largest: 0,
            refused: 0,
            steps: Vec::new(),
        }
    }

    /// Takes a run and gives it a name of its own; `None` when it is refused.
    pub fn take(&mut self, frames: u64) -> Option<u64> {
        let id = self.steps.len() as u64;
        self.play(Step::Take { id, frames });
        self.live.contains_key(&id).then_some(id)
    }

    /// Gives a run back; a name that is not live changes nothing.
    pub fn give(&mut self, id: u64) {
        self.play(Step::Give { id });
    }

    /// Does one step.
    ///
    /// # Panics
    /// When the policy refuses a live run: a bug of ours.
    pub fn play(&mut self, step: Step) {
        self.steps.push(step);
        match step {
            Step::Take { id, frames } => match self.memory.allocate(&FrameRequest::frames(frames)) {
                Ok(run) => {
                    self.live.insert(id, run);
                    self.live_frames += run.frames;
                    self.peak = self.peak.max(self.live_frames);
                    self.high_water = self.high_water.max(run.end().0);
                    self.largest = self.largest.max(run.frames);
                }
                Err(_) => self.refused += 1,
            },
            Step::Give { id } => {
                if let Some(run) = self.live.remove(&id) {
                    self.live_frames -= run.frames;
                    self.memory.free(run).expect("a live run can be given back");
                }
            }
        }
    }

    /// Live runs by address.
    #[must_use]
    pub fn runs(&self) -> Vec<FrameRun> {
        let mut runs: Vec<FrameRun> = self.live.values().copied().collect();
        runs.sort_unstable();
        runs
    }

    /// The map as free (`F`) and reserved (`R`) runs from frame 0 up to the last that is live: `R4 F3 R1`.
    #[must_use]
    pub fn picture(&self) -> String {
        let (mut parts, mut end_of_last) = (Vec::new(), 0);
        for run in self.runs() {
            if run.start.0 > end_of_last {
                parts.push(format!("F{}", run.start.0 - end_of_last));
            }
            parts.push(format!("R{}", run.frames));
            end_of_last = run.end().0;
        }
        parts.join(" ")
    }
}

/// The frames that any policy that moves nothing needs against [`robson_adversary`], where `live_limit` is a power of two
/// (Robson 1971 and 1974): `M * (1 + L / 2) - 2^L + 1`.
#[must_use]
pub fn robson_bound(live_limit: u64, top_order: u32) -> u64 {
    live_limit + live_limit * u64::from(top_order) / 2 - (1 << top_order) + 1
}

/// Robson's program against one policy: it looks at where blocks went and keeps those that are most in the way. Never more
/// than `live_limit` frames are live, and no request is larger than `2^top_order`.
pub fn robson_adversary(machine: &mut Machine, live_limit: u64, top_order: u32) {
    for _ in 0..live_limit {
        machine.take(1);
    }
    let mut offset = 0;
    for order in 1..=top_order {
        let size = 1_u64 << order;
        let occupies = |run: &FrameRun, offset: u64| {
            let first = run.start.0 + (offset + size - run.start.0 % size) % size;
            first < run.end().0
        };
        let room_wasted = |offset: u64| -> u64 {
            machine.live.values().filter(|run| occupies(run, offset)).map(|run| size - run.frames).sum()
        };
        let other = offset + size / 2;
        if room_wasted(other) > room_wasted(offset) {
            offset = other;
        }
        let in_the_way = machine.live.iter().filter(|(_, run)| occupies(run, offset));
        let kept: Vec<u64> = in_the_way.map(|(id, _)| *id).collect();
        let freed: Vec<u64> = machine.live.keys().filter(|id| !kept.contains(id)).copied().collect();
        for id in freed {
            machine.give(id);
        }
        for _ in 0..(live_limit - machine.live_frames) / size {
            machine.take(size);
        }
    }
}

/// A script that makes best fit span about `m * k` frames for `m + k` live ones (after Robson 1977; TAOCP 2.5, exercise 42):
/// `m >= 6` is the largest request, `k` the rounds.
///
/// With F free and R reserved, from frame 0 up, best fit is left with `R(m-2)`, then `k` times `F(m-3) R1`: each free run is
/// one frame short of the next round's requests.
///
/// # Panics
/// When `m` is below 6.
#[must_use]
pub fn best_fit_worst_case(m: u64, k: u64) -> Vec<Step> {
    assert!(m >= 6, "the smallest block of the script has m - 5 frames");
    let mut script = Script { steps: Vec::new() };
    // Live blocks between rounds, by address: the head, then the blocks of one frame.
    let mut standing = vec![script.take(m - 2)];
    for _ in 0..k {
        let (low, high) = (script.take(m - 2), script.take(m - 2));
        script.give(low);
        script.give(standing.pop().expect("the head at least"));
        let mut filled = script.fill(m);
        let mut left = vec![filled.single];
        while let Some(below) = standing.pop() {
            let (stop, rest) = (script.take(m - 2), script.take(2));
            script.give(below);
            script.give(stop);
            let next = script.fill(m);
            script.give(rest);
            script.give(filled.small);
            left.push(next.single);
            filled = next;
        }
        script.give(filled.small);
        left.push(script.take(m - 2));
        script.give(high);
        left.reverse();
        standing = left;
    }
    script.steps
}

struct Script {
    steps: Vec<Step>,
}

/// What is left of a filled hole of `2m - 4` frames: m free ones, then these two blocks.
struct Filled {
    small: u64,
    single: u64,
}

impl Script {
    fn take(&mut self, frames: u64) -> u64 {
        let id = self.steps.len() as u64;
        self.steps.push(Step::Take { id, frames });
        id
    }

    fn give(&mut self, id: u64) {
        self.steps.push(Step::Give { id });
    }

    fn fill(&mut self, m: u64) -> Filled {
        let (large, small, single) = (self.take(m), self.take(m - 5), self.take(1));
        self.give(large);
        Filled { small, single }
    }
}
