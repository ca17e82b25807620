//! Mixes made ready to draw from.

use framesim_models::{Nanos, ThreadId};
use serde::{Deserialize, Serialize};

use super::{Request, Timed};
use crate::laws::Sampler;
use crate::spec::{FreeBy, Mix, Touch};
use crate::streams::{Blocks, Draw};

/// A mix and its phases; all processes of a group share it.
#[derive(Clone, Debug)]
pub(super) struct Mixture {
    /// One after the other, then the first again.
    phases: Vec<Phase>,
    cycle_ns: u64,
    pub(super) threads: u32,
    free_by: FreeBy,
    pub(super) thread_life: Option<Sampler>,
    calls: u64,
    until_ns: u64,
    /// Blocks of random numbers that an operation has.
    blocks: u32,
}

#[derive(Clone, Debug)]
struct Phase {
    lasts_ns: u64,
    gap: Sampler,
    size: Sampler,
    life: Option<Sampler>,
    touch: Touch,
}

/// How far a thread is in its mix.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Progress {
    /// Of its stream of random numbers.
    pub(super) key: [u8; 32],
    pub(super) thread: ThreadId,
    operation: u64,
    /// The gaps drawn so far: the thread's own time, which no policy can change.
    clock_ns: u64,
}

impl Progress {
    pub(super) const fn start(key: [u8; 32]) -> Progress {
        Progress { key, thread: ThreadId(0), operation: 0, clock_ns: 0 }
    }
}

impl Mixture {
    /// A mix that has passed its checks.
    pub(super) fn of(mix: &Mix) -> Mixture {
        let whole = Phase {
            lasts_ns: u64::MAX,
            gap: Sampler::of(&mix.gap),
            size: Sampler::of(&mix.size),
            life: mix.life.as_ref().map(Sampler::of),
            touch: mix.touch,
        };
        let phase = |phase: &crate::spec::Phase| Phase {
            lasts_ns: phase.lasts.0,
            gap: phase.gap.as_ref().map_or_else(|| whole.gap.clone(), Sampler::of),
            size: phase.size.as_ref().map_or_else(|| whole.size.clone(), Sampler::of),
            life: phase.life.as_ref().map(Sampler::of).or_else(|| whole.life.clone()),
            touch: phase.touch.unwrap_or(whole.touch),
        };
        let mut phases: Vec<Phase> = mix.phases.iter().map(phase).collect();
        if phases.is_empty() {
            phases.push(whole);
        }
        let draws = phases.iter().map(Phase::draws_most).max().unwrap_or(0) + 1;
        Mixture {
            cycle_ns: phases.iter().fold(0, |sum: u64, phase| sum.saturating_add(phase.lasts_ns)),
            threads: mix.threads,
            free_by: mix.free_by,
            thread_life: mix.thread_life.as_ref().map(Sampler::of),
            calls: mix.calls.unwrap_or(u64::MAX),
            until_ns: mix.until.map_or(u64::MAX, |until| until.0),
            blocks: draws.div_ceil(8),
            phases,
        }
    }

    /// Threads that get no blocks.
    pub(super) fn consumers(&self) -> u32 {
        u32::try_from(self.free_by.consumers()).expect("checked: fewer than the threads")
    }

    pub(super) fn next(
        &self,
        progress: &mut Progress,
        blocks: &mut Blocks,
        overflow: impl FnMut() -> [u8; 32],
    ) -> Timed {
        let left_ns = self.until_ns - progress.clock_ns;
        if progress.operation == self.calls || left_ns == 0 {
            return Timed { gap: Nanos(0), thread: progress.thread, request: Request::Exit };
        }
        let phase = self.phase(progress.clock_ns);
        let asked = blocks.operation(&progress.key, progress.operation, self.blocks, overflow, |source| {
            let freed_by = |source: &mut _| self.freed_by(progress.thread, source);
            phase.draw(progress.thread, freed_by, source)
        });
        if asked.gap.0 > left_ns {
            progress.clock_ns = self.until_ns;
            return Timed { gap: Nanos(left_ns), thread: progress.thread, request: Request::Exit };
        }
        progress.clock_ns += asked.gap.0;
        progress.operation += 1;
        asked
    }

    /// Who frees a block of `owner`.
    fn freed_by(&self, owner: ThreadId, source: &mut impl Draw) -> ThreadId {
        match self.free_by {
            FreeBy::Owner => owner,
            FreeBy::Next => ThreadId((owner.0 + 1) % self.threads),
            FreeBy::Random => {
                let any = source.below(u64::from(self.threads));
                ThreadId(u32::try_from(any).expect("below the number of threads"))
            }
            FreeBy::Consumers(_) => {
                let consumers = self.consumers();
                ThreadId(self.threads - consumers + owner.0 % consumers)
            }
        }
    }

    /// The phase that holds when the gaps add up to `clock_ns`.
    fn phase(&self, clock_ns: u64) -> &Phase {
        if let [only] = self.phases.as_slice() {
            return only;
        }
        let mut in_cycle = clock_ns % self.cycle_ns;
        for phase in &self.phases {
            if in_cycle < phase.lasts_ns {
                return phase;
            }
            in_cycle -= phase.lasts_ns;
        }
        unreachable!("a time within the cycle lies in one of its phases")
    }
}

impl Phase {
    fn draws_most(&self) -> u32 {
        let life = self.life.as_ref().map_or(0, Sampler::draws_most);
        self.gap.draws_most() + self.size.draws_most() + life
    }

    /// In a fixed order: gap, size, life, who frees it.
    fn draw<D: Draw>(&self, thread: ThreadId, freed_by: impl FnOnce(&mut D) -> ThreadId, source: &mut D) -> Timed {
        let gap = Nanos(self.gap.draw(source));
        let bytes = self.size.draw(source);
        let life = self.life.as_ref().map(|law| Nanos(law.draw(source)));
        let freed_by = freed_by(source);
        let touch = self.touch.of(bytes);
        Timed { gap, thread, request: Request::Malloc { slot: None, bytes, touch, life, freed_by } }
    }
}
