//! What processes asked for, as far as they got: so that runs under different models can be held to the same requests.
//!
//! Each thread's requests are digested in its own order; which thread asks before which other is the models' doing, and so is how
//! long one lives that another one takes the place of. A run may
//! end before another (a process that was refused memory, the workload's `until`): then what both have is compared,
//! up to the last power of two of requests.

use std::collections::BTreeMap;

use framesim_models::ThreadId;
use framesim_workloads::requests::Request;

use crate::digest::{Digest, Sealer, Trajectory};
use crate::simulation::{Call, Happened, Outcome, ProcessName};

/// A thread: group and number of its process, its own number, and how often that was started before.
type Key = (u32, u32, u32, u32);

/// Requests of all threads of a run.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    threads: BTreeMap<Key, Chain>,
    /// Threads beside main ones: how often each was started.
    starts: BTreeMap<(u32, u32, u32), u32>,
    /// The thread that asked last, outside the map: often it is the next.
    last: Option<(Key, Chain)>,
}

/// Requests of one thread.
#[derive(Clone, Debug, Default)]
struct Chain {
    requests: u64,
    digest: Trajectory,
    /// The digest after 1, 2, 4, 8, ... requests.
    marks: Vec<Trajectory>,
}

impl Common {
    /// Of several seeds, each with what its runs have in common.
    #[must_use]
    pub fn of_seeds(seeds: &[Common]) -> Common {
        let mut sealer = Sealer::new("framesim requests of seeds v1");
        seeds.iter().for_each(|seed| sealer.add(format!("{:#}", seed.digest).as_bytes()));
        Common {
            digest: sealer.seal(),
            requests: seeds.iter().map(|seed| seed.requests).sum(),
            is_all: seeds.iter().all(|seed| seed.is_all),
        }
    }
}

/// What several runs have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Common {
    /// Digest of the requests that all of them made.
    pub digest: Digest,
    /// How many there are.
    pub requests: u64,
    /// Whether these are all requests of all runs.
    pub is_all: bool,
}

impl Asked {
    /// Takes in an event; one that waits for memory will come again.
    #[inline]
    pub fn see(&mut self, happened: &Happened) {
        if matches!(happened.outcome, Outcome::Waits(_)) {
            return;
        }
        match happened.call {
            Call::ThreadStart { thread } => {
                *self.starts.entry((happened.process.group, happened.process.ordinal, thread.0)).or_default() += 1;
            }
            // It is none where its thread could not be started.
            Call::Request(Request::EndThread) => {}
            Call::Request(_) => self.chain(happened.process, happened.thread).add(&happened.call, happened.thread),
            _ => {}
        }
    }

    #[inline]
    fn chain(&mut self, process: ProcessName, thread: ThreadId) -> &mut Chain {
        let times = match thread {
            ThreadId(0) => 0,
            ThreadId(thread) => self.starts.get(&(process.group, process.ordinal, thread)).copied().unwrap_or(0),
        };
        let key = (process.group, process.ordinal, thread.0, times.saturating_sub(1));
        if self.last.as_ref().is_none_or(|(last, _)| *last != key) {
            self.finish();
            self.last = Some((key, self.threads.remove(&key).unwrap_or_default()));
        }
        &mut self.last.as_mut().expect("it was put there").1
    }

    /// Puts the last thread among the others.
    pub fn finish(&mut self) {
        self.threads.extend(self.last.take());
    }

    /// What these runs have in common; `None` when two of them were asked different things.
    #[must_use]
    pub fn common(runs: &[&Asked]) -> Option<Common> {
        let mut keys: Vec<Key> = runs.iter().flat_map(|run| run.threads.keys().copied()).collect();
        keys.sort_unstable();
        keys.dedup();
        let mut sealer = Sealer::new("framesim requests v1");
        let (mut requests, mut is_all) = (0, true);
        for key in keys {
            let chains: Vec<Option<&Chain>> = runs.iter().map(|run| run.threads.get(&key)).collect();
            let least = chains.iter().map(|chain| chain.map_or(0, |chain| chain.requests)).min().unwrap_or(0);
            let is_whole = chains.iter().all(|chain| chain.is_some_and(|chain| chain.requests == least));
            is_all &= is_whole;
            let Some(power) = least.checked_ilog2() else { continue };
            let compared = if is_whole { least } else { 1 << power };
            let mut digests = chains.iter().flatten().map(|chain| chain.after(is_whole, power));
            let first = digests.next()?;
            if digests.any(|digest| digest != first) {
                return None;
            }
            requests += compared;
            for word in [key.0, key.1, key.2, key.3].map(u64::from).into_iter().chain([compared]) {
                sealer.add(&word.to_le_bytes());
            }
            sealer.add(first.seal().to_string().as_bytes());
        }
        Some(Common { digest: sealer.seal(), requests, is_all })
    }
}

impl Chain {
    #[inline]
    fn add(&mut self, call: &Call, thread: ThreadId) {
        let [kind, first, second, third, fourth] = call.asked();
        self.digest.absorb_pair(kind, thread.0.into());
        self.digest.absorb_pair(first, second);
        self.digest.absorb_pair(third, fourth);
        self.requests += 1;
        if self.requests.is_power_of_two() {
            self.marks.push(self.digest);
        }
    }

    /// The digest of all requests, or of the first `2^power`.
    fn after(&self, is_whole: bool, power: u32) -> Trajectory {
        if is_whole { self.digest } else { self.marks[power as usize] }
    }
}

#[cfg(test)]
mod tests {
    use framesim_models::{Cpu, Nanos};

    use super::*;

    /// A run in which process `web/ORDINAL` asks to sleep or to exit, in that order.
    fn run(asked: &[(u32, Request)]) -> Asked {
        let mut run = Asked::default();
        for &(ordinal, request) in asked {
            run.see(&Happened {
                event: 1,
                time: Nanos(0),
                cost: Nanos(0),
                waited: Nanos(0),
                cpu: Cpu(0),
                process: ProcessName { group: 0, ordinal, pid: None },
                thread: ThreadId(0),
                call: Call::Request(request),
                outcome: Outcome::Served,
            });
        }
        run.finish();
        run
    }

    #[test]
    fn the_order_between_processes_does_not_count_and_the_order_within_one_does() {
        let spawn = |group| Request::Spawn { group };
        let one = run(&[(0, spawn(1)), (1, Request::Sleep), (0, spawn(2))]);
        let other = run(&[(0, spawn(1)), (0, spawn(2)), (1, Request::Sleep)]);
        let common = Asked::common(&[&one, &other]).expect("the same requests");
        assert_eq!((common.requests, common.is_all), (3, true));
        let swapped = run(&[(0, spawn(2)), (0, spawn(1)), (1, Request::Sleep)]);
        assert_eq!(Asked::common(&[&one, &swapped]), None);
    }

    #[test]
    fn of_a_run_that_ended_before_another_what_both_have_is_compared() {
        let calls: Vec<(u32, Request)> = (0..11).map(|group| (0, Request::Spawn { group })).collect();
        let common = |one: &[(u32, Request)], other: &[(u32, Request)]| Asked::common(&[&run(one), &run(other)]);
        let found = common(&calls, &calls[..9]).expect("the same requests");
        assert_eq!((found.requests, found.is_all), (8, false));
        let mut changed = calls.clone();
        changed[3].1 = Request::Sleep;
        assert_eq!(common(&calls, &changed[..9]), None);
        let missing = common(&calls, &[]).expect("nothing differs");
        assert_eq!((missing.requests, missing.is_all), (0, false));
    }
}
