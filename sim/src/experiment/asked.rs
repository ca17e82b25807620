//! What the processes of a run asked for, as digests that two runs can be held against each other by.
//!
//! Under one seed every policy sees the same requests; but a slow policy may have served fewer of them when the run ends. So there
//! are digests of the first requests of the first processes of each group, for several numbers of both ([`SPANS`]). Those that both
//! runs have in full must be equal.

use framesim_workloads::requests::Request;
use framesim_workloads::spec::{Arrive, Workload};
use serde::{Deserialize, Serialize};

use crate::simulation::{Call, ExitReason, Happened, Outcome, RunState, Summary};

/// So many first processes of each group, and so many first requests of each; wider ones come later.
pub const SPANS: [(u32, u32); LEVELS] = [(1, 1), (1, 8), (8, 1), (1, 64), (64, 1), (8, 8), (64, 64)];
const LEVELS: usize = 7;
const MOST: u32 = 64;

/// Digests of what was asked; none where a process of them did not come so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digests([Option<u64>; LEVELS]);

/// What two runs asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Agreement {
    /// The same, as far as both went.
    Same,
    /// Something else.
    Different,
    /// They have no digest in common: too little happened.
    Unknown,
}

impl Digests {
    /// Whether two runs asked for the same.
    #[must_use]
    pub fn agreement(&self, other: &Digests) -> Agreement {
        let both = self.0.iter().zip(&other.0).filter_map(|(one, other)| Some((one.as_ref()?, other.as_ref()?)));
        both.fold(Agreement::Unknown, |so_far, (one, other)| match so_far {
            Agreement::Different => so_far,
            _ if one != other => Agreement::Different,
            _ => Agreement::Same,
        })
    }
}

/// The widest digest there is: `64x8:0123456789abcdef`, for the first 8 requests of the first 64 processes.
impl std::fmt::Display for Digests {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let widest = self.0.iter().enumerate().rev().find_map(|(level, digest)| Some((level, (*digest)?)));
        widest.map_or(Ok(()), |(level, digest)| write!(f, "{}x{}:{digest:016x}", SPANS[level].0, SPANS[level].1))
    }
}

/// A process of the first few of its group.
#[derive(Clone, Copy, Default)]
struct Seen {
    started: bool,
    /// It was refused the memory to start with, and asked for nothing.
    turned_away: bool,
    /// It ended because it had nothing left to ask for.
    done: bool,
    requests: u32,
}

/// Takes requests in as they are served or refused.
pub(super) struct Asked {
    /// Of each group that does not depend on who spawns first.
    groups: Vec<Option<Vec<Seen>>>,
    /// For each span a sum over its requests.
    sums: [u64; LEVELS],
}

impl Asked {
    pub(super) fn new(workload: &Workload) -> Asked {
        let group = |group: &framesim_workloads::spec::Group| {
            (group.arrive != Arrive::Spawned).then(|| vec![Seen::default(); MOST as usize])
        };
        Asked { groups: workload.processes.iter().map(group).collect(), sums: [0; LEVELS] }
    }

    pub(super) fn see(&mut self, happened: &Happened) {
        let ordinal = happened.process.ordinal;
        if ordinal >= MOST || matches!(happened.outcome, Outcome::Waits(_)) {
            return;
        }
        let group = happened.process.group;
        let Some(Some(seen)) = self.groups.get_mut(group as usize) else { return };
        let seen = &mut seen[ordinal as usize];
        match happened.call {
            Call::Start if matches!(happened.outcome, Outcome::Refused(_)) => seen.turned_away = true,
            Call::Start => seen.started = true,
            Call::Exit(ExitReason::Done) | Call::Request(Request::Exit) => seen.done = true,
            Call::Request(_) if seen.requests < MOST => {
                let digest = mixed(group, ordinal, seen.requests, &happened.call);
                for (sum, (processes, requests)) in self.sums.iter_mut().zip(SPANS) {
                    if ordinal < processes && seen.requests < requests {
                        *sum = sum.wrapping_add(digest);
                    }
                }
                seen.requests += 1;
            }
            _ => {}
        }
    }

    pub(super) fn finish(&self, summary: &Summary) -> Digests {
        let mut digests = Digests::default();
        for (level, (processes, requests)) in SPANS.into_iter().enumerate() {
            let is_complete = self.is_complete(processes, requests, summary.state == RunState::Done);
            digests.0[level] = is_complete.then_some(self.sums[level]);
        }
        digests
    }

    /// Whether each of the first processes of each group made its first requests, or had no more to make.
    fn is_complete(&self, processes: u32, requests: u32, all_came: bool) -> bool {
        let has_all = |seen: &Seen| {
            if seen.started { seen.done || seen.requests >= requests } else { all_came && !seen.turned_away }
        };
        self.groups.iter().flatten().all(|group| group[..processes as usize].iter().all(has_all))
    }
}

/// A number for one request of one process.
fn mixed(group: u32, ordinal: u32, number: u32, request: &Call) -> u64 {
    const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;
    let who = (u64::from(group) << 32 | u64::from(ordinal)).wrapping_mul(MULTIPLIER) ^ u64::from(number);
    let take_in = |state: u64, word: u64| {
        let mixed = (state ^ word).wrapping_mul(MULTIPLIER);
        mixed ^ mixed >> 29
    };
    take_in(request.asked().into_iter().fold(who, take_in), 0)
}

#[cfg(test)]
mod tests {
    use framesim_models::{Nanos, ThreadId};
    use framesim_workloads::requests::Slot;

    use super::*;

    #[test]
    fn runs_agree_as_far_as_both_went() {
        let one = Digests([Some(1), Some(2), None, None, None, None, None]);
        let longer = Digests([Some(1), Some(2), Some(3), None, None, None, None]);
        let other = Digests([Some(1), Some(9), None, None, None, None, None]);
        assert_eq!(one.agreement(&longer), Agreement::Same);
        assert_eq!(one.agreement(&other), Agreement::Different);
        assert_eq!(one.agreement(&Digests::default()), Agreement::Unknown);
        assert_eq!(longer.to_string(), "8x1:0000000000000003");
    }

    #[test]
    fn each_part_of_a_request_counts() {
        let malloc = Request::Malloc { slot: None, bytes: 16, touch: 8, life: None, freed_by: ThreadId(0) };
        let slot = Slot(0);
        let requests = [
            malloc,
            Request::Malloc { slot: Some(slot), bytes: 16, touch: 8, life: None, freed_by: ThreadId(0) },
            Request::Malloc { slot: None, bytes: 17, touch: 8, life: None, freed_by: ThreadId(0) },
            Request::Malloc { slot: None, bytes: 16, touch: 9, life: None, freed_by: ThreadId(0) },
            Request::Malloc { slot: None, bytes: 16, touch: 8, life: Some(Nanos(0)), freed_by: ThreadId(0) },
            Request::Malloc { slot: None, bytes: 16, touch: 8, life: Some(Nanos(1)), freed_by: ThreadId(0) },
            Request::Malloc { slot: None, bytes: 16, touch: 8, life: None, freed_by: ThreadId(1) },
            Request::Calloc { slot, count: 3, bytes: 16, touch: 8 },
            Request::Calloc { slot, count: 2, bytes: 16, touch: 8 },
            Request::Calloc { slot, count: 3, bytes: 17, touch: 8 },
            Request::Calloc { slot, count: 3, bytes: 16, touch: 9 },
            Request::AlignedAlloc { slot, align: 3, bytes: 16, touch: 8 },
            Request::AlignedAlloc { slot, align: 2, bytes: 16, touch: 8 },
            Request::AlignedAlloc { slot, align: 3, bytes: 17, touch: 8 },
            Request::AlignedAlloc { slot, align: 3, bytes: 16, touch: 9 },
            Request::Realloc { slot, bytes: 16, touch: 8 },
            Request::Realloc { slot: Slot(1), bytes: 16, touch: 8 },
            Request::Realloc { slot, bytes: 17, touch: 8 },
            Request::Realloc { slot, bytes: 16, touch: 9 },
            Request::Free { slot },
            Request::Free { slot: Slot(1) },
            Request::Touch { slot },
            Request::Give { slot },
            Request::Munmap { slot },
            Request::DontNeed { slot },
            Request::Take { slot, frames: 1 },
            Request::Take { slot, frames: 2 },
            Request::Mmap { slot, bytes: 1 },
            Request::Mmap { slot, bytes: 2 },
            Request::Spawn { group: 0 },
            Request::Spawn { group: 1 },
            Request::Sleep,
            Request::Exit,
            Request::EndThread,
        ];
        let of_first = requests.iter().map(|request| mixed(0, 0, 0, &Call::Request(*request)));
        let of_others = [(1, 0, 0), (0, 1, 0), (0, 0, 1)];
        let of_others = of_others.map(|(group, ordinal, number)| mixed(group, ordinal, number, &Call::Request(malloc)));
        let different: std::collections::BTreeSet<u64> = of_first.chain(of_others).collect();
        assert_eq!(different.len(), requests.len() + of_others.len());
    }
}
